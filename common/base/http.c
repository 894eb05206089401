#include "common/base/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/base/daemon.h"
#include "common/base/parse.h"

#define MAX_BODY	(16 * 1024 * 1024)
#define CONNECT_MSEC	5000
#define LIMIT_MSEC	30000
#define STREAM_IDLE_SEC 60 /* servers send something every 15 s */

#define UPLOAD_ASK_MSEC	   20000 /* to wait for 100 Continue */
#define UPLOAD_IDLE_MSEC   90000
#define UPLOAD_ANSWER_MSEC 3600000

struct http {
	CURL *curl;
	char *ca_file, *cert_file, *key_file;
	int64_t connect_msec, limit_msec;
	size_t max_body;
	char error[CURL_ERROR_SIZE];
};

/* One call under way. */
struct call {
	struct http *h;
	struct http_resp *resp; /* of http_call() */
	http_piece_fn *fn;	/* of http_stream() */
	void *aux;
	const struct http_upload *up; /* of http_upload() */
	int64_t n_read;		      /* of it, handed to libcurl */
	int64_t moved, moved_msec;    /* the last progress, and when it was */
	struct curl_slist *headers;
	bool is_too_large, is_ended, is_idle;
};

static void init_curl(void)
{
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) {
		fputs("libcurl cannot start\n", stderr);
		abort();
	}
}

struct http *http_new(const struct http_conf *conf)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *h = xcalloc(1, sizeof(*h));

	pthread_once(&once, init_curl);
	h->curl = curl_easy_init();
	if (!h->curl)
		abort(); /* only out of memory */
	h->ca_file = xstrdup(conf->ca_file);
	h->cert_file = xstrdup(conf->cert_file);
	h->key_file = xstrdup(conf->key_file);
	h->connect_msec = conf->connect_msec ? conf->connect_msec : CONNECT_MSEC;
	h->limit_msec = conf->limit_msec ? conf->limit_msec : LIMIT_MSEC;
	h->max_body = conf->max_body ? conf->max_body : MAX_BODY;
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->curl);
	free(h->ca_file);
	free(h->cert_file);
	free(h->key_file);
	free(h);
}

void http_resp_done(struct http_resp *resp)
{
	buf_done(&resp->body);
	free(resp->location);
	free(resp->retry_after);
	free(resp->content_type);
	*resp = (struct http_resp){ 0 };
}

/* ------------------------------------------------------------ the answer */

static size_t on_body(char *p, size_t size, size_t n, void *aux)
{
	struct call *c = aux;
	long status = 0;

	size *= n;
	if (c->fn) {
		curl_easy_getinfo(c->h->curl, CURLINFO_RESPONSE_CODE, &status);
		c->is_ended = status / 100 == 2 && c->fn(c->aux, p, size) != 0;
		return c->is_ended ? CURL_WRITEFUNC_ERROR : size;
	}
	if (c->resp->body.size + size > c->h->max_body) {
		c->is_too_large = true;
		return CURL_WRITEFUNC_ERROR;
	}
	buf_add(&c->resp->body, p, size);
	return size;
}

/* When this is the header name: its value without blanks around it, to *to. */
static void take_header(const char *line, size_t len, const char *name, char **to)
{
	size_t name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' ||
		strncasecmp(line, name, name_len) != 0)
		return;
	line += name_len + 1;
	len -= name_len + 1;
	while (len > 0 && strchr(" \t\r\n", line[len - 1]))
		len--;
	while (len > 0 && strchr(" \t", *line)) {
		line++;
		len--;
	}
	str_set(to, xstrndup(line, len));
}

static size_t on_header(char *p, size_t size, size_t n, void *aux)
{
	struct call *c = aux;

	size *= n;
	if (!c->resp)
		return size;
	take_header(p, size, "Location", &c->resp->location);
	take_header(p, size, "Retry-After", &c->resp->retry_after);
	take_header(p, size, "Content-Type", &c->resp->content_type);
	return size;
}

/* --------------------------------------------------------------- uploads */

static size_t on_want(char *p, size_t size, size_t n, void *aux)
{
	struct call *c = aux;
	int64_t left = c->up->size - c->n_read;
	ssize_t got;

	size *= n;
	if ((int64_t)size > left)
		size = (size_t)left;
	got = pread(c->up->fd, p, size, c->up->from + c->n_read);
	if (got < 0 || (got == 0 && size > 0)) /* it has become shorter */
		return CURL_READFUNC_ABORT;
	c->n_read += got;
	return (size_t)got;
}

/* libcurl begins again when a kept connection turns out to be dead. */
static int on_seek(void *aux, curl_off_t offset, int origin)
{
	struct call *c = aux;

	if (origin != SEEK_SET || offset < 0 || offset > c->up->size)
		return CURL_SEEKFUNC_FAIL;
	c->n_read = offset;
	return CURL_SEEKFUNC_OK;
}

static int64_t mono_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Called at least once in a second. */
static int on_progress(void *aux, curl_off_t dl_total, curl_off_t dl_now,
	curl_off_t ul_total, curl_off_t ul_now)
{
	struct call *c = aux;
	int64_t now = mono_msec();
	int64_t limit = ul_now < c->up->size ? UPLOAD_IDLE_MSEC : UPLOAD_ANSWER_MSEC;

	(void)dl_total, (void)ul_total;
	if (!c->moved_msec || ul_now + dl_now != c->moved) {
		c->moved = ul_now + dl_now;
		c->moved_msec = now;
	}
	c->is_idle = now - c->moved_msec > limit;
	return c->is_idle || (c->up->progress && c->up->progress(c->up->aux, ul_now));
}

static void set_upload(struct call *c)
{
	CURL *curl = c->h->curl;

	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->up->size);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_want);
	curl_easy_setopt(curl, CURLOPT_READDATA, c);
	curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(curl, CURLOPT_SEEKDATA, c);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, c);
	curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)UPLOAD_ASK_MSEC);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L * 1024);
}

/* ----------------------------------------------------------- the question */

static int add_header(struct call *c, const char *name, const char *value, struct err *e)
{
	CLEANUP_STR char *line = value ? xasprintf("%s: %s", name, value) : xstrdup(name);
	struct curl_slist *list;

	/* Never show the line: it may be the authorization. */
	if (strpbrk(line, "\r\n"))
		return err_set(e, ERR_INVALID,
			"a header of the request has a line break in its value");
	list = curl_slist_append(c->headers, line);
	if (!list)
		abort(); /* only out of memory */
	c->headers = list;
	return 0;
}

static int add_headers(struct call *c, const struct http_req *req, struct err *e)
{
	const char *type = req->content_type;

	if (!type && req->body)
		type = "application/json";
	if (add_header(c, c->up && c->up->size > 0 ? "Expect: 100-continue" : "Expect:",
		    NULL, e) < 0 ||
		(type && add_header(c, "Content-Type", type, e) < 0) ||
		(req->authorization &&
			add_header(c, "Authorization", req->authorization, e) < 0))
		return -1;
	for (size_t i = 0; req->headers && req->headers[i]; i++)
		if (add_header(c, req->headers[i], NULL, e) < 0)
			return -1;
	return 0;
}

static void set_security(struct http *h)
{
	CURL *curl = h->curl;

	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	if (!str_is_empty(h->ca_file)) {
		curl_easy_setopt(curl, CURLOPT_CAINFO, h->ca_file);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	if (!str_is_empty(h->cert_file))
		curl_easy_setopt(curl, CURLOPT_SSLCERT, h->cert_file);
	if (!str_is_empty(h->key_file))
		curl_easy_setopt(curl, CURLOPT_SSLKEY, h->key_file);
}

static void set_limits(struct call *c, const struct http_req *req)
{
	CURL *curl = c->h->curl;
	int64_t limit = req->limit_msec;

	if (!limit && !c->fn && !c->up)
		limit = c->h->limit_msec;
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)c->h->connect_msec);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)limit);
	if (c->fn) {
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STREAM_IDLE_SEC);
	}
}

static void set_request(struct call *c, const struct http_req *req)
{
	CURL *curl = c->h->curl;
	char agent[64];

	snprintf(agent, sizeof(agent), "ucloud/%s", ucloud_version());
	curl_easy_setopt(curl, CURLOPT_USERAGENT, agent);
	curl_easy_setopt(curl, CURLOPT_URL, req->url);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, c->h->error);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, c);
	if (c->up) {
		set_upload(c);
	} else if (req->body) {
		curl_easy_setopt(
			curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body_size);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, req->body);
	}
	if (strcmp(req->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, req->method);
}

/* Scheme, host and port of the URL: what errors name. The caller's. */
static char *url_origin(const char *url)
{
	CURLU *u = curl_url();
	char *text = NULL, *origin;

	if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
		curl_url_set(u, CURLUPART_PATH, "", 0);
		curl_url_set(u, CURLUPART_QUERY, NULL, 0);
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
		curl_url_set(u, CURLUPART_USER, NULL, 0);
		curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
		curl_url_get(u, CURLUPART_URL, &text, 0);
	}
	origin = xstrdup(text ? text : "the URL");
	if (str_has_suffix(origin, "/"))
		origin[strlen(origin) - 1] = '\0';
	curl_free(text);
	curl_url_cleanup(u);
	return origin;
}

static enum err_kind kind_of(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return ERR_TIMEOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_LOGIN_DENIED: /* a user name in the URL */
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return ERR_INVALID;
	default:
		return ERR_UNAVAILABLE;
	}
}

void http_drop_times(char *text)
{
	char *at = strstr(text, " after ");
	size_t n_digits = at ? strspn(at + 7, "0123456789") : 0;
	char *unit = at ? at + 7 + n_digits : NULL;

	if (n_digits == 0)
		return;
	if (str_has_prefix(unit, " milliseconds"))
		unit += strlen(" milliseconds");
	else if (str_has_prefix(unit, " ms"))
		unit += strlen(" ms");
	else
		return;
	memmove(at, unit, strlen(unit) + 1);
}

static int fail(const struct call *c, const char *url, CURLcode code, struct err *e)
{
	CLEANUP_STR char *origin = url_origin(url);

	if (c->is_too_large)
		return err_set(e, ERR_TOO_LARGE,
			"%s: the answer is larger than %zu bytes", origin,
			c->h->max_body);
	if (c->is_idle)
		return err_set(e, ERR_TIMEOUT, "%s: nothing moves any more", origin);
	http_drop_times(c->h->error);
	return err_set(e, kind_of(code), "%s: %s", origin,
		c->h->error[0] ? c->h->error : curl_easy_strerror(code));
}

static int perform(struct call *c, const struct http_req *req, int *status, struct err *e)
{
	long answer = 0;
	CURLcode code;

	curl_easy_reset(c->h->curl);
	c->h->error[0] = '\0';
	if (add_headers(c, req, e) < 0) {
		curl_slist_free_all(c->headers);
		return -1;
	}
	set_security(c->h);
	set_limits(c, req);
	set_request(c, req);
	code = curl_easy_perform(c->h->curl);
	curl_slist_free_all(c->headers);
	if (code != CURLE_OK && !c->is_ended)
		return fail(c, req->url, code, e);
	curl_easy_getinfo(c->h->curl, CURLINFO_RESPONSE_CODE, &answer);
	*status = (int)answer;
	return 0;
}

int http_call(
	struct http *h, const struct http_req *req, struct http_resp *resp, struct err *e)
{
	struct http_resp fresh = { 0 };
	struct call c = { .h = h, .resp = &fresh };

	if (perform(&c, req, &fresh.status, e) < 0) {
		http_resp_done(&fresh);
		return -1;
	}
	http_resp_done(resp);
	*resp = fresh;
	return 0;
}

int http_upload(struct http *h, const struct http_req *req, const struct http_upload *up,
	struct http_resp *resp, struct err *e)
{
	struct http_resp fresh = { 0 };
	struct call c = { .h = h, .resp = &fresh, .up = up };

	if (perform(&c, req, &fresh.status, e) < 0) {
		http_resp_done(&fresh);
		return -1;
	}
	http_resp_done(resp);
	*resp = fresh;
	return 0;
}

int http_stream(struct http *h, const struct http_req *req, http_piece_fn *fn, void *aux,
	int *status, struct err *e)
{
	struct call c = { .h = h, .fn = fn, .aux = aux };

	return perform(&c, req, status, e);
}

/* -------------------------------------------------------------------- URLs */

/* What stands for the URL once it has a scheme; the caller's. */
static char *with_scheme(const char *url, const char *scheme)
{
	struct in6_addr ignored;

	if (strstr(url, "://"))
		return xstrdup(url);
	if (inet_pton(AF_INET6, url, &ignored) == 1)
		return xasprintf("%s://[%s]", scheme, url);
	return xasprintf("%s://%s", scheme, url);
}

char *url_complete(const char *url, const char *scheme, uint16_t port)
{
	CLEANUP_STR char *full = with_scheme(url, scheme);
	CURLU *u = curl_url();
	char *text = NULL, *port_text = NULL, *out;
	char def[8];

	snprintf(def, sizeof(def), "%u", port);
	if (curl_url_set(u, CURLUPART_URL, full, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
		if (curl_url_get(u, CURLUPART_PORT, &port_text, 0) != CURLUE_OK)
			curl_url_set(u, CURLUPART_PORT, def, 0);
		curl_url_get(u, CURLUPART_URL, &text, 0);
	}
	out = xstrdup(text ? text : full);
	while (str_has_suffix(out, "/"))
		out[strlen(out) - 1] = '\0';
	curl_free(port_text);
	curl_free(text);
	curl_url_cleanup(u);
	return out;
}

bool url_is_exposed(const char *url)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL;
	bool is_exposed = false;

	if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		size_t len = strlen(host);

		if (host[0] == '[' && host[len - 1] == ']') {
			host[len - 1] = '\0';
			is_exposed = !host_is_loopback(host + 1);
		} else {
			is_exposed = !host_is_loopback(host);
		}
		is_exposed = is_exposed && strcmp(scheme, "http") == 0;
	}
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(u);
	return is_exposed;
}

char *url_escape(const char *s)
{
	char *text = curl_easy_escape(NULL, s, 0);
	char *out;

	if (!text)
		abort(); /* only out of memory */
	out = xstrdup(text);
	curl_free(text);
	return out;
}

char *url_escape_path(const char *s)
{
	struct buf out = { 0 };

	for (;;) {
		size_t len = strcspn(s, "/");
		CLEANUP_STR char *part = xstrndup(s, len);
		CLEANUP_STR char *escaped = url_escape(part);

		buf_add_str(&out, escaped);
		s += len;
		if (*s == '\0')
			return buf_take(&out);
		buf_add_char(&out, *s++);
	}
}
