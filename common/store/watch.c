#include "common/store/watch.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/backoff.h"
#include "common/store/cond.h"

#define PAGE_LEN	   1000
#define NEXT_MSEC	   (3600 * 1000)
#define BACKOFF_FIRST_MSEC 200
#define BACKOFF_MAX_MSEC   5000
/* A stream that ends sooner than this after it began is one more failure in a row; a second
 * list within this time waits as after a failure. */
#define STABLE_MSEC 10000
/* So many in a row are not worth a line: streams end, and are opened again at once. */
#define N_ENDS_QUIET 3

/*
 *	       listed            opened
 *	LIST ----------> OPEN ----------> FOLLOW
 *	 ^                ^                 |
 *	 |                +---- broken -----+
 *	 +------ compacted or restored -----+
 */
enum state { LIST, OPEN, FOLLOW };

struct watch {
	struct kv *kv;
	struct watch_conf conf;
	char *prefix;
	struct watch_sink sink;
	void *aux;

	/* The stepping thread's alone. */
	enum state state;
	int64_t rev; /* everything up to this one has been told */
	unsigned n_failures;
	int64_t retry_msec;  /* nothing before this time */
	int64_t up_msec;     /* when the stream began */
	int64_t relist_msec; /* when a list was last called for, 0 never */
	struct log_repeat repeat;

	atomic_bool is_listed, is_up;
	bool is_started;
	pthread_t thread;

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t stop_news;
	bool is_stopping;
	struct kv_watch *stream; /* changed by the stepping thread only */
};

struct watch *watch_new(struct kv *kv, const struct watch_conf *conf,
	const struct watch_sink *sink, void *aux)
{
	struct watch *w = xcalloc(1, sizeof(*w));

	w->kv = kv;
	w->conf = *conf;
	w->prefix = xstrdup(conf->prefix);
	w->conf.prefix = w->prefix;
	w->sink = *sink;
	w->aux = aux;
	pthread_mutex_init(&w->lock, NULL);
	cond_init(&w->stop_news);
	return w;
}

bool watch_is_synced(struct watch *w)
{
	return atomic_load(&w->is_listed) && atomic_load(&w->is_up);
}

static bool is_stopping(struct watch *w)
{
	bool is;

	pthread_mutex_lock(&w->lock);
	is = w->is_stopping;
	pthread_mutex_unlock(&w->lock);
	return is;
}

/* -------------------------------------------------------------------- the stream */

static void set_stream(struct watch *w, struct kv_watch *stream)
{
	pthread_mutex_lock(&w->lock);
	w->stream = stream;
	pthread_mutex_unlock(&w->lock);
	atomic_store(&w->is_up, stream);
}

static void close_stream(struct watch *w)
{
	struct kv_watch *stream = w->stream;

	if (!stream)
		return;
	set_stream(w, NULL);
	kv_watch_close(stream);
}

static void failed(struct watch *w, bool was_up, const struct err *e)
{
	w->n_failures++;
	w->retry_msec =
		clock_mono_msec() + backoff_msec(w->n_failures, BACKOFF_FIRST_MSEC,
					    BACKOFF_MAX_MSEC, backoff_salt(w->prefix));
	/* A stream may end at any time; that it ends again and again is news. */
	if (e->is_logged || (was_up && w->n_failures < N_ENDS_QUIET))
		log_debug("cannot follow %s: %s", w->prefix, e->msg);
	else
		log_repeat(
			&w->repeat, LOG_WARN, "cannot follow %s: %s", w->prefix, e->msg);
}

/* -------------------------------------------------------------------- listing */

static int list_nothing(struct watch *w, struct err *e)
{
	struct kv_pair pair = { 0 };
	int64_t rev;
	int rc = kv_get(w->kv, w->prefix, &pair, &rev, e);

	if (rc)
		return rc;
	kv_pair_done(&pair);
	w->sink.list_begin(w->aux);
	w->rev = rev;
	return 0;
}

static int list_one(struct watch *w, struct err *e)
{
	struct kv_pair pair = { 0 };
	struct kv_list page = { .v = &pair };
	int rc = kv_get(w->kv, w->prefix, &pair, &page.rev, e);

	if (rc)
		return rc;
	page.len = pair.key ? 1 : 0;
	w->sink.list_begin(w->aux);
	w->sink.list_page(w->aux, &page);
	w->rev = page.rev;
	kv_pair_done(&pair);
	return 0;
}

/* All pages are of the first one's revision. */
static int list_pages(struct watch *w, struct err *e)
{
	CLEANUP_STR char *after = NULL;
	bool has_more = true, is_stuck;
	int64_t rev = 0;

	w->sink.list_begin(w->aux);
	while (has_more) {
		struct kv_list page = { 0 };
		int rc = kv_range_page(w->kv, w->prefix, after, PAGE_LEN, rev, &page, e);

		if (rc)
			return rc;
		rev = page.rev;
		has_more = page.has_more;
		w->sink.list_page(w->aux, &page);
		is_stuck = has_more && page.len == 0;
		if (page.len > 0)
			str_set(&after, xstrdup(page.v[page.len - 1].key));
		kv_list_done(&page);
		if (is_stuck)
			return err_set(e, ERR_INVALID,
				"it has %d keys in a row that are no text", PAGE_LEN);
		if (has_more && is_stopping(w))
			return err_set(e, ERR_UNAVAILABLE, "we are stopping");
	}
	w->rev = rev;
	return 0;
}

static int list(struct watch *w, struct err *e)
{
	int rc;

	if (w->conf.is_tail)
		rc = list_nothing(w, e);
	else if (w->conf.is_single_key)
		rc = list_one(w, e);
	else
		rc = list_pages(w, e);
	if (rc == KV_COMPACTED)
		return err_set(e, ERR_UNAVAILABLE,
			"the store was compacted while it was listed");
	if (rc)
		return rc;
	w->sink.list_end(w->aux, w->rev);
	w->state = OPEN;
	return 0;
}

/* -------------------------------------------------------------------- following */

/* 0, KV_COMPACTED or < 0. */
static int open_stream(struct watch *w, struct err *e)
{
	struct kv_watch_req req = { .prefix = w->prefix,
		.is_single_key = w->conf.is_single_key,
		.want_prev = w->conf.want_prev,
		.from_rev = w->rev + 1 };
	struct kv_watch *stream;
	int rc = kv_watch_open(w->kv, &req, &stream, e);

	if (rc)
		return rc;
	set_stream(w, stream);
	w->state = FOLLOW;
	return 0;
}

/* 0: told something; KV_IDLE; KV_COMPACTED; < 0. */
static int follow(struct watch *w, int64_t wait_msec, struct err *e)
{
	struct kv_events ev = { 0 };
	int rc = kv_watch_next(w->stream, wait_msec, &ev, e);

	if (rc)
		return rc;
	w->sink.change(w->aux, &ev);
	w->rev = ev.rev;
	kv_events_done(&ev);
	return 0;
}

static int step_once(struct watch *w, int64_t wait_msec, struct err *e)
{
	switch (w->state) {
	case LIST:
		return list(w, e);
	case OPEN:
		return open_stream(w, e);
	case FOLLOW:
		return follow(w, wait_msec, e);
	}
	return 0;
}

static void step_failed(struct watch *w, const struct err *e)
{
	bool was_up = w->state == FOLLOW;

	if (was_up) {
		w->state = OPEN;
		if (clock_mono_msec() - w->up_msec >= STABLE_MSEC)
			w->n_failures = 0;
	}
	close_stream(w);
	if (!is_stopping(w))
		failed(w, was_up, e);
}

/* The list may be begun anew at once, but not for ever. */
static bool list_again(struct watch *w)
{
	int64_t now_msec = clock_mono_msec();
	bool at_once = !w->relist_msec || now_msec - w->relist_msec >= STABLE_MSEC;
	struct err e;

	close_stream(w);
	w->state = LIST;
	w->relist_msec = now_msec;
	if (!at_once) {
		(void)err_set(&e, ERR_UNAVAILABLE,
			"the store is compacted faster than we can follow");
		failed(w, false, &e);
	}
	return at_once;
}

/* True when something was done. */
static bool step(struct watch *w, int64_t wait_msec)
{
	bool was_up = w->state == FOLLOW;
	struct err e = { 0 };
	int rc = step_once(w, wait_msec, &e);

	if (rc == KV_COMPACTED)
		return list_again(w);
	if (rc < 0)
		step_failed(w, &e);
	if (rc)
		return false;
	if (w->state == FOLLOW && !was_up) {
		/* The first list is complete only with the stream behind it. */
		atomic_store(&w->is_listed, true);
		w->up_msec = clock_mono_msec();
		log_repeat_end(&w->repeat, "following %s again", w->prefix);
	}
	return true;
}

bool watch_step(struct watch *w)
{
	bool did = false;

	assert(!w->is_started);
	if (clock_mono_msec() < w->retry_msec)
		return false;
	while (step(w, 0)) {
		did = true;
		if (w->state == FOLLOW)
			break;
	}
	return did;
}

/* False when the time to stop has come. */
static bool wait_for_retry(struct watch *w)
{
	bool goes_on;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		int64_t wait_msec = w->retry_msec - clock_mono_msec();
		struct timespec deadline = cond_deadline(wait_msec);

		goes_on = !w->is_stopping;
		if (!goes_on || wait_msec <= 0)
			break;
		cond_wait_until(&w->stop_news, &w->lock, &deadline);
	}
	pthread_mutex_unlock(&w->lock);
	return goes_on;
}

static void *run(void *aux)
{
	struct watch *w = aux;

	while (wait_for_retry(w))
		step(w, NEXT_MSEC);
	return NULL;
}

void watch_start(struct watch *w)
{
	int failed_rc;

	assert(!w->is_started);
	w->is_started = true;
	failed_rc = pthread_create(&w->thread, NULL, run, w);
	assert(!failed_rc);
}

void watch_stop_soon(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->is_stopping = true;
	if (w->stream)
		kv_watch_wake(w->stream);
	pthread_cond_signal(&w->stop_news);
	pthread_mutex_unlock(&w->lock);
}

void watch_stop(struct watch *w)
{
	watch_stop_soon(w);
	if (w->is_started)
		pthread_join(w->thread, NULL);
	w->is_started = false;
	close_stream(w);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	watch_stop(w);
	pthread_cond_destroy(&w->stop_news);
	pthread_mutex_destroy(&w->lock);
	free(w->prefix);
	free(w);
}
