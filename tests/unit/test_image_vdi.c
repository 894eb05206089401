#include "common/disk/image_header_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB 1048576

/* A VDI file's first bytes, its table of blocks among them. */
struct file {
	unsigned char p[1024];
	int64_t size;
};

static void put(struct file *f, size_t at, uint64_t n, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i++)
		f->p[at + i] = (unsigned char)(n >> (8 * i));
}

/* Of 4 MiB, as qemu-img makes it; two blocks are there. */
static struct file good(void)
{
	struct file f = { .size = 1024 + 2 * MIB };

	put(&f, 0x40, 0xbeda107f, 4);
	put(&f, 0x44, 0x00010001, 4);
	put(&f, 0x4c, 1, 4);	    /* dynamic */
	put(&f, 0x154, 512, 4);	    /* table of blocks */
	put(&f, 0x158, 1024, 4);    /* data */
	put(&f, 0x168, 512, 4);	    /* sector */
	put(&f, 0x170, 4 * MIB, 8); /* size */
	put(&f, 0x178, MIB, 4);	    /* block */
	put(&f, 0x180, 4, 4);	    /* blocks */
	put(&f, 512, 0, 4);
	put(&f, 516, 0xffffffff, 4);
	put(&f, 520, 1, 4);
	put(&f, 524, 0xfffffffe, 4);
	return f;
}

static ssize_t read_file(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const struct file *f = aux;
	unsigned char *out = p;
	size_t n = 0;
	(void)e;

	for (; n < size && offset < f->size; n++, offset++)
		out[n] = offset < (int64_t)sizeof(f->p) ? f->p[offset] : 0;
	return (ssize_t)n;
}

static struct image_header scanned(struct file *f)
{
	const struct image_reader r = { f->size, read_file, f };
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (image_header_scan(&r, &h, &e) != 0)
		fail_msg("%s", e.msg);
	assert_int_equal(h.kind, IMAGE_KIND_VDI);
	return h;
}

static void good_ones(void **state)
{
	struct file f = good();
	struct image_header h = scanned(&f);
	(void)state;

	assert_int_equal(h.virtual_bytes, 4 * MIB);
	assert_false(h.has_backing_file || h.is_truncated);
	put(&f, 0x4c, 2, 4);
	scanned(&f);
	put(&f, 0x170, 3 * MIB + 1, 8);
	assert_int_equal(scanned(&f).virtual_bytes, 3 * MIB + 512);
	put(&f, 0x170, 0, 8);
	assert_int_equal(scanned(&f).virtual_bytes, 0);
}

static void parents(void **state)
{
	struct file f = good();
	(void)state;

	put(&f, 0x4c, 4, 4);
	assert_true(scanned(&f).has_backing_file);
	f = good();
	f.p[0x1b7] = 1;
	assert_true(scanned(&f).has_backing_file);
	f = good();
	f.p[0x1b8] = 1;
	assert_true(scanned(&f).has_backing_file);
	f = good();
	f.p[0x1c7] = 1;
	assert_true(scanned(&f).has_backing_file);
	f = good();
	f.p[0x188] = 1; /* its own uuid */
	assert_false(scanned(&f).has_backing_file);
}

static void blocks_behind_the_end(void **state)
{
	struct file f = good();
	(void)state;

	f.size = 1024 + MIB + 1; /* the last block ends with the file */
	assert_false(scanned(&f).is_truncated);
	f.size--;
	assert_true(scanned(&f).is_truncated);
	f = good();
	put(&f, 524, 0xfffffffd, 4);
	assert_true(scanned(&f).is_truncated);
}

static const struct {
	size_t at;
	uint64_t n;
	size_t size;
	const char *words;
} spoils[] = {
	{ 0x44, 0x00010002, 4, "version" },
	{ 0x4c, 0, 4, "type" },
	{ 0x4c, 3, 4, "type" },
	{ 0x154, 0, 4, "lies in it" },
	{ 0x154, 513, 4, "where a sector does" },
	{ 0x154, 0x80000000, 4, "behind the end" },
	{ 0x158, 1025, 4, "where a sector does" },
	{ 0x168, 4096, 4, "blocks" },
	{ 0x178, 2 * MIB, 4, "blocks" },
	{ 0x178, 0, 4, "blocks" },
	{ 0x170, 4 * MIB + 1, 8, "size is impossible" },
	{ 0x170, UINT64_MAX, 8, "size is impossible" },
	{ 0x180, 0x40000000, 4, "size is impossible" },
	{ 0x180, 0xffffffff, 4, "size is impossible" },
	{ 0x180, 0x3fffffff, 4, "behind the end" },
};

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

static void impossible_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
		struct file f = good();

		put(&f, spoils[i].at, spoils[i].n, spoils[i].size);
		refused(&f, spoils[i].words);
	}
}

static void too_short(void **state)
{
	struct file f = good();
	(void)state;

	for (f.size = 0x44; f.size < 0x1c8; f.size++)
		refused(&f, "ends in the middle");
	for (; f.size < 512 + 4 * 4; f.size++)
		refused(&f, "behind the end");
	assert_true(scanned(&f).is_truncated);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(parents),
		cmocka_unit_test(blocks_behind_the_end),
		cmocka_unit_test(impossible_members),
		cmocka_unit_test(too_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
