/*
 * The content of an upload as a disk, from one of two places: a reader's connection (libnbd),
 * or the file itself, when that is raw: then there is nothing in it that could be understood
 * wrongly. What either says is not trusted. One thread uses one.
 */
#ifndef UCLOUD_IMAGE_CONTENT_H
#define UCLOUD_IMAGE_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct content;

/* Takes fd, a connection. ERR_INVALID: it does not answer, or does not have size bytes. */
int content_open_reader(
	int fd, int64_t size, struct content **out, struct err *e) MUST_USE;
/* fd is borrowed; several may use it at once. */
struct content *content_open_file(int fd);
void content_close(struct content *c); /* NULL is fine */

int content_read(
	struct content *c, int64_t offset, void *p, size_t size, struct err *e) MUST_USE;
/* What begins at offset: *len (1 to max_len) bytes that are all zeros, or perhaps are not. */
int content_extent(struct content *c, int64_t offset, int64_t max_len, int64_t *len,
	bool *is_zero, struct err *e) MUST_USE;

#endif
