/*
 * The directory of users' files on the upload machine (file.h says how it is laid out), as
 * ucloud-api writes into it. An upload grows in <user>/.ucloud-upload/<file uuid>.part and
 * becomes the file in one step. No symbolic link is followed: users may write below their
 * directories by other ways (SFTP), too.
 *
 * Several processes may share the directory; whoever has a part open has it locked. Any
 * thread; one struct updir_part is used by one thread at a time. Everything may block on the
 * disk.
 */
#ifndef UCLOUD_UPDIR_H
#define UCLOUD_UPDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/sha512.h"
#include "common/model/names.h"

struct updir;

/* default_realm: whose users' directories are called by their names alone; may be "". */
int updir_open(const char *base_dir, const char *default_realm, struct updir **out,
	struct err *e) MUST_USE;
void updir_close(struct updir *d); /* NULL is fine */

struct updir_part {
	struct updir *dir;
	int user_fd, own_fd, fd; /* -1 none */
	char *filename;
	char part_name[UUID_STR_SIZE + 8];
	int64_t size; /* so much is there */
};

/* Opens and locks the part of an upload, and makes what is missing for it. ERR_CONFLICT:
 * somebody uploads this file now; a directory or link is in the way. */
int updir_part_open(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct updir_part *out, struct err *e) MUST_USE;
/* The same, but makes nothing: a part that does not exist has size 0 and fd -1. */
int updir_part_find(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct updir_part *out, struct err *e) MUST_USE;
/* Unlocks; the part stays for whoever goes on with it. */
void updir_part_close(struct updir_part *p);

/* Room on the disk for a file of total bytes (-1: unknown), and in the user's quota: all
 * files and parts of theirs, but the one that is replaced. *left is how large the file may
 * be. ERR_QUOTA, ERR_NO_SPACE. */
int updir_part_reserve(struct updir_part *p, int64_t total, int64_t quota_bytes,
	int64_t *left, struct err *e) MUST_USE;
/* From the beginning again: of a file with this SHA-512 ("" unknown), which is noted with the
 * part where the file system can do that. */
int updir_part_restart(struct updir_part *p, const char *sha512, struct err *e) MUST_USE;
/* Can a file with this SHA-512 go on where the part ends? True when one of them is unknown. */
bool updir_part_is_of(const struct updir_part *p, const char *sha512);
int updir_part_write(
	struct updir_part *p, const char *bytes, size_t size, struct err *e) MUST_USE;
/* Of all that is there. is_wanted (may be NULL) is asked now and then; when it says no:
 * ERR_UNAVAILABLE. */
int updir_part_hash(struct updir_part *p, bool (*is_wanted)(void *aux), void *aux,
	char out[SHA512_HEX_SIZE], struct err *e) MUST_USE;
/* The part becomes the file, for good: it and its name are on the disk. */
int updir_part_finish(struct updir_part *p, struct err *e) MUST_USE;
int updir_part_drop(struct updir_part *p, struct err *e) MUST_USE;

/* Removes a file, what there is of an upload of it, and directories that are empty then.
 * ERR_NOT_FOUND: there was neither. */
int updir_remove(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct err *e) MUST_USE;

/* Removes parts that nobody has written to since before (Unix time); how many. */
#define UPDIR_PART_AGE_SEC (INT64_C(7) * 86400)
int updir_sweep(struct updir *d, int64_t before, unsigned *n, struct err *e) MUST_USE;

#endif
