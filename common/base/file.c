#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	char chunk[16384];
	size_t total = 0;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int errnum = errno;

			close(fd);
			return err_errno(e, errnum, "%s", path);
		}
		total += (size_t)n;
		if (total > max) {
			close(fd);
			return err_set(
				e, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, max);
		}
		buf_add(out, chunk, (size_t)n);
	}
	close(fd);
	return 0;
}

static int write_all(int fd, const char *p, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* The directory's own fsync makes the new name last. */
static int sync_dir_of(const char *path, struct err *e)
{
	CLEANUP_STR char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	int fd, rc = 0;

	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "%s", slash ? dir : ".");
	/* Some file systems know no fsync of a directory. */
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		rc = err_errno(e, errno, "%s", slash ? dir : ".");
	close(fd);
	return rc;
}

/* Gives the finished temporary file its name. */
static int put_in_place(
	const char *tmp, const char *path, enum file_write_mode how, struct err *e)
{
	if (how == FILE_NEW) {
		if (link(tmp, path) < 0)
			return errno == EEXIST ? err_set(e, ERR_EXISTS,
							 "%s: exists already", path)
					       : err_errno(e, errno, "%s", path);
		unlink(tmp);
		return 0;
	}
	if (how == FILE_KEEP_OLD) {
		CLEANUP_STR char *old = xasprintf("%s.old", path);

		if (unlink(old) < 0 && errno != ENOENT)
			return err_errno(e, errno, "%s", old);
		if (link(path, old) < 0 && errno != ENOENT)
			return err_errno(e, errno, "%s", old);
	}
	if (rename(tmp, path) < 0)
		return err_errno(e, errno, "%s", path);
	return 0;
}

/* Takes fd. */
static int fill(
	int fd, const void *p, size_t size, mode_t mode, const char *path, struct err *e)
{
	int errnum = 0;

	if (write_all(fd, p, size) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0)
		errnum = errno;
	if (close(fd) < 0 && errnum == 0)
		errnum = errno;
	return errnum == 0 ? 0 : err_errno(e, errnum, "%s", path);
}

static int write_in_place(
	const char *path, const void *p, size_t size, mode_t mode, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);

	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	return fill(fd, p, size, mode, path, e);
}

int file_write(const char *path, const void *p, size_t size, mode_t mode,
	enum file_write_mode how, struct err *e)
{
	CLEANUP_STR char *tmp = xasprintf("%s.XXXXXX", path);
	int fd;

	if (how == FILE_IN_PLACE)
		return write_in_place(path, p, size, mode, e);
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "%s", path);
	if (fill(fd, p, size, mode, path, e) < 0 || put_in_place(tmp, path, how, e) < 0) {
		unlink(tmp);
		return -1;
	}
	return sync_dir_of(path, e);
}
