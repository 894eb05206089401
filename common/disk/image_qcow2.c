#include "common/disk/image_header_impl.h"

/*
 * The beginning of a qcow2 file; numbers are big endian. From the format's specification
 * (QEMU: docs/interop/qcow2.txt), as are the limits, which are those QEMU itself has.
 */
enum {
	AT_VERSION = 4,
	AT_BACKING_OFFSET = 8,
	AT_BACKING_SIZE = 16,
	AT_CLUSTER_BITS = 20,
	AT_VIRTUAL_SIZE = 24,
	AT_CRYPT_METHOD = 32,
	AT_L1_ENTRIES = 36,
	AT_L1_OFFSET = 40,
	AT_REFCOUNT_OFFSET = 48,
	AT_REFCOUNT_CLUSTERS = 56,
	AT_N_SNAPSHOTS = 60,
	AT_SNAPSHOTS_OFFSET = 64,
	V2_SIZE = 72,
	/* Version 3 only. */
	AT_INCOMPATIBLE = 72,
	AT_REFCOUNT_ORDER = 96,
	AT_HEADER_SIZE = 100,
	V3_SIZE = 104
};

#define CLUSTER_BITS_MIN   9
#define CLUSTER_BITS_MAX   21
#define REFCOUNT_ORDER_MAX 6
#define L1_ENTRIES_MAX	   (1u << 22)
#define OFFSET_MASK	   UINT64_C(0x00fffffffffffe00)
#define ENTRY_COMPRESSED   (UINT64_C(1) << 62)
#define ENTRY_ZEROS	   UINT64_C(1)
#define SNAPSHOTS_POSSIBLE 65536
#define SNAPSHOT_SIZE_MIN  40
#define VIRTUAL_MAX	   (INT64_C(1) << 61)

/* Incompatible features: who does not know one must not open the image. */
#define FEATURE_CORRUPT	     (UINT64_C(1) << 1)
#define FEATURE_DATA_FILE    (UINT64_C(1) << 2)
#define FEATURE_LONG_ENTRIES (UINT64_C(1) << 4)
#define FEATURES_KNOWN	     UINT64_C(0x1f)

#define EXTENSION_END	    0
#define EXTENSION_DATA_FILE 0x44415441

static uint32_t be32(const struct image_bytes *b, size_t at)
{
	return image_be32(b->p + at);
}

static uint64_t be64(const struct image_bytes *b, size_t at)
{
	return image_be64(b->p + at);
}

static int malformed(struct err *e, const char *what)
{
	return image_malformed(e, "qcow2", what);
}

/* Where the tables are, and how large: what QEMU refuses, too. */
static int check_tables(const struct image_bytes *b, struct err *e)
{
	uint32_t bits = be32(b, AT_CLUSTER_BITS);
	uint64_t l1_at = be64(b, AT_L1_OFFSET), count_at = be64(b, AT_REFCOUNT_OFFSET);
	uint64_t l1_entries = be32(b, AT_L1_ENTRIES), cluster = UINT64_C(1) << bits;
	/* An entry leads to a cluster of entries, of 8 bytes or, extended, of 16. */
	uint64_t span = UINT64_C(1) << (2 * bits - 3);

	if (l1_entries > L1_ENTRIES_MAX)
		return malformed(e, "its cluster table is impossibly large");
	if (l1_entries < (be64(b, AT_VIRTUAL_SIZE) + span - 1) / span)
		return malformed(e, "its cluster table is too small for its size");
	if (l1_at % cluster != 0 || count_at % cluster != 0)
		return malformed(e, "a table does not begin where a cluster does");
	if (be32(b, AT_REFCOUNT_CLUSTERS) == 0)
		return malformed(e, "it has no reference table");
	if (!image_is_inside(l1_at, l1_entries * 8, b->file_size))
		return malformed(e, "its cluster table lies behind the end of the file, "
				    "which was perhaps not copied to the end");
	if (be32(b, AT_N_SNAPSHOTS) > SNAPSHOTS_POSSIBLE ||
		(be32(b, AT_N_SNAPSHOTS) > 0 &&
			!image_is_inside(be64(b, AT_SNAPSHOTS_OFFSET),
				(uint64_t)be32(b, AT_N_SNAPSHOTS) * SNAPSHOT_SIZE_MIN,
				b->file_size)))
		return malformed(e, "its table of snapshots is impossible");
	if (!image_is_inside(count_at, 8, b->file_size))
		return malformed(e, "its reference table lies behind the end of the "
				    "file, which was perhaps not copied to the end");
	return 0;
}

static int check_numbers(const struct image_bytes *b, struct err *e)
{
	uint32_t cluster_bits = be32(b, AT_CLUSTER_BITS);

	if (cluster_bits < CLUSTER_BITS_MIN || cluster_bits > CLUSTER_BITS_MAX)
		return malformed(e, "its cluster size is impossible");
	if (be64(b, AT_VIRTUAL_SIZE) > VIRTUAL_MAX)
		return malformed(e, "its virtual size is impossible");
	if (be32(b, AT_CRYPT_METHOD) > 2)
		return malformed(e, "its kind of encryption is unknown");
	return check_tables(b, e);
}

/* Walks the extensions behind the header, which end with a zero type, the first cluster, or
 * where the backing file's name begins. */
static int read_extensions(
	const struct image_bytes *b, size_t at, struct image_header *out, struct err *e)
{
	size_t end = (size_t)1 << be32(b, AT_CLUSTER_BITS);
	uint64_t backing = be64(b, AT_BACKING_OFFSET);

	if (end > b->size)
		end = b->size;
	if (backing != 0 && backing < end)
		end = (size_t)backing;
	while (at <= end && end - at >= 8) {
		uint32_t type = be32(b, at), size = be32(b, at + 4);

		at += 8;
		if (type == EXTENSION_END)
			return 0;
		if (size > end - at)
			return malformed(e, "an extension does not fit into it");
		if (type == EXTENSION_DATA_FILE)
			out->has_data_file = true;
		at += ((size_t)size + 7) & ~(size_t)7;
	}
	return 0;
}

static int read_version3(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	uint64_t features;
	uint32_t header_size;

	if (b->size < V3_SIZE)
		return malformed(e, "the file ends in the middle of it");
	features = be64(b, AT_INCOMPATIBLE);
	header_size = be32(b, AT_HEADER_SIZE);
	if (features & ~FEATURES_KNOWN)
		return err_set(e, ERR_INVALID,
			"the image needs features of qcow2 that are unknown here: "
			"convert it with \"qemu-img convert -O qcow2\"");
	if (be32(b, AT_REFCOUNT_ORDER) > REFCOUNT_ORDER_MAX)
		return malformed(e, "its reference counts are impossibly wide");
	if (header_size < V3_SIZE || header_size > 1u << be32(b, AT_CLUSTER_BITS))
		return malformed(e, "its own size is impossible");
	out->is_corrupt = (features & FEATURE_CORRUPT) != 0;
	out->has_data_file = (features & FEATURE_DATA_FILE) != 0;
	return read_extensions(b, header_size, out, e);
}

/* ---------------------------------------------------------------- where data are */

struct walk {
	const struct image_bytes *b;
	uint64_t cluster;
	uint64_t left; /* image_spend() */
};

/* Of a cluster of data. One that reads as zeros may be anywhere; the last one in the file may
 * end with it. */
static int look_at_cluster(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	const struct walk *w = aux;
	uint64_t entry = image_be64(p), offset = entry & OFFSET_MASK;
	(void)e;

	if (entry & ENTRY_COMPRESSED)
		offset =
			entry & ((UINT64_C(1) << (70 - be32(w->b, AT_CLUSTER_BITS))) - 1);
	else if (entry & ENTRY_ZEROS)
		return 0;
	if (offset != 0 && !image_is_inside(offset, 1, w->b->file_size))
		*is_truncated = true;
	return 0;
}

static bool has_long_entries(const struct image_bytes *b)
{
	return be32(b, AT_VERSION) == 3 &&
	       (be64(b, AT_INCOMPATIBLE) & FEATURE_LONG_ENTRIES) != 0;
}

/* Of the cluster table: a cluster of entries. */
static int look_at_table(
	void *aux, const unsigned char *p, bool *is_truncated, struct err *e)
{
	struct walk *w = aux;
	struct image_table t = { .b = w->b,
		.offset = image_be64(p) & OFFSET_MASK,
		.width = has_long_entries(w->b) ? 16 : 8 };

	if (t.offset == 0)
		return 0;
	if (!image_is_inside(t.offset, w->cluster, w->b->file_size)) {
		*is_truncated = true;
		return 0;
	}
	if (!w->b->r->is_thorough)
		return 0;
	t.n = w->cluster / t.width;
	return image_spend(&w->left, w->cluster, "qcow2", e) == 0
		       ? image_walk(&t, look_at_cluster, w, is_truncated, e)
		       : -1;
}

static int look_at_data(
	const struct image_bytes *b, struct image_header *out, struct err *e)
{
	struct walk w = { b, UINT64_C(1) << be32(b, AT_CLUSTER_BITS), b->file_size };
	const struct image_table t = { b, be64(b, AT_L1_OFFSET), be32(b, AT_L1_ENTRIES),
		8 };

	/* In another file: that one's offsets. */
	if (out->has_data_file)
		return 0;
	return image_walk(&t, look_at_table, &w, &out->is_truncated, e);
}

int image_qcow2_read(const struct image_bytes *b, struct image_header *out, struct err *e)
{
	uint32_t version;

	if (b->size < V2_SIZE)
		return malformed(e, "the file ends in the middle of it");
	version = be32(b, AT_VERSION);
	if (version != 2 && version != 3)
		return err_set(e, ERR_INVALID,
			"qcow version %u is not supported: convert the image with "
			"\"qemu-img convert -O qcow2\"",
			version);
	if (check_numbers(b, e) != 0)
		return -1;
	out->kind = IMAGE_KIND_QCOW2;
	out->virtual_bytes = (int64_t)be64(b, AT_VIRTUAL_SIZE);
	out->has_backing_file =
		be64(b, AT_BACKING_OFFSET) != 0 || be32(b, AT_BACKING_SIZE) != 0;
	out->is_encrypted = be32(b, AT_CRYPT_METHOD) != 0;
	out->n_snapshots = be32(b, AT_N_SNAPSHOTS);
	if ((version == 3 ? read_version3(b, out, e)
			  : read_extensions(b, V2_SIZE, out, e)) != 0)
		return -1;
	return look_at_data(b, out, e);
}
