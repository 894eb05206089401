/*
 * Carries orders out: many in one transaction, several transactions at once. A transaction
 * that conflicts is halved until the order that is to blame stands alone, so that a bad one
 * holds up nobody. After a lost answer the entries are read.
 *
 * Without commit_start() everything happens within commit_submit() (the simulation).
 */
#ifndef UCLOUD_SCHEDULER_COMMIT_H
#define UCLOUD_SCHEDULER_COMMIT_H

#include "ucloud-scheduler/order.h"

struct commit;

struct commit_conf {
	struct kv *kv;
	const struct keys *keys;
	const char *lock_key;
	unsigned n_threads; /* at most 16 */
	/* Some results are there: commit_take_results(). Any thread; must not block. */
	void (*on_results)(void *aux);
	/* Is the lock with this create revision still ours, as far as we know? If not, nothing
	 * is tried again. */
	bool (*has_lock)(void *aux, int64_t fence);
	void *aux;
};

/* Strings in conf are borrowed. */
struct commit *commit_new(const struct commit_conf *conf);
void commit_start(struct commit *c);
/* Waits for what is under way; what is queued is not begun any more. */
void commit_stop(struct commit *c);
void commit_free(struct commit *c);

/* Takes the order; it may be held until the group is full or commit_flush(). fence: the
 * leader's lock's create revision. One thread submits. */
void commit_submit(struct commit *c, struct order *o, int64_t fence);
void commit_flush(struct commit *c);
/* Is enough under way, so that more would only wait? */
bool commit_is_full(struct commit *c);
/* A list of orders whose result is known, the caller's; NULL none. */
struct order *commit_take_results(struct commit *c);

#endif
