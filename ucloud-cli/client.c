#include "ucloud-cli/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ucloud-cli/login.h"

#define PAGE_LEN      500 /* entries asked for at once */
#define REDIRECTS_MAX 4

struct cli_client {
	struct cli_conf conf;
	struct cli_world world;
	char *cache_dir;
	struct http *http;
	char *token; /* of the session, NULL: not asked for yet */
};

static void real_sleep(void *aux, int64_t msec)
{
	struct timespec t = { .tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000 };

	(void)aux;
	while (nanosleep(&t, &t) != 0)
		;
}

static void real_note(void *aux, const char *line)
{
	(void)aux;
	fprintf(stderr, "ucloud-cli: %s\n", line);
}

static char *user_cache_dir(void)
{
	const char *xdg = getenv("XDG_CACHE_HOME");
	CLEANUP_STR char *home = NULL;

	if (xdg && xdg[0] == '/')
		return xasprintf("%s/ucloud", xdg);
	home = cli_home();
	return xasprintf("%s/.cache/ucloud", home);
}

struct cli_client *cli_client_new(
	const struct cli_conf *conf, const struct cli_world *world)
{
	struct cli_client *cl = xcalloc(1, sizeof(*cl));
	struct http_conf hc = { 0 };

	cl->conf.api = xstrdup(conf->api);
	cl->conf.name = xstrdup(conf->name);
	cl->conf.realm = xstrdup(conf->realm);
	cl->conf.seed = xstrdup(conf->seed);
	cl->conf.ca = xstrdup(conf->ca);
	if (world)
		cl->world = *world;
	if (!cl->world.sleep_msec)
		cl->world.sleep_msec = real_sleep;
	if (!cl->world.note)
		cl->world.note = real_note;
	cl->cache_dir =
		cl->world.cache_dir ? xstrdup(cl->world.cache_dir) : user_cache_dir();
	cl->world.cache_dir = cl->cache_dir;
	hc.ca_file = str_is_empty(cl->conf.ca) ? NULL : cl->conf.ca;
	cl->http = http_new(&hc);
	return cl;
}

void cli_client_free(struct cli_client *cl)
{
	if (!cl)
		return;
	http_free(cl->http);
	cli_conf_done(&cl->conf);
	free(cl->cache_dir);
	free(cl->token);
	free(cl);
}

const struct cli_conf *cli_client_conf(const struct cli_client *cl)
{
	return &cl->conf;
}

const struct cli_world *cli_client_world(const struct cli_client *cl)
{
	return &cl->world;
}

struct http *cli_client_http(struct cli_client *cl)
{
	return cl->http;
}

void cli_answer_done(struct cli_answer *an)
{
	json_decref(an->json);
	free(an->text);
	free(an->location);
	*an = (struct cli_answer){ 0 };
}

/* ---------------------------------------------------------- one exchange */

static bool is_json_type(const char *type)
{
	return type && (str_has_prefix(type, "application/json") ||
			       str_has_prefix(type, "application/problem+json"));
}

static void take_answer(struct http_resp *resp, struct cli_answer *out)
{
	struct cli_answer an = { .status = resp->status, .size = resp->body.size };

	if (is_json_type(resp->content_type) && resp->body.size > 0)
		an.json = json_loadb(buf_str(&resp->body), resp->body.size,
			JSON_REJECT_DUPLICATES, NULL);
	an.text = buf_take(&resp->body);
	an.location = MOVE(resp->location);
	cli_answer_done(out);
	*out = an;
}

#define HEADERS_MAX 8

/* The headers of a call, NULL-terminated. */
static void list_headers(
	const struct cli_call *call, const char *idem, const char *to[HEADERS_MAX])
{
	size_t n = 0;

	to[n++] = "Accept: application/json";
	if (idem)
		to[n++] = idem;
	for (size_t i = 0; call->headers && call->headers[i] && n + 1 < HEADERS_MAX; i++)
		to[n++] = call->headers[i];
	to[n] = NULL;
}

static int exchange(struct cli_client *cl, const char *url, const struct cli_call *call,
	const char *authorization, struct cli_answer *out, struct err *e)
{
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *body = call->body ? json_dumps(call->body, JSON_COMPACT) : NULL;
	CLEANUP_STR char *idem = call->idempotency_key ? xasprintf("Idempotency-Key: %s",
								 call->idempotency_key)
						       : NULL;
	const char *headers[HEADERS_MAX];
	struct http_req req = {
		.method = call->method,
		.url = url,
		.authorization = authorization,
		.body = body,
		.body_size = body ? strlen(body) : 0,
		.headers = headers,
		.limit_msec = call->limit_msec,
	};
	int r;

	list_headers(call, idem, headers);
	r = call->upload ? http_upload(cl->http, &req, call->upload, &resp, e)
			 : http_call(cl->http, &req, &resp, e);
	if (r < 0) {
		if (e->kind == ERR_TIMEOUT)
			e->kind = ERR_UNAVAILABLE;
		return err_wrap(e, "no answer from the API");
	}
	take_answer(&resp, out);
	return 0;
}

/* A token that came over TLS goes nowhere without it. */
static int redirect_check(const char *from, const char *to, struct err *e)
{
	if (!to || (!str_has_prefix(to, "http://") && !str_has_prefix(to, "https://")))
		return err_set(e, ERR_INTERNAL,
			"the API sends elsewhere, but does not say where");
	if (str_has_prefix(from, "https://") && !str_has_prefix(to, "https://"))
		return err_set(e, ERR_DENIED,
			"the API sends elsewhere without TLS, which is not followed: %s",
			to);
	return 0;
}

int cli_call_as(struct cli_client *cl, const struct cli_call *call,
	const char *authorization, struct cli_answer *out, struct err *e)
{
	CLEANUP_STR char *url = xasprintf("%s%s", cl->conf.api, call->path);

	for (int i = 0; i < REDIRECTS_MAX; i++) {
		if (exchange(cl, url, call, authorization, out, e) < 0)
			return -1;
		if (out->status != 307)
			return 0;
		if (redirect_check(url, out->location, e) < 0)
			return -1;
		str_set(&url, xstrdup(out->location));
	}
	return err_set(e, ERR_INTERNAL,
		"the API sends elsewhere again and again, at last to %s", url);
}

/* --------------------------------------------------------------- problems */

static enum err_kind kind_by_name(const char *name, int status)
{
	for (int k = ERR_INVALID; name && k < ERR_N_KINDS; k++)
		if (str_eq(name, err_kind_name((enum err_kind)k)))
			return (enum err_kind)k;
	return err_kind_of_http(status);
}

static const char *text_of(const json_t *json, const char *member)
{
	const char *s = json_string_value(json_object_get(json, member));

	return str_is_empty(s) ? NULL : s;
}

int cli_problem(const struct cli_answer *an, struct err *e)
{
	const char *detail = text_of(an->json, "detail");
	enum err_kind kind = kind_by_name(text_of(an->json, "kind"), an->status);
	const char *field = text_of(an->json, "field");

	if (!detail)
		detail = text_of(an->json, "title");
	if (detail)
		return err_set_field(e, kind, field ? field : "", "%s", detail);
	/* Not from the API itself: something between here and there. */
	if (an->status == 502 || an->status == 503 || an->status == 504)
		kind = ERR_UNAVAILABLE;
	return err_set(e, kind, "the API answered with status %d and no explanation",
		an->status);
}

/* ----------------------------------------------------------------- calls */

static int need_token(struct cli_client *cl, struct err *e)
{
	if (cl->token)
		return 0;
	return cli_login_token(cl, NULL, &cl->token, e);
}

static int renew_token(struct cli_client *cl, struct err *e)
{
	CLEANUP_STR char *refused = MOVE(cl->token);

	return cli_login_token(cl, refused, &cl->token, e);
}

/* Does it do no harm to send this twice? */
static bool is_repeatable(const struct cli_call *call)
{
	return str_eq(call->method, "GET") || call->idempotency_key;
}

static int call_once(struct cli_client *cl, const struct cli_call *call,
	struct cli_answer *out, struct err *e)
{
	CLEANUP_STR char *bearer = NULL;
	int r;

	if (need_token(cl, e) < 0)
		return -1;
	bearer = xasprintf("Bearer %s", cl->token);
	r = cli_call_as(cl, call, bearer, out, e);
	if (r < 0 && e->kind == ERR_UNAVAILABLE && is_repeatable(call))
		r = cli_call_as(cl, call, bearer, out, e);
	return r;
}

int cli_call(struct cli_client *cl, const struct cli_call *call, struct cli_answer *out,
	struct err *e)
{
	if (call_once(cl, call, out, e) < 0)
		return -1;
	if (out->status == 401 &&
		(renew_token(cl, e) < 0 || call_once(cl, call, out, e) < 0))
		return -1;
	if (out->status / 100 != 2)
		return cli_problem(out, e);
	return 0;
}

int cli_get(struct cli_client *cl, const char *path, json_t **out, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	struct cli_call call = { .method = "GET", .path = path };

	if (cli_call(cl, &call, &an, e) < 0)
		return -1;
	if (!json_is_object(an.json))
		return err_set(e, ERR_INTERNAL,
			"the API's answer to GET %s is no JSON object: is %s an API of "
			"ucloud?",
			path, cl->conf.api);
	*out = MOVE(an.json);
	return 0;
}

int cli_stream(struct cli_client *cl, const char *path, http_piece_fn *fn, void *aux,
	struct err *e)
{
	CLEANUP_STR char *url = xasprintf("%s%s", cl->conf.api, path);
	int status = 0;

	for (int i = 0; i < 2; i++) {
		CLEANUP_STR char *bearer = NULL;
		struct http_req req = { .method = "GET", .url = url };

		if ((i == 0 ? need_token(cl, e) : renew_token(cl, e)) < 0)
			return -1;
		bearer = xasprintf("Bearer %s", cl->token);
		req.authorization = bearer;
		if (http_stream(cl->http, &req, fn, aux, &status, e) < 0)
			return -1;
		if (status != 401)
			break;
	}
	if (status / 100 == 2)
		return 0;
	return err_set(
		e, err_kind_of_http(status), "the API answered with status %d", status);
}

/* ----------------------------------------------------------------- lists */

json_t *cli_list_of(const json_t *page, const char **member)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)page, name, value) {
		if (!json_is_array(value))
			continue;
		if (member)
			*member = name;
		return value;
	}
	return NULL;
}

static char *page_path(const char *path, const char *after)
{
	CLEANUP_STR char *escaped = url_escape(after ? after : "");

	return xasprintf("%s%slimit=%d%s%s", path, strchr(path, '?') ? "&" : "?",
		PAGE_LEN, after ? "&after=" : "", escaped);
}

int cli_get_all(struct cli_client *cl, const char *path, bool has_pages, json_t **out,
	struct err *e)
{
	CLEANUP_STR char *after = NULL;
	json_t *all = NULL, *page = NULL, *list;
	const char *next;

	do {
		CLEANUP_STR char *url =
			has_pages ? page_path(path, after) : xstrdup(path);

		if (cli_get(cl, url, &page, e) < 0) {
			json_decref(all);
			return -1;
		}
		next = json_string_value(json_object_get(page, "next"));
		if (str_is_empty(next) || str_eq(next, after))
			next = NULL;
		str_set(&after, xstrdup(next));
		list = cli_list_of(page, NULL);
		if (!all) {
			all = page;
			json_object_del(all, "next");
			continue;
		}
		if (list)
			json_array_extend(cli_list_of(all, NULL), list);
		json_decref(page);
	} while (after);
	*out = all;
	return 0;
}
