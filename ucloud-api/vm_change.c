#include "ucloud-api/vm_change.h"

#include <stdio.h>

#include "common/base/buf.h"

void vm_change_say(struct vm_change *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->what, sizeof(c->what), fmt, ap);
	va_end(ap);
}

/* May it be changed now? */
static int check_state(const struct vm_change *c, struct slots *s, struct err *e)
{
	const struct vm *vm = &c->base.vm;
	const struct slot *open = slots_open(s);

	if (open)
		return vm_order_is_busy(vm, c->done, open, e);
	if (vm->status != VM_STOPPED && c->needs_stopped)
		return vm_order_not_while(vm, c->done, "stop it first", e);
	if (vm->status != VM_STOPPED && vm->status != VM_RUNNING)
		return vm_order_not_while(
			vm, c->done, "only one that is RUNNING or STOPPED can", e);
	if (c->needs_disks && !vm_was_placed(vm))
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" cannot be %s: it has no disks before it is "
			"started for the first time",
			vm->name, c->done);
	return 0;
}

/* Disks that do not exist yet need nobody to remove them. */
static void apply_now(struct vm *vm)
{
	for (size_t i = vm->specs.disks.len; i-- > 0;) {
		const struct vm_disk *d =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		if (d->is_leaving)
			vm_drop_disk(vm, d->index);
	}
}

/* Who carries it out. */
static const char *name_of(
	const struct vm *vm, const struct slots *s, const struct slot *to)
{
	return to == &s->host ? vm->hostname : to == &s->disk_host ? vm->disk_host : NULL;
}

static int write_change(struct vm_change *c, struct draft *d, struct slots *s,
	const struct vm *before, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	const struct slot *to = s->host.key	   ? &s->host
				: s->disk_host.key ? &s->disk_host
						   : &s->scheduler;
	struct vm *vm = &c->base.vm;
	bool is_now = c->is_now || !vm_was_placed(before);
	int r;

	if (!vm_was_placed(before))
		apply_now(vm);
	vm->is_changing |= !is_now;
	r = vm_order_use(&c->base, d, before, &user, e);
	if (r != 0)
		return r;
	if (vm_order_save(&c->base, d, c->what, is_now ? NULL : name_of(vm, s, to), e) <
			0 ||
		(user.name && put_user(d, &user, e) < 0))
		return -1;
	if (!is_now)
		vm_order_at(&c->base, d, s, to, REQ_CHANGE_VM);
	else
		slot_same(d, &s->scheduler);
	if (c->write)
		c->write(c, d);
	idem_write(&c->idem, d, vm->uuid);
	return 0;
}

/* Was it carried out already, for the same Idempotency-Key? */
static int look_idem(struct vm_change *c, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;

	return idem_look(&c->idem, d, &subject, e);
}

static int look_and_edit(struct vm_change *c, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	CLEANUP(vm_done) struct vm before = { 0 };
	int r = vm_order_look(&c->base, d, &s, e);

	if (r != 0)
		return r;
	r = look_idem(c, d, e);
	if (r != 0)
		return r;
	vm_copy(&c->base.vm, &before);
	if (before.status == VM_REQUESTED_DELETE)
		return vm_order_not_while(&before, c->done, "it is being removed", e);
	c->is_now = false;
	r = c->edit(c, d, e);
	if (r != 0)
		return r;
	if (check_state(c, &s, e) < 0)
		return -1;
	return write_change(c, d, &s, &before, e);
}

static int change_fn(void *aux, struct draft *d, struct err *e)
{
	struct vm_change *c = aux;
	int r = look_and_edit(c, d, e);

	c->is_refused = r < 0;
	return r;
}

/* Ends c. */
static int finish(struct vm_change *c, int r, struct vm *out)
{
	if (r >= 0) {
		vm_done(out);
		*out = c->base.vm;
		c->base.vm = (struct vm){ 0 };
	}
	vm_done(&c->base.vm);
	idem_done(&c->idem);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

int vm_change_run(struct vm_change *c, struct vm *out, struct err *e)
{
	return finish(c, order_run(c->base.o->kv, change_fn, c, false, e), out);
}

int vm_change_run_create(struct vm_change *c, const char *what,
	const char *idempotency_key, json_t *body, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr)
	json_t *whole = body ? json_copy(body) : json_object();
	struct orders *o = c->base.o;
	int r = -1;

	/* The body that counts names the VM. */
	json_object_set_new(whole, "vm", json_string(c->base.ref));
	for (int i = 0; i < 2; i++) {
		idem_done(&c->idem);
		if (idem_init(o, c->base.who, what, idempotency_key, whole, c->base.now,
			    &c->idem, e) < 0)
			break;
		r = order_run(o->kv, change_fn, c, false, e);
		if (r >= 0 || c->is_refused || !idem_failed(o, &c->idem, e))
			break;
	}
	return finish(c, r, out);
}
