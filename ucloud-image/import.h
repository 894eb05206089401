/*
 * Makes an image of an uploaded file in an image store, from opening the one to committing
 * the other. Of etcd it knows nothing. Blocks for as long as that takes; any thread.
 */
#ifndef UCLOUD_IMAGE_IMPORT_H
#define UCLOUD_IMAGE_IMPORT_H

#include "common/disk/images.h"
#include "common/model/file.h"
#include "ucloud-image/reader.h"

struct import_conf {
	const char *base_dir, *default_realm;
	struct reader_conf reader; /* its limit_sec is also that of the whole import */
	unsigned n_threads;
};

struct import {
	const struct import_conf *conf;
	struct disk_store *store;
	const char *store_name;
	int64_t max_image_gib;
	const char *image_uuid;
	const struct file *file;
	/* Several times a second, while content is copied: < 0 ends it. */
	int (*tick)(void *aux, int percent, struct err *e);
	/* When all is written, before it becomes complete: < 0 drops it. */
	int (*may_commit)(void *aux, struct err *e);
	void *aux;
};

/* Errors of a kind that does not pass are of the file. What was begun in the store is removed
 * then. ERR_EXISTS: it is complete there already. */
int import_run(const struct import *im, struct image_made *out, struct err *e) MUST_USE;

#endif
