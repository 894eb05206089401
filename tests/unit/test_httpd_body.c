/* Bodies that come in pieces: httpd_take_body(). */
#include "common/base/httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "tests/lib/http_raw.h"
#include "tests/lib/test_certs.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000
#define MIB	   (1024 * 1024)

/* ------------------------------------------------------------ the handler */

/* What the handler, the sinks and the tests share. */
struct site {
	struct httpd *d;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t size, sum; /* of all pieces */
	unsigned n_taken, n_ended, n_broken, n_refused, n_at_gate;
	bool is_gate_open;
};

static void add(struct site *s, unsigned *n)
{
	pthread_mutex_lock(&s->lock);
	++*n;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void wait_gate(struct site *s)
{
	pthread_mutex_lock(&s->lock);
	s->n_at_gate++;
	pthread_cond_broadcast(&s->changed);
	while (!s->is_gate_open)
		pthread_cond_wait(&s->changed, &s->lock);
	s->n_at_gate--;
	pthread_mutex_unlock(&s->lock);
}

static void open_gate(struct site *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_gate_open = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void wait_count(struct site *s, const unsigned *n, unsigned want)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LIMIT_MSEC / 1000;
	pthread_mutex_lock(&s->lock);
	while (*n != want)
		if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
			fail_msg("%u, not %u", *n, want);
	pthread_mutex_unlock(&s->lock);
}

static uint64_t size_of(struct site *s)
{
	uint64_t size;

	pthread_mutex_lock(&s->lock);
	size = s->size;
	pthread_mutex_unlock(&s->lock);
	return size;
}

static int on_piece(void *aux, const char *p, size_t size, struct err *e)
{
	struct site *s = aux;

	(void)e;
	pthread_mutex_lock(&s->lock);
	s->size += size;
	for (size_t i = 0; i < size; i++)
		s->sum += (unsigned char)p[i];
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void on_end(void *aux, struct httpd_req *req)
{
	struct site *s = aux;
	char text[64];

	pthread_mutex_lock(&s->lock);
	snprintf(text, sizeof(text), "%llu bytes, sum %llu", (unsigned long long)s->size,
		(unsigned long long)s->sum);
	pthread_mutex_unlock(&s->lock);
	httpd_answer(req, 201, "text/plain", text, strlen(text));
	add(s, &s->n_ended);
}

static void on_broken(void *aux)
{
	struct site *s = aux;

	add(s, &s->n_broken);
}

static int on_gated_piece(void *aux, const char *p, size_t size, struct err *e)
{
	wait_gate(aux);
	return on_piece(aux, p, size, e);
}

static void on_gated_end(void *aux, struct httpd_req *req)
{
	wait_gate(aux);
	on_end(aux, req);
}

static int on_full_disk(void *aux, const char *p, size_t size, struct err *e)
{
	on_piece(aux, p, size, e);
	return err_set(e, ERR_NO_SPACE, "the disk is full");
}

static void on_silent_end(void *aux, struct httpd_req *req)
{
	struct site *s = aux;

	(void)req;
	add(s, &s->n_ended);
}

static const struct httpd_sink plain = { on_piece, on_end, on_broken };
static const struct httpd_sink gated = { on_gated_piece, on_end, on_broken };
static const struct httpd_sink slow_end = { on_piece, on_gated_end, on_broken };
static const struct httpd_sink full = { on_full_disk, on_end, on_broken };
static const struct httpd_sink silent = { on_piece, on_silent_end, on_broken };

static const struct httpd_sink *sink_of(const char *path)
{
	return strcmp(path, "/put/gated") == 0	    ? &gated
	       : strcmp(path, "/put/slow-end") == 0 ? &slow_end
	       : strcmp(path, "/put/full") == 0	    ? &full
	       : strcmp(path, "/put/silent") == 0   ? &silent
						    : &plain;
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	struct site *s = aux;
	struct err e;
	size_t size;

	if (!str_has_prefix(httpd_path(req), "/put/")) {
		httpd_body(req, &size);
		httpd_answer_json(req, 200, json_pack("{s:I}", "size", (json_int_t)size));
		return HTTPD_ANSWERED;
	}
	httpd_body(req, &size);
	assert_int_equal(size, 0);
	if (strcmp(httpd_path(req), "/put/refused") == 0) {
		err_set(&e, ERR_UNAUTHENTICATED, "who are you?");
		httpd_answer_err(req, &e);
		add(s, &s->n_refused);
		return HTTPD_ANSWERED;
	}
	if (httpd_take_body(req, sink_of(httpd_path(req)), s, &e) < 0) {
		httpd_answer_err(req, &e);
		add(s, &s->n_refused);
		return HTTPD_ANSWERED;
	}
	add(s, &s->n_taken);
	return HTTPD_PARK;
}

static bool is_streamed(void *aux, const char *method, const char *path)
{
	(void)aux;
	return strcmp(method, "PUT") == 0 && str_has_prefix(path, "/put/");
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
	conf.is_streamed = is_streamed;
	if (httpd_open(&conf, handle, s, &s->d, &e) < 0)
		fail_msg("%s", e.msg);
}

static void site_close(struct site *s)
{
	httpd_close(s->d);
	/* Every body has had its last call. */
	assert_int_equal(s->n_taken, s->n_ended + s->n_broken);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
}

/* -------------------------------------------------------------- a client */

static int dial(const struct site *s)
{
	return raw_dial(httpd_port(s->d, 0));
}

static void put(int fd, const char *text)
{
	if (!raw_put_bytes(fd, text, strlen(text)))
		fail_msg("send: %s", strerror(errno));
}

/* A request's beginning: method PUT, this path, these further headers. */
static void put_head(int fd, const char *path, const char *headers)
{
	CLEANUP_STR char *text =
		xasprintf("PUT %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);

	put(fd, text);
}

/* Sends n bytes 'a', 'b', ... and adds to *sum what they are worth. */
static bool put_letters(int fd, size_t n, uint64_t *sum)
{
	char chunk[10000];

	while (n > 0) {
		size_t len = n < sizeof(chunk) ? n : sizeof(chunk);

		for (size_t i = 0; i < len; i++) {
			chunk[i] = (char)('a' + (n - i) % 23);
			*sum += (unsigned char)chunk[i];
		}
		if (!raw_put_bytes(fd, chunk, len))
			return false;
		n -= len;
	}
	return true;
}

/* ------------------------------------------------------------ the questions */

static void a_large_body_arrives(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	CLEANUP_STR char *head = xasprintf("Content-Length: %d\r\n", 24 * MIB + 7);
	CLEANUP_STR char *want = NULL;
	uint64_t sum = 0;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .server = "ucloud-test" });
	fd = dial(&s);
	put_head(fd, "/put/x", head);
	assert_true(put_letters(fd, 24 * MIB + 7, &sum));
	want = xasprintf("%d bytes, sum %llu", 24 * MIB + 7, (unsigned long long)sum);
	assert_true(raw_get_until(fd, &b, want));
	assert_contains(buf_str(&b), "HTTP/1.1 201 Created\r\n");
	assert_contains(buf_str(&b), "Server: ucloud-test\r\n");

	/* The connection goes on: an empty body, an ordinary request. */
	buf_clear(&b);
	put_head(fd, "/put/x", "Content-Length: 0\r\n");
	assert_true(raw_get_until(fd, &b, want));
	buf_clear(&b);
	put_head(fd, "/other", "Content-Length: 3\r\n");
	put(fd, "abc");
	assert_true(raw_get_until(fd, &b, "{\"size\":3}"));
	buf_clear(&b);
	put_head(fd, "/put/x", "Transfer-Encoding: chunked\r\n");
	put(fd, "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n");
	want[0] = '\0';
	assert_true(raw_get_until(fd, &b, "bytes, sum"));
	assert_int_equal(s.size, 24 * MIB + 7 + 3);
	close(fd);
	site_close(&s);
}

static void who_waits_for_100_is_told_before(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put_head(fd, "/put/x", "Content-Length: 5\r\nExpect: 100-continue\r\n");
	assert_true(raw_get_until(fd, &b, "HTTP/1.1 100 Continue\r\n\r\n"));
	assert_int_equal(s.size, 0);
	put(fd, "hello");
	assert_true(raw_get_until(fd, &b, "5 bytes"));
	close(fd);

	buf_clear(&b);
	fd = dial(&s);
	put_head(fd, "/put/refused",
		"Content-Length: 99999999999\r\nExpect: 100-continue\r\n");
	assert_true(raw_get_until(fd, &b, NULL));
	assert_int_equal(strncmp(buf_str(&b), "HTTP/1.1 401 ", 13), 0);
	assert_contains(buf_str(&b), "who are you?");
	close(fd);
	site_close(&s);
}

static void who_did_not_wait_sees_the_refusal_too(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	CLEANUP_STR char *head = xasprintf("Content-Length: %d\r\n", 2 * MIB);
	uint64_t sum = 0;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put_head(fd, "/put/refused", head);
	assert_true(put_letters(fd, 2 * MIB, &sum));
	assert_true(raw_get_until(fd, &b, "who are you?"));
	buf_clear(&b);
	put(fd, "GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(raw_get_until(fd, &b, "{\"size\":0}"));
	close(fd);
	assert_int_equal(s.size, 0);
	site_close(&s);
}

/* A disk that stands still stops the client, not the memory. */
static void a_slow_sink_stops_the_client(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	const size_t total = 64 * MIB;
	CLEANUP_STR char *head = xasprintf("Content-Length: %zu\r\n", total);
	const int small = 64 * 1024;
	static char zeros[65536];
	size_t sent = 0;
	struct pollfd p;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	put_head(fd, "/put/gated", head);
	wait_count(&s, &s.n_taken, 1);
	raw_put_bytes(fd, zeros, 1);
	sent++;
	wait_count(&s, &s.n_at_gate, 1);
	p = (struct pollfd){ .fd = fd, .events = POLLOUT };
	/* What the kernel holds for the server is not ours; 32 MiB is far above it. */
	while (sent < total && poll(&p, 1, 500) == 1) {
		ssize_t n = send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(n > 0);
		sent += (size_t)n;
	}
	assert_true(sent < 32 * MIB);
	assert_int_equal(size_of(&s), 0);
	open_gate(&s);
	while (sent < total) {
		size_t n = total - sent < sizeof(zeros) ? total - sent : sizeof(zeros);

		assert_true(raw_put_bytes(fd, zeros, n));
		sent += n;
	}
	assert_true(raw_get_until(fd, &b, "67108864 bytes, sum 0"));
	close(fd);
	site_close(&s);
}

/* A body may take as long as it likes while something comes; silence ends it. */
static void silent_clients_are_cut_off(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int64_t until;
	uint64_t sum = 0;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .request_msec = 300, .body_msec = 1000 });
	fd = dial(&s);
	put_head(fd, "/put/x", "Content-Length: 100000000\r\n");
	until = test_now_msec() + 1500;
	while (test_now_msec() < until) {
		assert_true(put_letters(fd, 50000, &sum));
		poll(NULL, 0, 10);
	}
	assert_int_equal(s.n_broken, 0);
	assert_true(raw_get_until(fd, &b, NULL));
	assert_int_equal(b.size, 0);
	wait_count(&s, &s.n_broken, 1);
	assert_int_equal(s.sum, sum);
	close(fd);
	site_close(&s);
}

static void what_came_before_a_cut_is_kept(void **state)
{
	uint64_t sum = 0;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put_head(fd, "/put/x", "Content-Length: 100000000\r\n");
	wait_count(&s, &s.n_taken, 1);
	assert_true(put_letters(fd, 3 * MIB + 1, &sum));
	shutdown(fd, SHUT_WR);
	wait_count(&s, &s.n_broken, 1);
	assert_int_equal(s.size, 3 * MIB + 1);
	assert_int_equal(s.sum, sum);
	close(fd);
	site_close(&s);
}

static void a_sink_may_want_no_more(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	uint64_t sum = 0;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put_head(fd, "/put/full", "Content-Length: 300000\r\n");
	assert_true(put_letters(fd, 300000, &sum));
	assert_true(raw_get_until(fd, &b, "the disk is full"));
	assert_contains(buf_str(&b), "HTTP/1.1 507 ");
	wait_count(&s, &s.n_broken, 1);
	close(fd);

	/* Too much is left to listen to it all. */
	fd = dial(&s);
	put_head(fd, "/put/full", "Content-Length: 100000000\r\n");
	while (put_letters(fd, 100000, &sum))
		;
	wait_count(&s, &s.n_broken, 2);
	close(fd);
	assert_int_equal(s.n_ended, 0);
	site_close(&s);
}

static void their_number_is_bounded(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int one, two;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_streamed = 1 });
	one = dial(&s);
	put_head(one, "/put/x", "Content-Length: 2\r\n");
	wait_count(&s, &s.n_taken, 1);
	two = dial(&s);
	put_head(two, "/put/x", "Content-Length: 1\r\n");
	put(two, "x");
	assert_true(raw_get_until(two, &b, "try again later"));
	assert_contains(buf_str(&b), "HTTP/1.1 503 ");
	close(two);
	buf_clear(&b);
	put(one, "ab");
	assert_true(raw_get_until(one, &b, "2 bytes"));
	close(one);
	wait_count(&s, &s.n_ended, 1);
	two = dial(&s);
	put_head(two, "/put/x", "Content-Length: 1\r\n");
	put(two, "x");
	buf_clear(&b);
	assert_true(raw_get_until(two, &b, "3 bytes"));
	close(two);
	site_close(&s);
}

static void a_forgotten_answer_is_given(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = dial(&s);
	put_head(fd, "/put/silent", "Content-Length: 1\r\n");
	put(fd, "x");
	assert_true(raw_get_until(fd, &b, "was not answered"));
	close(fd);
	site_close(&s);
}

/* With TLS there is a buffer more in between; and our own client sends. */
static void over_tls(void **state)
{
	CLEANUP_STR char *path = test_path("body");
	struct http_conf hc = { 0 };
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *url = NULL;
	struct http_req req = { .method = "PUT" };
	struct http_upload up = { .from = 1000, .size = 6 * MIB };
	struct test_cert cert = { 0 };
	struct http *h;
	struct site s;
	struct err e;
	(void)state;

	test_cert_make("server", "/O=ucloud/CN=server", &cert);
	hc.ca_file = test_ca_file();
	site_open(&s, (struct httpd_conf){
			      .cert_file = cert.cert_file, .key_file = cert.key_file });
	test_write_file(path, "");
	assert_int_equal(truncate(path, 7 * MIB), 0);
	up.fd = open(path, O_RDONLY | O_CLOEXEC);
	h = http_new(&hc);
	url = xasprintf("https://[::1]:%u/put/gated", (unsigned)httpd_port(s.d, 0));
	open_gate(&s);
	req.url = url;
	if (http_upload(h, &req, &up, &resp, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(resp.status, 201);
	assert_string_equal(buf_str(&resp.body), "6291456 bytes, sum 0");
	str_set(&url,
		xasprintf("https://[::1]:%u/put/refused", (unsigned)httpd_port(s.d, 0)));
	req.url = url;
	if (http_upload(h, &req, &up, &resp, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(resp.status, 401);
	http_free(h);
	close(up.fd);
	site_close(&s);
	test_cert_done(&cert);
}

struct closer {
	struct site *s;
	pthread_t thread;
};

static void *close_site(void *aux)
{
	site_close(((struct closer *)aux)->s);
	return NULL;
}

/* In the middle, while the sink stands still, and in its end: none holds up a close. */
static void closing_ends_them_all(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	static char zeros[65536];
	struct site s;
	struct closer c = { .s = &s };
	int fds[4];
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_body_workers = 2 });
	for (size_t i = 0; i < 4; i++)
		fds[i] = dial(&s);
	put_head(fds[0], "/put/x", "Content-Length: 100\r\n");
	put(fds[0], "abc");
	put_head(fds[1], "/put/slow-end", "Content-Length: 1\r\n");
	put(fds[1], "x");
	put_head(fds[2], "/put/gated", "Content-Length: 100000000\r\n");
	fcntl(fds[2], F_SETFL, O_NONBLOCK);
	wait_count(&s, &s.n_taken, 3);
	while (raw_put_bytes(fds[2], zeros, sizeof(zeros)))
		poll(NULL, 0, 1);
	wait_count(&s, &s.n_at_gate, 2);
	/* Complete, but no worker is free. */
	put_head(fds[3], "/put/x", "Content-Length: 1\r\n");
	put(fds[3], "x");
	wait_count(&s, &s.n_taken, 4);
	pthread_create(&c.thread, NULL, close_site, &c);
	assert_true(raw_get_until(fds[1], &b, "this server is stopping"));
	assert_true(raw_get_until(fds[0], &b, NULL));
	assert_true(raw_get_until(fds[3], &b, NULL));
	open_gate(&s);
	pthread_join(c.thread, NULL);
	for (size_t i = 0; i < 4; i++)
		close(fds[i]);
}

struct putter {
	struct site *s;
	pthread_t thread;
	size_t size;
	bool is_cut;
	uint64_t sum;
};

static void *put_one(void *aux)
{
	struct putter *p = aux;
	CLEANUP(buf_done) struct buf b = { 0 };
	CLEANUP_STR char *head =
		xasprintf("Content-Length: %zu\r\nConnection: close\r\n", p->size);
	int fd = dial(p->s);

	put_head(fd, "/put/x", head);
	put_letters(fd, p->is_cut ? p->size / 2 : p->size, &p->sum);
	if (!p->is_cut)
		raw_get_until(fd, &b, "bytes, sum");
	close(fd);
	return NULL;
}

static void many_at_once(void **state)
{
	struct putter p[24];
	uint64_t sum = 0;
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	for (size_t i = 0; i < ARRAY_LEN(p); i++) {
		p[i] = (struct putter){
			.s = &s, .size = 100000 * (i + 1), .is_cut = i % 5 == 4
		};
		pthread_create(&p[i].thread, NULL, put_one, &p[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		pthread_join(p[i].thread, NULL);
	for (size_t i = 0; i < ARRAY_LEN(p); i++)
		sum += p[i].is_cut ? 0 : p[i].sum;
	wait_count(&s, &s.n_ended, 20);
	wait_count(&s, &s.n_broken, 4);
	assert_true(s.sum >= sum);
	site_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_body_arrives),
		cmocka_unit_test(who_waits_for_100_is_told_before),
		cmocka_unit_test(who_did_not_wait_sees_the_refusal_too),
		cmocka_unit_test(a_slow_sink_stops_the_client),
		cmocka_unit_test(silent_clients_are_cut_off),
		cmocka_unit_test(what_came_before_a_cut_is_kept),
		cmocka_unit_test(a_sink_may_want_no_more),
		cmocka_unit_test(their_number_is_bounded),
		cmocka_unit_test(a_forgotten_answer_is_given),
		cmocka_unit_test(over_tls),
		cmocka_unit_test(closing_ends_them_all),
		cmocka_unit_test(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
