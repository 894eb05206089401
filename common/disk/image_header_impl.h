/*
 * What the readers of each format share. Only for common/disk/image_*.c.
 */
#ifndef UCLOUD_IMAGE_HEADER_IMPL_H
#define UCLOUD_IMAGE_HEADER_IMPL_H

#include "common/disk/image_header.h"

/* A file's beginning, and how much of it there is; the rest comes from the reader, which is
 * NULL when there is none. */
struct image_bytes {
	const unsigned char *p;
	size_t size;
	uint64_t file_size;
	const struct image_reader *r;
};

static inline uint32_t image_be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t image_be64(const unsigned char *p)
{
	return (uint64_t)image_be32(p) << 32 | image_be32(p + 4);
}

static inline uint32_t image_le16(const unsigned char *p)
{
	return (uint32_t)p[1] << 8 | p[0];
}

static inline uint32_t image_le32(const unsigned char *p)
{
	return image_le16(p + 2) << 16 | image_le16(p);
}

static inline uint64_t image_le64(const unsigned char *p)
{
	return (uint64_t)image_le32(p + 4) << 32 | image_le32(p);
}

/* Is the table of this many bytes inside the file? */
static inline bool image_is_inside(uint64_t offset, uint64_t size, uint64_t file_size)
{
	return offset <= file_size && size <= file_size - offset;
}

/* ERR_INVALID: "the <format> header is damaged: <what>". */
int image_malformed(struct err *e, const char *format, const char *what);
/* All of size bytes at an offset. ERR_INVALID: they are not there. */
int image_read_at(const struct image_bytes *b, uint64_t offset, void *p, size_t size,
	const char *format, struct err *e) MUST_USE;

/* A table in the file. */
struct image_table {
	const struct image_bytes *b;
	uint64_t offset, n; /* entries */
	size_t width;	    /* of an entry in bytes */
};

/*
 * Looks at the entries of a table, each of which leads somewhere: *is_truncated gets true
 * when fn says of one that it leads behind the file's end. It may walk the table that the
 * entry leads to. Does nothing without a reader.
 */
typedef int image_entry_fn(
	void *aux, const unsigned char *entry, bool *is_truncated, struct err *e);
int image_walk(const struct image_table *t, image_entry_fn *fn, void *aux,
	bool *is_truncated, struct err *e) MUST_USE;

/* Takes size bytes of those that may be read of tables: as much as the file has. ERR_INVALID:
 * they are used up, because tables lie on each other. */
int image_spend(
	uint64_t *left, uint64_t size, const char *format, struct err *e) MUST_USE;

int image_qcow2_read(
	const struct image_bytes *b, struct image_header *out, struct err *e) MUST_USE;
int image_vmdk_read(
	const struct image_bytes *b, struct image_header *out, struct err *e) MUST_USE;
int image_vdi_read(
	const struct image_bytes *b, struct image_header *out, struct err *e) MUST_USE;
int image_vhdx_read(
	const struct image_bytes *b, struct image_header *out, struct err *e) MUST_USE;

bool image_vdi_is(const struct image_bytes *b);
/* A text that says where the parts of a VMware disk are. */
bool image_vmdk_is_text(const struct image_bytes *b);

/* CRC-32C (RFC 3720, appendix B.4) of a part of a vhdx, whose own 4 bytes at offset 4 count
 * as zeros. */
uint32_t image_vhdx_checksum(const unsigned char *p, size_t size);

#endif
