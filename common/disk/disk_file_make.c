#include "common/disk/disk_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "common/disk/image_file.h"
#include "common/disk/qcow2_new.h"
#include "common/disk/qemu_img.h"

/* What a store must have free before a disk is begun. */
#define ROOM_MIN (INT64_C(1) << 20)

/* 1 when there is none; 0 when there is one that serves. */
static int check_present(
	struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	int64_t virtual_bytes = 0;
	int rc = disk_file_stat(&f->base, spec->vm_uuid, spec->index, &virtual_bytes, e);

	return rc != 0 ? rc : disk_check_existing(spec, virtual_bytes, e);
}

/* Of an image that is in another store: nothing lies under it. */
static bool is_copy(const struct disk_spec *spec)
{
	return spec->image && spec->image_store;
}

static int check_image(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	CLEANUP(disk_file_close_fd)
	int fd = openat(f->root_fd, "images", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int64_t virtual_bytes = 0;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(e, ERR_NOT_FOUND,
			"the file of image \"%s\" is missing in store \"%s\"",
			spec->image->name, f->name);
	if (fd < 0)
		return err_errno(
			e, errno, "store \"%s\": the directory of images", f->name);
	if (image_file_check(fd, spec->image, &virtual_bytes, e) != 0)
		return -1;
	return disk_check_fits(spec->image, virtual_bytes, spec->size_gib, e);
}

static int refuse_full(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	return err_set(e, ERR_NO_SPACE,
		"store \"%s\" is full: there is no room for disk %u of %jd GiB", f->name,
		spec->index, (intmax_t)spec->size_gib);
}

/* A disk takes room as it is written to; this finds a store that is full already, and one that
 * cannot take a copy. */
static int check_room(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	int64_t total = 0, available = 0;

	if (disk_file_space(&f->base, &total, &available, e) != 0)
		return -1;
	if (available < ROOM_MIN ||
		(is_copy(spec) && available < spec->image->size_bytes))
		return refuse_full(f, spec, e);
	return 0;
}

/* Rights and content are on the disk before the name says that it is complete. The tables
 * have their room, so that a disk without any is noticed now. */
static int write_qcow2(int fd, const struct qcow2_new *q)
{
	errno = posix_fallocate(fd, 0, (off_t)q->file_size);
	if (errno != 0 ||
		disk_file_write_at(fd, q->counts, q->counts_size, 2 * QCOW2_CLUSTER) !=
			0 ||
		disk_file_write_at(fd, q->table, sizeof(q->table), QCOW2_CLUSTER) != 0 ||
		disk_file_write_at(fd, q->header, q->header_size, 0) != 0)
		return -1;
	return fchmod(fd, DISK_MODE) == 0 ? fsync(fd) : -1;
}

static int write_error(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	if (errno == ENOSPC || errno == EDQUOT)
		return refuse_full(f, spec, e);
	return err_errno(e, errno, "store \"%s\": disk %u of VM %s", f->name, spec->index,
		spec->vm_uuid);
}

static int plan_disk(struct file_store *f, const struct disk_spec *spec,
	struct qcow2_new *out, struct err *e)
{
	CLEANUP_STR char *backing =
		spec->image ? disk_file_image_path(f, spec->image) : NULL;

	if (qcow2_new_make(spec->size_gib * GIB, backing,
		    backing ? image_format_names[spec->image->format] : NULL, out,
		    e) == 0)
		return 0;
	return err_wrap(
		e, "store \"%s\": disk %u of VM %s", f->name, spec->index, spec->vm_uuid);
}

/* ---------------------------------------------------------------- copies */

/* At least 4 MiB a second, and time for a cluster that does not answer at once. */
int64_t disk_file_copy_msec(int64_t size_bytes)
{
	return 600 * 1000 + size_bytes / (4 << 20) * 1000;
}

/* The largest file that a disk of so many bytes may become: tables are less than that. */
static uint64_t qcow2_size_max(int64_t virtual_bytes)
{
	return (uint64_t)virtual_bytes + (uint64_t)virtual_bytes / 128 +
	       (UINT64_C(64) << 20);
}

static int copy_error(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	if (e && e->kind == ERR_NO_SPACE)
		return refuse_full(f, spec, e);
	return err_wrap(
		e, "copying image \"%s\" into store \"%s\"", spec->image->name, f->name);
}

/* Grows the copy to the size ordered, and makes it durable with its rights. */
static int finish_copy(struct file_store *f, int dir_fd, const struct disk_spec *spec,
	const char *temporary, const char *path, struct err *e)
{
	CLEANUP(disk_file_close_fd)
	int fd = openat(dir_fd, temporary, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct image_header h = { 0 };
	int64_t file_size = 0;

	if (fd < 0)
		return write_error(f, spec, e);
	if (image_header_read(fd, &h, &file_size, e) != 0 ||
		disk_check_fits(spec->image, h.virtual_bytes, spec->size_gib, e) != 0)
		return -1;
	if (h.virtual_bytes < spec->size_gib * GIB &&
		qemu_img_resize(path, spec->size_gib * GIB, e) != 0)
		return copy_error(f, spec, e);
	return fchmod(fd, DISK_MODE) == 0 && fsync(fd) == 0 ? 0 : write_error(f, spec, e);
}

static int copy_image(struct file_store *f, int dir_fd, const struct disk_spec *spec,
	const char *temporary, struct err *e)
{
	struct disk_store *from = spec->image_store;
	CLEANUP_STR char *source = NULL, *format = NULL;
	CLEANUP_STR char *path = disk_file_path(f, spec->vm_uuid, temporary);
	struct qemu_img_convert c = { .target = path,
		.target_format = "qcow2",
		.limit_msec = disk_file_copy_msec(spec->size_gib * GIB),
		.limit_file = qcow2_size_max(spec->size_gib * GIB),
		.on_progress = spec->on_progress,
		.aux = spec->aux };

	if (!from->ops->image_source)
		return err_set(e, ERR_UNSUPPORTED,
			"image \"%s\" cannot be copied out of its store",
			spec->image->name);
	if (from->ops->image_source(from, spec->image, &source, &format, e) != 0)
		return -1;
	c.source = source;
	c.source_format = format;
	if (qemu_img_convert(&c, e) != 0)
		return copy_error(f, spec, e);
	return finish_copy(f, dir_fd, spec, temporary, path, e);
}

/* ---------------------------------------------------------------- any disk */

static int create_disk(struct file_store *f, int dir_fd, const struct disk_spec *spec,
	const char *temporary, struct err *e)
{
	CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };

	if (plan_disk(f, spec, &q, e) != 0)
		return -1;
	CLEANUP(disk_file_close_fd)
	int fd = openat(dir_fd, temporary,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write_qcow2(fd, &q) != 0)
		return write_error(f, spec, e);
	return 0;
}

static int publish(int dir_fd, const char *temporary, const char *name)
{
	CRASH_POINT("disk.rename.before");
	if (renameat2(dir_fd, temporary, dir_fd, name, RENAME_NOREPLACE) != 0)
		return -1;
	CRASH_POINT("disk.rename.after");
	return 0;
}

static int make_disk(
	struct file_store *f, int dir_fd, const struct disk_spec *spec, struct err *e)
{
	char temporary[DISK_FILE_NAME_SIZE], name[DISK_FILE_NAME_SIZE];

	disk_file_name(name, spec->index);
	disk_file_temporary_name(temporary, spec->index);
	/* What a crash left; nobody else writes it, because we have the lock. */
	if (unlinkat(dir_fd, temporary, 0) != 0 && errno != ENOENT)
		return err_errno(e, errno,
			"store \"%s\": removing an unfinished disk of VM %s", f->name,
			spec->vm_uuid);
	CRASH_POINT("disk.create.before");
	if (is_copy(spec) ? copy_image(f, dir_fd, spec, temporary, e) != 0
			  : create_disk(f, dir_fd, spec, temporary, e) != 0)
		return -1;
	CRASH_POINT("disk.create.after");
	return publish(dir_fd, temporary, name) == 0 ? 0 : write_error(f, spec, e);
}

/* Makes the names durable, the VM's in its directory and the directory's in the store. */
static int sync_names(struct file_store *f, int dir_fd, const char *uuid, struct err *e)
{
	if (fsync(dir_fd) == 0 && fsync(f->vms_fd) == 0)
		return 0;
	return err_errno(
		e, errno, "store \"%s\": writing the directory of VM %s", f->name, uuid);
}

/* After a failure: nothing unfinished stays, and no empty directory. */
static void clean_up(struct file_store *f, int dir_fd, const struct disk_spec *spec)
{
	char temporary[DISK_FILE_NAME_SIZE];

	disk_file_temporary_name(temporary, spec->index);
	unlinkat(dir_fd, temporary, 0);
	unlinkat(
		f->vms_fd, spec->vm_uuid, AT_REMOVEDIR); /* fails while a disk is there */
}

int disk_file_ensure(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	int rc = check_present(f, spec, e);

	if (rc < 0)
		return rc;
	if (rc == 1 && spec->image && !is_copy(spec) && check_image(f, spec, e) != 0)
		return -1;
	if (rc == 1 && check_room(f, spec, e) != 0)
		return -1;
	if (disk_file_dir_open(f, spec->vm_uuid, &dir_fd, e) != 0)
		return -1;
	/* Again, with the lock: another thread or process may have made it. */
	rc = check_present(f, spec, e);
	if (rc == 1)
		rc = make_disk(f, dir_fd, spec, e);
	if (rc != 0) {
		clean_up(f, dir_fd, spec);
		return -1;
	}
	return sync_names(f, dir_fd, spec->vm_uuid, e);
}

/* Does the image lie under it? One that was copied, or made independent of it, has none. What
 * is not there yet will be as ordered. */
static int has_backing(
	struct file_store *f, const struct disk_spec *spec, bool *out, struct err *e)
{
	struct image_header h = { 0 };
	int rc = disk_file_header(f, spec->vm_uuid, spec->index, &h, e);

	if (rc < 0)
		return -1;
	*out = rc == 0 ? h.has_backing_file : !is_copy(spec);
	return 0;
}

int disk_file_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	char name[DISK_FILE_NAME_SIZE];
	bool is_overlay = false;

	if (spec->image && has_backing(f, spec, &is_overlay, e) != 0)
		return -1;
	disk_file_name(name, spec->index);
	disk_source_done(out);
	out->kind = DISK_SOURCE_FILE;
	out->format = xstrdup("qcow2");
	out->path = disk_file_path(f, spec->vm_uuid, name);
	if (is_overlay) {
		out->backing_path = disk_file_image_path(f, spec->image);
		out->backing_format = xstrdup(image_format_names[spec->image->format]);
	}
	return 0;
}
