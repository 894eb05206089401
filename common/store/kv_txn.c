#include "common/store/kv_impl.h"

#include <assert.h>
#include <string.h>

#include "common/base/buf.h"

struct kv_txn *kv_txn_new(void)
{
	return xcalloc(1, sizeof(struct kv_txn));
}

void kv_txn_free(struct kv_txn *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n_cmps; i++)
		free(t->cmps[i].key);
	for (size_t i = 0; i < t->n_ops; i++) {
		free(t->ops[i].key);
		free(t->ops[i].value);
	}
	free(t->cmps);
	free(t->ops);
	free(t);
}

void kv_txn_free_ptr(struct kv_txn **t)
{
	kv_txn_free(*t);
	*t = NULL;
}

static bool has_compare(
	const struct kv_txn *t, enum kv_cmp_kind kind, const char *key, int64_t rev)
{
	for (size_t i = 0; i < t->n_cmps; i++) {
		const struct kv_cmp *c = &t->cmps[i];

		if (c->kind == kind && c->rev == rev && str_eq(c->key, key))
			return true;
	}
	return false;
}

static void add_compare(
	struct kv_txn *t, enum kv_cmp_kind kind, const char *key, int64_t rev)
{
	assert(key[0] && rev >= 0);
	if (has_compare(t, kind, key, rev))
		return;
	assert(t->n_cmps < KV_TXN_MAX_OPS);
	t->cmps = xreallocarray(t->cmps, t->n_cmps + 1, sizeof(*t->cmps));
	t->cmps[t->n_cmps++] = (struct kv_cmp){ kind, xstrdup(key), rev };
}

static bool is_written(const struct kv_txn *t, const char *key)
{
	for (size_t i = 0; i < t->n_ops; i++)
		if (t->ops[i].kind != KV_OP_GET && str_eq(t->ops[i].key, key))
			return true;
	return false;
}

static void add_op(struct kv_txn *t, enum kv_op_kind kind, const char *key,
	const char *value, int64_t lease)
{
	assert(key[0]);
	assert(t->n_ops < KV_TXN_MAX_OPS);
	assert(kind == KV_OP_GET || !is_written(t, key));
	t->ops = xreallocarray(t->ops, t->n_ops + 1, sizeof(*t->ops));
	t->ops[t->n_ops++] = (struct kv_op){ kind, xstrdup(key), xstrdup(value), lease };
}

void kv_txn_if_rev(struct kv_txn *t, const char *key, int64_t mod_rev)
{
	add_compare(t, KV_CMP_MOD_REV, key, mod_rev);
}

void kv_txn_if_lock(struct kv_txn *t, const char *key, int64_t create_rev)
{
	add_compare(t, KV_CMP_CREATE_REV, key, create_rev);
}

void kv_txn_if_present(struct kv_txn *t, const char *key)
{
	add_compare(t, KV_CMP_PRESENT, key, 0);
}

void kv_txn_put(struct kv_txn *t, const char *key, const char *value)
{
	kv_txn_put_lease(t, key, value, 0);
}

void kv_txn_put_lease(struct kv_txn *t, const char *key, const char *value, int64_t lease)
{
	assert(value && lease >= 0);
	add_op(t, KV_OP_PUT, key, value, lease);
}

void kv_txn_del(struct kv_txn *t, const char *key)
{
	add_op(t, KV_OP_DEL, key, NULL, 0);
}

void kv_txn_get(struct kv_txn *t, const char *key)
{
	add_op(t, KV_OP_GET, key, NULL, 0);
}

bool kv_txn_is_read(const struct kv_txn *t)
{
	for (size_t i = 0; i < t->n_ops; i++)
		if (t->ops[i].kind != KV_OP_GET)
			return false;
	return true;
}

size_t kv_txn_n_compares(const struct kv_txn *t)
{
	return t->n_cmps;
}

size_t kv_txn_n_ops(const struct kv_txn *t)
{
	return t->n_ops;
}

size_t kv_txn_size(const struct kv_txn *t)
{
	size_t size = 0;

	for (size_t i = 0; i < t->n_cmps; i++)
		size += strlen(t->cmps[i].key);
	for (size_t i = 0; i < t->n_ops; i++) {
		size += strlen(t->ops[i].key);
		size += t->ops[i].value ? strlen(t->ops[i].value) : 0;
	}
	return size;
}

void kv_txn_merge(struct kv_txn *t, const struct kv_txn *from)
{
	for (size_t i = 0; i < from->n_cmps; i++) {
		const struct kv_cmp *c = &from->cmps[i];

		add_compare(t, c->kind, c->key, c->rev);
	}
	for (size_t i = 0; i < from->n_ops; i++) {
		const struct kv_op *o = &from->ops[i];

		add_op(t, o->kind, o->key, o->value, o->lease);
	}
}
