/*
 * Ceph as the kind of store that the cases of disk_cases.h are run against, and what tests
 * that know it is Ceph share. One cluster at a time.
 */
#ifndef UCLOUD_TEST_CEPH_WORLD_H
#define UCLOUD_TEST_CEPH_WORLD_H

#include "common/disk/disk_rbd.h"
#include "tests/lib/disk_cases.h"
#include "tests/lib/test_ceph.h"

#define CW_POOL	   "images"
#define CW_VM_POOL "uservms"
#define CW_USER	   "libvirt"
/* Seconds that a test gives a cluster that is away. */
#define CW_SHORT_LIMITS                                                                  \
	"client mount timeout = 2\nrados mon op timeout = 2\nrados osd op timeout = 2\n"
/* What a few calls may take then. */
#define CW_SHORT_MSEC 30000

/* The cluster; the test starts it before the cases run. */
extern struct test_ceph *cw_ceph;
extern const struct disk_kind cw_kind;

/* Fail the test when a call did not succeed, or not fail with this kind and these words. */
void cw_must(int rc, const struct err *e);
void cw_must_fail(int rc, const struct err *e, enum err_kind want, const char *words);

/* A store in the cluster, with the ceph.conf of this path. */
void cw_conf(struct image_store *out, const char *path);
/* Opens the store anew with this ceph.conf and user. */
void cw_open_as(struct disk_lab *lab, const char *path, const char *name);

/* An image that is open. */
struct cw_held {
	struct ceph_conn *conn;
	struct ceph_io io;
	struct disk_rbd_image im;
};

/* A disk, as QEMU has it: it writes, and so has the image's lock. */
void *cw_hold(struct disk_lab *lab, const char *vm_uuid, unsigned index);
void cw_release(struct disk_lab *lab, void *held);

/* The names in a pool, as rbd(8) lists them: each with a blank after it. */
void cw_pool_is(const char *name, const char *want);
/* Waits: the cluster takes its time to remove objects that were in snapshots. */
void cw_pool_is_empty(const char *name);

#endif
