/*
 * An uploaded file, opened for making an image of it: beneath base_dir and nowhere else, and
 * only while it is what ucloud-filescan has hashed. Blocks; any thread.
 */
#ifndef UCLOUD_IMAGE_SOURCE_H
#define UCLOUD_IMAGE_SOURCE_H

#include <sys/stat.h>

#include "common/model/file.h"

struct source {
	int fd; /* -1: none */
	struct stat st;
	const char *format; /* QEMU's name of it */
	int64_t virtual_bytes;
};

/*
 * ERR_UNAVAILABLE: base_dir is not there. ERR_NOT_FOUND, ERR_INVALID, ERR_CONFLICT: this file
 * cannot be used, or is another one than f says; the sentences are for its owner. Zeroes
 * *out first.
 */
int source_open(const char *base_dir, const char *default_realm, const struct file *f,
	struct source *out, struct err *e) MUST_USE;
/* Finds out what is in it: its format and size. ERR_INVALID: not an image that is wanted. */
int source_look(struct source *s, struct err *e) MUST_USE;
/* ERR_CONFLICT: it was changed since it was opened. */
int source_check_same(const struct source *s, struct err *e) MUST_USE;
void source_done(struct source *s);

#endif
