/*
 * HTTP server over libmicrohttpd. One epoll thread takes connections and bytes; a request
 * that is complete (body included) goes to a pool of workers, which run straight-line
 * blocking code and give back an answer. A slow or silent client thus costs a socket, never
 * a worker.
 *
 * A handler may also *park* a request: it returns HTTPD_PARK after handing the request to
 * somebody else, who answers later with httpd_answer(), from any thread. Parked requests
 * (`?wait=`) cost a socket too, until their client hangs up (or closes its side: that is
 * taken for the same): then the socket is closed, and httpd_is_open() says so to whoever has
 * the request. It stays valid until it is answered.
 *
 * Limits: body 1 MiB; all bodies together 64 MiB, where small ones do not count; headers
 * 16 KiB; a request must be complete within 20 s of its first byte; idle connections are
 * closed after 60 s; connections in all and per client network (the /64 of an IPv6 address)
 * are bounded. Everything beyond them is answered (413, 431, 408, 503) or closed. Bodies that
 * are taken in pieces (httpd_take_body()) have their own.
 */
#ifndef UCLOUD_HTTPD_H
#define UCLOUD_HTTPD_H

#include <jansson.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct httpd;
struct httpd_req;
struct httpd_stream;

struct httpd_conf {
	const struct strv
		*listen; /* "[::]:80", "[::1]:0": port 0 is chosen by the kernel.
				   Addresses, not names; "[::]" is IPv6 only */
	uint16_t default_port;
	const char *cert_file; /* TLS when both are set (PEM) */
	const char *key_file;
	unsigned n_workers;	   /* 0: 8 */
	unsigned max_conns;	   /* 0: 2048 */
	unsigned max_conns_per_ip; /* or rather per network; 0: 256 */
	const char *server;	   /* Server: header; NULL none */
	size_t max_body;	   /* 0: 1 MiB */
	size_t max_bodies;	   /* of all requests together; 0: 64 MiB */
	int64_t request_msec;	   /* first byte to complete request; 0: 20 s */
	unsigned idle_sec;	   /* 0: 60 s */
	int64_t keepalive_msec;	   /* comment lines of streams; 0: 15 s */
	/* Whose bodies are taken in pieces (httpd_take_body()); NULL: nobody's. aux is the
	 * handler's. Quick and pure: the thread that takes all bytes calls it. */
	bool (*is_streamed)(void *aux, const char *method, const char *path);
	unsigned n_body_workers; /* 0: 4 */
	unsigned max_streamed;	 /* at the same time; 0: 64 */
	int64_t body_msec;	 /* a body in pieces: see there; 0: 60 s */
};

enum httpd_result { HTTPD_ANSWERED, HTTPD_PARK };

/* Runs on a worker. Must answer exactly once, now or (HTTPD_PARK) later. */
typedef enum httpd_result httpd_handler_fn(void *aux, struct httpd_req *req);

int httpd_open(const struct httpd_conf *conf, httpd_handler_fn *fn, void *aux,
	struct httpd **out, struct err *e) MUST_USE;
/* Stops taking requests; those that are parked or wait for a worker get 503, streams end.
 * Handlers that run may answer for 3 s more, then their clients get 503 too. Returns when
 * the last handler has returned: none uses aux any more. Who holds a parked request or a
 * stream may still answer, send and close it; that goes nowhere. */
void httpd_close(struct httpd *d);
/* The i-th listen address's real port. */
uint16_t httpd_port(const struct httpd *d, size_t i);

/* What was asked; all borrowed until the answer. A path or query value is text (UTF-8, no
 * control characters) or the request was refused. HEAD is a GET whose body is not sent. */
const char *httpd_method(const struct httpd_req *req);
const char *httpd_path(const struct httpd_req *req); /* decoded, begins with / */
const char *httpd_query(const struct httpd_req *req, const char *name);	 /* NULL absent */
const char *httpd_header(const struct httpd_req *req, const char *name); /* NULL absent */
const char *httpd_body(const struct httpd_req *req, size_t *size);	 /* never NULL */
const char *httpd_peer(const struct httpd_req *req); /* client's address, no port */
/* May somebody still be there for the answer? For those who keep parked requests. */
bool httpd_is_open(const struct httpd_req *req);
/* Calls fn for each query parameter; for refusing unknown ones. */
void httpd_each_query(const struct httpd_req *req,
	void (*fn)(void *aux, const char *name, const char *value), void *aux);

/*
 * Bodies in pieces, of any size, for the requests that conf.is_streamed picks. Their handler
 * is called when the headers are in: before the first byte of the body is taken and before
 * `100 Continue` is said to clients that wait for it (RFC 9110 section 10.1.1). It answers
 * as ever, and the body is not taken (a client that did not wait may miss the answer when
 * its body is large: the connection is closed). Or it takes the body and gives back
 * HTTPD_PARK.
 *
 * Of these requests is cut off who sends less than 1 KiB/s, seen over body_msec, instead
 * of who is not complete in time.
 */
struct httpd_sink {
	/* The next bytes. May block: meanwhile up to 256 KiB more are taken from the
	 * client, and then no more. < 0: e is the answer, for a client who gets so far (the
	 * rest of the body is only read when it is small), and broken() follows. */
	int (*piece)(void *aux, const char *p, size_t size, struct err *e);
	/* That was all: answers req before it returns. Work that takes long asks
	 * httpd_is_open() now and then. */
	void (*end)(void *aux, struct httpd_req *req);
	/* There will be no more: the client has gone or was cut off, the server closes. */
	void (*broken)(void *aux);
};
/* For the handler. < 0: ERR_UNAVAILABLE (too many at the same time, closing), and it answers
 * with that. Else req belongs to the sink, whose functions are called by threads of their
 * own, one after the other for a body; the last call is end() or broken(). */
int httpd_take_body(struct httpd_req *req, const struct httpd_sink *sink, void *aux,
	struct err *e) MUST_USE;

/* A header of the answer to come. */
void httpd_add_header(struct httpd_req *req, const char *name, const char *value);

/* Each answers and ends the request; the req is gone afterwards. */
void httpd_answer(struct httpd_req *req, int status, const char *content_type,
	const char *body, size_t size);
void httpd_answer_json(struct httpd_req *req, int status, json_t *json); /* takes json */
/* application/problem+json (RFC 9457): type about:blank, title, status, detail, kind, and
 * field when there is one. */
void httpd_answer_err(struct httpd_req *req, const struct err *e);

/*
 * Server-sent events: answers 200 with a body that goes on. httpd_stream_send() queues a
 * piece and returns false when the client is gone or has let 1 MiB pile up (it is then
 * dropped); the stream must be closed either way. A comment line goes out every 15 s, so
 * that dead clients are noticed.
 */
struct httpd_stream *httpd_answer_stream(struct httpd_req *req, const char *content_type);
bool httpd_stream_send(struct httpd_stream *s, const char *p, size_t size);
/* What httpd_stream_send() would say. */
bool httpd_stream_is_open(struct httpd_stream *s);
void httpd_stream_close(struct httpd_stream *s);

/* The first of these addresses ("[::]:8080") that other machines reach, NULL when there is
 * none: without TLS, what is served there can be read on the way. */
const char *httpd_exposed(const struct strv *listen);

#endif
