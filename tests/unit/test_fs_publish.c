/* The whole of ucloud-filescan on a real directory and an etcd in memory, which fails. */
#include "ucloud-filescan/filescan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"
#include "ucloud-filescan/walk.h"

#define LIMIT_MSEC 30000
#define N_FILES	   300

static struct world {
	struct filescan_conf conf;
	struct fake_etcd *etcd;
	struct kv *kv, *own; /* the program's, ours */
	struct filescan *filescan;
	atomic_uint n_writes;
} w;

static int new_world(void **state)
{
	static int n;
	struct err e = { 0 };
	(void)state;

	w = (struct world){ .conf = { .lease_ttl_sec = 5 } };
	keys_set_defaults(&w.conf.keys);
	w.conf.scan = (struct scan_conf){
		.base_dir = test_path("base%d", n++),
		.settle_sec = 1,
		.rescan_sec = 600,
		.unwatched_sec = 1,
		.n_hashers = 2,
		.files_max = 1000,
		.file_gib_max = 1,
	};
	strv_add(&w.conf.scan.realms, "R");
	if (base_setup(w.conf.scan.base_dir, "none", &e) != 0)
		fail_msg("%s", e.msg);
	w.etcd = fake_etcd_new();
	w.kv = kv_fake_open(w.etcd);
	w.own = kv_fake_open(w.etcd);
	w.filescan = filescan_new(w.kv, &w.conf);
	return 0;
}

static int end_world(void **state)
{
	(void)state;
	filescan_free(w.filescan);
	kv_close(w.kv);
	kv_close(w.own);
	fake_etcd_free(w.etcd);
	free(w.conf.scan.base_dir);
	strv_done(&w.conf.scan.realms);
	keys_done(&w.conf.keys);
	return 0;
}

static void make_files(const char *dir)
{
	CLEANUP_STR char *path = xasprintf("%s/%s", w.conf.scan.base_dir, dir);

	test_mkdir(path);
	for (int i = 0; i < N_FILES; i++) {
		CLEANUP_STR char *name = xasprintf("%s/%d", path, i);
		test_write_file(name, name);
	}
}

static int64_t count(const char *prefix)
{
	int64_t n = -1;
	struct err e;

	return kv_count(w.own, prefix, &n, &e) == 0 ? n : -1;
}

/* Each entry with its index, and no others. */
static bool has_n(void *n)
{
	return count(w.conf.keys.file) == *(int64_t *)n &&
	       count(KEY_FILE_NAME) == *(int64_t *)n;
}

static void wait_n(int64_t n)
{
	if (!wait_until(has_n, &n, LIMIT_MSEC))
		fail_msg("%jd entries, not %jd", (intmax_t)count(w.conf.keys.file),
			(intmax_t)n);
}

static void publishes_and_takes_back(void **state)
{
	CLEANUP_STR char *dir = xasprintf("%s/bob", w.conf.scan.base_dir);
	(void)state;

	make_files("bob");
	filescan_start(w.filescan);
	wait_n(N_FILES);
	test_remove(dir);
	wait_n(0);
}

/* Every third write fails, in all ways there are: nothing is lost, nothing stays. */
static int fail_some(void *aux)
{
	struct world *of = aux;
	unsigned n = atomic_fetch_add(&of->n_writes, 1);

	return n % 3 == 2 ? (int)(n / 3 % 3) + 1 : 0;
}

static void writes_that_fail(void **state)
{
	CLEANUP_STR char *dir = xasprintf("%s/bob", w.conf.scan.base_dir);
	struct kv_fault fault = { .on_write = fail_some, .aux = &w };
	(void)state;

	make_files("bob");
	kv_fake_set_fault(w.kv, &fault);
	filescan_start(w.filescan);
	wait_n(N_FILES);
	test_remove(dir);
	wait_n(0);
	assert_true(atomic_load(&w.n_writes) > 10);
	kv_fake_set_fault(w.kv, NULL);
}

/* As if another one led: our comparisons fail until the lock is ours again. */
static void without_the_lock(void **state)
{
	CLEANUP_STR char *lock = key_lock("filescan");
	struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t n = 1;
	(void)state;

	make_files("bob");
	kv_txn_put(t, lock, "{}");
	assert_int_equal(kv_txn_commit(w.own, t, NULL, &e), 0);
	kv_txn_free(t);
	filescan_start(w.filescan);
	assert_false(wait_until(has_n, &n, 500));
	assert_int_equal(count(w.conf.keys.file), 0);
	t = kv_txn_new();
	kv_txn_del(t, lock);
	assert_int_equal(kv_txn_commit(w.own, t, NULL, &e), 0);
	kv_txn_free(t);
	wait_n(N_FILES);
}

static void health(void **state)
{
	struct err e = { 0 };
	(void)state;

	assert_true(filescan_health(w.filescan, &e) < 0);
	make_files("bob");
	filescan_start(w.filescan);
	wait_n(N_FILES);
	assert_int_equal(filescan_health(w.filescan, &e), 0);
	assert_non_null(strstr(e.msg, "files=300"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_world, end_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(publishes_and_takes_back),
		TEST(writes_that_fail),
		TEST(without_the_lock),
		TEST(health),
	};

	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
