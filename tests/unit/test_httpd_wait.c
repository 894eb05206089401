/* Answers that come later, or piece by piece, while clients leave when they like. */
#include "common/base/httpd.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "tests/lib/http_raw.h"
#include "tests/lib/httpd_site.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

/* ----------------------------------------------------- parking, going away */

static void parked_request_is_answered_later(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	struct httpd_req *req;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .n_workers = 1, .request_msec = 1000 });
	fd = site_dial(&s);
	raw_put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	/* It holds up no worker, and is not taken for a slow one. */
	int64_t until = test_now_msec() + 1500;
	while (test_now_msec() < until) {
		CLEANUP_STR char *a = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");

		assert_starts(a, "HTTP/1.1 200 ");
	}
	assert_string_equal(httpd_path(req), "/park");
	httpd_answer(req, 202, NULL, NULL, 0);
	assert_true(raw_get_until(fd, &b, "HTTP/1.1 202 Accepted\r\n"));
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
	fd = site_dial(&s);
	raw_put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	assert_true(httpd_is_open(req));
	close(fd);
	while (httpd_is_open(req))
		if (test_now_msec() > limit)
			fail_msg("it is still open");
	assert_string_equal(httpd_path(req), "/park");
	half = site_dial(&s);
	raw_put(half, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	struct httpd_req *other = site_take_parked(&s);
	assert_true(httpd_is_open(other));
	/* There is room for one more as soon as the first one's socket is closed. */
	while (!is_done) {
		CLEANUP_STR char *a = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");

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
		fd = site_dial(&s);
		raw_put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
		req = site_take_parked(&s);
		if (is_hard)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		CLEANUP_STR char *a = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");
		assert_string_equal(httpd_method(req), "GET");
		httpd_answer_json(req, 200, json_object());
	}
	/* While it is queued behind another one, and while it runs. */
	fd = site_dial(&s);
	raw_put(fd, "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	int queued = site_dial(&s);
	raw_put(queued, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(queued);
	close(fd);
	site_open_gate(&s);
	/* In the middle of a request line, of headers, of a body. */
	const char *cut[] = { "GE", "GET /a HTTP/1.1\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\n",
		"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc" };
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		fd = site_dial(&s);
		raw_put(fd, cut[i]);
		close(fd);
	}
	CLEANUP_STR char *last = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");
	assert_starts(last, "HTTP/1.1 200 ");
	site_close(&s);
}

/* ----------------------------------------------------------------- streams */

static void stream_goes_on(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct site s;
	struct httpd_stream *stream;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .keepalive_msec = 500, .request_msec = 900 });
	fd = site_dial(&s);
	raw_put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	assert_true(raw_get_until(fd, &b, "Content-Type: text/event-stream\r\n"));
	assert_contains(b.s, "Cache-Control: no-store\r\n");
	assert_true(httpd_stream_send(stream, "data: one\n\n", 11));
	assert_true(raw_get_until(fd, &b, "data: one\n\n"));
	assert_true(raw_get_until(fd, &b, ": keep-alive\n\n"));
	buf_clear(&b);
	assert_true(raw_get_until(fd, &b, ": keep-alive\n\n"));
	assert_true(httpd_stream_send(stream, "data: two\n\n", 11));
	assert_true(httpd_stream_send(stream, "data: three\n\n", 13));
	httpd_stream_close(stream);
	assert_true(raw_get_until(fd, &b, "data: three\n\n"));
	assert_true(raw_get_until(fd, &b, "\r\n0\r\n\r\n")); /* a proper end */
	buf_clear(&b);
	raw_put(fd, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(raw_get_until(fd, &b, "\r\n\r\n0"));
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
	fd = site_dial(&s);
	raw_put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	close(fd);
	assert_true(wait_until(is_refused, stream, LIMIT_MSEC));
	httpd_stream_close(stream);
	/* HEAD has no body to go on with. */
	CLEANUP_STR char *a = site_ask(&s, "HEAD /stream HTTP/1.1\r\n" RAW_CLOSE "\r\n");
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
		int fd = site_dial(&s);

		raw_put(fd, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
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
	CLEANUP_STR char *piece = site_text('x', 65536);
	struct site s;
	struct httpd_stream *stream;
	int fd, n = 0;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	fd = site_dial(&s);
	raw_put(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	/* The socket's buffers take some megabytes, ours one. */
	while (httpd_stream_send(stream, piece, 65536))
		assert_true(++n < 1000);
	assert_true(n >= 15);
	httpd_stream_close(stream);
	close(fd);
	site_close(&s);
}

/* ------------------------------------------------------------- all at once */

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
		int fd = site_dial(s), kind = rand_r(&seed) % 6;
		char text[256];

		raw_put(fd, asks[kind]);
		if (rand_r(&seed) % 2 && kind < 4)
			recv(fd, text, sizeof(text), 0);
		else if (rand_r(&seed) % 2)
			raw_put(fd, asks[0]);
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
	site_answer_show(req);
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
	log_init("test_httpd_wait", LOG_INFO);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parked_request_is_answered_later),
		cmocka_unit_test(parked_request_ends_with_its_client),
		cmocka_unit_test(clients_may_leave_at_any_time),
		cmocka_unit_test(stream_goes_on),
		cmocka_unit_test(stream_notices_that_its_client_left),
		cmocka_unit_test(stream_for_a_client_that_left_is_closed),
		cmocka_unit_test(stream_of_a_client_that_does_not_read_ends),
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
