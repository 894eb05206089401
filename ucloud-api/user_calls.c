/*
 * Calls about oneself: sessions, SSH keys, quota; and those that need no token.
 */
#include <string.h>

#include "common/base/metrics.h"
#include "common/model/names.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"

struct session_out {
	char *token, *name, *realm;
	bool is_admin;
	int64_t expires;
};

#define AT(member) offsetof(struct session_out, member)
static const struct jtab_field session_fields[] = {
	{ "token", JT_STR, AT(token), JT_ALWAYS,
		.help = "send it as \"Authorization: Bearer <token>\"" },
	{ "expires", JT_TIME, AT(expires), JT_ALWAYS },
	{ "name", JT_STR, AT(name), JT_ALWAYS },
	{ "realm", JT_STR, AT(realm), JT_ALWAYS },
	{ "admin", JT_BOOL, AT(is_admin), JT_ALWAYS },
	{ 0 },
};
const struct jtab session_jtab = { "session", sizeof(struct session_out),
	session_fields };
#undef AT

struct health_out {
	char *status;
};
static const struct jtab_field health_fields[] = {
	{ "status", JT_STR, offsetof(struct health_out, status), JT_ALWAYS,
		.help = "ok" },
	{ 0 },
};
const struct jtab health_jtab = { "health", sizeof(struct health_out), health_fields };

/* ---------------------------------------------------------------- sessions */

enum route_result call_session_create(struct call *c, struct err *e)
{
	CLEANUP_STR char *name = xstrdup(c->who.name);
	CLEANUP_STR char *realm = xstrdup(c->who.realm);
	char token[TOKEN_STR_SIZE];
	struct session_out out = {
		.token = token, .name = name, .realm = realm, .is_admin = c->who.is_admin
	};

	/* Else a stolen token could be kept alive for ever. */
	if (bearer_token(httpd_header(c->req, "Authorization")))
		return err_set(e, ERR_DENIED,
			"a session is opened with name, realm and one-time password "
			"(Basic), not from another session");
	if (sessions_create(
		    c->api->sessions, name, realm, c->now, token, &out.expires, e) < 0)
		return ROUTE_FAILED;
	httpd_add_header(c->req, "Cache-Control", "no-store");
	return answer_entry(c, 201, &session_jtab, &out);
}

enum route_result call_session_delete(struct call *c, struct err *e)
{
	const char *token = bearer_token(httpd_header(c->req, "Authorization"));

	if (!token)
		return err_set(e, ERR_INVALID,
			"which session? Send its token as \"Authorization: Bearer\"");
	if (sessions_delete(c->api->sessions, token, e) < 0)
		return ROUTE_FAILED;
	return answer_nothing(c);
}

/* Of anybody, for admins: after they have lost their rights, or a token. */
enum route_result call_user_sessions_delete(struct call *c, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *realm = NULL;
	bool is_own;

	if (call_user_ref(c, "user", c->params[0], &name, &realm, e) < 0)
		return ROUTE_FAILED;
	is_own = str_eq(name, c->who.name) && str_eq(realm, c->who.realm);
	if (!is_own && !c->who.is_admin)
		return err_set(e, ERR_DENIED, "only admins may end others' sessions");
	if (sessions_delete_all(c->api->sessions, name, realm, e) < 0)
		return ROUTE_FAILED;
	return answer_nothing(c);
}

/* ---------------------------------------------------------------- me, my keys */

static int get_me(struct call *c, struct user *u, struct err *e)
{
	return orders_user_get(c->api->orders, &c->who, c->who.name, c->who.realm, u, e);
}

enum route_result call_me(struct call *c, struct err *e)
{
	CLEANUP(user_done) struct user u = { 0 };

	if (get_me(c, &u, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &user_jtab, &u);
}

enum route_result call_key_list(struct call *c, struct err *e)
{
	CLEANUP(user_done) struct user u = { 0 };
	struct list_page page = { 0 };
	struct list_range range;
	bool is_begun;

	if (call_range(c, name_check, &range, e) < 0 || get_me(c, &u, e) < 0)
		return ROUTE_FAILED;
	is_begun = !range.after;
	page.items = json_array();
	for (size_t i = 0; i < u.ssh_keys.len && !page.next; i++) {
		const struct ssh_key *k = jtab_list_at(&ssh_key_jtab, &u.ssh_keys, i);

		if (is_begun)
			json_array_append_new(
				page.items, jtab_format_public(&ssh_key_jtab, k));
		is_begun = is_begun || str_eq(k->name, range.after);
		if (json_array_size(page.items) == range.limit && i + 1 < u.ssh_keys.len)
			page.next = xstrdup(k->name);
	}
	return answer_list(c, "ssh_keys", &page);
}

enum route_result call_key_add(struct call *c, struct err *e)
{
	struct ssh_key key = { 0 };
	enum route_result result;
	int r = orders_ssh_key_add(c->api->orders, &c->who, c->body, c->now, &key, e);

	if (r < 0)
		return ROUTE_FAILED;
	result = answer_made(c, r, 201, "/v1/ssh-keys", key.name,
		jtab_format_public(&ssh_key_jtab, &key));
	jtab_done(&ssh_key_jtab, &key);
	return result;
}

enum route_result call_key_delete(struct call *c, struct err *e)
{
	if (orders_ssh_key_del(c->api->orders, &c->who, c->params[0], e) < 0)
		return ROUTE_FAILED;
	return answer_nothing(c);
}

/* ---------------------------------------------------------------- the others */

enum route_result call_events(struct call *c, struct err *e)
{
	int64_t expires = c->session_expires;

	if (!c->session)
		expires = c->now + c->api->conf->session_ttl_sec;
	if (events_add(c->api->events, c->req, &c->who, c->session, expires, e) < 0)
		return ROUTE_FAILED;
	return ROUTE_ANSWERED;
}

enum route_result call_openapi(struct call *c, struct err *e)
{
	(void)e;
	httpd_answer(c->req, 200, "application/json", c->api->openapi,
		strlen(c->api->openapi));
	return ROUTE_ANSWERED;
}

enum route_result call_health(struct call *c, struct err *e)
{
	if (api_health(c->api, e) < 0)
		return ROUTE_FAILED;
	return answer_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

enum route_result call_metrics(struct call *c, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	(void)e;
	metrics_format(&text);
	httpd_answer(c->req, 200, "text/plain; version=0.0.4; charset=utf-8",
		buf_str(&text), text.size);
	return ROUTE_ANSWERED;
}
