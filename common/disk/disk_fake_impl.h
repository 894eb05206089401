/*
 * What the files of the disks in memory share. Only for common/disk/disk_fake*.c.
 */
#ifndef UCLOUD_DISK_FAKE_IMPL_H
#define UCLOUD_DISK_FAKE_IMPL_H

#include "common/disk/disk_fake.h"
#include "common/disk/disk_impl.h"

struct fake_snapshot {
	char *name;
	int64_t size_bytes; /* of the disk then */
};

struct fake_disk {
	char vm_uuid[UUID_STR_SIZE];
	unsigned index;
	int64_t size_bytes;
	char image_uuid[UUID_STR_SIZE];	 /* that it lies on; "" none */
	struct fake_snapshot *snapshots; /* by name */
	size_t n_snapshots;
};

/* One that was made of an upload, or is being made. */
struct fake_image {
	char uuid[UUID_STR_SIZE];
	int64_t virtual_bytes, written;
	int fd; /* a memfd: what was written; -1 nothing yet */
	bool is_complete;
	unsigned try; /* whose sink may write to it */
};

/* What a store holds, and what is to go wrong with it. */
struct fake_content {
	char *name;
	struct fake_disk *disks; /* by uuid and index */
	size_t n_disks;
	struct fake_image *images; /* by uuid */
	size_t n_images;
	unsigned n_made, n_tries;
	unsigned n_fail, n_fail_after;
	enum err_kind fail_kind, fail_after_kind;
	bool is_full;
	int64_t total_gib, free_gib;
	struct fake_content *next;
};

struct fake_store {
	struct disk_store base;
	char *name;
	bool is_shared; /* of type Ceph */
	int64_t max_image_bytes;
};

/* ------------------------------------------------------------ disk_fake.c */

/* Locks the world of all stores; until disk_fake_unlock(). */
struct fake_content *disk_fake_lock(struct disk_store *s);
struct fake_content *disk_fake_lock_name(const char *store);
void disk_fake_unlock(void);
/* The failure that was ordered for a call, else 0. */
int disk_fake_fail_now(struct fake_content *c, struct err *e);
int disk_fake_fail_then(struct fake_content *c, struct err *e);
/* Borrowed until the world is unlocked or a disk added or removed; NULL: there is none. */
struct fake_disk *disk_fake_find(
	struct fake_content *c, const char *vm_uuid, unsigned index);
void disk_fake_forget(struct fake_content *c, struct fake_disk *d);
/* Has a domain it open? */
bool disk_fake_is_in_use(const char *vm_uuid);

/* ----------------------------------------------------- disk_fake_change.c */

int disk_fake_remove(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e);
int disk_fake_grow(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t size_gib, struct err *e);
int disk_fake_flatten(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e);
int disk_fake_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_fake_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_fake_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e);
int disk_fake_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e);

/* ------------------------------------------------------ disk_fake_image.c */

int disk_fake_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e);
int disk_fake_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e);
int disk_fake_image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e);
int disk_fake_image_remove(struct disk_store *s, const char *image_uuid, struct err *e);
int disk_fake_image_list(struct disk_store *s, struct strv *image_uuids, struct err *e);
int disk_fake_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e);
/* Is it complete? The world is locked. */
bool disk_fake_has_image(const struct fake_content *c, const char *image_uuid);
void disk_fake_images_done(struct fake_content *c);

#endif
