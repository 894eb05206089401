/*
 * What the parts of the running ucloud-image share. Only for this directory.
 */
#ifndef UCLOUD_IMAGE_IMGENV_H
#define UCLOUD_IMAGE_IMGENV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/disk/disk.h"
#include "common/model/keys.h"
#include "common/store/cache.h"
#include "ucloud-image/import.h"

struct imgenv {
	struct kv *kv;
	const struct keys *keys; /* borrowed */
	char *lock_key;
	/* The lock's create revision while we lead, else 0: what every write compares. */
	_Atomic int64_t fence;
	atomic_bool is_stopping;
	struct cache *requests; /* struct request, those for us */
	struct import_conf import;
	unsigned n_jobs;
	int64_t orphan_keep_sec; /* below 0: for ever */
};

/* An image store, opened for one job. Valid when zeroed. */
struct imgstore {
	struct image_store conf;
	struct disk_store *disks;
};
/* *out need not be valid before. ERR_UNAVAILABLE also for what an admin has to mend;
 * ERR_NOT_FOUND: there is no such entry. */
int imgstore_open(
	struct kv *kv, const char *name, struct imgstore *out, struct err *e) MUST_USE;
void imgstore_done(struct imgstore *s);

#endif
