/*
 * Calls about the disks and snapshots of a VM.
 */
#include "common/base/parse.h"
#include "common/model/names.h"
#include "ucloud-api/api.h"
#include "ucloud-api/calls.h"

/* 202: it is being carried out; 200: it is already so. */
static enum route_result answer_change(struct call *c, int r, const struct vm *vm)
{
	return r < 0 ? ROUTE_FAILED : answer_vm(c, r == 0 ? 202 : 200, vm);
}

/* {"<name>": [...]} */
static enum route_result answer_part(struct call *c, const char *name,
	const struct jtab *t, const struct jtab_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->len; i++)
		json_array_append_new(
			array, jtab_format_public(t, jtab_list_at(t, list, i)));
	return answer_json(c, 200, json_pack("{s:o}", name, array));
}

static int read_index(struct call *c, int64_t *index, struct err *e)
{
	if (parse_int64(c->params[1], 0, VM_DISKS_MAX - 1, index, e) == 0)
		return 0;
	return err_set(e, ERR_NOT_FOUND,
		"\"%.40s\" is no disk: disks have numbers from 0 to %d", c->params[1],
		VM_DISKS_MAX - 1);
}

/* ---------------------------------------------------------------- disks */

enum route_result call_disk_list(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_vm_get(c->api->orders, &c->who, ref, &vm, e) < 0)
		return ROUTE_FAILED;
	return answer_part(c, "disks", &vm_disk_jtab, &vm.specs.disks);
}

enum route_result call_disk_attach(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_disk_attach(c->api->orders, &c->who, ref, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &vm, e);

	return answer_change(c, r, &vm);
}

enum route_result call_disk_patch(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int64_t index;
	int r;

	if (read_index(c, &index, e) < 0)
		return ROUTE_FAILED;
	r = orders_disk_patch(
		c->api->orders, &c->who, ref, index, c->body, c->now, &vm, e);
	return answer_change(c, r, &vm);
}

enum route_result call_disk_detach(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int64_t index;
	int r;

	if (read_index(c, &index, e) < 0)
		return ROUTE_FAILED;
	r = orders_disk_detach(c->api->orders, &c->who, ref, index, c->now, &vm, e);
	return answer_change(c, r, &vm);
}

/* ---------------------------------------------------------------- snapshots */

enum route_result call_snapshot_list(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);

	if (orders_vm_get(c->api->orders, &c->who, ref, &vm, e) < 0)
		return ROUTE_FAILED;
	return answer_part(c, "snapshots", &vm_snapshot_jtab, &vm.snapshots);
}

enum route_result call_snapshot_create(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_snapshot_create(c->api->orders, &c->who, ref, c->body,
		httpd_header(c->req, "Idempotency-Key"), c->now, &vm, e);

	return answer_change(c, r, &vm);
}

enum route_result call_snapshot_restore(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_snapshot_restore(
		c->api->orders, &c->who, ref, c->params[1], c->now, &vm, e);

	return answer_change(c, r, &vm);
}

enum route_result call_snapshot_delete(struct call *c, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *ref = call_vm_ref(c);
	int r = orders_snapshot_delete(
		c->api->orders, &c->who, ref, c->params[1], c->now, &vm, e);

	return answer_change(c, r, &vm);
}
