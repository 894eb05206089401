/*
 * Ceph as image store: what disk_rbd.c (disks), disk_rbd_snap.c (their snapshots) and
 * disk_rbd_image.c (images) share. Only for common/disk/.
 *
 * Whatever is made is made under a name of its own and renamed when it is complete. rbd_rename()
 * is no single step: it writes the new name's id, changes the pool's directory, and removes
 * the old name's id. Who died in between left an image with two names, of which the
 * directory knows one: both lead to the same id, and neither may be taken for rubbish while the
 * other is in use. disk_rbd_remove_image() knows this; nobody else removes anything.
 *
 * An image of ours carries the name it was made under in its metadata (DISK_RBD_MADE_AS), so that
 * what a rename left of it can be removed, too.
 */
#ifndef UCLOUD_DISK_RBD_H
#define UCLOUD_DISK_RBD_H

#include <pthread.h>

#include "common/disk/ceph_conn.h"
#include "common/disk/disk_impl.h"
#include "common/disk/ceph_name.h"

#define DISK_RBD_SNAPSHOT "ucloud" /* of an image: what disks are cloned from */
#define DISK_RBD_MADE_AS  "ucloud.made_as"

/* Without deep-flatten, a disk's snapshots would keep hold of its image after
 * disk_flatten(). */
#define DISK_RBD_FEATURES                                                                \
	(RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |    \
		RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN)
/*
 * Clones of format 1: the cluster itself refuses to unprotect a snapshot that has some, and a
 * host needs to read the pool of images only. With format 2 it would write there, and the
 * snapshot could be unprotected and removed below its clones.
 */
#define DISK_RBD_CLONE_FORMAT 1

struct disk_rbd {
	struct disk_store base;
	char *name, *pool, *vm_pool;
	int64_t max_image_gib;
	struct ceph_conn *conn;
	/* VMs of which disks are being made or removed in this process. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct strv busy;
};

static inline struct disk_rbd *disk_rbd(struct disk_store *s)
{
	return (struct disk_rbd *)s;
}

/* An open image; closed with disk_rbd_image_done(). */
struct disk_rbd_image {
	const struct ceph_lib *lib;
	rbd_image_t image;
};
/* 1: there is none of this name. Only to read, it is no watcher of the image. snapshot may
 * be NULL. */
int disk_rbd_open_ro(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	const char *snapshot, struct disk_rbd_image *out, struct err *e) MUST_USE;
int disk_rbd_open_rw(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	struct disk_rbd_image *out, struct err *e) MUST_USE;
void disk_rbd_image_done(struct disk_rbd_image *im);

/* The names in a pool that begin with the uuid (NULL: that parse), sorted. */
int disk_rbd_list(struct ceph_io *io, rados_ioctx_t pool, const char *uuid,
	struct strv *names, struct err *e) MUST_USE;
/* An empty image. ERR_NO_SPACE. */
int disk_rbd_create(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	int64_t size_bytes, struct err *e) MUST_USE;
/* A clone of the image's snapshot in the pool of disks; *rc is what the library says. */
int disk_rbd_clone(
	struct ceph_io *io, const char *image, const char *name, int *rc_out) MUST_USE;
/* Writes DISK_RBD_MADE_AS. */
int disk_rbd_mark(struct ceph_io *io, struct disk_rbd_image *im, const char *name,
	struct err *e) MUST_USE;
/* Gives it its name; ERR_EXISTS when that is taken. */
int disk_rbd_rename(struct ceph_io *io, rados_ioctx_t pool, const char *from,
	const char *to, struct err *e) MUST_USE;
/* Removes what is known by this name, with its snapshots; none is fine. ERR_UNAVAILABLE: it is
 * open somewhere. ERR_CONFLICT: clones of it exist. */
int disk_rbd_remove_image(
	struct ceph_io *io, rados_ioctx_t pool, const char *name, struct err *e) MUST_USE;
/* 0: nobody has it open; else ERR_UNAVAILABLE that says who. */
int disk_rbd_check_closed(struct ceph_io *io, struct disk_rbd_image *im, const char *name,
	struct err *e) MUST_USE;

/* The names of an image's snapshots that people made (not those of mirrors and groups). */
int disk_rbd_snap_names(struct ceph_io *io, struct disk_rbd_image *im, struct strv *out,
	struct err *e) MUST_USE;

/* disk_rbd_copy.c: makes `unfinished`, of the size ordered, with what spec->image of
 * spec->image_store holds; `name` is what the disk is to be called. */
int disk_rbd_copy(struct disk_rbd *r, struct ceph_io *io, const struct disk_spec *spec,
	const char *name, const char *unfinished, struct err *e) MUST_USE;

/* disk_rbd_snap.c */
int disk_rbd_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_rbd_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_rbd_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_rbd_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e);

/* disk_rbd_image.c */
int disk_rbd_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e);
int disk_rbd_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e);
int disk_rbd_image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e);
int disk_rbd_image_remove(struct disk_store *s, const char *image_uuid, struct err *e);
int disk_rbd_image_list(struct disk_store *s, struct strv *image_uuids, struct err *e);
int disk_rbd_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e);

#endif
