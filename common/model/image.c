#include "common/model/image.h"

#include <string.h>

#include "common/base/parse.h"
#include "common/model/entry.h"
#include "common/model/names.h"

const char *const image_status_names[] = {
	[IMAGE_TO_BE_CREATED] = "TO_BE_CREATED",
	[IMAGE_CREATED] = "CREATED",
	[IMAGE_ERROR] = "ERROR",
	[IMAGE_TO_BE_DELETED] = "TO_BE_DELETED",
	NULL,
};

const char *const image_format_names[] = {
	[IMAGE_RAW] = "raw",
	[IMAGE_QCOW2] = "qcow2",
	NULL,
};

#define AT(member) offsetof(struct image, member)

static const struct jtab_field image_fields[] = {
	{ "uuid", JT_STR, AT(uuid), JT_NEED, .min = 1, .check = uuid_check,
		.help = "never changes" },
	{ "name", JT_STR, AT(name), JT_NEED, .min = 1, .check = name_check,
		.help = "unique among the owner's images" },
	{ "owner", JT_STR, AT(owner), JT_NEED, .min = 1, .check = user_name_check,
		.help = "name of the user it belongs to" },
	{ "owner_realm", JT_STR, AT(owner_realm), JT_NEED, .min = 1, .check = realm_check,
		.help = "realm of the user it belongs to" },
	{ "description", JT_STR, AT(description), JT_TEXT, .max = 4096,
		.help = "for people" },
	{ "store", JT_STR, AT(store), JT_NEED, .min = 1, .check = name_check,
		.help = "the image store it is in" },
	{ "path", JT_STR, AT(path), JT_ALWAYS, .check = rel_path_check,
		.help = "where it is in the store" },
	{ "format", JT_ENUM, AT(format), JT_NEED | JT_ALWAYS, .names = image_format_names,
		.help = "as stated by who made it, never guessed" },
	{ "made", JT_BOOL, AT(is_made), 0,
		.help = "of an uploaded file: what is in the store goes with it" },
	{ "public", JT_BOOL, AT(is_public), JT_ALWAYS, .help = "may everybody use it?" },
	{ "status", JT_ENUM, AT(status), JT_NEED | JT_ALWAYS, .names = image_status_names,
		.help = "can it be used?" },
	{ "progress", JT_INT, AT(progress), 0, .max = 100,
		.help = "percent, while it is being made" },
	{ "size_bytes", JT_INT, AT(size_bytes), 0, .max = INT64_MAX,
		.help = "what it takes in its store; missing: unknown" },
	{ "virtual_bytes", JT_INT, AT(virtual_bytes), 0, .max = INT64_MAX,
		.help = "size of the disk that a VM sees; missing: unknown" },
	{ "sha512", JT_STR, AT(sha512), 0, .max = 128,
		.help = "SHA-512 of the file it was made from, in hexadecimal" },
	{ "file_uuid", JT_STR, AT(file_uuid), 0, .check = uuid_check,
		.help = "the uploaded file it is made from" },
	{ "filename", JT_STR, AT(filename), 0, .check = rel_path_check,
		.help = "name of the uploaded file when it was ordered" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was ordered" },
	{ "reason", JT_STR, AT(reason), 0, .max = 2048, .help = "why it is in ERROR" },
	{ 0 },
};
const struct jtab image_jtab = { "image", sizeof(struct image), image_fields,
	.rest_off = AT(rest), .has_rest = true };

static const struct entry_class image_class = { &image_jtab, AT(uuid), false, NULL };

int image_parse(const char *json, size_t size, struct image *out, struct err *e)
{
	return entry_parse(&image_class, json, size, out, e);
}

char *image_format_text(const struct image *im)
{
	return jtab_format_text(&image_jtab, im);
}

void image_done(struct image *im)
{
	jtab_done(&image_jtab, im);
}

void *image_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&image_class, name, json, e);
}

void image_free_item(void *im)
{
	entry_free_item(&image_class, im);
}

const char *const store_type_names[] = {
	[STORE_FILESYSTEM] = "filesystem",
	[STORE_CEPH] = "ceph",
	[STORE_FAKE] = "fake",
	NULL,
};

#undef AT
#define AT(member) offsetof(struct image_store, member)

static const struct jtab_field image_store_fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .min = 1, .check = name_check,
		.help = "its name, unique" },
	{ "type", JT_ENUM, AT(type), JT_NEED | JT_ALWAYS, .names = store_type_names,
		.help = "what kind of store it is" },
	{ "path", JT_STR, AT(path), 0, .max = 512,
		.help = "of type filesystem: its directory, the same on all hosts that "
			"have it" },
	{ "pool", JT_STR, AT(pool), 0, .max = 128,
		.help = "of type ceph: the pool of images; \"images\" when missing" },
	{ "vm_pool", JT_STR, AT(vm_pool), 0, .max = 128,
		.help = "of type ceph: the pool of disks; \"uservms\" when missing" },
	{ "ceph_conf", JT_STR, AT(ceph_conf), 0, .max = 512,
		.help = "of type ceph: its configuration file on the hosts" },
	{ "ceph_user", JT_STR, AT(ceph_user), 0, .max = 128,
		.help = "of type ceph: the client name, without \"client.\"" },
	{ "max_image_gib", JT_INT, AT(max_image_gib), 0, .max = 65536,
		.help = "the largest image, as VMs see it, in GiB; 2048 when missing" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was registered" },
	{ 0 },
};
const struct jtab image_store_jtab = { "image_store", sizeof(struct image_store),
	image_store_fields, .rest_off = AT(rest), .has_rest = true };

/* Absolute, and else as a relative one. */
static bool is_abs_path(const char *s)
{
	return !str_is_empty(s) && s[0] == '/' && rel_path_check(s + 1, NULL) == 0;
}

static int check_filesystem(const struct image_store *s, struct err *e)
{
	if (is_abs_path(s->path))
		return 0;
	return err_set_field(e, ERR_INVALID, "path",
		"a store of type filesystem needs the path of its directory, absolute "
		"and without \".\", \"..\" and \"//\", like \"/var/lib/ucloud/store\"; "
		"got \"%.80s\"",
		s->path ? s->path : "");
}

/* rados takes almost anything; "/" and "@" separate image and snapshot. */
static int check_pool(const char *name, const char *field, struct err *e)
{
	size_t len = name ? strlen(name) : 0;

	if (len > 0 && strcspn(name, "/@: ") == len && str_is_text(name, len, false))
		return 0;
	return err_set_field(e, ERR_INVALID, field,
		"a store of type ceph needs the name of a pool, without \"/\", \"@\", "
		"\":\" and blanks; got \"%.80s\"",
		name ? name : "");
}

static int check_ceph(const struct image_store *s, struct err *e)
{
	if (check_pool(s->pool, "pool", e) != 0 ||
		check_pool(s->vm_pool, "vm_pool", e) != 0)
		return -1;
	if (str_eq(s->pool, s->vm_pool))
		return err_set_field(e, ERR_INVALID, "vm_pool",
			"images and disks need a pool each; both are \"%.80s\"", s->pool);
	if (!str_is_empty(s->ceph_conf) && !is_abs_path(s->ceph_conf))
		return err_set_field(e, ERR_INVALID, "ceph_conf",
			"\"%.80s\" is not the absolute path of a file", s->ceph_conf);
	return 0;
}

int image_store_check(const struct image_store *s, struct err *e)
{
	switch ((enum store_type)s->type) {
	case STORE_FILESYSTEM:
		return check_filesystem(s, e);
	case STORE_CEPH:
		return check_ceph(s, e);
	case STORE_FAKE:
		return 0;
	}
	return err_set_field(
		e, ERR_INVALID, "type", "type %d of a store is unknown", s->type);
}

void image_store_set_defaults(struct image_store *s)
{
	if (s->type == STORE_CEPH && str_is_empty(s->pool))
		str_set(&s->pool, xstrdup("images"));
	if (s->type == STORE_CEPH && str_is_empty(s->vm_pool))
		str_set(&s->vm_pool, xstrdup("uservms"));
	if (s->max_image_gib == 0)
		s->max_image_gib = 2048;
}

static int check_store_entry(void *entry, struct err *e)
{
	image_store_set_defaults(entry);
	return image_store_check(entry, e);
}

static const struct entry_class image_store_class = { &image_store_jtab, AT(name), false,
	check_store_entry };

int image_store_parse(
	const char *json, size_t size, struct image_store *out, struct err *e)
{
	return entry_parse(&image_store_class, json, size, out, e);
}

char *image_store_format(const struct image_store *s)
{
	return jtab_format_text(&image_store_jtab, s);
}

void image_store_done(struct image_store *s)
{
	jtab_done(&image_store_jtab, s);
}

void *image_store_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&image_store_class, name, json, e);
}

void image_store_free_item(void *s)
{
	entry_free_item(&image_store_class, s);
}

bool image_store_is_local(const struct image_store *s)
{
	return s->type != STORE_CEPH;
}
