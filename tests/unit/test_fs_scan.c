/* ucloud-filescan's threads that look and hash, on a real directory, without etcd. */
#include "ucloud-filescan/scan.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "tests/lib/test_util.h"
#include "ucloud-filescan/walk.h"

#define LIMIT_MSEC 30000
#define ABC                                                                              \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"               \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static struct world {
	struct scan_conf conf;
	struct scan *scan;
	atomic_int n_changes, n_complete;
} w;

static void on_change(void *aux, const char *uuid)
{
	struct world *to = aux;
	(void)uuid;

	atomic_fetch_add(&to->n_changes, 1);
}

static void on_complete(void *aux)
{
	struct world *to = aux;

	atomic_fetch_add(&to->n_complete, 1);
}

static char *in_base(const char *name)
{
	return xasprintf("%s/%s", w.conf.base_dir, name);
}

static void write_file(const char *name, const char *text)
{
	CLEANUP_STR char *path = in_base(name);

	test_write_file(path, text);
}

static void make_dir(const char *name)
{
	CLEANUP_STR char *path = in_base(name);

	test_mkdir(path);
}

static bool is_complete(void *aux)
{
	(void)aux;
	return atomic_load(&w.n_complete) > 0;
}

static enum tree_has has(const char *name, struct file *out)
{
	char uuid[UUID_STR_SIZE];

	file_uuid("R", "bob", name, uuid);
	return scan_get(w.scan, uuid, out);
}

static bool is_hashed(void *name)
{
	CLEANUP(file_done) struct file f = { 0 };

	return has(name, &f) == TREE_HASHED;
}

static bool is_absent(void *name)
{
	CLEANUP(file_done) struct file f = { 0 };

	return has(name, &f) == TREE_ABSENT;
}

static void wait_hashed(const char *name)
{
	if (!wait_until(is_hashed, (void *)(uintptr_t)name, LIMIT_MSEC))
		fail_msg("%s was not hashed", name);
}

static int new_world(void **state)
{
	struct scan_calls calls = { on_change, on_complete, &w };
	static int n;
	struct err e = { 0 };
	(void)state;

	atomic_store(&w.n_changes, 0);
	atomic_store(&w.n_complete, 0);
	w.conf = (struct scan_conf){
		.base_dir = test_path("base%d", n++),
		.settle_sec = 1,
		.rescan_sec = 600,
		.unwatched_sec = 1,
		.n_hashers = 2,
		.files_max = 1000,
		.file_gib_max = 1,
	};
	strv_add(&w.conf.realms, "R");
	if (base_setup(w.conf.base_dir, "none", &e) != 0)
		fail_msg("%s", e.msg);
	make_dir("bob");
	write_file("bob/abc", "abc");
	w.scan = scan_new(&w.conf, &calls);
	return 0;
}

static int end_world(void **state)
{
	(void)state;
	scan_free(w.scan);
	free(w.conf.base_dir);
	strv_done(&w.conf.realms);
	return 0;
}

static void start(void)
{
	scan_start(w.scan);
	assert_true(wait_until(is_complete, NULL, LIMIT_MSEC));
}

static void finds_and_hashes(void **state)
{
	CLEANUP(file_done) struct file f = { 0 };
	struct err e = { 0 };
	(void)state;

	start();
	wait_hashed("abc");
	assert_int_equal(has("abc", &f), TREE_HASHED);
	assert_string_equal(f.sha512, ABC);
	assert_string_equal(f.owner, "bob");
	assert_int_equal(scan_health(w.scan, &e), 0);
	assert_non_null(strstr(e.msg, "files=1"));
	assert_true(scan_is_base_there(w.scan));
	assert_true(scan_is_sure(w.scan, &f));
}

static void follows_changes(void **state)
{
	CLEANUP_STR char *from = in_base("bob/abc"), *to = in_base("bob/d/e/moved");
	(void)state;

	start();
	wait_hashed("abc");
	make_dir("bob/d");
	make_dir("bob/d/e");
	write_file("bob/d/e/f", "abc");
	wait_hashed("d/e/f");
	assert_int_equal(rename(from, to), 0);
	wait_hashed("d/e/moved");
	assert_true(wait_until(is_absent, (void *)(uintptr_t) "abc", LIMIT_MSEC));
	test_remove(to);
	assert_true(wait_until(is_absent, (void *)(uintptr_t) "d/e/moved", LIMIT_MSEC));
}

/* The hash of what is known is not computed. */
static void knows(void **state)
{
	CLEANUP_STR char *path = in_base("bob/abc");
	CLEANUP(file_done) struct file f = { 0 };
	struct stat st;
	struct file entry = { .owner = (char *)(uintptr_t) "bob",
		.owner_realm = (char *)(uintptr_t) "R" };
	char other[SHA512_HEX_SIZE] = ABC;
	(void)state;

	assert_int_equal(stat(path, &st), 0);
	other[0] = '0';
	CLEANUP_STR char *identity = file_identity(&st);
	entry.identity = identity;
	entry.sha512 = other;
	scan_add_known(w.scan, &entry);
	start();
	wait_hashed("abc");
	assert_int_equal(has("abc", &f), TREE_HASHED);
	assert_string_equal(f.sha512, other);
}

static void without_its_marker(void **state)
{
	CLEANUP_STR char *marker = in_base(BASE_MARKER);
	struct file f = { .owner = (char *)(uintptr_t) "bob",
		.owner_realm = (char *)(uintptr_t) "R",
		.filename = (char *)(uintptr_t) "none" };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(unlink(marker), 0);
	assert_false(scan_is_sure(w.scan, &f));
	scan_start(w.scan);
	assert_true(scan_health(w.scan, &e) < 0);
	assert_false(scan_is_base_there(w.scan));
	assert_false(scan_is_sure(w.scan, &f));
	test_write_file(marker, "");
	assert_true(wait_until(is_complete, NULL, LIMIT_MSEC));
	assert_true(scan_is_sure(w.scan, &f));
	wait_hashed("abc");
}

static void *change_all_the_time(void *aux)
{
	atomic_bool *is_over = aux;

	for (unsigned i = 0; !atomic_load(is_over); i++) {
		CLEANUP_STR char *name = xasprintf("bob/x%u", i % 7);
		CLEANUP_STR char *path = in_base(name), *other = in_base("bob/y");

		if (i % 5 == 4)
			unlink(path);
		else if (i % 5 == 3)
			(void)!rename(path, other);
		else
			test_write_file(path, name);
	}
	return NULL;
}

/* Everybody asks while everything changes; for ThreadSanitizer most of all. */
static void asked_meanwhile(void **state)
{
	atomic_bool is_over = false;
	pthread_t writer;
	(void)state;

	start();
	assert_int_equal(pthread_create(&writer, NULL, change_all_the_time, &is_over), 0);
	for (int64_t end = test_now_msec() + 1000; test_now_msec() < end;) {
		struct err e;

		(void)is_hashed((void *)(uintptr_t) "x1");
		(void)scan_is_looking(w.scan);
		(void)scan_is_base_there(w.scan);
		assert_int_equal(scan_health(w.scan, &e), 0);
		scan_tell_all(w.scan);
	}
	atomic_store(&is_over, true);
	pthread_join(writer, NULL);
	write_file("bob/last", "abc");
	wait_hashed("last");
}

static void stops_while_it_hashes(void **state)
{
	CLEANUP_STR char *path = in_base("bob/large");
	(void)state;

	write_file("bob/large", "");
	assert_int_equal(truncate(path, 1LL << 30), 0);
	start();
	/* 1 GiB takes longer than this. */
	int64_t began = test_now_msec();
	scan_stop(w.scan);
	assert_true(test_now_msec() - began < 5000);
}

/* One of the two hashers leaves large files alone: the other one hears of each of them, too. */
static void large_ones_in_turn(void **state)
{
	static const char *const names[] = { "large1", "large2" };
	(void)state;

	start();
	wait_hashed("abc");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		CLEANUP_STR char *aside = test_path("%s", names[i]);
		CLEANUP_STR char *name = xasprintf("bob/%s", names[i]);
		CLEANUP_STR char *path = in_base(name);

		test_write_file(aside, "");
		assert_int_equal(truncate(aside, TREE_LARGE_BYTES + 1), 0);
		assert_int_equal(rename(aside, path), 0);
		wait_hashed(names[i]);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_world, end_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(finds_and_hashes),
		TEST(follows_changes),
		TEST(knows),
		TEST(without_its_marker),
		TEST(asked_meanwhile),
		TEST(stops_while_it_hashes),
		TEST(large_ones_in_turn),
	};

	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
