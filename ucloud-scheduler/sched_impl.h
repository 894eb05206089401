/*
 * What the parts of the running scheduler share. Only sched.c, placerec.c, hostrec.c and
 * diskrec.c include this.
 *
 * One controller, whose keys say which part is to look at what:
 *	lead          we have just become the leader: everything is to be looked at
 *	place         the pass over all VMs that wait for a host
 *	host/<name>   is that host dead or alive?
 *	disk/<uuid>   a DeleteVM or ChangeVM request that is addressed to us
 */
#ifndef UCLOUD_SCHEDULER_SCHED_IMPL_H
#define UCLOUD_SCHEDULER_SCHED_IMPL_H

#include <stdatomic.h>

#include "common/store/cache.h"
#include "common/store/ctl.h"
#include "common/store/session.h"
#include "ucloud-scheduler/sched.h"

#define SCHED_KEY_LEAD	"lead"
#define SCHED_KEY_PLACE "place"
#define SCHED_KEY_HOST	"host/"
#define SCHED_KEY_DISK	"disk/"

struct placerec;
struct hostrec;

struct sched {
	struct kv *kv;
	const struct sched_conf *conf;
	char *lock_key;
	struct session *session;
	/* The lock's create revision while we lead, else 0: what every write compares. */
	_Atomic int64_t fence;
	bool is_stuck; /* a worker did not end */
	atomic_bool is_stopping;
	struct ctl *ctl;
	struct cache *vms;	/* struct vm_brief */
	struct cache *hosts;	/* struct host */
	struct cache *alives;	/* text */
	struct cache *requests; /* struct request, those for the scheduler */
	struct cache *stores;	/* struct image_store */
	struct placerec *placerec;
	struct hostrec *hostrec;
};

/* ctl_add() of prefix and name as one key. */
void sched_add_key(struct sched *s, const char *prefix, const char *name);

#endif
