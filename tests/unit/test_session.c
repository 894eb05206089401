#include "common/store/session.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC 20000

/* One who wants the key: a client of its own, and what it was told. */
struct who {
	struct kv *kv;
	struct session *s;
	atomic_int n_held, n_lost;
	atomic_bool is_held;
	_Atomic int64_t lost_msec;
	/* The fault of the next n_faults writes. */
	atomic_int fault, n_faults;
	int64_t slow_msec;    /* a write takes so long, by the fake clock */
	atomic_bool is_stuck; /* writes hang */
	atomic_int n_hanging;
	atomic_int n_writes, n_reads;
};

struct fixture {
	struct fake_etcd *f;
	struct kv *other;
	struct who a, b;
	atomic_int n_warn;
};

static void on_held(void *aux)
{
	struct who *w = aux;

	assert_false(atomic_exchange(&w->is_held, true));
	atomic_fetch_add(&w->n_held, 1);
}

static void on_lost(void *aux)
{
	struct who *w = aux;

	assert_true(atomic_exchange(&w->is_held, false));
	assert_int_equal(session_create_rev(w->s), 0);
	atomic_store(&w->lost_msec, test_now_msec());
	atomic_fetch_add(&w->n_lost, 1);
}

static int on_write(void *aux)
{
	struct who *w = aux;

	atomic_fetch_add(&w->n_writes, 1);
	if (w->slow_msec)
		clock_fake_advance(w->slow_msec);
	atomic_fetch_add(&w->n_hanging, 1);
	while (atomic_load(&w->is_stuck))
		sched_yield();
	atomic_fetch_sub(&w->n_hanging, 1);
	if (atomic_load(&w->n_faults) <= 0)
		return 0;
	atomic_fetch_sub(&w->n_faults, 1);
	return atomic_load(&w->fault);
}

static int on_read(void *aux)
{
	struct who *w = aux;

	atomic_fetch_add(&w->n_reads, 1);
	return 0;
}

static void log_sink(void *aux, enum log_level level, const char *line)
{
	struct fixture *x = aux;

	(void)line;
	if (level == LOG_WARN)
		atomic_fetch_add(&x->n_warn, 1);
}

static void set_cut(struct who *w, bool is_cut)
{
	struct kv_fault fault = {
		.is_cut = is_cut, .on_write = on_write, .on_read = on_read, .aux = w
	};

	kv_fake_set_fault(w->kv, &fault);
}

static int setup(void **state)
{
	struct fixture *x = xcalloc(1, sizeof(*x));

	x->f = fake_etcd_new();
	x->other = kv_fake_open(x->f);
	x->a.kv = kv_fake_open(x->f);
	x->b.kv = kv_fake_open(x->f);
	set_cut(&x->a, false);
	set_cut(&x->b, false);
	log_set_sink(log_sink, x);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	session_free(x->a.s, false);
	session_free(x->b.s, false);
	log_set_sink(NULL, NULL);
	kv_close(x->other);
	kv_close(x->a.kv);
	kv_close(x->b.kv);
	fake_etcd_free(x->f);
	free(x);
	return 0;
}

static void make(
	struct who *w, enum session_kind kind, const char *value, int64_t ttl_sec)
{
	struct session_conf conf = { .kind = kind,
		.key = "/k",
		.value = value,
		.ttl_sec = ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = w };

	w->s = session_new(w->kv, &conf);
}

static void make_lock(struct who *w)
{
	make(w, SESSION_LOCK, "{}", 10);
}

static struct kv_pair get(struct fixture *x)
{
	struct kv_pair pair;
	struct err e;

	assert_int_equal(kv_get(x->other, "/k", &pair, NULL, &e), 0);
	return pair;
}

static bool exists(struct fixture *x)
{
	struct kv_pair pair = get(x);
	bool is = pair.key;

	kv_pair_done(&pair);
	return is;
}

/* value NULL deletes. */
static void put(struct fixture *x, const char *value, int64_t lease)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	if (value)
		kv_txn_put_lease(t, "/k", value, lease);
	else
		kv_txn_del(t, "/k");
	assert_int_equal(kv_txn_commit(x->other, t, NULL, &e), 0);
}

static void step(struct who *w)
{
	for (int i = 0; w->s && session_step(w->s); i++)
		assert_true(i < 100); /* comes to rest */
}

/* Both step every 100 ms; never do both hold. */
static void run(struct fixture *x, int64_t msec)
{
	for (; msec > 0; msec -= 100) {
		clock_fake_advance(100);
		step(&x->a);
		step(&x->b);
		assert_false(x->a.s && x->b.s && session_create_rev(x->a.s) &&
			     session_create_rev(x->b.s));
	}
}

static void assert_holds(struct fixture *x, struct who *w)
{
	struct kv_pair pair = get(x);

	assert_true(atomic_load(&w->is_held));
	assert_non_null(pair.key);
	assert_int_equal(session_create_rev(w->s), pair.create_rev);
	kv_pair_done(&pair);
}

/* -------------------------------------------------------------- with a fake clock */

static void test_alive(void **state)
{
	struct fixture *x = *state;
	struct kv_pair pair;

	make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 0);
	assert_string_equal(session_key(x->a.s), "/k");
	assert_int_equal(session_create_rev(x->a.s), 0);
	step(&x->a);
	assert_holds(x, &x->a);
	pair = get(x);
	assert_string_equal(pair.value, "{\"machine\": \"m1\"}");
	assert_true(pair.lease);
	kv_pair_done(&pair);
	run(x, 120000);
	assert_holds(x, &x->a);
	assert_int_equal(atomic_load(&x->a.n_lost), 0);
	/* A keepalive every 3.3 s, a look every 10 s, and nothing else. */
	assert_in_range(atomic_load(&x->a.n_writes), 36, 40);
	assert_in_range(atomic_load(&x->a.n_reads), 11, 15);
	assert_int_equal(fake_etcd_rev(x->f), 2);
	session_free(x->a.s, true);
	x->a.s = NULL;
	assert_false(exists(x));
	session_free(NULL, true);
}

static void test_lost_in_time(void **state)
{
	struct fixture *x = *state;

	make_lock(&x->a);
	step(&x->a);
	clock_fake_advance(3400);
	step(&x->a); /* a keepalive, sent now */
	set_cut(&x->a, true);
	clock_fake_advance(9999);
	assert_holds(x, &x->a);
	clock_fake_advance(1);
	assert_int_equal(session_create_rev(x->a.s), 0); /* before any step */
	assert_true(atomic_load(&x->a.is_held));
	step(&x->a);
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	assert_int_equal(atomic_load(&x->n_warn), 2); /* the store, the loss */
	run(x, 30000);
	set_cut(&x->a, false);
	run(x, 2000);
	assert_holds(x, &x->a);
	assert_int_equal(atomic_load(&x->a.n_held), 2);
}

/* An answer that comes late does not make the lease live longer. */
static void test_counted_from_the_sending(void **state)
{
	struct fixture *x = *state;

	make_lock(&x->a);
	step(&x->a);
	clock_fake_advance(3400);
	x->a.slow_msec = 4000;
	assert_true(session_step(x->a.s)); /* sent now, answered 4 s later */
	x->a.slow_msec = 0;
	set_cut(&x->a, true);
	clock_fake_advance(5999);
	assert_holds(x, &x->a);
	clock_fake_advance(1);
	assert_int_equal(session_create_rev(x->a.s), 0);
}

/* A keepalive whose answer comes after the time was over is of no use. */
static void test_answered_too_late(void **state)
{
	struct fixture *x = *state;

	make_lock(&x->a);
	step(&x->a);
	clock_fake_advance(3400);
	x->a.slow_msec = 6700;
	assert_true(session_step(x->a.s));
	x->a.slow_msec = 0;
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	step(&x->a);
	assert_holds(x, &x->a); /* with a new lease */
	assert_int_equal(atomic_load(&x->a.n_held), 2);
}

static void test_lock_changes_hands(void **state)
{
	struct fixture *x = *state;
	int64_t first;

	make_lock(&x->a);
	make_lock(&x->b);
	step(&x->a);
	step(&x->b);
	first = session_create_rev(x->a.s);
	run(x, 60000);
	assert_holds(x, &x->a);
	assert_int_equal(session_create_rev(x->a.s), first);
	assert_int_equal(atomic_load(&x->b.n_held), 0);
	assert_in_range(
		atomic_load(&x->b.n_reads), 2, 10); /* does not ask all the time */
	set_cut(&x->a, true);
	run(x, 10000 + 100);
	assert_holds(x, &x->b);
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	assert_true(session_create_rev(x->b.s) > first);
	set_cut(&x->a, false);
	run(x, 60000);
	assert_holds(x, &x->b);
	session_free(x->b.s, true); /* at once */
	x->b.s = NULL;
	step(&x->a);
	assert_holds(x, &x->a);
	session_free(x->a.s, false); /* not before its lease is over */
	x->a.s = NULL;
	assert_true(exists(x));
	clock_fake_advance(10000);
	assert_false(exists(x));
}

static void test_unknown_outcomes(void **state)
{
	struct fixture *x = *state;

	for (int fault = 1; fault <= 3; fault++) {
		for (int nth = 0; nth < 2; nth++) {
			int held = atomic_load(&x->a.n_held);

			make_lock(&x->a);
			atomic_store(&x->a.fault, fault);
			if (nth == 0) { /* the grant */
				atomic_store(&x->a.n_faults, 1);
			} else { /* the creation */
				assert_true(session_step(x->a.s));
				atomic_store(&x->a.n_faults, 1);
			}
			step(&x->a);
			assert_int_equal(atomic_load(&x->a.n_faults), 0);
			run(x, 300);
			assert_int_equal(atomic_load(&x->a.n_held), held + 1);
			assert_holds(x, &x->a);
			session_free(x->a.s, true);
			x->a.s = NULL;
			atomic_store(&x->a.is_held, false);
			assert_false(exists(x));
		}
	}
}

/* Every answer is lost for a while: it asks more slowly, and gets there. */
static void test_answers_lost_for_long(void **state)
{
	struct fixture *x = *state;
	int n;

	make_lock(&x->a);
	assert_true(session_step(x->a.s));
	atomic_store(&x->a.fault, 3);
	atomic_store(&x->a.n_faults, 1000);
	step(&x->a);
	run(x, 9000);
	n = atomic_load(&x->a.n_writes);
	assert_in_range(n, 5, 40);
	atomic_store(&x->a.n_faults, 0);
	run(x, 3000);
	assert_holds(x, &x->a);
}

static void test_takeover(void **state)
{
	struct fixture *x = *state;
	struct err e;
	int64_t lease, other;
	struct kv_pair pair;

	assert_int_equal(kv_lease_grant(x->other, 60, &lease, &e), 0);
	assert_int_equal(kv_lease_grant(x->other, 30, &other, &e), 0);
	put(x, "{\"machine\": \"m1\", \"pid\": 1}", lease);
	make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 10);
	step(&x->a);
	assert_holds(x, &x->a);
	pair = get(x);
	assert_true(pair.lease != lease);
	assert_string_equal(pair.value, "{\"machine\": \"m1\"}");
	kv_pair_done(&pair);
	session_free(x->a.s, true);
	atomic_store(&x->a.is_held, false);
	put(x, "{\"machine\": \"m2\"}", other);
	make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 10);
	run(x, 29900);
	assert_int_equal(atomic_load(&x->a.n_held), 1);
	assert_int_equal(atomic_load(&x->n_warn), 1); /* said once */
	run(x, 200);
	assert_holds(x, &x->a);
}

static void test_other_values(void **state)
{
	struct fixture *x = *state;
	const char *values[] = { "", "no json", "{}", "{\"machine\": 1}", "[\"m1\"]" };

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		put(x, values[i], 0);
		make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 10);
		step(&x->a);
		assert_int_equal(atomic_load(&x->a.n_held), 0);
		session_free(x->a.s, true);
	}
	x->a.s = NULL;
}

static void test_key_is_touched(void **state)
{
	struct fixture *x = *state;

	make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 10);
	step(&x->a);
	put(x, NULL, 0); /* deleted */
	step(&x->a);
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	assert_int_equal(atomic_load(&x->a.n_held), 2);
	assert_holds(x, &x->a);
	put(x, "{\"machine\": \"m2\"}", 0); /* overwritten */
	step(&x->a);
	assert_int_equal(atomic_load(&x->a.n_lost), 2);
	assert_int_equal(session_create_rev(x->a.s), 0);
	put(x, NULL, 0);
	step(&x->a);
	assert_holds(x, &x->a);
	/* The watch misses it: seen by the look every TTL. */
	set_cut(&x->a, true);
	step(&x->a);
	put(x, NULL, 0);
	set_cut(&x->a, false);
	run(x, 10100);
	assert_int_equal(atomic_load(&x->a.n_lost), 3);
	assert_holds(x, &x->a);
}

/* etcd was down for longer than the TTL and has given the old lease its whole time again: its
 * owner does not wait for it. */
static void test_lease_outlives_outage(void **state)
{
	struct fixture *x = *state;
	struct kv_pair pair;
	struct err e;
	int64_t ttl_sec;

	make_lock(&x->a);
	step(&x->a);
	pair = get(x);
	set_cut(&x->a, true);
	for (int i = 0; i < 5; i++) {
		run(x, 5000);
		assert_int_equal(
			kv_lease_keepalive(x->other, pair.lease, &ttl_sec, &e), 0);
	}
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	set_cut(&x->a, false);
	run(x, 3000);
	assert_int_equal(atomic_load(&x->a.n_held), 2);
	assert_holds(x, &x->a);
	kv_pair_done(&pair);
}

static void test_lease_revoked(void **state)
{
	struct fixture *x = *state;
	struct kv_pair pair;
	struct err e;

	make_lock(&x->a);
	step(&x->a);
	pair = get(x);
	assert_int_equal(kv_lease_revoke(x->other, pair.lease, &e), 0);
	kv_pair_done(&pair);
	run(x, 100);
	assert_int_equal(atomic_load(&x->a.n_lost), 1);
	assert_holds(x, &x->a);
	/* Before the key was ever ours. */
	session_free(x->a.s, true);
	atomic_store(&x->a.is_held, false);
	put(x, "", 0);
	make_lock(&x->a);
	step(&x->a);
	assert_int_equal(kv_lease_revoke(x->other, 0x1002, &e), 0);
	put(x, NULL, 0);
	run(x, 5000);
	assert_holds(x, &x->a);
}

/* -------------------------------------------------------------- with threads */

static bool is_held(void *aux)
{
	return atomic_load(&((struct who *)aux)->is_held);
}

static bool is_lost(void *aux)
{
	return atomic_load(&((struct who *)aux)->n_lost) > 0;
}

static bool is_hanging(void *aux)
{
	return atomic_load(&((struct who *)aux)->n_hanging) > 0;
}

/* A lock says who has it. */
static void test_lock_says_whose_it_is(void **state)
{
	struct fixture *x = *state;
	struct kv_pair pair;

	make(&x->a, SESSION_LOCK, NULL, 10);
	for (int i = 0; i < 10; i++)
		session_step(x->a.s);
	pair = get(x);
	assert_non_null(pair.key);
	assert_non_null(strstr(pair.value, "\"host\""));
	assert_non_null(strstr(pair.value, "\"pid\""));
	kv_pair_done(&pair);
}

/* The session's thread hangs in a call; the loss is told in time all the same. */
static void test_lost_in_time_while_a_call_hangs(void **state)
{
	struct fixture *x = *state;
	int64_t start;

	make(&x->a, SESSION_LOCK, "{}", 3);
	session_start(x->a.s);
	assert_true(wait_until(is_held, &x->a, LONG_MSEC));
	atomic_store(&x->a.is_stuck, true);
	start = test_now_msec();
	assert_true(wait_until(is_hanging, &x->a, LONG_MSEC));
	assert_true(wait_until(is_lost, &x->a, LONG_MSEC));
	assert_in_range(atomic_load(&x->a.lost_msec) - start, 1, 5000);
	assert_int_equal(session_create_rev(x->a.s), 0);
	atomic_store(&x->a.is_stuck, false);
	assert_true(wait_until(is_held, &x->a, LONG_MSEC));
	assert_true(session_create_rev(x->a.s) > 0);
}

static void test_threads_change_hands(void **state)
{
	struct fixture *x = *state;
	int64_t start;

	make(&x->a, SESSION_LOCK, "{}", 30);
	make(&x->b, SESSION_LOCK, "{}", 30);
	session_start(x->a.s);
	assert_true(wait_until(is_held, &x->a, LONG_MSEC));
	session_start(x->b.s);
	start = test_now_msec();
	session_free(x->a.s, true);
	x->a.s = NULL;
	assert_true(wait_until(is_held, &x->b, LONG_MSEC));
	assert_true(test_now_msec() - start < 10000); /* by the watch */
	assert_int_equal(atomic_load(&x->b.n_lost), 0);
}

/* Longer than the lease. */
static void test_thread_keeps_alive(void **state)
{
	struct fixture *x = *state;
	int64_t start = test_now_msec();
	struct timespec nap = { .tv_nsec = 20000000 };

	make(&x->a, SESSION_ALIVE, "{\"machine\": \"m1\"}", 3);
	session_start(x->a.s);
	assert_true(wait_until(is_held, &x->a, LONG_MSEC));
	while (test_now_msec() < start + 4500) {
		assert_true(exists(x));
		nanosleep(&nap, NULL);
	}
	assert_int_equal(atomic_load(&x->a.n_lost), 0);
}

static void test_free_at_any_time(void **state)
{
	struct fixture *x = *state;
	int64_t start = test_now_msec();

	for (int i = 0; i < 40; i++) {
		struct timespec later = { .tv_nsec = i * 50000 };

		set_cut(&x->a, i % 4 == 3);
		make(&x->a, SESSION_LOCK, "{}", 10);
		session_start(x->a.s);
		nanosleep(&later, NULL);
		session_free(x->a.s, i % 2);
		x->a.s = NULL;
		atomic_store(&x->a.is_held, false);
	}
	assert_true(test_now_msec() - start < LONG_MSEC);
}

static int start_fake_clock(void **state)
{
	(void)state;
	clock_fake_start(1700000000000);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest real[] = {
		TEST(test_lost_in_time_while_a_call_hangs),
		TEST(test_lock_says_whose_it_is),
		TEST(test_threads_change_hands),
		TEST(test_thread_keeps_alive),
		TEST(test_free_at_any_time),
	};
	const struct CMUnitTest fake[] = {
		TEST(test_alive),
		TEST(test_lost_in_time),
		TEST(test_counted_from_the_sending),
		TEST(test_answered_too_late),
		TEST(test_lock_changes_hands),
		TEST(test_unknown_outcomes),
		TEST(test_answers_lost_for_long),
		TEST(test_takeover),
		TEST(test_other_values),
		TEST(test_key_is_touched),
		TEST(test_lease_outlives_outage),
		TEST(test_lease_revoked),
	};
	int n_failed = cmocka_run_group_tests(real, NULL, NULL);

	return n_failed + cmocka_run_group_tests(fake, start_fake_clock, NULL);
}
