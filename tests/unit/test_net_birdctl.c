/* Telling a real BIRD, which touches nothing of the kernel's, to read its file again. */
#include "ucloud-network/birdctl.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-network/bird.h"

#define LIMIT_MSEC 20000

static char *conf, *include, *control;

static void write_routes(const char *pools_text)
{
	CLEANUP(alloc_pools_done) struct alloc_pools pools = { 0 };
	CLEANUP(strv_done) struct strv each = { 0 };
	CLEANUP(buf_done) struct buf text = { 0 };

	strv_split(&each, pools_text, ' ');
	assert_int_equal(alloc_pools_parse(&each, &pools, NULL), 0);
	bird_text(&pools, NULL, 0, &text);
	test_write_file(include, buf_str(&text));
}

static bool is_up(void *aux)
{
	(void)aux;
	return birdctl_configure(control, LIMIT_MSEC, NULL) == 0;
}

static char *routes(void)
{
	const char *const argv[] = { "birdc", "-s", control, "show", "route", NULL };
	char *out = NULL;

	assert_int_equal(test_run(argv, LIMIT_MSEC, &out), 0);
	return out;
}

static bool has_route(void *aux)
{
	CLEANUP_STR char *all = routes();

	return strstr(all, aux) != NULL;
}

static void routes_change(void **state)
{
	const char *const argv[] = { "bird", "-f", "-c", conf, "-s", control, NULL };
	CLEANUP_STR char *text = xasprintf("router id 192.0.2.1;\nlog stderr all;\n"
					   "protocol device {}\ninclude \"%s\";\n",
		include);
	CLEANUP_STR char *log = test_path("bird.log");
	char old[] = "2001:db8:1000::/36", new[] = "fd00:1::/48";
	struct err e = { 0 };
	pid_t pid;

	(void)state;
	write_routes(old);
	test_write_file(conf, text);
	pid = test_spawn(argv, log);
	assert_true(wait_until(is_up, NULL, LIMIT_MSEC));
	assert_true(wait_until(has_route, old, LIMIT_MSEC));
	write_routes("2001:db8:1000::/36 fd00:1::/48");
	assert_int_equal(birdctl_configure(control, LIMIT_MSEC, &e), 0);
	assert_true(wait_until(has_route, new, LIMIT_MSEC));
	test_write_file(include, "protocol static { what }\n");
	assert_true(birdctl_configure(control, LIMIT_MSEC, &e) < 0);
	assert_non_null(strstr(e.msg, "syntax error"));
	assert_true(has_route(new));
	kill(pid, SIGTERM);
	assert_int_equal(test_wait(pid, LIMIT_MSEC), 0);
}

static void nobody_there(void **state)
{
	CLEANUP_STR char *path = test_path("none.ctl");
	CLEANUP_STR char *file = test_path("file");
	char far_too_long[200];
	struct err e = { 0 };

	(void)state;
	assert_true(birdctl_configure(path, 1000, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	test_write_file(file, "");
	assert_true(birdctl_configure(file, 1000, &e) < 0);
	memset(far_too_long, 'x', sizeof(far_too_long) - 1);
	far_too_long[sizeof(far_too_long) - 1] = '\0';
	assert_true(birdctl_configure(far_too_long, 1000, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(routes_change),
	};
	int rc;

	test_need_command("bird");
	test_need_command("birdc");
	conf = test_path("bird.conf");
	include = test_path("include.conf");
	control = test_path("bird.ctl");
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	free(conf);
	free(include);
	free(control);
	return rc;
}
