#include "common/disk/disk_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "common/disk/image_file.h"

/* 10 ms each: longer than a slow file system may take. */
#define LOCK_TRIES 9000

void disk_file_name(char out[DISK_FILE_NAME_SIZE], unsigned index)
{
	snprintf(out, DISK_FILE_NAME_SIZE, "%u.qcow2", index);
}

void disk_file_temporary_name(char out[DISK_FILE_NAME_SIZE], unsigned index)
{
	snprintf(out, DISK_FILE_NAME_SIZE, ".%u.qcow2.tmp", index);
}

char *disk_file_path(struct file_store *f, const char *vm_uuid, const char *name)
{
	return xasprintf("%s/vms/%s/%s", f->path, vm_uuid, name);
}

/* Is this a name that one of the first two above makes? */
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

int disk_file_dir_find(struct file_store *f, const char *uuid, int *out, struct err *e)
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

int disk_file_dir_open(struct file_store *f, const char *uuid, int *out, struct err *e)
{
	/* Each turn somebody else removed it: not for long. */
	for (int turn = 0; turn < 100; turn++) {
		int rc;

		if (disk_file_make_dir(f->vms_fd, uuid) != 0 && errno != ENOENT)
			return err_errno(e, errno,
				"store \"%s\": making a directory for VM %s", f->name,
				uuid);
		rc = disk_file_dir_find(f, uuid, out, e);
		if (rc <= 0)
			return rc;
	}
	return err_set(e, ERR_UNAVAILABLE,
		"store \"%s\": the directory of VM %s comes and goes", f->name, uuid);
}

int disk_file_header(struct file_store *f, const char *vm_uuid, unsigned index,
	struct image_header *out, struct err *e)
{
	char name[DISK_FILE_NAME_SIZE], path[UUID_STR_SIZE + DISK_FILE_NAME_SIZE];
	int64_t file_size = 0;

	disk_file_name(name, index);
	snprintf(path, sizeof(path), "%s/%s", vm_uuid, name);
	CLEANUP(disk_file_close_fd)
	int fd = open_beneath(f->vms_fd, path);
	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return err_errno(e, errno, "disk %u of VM %s in store \"%s\"", index,
			vm_uuid, f->name);
	if (image_header_read(fd, out, &file_size, e) != 0)
		return err_wrap(
			e, "disk %u of VM %s in store \"%s\"", index, vm_uuid, f->name);
	if (out->kind != IMAGE_KIND_QCOW2)
		return err_set(e, ERR_CONFLICT,
			"disk %u of VM %s in store \"%s\" is not a qcow2 image; it is "
			"left as it is",
			index, vm_uuid, f->name);
	return 0;
}

int disk_file_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	struct image_header h = { 0 };
	int rc = disk_file_header(disk_file_store(s), vm_uuid, index, &h, e);

	if (rc == 0)
		*size_bytes = h.virtual_bytes;
	return rc;
}

static int remove_files(struct file_store *f, int dir_fd, const char *uuid, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	const char *foreign = NULL;

	if (disk_file_list_names(dir_fd, &names) != 0)
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

int disk_file_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	int rc = disk_file_dir_find(f, vm_uuid, &dir_fd, e);

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
