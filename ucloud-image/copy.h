/*
 * Copies the content of an upload (content.h) into an image store: several threads, each with
 * a connection of its own to the reader, in pieces; holes and zeros are left out.
 */
#ifndef UCLOUD_IMAGE_COPY_H
#define UCLOUD_IMAGE_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/disk/images.h"
#include "ucloud-image/reader.h"

struct copy_conf {
	unsigned n_threads; /* connections, at most READER_CLIENTS_MAX */
	/* Asked several times a second by the thread that called: < 0 ends it. May block for
	 * some time; the copying goes on. */
	int (*tick)(void *aux, int percent, struct err *e);
	void *aux;
};

struct copy_from {
	struct reader *reader; /* NULL: */
	int file;	       /* a raw file, read as it is */
	int64_t virtual_bytes; /* what its header said */
};

/* ERR_INVALID when a reader says something else than its header, or cannot read the content.
 * *n_bytes (may be NULL): how many were written. */
int copy_run(const struct copy_from *from, struct image_sink *k,
	const struct copy_conf *conf, int64_t *n_bytes, struct err *e) MUST_USE;

/* The next part of p that is to be written, which is not all zeros: from *at on, at most to
 * size; false: there is none. *len is its length. Pure. */
bool copy_next_run(const void *p, size_t size, size_t *at, size_t *len);

#endif
