#include "common/model/keys.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"

#define U      "123e4567-e89b-42d3-a456-426614174000"
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct keys k;

static int set_up(void **state)
{
	(void)state;
	keys_set_defaults(&k);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	keys_done(&k);
	return 0;
}

static void is_key(char *key, const char *want)
{
	assert_string_equal(key, want);
	free(key);
}

static void every_key(void **state)
{
	(void)state;
	is_key(key_vm(&k, U), "/v1/vm/" U);
	is_key(key_host(&k, "h1.example.org"), "/v1/host/h1.example.org");
	is_key(key_image(&k, U), "/v1/image/" U);
	is_key(key_network(&k, U), "/v1/network/" U);
	is_key(key_file(&k, U), "/v1/file/" U);
	is_key(key_request_scheduler(&k, U), "/v1/request/scheduler/" U);
	is_key(key_request_host(&k, "h1", U), "/v1/request/host/h1/" U);
	is_key(key_requests_scheduler(&k), "/v1/request/scheduler/");
	is_key(key_requests_host(&k, "h1"), "/v1/request/host/h1/");
	is_key(key_vm_name("R", "nico", "web"), "/v1/vm-name/R/nico/web");
	is_key(key_vm_names("R", "nico"), "/v1/vm-name/R/nico/");
	is_key(key_placement("h1", U), "/v1/placement/h1/" U);
	is_key(key_placements("h1"), "/v1/placement/h1/");
	is_key(key_alive("h1"), "/v1/alive/h1");
	is_key(key_lock("scheduler"), "/v1/lock/scheduler");
	is_key(key_image_name("R", "nico", "deb"), "/v1/image-name/R/nico/deb");
	is_key(key_image_names("R", "nico"), "/v1/image-name/R/nico/");
	is_key(key_image_public("deb"), "/v1/image-public/deb");
	is_key(key_image_store("local"), "/v1/image_store/local");
	is_key(key_user("R", "nico"), "/v1/user/R/nico");
	is_key(key_otp("R", "nico"), "/v1/otp/R/nico");
	is_key(key_session(DIGEST), "/v1/session/" DIGEST);
	is_key(key_idempotency("R", "nico", DIGEST), "/v1/idempotency/R/nico/" DIGEST);
	is_key(key_console("h1", U), "/v1/console/h1/" U);
	is_key(key_consoles("h1"), "/v1/console/h1/");
	is_key(key_port(U, "42:00:0a:1b:2c:3d"), "/v1/port/" U "/42:00:0a:1b:2c:3d");
}

/* Runs fn in a child; did it end by abort()? */
static bool does_abort(void (*fn)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL); /* cmocka catches it */
		close(STDERR_FILENO);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void name_with_slash(void)
{
	free(key_vm_name("R", "nico", "a/b"));
}

static void owner_with_slash(void)
{
	free(key_user("R", "a/b"));
}

static void no_uuid(void)
{
	free(key_vm(&k, ""));
}

static void null_host(void)
{
	free(key_alive(NULL));
}

static void good_one(void)
{
	free(key_vm(&k, U));
}

static void unchecked_parts_abort(void **state)
{
	(void)state;
	assert_false(does_abort(good_one));
	assert_true(does_abort(name_with_slash));
	assert_true(does_abort(owner_with_slash));
	assert_true(does_abort(no_uuid));
	assert_true(does_abort(null_host));
}

static void check_adds_slash_and_defaults(void **state)
{
	struct keys other = { .vm = xstrdup("/x/vm") };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(keys_check(&other, &e), 0);
	assert_string_equal(other.vm, "/x/vm/");
	assert_string_equal(other.request, "/v1/request/");
	keys_done(&other);
	assert_null(other.vm);
}

static void check_refuses(void **state)
{
	static const char *const bad[] = { "", "/", "v1/vm/", "/v1//vm", "/v1/vm /",
		"/v1/\xc3\xa9", "/", "/v1", "/v1/", "/v1/host", "/v1/host/x",
		"/v1/user/x/", "/v1/port", NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct keys other = { 0 };
		struct err e = { 0 };

		keys_set_defaults(&other);
		str_set(&other.vm, xstrdup(*b));
		if (keys_check(&other, &e) == 0)
			fail_msg("vm_prefix \"%s\" was accepted", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.field, "_prefix"));
		keys_done(&other);
	}
}

static void check_names_the_option(void **state)
{
	struct keys other = { 0 };
	struct err e = { 0 };
	(void)state;

	keys_set_defaults(&other);
	str_set(&other.image, xstrdup("/v1/host/images"));
	assert_int_equal(keys_check(&other, &e), -1);
	assert_string_equal(e.field, "image_prefix");
	assert_string_equal(e.msg, "image_prefix \"/v1/host/images/\" and \"/v1/host/\" "
				   "lie inside each other: their keys would be mixed up");
	keys_done(&other);
}

/* The options are what keys_set_defaults() sets. */
static void options_have_the_defaults(void **state)
{
	size_t n = 0;
	(void)state;

	for (const struct conf_opt *o = keys_opts; o->name; o++, n++) {
		const char *set = *(char **)((char *)&k + o->off);

		assert_string_equal(set, o->def);
		assert_int_equal(o->check(set, NULL), 0);
		assert_true(str_has_suffix(o->name, "_prefix"));
	}
	assert_int_equal(n * sizeof(char *), sizeof(struct keys));
}

static void request_keys(void **state)
{
	struct request_key r;
	struct err e = { 0 };
	(void)state;

	assert_int_equal(request_key_parse(&k, "/v1/request/scheduler/" U, &r, &e), 0);
	assert_string_equal(r.kind, "scheduler");
	assert_string_equal(r.host, "");
	assert_string_equal(r.subject, U);
	assert_int_equal(request_key_parse(&k, "/v1/request/host/h1.org/" U, &r, &e), 0);
	assert_string_equal(r.kind, "host");
	assert_string_equal(r.host, "h1.org");
	assert_string_equal(r.subject, U);
	assert_int_equal(request_key_parse(&k, "/v1/request/network/" U, &r, &e), 0);
	assert_string_equal(r.kind, "network");
	assert_int_equal(request_key_parse(&k, "/v1/request/image/" U, &r, &e), 0);
	assert_string_equal(r.kind, "image");
}

static void foreign_request_keys(void **state)
{
	static const char *const bad[] = { "", "/v1/request", "/v1/request/", "/v1/vm/" U,
		"/v1/request/" U, "/v1/request/scheduler", "/v1/request/scheduler/",
		"/v1/request/scheduler/x", "/v1/request/scheduler/" U "/",
		"/v1/request/scheduler/" U "x", "/v1/request/scheduler//" U,
		"/v1/request/host/" U, "/v1/request/host//" U, "/v1/request/host/H1/" U,
		"/v1/request/host/h1/", "/v1/request/host/h1/x/" U,
		"/v1/request/other/" U, "/v1/request/schedulerxxxxxxxxxxxxxxx/" U,
		"/v1/request/host/\xff/" U, NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct request_key r = { .kind = "before" };
		struct err e = { 0 };

		if (request_key_parse(&k, *b, &r, &e) == 0)
			fail_msg("\"%s\" was accepted", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(r.kind, "before");
	}
}

static void built_request_keys_parse(void **state)
{
	CLEANUP_STR char *host = xmalloc(254);
	CLEANUP_STR char *key = NULL;
	struct request_key r;
	struct err e = { 0 };
	(void)state;

	for (size_t i = 0; i < 253; i++)
		host[i] = i % 50 == 49 ? '.' : 'h';
	host[253] = '\0';
	key = key_request_host(&k, host, U);
	assert_int_equal(request_key_parse(&k, key, &r, &e), 0);
	assert_string_equal(r.host, host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key),
		cmocka_unit_test(unchecked_parts_abort),
		cmocka_unit_test(check_adds_slash_and_defaults),
		cmocka_unit_test(check_refuses),
		cmocka_unit_test(check_names_the_option),
		cmocka_unit_test(options_have_the_defaults),
		cmocka_unit_test(request_keys),
		cmocka_unit_test(foreign_request_keys),
		cmocka_unit_test(built_request_keys_parse),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
