/*
 * ucloud-filescan, assembled: the lock, the cache of what is published, the scan of what there
 * is (scan.h), and what brings one in line with the other (publish.h). Of several processes
 * one works: the one that holds /v1/lock/filescan, and every write compares it. The others
 * read nothing but etcd meanwhile. One that has once worked goes on looking while it cannot
 * reach etcd, and publishes afterwards.
 */
#ifndef UCLOUD_FILESCAN_FILESCAN_H
#define UCLOUD_FILESCAN_FILESCAN_H

#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-filescan/scan.h"

struct filescan;

struct filescan_conf {
	struct keys keys;
	struct scan_conf scan;
	int64_t lease_ttl_sec;
};

/* kv and conf are borrowed. */
struct filescan *filescan_new(struct kv *kv, const struct filescan_conf *conf);
void filescan_start(struct filescan *f);
/* Gives the lock back. */
void filescan_free(struct filescan *f);
int filescan_health(struct filescan *f, struct err *e);

#endif
