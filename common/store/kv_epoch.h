/*
 * Notices that the store is not the one it was: a changed cluster id, or a linearizable
 * answer with an older revision than one that was seen before it was asked for. Somebody
 * has restored a backup, or points us at another etcd. All that is known from watches is
 * then void, also for those that are opened again only now. Any thread.
 */
#ifndef UCLOUD_KV_EPOCH_H
#define UCLOUD_KV_EPOCH_H

#include "common/store/kv_wire.h"

struct kv_epoch;

/* What was known when a call was sent. */
struct kv_epoch_mark {
	unsigned epoch;
	int64_t rev;
};

struct kv_epoch *kv_epoch_new(void);
void kv_epoch_free(struct kv_epoch *ep);

struct kv_epoch_mark kv_epoch_mark(struct kv_epoch *ep);
/* The head of a linearizable answer to what was sent after `before` was taken. Logs, loudly,
 * when the store has changed. */
void kv_epoch_see(struct kv_epoch *ep, const struct kv_epoch_mark *before,
	const struct kv_wire_head *head);
/* Only the cluster id counts: the answer may be of a member that lags behind. */
void kv_epoch_see_id(struct kv_epoch *ep, const struct kv_epoch_mark *before,
	const struct kv_wire_head *head);
/* Remembers that prefix is watched as of now. True: it was watched before the store
 * changed, and not since; or it may have been, when there were too many to remember all. */
bool kv_epoch_is_void(struct kv_epoch *ep, const char *prefix);

#endif
