#include "common/base/log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/clock.h"

#define NOW_MSEC INT64_C(1795406400042)

struct seen {
	struct strv lines;
	enum log_level level; /* of the newest */
};

static void see(void *aux, enum log_level level, const char *line)
{
	struct seen *seen = aux;

	seen->level = level;
	strv_add(&seen->lines, line);
}

static int watch(void **state)
{
	struct seen *seen = xcalloc(1, sizeof(*seen));

	log_init("test", LOG_INFO);
	log_set_sink(see, seen);
	*state = seen;
	return 0;
}

static int unwatch(void **state)
{
	struct seen *seen = *state;

	log_set_sink(NULL, NULL);
	strv_done(&seen->lines);
	free(seen);
	return 0;
}

static void assert_line(const struct seen *seen, size_t i, const char *want)
{
	assert_true(i < seen->lines.len);
	assert_string_equal(seen->lines.v[i], want);
}

static void levels_are_kept(void **state)
{
	const struct seen *seen = *state;

	log_error("an error vm=%s", "a");
	assert_int_equal(seen->level, LOG_ERROR);
	log_warn("odd");
	assert_int_equal(seen->level, LOG_WARN);
	log_info("changed");
	assert_int_equal(seen->level, LOG_INFO);
	log_debug("not shown");
	assert_int_equal(seen->lines.len, 3);
	assert_line(seen, 0, "an error vm=a");
	log_init("test", LOG_DEBUG);
	log_debug("shown");
	assert_line(seen, 3, "shown");
}

static void nobody_forges_a_line(void **state)
{
	const struct seen *seen = *state;

	log_info("a%sb", "\n<0>\r\x1b[1m\t\x7f\xff\xc2\x85\xc3\xa9");
	assert_line(seen, 0,
		"a\\x0a<0>\\x0d\\x1b[1m\\x09\\x7f\\xff\\xc2\\x85\xc3\xa9"
		"b");
}

static void long_lines_are_cut(void **state)
{
	const struct seen *seen = *state;
	char *text = xmalloc(10000);

	memset(text, '\n', 9999);
	text[9999] = '\0';
	log_info("%s", text);
	assert_in_range(strlen(seen->lines.v[0]), 3000, 4096);
	free(text);
}

static void the_same_again_is_held_back(void **state)
{
	const struct seen *seen = *state;
	struct log_repeat r = { 0 };

	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 1);
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 1);
	clock_fake_advance(5 * 60 * 1000 - 1);
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 1);
	assert_int_equal(seen->lines.len, 1);
	clock_fake_advance(1);
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 1);
	assert_line(seen, 1, "etcd is gone n=1 repeated=3");
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 1);
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 2);
	assert_line(seen, 2, "etcd is gone n=1 repeated=1");
	assert_line(seen, 3, "etcd is gone n=2");
	log_repeat(&r, LOG_WARN, "etcd is gone n=%d", 2);
	log_repeat_end(&r, "etcd is back");
	assert_line(seen, 4, "etcd is back repeated=1");
	assert_int_equal(seen->level, LOG_INFO);
	log_repeat_end(&r, "etcd is back");
	assert_int_equal(seen->lines.len, 5);
}

/* What log_info() writes to stderr, with $JOURNAL_STREAM set to that very stream or not. */
static void catch_stderr(bool is_journal, char *text, size_t size)
{
	int fds[2], saved = dup(STDERR_FILENO);
	struct stat st;
	char stream[64];
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		is_journal ? (uintmax_t)st.st_ino : (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init("prog", LOG_INFO);
	log_info("one\nline");
	n = read(fds[0], text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	dup2(saved, STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_init("test", LOG_INFO);
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

static void stderr_has_time_and_level(void **state)
{
	char text[512];

	(void)state;
	clock_fake_start(NOW_MSEC);
	catch_stderr(false, text, sizeof(text));
	assert_string_equal(text, "2026-11-23T04:00:00.042Z INFO prog: one\\x0aline\n");
}

static void the_journal_has_a_priority(void **state)
{
	char text[512];

	(void)state;
	catch_stderr(true, text, sizeof(text));
	assert_string_equal(text, "<6>one\\x0aline\n");
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("thread=%s", (const char *)arg);
	return NULL;
}

static void threads_may_log(void **state)
{
	static char names[4][2] = { "a", "b", "c", "d" };
	const struct seen *seen = *state;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, log_many, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(seen->lines.len, 800);
}

static void level_names(void **state)
{
	enum log_level level = LOG_WARN;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(log_level_parse("debug", &level, &e), 0);
	assert_int_equal(level, LOG_DEBUG);
	assert_int_equal(log_level_parse("loud", &level, &e), -1);
	assert_int_equal(level, LOG_DEBUG);
	assert_string_equal(
		e.msg, "\"loud\" is not a log level; give error, warn, info or debug");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(levels_are_kept, watch, unwatch),
		cmocka_unit_test_setup_teardown(nobody_forges_a_line, watch, unwatch),
		cmocka_unit_test_setup_teardown(long_lines_are_cut, watch, unwatch),
		cmocka_unit_test_setup_teardown(
			the_same_again_is_held_back, watch, unwatch),
		cmocka_unit_test(stderr_has_time_and_level),
		cmocka_unit_test(the_journal_has_a_priority),
		cmocka_unit_test_setup_teardown(threads_may_log, watch, unwatch),
		cmocka_unit_test(level_names),
	};

	clock_fake_start(NOW_MSEC);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
