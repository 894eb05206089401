/* Images in Ceph: disk_rbd.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/crash.h"
#include "common/disk/disk_rbd.h"

#define GIB (INT64_C(1) << 30)

struct sink {
	struct image_sink base;
	struct disk_rbd *r;
	struct ceph_io io;
	struct disk_rbd_image im;
	char uuid[UUID_STR_SIZE], unfinished[CEPH_NAME_SIZE];
	int64_t virtual_bytes;
	bool is_committed, had_leftovers;
};

/* 0.5 s each: longer than a client that died counts as one that has an image open. */
#define LEFTOVER_TRIES 70

static struct sink *sink(struct image_sink *k)
{
	return (struct sink *)k;
}

/* ---------------------------------------------------------------- looking */

static int add_extent(uint64_t offset, size_t size, int is_there, void *aux)
{
	int64_t *sum = aux;

	(void)offset;
	if (is_there)
		*sum += (int64_t)size;
	return 0;
}

/* 1: it is not complete. */
static int look(
	struct ceph_io *io, const char *name, struct image_made *out, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	uint64_t size = 0;
	int64_t taken = 0;
	int is_protected = 0;
	int rc = disk_rbd_open_ro(io, io->images, name, NULL, &im, e);

	if (rc != 0)
		return rc;
	rc = io->lib->rbd_snap_is_protected(im.image, DISK_RBD_SNAPSHOT, &is_protected);
	if (rc == -ENOENT || (rc == 0 && !is_protected))
		return 1;
	if (rc == 0)
		rc = io->lib->rbd_get_size(im.image, &size);
	/* Whole objects, of which there is a map: nothing is read. */
	if (rc == 0)
		rc = io->lib->rbd_diff_iterate2(
			im.image, NULL, 0, size, 0, 1, add_extent, &taken);
	if (rc < 0)
		return ceph_io_error(io, rc, e, "looking at image %s", name);
	image_made_done(out);
	*out = (struct image_made){ .path = xstrdup(name),
		.format = IMAGE_RAW,
		.virtual_bytes = (int64_t)size,
		.size_bytes = taken };
	return 0;
}

int disk_rbd_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };

	if (ceph_io_take(disk_rbd(s)->conn, &io, e) != 0)
		return -1;
	return look(&io, image_uuid, out, e);
}

/* Of the snapshot that disks are cloned from. Both formats of clones, in all pools. */
static int count_children(
	struct ceph_io *io, const char *name, unsigned *n_out, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	rbd_linked_image_spec_t *children = NULL;
	size_t n = 64;
	int rc = disk_rbd_open_ro(io, io->images, name, DISK_RBD_SNAPSHOT, &im, e);

	*n_out = 0;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	do {
		children = xreallocarray(children, n, sizeof(children[0]));
		rc = io->lib->rbd_list_children3(im.image, children, &n);
	} while (rc == -ERANGE); /* n says how many there are */
	if (rc >= 0) {
		io->lib->rbd_linked_image_spec_list_cleanup(children, n);
		*n_out = (unsigned)n;
	}
	free(children);
	return rc < 0 ? ceph_io_error(io, rc, e, "counting the clones of %s", name) : 0;
}

int disk_rbd_image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	unsigned count = 0;

	if (!str_is_empty(im->path) &&
		(ceph_io_take(disk_rbd(s)->conn, &io, e) != 0 ||
			count_children(&io, im->path, &count, e) != 0))
		return -1;
	*n = count;
	return 0;
}

int disk_rbd_image_list(struct disk_store *s, struct strv *image_uuids, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(strv_done) struct strv names = { 0 };
	struct ceph_name n;

	if (ceph_io_take(disk_rbd(s)->conn, &io, e) != 0 ||
		disk_rbd_list(&io, io.images, NULL, &names, e) != 0)
		return -1;
	for (size_t i = 0; i < names.len; i++)
		if (ceph_name_parse(names.v[i], &n) &&
			(image_uuids->len == 0 ||
				!str_eq(image_uuids->v[image_uuids->len - 1], n.uuid)))
			strv_add(image_uuids, n.uuid);
	return 0;
}

int disk_rbd_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e)
{
	struct disk_rbd *r = disk_rbd(s);

	if (str_is_empty(im->path))
		return err_set(e, ERR_INVALID, "image \"%s\" is not made yet", im->name);
	*url = ceph_name_url(r->pool, im->path, DISK_RBD_SNAPSHOT,
		ceph_conn_user(r->conn), ceph_conn_conf(r->conn));
	*format = xstrdup("raw");
	return 0;
}

/* ---------------------------------------------------------------- removing */

static int refuse_used(unsigned n, struct err *e)
{
	return err_set(
		e, ERR_CONFLICT, "%u disk%s on the image", n, n == 1 ? " lies" : "s lie");
}

static int remove_image(struct ceph_io *io, const char *name, struct err *e)
{
	unsigned n = 0;

	if (count_children(io, name, &n, e) != 0)
		return -1;
	if (n > 0)
		return refuse_used(n, e);
	return disk_rbd_remove_image(io, io->images, name, e);
}

static int remove_images(struct ceph_io *io, const char *uuid, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	struct ceph_name n;

	if (disk_rbd_list(io, io->images, uuid, &names, e) != 0)
		return -1;
	for (size_t i = 0; i < names.len; i++)
		if (ceph_name_parse(names.v[i], &n) &&
			remove_image(io, names.v[i], e) != 0)
			return -1;
	return 0;
}

int disk_rbd_image_remove(struct disk_store *s, const char *image_uuid, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };

	if (ceph_io_take(disk_rbd(s)->conn, &io, e) != 0)
		return -1;
	return remove_images(&io, image_uuid, e);
}

/* ---------------------------------------------------------------- writing */

static void close_sink(struct image_sink *k)
{
	struct sink *w = sink(k);

	disk_rbd_image_done(&w->im);
	/* What stays is removed by the next try, or with the image. */
	if (!w->is_committed && w->io.session)
		(void)!disk_rbd_remove_image(&w->io, w->io.images, w->unfinished, NULL);
	ceph_io_give(&w->io);
	free(w);
}

static int refuse_full(struct sink *w, struct err *e)
{
	return err_set(e, ERR_NO_SPACE,
		"store \"%s\" is full: there is no room for the image", w->r->name);
}

static int failed(struct sink *w, int rc, const char *what, struct err *e)
{
	if (rc == -ENOSPC || rc == -EDQUOT)
		return refuse_full(w, e);
	return ceph_io_error(&w->io, rc, e, "%s image %s", what, w->uuid);
}

static int write_sink(
	struct image_sink *k, int64_t offset, const void *p, size_t size, struct err *e)
{
	struct sink *w = sink(k);
	ssize_t n;

	if (offset > w->virtual_bytes || (int64_t)size > w->virtual_bytes - offset)
		return err_set(e, ERR_INVALID,
			"image %s has %jd bytes; nothing can be written beyond them",
			w->uuid, (intmax_t)w->virtual_bytes);
	n = w->io.lib->rbd_write(w->im.image, (uint64_t)offset, size, p);

	if (n < 0)
		return failed(w, (int)n, "writing", e);
	if ((size_t)n != size)
		return failed(w, -EIO, "writing", e);
	return 0;
}

static int seal(struct sink *w, struct err *e)
{
	const struct ceph_lib *lib = w->io.lib;
	int rc = lib->rbd_flush(w->im.image);

	CRASH_POINT("disk.snapshot.before");
	if (rc == 0)
		rc = lib->rbd_snap_create(w->im.image, DISK_RBD_SNAPSHOT);
	CRASH_POINT("disk.snapshot.after");
	if (rc == 0)
		rc = lib->rbd_snap_protect(w->im.image, DISK_RBD_SNAPSHOT);
	CRASH_POINT("disk.protect.after");
	return rc < 0 ? failed(w, rc, "completing", e) : 0;
}

/*
 * Removes what other tries for this image left. One that somebody has open, or had when it died
 * (for 30 s more), gets another name, so that it cannot be completed any more; *n_open says
 * how many there are.
 */
static int remove_leftovers(struct sink *w, unsigned *n_open, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	char other[CEPH_NAME_SIZE];
	struct ceph_name n;

	*n_open = 0;
	if (disk_rbd_list(&w->io, w->io.images, w->uuid, &names, e) != 0)
		return -1;
	for (size_t i = 0; i < names.len; i++) {
		struct err first = { 0 };

		if (!ceph_name_parse(names.v[i], &n) || !n.is_unfinished ||
			str_eq(names.v[i], w->unfinished) ||
			remove_image(&w->io, names.v[i], &first) == 0)
			continue;
		ceph_name_unfinished(other, w->uuid);
		if (disk_rbd_rename(&w->io, w->io.images, names.v[i], other, e) != 0)
			return -1;
		(*n_open)++;
	}
	return 0;
}

/* After a crash of the try before: until that does not count as open any more. What stays
 * nevertheless goes with the image. */
static void wait_for_leftovers(struct sink *w)
{
	const struct timespec pause = { .tv_nsec = 500 * 1000 * 1000 };
	unsigned n_open = 0;

	for (int i = 0; i < LEFTOVER_TRIES; i++) {
		if (remove_leftovers(w, &n_open, NULL) != 0 || n_open == 0)
			return;
		nanosleep(&pause, NULL);
	}
}

static int commit_sink(struct image_sink *k, struct image_made *out, struct err *e)
{
	struct sink *w = sink(k);
	int rc;

	assert(w->im.image && !w->is_committed);
	if (seal(w, e) != 0)
		return -1;
	disk_rbd_image_done(&w->im);
	if (disk_rbd_rename(&w->io, w->io.images, w->unfinished, w->uuid, e) != 0)
		return -1;
	w->is_committed = true;
	if (w->had_leftovers)
		wait_for_leftovers(w);
	rc = look(&w->io, w->uuid, out, e);
	if (rc == 1)
		return err_set(e, ERR_CONFLICT, "store \"%s\": somebody removed image %s",
			w->r->name, w->uuid);
	return rc;
}

static const struct image_sink_ops sink_ops = {
	.write = write_sink,
	.commit = commit_sink,
	.close = close_sink,
};

static int check_absent(struct sink *w, struct err *e)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	unsigned n_open = 0;
	int rc = look(&w->io, w->uuid, &made, e);

	if (rc == 0)
		return err_set(e, ERR_EXISTS, "store \"%s\" has image %s already",
			w->r->name, w->uuid);
	if (rc < 0 || remove_leftovers(w, &n_open, e) != 0)
		return -1;
	w->had_leftovers = n_open > 0;
	return 0;
}

static int begin(struct sink *w, int64_t virtual_bytes, struct err *e)
{
	int rc;

	if (virtual_bytes > w->r->max_image_gib * GIB)
		return err_set(e, ERR_TOO_LARGE,
			"an image of %jd bytes is too large for store \"%s\": at most "
			"%jd GiB",
			(intmax_t)virtual_bytes, w->r->name,
			(intmax_t)w->r->max_image_gib);
	if (ceph_io_take(w->r->conn, &w->io, e) != 0 || check_absent(w, e) != 0)
		return -1;
	if (disk_rbd_create(&w->io, w->io.images, w->unfinished, virtual_bytes, e) != 0)
		return -1;
	rc = disk_rbd_open_rw(&w->io, w->io.images, w->unfinished, &w->im, e);
	if (rc == 1)
		return err_set(e, ERR_UNAVAILABLE,
			"store \"%s\": somebody removed what is being made of image %s",
			w->r->name, w->uuid);
	return rc == 0 ? disk_rbd_mark(&w->io, &w->im, w->unfinished, e) : -1;
}

int disk_rbd_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e)
{
	struct sink *w = xcalloc(1, sizeof(*w));

	w->base.ops = &sink_ops;
	w->r = disk_rbd(s);
	w->virtual_bytes = virtual_bytes;
	snprintf(w->uuid, sizeof(w->uuid), "%s", image_uuid);
	ceph_name_unfinished(w->unfinished, image_uuid);
	if (begin(w, virtual_bytes, e) == 0) {
		*out = &w->base;
		return 0;
	}
	if (e && e->kind == ERR_NO_SPACE)
		refuse_full(w, e);
	close_sink(&w->base);
	return -1;
}
