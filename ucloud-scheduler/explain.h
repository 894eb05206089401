/*
 * `ucloud-scheduler explain VM`: what the scheduler would say about this VM now, host by
 * host. Reads the store itself and writes nothing; any machine that reaches etcd will do.
 */
#ifndef UCLOUD_SCHEDULER_EXPLAIN_H
#define UCLOUD_SCHEDULER_EXPLAIN_H

#include "common/base/buf.h"
#include "ucloud-scheduler/sched.h"

/* vm is a uuid, or a name that only one VM has. Appends lines of text. */
int explain_vm(struct kv *kv, const struct sched_conf *conf, const char *vm,
	struct buf *out, struct err *e) MUST_USE;

#endif
