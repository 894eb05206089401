#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/crash.h"
#include "common/disk/image_file.h"
#include "ucloud-api/updir_impl.h"

enum { DEPTH_MAX = 64, ENTRIES_MAX = 1000000 };
#define GIB (INT64_C(1) << 30)

/* Takes fd. NULL: it cannot be read. */
static DIR *dir_of(int fd)
{
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* ---------------------------------------------------------------- how much there is */

struct tally {
	int64_t bytes;
	unsigned n_entries;
	struct stat leave_out[2]; /* the part, and the file that it will replace */
};

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino && a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

/* A part has its whole room reserved, a file may have holes: the larger figure counts. */
static void add_file(struct tally *t, const struct stat *st)
{
	int64_t blocks = (int64_t)st->st_blocks * 512;

	if (is_same(st, &t->leave_out[0]) || is_same(st, &t->leave_out[1]))
		return;
	t->bytes += st->st_size > blocks ? st->st_size : blocks;
	if (t->bytes > INT64_MAX / 4)
		t->bytes = INT64_MAX / 4;
}

/* Takes fd. Directories that cannot be read do not count: what is in them is not published
 * either. */
static void add_dir(struct tally *t, int fd, unsigned depth)
{
	DIR *dir = dir_of(fd);
	const struct dirent *de;
	struct stat st;

	/* cppcheck-suppress readdirCalled */
	while (dir && (de = readdir(dir)) && t->n_entries++ < ENTRIES_MAX) {
		if (is_dots(de->d_name) ||
			fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			add_file(t, &st);
		else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			add_dir(t,
				openat(fd, de->d_name,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
				depth + 1);
	}
	if (dir)
		closedir(dir);
}

static void tally(const struct updir_part *p, struct tally *t)
{
	const char *last;
	int fd = updir_open_parent(p->user_fd, p->filename, false, &last);

	if (fd >= 0) {
		if (fstatat(fd, last, &t->leave_out[0], AT_SYMLINK_NOFOLLOW) < 0)
			t->leave_out[0].st_ino = 0;
		close(fd);
	}
	if (fstat(p->fd, &t->leave_out[1]) < 0)
		t->leave_out[1].st_ino = 0;
	add_dir(t, openat(p->user_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0);
}

static int check_quota(const struct updir_part *p, int64_t total, int64_t quota,
	int64_t *left, struct err *e)
{
	struct tally t = { 0 };

	tally(p, &t);
	*left = quota > t.bytes ? quota - t.bytes : 0;
	if (total <= *left)
		return 0;
	return err_set(e, ERR_QUOTA,
		"the quota of files is used up: %s has %.2f GiB, %.2f of %.2f GiB are "
		"left: delete some first",
		p->filename, (double)total / (double)GIB, (double)*left / (double)GIB,
		(double)quota / (double)GIB);
}

static int no_space(const struct updir_part *p, int64_t total, struct err *e)
{
	struct statvfs vfs;
	double avail = fstatvfs(p->fd, &vfs) == 0
			       ? (double)vfs.f_bavail * (double)vfs.f_frsize
			       : 0;

	return err_set(e, ERR_NO_SPACE,
		"the disk of the upload machine is full: %.2f GiB are still to come, "
		"%.2f GiB are free",
		(double)(total - p->size) / (double)GIB, avail / (double)GIB);
}

/* Where the file system cannot reserve, at least look. */
static int check_space(const struct updir_part *p, int64_t total, struct err *e)
{
	struct statvfs vfs;

	if (fstatvfs(p->fd, &vfs) < 0)
		return err_errno(e, errno, "room for %s", p->filename);
	if ((double)vfs.f_bavail * (double)vfs.f_frsize < (double)(total - p->size))
		return no_space(p, total, e);
	return 0;
}

static int reserve(struct updir_part *p, int64_t total, struct err *e)
{
	if (total <= p->size)
		return 0;
	CRASH_POINT("upload.reserve.before");
	if (fallocate(p->fd, FALLOC_FL_KEEP_SIZE, 0, total) == 0) {
		CRASH_POINT("upload.reserve.after");
		return 0;
	}
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
		return no_space(p, total, e);
	case EFBIG:
		return err_set(e, ERR_TOO_LARGE,
			"%s is larger than the upload machine's file system can take",
			p->filename);
	default:
		return check_space(p, total, e);
	}
}

/* One after the other for a user, or two at once would both fit. */
int updir_part_reserve(struct updir_part *p, int64_t total, int64_t quota_bytes,
	int64_t *left, struct err *e)
{
	int r;

	if (flock(p->own_fd, LOCK_EX) < 0)
		return err_errno(e, errno, "room for %s", p->filename);
	r = check_quota(p, total, quota_bytes, left, e);
	if (r == 0)
		r = reserve(p, total, e);
	flock(p->own_fd, LOCK_UN);
	return r;
}

/* ---------------------------------------------------------------- removing */

/* 0 removed, 1 there is none. */
static int remove_file(int user_fd, const char *filename, struct err *e)
{
	const char *last;
	struct stat st;
	int fd = updir_open_parent(user_fd, filename, false, &last), r = 1;

	if (fd < 0)
		return 1;
	if (fstatat(fd, last, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
		CRASH_POINT("upload.unlink.before");
		r = unlinkat(fd, last, 0);
		CRASH_POINT("upload.unlink.after");
		if (r < 0 && errno != ENOENT)
			err_errno(e, errno, "removing %s", filename);
		else if (r < 0)
			r = 1;
	}
	close(fd);
	return r;
}

static void remove_empty_dirs(int user_fd, const char *filename)
{
	CLEANUP_STR char *path = xstrdup(filename);
	char *slash;

	while ((slash = strrchr(path, '/'))) {
		const char *last;
		int fd, r;

		*slash = '\0';
		fd = updir_open_parent(user_fd, path, false, &last);
		if (fd < 0)
			return;
		r = unlinkat(fd, last, AT_REMOVEDIR);
		close(fd);
		if (r < 0)
			return;
	}
}

int updir_remove(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct err *e)
{
	struct updir_part p = { 0 };
	bool had_part;
	int r;

	if (updir_part_find(d, owner, realm, filename, &p, e) < 0)
		return -1;
	had_part = p.fd >= 0;
	r = p.user_fd >= 0 ? remove_file(p.user_fd, filename, e) : 1;
	if (r >= 0 && had_part && updir_part_drop(&p, e) < 0)
		r = -1;
	if (r == 0)
		remove_empty_dirs(p.user_fd, filename);
	updir_part_close(&p);
	if (r <= 0 || had_part)
		return r < 0 ? -1 : 0;
	return err_set(e, ERR_NOT_FOUND, "there is no file \"%.160s\"", filename);
}

/* ---------------------------------------------------------------- old parts */

static bool sweep_part(int own_fd, const char *name, int64_t before)
{
	int fd = openat(own_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	bool is_old;

	if (fd < 0)
		return false;
	is_old = flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
		 S_ISREG(st.st_mode) && st.st_mtim.tv_sec < before &&
		 unlinkat(own_fd, name, 0) == 0;
	close(fd);
	return is_old;
}

/* Takes own_fd. */
static unsigned sweep_user(int own_fd, int64_t before)
{
	DIR *dir = dir_of(own_fd);
	const struct dirent *de;
	unsigned n = 0;

	/* cppcheck-suppress readdirCalled */
	while (dir && (de = readdir(dir))) {
		if (str_has_suffix(de->d_name, UPDIR_SUFFIX))
			n += sweep_part(own_fd, de->d_name, before);
	}
	if (dir)
		closedir(dir);
	return n;
}

int updir_sweep(struct updir *d, int64_t before, unsigned *n, struct err *e)
{
	int fd = updir_open_base(d, e);
	DIR *dir = dir_of(fd);
	const struct dirent *de;

	if (fd < 0)
		return -1;
	if (!dir)
		return err_errno(e, errno, "the directory of uploads");
	*n = 0;
	/* cppcheck-suppress readdirCalled */
	while ((de = readdir(dir))) {
		CLEANUP_STR char *own = xasprintf("%s/%s", de->d_name, UPDIR_OWN);

		if (de->d_name[0] != '.')
			*n += sweep_user(
				open_beneath_with(fd, own, O_DIRECTORY, 0), before);
	}
	closedir(dir);
	return 0;
}
