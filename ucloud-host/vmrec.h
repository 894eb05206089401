/*
 * The reconcile of one VM: reads its entry, request and placement at one revision, looks at
 * libvirt and the disks, asks vmstep.c what to do, does that one thing, and has itself called
 * again. Any number of workers, each on another VM.
 */
#ifndef UCLOUD_VMREC_H
#define UCLOUD_VMREC_H

#include "common/store/wq.h"
#include "ucloud-host/host_env.h"

struct vmrec;

struct vmrec *vmrec_new(const struct host_env *env);
void vmrec_free(struct vmrec *r);
/* A ctl_reconcile_fn; aux is the struct vmrec, the key a VM's uuid. */
enum wq_result vmrec_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e);
/* libvirt is back: what failed before need not rest any longer. */
void vmrec_libvirt_is_back(struct vmrec *r);

#endif
