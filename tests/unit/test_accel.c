#include "ucloud-host/accel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

/* The boot sector itself: emulated, it runs everywhere. */
static void test_tcg(void **state)
{
	struct err e = { 0 };

	(void)state;
	if (accel_probe(ACCEL_TCG, test_dir(), &e) != 0)
		fail_msg("%s", e.msg);
}

/* Whatever the machine can: an answer comes in time, and "auto" acts upon it. */
static void test_auto(void **state)
{
	struct err e = { 0 };
	int64_t begin = test_now_msec();
	bool has_kvm = accel_probe(ACCEL_KVM, test_dir(), &e) == 0;
	enum accel got;

	(void)state;
	assert_true(test_now_msec() - begin < LIMIT_MSEC);
	print_message("kvm: %s\n", has_kvm ? "works" : e.msg);
	got = accel_choose(ACCEL_AUTO, test_dir());
	assert_int_equal(got, has_kvm ? ACCEL_KVM : ACCEL_TCG);
	assert_int_equal(accel_choose(ACCEL_KVM, test_dir()), ACCEL_KVM);
	assert_int_equal(accel_choose(ACCEL_TCG, test_dir()), ACCEL_TCG);
}

/* A QEMU of our own making, first in PATH. */
static void fake_qemu(const char *script)
{
	CLEANUP_STR char *dir = test_path("bin");
	CLEANUP_STR char *path = test_path("bin/qemu-system-x86_64");
	CLEANUP_STR char *search = xasprintf("%s:/usr/bin:/bin", dir);

	test_mkdir(dir);
	test_write_file(path, script);
	chmod(path, 0755);
	setenv("PATH", search, 1);
}

static void check_fails(const char *script, const char *part)
{
	CLEANUP_STR char *search = xstrdup(getenv("PATH"));
	struct err e = { 0 };

	fake_qemu(script);
	assert_int_equal(accel_probe(ACCEL_TCG, test_dir(), &e), -1);
	if (strstr(e.msg, part) == NULL)
		fail_msg("'%s' is not in '%s'", part, e.msg);
	setenv("PATH", search, 1);
}

static void test_failures(void **state)
{
	(void)state;
	check_fails("#!/bin/sh\necho no such thing >&2\nexit 1\n", "no such thing");
	check_fails("#!/bin/sh\nexit 0\n", "without a word");
	check_fails("#!/bin/sh\nexit 3\n", "compute wrongly");
}

static void test_hangs(void **state)
{
	int64_t begin = test_now_msec();

	(void)state;
	check_fails("#!/bin/sh\nexec sleep 60\n", "64-bit guests do not run");
	assert_true(test_now_msec() - begin < LIMIT_MSEC);
}

static void test_no_dir(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(accel_probe(ACCEL_TCG, "/nonexistent", &e), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcg),
		cmocka_unit_test(test_auto),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_hangs),
		cmocka_unit_test(test_no_dir),
	};

	test_need_command("qemu-system-x86_64");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
