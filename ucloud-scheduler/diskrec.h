/*
 * Requests about the disks of VMs that have no host, when those are on none in particular:
 * DeleteVM and ChangeVM that are addressed to the scheduler. A VM that never had a host is
 * removed here, at once. One that has disks in a shared store is handed to a host that reaches
 * the store, because only hosts touch disks; its entry names that host as disk_host until it
 * has done what was asked. When that host dies before, the request is taken back.
 */
#ifndef UCLOUD_SCHEDULER_DISKREC_H
#define UCLOUD_SCHEDULER_DISKREC_H

#include "common/model/host.h"
#include "common/store/wq.h"
#include "ucloud-scheduler/sched_impl.h"

enum wq_result diskrec_look(
	struct sched *s, const char *vm_uuid, int64_t *after_msec, struct err *e);
/* host is DEAD, as of host_rev: what was handed to it becomes ours again. *is_again: not all
 * could be written. */
int diskrec_take_back(struct sched *s, const struct host *host, int64_t host_rev,
	bool *is_again, struct err *e) MUST_USE;

#endif
