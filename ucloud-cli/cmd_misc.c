/* ssh-key ..., request ..., user ... */
#include <stdio.h>
#include <string.h>

#include "common/model/names.h"
#include "ucloud-cli/body.h"
#include "ucloud-cli/cli.h"

/* ------------------------------------------------------------ SSH keys */

static const struct cli_field key_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "KEY", "key", VIEW_TEXT },
	{ 0 },
};

int cli_key_add(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_create(c, a, "/v1/ssh-keys", "SSH key", "name", NULL, e);
}

int cli_key_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/ssh-keys", false, key_columns, e);
}

int cli_key_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/ssh-keys", a->arg, "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	CLEANUP_STR char *done = xasprintf("SSH key %s is removed", name);

	return cli_change(c, a, "DELETE", path, NULL, done, NULL, e);
}

/* ------------------------------------------------------------ requests */

static const struct cli_field request_columns[] = {
	{ "TYPE", "type", VIEW_TEXT },
	{ "FOR", "uuid", VIEW_TEXT },
	{ "HOST", "hostname", VIEW_TEXT },
	{ "ATTEMPTS", "attempts", VIEW_NUMBER },
	{ "NEXT", "not_before", VIEW_TEXT },
	{ "LAST ERROR", "last_error", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field request_lines[] = {
	{ "type", "type", VIEW_TEXT },
	{ "for", "uuid", VIEW_TEXT },
	{ "host", "hostname", VIEW_TEXT },
	{ "destination", "destination", VIEW_TEXT },
	{ "by force", "force", VIEW_YES },
	{ "ordered", "created", VIEW_TEXT },
	{ "deadline", "deadline", VIEW_TEXT },
	{ "failed attempts", "attempts", VIEW_NUMBER },
	{ "next attempt", "not_before", VIEW_TEXT },
	{ "last error", "last_error", VIEW_TEXT },
	{ 0 },
};

/* Requests are named after the uuid of what they are for: a name is looked up. The caller's. */
static int request_path(struct cli *c, const struct cli_args *a, const char *tail,
	char **out, struct err *e)
{
	CLEANUP_STR char *vm_path = cli_arg_path(a, "/v1/vms", "");
	json_t *entry = NULL;

	if (cli_need_client(c, a, e) < 0)
		return -1;
	if (uuid_check(a->arg, NULL) == 0) {
		*out = cli_path("/v1/requests", a->arg, tail);
		return 0;
	}
	/* A VM's name, else an image's, else a network's. */
	if (cli_get(c->client, vm_path, &entry, e) < 0) {
		CLEANUP_STR char *image_path = cli_path("/v1/images", a->arg, "");
		CLEANUP_STR char *network_path = cli_arg_path(a, "/v1/networks", "");
		struct err ignored;

		if (e->kind != ERR_NOT_FOUND ||
			(cli_get(c->client, image_path, &entry, &ignored) < 0 &&
				cli_get(c->client, network_path, &entry, &ignored) < 0))
			return -1;
	}
	*out = cli_path("/v1/requests", cli_json_text(entry, "uuid"), tail);
	json_decref(entry);
	return 0;
}

int cli_request_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/requests", true, request_columns, e);
}

int cli_request_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = NULL;

	if (request_path(c, a, "", &path, e) < 0)
		return -1;
	return cli_show(c, a, path, request_lines, e);
}

int cli_request_retry(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = NULL;

	if (request_path(c, a, "/retry", &path, e) < 0)
		return -1;
	return cli_change(
		c, a, "POST", path, NULL, "the request is tried again", NULL, e);
}

int cli_request_abort(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = NULL;

	if (request_path(c, a, "/abort", &path, e) < 0)
		return -1;
	return cli_change(c, a, "POST", path, NULL,
		"the request is given up; what it was for is in ERROR", NULL, e);
}

/* --------------------------------------------------------------- users */

static const struct cli_field user_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "REALM", "realm", VIEW_TEXT },
	{ "VMS", "use.vms", VIEW_NUMBER },
	{ "CPU", "use.cpu", VIEW_NUMBER },
	{ "RAM", "use.ram_mib", VIEW_MIB },
	{ "DISK", "use.disk_gib", VIEW_GIB },
	{ "OWN QUOTA", "has_own_quota", VIEW_YES },
	{ 0 },
};

static const struct cli_field amount_fields[] = {
	{ "vms", "vms", VIEW_NUMBER },
	{ "cpu", "cpu", VIEW_NUMBER },
	{ "ram", "ram_mib", VIEW_MIB },
	{ "disk", "disk_gib", VIEW_GIB },
	{ "snapshots", "snapshots", VIEW_NUMBER },
	{ "images", "images", VIEW_NUMBER },
	{ "networks", "networks", VIEW_NUMBER },
	{ 0 },
};

/* What files use is not counted in the entry. */
static void add_files(const json_t *quota, struct buf *out)
{
	static const struct cli_field field = { "files", "file_gib", VIEW_GIB };
	CLEANUP_STR char *limit = cli_view_text(quota, &field);

	if (*limit)
		buf_addf(out, "files: at most %s\n", limit);
}

/* "ram: 2 GiB of 64 GiB" for each amount. */
static void add_amounts(const json_t *user, struct buf *out)
{
	const json_t *use = json_object_get(user, "use");
	const json_t *quota = json_object_get(user, "quota");

	for (const struct cli_field *f = amount_fields; f->title; f++) {
		CLEANUP_STR char *used = cli_view_text(use, f);
		CLEANUP_STR char *limit = cli_view_text(quota, f);

		buf_addf(out, "%s: %s%s%s\n", f->title, *used ? used : "0",
			*limit ? " of " : "", limit);
	}
	add_files(quota, out);
}

static int print_user(struct cli *c, const char *path, struct err *e)
{
	static const struct cli_field name = { "user", "name", VIEW_TEXT },
				      realm = { "realm", "realm", VIEW_TEXT };
	CLEANUP(buf_done) struct buf out = { 0 };
	json_t *user;

	if (cli_get(c->client, path, &user, e) < 0)
		return -1;
	if (c->is_json) {
		cli_print_json(user);
	} else {
		CLEANUP_STR char *n = cli_view_text(user, &name);
		CLEANUP_STR char *r = cli_view_text(user, &realm);

		buf_addf(&out, "user: %s@%s\n", n, r);
		add_amounts(user, &out);
		buf_addf(&out, "quota: %s\n",
			json_is_true(json_object_get(user, "has_own_quota"))
				? "set by an admin"
				: "the default");
		fwrite(buf_str(&out), 1, out.size, stdout);
	}
	json_decref(user);
	return 0;
}

int cli_user_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path =
		a->arg ? cli_path("/v1/users", a->arg, "") : xstrdup("/v1/user");

	if (cli_need_client(c, a, e) < 0)
		return -1;
	return print_user(c, path, e);
}

int cli_user_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/users", true, user_columns, e);
}

int cli_user_quota(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/users", a->arg, "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	CLEANUP_STR char *done = xasprintf("the quota of %s is set", name);

	return cli_patch(c, a, path, done, e);
}
