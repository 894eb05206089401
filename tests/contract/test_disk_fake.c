/*
 * The disks in memory, which the simulation has: what every kind of store does, and what a
 * test may order of them.
 */
#include "tests/lib/disk_cases.h"

#include <string.h>

#include "common/disk/disk_fake.h"

static void make(struct disk_lab *lab)
{
	disk_fake_reset();
	lab->conf = (struct image_store){ .name = xstrdup("local"), .type = STORE_FAKE };
	lab->other_conf =
		(struct image_store){ .name = xstrdup("other"), .type = STORE_FAKE };
}

/* As Ceph: shared by all hosts, which know who lies on an image. */
static void make_shared(struct disk_lab *lab)
{
	make(lab);
	lab->conf.type = STORE_CEPH;
	lab->conf.pool = xstrdup("images");
	lab->conf.vm_pool = xstrdup("uservms");
}

static void reset(struct disk_lab *lab)
{
	(void)lab;
	disk_fake_reset();
}

static bool is_held(void *aux, const char *vm_uuid)
{
	return str_eq(aux, vm_uuid);
}

static void *hold(struct disk_lab *lab, const char *vm_uuid, unsigned index)
{
	static char uuid[UUID_STR_SIZE];

	(void)lab;
	(void)index;
	strncpy(uuid, vm_uuid, sizeof(uuid) - 1);
	disk_fake_set_in_use(is_held, uuid);
	return uuid;
}

static void release(struct disk_lab *lab, void *held)
{
	(void)lab;
	(void)held;
	disk_fake_set_in_use(NULL, NULL);
}

static void ordered_faults(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(strv_done) struct strv disks = { 0 };
	struct err e;

	disk_fake_fail("local", 2, ERR_IO);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_IO);
	assert_int_equal(disk_remove_all(lab->store, VM1, &e), -1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	disk_fake_fail_after("local", 1, ERR_TIMEOUT);
	assert_int_equal(disk_lab_ensure(lab, VM1, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_int_equal(disk_lab_size(lab, VM1, 0), GIB);
	disk_fake_set_full("local", true);
	assert_int_equal(disk_lab_ensure(lab, VM2, 0, 1, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_fake_set_full("local", false);
	disk_lab_must_ensure(lab, VM2, 3, 1, NULL);
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 2);
	assert_string_equal(disks.v[1], VM2 "/3");
	disk_fake_disks("other", &disks);
	assert_int_equal(disks.len, 2);
	disk_fake_reset();
	disk_lab_list_is(lab, "");
}

static void ordered_space(void **state)
{
	struct disk_lab *lab = *state;
	int64_t total, available;
	struct err e = { 0 };

	disk_fake_set_space("local", 100, 40);
	assert_int_equal(disk_space(lab->store, &total, &available, &e), 0);
	assert_int_equal(total, 100);
	assert_int_equal(available, 40);
}

/* A lost answer: what was ordered is done, and the next try finds it so. */
static void lost_answers(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(strv_done) struct strv names = { 0 };
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_fake_fail_after("local", 4, ERR_TIMEOUT);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 2, &e), -1);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 2, &e), 0);
	assert_int_equal(disk_fake_size("local", VM1, 0), 2 * GIB);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "a", &e), -1);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "a", &e), 0);
	assert_int_equal(disk_snapshot_remove(lab->store, VM1, 0, "a", &e), -1);
	assert_int_equal(disk_snapshot_remove(lab->store, VM1, 0, "a", &e), 0);
	assert_int_equal(disk_remove(lab->store, VM1, 0, &e), -1);
	assert_int_equal(disk_remove(lab->store, VM1, 0, &e), 0);
	assert_int_equal(disk_fake_size("local", VM1, 0), -1);
}

static void full_store(void **state)
{
	struct disk_lab *lab = *state;
	struct image_sink *k = NULL;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_int_equal(image_sink_open(lab->store, IMAGE, GIB, &k, &e), 0);
	disk_fake_set_full("local", true);
	assert_int_equal(disk_grow(lab->store, VM1, 0, 2, &e), -1);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	assert_int_equal(disk_snapshot_make(lab->store, VM1, 0, "a", &e), -1);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	assert_int_equal(image_sink_write(k, 0, "x", 1, &e), -1);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	image_sink_close(k);
	assert_int_equal(disk_remove(lab->store, VM1, 0, &e), 0);
}

static void images_hold_what_was_written(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	unsigned char sector[512];

	assert_true(disk_fake_image_read("local", im.uuid, MIB - 512, sector));
	assert_int_equal(sector[511], 0x5a);
	assert_true(disk_fake_image_read("local", im.uuid, MIB, sector));
	assert_int_equal(sector[0], 0);
	assert_true(disk_fake_image_read("local", im.uuid, GIB - 512, sector));
	assert_int_equal(sector[0], 0x5a);
	assert_false(disk_fake_image_read("local", VM1, 0, sector));
}

int main(void)
{
	static const struct disk_kind local = {
		.make = make, .remove = reset, .hold = hold, .release = release
	};
	static const struct disk_kind shared = { .make = make_shared,
		.remove = reset,
		.hold = hold,
		.release = release,
		.has_users = true };
	const struct CMUnitTest own[] = {
		DISK_CASE(ordered_faults),
		DISK_CASE(ordered_space),
		DISK_CASE(lost_answers),
		DISK_CASE(full_store),
		DISK_CASE(images_hold_what_was_written),
	};
	int failed;

	disk_fake_register();
	disk_fake_register_as(STORE_CEPH);
	disk_cases_set(&local);
	failed = _cmocka_run_group_tests("local", disk_cases, disk_cases_len, NULL, NULL);
	failed += cmocka_run_group_tests_name("faults", own, NULL, NULL);
	disk_cases_set(&shared);
	failed +=
		_cmocka_run_group_tests("shared", disk_cases, disk_cases_len, NULL, NULL);
	disk_fake_reset();
	return failed != 0;
}
