/* host create, list, show, change, drain, undrain, delete. */
#include <stdio.h>

#include "ucloud-cli/cli.h"

static const struct cli_field host_columns[] = {
	{ "NAME", "hostname", VIEW_TEXT },
	{ "STATUS", "status", VIEW_STATUS },
	{ "DRAINING", "draining", VIEW_YES },
	{ "CPU", "cpus", VIEW_NUMBER },
	{ "RAM", "ram_mib", VIEW_MIB },
	{ "STORES", "stores", VIEW_STORES },
	{ "LABELS", "labels", VIEW_LABELS },
	{ "ACCEL", "accel", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field host_lines[] = {
	{ "name", "hostname", VIEW_TEXT },
	{ "status", "status", VIEW_STATUS },
	{ "since", "status_since", VIEW_TEXT },
	{ "draining", "draining", VIEW_BOOL },
	{ "cpus", "cpus", VIEW_NUMBER },
	{ "ram", "ram_mib", VIEW_MIB },
	{ "reserved ram", "reserved_ram_mib", VIEW_MIB },
	{ "stores", "stores", VIEW_STORES },
	{ "cpu overcommit", "cpu_overcommit", VIEW_PERCENT },
	{ "ram overcommit", "ram_overcommit", VIEW_PERCENT },
	{ "disk overcommit", "disk_overcommit", VIEW_PERCENT },
	{ "labels", "labels", VIEW_LABELS },
	{ "accel", "accel", VIEW_TEXT },
	{ "version", "version", VIEW_TEXT },
	{ "registered", "created", VIEW_TEXT },
	{ 0 },
};

int cli_host_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_create(c, a, "/v1/hosts", "host", "hostname", NULL, e);
}

int cli_host_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/hosts", true, host_columns, e);
}

int cli_host_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/hosts", a->arg, "");

	return cli_show(c, a, path, host_lines, e);
}

static char *sentence(const struct cli_args *a, const char *what)
{
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);

	return xasprintf("host %s %s", name, what);
}

int cli_host_change(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/hosts", a->arg, "");
	CLEANUP_STR char *done = sentence(a, "is changed");

	return cli_patch(c, a, path, done, e);
}

int cli_host_drain(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/hosts", a->arg, "/drain");
	CLEANUP_STR char *done = sentence(a, "gets no more VMs");

	return cli_change(c, a, "POST", path, NULL, done, NULL, e);
}

int cli_host_undrain(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/hosts", a->arg, "/undrain");
	CLEANUP_STR char *done = sentence(a, "gets VMs again");

	return cli_change(c, a, "POST", path, NULL, done, NULL, e);
}

int cli_host_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/hosts", a->arg, "");
	CLEANUP_STR char *done = sentence(a, "is deleted");

	return cli_change(c, a, "DELETE", path, NULL, done, NULL, e);
}
