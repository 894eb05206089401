#include "common/base/httpd_impl.h"

#include <assert.h>
#include <utlist.h>

#include "common/base/log.h"

#define FILLING_MAX (256 * 1024 - 1)

/* ------------------------------------------------------------------- queue */

/* All "static" functions up to the workers want bodies.lock held. */
static void enqueue(struct httpd_bodies *all, struct httpd_body *b)
{
	if (b->is_queued)
		return;
	b->is_queued = true;
	b->next_queued = NULL;
	*all->queue_end = b;
	all->queue_end = &b->next_queued;
	pthread_cond_signal(&all->work);
}

static struct httpd_body *dequeue(struct httpd_bodies *all)
{
	struct httpd_body *b = all->queue;

	if (b) {
		all->queue = b->next_queued;
		if (!all->queue)
			all->queue_end = &all->queue;
	}
	return b;
}

static void forget(struct httpd_bodies *all, struct httpd_body *b)
{
	assert(b->prev == b || b->next || b != all->list); /* it is in the list */
	DL_DELETE(all->list, b);
	all->n--;
}

static void suspend(struct httpd_body *b)
{
	b->is_suspended = true;
	__atomic_add_fetch(&b->req->d->n_suspended, 1, __ATOMIC_SEQ_CST);
	MHD_suspend_connection(b->req->mhd);
}

/* ------------------------------------------------- libmicrohttpd's thread */

/* The rest of a body that nobody wants: small ones are read, so that the client sees why. */
static enum MHD_Result drop(struct httpd_req *req, size_t *size)
{
	req->n_seen += *size;
	*size = 0;
	return req->n_seen > req->d->max_body ? MHD_NO : MHD_YES;
}

enum MHD_Result httpd_body_piece(struct httpd_req *req, const char *p, size_t *size)
{
	struct httpd_bodies *all = &req->d->bodies;
	struct httpd_body *b = req->in;
	enum MHD_Result rc = MHD_YES;

	pthread_mutex_lock(&all->lock);
	if (all->is_closing) {
		rc = MHD_NO;
	} else if (b->is_failed) {
		rc = drop(req, size);
	} else if (b->filling.size > 0 && b->filling.size + *size > FILLING_MAX) {
		suspend(b); /* until a worker has taken what is there */
	} else {
		buf_add(&b->filling, p, *size);
		*size = 0;
		enqueue(all, b);
	}
	pthread_mutex_unlock(&all->lock);
	return rc;
}

bool httpd_body_complete(struct httpd_req *req)
{
	struct httpd_bodies *all = &req->d->bodies;
	struct httpd_body *b = req->in;
	bool is_fine;

	pthread_mutex_lock(&all->lock);
	if (all->is_closing)
		err_set(&req->refusal, ERR_UNAVAILABLE,
			"this server is stopping: try again");
	else if (b->is_failed)
		req->refusal = b->why;
	is_fine = req->refusal.kind == ERR_NONE;
	if (is_fine) {
		b->has_all = true;
		suspend(b);
		enqueue(all, b);
	}
	pthread_mutex_unlock(&all->lock);
	return is_fine;
}

void httpd_body_gone(struct httpd_req *req)
{
	struct httpd_bodies *all = &req->d->bodies;

	pthread_mutex_lock(&all->lock);
	req->in->is_gone = true;
	/* Those that are over need no worker. */
	if (req->in->sink)
		enqueue(all, req->in);
	pthread_mutex_unlock(&all->lock);
}

/* ----------------------------------------------------------------- workers */

/* The request is handed back to the life of all others: somebody is to answer it. False when
 * the server closes. */
static bool begin_end(struct httpd_req *req)
{
	struct httpd *d = req->d;
	bool is_closing;

	pthread_mutex_lock(&d->lock);
	is_closing = d->is_closing;
	if (!is_closing) {
		req->is_claimed = false;
		req->is_parked = false;
		req->is_running = true;
		DL_APPEND(d->held, req);
		d->n_running++;
	}
	pthread_mutex_unlock(&d->lock);
	return !is_closing;
}

static void call_end(struct httpd_body *b, const struct httpd_sink *sink)
{
	struct httpd_req *req = b->req;
	struct httpd *d = req->d;
	bool is_forgotten;
	struct err e;

	sink->end(b->aux, req);
	pthread_mutex_lock(&d->lock);
	req->is_running = false;
	is_forgotten = !req->is_claimed;
	pthread_mutex_unlock(&d->lock);
	if (is_forgotten) {
		log_error("a request was not answered after its body method=%s path=%s",
			req->method, req->path);
		err_set(&e, ERR_INTERNAL, "this request was not answered");
		httpd_req_refuse(req, &e);
		httpd_req_unref(req); /* the answerer's */
	}
	pthread_mutex_lock(&d->lock);
	d->n_running--;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

/* The sink's last call, not under the lock. is_suspended: the connection is, and is ours. */
static void finish(struct httpd_body *b, const struct httpd_sink *sink, bool is_complete)
{
	struct httpd_req *req = b->req;

	httpd_req_ref(req);
	if (is_complete && begin_end(req)) {
		call_end(b, sink);
	} else {
		if (is_complete) {
			err_set(&req->refusal, ERR_UNAVAILABLE,
				"this server is stopping: try again");
			httpd_resume(req->d, req->mhd);
		}
		sink->broken(b->aux);
		httpd_req_unref(req); /* the answerer's */
	}
	httpd_req_unref(req);
}

/* The sink has had all there is for now. Unlocks. */
static void settle(struct httpd_bodies *all, struct httpd_body *b)
{
	const struct httpd_sink *sink = b->sink;
	bool is_complete = b->has_all && b->is_suspended && !b->is_failed;

	if (!is_complete && !b->is_failed && !b->is_gone) {
		pthread_mutex_unlock(&all->lock);
		return;
	}
	forget(all, b);
	b->sink = NULL;
	if (is_complete)
		b->is_suspended = false;
	pthread_mutex_unlock(&all->lock);
	finish(b, sink, is_complete);
}

/* The sink wants no more. True: the connection is to be resumed. The lock is held. */
static bool fail(struct httpd_body *b, const struct err *e)
{
	bool is_suspended = b->is_suspended;

	b->is_failed = true;
	b->is_suspended = false;
	b->why = *e;
	buf_clear(&b->filling);
	return is_suspended;
}

/* Under the lock, and left without it. */
static void work(struct httpd_bodies *all, struct httpd_body *b)
{
	struct httpd *d = b->req->d;
	struct buf taken = b->filling;
	bool is_resumed = b->is_suspended && !b->has_all;
	struct err e = { 0 };
	int r = 0;

	b->filling = b->spare;
	b->spare = (struct buf){ 0 };
	if (is_resumed)
		b->is_suspended = false;
	pthread_mutex_unlock(&all->lock);
	/* The next bytes may come while these are being written. */
	if (is_resumed)
		httpd_resume(d, b->req->mhd);
	if (taken.size > 0)
		r = b->sink->piece(b->aux, taken.s, taken.size, &e);
	buf_clear(&taken);

	pthread_mutex_lock(&all->lock);
	b->spare = taken;
	is_resumed = r < 0 && fail(b, &e);
	if (is_resumed) {
		struct MHD_Connection *mhd = b->req->mhd;

		/* What comes now is dropped. */
		pthread_mutex_unlock(&all->lock);
		httpd_resume(d, mhd);
		pthread_mutex_lock(&all->lock);
	}
	b->is_queued = false;
	if (b->filling.size > 0) {
		enqueue(all, b);
		pthread_mutex_unlock(&all->lock);
		return;
	}
	settle(all, b);
}

static void *worker_main(void *aux)
{
	struct httpd *d = aux;
	struct httpd_bodies *all = &d->bodies;

	pthread_setname_np(pthread_self(), "http-body");
	pthread_mutex_lock(&all->lock);
	for (;;) {
		struct httpd_body *b = dequeue(all);

		if (!b && all->is_ending)
			break;
		if (!b) {
			pthread_cond_wait(&all->work, &all->lock);
			continue;
		}
		work(all, b);
		pthread_mutex_lock(&all->lock);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

/* ------------------------------------------------------------- the handler */

static int too_many(const struct httpd_bodies *all, struct err *e)
{
	return err_set(e, ERR_UNAVAILABLE,
		"this server takes %u bodies at the same time already: try again later",
		all->max);
}

static int add(struct httpd_bodies *all, struct httpd_body *b, struct err *e)
{
	bool is_full;

	pthread_mutex_lock(&all->lock);
	is_full = all->n >= all->max;
	if (!is_full) {
		DL_APPEND(all->list, b);
		all->n++;
	}
	pthread_mutex_unlock(&all->lock);
	return is_full ? too_many(all, e) : 0;
}

/* The request leaves the life of all others, until its body is complete. False: it was
 * answered meanwhile, or will be: the server closes. */
static bool claim(struct httpd_req *req)
{
	struct httpd *d = req->d;
	bool is_ours;

	pthread_mutex_lock(&d->lock);
	is_ours = !req->is_claimed && !d->is_closing;
	if (is_ours) {
		req->is_claimed = req->is_taken = true;
		DL_DELETE(d->held, req);
	}
	pthread_mutex_unlock(&d->lock);
	return is_ours;
}

int httpd_take_body(
	struct httpd_req *req, const struct httpd_sink *sink, void *aux, struct err *e)
{
	struct httpd_bodies *all = &req->d->bodies;
	struct httpd_body *b = xcalloc(1, sizeof(*b));

	b->req = req;
	b->sink = sink;
	b->aux = aux;
	if (add(all, b, e) < 0) {
		free(b);
		return -1;
	}
	if (!claim(req)) {
		pthread_mutex_lock(&all->lock);
		forget(all, b);
		pthread_mutex_unlock(&all->lock);
		free(b);
		return err_set(e, ERR_UNAVAILABLE, "this server is stopping: try again");
	}
	req->in = b;
	httpd_resume(req->d, req->mhd);
	return 0;
}

/* ------------------------------------------------------- all of the server */

void httpd_bodies_init(struct httpd *d, const struct httpd_conf *conf)
{
	struct httpd_bodies *all = &d->bodies;

	d->is_streamed = conf->is_streamed;
	d->body_msec = conf->body_msec ? conf->body_msec : 60000;
	all->max = conf->max_streamed ? conf->max_streamed : 64;
	all->queue_end = &all->queue;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->work, NULL);
}

int httpd_bodies_start(struct httpd *d, unsigned n_workers, struct err *e)
{
	struct httpd_bodies *all = &d->bodies;

	all->workers = xcalloc(n_workers, sizeof(*all->workers));
	for (unsigned i = 0; i < n_workers; i++) {
		int rc = pthread_create(&all->workers[i], NULL, worker_main, d);

		if (rc != 0)
			return err_errno(e, rc, "cannot start a thread");
		all->n_workers++;
	}
	return 0;
}

/* The suspended ones, whose resuming becomes the caller's. */
static struct MHD_Connection **take_suspended(struct httpd_bodies *all, size_t *n)
{
	struct MHD_Connection **v;
	struct httpd_body *b;

	*n = 0;
	pthread_mutex_lock(&all->lock);
	all->is_closing = true;
	v = xcalloc(all->n + 1, sizeof(struct MHD_Connection *));
	for (b = all->list; b; b = b->next) {
		if (b->is_suspended)
			v[(*n)++] = b->req->mhd;
		b->is_suspended = false;
	}
	pthread_mutex_unlock(&all->lock);
	return v;
}

void httpd_bodies_close(struct httpd *d)
{
	struct httpd_conn *c;
	size_t n;
	struct MHD_Connection **v = take_suspended(&d->bodies, &n);

	for (size_t i = 0; i < n; i++)
		httpd_resume(d, v[i]);
	free(v);
	pthread_mutex_lock(&d->lock);
	for (c = d->conns; c; c = c->next)
		if (c->state == CONN_BODY)
			httpd_conn_cut(c);
	pthread_mutex_unlock(&d->lock);
}

void httpd_bodies_end(struct httpd *d)
{
	struct httpd_bodies *all = &d->bodies;

	pthread_mutex_lock(&all->lock);
	all->is_ending = true;
	pthread_cond_broadcast(&all->work);
	pthread_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < all->n_workers; i++)
		pthread_join(all->workers[i], NULL);
	free(all->workers);
	all->workers = NULL;
	all->n_workers = 0;
}

void httpd_bodies_done(struct httpd *d)
{
	pthread_mutex_destroy(&d->bodies.lock);
	pthread_cond_destroy(&d->bodies.work);
}

void httpd_body_free(struct httpd_body *b)
{
	if (!b)
		return;
	buf_done(&b->filling);
	buf_done(&b->spare);
	free(b);
}
