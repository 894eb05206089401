#include "common/base/httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "common/base/log.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

/* ------------------------------------------------------------ the handler */

/* What the handler and the tests share. */
struct site {
	struct httpd *d;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct httpd_req *parked[64];
	size_t n_parked;
	struct httpd_stream *stream;
	unsigned n_running;
	bool is_open_gate; /* "/gate" waits for it */
};

static void site_changed(struct site *s)
{
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void add_pair(void *aux, const char *name, const char *value)
{
	json_object_set_new(aux, name, json_string(value));
}

static void answer_show(struct httpd_req *req)
{
	size_t size;
	const char *body = httpd_body(req, &size);
	json_t *query = json_object();
	const char *x = httpd_header(req, "x-test");

	httpd_each_query(req, add_pair, query);
	httpd_add_header(req, "X-Answer", "yes");
	httpd_answer_json(req, 200,
		json_pack("{s:s, s:s, s:s, s:o, s:s?, s:s?, s:s#}", "method",
			httpd_method(req), "path", httpd_path(req), "peer",
			httpd_peer(req), "query", query, "q", httpd_query(req, "q"),
			"header", x, "body", body, (int)size));
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	struct site *s = aux;
	const char *path = httpd_path(req);
	struct err e;

	if (strcmp(path, "/park") == 0) {
		pthread_mutex_lock(&s->lock);
		s->parked[s->n_parked++] = req;
		site_changed(s);
		return HTTPD_PARK;
	}
	if (strcmp(path, "/stream") == 0) {
		struct httpd_stream *stream =
			httpd_answer_stream(req, "text/event-stream");

		pthread_mutex_lock(&s->lock);
		s->stream = stream;
		site_changed(s);
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/gate") == 0) {
		pthread_mutex_lock(&s->lock);
		s->n_running++;
		pthread_cond_broadcast(&s->changed);
		while (!s->is_open_gate)
			pthread_cond_wait(&s->changed, &s->lock);
		s->n_running--;
		site_changed(s);
		httpd_answer(req, 200, "text/plain", "through", 7);
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/size") == 0) {
		size_t size;
		char text[32];

		httpd_body(req, &size);
		snprintf(text, sizeof(text), "%zu", size);
		httpd_answer(req, 200, "text/plain", text, strlen(text));
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/err") == 0) {
		err_set_field(&e, ERR_CONFLICT, "name", "the VM \"x\" runs");
		httpd_answer_err(req, &e);
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/forget") == 0)
		return HTTPD_ANSWERED;
	answer_show(req);
	return HTTPD_ANSWERED;
}

static void site_open(struct site *s, struct httpd_conf conf)
{
	CLEANUP(strv_done) struct strv listen = { 0 };
	struct err e;

	*s = (struct site){ 0 };
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	strv_add(&listen, "[::1]:0");
	conf.listen = &listen;
	if (httpd_open(&conf, handle, s, &s->d, &e) < 0)
		fail_msg("%s", e.msg);
}

static void site_close(struct site *s)
{
	httpd_close(s->d);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
}

static struct httpd_req *site_take_parked(struct site *s)
{
	struct httpd_req *req;

	pthread_mutex_lock(&s->lock);
	while (s->n_parked == 0)
		pthread_cond_wait(&s->changed, &s->lock);
	req = s->parked[--s->n_parked];
	pthread_mutex_unlock(&s->lock);
	return req;
}

static struct httpd_stream *site_take_stream(struct site *s)
{
	struct httpd_stream *stream;

	pthread_mutex_lock(&s->lock);
	while (!s->stream)
		pthread_cond_wait(&s->changed, &s->lock);
	stream = MOVE(s->stream);
	pthread_mutex_unlock(&s->lock);
	return stream;
}

static void site_wait_running(struct site *s, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	while (s->n_running != n)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void site_open_gate(struct site *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_open_gate = true;
	site_changed(s);
}

/* -------------------------------------------------------------- a client */

static int dial(const struct site *s)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons(httpd_port(s->d, 0)) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

static void put(int fd, const char *text)
{
	size_t size = strlen(text);

	while (size > 0) {
		ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the server has hung up; what it said is read later */
		text += n;
		size -= (size_t)n;
	}
}

/* Reads until the text contains want, or the connection ends (want NULL). Fails when that
 * takes too long. */
static bool get_until(int fd, struct buf *b, const char *want)
{
	int64_t limit = test_now_msec() + LIMIT_MSEC;
	char chunk[4096];

	while (!want || !strstr(buf_str(b), want)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = limit - test_now_msec();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			fail_msg("waited too long for '%s' in '%s'", want ? want : "EOF",
				buf_str(b));
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n <= 0)
			return !want;
		buf_add(b, chunk, (size_t)n);
	}
	return true;
}

/* One request on a connection of its own; the whole answer, the caller's. */
static char *ask(const struct site *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static char *ask(const struct site *s, const char *fmt, ...)
{
	char *text = NULL;
	struct buf b = { 0 };
	int fd = dial(s);
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	put(fd, text);
	get_until(fd, &b, NULL);
	close(fd);
	free(text);
	return buf_take(&b);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static void assert_starts(const char *text, const char *start)
{
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("'%s' does not start with '%s'", text, start);
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in '%s'", part, text);
}

/* ------------------------------------------------------------ the questions */

static void request_and_answer(void **state)
{
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ .server = "ucloud-test" });
	CLEANUP_STR char *a = ask(&s, "DELETE /a%%20b/%%C3%%A4?q=1+2%%26&empty=&flag "
				      "HTTP/1.1\r\nX-Test: hello\r\n" CLOSE "\r\n");
	assert_starts(a, "HTTP/1.1 200 OK\r\n");
	assert_contains(a, "\r\nX-Answer: yes\r\n");
	assert_contains(a, "\r\nServer: ucloud-test\r\n");
	assert_contains(a, "\r\nContent-Type: application/json\r\n");
	assert_contains(a, "\"method\":\"DELETE\"");
	assert_contains(a, "\"path\":\"/a b/\xC3\xA4\"");
	assert_contains(a, "\"q\":\"1 2&\"");
	assert_contains(a, "\"query\":{\"q\":\"1 2&\",\"empty\":\"\",\"flag\":\"\"}");
	assert_contains(a, "\"header\":\"hello\"");
	assert_contains(a, "\"peer\":\"::1\"");
	assert_contains(a, "\"body\":\"\"");
	CLEANUP_STR char *b =
		ask(&s, "PATCH /x HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE "\r\nhello");
	assert_contains(b, "\"body\":\"hello\"");
	CLEANUP_STR char *c =
		ask(&s, "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE
			"\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
	assert_contains(c, "\"body\":\"hello\"");
	CLEANUP_STR char *h = ask(&s, "HEAD /x HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(h, "HTTP/1.1 200 OK\r\n");
	assert_contains(h, "Content-Length: ");
	assert_true(str_has_suffix(h, "\r\n\r\n"));
	site_close(&s);
}

static void connections_are_kept(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	for (int i = 0; i < 3; i++) {
		buf_clear(&b);
		put(fd, "POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
		assert_true(get_until(fd, &b, "\r\n\r\n2"));
	}
	/* Two at once: answered in order. */
	buf_clear(&b);
	put(fd, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(get_until(fd, &b, "/second"));
	assert_true(strstr(b.s, "/first") < strstr(b.s, "/second"));
	close(fd);
	site_close(&s);
}

static void errors_are_problem_documents(void **state)
{
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	CLEANUP_STR char *a = ask(&s, "GET /err HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(a, "HTTP/1.1 409 Conflict\r\n");
	assert_contains(a, "Content-Type: application/problem+json\r\n");
	assert_contains(a,
		"{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
		"\"detail\":\"the VM \\\"x\\\" runs\",\"kind\":\"conflict\","
		"\"field\":\"name\"}");
	site_close(&s);
}

static void ignore_line(void *aux, enum log_level level, const char *line)
{
	(void)level, (void)line;
	__atomic_add_fetch((int *)aux, 1, __ATOMIC_RELAXED);
}

static void forgotten_answer_is_500(void **state)
{
	struct site s;
	int n_lines = 0;
	(void)state;

	log_set_sink(ignore_line, &n_lines);
	site_open(&s, (struct httpd_conf){ 0 });
	CLEANUP_STR char *a = ask(&s, "GET /forget HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(a, "HTTP/1.1 500 ");
	site_close(&s);
	log_set_sink(NULL, NULL);
	assert_true(n_lines > 0);
}

static void bad_urls_reach_no_handler(void **state)
{
	static const char *const bad[] = { "/a%00b", "/a?x=%00", "/%FF", "/a%0Ab",
		"/?%80=1", "/?a=%C3", "*" };
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP_STR char *a = ask(&s, "GET %s HTTP/1.1\r\n" CLOSE "\r\n", bad[i]);

		assert_starts(a, "HTTP/1.1 400 ");
		assert_contains(a, "\"kind\":\"invalid\"");
	}
	site_close(&s);
}

/* --------------------------------------------------------------- the limits */

static char *many(char c, size_t n)
{
	char *s = xmalloc(n + 1);

	memset(s, c, n);
	s[n] = '\0';
	return s;
}

static void bodies_have_a_limit(void **state)
{
	static const char *const methods[] = { "POST", "PUT", "PATCH", "DELETE" };
	CLEANUP_STR char *just = many('x', 1000);
	CLEANUP_STR char *over = many('x', 1001);
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_body = 1000 });
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		CLEANUP_STR char *fits = ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1000\r\n" CLOSE "\r\n%s",
			methods[i], just);
		assert_true(str_has_suffix(fits, "\r\n\r\n1000"));
		CLEANUP_STR char *more = ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1001\r\n" CLOSE "\r\n%s",
			methods[i], over);
		assert_starts(more, "HTTP/1.1 413 ");
		assert_contains(more, "larger than 1000 bytes");
		CLEANUP_STR char *chunked = ask(&s,
			"%s /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE
			"\r\n3e9\r\n%s\r\n0\r\n\r\n",
			methods[i], over);
		assert_starts(chunked, "HTTP/1.1 413 ");
		/* Nothing of it is sent: the answer must come all the same. */
		CLEANUP_STR char *huge = ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 100000000\r\n" CLOSE "\r\n",
			methods[i]);
		assert_starts(huge, "HTTP/1.1 413 ");
		CLEANUP_STR char *asks = ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1001\r\n"
			"Expect: 100-continue\r\n" CLOSE "\r\n",
			methods[i]);
		assert_starts(asks, "HTTP/1.1 413 ");
	}
	/* Endless: cut off without an answer. */
	struct buf b = { 0 };
	int fd = dial(&s);
	put(fd, "POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "\r\n");
	for (int i = 0; i < 100; i++) {
		put(fd, "3e9\r\n");
		put(fd, over);
		put(fd, "\r\n");
	}
	get_until(fd, &b, NULL);
	assert_false(strstr(buf_str(&b), "HTTP/1.1 200"));
	buf_done(&b);
	close(fd);
	site_close(&s);
}

static void headers_have_a_limit(void **state)
{
	CLEANUP_STR char *big = many('h', 40000);
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	CLEANUP_STR char *a =
		ask(&s, "GET / HTTP/1.1\r\n" CLOSE "X-Big: %s\r\n\r\n", big);
	assert_true(!*a || str_has_prefix(a, "HTTP/1.1 4"));
	CLEANUP_STR char *b = ask(&s, "GET /%s HTTP/1.1\r\n" CLOSE "\r\n", big);
	assert_true(!*b || str_has_prefix(b, "HTTP/1.1 4"));
	CLEANUP_STR char *c = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(c, "HTTP/1.1 200 ");
	site_close(&s);
}

/* However slowly: what is not complete in time is cut off, what was not begun is not. */
static void slow_requests_are_cut_off(void **state)
{
	static const char *const pieces[] = { "G", "GET / HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX-A",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc" };
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int idle, fd[2 * ARRAY_LEN(pieces)];
	(void)state;

	site_open(&s, (struct httpd_conf){ .request_msec = 1000 });
	idle = dial(&s);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		fd[2 * i] = dial(&s);
		put(fd[2 * i], pieces[i]);
		/* The same as a second request. */
		fd[2 * i + 1] = dial(&s);
		put(fd[2 * i + 1], "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
		buf_clear(&b);
		assert_true(get_until(fd[2 * i + 1], &b, "\r\n\r\n0"));
		put(fd[2 * i + 1], pieces[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
		buf_clear(&b);
		get_until(fd[i], &b, NULL);
		close(fd[i]);
	}
	/* This one has been silent all the time, which is another limit's matter. */
	put(idle, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	buf_clear(&b);
	assert_true(get_until(idle, &b, "\r\n\r\n0"));
	close(idle);
	site_close(&s);
}

static void idle_connections_are_closed(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .idle_sec = 1 });
	fd = dial(&s);
	get_until(fd, &b, NULL);
	close(fd);
	site_close(&s);
}

static void connections_per_address_are_bounded(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int a, c;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_conns_per_ip = 2 });
	a = dial(&s);
	put(a, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(get_until(a, &b, "\r\n\r\n0"));
	c = dial(&s);
	put(c, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	buf_clear(&b);
	assert_true(get_until(c, &b, "\r\n\r\n0"));
	CLEANUP_STR char *third = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");
	assert_string_equal(third, "");
	close(a);
	close(c);
	site_close(&s);
}

/* Many large bodies at once are refused, small ones never. */
static void bodies_together_have_a_limit(void **state)
{
	CLEANUP_STR char *large = many('x', 60000);
	CLEANUP(buf_done) struct buf b = { 0 };
	bool is_done = false;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_bodies = 70000 });
	fd = dial(&s);
	put(fd, "POST /gate HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
	put(fd, large);
	site_wait_running(&s, 1);
	CLEANUP_STR char *more = ask(&s,
		"POST /size HTTP/1.1\r\nContent-Length: 60000\r\n" CLOSE "\r\n%s", large);
	assert_starts(more, "HTTP/1.1 503 ");
	CLEANUP_STR char *small =
		ask(&s, "POST /size HTTP/1.1\r\nContent-Length: 2\r\n" CLOSE "\r\nab");
	assert_starts(small, "HTTP/1.1 200 ");
	site_open_gate(&s);
	assert_true(get_until(fd, &b, "through"));
	/* There is room again once its worker has let go of it. */
	for (int64_t limit = test_now_msec() + LIMIT_MSEC; !is_done;) {
		CLEANUP_STR char *again = ask(&s,
			"POST /size HTTP/1.1\r\nContent-Length: 60000\r\n" CLOSE "\r\n%s",
			large);

		is_done = str_has_suffix(again, "\r\n\r\n60000");
		assert_true(is_done || test_now_msec() < limit);
	}
	close(fd);
	site_close(&s);
}

/* ------------------------------------------------------- parking, going away */

static void parked_request_is_answered_later(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	struct httpd_req *req;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_workers = 1, .request_msec = 1000 });
	fd = dial(&s);
	put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	/* It holds up no worker, and is not taken for a slow one. */
	int64_t until = test_now_msec() + 1500;
	while (test_now_msec() < until) {
		CLEANUP_STR char *a = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");

		assert_starts(a, "HTTP/1.1 200 ");
	}
	assert_string_equal(httpd_path(req), "/park");
	httpd_answer(req, 202, NULL, NULL, 0);
	assert_true(get_until(fd, &b, "HTTP/1.1 202 Accepted\r\n"));
	close(fd);
	site_close(&s);
}

/* A parked request does not keep the socket of a client that has hung up: else a few hundred
 * impatient ones would use up what their network may have, until the last wait is over. */
static void parked_request_ends_with_its_client(void **state)
{
	int64_t limit = test_now_msec() + LIMIT_MSEC;
	struct httpd_req *req;
	bool is_done = false;
	struct site s;
	int fd, half;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_conns_per_ip = 2, .keepalive_msec = 40 });
	fd = dial(&s);
	put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	assert_true(httpd_is_open(req));
	close(fd);
	while (httpd_is_open(req))
		if (test_now_msec() > limit)
			fail_msg("it is still open");
	assert_string_equal(httpd_path(req), "/park");
	half = dial(&s);
	put(half, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	struct httpd_req *other = site_take_parked(&s);
	assert_true(httpd_is_open(other));
	/* There is room for one more as soon as the first one's socket is closed. */
	while (!is_done) {
		CLEANUP_STR char *a = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");

		is_done = str_has_prefix(a, "HTTP/1.1 200 ");
		assert_true(is_done || test_now_msec() < limit);
	}
	close(half);
	/* Whoever has them answers all the same. */
	httpd_answer(req, 200, NULL, NULL, 0);
	httpd_answer(other, 200, NULL, NULL, 0);
	site_close(&s);
}

static void clients_may_leave_at_any_time(void **state)
{
	struct site s;
	struct httpd_req *req;
	struct linger now = { .l_onoff = 1 };
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_workers = 1 });
	for (int is_hard = 0; is_hard < 2; is_hard++) {
		fd = dial(&s);
		put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
		req = site_take_parked(&s);
		if (is_hard)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		CLEANUP_STR char *a = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");
		assert_string_equal(httpd_method(req), "GET");
		httpd_answer_json(req, 200, json_object());
	}
	/* While it is queued behind another one, and while it runs. */
	fd = dial(&s);
	put(fd, "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	int queued = dial(&s);
	put(queued, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(queued);
	close(fd);
	site_open_gate(&s);
	/* In the middle of a request line, of headers, of a body. */
	const char *cut[] = { "GE", "GET /a HTTP/1.1\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\n",
		"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc" };
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		fd = dial(&s);
		put(fd, cut[i]);
		close(fd);
	}
	CLEANUP_STR char *last = ask(&s, "GET / HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(last, "HTTP/1.1 200 ");
	site_close(&s);
}

/* ------------------------------------------------------------------ streams */

static void stream_goes_on(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	struct httpd_stream *stream;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .keepalive_msec = 500, .request_msec = 900 });
	fd = dial(&s);
	put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	assert_true(get_until(fd, &b, "Content-Type: text/event-stream\r\n"));
	assert_contains(b.s, "Cache-Control: no-store\r\n");
	assert_true(httpd_stream_send(stream, "data: one\n\n", 11));
	assert_true(get_until(fd, &b, "data: one\n\n"));
	assert_true(get_until(fd, &b, ": keep-alive\n\n"));
	buf_clear(&b);
	assert_true(get_until(fd, &b, ": keep-alive\n\n"));
	assert_true(httpd_stream_send(stream, "data: two\n\n", 11));
	assert_true(httpd_stream_send(stream, "data: three\n\n", 13));
	httpd_stream_close(stream);
	assert_true(get_until(fd, &b, "data: three\n\n"));
	assert_true(get_until(fd, &b, "\r\n0\r\n\r\n")); /* a proper end */
	buf_clear(&b);
	put(fd, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(get_until(fd, &b, "\r\n\r\n0"));
	close(fd);
	site_close(&s);
}

static bool is_refused(void *aux)
{
	return !httpd_stream_send(aux, "x", 1);
}

static void stream_notices_that_its_client_left(void **state)
{
	struct site s;
	struct httpd_stream *stream;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .keepalive_msec = 20 });
	fd = dial(&s);
	put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	close(fd);
	assert_true(wait_until(is_refused, stream, LIMIT_MSEC));
	httpd_stream_close(stream);
	/* HEAD has no body to go on with. */
	CLEANUP_STR char *a = ask(&s, "HEAD /stream HTTP/1.1\r\n" CLOSE "\r\n");
	assert_starts(a, "HTTP/1.1 200 ");
	stream = site_take_stream(&s);
	assert_true(wait_until(is_refused, stream, LIMIT_MSEC));
	httpd_stream_close(stream);
	site_close(&s);
}

/* Its connection was freed before the answer began: nobody looks at it again. */
static void stream_for_a_client_that_left_is_closed(void **state)
{
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ .keepalive_msec = 5 });
	for (int i = 0; i < 100; i++) {
		int64_t limit = test_now_msec() + LIMIT_MSEC;
		struct httpd_req *req;
		struct httpd_stream *stream;
		int fd = dial(&s);

		put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
		req = site_take_parked(&s);
		close(fd);
		while (httpd_is_open(req))
			assert_true(test_now_msec() < limit);
		stream = httpd_answer_stream(req, "text/event-stream");
		assert_false(httpd_stream_send(stream, "x", 1));
		httpd_stream_close(stream);
	}
	site_close(&s);
}

static void stream_of_a_client_that_does_not_read_ends(void **state)
{
	CLEANUP_STR char *piece = many('x', 65536);
	struct site s;
	struct httpd_stream *stream;
	int fd, n = 0;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	/* The socket's buffers take some megabytes, ours one. */
	while (httpd_stream_send(stream, piece, 65536))
		assert_true(++n < 1000);
	assert_true(n >= 15);
	httpd_stream_close(stream);
	close(fd);
	site_close(&s);
}

/* ------------------------------------------------------------------ closing */

static void *close_site(void *aux)
{
	site_close(aux);
	return NULL;
}

static void closing_waits_for_handlers_only(void **state)
{
	CLEANUP(buf_done) struct buf parked = { 0 };
	CLEANUP(buf_done) struct buf queued = { 0 };
	CLEANUP(buf_done) struct buf running = { 0 };
	CLEANUP(buf_done) struct buf streaming = { 0 };
	struct site s;
	struct httpd_req *req;
	struct httpd_stream *stream;
	pthread_t closer;
	int fd[4];
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_workers = 1 });
	for (int i = 0; i < 4; i++)
		fd[i] = dial(&s);
	put(fd[0], "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	put(fd[1], "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	assert_true(get_until(fd[1], &streaming, "\r\n\r\n"));
	put(fd[2], "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	put(fd[3], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_int_equal(pthread_create(&closer, NULL, close_site, &s), 0);
	/* These need not wait for the one that runs. */
	assert_true(get_until(fd[0], &parked, "\"detail\":\"this server is stopping"));
	assert_starts(parked.s, "HTTP/1.1 503 ");
	assert_true(get_until(fd[1], &streaming, "\r\n0\r\n\r\n"));
	assert_true(get_until(fd[3], &queued, "HTTP/1.1 503 ") || queued.size == 0);
	site_open_gate(&s);
	assert_true(get_until(fd[2], &running, "\r\n\r\nthrough"));
	pthread_join(closer, NULL);

	/* Too late, and harmless. */
	assert_string_equal(httpd_path(req), "/park");
	httpd_answer(req, 200, NULL, "late", 4);
	assert_false(httpd_stream_send(stream, "x", 1));
	httpd_stream_close(stream);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}

/* A handler that takes more than 3 s: its client is told, and closing waits for it. */
static void closing_gives_up_on_slow_handlers(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	pthread_t closer;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_workers = 1 });
	fd = dial(&s);
	put(fd, "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	assert_int_equal(pthread_create(&closer, NULL, close_site, &s), 0);
	assert_true(get_until(fd, &b, "HTTP/1.1 503 "));
	site_open_gate(&s);
	pthread_join(closer, NULL);
	close(fd);
}

/* ------------------------------------------------------------------ opening */

static void assert_open_fails(
	const char *listen, const char *cert, const char *key, const char *why)
{
	CLEANUP(strv_done) struct strv sv = { 0 };
	struct httpd_conf conf = { .listen = &sv, .cert_file = cert, .key_file = key };
	struct httpd *d = NULL;
	struct err e = { 0 };

	if (listen)
		strv_add(&sv, listen);
	assert_int_equal(httpd_open(&conf, handle, NULL, &d, &e), -1);
	assert_null(d);
	assert_contains(e.msg, why);
}

static void what_cannot_be_opened_says_why(void **state)
{
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *want = NULL;
	CLEANUP_STR char *pem = test_path("no.pem");
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	text = xasprintf("[::1]:%u", httpd_port(s.d, 0));
	want = xasprintf("cannot listen on %s: Address already in use", text);
	assert_open_fails(text, NULL, NULL, want);
	site_close(&s);
	assert_open_fails("[2001:db8::1]:0", NULL, NULL,
		"cannot listen on [2001:db8::1]:0: Cannot assign requested address");
	assert_open_fails("localhost:80", NULL, NULL, "must be an address");
	assert_open_fails("[::1]:x", NULL, NULL, "listen address [::1]:x");
	assert_open_fails(NULL, NULL, NULL, "no address to listen on");
	assert_open_fails("[::1]:0", "/x", NULL, "only the certificate");
	assert_open_fails(
		"[::1]:0", "/nonexistent/x", "/nonexistent/y", "/nonexistent/x");
	test_write_file(pem, "hello\n");
	assert_open_fails("[::1]:0", pem, pem, "this is no PEM file");
	test_write_file(pem, "-----BEGIN CERTIFICATE-----\nAAAA\n");
	assert_open_fails("[::1]:0", pem, pem, "cannot serve on [::1]:0: ");
}

static void two_addresses_share_the_workers(void **state)
{
	CLEANUP(strv_done) struct strv sv = { 0 };
	struct httpd_conf conf = { .listen = &sv, .n_workers = 1 };
	struct site s = { 0 };
	struct err e;
	(void)state;

	strv_add(&sv, "[::1]:0");
	strv_add(&sv, "[::1]:0");
	assert_int_equal(httpd_open(&conf, handle, &s, &s.d, &e), 0);
	assert_int_not_equal(httpd_port(s.d, 0), httpd_port(s.d, 1));
	assert_int_equal(httpd_port(s.d, 2), 0);
	for (size_t i = 0; i < 2; i++) {
		CLEANUP_STR char *url =
			xasprintf("http://[::1]:%u/size", httpd_port(s.d, i));
		struct http *h = http_new(&(struct http_conf){ 0 });
		struct http_resp resp = { 0 };

		assert_int_equal(
			http_call(h, &(struct http_req){ .method = "GET", .url = url },
				&resp, &e),
			0);
		assert_int_equal(resp.status, 200);
		http_resp_done(&resp);
		http_free(h);
	}
	httpd_close(s.d);
}

static void tls(void **state)
{
	CLEANUP_STR char *cert = test_path("cert.pem");
	CLEANUP_STR char *key = test_path("key.pem");
	const char *make[] = { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test",
		"-addext", "subjectAltName=IP:::1", "-keyout", key, "-out", cert, NULL };
	struct http_resp resp = { 0 };
	struct http *h;
	struct site s;
	struct err e = { 0 };
	(void)state;

	test_need_command("openssl");
	assert_int_equal(test_run(make, 30000, NULL), 0);
	site_open(&s, (struct httpd_conf){ .cert_file = cert, .key_file = key });
	CLEANUP_STR char *url = xasprintf("https://[::1]:%u/size", httpd_port(s.d, 0));
	struct http_req req = {
		.method = "POST", .url = url, .body = "abc", .body_size = 3
	};

	h = http_new(&(struct http_conf){ .ca_file = cert, .connect_msec = LIMIT_MSEC });
	for (int i = 0; i < 3; i++) {
		if (http_call(h, &req, &resp, &e) < 0)
			fail_msg("%s", e.msg);
		assert_string_equal(buf_str(&resp.body), "3");
	}
	http_resp_done(&resp);
	http_free(h);
	/* Without our certificate nobody believes this server. */
	h = http_new(&(struct http_conf){ .connect_msec = LIMIT_MSEC });
	assert_int_equal(http_call(h, &req, &resp, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	http_free(h);
	site_close(&s);
}

/* -------------------------------------------------------------- all at once */

static void *answer_parked(void *aux)
{
	struct site *s = aux;

	for (;;) {
		struct httpd_req *req;

		pthread_mutex_lock(&s->lock);
		while (s->n_parked == 0 && !s->is_open_gate)
			pthread_cond_wait(&s->changed, &s->lock);
		req = s->n_parked > 0 ? s->parked[--s->n_parked] : NULL;
		pthread_mutex_unlock(&s->lock);
		if (!req)
			return NULL;
		httpd_answer(req, 200, "text/plain", "parked", 6);
	}
}

static void *send_and_close_streams(void *aux)
{
	struct site *s = aux;

	for (;;) {
		struct httpd_stream *stream;

		pthread_mutex_lock(&s->lock);
		while (!s->stream && !s->is_open_gate)
			pthread_cond_wait(&s->changed, &s->lock);
		stream = MOVE(s->stream);
		pthread_mutex_unlock(&s->lock);
		if (!stream)
			return NULL;
		for (int i = 0; i < 5; i++)
			httpd_stream_send(stream, "data: x\n\n", 9);
		httpd_stream_close(stream);
	}
}

static void *wild_client(void *aux)
{
	static const char *const asks[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /park HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"GET /err HTTP/1.1\r\nHo",
		"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na" };
	struct site *s = aux;
	unsigned seed = (unsigned)(uintptr_t)pthread_self() >> 12;

	for (int i = 0; i < 60; i++) {
		int fd = dial(s), kind = rand_r(&seed) % 6;
		char text[256];

		put(fd, asks[kind]);
		if (rand_r(&seed) % 2 && kind < 4)
			recv(fd, text, sizeof(text), 0);
		else if (rand_r(&seed) % 2)
			put(fd, asks[0]);
		close(fd);
	}
	return NULL;
}

/* One stream at a time fits into the site, so what is replaced is closed here. */
static enum httpd_result handle_wild(void *aux, struct httpd_req *req)
{
	struct site *s = aux;
	struct httpd_stream *stream, *old;

	if (strcmp(httpd_path(req), "/stream") == 0) {
		stream = httpd_answer_stream(req, "text/event-stream");
		pthread_mutex_lock(&s->lock);
		old = s->stream;
		s->stream = stream;
		site_changed(s);
		if (old)
			httpd_stream_close(old);
		return HTTPD_ANSWERED;
	}
	if (strcmp(httpd_path(req), "/park") == 0) {
		bool is_full;

		pthread_mutex_lock(&s->lock);
		is_full = s->n_parked == ARRAY_LEN(s->parked);
		if (!is_full)
			s->parked[s->n_parked++] = req;
		site_changed(s);
		if (!is_full)
			return HTTPD_PARK;
		httpd_answer(req, 503, NULL, NULL, 0);
		return HTTPD_ANSWERED;
	}
	answer_show(req);
	return HTTPD_ANSWERED;
}

static void *close_httpd(void *aux)
{
	httpd_close(aux);
	return NULL;
}

static void everything_at_once(void **state)
{
	CLEANUP(strv_done) struct strv listen = { 0 };
	struct httpd_conf conf = {
		.listen = &listen, .keepalive_msec = 5, .request_msec = 50, .n_workers = 4
	};
	struct site s = { 0 };
	pthread_t clients[6], answerer, streamer, closer;
	struct err e;
	(void)state;

	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.changed, NULL);
	strv_add(&listen, "[::1]:0");
	assert_int_equal(httpd_open(&conf, handle_wild, &s, &s.d, &e), 0);
	pthread_create(&answerer, NULL, answer_parked, &s);
	pthread_create(&streamer, NULL, send_and_close_streams, &s);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		pthread_create(&clients[i], NULL, wild_client, &s);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		pthread_join(clients[i], NULL);
	/* Close while the answerers are still at it. */
	pthread_create(&closer, NULL, close_httpd, s.d);
	pthread_join(closer, NULL);
	site_open_gate(&s);
	pthread_join(answerer, NULL);
	pthread_join(streamer, NULL);
	if (s.stream)
		httpd_stream_close(s.stream);
	pthread_mutex_destroy(&s.lock);
	pthread_cond_destroy(&s.changed);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_init("test_httpd", LOG_INFO);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_and_answer),
		cmocka_unit_test(connections_are_kept),
		cmocka_unit_test(errors_are_problem_documents),
		cmocka_unit_test(forgotten_answer_is_500),
		cmocka_unit_test(bad_urls_reach_no_handler),
		cmocka_unit_test(bodies_have_a_limit),
		cmocka_unit_test(headers_have_a_limit),
		cmocka_unit_test(slow_requests_are_cut_off),
		cmocka_unit_test(idle_connections_are_closed),
		cmocka_unit_test(connections_per_address_are_bounded),
		cmocka_unit_test(parked_request_is_answered_later),
		cmocka_unit_test(bodies_together_have_a_limit),
		cmocka_unit_test(parked_request_ends_with_its_client),
		cmocka_unit_test(clients_may_leave_at_any_time),
		cmocka_unit_test(stream_goes_on),
		cmocka_unit_test(stream_notices_that_its_client_left),
		cmocka_unit_test(stream_for_a_client_that_left_is_closed),
		cmocka_unit_test(stream_of_a_client_that_does_not_read_ends),
		cmocka_unit_test(closing_waits_for_handlers_only),
		cmocka_unit_test(closing_gives_up_on_slow_handlers),
		cmocka_unit_test(what_cannot_be_opened_says_why),
		cmocka_unit_test(two_addresses_share_the_workers),
		cmocka_unit_test(tls),
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
