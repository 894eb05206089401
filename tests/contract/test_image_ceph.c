/*
 * ucloud-image with a real Ceph: an upload becomes an RBD image, a disk is cloned from it, and
 * both pools are empty again in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/disk/disk.h"
#include "tests/lib/image_world.h"
#include "tests/lib/test_ceph.h"
#include "tests/lib/test_util.h"

#define VM "33333333-3333-4333-8333-333333333333"

static struct test_ceph *ceph;

static int start(void **state)
{
	(void)state;
	ceph = test_ceph_start(NULL);
	iw.store_conf.type = STORE_CEPH;
	iw.store_conf.ceph_conf = xstrdup(test_ceph_path(ceph));
	iw.store_conf.ceph_user = xstrdup("libvirt");
	iw_start();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	iw_stop();
	test_ceph_free(ceph);
	return 0;
}

static void pools_are_empty(void)
{
	CLEANUP_STR char *images = test_ceph_run(ceph, "rbd ls images");
	CLEANUP_STR char *disks = test_ceph_run(ceph, "rbd ls uservms");

	assert_string_equal(images, "");
	assert_string_equal(disks, "");
}

static void same_as_upload(const char *name, const struct image *im)
{
	CLEANUP_STR char *file = xasprintf("%s/%s", iw.alice, name);
	CLEANUP_STR char *copy = test_path("copy");

	free(test_ceph_run(ceph, "rbd export images/%s %s", im->path, copy));
	assert_int_equal(test_run((const char *const[]){ "cmp", file, copy, NULL },
				 IW_LIMIT_MSEC, NULL),
		0);
	unlink(copy);
}

static void made_cloned_and_deleted(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 }, kept = { 0 };
	struct disk_spec spec = { .vm_uuid = VM, .size_gib = 1, .image = &im };
	struct err e = { 0 };

	(void)state;
	iw_upload("disk.img", 20, file);
	iw_order_create("cloned", file, uuid);
	iw_reaches(uuid, IMAGE_CREATED);
	assert_true(iw_read_image(uuid, &im));
	assert_int_equal(im.virtual_bytes, 20 << 20);
	same_as_upload("disk.img", &im);
	/* A disk whose VM's entry is not there (any more): it counts as well. */
	if (disk_ensure(iw.store, &spec, &e) < 0)
		fail_msg("%s", e.msg);
	iw_order_delete(uuid);
	assert_true(wait_until(iw_is_request_gone, uuid, IW_LIMIT_MSEC));
	assert_true(iw_read_image(uuid, &kept));
	assert_int_equal(kept.status, IMAGE_CREATED);
	assert_non_null(strstr(kept.reason, "1 VM is made of it"));
	same_as_upload("disk.img", &kept);
	if (disk_remove_all(iw.store, VM, &e) < 0)
		fail_msg("%s", e.msg);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
	iw_nothing_is_left(uuid, "cloned");
	pools_are_empty();
	assert_int_equal(iw_user_images(), 0);
}

/* Whatever comes first, in the end there is none. */
static void deleted_while_it_is_made(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];

	(void)state;
	iw_upload("disk.img", 100, file);
	for (int i = 0; i < 4; i++) {
		iw_order_create("brief", file, uuid);
		usleep((useconds_t)i * 60000);
		iw_order_delete(uuid);
		iw_reaches(uuid, -1);
		iw_nothing_is_left(uuid, "brief");
	}
	pools_are_empty();
}

/* Stopped in the middle and begun anew. */
static void stopped_in_the_middle(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };

	(void)state;
	iw_upload("disk.img", 100, file);
	iw_order_create("stopped", file, uuid);
	for (int i = 0; i < 3; i++) {
		usleep((useconds_t)i * 50000);
		iw_stop_daemon();
		iw_start_daemon();
	}
	iw_reaches(uuid, IMAGE_CREATED);
	assert_true(iw_read_image(uuid, &im));
	same_as_upload("disk.img", &im);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
	pools_are_empty();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_cloned_and_deleted),
		cmocka_unit_test(deleted_while_it_is_made),
		cmocka_unit_test(stopped_in_the_middle),
	};

	test_need_command("qemu-nbd");
	if (test_ceph_lacks())
		test_skip("%s", test_ceph_lacks());
	return cmocka_run_group_tests(tests, start, stop);
}
