/*
 * What the parts of kv_fake share. Everything in struct fake_etcd is under its lock.
 */
#ifndef UCLOUD_KV_FAKE_IMPL_H
#define UCLOUD_KV_FAKE_IMPL_H

#include <pthread.h>

#include "common/base/hash.h"
#include "common/store/kv_fake.h"
#include "common/store/kv_impl.h"
#include "common/store/mvcc.h"

struct fake_lease {
	int64_t id, ttl_sec, expires_msec;
	UT_hash_handle hh;
};

struct fake_watch {
	struct kv_watch w;
	struct fake_client *client;
	char *prefix;
	bool is_single_key, want_prev;
	int64_t next_rev;
	bool is_woken, is_broken, is_compacted;
	struct fake_watch *next, **link; /* in watches */
};

struct fake_etcd {
	pthread_mutex_t lock;
	pthread_cond_t news;
	struct mvcc *m;
	struct fake_lease *leases;
	int64_t n_leases_ever;
	int64_t next_expiry_msec; /* no lease expires before this */
	struct fake_watch *watches;
	size_t n_clients;
};

struct fake_client {
	struct kv kv;
	struct fake_etcd *f;
	struct kv_fault fault;
};

/* Leases that are over end with the locking. */
void fake_lock(struct fake_etcd *f);
void fake_unlock(struct fake_etcd *f);
void fake_expire(struct fake_etcd *f);

/* Is the client cut off, or is this read to fail? */
int fake_before_read(struct fake_client *c, struct err *e) MUST_USE;

int fake_watch_open(struct kv *kv, const struct kv_watch_req *req, struct kv_watch **out,
	struct err *e) MUST_USE;
/* Before a compaction: who has not seen everything is too late. */
void fake_watches_compact(struct fake_etcd *f);

#endif
