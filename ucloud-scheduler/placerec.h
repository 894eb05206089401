/*
 * The pass: looks at all VMs that wait for a host, and gives out orders (order.h). What it
 * knows is in view.h, brought up to date at the beginning of each pass. A placement counts
 * at once in the snapshot, long before it is stored.
 *
 * placerec_changed() may be called by any thread, all else by one at a time.
 */
#ifndef UCLOUD_SCHEDULER_PLACEREC_H
#define UCLOUD_SCHEDULER_PLACEREC_H

#include "common/store/wq.h"
#include "ucloud-scheduler/dirty.h"
#include "ucloud-scheduler/sched_impl.h"

struct placerec *placerec_new(struct sched *s);
void placerec_start(struct placerec *p); /* the threads that write */
void placerec_stop(struct placerec *p);
void placerec_free(struct placerec *p);

/* True when the pass should run. */
bool placerec_changed(struct placerec *p, enum dirty_kind kind, const char *name);
/* We do not lead any more: nothing is collected until the next pass of a leader. */
void placerec_lost(struct placerec *p);
enum wq_result placerec_pass(struct placerec *p, int64_t *after_msec, struct err *e);

#endif
