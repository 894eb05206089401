#include "common/disk/image_header_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define KIB 1024
#define MIB (KIB * KIB)

/* The parts of a VHDX file that are read; everything else is zeros. */
struct file {
	unsigned char header[2][4096];	   /* at 64 and 128 KiB */
	unsigned char regions[64 * KIB];   /* at 192 KiB */
	unsigned char metadata[128 * KIB]; /* at 2 MiB: table, then items */
	int64_t size;
};

static void put(unsigned char *p, uint64_t n, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i++)
		p[i] = (unsigned char)(n >> (8 * i));
}

/* The text of a GUID, as the specification prints it, to the bytes in a file. */
static void put_guid(unsigned char *p, uint32_t a, uint16_t b, uint16_t c, uint64_t d)
{
	put(p, a, 4);
	put(p + 4, b, 2);
	put(p + 6, c, 2);
	for (size_t i = 0; i < 8; i++)
		p[8 + i] = (unsigned char)(d >> (56 - 8 * i));
}

static void put_region(struct file *f, unsigned i, uint64_t offset, uint32_t size)
{
	unsigned char *p = f->regions + 16 + i * 32;

	if (i == 0)
		put_guid(p, 0x2DC27766, 0xF623, 0x4200, 0x9D64115E9BFD4A08);
	else
		put_guid(p, 0x8B7CA206, 0x4790, 0x4B9A, 0xB8FE575F050F886E);
	put(p + 16, offset, 8);
	put(p + 24, size, 4);
	put(p + 28, 1, 4);
}

static unsigned char *item(struct file *f, unsigned i)
{
	return f->metadata + 32 + i * 32;
}

static unsigned char *value(struct file *f, unsigned i)
{
	return f->metadata + 64 * KIB + i * 16;
}

enum { PARAMETERS, DISK_SIZE, SECTOR_SIZE, N_ITEMS };

static void put_item(struct file *f, unsigned i, uint32_t size, uint64_t n)
{
	put(item(f, i) + 16, 64 * KIB + i * 16, 4);
	put(item(f, i) + 20, size, 4);
	put(item(f, i) + 24, 4, 4);
	put(value(f, i), n, 8);
}

/* Of 1 GiB, with blocks of 8 MiB. */
static struct file *good(void)
{
	static struct file f;

	memset(&f, 0, sizeof(f));
	f.size = 8 * MIB;
	for (unsigned i = 0; i < 2; i++) {
		memcpy(f.header[i], "head", 4);
		put(f.header[i] + 8, 7 + i, 8);
		put(f.header[i] + 66, 1, 2);
	}
	memcpy(f.regions, "regi", 4);
	put(f.regions + 8, 2, 4);
	put_region(&f, 0, 3 * MIB, MIB);
	put_region(&f, 1, 2 * MIB, MIB);
	memcpy(f.metadata, "metadata", 8);
	put(f.metadata + 10, N_ITEMS, 2);
	put_guid(item(&f, PARAMETERS), 0xCAA16737, 0xFA36, 0x4D43, 0xB3B633F0AA44E76B);
	put_item(&f, PARAMETERS, 8, 8 * MIB);
	put_guid(item(&f, DISK_SIZE), 0x2FA54224, 0xCD1B, 0x4876, 0xB2115DBED83BF4B8);
	put_item(&f, DISK_SIZE, 8, 1 << 30);
	put_guid(item(&f, SECTOR_SIZE), 0x8141BF1D, 0xA96F, 0x4709, 0xBA47F233A8FAAB5F);
	put_item(&f, SECTOR_SIZE, 4, 512);
	return &f;
}

static void seal(struct file *f)
{
	for (int i = 0; i < 2; i++)
		put(f->header[i] + 4, image_vhdx_checksum(f->header[i], 4096), 4);
	put(f->regions + 4, image_vhdx_checksum(f->regions, sizeof(f->regions)), 4);
}

static unsigned char byte_at(const struct file *f, int64_t at)
{
	if (at < 8)
		return (unsigned char)"vhdxfile"[at];
	if (at >= 64 * KIB && at < 68 * KIB)
		return f->header[0][at - 64 * KIB];
	if (at >= 128 * KIB && at < 132 * KIB)
		return f->header[1][at - 128 * KIB];
	if (at >= 192 * KIB && at < 256 * KIB)
		return f->regions[at - 192 * KIB];
	if (at >= 2 * MIB && at < 2 * MIB + 128 * KIB)
		return f->metadata[at - 2 * MIB];
	return 0;
}

static ssize_t read_file(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const struct file *f = aux;
	unsigned char *out = p;
	size_t n = 0;
	(void)e;

	for (; n < size && offset < f->size; n++, offset++)
		out[n] = byte_at(f, offset);
	return (ssize_t)n;
}

static struct image_header scanned(struct file *f)
{
	const struct image_reader r = { f->size, read_file, f };
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (image_header_scan(&r, &h, &e) != 0)
		fail_msg("%s", e.msg);
	assert_int_equal(h.kind, IMAGE_KIND_VHDX);
	return h;
}

static void refused(struct file *f, const char *words)
{
	const struct image_reader r = { f->size, read_file, f };
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (image_header_scan(&r, &h, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	assert_int_equal(e.kind, ERR_INVALID);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
}

static void good_ones(void **state)
{
	struct file *f = good();
	struct image_header h;
	(void)state;

	seal(f);
	h = scanned(f);
	assert_int_equal(h.virtual_bytes, 1 << 30);
	assert_false(h.has_backing_file || h.is_corrupt || h.is_truncated);
	/* 4096 bytes in a sector. */
	put(value(f, SECTOR_SIZE), 4096, 4);
	scanned(f);
}

/* CRC-32C of "123456789" is e3069283 (RFC 3720's polynomial); bytes 4 to 7 count as zeros. */
static void checksum(void **state)
{
	unsigned char zeros[32] = { 0 };
	(void)state;

	assert_int_equal(image_vhdx_checksum(zeros, 32), 0x8a9136aa);
	zeros[4] = 9;
	assert_int_equal(image_vhdx_checksum(zeros, 32), 0x8a9136aa);
	zeros[8] = 9;
	assert_int_not_equal(image_vhdx_checksum(zeros, 32), 0x8a9136aa);
}

/* Of the two headers the newer one counts that is valid. */
static void newer_header_counts(void **state)
{
	struct file *f = good();
	(void)state;

	f->header[1][48] = 1; /* a log */
	seal(f);
	assert_true(scanned(f).is_corrupt);
	f->header[1][100] ^= 1;
	assert_false(scanned(f).is_corrupt);
	f->header[1][100] ^= 1;
	put(f->header[0] + 8, 100, 8);
	seal(f);
	assert_false(scanned(f).is_corrupt);
	f->header[0][0] = 'x';
	f->header[1][0] = 'x';
	refused(f, "its checksum is wrong");
	f = good();
	put(f->header[1] + 66, 2, 2);
	seal(f);
	refused(f, "version");
}

static void parents(void **state)
{
	struct file *f = good();
	(void)state;

	put(value(f, PARAMETERS) + 4, 2, 4);
	seal(f);
	assert_true(scanned(f).has_backing_file);
	f = good();
	put(f->metadata + 10, N_ITEMS + 1, 2);
	put_guid(item(f, N_ITEMS), 0xA8D35F2D, 0xB30B, 0x454D, 0xABF7D3D84834AB0C);
	put_item(f, N_ITEMS, 16, 0);
	seal(f);
	assert_true(scanned(f).has_backing_file);
}

static void impossible_regions(void **state)
{
	static const struct {
		unsigned region;
		uint64_t offset;
		uint32_t size;
		const char *words;
	} cases[] = {
		{ 0, 3 * MIB, 0, "twice, or empty" },
		{ 0, 0, MIB, "where none can be" },
		{ 0, 3 * MIB + 512, MIB, "where none can be" },
		{ 0, 3 * MIB, MIB + 512, "where none can be" },
		{ 0, 8 * MIB, MIB, "behind the end" },
		{ 1, 7 * MIB, 2 * MIB, "behind the end" },
		{ 1, UINT64_C(0xfffffffffff00000), MIB, "behind the end" },
	};
	struct file *f;
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		f = good();
		put_region(f, cases[i].region, cases[i].offset, cases[i].size);
		seal(f);
		refused(f, cases[i].words);
	}
	f = good();
	put(f->regions + 8, 1, 4);
	seal(f);
	refused(f, "a region is missing");
	put(f->regions + 8, 2048, 4);
	seal(f);
	refused(f, "impossibly large");
	put(f->regions + 8, 3, 4);
	put(f->regions + 16 + 64 + 28, 1, 4);
	seal(f);
	refused(f, "unknown here");
	f = good();
	seal(f);
	f->regions[1000] = 1;
	refused(f, "checksum of its table of regions");
}

static void impossible_items(void **state)
{
	static const struct {
		unsigned item;
		size_t size;
		uint64_t n;
		const char *words;
	} cases[] = {
		{ PARAMETERS, 4, 0, "block size" },
		{ PARAMETERS, 4, 3 * MIB, "block size" },
		{ PARAMETERS, 4, 512 * MIB, "block size" },
		{ DISK_SIZE, 8, 513, "size is impossible" },
		{ DISK_SIZE, 8, UINT64_MAX - 511, "size is impossible" },
		{ DISK_SIZE, 8, UINT64_C(2) << 40, "too small" },
		{ SECTOR_SIZE, 4, 0, "sector size" },
		{ SECTOR_SIZE, 4, 1024, "sector size" },
	};
	struct file *f;
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		f = good();
		put(value(f, cases[i].item), cases[i].n, cases[i].size);
		seal(f);
		refused(f, cases[i].words);
	}
	f = good();
	seal(f);
	put(item(f, DISK_SIZE) + 16, MIB - 4, 4);
	refused(f, "outside of its region");
	put(item(f, DISK_SIZE) + 16, 100, 4);
	refused(f, "outside of its region");
	put(f->metadata + 10, 2048, 2);
	refused(f, "table of items");
	f = good();
	seal(f);
	put(item(f, DISK_SIZE), 1, 4); /* an unknown one, which is needed */
	refused(f, "unknown here");
}

/* Cut anywhere before its last region's end. */
static void too_short(void **state)
{
	struct file *f = good();
	(void)state;

	seal(f);
	f->size = 4 * MIB;
	scanned(f);
	for (f->size = 4 * MIB - 1; f->size > 8; f->size = f->size * 3 / 4)
		refused(f, f->size < 256 * KIB ? "ends in the middle" : "behind the end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(checksum),
		cmocka_unit_test(newer_header_counts),
		cmocka_unit_test(parents),
		cmocka_unit_test(impossible_regions),
		cmocka_unit_test(impossible_items),
		cmocka_unit_test(too_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
