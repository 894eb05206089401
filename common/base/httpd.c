#include "common/base/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/httpd_impl.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/parse.h"

#define PEM_MAX	   (1024 * 1024)
#define BACKLOG	   1024
#define DRAIN_MSEC 3000 /* for handlers that run when we close */
#define FLUSH_MSEC 1000 /* for their last answers to get out */

static struct metric handler_seconds = { METRIC_HISTOGRAM, "ucloud_http_handler_seconds",
	"Time that handlers of HTTP requests ran." };

/* -------------------------------------------------------------------- time */

int64_t httpd_now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

void httpd_count_changed(struct httpd *d)
{
	if (d->is_closing)
		pthread_cond_broadcast(&d->changed);
}

/* Waits until at_msec of httpd_now_msec(); false when that has passed. */
static bool wait_changed(struct httpd *d, int64_t at_msec)
{
	struct timespec ts = { .tv_sec = at_msec / 1000,
		.tv_nsec = at_msec % 1000 * 1000000 };

	return pthread_cond_timedwait(&d->changed, &d->lock, &ts) != ETIMEDOUT;
}

/* --------------------------------------------------------------- listening */

static int listen_fail(const struct httpd_listen *l, int errnum, struct err *e)
{
	if (errnum == EADDRINUSE || errnum == EADDRNOTAVAIL || errnum == EACCES)
		return err_set(
			e, ERR_IO, "cannot listen on %s: %s", l->text, strerror(errnum));
	return err_errno(e, errnum, "cannot listen on %s", l->text);
}

/* The caller's; NULL when it failed. */
static struct addrinfo *resolve(
	struct httpd_listen *l, uint16_t default_port, struct err *e)
{
	const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST |
						    AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM };
	CLEANUP_STR char *host = NULL;
	struct addrinfo *ai = NULL;
	char port[8];
	int rc;

	if (parse_host_port(l->text, default_port, &host, &l->port, e) < 0) {
		err_wrap(e, "listen address %s", l->text);
		return NULL;
	}
	snprintf(port, sizeof(port), "%u", l->port);
	rc = getaddrinfo(host, port, &hints, &ai);
	if (rc != 0) {
		err_set(e, ERR_INVALID,
			"listen address %s: must be an address, like [::1]:8080 (%s)",
			l->text, gai_strerror(rc));
		return NULL;
	}
	return ai;
}

static uint16_t bound_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} addr = { 0 };
	socklen_t size = sizeof(addr);

	if (getsockname(fd, &addr.any, &size) < 0)
		return 0;
	return ntohs(
		addr.any.sa_family == AF_INET6 ? addr.in6.sin6_port : addr.in4.sin_port);
}

const char *httpd_exposed(const struct strv *listen)
{
	for (size_t i = 0; i < listen->len; i++) {
		CLEANUP_STR char *host = NULL;
		uint16_t port;
		struct err e;

		if (parse_host_port(listen->v[i], 0, &host, &port, &e) == 0 &&
			!host_is_loopback(host))
			return listen->v[i];
	}
	return NULL;
}

static int listen_open(struct httpd_listen *l, uint16_t default_port, struct err *e)
{
	const int on = 1;
	struct addrinfo *ai = resolve(l, default_port, e);

	if (!ai)
		return -1;
	l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0 ||
		setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		(ai->ai_family == AF_INET6 && setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY,
						      &on, sizeof(on)) < 0) ||
		bind(l->fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
		listen(l->fd, BACKLOG) < 0) {
		int errnum = errno;

		freeaddrinfo(ai);
		return listen_fail(l, errnum, e);
	}
	freeaddrinfo(ai);
	l->port = bound_port(l->fd);
	return 0;
}

uint16_t httpd_port(const struct httpd *d, size_t i)
{
	return i < d->n_listens ? d->listens[i].port : 0;
}

/* ----------------------------------------------------------------- workers */

void httpd_enqueue(struct httpd_req *req)
{
	struct httpd *d = req->d;

	*d->queue_end = req;
	d->queue_end = &req->next_queued;
	pthread_cond_signal(&d->work);
}

static struct httpd_req *dequeue(struct httpd *d)
{
	struct httpd_req *req = d->queue;

	if (req) {
		d->queue = req->next_queued;
		if (!d->queue)
			d->queue_end = &d->queue;
	}
	return req;
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Our own reference keeps req there, whoever answers it meanwhile. */
static void run_handler(struct httpd *d, struct httpd_req *req)
{
	double start = seconds_now();
	enum httpd_result r = d->fn(d->aux, req);
	bool is_forgotten, is_late;
	struct err e;

	metric_observe(&handler_seconds, NULL, seconds_now() - start);
	pthread_mutex_lock(&d->lock);
	if (req->is_taken) { /* its life goes on elsewhere already */
		pthread_mutex_unlock(&d->lock);
		return;
	}
	req->is_running = false;
	req->is_parked = r == HTTPD_PARK;
	is_forgotten = r == HTTPD_ANSWERED && !req->is_claimed;
	is_late = r == HTTPD_PARK && !req->is_claimed && d->is_closing;
	pthread_mutex_unlock(&d->lock);
	if (is_forgotten) {
		log_error("a handler did not answer method=%s path=%s", req->method,
			req->path);
		err_set(&e, ERR_INTERNAL, "this request was not answered");
		httpd_req_refuse(req, &e);
		httpd_req_unref(req); /* the answerer's */
	} else if (is_late) {
		err_set(&e, ERR_UNAVAILABLE, "this server is stopping: try again");
		httpd_req_refuse(req, &e);
	}
}

static void *worker_main(void *aux)
{
	struct httpd *d = aux;

	pthread_setname_np(pthread_self(), "http-worker");
	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct httpd_req *req = dequeue(d);

		if (!req && d->is_stopping)
			break;
		if (!req) {
			pthread_cond_wait(&d->work, &d->lock);
			continue;
		}
		httpd_req_ref(req);
		req->is_running = true;
		d->n_running++;
		pthread_mutex_unlock(&d->lock);
		run_handler(d, req);
		httpd_req_unref(req);
		pthread_mutex_lock(&d->lock);
		d->n_running--;
		httpd_count_changed(d);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

void httpd_resume(struct httpd *d, struct MHD_Connection *mhd)
{
	MHD_resume_connection(mhd);
	pthread_mutex_lock(&d->lock);
	__atomic_sub_fetch(&d->n_suspended, 1, __ATOMIC_SEQ_CST);
	httpd_count_changed(d);
	pthread_mutex_unlock(&d->lock);
}

/* ------------------------------------------------------------------ reaper */

/* Under d->lock: the socket is closed only after the connection has left the list. */
void httpd_conn_cut(struct httpd_conn *c)
{
	if (!c->is_cut)
		shutdown(c->fd, SHUT_RDWR);
	c->is_cut = true;
}

/* libmicrohttpd (0.9.75) misses the end of a connection that comes together with bytes. All
 * of them are read, and there will be no more: seen twice, as the last ones may be on their
 * way through it. */
static bool has_ended_unseen(struct httpd_conn *c)
{
	bool was_left = c->is_left;
	int n = 0;

	c->is_left = httpd_conn_is_left(c) && ioctl(c->fd, FIONREAD, &n) == 0 && n == 0;
	return was_left && c->is_left;
}

/* One who sends a body in pieces: 1 KiB/s, seen over body_msec. */
static void reap_slow(struct httpd *d, struct httpd_conn *c, int64_t now)
{
	uint64_t bytes = httpd_conn_bytes(c);

	if ((int64_t)(bytes - c->bytes_base) > d->body_msec * 1024 / 1000) {
		c->bytes_base = bytes;
		c->since_msec = now;
	} else if (now - c->since_msec > d->body_msec || has_ended_unseen(c)) {
		httpd_conn_cut(c);
	}
}

static void reap(struct httpd *d, struct httpd_conn *c, int64_t now)
{
	if (c->state == CONN_BODY)
		reap_slow(d, c, now);
	if (c->state == CONN_IDLE && httpd_conn_bytes(c) > c->bytes_base) {
		c->state = CONN_READING;
		c->since_msec = now;
	}
	if (c->state == CONN_READING && now - c->since_msec > d->request_msec)
		httpd_conn_cut(c);
}

/* Parked requests whose client has gone, each counted once more; n is their number. */
static struct httpd_req **left_get(struct httpd *d, size_t *n)
{
	struct httpd_req **v = NULL, *req;
	size_t max = 0;

	*n = 0;
	pthread_mutex_lock(&d->lock);
	for (req = d->held; req; req = req->next)
		max += req->is_parked;
	if (max > 0)
		v = xcalloc(max, sizeof(struct httpd_req *));
	/* As long as nobody has claimed it, its connection is suspended, and there. */
	for (req = d->held; req && *n < max; req = req->next) {
		if (!req->is_parked || !httpd_conn_is_left(req->conn))
			continue;
		httpd_req_ref(req);
		v[(*n)++] = req;
	}
	pthread_mutex_unlock(&d->lock);
	return v;
}

/* Their sockets would stay until somebody answers. */
static void close_left(struct httpd *d)
{
	size_t n;
	struct httpd_req **v = left_get(d, &n);
	struct err e;

	err_set(&e, ERR_UNAVAILABLE, "the client has gone");
	for (size_t i = 0; i < n; i++) {
		httpd_req_refuse(v[i], &e);
		httpd_req_unref(v[i]);
	}
	free(v);
}

static int64_t reaper_tick_msec(const struct httpd *d)
{
	int64_t least =
		d->request_msec < d->keepalive_msec ? d->request_msec : d->keepalive_msec;

	if (d->body_msec < least)
		least = d->body_msec;
	return least > 8000 ? 1000 : least / 8 + 1;
}

static void *reaper_main(void *aux)
{
	struct httpd *d = aux;
	int64_t tick = reaper_tick_msec(d), now = httpd_now_msec(), next = now + tick;
	struct httpd_conn *c;

	pthread_setname_np(pthread_self(), "http-reaper");
	pthread_mutex_lock(&d->lock);
	while (!d->is_stopping) {
		if (wait_changed(d, next) && httpd_now_msec() < next)
			continue;
		now = httpd_now_msec();
		next = now + tick;
		for (c = d->conns; c; c = c->next)
			reap(d, c, now);
		pthread_mutex_unlock(&d->lock);
		close_left(d);
		httpd_streams_end_left(d);
		httpd_streams_keepalive(d, now);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* ----------------------------------------------------------------- opening */

void httpd_unref(struct httpd *d)
{
	if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->work);
	pthread_cond_destroy(&d->changed);
	httpd_bodies_done(d);
	free(d->server);
	free(d);
}

static struct httpd *httpd_new(
	const struct httpd_conf *conf, httpd_handler_fn *fn, void *aux)
{
	struct httpd *d = xcalloc(1, sizeof(*d));

	d->refs = 1;
	d->fn = fn;
	d->aux = aux;
	d->server = xstrdup(conf->server);
	d->max_body = conf->max_body ? conf->max_body : 1024 * 1024;
	d->max_bodies = conf->max_bodies ? conf->max_bodies : 64 * 1024 * 1024;
	d->max_conns_per_net = conf->max_conns_per_ip ? conf->max_conns_per_ip : 256;
	d->request_msec = conf->request_msec ? conf->request_msec : 20000;
	d->keepalive_msec = conf->keepalive_msec ? conf->keepalive_msec : 15000;
	d->queue_end = &d->queue;
	httpd_bodies_init(d, conf);
	pthread_mutex_init(&d->lock, NULL);
	cond_init(&d->work);
	cond_init(&d->changed);
	d->listens = xcalloc(conf->listen->len + 1, sizeof(*d->listens));
	metric_register(&handler_seconds);
	return d;
}

static int start_threads(
	struct httpd *d, unsigned n_workers, unsigned n_body_workers, struct err *e)
{
	int rc = pthread_create(&d->reaper, NULL, reaper_main, d);

	if (rc != 0)
		return err_errno(e, rc, "cannot start a thread");
	d->has_reaper = true;
	d->workers = xcalloc(n_workers, sizeof(*d->workers));
	for (unsigned i = 0; i < n_workers; i++) {
		rc = pthread_create(&d->workers[i], NULL, worker_main, d);
		if (rc != 0)
			return err_errno(e, rc, "cannot start a thread");
		d->n_workers++;
	}
	return d->is_streamed ? httpd_bodies_start(d, n_body_workers, e) : 0;
}

static int open_listens(struct httpd *d, const struct httpd_conf *conf, struct err *e)
{
	/* All sockets first: an address in use is known before anything runs. */
	for (size_t i = 0; i < conf->listen->len; i++) {
		struct httpd_listen *l = &d->listens[d->n_listens++];

		l->fd = -1;
		l->text = xstrdup(conf->listen->v[i]);
		if (listen_open(l, conf->default_port, e) < 0)
			return -1;
	}
	return 0;
}

static int read_pem(const char *path, struct buf *out, struct err *e)
{
	if (file_read(path, PEM_MAX, out, e) < 0)
		return err_wrap(e, "TLS");
	if (strlen(buf_str(out)) != out->size || !strstr(buf_str(out), "-----BEGIN "))
		return err_set(e, ERR_INVALID, "TLS: %s: this is no PEM file", path);
	return 0;
}

static int start_all(struct httpd *d, const struct httpd_conf *conf, struct err *e)
{
	CLEANUP(buf_done) struct buf cert = { 0 };
	CLEANUP(buf_done) struct buf key = { 0 };
	bool has_cert = !str_is_empty(conf->cert_file);
	bool has_key = !str_is_empty(conf->key_file);
	int rc = 0;

	if (has_cert != has_key)
		return err_set(e, ERR_INVALID,
			"TLS needs both a certificate and its key: there is only the %s",
			has_cert ? "certificate" : "key");
	if (has_cert && (read_pem(conf->cert_file, &cert, e) < 0 ||
				read_pem(conf->key_file, &key, e) < 0))
		return -1;
	if (conf->listen->len == 0)
		return err_set(e, ERR_INVALID, "there is no address to listen on");
	if (open_listens(d, conf, e) < 0 ||
		start_threads(d, conf->n_workers ? conf->n_workers : 8,
			conf->n_body_workers ? conf->n_body_workers : 4, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n_listens && rc == 0; i++)
		rc = httpd_mhd_start(d, conf, &d->listens[i], has_cert ? cert.s : NULL,
			has_key ? key.s : NULL, e);
	if (key.s)
		explicit_bzero(key.s, key.size);
	return rc;
}

int httpd_open(const struct httpd_conf *conf, httpd_handler_fn *fn, void *aux,
	struct httpd **out, struct err *e)
{
	struct httpd *d = httpd_new(conf, fn, aux);

	if (start_all(d, conf, e) < 0) {
		httpd_close(d);
		return -1;
	}
	*out = d;
	return 0;
}

/* ----------------------------------------------------------------- closing */

/* New clients are refused from now on. The descriptor stays: libmicrohttpd's thread may be
 * using its number at this moment. */
static void stop_accepting(struct httpd *d)
{
	for (size_t i = 0; i < d->n_listens; i++) {
		struct httpd_listen *l = &d->listens[i];

		if (l->mhd)
			MHD_quiesce_daemon(l->mhd);
		if (l->fd >= 0)
			shutdown(l->fd, SHUT_RDWR);
	}
}

static void listen_close(struct httpd_listen *l)
{
	if (l->mhd)
		MHD_stop_daemon(l->mhd);
	if (l->fd >= 0)
		close(l->fd);
	free(l->text);
}

/* Queued ones never reach a handler; that count is ours to give back. */
static void refuse_queued(struct httpd *d, const struct err *e)
{
	struct httpd_req *req;

	for (;;) {
		pthread_mutex_lock(&d->lock);
		req = dequeue(d);
		pthread_mutex_unlock(&d->lock);
		if (!req)
			return;
		httpd_req_refuse(req, e);
		httpd_req_unref(req);
	}
}

/* Answers what nobody has answered yet; with_running: also what a handler works on. */
static void refuse_held(struct httpd *d, bool with_running, const struct err *e)
{
	struct httpd_req *req;

	for (;;) {
		pthread_mutex_lock(&d->lock);
		for (req = d->held; req; req = req->next)
			if (with_running || !req->is_running)
				break;
		if (req)
			httpd_req_ref(req);
		pthread_mutex_unlock(&d->lock);
		if (!req)
			return;
		httpd_req_refuse(req, e);
		httpd_req_unref(req);
	}
}

static void drain(struct httpd *d)
{
	int64_t limit = httpd_now_msec() + DRAIN_MSEC;
	struct err e;

	err_set(&e, ERR_UNAVAILABLE, "this server is stopping: try again");
	pthread_mutex_lock(&d->lock);
	d->is_closing = true;
	pthread_mutex_unlock(&d->lock);
	refuse_queued(d, &e);
	refuse_held(d, false, &e);
	httpd_streams_end(d);
	httpd_bodies_close(d);

	pthread_mutex_lock(&d->lock);
	while (d->n_running > 0 && wait_changed(d, limit))
		;
	pthread_mutex_unlock(&d->lock);
	refuse_held(d, true, &e);

	limit = httpd_now_msec() + FLUSH_MSEC;
	pthread_mutex_lock(&d->lock);
	while (d->n_open > 0 && wait_changed(d, limit))
		;
	/* Nobody suspends now, so this is only about resumes under way. */
	while (__atomic_load_n(&d->n_suspended, __ATOMIC_SEQ_CST) > 0)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

static void stop_threads(struct httpd *d)
{
	pthread_mutex_lock(&d->lock);
	d->is_stopping = true;
	pthread_cond_broadcast(&d->work);
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < d->n_workers; i++)
		pthread_join(d->workers[i], NULL);
	free(d->workers);
	if (d->has_reaper)
		pthread_join(d->reaper, NULL);
	httpd_bodies_end(d);
}

void httpd_close(struct httpd *d)
{
	if (!d)
		return;
	stop_accepting(d);
	drain(d);
	for (size_t i = 0; i < d->n_listens; i++)
		listen_close(&d->listens[i]);
	stop_threads(d);
	free(d->listens);
	httpd_unref(d);
}
