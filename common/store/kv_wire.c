#include "common/store/kv_wire.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/crypt.h"
#include "common/base/jtab.h"

/* Base64 and numbers need no escaping, so requests are written as the text they are. */

/* "name":"<base64 of s>" */
static void add_bytes(struct buf *out, const char *name, const char *s)
{
	CLEANUP_STR char *b64 = base64_format(s, strlen(s));

	buf_addf(out, "\"%s\":\"", name);
	buf_add_str(out, b64);
	buf_add_char(out, '"');
}

/* ,"name":"<number>" */
static void add_int(struct buf *out, const char *name, int64_t n)
{
	buf_addf(out, ",\"%s\":\"%" PRId64 "\"", name, n);
}

void kv_wire_format_range(const struct kv_range_req *req, struct buf *out)
{
	buf_add_char(out, '{');
	add_bytes(out, "key", req->key);
	if (req->end) {
		buf_add_char(out, ',');
		add_bytes(out, "range_end", req->end);
	}
	if (req->limit)
		add_int(out, "limit", req->limit);
	if (req->rev)
		add_int(out, "revision", req->rev);
	if (req->count_only)
		buf_add_str(out, ",\"count_only\":true");
	buf_add_char(out, '}');
}

void kv_wire_format_probe(struct buf *out)
{
	buf_add_char(out, '{');
	add_bytes(out, "key", "\x01");
	buf_add_str(out, ",\"serializable\":true,\"count_only\":true}");
}

static void add_compare(struct buf *out, const struct kv_cmp *c)
{
	buf_add_char(out, '{');
	add_bytes(out, "key", c->key);
	switch (c->kind) {
	case KV_CMP_MOD_REV:
		buf_add_str(out, ",\"target\":\"MOD\",\"result\":\"EQUAL\"");
		add_int(out, "mod_revision", c->rev);
		break;
	case KV_CMP_CREATE_REV:
		buf_add_str(out, ",\"target\":\"CREATE\",\"result\":\"EQUAL\"");
		add_int(out, "create_revision", c->rev);
		break;
	case KV_CMP_PRESENT:
		buf_add_str(out, ",\"target\":\"CREATE\",\"result\":\"GREATER\"");
		add_int(out, "create_revision", 0);
		break;
	}
	buf_add_char(out, '}');
}

static void add_op(struct buf *out, const struct kv_op *o)
{
	static const char *const names[] = { [KV_OP_PUT] = "request_put",
		[KV_OP_DEL] = "request_delete_range",
		[KV_OP_GET] = "request_range" };

	buf_addf(out, "{\"%s\":{", names[o->kind]);
	add_bytes(out, "key", o->key);
	if (o->kind == KV_OP_PUT) {
		buf_add_char(out, ',');
		add_bytes(out, "value", o->value);
		if (o->lease)
			add_int(out, "lease", o->lease);
	}
	buf_add_str(out, "}}");
}

void kv_wire_format_txn(const struct kv_txn *t, struct buf *out)
{
	buf_add_str(out, "{\"compare\":[");
	for (size_t i = 0; i < t->n_cmps; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		add_compare(out, &t->cmps[i]);
	}
	buf_add_str(out, "],\"success\":[");
	for (size_t i = 0; i < t->n_ops; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		add_op(out, &t->ops[i]);
	}
	buf_add_str(out, "]}");
}

void kv_wire_format_grant(int64_t ttl_sec, struct buf *out)
{
	buf_addf(out, "{\"TTL\":\"%" PRId64 "\"}", ttl_sec);
}

void kv_wire_format_lease(int64_t lease, struct buf *out)
{
	buf_addf(out, "{\"ID\":\"%" PRId64 "\"}", lease);
}

void kv_wire_format_watch(const struct kv_watch_req *req, struct buf *out)
{
	CLEANUP_STR char *end = NULL;

	buf_add_str(out, "{\"create_request\":{");
	if (req->is_single_key) {
		add_bytes(out, "key", req->prefix);
	} else {
		end = kv_prefix_end(req->prefix);
		add_bytes(out, "key", kv_prefix_begin(req->prefix));
		buf_add_char(out, ',');
		add_bytes(out, "range_end", end);
	}
	if (req->from_rev)
		add_int(out, "start_revision", req->from_rev);
	if (req->want_prev)
		buf_add_str(out, ",\"prev_kv\":true");
	buf_add_str(out, ",\"progress_notify\":true}}");
}

void kv_wire_format_login(const char *user, const char *password, struct buf *out)
{
	CLEANUP(json_decref_ptr)
	json_t *j = json_pack("{s:s, s:s}", "name", user, "password", password);
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	/* NULL when they are not UTF-8; kv_etcd_open() has refused that. */
	buf_add_str(out, text ? text : "{}");
	secret_wipe(text);
	free(text);
}

/* ---------------------------------------------------------------- verdicts */

/* What etcd's gRPC codes mean (etcd: api/v3rpc/rpctypes/error.go), first match counts. Those
 * that etcd gives before it hands a request to raft, or when its apply step checks before
 * it writes, are sure. */
struct rule {
	int code;
	const char *text; /* part of the message, NULL any */
	enum kv_verdict verdict;
	enum err_kind kind;
};

static const struct rule rules[] = {
	{ 11, "revision", KV_VERDICT_COMPACTED, ERR_CONFLICT },
	{ 11, NULL, KV_VERDICT_REFUSED, ERR_INVALID },
	{ 16, NULL, KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 3, "user name is empty", KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 3, "auth store is old", KV_VERDICT_LOGIN, ERR_UNAUTHENTICATED },
	{ 3, "authentication failed", KV_VERDICT_REFUSED, ERR_UNAUTHENTICATED },
	{ 3, "too large", KV_VERDICT_REFUSED, ERR_TOO_LARGE },
	{ 3, NULL, KV_VERDICT_REFUSED, ERR_INVALID },
	{ 5, NULL, KV_VERDICT_REFUSED, ERR_NOT_FOUND },
	{ 6, NULL, KV_VERDICT_REFUSED, ERR_EXISTS },
	{ 7, NULL, KV_VERDICT_REFUSED, ERR_DENIED },
	{ 8, "too many requests", KV_VERDICT_ELSEWHERE, ERR_TOO_MANY },
	/* A write that crosses the quota may be applied and answered with this all the same. */
	{ 8, "space exceeded", KV_VERDICT_UNSURE, ERR_NO_SPACE },
	{ 8, NULL, KV_VERDICT_UNSURE, ERR_TOO_MANY },
	{ 9, NULL, KV_VERDICT_REFUSED, ERR_CONFLICT },
	{ 12, NULL, KV_VERDICT_REFUSED, ERR_UNSUPPORTED },
	/* Asked for by the header Grpc-Metadata-Hasleader, before anything else is done. */
	{ 14, "etcdserver: no leader", KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 14, "etcdserver: not capable", KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 14, "learner", KV_VERDICT_ELSEWHERE, ERR_UNAVAILABLE },
	{ 4, NULL, KV_VERDICT_LOST, ERR_TIMEOUT },
	{ 14, "timed out", KV_VERDICT_LOST, ERR_TIMEOUT },
	{ -1, NULL, KV_VERDICT_LOST, ERR_UNAVAILABLE },
};

static enum kv_verdict judge_code(int code, const char *text, struct err *e)
{
	const struct rule *r = rules;

	while (r->code >= 0 && (r->code != code || (r->text && !strstr(text, r->text))))
		r++;
	(void)err_set(e, r->kind, "etcd says: %s", text);
	return r->verdict;
}

/* An answer that did not come from etcd's gateway, or from before it. */
static enum kv_verdict judge_text(
	int http_status, const char *body, size_t size, struct err *e)
{
	CLEANUP_STR char *text = xstrndup(size ? body : "", size < 200 ? size : 200);

	text[strcspn(text, "\r\n")] = '\0';
	if (strstr(text, "CommonName")) {
		(void)err_set(e, ERR_DENIED,
			"etcd refuses the client certificate because it has a common "
			"name (CN); make one without");
		return KV_VERDICT_REFUSED;
	}
	(void)err_set(e, ERR_UNAVAILABLE,
		"is this etcd's client address? It answers with HTTP status %d%s%s",
		http_status, text[0] ? ": " : "", text);
	return http_status >= 300 && http_status < 500 ? KV_VERDICT_ELSEWHERE
						       : KV_VERDICT_LOST;
}

/* {"error": "...", "message": "...", "code": 5} or, out of a stream,
 * {"error": {"grpc_code": 5, "message": "..."}}; false: neither. */
static bool parse_error(json_t *j, int *code, const char **text)
{
	json_t *error = json_object_get(j, "error");
	json_t *from = json_is_object(error) ? error : j;
	json_t *n = json_object_get(from, "grpc_code");

	if (!n)
		n = json_object_get(from, "code");
	*text = json_string_value(json_object_get(from, "message"));
	if (!*text)
		*text = json_string_value(error);
	*code = (int)json_integer_value(n);
	return *code > 0 && *text;
}

enum kv_verdict kv_wire_judge(
	int http_status, const char *body, size_t size, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	const char *text;
	int code;

	/* Answers are large and parsed once, by who wants them; of streams (keepalive) an
	 * error comes with status 200. */
	if (http_status == 200 && (size < 9 || memcmp(body, "{\"error\":", 9) != 0))
		return KV_VERDICT_OK;
	if (size > 0 && size <= 64 * 1024)
		j = json_loadb(body, size, 0, NULL);
	if (j && parse_error(j, &code, &text))
		return judge_code(code, text, e);
	return judge_text(http_status, body, size, e);
}
