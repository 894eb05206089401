#include "common/disk/image_header_impl.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/base/buf.h"

/*
 * A VMware disk: the header of a sparse extent, little endian, its offsets counted in
 * sectors, and in the sectors behind it a text, the descriptor. Of the many types only
 * monolithicSparse is taken: one file, nothing compressed, nothing outside.
 */
enum {
	AT_VERSION = 4,
	AT_FLAGS = 8,
	AT_CAPACITY = 12,
	AT_GRAIN = 20,
	AT_DESCRIPTOR = 28,
	AT_DESCRIPTOR_LEN = 36,
	AT_ENTRIES = 44, /* of a grain table */
	AT_DIRECTORY = 56,
	AT_DATA = 64,
	HEADER_SIZE = 79
};

#define SECTOR		512
#define VERSION_MAX	3
#define FLAG_COMPRESSED (1u << 16)
#define FLAG_MARKERS	(1u << 17)
#define ENTRIES_MAX	512
#define GRAIN_MAX	0x200000
/* In a grain table. */
#define GRAIN_ABSENT	 0
#define GRAIN_ZEROS	 1
#define DIRECTORY_AT_END UINT64_MAX
#define CAPACITY_MAX	 (UINT64_C(1) << 52)

/* Where QEMU looks for the descriptor, wherever the header says it is. */
#define DESCRIPTOR_AT  512
#define DESCRIPTOR_MAX (20 * SECTOR)

static uint64_t le64(const struct image_bytes *b, size_t at)
{
	return image_le64(b->p + at);
}

static uint32_t le32(const struct image_bytes *b, size_t at)
{
	return image_le32(b->p + at);
}

static int malformed(struct err *e, const char *what)
{
	return image_malformed(e, "vmdk", what);
}

static int refuse_type(const char *type, struct err *e)
{
	return err_set(e, ERR_INVALID,
		"it is a VMware disk of the type \"%.40s\"; only monolithicSparse is "
		"taken: convert it with \"qemu-img convert -f vmdk -O qcow2\"",
		type);
}

/* ---------------------------------------------------------------- the header */

static uint64_t directory_len(const struct image_bytes *b)
{
	uint64_t span = le64(b, AT_GRAIN) * le32(b, AT_ENTRIES);

	return span == 0 ? 0 : (le64(b, AT_CAPACITY) + span - 1) / span;
}

static int check_numbers(const struct image_bytes *b, struct err *e)
{
	uint64_t grain = le64(b, AT_GRAIN);

	if (le64(b, AT_CAPACITY) == 0 || le64(b, AT_CAPACITY) > CAPACITY_MAX)
		return malformed(e, "its size is impossible");
	if (grain == 0 || grain > GRAIN_MAX || (grain & (grain - 1)) != 0)
		return malformed(e, "its grain size is impossible");
	if (le32(b, AT_ENTRIES) == 0 || le32(b, AT_ENTRIES) > ENTRIES_MAX)
		return malformed(e, "its grain tables are impossibly large");
	if (le64(b, AT_DIRECTORY) > b->file_size / SECTOR ||
		!image_is_inside(le64(b, AT_DIRECTORY) * SECTOR, directory_len(b) * 4,
			b->file_size) ||
		le64(b, AT_DATA) > b->file_size / SECTOR)
		return malformed(e, "a table lies behind the end of the file, which was "
				    "perhaps not copied to the end");
	return 0;
}

static int check_header(const struct image_bytes *b, struct err *e)
{
	if (le32(b, AT_VERSION) == 0 || le32(b, AT_VERSION) > VERSION_MAX)
		return malformed(e, "its version is unknown");
	if ((le32(b, AT_FLAGS) & (FLAG_COMPRESSED | FLAG_MARKERS)) != 0 ||
		le64(b, AT_DIRECTORY) == DIRECTORY_AT_END)
		return refuse_type("streamOptimized", e);
	/* QEMU reads another file's description there when there is no size. */
	if (check_numbers(b, e) != 0)
		return -1;
	if (le64(b, AT_DESCRIPTOR) == 0)
		return err_set(e, ERR_INVALID,
			"it is one of several files of a VMware disk: convert the whole "
			"with \"qemu-img convert -f vmdk -O qcow2\"");
	if (le64(b, AT_DESCRIPTOR) != DESCRIPTOR_AT / SECTOR ||
		le64(b, AT_DESCRIPTOR_LEN) == 0 ||
		le64(b, AT_DESCRIPTOR_LEN) > DESCRIPTOR_MAX / SECTOR)
		return malformed(e, "its description is not where it has to be");
	return 0;
}

/* ---------------------------------------------------------------- the descriptor */

/* What a line "key = value" says, without quotation marks, the caller's; NULL: it is not of
 * this key. */
static char *value_of(const char *line, const char *key)
{
	size_t size = strlen(key);
	char *value;

	if (strncasecmp(line, key, size) != 0)
		return NULL;
	line += size;
	line += strspn(line, " \t");
	if (*line != '=')
		return NULL;
	line++;
	line += strspn(line, " \t\"");
	value = xstrndup(line, strcspn(line, "\"\r"));
	for (size_t end = strlen(value);
		end > 0 && isblank((unsigned char)value[end - 1]);)
		value[--end] = '\0';
	return value;
}

/* 'RW 131072 SPARSE "disk.vmdk"': where the data are. */
static bool is_extent(const char *line)
{
	return strncasecmp(line, "RW ", 3) == 0 || strncasecmp(line, "RDONLY ", 7) == 0 ||
	       strncasecmp(line, "NOACCESS ", 9) == 0;
}

/* Is it this file itself? VMware names it, and files are renamed; a path leads elsewhere. */
static bool is_extent_here(const char *line)
{
	line += strcspn(line, " ");
	line += strspn(line, " ");
	line += strspn(line, "0123456789");
	line += strspn(line, " ");
	return strncasecmp(line, "SPARSE ", 7) == 0 && !strpbrk(line, "/\\");
}

static int read_line(
	const char *line, unsigned *n_extents, struct image_header *out, struct err *e)
{
	CLEANUP_STR char *type = value_of(line, "createType");
	CLEANUP_STR char *parent = value_of(line, "parentCID");
	CLEANUP_STR char *encryption = value_of(line, "encryption.keySafe");

	if (type && strcasecmp(type, "monolithicSparse") != 0)
		return refuse_type(type, e);
	if (parent && strcasecmp(parent, "ffffffff") != 0)
		out->has_backing_file = true;
	if (encryption)
		out->is_encrypted = true;
	if (is_extent(line) && (++*n_extents > 1 || !is_extent_here(line)))
		out->has_data_file = true;
	return 0;
}

/* A parent's name is looked for by QEMU anywhere in it, also behind its end. */
static bool names_parent(const unsigned char *p, size_t size)
{
	static const char key[] = "parentFileNameHint";

	for (size_t i = 0; i + sizeof(key) - 1 <= size; i++)
		if (strncasecmp((const char *)p + i, key, sizeof(key) - 1) == 0)
			return true;
	return false;
}

static int read_descriptor(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	const unsigned char *p = b->p + DESCRIPTOR_AT;
	CLEANUP(strv_done) struct strv lines = { 0 };
	CLEANUP_STR char *text = NULL;
	unsigned n_extents = 0;

	if (!image_is_inside(DESCRIPTOR_AT, DESCRIPTOR_MAX, b->size))
		return malformed(e, "the file ends in the middle of it");
	out->has_backing_file = names_parent(p, DESCRIPTOR_MAX);
	text = xstrndup((const char *)p, DESCRIPTOR_MAX);
	strv_split(&lines, text, '\n');
	for (size_t i = 0; i < lines.len; i++)
		if (read_line(lines.v[i], &n_extents, out, e) != 0)
			return -1;
	if (n_extents == 0)
		return malformed(e, "its description says nothing of data");
	return 0;
}

/* ---------------------------------------------------------------- where data are */

struct walk {
	const struct image_bytes *b;
	uint64_t left; /* image_spend() */
};

/* The sector of a grain. */
static int look_at_grain(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	const struct walk *w = aux;
	uint64_t sector = image_le32(p);
	(void)e;

	if (sector != GRAIN_ABSENT && sector != GRAIN_ZEROS &&
		!image_is_inside(sector * SECTOR, 1, w->b->file_size))
		*is_truncated = true;
	return 0;
}

/* The sector of a grain table. */
static int look_at_table(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	struct walk *w = aux;
	const struct image_table t = { .b = w->b,
		.offset = (uint64_t)image_le32(p) * SECTOR,
		.n = le32(w->b, AT_ENTRIES),
		.width = 4 };

	if (t.offset == 0)
		return 0;
	if (!image_is_inside(t.offset, t.n * t.width, w->b->file_size)) {
		*is_truncated = true;
		return 0;
	}
	if (!w->b->r->is_thorough)
		return 0;
	return image_spend(&w->left, t.n * t.width, "vmdk", e) == 0
		       ? image_walk(&t, look_at_grain, w, is_truncated, e)
		       : -1;
}

int image_vmdk_read(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	struct walk w = { b, b->file_size };
	struct image_table t = { .b = b, .width = 4 };

	if (b->size < HEADER_SIZE)
		return malformed(e, "the file ends in the middle of it");
	if (check_header(b, e) != 0 || read_descriptor(b, out, e) != 0)
		return -1;
	out->kind = IMAGE_KIND_VMDK;
	out->virtual_bytes = (int64_t)(le64(b, AT_CAPACITY) * SECTOR);
	t.offset = le64(b, AT_DIRECTORY) * SECTOR;
	t.n = directory_len(b);
	return image_walk(&t, look_at_table, &w, &out->is_truncated, e);
}

/* As QEMU finds out: "version=" behind comments and empty lines. */
bool image_vmdk_is_text(const struct image_bytes *b)
{
	static const char first[] = "version=";
	size_t at = 0;

	while (at < b->size) {
		const unsigned char *end = memchr(b->p + at, '\n', b->size - at);
		size_t size = end ? (size_t)(end - b->p) - at : b->size - at;
		size_t blank = 0;

		while (blank < size && isspace(b->p[at + blank]))
			blank++;
		if (b->p[at] != '#' && blank < size)
			return size - blank >= sizeof(first) - 1 &&
			       strncasecmp((const char *)b->p + at + blank, first,
				       sizeof(first) - 1) == 0;
		at += size + 1;
	}
	return false;
}
