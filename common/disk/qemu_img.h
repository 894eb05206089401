/*
 * qemu-img(1), with limits on time, memory and output. Paths are absolute: QEMU would read
 * "nbd:..." and the like in others. Formats are always stated, never guessed. Any thread.
 *
 * An image that a running domain (or another qemu-img) has open gives ERR_UNAVAILABLE: QEMU
 * locks its images. No sentence holds one of the paths.
 */
#ifndef UCLOUD_QEMU_IMG_H
#define UCLOUD_QEMU_IMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* A copy of all that an image holds, read through what lies under it. */
struct qemu_img_convert {
	/* An absolute path, or an URL that QEMU knows ("rbd:..."). */
	const char *source, *source_format;
	const char *target, *target_format; /* "raw" or "qcow2" */
	/* The target is there, at least as large; else it is made. With is_target_zero
	 * (nothing was written to it yet) zeros are left out. */
	bool is_target_there, is_target_zero;
	int64_t limit_msec;
	/* No file becomes larger than this; 0: no limit, as for a target that is no file. */
	uint64_t limit_file;
	/* Each time it grows by a percent, in the thread that called; may be NULL. */
	void (*on_progress)(void *aux, int percent);
	void *aux;
};
/* The target is durable then; what a failure leaves of it is the caller's to remove.
 * ERR_INVALID: the source cannot be used; ERR_NO_SPACE; ERR_NOT_FOUND: there is no source;
 * ERR_UNAVAILABLE: what holds one of them does not answer; ERR_TIMEOUT. */
int qemu_img_convert(const struct qemu_img_convert *c, struct err *e) MUST_USE;

/* The following change a qcow2 file that nobody has open. */

/* To a size that is not smaller. */
int qemu_img_resize(const char *path, int64_t size_bytes, struct err *e) MUST_USE;
/* What lies under it is copied into it, so that nothing does any more. Its snapshots would
 * lose that: there must be none. */
int qemu_img_flatten(const char *path, int64_t limit_msec, struct err *e) MUST_USE;

enum qemu_img_snapshot {
	QEMU_IMG_SNAPSHOT_MAKE,
	QEMU_IMG_SNAPSHOT_APPLY,
	QEMU_IMG_SNAPSHOT_REMOVE
};
/* A snapshot inside of it. MAKE: by a name that is not there yet (the format would take it
 * twice); REMOVE: by name; APPLY: by qemu_img_info.snapshots[].id, because a name may look
 * like the id of another one. */
int qemu_img_snapshot(const char *path, enum qemu_img_snapshot what, const char *which,
	struct err *e) MUST_USE;

/* What a qcow2 file says of itself; it may be in use. What lies under it is not opened. */
struct qemu_img_info {
	int64_t virtual_bytes;
	bool has_backing;
	struct qemu_img_snapshot_info {
		char *id, *name;
	} * snapshots;
	size_t n_snapshots;
};
int qemu_img_info(const char *path, struct qemu_img_info *out, struct err *e) MUST_USE;
void qemu_img_info_done(struct qemu_img_info *info);

/* ----------------------------------------------------- pure; for the above and its test */

/* What an exit status other than 0 and the text on stderr mean. */
int qemu_img_error(int status, const char *text, const char *path, const char *backing,
	struct err *e);

/* Reads the percents that `-p` prints, in pieces: the newest one that is whole. */
struct qemu_img_progress {
	bool is_in_number;
	int number, percent;
};
/* Is p->percent another one than before? */
bool qemu_img_progress_add(struct qemu_img_progress *p, const char *text, size_t size);

/* From `qemu-img info --output=json`. */
int qemu_img_info_parse(
	const char *json, size_t size, struct qemu_img_info *out, struct err *e) MUST_USE;

/* The path as a value of `--image-opts`, the caller's: commas end one there. */
char *qemu_img_escape(const char *path);

#endif
