/* What a client may send, hold and take its time for. */
#include "common/base/httpd.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "tests/lib/http_raw.h"
#include "tests/lib/httpd_site.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

static void bodies_have_a_limit(void **state)
{
	static const char *const methods[] = { "POST", "PUT", "PATCH", "DELETE" };
	CLEANUP_STR char *just = site_text('x', 1000);
	CLEANUP_STR char *over = site_text('x', 1001);
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_body = 1000 });
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		CLEANUP_STR char *fits = site_ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1000\r\n" RAW_CLOSE
			"\r\n%s",
			methods[i], just);
		assert_true(str_has_suffix(fits, "\r\n\r\n1000"));
		CLEANUP_STR char *more = site_ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1001\r\n" RAW_CLOSE
			"\r\n%s",
			methods[i], over);
		assert_starts(more, "HTTP/1.1 413 ");
		assert_contains(more, "larger than 1000 bytes");
		CLEANUP_STR char *chunked = site_ask(&s,
			"%s /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" RAW_CLOSE
			"\r\n3e9\r\n%s\r\n0\r\n\r\n",
			methods[i], over);
		assert_starts(chunked, "HTTP/1.1 413 ");
		/* Nothing of it is sent: the answer must come all the same. */
		CLEANUP_STR char *huge = site_ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 100000000\r\n" RAW_CLOSE
			"\r\n",
			methods[i]);
		assert_starts(huge, "HTTP/1.1 413 ");
		CLEANUP_STR char *asks = site_ask(&s,
			"%s /size HTTP/1.1\r\nContent-Length: 1001\r\n"
			"Expect: 100-continue\r\n" RAW_CLOSE "\r\n",
			methods[i]);
		assert_starts(asks, "HTTP/1.1 413 ");
	}
	/* Endless: cut off without an answer. */
	struct buf b = { 0 };
	int fd = site_dial(&s);
	raw_put(fd,
		"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" RAW_CLOSE "\r\n");
	for (int i = 0; i < 100; i++) {
		raw_put(fd, "3e9\r\n");
		raw_put(fd, over);
		raw_put(fd, "\r\n");
	}
	raw_get_until(fd, &b, NULL);
	assert_false(strstr(buf_str(&b), "HTTP/1.1 200"));
	buf_done(&b);
	close(fd);
	site_close(&s);
}

static void headers_have_a_limit(void **state)
{
	CLEANUP_STR char *big = site_text('h', 40000);
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	CLEANUP_STR char *a =
		site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "X-Big: %s\r\n\r\n", big);
	assert_true(!*a || str_has_prefix(a, "HTTP/1.1 4"));
	CLEANUP_STR char *b = site_ask(&s, "GET /%s HTTP/1.1\r\n" RAW_CLOSE "\r\n", big);
	assert_true(!*b || str_has_prefix(b, "HTTP/1.1 4"));
	CLEANUP_STR char *c = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");
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
	idle = site_dial(&s);
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		fd[2 * i] = site_dial(&s);
		raw_put(fd[2 * i], pieces[i]);
		/* The same as a second request. */
		fd[2 * i + 1] = site_dial(&s);
		raw_put(fd[2 * i + 1], "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
		buf_clear(&b);
		assert_true(raw_get_until(fd[2 * i + 1], &b, "\r\n\r\n0"));
		raw_put(fd[2 * i + 1], pieces[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
		buf_clear(&b);
		raw_get_until(fd[i], &b, NULL);
		close(fd[i]);
	}
	/* This one has been silent all the time, which is another limit's matter. */
	raw_put(idle, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	buf_clear(&b);
	assert_true(raw_get_until(idle, &b, "\r\n\r\n0"));
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
	fd = site_dial(&s);
	raw_get_until(fd, &b, NULL);
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
	a = site_dial(&s);
	raw_put(a, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(raw_get_until(a, &b, "\r\n\r\n0"));
	c = site_dial(&s);
	raw_put(c, "GET /size HTTP/1.1\r\nHost: x\r\n\r\n");
	buf_clear(&b);
	assert_true(raw_get_until(c, &b, "\r\n\r\n0"));
	CLEANUP_STR char *third = site_ask(&s, "GET / HTTP/1.1\r\n" RAW_CLOSE "\r\n");
	assert_string_equal(third, "");
	close(a);
	close(c);
	site_close(&s);
}

/* Many large bodies at once are refused, small ones never. */
static void bodies_together_have_a_limit(void **state)
{
	CLEANUP_STR char *large = site_text('x', 60000);
	CLEANUP(buf_done) struct buf b = { 0 };
	bool is_done = false;
	struct site s;
	int fd;
	(void)state;

	site_open(&s, (struct httpd_conf){ .max_bodies = 70000 });
	fd = site_dial(&s);
	raw_put(fd, "POST /gate HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
	raw_put(fd, large);
	site_wait_running(&s, 1);
	CLEANUP_STR char *more = site_ask(&s,
		"POST /size HTTP/1.1\r\nContent-Length: 60000\r\n" RAW_CLOSE "\r\n%s",
		large);
	assert_starts(more, "HTTP/1.1 503 ");
	CLEANUP_STR char *small = site_ask(
		&s, "POST /size HTTP/1.1\r\nContent-Length: 2\r\n" RAW_CLOSE "\r\nab");
	assert_starts(small, "HTTP/1.1 200 ");
	site_open_gate(&s);
	assert_true(raw_get_until(fd, &b, "through"));
	/* There is room again once its worker has let go of it. */
	for (int64_t limit = test_now_msec() + LIMIT_MSEC; !is_done;) {
		CLEANUP_STR char *again = site_ask(&s,
			"POST /size HTTP/1.1\r\nContent-Length: 60000\r\n" RAW_CLOSE
			"\r\n%s",
			large);

		is_done = str_has_suffix(again, "\r\n\r\n60000");
		assert_true(is_done || test_now_msec() < limit);
	}
	close(fd);
	site_close(&s);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	log_init("test_httpd_limits", LOG_INFO);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_have_a_limit),
		cmocka_unit_test(headers_have_a_limit),
		cmocka_unit_test(slow_requests_are_cut_off),
		cmocka_unit_test(idle_connections_are_closed),
		cmocka_unit_test(connections_per_address_are_bounded),
		cmocka_unit_test(bodies_together_have_a_limit),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
