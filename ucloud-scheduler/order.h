/*
 * An order: one change that the scheduler has decided on for one waiting VM, with the entries
 * that it was decided on. It becomes a part of a transaction that compares those entries.
 */
#ifndef UCLOUD_SCHEDULER_ORDER_H
#define UCLOUD_SCHEDULER_ORDER_H

#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/store/cache.h"

enum order_kind {
	ORDER_PLACE,  /* it goes to `host` */
	ORDER_WAIT,   /* it fits nowhere: `why` has changed */
	ORDER_EXPIRE, /* it has waited too long: ERROR */
	ORDER_STOP,   /* it is not wanted any more: STOPPED */
	ORDER_DROP    /* the request means nothing (any more) */
};

enum order_result {
	ORDER_OPEN,
	ORDER_DONE,
	ORDER_CONFLICT, /* an entry has changed: look again */
	ORDER_UNSURE,	/* etcd does not say whether it happened */
	ORDER_FAILED	/* it did not happen; error says why */
};

struct order {
	struct order *next;
	enum order_kind kind;
	char uuid[UUID_STR_SIZE];
	const struct cache_item *vm;	  /* counted; struct vm_brief. NULL: absent */
	const struct cache_item *request; /* counted; struct request */
	char *host;
	int64_t host_rev;
	bool is_local; /* its disks will be on that host */
	char *why;
	enum order_result result;
	int64_t done_rev; /* of ORDER_DONE, 0 unknown */
	char *error;	  /* of ORDER_FAILED */
};

/* Takes vm and request. */
struct order *order_new(enum order_kind kind, const char *uuid,
	const struct cache_item *vm, const struct cache_item *request);
void order_free(struct order *o);

/* At most this much each of them adds to a transaction. */
#define ORDER_MAX_CMPS 3
size_t order_n_ops(const struct order *o);
size_t order_size(const struct order *o); /* bytes, about */

/* Adds its comparisons and writes; nothing when it fails. */
int order_add_to_txn(const struct order *o, const struct keys *keys, int64_t now,
	struct kv_txn *t, struct err *e) MUST_USE;

#endif
