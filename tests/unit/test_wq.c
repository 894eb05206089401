#include "common/store/wq.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/store/backoff.h"

#define LONG_MSEC 20000

static void assert_take(struct wq *q, const char *want)
{
	char *key = wq_take(q, 0);

	if (!want) {
		assert_null(key);
		return;
	}
	assert_non_null(key);
	assert_string_equal(key, want);
	free(key);
}

static void test_order_and_once(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	assert_int_equal(wq_next_msec(q), -1);
	assert_take(q, NULL);
	wq_add(q, "a");
	wq_add(q, "b");
	wq_add(q, "a");
	assert_int_equal(wq_len(q), 2);
	assert_int_equal(wq_next_msec(q), 0);
	assert_take(q, "a");
	assert_take(q, "b");
	assert_take(q, NULL);
	assert_int_equal(wq_len(q), 2);
	wq_end(q, "a", WQ_DONE, 0);
	wq_end(q, "b", WQ_DONE, 0);
	assert_int_equal(wq_len(q), 0);
	wq_free(q);
	wq_free(NULL);
}

static void test_change_while_running(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	wq_add(q, "a");
	assert_take(q, "a");
	wq_add(q, "a");
	wq_add(q, "a");
	assert_take(q, NULL); /* never to two workers at once */
	wq_end(q, "a", WQ_DONE, 0);
	assert_take(q, "a");
	wq_end(q, "a", WQ_DONE, 0);
	assert_take(q, NULL);
	wq_free(q);
}

/* A key that is changed all the time does not keep the others from their turn. */
static void test_fair(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	wq_add(q, "busy");
	wq_add(q, "other");
	assert_take(q, "busy");
	wq_add(q, "busy");
	wq_end(q, "busy", WQ_DONE, 0);
	assert_take(q, "other");
	assert_take(q, "busy");
	wq_end(q, "busy", WQ_AGAIN, 0);
	wq_end(q, "other", WQ_DONE, 0);
	assert_take(q, "busy");
	wq_free(q);
}

static void test_closed(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	wq_add(q, "a");
	assert_take(q, "a");
	wq_add(q, "b");
	wq_close(q);
	assert_take(q, NULL);
	assert_null(wq_take(q, LONG_MSEC));
	wq_end(q, "a", WQ_RETRY, 0);
	wq_free(q);
}

/* ------------------------------------------------------------------------ with threads */

struct race {
	struct wq *q;
	atomic_int n_running[8]; /* by key */
	atomic_int n_runs, n_overlaps, n_taken;
};

static void *work(void *aux)
{
	struct race *r = aux;
	char *key;

	while ((key = wq_take(r->q, LONG_MSEC))) {
		int k = key[0] - 'a';

		if (atomic_fetch_add(&r->n_running[k], 1) != 0)
			atomic_fetch_add(&r->n_overlaps, 1);
		int run = atomic_fetch_add(&r->n_runs, 1);
		atomic_fetch_sub(&r->n_running[k], 1);
		wq_end(r->q, key, run % 5 == 1 ? WQ_AGAIN : WQ_DONE, run % 3);
		free(key);
	}
	return NULL;
}

static void *produce(void *aux)
{
	struct race *r = aux;

	for (int i = 0; i < 4000; i++) {
		char key[] = { (char)('a' + i % 8), '\0' };

		if (i % 7)
			wq_add(r->q, key);
		else
			wq_add_after(r->q, key, 1 + i % 2);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct race r = { .q = wq_new() };
	pthread_t workers[3], producers[2];
	int64_t limit = clock_mono_msec() + LONG_MSEC;

	(void)state;
	for (int i = 0; i < 3; i++)
		pthread_create(&workers[i], NULL, work, &r);
	for (int i = 0; i < 2; i++)
		pthread_create(&producers[i], NULL, produce, &r);
	for (int i = 0; i < 2; i++)
		pthread_join(producers[i], NULL);
	while (wq_len(r.q) > 0 && clock_mono_msec() < limit)
		sched_yield();
	assert_int_equal(wq_len(r.q), 0);
	wq_close(r.q);
	for (int i = 0; i < 3; i++)
		pthread_join(workers[i], NULL);
	assert_int_equal(atomic_load(&r.n_overlaps), 0);
	assert_true(atomic_load(&r.n_runs) >= 8);
	wq_free(r.q);
}

/* All wait for one appointment each; whoever wakes up must not leave the others asleep. */
static void *take_one(void *aux)
{
	struct race *r = aux;
	char *key = wq_take(r->q, LONG_MSEC);

	if (key)
		atomic_fetch_add(&r->n_taken, 1);
	free(key);
	return NULL;
}

static void test_appointments_wake_all(void **state)
{
	struct race r = { .q = wq_new() };
	pthread_t workers[3];
	int64_t start = clock_mono_msec();

	(void)state;
	for (int i = 0; i < 3; i++)
		pthread_create(&workers[i], NULL, take_one, &r);
	wq_add_after(r.q, "c", 30);
	wq_add_after(r.q, "a", 10);
	wq_add_after(r.q, "b", 10);
	for (int i = 0; i < 3; i++)
		pthread_join(workers[i], NULL);
	assert_int_equal(atomic_load(&r.n_taken), 3);
	assert_in_range(clock_mono_msec() - start, 30, LONG_MSEC / 2);
	assert_null(wq_take(r.q, 10)); /* the time is up */
	wq_free(r.q);
}

/* ------------------------------------------------------------------- with a fake clock */

static void test_appointments(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	wq_add_after(q, "b", 2000);
	wq_add_after(q, "a", 1000);
	wq_add_after(q, "a", 5000); /* an earlier one stays */
	wq_add_after(q, "c", 9000);
	wq_add_after(q, "c", 1000); /* an earlier one counts */
	wq_add_after(q, "d", 0);
	assert_take(q, "d");
	wq_end(q, "d", WQ_DONE, 0);
	assert_int_equal(wq_next_msec(q), 1000);
	clock_fake_advance(999);
	assert_take(q, NULL);
	clock_fake_advance(1);
	assert_int_equal(wq_next_msec(q), 0);
	assert_take(q, "a");
	assert_take(q, "c");
	assert_take(q, NULL);
	wq_end(q, "a", WQ_DONE, 0);
	wq_end(q, "c", WQ_DONE, 0);
	wq_add(q, "b"); /* a change comes first: the appointment is kept with it */
	assert_take(q, "b");
	wq_end(q, "b", WQ_DONE, 0);
	assert_int_equal(wq_len(q), 0);
	assert_int_equal(wq_next_msec(q), -1);
	wq_free(q);
}

static void test_appointment_while_running(void **state)
{
	struct wq *q = wq_new();

	(void)state;
	wq_add(q, "a");
	assert_take(q, "a");
	wq_add_after(q, "a", 1000);
	wq_end(q, "a", WQ_DONE, 0); /* stays */
	assert_int_equal(wq_next_msec(q), 1000);
	clock_fake_advance(1000);
	assert_take(q, "a");
	wq_add_after(q, "a", 1000);
	clock_fake_advance(1000);
	assert_take(q, NULL); /* due while it runs: once more */
	wq_end(q, "a", WQ_AGAIN, 60000);
	assert_take(q, "a");
	wq_add_after(q, "a", 3000);
	wq_end(q, "a", WQ_AGAIN, 1000);
	assert_int_equal(wq_next_msec(q), 1000);
	clock_fake_advance(1000);
	assert_take(q, "a");
	wq_end(q, "a", WQ_DONE, 0);
	assert_int_equal(wq_len(q), 0);
	wq_free(q);
}

static void test_many_appointments(void **state)
{
	struct wq *q = wq_new();
	int64_t last = -1;
	int n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		wq_add_after(q, key, 1 + i * 7919 % 1000);
		if (i % 3 == 0) {
			wq_add(q, key);
			assert_take(q, key);
			wq_end(q, key, WQ_DONE, 0);
		}
	}
	for (int64_t next; (next = wq_next_msec(q)) >= 0; n++) {
		char *key;

		clock_fake_advance(next);
		key = wq_take(q, 0);
		assert_non_null(key);
		assert_true(strtoll(key, NULL, 10) * 7919 % 1000 > last);
		last = strtoll(key, NULL, 10) * 7919 % 1000;
		wq_end(q, key, WQ_DONE, 0);
		free(key);
	}
	assert_int_equal(n, 666);
	wq_free(q);
}

static void test_back_off(void **state)
{
	struct wq *q = wq_new();
	int64_t want = 200;

	(void)state;
	wq_add(q, "a");
	for (unsigned i = 1; i <= 12; i++) {
		assert_take(q, "a");
		assert_int_equal(wq_n_failures(q, "a"), i - 1);
		wq_end(q, "a", WQ_RETRY, 0);
		assert_int_equal(wq_n_failures(q, "a"), i);
		assert_in_range(wq_next_msec(q), want / 2, want);
		clock_fake_advance(wq_next_msec(q));
		want = want * 2 > 60000 ? 60000 : want * 2;
	}
	assert_take(q, "a");
	wq_end(q, "a", WQ_RETRY, 90000); /* longer than the back-off */
	assert_int_equal(wq_next_msec(q), 90000);
	wq_add(q, "a"); /* a change: at once, but the failures are remembered */
	assert_take(q, "a");
	assert_int_equal(wq_n_failures(q, "a"), 13);
	wq_end(q, "a", WQ_AGAIN, 500);
	assert_int_equal(wq_n_failures(q, "a"), 0);
	assert_int_equal(wq_next_msec(q), 500);
	wq_free(q);
}

static void test_jitter(void **state)
{
	int n_different = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		char key[16];
		int64_t msec;

		snprintf(key, sizeof(key), "%d", i);
		msec = backoff_msec(9, 200, 5000, backoff_salt(key));
		assert_in_range(msec, 2500, 5000);
		n_different += msec != backoff_msec(9, 200, 5000, backoff_salt("x"));
		assert_int_equal(msec, backoff_msec(9, 200, 5000, backoff_salt(key)));
	}
	assert_true(n_different > 50);
	assert_int_equal(backoff_msec(1, 1, 1, 12345), 1);
	assert_in_range(backoff_msec(4000000000U, 200, 5000, 7), 2500, 5000);
}

static int start_fake_clock(void **state)
{
	(void)state;
	clock_fake_start(1700000000000);
	return 0;
}

int main(void)
{
	const struct CMUnitTest real[] = {
		cmocka_unit_test(test_order_and_once),
		cmocka_unit_test(test_change_while_running),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_appointments_wake_all),
	};
	const struct CMUnitTest fake[] = {
		cmocka_unit_test(test_appointments),
		cmocka_unit_test(test_appointment_while_running),
		cmocka_unit_test(test_many_appointments),
		cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_jitter),
	};
	int n_failed = cmocka_run_group_tests(real, NULL, NULL);

	return n_failed + cmocka_run_group_tests(fake, start_fake_clock, NULL);
}
