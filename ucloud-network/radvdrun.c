#include "ucloud-network/radvdrun.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/proc.h"
#include "common/store/cond.h"

#define CHECK_MSEC 10000
/* Between looks whether it still runs, and reads what it says. */
#define LOOK_MSEC 500
/* It is not told of changes more often; and not before it has begun to listen, since until
 * then the signal would end it. */
#define RELOAD_MSEC	   1000
#define FIRST_BACKOFF_MSEC 1000
#define MAX_BACKOFF_MSEC   60000
/* Of its configuration. */
#define CONF_MAX (16 * 1024 * 1024)

struct radvdrun {
	char *program, *dir, *path, *new_path, *pid_path;
	/* Only radvdrun_start() and radvdrun_set(): what is in place, NULL: not known, or
	 * none; is nothing there for sure? */
	char *text;
	bool is_clear;
	pthread_t thread;
	bool is_started;
	pthread_mutex_t lock; /* guards: */
	pthread_cond_t cond;
	bool is_wanted, is_stopping;
	struct proc_child *child;
	bool is_stale;	   /* it has not been told of what is in place */
	int64_t told_msec; /* when it was told last, or started */
	char *problem;	   /* why it does not run */
};

static struct metric m_up = { METRIC_GAUGE, "ucloud_network_radvd_up",
	"1 while radvd runs." };
static struct metric m_starts = { METRIC_COUNTER, "ucloud_network_radvd_starts_total",
	"How often radvd was started." };
static struct metric m_reloads = { METRIC_COUNTER, "ucloud_network_radvd_reloads_total",
	"How often radvd was told of another configuration." };

struct radvdrun *radvdrun_new(const char *program, const char *dir)
{
	struct radvdrun *r = xcalloc(1, sizeof(*r));

	metric_register(&m_up);
	metric_register(&m_starts);
	metric_register(&m_reloads);
	r->program = xstrdup(program);
	r->dir = xstrdup(dir);
	r->path = xasprintf("%s/radvd.conf", dir);
	r->new_path = xasprintf("%s/radvd.conf.new", dir);
	r->pid_path = xasprintf("%s/radvd.pid", dir);
	pthread_mutex_init(&r->lock, NULL);
	cond_init(&r->cond);
	return r;
}

/* ---------------------------------------------------------------- its thread */

static int start_child(struct radvdrun *r, struct proc_child **out, struct err *e)
{
	const char *const argv[] = { r->program, "-n", "-m", "stderr_clean", "-C",
		r->path, "-p", r->pid_path, NULL };
	const struct proc p = { .argv = argv };

	CRASH_POINT("radvd.start.before");
	/* A helper of the one before, which dies a moment later, may have it locked still; and
	 * what is longer than the new number would stay behind it. */
	if (unlink(r->pid_path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "%s", r->pid_path);
	if (proc_start(&p, out, e) < 0)
		return -1;
	CRASH_POINT("radvd.start.after");
	metric_add(&m_starts, NULL, 1);
	metric_set(&m_up, NULL, 1);
	log_info("radvd runs");
	return 0;
}

/* How it ended, and its last words. */
static char *last_words(int status, const struct buf *said)
{
	CLEANUP(strv_done) struct strv lines = { 0 };
	const char *last;

	strv_split(&lines, buf_str(said), '\n');
	last = lines.len > 0 ? lines.v[lines.len - 1] : "it said nothing";
	if (status > 128)
		return xasprintf(
			"radvd was killed by signal %d: %.300s", status - 128, last);
	return xasprintf("radvd ended with status %d: %.300s", status, last);
}

static void set_problem(struct radvdrun *r, const char *problem)
{
	str_set(&r->problem, xstrdup(problem));
}

/* The lock is held, but not while anything takes time. */
static void end_child(struct radvdrun *r)
{
	struct proc_child *c = MOVE(r->child);
	CLEANUP(buf_done) struct buf said = { 0 };
	CLEANUP_STR char *words = NULL;
	int status = 0;

	pthread_mutex_unlock(&r->lock);
	proc_stop(c, &status, NULL, &said);
	/* One that was killed leaves it. */
	(void)unlink(r->pid_path);
	metric_set(&m_up, NULL, 0);
	words = last_words(status, &said);
	pthread_mutex_lock(&r->lock);
	if (r->is_stopping || !r->is_wanted) {
		log_info("radvd was stopped");
		return;
	}
	log_warn("%s", words);
	set_problem(r, words);
}

static void try_start(struct radvdrun *r)
{
	struct proc_child *c = NULL;
	struct err e = { 0 };
	int rc;

	/* What is put in place from here on it may miss. */
	r->is_stale = false;
	r->told_msec = clock_mono_msec();
	pthread_mutex_unlock(&r->lock);
	rc = start_child(r, &c, &e);
	pthread_mutex_lock(&r->lock);
	if (rc < 0) {
		log_warn("radvd does not run: %s", e.msg);
		set_problem(r, e.msg);
		return;
	}
	r->child = c;
	set_problem(r, NULL);
}

/* Tells it of what it does not know yet, when it is time. */
static void reload(struct radvdrun *r)
{
	int64_t now = clock_mono_msec();

	if (!r->child || !r->is_stale || now - r->told_msec < RELOAD_MSEC)
		return;
	CRASH_POINT("radvd.reload.before");
	proc_signal(r->child, SIGHUP);
	CRASH_POINT("radvd.reload.after");
	r->is_stale = false;
	r->told_msec = now;
	metric_add(&m_reloads, NULL, 1);
}

/* While it runs. */
static void watch_child(struct radvdrun *r)
{
	struct proc_child *c = r->child;
	bool has_ended;

	reload(r);
	pthread_mutex_unlock(&r->lock);
	has_ended = proc_has_ended(c, LOOK_MSEC);
	pthread_mutex_lock(&r->lock);
	if (has_ended || !r->is_wanted || r->is_stopping)
		end_child(r);
}

static void *run(void *aux)
{
	int64_t next_msec = 0, backoff = FIRST_BACKOFF_MSEC;
	struct radvdrun *r = aux;

	pthread_mutex_lock(&r->lock);
	while (!r->is_stopping) {
		int64_t now = clock_mono_msec();

		if (r->child) {
			watch_child(r);
			continue;
		}
		if (!r->is_wanted || now < next_msec) {
			struct timespec until =
				cond_deadline(r->is_wanted ? next_msec - now : 60000);

			cond_wait_until(&r->cond, &r->lock, &until);
			continue;
		}
		/* One that ran for long is started again soon. */
		backoff = now - next_msec > MAX_BACKOFF_MSEC ? FIRST_BACKOFF_MSEC
							     : backoff * 2;
		if (backoff > MAX_BACKOFF_MSEC)
			backoff = MAX_BACKOFF_MSEC;
		next_msec = now + backoff;
		try_start(r);
	}
	if (r->child)
		end_child(r);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* What an earlier one of us left was right, and goes on until we know better: that may take
 * long when etcd is away. */
static void take_over(struct radvdrun *r)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	struct err e = { 0 };

	if (file_read(r->path, CONF_MAX, &text, &e) < 0 || text.size == 0)
		return;
	log_info("radvd goes on with what it announced before");
	str_set(&r->text, buf_take(&text));
	r->is_wanted = true;
}

void radvdrun_start(struct radvdrun *r)
{
	take_over(r);
	r->is_started = pthread_create(&r->thread, NULL, run, r) == 0;
	if (!r->is_started)
		log_error("radvd does not run: no thread for it");
}

void radvdrun_stop(struct radvdrun *r)
{
	pthread_mutex_lock(&r->lock);
	r->is_stopping = true;
	if (r->child)
		proc_kill(r->child);
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	if (r->is_started)
		pthread_join(r->thread, NULL);
	r->is_started = false;
}

void radvdrun_free(struct radvdrun *r)
{
	if (!r)
		return;
	radvdrun_stop(r);
	free(r->program);
	free(r->dir);
	free(r->path);
	free(r->new_path);
	free(r->pid_path);
	free(r->text);
	free(r->problem);
	pthread_cond_destroy(&r->cond);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---------------------------------------------------------------- what it should do */

static int move_in_place(struct radvdrun *r, struct err *e)
{
	int rc = 0;

	CRASH_POINT("radvd.conf.before");
	if (rename(r->new_path, r->path) < 0)
		rc = err_errno(e, errno, "%s", r->path);
	CRASH_POINT("radvd.conf.after");
	return rc;
}

/* One that is right is put in place. */
static int place(struct radvdrun *r, const char *text, struct err *e)
{
	const char *const argv[] = { r->program, "-c", "-C", r->new_path, NULL };
	const struct proc check = { .argv = argv, .limit_msec = CHECK_MSEC };

	if (mkdir(r->dir, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "%s", r->dir);
	CRASH_POINT("radvd.check.before");
	if (file_write(r->new_path, text, strlen(text), 0644, FILE_IN_PLACE, e) < 0)
		return -1;
	if (proc_run_ok(&check, NULL, e) < 0)
		return err_wrap(e, "radvd's new configuration is not used");
	return move_in_place(r, e);
}

static int remove_file(const char *path, struct err *e)
{
	int rc = 0;

	CRASH_POINT("radvd.remove.before");
	if (unlink(path) < 0 && errno != ENOENT)
		rc = err_errno(e, errno, "%s", path);
	CRASH_POINT("radvd.remove.after");
	return rc;
}

/* Without networks there is nothing that radvd could read, nor may it be found at the next
 * start. */
static int clear(struct radvdrun *r, struct err *e)
{
	if (r->is_clear)
		return 0;
	if (remove_file(r->path, e) < 0 || remove_file(r->new_path, e) < 0)
		return -1;
	str_set(&r->text, NULL);
	r->is_clear = true;
	return 0;
}

static void tell(struct radvdrun *r, bool is_wanted, bool is_changed)
{
	pthread_mutex_lock(&r->lock);
	r->is_wanted = is_wanted;
	if (!is_wanted)
		set_problem(r, NULL);
	if (is_changed) {
		r->is_stale = true;
		reload(r);
	}
	if (!is_wanted && r->child) {
		CRASH_POINT("radvd.stop.before");
		proc_kill(r->child);
		CRASH_POINT("radvd.stop.after");
	}
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

int radvdrun_set(struct radvdrun *r, const char *text, bool has_networks, struct err *e)
{
	bool is_same = str_eq(text, r->text);

	if (!has_networks) {
		tell(r, false, false);
		return clear(r, e);
	}
	if (!is_same && place(r, text, e) < 0)
		return -1;
	r->is_clear = false;
	if (!is_same)
		str_set(&r->text, xstrdup(text));
	tell(r, true, !is_same);
	return 0;
}

int radvdrun_health(struct radvdrun *r, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (r->is_wanted && r->problem)
		rc = err_set(e, ERR_UNAVAILABLE, "%s", r->problem);
	pthread_mutex_unlock(&r->lock);
	return rc;
}
