/* disk attach, detach, grow, list, flatten; vm snapshot create, list, restore, delete. */
#include "common/base/parse.h"
#include "ucloud-cli/body.h"
#include "ucloud-cli/change.h"

static const struct cli_field disk_columns[] = {
	{ "INDEX", "index", VIEW_NUMBER },
	{ "SIZE", "size_gib", VIEW_GIB },
	{ "CLASS", "class", VIEW_TEXT },
	{ "LEAVING", "leaving", VIEW_YES },
	{ 0 },
};

static const struct cli_field snapshot_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "STATE", "state", VIEW_STATUS },
	{ "ORDERED", "created", VIEW_TEXT },
	{ "QUIESCED", "quiesced", VIEW_BOOL },
	{ "DESCRIPTION", "description", VIEW_TEXT },
	{ 0 },
};

/* ---------------------------------------------------------------- disks */

static int need_yes(const struct cli_args *a, const char *what, struct err *e)
{
	if (cli_args_has(a, "yes"))
		return 0;
	return err_set(e, ERR_INVALID, "%s: add --yes if that is what you want", what);
}

/* "/disks/<index>", the caller's. */
static char *disk_tail(const struct cli_args *a)
{
	const char *index = cli_args_more(a, 0);

	return xasprintf("/disks/%s", index ? index : "0");
}

int cli_disk_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/vms", a->arg, "/disks");

	return cli_list(c, a, path, false, disk_columns, e);
}

int cli_disk_attach(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *class = NULL;
	int64_t size_gib;

	if (cli_disk_parse(cli_args_more(a, 0), &size_gib, &class, e) < 0)
		return -1;
	return cli_change_order_new(c, a, "/disks",
		json_pack(
			"{s:I, s:s*}", "size_gib", (json_int_t)size_gib, "class", class),
		e);
}

int cli_disk_detach(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = disk_tail(a);
	CLEANUP_STR char *what = xasprintf(
		"what is on disk %s of VM %s will be gone", cli_args_more(a, 0), a->arg);

	return need_yes(a, what, e) < 0 ? -1
					: cli_change_order(c, a, "DELETE", tail, NULL, e);
}

int cli_disk_grow(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = disk_tail(a);
	int64_t size_gib;

	if (cli_size_parse(cli_args_more(a, 1), INT64_C(1) << 30, "GiB", &size_gib, e) <
		0)
		return -1;
	return cli_change_order(c, a, "PATCH", tail,
		json_pack("{s:I}", "size_gib", (json_int_t)size_gib), e);
}

int cli_disk_flatten(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = disk_tail(a);

	return cli_change_order(c, a, "PATCH", tail, json_pack("{s:b}", "flatten", 1), e);
}

/* ---------------------------------------------------------------- snapshots */

/* "/snapshots/<name><end>", the caller's. */
static char *snapshot_tail(const struct cli_args *a, const char *end)
{
	CLEANUP_STR char *path = cli_path("/snapshots", cli_args_more(a, 0), end);

	return MOVE(path);
}

int cli_snapshot_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/vms", a->arg, "/snapshots");

	return cli_list(c, a, path, false, snapshot_columns, e);
}

int cli_snapshot_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	json_t *body = NULL;

	if (cli_body_make(a, cli_read_file, &body, e) < 0)
		return -1;
	if (cli_args_more(a, 0))
		json_object_set_new(body, "name", json_string(cli_args_more(a, 0)));
	return cli_change_order_new(c, a, "/snapshots", body, e);
}

int cli_snapshot_restore(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = snapshot_tail(a, "/restore");
	CLEANUP_STR char *what =
		xasprintf("what VM %s wrote since the snapshot \"%s\" will be gone",
			a->arg, cli_args_more(a, 0));

	return need_yes(a, what, e) < 0 ? -1
					: cli_change_order(c, a, "POST", tail, NULL, e);
}

int cli_snapshot_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *tail = snapshot_tail(a, "");

	return cli_change_order(c, a, "DELETE", tail, NULL, e);
}
