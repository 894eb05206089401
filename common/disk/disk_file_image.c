#include "common/disk/disk_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "common/disk/image_file.h"

/* Everybody may read one whose name they know, as QEMU's user does; nobody writes it. */
#define IMAGE_MODE 0444

/* "<uuid>.raw", and while it is written ".<uuid>.raw.<another uuid>.tmp". Each try has a name
 * of its own: one that was given up cannot publish what another one writes. */
#define SUFFIX		 ".raw"
#define TEMPORARY_SUFFIX ".tmp"
#define IMAGE_NAME_SIZE	 (UUID_STR_SIZE + 4)
#define TEMPORARY_SIZE	 (2 * UUID_STR_SIZE + 9)

struct file_sink {
	struct image_sink base;
	struct file_store *f;
	int dir_fd, fd;
	int64_t virtual_bytes;
	char uuid[UUID_STR_SIZE];
	char temporary[TEMPORARY_SIZE]; /* "" once it is not there any more */
};

char *disk_file_image_path(struct file_store *f, const struct image *im)
{
	return xasprintf("%s/images/%s", f->path, im->path);
}

static void image_name(char out[IMAGE_NAME_SIZE], const char *uuid)
{
	snprintf(out, IMAGE_NAME_SIZE, "%s%s", uuid, SUFFIX);
}

static void temporary_name(char out[TEMPORARY_SIZE], const char *uuid)
{
	char try[UUID_STR_SIZE];

	uuid_new(try);
	snprintf(out, TEMPORARY_SIZE, ".%s%s.%s%s", uuid, SUFFIX, try, TEMPORARY_SUFFIX);
}

/* The uuid that the name begins with, and what follows it; NULL: it does not. */
static const char *take_uuid(const char *name, char uuid[UUID_STR_SIZE])
{
	if (strlen(name) < UUID_STR_SIZE - 1)
		return NULL;
	memcpy(uuid, name, UUID_STR_SIZE - 1);
	uuid[UUID_STR_SIZE - 1] = '\0';
	return uuid_check(uuid, NULL) == 0 ? name + UUID_STR_SIZE - 1 : NULL;
}

/* Is this a name that one of the two above makes? *uuid gets which image's. */
static bool is_our_name(const char *name, char uuid[UUID_STR_SIZE], bool *is_temporary)
{
	char try[UUID_STR_SIZE];

	*is_temporary = name[0] == '.';
	name = take_uuid(name + *is_temporary, uuid);
	if (!name || !str_has_prefix(name, SUFFIX))
		return false;
	name += strlen(SUFFIX);
	if (!*is_temporary)
		return name[0] == '\0';
	if (name[0] != '.')
		return false;
	name = take_uuid(name + 1, try);
	return name && str_eq(name, TEMPORARY_SUFFIX);
}

static int images_error(struct file_store *f, struct err *e)
{
	return err_errno(e, errno, "store \"%s\": the directory of images", f->name);
}

/* 1 when there is no such directory. */
static int images_dir(struct file_store *f, int *out, struct err *e)
{
	int fd = openat(f->root_fd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 1 : images_error(f, e);
	*out = fd;
	return 0;
}

static int image_error(struct file_store *f, const char *uuid, struct err *e)
{
	if (errno == ENOSPC || errno == EDQUOT)
		return err_set(e, ERR_NO_SPACE,
			"store \"%s\" is full: there is no room for the image", f->name);
	return err_errno(e, errno, "store \"%s\": image %s", f->name, uuid);
}

static int unlink_image(struct file_store *f, int dir_fd, const char *name,
	const char *uuid, struct err *e)
{
	CRASH_POINT("image.unlink.before");
	if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
		return image_error(f, uuid, e);
	CRASH_POINT("image.unlink.after");
	return 0;
}

/* Removes what is left of earlier tries at an image, and with_image the image itself. */
static int remove_image(struct file_store *f, int dir_fd, const char *image_uuid,
	bool with_image, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };

	if (disk_file_list_names(dir_fd, &names) != 0)
		return images_error(f, e);
	for (size_t i = 0; i < names.len; i++) {
		char uuid[UUID_STR_SIZE];
		bool is_temporary;

		if (is_our_name(names.v[i], uuid, &is_temporary) &&
			str_eq(uuid, image_uuid) && (is_temporary || with_image) &&
			unlink_image(f, dir_fd, names.v[i], uuid, e) != 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- the sink */

static void sink_close(struct image_sink *k)
{
	struct file_sink *sink = (struct file_sink *)k;

	if (sink->fd >= 0)
		close(sink->fd);
	/* Fails when another try has taken over: then it is gone. */
	if (sink->temporary[0] != '\0')
		unlinkat(sink->dir_fd, sink->temporary, 0);
	if (sink->dir_fd >= 0)
		close(sink->dir_fd);
	free(sink);
}

static int sink_write(
	struct image_sink *k, int64_t offset, const void *p, size_t size, struct err *e)
{
	struct file_sink *sink = (struct file_sink *)k;

	if (offset > sink->virtual_bytes || (int64_t)size > sink->virtual_bytes - offset)
		return err_set(e, ERR_INVALID,
			"the image has %jd bytes; %zu at %jd do not fit into it",
			(intmax_t)sink->virtual_bytes, size, (intmax_t)offset);
	if (disk_file_write_at(sink->fd, p, size, offset) != 0)
		return image_error(sink->f, sink->uuid, e);
	return 0;
}

/* Gives it its name. What another try does meanwhile only makes this one fail. */
static int publish(struct file_sink *sink, const char *name, struct err *e)
{
	CRASH_POINT("image.rename.before");
	if (renameat2(sink->dir_fd, sink->temporary, sink->dir_fd, name,
		    RENAME_NOREPLACE) != 0) {
		if (errno == EEXIST)
			return err_set(e, ERR_EXISTS,
				"store \"%s\": image %s is complete already",
				sink->f->name, sink->uuid);
		if (errno == ENOENT)
			return err_set(e, ERR_CONFLICT,
				"store \"%s\": image %s was begun anew, or removed, "
				"while it was written",
				sink->f->name, sink->uuid);
		return image_error(sink->f, sink->uuid, e);
	}
	CRASH_POINT("image.rename.after");
	sink->temporary[0] = '\0';
	return fsync(sink->dir_fd) == 0 ? 0 : image_error(sink->f, sink->uuid, e);
}

static void made_of(const char *name, const struct stat *st, struct image_made *out)
{
	image_made_done(out);
	out->path = xstrdup(name);
	out->format = IMAGE_RAW;
	out->virtual_bytes = st->st_size;
	out->size_bytes = (int64_t)st->st_blocks * 512;
}

static int sink_commit(struct image_sink *k, struct image_made *out, struct err *e)
{
	struct file_sink *sink = (struct file_sink *)k;
	char name[IMAGE_NAME_SIZE];
	struct stat st;

	image_name(name, sink->uuid);
	if (fchmod(sink->fd, IMAGE_MODE) != 0 || fsync(sink->fd) != 0 ||
		fstat(sink->fd, &st) != 0)
		return image_error(sink->f, sink->uuid, e);
	if (publish(sink, name, e) != 0)
		return -1;
	made_of(name, &st, out);
	return 0;
}

static const struct image_sink_ops sink_ops = {
	.write = sink_write, .commit = sink_commit, .close = sink_close
};

/* Room for its content, which is not known yet, is not looked for: it is sparse. */
static int begin(struct file_sink *sink, struct err *e)
{
	temporary_name(sink->temporary, sink->uuid);
	CRASH_POINT("image.create.before");
	sink->fd = openat(sink->dir_fd, sink->temporary,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (sink->fd < 0) {
		sink->temporary[0] = '\0';
		return image_error(sink->f, sink->uuid, e);
	}
	CRASH_POINT("image.create.after");
	if (ftruncate(sink->fd, (off_t)sink->virtual_bytes) != 0)
		return image_error(sink->f, sink->uuid, e);
	return 0;
}

/* 1: it is not complete, and nothing is left of earlier tries. */
static int prepare(struct file_sink *sink, struct err *e)
{
	struct file_store *f = sink->f;
	char name[IMAGE_NAME_SIZE];
	int rc;

	if (disk_file_make_dir(f->root_fd, "images") != 0)
		return images_error(f, e);
	rc = images_dir(f, &sink->dir_fd, e);
	if (rc != 0)
		return rc < 0 ? -1 : images_error(f, e);
	image_name(name, sink->uuid);
	if (faccessat(sink->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, ERR_EXISTS,
			"store \"%s\": image %s is complete already", f->name,
			sink->uuid);
	return remove_image(f, sink->dir_fd, sink->uuid, false, e);
}

int disk_file_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	struct file_sink *sink;

	if (virtual_bytes > f->max_image_bytes)
		return err_set(e, ERR_TOO_LARGE,
			"the image has %jd bytes; store \"%s\" takes images of at most "
			"%jd GiB",
			(intmax_t)virtual_bytes, f->name,
			(intmax_t)(f->max_image_bytes / GIB));
	sink = xcalloc(1, sizeof(*sink));
	sink->base.ops = &sink_ops;
	sink->f = f;
	sink->fd = sink->dir_fd = -1;
	sink->virtual_bytes = virtual_bytes;
	snprintf(sink->uuid, sizeof(sink->uuid), "%s", image_uuid);
	if (prepare(sink, e) != 0 || begin(sink, e) != 0) {
		sink_close(&sink->base);
		return -1;
	}
	*out = &sink->base;
	return 0;
}

/* ---------------------------------------------------------------- what is there */

int disk_file_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	char name[IMAGE_NAME_SIZE];
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	struct stat st;
	int rc = images_dir(f, &dir_fd, e);

	if (rc != 0)
		return rc;
	image_name(name, image_uuid);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 1 : image_error(f, image_uuid, e);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CONFLICT,
			"store \"%s\": image %s is no regular file; it is left as it is",
			f->name, image_uuid);
	made_of(name, &st, out);
	return 0;
}

/* Their overlays may be on other machines, which have a directory of the same name. */
int disk_file_image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e)
{
	(void)s;
	(void)im;
	(void)e;
	*n = 0;
	return 0;
}

int disk_file_image_remove(struct disk_store *s, const char *image_uuid, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	int rc = images_dir(f, &dir_fd, e);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (remove_image(f, dir_fd, image_uuid, true, e) != 0)
		return -1;
	return fsync(dir_fd) == 0 ? 0 : image_error(f, image_uuid, e);
}

int disk_file_image_list(struct disk_store *s, struct strv *image_uuids, struct err *e)
{
	struct file_store *f = disk_file_store(s);
	CLEANUP(strv_done) struct strv names = { 0 };
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	int rc = images_dir(f, &dir_fd, e);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (disk_file_list_names(dir_fd, &names) != 0)
		return images_error(f, e);
	for (size_t i = 0; i < names.len; i++) {
		char uuid[UUID_STR_SIZE];
		bool is_temporary;

		if (is_our_name(names.v[i], uuid, &is_temporary) &&
			!strv_has(image_uuids, uuid))
			strv_add(image_uuids, uuid);
	}
	return 0;
}

int disk_file_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e)
{
	CLEANUP(disk_file_close_fd)
	int dir_fd = -1;
	struct file_store *f = disk_file_store(s);
	int64_t virtual_bytes = 0;
	int rc = images_dir(f, &dir_fd, e);

	if (rc < 0)
		return -1;
	if (rc == 1)
		return err_set(e, ERR_NOT_FOUND,
			"the file of image \"%s\" is missing in store \"%s\"", im->name,
			f->name);
	if (image_file_check(dir_fd, im, &virtual_bytes, e) != 0)
		return -1;
	*url = disk_file_image_path(f, im);
	*format = xstrdup(image_format_names[im->format]);
	return 0;
}
