#include "ucloud-cli/change.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/wait.h"

#define DEFAULT_LIMIT_SEC 300

/* ---------------------------------------------------------------- what came of it */

static int64_t number(const json_t *entry, const char *name)
{
	return json_integer_value(json_object_get(entry, name));
}

static const json_t *disk_of(const json_t *vm, int64_t index)
{
	size_t i;
	json_t *disk;

	json_array_foreach (cli_json_at(vm, "specs.disks"), i, disk)
		if (number(disk, "index") == index)
			return disk;
	return NULL;
}

static bool has_snapshot(const json_t *vm, const char *name)
{
	size_t i;
	json_t *snapshot;

	json_array_foreach (json_object_get(vm, "snapshots"), i, snapshot)
		if (str_eq(cli_json_text(snapshot, "name"), name))
			return true;
	return false;
}

static bool are_disks_right(const json_t *ordered, const json_t *vm)
{
	size_t i;
	json_t *disk;

	json_array_foreach (cli_json_at(ordered, "specs.disks"), i, disk) {
		const json_t *now = disk_of(vm, number(disk, "index"));

		if (json_is_true(json_object_get(disk, "leaving")) ? now != NULL : !now)
			return false;
		if (now && number(now, "size_gib") < number(disk, "size_gib"))
			return false;
	}
	return true;
}

static bool are_snapshots_right(const json_t *ordered, const json_t *vm)
{
	size_t i;
	json_t *snapshot;

	json_array_foreach (json_object_get(ordered, "snapshots"), i, snapshot) {
		bool is_there = has_snapshot(vm, cli_json_text(snapshot, "name"));

		if (is_there == str_eq(cli_json_text(snapshot, "state"), "deleting"))
			return false;
	}
	return true;
}

static bool has_nic(const json_t *vm, const char *mac)
{
	size_t i;
	json_t *nic;

	json_array_foreach (json_object_get(vm, "networks"), i, nic)
		if (str_eq(cli_json_text(nic, "mac"), mac))
			return true;
	return false;
}

static bool are_nics_right(const json_t *ordered, const json_t *vm)
{
	size_t i;
	json_t *nic;

	json_array_foreach (json_object_get(ordered, "networks"), i, nic) {
		bool is_there = has_nic(vm, cli_json_text(nic, "mac"));

		if (is_there == json_is_true(json_object_get(nic, "leaving")))
			return false;
	}
	return true;
}

/* What is undone in an entry that does not show it. */
static bool is_told_wrong(const json_t *vm)
{
	const char *last = cli_vm_last_log(vm);

	return strstr(last, " is not restored") ||
	       strstr(last, " still needs its image") ||
	       strstr(last, ", but not attached before ");
}

/* ordered: the entry as the order was answered. */
static int judge(const json_t *ordered, const json_t *vm, const char *name, struct err *e)
{
	if (!vm)
		return err_set(e, ERR_CONFLICT, "VM %s was deleted meanwhile", name);
	if (are_disks_right(ordered, vm) && are_snapshots_right(ordered, vm) &&
		are_nics_right(ordered, vm) && !is_told_wrong(vm))
		return 0;
	return err_set(e, ERR_CONFLICT, "VM %s: %s", name, cli_vm_last_log(vm));
}

static void print_outcome(
	const struct cli *c, const json_t *vm, const char *name, bool is_waited)
{
	CLEANUP_STR char *last = cli_text_cleaned(cli_vm_last_log(vm));

	if (c->is_json)
		cli_print_json((json_t *)(uintptr_t)vm);
	else if (!c->is_quiet)
		printf("VM %s: %s\n", name,
			*last	    ? last
			: is_waited ? "done"
				    : "ordered");
}

/* After an order was accepted. Takes ordered. */
static int finish(struct cli *c, const struct cli_args *a, json_t *ordered, struct err *e)
{
	CLEANUP_STR char *uuid = xstrdup(cli_json_text(ordered, "uuid"));
	CLEANUP_STR char *name = cli_text_cleaned(cli_json_text(ordered, "name"));
	struct cli_wait w = { .uuid = uuid,
		.name = name,
		.limit_sec = cli_args_sec(a, "timeout", DEFAULT_LIMIT_SEC) };
	json_t *vm = NULL;
	int r = 0;

	if (cli_args_has(a, "wait")) {
		r = cli_wait_request(c, &w, &vm, e);
		if (r == 0)
			r = judge(ordered, vm, name, e);
	}
	if (r == 0)
		print_outcome(c, vm ? vm : ordered, name, vm);
	json_decref(vm);
	json_decref(ordered);
	return r;
}

/* ---------------------------------------------------------------- orders */

int cli_change_order(struct cli *c, const struct cli_args *a, const char *method,
	const char *tail, json_t *body, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", tail);
	json_t *vm = NULL;
	int r = cli_change(c, a, method, path, body, "", &vm, e);

	json_decref(body);
	return r < 0 ? -1 : finish(c, a, vm, e);
}

int cli_change_order_new(struct cli *c, const struct cli_args *a, const char *tail,
	json_t *body, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", tail);
	CLEANUP_STR char *key = cli_idempotency_key(a);
	struct cli_call call = {
		.method = "POST", .path = path, .body = body, .idempotency_key = key
	};
	int r = cli_need_client(c, a, e);

	if (r == 0)
		r = cli_call(c->client, &call, &an, e);
	json_decref(body);
	return r < 0 ? -1 : finish(c, a, MOVE(an.json), e);
}
