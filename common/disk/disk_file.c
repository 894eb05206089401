/*
 * A directory as image store: disk.h says how it is laid out.
 *
 * A disk is made under a temporary name and renamed, so that one that is there is complete.
 * Whoever changes something in a VM's directory holds an flock(2) on it: it goes with the
 * process, however that ends, and keeps out other threads and processes alike.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "common/disk/disk_impl.h"
#include "common/disk/image_file.h"
#include "common/disk/qcow2_new.h"

#define GIB (INT64_C(1) << 30)

/* QEMU runs as another user: it may pass through, and write where its group may. */
#define DIR_MODE  0711
#define DISK_MODE 0660

/* 10 ms each: longer than a slow file system may take. */
#define LOCK_TRIES 9000
/* What a store must have free before a disk is begun. */
#define ROOM_MIN (INT64_C(1) << 20)

/* "<n>.qcow2" and ".<n>.qcow2.tmp". */
#define FILE_NAME_SIZE 32

struct file_store {
	struct disk_store base;
	char *name;
	char *path;
	int root_fd;
	int vms_fd;
};

static struct file_store *file_store(struct disk_store *s)
{
	return (struct file_store *)s;
}

static void close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void file_close(struct disk_store *s)
{
	struct file_store *f = file_store(s);

	close_fd(&f->vms_fd);
	close_fd(&f->root_fd);
	free(f->name);
	free(f->path);
	free(f);
}

/*
 * Makes a directory; fine when it is there. Its mode is at least ours, whatever the umask
 * is, also when a crash came between making it and that; the bit that hands the parent's
 * group on stays. One that belongs to somebody else is left as it is.
 */
static int make_dir(int at, const char *name)
{
	struct stat st;
	bool is_new;

	CRASH_POINT("disk.mkdir.before");
	is_new = mkdirat(at, name, DIR_MODE) == 0;
	if (!is_new && errno != EEXIST)
		return -1;
	CRASH_POINT("disk.mkdir.after");
	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (!S_ISDIR(st.st_mode) || (st.st_mode & DIR_MODE) == DIR_MODE)
		return 0;
	if (fchmodat(at, name, (st.st_mode & 07777) | DIR_MODE, 0) != 0 && is_new)
		return -1;
	return 0;
}

static int open_dirs(struct file_store *f, struct err *e)
{
	f->root_fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->root_fd < 0)
		return err_errno(
			e, errno, "store \"%s\": its directory %s", f->name, f->path);
	if (make_dir(f->root_fd, "vms") != 0)
		return err_errno(
			e, errno, "store \"%s\": making %s/vms", f->name, f->path);
	f->vms_fd = openat(f->root_fd, "vms", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->vms_fd < 0)
		return err_errno(
			e, errno, "store \"%s\": opening %s/vms", f->name, f->path);
	return 0;
}

static int file_open(
	const struct image_store *conf, struct disk_store **out, struct err *e)
{
	struct file_store *f = xcalloc(1, sizeof(*f));

	f->base.ops = &disk_file_ops;
	f->name = xstrdup(conf->name);
	f->path = xstrdup(conf->path);
	f->root_fd = f->vms_fd = -1;
	if (open_dirs(f, e) != 0) {
		file_close(&f->base);
		return -1;
	}
	*out = &f->base;
	return 0;
}

static void disk_name(char out[FILE_NAME_SIZE], unsigned index)
{
	snprintf(out, FILE_NAME_SIZE, "%u.qcow2", index);
}

static void temporary_name(char out[FILE_NAME_SIZE], unsigned index)
{
	snprintf(out, FILE_NAME_SIZE, ".%u.qcow2.tmp", index);
}

/* Is this a name that one of the two above makes? */
static bool is_our_name(const char *name)
{
	size_t digits;
	bool is_temporary = name[0] == '.';

	name += is_temporary;
	digits = strspn(name, "0123456789");
	if (digits == 0 || digits > 3 || (name[0] == '0' && digits > 1))
		return false;
	return strcmp(name + digits, is_temporary ? ".qcow2.tmp" : ".qcow2") == 0;
}

/* Waits for the lock in small steps: flock(2) itself knows no time limit. */
static int lock_dir(struct file_store *f, int fd, const char *uuid, struct err *e)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_errno(e, errno,
				"store \"%s\": locking the disks of VM %s", f->name,
				uuid);
		if (i == LOCK_TRIES)
			return err_set(e, ERR_UNAVAILABLE,
				"store \"%s\": somebody else works on the disks of VM %s",
				f->name, uuid);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Is fd still what the name leads to? While we waited for the lock its holder may have
 * removed the directory. */
static bool is_same_dir(struct file_store *f, const char *uuid, int fd)
{
	struct stat by_name, by_fd;

	return fstatat(f->vms_fd, uuid, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(fd, &by_fd) == 0 && by_name.st_ino == by_fd.st_ino &&
	       by_name.st_dev == by_fd.st_dev;
}

/* One try at vm_dir_open(): 1 when it is not there, also when it went while we waited. */
static int vm_dir_try(struct file_store *f, const char *uuid, int *out, struct err *e)
{
	int fd = openat(f->vms_fd, uuid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc;

	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return err_errno(
			e, errno, "store \"%s\": the directory of VM %s", f->name, uuid);
	rc = lock_dir(f, fd, uuid, e);
	if (rc == 0 && !is_same_dir(f, uuid, fd))
		rc = 1;
	if (rc == 0)
		*out = fd;
	else
		close(fd);
	return rc;
}

/* Opens and locks a VM's directory, and makes it first when it is not there; closing *out
 * unlocks it. */
static int vm_dir_open(struct file_store *f, const char *uuid, int *out, struct err *e)
{
	/* Each turn somebody else removed it: not for long. */
	for (int turn = 0; turn < 100; turn++) {
		int rc;

		if (make_dir(f->vms_fd, uuid) != 0 && errno != ENOENT)
			return err_errno(e, errno,
				"store \"%s\": making a directory for VM %s", f->name,
				uuid);
		rc = vm_dir_try(f, uuid, out, e);
		if (rc <= 0)
			return rc;
	}
	return err_set(e, ERR_UNAVAILABLE,
		"store \"%s\": the directory of VM %s comes and goes", f->name, uuid);
}

static int file_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	struct file_store *f = file_store(s);
	char name[FILE_NAME_SIZE], path[UUID_STR_SIZE + FILE_NAME_SIZE];
	struct image_header h = { 0 };
	int64_t file_size = 0;

	disk_name(name, index);
	snprintf(path, sizeof(path), "%s/%s", vm_uuid, name);
	CLEANUP(close_fd)
	int fd = open_beneath(f->vms_fd, path);
	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return err_errno(e, errno, "disk %u of VM %s in store \"%s\"", index,
			vm_uuid, f->name);
	if (image_header_read(fd, &h, &file_size, e) != 0)
		return err_wrap(
			e, "disk %u of VM %s in store \"%s\"", index, vm_uuid, f->name);
	if (!h.is_qcow2)
		return err_set(e, ERR_CONFLICT,
			"disk %u of VM %s in store \"%s\" is not a qcow2 image; it is "
			"left as it is",
			index, vm_uuid, f->name);
	*size_bytes = h.virtual_bytes;
	return 0;
}

/* 1 when there is none; 0 when there is one that serves. */
static int check_present(
	struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	int64_t virtual_bytes = 0;
	int rc = file_stat(&f->base, spec->vm_uuid, spec->index, &virtual_bytes, e);

	return rc != 0 ? rc : disk_check_existing(spec, virtual_bytes, e);
}

static int check_image(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	CLEANUP(close_fd)
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

static int file_space(
	struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	struct file_store *f = file_store(s);
	struct statvfs st;

	if (fstatvfs(f->vms_fd, &st) != 0)
		return err_errno(e, errno, "store \"%s\": its space", f->name);
	*total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
	*free_bytes = (int64_t)(st.f_bavail * st.f_frsize);
	return 0;
}

static int refuse_full(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	return err_set(e, ERR_NO_SPACE,
		"store \"%s\" is full: there is no room for disk %u of %jd GiB", f->name,
		spec->index, (intmax_t)spec->size_gib);
}

/* A disk takes room as it is written to; this finds only a store that is full already. */
static int check_room(struct file_store *f, const struct disk_spec *spec, struct err *e)
{
	int64_t total = 0, available = 0;

	if (file_space(&f->base, &total, &available, e) != 0)
		return -1;
	return available < ROOM_MIN ? refuse_full(f, spec, e) : 0;
}

static char *image_path(struct file_store *f, const struct image *im)
{
	return xasprintf("%s/images/%s", f->path, im->path);
}

static int write_at(int fd, const void *p, size_t size, int64_t at)
{
	const char *from = p;

	for (size_t done = 0; done < size;) {
		ssize_t n =
			pwrite(fd, from + done, size - done, (off_t)(at + (int64_t)done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

/* Rights and content are on the disk before the name says that it is complete. The tables
 * have their room, so that a disk without any is noticed now. */
static int write_qcow2(int fd, const struct qcow2_new *q)
{
	errno = posix_fallocate(fd, 0, (off_t)q->file_size);
	if (errno != 0 ||
		write_at(fd, q->counts, q->counts_size, 2 * QCOW2_CLUSTER) != 0 ||
		write_at(fd, q->table, sizeof(q->table), QCOW2_CLUSTER) != 0 ||
		write_at(fd, q->header, q->header_size, 0) != 0)
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
	CLEANUP_STR char *backing = spec->image ? image_path(f, spec->image) : NULL;

	if (qcow2_new_make(spec->size_gib * GIB, backing,
		    backing ? image_format_names[spec->image->format] : NULL, out,
		    e) == 0)
		return 0;
	return err_set(e, ERR_INVALID,
		"the path of image \"%s\" in store \"%s\" is too long for a qcow2 image",
		spec->image->name, f->name);
}

static int create_disk(struct file_store *f, int dir_fd, const struct disk_spec *spec,
	const char *temporary, struct err *e)
{
	CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };

	if (plan_disk(f, spec, &q, e) != 0)
		return -1;
	CLEANUP(close_fd)
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
	char temporary[FILE_NAME_SIZE], name[FILE_NAME_SIZE];

	disk_name(name, spec->index);
	temporary_name(temporary, spec->index);
	/* What a crash left; nobody else writes it, because we have the lock. */
	if (unlinkat(dir_fd, temporary, 0) != 0 && errno != ENOENT)
		return err_errno(e, errno,
			"store \"%s\": removing an unfinished disk of VM %s", f->name,
			spec->vm_uuid);
	CRASH_POINT("disk.create.before");
	if (create_disk(f, dir_fd, spec, temporary, e) != 0)
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
	char temporary[FILE_NAME_SIZE];

	temporary_name(temporary, spec->index);
	unlinkat(dir_fd, temporary, 0);
	unlinkat(
		f->vms_fd, spec->vm_uuid, AT_REMOVEDIR); /* fails while a disk is there */
}

static int file_ensure(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	struct file_store *f = file_store(s);
	CLEANUP(close_fd)
	int dir_fd = -1;
	int rc = check_present(f, spec, e);

	if (rc < 0)
		return rc;
	if (rc == 1 && spec->image && check_image(f, spec, e) != 0)
		return -1;
	if (rc == 1 && check_room(f, spec, e) != 0)
		return -1;
	if (vm_dir_open(f, spec->vm_uuid, &dir_fd, e) != 0)
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

/* The names in a directory but "." and "..", sorted. */
static int list_names(int dir_fd, struct strv *out)
{
	struct dirent **entries = NULL;
	int n = scandirat(dir_fd, ".", &entries, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;

		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			strv_add(out, name);
		free(entries[i]);
	}
	free(entries);
	return n < 0 ? -1 : 0;
}

static int remove_files(struct file_store *f, int dir_fd, const char *uuid, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	const char *foreign = NULL;

	if (list_names(dir_fd, &names) != 0)
		return err_errno(e, errno, "store \"%s\": reading the directory of VM %s",
			f->name, uuid);
	for (size_t i = 0; i < names.len; i++) {
		if (!is_our_name(names.v[i])) {
			foreign = names.v[i];
			continue;
		}
		CRASH_POINT("disk.unlink.before");
		if (unlinkat(dir_fd, names.v[i], 0) != 0 && errno != ENOENT)
			return err_errno(e, errno,
				"store \"%s\": removing a disk of VM %s", f->name, uuid);
		CRASH_POINT("disk.unlink.after");
	}
	if (foreign)
		return err_set(e, ERR_CONFLICT,
			"store \"%s\": the directory of VM %s holds \"%.80s\", which is "
			"not a disk of ours and is left alone: move it away, then delete "
			"the VM again",
			f->name, uuid, foreign);
	return 0;
}

static int file_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	struct file_store *f = file_store(s);
	CLEANUP(close_fd)
	int dir_fd = -1;
	int rc = vm_dir_try(f, vm_uuid, &dir_fd, e);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (remove_files(f, dir_fd, vm_uuid, e) != 0)
		return -1;
	CRASH_POINT("disk.rmdir.before");
	if (unlinkat(f->vms_fd, vm_uuid, AT_REMOVEDIR) != 0 && errno != ENOENT)
		return err_errno(e, errno,
			"store \"%s\": removing the directory of VM %s", f->name,
			vm_uuid);
	CRASH_POINT("disk.rmdir.after");
	if (fsync(f->vms_fd) != 0)
		return err_errno(e, errno, "store \"%s\": removing the disks of VM %s",
			f->name, vm_uuid);
	return 0;
}

static int file_list(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	struct file_store *f = file_store(s);
	CLEANUP(strv_done) struct strv names = { 0 };

	if (list_names(f->vms_fd, &names) != 0)
		return err_errno(
			e, errno, "store \"%s\": reading its directory of VMs", f->name);
	for (size_t i = 0; i < names.len; i++)
		if (uuid_check(names.v[i], NULL) == 0)
			strv_add(vm_uuids, names.v[i]);
	return 0;
}

static int file_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	struct file_store *f = file_store(s);
	char name[FILE_NAME_SIZE];

	(void)e;
	disk_name(name, spec->index);
	disk_source_done(out);
	out->kind = DISK_SOURCE_FILE;
	out->format = xstrdup("qcow2");
	out->path = xasprintf("%s/vms/%s/%s", f->path, spec->vm_uuid, name);
	if (spec->image) {
		out->backing_path = image_path(f, spec->image);
		out->backing_format = xstrdup(image_format_names[spec->image->format]);
	}
	return 0;
}

const struct disk_ops disk_file_ops = {
	.open = file_open,
	.close = file_close,
	.ensure = file_ensure,
	.remove_all = file_remove_all,
	.stat = file_stat,
	.list = file_list,
	.source_get = file_source_get,
	.space = file_space,
};
