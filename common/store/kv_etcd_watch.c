#include "common/store/kv_etcd_impl.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/kv_stream.h"

/*
 *	OPENING --created--> OPEN --canceled, cut--> BROKEN
 *	   |                  |
 *	   +------------------+--compacted, other store--> VOID
 */
enum watch_state { WATCH_OPENING, WATCH_OPEN, WATCH_BROKEN, WATCH_VOID };

/* A line, or the lack of one, that says nothing to the caller. */
enum { NOTHING = -2 };

struct etcd_watch {
	struct kv_watch watch; /* first */
	struct kv_etcd *d;
	char *prefix;
	int64_t from_rev;
	struct kv_stream *stream; /* NULL only when VOID from the start */
	enum watch_state state;
	struct err why; /* of BROKEN */
	bool is_denied; /* canceled for lack of a permission, or of a valid token */
	int64_t rev;	/* seen up to here */
	struct kv_epoch_mark epoch;
};

static struct etcd_watch *watch_of(struct kv_watch *w)
{
	return (struct etcd_watch *)w; /* watch is its first member */
}

static int set_void(struct etcd_watch *w)
{
	w->state = WATCH_VOID;
	return KV_COMPACTED;
}

static int set_broken(struct etcd_watch *w, struct err *e)
{
	(void)err_wrap(e, "the watch of %s", w->prefix);
	w->state = WATCH_BROKEN;
	w->why = *e;
	return -1;
}

/* ---------------------------------------------------------------- what lines mean */

/* A member that lags behind does not know our revision yet, and that is fine. A store that
 * does not know it has been restored. */
static int check_behind(struct etcd_watch *w, int64_t member_rev, struct err *e)
{
	struct kv_range_req req = { .key = "\x01", .count_only = true };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	int64_t count;

	if (member_rev + 1 >= w->from_rev)
		return NOTHING;
	if (w->d->kv.ops->range(&w->d->kv, &req, &list, &count, e) != 0)
		return set_broken(w, e);
	if (list.rev + 1 >= w->from_rev)
		return NOTHING;
	log_warn("etcd is older than what was read from it before, listing again "
		 "prefix=%s rev=%" PRId64 " before=%" PRId64,
		w->prefix, list.rev, w->from_rev - 1);
	return set_void(w);
}

static int canceled(struct etcd_watch *w, const struct kv_wire_watch *m, struct err *e)
{
	const char *reason = m->reason ? m->reason : "no reason given";

	if (m->compact_rev > 0)
		return set_void(w);
	w->is_denied = strstr(reason, "permission denied") || strstr(reason, "auth") ||
		       strstr(reason, "user name is empty");
	(void)err_set(e, w->is_denied ? ERR_DENIED : ERR_UNAVAILABLE,
		"etcd has canceled it: %s", reason);
	return set_broken(w, e);
}

static int deliver(struct etcd_watch *w, struct kv_wire_watch *m, struct kv_events *out)
{
	if (m->events.rev < w->rev) {
		log_warn("etcd's revision went back, listing again prefix=%s rev=%" PRId64
			 " before=%" PRId64,
			w->prefix, m->events.rev, w->rev);
		return set_void(w);
	}
	if (m->events.len == 0 && m->events.rev == w->rev)
		return NOTHING;
	w->rev = m->events.rev;
	*out = m->events;
	m->events = (struct kv_events){ 0 };
	return 0;
}

/* Is all that the caller knows of another store? */
static bool is_of_old_store(struct etcd_watch *w)
{
	return w->rev > 0 && kv_epoch_mark(w->d->epoch).epoch != w->epoch.epoch;
}

static int take_message(struct etcd_watch *w, struct kv_wire_watch *m,
	struct kv_events *out, struct err *e)
{
	if (m->head.cluster_id[0])
		kv_epoch_see_id(w->d->epoch, &w->epoch, &m->head);
	if (m->is_canceled)
		return canceled(w, m, e);
	if (is_of_old_store(w))
		return set_void(w);
	if (m->is_created) {
		w->state = WATCH_OPEN;
		w->epoch = kv_epoch_mark(w->d->epoch);
		return check_behind(w, m->head.rev, e);
	}
	return deliver(w, m, out);
}

/* NOTHING: no line, or one that says nothing. */
static int take_line(
	struct etcd_watch *w, bool *is_line, struct kv_events *out, struct err *e)
{
	CLEANUP(kv_wire_watch_done) struct kv_wire_watch m = { 0 };
	size_t size;
	const char *line = kv_stream_line(w->stream, &size);

	*is_line = line != NULL;
	if (!line || size == 0)
		return NOTHING;
	if (kv_wire_parse_watch(line, size, &m, e) < 0)
		return set_broken(w, e);
	return take_message(w, &m, out, e);
}

/* ---------------------------------------------------------------- the watch */

/* A line that is too long would come again and again: listing gets past it. */
static int ended(struct etcd_watch *w, struct err *e)
{
	if (e->kind != ERR_TOO_LARGE)
		return set_broken(w, e);
	log_warn("%s, listing again prefix=%s", e->msg, w->prefix);
	return set_void(w);
}

static int etcd_watch_next(
	struct kv_watch *watch, int64_t wait_msec, struct kv_events *out, struct err *e)
{
	struct etcd_watch *w = watch_of(watch);
	int64_t end = clock_mono_msec() + wait_msec;
	bool has_waited = false;

	while (w->state == WATCH_OPEN) {
		struct err why = { 0 };
		bool is_line;
		int64_t left;
		int r = is_of_old_store(w) ? set_void(w) : take_line(w, &is_line, out, e);

		if (r != NOTHING)
			return r;
		if (is_line)
			continue;
		if (kv_stream_was_woken(w->stream))
			return KV_IDLE;
		left = end - clock_mono_msec();
		if (has_waited && left <= 0)
			return KV_IDLE;
		has_waited = true;
		if (kv_stream_wait(w->stream, left > 0 ? left : 0, &why) == 0)
			continue;
		do /* what came before the end */
			r = take_line(w, &is_line, out, e);
		while (r == NOTHING && is_line);
		if (r != NOTHING)
			return r;
		*e = why;
		return ended(w, e);
	}
	if (w->state == WATCH_VOID)
		return KV_COMPACTED;
	*e = w->why;
	return -1;
}

static void etcd_watch_wake(struct kv_watch *watch)
{
	struct etcd_watch *w = watch_of(watch);

	if (w->stream)
		kv_stream_wake(w->stream);
}

static void etcd_watch_close(struct kv_watch *watch)
{
	struct etcd_watch *w = watch_of(watch);

	kv_stream_close(w->stream);
	free(w->prefix);
	free(w);
}

static const struct kv_watch_ops etcd_watch_ops = {
	.next = etcd_watch_next,
	.wake = etcd_watch_wake,
	.close = etcd_watch_close,
};

/* ---------------------------------------------------------------- opening */

/* Until the watch stands. NOTHING: it does; else as kv_watch_next(). */
static int wait_created(
	struct etcd_watch *w, size_t endpoint, int64_t end_msec, struct err *e)
{
	struct kv_events none = { 0 };
	struct err why = { 0 };
	bool is_line = false;

	while (w->state == WATCH_OPENING) {
		int64_t left = end_msec - clock_mono_msec();
		int r = take_line(w, &is_line, &none, e);

		kv_events_done(&none);
		if (r != NOTHING || is_line)
			continue;
		if (left <= 0) {
			(void)err_set(e, ERR_TIMEOUT, "%s: no answer in time",
				kv_conn_url(w->d->conn, endpoint));
			return set_broken(w, e);
		}
		if (why.msg[0]) {
			*e = why;
			return ended(w, e);
		}
		if (kv_stream_wait(w->stream, left, &why) < 0 && !why.msg[0])
			(void)err_set(&why, ERR_UNAVAILABLE, "the stream has ended");
	}
	if (w->state == WATCH_BROKEN)
		*e = w->why;
	return w->state == WATCH_BROKEN ? -1 : NOTHING;
}

static int open_once(struct etcd_watch *w, const struct buf *body, size_t endpoint,
	int64_t end_msec, unsigned *serial, struct err *e)
{
	CLEANUP_STR char *token = NULL;

	if (kv_conn_token(w->d->conn, end_msec, &token, serial, e) < 0)
		return -1;
	kv_stream_close(w->stream);
	w->state = WATCH_OPENING;
	w->is_denied = false;
	w->stream = kv_stream_open(w->d->conn, endpoint, KV_WIRE_WATCH, token, body);
	return wait_created(w, endpoint, end_msec, e);
}

/* Was it for lack of a good token? (etcd cancels such a watch with "permission denied" or says what it misses.) */
static bool needs_login(const struct etcd_watch *w)
{
	return w->stream && w->state == WATCH_BROKEN &&
	       (w->is_denied || kv_stream_verdict(w->stream) == KV_VERDICT_LOGIN);
}

static int open_at(struct etcd_watch *w, const struct buf *body, size_t endpoint,
	int64_t end_msec, struct err *e)
{
	struct kv_conn *conn = w->d->conn;
	unsigned serial = 0;
	int r = open_once(w, body, endpoint, end_msec, &serial, e);

	if (r != NOTHING && needs_login(w)) {
		struct err why = { 0 };

		if (kv_conn_renew(conn, end_msec, serial, &why) < 0) {
			*e = why;
			return -1;
		}
		r = open_once(w, body, endpoint, end_msec, &serial, e);
	}
	if (r == NOTHING)
		kv_conn_worked(conn, endpoint);
	else if (w->state == WATCH_BROKEN && !w->is_denied)
		kv_conn_failed(conn, endpoint, e);
	return r == NOTHING ? 0 : -1;
}

static int open_anywhere(struct etcd_watch *w, const struct buf *body, struct err *e)
{
	struct kv_conn *conn = w->d->conn;
	int64_t end_msec = clock_mono_msec() + kv_conn_limit_msec(conn);
	size_t n = kv_conn_n_endpoints(conn);
	uint32_t tried = 0;
	CLEANUP(buf_done) struct buf why = { 0 };

	for (size_t k = 0; k < n; k++) {
		int64_t now = clock_mono_msec();
		int64_t left = end_msec > now ? (end_msec - now) / (int64_t)(n - k) : 1;
		size_t endpoint = kv_conn_pick(conn, &tried);
		struct err one = { 0 };

		if (open_at(w, body, endpoint, now + left, &one) == 0)
			return 0;
		buf_addf(&why, "%s%s", k > 0 ? "; " : "", one.msg);
		e->kind = one.kind;
		if (one.kind == ERR_DENIED || one.kind == ERR_UNAUTHENTICATED)
			return err_set(e, e->kind, "%s", buf_str(&why));
	}
	(void)err_set(e, e->kind, "no etcd answers: %s", buf_str(&why));
	if (e->kind == ERR_UNAVAILABLE || e->kind == ERR_TIMEOUT)
		kv_conn_none_answers(conn, e);
	return -1;
}

int kv_etcd_watch_open(struct kv *kv, const struct kv_watch_req *req,
	struct kv_watch **out, struct err *e)
{
	struct kv_etcd *d = (struct kv_etcd *)kv;
	struct etcd_watch *w = xcalloc(1, sizeof(*w));
	CLEANUP(buf_done) struct buf body = { 0 };
	bool is_void = kv_epoch_is_void(d->epoch, req->prefix);

	w->watch.ops = &etcd_watch_ops;
	w->d = d;
	w->prefix = xstrdup(req->prefix);
	w->from_rev = req->from_rev;
	w->rev = req->from_rev > 0 ? req->from_rev - 1 : 0;
	w->epoch = kv_epoch_mark(d->epoch);
	kv_wire_format_watch(req, &body);
	if (is_void && req->from_rev > 0) {
		w->state = WATCH_VOID;
	} else if (open_anywhere(w, &body, e) < 0) {
		etcd_watch_close(&w->watch);
		return -1;
	}
	*out = &w->watch;
	return 0;
}
