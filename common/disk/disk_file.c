/*
 * A directory as image store: disk.h says how it is laid out. This file is the store itself;
 * disk_file_dir.c has the directories of VMs, disk_file_make.c makes disks,
 * disk_file_change.c changes them, disk_file_image.c has the images.
 */
#include "common/disk/disk_file_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/crash.h"

/* When the store's entry does not say. */
#define MAX_IMAGE_GIB 2048

struct file_store *disk_file_store(struct disk_store *s)
{
	return (struct file_store *)s;
}

void disk_file_close_fd(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void file_close(struct disk_store *s)
{
	struct file_store *f = disk_file_store(s);

	disk_file_close_fd(&f->vms_fd);
	disk_file_close_fd(&f->root_fd);
	free(f->name);
	free(f->path);
	free(f);
}

int disk_file_make_dir(int at, const char *name)
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
	if (disk_file_make_dir(f->root_fd, "vms") != 0)
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
	f->max_image_bytes =
		(conf->max_image_gib ? conf->max_image_gib : MAX_IMAGE_GIB) * GIB;
	f->root_fd = f->vms_fd = -1;
	if (open_dirs(f, e) != 0) {
		file_close(&f->base);
		return -1;
	}
	*out = &f->base;
	return 0;
}

int disk_file_space(
	struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	struct statvfs st;

	if (fstatvfs(f->vms_fd, &st) != 0)
		return err_errno(e, errno, "store \"%s\": its space", f->name);
	*total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
	*free_bytes = (int64_t)(st.f_bavail * st.f_frsize);
	return 0;
}

int disk_file_list_names(int dir_fd, struct strv *out)
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

static int file_list(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	CLEANUP(strv_done) struct strv names = { 0 };

	if (disk_file_list_names(f->vms_fd, &names) != 0)
		return err_errno(
			e, errno, "store \"%s\": reading its directory of VMs", f->name);
	for (size_t i = 0; i < names.len; i++)
		if (uuid_check(names.v[i], NULL) == 0)
			strv_add(vm_uuids, names.v[i]);
	return 0;
}

int disk_file_write_at(int fd, const void *p, size_t size, int64_t at)
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

const struct disk_ops disk_file_ops = {
	.open = file_open,
	.close = file_close,
	.ensure = disk_file_ensure,
	.remove_all = disk_file_remove_all,
	.stat = disk_file_stat,
	.list = file_list,
	.source_get = disk_file_source_get,
	.space = disk_file_space,
	.remove = disk_file_remove,
	.grow = disk_file_grow,
	.flatten = disk_file_flatten,
	.snapshot_make = disk_file_snapshot_make,
	.snapshot_remove = disk_file_snapshot_remove,
	.snapshot_restore = disk_file_snapshot_restore,
	.snapshot_list = disk_file_snapshot_list,
	.sink_open = disk_file_sink_open,
	.image_find = disk_file_image_find,
	.image_n_users = disk_file_image_n_users,
	.image_remove = disk_file_image_remove,
	.image_list = disk_file_image_list,
	.image_source = disk_file_image_source,
};
