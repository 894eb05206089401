/*
 * The images in an image store that are made of uploaded files: written piece by piece,
 * found, counted and removed. Used by ucloud-image. Images that an admin put into a
 * directory are not ours: nothing here touches them.
 *
 * An image that is not complete is not found, whatever was killed when: it is written under
 * a temporary name, made durable, and then gets its name, which is made of its uuid. What is
 * in the store is raw. Every call has a time limit. Any thread.
 */
#ifndef UCLOUD_IMAGES_H
#define UCLOUD_IMAGES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/model/image.h"

struct disk_store;
struct image_sink;

/* What the image's entry is to say of it. */
struct image_made {
	char *path; /* image.path */
	int format; /* enum image_format */
	int64_t virtual_bytes;
	int64_t size_bytes; /* what it takes */
};
void image_made_done(struct image_made *m);

/* virtual_bytes is a whole number of 512, as large as the store allows (max_image_gib). What
 * an earlier try for the same image left behind is removed. ERR_NO_SPACE; ERR_EXISTS: it is
 * complete already. */
int image_sink_open(struct disk_store *s, const char *image_uuid, int64_t virtual_bytes,
	struct image_sink **out, struct err *e) MUST_USE;
/* Several threads at once, in any order; p is free again afterwards. What is not written
 * reads as zeros, and takes no room: leave zeros out. ERR_NO_SPACE. */
int image_sink_write(struct image_sink *k, int64_t offset, const void *p, size_t size,
	struct err *e) MUST_USE;
/* Durable, protected, and under its name. After the last write. */
int image_sink_commit(
	struct image_sink *k, struct image_made *out, struct err *e) MUST_USE;
/* Removes what was written, unless it was committed. NULL is fine. */
void image_sink_close(struct image_sink *k);

/* 1: there is none that is complete. */
int image_find(struct disk_store *s, const char *image_uuid, struct image_made *out,
	struct err *e) MUST_USE;
/* How many disks lie on it; those of a directory cannot be told from here: 0. */
int image_n_users(struct disk_store *s, const struct image *im, unsigned *n,
	struct err *e) MUST_USE;
/* Complete or half made; none is fine. ERR_CONFLICT says how many disks lie on it. */
int image_remove(struct disk_store *s, const char *image_uuid, struct err *e) MUST_USE;
/* The uuids of the images that were made, or begun, here. */
int image_list(struct disk_store *s, struct strv *image_uuids, struct err *e) MUST_USE;

#endif
