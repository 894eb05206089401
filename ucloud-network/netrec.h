/*
 * Looks at one network and takes a step: gives it its id and prefix, or takes them back. Only
 * while we lead: one router does, and every write compares the lock. One thread.
 */
#ifndef UCLOUD_NETWORK_NETREC_H
#define UCLOUD_NETWORK_NETREC_H

#include <stdatomic.h>

#include "common/model/keys.h"
#include "common/store/cache.h"
#include "common/store/wq.h"
#include "ucloud-network/alloc.h"

struct netrec_conf {
	int64_t vni_min, vni_max;
	struct alloc_pools pools;
	int64_t quarantine_sec; /* how long ids and prefixes rest after use; 0: not at all */
};

struct netrec_env {
	struct kv *kv;
	const struct keys *keys;
	const struct netrec_conf *conf;
	const char *lock_key;
	/* The lock's create revision while we lead, else 0: what every write compares. */
	_Atomic int64_t fence;
	struct cache *vnis, *prefixes; /* struct allocation */
	/* What networks can have: of the smallest underlay that is known. */
	int64_t (*mtu)(void *aux);
	void *aux;
};

struct netrec;

struct netrec *netrec_new(struct netrec_env *env);
void netrec_free(struct netrec *r);
/* key: the network's uuid. */
enum wq_result netrec_reconcile(
	struct netrec *r, const char *uuid, int64_t *after_msec, struct err *e);

#endif
