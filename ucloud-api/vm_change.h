/*
 * What the orders for the disks, snapshots and interfaces of a VM that exists share
 * (disk_order.c, snapshot_order.c, nic_order.c). Nobody else includes this.
 *
 * Each changes the entry to what is wanted, and has whoever can reach the disks, or the running
 * domain, carry it out (ChangeVM), unless nobody has to.
 */
#ifndef UCLOUD_VM_CHANGE_H
#define UCLOUD_VM_CHANGE_H

#include "ucloud-api/vm_order.h"

/*
 * aux: the struct vm_change, with what is around it. Changes its base.vm, and calls
 * vm_change_say(). 0; DRAFT_MORE; DRAFT_AS_IT_IS; < 0 refused. Drafts nothing. When the draft
 * is doubtful, an earlier run may have been carried out.
 */
typedef int vm_change_edit_fn(void *aux, struct draft *d, struct err *e);
/* What is written beside the VM's entry, when nothing can refuse the order any more. */
typedef void vm_change_write_fn(void *aux, struct draft *d);

struct vm_change {
	struct vm_order base;
	vm_change_edit_fn *edit;
	vm_change_write_fn *write; /* NULL: nothing */
	const char *done;	   /* "snapshotted": for refusals */
	bool needs_stopped;
	bool needs_disks; /* nothing for a VM that never had a host */
	bool is_now;	  /* edit says so: nobody has to carry it out */
	char what[128];	  /* "growing disk 1 to 20 GiB"; of the last run */
	struct idem idem;
	bool is_refused; /* by us, in the last run */
};

void vm_change_say(struct vm_change *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* ORDER_AS_IT_IS, 0 with *out, or < 0. Ends c, not what is around it. */
int vm_change_run(struct vm_change *c, struct vm *out, struct err *e) MUST_USE;
/* The same of what a repeated order would make twice. what: "disk"; the idempotency_key (may be
 * NULL) is for this VM alone. */
int vm_change_run_create(struct vm_change *c, const char *what,
	const char *idempotency_key, json_t *body, struct vm *out,
	struct err *e) MUST_USE;

#endif
