#include "common/disk/image_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"

#define SIZE 196624

/* A qcow2 file's first bytes, which a test then spoils. */
struct file {
	unsigned char p[512];
};

static void put32(struct file *f, size_t at, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		f->p[at + (size_t)i] = (unsigned char)(n >> (24 - 8 * i));
}

static void put64(struct file *f, size_t at, uint64_t n)
{
	put32(f, at, (uint32_t)(n >> 32));
	put32(f, at + 4, (uint32_t)n);
}

/* As qemu-img makes one of 1 GiB. */
static struct file good(uint32_t version)
{
	struct file f = { { 'Q', 'F', 'I', 0xfb } };

	put32(&f, 4, version);
	put32(&f, 20, 16);	   /* cluster bits */
	put64(&f, 24, 1ull << 30); /* virtual size */
	put32(&f, 36, 2);	   /* entries of the L1 table */
	put64(&f, 40, 3 * 65536);  /* L1 table */
	put64(&f, 48, 65536);	   /* refcount table */
	put32(&f, 56, 1);
	if (version == 3) {
		put32(&f, 96, 4);    /* refcount order */
		put32(&f, 100, 112); /* header size */
	}
	return f;
}

static struct image_header parsed(const struct file *f)
{
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (image_header_parse(f->p, sizeof(f->p), SIZE, &h, &e) != 0)
		fail_msg("%s", e.msg);
	return h;
}

static void refused(
	const struct file *f, size_t size, int64_t file_size, const char *words)
{
	struct image_header h = { .virtual_bytes = 77 };
	struct err e = { 0 };

	if (image_header_parse(f->p, size, file_size, &h, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	assert_int_equal(e.kind, ERR_INVALID);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
	assert_int_equal(h.virtual_bytes, 77);
}

static void good_ones(void **state)
{
	(void)state;
	for (uint32_t version = 2; version <= 3; version++) {
		struct file f = good(version);
		struct image_header h = parsed(&f);

		assert_true(h.is_qcow2);
		assert_int_equal(h.virtual_bytes, 1 << 30);
		assert_false(h.has_backing_file || h.has_data_file || h.is_encrypted ||
			     h.is_corrupt);
	}
}

static void raw_is_what_is_no_qcow2(void **state)
{
	static const char boot[512] = "\xeb\x63";
	struct image_header h = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_header_parse(boot, 512, 1 << 20, &h, &e), 0);
	assert_false(h.is_qcow2);
	assert_int_equal(h.virtual_bytes, 1 << 20);
	assert_int_equal(image_header_parse("", 0, 0, &h, &e), 0);
	assert_int_equal(h.virtual_bytes, 0);
	assert_int_equal(image_header_parse("QFI", 3, 3, &h, &e), 0);
	assert_false(h.is_qcow2);
}

static void backing_file(void **state)
{
	struct file f = good(3);
	(void)state;

	put64(&f, 8, 400);
	put32(&f, 16, 11);
	assert_true(parsed(&f).has_backing_file);
	put64(&f, 8, 0); /* either member alone is enough to be careful */
	assert_true(parsed(&f).has_backing_file);
	put64(&f, 8, 400);
	put32(&f, 16, 0);
	assert_true(parsed(&f).has_backing_file);
	f = good(2);
	put64(&f, 8, 1ull << 63);
	assert_true(parsed(&f).has_backing_file);
}

static void data_file_by_feature_or_name(void **state)
{
	struct file f = good(3);
	(void)state;

	put64(&f, 72, 1 << 2);
	assert_true(parsed(&f).has_data_file);
	f = good(3);
	put32(&f, 112, 0x6803f857); /* another extension before it, of 5 bytes */
	put32(&f, 116, 5);
	put32(&f, 128, 0x44415441);
	put32(&f, 132, 4);
	assert_true(parsed(&f).has_data_file);
	f = good(2);
	put32(&f, 72, 0x44415441);
	put32(&f, 76, 0);
	assert_true(parsed(&f).has_data_file);
}

/* Behind the end of the extensions is anything. */
static void what_follows_the_extensions_is_not_read(void **state)
{
	struct file f = good(3);
	(void)state;

	put32(&f, 120, 0x44415441);
	assert_false(parsed(&f).has_data_file);
}

static void encrypted_and_corrupt(void **state)
{
	struct file f = good(3);
	(void)state;

	put32(&f, 32, 2);
	assert_true(parsed(&f).is_encrypted);
	f = good(3);
	put64(&f, 72, 1 << 1);
	assert_true(parsed(&f).is_corrupt);
	put64(&f, 72, 1 << 0 | 1 << 3 | 1 << 4); /* dirty, compression, extended L2 */
	assert_false(parsed(&f).is_corrupt);
}

static void too_short(void **state)
{
	struct file f = good(3);
	(void)state;

	for (size_t size = 4; size < 104; size++)
		refused(&f, size, SIZE, "ends in the middle");
	refused(&f, 512, 3 * 65536 + 15, "not copied to the end");
	refused(&f, 512, 60000, "not copied to the end");
	refused(&f, 512, 511, "changed while it was read");
	refused(&f, 512, -1, "changed while it was read");
}

/* One member made impossible each. */
static const struct {
	size_t at;
	int is_64;
	uint64_t value;
	const char *words;
} spoils[] = {
	{ 4, 0, 1, "version 1" },
	{ 4, 0, 4, "version 4" },
	{ 20, 0, 8, "cluster size" },
	{ 20, 0, 22, "cluster size" },
	{ 20, 0, 0xffffffff, "cluster size" },
	{ 24, 1, UINT64_MAX, "virtual size" },
	{ 24, 1, (UINT64_C(1) << 61) + 1, "virtual size" },
	{ 32, 0, 3, "encryption" },
	{ 36, 0, 0xffffffff, "cluster table" },
	{ 36, 0, 1, "cluster table is too small" },
	{ 24, 1, (UINT64_C(1) << 30) + 1, "cluster table is too small" },
	{ 40, 1, UINT64_MAX, "where a cluster does" },
	{ 40, 1, 3 * 65536 + 8, "where a cluster does" },
	{ 48, 1, 65536 + 512, "where a cluster does" },
	{ 40, 1, UINT64_MAX - 65535, "cluster table" },
	{ 48, 1, UINT64_MAX - 65535, "reference table" },
	{ 56, 0, 0, "no reference table" },
	{ 72, 1, 1 << 5, "features" },
	{ 72, 1, UINT64_C(1) << 63, "features" },
	{ 96, 0, 7, "reference counts" },
	{ 100, 0, 103, "its own size" },
	{ 100, 0, 65537, "its own size" },
	{ 100, 0, 0xffffffff, "its own size" },
	{ 116, 0, 0xffffffff, "extension" },
	{ 116, 0, 400, "extension" },
};

static void impossible_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
		struct file f = good(3);

		put32(&f, 112, 0x6803f857);
		if (spoils[i].is_64)
			put64(&f, spoils[i].at, spoils[i].value);
		else
			put32(&f, spoils[i].at, (uint32_t)spoils[i].value);
		refused(&f, sizeof(f.p), SIZE, spoils[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(raw_is_what_is_no_qcow2),
		cmocka_unit_test(backing_file),
		cmocka_unit_test(data_file_by_feature_or_name),
		cmocka_unit_test(what_follows_the_extensions_is_not_read),
		cmocka_unit_test(encrypted_and_corrupt),
		cmocka_unit_test(too_short),
		cmocka_unit_test(impossible_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
