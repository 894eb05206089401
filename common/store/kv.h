/*
 * The store: etcd v3 as the parts of ucloud see it. Keys and values are strings; values are
 * JSON text. Two implementations stand behind this header and pass the same contract test
 * (tests/contract): etcd's JSON gateway (kv_etcd.h) and one in memory (kv_fake.h).
 *
 * All calls block, with a time limit, and may be made from any number of threads at once.
 * Losing etcd is ERR_UNAVAILABLE (or ERR_TIMEOUT); the caller tries again later.
 *
 * A transaction has four outcomes: 0 it happened; KV_CONFLICT a comparison failed and
 * nothing happened; KV_UNKNOWN the answer was lost: **read**, never resend; < 0 it did not
 * happen.
 */
#ifndef UCLOUD_KV_H
#define UCLOUD_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct kv;

enum { KV_CONFLICT = 1, KV_UNKNOWN = 2, KV_COMPACTED = 3, KV_IDLE = 4 };

/* etcd's --max-txn-ops: comparisons and operations, each. */
#define KV_TXN_MAX_OPS 128
/* Ours: far below etcd's 1.5 MiB a request. */
#define KV_VALUE_MAX (256 * 1024)
/* Keys and values of one transaction together, so that it stays below etcd's limit. */
#define KV_TXN_MAX_SIZE (1280 * 1024)

struct kv_pair {
	char *key;   /* NULL: absent */
	char *value; /* NUL terminated behind value_size bytes */
	size_t value_size;
	int64_t create_rev, mod_rev;
	int64_t lease; /* 0 none */
};

struct kv_list {
	struct kv_pair *v;
	size_t len;
	int64_t rev; /* the store's revision that this list is of */
	bool has_more;
};

void kv_pair_done(struct kv_pair *p);
void kv_list_done(struct kv_list *l);

/* For struct kv's makers: releases everything. No call may be under way. */
void kv_close(struct kv *kv);

/* Linearizable. out->key is NULL when the key is absent. rev may be NULL. */
int kv_get(struct kv *kv, const char *key, struct kv_pair *out, int64_t *rev,
	struct err *e) MUST_USE;
/* Several keys at one revision (at most KV_TXN_MAX_OPS): out->v[i] is keys[i], absent ones
 * have a NULL key. */
int kv_get_many(struct kv *kv, const char *const *keys, size_t n, struct kv_list *out,
	struct err *e) MUST_USE;
/* One page in the order of keys: those that begin with prefix and come after `after` (NULL:
 * from the first). at_rev 0 is the newest; KV_COMPACTED when that revision is gone. limit is
 * at least 1; a page may be shorter than that although out->has_more: when the values are
 * large. */
int kv_range_page(struct kv *kv, const char *prefix, const char *after, size_t limit,
	int64_t at_rev, struct kv_list *out, struct err *e) MUST_USE;
/* All of them, page by page at one revision. Keys are text: an empty prefix is all keys. */
int kv_range(struct kv *kv, const char *prefix, int64_t at_rev, struct kv_list *out,
	struct err *e) MUST_USE;
int kv_count(struct kv *kv, const char *prefix, int64_t *count, struct err *e) MUST_USE;

/*
 * Transactions. Keys and values are copied. More than KV_TXN_MAX_OPS comparisons or
 * operations, or one key written twice, is our own mistake: assert. The same comparison
 * twice is kept once. A value above KV_VALUE_MAX, or more than KV_TXN_MAX_SIZE altogether,
 * is refused by kv_txn_commit() with ERR_TOO_LARGE.
 */
struct kv_txn *kv_txn_new(void);
void kv_txn_free(struct kv_txn *t);
void kv_txn_free_ptr(struct kv_txn **t);
/* mod_revision is mod_rev; 0: the key is absent. */
void kv_txn_if_rev(struct kv_txn *t, const char *key, int64_t mod_rev);
/* create_revision is create_rev: a leader's fence. */
void kv_txn_if_lock(struct kv_txn *t, const char *key, int64_t create_rev);
void kv_txn_if_present(struct kv_txn *t, const char *key);
void kv_txn_put(struct kv_txn *t, const char *key, const char *value);
void kv_txn_put_lease(
	struct kv_txn *t, const char *key, const char *value, int64_t lease);
void kv_txn_del(struct kv_txn *t, const char *key);
size_t kv_txn_n_compares(const struct kv_txn *t);
size_t kv_txn_n_ops(const struct kv_txn *t);
size_t kv_txn_size(const struct kv_txn *t); /* bytes of its keys and values */
/* Appends all of `from` to `t`. */
void kv_txn_merge(struct kv_txn *t, const struct kv_txn *from);
/* rev (may be NULL): the revision that it made, or that the conflict was seen at. With
 * KV_UNKNOWN, e says what happened. */
int kv_txn_commit(
	struct kv *kv, const struct kv_txn *t, int64_t *rev, struct err *e) MUST_USE;

/* Leases. ttl 0 in the answer to a keepalive: the lease is lost. Revoking one that is gone is
 * fine. */
int kv_lease_grant(
	struct kv *kv, int64_t ttl_sec, int64_t *lease, struct err *e) MUST_USE;
int kv_lease_keepalive(
	struct kv *kv, int64_t lease, int64_t *ttl_sec, struct err *e) MUST_USE;
int kv_lease_revoke(struct kv *kv, int64_t lease, struct err *e) MUST_USE;

/*
 * Watching, by pulling. What a range at revision R did not show comes from
 * kv_watch_open(from_rev = R + 1). One thread uses a watch; kv_watch_wake() may come from
 * any. All events of one transaction arrive in one list.
 */
struct kv_watch;

struct kv_event {
	struct kv_pair pair; /* of a deletion: key and mod_rev only */
	bool is_delete;
	struct kv_pair prev; /* when asked for and known, else key is NULL */
};

struct kv_events {
	struct kv_event *v;
	size_t len;
	int64_t rev; /* everything up to this revision has now been seen */
};

void kv_events_done(struct kv_events *ev);

struct kv_watch_req {
	const char *prefix; /* or one whole key: */
	bool is_single_key;
	bool want_prev;
	int64_t from_rev; /* 0: from now on */
};

/* Waits (within the time limit of a call) until the watch stands, so that with from_rev 0
 * nothing that is written afterwards is missed. */
int kv_watch_open(struct kv *kv, const struct kv_watch_req *req, struct kv_watch **out,
	struct err *e) MUST_USE;
/* 0: *out has at least one event, or only a newer rev (progress). KV_IDLE: nothing within
 * wait_msec, or woken. KV_COMPACTED: from_rev is gone (or the store was restored): list
 * again. < 0: broken: open again from the last rev + 1. */
int kv_watch_next(struct kv_watch *w, int64_t wait_msec, struct kv_events *out,
	struct err *e) MUST_USE;
void kv_watch_wake(struct kv_watch *w);
void kv_watch_close(struct kv_watch *w);

#endif
