/*
 * A new, empty qcow2 file, as qemu-img(1) would make it, without starting a process for it:
 * which bytes stand where; all others are zero. Pure. The format is described by QEMU's
 * docs/interop/qcow2.txt.
 */
#ifndef UCLOUD_QCOW2_NEW_H
#define UCLOUD_QCOW2_NEW_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define QCOW2_CLUSTER	      65536
#define QCOW2_BACKING_MAX     1023 /* bytes of the backing file's name */
#define QCOW2_HEADER_SIZE_MAX 1280
#define QCOW2_SIZE_MAX	      (INT64_C(1) << 48)

/*
 *	cluster 0   header, format and name of the backing file
 *	cluster 1   reference table: one entry, which leads to
 *	cluster 2   reference counts: 1 for each cluster of the file
 *	cluster 3-  cluster table (L1): empty, one entry for each 512 MiB of the disk
 */
struct qcow2_new {
	unsigned char header[QCOW2_HEADER_SIZE_MAX]; /* at 0 */
	size_t header_size;
	unsigned char table[8]; /* at QCOW2_CLUSTER */
	unsigned char *counts;	/* at 2 * QCOW2_CLUSTER */
	size_t counts_size;
	int64_t file_size;
};

/* size_bytes: of the disk, whole sectors of 512, at most QCOW2_SIZE_MAX. backing (may be NULL) is what lies
 * under it, in backing_format, which is never guessed: "raw" or "qcow2". *out is zeroed or
 * valid before. ERR_INVALID: backing is too long for the format. */
int qcow2_new_make(int64_t size_bytes, const char *backing, const char *backing_format,
	struct qcow2_new *out, struct err *e) MUST_USE;
void qcow2_new_done(struct qcow2_new *q);

#endif
