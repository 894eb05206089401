/* network ..., and interfaces of VMs. */
#include <stdio.h>

#include "ucloud-cli/body.h"
#include "ucloud-cli/change.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/wait.h"

#define DEFAULT_LIMIT_SEC 300

static const struct cli_field network_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "STATUS", "status", VIEW_STATUS },
	{ "IPAM", "ipam", VIEW_TEXT },
	{ "PREFIX", "prefix", VIEW_TEXT },
	{ "VXLAN", "vni", VIEW_NUMBER },
	{ "MTU", "mtu", VIEW_NUMBER },
	{ "OWNER", "owner", VIEW_OWNER },
	{ "UUID", "uuid", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field network_lines[] = {
	{ "name", "name", VIEW_TEXT },
	{ "uuid", "uuid", VIEW_TEXT },
	{ "owner", "owner", VIEW_OWNER },
	{ "status", "status", VIEW_STATUS },
	{ "reason", "reason", VIEW_TEXT },
	{ "ipam", "ipam", VIEW_TEXT },
	{ "prefix", "prefix", VIEW_TEXT },
	{ "router", "router", VIEW_TEXT },
	{ "dns", "dns", VIEW_STRINGS },
	{ "mtu", "mtu", VIEW_NUMBER },
	{ "vxlan id", "vni", VIEW_NUMBER },
	{ "group", "group", VIEW_TEXT },
	{ "ordered", "created", VIEW_TEXT },
	{ "used by", "vms", VIEW_NET_USERS },
	{ "used by more than these", "more_vms", VIEW_YES },
	{ "up on", "hosts", VIEW_NET_PLACES },
	{ "up on more than these", "more_hosts", VIEW_YES },
	{ 0 },
};

/* What came of an order; n is NULL when the network is gone. Takes n. */
static int print_network(const struct cli *c, json_t *n, const char *name, bool is_new)
{
	CLEANUP_STR char *status = cli_text_cleaned(cli_json_text(n, "status"));
	CLEANUP_STR char *prefix = cli_text_cleaned(cli_json_text(n, "prefix"));

	if (c->is_json) {
		if (n)
			cli_print_json(n);
	} else if (c->is_quiet) {
		if (is_new)
			puts(name);
	} else if (!n) {
		printf("network %s is deleted\n", name);
	} else {
		printf("network %s is %s%s%s\n", name, status,
			is_new && *prefix ? ", prefix " : "", is_new ? prefix : "");
	}
	json_decref(n);
	return 0;
}

/* Takes n, the answer to the order. */
static int finish(struct cli *c, const struct cli_args *a, json_t *n, const char *name,
	const char *target, struct err *e)
{
	CLEANUP_STR char *uuid = xstrdup(cli_json_text(n, "uuid"));
	struct cli_wait w = { .class = &cli_wait_networks,
		.uuid = uuid,
		.name = name,
		.target = target,
		.first = n,
		.limit_sec = cli_args_sec(a, "timeout", DEFAULT_LIMIT_SEC) };
	json_t *end = NULL;
	int r = 0;

	if (cli_args_has(a, "wait") && *uuid) {
		r = cli_wait_vm(c, &w, &end, e);
		json_decref(n);
		n = end;
	}
	if (r == 0)
		return print_network(c, n, name, target != NULL);
	json_decref(n);
	return r;
}

int cli_network_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *name = cli_text_cleaned(cli_args_get(a, "name"));
	json_t *n = NULL;

	if (cli_create(c, a, "/v1/networks", "network", "name", &n, e) < 0)
		return -1;
	return finish(c, a, n, name, "ACTIVE", e);
}

int cli_network_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/networks", true, network_columns, e);
}

int cli_network_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/networks", "");

	return cli_show(c, a, path, network_lines, e);
}

int cli_network_change(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/networks", "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	CLEANUP_STR char *done = xasprintf("network %s is changed", name);

	return cli_patch(c, a, path, done, e);
}

int cli_network_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/networks", "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	json_t *n = NULL;

	if (cli_change(c, a, "DELETE", path, NULL, "", &n, e) < 0)
		return -1;
	return finish(c, a, n, name, NULL, e);
}

int cli_network_attach(struct cli *c, const struct cli_args *a, struct err *e)
{
	json_t *body = NULL;

	if (cli_network_body(cli_args_more(a, 0), &body, e) < 0)
		return -1;
	return cli_change_order_new(c, a, "/networks", body, e);
}

int cli_network_detach(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = cli_path("/networks", cli_args_more(a, 0), "");

	return cli_change_order(c, a, "DELETE", tail, NULL, e);
}
