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

		assert_int_equal(h.kind, IMAGE_KIND_QCOW2);
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
	assert_int_equal(h.kind, IMAGE_KIND_RAW);
	assert_int_equal(h.virtual_bytes, 1 << 20);
	assert_int_equal(image_header_parse("", 0, 0, &h, &e), 0);
	assert_int_equal(h.virtual_bytes, 0);
	assert_int_equal(image_header_parse("QFI", 3, 3, &h, &e), 0);
	assert_int_equal(h.kind, IMAGE_KIND_RAW);
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
	{ 60, 0, 65537, "snapshots" },
	{ 60, 0, 65536, "snapshots" },
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

/* ---------------------------------------------------------------- the whole file */

/* A file of SIZE bytes: a header, and a table somewhere. */
struct whole {
	struct file header;
	int64_t table_at;
	unsigned char table[160];
	int64_t size;
};

static ssize_t read_whole(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const struct whole *w = aux;
	unsigned char *out = p;
	size_t n = 0;
	(void)e;

	for (; n < size && offset < w->size; n++, offset++)
		if (offset < (int64_t)sizeof(w->header.p))
			out[n] = w->header.p[offset];
		else if (offset >= w->table_at &&
			 offset < w->table_at + (int64_t)sizeof(w->table))
			out[n] = w->table[offset - w->table_at];
		else
			out[n] = 0;
	return (ssize_t)n;
}

static struct image_header scanned(struct whole *w)
{
	const struct image_reader r = { w->size, read_whole, w };
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (image_header_scan(&r, &h, &e) != 0)
		fail_msg("%s", e.msg);
	return h;
}

static void cluster_table_leads_out_of_the_file(void **state)
{
	struct whole w = { .header = good(3), .table_at = 3 * 65536, .size = 5 * 65536 };
	(void)state;

	assert_false(scanned(&w).is_truncated);
	w.table[0] = 0x80; /* "used once" */
	w.table[5] = 4;	   /* at 4 * 65536 */
	assert_false(scanned(&w).is_truncated);
	w.size--;
	assert_true(scanned(&w).is_truncated);
	w.size++;
	w.table[8 + 2] = 1;
	assert_true(scanned(&w).is_truncated);
	/* Two entries of the table are used; what follows is not. */
	memset(w.table, 0, sizeof(w.table));
	w.table[16 + 2] = 1;
	assert_false(scanned(&w).is_truncated);
}

/* Every entry of the table leads to the same place: nobody reads that again and again. */
static void tables_that_are_the_same(void **state)
{
	struct whole w = { .header = good(3), .table_at = 3 * 65536, .size = 5 * 65536 };
	const struct image_reader shallow = { w.size, read_whole, &w },
				  thorough = { w.size, read_whole, &w, true };
	struct image_header h = { 0 };
	struct err e = { 0 };
	(void)state;

	put64(&w.header, 24, UINT64_C(10) << 30);
	put32(&w.header, 36, 20);
	for (size_t i = 0; i < 20; i++)
		w.table[i * 8 + 5] = 4;
	assert_int_equal(image_header_scan(&shallow, &h, &e), 0);
	assert_int_equal(image_header_scan(&thorough, &h, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.msg, "are the same"));
	memset(w.table + 8, 0, sizeof(w.table) - 8);
	assert_int_equal(image_header_scan(&thorough, &h, &e), 0);
	assert_false(h.is_truncated);
}

static ssize_t read_less(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	return read_whole(aux, offset, p, size > 0 ? size - 1 : 0, e);
}

static ssize_t read_error(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	(void)aux;
	(void)offset;
	(void)p;
	(void)size;
	return err_set(e, ERR_IO, "no");
}

static void reading_fails(void **state)
{
	struct whole w = { .header = good(3), .size = SIZE };
	struct image_reader r = { w.size, read_less, &w };
	struct image_header h = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_header_scan(&r, &h, &e), -1);
	assert_non_null(strstr(e.msg, "changed while it was read"));
	r.read = read_error;
	assert_int_equal(image_header_scan(&r, &h, &e), -1);
	assert_int_equal(e.kind, ERR_IO);
}

/* ---------------------------------------------------------------- what is not taken */

static const struct {
	size_t at;
	const char *magic;
	size_t size;
	const char *words;
} others[] = {
	{ 0, "conectix", 8, "VHD" },
	{ 0, "QED\0", 4, "QED" },
	{ 0, "WithoutFreeSpace", 16, "Parallels" },
	{ 0, "WithouFreSpacExt", 16, "Parallels" },
	{ 0, "LUKS\xba\xbe", 6, "LUKS" },
	{ 0, "COWD", 4, "VMware" },
	{ 0, "Bochs Virtual HD Image", 22, "Bochs" },
	{ 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", 37, "cloop" },
	{ 0, "\x1f\x8b\x08", 3, "gzip" },
	{ 0,
		"\xfd"
		"7zXZ\0",
		6, "xz" },
	{ 0, "\x28\xb5\x2f\xfd", 4, "zstd" },
	{ 0, "BZh9", 4, "bzip2" },
	{ 0, "PK\3\4", 4, "ZIP" },
	{ 257, "ustar", 5, "tar or OVA" },
	{ 0, "# Disk DescriptorFile\nversion=1\n", 32, "other files" },
	{ 0, "# x\r\n  \r\n#\nversion=3\n", 21, "other files" },
	{ 1048576 - 512, "conectix", 8, "VHD" },
	{ 1048576 - 512, "koly", 4, "DMG" },
};

struct sparse {
	size_t at, size;
	const char *text;
};

static ssize_t read_sparse(void *aux, int64_t offset, void *p, size_t size, struct err *e)
{
	const struct sparse *s = aux;
	unsigned char *out = p;
	(void)e;

	for (size_t i = 0; i < size; i++) {
		size_t at = (size_t)offset + i;

		out[i] = at >= s->at && at < s->at + s->size
				 ? (unsigned char)s->text[at - s->at]
				 : 0;
	}
	return (ssize_t)size;
}

static void what_is_not_taken_says_so(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		struct sparse s = { others[i].at, others[i].size, others[i].magic };
		const struct image_reader r = { 1 << 20, read_sparse, &s };
		struct image_header h = { 0 };
		struct err e = { 0 };

		assert_int_equal(image_header_scan(&r, &h, &e), 0);
		assert_int_equal(h.kind, IMAGE_KIND_RAW);
		assert_int_equal(image_header_check(&h, INT64_MAX, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.msg, others[i].words))
			fail_msg("\"%s\" does not say: %s", e.msg, others[i].words);
		/* One byte less is no such thing. */
		s.size--;
		s.at++;
		assert_int_equal(image_header_scan(&r, &h, &e), 0);
		assert_null(h.otherwise);
	}
}

/* ---------------------------------------------------------------- may it be used? */

static void unusable(struct image_header h, enum err_kind kind, const char *words)
{
	struct err e = { 0 };

	assert_int_equal(image_header_check(&h, 1 << 20, &e), -1);
	assert_int_equal(e.kind, kind);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
}

static void what_may_be_used(void **state)
{
	const struct image_header raw = { .virtual_bytes = 512 };
	const struct image_header qcow2 = {
		.kind = IMAGE_KIND_QCOW2, .virtual_bytes = 1 << 20, .n_snapshots = 64
	};
	struct image_header h = qcow2;
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_header_check(&raw, 512, &e), 0);
	assert_int_equal(image_header_check(&qcow2, 1 << 20, &e), 0);
	h.has_backing_file = true;
	unusable(h, ERR_INVALID, "backing file");
	h = qcow2;
	h.has_data_file = true;
	unusable(h, ERR_INVALID, "another file");
	h = qcow2;
	h.is_encrypted = true;
	unusable(h, ERR_INVALID, "encrypted");
	h = qcow2;
	h.is_corrupt = true;
	unusable(h, ERR_INVALID, "marked as corrupt");
	h.kind = IMAGE_KIND_VHDX;
	unusable(h, ERR_INVALID, "log to be replayed");
	h = qcow2;
	h.is_truncated = true;
	unusable(h, ERR_INVALID, "behind the end");
	h = qcow2;
	h.virtual_bytes += 512;
	unusable(h, ERR_TOO_LARGE, "1049088 bytes; at most 1048576");
	h.virtual_bytes = 0;
	unusable(h, ERR_INVALID, "a disk of 0 bytes");
	h = qcow2;
	h.n_snapshots = 65;
	unusable(h, ERR_INVALID, "65 snapshots");
	h = raw;
	h.virtual_bytes = 0;
	unusable(h, ERR_INVALID, "it is empty");
	h.virtual_bytes = 513;
	unusable(h, ERR_INVALID, "513 bytes are not a whole number");
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
		cmocka_unit_test(cluster_table_leads_out_of_the_file),
		cmocka_unit_test(tables_that_are_the_same),
		cmocka_unit_test(reading_fails),
		cmocka_unit_test(what_is_not_taken_says_so),
		cmocka_unit_test(what_may_be_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
