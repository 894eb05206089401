/*
 * Carries out what vmchange.h plans: looks at a VM's disks in their store and in its domain,
 * and changes them. Blocks; any thread, but one at a time for a VM.
 */
#ifndef UCLOUD_VMAPPLY_H
#define UCLOUD_VMAPPLY_H

#include "ucloud-host/host_env.h"
#include "ucloud-host/vmchange.h"

/* is_on: its domain runs. *out is the caller's. */
int vmapply_look(const struct host_env *env, const struct vm *vm, bool is_on,
	struct vmchange_world *out, struct err *e) MUST_USE;
/* 0 all steps are done; 1 the guest was asked to let go of a disk: make a new plan in a
 * while. *is_quiesced becomes true when its file systems were frozen for a snapshot. */
int vmapply_run(const struct host_env *env, const struct vm *vm, bool is_on,
	const struct vmchange_plan *plan, bool *is_quiesced, struct err *e) MUST_USE;
/* Is the VM's store one whose disks every host that reaches it can change? */
int vmapply_is_shared(const struct host_env *env, const struct vm *vm, bool *is_shared,
	struct err *e) MUST_USE;

#endif
