#include "common/store/kv_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PARSE(fn, text, ...) fn(text, strlen(text), __VA_ARGS__)

static void assert_text(struct buf *b, const char *want)
{
	assert_string_equal(buf_str(b), want);
	buf_done(b);
}

/* ---------------------------------------------------------------- requests */

static void test_format_range(void **state)
{
	struct kv_range_req all = {
		.key = "/a", .end = "/b", .limit = 7, .rev = 12, .count_only = true
	};
	struct kv_range_req one = { .key = "/a" };
	struct buf b = { 0 };

	(void)state;
	kv_wire_format_range(&one, &b);
	assert_text(&b, "{\"key\":\"L2E=\"}");
	kv_wire_format_range(&all, &b);
	assert_text(&b, "{\"key\":\"L2E=\",\"range_end\":\"L2I=\",\"limit\":\"7\","
			"\"revision\":\"12\",\"count_only\":true}");
	kv_wire_format_probe(&b);
	assert_text(&b, "{\"key\":\"AQ==\",\"serializable\":true,\"count_only\":true}");
}

static void test_format_txn(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct buf b = { 0 };

	(void)state;
	kv_wire_format_txn(t, &b);
	assert_text(&b, "{\"compare\":[],\"success\":[]}");
	kv_txn_if_rev(t, "a", 0);
	kv_txn_if_lock(t, "a", 9223372036854775807);
	kv_txn_if_present(t, "a");
	kv_txn_put(t, "a", "x");
	kv_txn_put_lease(t, "b", "", 77);
	kv_txn_del(t, "c");
	kv_txn_get(t, "a");
	kv_wire_format_txn(t, &b);
	assert_text(&b,
		"{\"compare\":["
		"{\"key\":\"YQ==\",\"target\":\"MOD\",\"result\":\"EQUAL\","
		"\"mod_revision\":\"0\"},"
		"{\"key\":\"YQ==\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
		"\"create_revision\":\"9223372036854775807\"},"
		"{\"key\":\"YQ==\",\"target\":\"CREATE\",\"result\":\"GREATER\","
		"\"create_revision\":\"0\"}],\"success\":["
		"{\"request_put\":{\"key\":\"YQ==\",\"value\":\"eA==\"}},"
		"{\"request_put\":{\"key\":\"Yg==\",\"value\":\"\",\"lease\":\"77\"}},"
		"{\"request_delete_range\":{\"key\":\"Yw==\"}},"
		"{\"request_range\":{\"key\":\"YQ==\"}}]}");
}

static void test_format_others(void **state)
{
	struct kv_watch_req req = { .prefix = "/a" };
	struct buf b = { 0 };

	(void)state;
	kv_wire_format_grant(10, &b);
	assert_text(&b, "{\"TTL\":\"10\"}");
	kv_wire_format_lease(7587862094465230341, &b);
	assert_text(&b, "{\"ID\":\"7587862094465230341\"}");
	kv_wire_format_login("a\"b", "\\\n", &b);
	assert_text(&b, "{\"name\":\"a\\\"b\",\"password\":\"\\\\\\n\"}");
	kv_wire_format_watch(&req, &b);
	assert_text(&b, "{\"create_request\":{\"key\":\"L2E=\",\"range_end\":\"L2I=\","
			"\"progress_notify\":true}}");
	req = (struct kv_watch_req){
		.prefix = "/a", .is_single_key = true, .want_prev = true, .from_rev = 5
	};
	kv_wire_format_watch(&req, &b);
	assert_text(&b, "{\"create_request\":{\"key\":\"L2E=\",\"start_revision\":\"5\","
			"\"prev_kv\":true,\"progress_notify\":true}}");
}

/* ---------------------------------------------------------------- answers */

#define HEAD                                                                             \
	"\"header\":{\"cluster_id\":\"14841639068965178418\",\"member_id\":\"1\","       \
	"\"revision\":\"42\",\"raft_term\":\"2\"}"

static void test_parse_range(void **state)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };
	int64_t count;

	(void)state;
	assert_int_equal(
		PARSE(kv_wire_parse_range,
			"{" HEAD ",\"kvs\":[{\"key\":\"L2E=\",\"create_revision\":\"3\","
			"\"mod_revision\":\"41\",\"version\":\"9\",\"value\":\"AAH/\","
			"\"lease\":\"7587862094465230341\"},{\"key\":\"L2I=\","
			"\"create_revision\":\"4\",\"mod_revision\":\"4\"}],"
			"\"more\":true,\"count\":\"9\"}",
			&head, &list, &count, &e),
		0);
	assert_string_equal(head.cluster_id, "14841639068965178418");
	assert_int_equal(head.rev, 42);
	assert_int_equal(list.rev, 42);
	assert_int_equal(count, 9);
	assert_true(list.has_more);
	assert_int_equal(list.len, 2);
	assert_string_equal(list.v[0].key, "/a");
	assert_int_equal(list.v[0].value_size, 3);
	assert_memory_equal(list.v[0].value, "\x00\x01\xff", 4);
	assert_int_equal(list.v[0].create_rev, 3);
	assert_int_equal(list.v[0].mod_rev, 41);
	assert_int_equal(list.v[0].lease, 7587862094465230341);
	assert_string_equal(list.v[1].value, "");
	assert_int_equal(list.v[1].lease, 0);
}

static void test_parse_range_empty(void **state)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };
	int64_t count = 5;

	(void)state;
	assert_int_equal(
		PARSE(kv_wire_parse_range, "{" HEAD "}", &head, &list, &count, &e), 0);
	assert_int_equal(list.len, 0);
	assert_int_equal(count, 0);
	assert_false(list.has_more);
}

static void test_foreign_keys_are_left_out(void **state)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };
	int64_t count;

	(void)state;
	assert_int_equal(
		PARSE(kv_wire_parse_range,
			"{" HEAD ",\"kvs\":[{\"key\":\"YQBi\"},{\"key\":\"YQ==\"}],"
			"\"count\":\"2\"}",
			&head, &list, &count, &e),
		0);
	assert_int_equal(list.len, 1);
	assert_string_equal(list.v[0].key, "a");
}

static void test_parse_range_bad(void **state)
{
	static const char *const bad[] = { "", "null", "[]", "{", "{}",
		"{\"header\":{\"revision\":\"x\"}}", "{\"header\":{\"revision\":[]}}",
		"{\"header\":{\"revision\":\"99999999999999999999\"}}",
		"{" HEAD ",\"kvs\":{}}", "{" HEAD ",\"kvs\":[1]}",
		"{" HEAD ",\"kvs\":[{\"key\":\"?\"}]}",
		"{" HEAD ",\"kvs\":[{\"key\":5}]}",
		"{" HEAD ",\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":true}]}",
		"{" HEAD ",\"count\":\"many\"}", "{" HEAD "} trailing",
		"<html>It works!</html>" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct kv_list list = { .rev = 99 };
		struct kv_wire_head head;
		struct err e = { 0 };
		int64_t count;

		assert_int_equal(
			PARSE(kv_wire_parse_range, bad[i], &head, &list, &count, &e), -1);
		assert_int_equal(e.kind, ERR_UNAVAILABLE);
		assert_non_null(strstr(e.msg, "not understood"));
		assert_int_equal(list.rev, 99); /* untouched */
	}
}

static void test_parse_txn(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_txn_result r = { 0 };
	struct kv_wire_head head;
	struct err e = { 0 };

	(void)state;
	kv_txn_get(t, "a");
	kv_txn_put(t, "b", "");
	kv_txn_get(t, "c");
	assert_int_equal(
		PARSE(kv_wire_parse_txn,
			"{" HEAD ",\"succeeded\":true,\"responses\":["
			"{\"response_range\":{\"header\":{\"revision\":\"42\"},\"kvs\":[{"
			"\"key\":\"YQ==\",\"value\":\"eA==\"}],\"count\":\"1\"}},"
			"{\"response_put\":{\"header\":{\"revision\":\"42\"}}},"
			"{\"response_range\":{\"header\":{\"revision\":\"42\"}}}]}",
			t, &head, &r, &e),
		0);
	assert_true(r.succeeded);
	assert_int_equal(r.rev, 42);
	assert_int_equal(r.got.len, 2);
	assert_string_equal(r.got.v[0].value, "x");
	assert_null(r.got.v[1].key);
	kv_list_done(&r.got);
	/* Answers that do not belong to the question. */
	assert_int_equal(PARSE(kv_wire_parse_txn,
				 "{" HEAD ",\"succeeded\":true,\"responses\":[{}]}", t,
				 &head, &r, &e),
		-1);
	assert_int_equal(PARSE(kv_wire_parse_txn,
				 "{" HEAD ",\"succeeded\":true,\"responses\":[{},{},{}]}",
				 t, &head, &r, &e),
		-1);
}

static void test_parse_txn_conflict(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct kv_txn_result r = { .succeeded = true };
	struct kv_wire_head head;
	struct err e = { 0 };

	(void)state;
	kv_txn_put(t, "b", "");
	assert_int_equal(PARSE(kv_wire_parse_txn, "{" HEAD "}", t, &head, &r, &e), 0);
	assert_false(r.succeeded);
	assert_int_equal(r.rev, 42);
}

static void test_parse_leases(void **state)
{
	CLEANUP_STR char *token = NULL;
	struct err e = { 0 };
	int64_t n = 5;

	(void)state;
	assert_int_equal(PARSE(kv_wire_parse_grant,
				 "{" HEAD ",\"ID\":\"77\",\"TTL\":\"9\"}", &n, &e),
		0);
	assert_int_equal(n, 77);
	assert_int_equal(PARSE(kv_wire_parse_grant, "{" HEAD "}", &n, &e), -1);
	assert_int_equal(
		PARSE(kv_wire_parse_keepalive,
			"{\"result\":{" HEAD ",\"ID\":\"77\",\"TTL\":\"9\"}}\n", &n, &e),
		0);
	assert_int_equal(n, 9);
	/* No TTL: the lease is lost. */
	assert_int_equal(PARSE(kv_wire_parse_keepalive,
				 "{\"result\":{" HEAD ",\"ID\":\"77\"}}", &n, &e),
		0);
	assert_int_equal(n, 0);
	assert_int_equal(PARSE(kv_wire_parse_keepalive, "{}", &n, &e), -1);
	assert_int_equal(
		PARSE(kv_wire_parse_login, "{" HEAD ",\"token\":\"a.1\"}", &token, &e),
		0);
	assert_string_equal(token, "a.1");
	assert_int_equal(PARSE(kv_wire_parse_login, "{" HEAD "}", &token, &e), -1);
	assert_int_equal(
		PARSE(kv_wire_parse_login, "{\"token\":\"a\\r\\nEvil: 1\"}", &token, &e),
		-1);
}

static void test_parse_watch(void **state)
{
	struct kv_wire_watch w = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(PARSE(kv_wire_parse_watch,
				 "{\"result\":{" HEAD ",\"created\":true}}", &w, &e),
		0);
	assert_true(w.is_created);
	kv_wire_watch_done(&w);
	assert_int_equal(
		PARSE(kv_wire_parse_watch,
			"{\"result\":{" HEAD ",\"events\":[{\"kv\":{\"key\":\"YQ==\","
			"\"mod_revision\":\"40\",\"create_revision\":\"40\",\"value\":"
			"\"eA==\"}},"
			"{\"type\":\"DELETE\",\"kv\":{\"key\":\"Yg==\",\"mod_revision\":"
			"\"41\"},"
			"\"prev_kv\":{\"key\":\"Yg==\",\"value\":\"b2xk\",\"mod_"
			"revision\":\"7\"}}]}}",
			&w, &e),
		0);
	assert_int_equal(w.events.len, 2);
	assert_int_equal(w.events.rev, 41); /* not the head's: more may be to come */
	assert_false(w.events.v[0].is_delete);
	assert_string_equal(w.events.v[0].pair.value, "x");
	assert_null(w.events.v[0].prev.key);
	assert_true(w.events.v[1].is_delete);
	assert_null(w.events.v[1].pair.value);
	assert_string_equal(w.events.v[1].prev.value, "old");
	assert_int_equal(w.events.v[1].prev.mod_rev, 7);
	kv_wire_watch_done(&w);
	assert_int_equal(
		PARSE(kv_wire_parse_watch, "{\"result\":{" HEAD "}}", &w, &e), 0);
	assert_int_equal(w.events.len, 0);
	assert_int_equal(w.events.rev, 42);
	kv_wire_watch_done(&w);
}

static void test_parse_watch_ends(void **state)
{
	struct kv_wire_watch w = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(
		PARSE(kv_wire_parse_watch,
			"{\"result\":{\"header\":{},\"canceled\":true,"
			"\"compact_revision\":\"30\",\"cancel_reason\":\"gone\"}}",
			&w, &e),
		0);
	assert_true(w.is_canceled);
	assert_int_equal(w.compact_rev, 30);
	assert_string_equal(w.reason, "gone");
	kv_wire_watch_done(&w);
	assert_int_equal(
		PARSE(kv_wire_parse_watch,
			"{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
			"\"etcdserver: no leader\",\"http_status\":\"Service "
			"Unavailable\"}}",
			&w, &e),
		-1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_non_null(strstr(e.msg, "no leader"));
	assert_int_equal(PARSE(kv_wire_parse_watch, "{\"error\":true}", &w, &e), -1);
	assert_int_equal(
		PARSE(kv_wire_parse_watch, "{\"result\":{\"events\":[{}]}}", &w, &e), -1);
	assert_int_equal(PARSE(kv_wire_parse_watch,
				 "{\"result\":{\"events\":[{\"type\":\"NEW\",\"kv\":{"
				 "\"key\":\"YQ==\"}}]}}",
				 &w, &e),
		-1);
}

/* ---------------------------------------------------------------- verdicts */

struct sample {
	int status;
	const char *body;
	enum kv_verdict verdict;
	enum err_kind kind;
};

/* As etcd 3.4 says it, where it can be made to. */
static const struct sample samples[] = {
	{ 200, "{\"header\":{}}", KV_VERDICT_OK, ERR_NONE },
	{ 200,
		"{\"error\":{\"grpc_code\":16,\"message\":\"etcdserver: invalid auth "
		"token\"}}",
		KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: mvcc: required revision has "
		"been compacted\",\"code\":11}",
		KV_VERDICT_COMPACTED, ERR_CONFLICT },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: mvcc: required revision is a "
		"future revision\",\"code\":11}",
		KV_VERDICT_COMPACTED, ERR_CONFLICT },
	{ 400, "{\"error\":\"x\",\"message\":\"too large lease TTL\",\"code\":11}",
		KV_VERDICT_REFUSED, ERR_INVALID },
	{ 401,
		"{\"error\":\"x\",\"message\":\"etcdserver: invalid auth "
		"token\",\"code\":16}",
		KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: user name is "
		"empty\",\"code\":3}",
		KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: revision of auth store is "
		"old\",\"code\":3}",
		KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: authentication failed, "
		"invalid user ID or password\",\"code\":3}",
		KV_VERDICT_REFUSED, ERR_UNAUTHENTICATED },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: too many operations in txn "
		"request\",\"code\":3}",
		KV_VERDICT_REFUSED, ERR_INVALID },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: request is too "
		"large\",\"code\":3}",
		KV_VERDICT_REFUSED, ERR_TOO_LARGE },
	{ 404,
		"{\"error\":\"x\",\"message\":\"etcdserver: requested lease not "
		"found\",\"code\":5}",
		KV_VERDICT_REFUSED, ERR_NOT_FOUND },
	{ 403,
		"{\"error\":\"x\",\"message\":\"etcdserver: permission "
		"denied\",\"code\":7}",
		KV_VERDICT_REFUSED, ERR_DENIED },
	{ 429,
		"{\"error\":\"x\",\"message\":\"etcdserver: too many "
		"requests\",\"code\":8}",
		KV_VERDICT_ELSEWHERE, ERR_TOO_MANY },
	{ 429,
		"{\"error\":\"x\",\"message\":\"etcdserver: mvcc: database space "
		"exceeded\",\"code\":8}",
		KV_VERDICT_UNSURE, ERR_NO_SPACE },
	{ 400,
		"{\"error\":\"x\",\"message\":\"etcdserver: authentication is not "
		"enabled\",\"code\":9}",
		KV_VERDICT_REFUSED, ERR_CONFLICT },
	{ 503, "{\"error\":\"x\",\"message\":\"etcdserver: no leader\",\"code\":14}",
		KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 503, "{\"error\":\"x\",\"message\":\"etcdserver: leader changed\",\"code\":14}",
		KV_VERDICT_LOST, ERR_UNAVAILABLE },
	{ 503,
		"{\"error\":\"x\",\"message\":\"etcdserver: request timed "
		"out\",\"code\":14}",
		KV_VERDICT_LOST, ERR_TIMEOUT },
	{ 503, "{\"error\":\"x\",\"message\":\"transport is closing\",\"code\":14}",
		KV_VERDICT_LOST, ERR_UNAVAILABLE },
	{ 504, "{\"error\":\"x\",\"message\":\"context deadline exceeded\",\"code\":4}",
		KV_VERDICT_LOST, ERR_TIMEOUT },
	{ 500, "{\"error\":\"x\",\"message\":\"etcdserver: server stopped\",\"code\":2}",
		KV_VERDICT_LOST, ERR_UNAVAILABLE },
	{ 408, "{\"error\":\"x\",\"message\":\"context canceled\",\"code\":1}",
		KV_VERDICT_LOST, ERR_UNAVAILABLE },
	/* Not etcd, or something in front of it. */
	{ 404, "404 page not found\n", KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 301, "", KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 400, "Client sent an HTTP request to an HTTPS server.\n", KV_VERDICT_ELSEWHERE,
		ERR_UNAVAILABLE },
	{ 502, "<html>Bad Gateway</html>", KV_VERDICT_LOST, ERR_UNAVAILABLE },
	{ 503, "{\"error\":5}", KV_VERDICT_LOST, ERR_UNAVAILABLE },
	{ 400,
		"CommonName of client sending a request against gateway will be ignored "
		"and not used as expected\n",
		KV_VERDICT_REFUSED, ERR_DENIED },
};

static void test_verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample *s = &samples[i];
		struct err e = { 0 };
		enum kv_verdict v =
			kv_wire_judge(s->status, s->body, strlen(s->body), &e);

		if (v != s->verdict || e.kind != s->kind)
			fail_msg("%d %s: verdict %d kind %s (%s)", s->status, s->body, v,
				err_kind_name(e.kind), e.msg);
		assert_true(v == KV_VERDICT_OK || e.msg[0]);
	}
}

/* ---------------------------------------------------------------- lines */

static void test_lines(void **state)
{
	struct kv_lines l = { .max_size = 5 };
	struct err e = { 0 };
	const char *line;
	size_t size;

	(void)state;
	assert_null(kv_lines_next(&l, &size));
	assert_int_equal(kv_lines_add(&l, "ab", 2, &e), 0);
	assert_null(kv_lines_next(&l, &size));
	assert_int_equal(kv_lines_add(&l, "c\n\nde\nf", 7, &e), 0);
	line = kv_lines_next(&l, &size);
	assert_int_equal(size, 3);
	assert_memory_equal(line, "abc", 3);
	line = kv_lines_next(&l, &size);
	assert_non_null(line);
	assert_int_equal(size, 0);
	line = kv_lines_next(&l, &size);
	assert_int_equal(size, 2);
	assert_memory_equal(line, "de", 2);
	assert_null(kv_lines_next(&l, &size));
	assert_int_equal(kv_lines_add(&l, "2345", 4, &e), 0);
	assert_int_equal(kv_lines_add(&l, "6", 1, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	kv_lines_done(&l);
}

/* Any way of cutting gives the same lines. */
static void test_lines_cut_anywhere(void **state)
{
	static const char text[] = "one\ntwo two\n\nthree\n";

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct kv_lines l = { .max_size = 100 };
		CLEANUP(buf_done) struct buf got = { 0 };
		struct err e = { 0 };
		const char *line;
		size_t size;

		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t left = sizeof(text) - 1 - at;

			assert_int_equal(kv_lines_add(&l, text + at,
						 left < step ? left : step, &e),
				0);
			while ((line = kv_lines_next(&l, &size))) {
				buf_add(&got, line, size);
				buf_add_char(&got, '\n');
			}
		}
		assert_string_equal(buf_str(&got), text);
		kv_lines_done(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format_range),
		cmocka_unit_test(test_format_txn),
		cmocka_unit_test(test_format_others),
		cmocka_unit_test(test_parse_range),
		cmocka_unit_test(test_parse_range_empty),
		cmocka_unit_test(test_foreign_keys_are_left_out),
		cmocka_unit_test(test_parse_range_bad),
		cmocka_unit_test(test_parse_txn),
		cmocka_unit_test(test_parse_txn_conflict),
		cmocka_unit_test(test_parse_leases),
		cmocka_unit_test(test_parse_watch),
		cmocka_unit_test(test_parse_watch_ends),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lines_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
