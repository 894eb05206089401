/* The skeleton is tried on a real process: this program, started again as a daemon. */
#include "common/base/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "common/base/notify.h"
#include "common/base/parse.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 20000
#define MARKER	   "UCLOUD_TEST_IS_DAEMON"

/* ------------------------------------------------- the daemon that is tried */

enum manner {
	M_WELL,	      /* as it should be */
	M_FAIL_START, /* start() fails */
	M_WAIT_START, /* start() waits until it is stopped */
	M_FAIL_LATER, /* daemon_fail() from a thread of its own */
	M_SICK,	      /* health() fails */
	M_HANG	      /* stop() never returns */
};

static const char *const manners[] = { "well", "fail_start", "wait_start", "fail_later",
	"sick", "hang", NULL };

struct tried_conf {
	char *name;
	int manner;
	struct daemon_conf daemon;
	int64_t count;
};

static const struct conf_opt tried_opts[] = {
	{ "name", CONF_STR, offsetof(struct tried_conf, name), CONF_NEED,
		.help = "a name", .meta = "NAME" },
	{ "manner", CONF_ENUM, offsetof(struct tried_conf, manner), .def = "well",
		.names = manners },
	{ 0 },
};

static const struct conf_opt verb_opts[] = {
	{ "count", CONF_INT, offsetof(struct tried_conf, count), CONF_CLI_ONLY,
		.def = "1" },
	{ 0 },
};

static const struct conf_part tried_parts[] = {
	{ tried_opts, 0 },
	{ daemon_opts, offsetof(struct tried_conf, daemon) },
	{ 0 },
};

static int tried_check(void *conf, struct err *e)
{
	const struct tried_conf *c = conf;

	return strcmp(c->name, "bad") == 0
		       ? err_set_field(e, ERR_INVALID, "name", "bad is a bad name")
		       : 0;
}

static int tried_setup(void *conf, struct err *e)
{
	const struct tried_conf *c = conf;

	return strcmp(c->name, "unreachable") == 0
		       ? err_set(e, ERR_UNAVAILABLE, "etcd does not answer")
		       : 0;
}

static void *fail_soon(void *aux)
{
	struct err e;

	err_set(&e, ERR_IO, "the %s is lost", (const char *)aux);
	daemon_fail(&e);
	return NULL;
}

static int tried_start(void *conf, void **state, struct err *e)
{
	const struct tried_conf *c = conf;
	pthread_t t;

	switch ((enum manner)c->manner) {
	case M_FAIL_START:
		return err_set(e, ERR_UNAVAILABLE, "there is no etcd");
	case M_WAIT_START:
		daemon_status("waiting for\netcd");
		while (!daemon_is_stopping())
			poll(NULL, 0, 5);
		return err_set(e, ERR_UNAVAILABLE, "gave up");
	case M_FAIL_LATER:
		pthread_create(&t, NULL, fail_soon, c->name);
		pthread_detach(t);
		break;
	default:
		break;
	}
	*state = conf;
	return 0;
}

static int tried_health(void *state, struct err *e)
{
	const struct tried_conf *c = state;

	if (c->manner == M_SICK)
		return err_set(e, ERR_UNAVAILABLE, "etcd is silent since 3 s");
	snprintf(e->msg, sizeof(e->msg), "name=%s", c->name);
	return 0;
}

static void tried_stop(void *state)
{
	const struct tried_conf *c = state;

	while (c->manner == M_HANG)
		pause();
	fprintf(stderr, "stop was called\n");
}

static int greet(void *conf, const struct strv *rest)
{
	const struct tried_conf *c = conf;
	CLEANUP_STR char *words = strv_join(rest, "+");

	printf("%s x%d: %s\n", c->name, (int)c->count, words);
	return 42;
}

static const struct daemon_verb tried_verbs[] = {
	{ "greet", "greet WORD... [--count N]", "greets", greet, verb_opts },
	{ 0 },
};

static const struct daemon_spec tried = {
	.name = "ucloud-tried",
	.summary = "a daemon to be tried",
	.conf = { "ucloud-tried", tried_parts, sizeof(struct tried_conf) },
	.daemon_conf_off = offsetof(struct tried_conf, daemon),
	.default_metrics_listen = "[::1]:0",
	.check = tried_check,
	.setup = tried_setup,
	.start = tried_start,
	.health = tried_health,
	.stop = tried_stop,
	.verbs = tried_verbs,
};

/* ------------------------------------------------------------ starting it */

static const char *us; /* this program */

#define RUN(out, ...) test_run((const char *[]){ us, __VA_ARGS__, NULL }, LIMIT_MSEC, out)

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in '%s'", part, text);
}

/* Runs to its end and says this, as its only line. */
static void assert_ends(int status, const char *line, const char *const *args)
{
	const char *argv[16] = { us };
	char *out = NULL;
	int got;

	for (size_t i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	got = test_run(argv, LIMIT_MSEC, &out);
	if (got != status || !strstr(out, line) || strchr(out, '\n')[1] != '\0')
		fail_msg(
			"status %d, said '%s', and not %d, '%s'", got, out, status, line);
	free(out);
}

#define ASSERT_ENDS(status, line, ...)                                                   \
	assert_ends(status, line, (const char *[]){ __VA_ARGS__, NULL })

struct service {
	pid_t pid;
	int fd; /* $NOTIFY_SOCKET's other end */
	char *log, *conf;
};

static int bind_notify(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(name);

	memcpy(sa.sun_path, name, len);
	if (name[0] == '@')
		sa.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&sa,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
					     len + (name[0] != '@'))),
		0);
	return fd;
}

static void service_start(struct service *s, const char *manner, const char *user)
{
	static int n;
	/* Abstract: whoever the daemon becomes, it can reach it. */
	CLEANUP_STR char *name = xasprintf("@ucloud-test-%d.%d", (int)getpid(), ++n);
	CLEANUP_STR char *text = xasprintf("[ucloud-tried]\nname = anna\nmanner = %s\n"
					   "user = %s\n",
		manner, user);

	s->log = test_path("log.%d", n);
	s->conf = test_path("conf.%d", n);
	test_write_file(s->conf, text);
	s->fd = bind_notify(name);
	setenv("NOTIFY_SOCKET", name, 1);
	s->pid = test_spawn((const char *[]){ us, "--config", s->conf, NULL }, s->log);
	unsetenv("NOTIFY_SOCKET");
	assert_true(s->pid > 0);
}

static void service_done(struct service *s)
{
	close(s->fd);
	free(s->log);
	free(s->conf);
}

/* The next datagram. */
static char *service_hears(struct service *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	char text[512];
	ssize_t n;

	if (poll(&p, 1, LIMIT_MSEC) != 1)
		fail_msg("the daemon did not say anything");
	n = recv(s->fd, text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	return xstrdup(text);
}

static void assert_hears(struct service *s, const char *want)
{
	CLEANUP_STR char *text = service_hears(s);

	assert_string_equal(text, want);
}

static void service_stop(struct service *s, int sig, int want_status)
{
	kill(s->pid, sig);
	assert_int_equal(test_wait(s->pid, LIMIT_MSEC), want_status);
}

static char *service_url(struct service *s, const char *path)
{
	CLEANUP_STR char *log = test_read_file(s->log);
	const char *at = strstr(log, "port=");
	int64_t port = 0;
	struct err e;

	assert_non_null(at);
	CLEANUP_STR char *digits = xstrndup(at + 5, strspn(at + 5, "0123456789"));
	assert_int_equal(parse_int64(digits, 1, 65535, &port, &e), 0);
	return xasprintf("http://[::1]:%d%s", (int)port, path);
}

static char *service_get(struct service *s, const char *path, int want_status)
{
	struct http *h = http_new(&(struct http_conf){ 0 });
	CLEANUP_STR char *url = service_url(s, path);
	struct http_req req = { .method = "GET", .url = url };
	struct http_resp resp = { 0 };
	struct err e = { 0 };
	char *text;

	if (http_call(h, &req, &resp, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(resp.status, want_status);
	text = buf_take(&resp.body);
	http_resp_done(&resp);
	http_free(h);
	return text;
}

/* -------------------------------------------------------------- the tests */

static void help_and_version(void **state)
{
	char *out = NULL;
	(void)state;

	assert_int_equal(RUN(&out, "--version"), 0);
	assert_contains(out, "ucloud-tried ");
	assert_contains(out, ucloud_version());
	free(out);
	assert_int_equal(RUN(&out, "--name", "x", "--help"), 0);
	assert_contains(out, "ucloud-tried: a daemon to be tried\n");
	assert_contains(out, "ucloud-tried greet WORD... [--count N]\n");
	assert_contains(out, "--metrics_listen ADDRESS");
	assert_contains(out, "(default [::1]:0)");
	assert_null(strstr(out, "--count VALUE"));
	assert_null(strstr(out, "--path DIR  "));
	free(out);
	assert_int_equal(RUN(&out, "greet", "--help"), 0);
	assert_contains(out, "--count VALUE");
	free(out);
	assert_int_equal(RUN(&out, "setup", "--help"), 0);
	assert_contains(out, "--path DIR  ");
	free(out);
}

static void wrong_usage_is_status_2(void **state)
{
	(void)state;
	ASSERT_ENDS(2, "ucloud-tried: there is no option --nope", "--nope");
	ASSERT_ENDS(2, "ucloud-tried: there is no subcommand \"nope\"", "nope");
	ASSERT_ENDS(2, "ucloud-tried: unexpected word \"word\"", "--name", "x", "word");
	ASSERT_ENDS(2, "ucloud-tried: --name needs a value", "--name");
	ASSERT_ENDS(2, "ucloud-tried: there is no option --count", "--count", "3");
	ASSERT_ENDS(2, "ucloud-tried: option name is needed", "setup", "--path", "/tmp");
	ASSERT_ENDS(2, "bad is a bad name", "setup", "--name", "bad");
}

static void what_cannot_start_is_status_1_and_a_line(void **state)
{
	CLEANUP_STR char *path = test_path("bad.conf");
	CLEANUP_STR char *line = xasprintf("cannot start: configuration: %s:3: ", path);
	(void)state;

	ASSERT_ENDS(1,
		"cannot start: there is no /etc/ucloud/ucloud-tried.conf: make it with "
		"\"ucloud-tried setup\"",
		"--name", "x");
	ASSERT_ENDS(1, "cannot start: configuration: /nonexistent/x.conf: ", "--config",
		"/nonexistent/x.conf");
	test_write_file(path, "[ucloud-tried]\nname = x\nfoo = 1\n");
	ASSERT_ENDS(1, line, "--config", path);
	test_write_file(path, "[ucloud-tried]\nmetrics_listen =\n");
	ASSERT_ENDS(1, "cannot start: option name is needed", "--config", path);
	ASSERT_ENDS(
		1, "cannot start: bad is a bad name", "--config", path, "--name", "bad");
	ASSERT_ENDS(1, "cannot start: there is no etcd", "--config", path, "--name", "x",
		"--manner", "fail_start");
	ASSERT_ENDS(1, "cannot start: metrics_listen: cannot listen on [2001:db8::1]:0",
		"--config", path, "--name", "x", "--metrics_listen", "[2001:db8::1]:0");
}

static void verbs_get_configuration_and_words(void **state)
{
	CLEANUP_STR char *path = test_path("verb.conf");
	(void)state;

	test_write_file(path, "[ucloud-tried]\nname = anna\n");
	ASSERT_ENDS(42, "anna x3: hello+you", "greet", "hello", "--config", path,
		"--count", "3", "you");
	ASSERT_ENDS(42, "bert x1: ", "greet", "--config", path, "--name", "bert");
	/* Without the default file the command line is enough. */
	ASSERT_ENDS(42, "bert x1: ", "greet", "--name", "bert");
	ASSERT_ENDS(1, "ucloud-tried: option name is needed", "greet");
	ASSERT_ENDS(1, "ucloud-tried: configuration: /nonexistent/x", "greet", "--config",
		"/nonexistent/x");
}

static void a_whole_life(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	(void)state;

	service_start(&s, "well", "");
	assert_hears(&s, "READY=1\nSTATUS=running");
	CLEANUP_STR char *health = service_get(&s, "/healthz", 200);
	assert_string_equal(health, "ok name=anna\n");
	CLEANUP_STR char *metrics = service_get(&s, "/metrics", 200);
	assert_contains(metrics, "\nprocess_resident_memory_bytes ");
	assert_contains(metrics, "\nprocess_open_fds ");
	assert_contains(metrics, "\nprocess_cpu_seconds_total ");
	assert_contains(metrics, "\nprocess_start_time_seconds ");
	assert_contains(metrics, "\nucloud_build_info{version=\"");
	assert_null(strstr(metrics, "process_resident_memory_bytes 0\n"));
	CLEANUP_STR char *nothing = service_get(&s, "/", 404);
	assert_contains(nothing, "/healthz and /metrics");
	/* These are nobody's business. */
	kill(s.pid, SIGHUP);
	kill(s.pid, SIGPIPE);
	free(service_get(&s, "/healthz", 200));
	service_stop(&s, SIGTERM, 0);
	assert_hears(&s, "STOPPING=1\nSTATUS=stopping");
	CLEANUP_STR char *log = test_read_file(s.log);
	assert_contains(log, "stop was called\n");
	assert_contains(log, "stopped\n");
}

static void interrupt_stops_too(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	(void)state;

	service_start(&s, "well", "");
	assert_hears(&s, "READY=1\nSTATUS=running");
	service_stop(&s, SIGINT, 0);
}

static void sick_is_503(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	(void)state;

	service_start(&s, "sick", "");
	assert_hears(&s, "READY=1\nSTATUS=running");
	CLEANUP_STR char *health = service_get(&s, "/healthz", 503);
	assert_string_equal(health, "etcd is silent since 3 s\n");
	service_stop(&s, SIGTERM, 0);
}

static void stopping_while_starting_is_no_failure(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	(void)state;

	service_start(&s, "wait_start", "");
	assert_hears(&s, "STATUS=waiting for");
	CLEANUP_STR char *health = service_get(&s, "/healthz", 503);
	assert_string_equal(health, "starting\n");
	service_stop(&s, SIGTERM, 0);
	CLEANUP_STR char *log = test_read_file(s.log);
	assert_null(strstr(log, "cannot start"));
	assert_null(strstr(log, "stop was called"));
}

static void failing_later_is_status_1(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	(void)state;

	service_start(&s, "fail_later", "");
	assert_int_equal(test_wait(s.pid, LIMIT_MSEC), 1);
	CLEANUP_STR char *log = test_read_file(s.log);
	assert_contains(log, "cannot go on: the anna is lost\n");
	assert_contains(log, "stop was called\n");
}

static void hanging_is_cut_short(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	int64_t start;
	(void)state;

	service_start(&s, "hang", "");
	assert_hears(&s, "READY=1\nSTATUS=running");
	start = test_now_msec();
	service_stop(&s, SIGTERM, 0);
	assert_in_range(test_now_msec() - start, 4500, LIMIT_MSEC);
	CLEANUP_STR char *log = test_read_file(s.log);
	assert_contains(log, "did not stop within 5 s");
}

/* Every thread is somebody else, without any capability. */
static void root_is_dropped(void **state)
{
	CLEANUP(service_done) struct service s = { .fd = -1 };
	CLEANUP_STR char *tasks = NULL;
	const struct dirent *de;
	int n = 0;
	DIR *dir;
	(void)state;

	if (geteuid() != 0)
		return;
	service_start(&s, "well", "nobody");
	assert_hears(&s, "READY=1\nSTATUS=running");
	tasks = xasprintf("/proc/%d/task", (int)s.pid);
	dir = opendir(tasks);
	assert_non_null(dir);
	while ((de = readdir(dir))) {
		if (de->d_name[0] == '.')
			continue;
		CLEANUP_STR char *path = xasprintf("%s/%s/status", tasks, de->d_name);
		CLEANUP_STR char *text = test_read_file(path);

		assert_contains(text, "\nUid:\t65534\t65534\t65534\t65534\n");
		assert_contains(text, "\nGid:\t65534\t65534\t65534\t65534\n");
		assert_contains(text, "\nCapPrm:\t0000000000000000\n");
		assert_contains(text, "\nCapEff:\t0000000000000000\n");
		n++;
	}
	closedir(dir);
	assert_true(n > 3);
	service_stop(&s, SIGTERM, 0);
	service_done(&s);
	service_start(&s, "well", "no-such-user");
	assert_int_equal(test_wait(s.pid, LIMIT_MSEC), 1);
	CLEANUP_STR char *log = test_read_file(s.log);
	assert_contains(log, "there is no user \"no-such-user\"");
	assert_contains(log, "stop was called\n");
}

static void setup_writes_a_private_file(void **state)
{
	CLEANUP_STR char *dir = test_path("etc");
	CLEANUP_STR char *path = test_path("etc/ucloud-tried.conf");
	CLEANUP_STR char *said = xasprintf(
		"wrote %s\nstart it with: ucloud-tried --config %s\n", path, path);
	char *out = NULL;
	struct stat st;
	(void)state;

	ASSERT_ENDS(1, "ucloud-tried: etcd does not answer", "setup", "--path", dir,
		"--name", "unreachable");
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(RUN(&out, "setup", "--path", dir, "--name", "anna"), 0);
	assert_string_equal(out, said);
	free(out);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	CLEANUP_STR char *text = test_read_file(path);
	assert_contains(text, "[ucloud-tried]\n");
	assert_contains(text, "\nname = anna\n");
	assert_contains(text, "\n#metrics_listen = [::1]:0\n");
	assert_null(strstr(text, "path"));
	assert_null(strstr(text, "help ="));
	ASSERT_ENDS(1, "exists already: with --force", "setup", "--path", dir, "--name",
		"bert");
	CLEANUP_STR char *same = test_read_file(path);
	assert_string_equal(same, text);
	assert_int_equal(RUN(&out, "setup", "--path", dir, "--name", "bert", "--force",
				 "--metrics-listen", ""),
		0);
	free(out);
	CLEANUP_STR char *forced = test_read_file(path);
	assert_contains(forced, "\nname = bert\n");
	assert_contains(forced, "\nmetrics_listen =\n");
	CLEANUP_STR char *old_path = xasprintf("%s.old", path);
	CLEANUP_STR char *old = test_read_file(old_path);
	assert_string_equal(old, text);
	/* It can be read by the daemon. */
	ASSERT_ENDS(42, "bert x1: ", "greet", "--config", path);
	if (geteuid() == 0) {
		assert_int_equal(RUN(&out, "setup", "--path", dir, "--name", "c",
					 "--force", "--user", "nobody"),
			0);
		free(out);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, 65534);
	}
}

static void notify_knows_both_kinds_of_socket(void **state)
{
	CLEANUP_STR char *in_dir = test_path("n");
	CLEANUP_STR char *abstract = xasprintf("@ucloud-test-%d", (int)getpid());
	const char *names[] = { in_dir, abstract };
	char text[64];
	struct err e = { 0 };
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		int fd = bind_notify(names[i]);

		setenv("NOTIFY_SOCKET", names[i], 1);
		assert_int_equal(notify_send("READY=1", &e), 0);
		assert_int_equal(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
		assert_memory_equal(text, "READY=1", 7);
		close(fd);
		assert_int_equal(notify_send("READY=1", &e), -1);
		assert_contains(e.msg, names[i]);
	}
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1", &e), -1);
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1", &e), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_and_version),
		cmocka_unit_test(wrong_usage_is_status_2),
		cmocka_unit_test(what_cannot_start_is_status_1_and_a_line),
		cmocka_unit_test(verbs_get_configuration_and_words),
		cmocka_unit_test(a_whole_life),
		cmocka_unit_test(interrupt_stops_too),
		cmocka_unit_test(sick_is_503),
		cmocka_unit_test(stopping_while_starting_is_no_failure),
		cmocka_unit_test(failing_later_is_status_1),
		cmocka_unit_test(hanging_is_cut_short),
		cmocka_unit_test(root_is_dropped),
		cmocka_unit_test(setup_writes_a_private_file),
		cmocka_unit_test(notify_knows_both_kinds_of_socket),
	};

	if (getenv(MARKER))
		return daemon_main(argc, argv, &tried);
	us = argv[0];
	setenv(MARKER, "1", 1);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
