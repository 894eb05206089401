/*
 * DeleteVM requests that are addressed to the scheduler: of VMs that have no host and whose
 * disks (if there are any) are on none in particular. One that never had a host is removed
 * here, at once. One that may have disks in a shared store is handed to a host that reaches
 * the store, because only hosts can remove disks.
 */
#ifndef UCLOUD_SCHEDULER_DELREC_H
#define UCLOUD_SCHEDULER_DELREC_H

#include "common/store/wq.h"
#include "ucloud-scheduler/sched_impl.h"

enum wq_result delrec_look(
	struct sched *s, const char *vm_uuid, int64_t *after_msec, struct err *e);

#endif
