/*
 * Keys and all their versions since the last compaction, in memory, with etcd's rules for
 * revisions: what kv_fake.h keeps its state in. The caller sees to locking.
 *
 * A group of changes gets one revision: mvcc_put() and mvcc_del() write at the revision
 * after mvcc_rev(), which moves on with mvcc_commit().
 */
#ifndef UCLOUD_MVCC_H
#define UCLOUD_MVCC_H

#include "common/store/kv.h"

struct mvcc;

struct mvcc_version {
	int64_t mod_rev, create_rev, lease;
	char *value; /* NULL: deleted */
};

struct mvcc *mvcc_new(void);
void mvcc_free(struct mvcc *m);
int64_t mvcc_rev(const struct mvcc *m);
/* Forgets all versions that are no longer to be seen at the newest revision. */
void mvcc_compact(struct mvcc *m);
/* Goes back to rev, which is not compacted. */
void mvcc_roll_back(struct mvcc *m, int64_t rev);
/* Revisions before this one are gone. */
int64_t mvcc_compact_rev(const struct mvcc *m);

/* The key as of at_rev, with what is not yet committed when that is beyond mvcc_rev(); NULL:
 * absent. Borrowed until the next change. */
const struct mvcc_version *mvcc_find(
	const struct mvcc *m, const char *key, int64_t at_rev);
/* Changes a key at most once in a commit. */
void mvcc_put(struct mvcc *m, const char *key, const char *value, int64_t lease);
void mvcc_del(struct mvcc *m, const char *key); /* absent: nothing */
/* Deletes every key of the lease. */
void mvcc_del_lease(struct mvcc *m, int64_t lease);
/* The revision of the changes, or the old one when there were none. */
int64_t mvcc_commit(struct mvcc *m);

/* Keys from `key` to before `end` (NULL: this one; "": no end), in byte order, as of at_rev.
 * Appends at most limit (0: all) to out (may be NULL) and returns how many there are. */
int64_t mvcc_range(const struct mvcc *m, const char *key, const char *end, int64_t at_rev,
	int64_t limit, struct kv_list *out);

/* Changes in the order in which they were made. */
struct mvcc_change {
	const char *key;
	const struct mvcc_version *now,
		*before; /* before: NULL when absent or forgotten */
};
/* Number of the first change at or after rev; of the one behind the last. */
size_t mvcc_seek(const struct mvcc *m, int64_t rev);
size_t mvcc_n_changes(const struct mvcc *m);
struct mvcc_change mvcc_change(const struct mvcc *m, size_t i);

void mvcc_pair_copy(
	const char *key, const struct mvcc_version *version, struct kv_pair *out);
struct kv_pair *mvcc_list_add(struct kv_list *l);

#endif
