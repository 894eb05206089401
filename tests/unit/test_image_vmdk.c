#include "common/disk/image_header_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 65536

/* A VMware disk's first bytes: header, descriptor, and a grain directory at sector 21. */
struct file {
	unsigned char p[24 * 512];
	int64_t size;
};

static const char good_text[] = "# Disk DescriptorFile\nversion=1\nCID=908ad93\n"
				"parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
				"# Extent description\nRW 131072 SPARSE \"s.vmdk\"\n\n"
				"# The Disk Data Base\n#DDB\n\n"
				"ddb.virtualHWVersion = \"4\"\n";

static void put(struct file *f, size_t at, uint64_t n, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i++)
		f->p[at + i] = (unsigned char)(n >> (8 * i));
}

static void put_text(struct file *f, const char *text)
{
	memset(f->p + 512, 0, 20 * 512);
	memcpy(f->p + 512, text, strlen(text));
}

/* Of 64 MiB, as qemu-img makes it: two entries of the directory. */
static struct file good(void)
{
	struct file f = { .p = "KDMV", .size = SIZE };

	put(&f, 4, 1, 4);	/* version */
	put(&f, 8, 3, 4);	/* flags */
	put(&f, 12, 131072, 8); /* sectors */
	put(&f, 20, 128, 8);	/* in a grain */
	put(&f, 28, 1, 8);	/* descriptor */
	put(&f, 36, 20, 8);
	put(&f, 44, 512, 4); /* entries of a grain table */
	put(&f, 48, 21, 8);
	put(&f, 56, 21, 8);  /* grain directory */
	put(&f, 64, 128, 8); /* data */
	put(&f, 21 * 512, 22, 4);
	put(&f, 21 * 512 + 4, 26, 4);
	put_text(&f, good_text);
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
	assert_int_equal(h.kind, IMAGE_KIND_VMDK);
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

static bool is_harmless(const struct image_header *h)
{
	return !(h->has_backing_file || h->has_data_file || h->is_encrypted ||
		 h->is_truncated);
}

static void good_ones(void **state)
{
	struct file f = good();
	struct image_header h = scanned(&f);
	(void)state;

	assert_int_equal(h.virtual_bytes, 64 << 20);
	assert_true(is_harmless(&h));
	/* VMware's own way to write it. */
	put_text(&f, "# Disk DescriptorFile\r\nversion = 1\r\nparentCID = FFFFFFFF\r\n"
		     "createType = \"monolithicSparse\" \r\n"
		     "RW 131072 SPARSE \"My Disk (1).vmdk\"\r\n");
	h = scanned(&f);
	assert_true(is_harmless(&h));
}

static void parents(void **state)
{
	struct file f = good();
	(void)state;

	put_text(&f, "parentCID=0\nRW 1 SPARSE \"x\"\n");
	assert_true(scanned(&f).has_backing_file);
	put_text(&f, "RW 1 SPARSE \"x\"\nparentFileNameHint=\"/etc/shadow\"\n");
	assert_true(scanned(&f).has_backing_file);
	put_text(&f, "RW 1 SPARSE \"x\"\n#ParentFilenameHINT\n");
	assert_true(scanned(&f).has_backing_file);
	f = good();
	memcpy(f.p + 21 * 512 - 18, "parentFileNameHint", 18);
	assert_true(scanned(&f).has_backing_file);
	f = good();
	memcpy(f.p + 21 * 512 - 17, "parentFileNameHint", 17);
	assert_false(scanned(&f).has_backing_file);
}

static void data_elsewhere(void **state)
{
	static const char *const extents[] = { "RW 1 FLAT \"x\" 0", "RW 1 SPARSE \"/x\"",
		"RW 1 SPARSE \"..\\x\"", "rdonly 1 VMFS \"x\"", "NOACCESS 1 ZERO",
		"RW 1 SPARSE \"x\"\nRW 1 SPARSE \"y\"", "RW  1  VMFSSPARSE \"x\"" };
	struct file f = good();
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(extents); i++) {
		put_text(&f, extents[i]);
		assert_true(scanned(&f).has_data_file);
	}
	put_text(&f, "RW  1  SPARSE \"x\"");
	assert_false(scanned(&f).has_data_file);
	put_text(&f, "version=1\n");
	refused(&f, "says nothing of data");
	put_text(&f, "RW 1 SPARSE \"x\"\nencryption.keySafe = \"vmware:key/list\"\n");
	assert_true(scanned(&f).is_encrypted);
}

static void other_types(void **state)
{
	static const char *const types[] = { "custom", "monolithicFlat",
		"streamOptimized", "twoGbMaxExtentSparse", "vmfsSparse", "fullDevice",
		"" };
	struct file f = good();
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		char text[100];

		snprintf(text, sizeof(text), "createType=\"%s\"\nRW 1 SPARSE \"x\"\n",
			types[i]);
		put_text(&f, text);
		snprintf(text, sizeof(text), "\"%s\"", types[i]);
		refused(&f, text);
	}
	f = good();
	put(&f, 8, 3 | 1 << 16, 4);
	refused(&f, "streamOptimized");
	put(&f, 8, 3 | 1 << 17, 4);
	refused(&f, "streamOptimized");
	f = good();
	put(&f, 56, UINT64_MAX, 8);
	refused(&f, "streamOptimized");
	f = good();
	put(&f, 28, 0, 8);
	refused(&f, "one of several files");
}

static const struct {
	size_t at;
	uint64_t n;
	size_t size;
	const char *words;
} spoils[] = {
	{ 4, 0, 4, "version" },
	{ 4, 4, 4, "version" },
	{ 12, 0, 8, "its size" },
	{ 12, UINT64_MAX, 8, "its size" },
	{ 12, UINT64_C(1) << 52, 8, "behind the end" },
	{ 20, 0, 8, "grain size" },
	{ 20, 127, 8, "grain size" },
	{ 20, 0x400000, 8, "grain size" },
	{ 20, UINT64_C(1) << 63, 8, "grain size" },
	{ 28, 2, 8, "description" },
	{ 36, 0, 8, "description" },
	{ 36, 21, 8, "description" },
	{ 44, 0, 4, "grain tables" },
	{ 44, 513, 4, "grain tables" },
	{ 56, 128, 8, "behind the end" },
	{ 56, UINT64_MAX - 1, 8, "behind the end" },
	{ 64, 129, 8, "behind the end" },
};

static void impossible_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
		struct file f = good();

		put(&f, spoils[i].at, spoils[i].n, spoils[i].size);
		refused(&f, spoils[i].words);
	}
}

static void directory_leads_out_of_the_file(void **state)
{
	struct file f = good();
	(void)state;

	put(&f, 21 * 512 + 4, 124, 4);
	assert_false(scanned(&f).is_truncated);
	put(&f, 21 * 512 + 4, 125, 4);
	assert_true(scanned(&f).is_truncated);
	put(&f, 21 * 512 + 4, UINT32_MAX, 4);
	assert_true(scanned(&f).is_truncated);
}

static void too_short(void **state)
{
	struct file f = good();
	(void)state;

	for (f.size = 4; f.size < 79; f.size++)
		refused(&f, "ends in the middle");
	for (; f.size < SIZE; f.size += 500)
		refused(&f, "behind the end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(parents),
		cmocka_unit_test(data_elsewhere),
		cmocka_unit_test(other_types),
		cmocka_unit_test(impossible_members),
		cmocka_unit_test(directory_leads_out_of_the_file),
		cmocka_unit_test(too_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
