/*
 * Image stores by name: their entries are read from etcd whenever one is used, and what was
 * opened is kept until its entry changes. Any thread.
 */
#ifndef UCLOUD_STORES_H
#define UCLOUD_STORES_H

#include "common/disk/disk.h"
#include "common/store/kv.h"

struct stores;

struct store_ref {
	char *name;
	int64_t mod_rev;
	struct image_store conf;
	struct disk_store *disks;
	int refs; /* atomic */
};

struct stores *stores_new(struct kv *kv);
void stores_free(struct stores *s);
/* *out is counted, for store_put(). ERR_NOT_FOUND when there is no such entry. */
int stores_get(struct stores *s, const char *name, struct store_ref **out,
	struct err *e) MUST_USE;
/* The same, from an entry that was read already. */
int stores_open(struct stores *s, const struct kv_pair *entry, struct store_ref **out,
	struct err *e) MUST_USE;
void store_put(struct store_ref **ref); /* for CLEANUP; NULL is fine */

#endif
