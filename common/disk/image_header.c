#include "common/disk/image_header_impl.h"

#include <assert.h>
#include <string.h>

/* Those of a machine that somebody worked with, not of one made to keep QEMU busy. */
#define SNAPSHOTS_MAX 64

/* Of a trailer that says what the file is. */
#define TRAILER_SIZE 512

const char *const image_kind_names[] = {
	[IMAGE_KIND_RAW] = "raw",
	[IMAGE_KIND_QCOW2] = "qcow2",
	[IMAGE_KIND_VMDK] = "vmdk",
	[IMAGE_KIND_VDI] = "vdi",
	[IMAGE_KIND_VHDX] = "vhdx",
};

int image_malformed(struct err *e, const char *format, const char *what)
{
	return err_set(e, ERR_INVALID, "the %s header is damaged: %s", format, what);
}

/* ---------------------------------------------------------------- reading */

int image_read_at(const struct image_bytes *b, uint64_t offset, void *p, size_t size,
	const char *format, struct err *e)
{
	ssize_t n;

	if (image_is_inside(offset, size, b->size)) {
		memcpy(p, b->p + offset, size);
		return 0;
	}
	if (!b->r || !image_is_inside(offset, size, b->file_size))
		return image_malformed(e, format, "the file ends in the middle of it");
	n = b->r->read(b->r->aux, (int64_t)offset, p, size, e);
	if (n < 0)
		return -1;
	if ((size_t)n != size)
		return err_set(e, ERR_INVALID, "the file changed while it was read");
	return 0;
}

int image_walk(const struct image_table *t, image_entry_fn *fn, void *aux,
	bool *is_truncated, struct err *e)
{
	unsigned char part[8192] = { 0 };
	uint64_t len;

	if (!t->b->r)
		return 0;
	for (uint64_t at = 0; at < t->n && !*is_truncated; at += len) {
		len = sizeof(part) / t->width;
		if (len > t->n - at)
			len = t->n - at;
		if (image_read_at(t->b, t->offset + at * t->width, part, len * t->width,
			    "image", e) != 0)
			return -1;
		for (size_t i = 0; i < len && !*is_truncated; i++)
			if (fn(aux, part + i * t->width, is_truncated, e) != 0)
				return -1;
	}
	return 0;
}

int image_spend(uint64_t *left, uint64_t size, const char *format, struct err *e)
{
	if (size > *left)
		return image_malformed(e, format, "several of its tables are the same");
	*left -= size;
	return 0;
}

/* ---------------------------------------------------------------- what it is */

#define NOT_TAKEN(what, format)                                                          \
	"it is " what                                                                    \
	", which is not taken: convert it with \"qemu-img convert -f " format            \
	" -O qcow2\""
#define COMPRESSED(with) "it is compressed with " with ": unpack it first"

/* What is not taken, by its beginning. */
static const struct {
	size_t at;
	const char *magic;
	size_t size;
	const char *otherwise;
} others[] = {
	{ 0, "conectix", 8, NOT_TAKEN("a VHD image", "vpc") },
	{ 0, "QED\0", 4, NOT_TAKEN("a QED image", "qed") },
	{ 0, "WithoutFreeSpace", 16, NOT_TAKEN("a Parallels image", "parallels") },
	{ 0, "WithouFreSpacExt", 16, NOT_TAKEN("a Parallels image", "parallels") },
	{ 0, "Bochs Virtual HD Image", 22, NOT_TAKEN("a Bochs image", "bochs") },
	{ 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", 37,
		NOT_TAKEN("a cloop image", "cloop") },
	{ 0, "COWD", 4, NOT_TAKEN("a VMware disk of an old kind", "vmdk") },
	{ 0, "LUKS\xba\xbe", 6, "it is encrypted (LUKS): decrypt it first" },
	{ 0, "\x1f\x8b\x08", 3, COMPRESSED("gzip") },
	{ 0,
		"\xfd"
		"7zXZ\0",
		6, COMPRESSED("xz") },
	{ 0, "\x28\xb5\x2f\xfd", 4, COMPRESSED("zstd") },
	{ 0, "\x04\x22\x4d\x18", 4, COMPRESSED("lz4") },
	{ 0, "BZh", 3, COMPRESSED("bzip2") },
	{ 0, "LZIP", 4, COMPRESSED("lzip") },
	{ 0, "PK\3\4", 4,
		"it is a ZIP archive: unpack it, and use the disk image in it" },
	{ 0, "7z\xbc\xaf\x27\x1c", 6,
		"it is a 7z archive: unpack it, and use the disk image in it" },
	{ 257, "ustar", 5,
		"it is an archive (tar or OVA): unpack it, and use the disk image in "
		"it" },
};

static bool has_magic(
	const struct image_bytes *b, size_t at, const char *magic, size_t size)
{
	return image_is_inside(at, size, b->size) && memcmp(b->p + at, magic, size) == 0;
}

static const char *otherwise_by_beginning(const struct image_bytes *b)
{
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (has_magic(b, others[i].at, others[i].magic, others[i].size))
			return others[i].otherwise;
	if (image_vmdk_is_text(b))
		return "it only describes a VMware disk whose parts are other files: "
		       "convert it with \"qemu-img convert -f vmdk -O qcow2\" where "
		       "they are";
	return NULL;
}

/* What says at its end what it is: its beginning is that of the disk. */
static int read_trailer(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	unsigned char p[TRAILER_SIZE];

	if (!b->r || b->file_size < TRAILER_SIZE)
		return 0;
	if (image_read_at(b, b->file_size - TRAILER_SIZE, p, sizeof(p), "image", e) != 0)
		return -1;
	if (memcmp(p, "conectix", 8) == 0)
		out->otherwise = NOT_TAKEN("a VHD image", "vpc");
	else if (memcmp(p, "koly", 4) == 0)
		out->otherwise = NOT_TAKEN("a DMG image", "dmg");
	return 0;
}

static int read_raw(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	out->kind = IMAGE_KIND_RAW;
	out->virtual_bytes = (int64_t)b->file_size;
	out->otherwise = otherwise_by_beginning(b);
	return out->otherwise ? 0 : read_trailer(b, out, e);
}

static int read_any(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	if (has_magic(b, 0, "QFI\xfb", 4))
		return image_qcow2_read(b, out, e);
	if (has_magic(b, 0, "KDMV", 4))
		return image_vmdk_read(b, out, e);
	if (has_magic(b, 0, "vhdxfile", 8))
		return image_vhdx_read(b, out, e);
	if (image_vdi_is(b))
		return image_vdi_read(b, out, e);
	return read_raw(b, out, e);
}

static int read_header(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	struct image_header h = { 0 };

	if (read_any(b, &h, e) != 0)
		return -1;
	*out = h;
	return 0;
}

int image_header_parse(const void *p, size_t size, int64_t file_size,
	struct image_header *out, struct err *e)
{
	const struct image_bytes b = { p, size, (uint64_t)file_size, NULL };

	if (file_size < 0 || (uint64_t)file_size < size)
		return err_set(e, ERR_INVALID, "the file changed while it was read");
	return read_header(&b, out, e);
}

int image_header_scan(
	const struct image_reader *r, struct image_header *out, struct err *e)
{
	unsigned char *p = xmalloc(IMAGE_HEADER_SIZE);
	size_t size = IMAGE_HEADER_SIZE;
	ssize_t n;
	int rc;

	assert(r->file_size >= 0);
	if (r->file_size < IMAGE_HEADER_SIZE)
		size = (size_t)r->file_size;
	n = r->read(r->aux, 0, p, size, e);
	if (n >= 0 && (size_t)n != size)
		rc = err_set(e, ERR_INVALID, "the file changed while it was read");
	else if (n < 0)
		rc = -1;
	else
		rc = read_header(
			&(struct image_bytes){ p, size, (uint64_t)r->file_size, r }, out,
			e);
	free(p);
	return rc;
}

/* ---------------------------------------------------------------- may it be used? */

/* NULL: nothing speaks against it but its size, perhaps. */
static const char *why_not(const struct image_header *h)
{
	if (h->otherwise)
		return h->otherwise;
	if (h->has_backing_file)
		return "it names a backing file; merge them with \"qemu-img convert\"";
	if (h->has_data_file)
		return "it keeps its data in another file; merge them with \"qemu-img "
		       "convert\"";
	if (h->is_encrypted)
		return "it is encrypted: decrypt it first";
	if (h->is_corrupt && h->kind == IMAGE_KIND_VHDX)
		return "it was not closed properly, and has a log to be replayed: do "
		       "that "
		       "with \"qemu-img check -r all\"";
	if (h->is_corrupt)
		return "it is marked as corrupt; try \"qemu-img check -r all\"";
	if (h->is_truncated)
		return "a part of it lies behind the end of the file, which was perhaps "
		       "not copied to the end";
	if (h->virtual_bytes == 0)
		return h->kind == IMAGE_KIND_RAW ? "it is empty"
						 : "it is a disk of 0 bytes";
	return NULL;
}

int image_header_check(
	const struct image_header *h, int64_t max_virtual_bytes, struct err *e)
{
	const char *why = why_not(h);

	if (why)
		return err_set(e, ERR_INVALID, "%s", why);
	if (h->virtual_bytes > max_virtual_bytes)
		return err_set(e, ERR_TOO_LARGE,
			"it is a disk of %jd bytes; at most %jd are taken",
			(intmax_t)h->virtual_bytes, (intmax_t)max_virtual_bytes);
	if (h->virtual_bytes % 512 != 0)
		return err_set(e, ERR_INVALID,
			"it is not a disk image: its %jd bytes are not a whole number of "
			"sectors of 512 bytes",
			(intmax_t)h->virtual_bytes);
	if (h->n_snapshots > SNAPSHOTS_MAX)
		return err_set(e, ERR_INVALID,
			"it has %u snapshots, at most %d are taken: leave them out with "
			"\"qemu-img convert\"",
			h->n_snapshots, SNAPSHOTS_MAX);
	return 0;
}
