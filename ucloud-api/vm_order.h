/*
 * What the orders for a VM that exists share (vm_order.c, vm_change.c and the
 * files that use it). Nobody else includes
 * this.
 */
#ifndef UCLOUD_VM_ORDER_H
#define UCLOUD_VM_ORDER_H

#include "ucloud-api/orders_impl.h"

struct vm_order {
	struct orders *o;
	const struct who *who;
	const char *ref;
	int64_t now;
	bool is_force;
	json_t *body;	   /* of a change */
	int64_t boot;	   /* that a reboot ordered, in an earlier run */
	struct vm vm;	   /* of the last run */
	bool was_found;	   /* in some run */
	bool is_host_dead; /* where it is, or has its disks; in the last run */
};

/* The VM, its host, and what is open for it. */
int vm_order_look(
	struct vm_order *c, struct draft *d, struct slots *s, struct err *e) MUST_USE;
/* "... cannot be <what> while its status is ...: <hint>" */
int vm_order_not_while(
	const struct vm *vm, const char *what, const char *hint, struct err *e);
/* "... cannot be <what> now: it is busy with ..." */
int vm_order_is_busy(
	const struct vm *vm, const char *what, const struct slot *s, struct err *e);
/* One request stands at `to`, none anywhere else. */
void vm_order_at(struct vm_order *c, struct draft *d, const struct slots *s,
	const struct slot *to, enum request_type type);
/* Writes c->vm with a line in its log. by: the host that is to carry it out, NULL none. */
int vm_order_save(struct vm_order *c, struct draft *d, const char *what, const char *by,
	struct err *e) MUST_USE;
/* The owner's use follows what c->vm has more, or less, than before; user->name stays NULL
 * when that is nothing. 0, DRAFT_MORE, < 0. */
int vm_order_use(struct vm_order *c, struct draft *d, const struct vm *before,
	struct user *user, struct err *e) MUST_USE;
/* Runs it: ORDER_AS_IT_IS, 0 with *out, or < 0. Ends c. */
int vm_order_run(
	struct vm_order *c, order_fn *fn, struct vm *out, struct err *e) MUST_USE;

#endif
