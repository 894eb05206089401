/*
 * What an implementation of disk.h provides. Only for common/disk/. disk.c has checked the
 * arguments before it calls one: the uuid is a uuid, index and size are within the limits.
 */
#ifndef UCLOUD_DISK_IMPL_H
#define UCLOUD_DISK_IMPL_H

#include "common/disk/disk.h"
#include "common/disk/images.h"

/* The calls of disk.h. Implementations embed struct disk_store as their first member. */
struct disk_ops {
	int (*open)(
		const struct image_store *conf, struct disk_store **out, struct err *e);
	void (*close)(struct disk_store *s);
	int (*ensure)(struct disk_store *s, const struct disk_spec *spec, struct err *e);
	int (*remove_all)(struct disk_store *s, const char *vm_uuid, struct err *e);
	int (*stat)(struct disk_store *s, const char *vm_uuid, unsigned index,
		int64_t *size_bytes, struct err *e);
	/* May be NULL, with all up to snapshot_list: ERR_UNSUPPORTED. */
	bool (*is_live_ok)(struct disk_store *s);
	int (*remove)(
		struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e);
	int (*grow)(struct disk_store *s, const char *vm_uuid, unsigned index,
		int64_t size_gib, struct err *e);
	int (*flatten)(
		struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e);
	int (*snapshot_make)(struct disk_store *s, const char *vm_uuid, unsigned index,
		const char *snapshot, struct err *e);
	int (*snapshot_remove)(struct disk_store *s, const char *vm_uuid, unsigned index,
		const char *snapshot, struct err *e);
	int (*snapshot_restore)(struct disk_store *s, const char *vm_uuid, unsigned index,
		const char *snapshot, struct err *e);
	int (*snapshot_list)(struct disk_store *s, const char *vm_uuid, unsigned index,
		struct strv *out, struct err *e);
	int (*list)(struct disk_store *s, struct strv *vm_uuids, struct err *e);
	int (*source_get)(struct disk_store *s, const struct disk_spec *spec,
		struct disk_source *out, struct err *e);
	int (*space)(struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes,
		struct err *e);
	/* images.h; NULL as above. */
	int (*sink_open)(struct disk_store *s, const char *image_uuid,
		int64_t virtual_bytes, struct image_sink **out, struct err *e);
	int (*image_find)(struct disk_store *s, const char *image_uuid,
		struct image_made *out, struct err *e);
	int (*image_n_users)(
		struct disk_store *s, const struct image *im, unsigned *n, struct err *e);
	int (*image_remove)(struct disk_store *s, const char *image_uuid, struct err *e);
	int (*image_list)(struct disk_store *s, struct strv *image_uuids, struct err *e);
	/* The image as qemu-img(1) names it, read only, for copying it into another store. */
	int (*image_source)(struct disk_store *s, const struct image *im, char **url,
		char **format, struct err *e);
};

struct image_sink_ops {
	int (*write)(struct image_sink *k, int64_t offset, const void *p, size_t size,
		struct err *e);
	int (*commit)(struct image_sink *k, struct image_made *out, struct err *e);
	void (*close)(struct image_sink *k); /* removes what is not committed */
};

struct image_sink {
	const struct image_sink_ops *ops;
};

struct disk_store {
	const struct disk_ops *ops;
};

extern const struct disk_ops disk_file_ops, disk_rbd_ops;

/* Adds an implementation that only some programs are linked with. Before threads start. */
void disk_register(enum store_type type, const struct disk_ops *ops);

/* ERR_INVALID that names both sizes, when an image does not fit into the disk ordered. */
int disk_check_fits(const struct image *im, int64_t virtual_bytes, int64_t size_gib,
	struct err *e) MUST_USE;
/* ERR_CONFLICT, when a disk that exists is smaller than the one ordered. */
int disk_check_existing(
	const struct disk_spec *spec, int64_t virtual_bytes, struct err *e) MUST_USE;

#endif
