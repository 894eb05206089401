/*
 * Small files, whole: reading with a limit, writing so that a reader or a crash sees the
 * old or the new content and nothing between. Any thread.
 */
#ifndef UCLOUD_FILE_H
#define UCLOUD_FILE_H

#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/err.h"

/* Appends the content to out. More than max bytes is ERR_TOO_LARGE. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e) MUST_USE;

enum file_write_mode {
	FILE_REPLACE,  /* whatever is there */
	FILE_NEW,      /* a file that exists is ERR_EXISTS */
	FILE_KEEP_OLD, /* what was there is kept as PATH.old */
	/* No temporary name, fsync alone: for a file that nobody reads before its writer, the
	 * only one, renames it. Whoever dies leaves none but this one. */
	FILE_IN_PLACE
};

/* Temporary name in the same directory, fsync, rename, fsync of the directory. */
int file_write(const char *path, const void *p, size_t size, mode_t mode,
	enum file_write_mode how, struct err *e) MUST_USE;

#endif
