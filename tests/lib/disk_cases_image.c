#include "tests/lib/disk_cases_impl.h"

#include <pthread.h>
#include <string.h>

static void images_are(struct disk_lab *lab, const char *want)
{
	CLEANUP(strv_done) struct strv uuids = { 0 };
	CLEANUP_STR char *is = NULL;
	struct err e = { 0 };

	disk_lab_must(image_list(lab->store, &uuids, &e), &e);
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

void disk_case_images_come_and_go(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k;
	struct err e = { 0 };
	unsigned n = 7;

	images_are(lab, "");
	assert_int_equal(image_size(lab, IMAGE), -1);
	k = disk_lab_begin(lab->store, IMAGE, GIB);
	disk_lab_fill(k, 5 * MIB, MIB, 1);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, IMAGE);
	disk_lab_must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	assert_int_equal(image_size(lab, IMAGE), GIB);
	images_are(lab, IMAGE);
	assert_non_null(made.path);
	assert_int_equal(made.format, IMAGE_RAW);
	assert_true(made.size_bytes < 512 * MIB);
	disk_lab_must(image_n_users(lab->store,
			      &(struct image){ .uuid = disk_lab_keep(lab, IMAGE),
				      .path = made.path },
			      &n, &e),
		&e);
	assert_int_equal(n, 0);
	assert_int_equal(image_sink_open(lab->store, IMAGE, GIB, &k, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	disk_lab_must(image_remove(lab->store, IMAGE, &e), &e);
	disk_lab_must(image_remove(lab->store, IMAGE, &e), &e);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, "");
}

/* Nobody wrote all of it: nothing is left of it. */
void disk_case_images_that_are_given_up(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *k = disk_lab_begin(lab->store, IMAGE, GIB);

	disk_lab_fill(k, 0, MIB, 1);
	image_sink_close(k);
	image_sink_close(NULL);
	assert_int_equal(image_size(lab, IMAGE), -1);
	images_are(lab, "");
}

/* Whoever takes over wins, whatever the one before does afterwards. */
void disk_case_images_that_are_begun_anew(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *old = disk_lab_begin(lab->store, IMAGE, GIB);
	struct image_sink *new = disk_lab_begin(lab->store, IMAGE, 2 * GIB);
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct err e = { 0 };

	disk_lab_fill(new, 0, MIB, 2);
	assert_int_equal(image_sink_commit(old, &made, &e), -1);
	image_sink_close(old);
	assert_int_equal(image_size(lab, IMAGE), -1);
	disk_lab_fill(new, MIB, MIB, 2);
	disk_lab_must(image_sink_commit(new, &made, &e), &e);
	image_sink_close(new);
	assert_int_equal(image_size(lab, IMAGE), 2 * GIB);
}

void disk_case_images_that_cannot_be(void **state)
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
	k = disk_lab_begin(lab->store, IMAGE, MIB);
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

void disk_case_images_are_written_by_many(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct writer w[N_WRITERS] = { 0 };
	struct image_sink *k = disk_lab_begin(lab->store, IMAGE, 16 * MIB);
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
		disk_lab_must(w[i].rc, &w[i].e);
	}
	disk_lab_must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	im.path = made.path;
	im.is_made = true;
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_io(lab, VM1, 0, "read -P 2 64k 64k");
	disk_lab_io(lab, VM1, 0, "read -P 128 8323072 64k");
	disk_lab_io(lab, VM1, 0, "read -P 0 8M 8M");
}

void disk_case_images_with_disks_on_them_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };
	unsigned n = 0;

	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	disk_lab_must_ensure(lab, VM2, 3, 2, &im);
	disk_lab_must(image_n_users(lab->store, &im, &n, &e), &e);
	assert_int_equal(n, disk_cases_kind()->has_users ? 2 : 0);
	if (!disk_cases_kind()->has_users)
		return;
	assert_int_equal(image_remove(lab->store, IMAGE, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "2 disks"));
	assert_int_equal(image_size(lab, IMAGE), GIB);
	disk_lab_must_remove(lab, VM1);
	disk_lab_must_remove(lab, VM2);
	disk_lab_must(image_remove(lab->store, IMAGE, &e), &e);
	images_are(lab, "");
}

static void note_progress(void *aux, int percent)
{
	int *last = aux;

	assert_true(percent >= *last && percent <= 100);
	*last = percent;
}

void disk_case_images_of_another_store_are_copied(void **state)
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

	disk_lab_must(disk_ensure(lab->store, &spec, &e), &e);
	assert_int_equal(last, 100);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_must(disk_source_get(lab->store, &spec, &src, &e), &e);
	assert_null(src.backing_path);
	disk_source_done(&src);
	disk_lab_must(image_remove(lab->other, IMAGE, &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0 1M 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0 1G 1G");
	disk_lab_must(disk_ensure(lab->store, &spec, &e), &e);
	/* Now it is gone. */
	spec.index = 1;
	assert_int_equal(disk_ensure(lab->store, &spec, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_lab_size(lab, VM1, 1), -1);
}
