/* What a child in a sandbox can and cannot do: this program, run again as that child. */
#include "common/base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/proc.h"
#include "tests/lib/test_util.h"

#define NOBODY 65534

/* ---------------------------------------------------------------- the child's part */

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	return fd < 0 ? errno : 0;
}

static int try_reopen(void)
{
	char text[8] = "";
	int fd = open("/dev/fd/3", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return errno;
	return strcmp(text, "secret") == 0 ? 0 : -1;
}

static int try_connect(int domain)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_port = htons(1),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(domain, SOCK_STREAM, 0);

	if (fd < 0)
		return errno;
	if (domain == AF_UNIX)
		return connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? errno : 0;
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

static void *do_nothing(void *aux)
{
	return aux;
}

static int try_thread(void)
{
	pthread_t t;
	int errnum = pthread_create(&t, NULL, do_nothing, NULL);

	return errnum != 0 ? errnum : pthread_join(t, NULL);
}

/* What stdout is: a pipe may be written to, a file may not. */
static int try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	return fd < 0 ? errno : write(fd, "x", 1) < 0 ? errno : 0;
}

static int child_main(const char *dir)
{
	CLEANUP_STR char *new = xasprintf("%s/new", dir);
	CLEANUP_STR char *open_to_all = xasprintf("%s/open", dir);

	printf("passwd %d\n", try_open("/etc/passwd", O_RDONLY));
	printf("self %d\n", try_open("/proc/self/status", O_RDONLY));
	printf("given %d\n", try_reopen());
	printf("other %d\n", try_open(open_to_all, O_RDONLY));
	printf("write %d\n", try_write(open_to_all));
	printf("new %d\n", try_write(new));
	printf("inet %d\n", try_connect(AF_INET6));
	printf("unix %d\n", try_connect(AF_UNIX));
	printf("fork %d\n", try_fork());
	printf("thread %d\n", try_thread());
	printf("kill %d\n", kill(getppid(), 0) < 0 ? errno : 0);
	printf("session %d\n", setsid() < 0 ? errno : 0);
	printf("uid %d\n", (int)getuid());
	return 0;
}

/* ---------------------------------------------------------------- the parent's part */

static char *own_path;

/* Runs it with a file that only root may read as descriptor 3. */
static char *run_child(bool has_sandbox)
{
	CLEANUP_STR char *secret = test_path("secret");
	CLEANUP_STR char *open_to_all = test_path("open");
	CLEANUP_STR char *dir = test_path("box");
	CLEANUP(buf_done) struct buf out = { 0 };
	CLEANUP(buf_done) struct buf errs = { 0 };
	const char *argv[] = { own_path, "--child", test_dir(), NULL };
	const char *paths[] = { "/usr", "/lib", "/lib64", "/etc/ld.so.cache", own_path,
		NULL };
	struct proc p = { .argv = argv, .n_pass = 1 };
	struct sandbox_conf conf = { .read_paths = paths, .may_read_any_mode = true };
	struct sandbox *box = NULL;
	struct err e = { 0 };
	int status = -1;

	test_write_file(secret, "secret");
	test_write_file(open_to_all, "open");
	assert_int_equal(chmod(secret, 0600), 0);
	assert_int_equal(chmod(open_to_all, 0666), 0);
	assert_int_equal(chmod(test_dir(), 0777), 0);
	conf.read_fd = open(secret, O_RDONLY | O_CLOEXEC);
	p.pass = &conf.read_fd;
	if (geteuid() == 0)
		p.uid = p.gid = NOBODY;
	if (has_sandbox && sandbox_new(&conf, &box, &e) < 0)
		fail_msg("%s", e.msg);
	p.sandbox = box;
	if (proc_run(&p, &status, &out, &errs, &e) < 0)
		fail_msg("%s", e.msg);
	if (status != 0)
		fail_msg("status %d: %s", status, buf_str(&errs));
	sandbox_free(box);
	close(conf.read_fd);
	return buf_take(&out);
}

static int errno_of(const char *text, const char *what)
{
	CLEANUP_STR char *line = xasprintf("%s ", what);
	const char *at = strstr(text, line);
	int value = -2;

	if (!at || sscanf(at + strlen(line), "%d", &value) != 1) /* lint: allowed */
		fail_msg("it did not say \"%s\": %s", what, text);
	return value;
}

static void only_what_it_was_given(void **state)
{
	CLEANUP_STR char *text = run_child(true);
	(void)state;

	assert_int_equal(errno_of(text, "given"), 0);
	assert_int_equal(errno_of(text, "thread"), 0);
	assert_int_equal(errno_of(text, "inet"), EPERM);
	assert_int_equal(errno_of(text, "unix"), EPERM);
	assert_int_equal(errno_of(text, "fork"), EPERM);
	assert_int_equal(errno_of(text, "kill"), EPERM);
	assert_int_equal(errno_of(text, "session"), EPERM);
	assert_int_not_equal(errno_of(text, "uid"), 0);
	if (sandbox_landlock_abi() == 0)
		skip(); /* this kernel has no Landlock */
	assert_int_equal(errno_of(text, "passwd"), EACCES);
	assert_int_equal(errno_of(text, "self"), EACCES);
	assert_int_equal(errno_of(text, "other"), EACCES);
	assert_int_equal(errno_of(text, "write"), EACCES);
	assert_int_equal(errno_of(text, "new"), EACCES);
}

/* The test itself: without the sandbox all of it works. */
static void without_it_all_works(void **state)
{
	CLEANUP_STR char *text = run_child(false);
	(void)state;

	assert_int_equal(errno_of(text, "passwd"), 0);
	assert_int_equal(errno_of(text, "self"), 0);
	assert_int_equal(errno_of(text, "other"), 0);
	assert_int_equal(errno_of(text, "write"), 0);
	assert_int_equal(errno_of(text, "new"), 0);
	assert_int_equal(errno_of(text, "inet"), ECONNREFUSED);
	assert_int_not_equal(errno_of(text, "unix"), EPERM);
	assert_int_equal(errno_of(text, "fork"), 0);
	assert_int_equal(errno_of(text, "thread"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_it_all_works),
		cmocka_unit_test(only_what_it_was_given),
	};

	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		return child_main(argv[2]);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	test_skip("what sanitizers need does not fit into a sandbox");
#endif
	/* Where another user may run it. */
	own_path = test_path("child");
	if (test_run((const char *[]){ "cp", argv[0], own_path, NULL }, 10000, NULL) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
