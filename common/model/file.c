#include "common/model/file.h"

#include <inttypes.h>
#include <string.h>

#include "common/model/entry.h"

#define AT(member) offsetof(struct file, member)

static const struct jtab_field file_fields[] = {
	{ "uuid", JT_STR, AT(uuid), JT_NEED, .min = 1, .check = uuid_check,
		.help = "the same for the same owner and name" },
	{ "owner", JT_STR, AT(owner), JT_NEED, .min = 1, .check = user_name_check,
		.help = "name of the user it belongs to" },
	{ "owner_realm", JT_STR, AT(owner_realm), JT_NEED, .min = 1, .check = realm_check,
		.help = "realm of the user it belongs to" },
	{ "filename", JT_STR, AT(filename), JT_NEED, .min = 1, .check = rel_path_check,
		.help = "relative to the user's directory" },
	{ "size_bytes", JT_INT, AT(size_bytes), JT_ALWAYS, .max = INT64_MAX,
		.help = "size" },
	{ "sha512", JT_STR, AT(sha512), JT_ALWAYS, .max = 128,
		.help = "SHA-512 of its content, in hexadecimal" },
	{ "mtime", JT_TIME, AT(mtime), 0, .help = "when it was last written to" },
	{ "scanned", JT_TIME, AT(scanned), 0, .help = "when its content was read" },
	{ "identity", JT_STR, AT(identity), 0, .max = 128,
		.help = "tells whether it is still the file that was read" },
	{ 0 },
};
const struct jtab file_jtab = { "file", sizeof(struct file), file_fields,
	.rest_off = AT(rest), .has_rest = true };

static const struct entry_class file_class = { &file_jtab, AT(uuid), false, NULL };

int file_parse(const char *json, size_t size, struct file *out, struct err *e)
{
	return entry_parse(&file_class, json, size, out, e);
}

char *file_format(const struct file *f)
{
	return jtab_format_text(&file_jtab, f);
}

void file_done(struct file *f)
{
	jtab_done(&file_jtab, f);
}

void *file_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&file_class, name, json, e);
}

void file_free_item(void *f)
{
	entry_free_item(&file_class, f);
}

void file_uuid(const char *realm, const char *owner, const char *filename,
	char out[UUID_STR_SIZE])
{
	CLEANUP_STR char *name = xasprintf("file/%s/%s/%s", realm, owner, filename);

	uuid_of_name(name, out);
}

char *file_identity(const struct stat *st)
{
	return xasprintf("%ju:%jd:%jd.%09ld", (uintmax_t)st->st_ino,
		(intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

char *file_dir(const char *name, const char *realm, const char *default_realm)
{
	return str_eq(realm, default_realm) ? xstrdup(name)
					    : xasprintf("%s@%s", name, realm);
}

int file_dir_parse(const char *dir, const struct strv *realms, char **name, char **realm,
	struct err *e)
{
	size_t len = strcspn(dir, "@");
	const char *of = dir[len] == '@' ? dir + len + 1 : NULL;
	CLEANUP_STR char *user = xstrndup(dir, len);

	if (user_name_check(user, e) != 0)
		return -1;
	if (of && realms->len > 0 && str_eq(of, realms->v[0]))
		return err_set(e, ERR_INVALID,
			"users of realm \"%.64s\" have directories without it: \"%s\"",
			of, user);
	if (!of)
		of = realms->len > 0 ? realms->v[0] : "";
	if (!strv_has(realms, of))
		return err_set(
			e, ERR_INVALID, "realm \"%.64s\" is not among those allowed", of);
	str_set(name, MOVE(user));
	str_set(realm, xstrdup(of));
	return 0;
}
