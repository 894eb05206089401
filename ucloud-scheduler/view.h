/*
 * What the leader knows: the snapshot, and the VMs that wait. Brought up to date, whenever
 * view_update() is called, with what the caches say about the entries that have changed.
 *
 * view_changed() may be called by any thread, all else by one at a time.
 */
#ifndef UCLOUD_SCHEDULER_VIEW_H
#define UCLOUD_SCHEDULER_VIEW_H

#include "ucloud-scheduler/dirty.h"
#include "ucloud-scheduler/pend.h"
#include "ucloud-scheduler/sched_impl.h"
#include "ucloud-scheduler/snapshot.h"

struct view {
	struct sched *s;
	struct dirty *dirty;
	int64_t fence; /* of the leadership that it was built for; 0: nothing is built */
	int64_t built_msec; /* monotonic */
	struct snap *snap;
	struct pends pends;
};

void view_init(struct view *v, struct sched *s);
void view_done(struct view *v);
/* False when it is of no interest, because we do not lead. */
bool view_changed(struct view *v, enum dirty_kind kind, const char *name);
/* Nothing is collected any more, until the next view_update(). */
void view_lost(struct view *v);
/* *is_new: it was built anew, and nothing of the old snapshot is left. */
int view_update(struct view *v, int64_t fence, bool *is_new, struct err *e) MUST_USE;

#endif
