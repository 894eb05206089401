#include "tests/lib/test_util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_ON_EXIT 64

struct at_exit {
	void (*fn)(void *aux);
	void *aux;
};

static struct at_exit on_exit_list[N_ON_EXIT];
static size_t n_on_exit;
static char dir_path[256];
static int reaper_fd = -1;
static pid_t reaper_pid;
static pid_t owner_pid;

static void die(const char *what, const char *subject)
{
	fprintf(stderr, "test: %s %s: %s\n", what, subject, strerror(errno));
	abort();
}

int64_t test_now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

bool wait_until(bool (*fn)(void *aux), void *aux, int64_t limit_msec)
{
	int64_t end = test_now_msec() + limit_msec;

	while (!fn(aux)) {
		if (test_now_msec() >= end)
			return fn(aux);
		nap();
	}
	return true;
}

/* ---------------------------------------------------------------- the end */

/* A forked child that exits must not undo what is its parent's. */
static void run_on_exit(void)
{
	if (getpid() != owner_pid)
		return;
	while (n_on_exit > 0) {
		struct at_exit *a = &on_exit_list[--n_on_exit];

		a->fn(a->aux);
	}
}

void test_on_exit(void (*fn)(void *aux), void *aux)
{
	if (!owner_pid) {
		owner_pid = getpid();
		atexit(run_on_exit);
	}
	if (n_on_exit == N_ON_EXIT)
		die("too many", "test_on_exit()");
	on_exit_list[n_on_exit++] = (struct at_exit){ fn, aux };
}

void test_skip(const char *fmt, ...)
{
	va_list ap;

	fflush(stderr);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	exit(77);
}

static bool is_in_path(const char *name)
{
	const char *path = getenv("PATH");
	char file[512];

	for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
		size_t len = strcspn(p, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)len, p, name);
		if (access(file, X_OK) == 0)
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

void test_need_command(const char *name)
{
	if (!is_in_path(name))
		test_skip("%s is not installed", name);
}

/* ---------------------------------------------------------------- files */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	remove(path); /* what cannot be removed shows in the directory left over */
	return 0;
}

void test_remove(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Waits for the end of the test, then removes its directory. What the test started dies
 * with it, but may still be writing for a moment. */
static void reaper_main(int fd)
{
	int64_t end;
	char c;

	setsid();
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	dup2(fd, 0);
	for (int i = 1; i < 1024; i++)
		close(i);
	while (read(0, &c, 1) < 0 && errno == EINTR)
		;
	end = test_now_msec() + 5000;
	do {
		test_remove(dir_path);
		if (access(dir_path, F_OK) != 0)
			break;
		nap();
	} while (test_now_msec() < end);
	_exit(0);
}

static void remove_dir(void *aux)
{
	(void)aux;
	close(reaper_fd);
	waitpid(reaper_pid, NULL, 0);
}

const char *test_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	int fds[2];

	if (dir_path[0])
		return dir_path;
	snprintf(dir_path, sizeof(dir_path), "%s/ucloud-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir_path))
		die("cannot make", dir_path);
	if (pipe2(fds, O_CLOEXEC) != 0)
		die("no", "pipe");
	fflush(NULL);
	reaper_pid = fork();
	if (reaper_pid < 0)
		die("no", "fork");
	if (reaper_pid == 0)
		reaper_main(fds[0]);
	close(fds[0]);
	reaper_fd = fds[1];
	test_on_exit(remove_dir, NULL);
	return dir_path;
}

char *test_path(const char *fmt, ...)
{
	char name[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	return xasprintf("%s/%s", test_dir(), name);
}

void test_mkdir(const char *path)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		die("cannot make", path);
}

void test_write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		die("cannot write", path);
}

static char *read_fd(int fd)
{
	char *text = xmalloc(4096);
	size_t size = 0, cap = 4096;
	ssize_t n;

	while ((n = read(fd, text + size, cap - size - 1)) > 0) {
		size += (size_t)n;
		if (cap - size < 2)
			text = xrealloc(text, cap *= 2);
	}
	text[size] = '\0';
	return text;
}

char *test_read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;

	if (fd < 0)
		return NULL;
	text = read_fd(fd);
	close(fd);
	return text;
}

uint16_t test_free_port(void)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
		getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		die("no free port on", "[::1]");
	close(fd);
	return ntohs(sa.sin6_port);
}

/* ---------------------------------------------------------------- processes */

static pid_t spawn_with(const char *const *argv, int out_fd)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("cannot fork for", argv[0]);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (out_fd >= 0) {
		dup2(out_fd, 1);
		dup2(out_fd, 2);
	}
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

pid_t test_spawn(const char *const *argv, const char *log_path)
{
	int fd = -1;
	pid_t pid;

	if (log_path) {
		fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0)
			die("cannot open", log_path);
	}
	pid = spawn_with(argv, fd);
	if (fd >= 0)
		close(fd);
	return pid;
}

int test_wait(pid_t pid, int64_t limit_msec)
{
	int64_t end = test_now_msec() + limit_msec;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
						   : WEXITSTATUS(status);
		if (got < 0 || test_now_msec() >= end)
			return -1;
		nap();
	}
}

int test_run(const char *const *argv, int64_t limit_msec, char **out)
{
	char *path = test_path("run-XXXXXX");
	int fd = mkostemp(path, O_CLOEXEC);
	pid_t pid;
	int status;

	if (fd < 0)
		die("cannot make", path);
	pid = spawn_with(argv, fd);
	close(fd);
	status = test_wait(pid, limit_msec);
	if (status < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	if (out)
		*out = test_read_file(path);
	unlink(path);
	free(path);
	return status;
}
