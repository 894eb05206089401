/*
 * HTTP client over libcurl, for JSON services (OTP, the ucloud API). One struct http per
 * thread; the connection is kept alive between calls. (etcd has its own client: kv.h.)
 */
#ifndef UCLOUD_HTTP_H
#define UCLOUD_HTTP_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct http;

struct http_conf {
	const char *ca_file;   /* NULL: the system's */
	const char *cert_file; /* client certificate, NULL none */
	const char *key_file;
	int64_t connect_msec; /* 0: 5 s */
	int64_t limit_msec;   /* of a whole call; 0: 30 s */
	size_t max_body;      /* of an answer; 0: 16 MiB */
};

struct http_req {
	const char *method; /* "GET" */
	const char *url;
	const char *authorization; /* value of the header, NULL none; never logged */
	const char *content_type;  /* NULL: application/json when there is a body */
	const char *body;	   /* NULL none */
	size_t body_size;
	const char *const *headers; /* NULL-terminated "Name: value", may be NULL */
	int64_t limit_msec;	    /* 0: the conf's */
};

struct http_resp {
	int status;
	struct buf body;
	char *location; /* header values, NULL when absent */
	char *retry_after;
	char *content_type;
};

/* The body of http_upload(): bytes of an open file. */
struct http_upload {
	int fd;
	int64_t from, size;
	/* So many of size have been handed over; may be NULL. Non-zero ends the call with
	 * ERR_UNAVAILABLE. */
	int (*progress)(void *aux, int64_t n_sent);
	void *aux;
};

/* Called with each piece of a long answer (server-sent events) whose status is 2xx; non-zero
 * ends the call, which then returns 0. A server silent for 60 s is ERR_TIMEOUT. */
typedef int http_piece_fn(void *aux, const char *p, size_t size);

struct http *http_new(const struct http_conf *conf);
void http_free(struct http *h);
/* 0 whatever the status; < 0 ERR_UNAVAILABLE (no connection, TLS), ERR_TIMEOUT,
 * ERR_TOO_LARGE (the answer) or ERR_INVALID (URL, headers, certificate files). Errors name
 * the URL's scheme, host and port. No redirects, no proxy from the environment. */
int http_call(struct http *h, const struct http_req *req, struct http_resp *resp,
	struct err *e) MUST_USE;
int http_stream(struct http *h, const struct http_req *req, http_piece_fn *fn, void *aux,
	int *status, struct err *e) MUST_USE;
/* As http_call(), with a body from a file, whatever its size. The server is asked first (100
 * Continue): it may refuse or send elsewhere before anything is sent. There is no limit on
 * the whole; nothing moving for 90 s is ERR_TIMEOUT, and once all is sent the answer may take
 * an hour: the server may read it all again. */
int http_upload(struct http *h, const struct http_req *req, const struct http_upload *up,
	struct http_resp *resp, struct err *e) MUST_USE;
void http_resp_done(struct http_resp *resp);

/* "[2001:db8::1]", "host:2379", "https://host/": completes scheme (http) and port. */
char *url_complete(const char *url, const char *scheme, uint16_t port);
/* Does it lead to another machine without TLS? What goes there can be read on the way. */
bool url_is_exposed(const char *url);
char *url_escape(const char *s);
/* The same, but for the "/" in it. */
char *url_escape_path(const char *s);
/* Takes " after 12 ms" out of libcurl's sentence, so that the same trouble has the same
 * words each time. */
void http_drop_times(char *text);

#endif
