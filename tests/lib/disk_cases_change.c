#include "tests/lib/disk_cases_impl.h"

#include <string.h>

void disk_case_one_disk_is_removed(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_must_ensure(lab, VM1, 1, 2, NULL);
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 1, "a", &e), &e);
	disk_lab_must(disk_remove(lab->store, VM1, 1, &e), &e);
	disk_lab_must(disk_remove(lab->store, VM1, 1, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 1), -1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	disk_lab_must(disk_remove(lab->store, VM1, 0, &e), &e);
	disk_lab_must(disk_remove(lab->store, VM2, 0, &e), &e);
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
}

void disk_case_disks_grow(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_io(lab, VM1, 0, "write -P 3 1073676288 65536");
	disk_lab_must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 3 * GIB);
	disk_lab_must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	disk_lab_must(disk_grow(lab->store, VM1, 0, 2, &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 3 * GIB);
	disk_lab_io(lab, VM1, 0, "read -P 3 1073676288 65536");
	disk_lab_io(lab, VM1, 0, "read -P 0 1G 1M");
	assert_int_equal(disk_grow(lab->store, VM1, 1, 3, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 65537, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

void disk_case_flattened_disks_need_no_image(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct disk_spec spec = { VM1, 0, 2, &im };
	struct disk_source src = { 0 };
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	disk_lab_must(disk_flatten(lab->store, VM1, 0, &e), &e);
	disk_lab_must(disk_flatten(lab->store, VM1, 0, &e), &e);
	disk_lab_must(image_remove(lab->store, IMAGE, &e), &e);
	disk_lab_must(disk_source_get(lab->store, &spec, &src, &e), &e);
	if (disk_cases_kind()->url)
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

	disk_lab_must(disk_snapshot_list(lab->store, vm, index, &names, &e), &e);
	is = strv_join(&names, " ");
	assert_string_equal(is, want);
}

/* Names may look like the numbers that a format gives snapshots by itself. */
void disk_case_snapshots_come_and_go(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	snapshots_are(lab, VM1, 0, "");
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
	snapshots_are(lab, VM1, 0, "");
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 0, "2", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 2 0 64k");
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 0, "before-upgrade", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 3 0 64k");
	snapshots_are(lab, VM1, 0, "1 2 before-upgrade");
	disk_lab_must(disk_snapshot_restore(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_must(disk_snapshot_restore(lab->store, VM1, 0, "2", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 64k");
	disk_lab_must(
		disk_snapshot_restore(lab->store, VM1, 0, "before-upgrade", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 2 0 64k");
	disk_lab_must(disk_snapshot_remove(lab->store, VM1, 0, "2", &e), &e);
	disk_lab_must(disk_snapshot_remove(lab->store, VM1, 0, "2", &e), &e);
	snapshots_are(lab, VM1, 0, "1 before-upgrade");
	disk_lab_must(disk_snapshot_restore(lab->store, VM1, 0, "1", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_must_remove(lab, VM1);
	snapshots_are(lab, VM1, 0, "");
}

void disk_case_snapshots_keep_the_size(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 2, 1, NULL);
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 2, "small", &e), &e);
	disk_lab_must(disk_grow(lab->store, VM1, 2, 2, &e), &e);
	disk_lab_must(disk_snapshot_make(lab->store, VM1, 2, "large", &e), &e);
	disk_lab_must(disk_snapshot_restore(lab->store, VM1, 2, "small", &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 2), GIB);
	disk_lab_must(disk_snapshot_restore(lab->store, VM1, 2, "large", &e), &e);
	assert_int_equal(disk_lab_size(lab, VM1, 2), 2 * GIB);
}

void disk_case_snapshots_that_are_not_there(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	disk_lab_must(disk_snapshot_remove(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_must(disk_snapshot_remove(lab->store, VM2, 0, "a", &e), &e);
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
void disk_case_disks_in_use(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_store *s = lab->store;
	struct err e = { 0 };
	void *held;

	if (!disk_cases_kind()->hold)
		return;
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_must(disk_snapshot_make(s, VM1, 0, "a", &e), &e);
	held = disk_cases_kind()->hold(lab, VM1, 0);
	if (disk_is_live_ok(s)) {
		disk_lab_must(disk_snapshot_make(s, VM1, 0, "b", &e), &e);
		disk_lab_must(disk_grow(s, VM1, 0, 2, &e), &e);
		disk_lab_must(disk_snapshot_remove(s, VM1, 0, "b", &e), &e);
	} else {
		refused_in_use(disk_snapshot_make(s, VM1, 0, "b", &e), &e);
		refused_in_use(disk_grow(s, VM1, 0, 2, &e), &e);
		refused_in_use(disk_snapshot_remove(s, VM1, 0, "a", &e), &e);
		refused_in_use(disk_remove(s, VM1, 0, &e), &e);
		assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	}
	refused_in_use(disk_snapshot_restore(s, VM1, 0, "a", &e), &e);
	snapshots_are(lab, VM1, 0, "a");
	disk_cases_kind()->release(lab, held);
	disk_lab_must(disk_snapshot_restore(s, VM1, 0, "a", &e), &e);
	disk_lab_must(disk_remove(s, VM1, 0, &e), &e);
}
