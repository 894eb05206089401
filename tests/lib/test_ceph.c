#include "tests/lib/test_ceph.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "tests/lib/test_util.h"

#define SCRIPT	   "scripts/private-ceph"
#define START_MSEC 180000
#define RUN_MSEC   60000

struct test_ceph {
	char *dir; /* not below test_dir(): that is removed too early */
	char *path;
	struct strv other_paths;
	pid_t guard;
	int guard_fd;
	struct test_ceph *next;
};

static struct test_ceph *running; /* all, for the end of the program */

static const char *const daemons[] = { "mon", "osd", "mgr" };

static void die(const char *what, const char *text)
{
	fprintf(stderr, "test_ceph: %s: %s\n", what, text ? text : "");
	abort();
}

/* Waits until we are gone, then cleans up. */
static void run_guard(const struct test_ceph *t, int fd)
{
	static const char commands[] = "cat > /dev/null; \"$0\" down \"$1\"";
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	setsid();
	dup2(fd, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execlp("bash", "bash", "-c", commands, SCRIPT, t->dir, (char *)NULL);
	_exit(127);
}

static void start_guard(struct test_ceph *t)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 || (t->guard = fork()) < 0)
		die("a guard for ceph", strerror(errno));
	if (t->guard == 0) {
		close(fds[1]);
		run_guard(t, fds[0]);
	}
	close(fds[0]);
	t->guard_fd = fds[1];
}

void test_ceph_free(struct test_ceph *t)
{
	struct test_ceph **at = &running;
	int status;

	if (!t)
		return;
	while (*at && *at != t)
		at = &(*at)->next;
	if (*at)
		*at = t->next;
	close(t->guard_fd);
	while (waitpid(t->guard, &status, 0) < 0 && errno == EINTR)
		;
	strv_done(&t->other_paths);
	free(t->dir);
	free(t->path);
	free(t);
}

static void free_all(void *aux)
{
	(void)aux;
	while (running)
		test_ceph_free(running);
}

static bool has_command(const char *name)
{
	CLEANUP(strv_done) struct strv dirs = { 0 };
	const char *path = getenv("PATH");

	strv_split(&dirs, path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':');
	for (size_t i = 0; i < dirs.len; i++) {
		CLEANUP_STR char *file = xasprintf("%s/%s", dirs.v[i], name);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

const char *test_ceph_lacks(void)
{
	if (geteuid() != 0)
		return "a private Ceph needs root";
	if (!has_command("ceph-mon"))
		return "ceph-mon is not installed";
	if (!has_command("ceph-osd"))
		return "ceph-osd is not installed";
	if (!has_command("rbd") || !has_command("ceph"))
		return "ceph-common is not installed";
	return NULL;
}

struct test_ceph *test_ceph_start(const struct test_ceph_conf *conf)
{
	struct test_ceph *t = xcalloc(1, sizeof(*t));
	const char *tmp = getenv("TMPDIR"), *lacks = test_ceph_lacks();
	const char *argv[8] = { SCRIPT, "up", NULL };
	size_t n = 3;
	CLEANUP_STR char *out = NULL;

	if (lacks)
		test_skip("%s", lacks);
	if (conf && conf->is_bluestore)
		argv[n++] = "--bluestore";
	if (conf && conf->has_auth)
		argv[n++] = "--auth";
	if (conf && conf->has_mgr)
		argv[n++] = "--mgr";
	argv[2] = t->dir = xasprintf("%s/uc-ceph-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(t->dir))
		die(t->dir, strerror(errno));
	t->path = xasprintf("%s/ceph.conf", t->dir);
	start_guard(t);
	if (!running)
		test_on_exit(free_all, NULL);
	t->next = running;
	running = t;
	if (test_run(argv, START_MSEC, &out) != 0)
		die(SCRIPT, out);
	return t;
}

const char *test_ceph_path(const struct test_ceph *t)
{
	return t->path;
}

const char *test_ceph_path_with(struct test_ceph *t, const char *lines)
{
	CLEANUP_STR char *text = test_read_file(t->path);
	CLEANUP_STR char *more = xasprintf("%s\n[client]\n%s\n", text, lines);
	char *path = xasprintf("%s/other%zu.conf", t->dir, t->other_paths.len);

	test_write_file(path, more);
	strv_add_take(&t->other_paths, path);
	return path;
}

static pid_t pid_of(struct test_ceph *t, const char *name)
{
	CLEANUP_STR char *file = xasprintf("%s/%s.pid", t->dir, name);
	CLEANUP_STR char *text = test_read_file(file);

	return text ? (pid_t)strtoimax(text, NULL, 10) : 0;
}

static void send(struct test_ceph *t, int number)
{
	for (size_t i = 0; i < ARRAY_LEN(daemons); i++) {
		pid_t pid = pid_of(t, daemons[i]);

		if (pid > 1)
			kill(pid, number);
	}
}

/* Is every thread of it stopped? */
static bool is_stopped(pid_t pid)
{
	CLEANUP_STR char *path = xasprintf("/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	const struct dirent *d;
	bool is_running = false;

	while (dir && (d = readdir(dir))) {
		CLEANUP_STR char *file = xasprintf("%s/%s/stat", path, d->d_name);
		CLEANUP_STR char *text = test_read_file(file);
		const char *state = text ? strrchr(text, ')') : NULL;

		is_running = is_running || (state && strncmp(state, ") T", 3) != 0);
	}
	if (dir)
		closedir(dir);
	return !is_running;
}

static bool are_stopped(void *aux)
{
	struct test_ceph *t = aux;

	for (size_t i = 0; i < ARRAY_LEN(daemons); i++) {
		pid_t pid = pid_of(t, daemons[i]);

		if (pid > 1 && !is_stopped(pid))
			return false;
	}
	return true;
}

void test_ceph_freeze(struct test_ceph *t)
{
	send(t, SIGSTOP);
	if (!wait_until(are_stopped, t, RUN_MSEC))
		die("its processes", "they do not stop");
}

void test_ceph_thaw(struct test_ceph *t)
{
	send(t, SIGCONT);
}

char *test_ceph_run(struct test_ceph *t, const char *fmt, ...)
{
	CLEANUP(strv_done) struct strv words = { 0 };
	char line[2048], *out = NULL;
	const char *command = line;
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	command += line[0] == '!';
	strv_split(&words, command, ' ');
	strv_add(&words, "-c");
	strv_add(&words, t->path);
	strv_add_take(&words, NULL);
	status = test_run((const char *const *)words.v, RUN_MSEC, &out);
	if (status != 0 && line[0] != '!')
		die(command, out);
	return out;
}
