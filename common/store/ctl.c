#include "common/store/ctl.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/store/backoff.h"
#include "common/store/cond.h"
#include "common/base/hash.h"

#define RESYNC_SEC     600
#define STOP_MSEC      3000
#define SYNC_LOOK_MSEC 200
#define SAY_AGAIN_MSEC (5 * 60 * 1000)
#define MAY_RUN_MSEC   10000 /* should a ctl_poke() be forgotten */

/* What was last said of a key that fails. Only the worker that has the key touches it. Not a
 * struct log_repeat, which cuts long sentences and with them the key. */
struct key_log {
	char *key;
	char *text;
	int64_t said_msec;
	UT_hash_handle hh;
};

struct worker {
	struct ctl *c;
	pthread_t thread;
	bool is_running;
};

struct ctl {
	struct ctl_conf conf;
	struct wq *q;
	struct cache **caches; /* set before the start */
	size_t n_caches;
	struct worker *workers;
	unsigned n_workers; /* 0: not started */

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t news;
	bool is_stopping;
	unsigned n_running, n_pokes;
	bool was_primed; /* add_all() has been called once */
	int64_t resync_msec;
	bool is_spreading; /* this thread is in add_all() for a resync: */
	pthread_t spreader;
	struct key_log *key_logs;
};

static struct metric n_results = { METRIC_COUNTER, "ucloud_reconcile_total",
	"Reconciles, by result.", "result" };
static struct metric seconds = { METRIC_HISTOGRAM, "ucloud_reconcile_seconds",
	"How long one look at a key took.", "controller" };
static struct metric queue_len = { METRIC_GAUGE, "ucloud_queue_length",
	"Keys that wait or are being worked on.", "controller" };

struct ctl *ctl_new(const struct ctl_conf *conf)
{
	struct ctl *c = xcalloc(1, sizeof(*c));

	assert(conf->name && conf->reconcile);
	c->conf = *conf;
	if (!c->conf.resync_sec)
		c->conf.resync_sec = RESYNC_SEC;
	if (!c->conf.n_workers)
		c->conf.n_workers = 1;
	c->q = wq_new();
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->news);
	metric_register(&n_results);
	metric_register(&seconds);
	metric_register(&queue_len);
	return c;
}

void ctl_use_cache(struct ctl *c, struct cache *cache)
{
	assert(!c->n_workers);
	c->caches = xreallocarray(c->caches, c->n_caches + 1, sizeof(struct cache *));
	c->caches[c->n_caches++] = cache;
}

bool ctl_is_synced(struct ctl *c)
{
	for (size_t i = 0; i < c->n_caches; i++)
		if (!cache_is_synced(c->caches[i]))
			return false;
	return true;
}

static bool may_run(struct ctl *c)
{
	return !c->conf.may_run || c->conf.may_run(c->conf.aux);
}

/* -------------------------------------------------------------------------- keys */

static void count_queue(struct ctl *c)
{
	metric_set(&queue_len, c->conf.name, (double)wq_len(c->q));
}

static bool is_spreading_here(struct ctl *c)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->is_spreading && pthread_equal(c->spreader, pthread_self());
	pthread_mutex_unlock(&c->lock);
	return is;
}

void ctl_add(struct ctl *c, const char *key)
{
	if (is_spreading_here(c))
		wq_add_after(c->q, key,
			1 + (int64_t)(backoff_hash(key) %
				      (uint64_t)(c->conf.resync_sec * 1000)));
	else
		wq_add(c->q, key);
	count_queue(c);
}

void ctl_add_after(struct ctl *c, const char *key, int64_t after_msec)
{
	wq_add_after(c->q, key, after_msec);
	count_queue(c);
}

void ctl_poke(struct ctl *c)
{
	pthread_mutex_lock(&c->lock);
	c->n_pokes++;
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
}

/* 0: now. */
static int64_t until_resync(struct ctl *c)
{
	int64_t msec;

	pthread_mutex_lock(&c->lock);
	msec = c->was_primed ? c->resync_msec - clock_mono_msec() : 0;
	pthread_mutex_unlock(&c->lock);
	return msec > 0 ? msec : 0;
}

/* All keys: now, when it is the first time. One thread at a time gets true from begin. */
static bool resync_begin(struct ctl *c)
{
	int64_t now_msec = clock_mono_msec();
	bool is_due;

	pthread_mutex_lock(&c->lock);
	is_due = !c->is_spreading && (!c->was_primed || now_msec >= c->resync_msec);
	if (is_due) {
		c->is_spreading = c->was_primed;
		c->spreader = pthread_self();
		c->was_primed = true;
		c->resync_msec = now_msec + c->conf.resync_sec * 1000;
	}
	pthread_mutex_unlock(&c->lock);
	return is_due;
}

static void resync_when_due(struct ctl *c)
{
	if (!resync_begin(c))
		return;
	if (c->conf.add_all)
		c->conf.add_all(c->conf.aux, c);
	pthread_mutex_lock(&c->lock);
	if (pthread_equal(c->spreader, pthread_self()))
		c->is_spreading = false;
	pthread_mutex_unlock(&c->lock);
}

/* -------------------------------------------------------------------------- one look */

static const char *result_name(enum wq_result result)
{
	switch (result) {
	case WQ_DONE:
		return "done";
	case WQ_RETRY:
		return "retry";
	case WQ_AGAIN:
		return "again";
	}
	return "other";
}

static struct key_log *key_log_find(struct ctl *c, const char *key, bool make)
{
	struct key_log *kl;

	pthread_mutex_lock(&c->lock);
	HASH_FIND_STR(c->key_logs, key, kl);
	if (!kl && make) {
		kl = xcalloc(1, sizeof(*kl));
		kl->key = xstrdup(key);
		HASH_ADD_KEYPTR(hh, c->key_logs, kl->key, strlen(kl->key), kl);
	}
	pthread_mutex_unlock(&c->lock);
	return kl;
}

static void key_log_del(struct ctl *c, struct key_log *kl)
{
	pthread_mutex_lock(&c->lock);
	HASH_DEL(c->key_logs, kl);
	pthread_mutex_unlock(&c->lock);
	free(kl->key);
	free(kl->text);
	free(kl);
}

static void log_failure(struct ctl *c, struct key_log *kl, const struct err *e)
{
	const char *text = e->kind == ERR_NONE ? "failed without a reason" : e->msg;
	int64_t now_msec = clock_mono_msec();

	if (str_eq(kl->text, text) && now_msec - kl->said_msec < SAY_AGAIN_MSEC)
		return;
	(e->kind == ERR_INTERNAL ? log_error : log_warn)(
		"%s controller=%s key=%s failures=%u", text, c->conf.name, kl->key,
		wq_n_failures(c->q, kl->key) + 1);
	str_set(&kl->text, xstrdup(text));
	kl->said_msec = now_msec;
}

static void log_result(
	struct ctl *c, const char *key, enum wq_result result, const struct err *e)
{
	bool is_new = result == WQ_RETRY && !e->is_logged;
	struct key_log *kl = key_log_find(c, key, is_new);

	if (result == WQ_RETRY && e->is_logged) {
		log_debug("%s controller=%s key=%s", e->msg, c->conf.name, key);
	} else if (result == WQ_RETRY) {
		log_failure(c, kl, e);
	} else if (kl) {
		log_info("works again controller=%s key=%s failures=%u", c->conf.name,
			key, wq_n_failures(c->q, key));
		key_log_del(c, kl);
	}
}

static void reconcile(struct ctl *c, const char *key)
{
	int64_t start_usec = clock_mono_usec(), after_msec = 0;
	struct err e = { 0 };
	enum wq_result result;

	result = c->conf.reconcile(c->conf.aux, key, &after_msec, &e);
	metric_observe(&seconds, c->conf.name,
		(double)(clock_mono_usec() - start_usec) / 1000000);
	metric_add(&n_results, result_name(result), 1);
	log_result(c, key, result, &e); /* while the key is still ours */
	wq_end(c->q, key, result, after_msec);
	count_queue(c);
}

/* Back to where it was taken from. */
static void give_back(struct ctl *c, const char *key)
{
	wq_add(c->q, key);
	wq_end(c->q, key, WQ_DONE, 0);
}

/* -------------------------------------------------------------------------- workers */

static bool is_stopping(struct ctl *c)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->is_stopping;
	pthread_mutex_unlock(&c->lock);
	return is;
}

static bool wait_synced(struct ctl *c)
{
	for (size_t i = 0; i < c->n_caches; i++)
		while (!cache_wait_synced(c->caches[i], SYNC_LOOK_MSEC))
			if (is_stopping(c))
				return false;
	return true;
}

/* Until keys may be worked on; false: stop, and ask the owner nothing any more. may_run() is
 * asked without the lock, so a poke that comes meanwhile is noticed by its number. */
static bool wait_may_run(struct ctl *c)
{
	bool stop;

	for (;;) {
		struct timespec deadline = cond_deadline(MAY_RUN_MSEC);
		unsigned n_pokes;

		pthread_mutex_lock(&c->lock);
		n_pokes = c->n_pokes;
		stop = c->is_stopping;
		pthread_mutex_unlock(&c->lock);
		if (stop || may_run(c))
			return !stop;
		pthread_mutex_lock(&c->lock);
		while (n_pokes == c->n_pokes && !c->is_stopping &&
			cond_wait_until(&c->news, &c->lock, &deadline))
			;
		stop = c->is_stopping;
		pthread_mutex_unlock(&c->lock);
		if (stop)
			return false;
	}
}

static void *work(void *aux)
{
	struct worker *w = aux;
	struct ctl *c = w->c;
	bool goes_on = wait_synced(c);

	while (goes_on && wait_may_run(c)) {
		char *key;

		resync_when_due(c);
		key = wq_take(c->q, 1 + until_resync(c));
		if (key && may_run(c))
			reconcile(c, key);
		else if (key)
			give_back(c, key);
		free(key);
	}
	pthread_mutex_lock(&c->lock);
	w->is_running = false;
	c->n_running--;
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void ctl_start(struct ctl *c)
{
	assert(!c->n_workers);
	for (size_t i = 0; i < c->n_caches; i++)
		cache_start(c->caches[i]);
	c->n_workers = c->n_running = c->conf.n_workers;
	c->workers = xcalloc(c->n_workers, sizeof(*c->workers));
	for (unsigned i = 0; i < c->n_workers; i++) {
		struct worker *w = &c->workers[i];
		int failed;

		w->c = c;
		w->is_running = true;
		failed = pthread_create(&w->thread, NULL, work, w);
		assert(!failed);
	}
}

bool ctl_stop(struct ctl *c)
{
	struct timespec deadline = cond_deadline(STOP_MSEC);
	bool has_ended;

	wq_close(c->q);
	pthread_mutex_lock(&c->lock);
	if (c->is_stopping) {
		has_ended = c->n_running == 0;
		pthread_mutex_unlock(&c->lock);
		return has_ended;
	}
	c->is_stopping = true;
	pthread_cond_broadcast(&c->news);
	while (c->n_running > 0 && cond_wait_until(&c->news, &c->lock, &deadline))
		;
	if (c->n_running > 0)
		log_warn("%u of %u workers did not end in %d s and are left behind "
			 "controller=%s",
			c->n_running, c->n_workers, STOP_MSEC / 1000, c->conf.name);
	for (unsigned i = 0; i < c->n_workers; i++)
		if (c->workers[i].is_running)
			pthread_detach(c->workers[i].thread);
	/* The others need the lock no more: each gave it back for the last time. */
	for (unsigned i = 0; i < c->n_workers; i++)
		if (!c->workers[i].is_running)
			pthread_join(c->workers[i].thread, NULL);
	has_ended = c->n_running == 0;
	pthread_mutex_unlock(&c->lock);
	return has_ended;
}

void ctl_free(struct ctl *c)
{
	if (!c)
		return;
	bool has_ended = ctl_stop(c);
	for (size_t i = 0; i < c->n_caches; i++)
		cache_stop_soon(c->caches[i]);
	for (size_t i = 0; i < c->n_caches; i++)
		cache_stop(c->caches[i]);
	if (!has_ended)
		return; /* somebody still uses it */
	while (c->key_logs)
		key_log_del(c, c->key_logs);
	wq_free(c->q);
	free(c->caches);
	free(c->workers);
	pthread_cond_destroy(&c->news);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* -------------------------------------------------------------------------- simulation */

bool ctl_step(struct ctl *c)
{
	bool did = false;
	char *key;

	assert(!c->n_workers);
	for (size_t i = 0; i < c->n_caches; i++)
		did = cache_step(c->caches[i]) || did;
	if (!ctl_is_synced(c) || !may_run(c))
		return did;
	resync_when_due(c);
	key = wq_take(c->q, 0);
	if (!key)
		return did;
	reconcile(c, key);
	free(key);
	return true;
}

int64_t ctl_next_msec(struct ctl *c)
{
	int64_t queue_msec, resync_msec;

	if (!ctl_is_synced(c) || !may_run(c))
		return -1;
	queue_msec = wq_next_msec(c->q);
	resync_msec = until_resync(c);
	return queue_msec >= 0 && queue_msec < resync_msec ? queue_msec : resync_msec;
}
