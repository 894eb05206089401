#include "tests/lib/httpd_site.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "tests/lib/http_raw.h"

void site_changed(struct site *s)
{
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void add_pair(void *aux, const char *name, const char *value)
{
	json_object_set_new(aux, name, json_string(value));
}

void site_answer_show(struct httpd_req *req)
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

enum httpd_result site_handle(void *aux, struct httpd_req *req)
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
	site_answer_show(req);
	return HTTPD_ANSWERED;
}

void site_open(struct site *s, struct httpd_conf conf)
{
	CLEANUP(strv_done) struct strv listen = { 0 };
	struct err e;

	*s = (struct site){ 0 };
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	strv_add(&listen, "[::1]:0");
	conf.listen = &listen;
	if (httpd_open(&conf, site_handle, s, &s->d, &e) < 0)
		fail_msg("%s", e.msg);
}

void site_close(struct site *s)
{
	httpd_close(s->d);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
}

struct httpd_req *site_take_parked(struct site *s)
{
	struct httpd_req *req;

	pthread_mutex_lock(&s->lock);
	while (s->n_parked == 0)
		pthread_cond_wait(&s->changed, &s->lock);
	req = s->parked[--s->n_parked];
	pthread_mutex_unlock(&s->lock);
	return req;
}

struct httpd_stream *site_take_stream(struct site *s)
{
	struct httpd_stream *stream;

	pthread_mutex_lock(&s->lock);
	while (!s->stream)
		pthread_cond_wait(&s->changed, &s->lock);
	stream = MOVE(s->stream);
	pthread_mutex_unlock(&s->lock);
	return stream;
}

void site_wait_running(struct site *s, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	while (s->n_running != n)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void site_open_gate(struct site *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_open_gate = true;
	site_changed(s);
}

int site_dial(const struct site *s)
{
	return raw_dial(httpd_port(s->d, 0));
}

char *site_ask(const struct site *s, const char *fmt, ...)
{
	char *text = NULL;
	struct buf b = { 0 };
	int fd = site_dial(s);
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	raw_put(fd, text);
	raw_get_until(fd, &b, NULL);
	close(fd);
	free(text);
	return buf_take(&b);
}

char *site_text(char c, size_t n)
{
	char *s = xmalloc(n + 1);

	memset(s, c, n);
	s[n] = '\0';
	return s;
}
