#include "common/base/proc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/sandbox.h"

#define OUTPUT_MAX (64 * 1024)
#define LIMIT_MSEC 60000
/* From fork() to execve(). */
#define EXEC_MSEC 30000

/* What the child needs between fork() and execve(), where only async-signal-safe calls are
 * allowed: made before. */
struct plan {
	const struct proc *p;
	char *path;
	struct strv env;  /* ends with a NULL that does not count */
	char *listen_pid; /* the one in env, with room for its number; NULL none */
	int null, out, err_out, failed;
	int pass[PROC_PASS_MAX]; /* copies, above those that they become */
	pid_t parent;
};

/* ------------------------------------------------------------- before fork */

static int find_program(const char *name, char **path, struct err *e)
{
	CLEANUP(strv_done) struct strv dirs = { 0 };
	const char *in = getenv("PATH");

	if (strchr(name, '/')) {
		*path = xstrdup(name);
		return 0;
	}
	strv_split(&dirs, in ? in : "/usr/sbin:/usr/bin:/sbin:/bin", ':');
	for (size_t i = 0; i < dirs.len; i++) {
		char *at = xasprintf("%s/%s", dirs.v[i], name);

		if (access(at, X_OK) == 0) {
			*path = at;
			return 0;
		}
		free(at);
	}
	return err_set(e, ERR_UNSUPPORTED, "%s: there is no such program in PATH", name);
}

#define LISTEN_PID "LISTEN_PID="

static void make_env(const struct proc *p, struct strv *env, char **listen_pid)
{
	const char *path = getenv("PATH"), *home = getenv("HOME");

	strv_add_take(
		env, xasprintf("PATH=%s", path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"));
	strv_add_take(env, xasprintf("HOME=%s", home ? home : "/"));
	strv_add(env, "LC_ALL=C");
	for (size_t i = 0; p->env && p->env[i]; i++)
		strv_add(env, p->env[i]);
	if (p->has_listener) {
		strv_add(env, "LISTEN_FDS=1");
		strv_add(env, LISTEN_PID "          ");
		*listen_pid = env->v[env->len - 1];
	}
	strv_add_take(env, NULL);
	env->len--;
}

/* --------------------------------------------------------------- the child */

static int limit(int what, uint64_t value)
{
	const struct rlimit r = { value, value };

	return value ? setrlimit((__rlimit_resource_t)what, &r) : 0;
}

/* The system calls themselves: glibc's functions would talk to threads that are not here. */
static int become(uid_t uid, gid_t gid)
{
	if (uid == 0 && gid == 0)
		return 0;
	if (syscall(SYS_setgroups, 0, NULL) < 0)
		return -1;
	if (gid && syscall(SYS_setresgid, gid, gid, gid) < 0)
		return -1;
	return uid && syscall(SYS_setresuid, uid, uid, uid) < 0 ? -1 : 0;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* fails for some, which have it anyway */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Its own number, behind LISTEN_PID=. */
static void write_listen_pid(char *variable)
{
	char *end = variable + strlen(variable);
	pid_t pid = getpid();
	char digits[16];
	size_t n = 0;

	for (; pid > 0; pid /= 10)
		digits[n++] = (char)('0' + pid % 10);
	variable += sizeof(LISTEN_PID) - 1;
	while (n > 0 && variable < end)
		*variable++ = digits[--n];
	*variable = '\0';
}

static int place_fds(const struct plan *plan)
{
	if (dup2(plan->null, 0) < 0 || dup2(plan->out, 1) < 0 ||
		dup2(plan->err_out, 2) < 0)
		return -1;
	for (size_t i = 0; i < plan->p->n_pass; i++)
		if (dup2(plan->pass[i], 3 + (int)i) < 0)
			return -1;
	/* failed is above them and closes by itself when execve() succeeds. */
	syscall(SYS_close_range, 3 + (unsigned)plan->p->n_pass, ~0U,
		4 /* CLOSE_RANGE_CLOEXEC */);
	return 0;
}

static int enter(const struct proc *p)
{
	if (limit(RLIMIT_AS, p->limit_mem) < 0 || limit(RLIMIT_FSIZE, p->limit_file) < 0)
		return -1;
	if (p->sandbox && sandbox_prepare(p->sandbox) < 0)
		return -1;
	/* The death signal is lost with a change of user, so it comes after that. */
	if (become(p->uid, p->gid) < 0)
		return -1;
	if (p->sandbox && sandbox_enter(p->sandbox) < 0)
		return -1;
	return prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static _Noreturn void child(const struct plan *plan)
{
	const struct proc *p = plan->p;
	int errnum;

	setpgid(0, 0);
	reset_signals();
	if (enter(p) == 0 && place_fds(plan) == 0) {
		if (getppid() != plan->parent)
			_exit(127);
		if (plan->listen_pid)
			write_listen_pid(plan->listen_pid);
		execve(plan->path, (char *const *)(uintptr_t)p->argv, plan->env.v);
	}
	errnum = errno;
	if (write(plan->failed, &errnum, sizeof(errnum)) < 0)
		_exit(126);
	_exit(127);
}

/* -------------------------------------------------------------- the parent */

struct run {
	pid_t pid;
	int pidfd;
	int out, err_out, failed; /* read ends; -1 when they have ended */
};

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The child's dup2() to 0, 1, 2 and those that are passed on must not meet another one of
 * these. */
static int fd_above(int fd)
{
	int higher = fd;

	if (fd >= 0 && fd < 3 + PROC_PASS_MAX) {
		higher = fcntl(fd, F_DUPFD_CLOEXEC, 3 + PROC_PASS_MAX);
		close(fd);
	}
	return higher;
}

static int open_pipe(int *read_end, int *write_end, struct err *e)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	*read_end = fd_above(fd[0]);
	*write_end = fd_above(fd[1]);
	if (*read_end < 0 || *write_end < 0 || fcntl(*read_end, F_SETFL, O_NONBLOCK) < 0)
		return err_errno(e, errno, "pipe");
	return 0;
}

static int copy_passed(struct plan *plan, struct err *e)
{
	for (size_t i = 0; i < plan->p->n_pass; i++) {
		plan->pass[i] =
			fcntl(plan->p->pass[i], F_DUPFD_CLOEXEC, 3 + PROC_PASS_MAX);
		if (plan->pass[i] < 0)
			return err_errno(e, errno, "a descriptor to be passed on");
	}
	return 0;
}

static int fork_it(struct plan *plan, struct run *r, struct err *e)
{
	if (copy_passed(plan, e) < 0)
		return -1;
	plan->null = fd_above(open("/dev/null", O_RDONLY | O_CLOEXEC));
	if (plan->null < 0)
		return err_errno(e, errno, "/dev/null");
	if (open_pipe(&r->out, &plan->out, e) < 0 ||
		open_pipe(&r->err_out, &plan->err_out, e) < 0 ||
		open_pipe(&r->failed, &plan->failed, e) < 0)
		return -1;
	r->pid = fork();
	if (r->pid == 0)
		child(plan);
	if (r->pid < 0)
		return err_errno(e, errno, "fork");
	return 0;
}

static int start(const struct proc *p, struct run *r, struct err *e)
{
	struct plan plan = { .p = p,
		.null = -1,
		.out = -1,
		.err_out = -1,
		.failed = -1,
		.parent = getpid() };
	int rc = -1;

	assert(p->n_pass <= PROC_PASS_MAX && (!p->has_listener || p->n_pass > 0));
	for (size_t i = 0; i < PROC_PASS_MAX; i++)
		plan.pass[i] = -1;
	*r = (struct run){ .pidfd = -1, .out = -1, .err_out = -1, .failed = -1 };
	if (find_program(p->argv[0], &plan.path, e) == 0) {
		make_env(p, &plan.env, &plan.listen_pid);
		rc = fork_it(&plan, r, e);
	}
	for (size_t i = 0; i < PROC_PASS_MAX; i++)
		fd_close(&plan.pass[i]);
	fd_close(&plan.null);
	fd_close(&plan.out);
	fd_close(&plan.err_out);
	fd_close(&plan.failed);
	free(plan.path);
	strv_done(&plan.env);
	if (rc == 0) {
		r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
		if (r->pidfd < 0)
			rc = err_errno(e, errno, "pidfd_open");
	}
	return rc;
}

static int64_t now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Takes what is there now; what is beyond the limit is read and dropped. p: whoever listens
 * to it, or NULL. */
static void drain(int *fd, struct buf *out, const struct proc *p)
{
	char chunk[8192];
	ssize_t n;

	while (*fd >= 0) {
		n = read(*fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			fd_close(fd);
			return;
		}
		if (p && p->on_out)
			p->on_out(p->aux, chunk, (size_t)n);
		if (out && out->size < OUTPUT_MAX) {
			size_t room = OUTPUT_MAX - out->size;

			buf_add(out, chunk, (size_t)n < room ? (size_t)n : room);
		}
	}
}

/* Until it has ended; false when it is too late. */
static bool wait_end(const struct proc *p, struct run *r, int64_t deadline,
	struct buf *out, struct buf *err_out)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = r->pidfd, .events = POLLIN },
			{ .fd = r->out, .events = POLLIN },
			{ .fd = r->err_out, .events = POLLIN } };
		int64_t left = deadline - now_msec();

		if (left <= 0)
			return false;
		poll(fds, ARRAY_LEN(fds), left > 60000 ? 60000 : (int)left);
		if (fds[1].revents)
			drain(&r->out, out, p);
		if (fds[2].revents)
			drain(&r->err_out, err_out, NULL);
		if (fds[0].revents)
			return true;
	}
}

/* Ends what is left of it: its pid and group are ours until it has been waited for. */
static int reap(struct run *r)
{
	int status = 0;

	kill(-r->pid, SIGKILL);
	kill(r->pid, SIGKILL);
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void close_run(struct run *r)
{
	fd_close(&r->pidfd);
	fd_close(&r->out);
	fd_close(&r->err_out);
	fd_close(&r->failed);
}

int proc_run(const struct proc *p, int *status, struct buf *out, struct buf *err_out,
	struct err *e)
{
	int64_t limit_msec = p->limit_msec ? p->limit_msec : LIMIT_MSEC;
	int64_t deadline = now_msec() + limit_msec;
	int code = 0, errnum = 0, rc;
	struct run r;

	rc = start(p, &r, e);
	if (rc == 0 && !wait_end(p, &r, deadline, out, err_out))
		rc = err_set(e, ERR_TIMEOUT, "%s: did not end within %.3g s", p->argv[0],
			(double)limit_msec / 1000);
	if (r.pid > 0)
		code = reap(&r);
	drain(&r.out, out, p);
	drain(&r.err_out, err_out, NULL);
	if (rc == 0 && read(r.failed, &errnum, sizeof(errnum)) == sizeof(errnum))
		rc = err_errno(e, errnum, "cannot run %s", p->argv[0]);
	close_run(&r);
	if (rc == 0)
		*status = code;
	return rc;
}

/* ---------------------------------------------------------------- one that stays */

struct proc_child {
	struct run r;
	struct buf out, err_out;
};

/* Waits until it runs the program: then this end of the pipe is closed. */
static int wait_exec(const struct proc *p, struct run *r, struct err *e)
{
	struct pollfd fd = { .fd = r->failed, .events = POLLIN };
	int errnum = 0;

	while (poll(&fd, 1, EXEC_MSEC) < 0 && errno == EINTR)
		;
	if (fd.revents == 0)
		return err_set(e, ERR_TIMEOUT, "%s: did not begin to run", p->argv[0]);
	if (read(r->failed, &errnum, sizeof(errnum)) == sizeof(errnum))
		return err_errno(e, errnum, "cannot run %s", p->argv[0]);
	return 0;
}

int proc_start(const struct proc *p, struct proc_child **out, struct err *e)
{
	struct proc_child *c = xcalloc(1, sizeof(*c));

	if (start(p, &c->r, e) < 0 || wait_exec(p, &c->r, e) < 0) {
		proc_stop(c, NULL, NULL, NULL);
		return -1;
	}
	*out = c;
	return 0;
}

bool proc_has_ended(struct proc_child *c, int64_t wait_msec)
{
	int64_t deadline = now_msec() + (wait_msec > 0 ? wait_msec : 1);

	return wait_end(NULL, &c->r, deadline, &c->out, &c->err_out);
}

void proc_kill(struct proc_child *c)
{
	kill(-c->r.pid, SIGKILL);
	kill(c->r.pid, SIGKILL);
}

void proc_signal(struct proc_child *c, int sig)
{
	kill(c->r.pid, sig);
}

void proc_stop(struct proc_child *c, int *status, struct buf *out, struct buf *err_out)
{
	int code = 0;

	if (!c)
		return;
	if (c->r.pid > 0)
		code = reap(&c->r);
	drain(&c->r.out, &c->out, NULL);
	drain(&c->r.err_out, &c->err_out, NULL);
	close_run(&c->r);
	if (status)
		*status = code;
	if (out)
		buf_add(out, c->out.s, c->out.size);
	if (err_out)
		buf_add(err_out, c->err_out.s, c->err_out.size);
	buf_done(&c->out);
	buf_done(&c->err_out);
	free(c);
}

/* The last line that is not empty, cut to something an error can hold. The caller's. */
static char *last_line(const struct buf *text)
{
	CLEANUP(strv_done) struct strv lines = { 0 };

	strv_split(&lines, buf_str(text), '\n');
	return lines.len > 0 ? xstrndup(lines.v[lines.len - 1], 400) : NULL;
}

int proc_run_ok(const struct proc *p, struct buf *out, struct err *e)
{
	CLEANUP(buf_done) struct buf err_out = { 0 };
	CLEANUP_STR char *why = NULL;
	int status = 0;

	if (proc_run(p, &status, out, &err_out, e) < 0)
		return -1;
	if (status == 0)
		return 0;
	why = last_line(&err_out);
	if (why)
		return err_set(e, ERR_IO, "%s: %s", p->argv[0], why);
	if (status > 128)
		return err_set(e, ERR_IO, "%s: killed by signal %d (%s)", p->argv[0],
			status - 128, strsignal(status - 128));
	return err_set(e, ERR_IO, "%s: ended with status %d", p->argv[0], status);
}
