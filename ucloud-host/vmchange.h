/*
 * ChangeVM: what a VM's entry orders of its disks, snapshots and interfaces, and what there is
 * of them, go in; steps that make the one like the other come out. Then the entry as it is afterwards:
 * with everything done, or with what could not be done undone. Pure; vmapply.c looks and
 * acts.
 *
 * Every step may be repeated, and the plan is made anew from what there is at each attempt. So
 * a crash of ours in between costs nothing but the time.
 */
#ifndef UCLOUD_VMCHANGE_H
#define UCLOUD_VMCHANGE_H

#include "common/model/vm.h"

/* What there is of a disk. */
struct vmchange_disk {
	bool exists;
	int64_t size_bytes; /* in its store */
	struct strv snapshots;
	bool is_attached;   /* the domain that runs has it open */
	int64_t seen_bytes; /* how large the guest sees it; 0 unknown */
};

struct vmchange_world {
	bool is_on;	 /* its domain runs */
	bool is_live_ok; /* the store changes disks that are open (disk.h) */
	struct vmchange_disk disks[VM_DISKS_MAX]; /* by index */
	struct strv macs; /* of the interfaces that the domain has while it runs */
};
void vmchange_world_done(struct vmchange_world *w);

enum vmchange_op {
	VMCHANGE_THAW, /* what an attempt before may have left frozen */
	VMCHANGE_DETACH,
	VMCHANGE_REMOVE,
	VMCHANGE_UNSNAPSHOT,
	VMCHANGE_RESTORE,
	VMCHANGE_MAKE,
	VMCHANGE_GROW,
	VMCHANGE_ATTACH,
	VMCHANGE_FLATTEN,
	VMCHANGE_SNAPSHOT, /* of all `disks` at one moment */
	VMCHANGE_NIC_DETACH,
	VMCHANGE_NIC_ATTACH, /* last: its network may take a while */
	VMCHANGE_N
};
extern const char *const vmchange_op_names[];

struct vmchange_step {
	enum vmchange_op op;
	unsigned index;	      /* of the disk */
	bool is_live;	      /* the hypervisor does it */
	uint32_t disks;	      /* of VMCHANGE_SNAPSHOT, bit n: disk n */
	uint32_t live_disks;  /* those of them that the hypervisor takes */
	const char *snapshot; /* borrowed of the VM */
	const char *mac;      /* of the interface; borrowed of the VM */
};

struct vmchange_plan {
	struct vmchange_step *v;
	size_t len;
};
void vmchange_plan_done(struct vmchange_plan *p);

/* In the order in which they are to be done; none: all is as ordered. Fails with what cannot
 * be planned: ERR_UNAVAILABLE when the boot disk is not there, and the like. */
int vmchange_plan(const struct vm *vm, const struct vmchange_world *w,
	struct vmchange_plan *out, struct err *e) MUST_USE;
/* What is to be done before vmchange_undone(): nothing half made is left behind. */
void vmchange_undo_plan(
	const struct vm *vm, const struct vmchange_world *w, struct vmchange_plan *out);

/* The entry when all of the plan was done. is_quiesced: file systems were frozen for the
 * snapshot. Its log says what was done. */
void vmchange_done(struct vm *vm, bool is_quiesced, int64_t now);
/* The entry when it is given up because of `why`: what is done stays, all else is as it really
 * is. A disk that exists is never given up, nor an interface that was ordered. */
void vmchange_undone(
	struct vm *vm, const struct vmchange_world *w, const char *why, int64_t now);

#endif
