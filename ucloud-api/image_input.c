#include "ucloud-api/image_input.h"

#include "common/model/names.h"
#include "ucloud-api/vm_input.h"

#define AT(member) offsetof(struct image_input, member)

static const struct jtab_field fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .check = new_name_check,
		.help = "unique among the owner's images, and among the public ones" },
	{ "file", JT_STR, AT(file), .check = rel_path_check,
		.help = "name or uuid of one of your uploaded files: the image is made "
			"of it" },
	{ "store", JT_STR, AT(store), .check = name_check,
		.help = "image store that it is to be in; may be left out when there is "
			"only one" },
	{ "description", JT_STR, AT(description), JT_TEXT, .max = 4096 },
	{ "public", JT_BOOL, AT(is_public),
		.help = "everybody may use it (an admin's right by default)" },
	{ "path", JT_STR, AT(path), .check = rel_path_check,
		.help = "instead of file, admins: what is in the store already. "
			"filesystem: below images/; ceph: the RBD image" },
	{ "format", JT_ENUM, AT(format), .names = image_format_names,
		.help = "of path, and needed with it: stated, never guessed" },
	{ "virtual_bytes", JT_INT, AT(virtual_bytes), 0, .max = INT64_C(1) << 50,
		.help = "with path: size of the disk inside, when known: smaller disks "
			"are then refused" },
	{ 0 },
};
const struct jtab image_input_jtab = { "image_order", sizeof(struct image_input),
	fields };

void image_input_done(struct image_input *in)
{
	jtab_done(&image_input_jtab, in);
}

static bool has(const json_t *body, const char *member)
{
	const json_t *value = json_object_get(body, member);

	return value && !json_is_null(value);
}

static int check_path(const json_t *body, const struct image_input *in,
	const struct who *who, struct err *e)
{
	if (!who->is_admin)
		return err_set_field(e, ERR_DENIED, "path",
			"only admins may register what is in a store: give the name of "
			"an uploaded file as \"file\"");
	if (!has(body, "format"))
		return err_set_field(e, ERR_INVALID, "format",
			"say which format %s has: raw or qcow2", in->path);
	if (str_is_empty(in->store))
		return err_set_field(e, ERR_INVALID, "store",
			"say in which image store %s is", in->path);
	return 0;
}

static int check(const json_t *body, const struct image_input *in, const struct who *who,
	bool may_publish, struct err *e)
{
	static const char *const of_path[] = { "path", "format", "virtual_bytes" };

	if (in->is_public && !who->is_admin && !may_publish)
		return err_set_field(
			e, ERR_DENIED, "public", "only admins may make images public");
	if (str_is_empty(in->file) && str_is_empty(in->path))
		return err_set_field(e, ERR_INVALID, "file",
			"which of your uploaded files is the image to be made of?");
	if (str_is_empty(in->file))
		return check_path(body, in, who, e);
	for (size_t i = 0; i < ARRAY_LEN(of_path); i++) {
		if (has(body, of_path[i]))
			return err_set_field(e, ERR_INVALID, of_path[i],
				"an image that is made of a file takes no %s",
				of_path[i]);
	}
	return 0;
}

int image_input_parse(json_t *body, const struct who *who, bool may_publish,
	struct image_input *out, struct err *e)
{
	CLEANUP(image_input_done) struct image_input in = { 0 };

	if (jtab_parse(&image_input_jtab, body, JTAB_INPUT, &in, e) < 0 ||
		check(body, &in, who, may_publish, e) < 0)
		return -1;
	image_input_done(out);
	*out = in;
	in = (struct image_input){ 0 };
	return 0;
}

void image_input_build(const struct image_input *in, struct image *out)
{
	str_set(&out->name, xstrdup(in->name));
	str_set(&out->store, xstrdup(in->store));
	str_set(&out->path, xstrdup(in->path));
	str_set(&out->description, xstrdup(in->description));
	out->format = in->format;
	out->virtual_bytes = in->virtual_bytes;
	out->is_public = in->is_public;
	out->is_made = !str_is_empty(in->file);
	out->status = out->is_made ? IMAGE_TO_BE_CREATED : IMAGE_CREATED;
}
