/* VXLAN ids and /64s. */
#include "ucloud-network/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void pools_of(struct alloc_pools *out, const char *text)
{
	CLEANUP(strv_done) struct strv each = { 0 };
	struct err e = { 0 };

	strv_split(&each, text, ' ');
	if (alloc_pools_parse(&each, out, &e) < 0)
		fail_msg("%s", e.msg);
}

static void what_a_pool_is(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "2001:db8:1000::/36", NULL },
		{ "2001:db8::/32", NULL },
		{ "2001:db8:0:2::/63", NULL },
		{ "2001:db8::/31", "/32 to /63" },
		{ "2001:db8::/64", "/32 to /63" },
		{ "2001:db8::", "/32 to /63" },
		{ "10.0.0.0/48", "/32 to /63" },
		{ "2001:db8::/ 48", "/32 to /63" },
		{ "2001:db8:0:1::/63", "bits set behind its first 63" },
		{ "2001:db8::1/48", "bits set behind its first 48" },
		{ "2001:db8:1000::/35", "bits set behind its first 35" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct alloc_pool p = { 0 };
		struct err e = { 0 };
		int rc = alloc_pool_parse(cases[i].text, &p, &e);

		if (cases[i].error) {
			assert_true(rc < 0);
			assert_non_null(strstr(e.msg, cases[i].error));
		} else {
			CLEANUP_STR char *again = alloc_pool_format(&p);

			assert_int_equal(rc, 0);
			assert_string_equal(again, cases[i].text);
		}
	}
}

static void pools_do_not_overlap(void **state)
{
	static const char *const bad[] = { "2001:db8::/48 2001:db8::/48",
		"2001:db8::/32 2001:db8:7::/48",
		"2001:db8:7::/48 fd00::/48 2001:db8::/32" };
	struct alloc_pools good = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(strv_done) struct strv each = { 0 };
		struct alloc_pools p = { 0 };
		struct err e = { 0 };

		strv_split(&each, bad[i], ' ');
		assert_true(alloc_pools_parse(&each, &p, &e) < 0);
		assert_non_null(strstr(e.msg, "inside each other"));
		assert_null(p.v);
	}
	pools_of(&good, "2001:db8:0:2::/63 2001:db8::/63");
	assert_int_equal(good.len, 2);
	assert_true(alloc_pools_has(&good, 0x20010db800000003));
	assert_false(alloc_pools_has(&good, 0x20010db800000004));
	alloc_pools_done(&good);
}

static void prefixes_as_text(void **state)
{
	static const char *const texts[] = { "2001:db8:1:2::/64", "fd00::/64",
		"ffff:ffff:ffff:ffff::/64", "2001:db8::/64" };
	uint64_t p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CLEANUP_STR char *again = NULL;

		assert_int_equal(alloc_prefix_parse(texts[i], &p, NULL), 0);
		again = alloc_prefix_format(p);
		assert_string_equal(again, texts[i]);
	}
	assert_true(alloc_prefix_parse("2001:db8::1/64", &p, NULL) < 0);
	assert_true(alloc_prefix_parse("2001:db8::/63", &p, NULL) < 0);
}

/* vnis, prefixes: what is there, with blanks; "~" behind one: it rests until 1000. */
struct pick_case {
	const char *vnis, *prefixes;
	int64_t vni_min, vni_max;
	const char *pools;
	bool want_prefix;
	int64_t vni; /* 0: none, and why: */
	const char *prefix_or_error;
};

static const struct pick_case picks[] = {
	{ "", "", 100, 65535, "", false, 100, NULL },
	{ "100 101 103", "", 100, 65535, "", false, 102, NULL },
	{ "103 101 100", "", 100, 65535, "", false, 102, NULL },
	{ "1 2 3 99 65536", "", 100, 65535, "", false, 100, NULL },
	{ "100 100 101 101", "", 100, 65535, "", false, 102, NULL },
	{ "100~ 101", "", 100, 65535, "", false, 102, NULL },
	{ "0 x 100x", "", 100, 65535, "", false, 100, NULL },
	{ "16777214", "", 16777214, 16777215, "", false, 16777215, NULL },
	{ "5 6", "", 5, 6, "", false, 0, "all VXLAN ids from 5 to 6 are in use: " },
	{ "5 6~", "", 5, 6, "", false, 0,
		"(1 rests after use, the first until 1970-01-01T00:16:40Z)" },
	{ "", "", 7, 6, "", false, 0, "all VXLAN ids" },
	{ "", "", 1, 9, "2001:db8::/48", true, 1, "2001:db8::/64" },
	{ "", "2001:db8::/64 2001:db8:0:1::/64", 1, 9, "2001:db8::/48", true, 1,
		"2001:db8:0:2::/64" },
	{ "", "2001:db8:0:1::/64", 1, 9, "2001:db8::/48", true, 1, "2001:db8::/64" },
	{ "", "2001:db7:ffff:ffff::/64 2001:db8:1::/64 fd00::/64 ::/0", 1, 9,
		"2001:db8::/48", true, 1, "2001:db8::/64" },
	{ "", "2001:db8:0:2::/64 2001:db8:0:3::/64~", 1, 9,
		"2001:db8:0:2::/63 fd00:1::/48", true, 1, "fd00:1::/64" },
	{ "", "2001:db8:0:2::/64", 1, 9, "fd00:1::/48 2001:db8:0:2::/63", true, 1,
		"fd00:1::/64" },
	{ "", "ffff:ffff:ffff:fffe::/64", 1, 9, "ffff:ffff:ffff:fffe::/63", true, 1,
		"ffff:ffff:ffff:ffff::/64" },
	{ "", "ffff:ffff:ffff:fffe::/64 ffff:ffff:ffff:ffff::/64", 1, 9,
		"ffff:ffff:ffff:fffe::/63", true, 0,
		"all /64s of ffff:ffff:ffff:fffe::/63 are in use: delete networks" },
	{ "", "2001:db8:0:2::/64 2001:db8:0:3::/64~", 1, 9, "2001:db8:0:2::/63", true, 0,
		"are in use (1 rests after use" },
	{ "", "", 1, 9, "", true, 0, "there is no prefix to take a /64 from" },
};

static void add_all(struct alloc_state *s, const char *text,
	void (*fn)(struct alloc_state *s, const char *name, int64_t free_at))
{
	CLEANUP(strv_done) struct strv each = { 0 };

	strv_split(&each, text, ' ');
	for (size_t i = 0; i < each.len; i++) {
		size_t len = strcspn(each.v[i], "~");
		int64_t free_at = each.v[i][len] ? 1000 : 0;

		each.v[i][len] = '\0';
		fn(s, each.v[i], free_at);
	}
}

static void check_pick(const struct pick_case *c)
{
	CLEANUP(alloc_state_done) struct alloc_state s = { 0 };
	CLEANUP(alloc_pools_done) struct alloc_pools pools = { 0 };
	const struct alloc_conf conf = { c->vni_min, c->vni_max, &pools };
	CLEANUP_STR char *prefix = NULL;
	struct alloc got = { 0 };
	struct err e = { 0 };
	int rc;

	pools_of(&pools, c->pools);
	add_all(&s, c->vnis, alloc_add_vni);
	add_all(&s, c->prefixes, alloc_add_prefix);
	rc = alloc_pick(&conf, &s, c->want_prefix, &got, &e);
	if (c->vni == 0) {
		assert_true(rc < 0);
		assert_int_equal(e.kind, ERR_NO_SPACE);
		if (!strstr(e.msg, c->prefix_or_error))
			fail_msg("\"%s\" is not in \"%s\"", c->prefix_or_error, e.msg);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(got.vni, c->vni);
	prefix = alloc_prefix_format(got.prefix);
	if (c->want_prefix)
		assert_string_equal(prefix, c->prefix_or_error);
	else
		assert_int_equal(got.prefix, 0);
}

static void lowest_that_is_free(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(picks); i++) {
		print_message("case %zu\n", i);
		check_pick(&picks[i]);
	}
}

static void resting(void **state)
{
	CLEANUP(alloc_state_done) struct alloc_state s = { 0 };

	(void)state;
	alloc_add_vni(&s, "7", 500);
	alloc_add_prefix(&s, "fd00::/64", 300);
	alloc_add_prefix(&s, "fd00:0:0:1::/64", 0);
	assert_int_equal(s.n_resting, 2);
	assert_int_equal(s.first_free_at, 300);
	assert_true(alloc_is_over(300, 300));
	assert_false(alloc_is_over(301, 300));
	assert_false(alloc_is_over(0, 300));
}

/* One after the other, until there are thousands; then one in the middle is given back. */
static void thousands(void **state)
{
	enum { N = 20000, GAP = 12345 };
	CLEANUP(alloc_state_done) struct alloc_state s = { 0 };
	CLEANUP(alloc_pools_done) struct alloc_pools pools = { 0 };
	const struct alloc_conf conf = { 100, 65535, &pools };
	struct alloc got = { 0 };
	struct err e = { 0 };

	(void)state;
	pools_of(&pools, "2001:db8:1000::/50 fd00::/32");
	/* From the highest down, so that sorting has something to do. */
	for (int i = N - 1; i >= 0; i--) {
		CLEANUP_STR char *vni = xasprintf("%d", 100 + i);
		CLEANUP_STR char *prefix = alloc_prefix_format(
			(i < 16384 ? 0x20010db810000000 : 0xfd00000000000000 - 16384) +
			(uint64_t)i);

		if (i == GAP)
			continue;
		alloc_add_vni(&s, vni, 0);
		alloc_add_prefix(&s, prefix, 0);
	}
	assert_int_equal(alloc_pick(&conf, &s, true, &got, &e), 0);
	assert_int_equal(got.vni, 100 + GAP);
	assert_true(got.prefix == 0x20010db810000000 + GAP);
	alloc_add_vni(&s, "12445", 0);
	alloc_add_prefix(&s, "2001:db8:1000:3039::/64", 0);
	assert_int_equal(alloc_pick(&conf, &s, true, &got, &e), 0);
	assert_int_equal(got.vni, 100 + N);
	assert_true(got.prefix == 0xfd00000000000000 + N - 16384);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_pool_is),
		cmocka_unit_test(pools_do_not_overlap),
		cmocka_unit_test(prefixes_as_text),
		cmocka_unit_test(lowest_that_is_free),
		cmocka_unit_test(resting),
		cmocka_unit_test(thousands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
