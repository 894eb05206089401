#include "common/base/mem.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void strings_are_copied(void **state)
{
	CLEANUP_STR char *a = xstrdup("abc");
	CLEANUP_STR char *b = xstrndup("abcdef", 2);
	CLEANUP_STR char *c = xstrndup("ab", 100);
	CLEANUP_STR char *d = xasprintf("%s-%d", a, 7);

	(void)state;
	assert_string_equal(a, "abc");
	assert_string_equal(b, "ab");
	assert_string_equal(c, "ab");
	assert_string_equal(d, "abc-7");
	assert_null(xstrdup(NULL));
}

static void sizes_of_zero_are_fine(void **state)
{
	void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xrealloc(NULL, 0);
	void *d = xreallocarray(NULL, 0, 4);

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_non_null(d);
	free(a);
	free(b);
	free(c);
	free(d);
}

/* KiB of clean pages of files that are in memory for us. */
static long clean_kib(void)
{
	char line[256];
	long kib, sum = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Shared_Clean: %ld kB", &kib) == 1 ||
			sscanf(line, "Private_Clean: %ld kB", &kib) == 1)
			sum += kib;
	}
	fclose(f);
	return sum;
}

/* Its address is the loader's to write. */
static char *(*volatile const relocated)(int) = strerror;

/* What is used comes back, and what the loader has written is still there. */
static void trimming_loses_nothing(void **state)
{
	CLEANUP_STR char *mine = xstrdup("mine");
	const char *before;
	long kib;

	(void)state;
	before = strerror(ENOENT);
	kib = clean_kib();
	mem_trim();
	assert_true(clean_kib() < kib);
	assert_string_equal(mine, "mine");
	assert_string_equal(relocated(ENOENT), before);
	mem_trim();
	CLEANUP_STR char *text = xasprintf("%.3f", 1.5);
	assert_string_equal(text, "1.500");
}

static void ownership_moves(void **state)
{
	char *owner = xstrdup("x");
	CLEANUP_STR char *taker = MOVE(owner);

	(void)state;
	assert_null(owner);
	assert_string_equal(taker, "x");
	str_set(&taker, xstrdup("y"));
	assert_string_equal(taker, "y");
	str_set(&taker, taker);
	assert_string_equal(taker, "y");
	str_set(&taker, NULL);
	assert_null(taker);
}

static void too_much_ends_the_process(void **state)
{
	int fds[2], status;
	char line[64] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		free(xreallocarray(NULL, SIZE_MAX / 2, 4));
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(read(fds[0], line, sizeof(line) - 1) > 0);
	assert_string_equal(line, "out of memory: giving up\n");
	close(fds[0]);
}

static void jansson_uses_our_allocator(void **state)
{
	json_malloc_t get;
	json_free_t put;

	(void)state;
	mem_init();
	json_get_alloc_funcs(&get, &put);
	assert_ptr_equal(get, xmalloc);
	assert_ptr_equal(put, free);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_are_copied),
		cmocka_unit_test(sizes_of_zero_are_fine),
		cmocka_unit_test(trimming_loses_nothing),
		cmocka_unit_test(ownership_moves),
		cmocka_unit_test(too_much_ends_the_process),
		cmocka_unit_test(jansson_uses_our_allocator),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
