#include "common/work/subject.h"

#include <string.h>

void subject_init(struct subject *s, const struct cache_class *class,
	const char *lock_key, int64_t fence, const char *uuid, char *key, char *req_key)
{
	*s = (struct subject){ .class = class, .lock_key = lock_key, .fence = fence };
	s->uuid = xstrdup(uuid);
	s->key = key;
	s->req_key = req_key;
}

static void forget(struct subject *s)
{
	if (s->entry)
		s->class->free(s->entry);
	request_done(&s->req);
	s->entry = NULL;
	s->has_req = s->is_unreadable = false;
	s->rev = s->req_rev = 0;
}

void subject_done(struct subject *s)
{
	forget(s);
	free(s->uuid);
	free(s->key);
	free(s->req_key);
	memset(s, 0, sizeof(*s));
}

static void parse(
	struct subject *s, const struct kv_pair *entry, const struct kv_pair *req)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;

	s->rev = entry->key ? entry->mod_rev : 0;
	s->req_rev = req->key ? req->mod_rev : 0;
	if (entry->key && json_parse(entry->value, entry->value_size, &json, NULL) == 0)
		s->entry = s->class->parse(s->uuid, json, NULL);
	s->has_req = req->key &&
		     request_parse(req->value, req->value_size, &s->req, NULL) == 0;
	s->is_unreadable = (entry->key && !s->entry) || (req->key && !s->has_req);
}

int subject_read(struct subject *s, struct kv *kv, struct err *e)
{
	const char *keys[] = { s->key, s->req_key };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (kv_get_many(kv, keys, ARRAY_LEN(keys), &got, e) < 0)
		return -1;
	forget(s);
	parse(s, &got.v[0], &got.v[1]);
	return 0;
}

/* ---------------------------------------------------------------- transactions */

struct kv_txn *subject_txn(const struct subject *s)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, s->lock_key, s->fence);
	kv_txn_if_rev(t, s->key, s->rev);
	return t;
}

struct kv_txn *subject_req_txn(const struct subject *s)
{
	struct kv_txn *t = subject_txn(s);

	kv_txn_if_rev(t, s->req_key, s->req_rev);
	return t;
}

struct kv_txn *subject_end_txn(const struct subject *s)
{
	struct kv_txn *t = subject_req_txn(s);

	if (s->req_rev)
		kv_txn_del(t, s->req_key);
	return t;
}

void subject_put_req(const struct subject *s, struct kv_txn *t)
{
	CLEANUP_STR char *text = request_format(&s->req);

	kv_txn_put(t, s->req_key, text);
}

struct kv_txn *subject_failed_txn(
	struct subject *s, int64_t now, const struct err *why, int64_t *not_before)
{
	struct kv_txn *t = kv_txn_new();

	request_failed(&s->req, now, why);
	kv_txn_if_lock(t, s->lock_key, s->fence);
	kv_txn_if_rev(t, s->req_key, s->req_rev);
	subject_put_req(s, t);
	*not_before = s->req.not_before;
	return t;
}

void subject_del_name(
	const struct subject *s, const struct kv_pair *name, struct kv_txn *t)
{
	if (!name->key || !str_eq(name->value, s->uuid))
		return;
	kv_txn_if_rev(t, name->key, name->mod_rev);
	kv_txn_del(t, name->key);
}

int subject_give_back(struct kv_txn *t, const char *key, const struct kv_pair *pair,
	const struct amounts *amounts, bool *is_use_odd, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *text = NULL;

	*is_use_odd = false;
	kv_txn_if_rev(t, key, pair->key ? pair->mod_rev : 0);
	if (!pair->key)
		return 0;
	if (user_parse(pair->value, pair->value_size, &user, e) < 0)
		return err_wrap(e, "%s", key);
	*is_use_odd = !user_give_back(&user, amounts);
	text = user_format(&user);
	kv_txn_put(t, key, text);
	return 0;
}
