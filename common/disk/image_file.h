/*
 * Image files that nobody may trust, in a directory: opening them without leaving it, and
 * saying why one cannot be used. Only reads. Any thread.
 */
#ifndef UCLOUD_IMAGE_FILE_H
#define UCLOUD_IMAGE_FILE_H

#include <stdint.h>

#include "common/disk/image_header.h"
#include "common/model/image.h"

/* Opens a file beneath a directory for reading: no symbolic link and no ".." is followed
 * (openat2(2), Linux 5.6). A descriptor, or -1 with errno; ELOOP: a symbolic link. */
int open_beneath(int dir_fd, const char *path) MUST_USE;
/* The same with more flags of open(2) and of openat2(2)'s resolve: O_DIRECTORY, or
 * RESOLVE_NO_XDEV (a file system that is mounted there is EXDEV). */
int open_beneath_with(int dir_fd, const char *path, int flags, uint64_t resolve) MUST_USE;

/* Reads the header of an open file, which must be a regular one (else ERR_INVALID). */
int image_header_read(
	int fd, struct image_header *out, int64_t *file_size, struct err *e) MUST_USE;

/* The same, and every table of it is followed: nothing of its data is missing, unless it
 * says so (is_truncated). */
int image_header_read_all(
	int fd, struct image_header *out, int64_t *file_size, struct err *e) MUST_USE;

/*
 * Can im be used as what it says it is? dir_fd is the directory that its path counts from.
 * ERR_NOT_FOUND: there is no such file; ERR_INVALID: it is not of the stated format, names
 * a backing or data file, is encrypted, damaged, or not the file that was registered. The
 * sentences name the image, not its path.
 */
int image_file_check(int dir_fd, const struct image *im, int64_t *virtual_bytes,
	struct err *e) MUST_USE;

#endif
