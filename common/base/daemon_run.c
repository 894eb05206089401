#include "common/base/daemon_impl.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/httpd.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/notify.h"
#include "common/base/selfmetrics.h"

#define STOP_MSEC  5000
#define SETTLE_SEC 2

/*
 * The process's one daemon. A static, because daemon_fail() and daemon_is_stopping() may be
 * called from anywhere.
 *
 *	starting -> running -> stopping -> stopped
 *	    \_____________________/
 */
enum phase { STARTING, RUNNING, STOPPING, STOPPED };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum phase phase;
	bool has_failed;
	int wake; /* eventfd: the phase has changed */
} self = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .wake = -1
};

/* What the threads of daemon_run() share. */
struct running {
	const struct daemon_spec *spec;
	pthread_t watcher;
	struct httpd *httpd;
	/* health() is called with it; state is NULL before start() and after stop(). */
	pthread_mutex_t state_lock;
	void *state;
	bool has_state;
};

static void phase_changed(void)
{
	const uint64_t one = 1;

	pthread_cond_broadcast(&self.changed);
	if (self.wake >= 0 && write(self.wake, &one, sizeof(one)) < 0)
		log_error("cannot wake a thread: %s", strerror(errno));
}

/* Forward only. */
static void phase_set(enum phase phase)
{
	pthread_mutex_lock(&self.lock);
	if (self.phase < phase)
		self.phase = phase;
	phase_changed();
	pthread_mutex_unlock(&self.lock);
}

static enum phase phase_get(void)
{
	enum phase phase;

	pthread_mutex_lock(&self.lock);
	phase = self.phase;
	pthread_mutex_unlock(&self.lock);
	return phase;
}

bool daemon_is_stopping(void)
{
	return phase_get() >= STOPPING;
}

void daemon_fail(const struct err *e)
{
	log_error("cannot go on: %s", e->msg);
	pthread_mutex_lock(&self.lock);
	self.has_failed = true;
	pthread_mutex_unlock(&self.lock);
	phase_set(STOPPING);
}

static bool has_failed(void)
{
	bool failed;

	pthread_mutex_lock(&self.lock);
	failed = self.has_failed;
	pthread_mutex_unlock(&self.lock);
	return failed;
}

static void notify(const char *text)
{
	struct err e;

	if (notify_send(text, &e) < 0)
		log_warn("cannot tell the service manager: %s", e.msg);
}

void daemon_status(const char *fmt, ...)
{
	char text[512] = "STATUS=";
	size_t size = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + size, sizeof(text) - size, fmt, ap);
	va_end(ap);
	text[strcspn(text, "\n")] = '\0';
	notify(text);
}

/* -------------------------------------------------- signals, and the limit */

static int64_t now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void block_signals(sigset_t *set)
{
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void take_signal(int fd)
{
	struct signalfd_siginfo si;

	if (read(fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (!daemon_is_stopping())
		log_info("stopping signal=%u", si.ssi_signo);
	phase_set(STOPPING);
}

static void take_wake(void)
{
	uint64_t n;

	if (read(self.wake, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_error("eventfd: %s", strerror(errno));
}

/* Signals come here and nowhere else; and when stopping takes too long this ends it. */
static void *watcher_main(void *aux)
{
	int signals = *(int *)aux;
	int64_t limit = INT64_MAX;
	enum phase phase;

	pthread_setname_np(pthread_self(), "signals");
	while ((phase = phase_get()) != STOPPED) {
		struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
			{ .fd = self.wake, .events = POLLIN } };

		if (phase == STOPPING && limit == INT64_MAX)
			limit = now_msec() + STOP_MSEC;
		if (now_msec() >= limit) {
			log_error("did not stop within %d s: leaving all at once",
				STOP_MSEC / 1000);
			_exit(has_failed() ? EXIT_FAILURE : EXIT_SUCCESS);
		}
		poll(fds, ARRAY_LEN(fds),
			limit == INT64_MAX ? -1 : (int)(limit - now_msec()) + 1);
		if (fds[0].revents)
			take_signal(signals);
		if (fds[1].revents)
			take_wake();
	}
	return NULL;
}

/* Until all that runs from now on has begun to; false: it is time to stop. */
static bool wait_settled(void)
{
	struct timespec end;
	bool is_settled;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SETTLE_SEC;
	pthread_mutex_lock(&self.lock);
	while (self.phase < STOPPING &&
		pthread_cond_timedwait(&self.changed, &self.lock, &end) != ETIMEDOUT)
		;
	is_settled = self.phase < STOPPING;
	pthread_mutex_unlock(&self.lock);
	return is_settled;
}

static void wait_stopping(void)
{
	if (wait_settled())
		mem_trim();
	pthread_mutex_lock(&self.lock);
	while (self.phase < STOPPING)
		pthread_cond_wait(&self.changed, &self.lock);
	pthread_mutex_unlock(&self.lock);
}

/* ------------------------------------------------------ health and metrics */

static int check_health(struct running *r, struct err *e)
{
	enum phase phase = phase_get();
	int rc = 0;

	if (phase == STARTING)
		return err_set(e, ERR_UNAVAILABLE, "starting");
	if (phase != RUNNING)
		return err_set(e, ERR_UNAVAILABLE, "stopping");
	pthread_mutex_lock(&r->state_lock);
	if (!r->has_state)
		rc = err_set(e, ERR_UNAVAILABLE, "stopping");
	else if (r->spec->health)
		rc = r->spec->health(r->state, e);
	pthread_mutex_unlock(&r->state_lock);
	return rc;
}

static void answer_health(struct running *r, struct httpd_req *req)
{
	struct err e = { 0 };
	bool is_well = check_health(r, &e) == 0;
	CLEANUP_STR char *text = xasprintf(
		"%s%s%s\n", is_well ? "ok" : "", is_well && e.msg[0] ? " " : "", e.msg);

	httpd_answer(req, is_well ? 200 : 503, "text/plain; charset=utf-8", text,
		strlen(text));
}

static void answer_metrics(struct httpd_req *req)
{
	CLEANUP(buf_done) struct buf out = { 0 };

	metrics_format(&out);
	httpd_answer(req, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out),
		out.size);
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	const char *path = httpd_path(req);
	struct err e;

	if (strcmp(httpd_method(req), "GET") != 0) {
		httpd_add_header(req, "Allow", "GET, HEAD");
		httpd_answer(req, 405, "text/plain", "GET only\n", 9);
	} else if (strcmp(path, "/healthz") == 0) {
		answer_health(aux, req);
	} else if (strcmp(path, "/metrics") == 0) {
		answer_metrics(req);
	} else {
		err_set(&e, ERR_NOT_FOUND, "here are /healthz and /metrics only");
		httpd_answer_err(req, &e);
	}
	return HTTPD_ANSWERED;
}

static int serve_metrics(struct running *r, const char *listen, struct err *e)
{
	CLEANUP(strv_done) struct strv sv = { 0 };
	struct httpd_conf conf = { .listen = &sv, .n_workers = 2, .max_conns = 64 };

	if (str_is_empty(listen))
		return 0;
	strv_add(&sv, listen);
	if (httpd_open(&conf, handle, r, &r->httpd, e) < 0)
		return err_wrap(e, "metrics_listen");
	log_info("serving metrics port=%u", httpd_port(r->httpd, 0));
	return 0;
}

/* -------------------------------------------------------------- privileges */

/* glibc's set*id() reach all threads. Leaving uid 0 clears all capabilities. */
static int become(const struct passwd *pw, struct err *e)
{
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
		setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return err_errno(e, errno, "cannot become user %s", pw->pw_name);
	if (setresuid(0, 0, 0) == 0)
		return err_set(
			e, ERR_INTERNAL, "user %s can become root again", pw->pw_name);
	log_info("runs as another user user=%s", pw->pw_name);
	return 0;
}

static int drop_root(const char *user, struct err *e)
{
	struct passwd pw, *found = NULL;
	char text[4096];

	if (str_is_empty(user))
		return 0;
	if (getpwnam_r(user, &pw, text, sizeof(text), &found) != 0 || !found)
		return err_set_field(e, ERR_INVALID, "user",
			"there is no user \"%s\" on this machine", user);
	if (pw.pw_uid == geteuid())
		return 0;
	if (geteuid() != 0)
		return err_set_field(
			e, ERR_DENIED, "user", "only root can become user %s", user);
	return become(&pw, e);
}

/* A connection is a descriptor; what we may have, we take. */
static void raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &r) < 0)
			log_warn("cannot raise the limit of open files: %s",
				strerror(errno));
	}
}

/* ----------------------------------------------------------------- running */

static void set_state(struct running *r, void *state, bool has_state)
{
	pthread_mutex_lock(&r->state_lock);
	r->state = state;
	r->has_state = has_state;
	pthread_mutex_unlock(&r->state_lock);
}

static int start(struct running *r, void *conf, void **state, struct err *e)
{
	const struct daemon_conf *dc = daemon_conf_of(r->spec, conf);

	if (serve_metrics(r, dc->metrics_listen, e) < 0)
		return -1;
	if (r->spec->start(conf, state, e) < 0)
		return -1;
	set_state(r, *state, true);
	return drop_root(dc->user, e);
}

static void stop(struct running *r, void *state)
{
	bool had_state = r->has_state;

	notify("STOPPING=1\nSTATUS=stopping");
	set_state(r, NULL, false);
	if (had_state && r->spec->stop)
		r->spec->stop(state);
	httpd_close(r->httpd);
}

static int run(struct running *r, void *conf)
{
	void *state = NULL;
	struct err e = { 0 };
	bool is_started = start(r, conf, &state, &e) == 0, was_told;

	if (is_started) {
		phase_set(RUNNING);
		if (!daemon_is_stopping()) {
			notify("READY=1\nSTATUS=running");
			log_info("started version=%s", ucloud_version());
		}
		wait_stopping();
	}
	/* Giving up because it was told to stop is no failure to start. */
	was_told = daemon_is_stopping();
	if (!is_started && !was_told)
		log_error("cannot start: %s", e.msg);
	phase_set(STOPPING);
	stop(r, state);
	if (was_told && !has_failed())
		log_info("stopped");
	return was_told && !has_failed() ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int start_watcher(struct running *r, int *signals, struct err *e)
{
	sigset_t set;
	int rc;

	block_signals(&set);
	*signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*signals < 0 || self.wake < 0)
		return err_errno(e, errno, "signalfd");
	rc = pthread_create(&r->watcher, NULL, watcher_main, signals);
	return rc ? err_errno(e, rc, "cannot start a thread") : 0;
}

int daemon_run(const struct daemon_spec *spec, void *conf)
{
	struct running r = { .spec = spec, .state_lock = PTHREAD_MUTEX_INITIALIZER };
	int signals = -1, status;
	struct err e;

	if (start_watcher(&r, &signals, &e) < 0) {
		log_error("cannot start: %s", e.msg);
		return EXIT_FAILURE;
	}
	raise_file_limit();
	selfmetrics_register();
	status = run(&r, conf);
	phase_set(STOPPED);
	pthread_join(r.watcher, NULL);
	close(signals);
	return status;
}
