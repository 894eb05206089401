#include "tests/lib/disk_cases.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/test_util.h"

static const struct disk_kind *store_kind;

void disk_cases_set(const struct disk_kind *k)
{
	store_kind = k;
}

/* ------------------------------------------------------------------ helpers */

static struct disk_store *open_store(const struct image_store *conf)
{
	struct disk_store *s = NULL;
	struct err e = { 0 };

	if (disk_store_open(conf, &s, &e) != 0)
		fail_msg("open: %s", e.msg);
	return s;
}

void disk_lab_open(struct disk_lab *lab)
{
	disk_store_close(lab->store);
	lab->store = NULL;
	lab->store = open_store(&lab->conf);
}

int disk_lab_set_up(void **state)
{
	static unsigned n;
	struct disk_lab *lab = xcalloc(1, sizeof(*lab));

	lab->dir = test_path("lab%u", n++);
	test_mkdir(lab->dir);
	store_kind->make(lab);
	*state = lab;
	disk_lab_open(lab);
	lab->other = open_store(&lab->other_conf);
	return 0;
}

int disk_lab_tear_down(void **state)
{
	struct disk_lab *lab = *state;

	disk_store_close(lab->store);
	disk_store_close(lab->other);
	if (store_kind->remove)
		store_kind->remove(lab);
	test_remove(lab->dir);
	image_store_done(&lab->conf);
	image_store_done(&lab->other_conf);
	strv_done(&lab->strings);
	free(lab->dir);
	free(lab);
	return 0;
}

void disk_lab_run(const char *fmt, ...)
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

struct image disk_lab_entry(char *path, enum image_format format, int64_t virtual_bytes)
{
	static char name[] = "debian", uuid[] = IMAGE, store[] = "local";

	return (struct image){ .uuid = uuid,
		.name = name,
		.store = store,
		.path = path,
		.format = (int)format,
		.virtual_bytes = virtual_bytes };
}

static void must(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
}

static struct image_sink *begin_image(
	struct disk_store *s, const char *uuid, int64_t virtual_bytes)
{
	struct image_sink *k = NULL;
	struct err e = { 0 };

	must(image_sink_open(s, uuid, virtual_bytes, &k, &e), &e);
	return k;
}

static void fill(struct image_sink *k, int64_t offset, size_t size, unsigned char byte)
{
	unsigned char *p = xmalloc(size);
	struct err e = { 0 };
	int rc;

	memset(p, byte, size);
	rc = image_sink_write(k, offset, p, size, &e);
	free(p);
	must(rc, &e);
}

/* Keeps a string for as long as the lab. */
static char *keep(struct disk_lab *lab, const char *s)
{
	strv_add(&lab->strings, s);
	return lab->strings.v[lab->strings.len - 1];
}

struct image disk_lab_image(struct disk_lab *lab, struct disk_store *s, const char *uuid,
	int64_t virtual_bytes, unsigned char byte)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = begin_image(s, uuid, virtual_bytes);
	struct image im = disk_lab_entry(NULL, IMAGE_RAW, virtual_bytes);
	struct err e = { 0 };

	fill(k, 0, MIB, byte);
	fill(k, virtual_bytes - 65536, 65536, byte);
	must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	assert_int_equal(made.virtual_bytes, virtual_bytes);
	im.uuid = keep(lab, uuid);
	im.path = keep(lab, made.path);
	im.format = made.format;
	im.size_bytes = made.size_bytes;
	im.is_made = true;
	return im;
}

int disk_lab_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im, struct err *e)
{
	struct disk_spec spec = { vm, index, size_gib, im };
	int rc;

	memset(e, 0, sizeof(*e));
	rc = disk_ensure(lab->store, &spec, e);
	/* Users see it: no path of ours may be in it. */
	if (rc != 0) {
		assert_true(e->msg[0] != '\0');
		assert_null(strstr(e->msg, lab->dir));
	}
	return rc;
}

void disk_lab_must_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im)
{
	struct err e;

	if (disk_lab_ensure(lab, vm, index, size_gib, im, &e) != 0)
		fail_msg("ensure: %s", e.msg);
}

/* It must fail so, and leave nothing behind. */
void disk_lab_must_refuse(struct disk_lab *lab, const struct image *im,
	enum err_kind kind, const char *words)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e;

	if (disk_lab_ensure(lab, VM1, 0, 2, im, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
	assert_int_equal(e.kind, kind);
	assert_int_equal(disk_list(lab->store, &vms, &e), 0);
	assert_int_equal(vms.len, 0);
}

/* In bytes; -1 when it does not exist. */
int64_t disk_lab_size(struct disk_lab *lab, const char *vm, unsigned index)
{
	struct err e = { 0 };
	int64_t size = -2;
	int rc = disk_stat(lab->store, vm, index, &size, &e);

	if (rc < 0)
		fail_msg("stat: %s", e.msg);
	return rc == 1 ? -1 : size;
}

char *disk_lab_list(struct disk_lab *lab)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e = { 0 };

	if (disk_list(lab->store, &vms, &e) != 0)
		fail_msg("list: %s", e.msg);
	return strv_join(&vms, " ");
}

void disk_lab_list_is(struct disk_lab *lab, const char *want)
{
	CLEANUP_STR char *is = disk_lab_list(lab);

	assert_string_equal(is, want);
}

void disk_lab_must_remove(struct disk_lab *lab, const char *vm)
{
	struct err e = { 0 };

	if (disk_remove_all(lab->store, vm, &e) != 0)
		fail_msg("remove: %s", e.msg);
}

void disk_lab_io(
	struct disk_lab *lab, const char *vm, unsigned index, const char *command)
{
	struct disk_spec spec = { vm, index, 1 };
	struct disk_source src = { 0 };
	CLEANUP_STR char *url = NULL, *out = NULL;
	struct err e = { 0 };
	int status;

	if (!store_kind->url)
		return;
	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	url = store_kind->url(lab, &src);
	const char *const argv[] = { "qemu-io", "-f", src.format, "-c", command, url,
		NULL };
	status = test_run(argv, RUN_MSEC, &out);
	disk_source_done(&src);
	if (status != 0 || strstr(out, "verification failed"))
		fail_msg("%s: status %d: %s", command, status, out);
}

/* ---------------------------------------------------------------- disks */

static void disks_come_and_go(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	disk_lab_list_is(lab, "");
	disk_lab_must_ensure(lab, VM2, 0, 1, &im);
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_must_ensure(lab, VM1, 7, 3, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	assert_int_equal(disk_lab_size(lab, VM1, 7), 3 * GIB);
	assert_int_equal(disk_lab_size(lab, VM1, 1), -1);
	disk_lab_list_is(lab, VM1 " " VM2);
	disk_lab_must_remove(lab, VM1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	assert_int_equal(disk_lab_size(lab, VM2, 0), GIB);
	disk_lab_list_is(lab, VM2);
	disk_lab_must_remove(lab, VM1);
	disk_lab_must_remove(lab, VM2);
	disk_lab_list_is(lab, "");
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
}

static void ensure_is_idempotent(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	for (int i = 0; i < 3; i++)
		disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_must_ensure(lab, VM1, 0, 1, &im); /* what is there is large enough */
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
}

static void disks_outlive_the_daemon(void **state)
{
	struct disk_lab *lab = *state;

	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	disk_lab_open(lab);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_list_is(lab, VM1);
}

static void smaller_disk_is_left_alone(void **state)
{
	struct disk_lab *lab = *state;
	struct err e;

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 2, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1073741824 bytes"));
	assert_non_null(strstr(e.msg, "2 GiB"));
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
}

static void image_larger_than_the_disk(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, 2 * GIB + 512, 1);

	disk_lab_must_refuse(lab, &im, ERR_INVALID,
		"image \"debian\" has 2147484160 bytes and needs a disk of at least 3 "
		"GiB; 2 GiB were ordered");
	disk_lab_must_ensure(lab, VM1, 0, 3, &im);
	disk_lab_io(lab, VM1, 0, "read -P 1 2147418624 65536");
}

static void what_is_no_disk_is_refused(void **state)
{
	static char up[] = "../x";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(up, IMAGE_RAW, GIB);
	int64_t size;
	struct err e;

	assert_int_equal(disk_lab_ensure(lab, "../x", 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(disk_lab_ensure(lab, VM1, 8, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 0, NULL, &e), -1);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 65537, NULL, &e), -1);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, INT64_MAX, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "image \"debian\" has no usable path");
	im.path = NULL;
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "image \"debian\" has no usable path");
	assert_int_equal(disk_remove_all(lab->store, "", &e), -1);
	assert_int_equal(disk_stat(lab->store, "x", 0, &size, &e), -1);
	assert_int_equal(disk_stat(lab->store, VM1, 8, &size, &e), -1);
}

static void largest_disk(void **state)
{
	struct disk_lab *lab = *state;

	disk_lab_must_ensure(lab, VM1, 0, 65536, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 65536 * GIB);
}

static void domain_reaches_the_disk(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct disk_spec spec = { VM1, 1, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 1, 2, &im);
	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	assert_int_equal(src.index, 1);
	assert_true(str_eq(src.format, "qcow2") || str_eq(src.format, "raw"));
	assert_non_null(src.path);
	disk_source_done(&src);
	disk_source_done(&src);
	disk_lab_io(lab, VM1, 1, "read -P 0x5a 0 1M");
	disk_lab_io(lab, VM1, 1, "read -P 0x5a 1073676288 65536");
	disk_lab_io(lab, VM1, 1, "read -P 0 1G 1M");
	disk_lab_io(lab, VM1, 1, "write -P 7 2147418112 65536");
	disk_lab_io(lab, VM1, 1, "read -P 7 2147418112 65536");
}

static void space(void **state)
{
	struct disk_lab *lab = *state;
	int64_t total = -2, available = -2;
	struct err e = { 0 };

	assert_int_equal(disk_space(lab->store, &total, &available, &e), 0);
	assert_true(total >= -1 && available >= -1 && available <= total);
}

/* ---------------------------------------------------------------- at once */

struct worker {
	struct disk_lab *lab;
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
static void at_once(struct disk_lab *lab, const struct image *im,
	void *(*const *fns)(void *), size_t n)
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
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	for (int turn = 0; turn < 5; turn++) {
		at_once(lab, &im, fns, ARRAY_LEN(fns));
		assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
		disk_lab_must_remove(lab, VM1);
	}
}

static void made_and_removed_at_once(void **state)
{
	static void *(*const fns[])(
		void *) = { ensure_worker, remove_worker, ensure_worker, remove_worker };
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	for (int turn = 0; turn < 5; turn++) {
		int64_t size;

		at_once(lab, &im, fns, ARRAY_LEN(fns));
		size = disk_lab_size(lab, VM1, 0);
		assert_true(size == -1 || size == 2 * GIB);
		disk_lab_list_is(lab, size == -1 ? "" : VM1);
	}
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
}

/* ---------------------------------------------------------------- changes */

static void one_disk_is_removed(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_must_ensure(lab, VM1, 1, 2, NULL);
	must(disk_snapshot_make(lab->store, VM1, 1, "a", &e), &e);
	must(disk_remove(lab->store, VM1, 1, &e), &e);
	must(disk_remove(lab->store, VM1, 1, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 1), -1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	must(disk_remove(lab->store, VM1, 0, &e), &e);
	must(disk_remove(lab->store, VM2, 0, &e), &e);
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
}

static void disks_grow(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_io(lab, VM1, 0, "write -P 3 1073676288 65536");
	must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 3 * GIB);
	must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	must(disk_grow(lab->store, VM1, 0, 2, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 3 * GIB);
	disk_lab_io(lab, VM1, 0, "read -P 3 1073676288 65536");
	disk_lab_io(lab, VM1, 0, "read -P 0 1G 1M");
	assert_int_equal(disk_grow(lab->store, VM1, 1, 3, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 65537, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void flattened_disks_need_no_image(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct disk_spec spec = { VM1, 0, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	must(disk_flatten(lab->store, VM1, 0, &e), &e);
	must(disk_flatten(lab->store, VM1, 0, &e), &e);
	must(image_remove(lab->store, IMAGE, &e), &e);
	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	if (store_kind->url)
		assert_null(src.backing_path);
	disk_source_done(&src);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 64k 960k");
	disk_lab_io(lab, VM1, 0, "read -P 0 1M 1M");
	assert_int_equal(disk_flatten(lab->store, VM2, 0, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void snapshots_are(
	struct disk_lab *lab, const char *vm, unsigned index, const char *want)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	CLEANUP_STR char *is = NULL;
	struct err e = { 0 };

	must(disk_snapshot_list(lab->store, vm, index, &names, &e), &e);
	is = strv_join(&names, " ");
	assert_string_equal(is, want);
}

/* Names may look like the numbers that a format gives snapshots by itself. */
static void snapshots_come_and_go(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	snapshots_are(lab, VM1, 0, "");
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	snapshots_are(lab, VM1, 0, "");
	must(disk_snapshot_make(lab->store, VM1, 0, "2", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	must(disk_snapshot_make(lab->store, VM1, 0, "1", &e), &e);
	must(disk_snapshot_make(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 2 0 64k");
	must(disk_snapshot_make(lab->store, VM1, 0, "before-upgrade", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 3 0 64k");
	snapshots_are(lab, VM1, 0, "1 2 before-upgrade");
	must(disk_snapshot_restore(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	must(disk_snapshot_restore(lab->store, VM1, 0, "2", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 64k");
	must(disk_snapshot_restore(lab->store, VM1, 0, "before-upgrade", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 2 0 64k");
	must(disk_snapshot_remove(lab->store, VM1, 0, "2", &e), &e);
	must(disk_snapshot_remove(lab->store, VM1, 0, "2", &e), &e);
	snapshots_are(lab, VM1, 0, "1 before-upgrade");
	must(disk_snapshot_restore(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_must_remove(lab, VM1);
	snapshots_are(lab, VM1, 0, "");
}

static void snapshots_keep_the_size(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 2, 1, NULL);
	must(disk_snapshot_make(lab->store, VM1, 2, "small", &e), &e);
	must(disk_grow(lab->store, VM1, 2, 2, &e), &e);
	must(disk_snapshot_make(lab->store, VM1, 2, "large", &e), &e);
	must(disk_snapshot_restore(lab->store, VM1, 2, "small", &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 2), GIB);
	must(disk_snapshot_restore(lab->store, VM1, 2, "large", &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 2), 2 * GIB);
}

static void snapshots_that_are_not_there(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	must(disk_snapshot_remove(lab->store, VM1, 0, "a", &e), &e);
	must(disk_snapshot_remove(lab->store, VM2, 0, "a", &e), &e);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 1, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_snapshot_restore(lab->store, VM1, 1, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "-x", &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "a b", &e), -1);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "", &e), -1);
}

static void refused_in_use(int rc, const struct err *e)
{
	assert_int_equal(rc, -1);
	if (e->kind != ERR_CONFLICT)
		fail_msg("%s", e->msg);
}

/* A disk that a domain has open is left to the hypervisor, unless that is no matter here;
 * nobody may take it back to a snapshot. */
static void disks_in_use(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_store *s = lab->store;
	struct err e = { 0 };
	void *held;

	if (!store_kind->hold)
		return;
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	must(disk_snapshot_make(s, VM1, 0, "a", &e), &e);
	held = store_kind->hold(lab, VM1, 0);
	if (disk_is_live_ok(s)) {
		must(disk_snapshot_make(s, VM1, 0, "b", &e), &e);
		must(disk_grow(s, VM1, 0, 2, &e), &e);
		must(disk_snapshot_remove(s, VM1, 0, "b", &e), &e);
	} else {
		refused_in_use(disk_snapshot_make(s, VM1, 0, "b", &e), &e);
		refused_in_use(disk_grow(s, VM1, 0, 2, &e), &e);
		refused_in_use(disk_snapshot_remove(s, VM1, 0, "a", &e), &e);
		refused_in_use(disk_remove(s, VM1, 0, &e), &e);
		assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	}
	refused_in_use(disk_snapshot_restore(s, VM1, 0, "a", &e), &e);
	snapshots_are(lab, VM1, 0, "a");
	store_kind->release(lab, held);
	must(disk_snapshot_restore(s, VM1, 0, "a", &e), &e);
	must(disk_remove(s, VM1, 0, &e), &e);
}

/* ---------------------------------------------------------------- images */

static void images_are(struct disk_lab *lab, const char *want)
{
	CLEANUP(strv_done) struct strv uuids = { 0 };
	CLEANUP_STR char *is = NULL;
	struct err e = { 0 };

	must(image_list(lab->store, &uuids, &e), &e);
	is = strv_join(&uuids, " ");
	assert_string_equal(is, want);
}

/* Its size; -1: there is none that is complete. */
static int64_t image_size(struct disk_lab *lab, const char *uuid)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct err e = { 0 };
	int rc = image_find(lab->store, uuid, &made, &e);

	if (rc < 0)
		fail_msg("%s", e.msg);
	return rc == 1 ? -1 : made.virtual_bytes;
}

static void images_come_and_go(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k;
	struct err e = { 0 };
	unsigned n = 7;

	images_are(lab, "");
	assert_int_equal(image_size(lab, IMAGE), -1);
	k = begin_image(lab->store, IMAGE, GIB);
	fill(k, 5 * MIB, MIB, 1);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, IMAGE);
	must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	assert_int_equal(image_size(lab, IMAGE), GIB);
	images_are(lab, IMAGE);
	assert_non_null(made.path);
	assert_int_equal(made.format, IMAGE_RAW);
	assert_true(made.size_bytes < 512 * MIB);
	must(image_n_users(lab->store,
		     &(struct image){ .uuid = keep(lab, IMAGE), .path = made.path }, &n,
		     &e),
		&e);
	assert_int_equal(n, 0);
	assert_int_equal(image_sink_open(lab->store, IMAGE, GIB, &k, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	must(image_remove(lab->store, IMAGE, &e), &e);
	must(image_remove(lab->store, IMAGE, &e), &e);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, "");
}

/* Nobody wrote all of it: nothing is left of it. */
static void images_that_are_given_up(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *k = begin_image(lab->store, IMAGE, GIB);

	fill(k, 0, MIB, 1);
	image_sink_close(k);
	image_sink_close(NULL);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, "");
}

/* Whoever takes over wins, whatever the one before does afterwards. */
static void images_that_are_begun_anew(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *old = begin_image(lab->store, IMAGE, GIB);
	struct image_sink *new = begin_image(lab->store, IMAGE, 2 * GIB);
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct err e = { 0 };

	fill(new, 0, MIB, 2);
	assert_int_equal(image_sink_commit(old, &made, &e), -1);
	image_sink_close(old);
	assert_int_equal(image_size(lab, IMAGE), -1);
	fill(new, MIB, MIB, 2);
	must(image_sink_commit(new, &made, &e), &e);
	image_sink_close(new);
	assert_int_equal(image_size(lab, IMAGE), 2 * GIB);
}

static void images_that_cannot_be(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *k = NULL;
	struct err e = { 0 };

	assert_int_equal(image_sink_open(lab->store, "../x", GIB, &k, &e), -1);
	assert_int_equal(image_sink_open(lab->store, IMAGE, 0, &k, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(image_sink_open(lab->store, IMAGE, 513, &k, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(image_sink_open(lab->store, IMAGE, 2049 * GIB, &k, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_null(k);
	k = begin_image(lab->store, IMAGE, MIB);
	assert_int_equal(image_sink_write(k, MIB - 1, "xy", 2, &e), -1);
	assert_int_equal(image_sink_write(k, 2 * MIB, "x", 1, &e), -1);
	image_sink_close(k);
	images_are(lab, "");
}

#define N_WRITERS 4

struct writer {
	struct image_sink *k;
	unsigned n;
	pthread_t thread;
	int rc;
	struct err e;
};

/* Every N_WRITERS-th 64 KiB of 8 MiB, each with a byte of its own. */
static void *write_part(void *aux)
{
	struct writer *w = aux;
	unsigned char p[65536];

	for (unsigned i = w->n; i < 128 && w->rc == 0; i += N_WRITERS) {
		memset(p, (int)i + 1, sizeof(p));
		w->rc = image_sink_write(w->k, i * 65536, p, sizeof(p), &w->e);
	}
	return NULL;
}

static void images_are_written_by_many(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct writer w[N_WRITERS] = { 0 };
	struct image_sink *k = begin_image(lab->store, IMAGE, 16 * MIB);
	struct image im = disk_lab_entry(NULL, IMAGE_RAW, 16 * MIB);
	struct err e = { 0 };

	for (unsigned i = 0; i < N_WRITERS; i++) {
		w[i].k = k;
		w[i].n = i;
		assert_int_equal(
			pthread_create(&w[i].thread, NULL, write_part, &w[i]), 0);
	}
	for (unsigned i = 0; i < N_WRITERS; i++) {
		pthread_join(w[i].thread, NULL);
		must(w[i].rc, &w[i].e);
	}
	must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	im.path = made.path;
	im.is_made = true;
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_io(lab, VM1, 0, "read -P 2 64k 64k");
	disk_lab_io(lab, VM1, 0, "read -P 128 8323072 64k");
	disk_lab_io(lab, VM1, 0, "read -P 0 8M 8M");
}

static void images_with_disks_on_them_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };
	unsigned n = 0;

	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_must_ensure(lab, VM2, 3, 2, &im);
	must(image_n_users(lab->store, &im, &n, &e), &e);
	assert_int_equal(n, store_kind->has_users ? 2 : 0);
	if (!store_kind->has_users)
		return;
	assert_int_equal(image_remove(lab->store, IMAGE, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "2 disks"));
	assert_int_equal(image_size(lab, IMAGE), GIB);
	disk_lab_must_remove(lab, VM1);
	disk_lab_must_remove(lab, VM2);
	must(image_remove(lab->store, IMAGE, &e), &e);
	images_are(lab, "");
}

static void note_progress(void *aux, int percent)
{
	int *last = aux;

	assert_true(percent >= *last && percent <= 100);
	*last = percent;
}

static void images_of_another_store_are_copied(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->other, IMAGE, GIB, 0x5a);
	int last = 0;
	struct disk_spec spec = { .vm_uuid = VM1,
		.index = 0,
		.size_gib = 2,
		.image = &im,
		.image_store = lab->other,
		.on_progress = note_progress,
		.aux = &last };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	must(disk_ensure(lab->store, &spec, &e), &e);
	assert_int_equal(last, 100);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	assert_null(src.backing_path);
	disk_source_done(&src);
	must(image_remove(lab->other, IMAGE, &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0 1M 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0 1G 1G");
	must(disk_ensure(lab->store, &spec, &e), &e);
	/* Now it is gone. */
	spec.index = 1;
	assert_int_equal(disk_ensure(lab->store, &spec, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_lab_size(lab, VM1, 1), -1);
}

/* ---------------------------------------------------------------- */

const struct CMUnitTest disk_cases[] = {
	DISK_CASE(disks_come_and_go),
	DISK_CASE(ensure_is_idempotent),
	DISK_CASE(disks_outlive_the_daemon),
	DISK_CASE(smaller_disk_is_left_alone),
	DISK_CASE(image_larger_than_the_disk),
	DISK_CASE(what_is_no_disk_is_refused),
	DISK_CASE(largest_disk),
	DISK_CASE(domain_reaches_the_disk),
	DISK_CASE(space),
	DISK_CASE(same_disk_at_once),
	DISK_CASE(made_and_removed_at_once),
	DISK_CASE(one_disk_is_removed),
	DISK_CASE(disks_grow),
	DISK_CASE(flattened_disks_need_no_image),
	DISK_CASE(snapshots_come_and_go),
	DISK_CASE(snapshots_keep_the_size),
	DISK_CASE(snapshots_that_are_not_there),
	DISK_CASE(disks_in_use),
	DISK_CASE(images_come_and_go),
	DISK_CASE(images_that_are_given_up),
	DISK_CASE(images_that_are_begun_anew),
	DISK_CASE(images_that_cannot_be),
	DISK_CASE(images_are_written_by_many),
	DISK_CASE(images_with_disks_on_them_stay),
	DISK_CASE(images_of_another_store_are_copied),
};
const size_t disk_cases_len = ARRAY_LEN(disk_cases);
