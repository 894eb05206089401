/*
 * Image stores and the disks of VMs in them: one interface, one implementation for each
 * store type (disk_file.c: a directory; disk_rbd.c: Ceph pools; disk_fake.c: in memory, for
 * the simulation). Used by ucloud-host; images.h is the same for the images in them.
 *
 * Rules for all of them: a disk that exists is never overwritten; every call is idempotent
 * and may be repeated after a crash; a disk that is not complete is never seen by
 * disk_stat() as existing; every call has a time limit. Any thread.
 *
 * Directory layout of a filesystem store: <path>/images/... the images, those of uploads
 * <image uuid>.raw; <path>/vms/<vm uuid>/<n>.qcow2 the disks; <n> is the disk's index. Files
 * that we did not make are never touched. Snapshots are inside of the qcow2 file.
 *
 * Ceph: the image is an RBD image of the pool `pool`, named by its path, raw, with the
 * protected snapshot "ucloud"; the disk of index 0 is the RBD image <vm uuid> of the pool
 * `vm_pool`, others <vm uuid>.<n>. What is being made is called <name>.tmp-<random>.
 *
 * Rights there: QEMU runs as a user of its own. Directories are 0711, so that it may pass
 * through (whoever wants less closes <path> itself), disks 0660 and images 0444. Either libvirt gives a
 * disk to QEMU's user when it starts the VM (dynamic_ownership, its default), or <path>
 * belongs to QEMU's group and has the set-group bit, which directories and disks inherit.
 */
#ifndef UCLOUD_DISK_H
#define UCLOUD_DISK_H

#include <stdint.h>

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/model/image.h"
#include "common/model/names.h"

struct disk_store;

/* Copies conf. For a directory: it must exist (ERR_NOT_FOUND; the sentence names it, it is
 * for operators); vms/ is made. ERR_UNSUPPORTED: this program has no such type. */
int disk_store_open(
	const struct image_store *conf, struct disk_store **out, struct err *e) MUST_USE;
void disk_store_close(struct disk_store *s);

struct disk_spec {
	const char *vm_uuid;
	unsigned index;
	int64_t size_gib;
	const struct image *image; /* NULL: an empty disk */
	/* Where the image is, when that is another store: it is copied. Else NULL. */
	struct disk_store *image_store;
	/* Of copying, now and then; percent. NULL: nobody. */
	void (*on_progress)(void *aux, int percent);
	void *aux;
};

/*
 * Makes the disk when it is not there: for an image an overlay (qcow2 with explicit backing
 * format) or clone of the size ordered. Errors of the asker: ERR_NOT_FOUND (image file
 * missing), ERR_INVALID (not an image of the stated format; it names a backing or data file;
 * larger than size_gib), ERR_NO_SPACE, ERR_CONFLICT (the disk exists and is smaller); their
 * sentences name the image, never its path.
 */
int disk_ensure(
	struct disk_store *s, const struct disk_spec *spec, struct err *e) MUST_USE;
/* Removes all of a VM's disks with their snapshots, complete or half made; none is fine.
 * ERR_CONFLICT: there is something that is no disk of ours, which is left alone. */
int disk_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e) MUST_USE;
/* *size_bytes is the virtual size; 1 when it does not exist. */
int disk_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e) MUST_USE;
/*
 * The following are for a disk that no domain has open, unless is_live_ok() says that it
 * does not matter here (Ceph); else they fail with ERR_CONFLICT and the hypervisor does it.
 * ERR_NOT_FOUND: there is no such disk.
 */
bool disk_is_live_ok(struct disk_store *s);
/* One disk, with its snapshots, complete or half made; none is fine. */
int disk_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct err *e) MUST_USE;
/* To size_gib; fine when it is that large or larger: a disk never shrinks. */
int disk_grow(struct disk_store *s, const char *vm_uuid, unsigned index, int64_t size_gib,
	struct err *e) MUST_USE;
/* Makes it independent of its image; fine when it is. ERR_CONFLICT: it has snapshots, which
 * would lose what is in the image (a directory). */
int disk_flatten(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct err *e) MUST_USE;
/* Snapshots of one disk, by name (name_check()). Making one that is there and removing one
 * that is not are fine. Restoring needs a disk that nobody has open; the disk has the size
 * then that it had. ERR_NOT_FOUND: there is no such snapshot. */
int disk_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
int disk_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
int disk_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
/* Their names, sorted; of a disk that is not there: none. Live disks too. */
int disk_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e) MUST_USE;

/* The uuids of VMs that have something here. */
int disk_list(struct disk_store *s, struct strv *vm_uuids, struct err *e) MUST_USE;

/* How a domain reaches a disk. */
enum disk_source_kind { DISK_SOURCE_FILE, DISK_SOURCE_RBD };
struct disk_source {
	unsigned index; /* of the disk: it is vda, vdb, ... in the domain */
	enum disk_source_kind kind;
	char *format;			     /* "qcow2" or "raw" */
	char *path;			     /* file: absolute path; rbd: "pool/image" */
	char *backing_path, *backing_format; /* file with an image; else NULL */
	struct strv mons;		     /* rbd: "[addr]:port" */
	char *user, *secret_uuid; /* rbd with cephx; the secret is of libvirt */
	char *secret;		  /* its value (base64), to be defined there */
};
int disk_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e) MUST_USE;
void disk_source_done(struct disk_source *src);

/* In GiB, rounded down; -1 unknown. */
int disk_space(struct disk_store *s, int64_t *total_gib, int64_t *free_gib,
	struct err *e) MUST_USE;

#endif
