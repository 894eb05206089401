/*
 * ucloud-image, assembled: makes images of uploaded files (imgrec.h) and sees that stores and
 * entries agree (imgsweep.h), while it holds /v1/lock/image; every write compares that lock.
 * It runs where the files are.
 */
#ifndef UCLOUD_IMAGE_IMAGED_H
#define UCLOUD_IMAGE_IMAGED_H

#include <stdbool.h>

#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-image/import.h"

struct imaged;

struct imaged_conf {
	struct import_conf import;
	struct keys keys;
	unsigned n_jobs;	 /* images made at the same time */
	int64_t lease_ttl_sec;	 /* of the leader's lock */
	int64_t resync_sec;	 /* 0: 600 */
	int64_t orphan_keep_sec; /* below 0: for ever */
};

/* conf and kv are borrowed and must outlive it. */
struct imaged *imaged_new(struct kv *kv, const struct imaged_conf *conf);
void imaged_start(struct imaged *d);
/* Ends what is under way (at most some seconds; it is begun anew by the next one), and gives
 * the lock back. Twice is fine. */
void imaged_stop(struct imaged *d);
/* Stops it first; NULL is fine. False when something hangs in a call of a store: nothing was
 * freed, and kv must not be closed. */
bool imaged_free(struct imaged *d);

bool imaged_is_leader(struct imaged *d);
bool imaged_is_synced(struct imaged *d);

#endif
