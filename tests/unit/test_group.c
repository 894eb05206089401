#include "ucloud-api/group.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/parse.h"
#include "common/store/kv_fake.h"

/* An order takes one from "count" (a decimal) and makes the key of its name. */
struct order {
	const char *name, *by;
	int n_runs;
};

static const struct group_room room = { .n_ops = 2, .n_compares = 2, .size = 64 };

static int order(void *aux, struct draft *d, struct err *e)
{
	struct order *o = aux;
	struct seen count, mine;
	int64_t left;
	char text[24];

	o->n_runs++;
	if (!draft_see(d, "count", &count))
		return DRAFT_MORE;
	if (!draft_see_new(d, o->name, &mine))
		return DRAFT_MORE;
	if (mine.value && draft_is_doubtful(d) && strcmp(mine.value, o->by) == 0)
		return DRAFT_AS_IT_IS;
	if (mine.value)
		return err_set(e, ERR_EXISTS, "%s exists", o->name);
	if (parse_int64(count.value, 0, 1000000, &left, e) < 0)
		return -1;
	if (left == 0)
		return err_set(e, ERR_QUOTA, "nothing is left");
	snprintf(text, sizeof(text), "%lld", (long long)left - 1);
	draft_same(d, "count");
	draft_same(d, o->name);
	draft_put(d, "count", text);
	draft_put(d, o->name, o->by);
	return 0;
}

struct world {
	struct fake_etcd *etcd;
	struct kv *kv, *other;
	struct group *group;
	struct kv_fault fault;
	atomic_int n_writes;
	int fault_kind, fault_every;
};

static int on_write(void *aux)
{
	struct world *w = aux;
	int n = atomic_fetch_add(&w->n_writes, 1) + 1;

	return w->fault_every && n % w->fault_every == 0 ? w->fault_kind : 0;
}

static void put(struct world *w, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->other, t, NULL, &e), 0);
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->other = kv_fake_open(w->etcd);
	w->fault = (struct kv_fault){ .on_write = on_write, .aux = w };
	kv_fake_set_fault(w->kv, &w->fault);
	w->group = group_new(w->kv);
	put(w, "count", "1000");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	group_free(w->group);
	kv_close(w->kv);
	kv_close(w->other);
	fake_etcd_free(w->etcd);
	free(w);
	return 0;
}

static int run(struct world *w, const char *name, int *n_runs, struct err *e)
{
	struct order o = { .name = name, .by = name };
	int r = group_run(w->group, order, &o, &room, e);

	if (n_runs)
		*n_runs = o.n_runs;
	return r;
}

static int64_t count(struct world *w)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	int64_t n;
	struct err e;

	assert_int_equal(kv_get(w->other, "count", &p, NULL, &e), 0);
	assert_int_equal(parse_int64(p.value, 0, 1000000, &n, &e), 0);
	return n;
}

/* One alone: one transaction, and no reading once the group knows. */
static void test_alone(void **state)
{
	struct world *w = *state;
	struct err e;
	int n_runs;

	assert_int_equal(run(w, "a", &n_runs, &e), 0);
	assert_int_equal(n_runs, 2);
	assert_int_equal(run(w, "b", &n_runs, &e), 0);
	assert_int_equal(n_runs, 1);
	assert_int_equal(atomic_load(&w->n_writes), 2);
	assert_int_equal(count(w), 998);
}

static void test_errors_are_exact(void **state)
{
	struct world *w = *state;
	struct err e;

	assert_int_equal(run(w, "a", NULL, &e), 0);
	assert_int_equal(run(w, "a", NULL, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	put(w, "count", "0");
	assert_int_equal(run(w, "b", NULL, &e), -1);
	assert_int_equal(e.kind, ERR_QUOTA);
	/* What the group remembers ("nothing is left") is not believed for long. */
	put(w, "count", "5");
	assert_int_equal(run(w, "b", NULL, &e), 0);
	assert_int_equal(count(w), 4);
}

static void test_outcomes(void **state)
{
	struct world *w = *state;
	struct err e;

	w->fault_every = 1;
	w->fault_kind = 1;
	assert_int_equal(run(w, "a", NULL, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	atomic_store(&w->n_writes, 0);
	w->fault_kind = 2; /* done, and not told */
	assert_int_equal(run(w, "b", NULL, &e), DRAFT_AS_IT_IS);
	w->fault_every = 2;
	atomic_store(&w->n_writes, 1);
	w->fault_kind = 3; /* not done, and not told */
	assert_int_equal(run(w, "c", NULL, &e), 0);
	assert_int_equal(count(w), 998);
}

enum { N_THREADS = 24, N_EACH = 20 };

struct worker {
	struct world *w;
	pthread_t thread;
	int id, n_done;
};

static void *work(void *aux)
{
	struct worker *t = aux;

	for (int i = 0; i < N_EACH; i++) {
		char name[32];
		struct err e;
		int r;

		snprintf(name, sizeof(name), "t%d-%d", t->id, i);
		do
			r = run(t->w, name, NULL, &e);
		while (r < 0 && e.kind == ERR_CONFLICT);
		t->n_done += r >= 0;
	}
	return NULL;
}

static int run_threads(struct world *w)
{
	struct worker workers[N_THREADS];
	int n_done = 0;

	for (int i = 0; i < N_THREADS; i++) {
		workers[i] = (struct worker){ .w = w, .id = i };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		n_done += workers[i].n_done;
	}
	return n_done;
}

static void test_threads(void **state)
{
	struct world *w = *state;

	assert_int_equal(run_threads(w), N_THREADS * N_EACH);
	assert_int_equal(count(w), 1000 - N_THREADS * N_EACH);
}

/* Outcomes get lost all the time: each is carried out once. */
static void test_threads_with_faults(void **state)
{
	struct world *w = *state;

	w->fault_every = 3;
	for (w->fault_kind = 2; w->fault_kind <= 3; w->fault_kind++) {
		CLEANUP(kv_list_done) struct kv_list list = { 0 };
		struct err e;

		put(w, "count", "1000");
		assert_int_equal(run_threads(w), N_THREADS * N_EACH);
		assert_int_equal(count(w), 1000 - N_THREADS * N_EACH);
		assert_int_equal(kv_range(w->other, "t", 0, &list, &e), 0);
		for (size_t i = 0; i < list.len; i++) {
			CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

			kv_txn_del(t, list.v[i].key);
			assert_int_equal(kv_txn_commit(w->other, t, NULL, &e), 0);
		}
	}
}

/* Who is expected to come back and does not is not waited for. */
static void test_nobody_comes_back(void **state)
{
	struct world *w = *state;
	int64_t begun;
	struct err e;

	test_threads(state);
	begun = clock_mono_msec();
	for (int i = 0; i < 20; i++) {
		CLEANUP_STR char *name = xasprintf("late-%d", i);

		assert_int_equal(run(w, name, NULL, &e), 0);
	}
	assert_true(clock_mono_msec() - begun < 5000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_alone),
		TEST(test_errors_are_exact),
		TEST(test_outcomes),
		TEST(test_threads),
		TEST(test_nobody_comes_back),
		TEST(test_threads_with_faults),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
