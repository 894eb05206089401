/*
 * A controller: caches that tell which keys to look at, a queue, and workers that call
 * reconcile(key): look at the newest state, look at reality, take one step. It is never told
 * what changed, only where to look. Every key is looked at again every resync_sec (about ten
 * minutes, spread out): lost news and drift in the real world heal.
 *
 * Workers start when all caches are complete. The reconcile's error is logged here, once
 * per different text and key.
 */
#ifndef UCLOUD_CTL_H
#define UCLOUD_CTL_H

#include "common/store/cache.h"
#include "common/store/wq.h"

struct ctl;

/* WQ_RETRY: e says why. WQ_AGAIN: *after_msec. */
typedef enum wq_result ctl_reconcile_fn(
	void *aux, const char *key, int64_t *after_msec, struct err *e);

struct ctl_conf {
	const char *name; /* "vm": for the log and metrics (borrowed) */
	unsigned n_workers;
	int64_t resync_sec; /* 0: 600 */
	ctl_reconcile_fn *reconcile;
	/* Adds every key there is (ctl_add); called at the start and at each resync, where
	 * the keys are spread over the time until the next one. May be NULL. */
	void (*add_all)(void *aux, struct ctl *c);
	/* May keys be worked on now? (A leader: only while it leads.) NULL: always. Keys wait
	 * meanwhile. ctl_poke() after it became true. */
	bool (*may_run)(void *aux);
	void *aux;
};

struct ctl *ctl_new(const struct ctl_conf *conf);
/* The controller starts this cache and waits for it. Several controllers may use one cache.
 * ctl_free() stops it, so that it tells nobody of changes any more; it stays the caller's to
 * free afterwards. */
void ctl_use_cache(struct ctl *c, struct cache *cache);
void ctl_add(struct ctl *c, const char *key);
void ctl_add_after(struct ctl *c, const char *key, int64_t after_msec);
void ctl_poke(struct ctl *c);
void ctl_start(struct ctl *c);
/* Lets running reconciles end (at most 3 s), then stops. False: workers that did not end in
 * time were left behind; what they use must not be freed. Twice is fine. */
bool ctl_stop(struct ctl *c);
void ctl_free(struct ctl *c); /* stops it first */
/* Are all caches complete? */
bool ctl_is_synced(struct ctl *c);

/* Instead of ctl_start(), for the simulation: steps the caches, then reconciles at most one
 * ready key. True when it did something. */
bool ctl_step(struct ctl *c);
/* Milliseconds until there is something to reconcile: 0 now, -1 not before something else
 * happens. */
int64_t ctl_next_msec(struct ctl *c);

#endif
