/*
 * Carries out what vmchange.h plans: looks at a VM's disks in their store and at its domain,
 * and changes them. Blocks; any thread, but one at a time for a VM.
 */
#ifndef UCLOUD_VMAPPLY_H
#define UCLOUD_VMAPPLY_H

#include "ucloud-host/host_env.h"
#include "ucloud-host/vmchange.h"

/* is_on: its domain runs. *out is the caller's. */
int vmapply_look(const struct host_env *env, const struct vm *vm, bool is_on,
	struct vmchange_world *out, struct err *e) MUST_USE;
/* How far it came; but for VMAPPLY_DONE, a new plan is to be made in a while. */
enum vmapply_result {
	VMAPPLY_DONE,
	VMAPPLY_DISK_STAYS, /* the guest was asked to let go of a disk, and has not yet */
	VMAPPLY_NIC_STAYS,  /* of an interface */
	VMAPPLY_NO_NET	    /* a network is not ready here */
};

struct vmapply_outcome {
	bool is_quiesced; /* file systems were frozen for a snapshot */
	char why[192];	  /* of VMAPPLY_NO_NET: which one, and why */
};

/* An enum vmapply_result, or < 0. */
int vmapply_run(const struct host_env *env, const struct vm *vm, bool is_on,
	const struct vmchange_plan *plan, struct vmapply_outcome *out,
	struct err *e) MUST_USE;
/* Is the VM's store one whose disks every host that reaches it can change? */
int vmapply_is_shared(const struct host_env *env, const struct vm *vm, bool *is_shared,
	struct err *e) MUST_USE;

#endif
