#include "ucloud-api/updir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/crash.h"
#include "common/model/file.h"
#include "ucloud-api/updir_impl.h"

#define DIR_MODE  02770
#define FILE_MODE 0660
#define HASH_SIZE (1024 * 1024)
#define N_TRIES	  4
#define NOTE	  "user.ucloud.sha512"

int updir_open(const char *base_dir, const char *default_realm, struct updir **out,
	struct err *e)
{
	struct updir *d;
	struct stat st;

	if (stat(base_dir, &st) < 0)
		return err_errno(e, errno, "the directory of uploads %s", base_dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_INVALID,
			"the directory of uploads %s is no directory", base_dir);
	d = xcalloc(1, sizeof(*d));
	d->base_dir = xstrdup(base_dir);
	d->default_realm = xstrdup(default_realm);
	*out = d;
	return 0;
}

void updir_close(struct updir *d)
{
	if (!d)
		return;
	free(d->base_dir);
	free(d->default_realm);
	free(d);
}

int updir_open_base(const struct updir *d, struct err *e)
{
	int fd = open(d->base_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstatat(fd, FILE_MARKER, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(e, ERR_UNAVAILABLE,
		"the files are not there just now: the upload machine does not have its "
		"file system mounted (" FILE_MARKER " is missing in base_dir)");
}

/* ---------------------------------------------------------------- directories */

/* Something stands in the way of the file; what people see of it is the file's name. */
static int in_the_way(int errnum, const char *filename, struct err *e)
{
	if (errnum == ELOOP || errnum == ENOTDIR || errnum == EEXIST)
		return err_set(e, ERR_CONFLICT,
			"%s cannot be there: a part of its name is a file or a link "
			"already",
			filename);
	if (errnum == ENAMETOOLONG)
		return err_set_field(e, ERR_INVALID, "name",
			"the name %.100s... is too long: each part of it may have 255 "
			"bytes",
			filename);
	return err_errno(e, errnum, "the directory of %s", filename);
}

static void make_dir(int parent, const char *name)
{
	int fd;

	CRASH_POINT("upload.mkdir.before");
	if (mkdirat(parent, name, DIR_MODE & 0777) < 0)
		return; /* whoever opens it says why */
	CRASH_POINT("upload.mkdir.after");
	/* The group is the parent's when that says so; umask may have taken bits away. */
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fchmod(fd, DIR_MODE) < 0)
		errno = 0; /* then it has what umask left */
	if (fd >= 0)
		close(fd);
}

/* One step down. A descriptor, or -1 with errno. */
static int step(int parent, const char *name, bool make)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	make_dir(parent, name);
	return openat(parent, name, flags);
}

int updir_open_parent(int user_fd, const char *filename, bool make, const char **last)
{
	int fd = fcntl(user_fd, F_DUPFD_CLOEXEC, 0);
	const char *slash;

	while (fd >= 0 && (slash = strchr(filename, '/'))) {
		CLEANUP_STR char *name = xstrndup(filename, (size_t)(slash - filename));
		int next = step(fd, name, make), errnum = errno;

		close(fd);
		errno = errnum;
		fd = next;
		filename = slash + 1;
	}
	*last = filename;
	return fd;
}

/* ---------------------------------------------------------------- parts */

void updir_part_close(struct updir_part *p)
{
	int *fds[] = { &p->user_fd, &p->own_fd, &p->fd };

	if (!p->dir)
		return;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
	}
	free(p->filename);
	*p = (struct updir_part){ 0 };
}

static int busy(const char *filename, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"%s is being uploaded by somebody else just now: wait for that, or try "
		"again in a minute",
		filename);
}

/* Is the open part still the one that has the name? */
static bool is_named(const struct updir_part *p, struct stat *st)
{
	struct stat named;

	return fstat(p->fd, st) == 0 &&
	       fstatat(p->own_fd, p->part_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       named.st_ino == st->st_ino && named.st_dev == st->st_dev;
}

/* 0; 1: it went meanwhile, try again. */
static int try_open(struct updir_part *p, bool make, struct err *e)
{
	struct stat st = { 0 };
	int r = 0;

	p->fd = openat(p->own_fd, p->part_name,
		O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (make ? O_CREAT : 0),
		FILE_MODE);
	if (p->fd < 0 && errno == ENOENT && !make)
		return 0;
	if (p->fd < 0)
		return in_the_way(errno, p->filename, e);
	if (flock(p->fd, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? busy(p->filename, e)
					 : err_errno(e, errno, "locking %s", p->filename);
	else if (!is_named(p, &st))
		r = 1;
	else if (!S_ISREG(st.st_mode))
		r = in_the_way(ENOTDIR, p->filename, e);
	if (r == 0) {
		p->size = st.st_size;
		return 0;
	}
	close(p->fd);
	p->fd = -1;
	return r;
}

static int open_dirs(struct updir_part *p, const char *owner, const char *realm,
	bool make, struct err *e)
{
	CLEANUP_STR char *name = file_dir(owner, realm, p->dir->default_realm);
	int base = updir_open_base(p->dir, e), errnum;

	if (base < 0)
		return -1;
	p->user_fd = step(base, name, make);
	if (p->user_fd >= 0)
		p->own_fd = step(p->user_fd, UPDIR_OWN, make);
	errnum = errno;
	close(base);
	errno = errnum;
	if (p->own_fd >= 0 || (errno == ENOENT && !make))
		return 0;
	return err_errno(e, errno, "the directory of %s's uploads", owner);
}

/* Could the file be there, as far as that can be seen now? */
static int check_target(const struct updir_part *p, struct err *e)
{
	const char *last;
	struct stat st;
	int fd = updir_open_parent(p->user_fd, p->filename, false, &last), r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : in_the_way(errno, p->filename, e);
	if (fstatat(fd, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = errno == ENOENT ? 0 : in_the_way(errno, p->filename, e);
	else if (!S_ISREG(st.st_mode))
		r = err_set(e, ERR_CONFLICT,
			"%s cannot be there: a directory or link has this name",
			p->filename);
	close(fd);
	return r;
}

static int part_open(struct updir_part *p, const char *owner, const char *realm,
	bool make, struct err *e)
{
	int r = 1;

	if (open_dirs(p, owner, realm, make, e) < 0)
		return -1;
	if (p->own_fd < 0)
		return 0;
	if (make && check_target(p, e) < 0)
		return -1;
	for (int i = 0; i < N_TRIES && r == 1; i++)
		r = try_open(p, make, e);
	if (r == 1)
		return busy(p->filename, e);
	/* umask may have taken bits away; that others can read it is not ours to insist on. */
	if (r == 0 && make && p->size == 0 && fchmod(p->fd, FILE_MODE) < 0)
		errno = 0;
	return r;
}

static int part_begin(struct updir *d, const char *owner, const char *realm,
	const char *filename, bool make, struct updir_part *out, struct err *e)
{
	struct updir_part p = { .dir = d, .user_fd = -1, .own_fd = -1, .fd = -1 };
	char uuid[UUID_STR_SIZE];

	file_uuid(realm, owner, filename, uuid);
	snprintf(p.part_name, sizeof(p.part_name), "%s%s", uuid, UPDIR_SUFFIX);
	p.filename = xstrdup(filename);
	if (part_open(&p, owner, realm, make, e) < 0) {
		updir_part_close(&p);
		return -1;
	}
	*out = p;
	return 0;
}

int updir_part_open(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct updir_part *out, struct err *e)
{
	return part_begin(d, owner, realm, filename, true, out, e);
}

int updir_part_find(struct updir *d, const char *owner, const char *realm,
	const char *filename, struct updir_part *out, struct err *e)
{
	return part_begin(d, owner, realm, filename, false, out, e);
}

/* ---------------------------------------------------------------- content */

int updir_part_restart(struct updir_part *p, const char *sha512, struct err *e)
{
	CRASH_POINT("upload.truncate.before");
	if (p->size > 0 && ftruncate(p->fd, 0) < 0)
		return err_errno(e, errno, "beginning %s again", p->filename);
	CRASH_POINT("upload.truncate.after");
	p->size = 0;
	/* Only a help: what was not noted is found out in the end. */
	if (fsetxattr(p->fd, NOTE, sha512, strlen(sha512), 0) < 0)
		errno = 0;
	return 0;
}

bool updir_part_is_of(const struct updir_part *p, const char *sha512)
{
	char noted[SHA512_HEX_SIZE] = "";
	ssize_t size = fgetxattr(p->fd, NOTE, noted, sizeof(noted) - 1);

	return size <= 0 || str_is_empty(sha512) || str_eq(noted, sha512);
}

int updir_part_write(struct updir_part *p, const char *bytes, size_t size, struct err *e)
{
	while (size > 0) {
		ssize_t n = pwrite(p->fd, bytes, size, p->size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
			return err_set(e, ERR_NO_SPACE,
				"the disk of the upload machine is full: try again when "
				"there is room; what was sent is kept for a week");
		if (n < 0)
			return err_errno(e, errno, "writing %s", p->filename);
		bytes += n;
		size -= (size_t)n;
		p->size += n;
	}
	return 0;
}

int updir_part_hash(struct updir_part *p, bool (*is_wanted)(void *aux), void *aux,
	char out[SHA512_HEX_SIZE], struct err *e)
{
	char *chunk = xmalloc(HASH_SIZE);
	struct sha512 h;
	int64_t at = 0;
	int r = 0;

	sha512_start(&h);
	while (r == 0 && at < p->size) {
		ssize_t n = pread(p->fd, chunk, HASH_SIZE, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			r = err_errno(e, n < 0 ? errno : EIO, "reading %s", p->filename);
		else if (is_wanted && !is_wanted(aux))
			r = err_set(e, ERR_UNAVAILABLE, "nobody waits for %s any more",
				p->filename);
		else
			sha512_add(&h, chunk, (size_t)n);
		at += n;
	}
	free(chunk);
	sha512_hex(&h, out);
	return r;
}

/* ---------------------------------------------------------------- the end */

static int rename_part(struct updir_part *p, struct err *e)
{
	const char *last;
	int fd = updir_open_parent(p->user_fd, p->filename, true, &last), r;

	if (fd < 0)
		return in_the_way(errno, p->filename, e);
	CRASH_POINT("upload.rename.before");
	r = renameat(p->own_fd, p->part_name, fd, last);
	/* The directory went, as it was empty: the next try makes it again. */
	if (r < 0 && errno == ENOENT)
		r = 1;
	else if (r < 0)
		in_the_way(errno == EISDIR || errno == ENOTEMPTY ? EEXIST : errno,
			p->filename, e);
	CRASH_POINT("upload.rename.after");
	if (r == 0 && (fsync(fd) < 0 || fsync(p->own_fd) < 0))
		r = err_errno(e, errno, "writing %s", p->filename);
	close(fd);
	return r;
}

int updir_part_finish(struct updir_part *p, struct err *e)
{
	int r = 1;

	if (check_target(p, e) < 0)
		return -1;
	if (fsync(p->fd) < 0)
		return err_errno(e, errno, "writing %s", p->filename);
	for (int i = 0; i < N_TRIES && r == 1; i++)
		r = rename_part(p, e);
	if (r == 1)
		return err_set(e, ERR_CONFLICT,
			"the directory of %s is being removed again and again",
			p->filename);
	return r;
}

int updir_part_drop(struct updir_part *p, struct err *e)
{
	CRASH_POINT("upload.drop.before");
	if (p->fd >= 0 && unlinkat(p->own_fd, p->part_name, 0) < 0 && errno != ENOENT)
		return err_errno(e, errno, "removing what there is of %s", p->filename);
	CRASH_POINT("upload.drop.after");
	return 0;
}
