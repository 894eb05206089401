/*
 * A directory as image store: what every kind of store does, and what only a directory can
 * get wrong: hostile images, leftovers of a crash, links.
 */
#include "tests/lib/disk_kind_file.h"

#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/jtab.h"
#include "tests/lib/test_util.h"

/* ---------------------------------------------------------------- */

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void domain_gets_paths(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_kind_file_good(lab);
	struct disk_spec spec = { VM1, 1, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	assert_int_equal(disk_source_get(lab->store, &spec, &src, &e), 0);
	assert_int_equal(src.kind, DISK_SOURCE_FILE);
	assert_string_equal(src.format, "qcow2");
	assert_true(str_has_suffix(src.path, "/vms/" VM1 "/1.qcow2"));
	assert_true(str_has_suffix(src.backing_path, "/images/good.qcow2"));
	assert_string_equal(src.backing_format, "qcow2");
	disk_lab_must_ensure(lab, VM1, 1, 2, &im);
	assert_int_equal(disk_source_get(lab->store, &spec, &src, &e), 0);
	assert_true(str_has_suffix(src.backing_path, "/images/good.qcow2"));
	spec.image = NULL;
	assert_int_equal(disk_source_get(lab->store, &spec, &src, &e), 0);
	assert_null(src.backing_path);
	disk_source_done(&src);
}

static void overlay_is_as_ordered(void **state)
{
	struct disk_lab *lab = *state;
	static char path[] = "raw.img";
	struct image im = disk_lab_entry(path, IMAGE_RAW, MIB);
	CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, 0),
			 *image = disk_kind_file_image(lab, path);
	CLEANUP_STR char *text = NULL;
	const char *const argv[] = { "qemu-img", "info", "--output=json", disk, NULL };
	struct err e = { 0 };

	disk_lab_run("qemu-img create -q -f raw %s 1M", image);
	disk_lab_run("qemu-io -f raw -c write\t-P\t0xab\t0\t512 %s", image);
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_run(
		"qemu-io -f qcow2 -c read\t-P\t0xab\t0\t512 -c read\t-P\t0\t1M\t512 %s",
		disk);
	assert_int_equal(test_run(argv, RUN_MSEC, &text), 0);
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	assert_int_equal(json_parse(text, strlen(text), &json, &e), 0);
	assert_string_equal(json_string_value(json_object_get(json, "format")), "qcow2");
	assert_string_equal(
		json_string_value(json_object_get(json, "backing-filename")), image);
	assert_string_equal(
		json_string_value(json_object_get(json, "backing-filename-format")),
		"raw");
	assert_int_equal(json_integer_value(json_object_get(json, "virtual-size")), GIB);
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->dir);
	assert_int_equal(mode_of(disk), 0660);
	assert_int_equal(mode_of(dir), 0711);
}

/* QEMU finds no fault with what we write, and writes to it, up to the last byte. */
static void qemu_takes_every_size(void **state)
{
	static const int64_t sizes[] = { 1, 511, 513, 4096, 4097, 65536 };
	struct disk_lab *lab = *state;

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, i);
		long long end = sizes[i] * GIB;

		disk_lab_must_ensure(lab, VM1, i, sizes[i], NULL);
		disk_lab_run("qemu-img check -q -f qcow2 %s", disk);
		disk_lab_run("qemu-io -f qcow2 -c write\t-P\t0xab\t%lld\t64k -c "
			     "write\t-P\t0xcd\t0\t1 -c read\t-P\t0xab\t%lld\t64k %s",
			end - 65536, end - 65536, disk);
		disk_lab_run("qemu-img check -q -f qcow2 %s", disk);
		assert_int_equal(disk_lab_size(lab, VM1, i), end);
	}
}

static void rights_of_directories(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *vms = xasprintf("%s/vms", lab->dir);
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->dir);

	assert_int_equal(chmod(vms, 02711), 0);
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(mode_of(dir), 02711);
	/* A crash before the mode was right, and a strict umask. */
	assert_int_equal(chmod(dir, 0700), 0);
	mode_t before = umask(077);
	disk_lab_must_ensure(lab, VM1, 1, 1, NULL);
	disk_lab_must_ensure(lab, VM2, 0, 1, NULL);
	umask(before);
	assert_int_equal(mode_of(dir), 0711);
	CLEANUP_STR char *other = xasprintf("%s/vms/" VM2, lab->dir);
	assert_int_equal(mode_of(other), 02711);
}

static void data_is_never_overwritten(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_kind_file_good(lab);
	CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, 0);
	struct err e;

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_run("qemu-io -f qcow2 -c write\t-P\t0xcd\t0\t64k %s", disk);
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_run("qemu-io -f qcow2 -c read\t-P\t0xcd\t0\t64k %s", disk);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 4, &im, &e), -1);
	disk_lab_run("qemu-io -f qcow2 -c read\t-P\t0xcd\t0\t64k %s", disk);
	/* The image is gone: a disk that exists still serves. */
	CLEANUP_STR char *image = disk_kind_file_image(lab, "good.qcow2");
	assert_int_equal(unlink(image), 0);
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
}

static void foreign_file_in_place_of_a_disk(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->dir);
	CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, 0);
	int64_t size;
	struct err e;

	test_mkdir(dir);
	test_write_file(disk, "precious");
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	CLEANUP_STR char *text = test_read_file(disk);
	assert_string_equal(text, "precious");
	assert_int_equal(unlink(disk), 0);
	assert_int_equal(symlink("/etc/passwd", disk), 0);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(disk_stat(lab->store, VM1, 0, &size, &e), -1);
	/* The link goes, what it leads to stays. */
	disk_lab_must_remove(lab, VM1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* A crash leaves an unfinished file, or an empty directory. */
static void leftovers_of_a_crash(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->dir);
	CLEANUP_STR char *half = xasprintf("%s/.0.qcow2.tmp", dir);

	test_mkdir(dir);
	disk_lab_list_is(lab, VM1);
	test_write_file(half, "half a disk");
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	assert_int_equal(access(half, F_OK), -1);
	test_write_file(half, "half a disk");
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
	test_mkdir(dir);
	disk_lab_must_remove(lab, VM1);
	assert_int_equal(access(dir, F_OK), -1);
}

static void what_is_not_ours_stays(void **state)
{
	static const char *const names[] = { "notes.txt", "a.qcow2", ".x", "00.qcow2",
		"0.qcow2.tmp", "1234.qcow2", NULL };
	struct disk_lab *lab = *state;
	CLEANUP_STR char *other = xasprintf("%s/vms/lost+found", lab->dir);

	test_mkdir(other);
	disk_lab_list_is(lab, "");
	for (const char *const *name = names; *name; name++) {
		CLEANUP_STR char *path = xasprintf("%s/vms/" VM1 "/%s", lab->dir, *name);
		struct err e = { 0 };

		disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
		test_write_file(path, "mine");
		assert_int_equal(disk_remove_all(lab->store, VM1, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_non_null(strstr(e.msg, *name));
		assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
		assert_int_equal(unlink(path), 0);
		disk_lab_must_remove(lab, VM1);
	}
}

static void image_missing(void **state)
{
	static char path[] = "none.qcow2", below[] = "none/x.qcow2";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_QCOW2, 0);
	CLEANUP_STR char *images = disk_kind_file_image(lab, "");

	disk_lab_must_refuse(lab, &im, ERR_NOT_FOUND,
		"the file of image \"debian\" is missing in store \"local\"");
	im.path = below;
	disk_lab_must_refuse(lab, &im, ERR_NOT_FOUND, "is missing");
	assert_int_equal(rmdir(images), 0);
	disk_lab_must_refuse(lab, &im, ERR_NOT_FOUND, "is missing");
}

/* Overwrites bytes of a file. */
static void patch(const char *path, long at, const void *p, size_t size)
{
	FILE *f = fopen(path, "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(p, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

/* Each must be refused by its header alone. */
static void hostile_images(void **state)
{
	static char path[] = "evil.qcow2";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_QCOW2, 0);
	CLEANUP_STR char *image = disk_kind_file_image(lab, path);

	disk_lab_run("qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw %s 1G", image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	disk_lab_run("qemu-img create -q -f qcow2 -o compat=0.10 -u -b /etc/shadow -F "
		     "raw %s 1G",
		image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	disk_lab_run("qemu-img create -q -f qcow2 -u -F raw -b "
		     "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"} %s 1G",
		image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	disk_lab_run(
		"qemu-img create -q -f qcow2 -u -b nbd:[::1]:10809 -F raw %s 1G", image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	disk_lab_run(
		"qemu-img create -q -f qcow2 -o data_file=%s/data,data_file_raw=on %s 1M",
		lab->dir, image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it keeps its data in another file");
	disk_lab_run("qemu-img create -q -f qcow2 %s 1G", image);
	patch(image, 35, "\2", 1); /* LUKS */
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it is encrypted");
}

static void damaged_images(void **state)
{
	static char path[] = "good.qcow2";
	struct disk_lab *lab = *state;
	struct image im = disk_kind_file_good(lab);
	CLEANUP_STR char *image = disk_kind_file_image(lab, path);

	/* An odd place of the cluster table. */
	patch(image, 45, "\2\0\1", 3);
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "a table does not begin where a cluster does");
	disk_lab_run("qemu-img create -q -f qcow2 %s 1G", image);
	patch(image, 79, "\2", 1);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "it is marked as corrupt");
	assert_int_equal(truncate(image, 100000), 0);
	patch(image, 79, "\0", 1);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "not copied to the end");
	assert_int_equal(truncate(image, 60), 0);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "the file ends in the middle of it");
	assert_int_equal(truncate(image, 0), 0);
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	disk_lab_run("qemu-img create -q -f qcow2 %s 0", image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "a disk of 0 bytes");
}

static void format_is_as_stated(void **state)
{
	static char path[] = "image";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_RAW, 0);
	CLEANUP_STR char *image = disk_kind_file_image(lab, path);

	disk_lab_run("qemu-img create -q -f qcow2 %s 1G", image);
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "it is a qcow2 image: register it as qcow2");
	test_write_file(image, "");
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "is not a disk image: it is empty");
	test_write_file(image, "#!/bin/sh\n");
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "is not a disk image: its 10 bytes");
	im.format = IMAGE_QCOW2;
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	disk_lab_run("qemu-img create -q -f raw %s 1M", image);
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	im.format = IMAGE_RAW;
	im.size_bytes = 2 * MIB;
	disk_lab_must_refuse(lab, &im, ERR_INVALID,
		"has 1048576 bytes, not the 2097152 it had when it was registered");
	im.size_bytes = MIB;
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
}

static void images_stay_in_their_directory(void **state)
{
	static char path[] = "image", below[] = "link/image";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_RAW, 0);
	CLEANUP_STR char *image = disk_kind_file_image(lab, path),
			 *link = disk_kind_file_image(lab, "link");
	CLEANUP_STR char *outside = xasprintf("%s/outside", lab->dir);
	CLEANUP_STR char *secret = xasprintf("%s/outside/image", lab->dir);

	test_mkdir(outside);
	disk_lab_run("qemu-img create -q -f raw %s 1M", secret);
	assert_int_equal(symlink(secret, image), 0);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "symbolic link");
	assert_int_equal(symlink("../outside", link), 0);
	im.path = below;
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "symbolic link");
	im.path = path;
	assert_int_equal(unlink(image), 0);
	assert_int_equal(mkfifo(image, 0600), 0);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "not a regular file");
	assert_int_equal(unlink(image), 0);
	test_mkdir(image);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "not a regular file");
}

static char *names_in(const char *dir)
{
	const char *const argv[] = { "ls", "-A", dir, NULL };
	char *out = NULL;

	assert_int_equal(test_run(argv, RUN_MSEC, &out), 0);
	return out;
}

/* Only what bears one of our names goes. */
static void images_of_an_admin_stay(void **state)
{
	static const char *const names[] = { "debian.qcow2", IMAGE, IMAGE ".qcow2",
		IMAGE ".raw.bak", "." IMAGE ".raw.tmp", "." IMAGE ".raw.x.tmp",
		IMAGE ".raw." VM1 ".tmp", NULL };
	struct disk_lab *lab = *state;
	CLEANUP_STR char *half = disk_kind_file_image(lab, "." IMAGE ".raw." VM1 ".tmp");
	CLEANUP_STR char *dir = disk_kind_file_image(lab, ""), *before = NULL,
			 *after = NULL;
	CLEANUP(strv_done) struct strv uuids = { 0 };
	struct err e = { 0 };

	for (const char *const *name = names; *name; name++) {
		CLEANUP_STR char *path = disk_kind_file_image(lab, *name);

		test_write_file(path, "mine");
	}
	before = names_in(dir);
	assert_int_equal(image_list(lab->store, &uuids, &e), 0);
	assert_int_equal(uuids.len, 0);
	test_write_file(half, "half an image");
	assert_int_equal(image_list(lab->store, &uuids, &e), 0);
	assert_int_equal(uuids.len, 1);
	disk_lab_image(lab, lab->store, IMAGE, MIB, 1);
	assert_int_equal(access(half, F_OK), -1);
	test_write_file(half, "half an image");
	assert_int_equal(image_remove(lab->store, IMAGE, &e), 0);
	after = names_in(dir);
	assert_string_equal(after, before);
}

static void images_are_made_for_qemu(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *images = disk_kind_file_image(lab, ""), *names = NULL,
			 *image = NULL;
	struct stat st;

	assert_int_equal(rmdir(images), 0);
	disk_lab_image(lab, lab->store, IMAGE, GIB, 1);
	image = disk_kind_file_image(lab, IMAGE ".raw");
	assert_int_equal(stat(image, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_size, GIB);
	assert_true(st.st_blocks * 512 < 2 * MIB);
	names = names_in(images);
	assert_string_equal(names, IMAGE ".raw\n");
}

/* What we wrote is raw, whatever it begins with: the guest's disk may look like anything. */
static void image_looks_like_another_format(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 'Q');
	CLEANUP_STR char *image = disk_kind_file_image(lab, IMAGE ".raw");

	disk_lab_run(
		"qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw %s/x 1G", lab->dir);
	disk_lab_run("dd if=%s/x of=%s bs=64k count=1 conv=notrunc status=none", lab->dir,
		image);
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_io(lab, VM1, 0, "read -P 0x51 0 1");
	disk_lab_io(lab, VM1, 0, "read -P 0x51 64k 960k");
	im.is_made = false;
	im.size_bytes = 0;
	disk_lab_must_remove(lab, VM1);
	disk_lab_must_refuse(lab, &im, ERR_INVALID, "image \"debian\"");
}

static void snapshots_need_the_image(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "a", &e), 0);
	assert_int_equal(disk_flatten(lab->store, VM1, 0, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 snapshot"));
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
	/* The image is gone: QEMU says so, and no path is shown. */
	assert_int_equal(image_remove(lab->store, IMAGE, &e), 0);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 2, &e), -1);
	assert_null(strstr(e.msg, lab->dir));
}

static void stores_that_cannot_be_opened(void **state)
{
	static char none[] = "/nonexistent/store", name[] = "s", relative[] = "x";
	struct image_store conf = {
		.name = name, .type = STORE_FILESYSTEM, .path = none
	};
	struct disk_store *s = NULL;
	struct err e = { 0 };
	(void)state;

	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, none));
	conf.path = relative;
	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	conf = (struct image_store){ .name = name, .type = STORE_FAKE };
	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	conf.type = 99;
	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(s);
	disk_store_close(NULL);
}

/* ---------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest own[] = {
		DISK_CASE(domain_gets_paths),
		DISK_CASE(overlay_is_as_ordered),
		DISK_CASE(qemu_takes_every_size),
		DISK_CASE(rights_of_directories),
		DISK_CASE(data_is_never_overwritten),
		DISK_CASE(foreign_file_in_place_of_a_disk),
		DISK_CASE(leftovers_of_a_crash),
		DISK_CASE(what_is_not_ours_stays),
		DISK_CASE(image_missing),
		DISK_CASE(hostile_images),
		DISK_CASE(damaged_images),
		DISK_CASE(format_is_as_stated),
		DISK_CASE(images_stay_in_their_directory),
		DISK_CASE(images_of_an_admin_stay),
		DISK_CASE(images_are_made_for_qemu),
		DISK_CASE(image_looks_like_another_format),
		DISK_CASE(snapshots_need_the_image),
		cmocka_unit_test(stores_that_cannot_be_opened),
	};
	int failed;

	test_need_command("qemu-img");
	test_need_command("qemu-io");
	disk_cases_set(&disk_kind_file);
	failed = _cmocka_run_group_tests(
		"directory", disk_cases, disk_cases_len, NULL, NULL);
	failed += cmocka_run_group_tests_name("files", own, NULL, NULL);
	return failed != 0;
}
