/*
 * An etcd in memory, for the simulation and for faults. One struct fake_etcd is the server;
 * any number of struct kv are its clients, each with faults of its own. Single-threaded use
 * is deterministic; a mutex makes it usable from threads as well. Leases run on clock.h.
 */
#ifndef UCLOUD_KV_FAKE_H
#define UCLOUD_KV_FAKE_H

#include "common/store/kv.h"

struct fake_etcd;

struct fake_etcd *fake_etcd_new(void);
void fake_etcd_free(struct fake_etcd *f); /* after its clients are closed */
/* Forgets the history up to the newest revision: watches from before are KV_COMPACTED, open
 * ones only when they have not shown everything yet. */
void fake_etcd_compact(struct fake_etcd *f);
/* As after restoring a backup that was made at rev (not older than the last compaction): what
 * came later never happened, its revisions are given out again, watches are KV_COMPACTED. */
void fake_etcd_restore(struct fake_etcd *f, int64_t rev);
/* Drops expired leases and their keys, as of clock.h's time. Every call does it, too. */
void fake_etcd_tick(struct fake_etcd *f);
int64_t fake_etcd_rev(struct fake_etcd *f);

struct kv *kv_fake_open(struct fake_etcd *f);

/* Faults of one client. What is not set does not happen. Writes are transactions that put or
 * delete, and all that is done with leases (where 2 and 3 are ERR_TIMEOUT); reads are the
 * rest and the opening of a watch. The functions are called with no lock held and may use the
 * store themselves, through another client. */
struct kv_fault {
	bool is_cut; /* every call is ERR_UNAVAILABLE; watches are broken */
	/* Asked before each write: 0 let it pass; 1 fail without effect; 2 do it but answer
	 * KV_UNKNOWN; 3 answer KV_UNKNOWN without effect. */
	int (*on_write)(void *aux);
	/* Asked before each read: non-zero fails it. */
	int (*on_read)(void *aux);
	/* Told of each key that a transaction has just changed, before anybody sees it: was its
	 * revision compared in the same transaction? */
	void (*on_change)(void *aux, const char *key, bool is_compared);
	/* How many pending events a watch may show now; NULL: all. The rest comes later. A
	 * transaction is always shown as a whole. */
	size_t (*on_watch)(void *aux, size_t n_pending);
	int64_t page_len; /* a range shows at most that many keys at once; 0: all asked for */
	void *aux;
};
void kv_fake_set_fault(struct kv *kv, const struct kv_fault *fault); /* NULL: none */

#endif
