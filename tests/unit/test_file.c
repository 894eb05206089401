#include "common/base/file.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"

static void assert_holds(const char *path, const char *want)
{
	CLEANUP_STR char *text = test_read_file(path);

	assert_non_null(text);
	assert_string_equal(text, want);
}

/* No temporary file was left beside it. */
static void assert_n_files(const char *pattern, size_t n)
{
	CLEANUP_STR char *path = test_path("%s", pattern);
	glob_t g;
	int rc = glob(path, 0, NULL, &g);

	assert_int_equal(rc == GLOB_NOMATCH ? 0 : g.gl_pathc, n);
	if (rc == 0)
		globfree(&g);
}

static void read_has_a_limit(void **state)
{
	CLEANUP_STR char *path = test_path("r");
	CLEANUP(buf_done) struct buf b = { 0 };
	struct err e;
	(void)state;

	test_write_file(path, "12345");
	buf_add_str(&b, "0");
	assert_int_equal(file_read(path, 5, &b, &e), 0);
	assert_string_equal(b.s, "012345");
	assert_int_equal(file_read(path, 4, &b, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_int_equal(file_read("/nonexistent/x", 4, &b, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(file_read("/tmp", 4, &b, &e), -1);
	/* Without an end, too. */
	assert_int_equal(file_read("/dev/zero", 1 << 20, &b, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
}

static void write_in_three_ways(void **state)
{
	CLEANUP_STR char *path = test_path("w");
	CLEANUP_STR char *old = test_path("w.old");
	struct stat st;
	struct err e;
	(void)state;

	assert_int_equal(file_write(path, "1", 1, 0640, FILE_NEW, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(file_write(path, "2", 1, 0600, FILE_NEW, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_holds(path, "1");
	assert_n_files("w*", 1);
	assert_int_equal(file_write(path, "3", 1, 0600, FILE_REPLACE, &e), 0);
	assert_holds(path, "3");
	assert_n_files("w*", 1);
	assert_int_equal(file_write(path, "4", 1, 0600, FILE_KEEP_OLD, &e), 0);
	assert_int_equal(file_write(path, "5", 1, 0600, FILE_KEEP_OLD, &e), 0);
	assert_holds(path, "5");
	assert_holds(old, "4");
	assert_n_files("w*", 2);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(file_write(path, "6", 1, 0600, FILE_KEEP_OLD, &e), 0);
	assert_holds(path, "6");
}

static void write_in_place(void **state)
{
	CLEANUP_STR char *path = test_path("p");
	CLEANUP_STR char *link = test_path("l");
	struct stat st;
	struct err e;
	(void)state;

	test_write_file(path, "longer than what comes");
	assert_int_equal(file_write(path, "1", 1, 0640, FILE_IN_PLACE, &e), 0);
	assert_holds(path, "1");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_n_files("p*", 1);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(file_write(link, "2", 1, 0640, FILE_IN_PLACE, &e), -1);
	assert_holds(path, "1");
	assert_int_equal(
		file_write("/nonexistent/x", "1", 1, 0600, FILE_IN_PLACE, &e), -1);
}

static void failing_leaves_nothing(void **state)
{
	CLEANUP_STR char *dir = test_path("d");
	CLEANUP_STR char *in = test_path("d/x");
	struct err e;
	(void)state;

	assert_int_equal(
		file_write("/nonexistent/x", "1", 1, 0600, FILE_REPLACE, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	/* A directory has the name. */
	test_mkdir(dir);
	test_write_file(in, "1");
	assert_int_equal(file_write(dir, "1", 1, 0600, FILE_REPLACE, &e), -1);
	assert_int_equal(file_write(dir, "1", 1, 0600, FILE_NEW, &e), -1);
	assert_n_files("d*", 1);
}

static void names_without_a_directory(void **state)
{
	char before[4096];
	struct err e;
	(void)state;

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(test_dir()), 0);
	assert_int_equal(file_write("plain", "1", 1, 0600, FILE_REPLACE, &e), 0);
	assert_holds("plain", "1");
	assert_int_equal(chdir(before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_has_a_limit),
		cmocka_unit_test(write_in_three_ways),
		cmocka_unit_test(write_in_place),
		cmocka_unit_test(failing_leaves_nothing),
		cmocka_unit_test(names_without_a_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
