/*
 * Calls about users' files.
 */
#include <string.h>
#include <strings.h>

#include "common/base/http.h"
#include "common/base/parse.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"
#include "ucloud-api/upload.h"

#define GIB (INT64_C(1) << 30)

/* Whose file the call is about: ?owner=, or the asker. */
struct owner {
	char *name, *realm; /* NULL: the asker's own */
};

static void owner_done(struct owner *o)
{
	free(o->name);
	free(o->realm);
}

static int take_owner(struct call *c, struct owner *o, struct err *e)
{
	return call_user_ref(
		c, "owner", httpd_query(c->req, "owner"), &o->name, &o->realm, e);
}

/* ---------------------------------------------------------------- elsewhere */

/* The same call, at the machine that has the files. */
static enum route_result send_elsewhere(struct call *c, struct err *e)
{
	CLEANUP_STR char *path = url_escape_path(c->params[0]);
	const char *owner = httpd_query(c->req, "owner");
	CLEANUP_STR char *escaped = url_escape(owner ? owner : "");
	CLEANUP_STR char *url = xasprintf("%s/v1/files/%s%s%s",
		c->api->conf->upload_url ? c->api->conf->upload_url : "", path,
		owner ? "?owner=" : "", escaped);

	if (str_is_empty(c->api->conf->upload_url))
		return err_set(e, ERR_UNSUPPORTED,
			"this API takes no files: the operator has set neither base_dir "
			"nor upload_url");
	err_set(e, ERR_NONE, "files are kept elsewhere: %.400s", url);
	httpd_add_header(c->req, "Location", url);
	answer_problem(c->req, 307, "Temporary Redirect", e);
	return ROUTE_ANSWERED;
}

/* ---------------------------------------------------------------- upload */

static bool is_chunked(const struct call *c)
{
	const char *coding = httpd_header(c->req, "Transfer-Encoding");

	return coding && strcasecmp(coding, "chunked") == 0;
}

static int quota_of(struct call *c, int64_t *bytes, struct err *e)
{
	CLEANUP(user_done) struct user u = { 0 };

	if (orders_user_get(c->api->orders, &c->who, c->who.name, c->who.realm, &u, e) <
		0)
		return -1;
	*bytes = u.quota.file_gib > UPLOAD_SIZE_MAX / GIB ? UPLOAD_SIZE_MAX
							  : u.quota.file_gib * GIB;
	return 0;
}

static enum route_result answer_misfit(struct call *c, int64_t offset)
{
	json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s, s:I}", "type", "about:blank",
		"title", "Conflict", "status", 409, "detail",
		"the body does not begin where the upload stands: go on at `offset`, or "
		"begin again at 0",
		"kind", "conflict", "offset", (json_int_t)offset);
	char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	httpd_answer(c->req, 409, "application/problem+json", text, strlen(text));
	free(text);
	return ROUTE_ANSWERED;
}

static enum route_result take(
	struct call *c, const struct upload_input *in, struct err *e)
{
	struct upload_order order = {
		.who = &c->who, .filename = c->params[0], .input = in
	};
	int64_t offset;
	int r;

	if (quota_of(c, &order.quota_bytes, e) < 0)
		return ROUTE_FAILED;
	r = uploads_take(c->api->uploads, c->req, &order, &offset, e);
	if (r == 0)
		return ROUTE_PARKED;
	if (r == UPLOAD_HAS)
		return answer_json(c, 200, upload_offset_json(c->params[0], offset));
	return r < 0 ? ROUTE_FAILED : answer_misfit(c, offset);
}

enum route_result call_file_put(struct call *c, struct err *e)
{
	struct upload_input in;
	bool needs_length;

	if (upload_name_check(c->params[0], e) < 0)
		return ROUTE_FAILED;
	if (!c->api->uploads)
		return send_elsewhere(c, e);
	if (upload_input_parse(httpd_header(c->req, "Content-Range"),
		    httpd_header(c->req, "Content-Length"), is_chunked(c),
		    httpd_header(c->req, "Repr-Digest"), &in, &needs_length, e) == 0)
		return take(c, &in, e);
	if (!needs_length)
		return ROUTE_FAILED;
	answer_problem(c->req, 411, "Length Required", e);
	return ROUTE_ANSWERED;
}

/* ---------------------------------------------------------------- list, show */

enum route_result call_file_list(struct call *c, struct err *e)
{
	CLEANUP(owner_done) struct owner o = { 0 };
	struct list_range range;
	struct list_page page = { 0 };

	if (take_owner(c, &o, e) < 0 || call_range(c, rel_path_check, &range, e) < 0)
		return ROUTE_FAILED;
	if (o.name && !c->who.is_admin &&
		(!str_eq(o.name, c->who.name) || !str_eq(o.realm, c->who.realm)))
		return err_set_field(
			e, ERR_DENIED, "owner", "only admins may list others' files");
	if (list_files(c->api->kv, &c->api->conf->keys, o.name ? o.name : c->who.name,
		    o.name ? o.realm : c->who.realm, &range, &page, e) < 0)
		return ROUTE_FAILED;
	return answer_list(c, "files", &page);
}

/* By name it need not be there yet; by uuid it must be, to tell whose it is. */
static int waited_uuid(
	struct call *c, const struct owner *o, char uuid[UUID_STR_SIZE], struct err *e)
{
	const struct file_ref ref = { o->name, o->realm, c->params[0] };
	CLEANUP(file_done) struct file f = { 0 };

	if (rel_path_check(c->params[0], e) < 0)
		return -1;
	if ((o->name && !c->who.is_admin) || uuid_check(c->params[0], NULL) == 0) {
		if (orders_file_get(c->api->orders, &c->who, &ref, &f, e) < 0)
			return -1;
		file_uuid(f.owner_realm, f.owner, f.filename, uuid);
		return 0;
	}
	file_uuid(o->name ? o->realm : c->who.realm, o->name ? o->name : c->who.name,
		c->params[0], uuid);
	return 0;
}

static enum route_result wait_for(
	struct call *c, const char *sha512, const struct owner *o, struct err *e)
{
	char uuid[UUID_STR_SIZE];
	int64_t sec;

	if (strlen(sha512) != SHA512_HEX_SIZE - 1 ||
		strspn(sha512, "0123456789abcdef") != SHA512_HEX_SIZE - 1)
		return err_set_field(e, ERR_INVALID, "wait",
			"wait must be the file's SHA-512: 128 hexadecimal digits");
	if (call_timeout(c, &sec, e) < 0 || waited_uuid(c, o, uuid, e) < 0)
		return ROUTE_FAILED;
	if (waits_park_file(c->api->waits, c->req, &c->who, uuid, sha512, sec, e) < 0)
		return ROUTE_FAILED;
	return ROUTE_PARKED;
}

enum route_result call_file_show(struct call *c, struct err *e)
{
	CLEANUP(owner_done) struct owner o = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	const char *wait = httpd_query(c->req, "wait");
	struct file_ref ref;

	if (take_owner(c, &o, e) < 0)
		return ROUTE_FAILED;
	if (wait)
		return wait_for(c, wait, &o, e);
	ref = (struct file_ref){ o.name, o.realm, c->params[0] };
	if (orders_file_get(c->api->orders, &c->who, &ref, &f, e) < 0)
		return ROUTE_FAILED;
	return answer_entry(c, 200, &file_jtab, &f);
}

/* ---------------------------------------------------------------- delete */

/* By uuid, or (admins) somebody else's: the entry says what it is. */
static int remove_found(struct call *c, const struct owner *o, struct err *e)
{
	const struct file_ref ref = { o->name, o->realm, c->params[0] };
	CLEANUP(file_done) struct file f = { 0 };
	struct who owner = { 0 };

	if (orders_file_get(c->api->orders, &c->who, &ref, &f, e) < 0)
		return -1;
	owner.name = f.owner;
	owner.realm = f.owner_realm;
	return uploads_remove(c->api->uploads, &owner, f.filename, e);
}

enum route_result call_file_delete(struct call *c, struct err *e)
{
	CLEANUP(owner_done) struct owner o = { 0 };
	int r;

	if (take_owner(c, &o, e) < 0)
		return ROUTE_FAILED;
	if (!c->api->uploads)
		return send_elsewhere(c, e);
	if (o.name || uuid_check(c->params[0], NULL) == 0)
		r = remove_found(c, &o, e);
	else if (upload_name_check(c->params[0], e) < 0)
		r = -1;
	else
		r = uploads_remove(c->api->uploads, &c->who, c->params[0], e);
	return r < 0 ? ROUTE_FAILED : answer_nothing(c);
}
