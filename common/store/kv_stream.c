#include "common/store/kv_stream.h"

#include <string.h>

#include "common/base/clock.h"

/* Nothing heard for so long: ask. */
#define QUIET_MSEC     10000
#define MAX_ERROR_SIZE 65536

struct kv_stream {
	struct kv_conn *conn;
	size_t endpoint;
	CURLM *multi;
	CURL *easy, *probe; /* probe: NULL when none is under way */
	struct curl_slist *headers;
	char *token, *url, *probe_url;
	struct buf body, probe_body;
	char error_text[CURL_ERROR_SIZE], probe_text[CURL_ERROR_SIZE];

	struct kv_lines lines;
	struct buf other; /* an answer that is no stream */
	enum kv_verdict verdict;
	int64_t heard_msec;
	bool is_over;
	struct err why;
	bool is_woken; /* atomic */
};

static void end_with(struct kv_stream *s, const struct err *why)
{
	if (s->is_over)
		return;
	s->is_over = true;
	s->why = *why;
}

static size_t take_bytes(char *p, size_t size, size_t n, void *aux)
{
	struct kv_stream *s = aux;
	struct err why = { 0 };
	long status = 0;

	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	s->heard_msec = clock_mono_msec();
	if (status != 200) {
		if (s->other.size + size * n <= MAX_ERROR_SIZE)
			buf_add(&s->other, p, size * n);
	} else if (kv_lines_add(&s->lines, p, size * n, &why) < 0) {
		end_with(s, &why);
		return 0;
	}
	return size * n;
}

static size_t skip_bytes(char *p, size_t size, size_t n, void *aux)
{
	(void)p;
	(void)aux;
	return size * n;
}

static CURL *post_new(
	struct kv_stream *s, const char *url, const struct buf *body, char *error_text)
{
	CURL *easy = kv_curl_easy_new(kv_conn_curl(s->conn));

	error_text[0] = '\0';
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, s->headers);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buf_str(body));
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
	return easy;
}

struct kv_stream *kv_stream_open(struct kv_conn *conn, size_t endpoint, const char *path,
	const char *token, const struct buf *body)
{
	struct kv_stream *s = xcalloc(1, sizeof(*s));

	s->conn = conn;
	s->endpoint = endpoint;
	s->heard_msec = clock_mono_msec();
	s->lines.max_size = KV_CURL_MAX_SIZE;
	s->verdict = KV_VERDICT_OK;
	s->url = xasprintf("%s%s", kv_conn_url(conn, endpoint), path);
	s->probe_url = xasprintf("%s%s", kv_conn_url(conn, endpoint), KV_WIRE_RANGE);
	s->headers = kv_curl_headers_new(token);
	buf_add(&s->body, body->s, body->size);
	kv_wire_format_probe(&s->probe_body);
	s->multi = curl_multi_init();
	if (!s->multi)
		abort(); /* out of memory */
	s->easy = post_new(s, s->url, &s->body, s->error_text);
	curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
	curl_multi_add_handle(s->multi, s->easy);
	return s;
}

static void probe_end(struct kv_stream *s)
{
	if (!s->probe)
		return;
	curl_multi_remove_handle(s->multi, s->probe);
	curl_easy_cleanup(MOVE(s->probe));
}

void kv_stream_close(struct kv_stream *s)
{
	if (!s)
		return;
	probe_end(s);
	curl_multi_remove_handle(s->multi, s->easy);
	curl_easy_cleanup(s->easy);
	curl_multi_cleanup(s->multi);
	kv_curl_headers_free_ptr(&s->headers);
	free(s->url);
	free(s->probe_url);
	buf_done(&s->body);
	buf_done(&s->probe_body);
	buf_done(&s->other);
	kv_lines_done(&s->lines);
	free(s);
}

/* ---------------------------------------------------------------- is it alive? */

static int64_t max_msec(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* How long until a probe is due; 0 now, -1 one is under way or none is needed. */
static int64_t probe_due_msec(struct kv_stream *s)
{
	int64_t heard =
		max_msec(s->heard_msec, kv_conn_worked_msec(s->conn, s->endpoint));
	int64_t due = heard + QUIET_MSEC - clock_mono_msec();

	if (s->probe || s->is_over)
		return -1;
	if (kv_conn_failed_msec(s->conn, s->endpoint) > heard || due < 0)
		return 0;
	return due;
}

static void probe_begin(struct kv_stream *s)
{
	s->probe = post_new(s, s->probe_url, &s->probe_body, s->probe_text);
	curl_easy_setopt(s->probe, CURLOPT_WRITEFUNCTION, skip_bytes);
	curl_easy_setopt(s->probe, CURLOPT_TIMEOUT_MS, (long)kv_conn_limit_msec(s->conn));
	curl_multi_add_handle(s->multi, s->probe);
}

/* Any answer will do: an etcd that refuses is alive. */
static void probe_ended(struct kv_stream *s, CURLcode code)
{
	struct err why = { 0 };

	if (code == CURLE_OK) {
		s->heard_msec = clock_mono_msec();
		kv_conn_worked(s->conn, s->endpoint);
	} else {
		(void)kv_curl_set_err(&why, code, s->probe_text);
		kv_conn_failed(s->conn, s->endpoint, &why);
		end_with(s, &why);
	}
	probe_end(s);
}

/* ---------------------------------------------------------------- the stream */

static void stream_ended(struct kv_stream *s, CURLcode code)
{
	struct err why = { 0 };
	long status = 0;

	curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		(void)kv_curl_set_err(&why, code, s->error_text);
	else if (status == 200)
		(void)err_set(&why, ERR_UNAVAILABLE, "etcd has ended the stream");
	else
		s->verdict = kv_wire_judge(
			(int)status, buf_str(&s->other), s->other.size, &why);
	end_with(s, &why);
}

static void run(struct kv_stream *s)
{
	CURLMsg *msg;
	int n_running, n_left;

	curl_multi_perform(s->multi, &n_running);
	while ((msg = curl_multi_info_read(s->multi, &n_left))) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		if (msg->easy_handle == s->easy)
			stream_ended(s, msg->data.result);
		else if (msg->easy_handle == s->probe)
			probe_ended(s, msg->data.result);
	}
	if (probe_due_msec(s) == 0)
		probe_begin(s);
}

int kv_stream_wait(struct kv_stream *s, int64_t wait_msec, struct err *e)
{
	size_t size = s->lines.buf.size;
	int64_t due;

	if (!s->is_over)
		run(s);
	due = probe_due_msec(s);
	if (due >= 0 && due < wait_msec)
		wait_msec = due;
	if (!s->is_over && s->lines.buf.size == size && wait_msec > 0) {
		curl_multi_poll(s->multi, NULL, 0,
			(int)(wait_msec < 60000 ? wait_msec : 60000), NULL);
		run(s);
	}
	if (!s->is_over)
		return 0;
	*e = s->why;
	return err_wrap(e, "%s", kv_conn_url(s->conn, s->endpoint));
}

enum kv_verdict kv_stream_verdict(const struct kv_stream *s)
{
	return s->verdict;
}

const char *kv_stream_line(struct kv_stream *s, size_t *size)
{
	return kv_lines_next(&s->lines, size);
}

void kv_stream_wake(struct kv_stream *s)
{
	__atomic_store_n(&s->is_woken, true, __ATOMIC_RELEASE);
	curl_multi_wakeup(s->multi);
}

bool kv_stream_was_woken(struct kv_stream *s)
{
	return __atomic_exchange_n(&s->is_woken, false, __ATOMIC_ACQUIRE);
}
