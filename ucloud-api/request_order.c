/*
 * Orders for requests: look, try again, give up.
 */
#include <assert.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

struct request_order {
	struct orders *o;
	const struct who *who;
	const char *uuid; /* of the VM */
	int64_t now;
	struct request request; /* of the last run */
	struct vm vm;		/* likewise */
};

static void request_order_done(struct request_order *c)
{
	request_done(&c->request);
	vm_done(&c->vm);
}

/* The VM, and where its request is open. */
static int find_open(struct request_order *c, struct draft *d, struct slots *s,
	struct slot **open, struct err *e)
{
	int r;

	if (uuid_check(c->uuid, e) < 0)
		return -1;
	r = find_vm(c->o, d, c->who, c->uuid, &c->vm, NULL, e);
	if (r == 0)
		r = slots_look(c->o, d, &c->vm, s, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "no request is open for %s", c->uuid);
	if (r != 0)
		return r;
	*open = slots_open(s);
	if (!*open)
		return err_set(e, ERR_NOT_FOUND, "no request is open for %s", c->uuid);
	jtab_copy(&request_jtab, &(*open)->request, &c->request);
	return 0;
}

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct slot *open = NULL;
	int r = find_open(aux, d, &s, &open, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

static int retry_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	CLEANUP_STR char *text = NULL;
	struct request_order *c = aux;
	struct slot *open = NULL;
	int r = find_open(c, d, &s, &open, e);

	if (r != 0)
		return r;
	assert(open);
	if (c->request.attempts == 0 && c->request.not_before == 0)
		return DRAFT_AS_IT_IS;
	c->request.attempts = c->request.not_before = 0;
	text = request_format(&c->request);
	slot_same(d, open);
	draft_put(d, open->key, text);
	return 0;
}

static int abort_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct request_order *c = aux;
	struct slot *open = NULL;
	int r = find_open(c, d, &s, &open, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d) &&
		c->vm.status == VM_ERROR)
		return DRAFT_AS_IT_IS;
	if (r != 0)
		return r;
	assert(open);
	if (c->request.type == REQ_DELETE_VM)
		return err_set(e, ERR_CONFLICT,
			"DeleteVM cannot be aborted: what it has removed would be "
			"missed");
	vm_log(&c->vm, c->now, "%s aborted by %s@%s", request_type_names[c->request.type],
		c->who->name, c->who->realm);
	vm_move(&c->vm, VM_ERROR);
	slot_close(d, open);
	return put_vm(c->o, d, &c->vm, e);
}

static int run(struct request_order *c, order_fn *fn, struct request *out,
	struct vm *vm_out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		request_done(out);
		*out = c->request;
		c->request = (struct request){ 0 };
	}
	if (r >= 0 && vm_out) {
		vm_done(vm_out);
		*vm_out = c->vm;
		c->vm = (struct vm){ 0 };
	}
	request_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

int orders_request_get(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e)
{
	struct request_order c = { .o = o, .who = who, .uuid = uuid };

	return run(&c, get_fn, out, NULL, e) < 0 ? -1 : 0;
}

int orders_request_retry(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e)
{
	struct request_order c = { .o = o, .who = who, .uuid = uuid };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, retry_fn, out, NULL, e);
}

int orders_request_abort(struct orders *o, const struct who *who, const char *uuid,
	int64_t now, struct vm *out, struct err *e)
{
	struct request_order c = { .o = o, .who = who, .uuid = uuid, .now = now };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, abort_fn, NULL, out, e);
}
