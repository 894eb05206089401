#include "ucloud-scheduler/order.h"

#include <assert.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/model/request.h"
#include "ucloud-scheduler/brief.h"

struct order *order_new(enum order_kind kind, const char *uuid,
	const struct cache_item *vm, const struct cache_item *request)
{
	struct order *o = xcalloc(1, sizeof(*o));

	o->kind = kind;
	memcpy(o->uuid, uuid, strnlen(uuid, sizeof(o->uuid) - 1));
	o->vm = vm;
	o->request = request;
	return o;
}

void order_free(struct order *o)
{
	if (!o)
		return;
	cache_item_put(o->vm);
	cache_item_put(o->request);
	free(o->host);
	free(o->why);
	free(o->error);
	free(o);
}

size_t order_n_ops(const struct order *o)
{
	static const size_t n[] = { [ORDER_PLACE] = 4,
		[ORDER_WAIT] = 1,
		[ORDER_EXPIRE] = 2,
		[ORDER_STOP] = 2,
		[ORDER_DROP] = 1 };

	return n[o->kind];
}

size_t order_size(const struct order *o)
{
	const struct vm_brief *b = o->vm ? o->vm->obj : NULL;

	return 2048 + (b ? strlen(b->value) : 0);
}

static void set_place(const struct order *o, struct vm *vm, int64_t now)
{
	str_set(&vm->hostname, xstrdup(o->host));
	vm->was_placed = true;
	if (o->is_local)
		str_set(&vm->disk_host, xstrdup(o->host));
	str_set(&vm->why, xstrdup(o->why));
	vm_move(vm, VM_SCHEDULED);
	vm_log(vm, now, "placed on %s", o->host);
}

/* What the VM's entry becomes. */
static void change_vm(const struct order *o, struct vm *vm, int64_t now)
{
	switch (o->kind) {
	case ORDER_PLACE:
		set_place(o, vm, now);
		break;
	case ORDER_WAIT:
		str_set(&vm->why, xstrdup(o->why));
		vm_log(vm, now, "waits for a host: %s", o->why);
		break;
	case ORDER_EXPIRE:
		str_set(&vm->why, xstrdup(o->why));
		vm_move(vm, VM_ERROR);
		vm_log(vm, now, "%s", o->why);
		break;
	case ORDER_STOP:
		vm_move(vm, VM_STOPPED);
		vm_log(vm, now, "stopped before it had a host");
		break;
	case ORDER_DROP:
		break;
	}
}

/* The VM's new text, or NULL with the error. */
static char *new_vm_text(const struct order *o, int64_t now, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	const struct vm_brief *b = o->vm->obj;

	if (vm_parse(b->value, strlen(b->value), &vm, e) < 0)
		return NULL;
	if (!vm_waits_for_host(&vm)) {
		err_set(e, ERR_INTERNAL, "VM %s does not wait for a host", o->uuid);
		return NULL;
	}
	change_vm(o, &vm, now);
	return vm_format(&vm);
}

static void add_place(
	const struct order *o, const struct keys *keys, int64_t now, struct kv_txn *t)
{
	const struct request *r = o->request->obj;
	CLEANUP_STR char *host = key_host(keys, o->host);
	CLEANUP_STR char *placement = key_placement(o->host, o->uuid);
	CLEANUP_STR char *start_key = key_request_host(keys, o->host, o->uuid);
	CLEANUP_STR char *start =
		request_new(REQ_START_VM, o->uuid, o->host, now, r ? r->deadline : 0);

	kv_txn_if_rev(t, host, o->host_rev);
	kv_txn_put(t, placement, "{}");
	kv_txn_put(t, start_key, start);
}

int order_add_to_txn(const struct order *o, const struct keys *keys, int64_t now,
	struct kv_txn *t, struct err *e)
{
	CLEANUP_STR char *vm_key = key_vm(keys, o->uuid);
	CLEANUP_STR char *request_key = key_request_scheduler(keys, o->uuid);
	CLEANUP_STR char *text = NULL;

	assert(o->vm || o->kind == ORDER_DROP);
	if (o->kind != ORDER_DROP) {
		text = new_vm_text(o, now, e);
		if (!text)
			return -1;
		kv_txn_put(t, vm_key, text);
	}
	kv_txn_if_rev(t, vm_key, o->vm ? o->vm->mod_rev : 0);
	if (o->kind != ORDER_WAIT) {
		kv_txn_if_rev(t, request_key, o->request->mod_rev);
		kv_txn_del(t, request_key);
	}
	if (o->kind == ORDER_PLACE)
		add_place(o, keys, now, t);
	return 0;
}
