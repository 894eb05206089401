#include "common/base/httpd_impl.h"

#include <linux/tcp.h> /* glibc's struct tcp_info ends too early */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/parse.h"

/* libmicrohttpd reads line and headers into this much, and answers 414 or 431 beyond. */
#define CONN_MEMORY (32 * 1024)
/* A body that is too large is read on (and dropped) up to this many times the limit, so
 * that the client sees the 413 and not a broken connection. */
#define SWALLOW_FACTOR 8
/* Of each body, so much does not count: that orders get through while somebody sends a lot. */
#define BODY_FREE (16 * 1024)
/* As in <netinet/tcp.h>, which does not go with <linux/tcp.h>. */
#define TCP_STATE_ESTABLISHED 1

static struct metric n_requests = { METRIC_COUNTER, "ucloud_http_requests_total",
	"Answered HTTP requests.", .label = "status" };
static struct metric n_conns = { METRIC_GAUGE, "ucloud_http_connections",
	"Open connections of HTTP clients." };

/* ------------------------------------------------------------- connections */

uint64_t httpd_conn_bytes(const struct httpd_conn *c)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return 0;
	return info.tcpi_bytes_received;
}

bool httpd_conn_is_left(const struct httpd_conn *c)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
	       info.tcpi_state != TCP_STATE_ESTABLISHED;
}

static struct httpd_net net_of(const struct sockaddr *sa)
{
	struct httpd_net net = { 0 };

	if (sa && sa->sa_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)sa)->sin6_addr;

		/* All neighbours share fe80::/64. */
		memcpy(net.bytes, a->s6_addr, IN6_IS_ADDR_LINKLOCAL(a) ? 16 : 8);
	} else if (sa && sa->sa_family == AF_INET) {
		memcpy(net.bytes, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	}
	return net;
}

/* libmicrohttpd's own limit per address would count all 128 bits. */
static enum MHD_Result on_accept(void *aux, const struct sockaddr *sa, socklen_t size)
{
	struct httpd_net net = net_of(sa);
	struct httpd *d = aux;
	const struct httpd_conn *c;
	unsigned n = 0;

	(void)size;
	pthread_mutex_lock(&d->lock);
	DL_FOREACH(d->conns, c)
	n += memcmp(&c->net, &net, sizeof(net)) == 0;
	pthread_mutex_unlock(&d->lock);
	return n < d->max_conns_per_net ? MHD_YES : MHD_NO;
}

static struct httpd_conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void on_connection(void *aux, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	struct httpd *d = aux;
	struct httpd_conn *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		c = xcalloc(1, sizeof(*c));
		c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)
				->connect_fd;
		c->net = net_of(
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
				->client_addr);
		c->since_msec = httpd_now_msec();
		*context = c;
		pthread_mutex_lock(&d->lock);
		DL_APPEND(d->conns, c);
		pthread_mutex_unlock(&d->lock);
		metric_add(&n_conns, NULL, 1);
	} else if (c) {
		pthread_mutex_lock(&d->lock);
		DL_DELETE(d->conns, c);
		httpd_streams_forget_conn(d, c);
		pthread_mutex_unlock(&d->lock);
		free(c);
		*context = NULL;
		metric_add(&n_conns, NULL, -1);
	}
}

static void conn_set_state(struct httpd *d, struct httpd_conn *c, enum conn_state state)
{
	pthread_mutex_lock(&d->lock);
	/* The reaper may have seen the first byte before. */
	if (c->state != state)
		c->since_msec = httpd_now_msec();
	c->state = state;
	/* What comes after a complete request begins the next one, also when it comes
	 * before we have heard that the answer is out. */
	if (state == CONN_BUSY)
		c->bytes_base = httpd_conn_bytes(c);
	pthread_mutex_unlock(&d->lock);
}

/* ---------------------------------------------------------------- requests */

static void refuse(struct httpd_req *req, enum err_kind kind, const char *why)
{
	if (req->refusal.kind == ERR_NONE)
		err_set(&req->refusal, kind, "%s", why);
}

/* The first that is heard of a request: its line. What is returned is the request's
 * context in the calls to come. */
static void *on_uri(void *aux, const char *uri, struct MHD_Connection *mhd)
{
	struct httpd *d = aux;
	struct httpd_req *req = xcalloc(1, sizeof(*req));

	req->d = d;
	req->refs = 1;
	req->mhd = mhd;
	req->conn = conn_of(mhd);
	__atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
	conn_set_state(d, req->conn, CONN_READING);
	/* It would end the decoded text early. */
	if (strstr(uri, "%00"))
		refuse(req, ERR_INVALID, "there is a NUL character (%00) in the URL");
	return req;
}

static enum MHD_Result add_query(
	void *aux, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct httpd_req *req = aux;

	(void)kind;
	if (!str_is_text(name, strlen(name), false) ||
		(value && !str_is_text(value, strlen(value), true)))
		refuse(req, ERR_INVALID, "the URL's query is not UTF-8 text");
	httpd_pairs_add(&req->query, name, value ? value : "");
	return MHD_YES;
}

static enum MHD_Result add_header(
	void *aux, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct httpd_req *req = aux;

	(void)kind;
	httpd_pairs_add(&req->headers, name, value ? value : "");
	return MHD_YES;
}

static char *peer_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	char host[NI_MAXHOST] = "?";

	if (info && info->client_addr)
		getnameinfo(info->client_addr,
			info->client_addr->sa_family == AF_INET6
				? sizeof(struct sockaddr_in6)
				: sizeof(struct sockaddr_in),
			host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	return xstrdup(host);
}

/* Everything is copied: a handler's view does not depend on the connection. */
static void begin(struct httpd_req *req, const char *url, const char *method)
{
	req->has_begun = true;
	req->method = xstrdup(strcmp(method, "HEAD") == 0 ? "GET" : method);
	req->path = xstrdup(url);
	req->peer = peer_of(req->mhd);
	MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, add_query, req);
	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, add_header, req);
	if (url[0] != '/' || !str_is_text(url, strlen(url), false))
		refuse(req, ERR_INVALID, "the URL's path is not UTF-8 text after a /");
}

static void refuse_size(struct httpd_req *req)
{
	if (req->refusal.kind == ERR_NONE)
		err_set(&req->refusal, ERR_TOO_LARGE,
			"the request's body is larger than %zu bytes", req->d->max_body);
}

/* Is more announced than we take? What does not parse is libmicrohttpd's to refuse. */
static bool is_too_large(const struct httpd_req *req, size_t limit)
{
	const char *text = httpd_header(req, "Content-Length");
	struct err ignored;
	int64_t size;

	return text && parse_int64(text, 0, INT64_MAX, &size, &ignored) == 0 &&
	       (uint64_t)size > limit;
}

/* Is there room for so much more of the body? */
static bool count_body(struct httpd_req *req, size_t size)
{
	struct httpd *d = req->d;

	if (req->body.size + size <= BODY_FREE)
		return true;
	req->n_counted += size;
	if (__atomic_add_fetch(&d->n_body_bytes, size, __ATOMIC_RELAXED) <= d->max_bodies)
		return true;
	refuse(req, ERR_UNAVAILABLE,
		"this server is busy with other large requests: try again");
	return false;
}

static enum MHD_Result take_body(struct httpd_req *req, const char *p, size_t size)
{
	struct httpd *d = req->d;

	req->n_seen += size;
	if (req->n_seen > d->max_body)
		refuse_size(req);
	if (req->refusal.kind == ERR_NONE && count_body(req, size))
		buf_add(&req->body, p, size);
	else
		httpd_body_drop(req);
	return req->n_seen / SWALLOW_FACTOR > d->max_body ? MHD_NO : MHD_YES;
}

static enum MHD_Result send_answer(
	struct httpd_req *req, int status, struct MHD_Response *resp)
{
	char label[16];
	enum MHD_Result rc;

	snprintf(label, sizeof(label), "%d", status);
	metric_add(&n_requests, label, 1);
	if (req->d->server)
		MHD_add_response_header(resp, "Server", req->d->server);
	rc = MHD_queue_response(req->mhd, (unsigned)status, resp);
	MHD_destroy_response(resp);
	return rc;
}

static enum MHD_Result send_refusal(struct httpd_req *req)
{
	struct MHD_Response *resp = httpd_problem(&req->refusal);

	conn_set_state(req->d, req->conn, CONN_BUSY);
	if (req->refusal.kind == ERR_TOO_LARGE)
		MHD_add_response_header(resp, "Connection", "close");
	return send_answer(req, err_http_status(req->refusal.kind), resp);
}

/*
 * Suspends, then queues: a worker's resume must come after. While suspended nothing but
 * httpd_resume() can happen to the connection.
 */
static void dispatch(struct httpd_req *req)
{
	struct httpd *d = req->d;
	bool is_closing;

	conn_set_state(d, req->conn, CONN_BUSY);
	req->is_dispatched = true;
	pthread_mutex_lock(&d->lock);
	d->n_open++;
	__atomic_add_fetch(&d->n_suspended, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&d->lock);

	MHD_suspend_connection(req->mhd);

	pthread_mutex_lock(&d->lock);
	is_closing = d->is_closing;
	DL_APPEND(d->held, req);
	if (!is_closing) {
		httpd_req_ref(req); /* for the one who answers */
		httpd_enqueue(req);
	}
	pthread_mutex_unlock(&d->lock);
	if (is_closing) {
		struct err e;

		err_set(&e, ERR_UNAVAILABLE, "this server is stopping: try again");
		httpd_req_refuse(req, &e);
	}
}

/* The handler has answered without taking the body. Is that read and dropped, so that the
 * client surely sees the answer? Not when it asked first, and not when there is too much. */
static bool is_worth_dropping(const struct httpd_req *req)
{
	return httpd_header(req, "Content-Length") && !httpd_header(req, "Expect") &&
	       !is_too_large(req, req->d->max_body * SWALLOW_FACTOR);
}

static enum MHD_Result drop_piece(struct httpd_req *req, size_t *size)
{
	req->n_seen += *size;
	*size = 0;
	return req->n_seen / SWALLOW_FACTOR > req->d->max_body ? MHD_NO : MHD_YES;
}

/* A request whose body comes in pieces: the handler first. libmicrohttpd makes its first
 * call once more after that. */
static enum MHD_Result on_streamed(struct httpd_req *req, const char *p, size_t *size)
{
	if (!req->is_dispatched) {
		dispatch(req);
		return MHD_YES;
	}
	if (!req->has_passed) {
		req->has_passed = true;
		if (req->resp && !is_worth_dropping(req))
			return send_answer(req, req->status, MOVE(req->resp));
		conn_set_state(req->d, req->conn, req->in ? CONN_BODY : CONN_READING);
		return MHD_YES;
	}
	if (*size > 0) {
		bool is_read;

		if (!req->in)
			return drop_piece(req, size);
		if (httpd_body_piece(req, p, size) != MHD_YES)
			return MHD_NO;
		is_read = *size == 0;
		conn_set_state(req->d, req->conn, is_read ? CONN_BODY : CONN_BUSY);
		return MHD_YES;
	}
	conn_set_state(req->d, req->conn, CONN_BUSY);
	if (req->resp)
		return send_answer(req, req->status, MOVE(req->resp));
	return httpd_body_complete(req) ? MHD_YES : send_refusal(req);
}

/* libmicrohttpd calls this with the headers, with each piece of the body, when the request
 * is complete (*size is 0), and once more after a resume. */
static enum MHD_Result on_access(void *aux, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *p, size_t *size,
	void **context)
{
	struct httpd_req *req = *context;

	(void)aux, (void)mhd, (void)version;
	if (!req->has_begun) {
		begin(req, url, method);
		req->is_streamed =
			req->refusal.kind == ERR_NONE && req->d->is_streamed &&
			req->d->is_streamed(req->d->aux, req->method, req->path);
		if (req->is_streamed)
			return on_streamed(req, p, size);
		if (is_too_large(req, req->d->max_body))
			refuse_size(req);
		/* With an answer now the body is not read, but also not every client
		 * sees the answer: only for what would be too much to swallow, and for
		 * those who ask first. */
		if (req->refusal.kind == ERR_TOO_LARGE &&
			(is_too_large(req, req->d->max_body * SWALLOW_FACTOR) ||
				httpd_header(req, "Expect")))
			return send_refusal(req);
		return MHD_YES;
	}
	if (req->is_streamed)
		return on_streamed(req, p, size);
	if (*size > 0) {
		enum MHD_Result rc = take_body(req, p, *size);

		*size = 0;
		return rc;
	}
	if (req->resp)
		return send_answer(req, req->status, MOVE(req->resp));
	if (req->refusal.kind != ERR_NONE)
		return send_refusal(req);
	if (!req->is_dispatched)
		dispatch(req);
	return MHD_YES;
}

static void on_completed(void *aux, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why)
{
	struct httpd *d = aux;
	struct httpd_req *req = *context;

	(void)mhd, (void)why;
	if (!req)
		return;
	*context = NULL;
	conn_set_state(d, req->conn, CONN_IDLE);
	if (req->in)
		httpd_body_gone(req);
	if (req->is_dispatched) {
		pthread_mutex_lock(&d->lock);
		d->n_open--;
		httpd_count_changed(d);
		pthread_mutex_unlock(&d->lock);
	}
	httpd_req_unref(req);
}

/* ------------------------------------------------------------------- start */

__attribute__((format(printf, 2, 0))) static void on_log(
	void *aux, const char *fmt, va_list ap)
{
	struct httpd *d = aux;
	char line[256];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '.'))
		line[--len] = '\0';
	log_debug("libmicrohttpd: %s", line);
	pthread_mutex_lock(&d->lock);
	snprintf(d->mhd_said, sizeof(d->mhd_said), "%s", line);
	pthread_mutex_unlock(&d->lock);
}

int httpd_mhd_start(struct httpd *d, const struct httpd_conf *conf,
	struct httpd_listen *l, const char *cert, const char *key, struct err *e)
{
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key },
		{ MHD_OPTION_END, 0, NULL },
	};
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_ITC | MHD_USE_ERROR_LOG | (cert ? MHD_USE_TLS : 0);

	metric_register(&n_requests);
	metric_register(&n_conns);
	d->mhd_said[0] = '\0';
	l->mhd = MHD_start_daemon(flags, l->port, on_accept, d, on_access, d,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, d, MHD_OPTION_LISTEN_SOCKET, l->fd,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, d,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, d, MHD_OPTION_URI_LOG_CALLBACK,
		on_uri, d, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY,
		MHD_OPTION_CONNECTION_LIMIT, conf->max_conns ? conf->max_conns : 2048,
		MHD_OPTION_CONNECTION_TIMEOUT, conf->idle_sec ? conf->idle_sec : 60,
		cert ? MHD_OPTION_ARRAY : MHD_OPTION_END, tls, MHD_OPTION_END);
	if (!l->mhd)
		return err_set(e, ERR_IO, "cannot serve on %s: %s", l->text,
			d->mhd_said[0] ? d->mhd_said : "libmicrohttpd does not start");
	return 0;
}
