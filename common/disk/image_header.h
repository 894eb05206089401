/*
 * Reads the header of a disk image that nobody may trust. Pure (bytes in, facts out), and
 * fuzzed. QEMU's docs/interop/qcow2.txt describes the format.
 */
#ifndef UCLOUD_IMAGE_HEADER_H
#define UCLOUD_IMAGE_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* How much of the file's beginning is enough. */
#define IMAGE_HEADER_SIZE 65536

struct image_header {
	int is_qcow2; /* else: raw, as far as one can tell */
	int64_t virtual_bytes;
	int has_backing_file;
	int has_data_file;
	int is_encrypted;
	int is_corrupt; /* marked so */
	unsigned n_snapshots;
};

/* file_size is the whole file's. ERR_INVALID for a qcow2 that is malformed. */
int image_header_parse(const void *p, size_t size, int64_t file_size,
	struct image_header *out, struct err *e) MUST_USE;

#endif
