/*
 * The scheduler, assembled: it places VMs (placerec.h), declares hosts dead or alive
 * (hostrec.h) and has disks changed and removed that are on no host in particular (diskrec.h), while it leads. Any
 * number of schedulers may run; the one that holds /v1/lock/scheduler leads, and every write
 * compares that lock.
 */
#ifndef UCLOUD_SCHEDULER_SCHED_H
#define UCLOUD_SCHEDULER_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model/keys.h"
#include "common/store/kv.h"

struct sched;

struct sched_conf {
	struct keys keys;
	int strategy;	       /* enum place_strategy */
	int64_t grace_sec;     /* how long a host's heartbeat may be missing */
	int64_t lease_ttl_sec; /* of the leader's lock */
	int64_t deadline_sec;  /* how long a VM may wait for a host; 0: for ever */
};

/* conf and kv are borrowed and must outlive it. */
struct sched *sched_new(struct kv *kv, const struct sched_conf *conf);
void sched_start(struct sched *s);
/* Ends what is under way, at most some seconds, and gives the lock back, so that the next
 * scheduler need not wait. Twice is fine. */
void sched_stop(struct sched *s);
/* Stops it first; NULL is fine. False when something hangs in a call of the store: nothing was
 * freed, and kv must not be closed. */
bool sched_free(struct sched *s);

/* Instead of sched_start(), without threads: one step; false when nothing was to do. */
bool sched_step(struct sched *s);
/* Milliseconds until the next step has something to do by itself; -1 never. */
int64_t sched_next_msec(struct sched *s);

bool sched_is_leader(struct sched *s);
bool sched_is_synced(struct sched *s);

#endif
