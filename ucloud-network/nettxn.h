/*
 * The transactions of docs/architecture.md that the leading router writes. Each compares the
 * leader's lock, and the entries that it was decided on. Pure: entries in, transaction out.
 */
#ifndef UCLOUD_NETWORK_NETTXN_H
#define UCLOUD_NETWORK_NETTXN_H

#include "common/model/keys.h"
#include "common/model/network.h"
#include "common/work/subject.h"
#include "ucloud-network/alloc.h"

/* A network and its request as they were read. Valid when zeroed. */
struct netread {
	struct subject s;
	struct network *net; /* the subject's entry; NULL: absent, or it cannot be read */
};

void netread_init(struct netread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid);
void netread_done(struct netread *r);
/* Reads both, at one revision. */
int netread_read(struct netread *r, struct kv *kv, struct err *e) MUST_USE;

/* What is to be done about it. */
enum netact {
	NETACT_NOTHING,
	NETACT_WAIT, /* until the request's not_before */
	NETACT_DROP, /* the request means nothing any more */
	NETACT_MAKE,
	NETACT_DELETE,
};
enum netact netread_decide(const struct netread *r, int64_t now);

/* All are the caller's. Those that change an entry change what was read as well. */

struct kv_txn *nettxn_made(struct netread *r, const struct alloc *got, int64_t mtu);
/* There is no room: the network says why, its request stays open. */
struct kv_txn *nettxn_no_room(struct netread *r, int64_t now, const char *why);

/* VMs have interfaces in it: it is not deleted, and says why. Its request goes. */
struct kv_txn *nettxn_in_use(struct netread *r, const char *why);

/* Everything that tells of it. rest: what kv_get_many() gave for nettxn_deleted_keys(). Its id
 * and prefix rest until free_at. *is_use_odd: the user had less in use. NULL: an entry cannot
 * be read. */
void nettxn_deleted_keys(const struct netread *r, struct strv *keys);
struct kv_txn *nettxn_deleted(struct netread *r, const struct kv_list *rest,
	int64_t free_at, bool *is_use_odd, struct err *e);

#endif
