#include "ucloud-api/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"

struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct draft *d;
};

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->d = draft_new();
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	draft_free(w->d);
	kv_close(w->kv);
	fake_etcd_free(w->etcd);
	free(w);
	return 0;
}

static void put(struct world *w, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
}

static void assert_stored(struct world *w, const char *key, const char *value)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;

	assert_int_equal(kv_get(w->kv, key, &p, NULL, &e), 0);
	if (!value) {
		assert_null(p.key);
		return;
	}
	assert_non_null(p.key);
	assert_string_equal(p.value, value);
}

static void test_see_and_read(void **state)
{
	struct world *w = *state;
	struct seen a, b;
	struct err e;

	put(w, "a", "1");
	assert_false(draft_see(w->d, "a", &a));
	assert_false(draft_see(w->d, "b", &b));
	assert_false(draft_see(w->d, "b", &b));
	assert_true(draft_has_wants(w->d));
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	assert_false(draft_has_wants(w->d));
	assert_true(draft_see(w->d, "a", &a));
	assert_string_equal(a.value, "1");
	assert_true(a.rev > 0);
	assert_true(draft_see(w->d, "b", &b));
	assert_null(b.value);
	assert_int_equal(b.rev, 0);
}

static void test_hopeful_and_careful(void **state)
{
	struct world *w = *state;
	struct seen s;
	struct err e;

	put(w, "taken", "x");
	assert_true(draft_see_new(w->d, "taken", &s));
	assert_null(s.value);
	draft_same(w->d, "taken");
	draft_put(w->d, "taken", "y");
	assert_int_equal(draft_commit(w->d, w->kv, NULL, &e), KV_CONFLICT);
	draft_forget(w->d);
	draft_set_careful(w->d, true);
	assert_false(draft_see_new(w->d, "taken", &s));
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	assert_true(draft_see_new(w->d, "taken", &s));
	assert_string_equal(s.value, "x");
	assert_stored(w, "taken", "x");
}

/* A key that several orders write: the last value counts, each sees the one before. */
static void test_shared_writes(void **state)
{
	struct world *w = *state;
	struct seen s;
	int64_t rev;
	struct err e;

	put(w, "user", "0");
	assert_false(draft_see(w->d, "user", &s));
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	draft_same(w->d, "user");
	draft_put(w->d, "user", "1");
	assert_true(draft_see(w->d, "user", &s));
	assert_string_equal(s.value, "1");
	draft_same(w->d, "user");
	draft_put(w->d, "user", "22");
	draft_put(w->d, "gone", "x");
	draft_del(w->d, "gone");
	assert_true(draft_see(w->d, "gone", &s));
	assert_null(s.value);
	assert_int_equal(draft_n_compares(w->d), 1);
	assert_int_equal(draft_n_ops(w->d), 2);
	assert_int_equal(draft_size(w->d), 2);
	assert_int_equal(draft_commit(w->d, w->kv, &rev, &e), 0);
	assert_stored(w, "user", "22");
	/* What was written is known now, with its revision. */
	assert_true(draft_see(w->d, "user", &s));
	assert_int_equal(s.rev, rev);
	assert_int_equal(draft_n_ops(w->d), 0);
	draft_same(w->d, "user");
	draft_put(w->d, "user", "333");
	assert_int_equal(draft_commit(w->d, w->kv, NULL, &e), 0);
	assert_stored(w, "user", "333");
}

static void test_clear_and_trim(void **state)
{
	struct world *w = *state;
	struct seen s;
	struct err e;

	put(w, "kept", "k");
	assert_false(draft_see(w->d, "kept", &s));
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	draft_put(w->d, "kept", "other");
	draft_put(w->d, "new", "n");
	draft_clear(w->d);
	assert_true(draft_see(w->d, "kept", &s));
	assert_string_equal(s.value, "k");
	draft_put(w->d, "new", "n");
	assert_int_equal(draft_commit(w->d, w->kv, NULL, &e), 0);
	draft_trim(w->d, 10, 1000);
	assert_true(draft_see(w->d, "kept", &s));
	assert_false(draft_see(w->d, "new", &s));
	draft_clear(w->d);
	draft_trim(w->d, 0, 1000);
	assert_false(draft_see(w->d, "kept", &s));
}

/* More keys than one read takes. */
static void test_read_many(void **state)
{
	struct world *w = *state;
	struct seen s;
	struct err e;
	char key[16];

	put(w, "k299", "last");
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_false(draft_see(w->d, key, &s));
	}
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	assert_true(draft_see(w->d, "k299", &s));
	assert_string_equal(s.value, "last");
	assert_true(draft_see(w->d, "k0", &s));
	assert_null(s.value);
}

struct thing {
	char *name;
};
static const struct jtab_field thing_fields[] = {
	{ "name", JT_STR, offsetof(struct thing, name), JT_NEED },
	{ 0 },
};
static const struct jtab thing_jtab = { "thing", sizeof(struct thing), thing_fields };
static const struct jtab other_jtab = { "other", sizeof(struct thing), thing_fields };

static void keep(struct world *w, const char *name)
{
	struct thing t = { .name = xstrdup(name) };

	draft_keep_parsed(w->d, "a", &thing_jtab, &t);
	jtab_done(&thing_jtab, &t);
}

static void assert_parsed(struct world *w, const char *name)
{
	const struct thing *t = draft_parsed(w->d, "a", &thing_jtab);

	if (!name) {
		assert_null(t);
		return;
	}
	assert_non_null(t);
	assert_string_equal(t->name, name);
}

/* What was made of a value is never shown for another one. */
static void test_parsed(void **state)
{
	struct world *w = *state;
	struct seen a;
	struct err e;

	put(w, "a", "1");
	assert_false(draft_see(w->d, "a", &a));
	assert_parsed(w, NULL);
	assert_int_equal(draft_read(w->d, w->kv, &e), 0);
	keep(w, "one");
	assert_parsed(w, "one");
	assert_null(draft_parsed(w->d, "a", &other_jtab));
	draft_clear(w->d);
	assert_parsed(w, "one");
	draft_put(w->d, "a", "2");
	assert_parsed(w, NULL);
	keep(w, "two");
	assert_parsed(w, "two");
	draft_clear(w->d); /* it is 1 again */
	assert_parsed(w, NULL);
	draft_put(w->d, "a", "3");
	keep(w, "three");
	assert_true(draft_see(w->d, "a", &a));
	assert_int_equal(draft_commit(w->d, w->kv, NULL, &e), 0);
	assert_parsed(w, "three");
	draft_trim(w->d, 10, 1000);
	assert_parsed(w, "three");
	draft_put(w->d, "a", "4");
	assert_int_equal(draft_commit(w->d, w->kv, NULL, &e), 0);
	assert_parsed(w, NULL);
	keep(w, "four");
	draft_del(w->d, "a");
	assert_parsed(w, NULL);
	draft_forget(w->d);
	assert_parsed(w, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_see_and_read),
		TEST(test_hopeful_and_careful),
		TEST(test_shared_writes),
		TEST(test_clear_and_trim),
		TEST(test_parsed),
		TEST(test_read_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
