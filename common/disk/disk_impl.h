/*
 * What an implementation of disk.h provides. Only for common/disk/. disk.c has checked the
 * arguments before it calls one: the uuid is a uuid, index and size are within the limits.
 */
#ifndef UCLOUD_DISK_IMPL_H
#define UCLOUD_DISK_IMPL_H

#include "common/disk/disk.h"

/* The calls of disk.h. Implementations embed struct disk_store as their first member. */
struct disk_ops {
	int (*open)(
		const struct image_store *conf, struct disk_store **out, struct err *e);
	void (*close)(struct disk_store *s);
	int (*ensure)(struct disk_store *s, const struct disk_spec *spec, struct err *e);
	int (*remove_all)(struct disk_store *s, const char *vm_uuid, struct err *e);
	int (*stat)(struct disk_store *s, const char *vm_uuid, unsigned index,
		int64_t *size_bytes, struct err *e);
	int (*list)(struct disk_store *s, struct strv *vm_uuids, struct err *e);
	int (*source_get)(struct disk_store *s, const struct disk_spec *spec,
		struct disk_source *out, struct err *e);
	int (*space)(struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes,
		struct err *e);
};

struct disk_store {
	const struct disk_ops *ops;
};

extern const struct disk_ops disk_file_ops;

/* Adds an implementation that only some programs are linked with. Before threads start. */
void disk_register(enum store_type type, const struct disk_ops *ops);

/* ERR_INVALID that names both sizes, when an image does not fit into the disk ordered. */
int disk_check_fits(const struct image *im, int64_t virtual_bytes, int64_t size_gib,
	struct err *e) MUST_USE;
/* ERR_CONFLICT, when a disk that exists is smaller than the one ordered. */
int disk_check_existing(
	const struct disk_spec *spec, int64_t virtual_bytes, struct err *e) MUST_USE;

#endif
