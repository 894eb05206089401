/*
 * What kv.h promises, held against both of its implementations: the one in memory and a
 * real etcd. What only happens to a real one is in test_kv_etcd.c.
 */
#include "common/store/kv.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/parse.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC 30000
#define N_KEYS	  2600
#define N_THREADS 8
#define N_ROUNDS  25

struct store {
	struct kv *kv;
	struct fake_etcd *fake; /* one of these */
	struct test_etcd *etcd;
	unsigned n_tests;
	char prefix[32]; /* each test's own */
};

static struct store store;

/* ---------------------------------------------------------------- helpers */

#define assert_done(call)                                                                \
	do {                                                                             \
		int result_ = (call);                                                    \
		if (result_ != 0)                                                        \
			fail_msg("%s: %d %s", #call, result_, e.msg);                    \
	} while (0)

/* "<prefix><name>", good for the next 16 calls. */
static const char *key(const char *fmt, ...) PRINTF_LIKE(1, 2);
static const char *key(const char *fmt, ...)
{
	static char keys[16][64];
	static unsigned n;
	char *k = keys[n++ % 16], name[32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	snprintf(k, sizeof(keys[0]), "%s%s", store.prefix, name);
	return k;
}

static int64_t put(const char *k, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev = 0;

	kv_txn_put(t, k, value);
	assert_done(kv_txn_commit(store.kv, t, &rev, &e));
	assert_true(rev > 0);
	return rev;
}

static int64_t del(const char *k)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev = 0;

	kv_txn_del(t, k);
	assert_done(kv_txn_commit(store.kv, t, &rev, &e));
	return rev;
}

/* NULL when absent; the caller's. */
static char *get(const char *k)
{
	struct kv_pair p = { 0 };
	struct err e = { 0 };

	assert_done(kv_get(store.kv, k, &p, NULL, &e));
	free(p.key);
	return p.value;
}

static void assert_value(const char *k, const char *want)
{
	CLEANUP_STR char *value = get(k);

	if (!str_eq(value, want))
		fail_msg("%s is %s, not %s", k, value ? value : "absent",
			want ? want : "absent");
}

static void compact(int64_t rev)
{
	if (store.fake)
		fake_etcd_compact(store.fake);
	else
		test_etcd_compact(store.etcd, rev);
}

static struct kv_watch *watch(const char *prefix, int64_t from_rev)
{
	struct kv_watch_req req = { .prefix = prefix, .from_rev = from_rev };
	struct kv_watch *w = NULL;
	struct err e = { 0 };

	assert_done(kv_watch_open(store.kv, &req, &w, &e));
	return w;
}

/* The next list with events in it. */
static void next_events(struct kv_watch *w, struct kv_events *out)
{
	struct err e = { 0 };

	do {
		kv_events_done(out);
		assert_done(kv_watch_next(w, LONG_MSEC, out, &e));
	} while (out->len == 0);
}

/* ---------------------------------------------------------------- transactions */

static void test_create_once(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_pair p = { 0 };
	struct err e = { 0 };
	int64_t made = 0, seen = 0, rev = 0;

	(void)state;
	kv_txn_if_rev(t, key("a"), 0);
	kv_txn_put(t, key("a"), "one");
	kv_txn_put(t, key("b"), "two");
	assert_done(kv_txn_commit(store.kv, t, &made, &e));
	assert_int_equal(kv_txn_commit(store.kv, t, &seen, &e), KV_CONFLICT);
	assert_int_equal(seen, made); /* nothing else writes here */
	assert_done(kv_get(store.kv, key("a"), &p, &rev, &e));
	assert_string_equal(p.key, key("a"));
	assert_string_equal(p.value, "one");
	assert_int_equal(p.value_size, 3);
	assert_int_equal(p.create_rev, made);
	assert_int_equal(p.mod_rev, made);
	assert_int_equal(p.lease, 0);
	assert_int_equal(rev, made);
	kv_pair_done(&p);
	assert_value(key("c"), NULL);
}

static void test_revisions_move(void **state)
{
	struct kv_pair p = { 0 };
	struct err e = { 0 };
	int64_t r1 = put(key("a"), "1"), r2 = put(key("b"), "1"), r3 = put(key("a"), "2");

	(void)state;
	assert_true(r1 < r2 && r2 < r3);
	assert_done(kv_get(store.kv, key("a"), &p, NULL, &e));
	assert_int_equal(p.create_rev, r1);
	assert_int_equal(p.mod_rev, r3);
	kv_pair_done(&p);
	del(key("a"));
	assert_int_equal(del(key("a")), del(key("a"))); /* changes nothing */
	r3 = put(key("a"), "3");
	assert_done(kv_get(store.kv, key("a"), &p, NULL, &e));
	assert_int_equal(p.create_rev, r3); /* a new life */
	kv_pair_done(&p);
}

/* Each kind of comparison, one that holds and ones that do not. An implementation that sent
 * it under a wrong name would write regardless. */
enum compare { IF_REV, IF_LOCK, IF_PRESENT };

static int try_compare(enum compare kind, const char *k, int64_t rev)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *before = get(key("target"));
	struct err e = { 0 };
	int r;

	if (kind == IF_REV)
		kv_txn_if_rev(t, k, rev);
	else if (kind == IF_LOCK)
		kv_txn_if_lock(t, k, rev);
	else
		kv_txn_if_present(t, k);
	kv_txn_put(t, key("target"), str_eq(before, "x") ? "y" : "x");
	r = kv_txn_commit(store.kv, t, NULL, &e);
	if (r == 0)
		assert_value(key("target"), str_eq(before, "x") ? "y" : "x");
	else
		assert_value(key("target"), before);
	return r;
}

static void test_every_comparison(void **state)
{
	int64_t made = put(key("a"), "1"), changed = put(key("a"), "2");

	(void)state;
	assert_int_equal(try_compare(IF_REV, key("a"), changed), 0);
	assert_int_equal(try_compare(IF_REV, key("a"), made), KV_CONFLICT);
	assert_int_equal(try_compare(IF_REV, key("a"), changed + 1), KV_CONFLICT);
	assert_int_equal(try_compare(IF_REV, key("a"), 0), KV_CONFLICT);
	assert_int_equal(try_compare(IF_REV, key("none"), 0), 0);
	assert_int_equal(try_compare(IF_REV, key("none"), changed), KV_CONFLICT);
	assert_int_equal(try_compare(IF_LOCK, key("a"), made), 0);
	assert_int_equal(try_compare(IF_LOCK, key("a"), changed), KV_CONFLICT);
	assert_int_equal(try_compare(IF_LOCK, key("none"), made), KV_CONFLICT);
	assert_int_equal(try_compare(IF_LOCK, key("none"), 0), 0);
	assert_int_equal(try_compare(IF_PRESENT, key("a"), 0), 0);
	assert_int_equal(try_compare(IF_PRESENT, key("none"), 0), KV_CONFLICT);
}

/* All comparisons must hold, not just one of them. */
static void test_all_comparisons(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	int64_t rev = put(key("a"), "1");
	struct err e = { 0 };

	(void)state;
	kv_txn_if_rev(t, key("a"), rev);
	kv_txn_if_rev(t, key("b"), 0);
	kv_txn_if_present(t, key("none"));
	kv_txn_put(t, key("a"), "2");
	assert_int_equal(kv_txn_commit(store.kv, t, NULL, &e), KV_CONFLICT);
	assert_value(key("a"), "1");
}

static void test_largest_transaction(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t count = 0;

	(void)state;
	for (int i = 0; i < KV_TXN_MAX_OPS; i++) {
		kv_txn_if_rev(t, key("%03d", i), 0);
		kv_txn_put(t, key("%03d", i), "x");
	}
	assert_int_equal(kv_txn_n_ops(t), KV_TXN_MAX_OPS);
	assert_int_equal(kv_txn_n_compares(t), KV_TXN_MAX_OPS);
	assert_done(kv_txn_commit(store.kv, t, NULL, &e));
	assert_done(kv_count(store.kv, store.prefix, &count, &e));
	assert_int_equal(count, KV_TXN_MAX_OPS);
	assert_int_equal(kv_txn_commit(store.kv, t, NULL, &e), KV_CONFLICT);
}

static void test_values_are_bytes(void **state)
{
	char bytes[256];
	struct kv_pair p = { 0 };
	struct err e = { 0 };

	(void)state;
	for (int i = 0; i < 255; i++)
		bytes[i] = (char)(i + 1);
	bytes[255] = '\0';
	put(key("a"), bytes);
	put(key("empty"), "");
	assert_value(key("a"), bytes);
	assert_value(key("empty"), "");
	assert_done(kv_get(store.kv, key("a"), &p, NULL, &e));
	assert_int_equal(p.value_size, 255);
	kv_pair_done(&p);
	put(key("\xc3\xa4 \"\\ b"), "key");
	assert_value(key("\xc3\xa4 \"\\ b"), "key");
}

static void test_sizes(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(kv_txn_free_ptr) struct kv_txn *many = kv_txn_new();
	CLEANUP_STR char *big = xmalloc(KV_VALUE_MAX + 2);
	struct err e = { 0 };

	(void)state;
	memset(big, 'x', KV_VALUE_MAX + 1);
	big[KV_VALUE_MAX] = '\0';
	put(key("a"), big);
	assert_value(key("a"), big);
	for (size_t i = 0; kv_txn_size(many) + KV_VALUE_MAX + 100 < KV_TXN_MAX_SIZE; i++)
		kv_txn_put(many, key("m%zu", i), big);
	assert_done(kv_txn_commit(store.kv, many, NULL, &e));
	kv_txn_put(many, key("last"), big);
	kv_txn_put(many, key("very last"), big);
	assert_true(kv_txn_commit(store.kv, many, NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	big[KV_VALUE_MAX] = 'x';
	big[KV_VALUE_MAX + 1] = '\0';
	kv_txn_put(t, key("b"), big);
	assert_true(kv_txn_commit(store.kv, t, NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_value(key("b"), NULL);
}

static void *count_up(void *aux)
{
	int *n_conflicts = aux;
	struct err e = { 0 };

	for (int n = 0; n < N_ROUNDS;) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		struct kv_pair p = { 0 };
		int64_t counter = 0;
		char next[24];
		int r;

		if (kv_get(store.kv, "/counter", &p, NULL, &e) != 0)
			return "get failed";
		if (p.value && parse_int64(p.value, 0, 1000000, &counter, &e) < 0)
			return "the counter is no number";
		snprintf(next, sizeof(next), "%" PRId64, counter + 1);
		kv_txn_if_rev(t, "/counter", p.mod_rev);
		kv_txn_put(t, "/counter", next);
		kv_pair_done(&p);
		r = kv_txn_commit(store.kv, t, NULL, &e);
		if (r != 0 && r != KV_CONFLICT)
			return "commit failed";
		n += r == 0;
		*n_conflicts += r == KV_CONFLICT;
	}
	return NULL;
}

static void test_threads_count(void **state)
{
	pthread_t threads[N_THREADS];
	int n_conflicts[N_THREADS] = { 0 }, total = 0;
	char want[16];

	(void)state;
	del("/counter");
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, count_up, &n_conflicts[i]), 0);
	for (int i = 0; i < N_THREADS; i++) {
		void *why;

		pthread_join(threads[i], &why);
		if (why)
			fail_msg("%s", (char *)why);
		total += n_conflicts[i];
	}
	snprintf(want, sizeof(want), "%d", N_THREADS * N_ROUNDS);
	assert_value("/counter", want);
	printf("%d conflicts\n", total);
	del("/counter");
}

/* ---------------------------------------------------------------- reads */

static void test_get_many(void **state)
{
	const char *keys[] = { key("b"), key("none"), key("a"), key("b") };
	CLEANUP(kv_list_done) struct kv_list l = { 0 };
	struct err e = { 0 };
	int64_t rev;

	(void)state;
	put(key("a"), "1");
	rev = put(key("b"), "2");
	assert_done(kv_get_many(store.kv, keys, 4, &l, &e));
	assert_int_equal(l.len, 4);
	assert_int_equal(l.rev, rev);
	assert_string_equal(l.v[0].value, "2");
	assert_null(l.v[1].key);
	assert_string_equal(l.v[2].value, "1");
	assert_int_equal(l.v[3].mod_rev, rev);
	kv_list_done(&l);
	assert_done(kv_get_many(store.kv, keys, 0, &l, &e));
	assert_int_equal(l.len, 0);
}

static void test_get_many_most(void **state)
{
	const char *keys[KV_TXN_MAX_OPS];
	CLEANUP(kv_list_done) struct kv_list l = { 0 };
	struct err e = { 0 };

	(void)state;
	put(key("a"), "1");
	for (int i = 0; i < KV_TXN_MAX_OPS; i++)
		keys[i] = key("a");
	assert_done(kv_get_many(store.kv, keys, KV_TXN_MAX_OPS, &l, &e));
	assert_int_equal(l.len, KV_TXN_MAX_OPS);
	assert_string_equal(l.v[KV_TXN_MAX_OPS - 1].value, "1");
}

/* "<names> more" of a page. */
static void assert_page(const char *prefix, const char *after, size_t limit, int64_t rev,
	const char *want)
{
	CLEANUP(kv_list_done) struct kv_list l = { 0 };
	CLEANUP(buf_done) struct buf got = { 0 };
	struct err e = { 0 };

	assert_done(kv_range_page(store.kv, prefix, after, limit, rev, &l, &e));
	for (size_t i = 0; i < l.len; i++)
		buf_addf(&got, "%s ", l.v[i].key + strlen(store.prefix));
	buf_add_str(&got, l.has_more ? "more" : "end");
	assert_string_equal(buf_str(&got), want);
	assert_true(rev == 0 || l.rev == rev);
}

static void test_pages(void **state)
{
	static const char *const names[] = { "a", "b", "b/1", "b/2", "b0", "c" };
	int64_t rev = 0, count = 0;
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		rev = put(key("%s", names[i]), "x");
	assert_page(store.prefix, NULL, 10, 0, "a b b/1 b/2 b0 c end");
	assert_page(store.prefix, NULL, 6, 0, "a b b/1 b/2 b0 c end");
	assert_page(store.prefix, NULL, 2, 0, "a b more");
	assert_page(store.prefix, key("b"), 2, 0, "b/1 b/2 more");
	assert_page(store.prefix, key("b/2"), 2, 0, "b0 c end");
	assert_page(store.prefix, key("c"), 2, 0, "end");
	assert_page(store.prefix, key("b/11"), 2, 0, "b/2 b0 more"); /* no such key */
	assert_page(key("b/"), NULL, 2, 0, "b/1 b/2 end");
	assert_page(key("b/"), key("a"), 2, 0, "b/1 b/2 end");
	assert_page(key("b/"), key("b/1"), 2, 0, "b/2 end");
	assert_page(key("b/"), key("c"), 2, 0, "end");
	assert_page(key("x"), NULL, 2, 0, "end");
	del(key("b"));
	put(key("bb"), "x");
	assert_page(store.prefix, key("a"), 3, rev, "b b/1 b/2 more");
	assert_page(store.prefix, key("a"), 3, 0, "b/1 b/2 b0 more");
	assert_done(kv_count(store.kv, key("b"), &count, &e));
	assert_int_equal(count, 4);
	assert_done(kv_count(store.kv, key("x"), &count, &e));
	assert_int_equal(count, 0);
}

static void test_all_keys(void **state)
{
	CLEANUP(kv_list_done) struct kv_list l = { 0 };
	struct err e = { 0 };
	int64_t count = 0;

	(void)state;
	put(key("a"), "1");
	assert_done(kv_count(store.kv, "", &count, &e));
	assert_done(kv_range(store.kv, "", 0, &l, &e));
	assert_true(l.len > 0);
	assert_int_equal(count, l.len);
	for (size_t i = 1; i < l.len; i++)
		assert_true(strcmp(l.v[i - 1].key, l.v[i].key) < 0);
}

static void put_many(const char *value)
{
	struct err e = { 0 };

	for (int i = 0; i < N_KEYS;) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

		for (int n = 0; n < KV_TXN_MAX_OPS && i < N_KEYS; n++, i++)
			kv_txn_put(t, key("%05d", i), value);
		assert_done(kv_txn_commit(store.kv, t, NULL, &e));
	}
}

struct writer {
	char *key;
	bool must_stop; /* atomic */
	int n;		/* atomic */
};

/* Makes and unmakes keys among the others, and changes one of them. */
static void *write_on(void *aux)
{
	struct writer *w = aux;
	struct err e = { 0 };

	for (; !__atomic_load_n(&w->must_stop, __ATOMIC_RELAXED);) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		CLEANUP_STR char *extra =
			xasprintf("%s%05d-extra", w->key, w->n % N_KEYS);
		CLEANUP_STR char *changed = xasprintf("%s%05d", w->key, w->n % N_KEYS);

		kv_txn_put(t, extra, "new");
		kv_txn_put(t, changed, "new");
		if (kv_txn_commit(store.kv, t, NULL, &e) != 0)
			return "commit failed";
		__atomic_add_fetch(&w->n, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool has_written(void *aux)
{
	return __atomic_load_n(&((struct writer *)aux)->n, __ATOMIC_RELAXED) > 0;
}

static void test_long_list_at_one_revision(void **state)
{
	struct writer w = { .key = store.prefix };
	struct kv_list l = { 0 };
	struct err e = { 0 };
	pthread_t thread;
	int64_t rev;
	void *why;
	size_t n_new = 0;

	(void)state;
	put_many("old");
	rev = put(key("99999"), "last");
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	assert_true(wait_until(has_written, &w, LONG_MSEC));
	/* Of a past revision: exactly what was there. */
	for (int i = 0; i < 3; i++) {
		assert_done(kv_range(store.kv, store.prefix, rev, &l, &e));
		assert_int_equal(l.rev, rev);
		assert_int_equal(l.len, N_KEYS + 1);
		for (size_t k = 0; k < N_KEYS; k++)
			assert_string_equal(l.v[k].value, "old");
		kv_list_done(&l);
	}
	/* Of the newest one: a moment of the whole, however many pages it took. Each write
	 * adds one key and the k-th key is new exactly when its extra key is there. */
	assert_done(kv_range(store.kv, store.prefix, 0, &l, &e));
	for (size_t i = 0; i < l.len; i++) {
		assert_true(l.v[i].mod_rev <= l.rev);
		n_new += str_eq(l.v[i].value, "new") &&
			 !str_has_suffix(l.v[i].key, "-extra");
	}
	assert_int_equal(l.len, N_KEYS + 1 + n_new);
	kv_list_done(&l);
	__atomic_store_n(&w.must_stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, &why);
	if (why)
		fail_msg("%s", (char *)why);
}

static void test_compacted_reads(void **state)
{
	struct kv_list l = { 0 };
	struct err e = { 0 };
	int64_t old = put(key("a"), "1"), now;

	(void)state;
	put(key("a"), "2");
	now = put(key("a"), "3");
	assert_done(kv_range(store.kv, store.prefix, old, &l, &e));
	assert_string_equal(l.v[0].value, "1");
	kv_list_done(&l);
	compact(now);
	assert_int_equal(kv_range(store.kv, store.prefix, old, &l, &e), KV_COMPACTED);
	assert_int_equal(kv_range_page(store.kv, store.prefix, NULL, 5, old, &l, &e),
		KV_COMPACTED);
	assert_done(kv_range(store.kv, store.prefix, now, &l, &e));
	assert_string_equal(l.v[0].value, "3");
	kv_list_done(&l);
}

/* ---------------------------------------------------------------- leases */

static int put_lease(const char *k, int64_t lease, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

	kv_txn_put_lease(t, k, "x", lease);
	return kv_txn_commit(store.kv, t, NULL, e);
}

static void test_lease_revoked(void **state)
{
	struct kv_pair p = { 0 };
	struct err e = { 0 };
	int64_t lease = 0, ttl = 0;

	(void)state;
	assert_done(kv_lease_grant(store.kv, 30, &lease, &e));
	assert_true(lease > 0);
	assert_done(put_lease(key("a"), lease, &e));
	assert_done(kv_get(store.kv, key("a"), &p, NULL, &e));
	assert_int_equal(p.lease, lease);
	kv_pair_done(&p);
	assert_done(kv_lease_keepalive(store.kv, lease, &ttl, &e));
	assert_int_equal(ttl, 30);
	assert_done(kv_lease_revoke(store.kv, lease, &e));
	assert_value(key("a"), NULL);
	assert_done(kv_lease_keepalive(store.kv, lease, &ttl, &e));
	assert_int_equal(ttl, 0);
	assert_done(kv_lease_revoke(store.kv, lease, &e));
	/* Nothing can be bound to it any more, and nothing is written unbound. */
	assert_true(put_lease(key("b"), lease, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_value(key("b"), NULL);
}

static bool is_gone(void *aux)
{
	CLEANUP_STR char *value = get(aux);

	return value == NULL;
}

static void test_lease_expires(void **state)
{
	CLEANUP_STR char *a = xstrdup(key("a")), *b = xstrdup(key("b"));
	struct err e = { 0 };
	int64_t short_lease, long_lease, ttl = 0;

	(void)state;
	assert_done(kv_lease_grant(store.kv, 1, &short_lease, &e));
	assert_done(kv_lease_grant(store.kv, 60, &long_lease, &e));
	assert_done(put_lease(a, short_lease, &e));
	assert_done(put_lease(b, long_lease, &e));
	assert_value(a, "x");
	assert_true(wait_until(is_gone, a, LONG_MSEC));
	assert_value(b, "x");
	assert_done(kv_lease_keepalive(store.kv, short_lease, &ttl, &e));
	assert_int_equal(ttl, 0);
	assert_done(kv_lease_revoke(store.kv, long_lease, &e));
}

/* ---------------------------------------------------------------- watches */

static void test_watch_events(void **state)
{
	struct kv_watch_req req = { .prefix = store.prefix, .want_prev = true };
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = NULL;
	struct err e = { 0 };
	int64_t r1, r2, r3;

	(void)state;
	assert_done(kv_watch_open(store.kv, &req, &w, &e));
	r1 = put(key("a"), "1");
	put("/elsewhere", "x");
	r2 = put(key("a"), "2");
	r3 = del(key("a"));
	next_events(w, &ev);
	assert_int_equal(ev.v[0].pair.mod_rev, r1);
	assert_string_equal(ev.v[0].pair.key, key("a"));
	assert_string_equal(ev.v[0].pair.value, "1");
	assert_int_equal(ev.v[0].pair.create_rev, r1);
	assert_null(ev.v[0].prev.key);
	while (ev.rev < r2)
		next_events(w, &ev);
	while (ev.rev < r3)
		next_events(w, &ev);
	assert_int_equal(ev.v[ev.len - 1].pair.mod_rev, r3);
	assert_true(ev.v[ev.len - 1].is_delete);
	assert_string_equal(ev.v[ev.len - 1].pair.key, key("a"));
	assert_null(ev.v[ev.len - 1].pair.value);
	assert_string_equal(ev.v[ev.len - 1].prev.value, "2");
	assert_int_equal(ev.v[ev.len - 1].prev.mod_rev, r2);
	kv_watch_close(w);
}

static void test_watch_whole_transactions(void **state)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(store.prefix, 0);
	struct err e = { 0 };

	(void)state;
	for (int n = 0; n < 3; n++) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		int64_t rev = 0;
		size_t in_rev = 0;

		for (int i = 0; i < KV_TXN_MAX_OPS; i++)
			kv_txn_put(t, key("%03d", i), "a value that takes some room");
		assert_done(kv_txn_commit(store.kv, t, &rev, &e));
		next_events(w, &ev);
		assert_int_equal(ev.rev, rev);
		for (size_t i = 0; i < ev.len; i++)
			in_rev += ev.v[i].pair.mod_rev == rev;
		assert_int_equal(in_rev, KV_TXN_MAX_OPS);
	}
	kv_watch_close(w);
}

static void test_watch_one_key(void **state)
{
	struct kv_watch_req req = { .prefix = key("a"), .is_single_key = true };
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = NULL;
	struct err e = { 0 };

	(void)state;
	assert_done(kv_watch_open(store.kv, &req, &w, &e));
	put(key("ab"), "1");
	put(key("a"), "2");
	next_events(w, &ev);
	assert_int_equal(ev.len, 1);
	assert_string_equal(ev.v[0].pair.value, "2");
	kv_watch_close(w);
}

/* From the past: every change once, in order, then those to come. */
static void test_watch_resumes(void **state)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	int64_t first = put(key("0"), "x"), seen = first;
	struct kv_watch *w;
	int n = 1;

	(void)state;
	for (int i = 1; i < 50; i++)
		put(key("%d", i), "x");
	w = watch(store.prefix, seen + 1);
	while (n < 100) {
		char want[16];

		if (n == 50)
			for (int i = 50; i < 100; i++)
				put(key("%d", i), "x");
		next_events(w, &ev);
		for (size_t i = 0; i < ev.len; i++, n++) {
			snprintf(want, sizeof(want), "%d", n);
			assert_string_equal(
				ev.v[i].pair.key + strlen(store.prefix), want);
			assert_true(ev.v[i].pair.mod_rev > seen);
			seen = ev.v[i].pair.mod_rev;
		}
		assert_int_equal(ev.rev, seen);
		if (n == 20 || n == 70) { /* and again from here */
			kv_watch_close(w);
			w = watch(store.prefix, seen + 1);
		}
	}
	assert_int_equal(n, 100);
	kv_watch_close(w);
}

static void test_watch_idle_and_wake(void **state)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(store.prefix, 0);
	int64_t begin = test_now_msec();
	struct err e = { 0 };

	(void)state;
	assert_int_equal(kv_watch_next(w, 0, &ev, &e), KV_IDLE);
	assert_int_equal(kv_watch_next(w, 50, &ev, &e), KV_IDLE);
	assert_true(test_now_msec() - begin >= 45);
	assert_true(test_now_msec() - begin < LONG_MSEC);
	kv_watch_wake(w);
	begin = test_now_msec();
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), KV_IDLE);
	assert_true(test_now_msec() - begin < LONG_MSEC);
	put(key("a"), "x");
	next_events(w, &ev);
	assert_int_equal(ev.len, 1);
	kv_watch_close(w);
}

static void *wake(void *w)
{
	kv_watch_wake(w);
	return NULL;
}

static void test_watch_woken_by_thread(void **state)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(store.prefix, 0);
	int64_t begin = test_now_msec();
	struct err e = { 0 };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wake, w), 0);
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), KV_IDLE);
	assert_true(test_now_msec() - begin < LONG_MSEC);
	pthread_join(thread, NULL);
	kv_watch_close(w);
}

static void test_watch_of_compacted(void **state)
{
	struct kv_events ev = { 0 };
	struct err e = { 0 };
	int64_t old = put(key("a"), "1"), now;
	struct kv_watch *w;

	(void)state;
	put(key("a"), "2");
	now = put(key("a"), "3");
	compact(now);
	w = watch(store.prefix, old);
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), KV_COMPACTED);
	assert_int_equal(kv_watch_next(w, LONG_MSEC, &ev, &e), KV_COMPACTED);
	kv_watch_close(w);
	/* What begins behind it is not concerned. */
	w = watch(store.prefix, now + 1);
	put(key("a"), "4");
	next_events(w, &ev);
	assert_string_equal(ev.v[0].pair.value, "4");
	kv_events_done(&ev);
	kv_watch_close(w);
}

/* A lease that ends is seen like any other deletion. */
static void test_watch_sees_expiry(void **state)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(store.prefix, 0);
	struct err e = { 0 };
	int64_t lease;

	(void)state;
	assert_done(kv_lease_grant(store.kv, 1, &lease, &e));
	assert_done(put_lease(key("a"), lease, &e));
	next_events(w, &ev);
	assert_int_equal(ev.v[0].pair.lease, lease);
	next_events(w, &ev);
	assert_true(ev.v[0].is_delete);
	kv_watch_close(w);
}

/* ---------------------------------------------------------------- both stores */

static int new_prefix(void **state)
{
	(void)state;
	snprintf(store.prefix, sizeof(store.prefix), "/t%02u/", ++store.n_tests);
	return 0;
}

static int fake_begin(void **state)
{
	(void)state;
	store = (struct store){ .fake = fake_etcd_new() };
	store.kv = kv_fake_open(store.fake);
	return 0;
}

static int fake_end(void **state)
{
	(void)state;
	kv_close(store.kv);
	fake_etcd_free(store.fake);
	return 0;
}

static int etcd_begin(void **state)
{
	(void)state;
	store = (struct store){ .etcd = test_etcd_start(NULL) };
	store.kv = test_etcd_open(store.etcd);
	return 0;
}

static int etcd_end(void **state)
{
	(void)state;
	kv_close(store.kv);
	test_etcd_free(store.etcd);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup(fn, new_prefix)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create_once),
		TEST(test_revisions_move),
		TEST(test_every_comparison),
		TEST(test_all_comparisons),
		TEST(test_largest_transaction),
		TEST(test_values_are_bytes),
		TEST(test_sizes),
		TEST(test_threads_count),
		TEST(test_get_many),
		TEST(test_get_many_most),
		TEST(test_pages),
		TEST(test_all_keys),
		TEST(test_long_list_at_one_revision),
		TEST(test_lease_revoked),
		TEST(test_lease_expires),
		TEST(test_watch_events),
		TEST(test_watch_whole_transactions),
		TEST(test_watch_one_key),
		TEST(test_watch_resumes),
		TEST(test_watch_idle_and_wake),
		TEST(test_watch_woken_by_thread),
		TEST(test_watch_sees_expiry),
		TEST(test_compacted_reads),
		TEST(test_watch_of_compacted),
	};
	int failed =
		cmocka_run_group_tests_name("in memory", tests, fake_begin, fake_end);

	if (failed)
		return failed;
	test_need_command("etcd");
	return cmocka_run_group_tests_name("etcd", tests, etcd_begin, etcd_end);
}
