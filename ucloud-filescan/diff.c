#include "ucloud-filescan/diff.h"

static bool is_same(const struct file *a, const struct file *b)
{
	return a->size_bytes == b->size_bytes && a->mtime == b->mtime &&
	       str_eq(a->owner, b->owner) && str_eq(a->owner_realm, b->owner_realm) &&
	       str_eq(a->filename, b->filename) && str_eq(a->sha512, b->sha512) &&
	       str_eq(a->identity, b->identity);
}

enum diff_act diff_decide(const struct diff_entry *entry, enum tree_has has,
	const struct file *found, bool is_sure)
{
	if (entry->is_there && !entry->file)
		return DIFF_NONE;
	switch (has) {
	case TREE_ABSENT:
		return entry->is_there && is_sure ? DIFF_DEL : DIFF_NONE;
	case TREE_BUSY:
		return DIFF_NONE;
	case TREE_HASHED:
		return entry->is_there && is_same(entry->file, found) ? DIFF_NONE
								      : DIFF_PUT;
	}
	return DIFF_NONE;
}

void diff_put(struct kv_txn *t, const struct keys *keys, const struct file *found,
	const struct file *old)
{
	struct file f = *found;
	CLEANUP_STR char *key = key_file(keys, found->uuid);
	CLEANUP_STR char *name =
		key_file_name(found->owner_realm, found->owner, found->filename);

	f.rest = old ? old->rest : NULL;
	CLEANUP_STR char *text = file_format(&f);
	kv_txn_put(t, key, text);
	kv_txn_put(t, name, found->uuid);
}

void diff_del(struct kv_txn *t, const struct keys *keys, const char *uuid,
	const struct file *old)
{
	CLEANUP_STR char *key = key_file(keys, uuid);
	char own[UUID_STR_SIZE];

	kv_txn_del(t, key);
	file_uuid(old->owner_realm, old->owner, old->filename, own);
	if (!str_eq(own, uuid))
		return;
	CLEANUP_STR char *name =
		key_file_name(old->owner_realm, old->owner, old->filename);
	kv_txn_del(t, name);
}
