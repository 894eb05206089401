/* image ... and image-store ... */
#include <stdio.h>

#include "ucloud-cli/cli.h"
#include "ucloud-cli/wait.h"

#define DEFAULT_LIMIT_SEC 300

static const struct cli_field image_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "STATUS", "status", VIEW_STATUS },
	{ "PROGRESS", "progress", VIEW_PROGRESS },
	{ "SIZE", "virtual_bytes", VIEW_BYTES },
	{ "FORMAT", "format", VIEW_TEXT },
	{ "STORE", "store", VIEW_TEXT },
	{ "PUBLIC", "public", VIEW_BOOL },
	{ "OWNER", "owner", VIEW_OWNER },
	{ "DESCRIPTION", "description", VIEW_TEXT },
	{ "UUID", "uuid", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field image_lines[] = {
	{ "name", "name", VIEW_TEXT },
	{ "uuid", "uuid", VIEW_TEXT },
	{ "owner", "owner", VIEW_OWNER },
	{ "description", "description", VIEW_TEXT },
	{ "status", "status", VIEW_STATUS },
	{ "reason", "reason", VIEW_TEXT },
	{ "store", "store", VIEW_TEXT },
	{ "path", "path", VIEW_TEXT },
	{ "format", "format", VIEW_TEXT },
	{ "public", "public", VIEW_BOOL },
	{ "progress", "progress", VIEW_PROGRESS },
	{ "size for VMs", "virtual_bytes", VIEW_BYTES },
	{ "size in the store", "size_bytes", VIEW_BYTES },
	{ "made of", "filename", VIEW_TEXT },
	{ "sha512", "sha512", VIEW_TEXT },
	{ "ordered", "created", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field store_columns[] = {
	{ "NAME", "name", VIEW_TEXT },
	{ "TYPE", "type", VIEW_TEXT },
	{ "PATH", "path", VIEW_TEXT },
	{ "POOL", "pool", VIEW_TEXT },
	{ "VM POOL", "vm_pool", VIEW_TEXT },
	{ 0 },
};

static const struct cli_field store_lines[] = {
	{ "name", "name", VIEW_TEXT },
	{ "type", "type", VIEW_TEXT },
	{ "path", "path", VIEW_TEXT },
	{ "pool", "pool", VIEW_TEXT },
	{ "vm pool", "vm_pool", VIEW_TEXT },
	{ "ceph configuration", "ceph_conf", VIEW_TEXT },
	{ "ceph user", "ceph_user", VIEW_TEXT },
	{ "largest image", "max_image_gib", VIEW_GIB },
	{ "registered", "created", VIEW_TEXT },
	{ 0 },
};

static char *sentence(const struct cli_args *a, const char *what, const char *done)
{
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);

	return xasprintf("%s %s is %s", what, name, done);
}

/* What came of an order; im is NULL when the image is gone. Takes im. */
static int print_image(const struct cli *c, json_t *im, const char *name, bool is_new)
{
	CLEANUP_STR char *status = cli_text_cleaned(cli_json_text(im, "status"));

	if (c->is_json) {
		if (im)
			cli_print_json(im);
	} else if (c->is_quiet) {
		if (is_new)
			puts(name);
	} else if (!im) {
		printf("image %s is deleted\n", name);
	} else {
		printf("image %s is %s\n", name, status);
	}
	json_decref(im);
	return 0;
}

/* Takes im, the answer to the order. */
static int finish(struct cli *c, const struct cli_args *a, json_t *im, const char *name,
	const char *target, struct err *e)
{
	CLEANUP_STR char *uuid = xstrdup(cli_json_text(im, "uuid"));
	struct cli_wait w = { .class = &cli_wait_images,
		.uuid = uuid,
		.name = name,
		.target = target,
		.first = im,
		.limit_sec = cli_args_sec(a, "timeout", DEFAULT_LIMIT_SEC) };
	json_t *end = NULL;
	int r = 0;

	if (cli_args_has(a, "wait") && *uuid) {
		r = cli_wait_vm(c, &w, &end, e);
		json_decref(im);
		im = end;
	}
	if (r == 0)
		return print_image(c, im, name, target != NULL);
	json_decref(im);
	return r;
}

int cli_image_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *name = cli_text_cleaned(cli_args_get(a, "name"));
	json_t *im = NULL;

	if (cli_create(c, a, "/v1/images", "image", "name", &im, e) < 0)
		return -1;
	return finish(c, a, im, name, "CREATED", e);
}

int cli_image_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/images", true, image_columns, e);
}

int cli_image_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/images", a->arg, "");

	return cli_show(c, a, path, image_lines, e);
}

int cli_image_change(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/images", a->arg, "");
	CLEANUP_STR char *done = sentence(a, "image", "changed");

	return cli_patch(c, a, path, done, e);
}

int cli_image_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/images", a->arg, "");
	CLEANUP_STR char *name = cli_text_cleaned(a->arg);
	json_t *im = NULL;

	if (cli_change(c, a, "DELETE", path, NULL, "", &im, e) < 0)
		return -1;
	return finish(c, a, im, name, NULL, e);
}

int cli_store_create(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_create(c, a, "/v1/image_stores", "image store", "name", NULL, e);
}

int cli_store_list(struct cli *c, const struct cli_args *a, struct err *e)
{
	return cli_list(c, a, "/v1/image_stores", true, store_columns, e);
}

int cli_store_show(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/image_stores", a->arg, "");

	return cli_show(c, a, path, store_lines, e);
}

int cli_store_delete(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_path("/v1/image_stores", a->arg, "");
	CLEANUP_STR char *done = sentence(a, "image store", "deleted");

	return cli_change(c, a, "DELETE", path, NULL, done, NULL, e);
}
