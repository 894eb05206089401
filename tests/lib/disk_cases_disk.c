#include "tests/lib/disk_cases_impl.h"

#include <pthread.h>
#include <string.h>

/* ---------------------------------------------------------------- disks */

void disk_case_disks_come_and_go(void **state)
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

void disk_case_ensure_is_idempotent(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	for (int i = 0; i < 3; i++)
		disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_must_ensure(lab, VM1, 0, 1, &im); /* what is there is large enough */
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
}

void disk_case_disks_outlive_the_daemon(void **state)
{
	struct disk_lab *lab = *state;

	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	disk_lab_open(lab);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_list_is(lab, VM1);
}

void disk_case_smaller_disk_is_left_alone(void **state)
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

void disk_case_image_larger_than_the_disk(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, 2 * GIB + 512, 1);

	disk_lab_must_refuse(lab, &im, ERR_INVALID,
		"image \"debian\" has 2147484160 bytes and needs a disk of at least 3 "
		"GiB; 2 GiB were ordered");
	disk_lab_must_ensure(lab, VM1, 0, 3, &im);
	disk_lab_io(lab, VM1, 0, "read -P 1 2147418624 65536");
}

void disk_case_what_is_no_disk_is_refused(void **state)
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

void disk_case_largest_disk(void **state)
{
	struct disk_lab *lab = *state;
	int64_t gib = disk_cases_kind()->largest_gib;

	gib = gib ? gib : 65536;
	disk_lab_must_ensure(lab, VM1, 0, gib, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), gib * GIB);
}

void disk_case_domain_reaches_the_disk(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct disk_spec spec = { VM1, 1, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 1, 2, &im);
	disk_lab_must(disk_source_get(lab->store, &spec, &src, &e), &e);
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

void disk_case_space(void **state)
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

void disk_case_same_disk_at_once(void **state)
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

void disk_case_made_and_removed_at_once(void **state)
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
