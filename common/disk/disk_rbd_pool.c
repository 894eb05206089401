/* Images in a pool, whatever they are for: disk_rbd.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/crash.h"
#include "common/disk/disk_rbd.h"

#define ID_SIZE	       256
#define NAMES_AT_FIRST 1024
#define WATCHERS_MAX   64

/* ---------------------------------------------------------------- open images */

void disk_rbd_image_done(struct disk_rbd_image *im)
{
	if (im->image)
		im->lib->rbd_close(im->image);
	im->image = NULL;
}

int disk_rbd_open_ro(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	const char *snapshot, struct disk_rbd_image *out, struct err *e)
{
	rbd_image_t image = NULL;
	int rc = io->lib->rbd_open_read_only(pool, name, &image, snapshot);

	if (rc == -ENOENT)
		return 1;
	if (rc < 0)
		return ceph_io_error(io, rc, e, "opening %s", name);
	*out = (struct disk_rbd_image){ io->lib, image };
	return 0;
}

int disk_rbd_open_rw(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	struct disk_rbd_image *out, struct err *e)
{
	rbd_image_t image = NULL;
	int rc = io->lib->rbd_open(pool, name, &image, NULL);

	if (rc == -ENOENT)
		return 1;
	if (rc < 0)
		return ceph_io_error(io, rc, e, "opening %s", name);
	*out = (struct disk_rbd_image){ io->lib, image };
	return 0;
}

int disk_rbd_check_closed(
	struct ceph_io *io, struct disk_rbd_image *im, const char *name, struct err *e)
{
	rbd_image_watcher_t watchers[WATCHERS_MAX];
	size_t n = ARRAY_LEN(watchers);
	int rc = io->lib->rbd_watchers_list(im->image, watchers, &n);

	if (rc < 0 && rc != -ERANGE)
		return ceph_io_error(io, rc, e, "asking who has %s open", name);
	if (rc == 0 && n == 0)
		return 0;
	err_set(e, ERR_UNAVAILABLE,
		"%s is open, at %s; when the program there has died, it counts as open "
		"for 30 s more",
		name, rc == 0 ? watchers[0].addr : "many places");
	if (rc == 0)
		io->lib->rbd_watchers_list_cleanup(watchers, n);
	return -1;
}

/* ---------------------------------------------------------------- names */

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort(struct strv *sv)
{
	if (sv->len > 0)
		qsort(sv->v, sv->len, sizeof(sv->v[0]), compare);
}

static bool is_wanted(const char *name, const char *uuid)
{
	struct ceph_name parsed;

	return uuid ? str_has_prefix(name, uuid) : ceph_name_parse(name, &parsed);
}

int disk_rbd_list(struct ceph_io *io, rados_ioctx_t pool, const char *uuid,
	struct strv *names, struct err *e)
{
	size_t n = NAMES_AT_FIRST;
	rbd_image_spec_t *images = NULL;
	int rc;

	do {
		images = xreallocarray(images, n, sizeof(images[0]));
		rc = io->lib->rbd_list2(pool, images, &n);
	} while (rc == -ERANGE); /* n says how many there are */
	if (rc < 0) {
		free(images);
		return ceph_io_error(io, rc, e, "listing a pool");
	}
	for (size_t i = 0; i < n; i++)
		if (is_wanted(images[i].name, uuid))
			strv_add(names, images[i].name);
	io->lib->rbd_image_spec_list_cleanup(images, n);
	free(images);
	sort(names);
	return 0;
}

/* ---------------------------------------------------------------- making */

/* What is made of nothing takes no option that is for clones. */
static int set_options(
	const struct ceph_lib *lib, rbd_image_options_t options, bool is_clone)
{
	int rc = lib->rbd_image_options_set_uint64(
		options, RBD_IMAGE_OPTION_FEATURES, DISK_RBD_FEATURES);

	if (rc == 0 && is_clone)
		rc = lib->rbd_image_options_set_uint64(
			options, RBD_IMAGE_OPTION_CLONE_FORMAT, DISK_RBD_CLONE_FORMAT);
	return rc;
}

int disk_rbd_create(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	int64_t size_bytes, struct err *e)
{
	rbd_image_options_t options;
	int rc;

	io->lib->rbd_image_options_create(&options);
	rc = set_options(io->lib, options, false);
	CRASH_POINT("disk.create.before");
	if (rc == 0)
		rc = io->lib->rbd_create4(pool, name, (uint64_t)size_bytes, options);
	CRASH_POINT("disk.create.after");
	io->lib->rbd_image_options_destroy(options);
	return rc < 0 ? ceph_io_error(io, rc, e, "making %s", name) : 0;
}

int disk_rbd_clone(struct ceph_io *io, const char *image, const char *name, int *rc_out)
{
	rbd_image_options_t options;
	int rc;

	io->lib->rbd_image_options_create(&options);
	rc = set_options(io->lib, options, true);
	CRASH_POINT("disk.clone.before");
	if (rc == 0)
		rc = io->lib->rbd_clone3(
			io->images, image, DISK_RBD_SNAPSHOT, io->vms, name, options);
	CRASH_POINT("disk.clone.after");
	io->lib->rbd_image_options_destroy(options);
	*rc_out = rc;
	return rc < 0 ? -1 : 0;
}

int disk_rbd_mark(
	struct ceph_io *io, struct disk_rbd_image *im, const char *name, struct err *e)
{
	int rc = io->lib->rbd_metadata_set(im->image, DISK_RBD_MADE_AS, name);

	return rc < 0 ? ceph_io_error(io, rc, e, "marking %s", name) : 0;
}

int disk_rbd_rename(struct ceph_io *io, rados_ioctx_t pool, const char *from,
	const char *to, struct err *e)
{
	int rc;

	CRASH_POINT("disk.rename.before");
	rc = io->lib->rbd_rename(pool, from, to);
	CRASH_POINT("disk.rename.after");
	return rc < 0 ? ceph_io_error(io, rc, e, "renaming %s to %s", from, to) : 0;
}

/* ---------------------------------------------------------------- removing */

/* The object that leads from a name to an image. */
struct id {
	char object[CEPH_NAME_SIZE + 16];
	char content[ID_SIZE];
	int size; /* < 0: it is not there */
};

static int read_id(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	struct id *out, struct err *e)
{
	snprintf(out->object, sizeof(out->object), "rbd_id.%s", name);
	out->size = io->lib->rados_read(
		pool, out->object, out->content, sizeof(out->content), 0);
	if (out->size < 0 && out->size != -ENOENT)
		return ceph_io_error(io, out->size, e, "reading the id of %s", name);
	return 0;
}

/* Removes what another name still has to do with the image `name`, after a rename that was
 * not finished. */
static int remove_other_name(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	const char *other, struct err *e)
{
	struct id a = { 0 }, b = { 0 };
	int rc;

	if (str_eq(name, other))
		return 0;
	if (read_id(io, pool, name, &a, e) != 0 || read_id(io, pool, other, &b, e) != 0)
		return -1;
	if (a.size <= 0 || a.size != b.size ||
		memcmp(a.content, b.content, (size_t)a.size) != 0)
		return 0;
	rc = io->lib->rados_remove(pool, b.object);
	if (rc < 0 && rc != -ENOENT)
		return ceph_io_error(io, rc, e, "removing the name %s", other);
	return 0;
}

static int remove_other_names(struct ceph_io *io, rados_ioctx_t pool,
	struct disk_rbd_image *im, const char *name, struct err *e)
{
	struct ceph_name parsed, other;
	char made_as[CEPH_NAME_SIZE] = "";
	size_t size = sizeof(made_as);

	if (ceph_name_parse(name, &parsed) &&
		remove_other_name(io, pool, name, parsed.finished, e) != 0)
		return -1;
	if (io->lib->rbd_metadata_get(im->image, DISK_RBD_MADE_AS, made_as, &size) < 0 ||
		!ceph_name_parse(made_as, &other) || !other.is_unfinished)
		return 0;
	return remove_other_name(io, pool, name, made_as, e);
}

static int refuse_children(const char *name, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "%s has clones", name);
}

static int remove_snapshot(struct ceph_io *io, struct disk_rbd_image *im,
	const char *name, const char *snapshot, struct err *e)
{
	int is_protected = 0;
	int rc = io->lib->rbd_snap_is_protected(im->image, snapshot, &is_protected);

	if (rc == 0 && is_protected) {
		CRASH_POINT("disk.unprotect.before");
		rc = io->lib->rbd_snap_unprotect(im->image, snapshot);
		CRASH_POINT("disk.unprotect.after");
		if (rc == -EBUSY)
			return refuse_children(name, e);
	}
	if (rc == 0 || rc == -EINVAL) {
		CRASH_POINT("disk.snapshot_remove.before");
		rc = io->lib->rbd_snap_remove(im->image, snapshot);
		CRASH_POINT("disk.snapshot_remove.after");
	}
	if (rc < 0 && rc != -ENOENT)
		return ceph_io_error(
			io, rc, e, "removing snapshot %s of %s", snapshot, name);
	return 0;
}

int disk_rbd_snap_names(
	struct ceph_io *io, struct disk_rbd_image *im, struct strv *out, struct err *e)
{
	rbd_snap_info_t *snaps = NULL;
	int max = 16, n;

	do {
		snaps = xreallocarray(snaps, (size_t)max, sizeof(snaps[0]));
		n = io->lib->rbd_snap_list(im->image, snaps, &max);
	} while (n == -ERANGE);
	for (int i = 0; i < n; i++) {
		rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_USER;

		if (io->lib->rbd_snap_get_namespace_type(im->image, snaps[i].id, &type) ==
				0 &&
			type == RBD_SNAP_NAMESPACE_TYPE_USER)
			strv_add(out, snaps[i].name);
	}
	if (n >= 0)
		io->lib->rbd_snap_list_end(snaps);
	free(snaps);
	if (n < 0)
		return ceph_io_error(io, n, e, "listing snapshots");
	sort(out);
	return 0;
}

static int remove_snapshots(struct ceph_io *io, rados_ioctx_t pool, const char *name,
	const struct strv *snapshots, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc;

	if (snapshots->len == 0)
		return 0;
	rc = disk_rbd_open_rw(io, pool, name, &im, e);
	for (size_t i = 0; rc == 0 && i < snapshots->len; i++)
		rc = remove_snapshot(io, &im, name, snapshots->v[i], e);
	return rc < 0 ? -1 : 0;
}

/* What must go before the image itself can; 1 when that is not there any more. */
static int prepare_removal(
	struct ceph_io *io, rados_ioctx_t pool, const char *name, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	CLEANUP(strv_done) struct strv snapshots = { 0 };
	int rc = disk_rbd_open_ro(io, pool, name, NULL, &im, e);

	if (rc != 0)
		return rc;
	if (disk_rbd_check_closed(io, &im, name, e) != 0 ||
		disk_rbd_snap_names(io, &im, &snapshots, e) != 0 ||
		remove_other_names(io, pool, &im, name, e) != 0)
		return -1;
	disk_rbd_image_done(&im);
	return remove_snapshots(io, pool, name, &snapshots, e);
}

/* "It is not there", says the library also when a pool is too full for it to remove the
 * first thing there. */
static int check_gone(
	struct ceph_io *io, rados_ioctx_t pool, const char *name, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc = disk_rbd_open_ro(io, pool, name, NULL, &im, e);

	if (rc != 0)
		return rc == 1 ? 0 : -1;
	return err_set(e, ERR_UNAVAILABLE,
		"%s could not be removed; the pool is full, it seems", name);
}

int disk_rbd_remove_image(
	struct ceph_io *io, rados_ioctx_t pool, const char *name, struct err *e)
{
	int rc = prepare_removal(io, pool, name, e);

	if (rc < 0)
		return -1;
	/* Also when it cannot be opened any more: what a removal left that was cut off. */
	CRASH_POINT("disk.remove.before");
	rc = io->lib->rbd_remove(pool, name);
	CRASH_POINT("disk.remove.after");
	if (rc == -ENOTEMPTY)
		return err_set(e, ERR_CONFLICT,
			"%s has snapshots that are not ours, and is left alone", name);
	if (rc == -ENOENT)
		return check_gone(io, pool, name, e);
	return rc < 0 ? ceph_io_error(io, rc, e, "removing %s", name) : 0;
}
