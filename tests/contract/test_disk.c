/*
 * What every kind of disk store does, run against the one in memory and a directory; and
 * what only a directory can get wrong: hostile images, leftovers of a crash, links, a full
 * file system.
 */
#include "common/disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/jtab.h"
#include "common/disk/disk_fake.h"
#include "tests/lib/test_util.h"

#define VM1	 "123e4567-e89b-42d3-a456-426614174000"
#define VM2	 "223e4567-e89b-42d3-a456-426614174000"
#define IMAGE	 "333e4567-e89b-42d3-a456-426614174000"
#define GIB	 (INT64_C(1) << 30)
#define MIB	 (INT64_C(1) << 20)
#define RUN_MSEC 30000

/* One test's store. */
struct lab {
	bool is_fake;
	char *path; /* of the directory */
	struct image_store conf;
	struct disk_store *store;
};

static void open_store(struct lab *lab)
{
	struct err e = { 0 };

	if (disk_store_open(&lab->conf, &lab->store, &e) != 0)
		fail_msg("open: %s", e.msg);
}

static void *lab_new(bool is_fake)
{
	static unsigned n;
	struct lab *lab = xcalloc(1, sizeof(*lab));

	lab->is_fake = is_fake;
	lab->path = test_path("store%u", n++);
	test_mkdir(lab->path);
	lab->conf.name = xstrdup("local");
	lab->conf.type = is_fake ? STORE_FAKE : STORE_FILESYSTEM;
	lab->conf.path = xstrdup(lab->path);
	if (!is_fake) {
		CLEANUP_STR char *images = xasprintf("%s/images", lab->path);

		test_mkdir(images);
	}
	open_store(lab);
	return lab;
}

static int set_up_fake(void **state)
{
	disk_fake_reset();
	*state = lab_new(true);
	return 0;
}

static int set_up_dir(void **state)
{
	*state = lab_new(false);
	return 0;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	disk_store_close(lab->store);
	test_remove(lab->path);
	image_store_done(&lab->conf);
	free(lab->path);
	free(lab);
	return 0;
}

/* Runs a command, split at blanks; a tab stands for a blank within an argument. */
static void PRINTF_LIKE(1, 2) run(const char *fmt, ...)
{
	CLEANUP(strv_done) struct strv words = { 0 };
	CLEANUP_STR char *out = NULL;
	char line[2048];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	strv_split(&words, line, ' ');
	for (size_t i = 0; i < words.len; i++)
		for (char *c = words.v[i]; *c; c++)
			*c = *c == '\t' ? ' ' : *c;
	strv_add_take(&words, NULL);
	status = test_run((const char *const *)words.v, RUN_MSEC, &out);
	if (status != 0)
		fail_msg("%s: status %d: %s", line, status, out ? out : "");
}

/* An image entry; what it says is borrowed. */
static struct image entry(char *path, enum image_format format, int64_t virtual_bytes)
{
	static char name[] = "debian", uuid[] = IMAGE, store[] = "local";

	return (struct image){ .uuid = uuid,
		.name = name,
		.store = store,
		.path = path,
		.format = (int)format,
		.virtual_bytes = virtual_bytes };
}

/* A sound image of 1 GiB, made when the store is a directory. */
static struct image good_image(struct lab *lab)
{
	static char path[] = "good.qcow2";

	if (!lab->is_fake)
		run("qemu-img create -q -f qcow2 %s/images/%s 1G", lab->path, path);
	return entry(path, IMAGE_QCOW2, GIB);
}

static int ensure(struct lab *lab, const char *vm, unsigned index, int64_t size_gib,
	const struct image *im, struct err *e)
{
	struct disk_spec spec = { vm, index, size_gib, im };
	int rc;

	memset(e, 0, sizeof(*e));
	rc = disk_ensure(lab->store, &spec, e);
	/* Users see it: no path of ours may be in it. */
	if (rc != 0) {
		assert_true(e->msg[0] != '\0');
		assert_null(strstr(e->msg, lab->path));
	}
	return rc;
}

static void must_ensure(struct lab *lab, const char *vm, unsigned index, int64_t size_gib,
	const struct image *im)
{
	struct err e;

	if (ensure(lab, vm, index, size_gib, im, &e) != 0)
		fail_msg("ensure: %s", e.msg);
}

/* It must fail so, and leave nothing behind. */
static void must_refuse(
	struct lab *lab, const struct image *im, enum err_kind kind, const char *words)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e;

	if (ensure(lab, VM1, 0, 2, im, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
	assert_int_equal(e.kind, kind);
	assert_int_equal(disk_list(lab->store, &vms, &e), 0);
	assert_int_equal(vms.len, 0);
}

/* In bytes; -1 when it does not exist. */
static int64_t size_of(struct lab *lab, const char *vm, unsigned index)
{
	struct err e = { 0 };
	int64_t size = -2;
	int rc = disk_stat(lab->store, vm, index, &size, &e);

	if (rc < 0)
		fail_msg("stat: %s", e.msg);
	return rc == 1 ? -1 : size;
}

static char *listed(struct lab *lab)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e = { 0 };

	if (disk_list(lab->store, &vms, &e) != 0)
		fail_msg("list: %s", e.msg);
	return strv_join(&vms, " ");
}

static void list_is(struct lab *lab, const char *want)
{
	CLEANUP_STR char *is = listed(lab);

	assert_string_equal(is, want);
}

static void must_remove(struct lab *lab, const char *vm)
{
	struct err e = { 0 };

	if (disk_remove_all(lab->store, vm, &e) != 0)
		fail_msg("remove: %s", e.msg);
}

/* ---------------------------------------------------------------- every store */

static void disks_come_and_go(void **state)
{
	struct lab *lab = *state;
	struct image im = good_image(lab);

	assert_int_equal(size_of(lab, VM1, 0), -1);
	list_is(lab, "");
	must_ensure(lab, VM2, 0, 1, &im);
	must_ensure(lab, VM1, 0, 2, &im);
	must_ensure(lab, VM1, 7, 3, NULL);
	assert_int_equal(size_of(lab, VM1, 0), 2 * GIB);
	assert_int_equal(size_of(lab, VM1, 7), 3 * GIB);
	assert_int_equal(size_of(lab, VM1, 1), -1);
	list_is(lab, VM1 " " VM2);
	must_remove(lab, VM1);
	assert_int_equal(size_of(lab, VM1, 0), -1);
	assert_int_equal(size_of(lab, VM2, 0), GIB);
	list_is(lab, VM2);
	must_remove(lab, VM1);
	must_remove(lab, VM2);
	list_is(lab, "");
	must_ensure(lab, VM1, 0, 1, &im);
	assert_int_equal(size_of(lab, VM1, 0), GIB);
}

static void ensure_is_idempotent(void **state)
{
	struct lab *lab = *state;
	struct image im = good_image(lab);

	for (int i = 0; i < 3; i++)
		must_ensure(lab, VM1, 0, 2, &im);
	must_ensure(lab, VM1, 0, 1, &im); /* what is there is large enough */
	assert_int_equal(size_of(lab, VM1, 0), 2 * GIB);
}

static void disks_outlive_the_daemon(void **state)
{
	struct lab *lab = *state;

	must_ensure(lab, VM1, 0, 2, NULL);
	disk_store_close(lab->store);
	open_store(lab);
	assert_int_equal(size_of(lab, VM1, 0), 2 * GIB);
	list_is(lab, VM1);
}

static void smaller_disk_is_left_alone(void **state)
{
	struct lab *lab = *state;
	struct err e;

	must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(ensure(lab, VM1, 0, 2, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1073741824 bytes"));
	assert_non_null(strstr(e.msg, "2 GiB"));
	assert_int_equal(size_of(lab, VM1, 0), GIB);
}

static void image_larger_than_the_disk(void **state)
{
	struct lab *lab = *state;
	static char path[] = "large.qcow2";
	struct image im = entry(path, IMAGE_QCOW2, 2 * GIB + 512);

	if (!lab->is_fake)
		run("qemu-img create -q -f qcow2 %s/images/%s 2147484160", lab->path,
			path);
	must_refuse(lab, &im, ERR_INVALID,
		"image \"debian\" has 2147484160 bytes and needs a disk of at least 3 "
		"GiB; 2 GiB were ordered");
	must_ensure(lab, VM1, 0, 3, &im);
}

static void what_is_no_disk_is_refused(void **state)
{
	static char up[] = "../x";
	struct lab *lab = *state;
	struct image im = entry(up, IMAGE_RAW, GIB);
	int64_t size;
	struct err e;

	assert_int_equal(ensure(lab, "../x", 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(ensure(lab, VM1, 8, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(ensure(lab, VM1, 0, 0, NULL, &e), -1);
	assert_int_equal(ensure(lab, VM1, 0, 65537, NULL, &e), -1);
	assert_int_equal(ensure(lab, VM1, 0, INT64_MAX, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	must_refuse(lab, &im, ERR_INVALID, "image \"debian\" has no usable path");
	im.path = NULL;
	must_refuse(lab, &im, ERR_INVALID, "image \"debian\" has no usable path");
	assert_int_equal(disk_remove_all(lab->store, "", &e), -1);
	assert_int_equal(disk_stat(lab->store, "x", 0, &size, &e), -1);
	assert_int_equal(disk_stat(lab->store, VM1, 8, &size, &e), -1);
}

static void largest_disk(void **state)
{
	struct lab *lab = *state;

	must_ensure(lab, VM1, 0, 65536, NULL);
	assert_int_equal(size_of(lab, VM1, 0), 65536 * GIB);
}

static void domain_reaches_the_disk(void **state)
{
	struct lab *lab = *state;
	struct image im = good_image(lab);
	struct disk_spec spec = { VM1, 1, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	assert_int_equal(disk_source_get(lab->store, &spec, &src, &e), 0);
	assert_int_equal(src.kind, DISK_SOURCE_FILE);
	assert_string_equal(src.format, "qcow2");
	assert_true(str_has_suffix(src.path, "/vms/" VM1 "/1.qcow2"));
	assert_true(str_has_suffix(src.backing_path, "/images/good.qcow2"));
	assert_string_equal(src.backing_format, "qcow2");
	spec.image = NULL;
	assert_int_equal(disk_source_get(lab->store, &spec, &src, &e), 0);
	assert_null(src.backing_path);
	disk_source_done(&src);
	disk_source_done(&src);
}

static void space(void **state)
{
	struct lab *lab = *state;
	int64_t total = -2, available = -2;
	struct err e = { 0 };

	assert_int_equal(disk_space(lab->store, &total, &available, &e), 0);
	assert_true(total >= -1 && available >= -1 && available <= total);
	if (!lab->is_fake)
		assert_true(total > 0);
}

/* ---------------------------------------------------------------- at once */

struct worker {
	struct lab *lab;
	pthread_barrier_t *start;
	const struct image *image;
	int rc;
	struct err e;
};

static void *ensure_worker(void *aux)
{
	struct worker *w = aux;
	struct disk_spec spec = { VM1, 0, 2, w->image };

	pthread_barrier_wait(w->start);
	w->rc = disk_ensure(w->lab->store, &spec, &w->e);
	return NULL;
}

static void *remove_worker(void *aux)
{
	struct worker *w = aux;

	pthread_barrier_wait(w->start);
	w->rc = disk_remove_all(w->lab->store, VM1, &w->e);
	return NULL;
}

/* Runs one worker per function at once. */
static void at_once(
	struct lab *lab, const struct image *im, void *(*const *fns)(void *), size_t n)
{
	struct worker w[4] = { 0 };
	pthread_t threads[4];
	pthread_barrier_t start;

	assert_in_range(n, 1, 4);
	pthread_barrier_init(&start, NULL, (unsigned)n);
	for (size_t i = 0; i < n; i++) {
		w[i] = (struct worker){ .lab = lab, .start = &start, .image = im };
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], &w[i]), 0);
	}
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	for (size_t i = 0; i < n; i++)
		if (w[i].rc != 0)
			fail_msg("worker %zu: %s", i, w[i].e.msg);
}

static void same_disk_at_once(void **state)
{
	static void *(*const fns[])(
		void *) = { ensure_worker, ensure_worker, ensure_worker, ensure_worker };
	struct lab *lab = *state;
	struct image im = good_image(lab);

	for (int turn = 0; turn < 5; turn++) {
		at_once(lab, &im, fns, ARRAY_LEN(fns));
		assert_int_equal(size_of(lab, VM1, 0), 2 * GIB);
		if (lab->is_fake)
			assert_int_equal(disk_fake_n_made("local"), turn + 1);
		must_remove(lab, VM1);
	}
}

static void made_and_removed_at_once(void **state)
{
	static void *(*const fns[])(
		void *) = { ensure_worker, remove_worker, ensure_worker, remove_worker };
	struct lab *lab = *state;
	struct image im = good_image(lab);

	for (int turn = 0; turn < 5; turn++) {
		int64_t size;

		at_once(lab, &im, fns, ARRAY_LEN(fns));
		size = size_of(lab, VM1, 0);
		assert_true(size == -1 || size == 2 * GIB);
		list_is(lab, size == -1 ? "" : VM1);
	}
	must_remove(lab, VM1);
	list_is(lab, "");
}

/* ---------------------------------------------------------------- the one in memory */

static void ordered_faults(void **state)
{
	struct lab *lab = *state;
	CLEANUP(strv_done) struct strv disks = { 0 };
	struct err e;

	disk_fake_fail("local", 2, ERR_IO);
	assert_int_equal(ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_IO);
	assert_int_equal(disk_remove_all(lab->store, VM1, &e), -1);
	assert_int_equal(size_of(lab, VM1, 0), -1);
	disk_fake_fail_after("local", 1, ERR_TIMEOUT);
	assert_int_equal(ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_int_equal(size_of(lab, VM1, 0), GIB);
	disk_fake_set_full("local", true);
	assert_int_equal(ensure(lab, VM2, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	must_ensure(lab, VM1, 0, 1, NULL);
	disk_fake_set_full("local", false);
	must_ensure(lab, VM2, 3, 1, NULL);
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 2);
	assert_string_equal(disks.v[1], VM2 "/3");
	disk_fake_disks("other", &disks);
	assert_int_equal(disks.len, 2);
	disk_fake_reset();
	list_is(lab, "");
}

static void ordered_space(void **state)
{
	struct lab *lab = *state;
	int64_t total, available;
	struct err e = { 0 };

	disk_fake_set_space("local", 100, 40);
	assert_int_equal(disk_space(lab->store, &total, &available, &e), 0);
	assert_int_equal(total, 100);
	assert_int_equal(available, 40);
}

/* ---------------------------------------------------------------- a directory */

static char *disk_path(struct lab *lab, const char *vm, unsigned index)
{
	return xasprintf("%s/vms/%s/%u.qcow2", lab->path, vm, index);
}

static char *image_path(struct lab *lab, const char *name)
{
	return xasprintf("%s/images/%s", lab->path, name);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void overlay_is_as_ordered(void **state)
{
	struct lab *lab = *state;
	static char path[] = "raw.img";
	struct image im = entry(path, IMAGE_RAW, MIB);
	CLEANUP_STR char *disk = disk_path(lab, VM1, 0), *image = image_path(lab, path);
	CLEANUP_STR char *text = NULL;
	const char *const argv[] = { "qemu-img", "info", "--output=json", disk, NULL };
	struct err e = { 0 };

	run("qemu-img create -q -f raw %s 1M", image);
	run("qemu-io -f raw -c write\t-P\t0xab\t0\t512 %s", image);
	must_ensure(lab, VM1, 0, 1, &im);
	run("qemu-io -f qcow2 -c read\t-P\t0xab\t0\t512 -c read\t-P\t0\t1M\t512 %s",
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
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->path);
	assert_int_equal(mode_of(disk), 0660);
	assert_int_equal(mode_of(dir), 0711);
}

/* QEMU finds no fault with what we write, and writes to it, up to the last byte. */
static void qemu_takes_every_size(void **state)
{
	static const int64_t sizes[] = { 1, 511, 513, 4096, 4097, 65536 };
	struct lab *lab = *state;

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		CLEANUP_STR char *disk = disk_path(lab, VM1, i);
		long long end = sizes[i] * GIB;

		must_ensure(lab, VM1, i, sizes[i], NULL);
		run("qemu-img check -q -f qcow2 %s", disk);
		run("qemu-io -f qcow2 -c write\t-P\t0xab\t%lld\t64k -c "
		    "write\t-P\t0xcd\t0\t1 -c read\t-P\t0xab\t%lld\t64k %s",
			end - 65536, end - 65536, disk);
		run("qemu-img check -q -f qcow2 %s", disk);
		assert_int_equal(size_of(lab, VM1, i), end);
	}
}

static void rights_of_directories(void **state)
{
	struct lab *lab = *state;
	CLEANUP_STR char *vms = xasprintf("%s/vms", lab->path);
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->path);

	assert_int_equal(chmod(vms, 02711), 0);
	must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(mode_of(dir), 02711);
	/* A crash before the mode was right, and a strict umask. */
	assert_int_equal(chmod(dir, 0700), 0);
	mode_t before = umask(077);
	must_ensure(lab, VM1, 1, 1, NULL);
	must_ensure(lab, VM2, 0, 1, NULL);
	umask(before);
	assert_int_equal(mode_of(dir), 0711);
	CLEANUP_STR char *other = xasprintf("%s/vms/" VM2, lab->path);
	assert_int_equal(mode_of(other), 02711);
}

static void data_is_never_overwritten(void **state)
{
	struct lab *lab = *state;
	struct image im = good_image(lab);
	CLEANUP_STR char *disk = disk_path(lab, VM1, 0);
	struct err e;

	must_ensure(lab, VM1, 0, 2, &im);
	run("qemu-io -f qcow2 -c write\t-P\t0xcd\t0\t64k %s", disk);
	must_ensure(lab, VM1, 0, 2, &im);
	run("qemu-io -f qcow2 -c read\t-P\t0xcd\t0\t64k %s", disk);
	assert_int_equal(ensure(lab, VM1, 0, 4, &im, &e), -1);
	run("qemu-io -f qcow2 -c read\t-P\t0xcd\t0\t64k %s", disk);
	/* The image is gone: a disk that exists still serves. */
	CLEANUP_STR char *image = image_path(lab, "good.qcow2");
	assert_int_equal(unlink(image), 0);
	must_ensure(lab, VM1, 0, 2, &im);
}

static void foreign_file_in_place_of_a_disk(void **state)
{
	struct lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->path);
	CLEANUP_STR char *disk = disk_path(lab, VM1, 0);
	int64_t size;
	struct err e;

	test_mkdir(dir);
	test_write_file(disk, "precious");
	assert_int_equal(ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	CLEANUP_STR char *text = test_read_file(disk);
	assert_string_equal(text, "precious");
	assert_int_equal(unlink(disk), 0);
	assert_int_equal(symlink("/etc/passwd", disk), 0);
	assert_int_equal(ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(disk_stat(lab->store, VM1, 0, &size, &e), -1);
	/* The link goes, what it leads to stays. */
	must_remove(lab, VM1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* A crash leaves an unfinished file, or an empty directory. */
static void leftovers_of_a_crash(void **state)
{
	struct lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->path);
	CLEANUP_STR char *half = xasprintf("%s/.0.qcow2.tmp", dir);

	test_mkdir(dir);
	list_is(lab, VM1);
	test_write_file(half, "half a disk");
	assert_int_equal(size_of(lab, VM1, 0), -1);
	must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(size_of(lab, VM1, 0), GIB);
	assert_int_equal(access(half, F_OK), -1);
	test_write_file(half, "half a disk");
	must_remove(lab, VM1);
	list_is(lab, "");
	test_mkdir(dir);
	must_remove(lab, VM1);
	assert_int_equal(access(dir, F_OK), -1);
}

static void what_is_not_ours_stays(void **state)
{
	static const char *const names[] = { "notes.txt", "a.qcow2", ".x", "00.qcow2",
		"0.qcow2.tmp", "1234.qcow2", NULL };
	struct lab *lab = *state;
	CLEANUP_STR char *other = xasprintf("%s/vms/lost+found", lab->path);

	test_mkdir(other);
	list_is(lab, "");
	for (const char *const *name = names; *name; name++) {
		CLEANUP_STR char *path = xasprintf("%s/vms/" VM1 "/%s", lab->path, *name);
		struct err e = { 0 };

		must_ensure(lab, VM1, 0, 1, NULL);
		test_write_file(path, "mine");
		assert_int_equal(disk_remove_all(lab->store, VM1, &e), -1);
		assert_int_equal(e.kind, ERR_CONFLICT);
		assert_non_null(strstr(e.msg, *name));
		assert_int_equal(size_of(lab, VM1, 0), -1);
		assert_int_equal(unlink(path), 0);
		must_remove(lab, VM1);
	}
}

static void image_missing(void **state)
{
	static char path[] = "none.qcow2", below[] = "none/x.qcow2";
	struct lab *lab = *state;
	struct image im = entry(path, IMAGE_QCOW2, 0);
	CLEANUP_STR char *images = image_path(lab, "");

	must_refuse(lab, &im, ERR_NOT_FOUND,
		"the file of image \"debian\" is missing in store \"local\"");
	im.path = below;
	must_refuse(lab, &im, ERR_NOT_FOUND, "is missing");
	assert_int_equal(rmdir(images), 0);
	must_refuse(lab, &im, ERR_NOT_FOUND, "is missing");
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
	struct lab *lab = *state;
	struct image im = entry(path, IMAGE_QCOW2, 0);
	CLEANUP_STR char *image = image_path(lab, path);

	run("qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw %s 1G", image);
	must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	run("qemu-img create -q -f qcow2 -o compat=0.10 -u -b /etc/shadow -F raw %s 1G",
		image);
	must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	run("qemu-img create -q -f qcow2 -u -F raw -b "
	    "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"} %s 1G",
		image);
	must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	run("qemu-img create -q -f qcow2 -u -b nbd:[::1]:10809 -F raw %s 1G", image);
	must_refuse(lab, &im, ERR_INVALID, "it names a backing file");
	run("qemu-img create -q -f qcow2 -o data_file=%s/data,data_file_raw=on %s 1M",
		lab->path, image);
	must_refuse(lab, &im, ERR_INVALID, "it keeps its data in another file");
	run("qemu-img create -q -f qcow2 %s 1G", image);
	patch(image, 35, "\2", 1); /* LUKS */
	must_refuse(lab, &im, ERR_INVALID, "it is encrypted");
}

static void damaged_images(void **state)
{
	static char path[] = "good.qcow2";
	struct lab *lab = *state;
	struct image im = good_image(lab);
	CLEANUP_STR char *image = image_path(lab, path);

	/* An odd place of the cluster table. */
	patch(image, 45, "\2\0\1", 3);
	must_refuse(lab, &im, ERR_INVALID, "a table does not begin where a cluster does");
	run("qemu-img create -q -f qcow2 %s 1G", image);
	patch(image, 79, "\2", 1);
	must_refuse(lab, &im, ERR_INVALID, "it is marked as corrupt");
	assert_int_equal(truncate(image, 100000), 0);
	patch(image, 79, "\0", 1);
	must_refuse(lab, &im, ERR_INVALID, "not copied to the end");
	assert_int_equal(truncate(image, 60), 0);
	must_refuse(lab, &im, ERR_INVALID, "the file ends in the middle of it");
	assert_int_equal(truncate(image, 0), 0);
	must_refuse(lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	run("qemu-img create -q -f qcow2 %s 0", image);
	must_refuse(lab, &im, ERR_INVALID, "a disk of 0 bytes");
}

static void format_is_as_stated(void **state)
{
	static char path[] = "image";
	struct lab *lab = *state;
	struct image im = entry(path, IMAGE_RAW, 0);
	CLEANUP_STR char *image = image_path(lab, path);

	run("qemu-img create -q -f qcow2 %s 1G", image);
	must_refuse(lab, &im, ERR_INVALID, "it is a qcow2 image: register it as qcow2");
	test_write_file(image, "");
	must_refuse(lab, &im, ERR_INVALID, "is not a disk image: it is empty");
	test_write_file(image, "#!/bin/sh\n");
	must_refuse(lab, &im, ERR_INVALID, "is not a disk image: its 10 bytes");
	im.format = IMAGE_QCOW2;
	must_refuse(lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	run("qemu-img create -q -f raw %s 1M", image);
	must_refuse(lab, &im, ERR_INVALID, "image \"debian\" is not a qcow2 image");
	im.format = IMAGE_RAW;
	im.size_bytes = 2 * MIB;
	must_refuse(lab, &im, ERR_INVALID,
		"has 1048576 bytes, not the 2097152 it had when it was registered");
	im.size_bytes = MIB;
	must_ensure(lab, VM1, 0, 1, &im);
}

static void images_stay_in_their_directory(void **state)
{
	static char path[] = "image", below[] = "link/image";
	struct lab *lab = *state;
	struct image im = entry(path, IMAGE_RAW, 0);
	CLEANUP_STR char *image = image_path(lab, path), *link = image_path(lab, "link");
	CLEANUP_STR char *outside = xasprintf("%s/outside", lab->path);
	CLEANUP_STR char *secret = xasprintf("%s/outside/image", lab->path);

	test_mkdir(outside);
	run("qemu-img create -q -f raw %s 1M", secret);
	assert_int_equal(symlink(secret, image), 0);
	must_refuse(lab, &im, ERR_INVALID, "symbolic link");
	assert_int_equal(symlink("../outside", link), 0);
	im.path = below;
	must_refuse(lab, &im, ERR_INVALID, "symbolic link");
	im.path = path;
	assert_int_equal(unlink(image), 0);
	assert_int_equal(mkfifo(image, 0600), 0);
	must_refuse(lab, &im, ERR_INVALID, "not a regular file");
	assert_int_equal(unlink(image), 0);
	test_mkdir(image);
	must_refuse(lab, &im, ERR_INVALID, "not a regular file");
}

static void stores_that_cannot_be_opened(void **state)
{
	static char none[] = "/nonexistent/store", name[] = "s", pool[] = "images",
		    vm_pool[] = "uservms", relative[] = "x";
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
	conf = (struct image_store){
		.name = name, .type = STORE_CEPH, .pool = pool, .vm_pool = vm_pool
	};
	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	conf.type = 99;
	assert_int_equal(disk_store_open(&conf, &s, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_null(s);
	disk_store_close(NULL);
}

/* Another process holds the lock of a VM's directory until it ends: the call waits for it. */
static void lock_is_waited_for(void **state)
{
	struct lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->path);
	int64_t start = test_now_msec();
	int ready[2];
	char c;
	pid_t pid;

	test_mkdir(dir);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(dir, O_RDONLY | O_DIRECTORY);

		if (fd < 0 || flock(fd, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(100000);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	must_ensure(lab, VM1, 0, 1, NULL);
	assert_true(test_now_msec() - start >= 100);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(test_wait(pid, RUN_MSEC), 0);
}

static void child_fails(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e->msg);
	_exit(1);
}

/* Makes and removes disks until it is killed. */
static void make_and_remove(struct lab *lab, const struct image *im, int started)
{
	struct err e;

	if (write(started, "x", 1) != 1)
		_exit(1);
	for (;;)
		if (ensure(lab, VM1, 0, 2, im, &e) != 0 ||
			disk_remove_all(lab->store, VM1, &e) != 0)
			child_fails("before it was killed", &e);
}

/* Whatever a killed process leaves, the next one makes or removes the disk. */
static void killed_at_any_moment(void **state)
{
	struct lab *lab = *state;
	struct image im = good_image(lab);
	CLEANUP_STR char *disk = disk_path(lab, VM1, 0);

	for (int turn = 0; turn < 20; turn++) {
		const struct timespec moment = { .tv_nsec = turn * 1700 * 1000 };
		int started[2];
		pid_t pid;
		char c;

		assert_int_equal(pipe(started), 0);
		pid = fork();
		if (pid == 0)
			make_and_remove(lab, &im, started[1]);
		assert_int_equal(read(started[0], &c, 1), 1);
		nanosleep(&moment, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(test_wait(pid, RUN_MSEC), 128 + SIGKILL);
		close(started[0]);
		close(started[1]);
		if (turn % 2 == 0) {
			must_ensure(lab, VM1, 0, 2, &im);
			run("qemu-img check -q -f qcow2 %s", disk);
			assert_int_equal(size_of(lab, VM1, 0), 2 * GIB);
		}
		must_remove(lab, VM1);
		list_is(lab, "");
	}
}

/* ---------------------------------------------------------------- a full file system */

/* In a mount name space of our own, where lab->path is a file system of this size. */
static void enter_small(struct lab *lab, const char *options)
{
	if (unshare(CLONE_NEWNS) != 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("none", lab->path, "tmpfs", 0, options) != 0)
		_exit(errno == EPERM || errno == EACCES ? 77 : 1);
	disk_store_close(lab->store);
	open_store(lab);
}

static void refuse_full(struct lab *lab, int64_t size_gib)
{
	CLEANUP_STR char *vms = NULL;
	struct err e;

	if (ensure(lab, VM1, 0, size_gib, NULL, &e) == 0)
		child_fails("full", &(struct err){ .msg = "the disk was made" });
	if (e.kind != ERR_NO_SPACE || !strstr(e.msg, "store \"local\" is full"))
		child_fails("full", &e);
	vms = listed(lab);
	if (vms[0] != '\0')
		child_fails("full", &(struct err){ .msg = "something was left behind" });
}

static void full_child(struct lab *lab)
{
	CLEANUP_STR char *filler = xasprintf("%s/filler", lab->path);
	struct err e;

	/* Room to begin with, but not for the tables of so large a disk. */
	enter_small(lab, "size=1200k");
	refuse_full(lab, 65536);
	test_write_file(filler, "");
	if (truncate(filler, 0) != 0)
		_exit(1);
	int fd = open(filler, O_WRONLY);
	if (fd < 0 || posix_fallocate(fd, 0, 1000 * 1024) != 0)
		_exit(1);
	close(fd);
	refuse_full(lab, 1);
	if (unlink(filler) != 0)
		_exit(1);
	if (ensure(lab, VM1, 0, 1, NULL, &e) != 0)
		child_fails("after room was made", &e);
	_exit(0);
}

static void full_file_system(void **state)
{
	struct lab *lab = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		full_child(lab);
	status = test_wait(pid, RUN_MSEC);
	if (status == 77) {
		print_message("skipped: no rights to mount a small file system\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* ---------------------------------------------------------------- */

#define FOR(set_up, test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#define EVERY_STORE(set_up)                                                              \
	FOR(set_up, disks_come_and_go), FOR(set_up, ensure_is_idempotent),               \
		FOR(set_up, disks_outlive_the_daemon),                                   \
		FOR(set_up, smaller_disk_is_left_alone),                                 \
		FOR(set_up, image_larger_than_the_disk),                                 \
		FOR(set_up, what_is_no_disk_is_refused), FOR(set_up, largest_disk),      \
		FOR(set_up, domain_reaches_the_disk), FOR(set_up, space),                \
		FOR(set_up, same_disk_at_once), FOR(set_up, made_and_removed_at_once)

int main(void)
{
	const struct CMUnitTest in_memory[] = {
		EVERY_STORE(set_up_fake),
		FOR(set_up_fake, ordered_faults),
		FOR(set_up_fake, ordered_space),
	};
	const struct CMUnitTest directory[] = {
		EVERY_STORE(set_up_dir),
		FOR(set_up_dir, overlay_is_as_ordered),
		FOR(set_up_dir, qemu_takes_every_size),
		FOR(set_up_dir, rights_of_directories),
		FOR(set_up_dir, data_is_never_overwritten),
		FOR(set_up_dir, foreign_file_in_place_of_a_disk),
		FOR(set_up_dir, leftovers_of_a_crash),
		FOR(set_up_dir, what_is_not_ours_stays),
		FOR(set_up_dir, image_missing),
		FOR(set_up_dir, hostile_images),
		FOR(set_up_dir, damaged_images),
		FOR(set_up_dir, format_is_as_stated),
		FOR(set_up_dir, images_stay_in_their_directory),
		FOR(set_up_dir, lock_is_waited_for),
		FOR(set_up_dir, killed_at_any_moment),
		FOR(set_up_dir, full_file_system),
		cmocka_unit_test(stores_that_cannot_be_opened),
	};
	int failed;

	test_need_command("qemu-img");
	test_need_command("qemu-io");
	disk_fake_register();
	failed = cmocka_run_group_tests_name("in memory", in_memory, NULL, NULL);
	failed += cmocka_run_group_tests_name("directory", directory, NULL, NULL);
	disk_fake_reset();
	return failed != 0;
}
