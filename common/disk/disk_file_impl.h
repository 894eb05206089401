/*
 * What the files of a directory as image store share. Only for common/disk/disk_file*.c.
 *
 * A disk or image is made under a temporary name and renamed, so that one that is there is
 * complete. Whoever changes something in a VM's directory holds an flock(2) on it: it goes
 * with the process, however that ends, and keeps out other threads and processes alike.
 */
#ifndef UCLOUD_DISK_FILE_IMPL_H
#define UCLOUD_DISK_FILE_IMPL_H

#include "common/disk/disk_impl.h"
#include "common/disk/image_header.h"

#define GIB (INT64_C(1) << 30)

/* QEMU runs as another user: it may pass through, and write where its group may. */
#define DIR_MODE  0711
#define DISK_MODE 0660

/* "<n>.qcow2" and ".<n>.qcow2.tmp". */
#define DISK_FILE_NAME_SIZE 32

struct file_store {
	struct disk_store base;
	char *name;
	char *path;
	int64_t max_image_bytes;
	int root_fd;
	int vms_fd;
};

struct file_store *disk_file_store(struct disk_store *s);

/* ------------------------------------------------------------ disk_file.c */

/* For CLEANUP on "int fd"; < 0 is fine. */
void disk_file_close_fd(const int *fd);
/*
 * Makes a directory; fine when it is there. Its mode is at least ours, whatever the umask
 * is, also when a crash came between making it and that; the bit that hands the parent's
 * group on stays. One that belongs to somebody else is left as it is. -1 and errno.
 */
int disk_file_make_dir(int at, const char *name) MUST_USE;
/* The names in a directory but "." and "..", sorted. -1 and errno. */
int disk_file_list_names(int dir_fd, struct strv *out) MUST_USE;
/* All of it; -1 and errno. */
int disk_file_write_at(int fd, const void *p, size_t size, int64_t at) MUST_USE;
/* In bytes. */
int disk_file_space(
	struct disk_store *s, int64_t *total, int64_t *available, struct err *e) MUST_USE;

/* -------------------------------------------------------- disk_file_dir.c */

void disk_file_name(char out[DISK_FILE_NAME_SIZE], unsigned index);
void disk_file_temporary_name(char out[DISK_FILE_NAME_SIZE], unsigned index);
/* "<path>/vms/<uuid>/<name>", the caller's. */
char *disk_file_path(struct file_store *f, const char *vm_uuid, const char *name);
/* Opens and locks a VM's directory; closing *out unlocks it. 1 when it is not there, also
 * when it went while we waited. */
int disk_file_dir_find(
	struct file_store *f, const char *uuid, int *out, struct err *e) MUST_USE;
/* The same, and makes it first when it is not there. */
int disk_file_dir_open(
	struct file_store *f, const char *uuid, int *out, struct err *e) MUST_USE;
/* What a disk says of itself; 1: there is none. */
int disk_file_header(struct file_store *f, const char *vm_uuid, unsigned index,
	struct image_header *out, struct err *e) MUST_USE;
int disk_file_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e) MUST_USE;
int disk_file_remove_all(
	struct disk_store *s, const char *vm_uuid, struct err *e) MUST_USE;

/* ------------------------------------------------------- disk_file_make.c */

int disk_file_ensure(
	struct disk_store *s, const struct disk_spec *spec, struct err *e) MUST_USE;
int disk_file_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e) MUST_USE;

/* How long copying so much may take, when nothing is wrong: also on a slow disk. */
int64_t disk_file_copy_msec(int64_t size_bytes);

/* ----------------------------------------------------- disk_file_change.c */

int disk_file_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct err *e) MUST_USE;
int disk_file_grow(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t size_gib, struct err *e) MUST_USE;
int disk_file_flatten(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct err *e) MUST_USE;
int disk_file_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
int disk_file_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
int disk_file_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e) MUST_USE;
int disk_file_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e) MUST_USE;

/* ------------------------------------------------------ disk_file_image.c */

/* Where the image is, the caller's. */
char *disk_file_image_path(struct file_store *f, const struct image *im);
int disk_file_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e) MUST_USE;
int disk_file_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e) MUST_USE;
int disk_file_image_n_users(struct disk_store *s, const struct image *im, unsigned *n,
	struct err *e) MUST_USE;
int disk_file_image_remove(
	struct disk_store *s, const char *image_uuid, struct err *e) MUST_USE;
int disk_file_image_list(
	struct disk_store *s, struct strv *image_uuids, struct err *e) MUST_USE;
int disk_file_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e) MUST_USE;

#endif
