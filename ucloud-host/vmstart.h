/*
 * The start of a VM: everything that its domain consists of is brought together, and libvirt
 * told. Blocks; any thread.
 */
#ifndef UCLOUD_VMSTART_H
#define UCLOUD_VMSTART_H

#include "ucloud-host/vmnets.h"

/* Of a VM whose disks are there and whose networks are ready. A domain that is defined and
 * does not run is defined anew. */
int vmstart(const struct host_env *env, const struct vm *vm, const struct vmnets *nets,
	struct err *e) MUST_USE;

#endif
