/* What keeps radvd running, with a program that says what it does in its place. */
#include "ucloud-network/radvdrun.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/parse.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 20000

/* -c: refuses what has "bad" in it. Else: writes its pid, and a line for each signal. */
/* clang-format off */
static const char script[] =
	"#!/bin/sh\n"
	"here=${0%/*}\n"
	"if [ \"$1\" = -c ]; then\n"
	"	echo check >>$here/log\n"
	"	! grep -q bad $3 || { echo 'line 1: bad' >&2; exit 1; }\n"
	"	exit 0\n"
	"fi\n"
	"conf=$5\n"
	"trap 'echo \"reload $(cat $conf)\" >>$here/log' HUP\n"
	"echo $$ >$here/pid\n"
	"echo \"start $(cat $conf)\" >>$here/log\n"
	"while :; do sleep 0.02; done\n";
/* clang-format on */

static struct world {
	char *dir, *program, *log, *pid;
	struct radvdrun *r;
} w;

static int setup(void **state)
{
	static int n;

	(void)state;
	w.dir = test_path("run%d", n++);
	test_mkdir(w.dir);
	w.program = xasprintf("%s/radvd", w.dir);
	w.log = xasprintf("%s/log", w.dir);
	w.pid = xasprintf("%s/pid", w.dir);
	test_write_file(w.program, script);
	assert_int_equal(chmod(w.program, 0755), 0);
	w.r = radvdrun_new(w.program, w.dir);
	radvdrun_start(w.r);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	radvdrun_free(w.r);
	free(w.dir);
	free(w.program);
	free(w.log);
	free(w.pid);
	memset(&w, 0, sizeof(w));
	return 0;
}

static void set(const char *text, bool has_networks)
{
	struct err e = { 0 };

	if (radvdrun_set(w.r, text, has_networks, &e) < 0)
		fail_msg("%s", e.msg);
}

/* Is this line in the log? */
static bool has_line(void *aux)
{
	CLEANUP_STR char *log = test_read_file(w.log);

	return log && strstr(log, aux);
}

static void await(const char *line)
{
	char copy[128];

	snprintf(copy, sizeof(copy), "%s\n", line);
	if (!wait_until(has_line, copy, LIMIT_MSEC)) {
		CLEANUP_STR char *log = test_read_file(w.log);

		fail_msg("no \"%s\" in: %s", line, log ? log : "");
	}
}

static size_t count(const char *word)
{
	CLEANUP_STR char *log = test_read_file(w.log);
	size_t n = 0;

	for (const char *at = log; at && (at = strstr(at, word)) != NULL; at++)
		n++;
	return n;
}

/* 0: not known yet. */
static pid_t pid(void)
{
	CLEANUP_STR char *text = test_read_file(w.pid);
	int64_t n = 0;

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text && parse_int64(text, 2, INT32_MAX, &n, NULL) == 0 ? (pid_t)n : 0;
}

/* Nothing but that process: 0 would be ourselves. */
static void kill_it(pid_t which)
{
	assert_true(which > 1);
	assert_int_equal(kill(which, SIGKILL), 0);
}

static bool has_pid(void *aux)
{
	const pid_t *other = aux;

	return pid() > 0 && pid() != *other;
}

static bool is_gone(void *aux)
{
	return kill(*(pid_t *)aux, 0) < 0;
}

static void new_configurations(void **state)
{
	pid_t first = 0;

	(void)state;
	set("one", true);
	assert_true(wait_until(has_pid, &first, LIMIT_MSEC));
	await("start one");
	first = pid();
	set("two", true);
	await("reload two");
	/* The same again is nothing new. */
	set("two", true);
	set("two", true);
	assert_int_equal(count("check"), 2);
	assert_int_equal(count("start"), 1);
	assert_int_equal(count("reload"), 1);
	assert_int_equal(pid(), first);
	assert_int_equal(kill(first, 0), 0);
	assert_int_equal(radvdrun_health(w.r, NULL), 0);
}

static void one_that_is_wrong(void **state)
{
	struct err e = { 0 };
	CLEANUP_STR char *path = xasprintf("%s/radvd.conf", w.dir);
	CLEANUP_STR char *text = NULL;

	(void)state;
	set("one", true);
	await("start one");
	assert_true(radvdrun_set(w.r, "bad", true, &e) < 0);
	assert_non_null(strstr(e.msg, "line 1: bad"));
	text = test_read_file(path);
	assert_string_equal(text, "one");
	assert_int_equal(count("reload"), 0);
	set("three", true);
	await("reload three");
	assert_int_equal(count("start"), 1);
}

static void it_dies(void **state)
{
	pid_t first = 0;

	(void)state;
	set("one", true);
	await("start one");
	first = pid();
	kill_it(first);
	assert_true(wait_until(has_pid, &first, LIMIT_MSEC));
	await("start one\nstart one");
	assert_int_equal(count("check"), 1);
}

static void not_needed(void **state)
{
	pid_t first = 0;

	(void)state;
	set("none", false);
	assert_int_equal(count("check"), 0);
	set("one", true);
	assert_true(wait_until(has_pid, &first, LIMIT_MSEC));
	first = pid();
	set("none", false);
	assert_true(wait_until(is_gone, &first, LIMIT_MSEC));
	assert_int_equal(radvdrun_health(w.r, NULL), 0);
	set("one", true);
	assert_true(wait_until(has_pid, &first, LIMIT_MSEC));
	first = pid();
	radvdrun_stop(w.r);
	assert_true(wait_until(is_gone, &first, LIMIT_MSEC));
}

static bool is_there(const char *name)
{
	CLEANUP_STR char *path = xasprintf("%s/%s", w.dir, name);

	return access(path, F_OK) == 0;
}

/* Whoever comes after one that was killed goes on before it is told anything. */
static void what_was_there_before(void **state)
{
	pid_t first = 0;

	(void)state;
	set("one", true);
	await("start one");
	first = pid();
	radvdrun_free(w.r);
	assert_true(wait_until(is_gone, &first, LIMIT_MSEC));
	w.r = radvdrun_new(w.program, w.dir);
	radvdrun_start(w.r);
	await("start one\nstart one");
	set("one", true);
	assert_int_equal(count("check"), 1);
	assert_int_equal(count("reload"), 0);
	set("two", true);
	await("reload two");
	set("", false);
	assert_false(is_there("radvd.conf"));
	assert_false(is_there("radvd.conf.new"));
}

/* radvd locks it, and writes over its beginning. */
static void another_ones_pid_file(void **state)
{
	CLEANUP_STR char *path = xasprintf("%s/radvd.pid", w.dir);

	(void)state;
	test_write_file(path, "1234567\n");
	set("one", true);
	await("start one");
	assert_false(is_there("radvd.pid"));
}

/* One that was not wanted any more, or never. */
static void nothing_was_there(void **state)
{
	CLEANUP_STR char *unfinished = xasprintf("%s/radvd.conf.new", w.dir);

	(void)state;
	radvdrun_free(w.r);
	test_write_file(unfinished, "half");
	w.r = radvdrun_new(w.program, w.dir);
	radvdrun_start(w.r);
	set("", false);
	assert_false(is_there("radvd.conf.new"));
	assert_int_equal(count("start"), 0);
	set("one", true);
	await("start one");
}

static bool is_unhealthy(void *aux)
{
	return radvdrun_health(w.r, aux) < 0;
}

static void it_is_not_there(void **state)
{
	CLEANUP_STR char *away = xasprintf("%s/away", w.dir);
	struct err e = { 0 };

	(void)state;
	set("one", true);
	await("start one");
	assert_int_equal(rename(w.program, away), 0);
	assert_true(radvdrun_set(w.r, "two", true, &e) < 0);
	kill_it(pid());
	assert_true(wait_until(is_unhealthy, &e, LIMIT_MSEC));
	assert_int_equal(rename(away, w.program), 0);
	set("two", true);
	await("start two");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { CASE(new_configurations),
		CASE(one_that_is_wrong), CASE(it_dies), CASE(not_needed),
		CASE(what_was_there_before), CASE(nothing_was_there),
		CASE(another_ones_pid_file), CASE(it_is_not_there) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
