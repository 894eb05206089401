/* vm create, list, show, start, stop, reboot, delete, change, log, explain, console-log. */
#include <stdio.h>
#include <string.h>

#include "ucloud-cli/body.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/console.h"
#include "ucloud-cli/wait.h"

#define DEFAULT_LIMIT_SEC 300

static const struct cli_field vm_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "STATUS", "status", VIEW_STATUS },
	{ "CPU", "specs.cpu", VIEW_NUMBER },
	{ "RAM", "specs.ram_mib", VIEW_MIB },
	{ "DISK", "specs.disks", VIEW_DISK_SUM },
	{ "ADDRESS", "networks", VIEW_NICS },
	{ "HOST", "hostname", VIEW_TEXT },
	{ "OWNER", "owner", VIEW_OWNER },
	{ "UUID", "uuid", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field vm_lines[] = {
	{ "name", "name", VIEW_TEXT },
	{ "uuid", "uuid", VIEW_TEXT },
	{ "owner", "owner", VIEW_OWNER },
	{ "status", "status", VIEW_STATUS },
	{ "wanted", "want", VIEW_TEXT },
	{ "why", "why", VIEW_TEXT },
	{ "host", "hostname", VIEW_TEXT },
	{ "disks on host", "disk_host", VIEW_TEXT },
	{ "cpu", "specs.cpu", VIEW_NUMBER },
	{ "ram", "specs.ram_mib", VIEW_MIB },
	{ "disks", "specs.disks", VIEW_DISKS },
	{ "snapshots", "snapshots", VIEW_SNAPSHOTS },
	{ "image", "image_uuid", VIEW_TEXT },
	{ "image store", "store", VIEW_TEXT },
	{ "image copied from", "image_store", VIEW_TEXT },
	{ "interfaces", "networks", VIEW_NIC_LINES },
	{ "lets in only", "ingress", VIEW_INGRESS },
	{ "labels", "labels", VIEW_LABELS },
	{ "near", "affinity.near", VIEW_LABELS },
	{ "apart", "affinity.apart", VIEW_LABELS },
	{ "host labels", "affinity.host_labels", VIEW_LABELS },
	{ "ssh keys", "ssh_keys", VIEW_KEYS },
	{ "moves", "in_migration", VIEW_YES },
	{ "crashes in a row", "n_crashes", VIEW_NUMBER },
	{ "ordered", "created", VIEW_TEXT },
	{ "running since", "last_start", VIEW_TEXT },
	{ "log", "log", VIEW_LOG },
	{ 0 },
};

int cli_vm_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/vms", true, vm_columns, e);
}

/* How the networks of its interfaces are called. One that cannot be looked up keeps its uuid. */
static void name_networks(struct cli *c, const json_t *vm)
{
	const json_t *nics = json_object_get(vm, "networks");
	json_t *nic;
	size_t i;

	json_array_foreach (nics, i, nic) {
		CLEANUP_STR char *path =
			cli_path("/v1/networks", cli_json_text(nic, "network"), "");
		json_t *network = NULL;
		struct err ignored;

		if (cli_get(c->client, path, &network, &ignored) < 0)
			continue;
		json_object_set_new(nic, CLI_NETWORK_NAME,
			json_string(cli_json_text(network, "name")));
		json_decref(network);
	}
}

int cli_vm_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", "");
	json_t *vm;

	if (cli_need_client(c, a, e) < 0 || cli_get(c->client, path, &vm, e) < 0)
		return -1;
	if (!c->is_json)
		name_networks(c, vm);
	cli_print_entry(c, vm, vm_lines);
	json_decref(vm);
	return 0;
}

/* What became of an order; vm is NULL when the VM is gone. */
static void print_outcome(const struct cli *c, json_t *vm, const char *name, bool is_new)
{
	CLEANUP_STR char *uuid = cli_text_cleaned(cli_json_text(vm, "uuid"));
	CLEANUP_STR char *status = cli_text_cleaned(cli_json_text(vm, "status"));
	CLEANUP_STR char *host = cli_text_cleaned(cli_json_text(vm, "hostname"));

	if (c->is_json) {
		if (vm)
			cli_print_json(vm);
	} else if (c->is_quiet) {
		if (is_new)
			puts(uuid);
	} else if (!vm) {
		printf("VM %s is deleted\n", name);
	} else {
		printf("VM %s is %s%s%s%s%s\n", name, status, *host ? " on " : "", host,
			is_new ? ", uuid " : "", is_new ? uuid : "");
	}
}

/* After an order was accepted: waits when that is wanted, and says what came of it. Takes
 * vm, the answer. */
static int finish(struct cli *c, const struct cli_args *a, json_t *vm,
	const struct cli_wait *how, struct err *e)
{
	CLEANUP_STR char *uuid = xstrdup(cli_json_text(vm, "uuid"));
	CLEANUP_STR char *name = cli_text_cleaned(cli_json_text(vm, "name"));
	struct cli_wait w = *how;
	json_t *end = NULL;
	int r = 0;

	if (!*name)
		str_set(&name, cli_text_cleaned(a->arg ? a->arg : ""));
	w.uuid = *uuid ? uuid : a->arg;
	w.name = name;
	w.first = vm;
	w.limit_sec = cli_args_sec(a, "timeout", DEFAULT_LIMIT_SEC);
	if (cli_args_has(a, "wait") && w.uuid) {
		r = cli_wait_vm(c, &w, &end, e);
		json_decref(vm);
		vm = end;
	}
	if (r == 0)
		print_outcome(c, vm, name, str_eq(a->cmd->verb, "create"));
	json_decref(vm);
	return r;
}

int cli_vm_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	struct cli_wait w = { .target = "RUNNING" };
	json_t *vm = NULL;

	if (cli_args_has(a, "hdd") && !cli_args_has(a, "disk") &&
		!cli_args_has(a, "os-ssd"))
		return err_set(e, ERR_INVALID,
			"--hdd is a further disk: say how large the one that boots is, "
			"with --os-ssd or --disk");
	if (str_eq(cli_args_get(a, "want"), "stopped"))
		w.target = "STOPPED";
	if (cli_create(c, a, "/v1/vms", "VM", "uuid", &vm, e) < 0)
		return -1;
	return finish(c, a, vm, &w, e);
}

/* POST /v1/vms/ID/<verb> with the body made of the options. */
static int vm_order(struct cli *c, const struct cli_args *a, const char *target,
	bool is_request, struct err *e)
{
	CLEANUP_STR char *tail = xasprintf("/%s", a->cmd->verb);
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", tail);
	struct cli_wait w = { .target = target, .is_request = is_request };
	json_t *body = NULL, *vm = NULL;
	int r;

	if (cli_body_make(a, cli_read_file, &body, e) < 0)
		return -1;
	if (json_object_size(body) == 0) {
		json_decref(body);
		body = NULL;
	}
	r = cli_change(c, a, "POST", path, body, "", &vm, e);
	json_decref(body);
	return r < 0 ? -1 : finish(c, a, vm, &w, e);
}

int cli_vm_start(struct cli *c, const struct cli_args *a, struct err *e)
{
	return vm_order(c, a, "RUNNING", false, e);
}

int cli_vm_stop(struct cli *c, const struct cli_args *a, struct err *e)
{
	return vm_order(c, a, "STOPPED", false, e);
}

int cli_vm_reboot(struct cli *c, const struct cli_args *a, struct err *e)
{
	return vm_order(c, a, "RUNNING", true, e);
}

int cli_vm_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", "");
	struct cli_wait w = { .target = NULL };
	json_t *vm = NULL;

	if (cli_change(c, a, "DELETE", path, NULL, "", &vm, e) < 0)
		return -1;
	return finish(c, a, vm, &w, e);
}

int cli_vm_change(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	CLEANUP_STR char *done = xasprintf("VM %s is changed", name);

	return cli_patch(c, a, path, done, e);
}

int cli_vm_resize(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_vm_change(c, a, e);
}

static int print_part(struct cli *c, const struct cli_args *a, const char *tail,
	const char *member, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", tail);
	CLEANUP(buf_done) struct buf out = { 0 };
	json_t *vm;

	if (cli_need_client(c, a, e) < 0 || cli_get(c->client, path, &vm, e) < 0)
		return -1;
	if (c->is_json) {
		cli_print_json(json_object_get(vm, member));
	} else {
		cli_view_log(json_object_get(vm, member), "", &out);
		fwrite(buf_str(&out), 1, out.size, stdout);
	}
	json_decref(vm);
	return 0;
}

int cli_vm_log(struct cli *c, const struct cli_args *a, struct err *e)
{
	return print_part(c, a, "", "log", e);
}

static const struct cli_field explain_lines[] = {
	{ "status", "status", VIEW_STATUS },
	{ "host", "hostname", VIEW_TEXT },
	{ "why", "why", VIEW_TEXT },
	{ "log", "log", VIEW_LOG },
	{ 0 },
};

int cli_vm_explain(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", "/explain");

	return cli_show(c, a, path, explain_lines, e);
}
