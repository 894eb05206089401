#include "common/base/httpd.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "common/base/log.h"
#include "tests/lib/http_raw.h"
#include "tests/lib/httpd_site.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

/* ----------------------------------------------------------- the questions */

static void request_and_answer(void **state)
{
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ .server = "ucloud-test" });
	CLEANUP_STR char *a =
		site_ask(&s, "DELETE /a%%20b/%%C3%%A4?q=1+2%%26&empty=&flag "
			     "HTTP/1.1\r\nX-Test: hello\r\n" RAW_CLOSE "\r\n");
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
	CLEANUP_STR char *b = site_ask(
		&s, "PATCH /x HTTP/1.1\r\nContent-Length: 5\r\n" RAW_CLOSE "\r\nhello");
	assert_contains(b, "\"body\":\"hello\"");
	CLEANUP_STR char *c = site_ask(&s,
		"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" RAW_CLOSE
		"\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
	assert_contains(c, "\"body\":\"hello\"");
	CLEANUP_STR char *h = site_ask(&s, "HEAD /x HTTP/1.1\r\n" RAW_CLOSE "\r\n");
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
	fd = site_dial(&s);
	for (int i = 0; i < 3; i++) {
		buf_clear(&b);
		raw_put(fd,
			"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
		assert_true(raw_get_until(fd, &b, "\r\n\r\n2"));
	}
	/* Two at once: answered in order. */
	buf_clear(&b);
	raw_put(fd, "GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
		    "GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(raw_get_until(fd, &b, "/second"));
	assert_true(strstr(b.s, "/first") < strstr(b.s, "/second"));
	close(fd);
	site_close(&s);
}

static void errors_are_problem_documents(void **state)
{
	struct site s;
	(void)state;

	site_open(&s, (struct httpd_conf){ 0 });
	CLEANUP_STR char *a = site_ask(&s, "GET /err HTTP/1.1\r\n" RAW_CLOSE "\r\n");
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
	CLEANUP_STR char *a = site_ask(&s, "GET /forget HTTP/1.1\r\n" RAW_CLOSE "\r\n");
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
		CLEANUP_STR char *a =
			site_ask(&s, "GET %s HTTP/1.1\r\n" RAW_CLOSE "\r\n", bad[i]);

		assert_starts(a, "HTTP/1.1 400 ");
		assert_contains(a, "\"kind\":\"invalid\"");
	}
	site_close(&s);
}

/* ----------------------------------------------------------------- closing */

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
		fd[i] = site_dial(&s);
	raw_put(fd[0], "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
	req = site_take_parked(&s);
	raw_put(fd[1], "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	stream = site_take_stream(&s);
	assert_true(raw_get_until(fd[1], &streaming, "\r\n\r\n"));
	raw_put(fd[2], "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	raw_put(fd[3], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");

	assert_int_equal(pthread_create(&closer, NULL, close_site, &s), 0);
	/* These need not wait for the one that runs. */
	assert_true(
		raw_get_until(fd[0], &parked, "\"detail\":\"this server is stopping"));
	assert_starts(parked.s, "HTTP/1.1 503 ");
	assert_true(raw_get_until(fd[1], &streaming, "\r\n0\r\n\r\n"));
	assert_true(raw_get_until(fd[3], &queued, "HTTP/1.1 503 ") || queued.size == 0);
	site_open_gate(&s);
	assert_true(raw_get_until(fd[2], &running, "\r\n\r\nthrough"));
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
	fd = site_dial(&s);
	raw_put(fd, "GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
	site_wait_running(&s, 1);
	assert_int_equal(pthread_create(&closer, NULL, close_site, &s), 0);
	assert_true(raw_get_until(fd, &b, "HTTP/1.1 503 "));
	site_open_gate(&s);
	pthread_join(closer, NULL);
	close(fd);
}

/* ----------------------------------------------------------------- opening */

static void assert_open_fails(
	const char *listen, const char *cert, const char *key, const char *why)
{
	CLEANUP(strv_done) struct strv sv = { 0 };
	struct httpd_conf conf = { .listen = &sv, .cert_file = cert, .key_file = key };
	struct httpd *d = NULL;
	struct err e = { 0 };

	if (listen)
		strv_add(&sv, listen);
	assert_int_equal(httpd_open(&conf, site_handle, NULL, &d, &e), -1);
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
	assert_int_equal(httpd_open(&conf, site_handle, &s, &s.d, &e), 0);
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
		cmocka_unit_test(closing_waits_for_handlers_only),
		cmocka_unit_test(closing_gives_up_on_slow_handlers),
		cmocka_unit_test(what_cannot_be_opened_says_why),
		cmocka_unit_test(two_addresses_share_the_workers),
		cmocka_unit_test(tls),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
