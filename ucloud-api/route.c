#include "ucloud-api/route.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "ucloud-api/api.h"

static struct metric n_requests = { METRIC_COUNTER, "ucloud_api_request_total",
	"Calls by route.", .label = "route" };
static struct metric n_errors = { METRIC_COUNTER, "ucloud_api_error_total",
	"Calls that were refused or failed, by kind.", .label = "kind" };
static struct metric request_sec = { METRIC_HISTOGRAM, "ucloud_api_request_seconds",
	"From the complete request to its answer (or until it is parked)." };

/* ---------------------------------------------------------------- matching */

void route_match_done(struct route_match *m)
{
	for (size_t i = 0; i < ROUTE_PARAMS_MAX; i++)
		free(m->params[i]);
	*m = (struct route_match){ 0 };
}

/* "{name...}": whatever there is. */
static bool is_rest(const char *part, size_t len)
{
	static const char end[] = "...}";

	return len > strlen(end) &&
	       memcmp(part + len - strlen(end), end, strlen(end)) == 0;
}

/* Does path fit the pattern? params has the parts that stand for {...}. */
static bool fits(const char *pattern, const char *path, char *params[ROUTE_PARAMS_MAX])
{
	size_t n = 0;

	for (;;) {
		size_t p_len = strcspn(pattern, "/"), len = strcspn(path, "/");

		if (pattern[0] == '{') {
			if (is_rest(pattern, p_len))
				len = strlen(path);
			if (len == 0 || n == ROUTE_PARAMS_MAX)
				return false;
			params[n++] = xstrndup(path, len);
		} else if (len != p_len || memcmp(pattern, path, len) != 0) {
			return false;
		}
		pattern += p_len;
		path += len;
		if (*pattern == '\0' || *path == '\0')
			return *pattern == *path;
		pattern++;
		path++;
	}
}

static void add_method(struct route_match *m, const char *method)
{
	size_t len = strlen(m->allow);

	snprintf(m->allow + len, sizeof(m->allow) - len, "%s%s", len ? ", " : "", method);
}

enum route_found route_find(const struct route *routes, const char *method,
	const char *path, struct route_match *out)
{
	struct route_match m = { 0 };

	for (const struct route *r = routes; r->path; r++) {
		char allow[sizeof(m.allow)];

		if (fits(r->path, path, m.params)) {
			if (strcmp(r->method, method) == 0) {
				m.route = r;
				*out = m;
				return ROUTE_FOUND;
			}
			add_method(&m, r->method);
		}
		memcpy(allow, m.allow, sizeof(allow));
		route_match_done(&m);
		memcpy(m.allow, allow, sizeof(allow));
	}
	*out = m;
	return m.allow[0] ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}

/* ---------------------------------------------------------------- before the handler */

struct query_check {
	const struct route *route;
	struct err *e;
	int result;
};

static void check_query_name(void *aux, const char *name, const char *value)
{
	struct query_check *c = aux;

	(void)value;
	for (const struct route_query *q = c->route->query; q && q->name; q++) {
		if (strcmp(q->name, name) == 0)
			return;
	}
	if (c->result == 0)
		c->result = err_set_field(c->e, ERR_INVALID, name,
			"this call knows no query parameter \"%.60s\"", name);
}

static int check_query(
	const struct route *route, const struct httpd_req *req, struct err *e)
{
	struct query_check c = { .route = route, .e = e };

	httpd_each_query(req, check_query_name, &c);
	return c.result;
}

static int read_body(struct call *c, struct err *e)
{
	size_t size;
	const char *text = httpd_body(c->req, &size);

	if (c->route->body_kind == ROUTE_BYTES)
		return 0;
	if (size == 0 && c->route->body_kind == ROUTE_BODY)
		return err_set(e, ERR_INVALID, "this call needs a body: a JSON object");
	if (size == 0)
		return 0;
	if (c->route->body_kind == ROUTE_NO_BODY)
		return err_set(e, ERR_INVALID, "this call takes no body");
	if (json_parse(text, size, &c->body, e) < 0)
		return err_wrap(e, "the body");
	if (!json_is_object(c->body))
		return err_set(e, ERR_INVALID, "the body must be a JSON object");
	return 0;
}

static int authenticate(struct call *c, struct identity *id, struct err *e)
{
	int64_t retry_after_sec = 0;
	char text[24];

	if (c->route->access == ROUTE_OPEN)
		return 0;
	if (auth_check(c->api->auth, httpd_header(c->req, "Authorization"),
		    httpd_peer(c->req), c->now, id, &retry_after_sec, e) < 0) {
		if (e->kind == ERR_UNAUTHENTICATED) {
			httpd_add_header(c->req, "WWW-Authenticate",
				"Basic realm=\"ucloud\", charset=\"UTF-8\"");
			httpd_add_header(c->req, "WWW-Authenticate", "Bearer");
		}
		if (retry_after_sec > 0) {
			snprintf(text, sizeof(text), "%lld", (long long)retry_after_sec);
			httpd_add_header(c->req, "Retry-After", text);
		}
		return -1;
	}
	c->who = (struct who){ id->name, id->realm, id->is_admin };
	c->session_expires = id->expires;
	c->session = id->session;
	if (c->route->access == ROUTE_ADMIN && !id->is_admin)
		return err_set(e, ERR_DENIED, "only admins may do this");
	return 0;
}

static void call_done(struct call *c)
{
	for (size_t i = 0; i < ROUTE_PARAMS_MAX; i++)
		free(c->params[i]);
	json_decref(c->body);
}

static enum httpd_result refuse(struct httpd_req *req, const struct err *e)
{
	metric_add(&n_errors, err_kind_name(e->kind), 1);
	httpd_answer_err(req, e);
	return HTTPD_ANSWERED;
}

static enum httpd_result no_route(
	struct httpd_req *req, enum route_found found, const struct route_match *m)
{
	struct err e;

	if (found == ROUTE_NO_PATH) {
		err_set(&e, ERR_NOT_FOUND,
			"there is no such path: /v1/openapi.json describes those there "
			"are");
		return refuse(req, &e);
	}
	err_set(&e, ERR_INVALID, "this path knows only %s", m->allow);
	metric_add(&n_errors, "method", 1);
	httpd_add_header(req, "Allow", m->allow);
	answer_problem(req, 405, "Method Not Allowed", &e);
	return HTTPD_ANSWERED;
}

static enum httpd_result run(struct call *c)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	enum route_result r = ROUTE_FAILED;
	struct err e = { 0 };

	if (authenticate(c, &id, &e) == 0 && check_query(c->route, c->req, &e) == 0 &&
		read_body(c, &e) == 0)
		r = c->route->fn(c, &e);
	/* What took too long here was the store; 504 is for waits and hosts. */
	if (r == ROUTE_FAILED && e.kind == ERR_TIMEOUT)
		e.kind = ERR_UNAVAILABLE;
	if (r == ROUTE_FAILED)
		return refuse(c->req, &e);
	return r == ROUTE_PARKED ? HTTPD_PARK : HTTPD_ANSWERED;
}

bool route_is_streamed(void *aux, const char *method, const char *path)
{
	CLEANUP(route_match_done) struct route_match m = { 0 };

	(void)aux;
	return strcmp(method, "PUT") == 0 &&
	       route_find(api_routes, method, path, &m) == ROUTE_FOUND &&
	       m.route->body_kind == ROUTE_BYTES;
}

void routes_register_metrics(void)
{
	metric_register(&n_requests);
	metric_register(&n_errors);
	metric_register(&request_sec);
}

enum httpd_result route_run(struct api *api, struct httpd_req *req)
{
	CLEANUP(call_done)
	struct call c = { .api = api, .req = req, .now = clock_unix_sec() };
	int64_t begun = clock_mono_usec();
	struct route_match m = { 0 };
	enum httpd_result result;
	enum route_found found;
	char name[96];

	found = route_find(api_routes, httpd_method(req), httpd_path(req), &m);
	if (found != ROUTE_FOUND)
		return no_route(req, found, &m);
	c.route = m.route;
	memcpy(c.params, m.params, sizeof(c.params));
	snprintf(name, sizeof(name), "%s %s", m.route->method, m.route->path);
	metric_add(&n_requests, name, 1);
	result = run(&c);
	metric_observe(&request_sec, NULL, (double)(clock_mono_usec() - begun) / 1e6);
	return result;
}
