#include "common/base/httpd_impl.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#include "common/base/log.h"

/* ------------------------------------------------------------------- pairs */

void httpd_pairs_add(struct httpd_pairs *p, const char *name, const char *value)
{
	p->v = xreallocarray(p->v, p->len + 1, sizeof(*p->v));
	p->v[p->len++] = (struct httpd_pair){ xstrdup(name), xstrdup(value) };
}

static void pairs_done(struct httpd_pairs *p)
{
	for (size_t i = 0; i < p->len; i++) {
		free(p->v[i].name);
		free(p->v[i].value);
	}
	free(p->v);
	*p = (struct httpd_pairs){ 0 };
}

/* ---------------------------------------------------------------- counting */

void httpd_req_ref(struct httpd_req *req)
{
	__atomic_add_fetch(&req->refs, 1, __ATOMIC_RELAXED);
}

void httpd_body_drop(struct httpd_req *req)
{
	buf_done(&req->body);
	__atomic_sub_fetch(&req->d->n_body_bytes, req->n_counted, __ATOMIC_RELAXED);
	req->n_counted = 0;
}

void httpd_req_unref(struct httpd_req *req)
{
	if (__atomic_sub_fetch(&req->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	httpd_body_drop(req);
	httpd_body_free(req->in);
	if (req->resp)
		MHD_destroy_response(req->resp);
	free(req->method);
	free(req->path);
	free(req->peer);
	pairs_done(&req->query);
	pairs_done(&req->headers);
	pairs_done(&req->answer_headers);
	httpd_unref(req->d);
	free(req);
}

bool httpd_req_claim(struct httpd_req *req)
{
	struct httpd *d = req->d;
	bool is_ours;

	pthread_mutex_lock(&d->lock);
	is_ours = !req->is_claimed;
	if (is_ours) {
		req->is_claimed = true;
		DL_DELETE(d->held, req);
	}
	pthread_mutex_unlock(&d->lock);
	return is_ours;
}

void httpd_req_finish(struct httpd_req *req, int status, struct MHD_Response *resp)
{
	req->resp = resp;
	req->status = status;
	httpd_resume(req->d, req->mhd);
}

void httpd_req_refuse(struct httpd_req *req, const struct err *e)
{
	struct MHD_Response *resp;

	if (!httpd_req_claim(req))
		return;
	resp = httpd_problem(e);
	MHD_add_response_header(resp, "Connection", "close");
	httpd_req_finish(req, err_http_status(e->kind), resp);
}

/* ---------------------------------------------------------- what was asked */

const char *httpd_method(const struct httpd_req *req)
{
	return req->method;
}

const char *httpd_path(const struct httpd_req *req)
{
	return req->path;
}

const char *httpd_query(const struct httpd_req *req, const char *name)
{
	for (size_t i = 0; i < req->query.len; i++)
		if (strcmp(req->query.v[i].name, name) == 0)
			return req->query.v[i].value;
	return NULL;
}

const char *httpd_header(const struct httpd_req *req, const char *name)
{
	for (size_t i = 0; i < req->headers.len; i++)
		if (strcasecmp(req->headers.v[i].name, name) == 0)
			return req->headers.v[i].value;
	return NULL;
}

const char *httpd_body(const struct httpd_req *req, size_t *size)
{
	*size = req->body.size;
	return buf_str(&req->body);
}

const char *httpd_peer(const struct httpd_req *req)
{
	return req->peer;
}

bool httpd_is_open(const struct httpd_req *req)
{
	struct httpd *d = req->d;
	bool is_open;

	pthread_mutex_lock(&d->lock);
	is_open = !req->is_claimed;
	pthread_mutex_unlock(&d->lock);
	return is_open;
}

void httpd_each_query(const struct httpd_req *req,
	void (*fn)(void *aux, const char *name, const char *value), void *aux)
{
	for (size_t i = 0; i < req->query.len; i++)
		fn(aux, req->query.v[i].name, req->query.v[i].value);
}

/* ----------------------------------------------------------------- answers */

void httpd_add_header(struct httpd_req *req, const char *name, const char *value)
{
	httpd_pairs_add(&req->answer_headers, name, value);
}

static void add_headers(const struct httpd_req *req, struct MHD_Response *resp)
{
	for (size_t i = 0; i < req->answer_headers.len; i++) {
		const struct httpd_pair *h = &req->answer_headers.v[i];

		if (MHD_add_response_header(resp, h->name, h->value) != MHD_YES)
			log_warn("left out a header that HTTP cannot carry name=%s",
				h->name);
	}
}

static struct MHD_Response *response_of(
	const char *content_type, const char *body, size_t size)
{
	struct MHD_Response *resp = MHD_create_response_from_buffer(
		size, (void *)(uintptr_t)(size ? body : ""), MHD_RESPMEM_MUST_COPY);

	if (!resp)
		abort(); /* only out of memory */
	if (content_type)
		MHD_add_response_header(resp, "Content-Type", content_type);
	return resp;
}

void httpd_answer(struct httpd_req *req, int status, const char *content_type,
	const char *body, size_t size)
{
	if (httpd_req_claim(req)) {
		struct MHD_Response *resp = response_of(content_type, body, size);

		add_headers(req, resp);
		httpd_req_finish(req, status, resp);
	}
	httpd_req_unref(req);
}

void httpd_answer_json(struct httpd_req *req, int status, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

	json_decref(json);
	if (!text) {
		struct err e;

		err_set(&e, ERR_INTERNAL, "the answer cannot be written as JSON");
		httpd_answer_err(req, &e);
		return;
	}
	httpd_answer(req, status, "application/json", text, strlen(text));
	free(text);
}

static char *problem_text(const struct err *e)
{
	int status = err_http_status(e->kind);
	json_t *json = json_object();
	char *text;

	json_object_set_new(json, "type", json_string("about:blank"));
	json_object_set_new(
		json, "title", json_string(MHD_get_reason_phrase_for((unsigned)status)));
	json_object_set_new(json, "status", json_integer(status));
	/* What is no UTF-8 (a name from elsewhere, cut in the middle) is left out. */
	json_object_set_new(json, "detail", json_string(e->msg));
	json_object_set_new(json, "kind", json_string(err_kind_name(e->kind)));
	if (e->field[0])
		json_object_set_new(json, "field", json_string(e->field));
	text = json_dumps(json, JSON_COMPACT);
	assert(text);
	json_decref(json);
	return text;
}

struct MHD_Response *httpd_problem(const struct err *e)
{
	char *text = problem_text(e);
	struct MHD_Response *resp =
		response_of("application/problem+json", text, strlen(text));

	free(text);
	return resp;
}

void httpd_answer_err(struct httpd_req *req, const struct err *e)
{
	char *text = problem_text(e);

	httpd_answer(req, err_http_status(e->kind), "application/problem+json", text,
		strlen(text));
	free(text);
}
