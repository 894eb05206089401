#include "common/store/kv_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"

/* A store of n numbered keys whose answers may be too large, or compacted away. */
struct stub {
	struct kv kv; /* first */
	size_t n_keys;
	size_t max_page;   /* more pairs than this are ERR_TOO_LARGE */
	int n_compactions; /* so many times the second page is gone */
	size_t n_calls;
	int64_t rev;
	bool has_foreign; /* says there is more, but shows nothing */
};

static int stub_range(struct kv *kv, const struct kv_range_req *req, struct kv_list *out,
	int64_t *count, struct err *e)
{
	struct stub *s = (struct stub *)kv;
	struct kv_list l = { .rev = s->rev };
	size_t limit = req->limit ? (size_t)req->limit : SIZE_MAX, n = 0;

	s->n_calls++;
	if (req->rev && s->n_compactions > 0) {
		s->n_compactions--;
		s->rev++;
		return KV_COMPACTED;
	}
	for (size_t i = 0; i < s->n_keys; i++) {
		char key[32];

		snprintf(key, sizeof(key), "/k/%05zu", i);
		if (strcmp(key, req->key) < 0 || strcmp(key, req->end) >= 0)
			continue;
		if (n++ >= limit || s->has_foreign)
			continue;
		l.v = xreallocarray(l.v, l.len + 1, sizeof(*l.v));
		l.v[l.len++] =
			(struct kv_pair){ .key = xstrdup(key), .value = xstrdup("") };
	}
	l.has_more = n > l.len;
	if (l.len > s->max_page) {
		kv_list_done(&l);
		return err_set(e, ERR_TOO_LARGE, "too large");
	}
	*out = l;
	*count = (int64_t)n;
	return 0;
}

static const struct kv_ops stub_ops = { .range = stub_range };

/* ---------------------------------------------------------------- prefixes */

static void assert_end(const char *prefix, const char *want)
{
	CLEANUP_STR char *end = kv_prefix_end(prefix);

	assert_string_equal(end, want);
}

static void test_prefix_end(void **state)
{
	(void)state;
	assert_end("/v1/vm/", "/v1/vm0");
	assert_end("a0", "a1");
	assert_end("\x7f", "\x80");
	assert_end("a\xff", "b");
	assert_end("a\xff\xff", "b");
	assert_end("", "\xff\xff\xff\xff");
	assert_end("\xff", "\xff\xff\xff\xff\xff");
	assert_string_equal(kv_prefix_begin("a"), "a");
	assert_true(kv_prefix_begin("")[0] != '\0');
}

/* ---------------------------------------------------------------- lists */

static void test_range_by_pages(void **state)
{
	struct stub s = { { &stub_ops }, .n_keys = 2500, .max_page = SIZE_MAX, .rev = 7 };
	struct kv_list l = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), 0);
	assert_int_equal(l.len, 2500);
	assert_int_equal(l.rev, 7);
	assert_int_equal(s.n_calls, 3);
	assert_string_equal(l.v[2499].key, "/k/02499");
	kv_list_done(&l);
}

/* Values so large that a page does not fit an answer: smaller pages do. */
static void test_range_of_large_values(void **state)
{
	struct stub s = { { &stub_ops }, .n_keys = 300, .max_page = 100, .rev = 7 };
	struct kv_list l = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), 0);
	assert_int_equal(l.len, 300);
	kv_list_done(&l);
	s.max_page = 0;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
}

static void test_range_compacted_meanwhile(void **state)
{
	struct stub s = { { &stub_ops }, .n_keys = 1500, .max_page = SIZE_MAX, .rev = 7 };
	struct kv_list l = { 0 };
	struct err e = { 0 };

	(void)state;
	s.n_compactions = 2;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), 0);
	assert_int_equal(l.len, 1500);
	assert_int_equal(l.rev, 9);
	kv_list_done(&l);
	s.n_compactions = 100;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(kv_range(&s.kv, "/k/", 5, &l, &e), KV_COMPACTED);
}

static void test_range_ends_at_foreign_keys(void **state)
{
	struct stub s = { { &stub_ops }, .n_keys = 5, .max_page = 9, .rev = 7,
		.has_foreign = true };
	struct kv_list l = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(kv_range(&s.kv, "/k/", 0, &l, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

/* ---------------------------------------------------------------- transactions */

static void test_txn_builder(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(kv_txn_free_ptr) struct kv_txn *u = kv_txn_new();
	char key[] = "a", value[] = "x";

	(void)state;
	assert_true(kv_txn_is_read(t));
	kv_txn_if_rev(t, key, 5);
	kv_txn_if_rev(t, key, 5);
	kv_txn_if_lock(t, key, 5);
	kv_txn_put(t, key, value);
	key[0] = value[0] = '?'; /* they were copied */
	assert_false(kv_txn_is_read(t));
	assert_int_equal(kv_txn_n_compares(t), 2);
	assert_int_equal(kv_txn_n_ops(t), 1);
	assert_int_equal(kv_txn_size(t), 4);
	kv_txn_if_rev(u, "a", 5);
	kv_txn_if_rev(u, "b", 5);
	kv_txn_put_lease(u, "b", "yy", 9);
	kv_txn_del(u, "c");
	kv_txn_merge(t, u);
	assert_int_equal(kv_txn_n_compares(t), 3);
	assert_int_equal(kv_txn_n_ops(t), 3);
	assert_string_equal(t->ops[0].value, "x");
	assert_string_equal(t->ops[1].value, "yy");
	assert_int_equal(t->ops[1].lease, 9);
	assert_int_equal(t->ops[2].kind, KV_OP_DEL);
	assert_int_equal(kv_txn_n_ops(u), 2);
}

static void test_nothing_is_fine(void **state)
{
	struct kv_txn *t = NULL;
	struct kv_list l = { 0 };
	struct kv_events ev = { 0 };
	struct kv_pair p = { 0 };

	(void)state;
	kv_txn_free(NULL);
	kv_txn_free_ptr(&t);
	kv_close(NULL);
	kv_watch_close(NULL);
	kv_list_done(&l);
	kv_events_done(&ev);
	kv_pair_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_end),
		cmocka_unit_test(test_range_by_pages),
		cmocka_unit_test(test_range_of_large_values),
		cmocka_unit_test(test_range_compacted_meanwhile),
		cmocka_unit_test(test_range_ends_at_foreign_keys),
		cmocka_unit_test(test_txn_builder),
		cmocka_unit_test(test_nothing_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
