#include "common/base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/parse.h"
#include "tests/lib/test_util.h"

#define SH(script) ((const char *const[]){ "sh", "-c", script, NULL })

struct outcome {
	int rc, status;
	struct buf out, err_out;
	struct err e;
};

static void outcome_done(struct outcome *o)
{
	buf_done(&o->out);
	buf_done(&o->err_out);
}

static void run(struct outcome *o, struct proc p)
{
	*o = (struct outcome){ .status = -1 };
	o->rc = proc_run(&p, &o->status, &o->out, &o->err_out, &o->e);
	/* Whatever happened: no ended child is left to be waited for. */
	assert_true(waitpid(-1, NULL, WNOHANG) <= 0);
}

static void output_and_status(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	(void)state;

	run(&o, (struct proc){ .argv = SH("echo out; echo err >&2; exit 3") });
	assert_int_equal(o.rc, 0);
	assert_int_equal(o.status, 3);
	assert_string_equal(buf_str(&o.out), "out\n");
	assert_string_equal(buf_str(&o.err_out), "err\n");
	outcome_done(&o);
	run(&o, (struct proc){ .argv = SH("kill -TERM $$") });
	assert_int_equal(o.rc, 0);
	assert_int_equal(o.status, 128 + SIGTERM);
}

static void nothing_is_inherited(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	int fd = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
	sigset_t blocked;
	(void)state;

	setenv("UCLOUD_LEAK", "1", 1);
	sigfillset(&blocked);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	run(&o, (struct proc){
			.argv = SH("env | sed 's/=.*//' | grep -v '^_$\\|PWD\\|SHLVL' | "
				   "sort | tr '\\n' ' '; ls /proc/self/fd | tr '\\n' ' ';"
				   "cat; grep -h 'SigBlk\\|SigIgn' /proc/self/status | "
				   "sed '/SigIgn/s/[01][08]0000000$/000000000/'"),
			.env = (const char *const[]){ "MY=1", NULL } });
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	assert_int_equal(o.status, 0);
	/* 3 is the directory that ls reads. Signals 32 and 33 are libc's own: nobody can
	 * change them, and whoever started us may have had them ignored. */
	assert_string_equal(buf_str(&o.out),
		"HOME LC_ALL MY PATH 0 1 2 3 SigBlk:\t0000000000000000\n"
		"SigIgn:\t0000000000000000\n");
	close(fd);
}

static void much_output_is_cut(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	struct proc quiet = { .argv = SH("yes | head -c 3000000; echo last line >&2") };
	int status = -1;
	(void)state;

	run(&o, quiet);
	assert_int_equal(o.status, 0);
	assert_int_equal(o.out.size, 65536);
	assert_string_equal(buf_str(&o.err_out), "last line\n");
	assert_int_equal(proc_run(&quiet, &status, NULL, NULL, &o.e), 0);
	assert_int_equal(status, 0);
}

/* A zombie is as good: whoever inherited it may be slow to wait for it. */
static bool is_gone(void *aux)
{
	CLEANUP_STR char *path = xasprintf("/proc/%d/stat", *(pid_t *)aux);
	CLEANUP_STR char *text = test_read_file(path);

	return !text || strstr(text, ") Z ");
}

static pid_t pid_in(const struct buf *b)
{
	int64_t pid = 0;
	struct err e;
	CLEANUP_STR char *text = xstrndup(buf_str(b), strcspn(buf_str(b), "\n"));

	if (parse_int64(text, 2, INT32_MAX, &pid, &e) < 0)
		fail_msg("%s", e.msg);
	return (pid_t)pid;
}

static void gather(void *aux, const char *p, size_t size)
{
	buf_add(aux, p, size);
}

/* All of it, also what is beyond the limit of the buffer. */
static void output_is_heard_as_it_comes(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	CLEANUP(buf_done) struct buf heard = { 0 };
	(void)state;

	run(&o, (struct proc){ .argv = SH("head -c 200000 /dev/zero; echo; echo err >&2"),
			.on_out = gather,
			.aux = &heard });
	assert_int_equal(o.rc, 0);
	assert_int_equal(heard.size, 200001);
	assert_int_equal(o.out.size, 65536);
	assert_string_equal(buf_str(&o.err_out), "err\n");
}

static void too_late_kills_the_group(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	int64_t start = test_now_msec();
	pid_t pid;
	(void)state;

	run(&o, (struct proc){
			.argv = SH("sleep 100 & echo $!; wait"), .limit_msec = 300 });
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.status, -1);
	assert_int_equal(o.e.kind, ERR_TIMEOUT);
	assert_string_equal(o.e.msg, "sh: did not end within 0.3 s");
	assert_true(test_now_msec() - start < 60000);
	pid = pid_in(&o.out);
	assert_true(wait_until(is_gone, &pid, 30000));
}

static void what_it_leaves_behind_is_killed(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	int64_t start = test_now_msec();
	pid_t pid;
	(void)state;

	/* It keeps our pipes open, too. */
	run(&o, (struct proc){ .argv = SH("sleep 100 & echo $!"), .limit_msec = 50000 });
	assert_int_equal(o.rc, 0);
	assert_int_equal(o.status, 0);
	assert_true(test_now_msec() - start < 60000);
	pid = pid_in(&o.out);
	assert_true(wait_until(is_gone, &pid, 30000));
}

static void what_cannot_run_says_why(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	CLEANUP_STR char *path = test_path("script");
	(void)state;

	run(&o, (struct proc){ .argv = (const char *[]){ "no-such-program", NULL } });
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.e.kind, ERR_UNSUPPORTED);
	assert_string_equal(o.e.msg, "no-such-program: there is no such program in PATH");
	run(&o, (struct proc){ .argv = (const char *[]){ "/nonexistent/x", NULL } });
	assert_int_equal(o.rc, -1);
	assert_int_equal(o.e.kind, ERR_NOT_FOUND);
	assert_string_equal(
		o.e.msg, "cannot run /nonexistent/x: No such file or directory");
	test_write_file(path, "no program\n");
	run(&o, (struct proc){ .argv = (const char *[]){ path, NULL } });
	assert_int_equal(o.rc, -1);
	assert_non_null(strstr(o.e.msg, "Permission denied"));
}

static void limits_hold(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	CLEANUP_STR char *path = test_path("big");
	CLEANUP_STR char *script =
		xasprintf("ulimit -v; ulimit -f; head -c 100000 /dev/zero > %s", path);
	(void)state;

	run(&o, (struct proc){ .argv = SH(script),
			.limit_mem = 512 * 1024 * 1024,
			.limit_file = 51200 });
	assert_int_equal(o.rc, 0);
	assert_int_not_equal(o.status, 0);
	assert_string_equal(buf_str(&o.out), "524288\n100\n");
	CLEANUP_STR char *text = test_read_file(path);
	assert_non_null(text);
}

static void runs_as_somebody_else(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	(void)state;

	if (geteuid() != 0)
		return;
	run(&o, (struct proc){
			.argv = SH("id -u; id -g; id -G"), .uid = 65534, .gid = 65534 });
	assert_int_equal(o.status, 0);
	assert_string_equal(buf_str(&o.out), "65534\n65534\n65534\n");
}

static void ok_or_an_error(void **state)
{
	static const struct {
		const char *script, *msg;
	} rows[] = {
		{ "echo first >&2; echo 'it broke' >&2; echo >&2; exit 4",
			"sh: it broke" },
		{ "exit 4", "sh: ended with status 4" },
		{ "kill -KILL $$", "sh: killed by signal 9 (Killed)" },
	};
	struct buf out = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(
		proc_run_ok(&(struct proc){ .argv = SH("echo yes") }, &out, &e), 0);
	assert_string_equal(buf_str(&out), "yes\n");
	buf_done(&out);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(proc_run_ok(&(struct proc){ .argv = SH(rows[i].script) },
					 NULL, &e),
			-1);
		assert_string_equal(e.msg, rows[i].msg);
	}
}

static void *run_many(void *aux)
{
	(void)aux;
	for (int i = 0; i < 10; i++) {
		struct buf out = { 0 };
		struct err e;

		if (proc_run_ok(&(struct proc){ .argv = SH("echo x") }, &out, &e) < 0 ||
			strcmp(buf_str(&out), "x\n") != 0)
			abort();
		buf_done(&out);
	}
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t t[4];
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, run_many, NULL);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
}

static void dies_with_us(void **state)
{
	int fd[2];
	char text[32] = "";
	pid_t us, it;
	(void)state;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	us = fork();
	if (us == 0) {
		char script[64];
		int status;
		struct err e;

		/* The child's own standard output is a pipe of ours, so it says its pid
		 * by way of /proc. */
		snprintf(script, sizeof(script), "echo $$ > /proc/%d/fd/%d; sleep 100",
			getpid(), fd[1]);
		_exit(proc_run(
			&(struct proc){ .argv = SH(script) }, &status, NULL, NULL, &e));
	}
	close(fd[1]);
	assert_true(read(fd[0], text, sizeof(text) - 1) > 0);
	close(fd[0]);
	struct buf b = { .s = text, .size = strlen(text) };
	it = pid_in(&b);
	assert_int_equal(kill(it, 0), 0);
	kill(us, SIGKILL);
	assert_int_equal(waitpid(us, NULL, 0), us);
	assert_true(wait_until(is_gone, &it, 30000));
}

static void one_that_stays(void **state)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	CLEANUP(buf_done) struct buf errs = { 0 };
	struct proc p = { .argv = SH("echo up; echo why >&2; sleep 100") };
	struct proc_child *c = NULL;
	struct err e = { 0 };
	int status = 0;
	(void)state;

	if (proc_start(&p, &c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_false(proc_has_ended(c, 0));
	proc_kill(c);
	assert_true(proc_has_ended(c, 10000));
	proc_stop(c, &status, &out, &errs);
	assert_int_equal(status, 128 + SIGKILL);

	p.argv = SH("echo up; echo why >&2; exit 5");
	if (proc_start(&p, &c, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(proc_has_ended(c, 10000));
	buf_clear(&out);
	buf_clear(&errs);
	proc_stop(c, &status, &out, &errs);
	assert_int_equal(status, 5);
	assert_string_equal(buf_str(&out), "up\n");
	assert_string_equal(buf_str(&errs), "why\n");

	p.argv = (const char *const[]){ "/nowhere/at/all", NULL };
	assert_true(proc_start(&p, &c, &e) < 0);
	assert_non_null(strstr(e.msg, "/nowhere/at/all"));
	proc_stop(NULL, NULL, NULL, NULL);
	assert_true(waitpid(-1, NULL, WNOHANG) <= 0);
}

/* They become 3 and 4; the first one is announced. */
static void descriptors_are_passed_on(void **state)
{
	CLEANUP(outcome_done) struct outcome o;
	CLEANUP_STR char *path = test_path("passed");
	int fd[2];
	(void)state;

	test_write_file(path, "content");
	fd[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd[1] = open(path, O_RDONLY | O_CLOEXEC);
	run(&o, (struct proc){ .argv = SH("cat <&4; echo; [ $LISTEN_PID = $$ ] && "
					  "echo $LISTEN_FDS; readlink /proc/$$/fd/3"),
			.pass = fd,
			.n_pass = 2,
			.has_listener = true });
	assert_int_equal(o.rc, 0);
	assert_string_equal(buf_str(&o.out), "content\n1\n/dev/null\n");
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_and_status),
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(much_output_is_cut),
		cmocka_unit_test(one_that_stays),
		cmocka_unit_test(descriptors_are_passed_on),
		cmocka_unit_test(output_is_heard_as_it_comes),
		cmocka_unit_test(too_late_kills_the_group),
		cmocka_unit_test(what_it_leaves_behind_is_killed),
		cmocka_unit_test(what_cannot_run_says_why),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(runs_as_somebody_else),
		cmocka_unit_test(ok_or_an_error),
		cmocka_unit_test(many_threads),
		cmocka_unit_test(dies_with_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
