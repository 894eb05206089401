/*
 * A connection to a Ceph cluster for one store: made when it is first needed, shared by all
 * threads, made anew after it broke. All calls have time limits: those of the store's
 * ceph.conf (client_mount_timeout, rados_mon_op_timeout, rados_osd_op_timeout), else ours.
 */
#ifndef UCLOUD_CEPH_CONN_H
#define UCLOUD_CEPH_CONN_H

#include "common/base/buf.h"
#include "common/disk/ceph_lib.h"
#include "common/model/image.h"

#define CEPH_CONF_DEFAULT "/etc/ceph/ceph.conf"
#define CEPH_USER_DEFAULT "libvirt"
/* Seconds, when ceph.conf says nothing; beyond them a cluster counts as not reachable. */
#define CEPH_LIMIT_CONNECT "5"
#define CEPH_LIMIT_MON	   "5"
#define CEPH_LIMIT_OSD	   "10"

struct ceph_conn;
struct ceph_session;

/* Copies what it needs; does not connect. */
struct ceph_conn *ceph_conn_new(const struct image_store *conf);
/* When nobody uses it any more. NULL is fine. */
void ceph_conn_free(struct ceph_conn *c);
const char *ceph_conn_user(const struct ceph_conn *c); /* without "client." */
const char *ceph_conn_conf(const struct ceph_conn *c); /* path of its ceph.conf */

/* What a caller works with, until it gives it back. */
struct ceph_io {
	const struct ceph_lib *lib;
	rados_ioctx_t images, vms; /* the store's pools */
	struct ceph_conn *conn;
	struct ceph_session *session;
};

/* Connects when need be. ERR_UNAVAILABLE says what is wrong: the cluster does not answer, does
 * not take the key, has no such pool. */
int ceph_io_take(struct ceph_conn *c, struct ceph_io *io, struct err *e) MUST_USE;
/* Fine when there is nothing to give back. */
void ceph_io_give(struct ceph_io *io);

/*
 * What a failed call of the library (rc < 0) means, as a sentence: "<what was tried>: <why>".
 * ENOENT, EEXIST and EBUSY are ERR_NOT_FOUND, ERR_EXISTS and ERR_UNAVAILABLE; a full pool is
 * ERR_NO_SPACE. Notes when the connection is broken. Returns -1.
 */
int ceph_io_error(struct ceph_io *io, int rc, struct err *e, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

/* "[addr]:port" of the monitors. */
int ceph_io_mons(struct ceph_io *io, struct strv *mons, struct err *e) MUST_USE;
/* The key with which we logged in, the caller's, who wipes it; NULL: the cluster wants none. */
int ceph_io_key(struct ceph_io *io, char **key, struct err *e) MUST_USE;
/* Of the pool of disks; -1 unknown. */
int ceph_io_space(struct ceph_io *io, int64_t *total_bytes, int64_t *free_bytes,
	struct err *e) MUST_USE;

#endif
