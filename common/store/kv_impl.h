/*
 * What an implementation of kv.h provides. Only kv*.c include this.
 */
#ifndef UCLOUD_KV_IMPL_H
#define UCLOUD_KV_IMPL_H

#include "common/store/kv.h"

enum kv_cmp_kind { KV_CMP_MOD_REV, KV_CMP_CREATE_REV, KV_CMP_PRESENT };

struct kv_cmp {
	enum kv_cmp_kind kind;
	char *key;
	int64_t rev;
};

enum kv_op_kind { KV_OP_PUT, KV_OP_DEL, KV_OP_GET };

struct kv_op {
	enum kv_op_kind kind;
	char *key;
	char *value;
	int64_t lease;
};

struct kv_txn {
	struct kv_cmp *cmps;
	size_t n_cmps;
	struct kv_op *ops;
	size_t n_ops;
};

struct kv_range_req {
	const char *key; /* the first key of the range */
	const char *end; /* the first key behind it; NULL: this one key */
	int64_t limit;	 /* 0 none */
	int64_t rev;	 /* 0 newest */
	bool count_only;
};

struct kv_txn_result {
	bool succeeded;
	int64_t rev;
	struct kv_list got; /* one pair for each KV_OP_GET, in order */
};

struct kv_ops {
	/* 0 with *out and *count (neither is NULL) filled, KV_COMPACTED, < 0. ERR_TOO_LARGE: the
	 * answer was; the caller asks for less. */
	int (*range)(struct kv *kv, const struct kv_range_req *req, struct kv_list *out,
		int64_t *count, struct err *e);
	/* 0 with *out filled, KV_UNKNOWN (never for a transaction that only reads), < 0 */
	int (*txn)(struct kv *kv, const struct kv_txn *t, struct kv_txn_result *out,
		struct err *e);
	int (*lease_grant)(struct kv *kv, int64_t ttl_sec, int64_t *lease, struct err *e);
	int (*lease_keepalive)(
		struct kv *kv, int64_t lease, int64_t *ttl_sec, struct err *e);
	int (*lease_revoke)(struct kv *kv, int64_t lease, struct err *e);
	int (*watch_open)(struct kv *kv, const struct kv_watch_req *req,
		struct kv_watch **out, struct err *e);
	void (*close)(struct kv *kv);
};

struct kv {
	const struct kv_ops *ops;
};

struct kv_watch_ops {
	int (*next)(struct kv_watch *w, int64_t wait_msec, struct kv_events *out,
		struct err *e);
	void (*wake)(struct kv_watch *w);
	void (*close)(struct kv_watch *w);
};

struct kv_watch {
	const struct kv_watch_ops *ops;
};

/* The first key behind all that begin with prefix: "a0" gives "a1". Keys are text, so 0xff
 * bytes lie behind all of them: "" gives those. The caller's. */
char *kv_prefix_end(const char *prefix);
/* The first key that can begin with prefix: etcd has no empty keys. Borrowed from prefix
 * or a literal. */
const char *kv_prefix_begin(const char *prefix);
void kv_txn_get(struct kv_txn *t, const char *key);
bool kv_txn_is_read(const struct kv_txn *t);
/* Makes the store's metrics appear although nothing was counted yet. */
void kv_metrics_register(void);

#endif
