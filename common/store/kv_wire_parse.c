#include "common/store/kv_wire.h"

#include <stdio.h>
#include <string.h>

#include "common/base/crypt.h"
#include "common/base/jtab.h"
#include "common/base/parse.h"

/* Ownership leaves a local that cleans up after itself. */
static void pair_move(struct kv_pair *from, struct kv_pair *to)
{
	*to = *from;
	*from = (struct kv_pair){ 0 };
}

static void list_move(struct kv_list *from, struct kv_list *to)
{
	*to = *from;
	*from = (struct kv_list){ 0 };
}

static int not_understood(struct err *e, const char *what)
{
	return err_set(e, ERR_UNAVAILABLE, "etcd's answer is not understood: %s", what);
}

static int load(const char *s, size_t size, json_t **out, struct err *e)
{
	json_error_t je;
	json_t *j = json_loadb(s, size, 0, &je);

	if (!j)
		return not_understood(e, je.text);
	if (!json_is_object(j)) {
		json_decref(j);
		return not_understood(e, "it is no JSON object");
	}
	*out = j;
	return 0;
}

/* Absent is 0. */
static int get_int(json_t *j, const char *name, int64_t *out, struct err *e)
{
	json_t *v = json_object_get(j, name);
	struct err why;

	*out = 0;
	if (!v)
		return 0;
	if (json_is_integer(v)) {
		*out = json_integer_value(v);
		return 0;
	}
	if (!json_is_string(v) ||
		parse_int64(json_string_value(v), INT64_MIN, INT64_MAX, out, &why) < 0)
		return not_understood(e, name);
	return 0;
}

/* Absent is an empty array (NULL). */
static int get_array(json_t *j, const char *name, json_t **out, struct err *e)
{
	*out = json_object_get(j, name);
	if (*out && !json_is_array(*out))
		return not_understood(e, name);
	return 0;
}

/* Absent is "". */
static int get_bytes(json_t *j, const char *name, char **out, size_t *size, struct err *e)
{
	json_t *v = json_object_get(j, name);
	struct err why;

	if (!v) {
		*out = xstrdup("");
		*size = 0;
		return 0;
	}
	if (!json_is_string(v) || base64_parse(json_string_value(v),
					  json_string_length(v), out, size, &why) < 0)
		return not_understood(e, name);
	return 0;
}

static int get_head(json_t *j, struct kv_wire_head *out, struct err *e)
{
	json_t *head = json_object_get(j, "header");
	const char *id = json_string_value(json_object_get(head, "cluster_id"));

	snprintf(out->cluster_id, sizeof(out->cluster_id), "%s", id ? id : "");
	return get_int(head, "revision", &out->rev, e);
}

/* 0 with *out filled; 1: a key with NUL bytes, which is not for us. */
static int get_pair(json_t *j, struct kv_pair *out, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	size_t key_size = 0;

	if (!json_is_object(j))
		return not_understood(e, "kvs");
	if (get_bytes(j, "key", &p.key, &key_size, e) < 0 ||
		get_bytes(j, "value", &p.value, &p.value_size, e) < 0 ||
		get_int(j, "create_revision", &p.create_rev, e) < 0 ||
		get_int(j, "mod_revision", &p.mod_rev, e) < 0 ||
		get_int(j, "lease", &p.lease, e) < 0)
		return -1;
	if (!p.key || memchr(p.key, '\0', key_size))
		return 1;
	pair_move(&p, out);
	return 0;
}

static int get_list(json_t *j, struct kv_list *out, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	json_t *kvs;
	size_t n;

	if (get_array(j, "kvs", &kvs, e) < 0)
		return -1;
	n = json_array_size(kvs);
	list.v = xcalloc(n + 1, sizeof(*list.v));
	for (size_t i = 0; i < n; i++) {
		int r = get_pair(json_array_get(kvs, i), &list.v[list.len], e);

		if (r < 0)
			return -1;
		list.len += r == 0;
	}
	list.has_more = json_is_true(json_object_get(j, "more"));
	list_move(&list, out);
	return 0;
}

int kv_wire_parse_range(const char *s, size_t size, struct kv_wire_head *head,
	struct kv_list *out, int64_t *count, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	struct kv_wire_head h;
	int64_t n;

	if (load(s, size, &j, e) < 0 || get_head(j, &h, e) < 0 ||
		get_int(j, "count", &n, e) < 0)
		return -1;
	if (h.rev <= 0)
		return not_understood(e, "it has no revision");
	if (get_list(j, out, e) < 0)
		return -1;
	out->rev = h.rev;
	*head = h;
	*count = n;
	return 0;
}

/* One pair, absent with a NULL key, from the answer to a KV_OP_GET. */
static int get_got(json_t *response, struct kv_pair *out, struct err *e)
{
	json_t *range = json_object_get(response, "response_range");
	CLEANUP(kv_list_done) struct kv_list list = { 0 };

	if (!json_is_object(range))
		return not_understood(e, "responses");
	if (get_list(range, &list, e) < 0)
		return -1;
	if (list.len > 0) {
		pair_move(&list.v[0], out);
	}
	return 0;
}

static int get_responses(
	json_t *j, const struct kv_txn *t, struct kv_list *out, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	json_t *responses;

	if (get_array(j, "responses", &responses, e) < 0)
		return -1;
	if (json_array_size(responses) != t->n_ops)
		return not_understood(e, "responses");
	got.v = xcalloc(t->n_ops + 1, sizeof(*got.v));
	for (size_t i = 0; i < t->n_ops; i++) {
		if (t->ops[i].kind != KV_OP_GET)
			continue;
		if (get_got(json_array_get(responses, i), &got.v[got.len++], e) < 0)
			return -1;
	}
	list_move(&got, out);
	return 0;
}

int kv_wire_parse_txn(const char *s, size_t size, const struct kv_txn *t,
	struct kv_wire_head *head, struct kv_txn_result *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	struct kv_txn_result res = { 0 };
	struct kv_wire_head h;

	if (load(s, size, &j, e) < 0 || get_head(j, &h, e) < 0)
		return -1;
	if (h.rev <= 0)
		return not_understood(e, "it has no revision");
	res.rev = h.rev;
	res.succeeded = json_is_true(json_object_get(j, "succeeded"));
	if (res.succeeded && get_responses(j, t, &res.got, e) < 0)
		return -1;
	res.got.rev = h.rev;
	*out = res;
	*head = h;
	return 0;
}

int kv_wire_parse_grant(const char *s, size_t size, int64_t *lease, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	int64_t id;

	if (load(s, size, &j, e) < 0 || get_int(j, "ID", &id, e) < 0)
		return -1;
	if (id <= 0)
		return not_understood(e, "it has no lease ID");
	*lease = id;
	return 0;
}

int kv_wire_parse_keepalive(const char *s, size_t size, int64_t *ttl_sec, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	json_t *result;
	int64_t ttl;

	if (load(s, size, &j, e) < 0)
		return -1;
	result = json_object_get(j, "result");
	if (!json_is_object(result))
		return not_understood(e, "result");
	if (get_int(result, "TTL", &ttl, e) < 0)
		return -1;
	*ttl_sec = ttl > 0 ? ttl : 0;
	return 0;
}

int kv_wire_parse_login(const char *s, size_t size, char **token, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	const char *t;

	if (load(s, size, &j, e) < 0)
		return -1;
	t = json_string_value(json_object_get(j, "token"));
	/* It becomes a header's value. */
	if (!t || !t[0] || strpbrk(t, "\r\n"))
		return not_understood(e, "it has no token");
	*token = xstrdup(t);
	return 0;
}

/* ---------------------------------------------------------------- watches */

void kv_wire_watch_done(struct kv_wire_watch *w)
{
	free(w->reason);
	kv_events_done(&w->events);
	*w = (struct kv_wire_watch){ 0 };
}

static void event_done(struct kv_event *ev)
{
	kv_pair_done(&ev->pair);
	kv_pair_done(&ev->prev);
}

static void event_move(struct kv_event *from, struct kv_event *to)
{
	*to = *from;
	*from = (struct kv_event){ 0 };
}

/* As get_pair(). */
static int get_event(json_t *j, struct kv_event *out, struct err *e)
{
	CLEANUP(event_done) struct kv_event ev = { 0 };
	const char *type = json_string_value(json_object_get(j, "type"));
	json_t *prev = json_object_get(j, "prev_kv");
	int r;

	ev.is_delete = str_eq(type, "DELETE");
	if (type && !ev.is_delete && !str_eq(type, "PUT"))
		return not_understood(e, "type");
	r = get_pair(json_object_get(j, "kv"), &ev.pair, e);
	if (r == 0 && prev)
		r = get_pair(prev, &ev.prev, e);
	if (r)
		return r;
	if (ev.is_delete) {
		free(ev.pair.value);
		ev.pair.value = NULL;
		ev.pair.value_size = 0;
	}
	event_move(&ev, out);
	return 0;
}

static int get_events(json_t *result, struct kv_wire_watch *out, struct err *e)
{
	json_t *events;
	size_t n;

	if (get_array(result, "events", &events, e) < 0)
		return -1;
	n = json_array_size(events);
	out->events.rev = n > 0 ? 0 : out->head.rev;
	out->events.v = xcalloc(n + 1, sizeof(*out->events.v));
	for (size_t i = 0; i < n; i++) {
		json_t *j = json_array_get(events, i);
		int64_t rev = 0;
		int r = get_event(j, &out->events.v[out->events.len], e);

		if (r < 0 ||
			get_int(json_object_get(j, "kv"), "mod_revision", &rev, e) < 0)
			return -1;
		out->events.len += r == 0;
		if (rev > out->events.rev)
			out->events.rev = rev;
	}
	return 0;
}

int kv_wire_parse_watch(
	const char *s, size_t size, struct kv_wire_watch *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *j = NULL;
	CLEANUP(kv_wire_watch_done) struct kv_wire_watch w = { 0 };
	json_t *result;

	if (load(s, size, &j, e) < 0)
		return -1;
	if (json_object_get(j, "error"))
		return kv_wire_judge(200, s, size, e) == KV_VERDICT_OK
			       ? not_understood(e, "error")
			       : -1;
	result = json_object_get(j, "result");
	if (!json_is_object(result))
		return not_understood(e, "result");
	w.is_created = json_is_true(json_object_get(result, "created"));
	w.is_canceled = json_is_true(json_object_get(result, "canceled"));
	w.reason = xstrdup(json_string_value(json_object_get(result, "cancel_reason")));
	if (get_head(result, &w.head, e) < 0 ||
		get_int(result, "compact_revision", &w.compact_rev, e) < 0 ||
		get_events(result, &w, e) < 0)
		return -1;
	*out = w;
	w = (struct kv_wire_watch){ 0 };
	return 0;
}
