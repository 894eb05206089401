/*
 * The reader of hostile headers against QEMU itself: what qemu-img(1) makes is read as what it
 * is, and what may not be used is refused, each with its own reason; nothing that QEMU would
 * take for something dangerous passes.
 */
#include "common/disk/image_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/jtab.h"
#include "tests/lib/test_util.h"

#define MIB	 (INT64_C(1) << 20)
#define GIB	 (INT64_C(1) << 30)
#define RUN_MSEC 60000

/* Runs a command with FILE for the image, split at blanks; a tab stands for a blank within
 * an argument. */
static void run(const char *file, const char *line)
{
	CLEANUP(strv_done) struct strv words = { 0 };
	CLEANUP_STR char *out = NULL;

	strv_split(&words, line, ' ');
	for (size_t i = 0; i < words.len; i++) {
		if (str_eq(words.v[i], "FILE"))
			str_set(&words.v[i], xstrdup(file));
		for (char *c = words.v[i]; *c; c++)
			*c = *c == '\t' ? ' ' : *c;
	}
	strv_add_take(&words, NULL);
	if (test_run((const char *const *)words.v, RUN_MSEC, &out) != 0)
		fail_msg("%s: %s", line, out ? out : "");
}

static int look(const char *file, struct image_header *h, struct err *e)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	int64_t file_size = 0;
	int rc;

	assert_true(fd >= 0);
	rc = image_header_read_all(fd, h, &file_size, e);
	close(fd);
	return rc;
}

static void must_look(const char *file, struct image_header *h)
{
	struct err e = { 0 };

	if (look(file, h, &e) != 0 || image_header_check(h, INT64_C(64) << 40, &e) != 0)
		fail_msg("%s: %s", file, e.msg);
}

static void must_refuse(const char *file, const char *words)
{
	struct image_header h = { 0 };
	struct err e = { 0 };

	if (look(file, &h, &e) == 0 && image_header_check(&h, 2048 * GIB, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
	assert_true(e.kind == ERR_INVALID || e.kind == ERR_TOO_LARGE);
	assert_null(strstr(e.msg, test_dir()));
}

/* What QEMU says: its format when it guesses, and its size. */
static void qemu_says(const char *file, const char *format, int64_t size)
{
	const char *const argv[] = { "qemu-img", "info", "--output=json", file, NULL };
	CLEANUP_STR char *text = NULL;
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err e = { 0 };

	assert_int_equal(test_run(argv, RUN_MSEC, &text), 0);
	assert_int_equal(json_parse(text, strlen(text), &json, &e), 0);
	assert_string_equal(json_string_value(json_object_get(json, "format")), format);
	assert_int_equal(json_integer_value(json_object_get(json, "virtual-size")), size);
}

static const struct {
	const char *command;
	enum image_kind kind;
	int64_t size;
} good[] = {
	{ "qemu-img create -q -f raw FILE 1M", IMAGE_KIND_RAW, MIB },
	{ "qemu-img create -q -f qcow2 FILE 10G", IMAGE_KIND_QCOW2, 10 * GIB },
	{ "qemu-img create -q -f qcow2 -o compat=0.10 FILE 1G", IMAGE_KIND_QCOW2, GIB },
	{ "qemu-img create -q -f qcow2 -o cluster_size=512 FILE 1G", IMAGE_KIND_QCOW2,
		GIB },
	{ "qemu-img create -q -f qcow2 -o cluster_size=2M,extended_l2=on FILE 2T",
		IMAGE_KIND_QCOW2, 2048 * GIB },
	{ "qemu-img create -q -f qcow2 -o preallocation=metadata FILE 1G",
		IMAGE_KIND_QCOW2, GIB },
	{ "qemu-img create -q -f qcow2 -o compression_type=zstd FILE 512",
		IMAGE_KIND_QCOW2, 512 },
	{ "qemu-img create -q -f qcow2 -o preallocation=falloc FILE 8M", IMAGE_KIND_QCOW2,
		8 * MIB },
	{ "qemu-img create -q -f vmdk FILE 10G", IMAGE_KIND_VMDK, 10 * GIB },
	{ "qemu-img create -q -f vmdk -o compat6,zeroed_grain=on FILE 64k",
		IMAGE_KIND_VMDK, 65536 },
	{ "qemu-img create -q -f vmdk FILE 2000G", IMAGE_KIND_VMDK, 2000 * GIB },
	{ "qemu-img create -q -f vdi FILE 10G", IMAGE_KIND_VDI, 10 * GIB },
	{ "qemu-img create -q -f vdi FILE 512", IMAGE_KIND_VDI, 512 },
	{ "qemu-img create -q -f vdi -o static=on FILE 3M", IMAGE_KIND_VDI, 3 * MIB },
	{ "qemu-img create -q -f vhdx FILE 10G", IMAGE_KIND_VHDX, 10 * GIB },
	{ "qemu-img create -q -f vhdx -o subformat=fixed FILE 8M", IMAGE_KIND_VHDX,
		8 * MIB },
	{ "qemu-img create -q -f vhdx -o block_size=1M FILE 1T", IMAGE_KIND_VHDX,
		1024 * GIB },
	{ "qemu-img create -q -f vhdx -o block_size=256M FILE 64T", IMAGE_KIND_VHDX,
		65536 * GIB },
};

static void what_qemu_makes(void **state)
{
	CLEANUP_STR char *file = test_path("good");
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct image_header h = { 0 };

		unlink(file);
		run(file, good[i].command);
		must_look(file, &h);
		if (h.kind != good[i].kind || h.virtual_bytes != good[i].size)
			fail_msg("%s: read as %s of %jd bytes", good[i].command,
				image_kind_names[h.kind], (intmax_t)h.virtual_bytes);
		qemu_says(file, image_kind_names[h.kind], h.virtual_bytes);
	}
	unlink(file);
}

/* And with something in them, which ends where the file ends. */
static void what_qemu_wrote_to(void **state)
{
	CLEANUP_STR char *file = test_path("written");
	(void)state;

	for (enum image_kind kind = IMAGE_KIND_RAW; kind <= IMAGE_KIND_VHDX; kind++) {
		struct image_header h = { 0 };
		CLEANUP_STR char *create = xasprintf(
			"qemu-img create -q -f %s FILE 100M", image_kind_names[kind]);
		CLEANUP_STR char *write = xasprintf("qemu-io -f %s -c write\t1M\t1M -c "
						    "write\t90M\t10M FILE",
			image_kind_names[kind]);

		unlink(file);
		run(file, create);
		run(file, write);
		must_look(file, &h);
		assert_int_equal(h.kind, kind);
		assert_int_equal(h.virtual_bytes, 100 * MIB);
	}
	unlink(file);
}

/* Compressed and with snapshots, of 512 bytes a cluster and of 2 MiB, with long entries. */
static void what_qemu_converts(void **state)
{
	static const char *const options[] = { "-c -O qcow2",
		"-c -O qcow2 -o cluster_size=512",
		"-c -O qcow2 -o compression_type=zstd,cluster_size=2M",
		"-O qcow2 -o compat=0.10", "-O qcow2 -o extended_l2=on", "-O vmdk",
		"-O vdi", "-O vhdx", "-S 0 -O qcow2", "-S 0 -O vmdk", "-S 0 -O vhdx" };
	CLEANUP_STR char *raw = test_path("raw"), *file = test_path("converted");
	(void)state;

	run(raw, "qemu-img create -q -f raw FILE 20M");
	run(raw,
		"qemu-io -f raw -c write\t-P\t7\t3M\t5M -c write\t-P\t9\t19M\t1000 FILE");
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		CLEANUP_STR char *convert =
			xasprintf("qemu-img convert -f raw %s %s FILE", options[i], raw);
		struct image_header h = { 0 };

		unlink(file);
		run(file, convert);
		must_look(file, &h);
		assert_true(h.virtual_bytes >= 20 * MIB);
	}
	unlink(raw);
	unlink(file);
}

/* How an image that nobody should use is made, and what is said of it. */
static const struct {
	const char *command;
	const char *words;
} hostile[] = {
	{ "qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw FILE 1G",
		"backing file" },
	{ "qemu-img create -q -f qcow2 -u -F raw -b "
	  "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"} FILE 1G",
		"backing file" },
	{ "qemu-img create -q -f qcow2 -u -F raw -b nbd:[::1]:10809 FILE 1G",
		"backing file" },
	{ "qemu-img create -q -f qcow2 FILE 3T", "at most" },
	{ "qemu-img create -q -f qcow2 -o cluster_size=2M FILE 1E", "at most" },
	{ "qemu-img create -q -f vmdk FILE 0", "damaged: its size" },
	{ "qemu-img create -q -f qcow2 FILE 0", "a disk of 0 bytes" },
	{ "qemu-img create -q -f vdi FILE 0", "a disk of 0 bytes" },
	{ "qemu-img create -q -f raw FILE 0", "it is empty" },
	{ "truncate -s 3T FILE", "at most" },
	{ "truncate -s 1000 FILE", "whole number of sectors" },
	{ "qemu-img create -q -f vmdk -o subformat=streamOptimized FILE 1G",
		"\"streamOptimized\"" },
	{ "qemu-img create -q -f vmdk -o subformat=monolithicFlat FILE 1G",
		"other files" },
	{ "qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse FILE 1G",
		"other files" },
	{ "qemu-img create -q -f vpc FILE 1G", "VHD" },
	{ "qemu-img create -q -f vpc -o subformat=fixed FILE 1M", "VHD" },
	{ "qemu-img create -q -f qed FILE 1G", "QED" },
	{ "qemu-img create -q -f parallels FILE 1G", "Parallels" },
	{ "qemu-img create -q -f qcow FILE 1G", "qcow version 1" },
};

static void hostile_images(void **state)
{
	CLEANUP_STR char *file = test_path("evil");
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		unlink(file);
		run(file, hostile[i].command);
		must_refuse(file, hostile[i].words);
	}
	unlink(file);
}

/* Overwrites bytes of a file. */
static void patch(const char *file, long at, const void *p, size_t size)
{
	FILE *f = fopen(file, "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(p, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

/* Puts a text where another one begins; both are within the first 4 KiB. */
static void replace(const char *file, const char *from, const char *to)
{
	char p[4096];
	FILE *f = fopen(file, "r");
	const char *hit;
	size_t n;

	assert_non_null(f);
	n = fread(p, 1, sizeof(p), f);
	assert_int_equal(fclose(f), 0);
	hit = memmem(p, n, from, strlen(from));
	assert_non_null(hit);
	patch(file, hit - p, to, strlen(to));
}

static void data_files_and_parents(void **state)
{
	CLEANUP_STR char *file = test_path("evil"), *base = test_path("base");
	CLEANUP_STR char *data = xasprintf("qemu-img create -q -f qcow2 -o "
					   "data_file=%s,data_file_raw=on FILE 1M",
		base);
	CLEANUP_STR char *child =
		xasprintf("qemu-img create -q -f vmdk -b %s -F vmdk FILE", base);
	(void)state;

	run(file, data);
	must_refuse(file, "keeps its data in another file");
	unlink(base);
	run(base, "qemu-img create -q -f vmdk FILE 64M");
	run(file, child);
	must_refuse(file, "backing file");
	/* QEMU looks for the parent's name alone. */
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	patch(file, 5000, "parentFileNameHint=\"/etc/shadow\"", 32);
	must_refuse(file, "backing file");
	/* The extent is elsewhere, or there are two. */
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	replace(file, "# The Disk Data", "RW 8 FLAT \"x\" 0\n");
	must_refuse(file, "another file");
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	replace(file, "SPARSE", "VMFS  ");
	must_refuse(file, "another file");
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	replace(file, "SPARSE \"", "SPARSE \"/");
	must_refuse(file, "another file");
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	replace(file, "monolithicSparse", "custom\"         ");
	must_refuse(file, "\"custom\"");
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	replace(file, "parentCID=ffff", "parentCID=0123");
	must_refuse(file, "backing file");
	/* No size: QEMU would read the descriptor for where the data are. */
	run(file, "qemu-img create -q -f vmdk FILE 64M");
	patch(file, 12, "\0\0\0\0\0\0\0\0", 8);
	must_refuse(file, "damaged");
	run(file, "qemu-img create -q -f vdi FILE 64M");
	patch(file, 0x1b8, "x", 1);
	must_refuse(file, "backing file");
	run(file, "qemu-img create -q -f qcow2 FILE 64M");
	patch(file, 35, "\2", 1);
	must_refuse(file, "encrypted");
	patch(file, 35, "\1", 1);
	must_refuse(file, "encrypted");
	run(file, "qemu-img create -q -f raw FILE 64M");
	patch(file, 0, "LUKS\xba\xbe\0\1", 8);
	must_refuse(file, "encrypted");
	unlink(base);
	unlink(file);
}

static void many_snapshots(void **state)
{
	CLEANUP_STR char *file = test_path("evil");
	struct image_header h = { 0 };
	(void)state;

	run(file, "qemu-img create -q -f qcow2 FILE 1G");
	run(file, "qemu-img snapshot -c a FILE");
	must_look(file, &h);
	assert_int_equal(h.n_snapshots, 1);
	run(file, "truncate -s +1M FILE");
	patch(file, 60, "\0\0\3\xe8", 4);
	must_refuse(file, "1000 snapshots");
	patch(file, 60, "\0\1\0\0", 4);
	must_refuse(file, "table of snapshots is impossible");
	unlink(file);
}

/* Cut anywhere but in the last part of the data. */
static void truncated_images(void **state)
{
	static const char *const formats[] = { "qcow2", "vmdk", "vdi", "vhdx" };
	CLEANUP_STR char *file = test_path("evil");
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		CLEANUP_STR char *create =
			xasprintf("qemu-img create -q -f %s FILE 1G", formats[i]);
		CLEANUP_STR char *write = xasprintf(
			"qemu-io -f %s -c write\t0\t9M -c write\t1000M\t9M FILE",
			formats[i]);

		unlink(file);
		run(file, create);
		run(file, write);
		for (int64_t left = 16 * MIB; left >= 60; left = left * 4 / 5) {
			struct image_header h = { 0 };
			struct err e = { 0 };

			assert_int_equal(truncate(file, left), 0);
			if (look(file, &h, &e) == 0 &&
				image_header_check(&h, GIB, &e) == 0 &&
				h.kind != IMAGE_KIND_RAW)
				fail_msg("%s cut to %jd bytes is accepted", formats[i],
					(intmax_t)left);
		}
	}
	unlink(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_qemu_makes),
		cmocka_unit_test(what_qemu_wrote_to),
		cmocka_unit_test(what_qemu_converts),
		cmocka_unit_test(hostile_images),
		cmocka_unit_test(data_files_and_parents),
		cmocka_unit_test(many_snapshots),
		cmocka_unit_test(truncated_images),
	};

	test_need_command("qemu-img");
	test_need_command("qemu-io");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
