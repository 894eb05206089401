#include "tests/lib/test_libvirtd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "tests/lib/test_util.h"

#define SCRIPT	   "scripts/private-libvirtd"
#define START_MSEC 60000
#define STOP_MSEC  30000

static struct {
	char *dir; /* not below test_dir(): that is removed too early */
	char *uri;
	pid_t guard;
	int guard_fd;
} lv;

/* Waits until we are gone, then cleans up. */
static void run_guard(int fd)
{
	static const char commands[] = "cat > /dev/null; \"$0\" stop \"$1\"; \"$0\" "
				       "kill-guests \"$1\"; rm -rf \"$1\"";
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	setsid();
	dup2(fd, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	execlp("bash", "bash", "-c", commands, SCRIPT, lv.dir, (char *)NULL);
	_exit(127);
}

static void start_guard(void)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 || (lv.guard = fork()) < 0) {
		perror("a guard for libvirtd");
		abort();
	}
	if (lv.guard == 0) {
		close(fds[1]);
		run_guard(fds[0]);
	}
	close(fds[0]);
	lv.guard_fd = fds[1];
}

static void end_guard(void *aux)
{
	int status;

	(void)aux;
	close(lv.guard_fd);
	while (waitpid(lv.guard, &status, 0) < 0 && errno == EINTR)
		;
	free(lv.dir);
	free(lv.uri);
}

static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	lv.dir = xasprintf("%s/uc-lv-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(lv.dir) == NULL) {
		perror(lv.dir);
		abort();
	}
	start_guard();
	test_on_exit(end_guard, NULL);
}

const char *test_libvirtd_start(void)
{
	const char *argv[] = { SCRIPT, "start", NULL, NULL };
	char *out = NULL;
	int status;

	if (geteuid() != 0)
		test_skip("a private libvirtd needs root");
	test_need_command("libvirtd");
	test_need_command("virtlogd");
	test_need_command("virsh");
	test_need_command("tini");
	test_need_command("qemu-system-x86_64");
	test_need_command("unshare");
	if (lv.dir == NULL)
		make_dir();
	argv[2] = lv.dir;
	status = test_run(argv, START_MSEC, &out);
	if (status != 0) {
		fprintf(stderr, "%s: status %d: %s\n", SCRIPT, status,
			out != NULL ? out : "");
		abort();
	}
	free(out);
	if (lv.uri == NULL)
		lv.uri = xasprintf(
			"qemu+unix:///system?socket=%s/run/libvirt-sock", lv.dir);
	return lv.uri;
}

const char *test_libvirtd_dir(void)
{
	return lv.dir;
}

static int read_pid(const char *path)
{
	CLEANUP_STR char *text = test_read_file(path);

	return text == NULL ? 0 : (int)strtoimax(text, NULL, 10);
}

static bool is_gone(void *aux)
{
	const int *pid = aux;
	CLEANUP_STR char *path = xasprintf("/proc/%d/cmdline", *pid);
	CLEANUP_STR char *text = test_read_file(path);

	return text == NULL || text[0] == '\0'; /* a zombie has none */
}

void test_libvirtd_kill(void)
{
	CLEANUP_STR char *path = xasprintf("%s/libvirtd-own.pid", lv.dir);
	int pid = read_pid(path);

	if (pid > 1)
		kill(pid, SIGKILL);
	wait_until(is_gone, &pid, STOP_MSEC);
}

int test_libvirtd_guest_pid(const char *domain)
{
	CLEANUP_STR char *path = xasprintf("%s/run/qemu/%s.pid", lv.dir, domain);

	return read_pid(path);
}
