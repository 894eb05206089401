/*
 * What to write to etcd about one file: its entry against what was found. Pure.
 */
#ifndef UCLOUD_FILESCAN_DIFF_H
#define UCLOUD_FILESCAN_DIFF_H

#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-filescan/tree.h"

enum diff_act { DIFF_NONE, DIFF_PUT, DIFF_DEL };

/* What is known of an entry in etcd. */
struct diff_entry {
	bool is_there;
	const struct file
		*file; /* NULL although it is there: invalid, to be left alone */
};

/* found: of TREE_HASHED. is_sure: TREE_ABSENT means that it is not there. */
enum diff_act diff_decide(const struct diff_entry *entry, enum tree_has has,
	const struct file *found, bool is_sure);

/* Entry and name index, at most DIFF_OPS_MAX operations. Members of the old entry (or NULL)
 * that we do not know are kept. */
#define DIFF_OPS_MAX 2
void diff_put(struct kv_txn *t, const struct keys *keys, const struct file *found,
	const struct file *old);
/* uuid: the entry's key; the index goes too when it is this file's. */
void diff_del(struct kv_txn *t, const struct keys *keys, const char *uuid,
	const struct file *old);

#endif
