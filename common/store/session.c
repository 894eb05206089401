#include "common/store/session.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/jtab.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "common/store/backoff.h"
#include "common/store/cond.h"

#define TTL_SEC		   10
#define BACKOFF_FIRST_MSEC 200

/*
 * Two threads. The session's talks to the store, where a call may hang. The watchdog never
 * does: it sees the lease's time run out and makes all callbacks, in order. What the session's
 * thread brings back from a call only counts when the epoch is still the same: the watchdog
 * may have given the lease up meanwhile.
 */
enum state { IDLE, WAITING, HELD };

struct session {
	struct kv *kv;
	struct session_conf conf;
	char *key, *value, *machine;
	int64_t ttl_msec;

	/* The session's thread alone. */
	int64_t retry_msec; /* IDLE: no lease before this time */
	int64_t beat_msec;  /* the next keepalive */
	int64_t look_msec;  /* the next look at the key */
	int64_t watch_rev;  /* open the watch from here; 0: not before the next look */
	unsigned n_failures;
	struct log_repeat store_log, other_log;
	bool said_waiting;

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t news;
	enum state state;
	unsigned epoch; /* one more with each lease that is lost */
	int64_t lease, stale_lease;
	int64_t deadline_msec; /* the lease counts as lost then */
	int64_t create_rev;
	uint64_t n_holds, hold, told; /* which hold is ours, which one is told; 0 none */
	char why_lost[128];
	struct kv_watch *watch; /* changed by the session's thread only */
	bool is_stopping;

	bool is_started;
	int timer_fd; /* wakes the watchdog; CLOCK_BOOTTIME: a suspended machine's time counts */
	pthread_t thread, watchdog;
};

/* The value's "machine" member, the caller's; NULL when there is none. */
static char *machine_of(const char *value)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err e;

	if (!value || json_parse(value, strlen(value), &json, &e) < 0)
		return NULL;
	return xstrdup(json_string_value(json_object_get(json, "machine")));
}

/* Who wants a lock, for people. */
static char *lock_value(void)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	char host[256] = "", since[TIME_STR_SIZE];
	char *text;

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	time_format(clock_unix_sec(), since);
	j = json_pack("{s:s, s:I, s:s}", "host", host, "pid", (json_int_t)getpid(),
		"since", since);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	return text ? text : xstrdup("{}");
}

struct session *session_new(struct kv *kv, const struct session_conf *conf)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->kv = kv;
	s->conf = *conf;
	if (!s->conf.ttl_sec)
		s->conf.ttl_sec = TTL_SEC;
	s->ttl_msec = s->conf.ttl_sec * 1000;
	s->key = xstrdup(conf->key);
	s->value = conf->value ? xstrdup(conf->value) : lock_value();
	s->machine = machine_of(conf->value);
	assert(conf->kind != SESSION_ALIVE || s->machine);
	s->timer_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	cond_init(&s->news);
	return s;
}

const char *session_key(const struct session *s)
{
	return s->key;
}

static void lock(struct session *s)
{
	pthread_mutex_lock(&s->lock);
}

static void unlock(struct session *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* -------------------------------------------------------------- what needs the lock */

static void set_timer(struct session *s, int64_t wait_msec)
{
	struct itimerspec when = { .it_value = { .tv_sec = wait_msec / 1000,
					   .tv_nsec = wait_msec % 1000 * 1000000 } };

	if (wait_msec <= 0)
		when.it_value = (struct timespec){ .tv_nsec = 1 }; /* 0 would be never */
	if (s->timer_fd >= 0)
		timerfd_settime(s->timer_fd, 0, &when, NULL);
}

static void wake_watchdog(struct session *s)
{
	set_timer(s, 0);
}

static void wake_thread(struct session *s)
{
	pthread_cond_broadcast(&s->news);
	if (s->watch)
		kv_watch_wake(s->watch);
}

static void lose(struct session *s, const char *why)
{
	if (s->state == HELD)
		snprintf(s->why_lost, sizeof(s->why_lost), "%s", why);
	s->state = IDLE;
	s->epoch++;
	s->stale_lease = s->lease;
	s->lease = 0;
	s->create_rev = 0;
	s->hold = 0;
	wake_watchdog(s);
	wake_thread(s);
}

/* Is the lease's time over? */
static bool lose_when_late(struct session *s)
{
	if (s->state == IDLE || clock_mono_msec() < s->deadline_msec)
		return false;
	lose(s, "no keepalive was answered in time");
	return true;
}

static bool must_tell_loss(const struct session *s)
{
	return s->told && s->told != s->hold;
}

/* One callback at most; the lock is given up for it. */
static bool tell(struct session *s)
{
	char why[sizeof(s->why_lost)];

	lose_when_late(s);
	if (must_tell_loss(s)) {
		memcpy(why, s->why_lost, sizeof(why));
		unlock(s);
		log_warn("lost %s: %s", s->key, why);
		if (s->conf.on_lost)
			s->conf.on_lost(s->conf.aux);
		lock(s);
		s->told = 0;
		pthread_cond_broadcast(&s->news);
		return true;
	}
	if (!s->told && s->hold) {
		s->told = s->hold;
		unlock(s);
		log_info("holds %s", s->key);
		if (s->conf.on_held)
			s->conf.on_held(s->conf.aux);
		lock(s);
		return true;
	}
	return false;
}

/* -------------------------------------------------------------- one step */

struct now {
	enum state state;
	bool must_tell; /* a loss, before anything else is done */
	unsigned epoch;
	int64_t lease, stale_lease;
};

static struct now get_now(struct session *s)
{
	struct now now;

	lock(s);
	lose_when_late(s);
	now = (struct now){ .state = s->state,
		.must_tell = must_tell_loss(s),
		.epoch = s->epoch,
		.lease = s->lease,
		.stale_lease = s->stale_lease };
	unlock(s);
	return now;
}

/* Locks; false (unlocked) when the lease that the call was about is no longer ours. */
static bool lock_if_same(struct session *s, const struct now *now)
{
	lock(s);
	lose_when_late(s);
	if (s->epoch == now->epoch)
		return true;
	unlock(s);
	return false;
}

static int64_t backoff(struct session *s)
{
	return backoff_msec(
		s->n_failures, BACKOFF_FIRST_MSEC, s->ttl_msec / 6, backoff_salt(s->key));
}

/* The time to try again. */
static int64_t failed(struct session *s, const struct err *e)
{
	s->n_failures++;
	/* The same words whatever was tried, so that it is said once. */
	if (e->is_logged)
		log_debug("trouble with the store, for %s: %s", s->key, e->msg);
	else
		log_repeat(&s->store_log, LOG_WARN, "trouble with the store, for %s: %s",
			s->key, e->msg);
	return clock_mono_msec() + backoff(s);
}

static void succeeded(struct session *s)
{
	s->n_failures = 0;
	log_repeat_end(&s->store_log, "the store answers again, for %s", s->key);
}

/* Our key may still hang on it. When that fails it ends by itself, some day. */
static bool end_lease(struct session *s, int64_t lease)
{
	struct err e;

	if (!lease || kv_lease_revoke(s->kv, lease, &e) == 0)
		return true;
	log_debug("cannot revoke the lease of %s: %s", s->key, e.msg);
	return false;
}

static bool get_lease(struct session *s, const struct now *now)
{
	int64_t sent_msec, lease;
	struct err e;
	/* Not forgotten before it is ended: an etcd that was down gives each lease its whole
	 * time again, and our own key would be in our way for so long. */
	bool is_ended = end_lease(s, now->stale_lease);

	sent_msec = clock_mono_msec();
	if (kv_lease_grant(s->kv, s->conf.ttl_sec, &lease, &e) < 0) {
		s->retry_msec = failed(s, &e);
		if (is_ended) {
			lock(s);
			s->stale_lease = 0;
			unlock(s);
		}
		return false;
	}
	succeeded(s);
	lock(s);
	s->state = WAITING;
	s->lease = lease;
	s->stale_lease = 0;
	s->deadline_msec = sent_msec + s->ttl_msec;
	wake_watchdog(s);
	unlock(s);
	s->beat_msec = sent_msec + s->ttl_msec / 3;
	s->look_msec = sent_msec;
	return true;
}

static bool beat(struct session *s, const struct now *now)
{
	int64_t sent_msec = clock_mono_msec(), ttl_sec, ttl_msec;
	struct err e;

	if (kv_lease_keepalive(s->kv, now->lease, &ttl_sec, &e) < 0) {
		s->beat_msec = failed(s, &e);
		return false;
	}
	succeeded(s);
	if (!lock_if_same(s, now))
		return true;
	if (ttl_sec > 0) {
		ttl_msec = ttl_sec < s->conf.ttl_sec ? ttl_sec * 1000 : s->ttl_msec;
		s->deadline_msec = sent_msec + ttl_msec;
		s->beat_msec = sent_msec + ttl_msec / 3;
	} else {
		lose(s, "the store says that its lease is over");
		s->stale_lease = 0;
	}
	unlock(s);
	return true;
}

static void hold(struct session *s, const struct now *now, int64_t create_rev)
{
	s->look_msec = clock_mono_msec() + s->ttl_msec;
	s->said_waiting = false;
	log_repeat_end(&s->other_log, "%s is free", s->key);
	if (!lock_if_same(s, now))
		return;
	if (s->state != HELD || s->create_rev != create_rev) {
		/* Another life of the key is another hold, with another fence. */
		(void)snprintf(s->why_lost, sizeof(s->why_lost), "it was made anew");
		s->hold = ++s->n_holds;
	}
	s->state = HELD;
	s->create_rev = create_rev;
	wake_watchdog(s);
	unlock(s);
}

static bool is_same_machine(const struct session *s, const struct kv_pair *pair)
{
	CLEANUP_STR char *machine = machine_of(pair->value);

	return machine && str_eq(machine, s->machine);
}

/* The key is absent, or is another instance's of this machine. */
static bool take(struct session *s, const struct now *now, const struct kv_pair *pair)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev;
	int rc;

	kv_txn_if_rev(t, s->key, pair->key ? pair->mod_rev : 0);
	kv_txn_put_lease(t, s->key, s->value, now->lease);
	rc = kv_txn_commit(s->kv, t, &rev, &e);
	if (rc == 0) {
		succeeded(s);
		hold(s, now, pair->key ? pair->create_rev : rev);
		return true;
	}
	s->look_msec = clock_mono_msec();
	if (rc == KV_CONFLICT)
		return true; /* somebody was faster */
	if (rc == KV_UNKNOWN)
		/* Read, the first time at once: does it have our lease? */
		s->look_msec += s->n_failures++ ? backoff(s) : 0;
	else
		s->look_msec = failed(s, &e);
	if (rc < 0 && e.kind == ERR_NOT_FOUND && lock_if_same(s, now)) {
		lose(s, "the store does not know its lease");
		unlock(s);
	}
	return rc > 0;
}

static void wait_for_other(struct session *s, const struct kv_pair *pair)
{
	s->look_msec = clock_mono_msec() + s->ttl_msec;
	if (s->conf.kind == SESSION_ALIVE)
		log_repeat(&s->other_log, LOG_WARN,
			"%s belongs to another machine (%s); waiting until it is gone: "
			"do two machines have one name?",
			s->key, pair->value);
	else if (!s->said_waiting)
		log_info("waiting for %s, which another one holds", s->key);
	s->said_waiting = true;
}

static bool look_at(struct session *s, const struct now *now, const struct kv_pair *pair)
{
	if (pair->key && pair->lease == now->lease) {
		hold(s, now, pair->create_rev);
		return true;
	}
	if (now->state == HELD) {
		if (lock_if_same(s, now)) {
			lose(s, pair->key ? "somebody else wrote it"
					  : "somebody deleted it");
			unlock(s);
		}
		return true;
	}
	if (!pair->key || (s->conf.kind == SESSION_ALIVE && is_same_machine(s, pair)))
		return take(s, now, pair);
	wait_for_other(s, pair);
	return true;
}

static bool look(struct session *s, const struct now *now)
{
	struct kv_pair pair;
	struct err e = { 0 };
	int64_t rev;
	bool did;

	if (kv_get(s->kv, s->key, &pair, &rev, &e) != 0) {
		s->look_msec = failed(s, &e);
		return false;
	}
	if (!s->watch)
		s->watch_rev = rev + 1;
	did = look_at(s, now, &pair);
	kv_pair_done(&pair);
	return did;
}

/* -------------------------------------------------------------- watching the key */

static void set_watch(struct session *s, struct kv_watch *watch)
{
	lock(s);
	s->watch = watch;
	unlock(s);
}

static void close_watch(struct session *s)
{
	struct kv_watch *watch = s->watch;

	if (!watch)
		return;
	set_watch(s, NULL);
	kv_watch_close(watch);
}

static bool open_watch(struct session *s)
{
	struct kv_watch_req req = {
		.prefix = s->key, .is_single_key = true, .from_rev = s->watch_rev
	};
	struct kv_watch *watch;
	struct err e = { 0 };
	int rc = kv_watch_open(s->kv, &req, &watch, &e);

	s->watch_rev = 0;
	if (rc == 0)
		set_watch(s, watch);
	else if (rc == KV_COMPACTED)
		s->look_msec = clock_mono_msec();
	else
		s->look_msec = failed(s, &e);
	return rc == 0;
}

/* Waits, at most wait_msec. Our own writes are no news. */
static bool follow(struct session *s, const struct now *now, int64_t wait_msec)
{
	struct kv_events ev = { 0 };
	struct err e = { 0 };
	int rc = kv_watch_next(s->watch, wait_msec, &ev, &e);

	if (rc == KV_IDLE)
		return false;
	for (size_t i = 0; rc == 0 && i < ev.len; i++)
		if (ev.v[i].is_delete || ev.v[i].pair.lease != now->lease)
			s->look_msec = clock_mono_msec();
	kv_events_done(&ev);
	if (rc == 0)
		return true;
	close_watch(s);
	s->look_msec = clock_mono_msec();
	/* Streams end; the look that follows finds out whether something is wrong. */
	e.is_logged = true;
	if (rc < 0)
		s->look_msec = failed(s, &e);
	return rc > 0;
}

/* -------------------------------------------------------------- both ways to run */

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Until the time, or until something changes. */
static void nap(struct session *s, const struct now *now, int64_t until_msec)
{
	struct timespec deadline = cond_deadline(until_msec - clock_mono_msec());

	lock(s);
	while (!s->is_stopping && s->epoch == now->epoch &&
		cond_wait_until(&s->news, &s->lock, &deadline))
		;
	unlock(s);
}

/* One thing; keepalives come before everything else. True when something was done. */
static bool work(struct session *s, bool may_wait)
{
	struct now now = get_now(s);
	int64_t now_msec = clock_mono_msec();
	int64_t next_msec = min(s->beat_msec, s->look_msec);

	if (now.must_tell)
		return true;
	if (now.state == IDLE) {
		if (now_msec >= s->retry_msec)
			return get_lease(s, &now);
		next_msec = s->retry_msec;
	} else if (now_msec >= s->beat_msec) {
		return beat(s, &now);
	} else if (now_msec >= s->look_msec) {
		return look(s, &now);
	} else if (!s->watch && s->watch_rev) {
		return open_watch(s);
	} else if (s->watch) {
		return follow(s, &now, may_wait ? next_msec - now_msec : 0);
	}
	if (may_wait)
		nap(s, &now, next_msec);
	return false;
}

bool session_step(struct session *s)
{
	bool did = false;

	assert(!s->is_started);
	lock(s);
	while (tell(s))
		did = true;
	unlock(s);
	did = work(s, false) || did;
	lock(s);
	while (tell(s))
		did = true;
	unlock(s);
	return did;
}

/* A loss is told before anything else is done. False: stop. */
static bool wait_told(struct session *s)
{
	bool goes_on;

	lock(s);
	while (!s->is_stopping && must_tell_loss(s))
		pthread_cond_wait(&s->news, &s->lock);
	goes_on = !s->is_stopping;
	unlock(s);
	return goes_on;
}

static void *run(void *aux)
{
	struct session *s = aux;

	while (wait_told(s))
		work(s, true);
	return NULL;
}

static void *watch_time(void *aux)
{
	struct session *s = aux;
	uint64_t n;

	lock(s);
	while (!s->is_stopping) {
		if (tell(s))
			continue;
		if (s->state != IDLE)
			set_timer(s, s->deadline_msec - clock_mono_msec());
		unlock(s);
		while (read(s->timer_fd, &n, sizeof(n)) < 0 && errno == EINTR)
			;
		lock(s);
	}
	unlock(s);
	return NULL;
}

void session_start(struct session *s)
{
	int failed_rc;

	assert(!s->is_started);
	s->is_started = true;
	s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
	assert(s->timer_fd >= 0);
	failed_rc = pthread_create(&s->watchdog, NULL, watch_time, s);
	assert(!failed_rc);
	failed_rc = pthread_create(&s->thread, NULL, run, s);
	assert(!failed_rc);
}

int64_t session_create_rev(struct session *s)
{
	int64_t rev = 0;

	lock(s);
	if (s->state == HELD && clock_mono_msec() < s->deadline_msec)
		rev = s->create_rev;
	unlock(s);
	return rev;
}

int64_t session_lease(struct session *s)
{
	int64_t lease = 0;

	lock(s);
	if (s->state == HELD && clock_mono_msec() < s->deadline_msec)
		lease = s->lease;
	unlock(s);
	return lease;
}

void session_free(struct session *s, bool is_release)
{
	if (!s)
		return;
	lock(s);
	s->is_stopping = true;
	wake_watchdog(s);
	wake_thread(s);
	unlock(s);
	if (s->is_started) {
		pthread_join(s->thread, NULL);
		pthread_join(s->watchdog, NULL);
		close(s->timer_fd);
	}
	close_watch(s);
	if (is_release)
		(void)end_lease(s, s->lease);
	pthread_cond_destroy(&s->news);
	pthread_mutex_destroy(&s->lock);
	free(s->key);
	free(s->value);
	free(s->machine);
	free(s);
}
