#include "ucloud-image/source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <unistd.h>

#include "common/disk/image_file.h"

static int refuse_open(const struct file *f, int errnum, struct err *e)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
		return err_set(e, ERR_NOT_FOUND, "the file \"%s\" is not there any more",
			f->filename);
	case ELOOP:
		return err_set(e, ERR_INVALID,
			"the file \"%s\" is, or lies behind, a symbolic link, which is "
			"not followed: upload the file itself",
			f->filename);
	case EXDEV:
		return err_set(e, ERR_INVALID,
			"the file \"%s\" lies on another file system than its owner's "
			"directory",
			f->filename);
	case ENXIO:
		return err_set(
			e, ERR_INVALID, "\"%s\" is not a regular file", f->filename);
	default:
		return err_errno(e, errnum, "the file \"%s\"", f->filename);
	}
}

static int refuse_changed(const struct file *f, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"the file \"%s\" changed since it was scanned: try again", f->filename);
}

static int look_at(const struct file *f, struct source *s, struct err *e)
{
	CLEANUP_STR char *identity = NULL;

	if (fstat(s->fd, &s->st) < 0)
		return err_errno(e, errno, "the file \"%s\"", f->filename);
	if (!S_ISREG(s->st.st_mode))
		return refuse_open(f, ENXIO, e);
	identity = file_identity(&s->st);
	return str_eq(identity, f->identity) ? 0 : refuse_changed(f, e);
}

int source_open(const char *base_dir, const char *default_realm, const struct file *f,
	struct source *out, struct err *e)
{
	CLEANUP_STR char *dir = file_dir(f->owner, f->owner_realm, default_realm);
	CLEANUP_STR char *path = xasprintf("%s/%s", dir, f->filename);
	int base = open(base_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), errnum;

	*out = (struct source){ .fd = -1 };
	if (base < 0)
		return err_set(
			e, ERR_UNAVAILABLE, "base_dir %s: %s", base_dir, strerror(errno));
	out->fd = open_beneath_with(base, path, 0, RESOLVE_NO_XDEV);
	errnum = errno;
	close(base);
	if (out->fd < 0)
		return refuse_open(f, errnum, e);
	if (look_at(f, out, e) == 0)
		return 0;
	source_done(out);
	return -1;
}

int source_look(struct source *s, struct err *e)
{
	struct image_header h = { 0 };
	int64_t file_size = 0;

	if (image_header_read_all(s->fd, &h, &file_size, e) < 0)
		return -1;
	/* How large it may be, the store says. */
	if (image_header_check(&h, INT64_MAX, e) < 0)
		return err_wrap(e, "it cannot be used");
	s->format = image_kind_names[h.kind];
	s->virtual_bytes = h.virtual_bytes;
	return 0;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

int source_check_same(const struct source *s, struct err *e)
{
	struct stat now;

	if (fstat(s->fd, &now) < 0)
		return err_errno(e, errno, "the file");
	/* ctime too: who writes to it can set its mtime back. */
	if (now.st_size == s->st.st_size && is_same_time(now.st_mtim, s->st.st_mtim) &&
		is_same_time(now.st_ctim, s->st.st_ctim))
		return 0;
	return err_set(e, ERR_CONFLICT, "the file changed while it was read: try again");
}

void source_done(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}
