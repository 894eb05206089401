/*
 * Changes of a disk that is there: qemu-img(1) makes them, and only while nobody has the disk
 * open. Each leaves the disk whole when it is cut off, and may be repeated.
 */
#include "common/disk/disk_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "common/disk/image_file.h"
#include "common/disk/qemu_img.h"

/* Where QEMU locks a byte of an image for everything that it does to it (block/file-posix.c
 * there): 100 and on for what it does, 200 and on for what others may not. */
#define QEMU_LOCK_START 100
#define QEMU_LOCK_LEN	200

/* 10 ms each. */
#define UNUSED_TRIES 100

/* A disk that is being changed. */
struct changed {
	struct file_store *f;
	const char *vm_uuid;
	unsigned index;
	int dir_fd, fd; /* the directory is locked */
	char *path;
	struct image_header header;
};

static void changed_done(struct changed *c)
{
	disk_file_close_fd(&c->fd);
	disk_file_close_fd(&c->dir_fd);
	free(c->path);
}

static int disk_error(const struct changed *c, struct err *e)
{
	return err_wrap(
		e, "disk %u of VM %s in store \"%s\"", c->index, c->vm_uuid, c->f->name);
}

static int refuse_absent(const struct changed *c, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "store \"%s\": VM %s has no disk %u", c->f->name,
		c->vm_uuid, c->index);
}

static int refuse_in_use(const struct changed *c, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"disk %u of VM %s in store \"%s\" is in use: the VM runs", c->index,
		c->vm_uuid, c->f->name);
}

static int is_in_use(const struct changed *c, bool *out, struct err *e)
{
	struct flock lock = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = QEMU_LOCK_START,
		.l_len = QEMU_LOCK_LEN };

	if (fcntl(c->fd, F_OFD_GETLK, &lock) != 0) {
		err_errno(e, errno, "its locks");
		return disk_error(c, e);
	}
	*out = lock.l_type != F_UNLCK;
	return 0;
}

/* Waits a moment: the qemu-img of a process that was killed ends a little later than that. */
static int check_unused(const struct changed *c, struct err *e)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	bool is_used = true;

	for (int i = 0; i < UNUSED_TRIES; i++) {
		if (is_in_use(c, &is_used, e) != 0)
			return -1;
		if (!is_used)
			return 0;
		nanosleep(&pause, NULL);
	}
	return refuse_in_use(c, e);
}

static int read_header(struct changed *c, struct err *e)
{
	int64_t file_size = 0;

	if (image_header_read(c->fd, &c->header, &file_size, e) != 0)
		return disk_error(c, e);
	if (c->header.kind != IMAGE_KIND_QCOW2)
		return err_set(e, ERR_CONFLICT,
			"disk %u of VM %s in store \"%s\" is not a qcow2 image; it is "
			"left as it is",
			c->index, c->vm_uuid, c->f->name);
	return 0;
}

/* Locks its directory and opens it. 1: there is none. */
static int find_disk(struct changed *c, struct err *e)
{
	char name[DISK_FILE_NAME_SIZE];
	int rc = disk_file_dir_find(c->f, c->vm_uuid, &c->dir_fd, e);

	if (rc != 0)
		return rc;
	disk_file_name(name, c->index);
	c->fd = open_beneath(c->dir_fd, name);
	if (c->fd < 0 && errno == ENOENT)
		return 1;
	if (c->fd < 0) {
		err_errno(e, errno, "opening it");
		return disk_error(c, e);
	}
	c->path = disk_file_path(c->f, c->vm_uuid, name);
	return check_unused(c, e);
}

static struct changed changed(struct disk_store *s, const char *vm_uuid, unsigned index)
{
	return (struct changed){ .f = disk_file_store(s),
		.vm_uuid = vm_uuid,
		.index = index,
		.dir_fd = -1,
		.fd = -1 };
}

static int begin(struct changed *c, struct err *e)
{
	int rc = find_disk(c, e);

	if (rc == 1)
		return refuse_absent(c, e);
	return rc == 0 ? read_header(c, e) : rc;
}

/* What qemu-img said of it. */
static int refuse_change(const struct changed *c, struct err *e)
{
	if (e && e->kind == ERR_UNAVAILABLE)
		return refuse_in_use(c, e);
	if (e && e->kind == ERR_NO_SPACE)
		return err_set(e, ERR_NO_SPACE,
			"store \"%s\" is full: there is no room to change disk %u of VM "
			"%s",
			c->f->name, c->index, c->vm_uuid);
	return disk_error(c, e);
}

/* Makes a change durable. */
static int end(const struct changed *c, struct err *e)
{
	if (fsync(c->fd) == 0)
		return 0;
	err_errno(e, errno, "writing it");
	return refuse_change(c, e);
}

/* ---------------------------------------------------------------- one disk */

static int unlink_disk(
	struct changed *c, const char *name, bool must_be_there, struct err *e)
{
	CRASH_POINT("disk.unlink.before");
	if (unlinkat(c->dir_fd, name, 0) != 0 && (must_be_there || errno != ENOENT)) {
		err_errno(e, errno, "removing it");
		return disk_error(c, e);
	}
	CRASH_POINT("disk.unlink.after");
	return 0;
}

int disk_file_remove(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);
	char name[DISK_FILE_NAME_SIZE], temporary[DISK_FILE_NAME_SIZE];
	int rc = find_disk(&c, e);

	if (rc < 0 || c.dir_fd < 0)
		return rc < 0 ? -1 : 0;
	disk_file_name(name, index);
	disk_file_temporary_name(temporary, index);
	if ((rc == 0 && unlink_disk(&c, name, true, e) != 0) ||
		unlink_disk(&c, temporary, false, e) != 0)
		return -1;
	if (fsync(c.dir_fd) != 0) {
		err_errno(e, errno, "removing it");
		return disk_error(&c, e);
	}
	/* Fails while another disk is there. */
	CRASH_POINT("disk.rmdir.before");
	unlinkat(c.f->vms_fd, vm_uuid, AT_REMOVEDIR);
	CRASH_POINT("disk.rmdir.after");
	return 0;
}

int disk_file_grow(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t size_gib, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);

	if (begin(&c, e) != 0)
		return -1;
	if (c.header.virtual_bytes >= size_gib * GIB)
		return 0;
	CRASH_POINT("disk.grow.before");
	if (qemu_img_resize(c.path, size_gib * GIB, e) != 0)
		return refuse_change(&c, e);
	CRASH_POINT("disk.grow.after");
	return end(&c, e);
}

int disk_file_flatten(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);

	if (begin(&c, e) != 0)
		return -1;
	if (!c.header.has_backing_file)
		return 0;
	/* Only the disk as it is now would get what the image holds. */
	if (c.header.n_snapshots > 0)
		return err_set(e, ERR_CONFLICT,
			"disk %u of VM %s has %u snapshot%s, and what is in the image is "
			"in them: delete them first",
			index, vm_uuid, c.header.n_snapshots,
			c.header.n_snapshots == 1 ? "" : "s");
	CRASH_POINT("disk.flatten.before");
	if (qemu_img_flatten(c.path, disk_file_copy_msec(c.header.virtual_bytes), e) != 0)
		return refuse_change(&c, e);
	CRASH_POINT("disk.flatten.after");
	return end(&c, e);
}

/* ---------------------------------------------------------------- snapshots */

static const struct qemu_img_snapshot_info *find_snapshot(
	const struct qemu_img_info *info, const char *name)
{
	for (size_t i = 0; i < info->n_snapshots; i++)
		if (str_eq(info->snapshots[i].name, name))
			return &info->snapshots[i];
	return NULL;
}

static int change_snapshot(
	struct changed *c, enum qemu_img_snapshot what, const char *which, struct err *e)
{
	CRASH_POINT("disk.snapshot.before");
	if (qemu_img_snapshot(c->path, what, which, e) != 0)
		return refuse_change(c, e);
	CRASH_POINT("disk.snapshot.after");
	return end(c, e);
}

int disk_file_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };

	if (begin(&c, e) != 0)
		return -1;
	if (qemu_img_info(c.path, &info, e) != 0)
		return disk_error(&c, e);
	if (find_snapshot(&info, snapshot))
		return 0;
	return change_snapshot(&c, QEMU_IMG_SNAPSHOT_MAKE, snapshot, e);
}

int disk_file_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	int rc = find_disk(&c, e);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (qemu_img_info(c.path, &info, e) != 0)
		return disk_error(&c, e);
	if (!find_snapshot(&info, snapshot))
		return 0;
	return change_snapshot(&c, QEMU_IMG_SNAPSHOT_REMOVE, snapshot, e);
}

int disk_file_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(changed_done) struct changed c = changed(s, vm_uuid, index);
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	const struct qemu_img_snapshot_info *found;

	if (begin(&c, e) != 0)
		return -1;
	if (qemu_img_info(c.path, &info, e) != 0)
		return disk_error(&c, e);
	found = find_snapshot(&info, snapshot);
	if (!found)
		return err_set(e, ERR_NOT_FOUND,
			"disk %u of VM %s has no snapshot \"%s\"", index, vm_uuid,
			snapshot);
	return change_snapshot(&c, QEMU_IMG_SNAPSHOT_APPLY, found->id, e);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A domain may have it open: it is only read. */
int disk_file_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e)
{
	struct changed c = changed(s, vm_uuid, index);
	char name[DISK_FILE_NAME_SIZE];
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	size_t first = out->len;
	int64_t size = 0;
	int rc = disk_file_stat(s, vm_uuid, index, &size, e);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	disk_file_name(name, index);
	CLEANUP_STR char *path = disk_file_path(c.f, vm_uuid, name);
	if (qemu_img_info(path, &info, e) != 0)
		return disk_error(&c, e);
	for (size_t i = 0; i < info.n_snapshots; i++)
		strv_add(out, info.snapshots[i].name);
	if (out->len > first)
		qsort(out->v + first, out->len - first, sizeof(out->v[0]), compare);
	return 0;
}
