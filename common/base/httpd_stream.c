#include "common/base/httpd_impl.h"

#include <string.h>
#include <utlist.h>

#include "common/base/log.h"

#define QUEUED_MAX (1024 * 1024)
#define BLOCK_SIZE (16 * 1024)
#define COMMENT	   ": keep-alive\n\n"

static void stream_unref(struct httpd_stream *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	pthread_mutex_destroy(&s->lock);
	buf_done(&s->queued);
	free(s);
}

/* After a change of the stream, s->lock held: lets libmicrohttpd look again. Unlocks.
 * Clearing is_suspended makes the resume ours alone; until then the connection stays. */
static void wake_and_unlock(struct httpd_stream *s)
{
	bool is_ours = s->is_suspended;

	s->is_suspended = false;
	pthread_mutex_unlock(&s->lock);
	if (is_ours)
		httpd_resume(s->d, s->mhd);
}

/* libmicrohttpd's thread wants bytes. With none it suspends the connection. */
static ssize_t on_read(void *aux, uint64_t pos, char *out, size_t max)
{
	struct httpd_stream *s = aux;
	ssize_t n;

	(void)pos;
	pthread_mutex_lock(&s->lock);
	if (s->is_over) {
		n = MHD_CONTENT_READER_END_WITH_ERROR;
	} else if (s->queued.size > 0) {
		n = (ssize_t)(s->queued.size < max ? s->queued.size : max);
		memcpy(out, s->queued.s, (size_t)n);
		buf_drop(&s->queued, (size_t)n);
	} else if (s->is_closed) {
		n = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		n = 0;
		s->is_suspended = true;
		__atomic_add_fetch(&s->d->n_suspended, 1, __ATOMIC_SEQ_CST);
		MHD_suspend_connection(s->mhd);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* libmicrohttpd is done with the answer: sent, broken off, or never begun. */
static void on_free(void *aux)
{
	struct httpd_stream *s = aux;

	pthread_mutex_lock(&s->d->lock);
	DL_DELETE(s->d->streams, s);
	pthread_mutex_unlock(&s->d->lock);
	pthread_mutex_lock(&s->lock);
	s->is_gone = true;
	buf_done(&s->queued);
	pthread_mutex_unlock(&s->lock);
	stream_unref(s);
}

/* conn is NULL when it may have gone already. */
static struct httpd_stream *stream_new(
	struct httpd_req *req, struct httpd_conn *conn, const char *content_type)
{
	struct httpd_stream *s = xcalloc(1, sizeof(*s));

	s->d = req->d;
	s->mhd = req->mhd;
	s->conn = conn;
	s->refs = 2;
	s->last_msec = httpd_now_msec();
	s->is_sse = str_has_prefix(content_type, "text/event-stream");
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_lock(&s->d->lock);
	DL_APPEND(s->d->streams, s);
	s->is_closed = s->d->is_closing;
	pthread_mutex_unlock(&s->d->lock);
	return s;
}

struct httpd_stream *httpd_answer_stream(struct httpd_req *req, const char *content_type)
{
	/* While it is ours to answer, the connection is suspended, and there. */
	bool is_ours = httpd_req_claim(req);
	struct httpd_stream *s =
		stream_new(req, is_ours ? req->conn : NULL, content_type);
	struct MHD_Response *resp = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_SIZE, on_read, s, on_free);

	if (!resp)
		abort(); /* only out of memory */
	MHD_add_response_header(resp, "Content-Type", content_type);
	MHD_add_response_header(resp, "Cache-Control", "no-store");
	for (size_t i = 0; i < req->answer_headers.len; i++)
		MHD_add_response_header(resp, req->answer_headers.v[i].name,
			req->answer_headers.v[i].value);
	if (is_ours)
		httpd_req_finish(req, MHD_HTTP_OK, resp);
	else
		MHD_destroy_response(resp);
	httpd_req_unref(req);
	return s;
}

void httpd_streams_forget_conn(struct httpd *d, const struct httpd_conn *c)
{
	for (struct httpd_stream *s = d->streams; s; s = s->next)
		if (s->conn == c)
			s->conn = NULL;
}

bool httpd_stream_send(struct httpd_stream *s, const char *p, size_t size)
{
	pthread_mutex_lock(&s->lock);
	if (s->is_gone || s->is_over || s->is_closed) {
		pthread_mutex_unlock(&s->lock);
		return false;
	}
	__atomic_store_n(&s->last_msec, httpd_now_msec(), __ATOMIC_RELAXED);
	if (s->queued.size + size > QUEUED_MAX) {
		s->is_over = true;
		buf_done(&s->queued);
		wake_and_unlock(s);
		return false;
	}
	buf_add(&s->queued, p, size);
	wake_and_unlock(s);
	return true;
}

bool httpd_stream_is_open(struct httpd_stream *s)
{
	bool is_open;

	pthread_mutex_lock(&s->lock);
	is_open = !s->is_gone && !s->is_over && !s->is_closed;
	pthread_mutex_unlock(&s->lock);
	return is_open;
}

static void stream_end(struct httpd_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_closed = true;
	wake_and_unlock(s);
}

void httpd_stream_close(struct httpd_stream *s)
{
	stream_end(s);
	stream_unref(s);
}

/* ------------------------------------------------------- all of the server */

static bool is_silent(const struct httpd_stream *s, int64_t since_msec)
{
	return __atomic_load_n(&s->last_msec, __ATOMIC_RELAXED) <= since_msec;
}

/* Those that have been silent for long, or (is_left) whose client has gone; each counted once
 * more, so that they can be used without d->lock. */
static struct httpd_stream **streams_get(
	struct httpd *d, int64_t silent_since_msec, bool is_left, size_t *n)
{
	struct httpd_stream **v = NULL, *s;
	size_t max = 0;

	*n = 0;
	pthread_mutex_lock(&d->lock);
	for (s = d->streams; s; s = s->next)
		max++;
	if (max > 0)
		v = xcalloc(max, sizeof(struct httpd_stream *));
	for (s = d->streams; s; s = s->next) {
		if (is_left ? s->conn && !httpd_conn_is_left(s->conn)
			    : !is_silent(s, silent_since_msec))
			continue;
		__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
		v[(*n)++] = s;
	}
	pthread_mutex_unlock(&d->lock);
	return v;
}

void httpd_streams_end(struct httpd *d)
{
	size_t n;
	struct httpd_stream **v = streams_get(d, INT64_MAX, false, &n);

	for (size_t i = 0; i < n; i++) {
		stream_end(v[i]);
		stream_unref(v[i]);
	}
	free(v);
}

void httpd_streams_end_left(struct httpd *d)
{
	size_t n;
	struct httpd_stream **v = streams_get(d, 0, true, &n);

	for (size_t i = 0; i < n; i++) {
		stream_end(v[i]);
		stream_unref(v[i]);
	}
	free(v);
}

void httpd_streams_keepalive(struct httpd *d, int64_t now_msec)
{
	size_t n;
	struct httpd_stream **v = streams_get(d, now_msec - d->keepalive_msec, false, &n);

	for (size_t i = 0; i < n; i++) {
		if (v[i]->is_sse)
			httpd_stream_send(v[i], COMMENT, strlen(COMMENT));
		stream_unref(v[i]);
	}
	free(v);
}
