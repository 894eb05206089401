/*
 * qemu-img(1), with limits on time, memory and output. Paths are absolute: QEMU would read
 * "nbd:..." and the like in others. Any thread.
 */
#ifndef UCLOUD_QEMU_IMG_H
#define UCLOUD_QEMU_IMG_H

#include <stdint.h>

#include "common/base/err.h"

/*
 * Makes a qcow2 file of a virtual size; backing (may be NULL) is what lies under it, in the
 * format backing_format, which is never guessed. ERR_NO_SPACE; ERR_INVALID: the backing
 * file cannot be used, and why. No sentence holds one of the paths.
 */
int qemu_img_create(const char *path, int64_t size_bytes, const char *backing,
	const char *backing_format, struct err *e) MUST_USE;

/* What an exit status other than 0 and the text on stderr mean; for the above and its test. */
int qemu_img_error(int status, const char *text, const char *path, const char *backing,
	struct err *e);

#endif
