/*
 * Writes to etcd what has changed: a queue of uuids and one thread that takes many at once,
 * compares each file's entry with what was found, and writes them in one transaction that
 * compares our lock. Any thread may add.
 *
 * New entries are written before old ones are deleted, so that the hash of a renamed file is
 * in etcd at any time. Entries are deleted only when it is certain that their files are gone.
 */
#ifndef UCLOUD_FILESCAN_PUBLISH_H
#define UCLOUD_FILESCAN_PUBLISH_H

#include "common/store/cache.h"
#include "ucloud-filescan/diff.h"
#include "ucloud-filescan/scan.h"

struct publish;

struct publish_conf {
	struct kv *kv;
	const struct keys *keys;
	const char *lock_key;
	struct cache *entries; /* struct file; names are uuids */
	struct scan *scan;
	/* The create revision of our lock; 0: not ours now. */
	int64_t (*fence)(void *aux);
	/* Before the first write, when we lead and all entries are known: once. */
	void (*on_ready)(void *aux);
	void *aux;
};

/* All in conf is borrowed. */
struct publish *publish_new(const struct publish_conf *conf);
void publish_start(struct publish *p);
/* Look at this uuid. */
void publish_add(struct publish *p, const char *uuid);
/* At all entries, and all files. */
void publish_add_all(struct publish *p);
/* Leading or not has changed. */
void publish_poke(struct publish *p);
void publish_stop(struct publish *p); /* twice is fine */
void publish_free(struct publish *p);

#endif
