/*
 * Compares the stores with the entries, once a new leader begins and now and then:
 *
 * - What is in a store and has no entry is an orphan. It is only removed when its key is absent
 *   in a linearizable read, the same read shows the store's own entry (so that it is the right
 *   etcd and not an empty one), and that was so at every look for orphan_keep. In normal work
 *   no such orphans arise: data goes before its entry.
 * - What a failed import left (the store was away when it was to be removed) is removed.
 * - An image that is CREATED and whose data is gone is told, and left alone.
 * - An image that waits to be made without a request is given to look_at().
 */
#ifndef UCLOUD_IMAGE_IMGSWEEP_H
#define UCLOUD_IMAGE_IMGSWEEP_H

#include "common/store/wq.h"
#include "ucloud-image/imgenv.h"

struct imgsweep_state;

struct imgsweep_state *imgsweep_new(
	struct imgenv *env, void (*look_at)(void *aux, const char *uuid), void *aux);
void imgsweep_free(struct imgsweep_state *s);
/* A ctl_reconcile_fn of one key; aux is the struct imgsweep_state. One thread. */
enum wq_result imgsweep_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e);

#endif
