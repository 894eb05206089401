#include "ucloud-filescan/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <string.h>
#include <unistd.h>

#include "common/disk/image_file.h"

void walk_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* ---------------------------------------------------------------- base_dir */

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int base_check(int dir, const char *base_dir, struct base_id *id, struct err *e)
{
	struct stat st, marker;

	if (fstat(dir, &st) != 0)
		return err_errno(e, errno, "base_dir %s", base_dir);
	if (fstatat(dir, BASE_MARKER, &marker, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT)
			return err_errno(e, errno, "base_dir %s", base_dir);
		return err_set(e, ERR_NOT_FOUND,
			"base_dir %s has no file " BASE_MARKER
			" in it: is its file system mounted? Nothing is published or "
			"taken back meanwhile. If it is the right directory, run "
			"\"touch %s/" BASE_MARKER "\"",
			base_dir, base_dir);
	}
	*id = (struct base_id){ st.st_dev, st.st_ino };
	return 0;
}

int base_open(const char *base_dir, int *fd, struct base_id *id, struct err *e)
{
	int dir = open_dir(base_dir);

	if (dir < 0)
		return err_errno(e, errno, "base_dir %s", base_dir);
	if (base_check(dir, base_dir, id, e) != 0) {
		close(dir);
		return -1;
	}
	*fd = dir;
	return 0;
}

static int give_to_group(int fd, const char *group, struct err *e)
{
	struct group gr, *found = NULL;
	char text[4096];

	if (geteuid() != 0 || getgrnam_r(group, &gr, text, sizeof(text), &found) != 0 ||
		!found)
		return 0;
	if (fchown(fd, 0, gr.gr_gid) != 0)
		return err_errno(e, errno, "cannot give it to group %s", group);
	return 0;
}

static int make_base(const char *base_dir, const char *group, struct err *e)
{
	if (mkdir(base_dir, 0755) != 0)
		return errno == EEXIST ? 0 : err_errno(e, errno, "mkdir %s", base_dir);
	CLEANUP(walk_close) int dir = open_dir(base_dir);
	if (dir < 0)
		return err_errno(e, errno, "%s", base_dir);
	if (give_to_group(dir, group, e) != 0)
		return err_wrap(e, "%s", base_dir);
	/* Users get to their own directories, and do not see others'. */
	if (fchmod(dir, 02771) != 0)
		return err_errno(e, errno, "chmod %s", base_dir);
	return 0;
}

int base_setup(const char *base_dir, const char *group, struct err *e)
{
	CLEANUP_STR char *marker = xasprintf("%s/" BASE_MARKER, base_dir);

	if (make_base(base_dir, group, e) != 0)
		return err_wrap(e, "base_dir cannot be made");
	int fd = open(marker, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, errno, "cannot make %s", marker);
	close(fd);
	return 0;
}

/* ---------------------------------------------------------------- directories */

int walk_open(int base_fd, const char *path)
{
	return open_beneath_with(base_fd, path, O_DIRECTORY, RESOLVE_NO_XDEV);
}

void seen_done(struct seen *s)
{
	str_set(&s->name, NULL);
	str_set(&s->identity, NULL);
}

void seen_list_done(struct seen_list *l)
{
	for (size_t i = 0; i < l->len; i++)
		seen_done(&l->v[i]);
	free(l->v);
	*l = (struct seen_list){ 0 };
}

/* Also a part of the same file system, mounted there once more. */
static bool is_mount(int dir_fd, const char *name)
{
	struct statx stx;

	return statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE,
		       &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static enum seen_kind kind_of(const struct stat *st, dev_t dev)
{
	/* Some file systems number their files otherwise than their directories. A file on
	 * which another one is mounted is found when it is opened. */
	if (S_ISDIR(st->st_mode))
		return st->st_dev == dev ? SEEN_DIR : SEEN_OTHER_FS;
	if (S_ISREG(st->st_mode))
		return SEEN_FILE;
	return S_ISLNK(st->st_mode) ? SEEN_LINK : SEEN_SPECIAL;
}

int walk_look(int dir_fd, dev_t dev, const char *name, struct seen *out)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0)
		return errno;
	out->name = xstrdup(name);
	out->kind = kind_of(&st, dev);
	if (out->kind == SEEN_DIR && is_mount(dir_fd, name))
		out->kind = SEEN_OTHER_FS;
	out->ino = st.st_ino;
	out->size_bytes = st.st_size;
	out->mtime = st.st_mtim.tv_sec;
	out->identity = out->kind == SEEN_FILE ? file_identity(&st) : NULL;
	return 0;
}

/* A read lease is given only on what nobody has open for writing. It is given back at once, so
 * that who opens the file meanwhile waits no longer than that. */
static bool is_closed(int dir_fd, const char *name)
{
	int fd = openat(
		dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	bool is_given;

	if (fd < 0)
		return false;
	is_given = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
	if (is_given)
		(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
	return is_given;
}

static void add(struct seen_list *l, size_t *cap, struct seen s)
{
	if (l->len == *cap) {
		*cap = *cap ? 2 * *cap : 64;
		l->v = xreallocarray(l->v, *cap, sizeof(*l->v));
	}
	l->v[l->len++] = s;
}

static bool is_dots(const char *name)
{
	return str_eq(name, ".") || str_eq(name, "..");
}

static int list(DIR *d, const struct walk_conf *conf, struct seen_list *out)
{
	const struct dirent *ent;
	size_t cap = 0;

	/* This stream is ours alone. */
	/* cppcheck-suppress readdirCalled */
	while (errno = 0, (ent = readdir(d))) {
		struct seen s = { 0 };
		int errnum;

		if (is_dots(ent->d_name))
			continue;
		if (out->len >= conf->max) {
			out->is_cut = true;
			return 0;
		}
		errnum = walk_look(dirfd(d), conf->dev, ent->d_name, &s);
		if (s.kind == SEEN_FILE && s.mtime >= conf->recent_unix_sec)
			s.is_closed = is_closed(dirfd(d), ent->d_name);
		if (errnum == 0)
			add(out, &cap, s);
		else if (errnum != ENOENT) /* gone meanwhile */
			return errnum;
	}
	return errno;
}

int walk_list(int dir_fd, const struct walk_conf *conf, struct seen_list *out)
{
	int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int errnum;

	if (!d) {
		errnum = errno;
		walk_close(&fd);
		return errnum;
	}
	rewinddir(d); /* where it was read to is shared with dir_fd */
	errnum = list(d, conf, out);
	closedir(d);
	return errnum;
}
