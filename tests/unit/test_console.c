#include "ucloud-host/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

#define VM "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"

static char *tail(const char *path, size_t max, bool *is_cut)
{
	struct buf out = { 0 };
	struct err e = { 0 };

	if (console_read_tail(path, max, &out, is_cut, &e) < 0)
		fail_msg("%s", e.msg);
	return buf_take(&out);
}

static void check(const char *path, size_t max, const char *want, bool want_cut)
{
	bool is_cut;
	CLEANUP_STR char *got = tail(path, max, &is_cut);

	assert_string_equal(got, want);
	assert_int_equal(is_cut, want_cut);
}

static void test_tail(void **state)
{
	CLEANUP_STR char *path = test_path("a.log");
	CLEANUP_STR char *older = test_path("a.log.0");

	(void)state;
	check(path, 100, "", false);
	test_write_file(path, "one\ntwo\n");
	check(path, 100, "one\ntwo\n", false);
	check(path, 8, "one\ntwo\n", false);
	check(path, 4, "two\n", true);
	/* virtlogd has begun a new file. */
	test_write_file(older, "zero\n");
	check(path, 100, "zero\none\ntwo\n", false);
	check(path, 10, "o\none\ntwo\n", true);
	check(path, 8, "one\ntwo\n", true);
}

/* A guest may write anything. */
static void test_text(void **state)
{
	CLEANUP_STR char *path = test_path("b.log");

	(void)state;
	test_write_file(path, "a\r\n\x1b[2Jb\tc\xff\xc3\xa4\xc3");
	check(path, 100, "a\n?[2Jb\tc?\xc3\xa4?", false);
}

static char *ask(struct host_env *env, const char *question, int64_t lease)
{
	CLEANUP_STR char *key = key_console("h1", VM);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };
	int64_t after;

	kv_txn_put_lease(t, key, question, lease);
	assert_int_equal(kv_txn_commit(env->kv, t, NULL, &e), 0);
	assert_int_equal(console_reconcile(env, VM, &after, &e), WQ_DONE);
	assert_int_equal(kv_get(env->kv, key, &pair, NULL, &e), 0);
	assert_true(pair.lease == lease);
	return xstrdup(pair.value);
}

static void test_answer(void **state)
{
	struct fake_etcd *etcd = fake_etcd_new();
	CLEANUP_STR char *dir = test_path("console");
	CLEANUP_STR char *path = test_path("console/" VM ".log");
	CLEANUP_STR char *state_dir = xstrdup(test_dir());
	char host[] = "h1";
	struct host_env env = { .host = host, .state_dir = state_dir };
	CLEANUP_STR char *first = NULL, *second = NULL, *third = NULL;
	struct err e = { 0 };
	int64_t lease, after;

	(void)state;
	env.kv = kv_fake_open(etcd);
	test_mkdir(dir);
	test_write_file(path, "login: \"x\"\n");
	assert_int_equal(kv_lease_grant(env.kv, 60, &lease, &e), 0);
	first = ask(&env, "{}", lease);
	assert_non_null(
		strstr(first, "{\"text\":\"login: \\\"x\\\"\\n\",\"time\":\"2027-"));
	assert_non_null(strstr(first, "\"is_cut\":false}"));
	/* Answered ones, and what is no question, are left alone. */
	second = ask(&env, "{\"text\":\"old\"}", lease);
	assert_string_equal(second, "{\"text\":\"old\"}");
	third = ask(&env, "garbage", lease);
	assert_string_equal(third, "garbage");
	assert_int_equal(
		console_reconcile(&env, "../../etc/passwd", &after, &e), WQ_DONE);
	kv_close(env.kv);
	fake_etcd_free(etcd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_answer),
	};

	clock_fake_start(1800000000000);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
