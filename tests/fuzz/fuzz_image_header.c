/* The header of an image from bytes: one that says which checksums are set right first and how
 * the rest is laid out, one that tells the size of the file beyond what is there, then its
 * beginning, or the parts of a vhdx one after the other. What is accepted lies within bounds. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/disk/image_header_impl.h"

#define MEMORY_MAX (4 << 20)

/* Where a vhdx has its parts, and how much of the input each gets. */
static const struct {
	size_t at, size;
} parts[] = {
	{ 0, 16 },	  /* identifier */
	{ 64 << 10, 80 }, /* headers */
	{ 128 << 10, 80 },
	{ 192 << 10, 112 }, /* regions */
	{ 1 << 20, 256 },   /* metadata */
	{ (1 << 20) + (64 << 10), 64 },
};
#define LAID_OUT_SIZE ((1 << 20) + (64 << 10) + 64)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

struct memory {
	uint8_t *p;
	size_t size, file_size;
};

/* Behind what is there are zeros. */
static ssize_t read_memory(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const struct memory *m = aux;
	size_t at = (size_t)offset, there = 0;
	(void)e;

	assert(offset >= 0);
	if (at >= m->file_size)
		return 0;
	if (size > m->file_size - at)
		size = m->file_size - at;
	memset(p, 0, size);
	if (at < m->size)
		there = size < m->size - at ? size : m->size - at;
	memcpy(p, m->p + at, there);
	return (ssize_t)size;
}

static void set_checksum(struct memory *m, size_t at, size_t size)
{
	uint8_t part[65536] = { 0 };
	uint32_t crc;

	if (at + 8 > m->size)
		return;
	memcpy(part, m->p + at, m->size - at < size ? m->size - at : size);
	crc = image_vhdx_checksum(part, size);
	for (size_t i = 0; i < 4; i++)
		m->p[at + 4 + i] = (uint8_t)(crc >> (8 * i));
}

/* The input as it is, or laid out as a vhdx. */
static void lay_out(struct memory *m, const uint8_t *p, size_t size, bool is_vhdx)
{
	m->size = is_vhdx ? LAID_OUT_SIZE : size;
	m->p = calloc(1, m->size + 1);
	assert(m->p);
	if (!is_vhdx)
		memcpy(m->p, p, size);
	for (size_t i = 0; is_vhdx && i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t n = size < parts[i].size ? size : parts[i].size;

		memcpy(m->p + parts[i].at, p, n);
		p += n;
		size -= n;
	}
}

static void check(const struct image_header *h, size_t file_size)
{
	struct err e = { 0 };
	bool is_ok = image_header_check(h, INT64_C(1) << 40, &e) == 0;

	assert(h->virtual_bytes >= 0);
	assert(h->kind != IMAGE_KIND_RAW || h->virtual_bytes == (int64_t)file_size);
	assert(h->kind != IMAGE_KIND_RAW ||
		!(h->has_backing_file || h->has_data_file || h->is_encrypted));
	assert(!is_ok || !(h->has_backing_file || h->has_data_file || h->is_encrypted ||
				 h->is_corrupt || h->is_truncated));
	assert(!is_ok || (h->virtual_bytes > 0 && h->virtual_bytes <= INT64_C(1) << 40));
	assert(is_ok || (e.kind != ERR_NONE && e.msg[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	struct memory m = { 0 };
	struct image_header h;
	struct err e = { 0 };

	if (size < 2 || size > MEMORY_MAX)
		return 0;
	lay_out(&m, p + 2, size - 2, p[0] & 8);
	/* What is followed to its end is small. */
	m.file_size = m.size + (size_t)p[1] * (p[0] & 16 ? 16 : p[1]) * 4096;
	if (p[0] & 1)
		set_checksum(&m, 64 << 10, 4096);
	if (p[0] & 2)
		set_checksum(&m, 128 << 10, 4096);
	if (p[0] & 4)
		set_checksum(&m, 192 << 10, 64 << 10);
	const struct image_reader r = { (int64_t)m.file_size, read_memory, &m,
		(p[0] & 16) != 0 };
	if (image_header_scan(&r, &h, &e) == 0)
		check(&h, m.file_size);
	else
		assert(e.kind == ERR_INVALID && e.msg[0] != '\0');
	if (image_header_parse(m.p, m.size, (int64_t)m.file_size, &h, &e) == 0)
		check(&h, m.file_size);
	free(m.p);
	return 0;
}
