#include "common/disk/image_header_impl.h"

/* The header of a VDI file, little endian; the limits are QEMU's. */
enum {
	AT_SIGNATURE = 0x40,
	AT_VERSION = 0x44,
	AT_TYPE = 0x4c,
	AT_BLOCKS_OFFSET = 0x154,
	AT_DATA_OFFSET = 0x158,
	AT_SECTOR_SIZE = 0x168,
	AT_VIRTUAL_SIZE = 0x170,
	AT_BLOCK_SIZE = 0x178,
	AT_N_BLOCKS = 0x180,
	AT_LINK_UUID = 0x1a8,
	AT_PARENT_UUID = 0x1b8,
	HEADER_SIZE = 0x1c8
};

#define SIGNATURE  0xbeda107f
#define VERSION	   0x00010001
#define BLOCK_SIZE (UINT64_C(1) << 20)
#define BLOCKS_MAX 0x3fffffff
/* Of a block that has no room in the file. */
#define BLOCK_ABSENT 0xfffffffe

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2, TYPE_DIFFERENCE = 4 };

bool image_vdi_is(const struct image_bytes *b)
{
	return b->size >= AT_VERSION && image_le32(b->p + AT_SIGNATURE) == SIGNATURE;
}

static uint32_t le32(const struct image_bytes *b, size_t at)
{
	return image_le32(b->p + at);
}

static int malformed(struct err *e, const char *what)
{
	return image_malformed(e, "vdi", what);
}

static bool is_uuid_set(const struct image_bytes *b, size_t at)
{
	for (size_t i = 0; i < 16; i++)
		if (b->p[at + i] != 0)
			return true;
	return false;
}

static int check_numbers(const struct image_bytes *b, struct err *e)
{
	uint64_t virtual_size = image_le64(b->p + AT_VIRTUAL_SIZE);
	uint64_t n_blocks = le32(b, AT_N_BLOCKS);

	if (le32(b, AT_VERSION) != VERSION)
		return malformed(e, "its version is unknown");
	if (le32(b, AT_SECTOR_SIZE) != 512 || le32(b, AT_BLOCK_SIZE) != BLOCK_SIZE)
		return malformed(e, "its blocks do not have 1 MiB, or its sectors 512 "
				    "bytes");
	if (n_blocks > BLOCKS_MAX || virtual_size > n_blocks * BLOCK_SIZE)
		return malformed(e, "its size is impossible");
	if (le32(b, AT_BLOCKS_OFFSET) % 512 != 0 || le32(b, AT_DATA_OFFSET) % 512 != 0)
		return malformed(e, "a table does not begin where a sector does");
	if (le32(b, AT_BLOCKS_OFFSET) < HEADER_SIZE)
		return malformed(e, "its table of blocks lies in it");
	if (!image_is_inside(le32(b, AT_BLOCKS_OFFSET), n_blocks * 4, b->file_size))
		return malformed(e, "its table of blocks lies behind the end of the "
				    "file, which was perhaps not copied to the end");
	return 0;
}

static int check_type(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	uint32_t type = le32(b, AT_TYPE);

	out->has_backing_file = type == TYPE_DIFFERENCE || is_uuid_set(b, AT_LINK_UUID) ||
				is_uuid_set(b, AT_PARENT_UUID);
	if (type != TYPE_DYNAMIC && type != TYPE_STATIC && type != TYPE_DIFFERENCE)
		return malformed(e, "its type is unknown");
	return 0;
}

/* Where a block is. QEMU lets the last one end with the file. */
static int look_at_block(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	const struct image_bytes *b = aux;
	uint64_t entry = image_le32(p);
	(void)e;

	if (entry < BLOCK_ABSENT &&
		!image_is_inside(
			le32(b, AT_DATA_OFFSET) + entry * BLOCK_SIZE, 1, b->file_size))
		*is_truncated = true;
	return 0;
}

int image_vdi_read(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	struct image_bytes bytes = *b;
	struct image_table t = { .b = b, .width = 4 };
	uint64_t virtual_size;

	if (b->size < HEADER_SIZE)
		return malformed(e, "the file ends in the middle of it");
	t.offset = le32(b, AT_BLOCKS_OFFSET);
	t.n = le32(b, AT_N_BLOCKS);
	if (check_numbers(b, e) != 0 || check_type(b, out, e) != 0)
		return -1;
	out->kind = IMAGE_KIND_VDI;
	virtual_size = image_le64(b->p + AT_VIRTUAL_SIZE);
	/* Old versions of VirtualBox made odd ones: QEMU rounds them up, too. */
	out->virtual_bytes = (int64_t)((virtual_size + 511) & ~UINT64_C(511));
	return image_walk(&t, look_at_block, &bytes, &out->is_truncated, e);
}
