/*
 * A private Ceph (scripts/private-ceph) for tests. It is gone when the test program is,
 * however that ends. When Ceph is not installed, or we are not root, the test is skipped.
 * The main thread only.
 */
#ifndef UCLOUD_TEST_CEPH_H
#define UCLOUD_TEST_CEPH_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/base/mem.h"

struct test_ceph;

struct test_ceph_conf {
	bool is_bluestore; /* else its data are in memory */
	bool has_auth;	   /* cephx; see scripts/private-ceph for its users */
	bool has_mgr;	   /* it counts the space that is used */
};

/* The reason for which there can be no Ceph here; NULL: there can. */
const char *test_ceph_lacks(void);
/* Returns when its pools can be used. conf may be NULL. */
struct test_ceph *test_ceph_start(const struct test_ceph_conf *conf);
/* NULL is fine. Needed only for a Ceph that is to go early. */
void test_ceph_free(struct test_ceph *t);

/* Of its ceph.conf. Borrowed. */
const char *test_ceph_path(const struct test_ceph *t);
/* Another ceph.conf for it: these lines are added to the section of all clients. Borrowed. */
const char *test_ceph_path_with(struct test_ceph *t, const char *lines);

/* Stops its processes with SIGSTOP, and lets them go on. */
void test_ceph_freeze(struct test_ceph *t);
void test_ceph_thaw(struct test_ceph *t);

/* Runs "rbd" or "ceph", and the words of the line after it, as its admin; the output, which
 * is the caller's. Fails the program when the command does, unless it begins with "!". */
char *test_ceph_run(struct test_ceph *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
