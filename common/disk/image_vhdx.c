#include "common/disk/image_header_impl.h"

#include <assert.h>
#include <string.h>

/*
 * A VHDX file, little endian ([MS-VHDX]): a header twice, of which the newer one counts, a
 * table of regions, and in one region a table of items that say what the disk is.
 */
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

#define HEADER_SIZE   4096
#define REGIONS_AT    (192 * KIB)
#define REGIONS_SIZE  (64 * KIB)
#define REGIONS_MAX   2047
#define METADATA_SIZE (64 * KIB) /* of its table; items lie behind it */
#define ITEMS_MAX     2047
#define ITEM_SIZE     16
#define VIRTUAL_MAX   (UINT64_C(64) << 40)
#define BLOCK_MIN     MIB
#define BLOCK_MAX     (256 * MIB)
#define HAS_PARENT    2u
/* In the table of blocks. */
#define STATE_MASK	 UINT64_C(7)
#define STATE_PRESENT	 6
#define OFFSET_MASK	 (~(MIB - 1))
#define IS_REQUIRED	 1u
#define ITEM_IS_REQUIRED 4u

static const uint64_t headers_at[] = { 64 * KIB, 128 * KIB };

/* In a header. */
enum {
	AT_CHECKSUM = 4,
	AT_SEQUENCE = 8,
	AT_LOG_GUID = 48,
	AT_LOG_VERSION = 64,
	AT_VERSION = 66
};

/* GUIDs as they stand in the file. */
static const unsigned char region_blocks[16] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00,
	0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const unsigned char region_metadata[16] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47,
	0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
static const unsigned char item_parameters[16] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa,
	0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
static const unsigned char item_size[16] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76,
	0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
static const unsigned char item_sector[16] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09,
	0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };
static const unsigned char item_physical[16] = { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71,
	0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 };
static const unsigned char item_page83[16] = { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23,
	0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 };
static const unsigned char item_parent[16] = { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d,
	0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c };

/* A part of the file that the table of regions names. */
struct region {
	uint64_t offset, size; /* size 0: there is none */
};

struct disk {
	uint64_t virtual_size;
	uint32_t block_size, sector_size;
	bool has_parent;
};

static int malformed(struct err *e, const char *what)
{
	return image_malformed(e, "vhdx", what);
}

static bool is_guid(const unsigned char *p, const unsigned char guid[16])
{
	return memcmp(p, guid, 16) == 0;
}

/* What each value of a byte does to the sum. */
static void make_table(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] =
				table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0x82f63b78) : 0);
	}
}

uint32_t image_vhdx_checksum(const unsigned char *p, size_t size)
{
	uint32_t table[256], crc = ~UINT32_C(0);

	make_table(table);
	for (size_t i = 0; i < size; i++) {
		unsigned char c = i >= AT_CHECKSUM && i < AT_CHECKSUM + 4 ? 0 : p[i];

		crc = crc >> 8 ^ table[(crc ^ c) & 0xff];
	}
	return ~crc;
}

/* Reads a part that begins with a signature of 4 letters and its checksum. 1: it is not
 * valid. */
static int read_part(const struct image_bytes *b, uint64_t offset, const char *signature,
	unsigned char *p, size_t size, struct err *e)
{
	if (image_read_at(b, offset, p, size, "vhdx", e) != 0)
		return -1;
	return memcmp(p, signature, 4) != 0 ||
	       image_le32(p + AT_CHECKSUM) != image_vhdx_checksum(p, size);
}

/* ---------------------------------------------------------------- the header */

/* The newer one of those that are valid. */
static int read_header(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	static const unsigned char none[16];
	unsigned char p[HEADER_SIZE] = { 0 }, newest[HEADER_SIZE] = { 0 };
	bool is_found = false;

	for (size_t i = 0; i < ARRAY_LEN(headers_at); i++) {
		int rc = read_part(b, headers_at[i], "head", p, sizeof(p), e);

		if (rc < 0)
			return -1;
		if (rc == 0 && (!is_found || image_le64(p + AT_SEQUENCE) >
						     image_le64(newest + AT_SEQUENCE))) {
			memcpy(newest, p, sizeof(newest));
			is_found = true;
		}
	}
	if (!is_found)
		return malformed(e, "its checksum is wrong");
	if (image_le16(newest + AT_VERSION) != 1 ||
		image_le16(newest + AT_LOG_VERSION) != 0)
		return malformed(e, "its version is unknown");
	out->is_corrupt = !is_guid(newest + AT_LOG_GUID, none);
	return 0;
}

/* ---------------------------------------------------------------- regions */

static int add_region(const struct image_bytes *b, const unsigned char *entry,
	struct region *to, struct err *e)
{
	struct region r = { image_le64(entry + 16), image_le32(entry + 24) };

	if (to->size != 0 || r.size == 0)
		return malformed(e, "a region is there twice, or empty");
	if (r.offset < MIB || r.offset % MIB != 0 || r.size % MIB != 0)
		return malformed(e, "a region is where none can be");
	if (!image_is_inside(r.offset, r.size, b->file_size))
		return malformed(e, "a region lies behind the end of the file, which was "
				    "perhaps not copied to the end");
	*to = r;
	return 0;
}

static int parse_regions(const struct image_bytes *b, const unsigned char *p,
	struct region *blocks, struct region *metadata, struct err *e)
{
	uint32_t n = image_le32(p + 8);

	if (n > REGIONS_MAX)
		return malformed(e, "its table of regions is impossibly large");
	for (uint32_t i = 0; i < n; i++) {
		const unsigned char *entry = p + 16 + i * 32;
		struct region *to = is_guid(entry, region_blocks)     ? blocks
				    : is_guid(entry, region_metadata) ? metadata
								      : NULL;

		if (!to && (image_le32(entry + 28) & IS_REQUIRED))
			return malformed(e, "it needs a region that is unknown here");
		if (to && add_region(b, entry, to, e) != 0)
			return -1;
	}
	if (blocks->size == 0 || metadata->size == 0)
		return malformed(e, "a region is missing");
	return 0;
}

static int read_regions(const struct image_bytes *b, struct region *blocks,
	struct region *metadata, struct err *e)
{
	unsigned char *p = xmalloc(REGIONS_SIZE);
	int rc = read_part(b, REGIONS_AT, "regi", p, REGIONS_SIZE, e);

	if (rc == 1)
		rc = malformed(e, "the checksum of its table of regions is wrong");
	if (rc == 0)
		rc = parse_regions(b, p, blocks, metadata, e);
	free(p);
	return rc;
}

/* ---------------------------------------------------------------- metadata */

static int use_item(const unsigned char *entry, const unsigned char value[ITEM_SIZE],
	struct disk *d, struct err *e)
{
	if (is_guid(entry, item_parameters)) {
		d->block_size = image_le32(value);
		d->has_parent |= (image_le32(value + 4) & HAS_PARENT) != 0;
	} else if (is_guid(entry, item_size)) {
		d->virtual_size = image_le64(value);
	} else if (is_guid(entry, item_sector)) {
		d->sector_size = image_le32(value);
	} else if (is_guid(entry, item_parent)) {
		d->has_parent = true;
	} else if (!is_guid(entry, item_physical) && !is_guid(entry, item_page83) &&
		   (image_le32(entry + 24) & ITEM_IS_REQUIRED)) {
		return malformed(e, "it needs an item that is unknown here");
	}
	return 0;
}

/* The value, of which more than its first bytes is never needed. */
static int read_item(const struct image_bytes *b, const struct region *metadata,
	const unsigned char *entry, struct disk *d, struct err *e)
{
	unsigned char value[ITEM_SIZE] = { 0 };
	uint64_t offset = image_le32(entry + 16), size = image_le32(entry + 20);

	if (!image_is_inside(offset, size, metadata->size) ||
		(size > 0 && offset < METADATA_SIZE))
		return malformed(e, "an item lies outside of its region");
	if (size > sizeof(value))
		size = sizeof(value);
	if (size > 0 &&
		image_read_at(b, metadata->offset + offset, value, size, "vhdx", e) != 0)
		return -1;
	return use_item(entry, value, d, e);
}

static int parse_metadata(const struct image_bytes *b, const struct region *metadata,
	const unsigned char *p, struct disk *d, struct err *e)
{
	uint32_t n = image_le16(p + 10);

	if (memcmp(p, "metadata", 8) != 0 || n > ITEMS_MAX)
		return malformed(e, "its table of items is none");
	for (uint32_t i = 0; i < n; i++)
		if (read_item(b, metadata, p + 32 + i * 32, d, e) != 0)
			return -1;
	return 0;
}

static int read_metadata(const struct image_bytes *b, const struct region *metadata,
	struct disk *d, struct err *e)
{
	unsigned char *p = xmalloc(METADATA_SIZE);
	int rc = image_read_at(b, metadata->offset, p, METADATA_SIZE, "vhdx", e);

	if (rc == 0)
		rc = parse_metadata(b, metadata, p, d, e);
	free(p);
	return rc;
}

/* How many entries of 8 bytes the table of blocks has: one for each block, and one for each
 * group of blocks that share a bitmap of 1 MiB, but for the last. */
static uint64_t n_entries(const struct disk *d)
{
	uint64_t n, group;

	/* check_disk() asks for its numbers first. */
	assert(d->block_size >= BLOCK_MIN && d->block_size <= BLOCK_MAX);
	n = (d->virtual_size + d->block_size - 1) / d->block_size;
	group = (UINT64_C(1) << 23) * d->sector_size / d->block_size;

	assert(group > 0);
	return n == 0 ? 0 : n + (n - 1) / group;
}

static int check_disk(const struct disk *d, const struct region *blocks, struct err *e)
{
	uint32_t block = d->block_size;

	if (block < BLOCK_MIN || block > BLOCK_MAX || (block & (block - 1)) != 0)
		return malformed(e, "its block size is impossible");
	if (d->sector_size != 512 && d->sector_size != 4096)
		return malformed(e, "its sector size is impossible");
	if (d->virtual_size > VIRTUAL_MAX || d->virtual_size % d->sector_size != 0)
		return malformed(e, "its size is impossible");
	if (n_entries(d) * 8 > blocks->size)
		return malformed(e, "its table of blocks is too small for its size");
	return 0;
}

/* Where a block, or a bitmap, is. */
static int look_at_block(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	const uint64_t *file_size = aux;
	uint64_t entry = image_le64(p);
	(void)e;

	if ((entry & STATE_MASK) >= STATE_PRESENT &&
		!image_is_inside(entry & OFFSET_MASK, 1, *file_size))
		*is_truncated = true;
	return 0;
}

int image_vhdx_read(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	struct region blocks = { 0 }, metadata = { 0 };
	uint64_t file_size = b->file_size;
	struct disk d = { 0 };

	if (read_header(b, out, e) != 0 || read_regions(b, &blocks, &metadata, e) != 0 ||
		read_metadata(b, &metadata, &d, e) != 0 ||
		check_disk(&d, &blocks, e) != 0)
		return -1;
	out->kind = IMAGE_KIND_VHDX;
	out->virtual_bytes = (int64_t)d.virtual_size;
	out->has_backing_file = d.has_parent;
	const struct image_table t = { b, blocks.offset, n_entries(&d), 8 };
	return image_walk(&t, look_at_block, &file_size, &out->is_truncated, e);
}
