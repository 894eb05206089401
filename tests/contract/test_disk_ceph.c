/*
 * A real Ceph as image store: what every kind of store does, and what only Ceph can get wrong:
 * a key that is not taken, a full pool, images that are not ours. The same once more, in
 * short, on BlueStore and with keys. What dies in the middle is test_disk_ceph_deaths.c.
 */
#include <stdio.h>
#include <string.h>

#include "tests/lib/ceph_world.h"
#include "tests/lib/test_util.h"

/* ---------------------------------------------------------------- images and disks */

static void nothing_is_left(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_must_ensure(lab, VM1, 1, 2, NULL);
	cw_must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 8M");
	cw_pool_is(CW_VM_POOL, VM1 " " VM1 ".1 ");
	cw_pool_is(CW_POOL, IMAGE " ");
	disk_lab_must_remove(lab, VM1);
	cw_must(image_remove(lab->store, IMAGE, &e), &e);
	cw_pool_is_empty(CW_VM_POOL);
	cw_pool_is_empty(CW_POOL);
}

static void features_are_as_chosen(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	CLEANUP_STR char *disk = test_ceph_run(cw_ceph, "rbd info " CW_VM_POOL "/" VM1);
	CLEANUP_STR char *image =
		test_ceph_run(cw_ceph, "rbd info " CW_POOL "/" IMAGE "@ucloud");
	assert_non_null(strstr(disk, "features: layering, exclusive-lock, object-map, "
				     "fast-diff, deep-flatten"));
	assert_non_null(strstr(disk, "parent: " CW_POOL "/" IMAGE "@ucloud"));
	assert_non_null(strstr(image, "protected: True"));
	CLEANUP_STR char *unprotect = test_ceph_run(
		cw_ceph, "!rbd snap unprotect " CW_POOL "/" IMAGE "@ucloud");
	if (!strstr(unprotect, "resource busy"))
		fail_msg("%s", unprotect);
}

static void image_missing(void **state)
{
	static char path[] = "nothing", bare[] = IMAGE;
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_RAW, GIB);
	unsigned n = 7;
	struct err e = { 0 };

	disk_lab_must_refuse(lab, &im, ERR_NOT_FOUND,
		"the data of image \"debian\" is missing in store \"local\"");
	cw_must(image_n_users(lab->store, &im, &n, &e), &e);
	assert_int_equal(n, 0);
	im.path = bare;
	free(test_ceph_run(cw_ceph, "rbd create -s 1G " CW_POOL "/" IMAGE));
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "has no protected snapshot \"ucloud\"");
	free(test_ceph_run(
		cw_ceph, "rbd snap create " CW_POOL "/" IMAGE "@ucloud --no-progress"));
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "has no protected snapshot \"ucloud\"");
	free(test_ceph_run(cw_ceph, "rbd snap protect " CW_POOL "/" IMAGE "@ucloud"));
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
}

static void open_disks_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };
	void *held;

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	cw_must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	held = cw_hold(lab, VM1, 0);
	cw_must_fail(disk_remove(lab->store, VM1, 0, &e), &e, ERR_UNAVAILABLE, "is open");
	cw_must_fail(
		disk_remove_all(lab->store, VM1, &e), &e, ERR_UNAVAILABLE, "is open");
	cw_release(lab, held);
	cw_must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_must_remove(lab, VM1);
}

static void foreign_images_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	free(test_ceph_run(cw_ceph, "rbd create -s 1G " CW_VM_POOL "/" VM1 ".saved"));
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_list_is(lab, VM1);
	cw_must_fail(
		disk_remove_all(lab->store, VM1, &e), &e, ERR_CONFLICT, VM1 ".saved");
	cw_pool_is(CW_VM_POOL, VM1 ".saved ");
	free(test_ceph_run(cw_ceph, "rbd rm --no-progress " CW_VM_POOL "/" VM1 ".saved"));
	disk_lab_must_remove(lab, VM1);
}

/* deep-flatten: what a snapshot shares with the image is copied for it, too. */
static void snapshots_outlive_the_image(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	cw_must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	cw_must(disk_flatten(lab->store, VM1, 0, &e), &e);
	cw_must(image_remove(lab->store, IMAGE, &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	cw_must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 1073676288 65536");
}

/* ---------------------------------------------------------------- pools */

static void set_full(bool is_full)
{
	free(test_ceph_run(
		cw_ceph, "ceph osd set-nearfull-ratio %s", is_full ? "0.00001" : "0.85"));
	free(test_ceph_run(cw_ceph, "ceph osd set-backfillfull-ratio %s",
		is_full ? "0.00002" : "0.90"));
	free(test_ceph_run(
		cw_ceph, "ceph osd set-full-ratio %s", is_full ? "0.00003" : "0.95"));
}

/* Has the cluster noticed? */
static bool is_full(void *aux)
{
	CLEANUP_STR char *out = test_ceph_run(cw_ceph, "ceph health detail");
	const bool *wanted = aux;

	return (strstr(out, "POOL_FULL") != NULL) == *wanted;
}

static void make_full(bool wanted)
{
	set_full(wanted);
	if (!wait_until(is_full, &wanted, RUN_MSEC))
		fail_msg("the cluster does not notice that it is%s full",
			wanted ? "" : " not");
}

static void full_pool(void **state)
{
	static const char uuid[] = "433e4567-e89b-42d3-a456-426614174000";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	char *p = xcalloc(1, MIB);
	struct image_sink *k = NULL;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM2, 0, 2, &im);
	cw_must(image_sink_open(lab->store, uuid, GIB, &k, &e), &e);
	make_full(true);
	cw_must_fail(disk_lab_ensure(lab, VM1, 0, 2, &im, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full: there is no room for disk 0 of 2 GiB");
	cw_must_fail(disk_lab_ensure(lab, VM1, 0, 2, NULL, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full");
	cw_must_fail(image_sink_write(k, 0, p, MIB, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full: there is no room for the image");
	image_sink_close(k);
	cw_must_fail(image_sink_open(lab->store, uuid, GIB, &k, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full");
	/* What is in the way can be removed. */
	disk_lab_must_remove(lab, VM2);
	make_full(false);
	cw_pool_is(CW_VM_POOL, "");
	cw_pool_is(CW_POOL, IMAGE " ");
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	free(p);
}

static void no_such_pool(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };
	int64_t size;

	str_set(&lab->conf.vm_pool, xstrdup("nothing"));
	disk_lab_open(lab);
	cw_must_fail(disk_stat(lab->store, VM1, 0, &size, &e), &e, ERR_UNAVAILABLE,
		"the Ceph cluster has no pool \"nothing\"");
	str_set(&lab->conf.vm_pool, xstrdup(CW_VM_POOL));
	str_set(&lab->conf.ceph_conf, xstrdup("/nonexistent/ceph.conf"));
	disk_lab_open(lab);
	cw_must_fail(disk_stat(lab->store, VM1, 0, &size, &e), &e, ERR_UNAVAILABLE,
		"/nonexistent/ceph.conf: No such file or directory");
	str_set(&lab->conf.ceph_conf, xstrdup(test_ceph_path(cw_ceph)));
	disk_lab_open(lab);
}

static void space_is_unknown(void **state)
{
	struct disk_lab *lab = *state;
	int64_t total = 0, available = 0;
	struct err e = { 0 };

	cw_must(disk_space(lab->store, &total, &available, &e), &e);
	assert_int_equal(total, -1);
	assert_int_equal(available, -1);
}

/* ---------------------------------------------------------------- keys */

static void source_has_the_key(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_spec spec = { VM1, 1, 1 };
	CLEANUP(disk_source_done) struct disk_source src = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	cw_must(disk_source_get(lab->store, &spec, &src, &e), &e);
	uuid_of_name("local", uuid);
	assert_string_equal(src.path, CW_VM_POOL "/" VM1 ".1");
	assert_string_equal(src.format, "raw");
	assert_int_equal(src.mons.len, 1);
	assert_int_equal(strncmp(src.mons.v[0], "[::1]:", 6), 0);
	assert_string_equal(src.user, "libvirt");
	assert_string_equal(src.secret_uuid, uuid);
	CLEANUP_STR char *key =
		test_ceph_run(cw_ceph, "ceph auth get-key client.libvirt");
	assert_string_equal(src.secret, key);
}

static void source_without_a_key(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_spec spec = { VM1, 0, 1 };
	CLEANUP(disk_source_done) struct disk_source src = { 0 };
	struct err e = { 0 };

	cw_must(disk_source_get(lab->store, &spec, &src, &e), &e);
	assert_null(src.user);
	assert_null(src.secret_uuid);
	assert_null(src.secret);
}

static void refused(struct disk_lab *lab, const char *words)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	int64_t start = test_now_msec();
	struct err e = { 0 };

	cw_must_fail(disk_list(lab->store, &vms, &e), &e, ERR_UNAVAILABLE, words);
	assert_true(test_now_msec() - start < CW_SHORT_MSEC);
}

static void wrong_key(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *file = xasprintf("%s/keyring", lab->dir);
	CLEANUP_STR char *lines = xasprintf("keyring = %s\n" CW_SHORT_LIMITS, file);
	const char *path = test_ceph_path_with(cw_ceph, lines);
	CLEANUP_STR char *right = NULL, *text = NULL;

	/* Another one's. */
	right = test_ceph_run(cw_ceph, "ceph auth get-key client.libvirt");
	CLEANUP_STR char *other =
		test_ceph_run(cw_ceph, "ceph auth get-key client.admin");
	text = xasprintf("[client.libvirt]\nkey = %s\n", other);
	test_write_file(file, text);
	cw_open_as(lab, path, "libvirt");
	refused(lab, "does not take the key of user client.libvirt");
	cw_open_as(lab, path, "nobody");
	refused(lab, "no key of user client.nobody");
	/* Somebody puts the right one there: no restart is needed. */
	cw_open_as(lab, path, "libvirt");
	refused(lab, "does not take the key");
	str_set(&text, xasprintf("[client.libvirt]\nkey = %s\n", right));
	test_write_file(file, text);
	disk_lab_list_is(lab, "");
}

/* A host needs to read images only. */
static void user_of_a_host(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct image_sink *k = NULL;
	struct err e = { 0 };

	cw_open_as(lab, test_ceph_path(cw_ceph), "vmhost");
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	cw_must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	cw_must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	cw_must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	cw_must(disk_flatten(lab->store, VM1, 0, &e), &e);
	disk_lab_must_ensure(lab, VM1, 1, 2, &im);
	disk_lab_must_remove(lab, VM1);
	cw_must_fail(image_sink_open(lab->store, VM2, GIB, &k, &e), &e, ERR_UNAVAILABLE,
		"does not let user client.vmhost do that");
	cw_must_fail(image_remove(lab->store, IMAGE, &e), &e, ERR_UNAVAILABLE,
		"does not let user client.vmhost do that");
	cw_open_as(lab, test_ceph_path(cw_ceph), CW_USER);
}

static bool knows_space(void *aux)
{
	struct disk_lab *lab = aux;
	int64_t total = -1, available = -1;
	struct err e = { 0 };

	cw_must(disk_space(lab->store, &total, &available, &e), &e);
	return total > 0 && available > 0 && available <= total && total <= 8;
}

static void space_is_known(void **state)
{
	if (!wait_until(knows_space, *state, RUN_MSEC))
		fail_msg("the space is not known");
}

/* ---------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest only_ceph[] = {
		DISK_CASE(nothing_is_left),
		DISK_CASE(features_are_as_chosen),
		DISK_CASE(image_missing),
		DISK_CASE(open_disks_stay),
		DISK_CASE(foreign_images_stay),
		DISK_CASE(snapshots_outlive_the_image),
		DISK_CASE(no_such_pool),
		DISK_CASE(space_is_unknown),
		DISK_CASE(source_without_a_key),
	};
	const struct CMUnitTest with_keys[] = {
		/* First: nothing was ever removed from its pools. */
		DISK_CASE(full_pool),
		DISK_CASE(nothing_is_left),
		DISK_CASE(source_has_the_key),
		DISK_CASE(wrong_key),
		DISK_CASE(user_of_a_host),
		DISK_CASE(space_is_known),
	};
	const struct test_ceph_conf real = { true, true, true };
	int failed;

	test_need_command("qemu-io");
	cw_ceph = test_ceph_start(NULL);
	disk_cases_set(&cw_kind);
	failed = _cmocka_run_group_tests(
		"Ceph, as every store", disk_cases, disk_cases_len, NULL, NULL);
	failed += cmocka_run_group_tests_name("Ceph", only_ceph, NULL, NULL);
	test_ceph_free(cw_ceph);
	cw_ceph = test_ceph_start(&real);
	failed +=
		cmocka_run_group_tests_name("BlueStore and keys", with_keys, NULL, NULL);
	return failed != 0;
}
