/*
 * The crash points themselves, in every build: this program brings its own crash.o, made
 * with the define.
 */
#ifndef UCLOUD_CRASH
#define UCLOUD_CRASH
#endif
#include "common/base/crash.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

struct fixture {
	char dir[256], name_file[280], count_file[280];
};

static int make_dir(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "%s/ucloud-test-crash-XXXXXX",
		getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->name_file, sizeof(f->name_file), "%s/name", f->dir);
	snprintf(f->count_file, sizeof(f->count_file), "%s/count", f->dir);
	*state = f;
	return 0;
}

static int remove_dir(void **state)
{
	struct fixture *f = *state;

	unlink(f->name_file);
	unlink(f->count_file);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* A child that passes three points. */
static pid_t start_child(const struct fixture *f, const char *at)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		unsetenv("UCLOUD_CRASH_AT");
		if (at)
			setenv("UCLOUD_CRASH_AT", at, 1);
		setenv("UCLOUD_CRASH_FILE", f->name_file, 1);
		setenv("UCLOUD_CRASH_COUNT_FILE", f->count_file, 1);
		CRASH_POINT("a.before");
		CRASH_POINT("a.after");
		CRASH_POINT("b.before");
		_exit(7);
	}
	return pid;
}

/* Its wait status. */
static int run_child(const struct fixture *f, const char *at)
{
	int status = 0;
	pid_t pid = start_child(f, at);

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_file(const char *path, const char *want)
{
	char text[256] = "";
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, want);
}

static void counts_without_dying(void **state)
{
	const struct fixture *f = *state;
	int status = run_child(f, NULL);

	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_file(f->count_file, "1 a.before\n2 a.after\n3 b.before\n");
	assert_int_not_equal(access(f->name_file, F_OK), 0);
}

static void dies_at_the_point_asked_for(void **state)
{
	const struct fixture *f = *state;
	int status = run_child(f, "2");

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_file(f->name_file, "a.after\n");
	assert_file(f->count_file, "1 a.before\n2 a.after\n");
}

static void survives_a_point_that_is_never_reached(void **state)
{
	const struct fixture *f = *state;
	int status = run_child(f, "4");

	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_int_not_equal(access(f->name_file, F_OK), 0);
}

static void stops_and_goes_on(void **state)
{
	const struct fixture *f = *state;
	int status = 0;
	pid_t pid;

	setenv("UCLOUD_CRASH_SIGNAL", "STOP", 1);
	pid = start_child(f, "2");
	unsetenv("UCLOUD_CRASH_SIGNAL");
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_file(f->count_file, "1 a.before\n2 a.after\n");
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_file(f->count_file, "1 a.before\n2 a.after\n3 b.before\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			counts_without_dying, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			dies_at_the_point_asked_for, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			survives_a_point_that_is_never_reached, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(stops_and_goes_on, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
