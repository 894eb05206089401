#include "common/base/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/httpd.h"
#include "common/base/log.h"
#include "tests/lib/test_util.h"

struct site {
	struct httpd *d;
	struct http *h;
	char *base; /* http://[::1]:PORT */
};

static void stream_three(struct httpd_req *req)
{
	struct httpd_stream *s = httpd_answer_stream(req, "text/event-stream");

	for (int i = 0; i < 3; i++) {
		char text[32];

		snprintf(text, sizeof(text), "data: %d\n\n", i);
		httpd_stream_send(s, text, strlen(text));
	}
	httpd_stream_close(s);
}

static void answer_echo(struct httpd_req *req)
{
	static const char *const names[] = { "Authorization", "Content-Type", "X-One",
		"Expect", "User-Agent" };
	struct buf b = { 0 };
	size_t size;
	const char *body = httpd_body(req, &size);

	buf_addf(&b, "%s %s|", httpd_method(req), httpd_path(req));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *v = httpd_header(req, names[i]);

		buf_addf(&b, "%s|", v ? v : "-");
	}
	buf_add(&b, body, size);
	httpd_answer(req, 200, "text/plain; charset=utf-8", b.s, b.size);
	buf_done(&b);
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	const char *path = httpd_path(req);

	(void)aux;
	if (strcmp(path, "/never") == 0)
		return HTTPD_PARK;
	if (strcmp(path, "/stream") == 0) {
		stream_three(req);
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/moved") == 0) {
		httpd_add_header(req, "Location", "/v1/x");
		httpd_add_header(req, "Retry-After", "7");
		httpd_answer(req, 302, NULL, "elsewhere", 9);
		return HTTPD_ANSWERED;
	}
	if (strcmp(path, "/big") == 0) {
		char *text = xcalloc(1, 5000);

		memset(text, 'x', 5000);
		httpd_answer(req, 200, NULL, text, 5000);
		free(text);
		return HTTPD_ANSWERED;
	}
	answer_echo(req);
	return HTTPD_ANSWERED;
}

static enum httpd_result handle_and_keep(void *aux, struct httpd_req *req)
{
	if (strcmp(httpd_path(req), "/never") == 0)
		*(struct httpd_req **)aux = req;
	return handle(aux, req);
}

static struct httpd_req *never; /* the parked one, answered at the end */

static int site_open(void **state)
{
	static struct site s;
	CLEANUP(strv_done) struct strv listen = { 0 };
	struct httpd_conf conf = { .listen = &listen };
	struct err e;

	signal(SIGPIPE, SIG_IGN);
	/* A proxy of the environment is not ours to use. */
	setenv("http_proxy", "http://[::1]:1", 1);
	setenv("HTTPS_PROXY", "http://[::1]:1", 1);
	strv_add(&listen, "[::1]:0");
	if (httpd_open(&conf, handle_and_keep, &never, &s.d, &e) < 0)
		fail_msg("%s", e.msg);
	s.h = http_new(&(struct http_conf){ .max_body = 4999 });
	s.base = xasprintf("http://[::1]:%u", httpd_port(s.d, 0));
	*state = &s;
	return 0;
}

static int site_close(void **state)
{
	struct site *s = *state;

	httpd_close(s->d);
	if (never)
		httpd_answer(never, 200, NULL, NULL, 0);
	http_free(s->h);
	http_free(NULL);
	free(s->base);
	return 0;
}

static int call(const struct site *s, const char *path, struct http_req req,
	struct http_resp *resp, struct err *e)
{
	CLEANUP_STR char *url = xasprintf("%s%s", s->base, path);

	req.url = url;
	return http_call(s->h, &req, resp, e);
}

static void all_of_a_request_arrives(void **state)
{
	CLEANUP(http_resp_done) struct http_resp r = { 0 };
	const char *headers[] = { "X-One: 1", NULL };
	struct err e;

	assert_int_equal(call(*state, "/a%20b",
				 (struct http_req){ .method = "PATCH",
					 .authorization = "Bearer abc",
					 .body = "x\0y",
					 .body_size = 3,
					 .headers = headers },
				 &r, &e),
		0);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.content_type, "text/plain; charset=utf-8");
	assert_null(r.location);
	assert_non_null(
		strstr(r.body.s, "PATCH /a b|Bearer abc|application/json|1|-|ucloud/"));
	assert_memory_equal(r.body.s + r.body.size - 4, "|x\0y", 4);
	/* Nothing of one call is left in the next. */
	assert_int_equal(
		call(*state, "/b", (struct http_req){ .method = "GET" }, &r, &e), 0);
	assert_non_null(strstr(r.body.s, "GET /b|-|-|-|-|ucloud/"));
	assert_int_equal(
		call(*state, "/c", (struct http_req){ .method = "HEAD" }, &r, &e), 0);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body.size, 0);
	assert_int_equal(call(*state, "/c",
				 (struct http_req){ .method = "POST",
					 .body = "",
					 .content_type = "text/plain" },
				 &r, &e),
		0);
	assert_non_null(strstr(r.body.s, "POST /c|-|text/plain|"));
}

static void redirects_are_not_followed(void **state)
{
	CLEANUP(http_resp_done) struct http_resp r = { 0 };
	struct err e;

	assert_int_equal(
		call(*state, "/moved", (struct http_req){ .method = "GET" }, &r, &e), 0);
	assert_int_equal(r.status, 302);
	assert_string_equal(r.location, "/v1/x");
	assert_string_equal(r.retry_after, "7");
	assert_string_equal(r.body.s, "elsewhere");
}

static void failures_name_the_server(void **state)
{
	const struct site *s = *state;
	CLEANUP(http_resp_done) struct http_resp r = { 0 };
	CLEANUP_STR char *want = xasprintf("%s: ", s->base);
	uint16_t port = test_free_port();
	CLEANUP_STR char *closed = xasprintf("http://[::1]:%u/v1?x=secret", port);
	CLEANUP_STR char *closed_want = xasprintf("http://[::1]:%u: ", port);
	struct http_req req = {
		.method = "GET", .url = closed, .authorization = "Basic c2VjcmV0"
	};
	struct err e = { 0 };

	r.status = 77;
	assert_int_equal(http_call(s->h, &req, &r, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_true(str_has_prefix(e.msg, closed_want));
	assert_null(strstr(e.msg, "secret"));
	assert_null(strstr(e.msg, "c2VjcmV0"));
	assert_int_equal(r.status, 77);

	req = (struct http_req){ .method = "GET", .limit_msec = 100 };
	assert_int_equal(call(s, "/never", req, &r, &e), -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_true(str_has_prefix(e.msg, want));

	req = (struct http_req){ .method = "GET" };
	assert_int_equal(call(s, "/big", req, &r, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_non_null(strstr(e.msg, ": the answer is larger than 4999 bytes"));
}

static void bad_requests_are_refused(void **state)
{
	static const char *const urls[] = { "ftp://[::1]/x", "file:///etc/passwd",
		"http://user:word@[::1]:1/", "http://", "http://[::1]:99999/" };
	const struct site *s = *state;
	CLEANUP(http_resp_done) struct http_resp r = { 0 };
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct http_req req = { .method = "GET", .url = urls[i] };

		assert_int_equal(http_call(s->h, &req, &r, &e), -1);
		if (e.kind != ERR_INVALID)
			fail_msg("%s: %s", urls[i], e.msg);
		assert_null(strstr(e.msg, "word"));
	}
	struct http_req req = { .method = "GET", .authorization = "a\r\nX-One: 2" };
	assert_int_equal(call(s, "/", req, &r, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(strstr(e.msg, "X-One"));
	struct http *h = http_new(&(struct http_conf){ .ca_file = "/nonexistent/ca" });
	req = (struct http_req){ .method = "GET", .url = "https://[::1]:1/" };
	assert_int_equal(http_call(h, &req, &r, &e), -1);
	http_free(h);
}

static int take_piece(void *aux, const char *p, size_t size)
{
	buf_add(aux, p, size);
	return strstr(buf_str(aux), "data: 1") != NULL;
}

static int take_all(void *aux, const char *p, size_t size)
{
	buf_add(aux, p, size);
	return 0;
}

static void streams(void **state)
{
	const struct site *s = *state;
	CLEANUP_STR char *url = xasprintf("%s/stream", s->base);
	CLEANUP_STR char *moved = xasprintf("%s/moved", s->base);
	CLEANUP(buf_done) struct buf b = { 0 };
	struct http_req req = { .method = "GET", .url = url };
	struct err e;
	int status = 0;

	assert_int_equal(http_stream(s->h, &req, take_all, &b, &status, &e), 0);
	assert_int_equal(status, 200);
	assert_string_equal(b.s, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
	buf_clear(&b);
	status = 0;
	assert_int_equal(http_stream(s->h, &req, take_piece, &b, &status, &e), 0);
	assert_int_equal(status, 200);
	assert_non_null(strstr(b.s, "data: 1"));
	buf_clear(&b);
	req.url = moved;
	assert_int_equal(http_stream(s->h, &req, take_all, &b, &status, &e), 0);
	assert_int_equal(status, 302);
	assert_int_equal(b.size, 0);
}

static void urls_are_completed(void **state)
{
	static const char *const rows[][2] = {
		{ "[2001:db8::1]", "http://[2001:db8::1]:2379" },
		{ "2001:db8::1", "http://[2001:db8::1]:2379" },
		{ "host:1234", "http://host:1234" },
		{ "host", "http://host:2379" },
		{ "https://host/", "https://host:2379" },
		{ "https://host:443/api/", "https://host:443/api" },
		{ "http://[::1]:2379", "http://[::1]:2379" },
		{ "not a url", "http://not a url" },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP_STR char *url = url_complete(rows[i][0], "http", 2379);

		assert_string_equal(url, rows[i][1]);
	}
	CLEANUP_STR char *escaped = url_escape("a b/\xC3\xA4?&");
	assert_string_equal(escaped, "a%20b%2F%C3%A4%3F%26");
	CLEANUP_STR char *path = url_escape_path("a b/\xC3\xA4?//c/");
	assert_string_equal(path, "a%20b/%C3%A4%3F//c/");
	CLEANUP_STR char *empty = url_escape("");
	assert_string_equal(empty, "");
}

/* The same trouble has the same words each time. */
static void test_times_are_dropped(void **state)
{
	static const char *const cases[][2] = {
		{ "Failed to connect to ::1 port 9 after 12 ms: Couldn't connect",
			"Failed to connect to ::1 port 9: Couldn't connect" },
		{ "Operation timed out after 3001 milliseconds with 0 bytes received",
			"Operation timed out with 0 bytes received" },
		{ "after 3 tries", "after 3 tries" },
		{ "it went down after lunch", "it went down after lunch" },
		{ " after 5", " after 5" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[128];

		snprintf(text, sizeof(text), "%s", cases[i][0]);
		http_drop_times(text);
		assert_string_equal(text, cases[i][1]);
	}
}

static void exposed_urls(void **state)
{
	static const char *const no[] = { "https://otp.example/",
		"http://[::1]:8441/verify", "http://localhost:80",
		"https://[2001:db8::1]", "" };
	static const char *const yes[] = { "http://otp.example/",
		"http://[2001:db8::1]:80", "http://[::]/", "http://user@otp.example/x" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(url_is_exposed(no[i]));
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(url_is_exposed(yes[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exposed_urls),
		cmocka_unit_test(all_of_a_request_arrives),
		cmocka_unit_test(redirects_are_not_followed),
		cmocka_unit_test(failures_name_the_server),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(streams),
		cmocka_unit_test(urls_are_completed),
		cmocka_unit_test(test_times_are_dropped),
	};

	return cmocka_run_group_tests(tests, site_open, site_close);
}
