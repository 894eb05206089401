/* Ceph as image store: the disks of VMs. disk_rbd.h says what there is to know. */
#include "common/disk/disk_rbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/crash.h"

#define GIB (INT64_C(1) << 30)
/* For another thread to be done with a VM's disks: copying an image may take long. */
#define BUSY_SEC 90

static void close_store(struct disk_store *s)
{
	struct disk_rbd *r = disk_rbd(s);

	ceph_conn_free(r->conn);
	strv_done(&r->busy);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r->name);
	free(r->pool);
	free(r->vm_pool);
	free(r);
}

/* Does not ask the cluster: it may be away, and come back. */
static int open_store(
	const struct image_store *conf, struct disk_store **out, struct err *e)
{
	struct disk_rbd *r = xcalloc(1, sizeof(*r));

	(void)e;
	r->base.ops = &disk_rbd_ops;
	r->name = xstrdup(conf->name);
	r->pool = xstrdup(conf->pool);
	r->vm_pool = xstrdup(conf->vm_pool);
	r->max_image_gib = conf->max_image_gib > 0 ? conf->max_image_gib : 2048;
	r->conn = ceph_conn_new(conf);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	*out = &r->base;
	return 0;
}

/* ---------------------------------------------------------------- one at a time */

/* Two threads that make and remove the disks of one VM would take what the other one makes
 * for rubbish. */
static int busy_enter(struct disk_rbd *r, const char *vm_uuid, struct err *e)
{
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += BUSY_SEC;
	pthread_mutex_lock(&r->lock);
	while (rc == 0 && strv_has(&r->busy, vm_uuid))
		rc = pthread_cond_timedwait(&r->changed, &r->lock, &end);
	if (rc == 0)
		strv_add(&r->busy, vm_uuid);
	pthread_mutex_unlock(&r->lock);
	if (rc == 0)
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		"store \"%s\": somebody else works on the disks of VM %s", r->name,
		vm_uuid);
}

static void busy_leave(struct disk_rbd *r, const char *vm_uuid)
{
	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->busy.len; i++)
		if (strcmp(r->busy.v[i], vm_uuid) == 0) {
			free(r->busy.v[i]);
			r->busy.v[i] = r->busy.v[--r->busy.len];
			break;
		}
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* ---------------------------------------------------------------- looking */

static int wrap(struct disk_rbd *r, const char *vm_uuid, unsigned index, struct err *e)
{
	return err_wrap(e, "disk %u of VM %s in store \"%s\"", index, vm_uuid, r->name);
}

static int size_of(
	struct ceph_io *io, struct disk_rbd_image *im, int64_t *size_bytes, struct err *e)
{
	uint64_t size = 0;
	int rc = io->lib->rbd_get_size(im->image, &size);

	if (rc < 0)
		return ceph_io_error(io, rc, e, "asking for a size");
	*size_bytes = (int64_t)size;
	return 0;
}

static int stat_name(
	struct ceph_io *io, const char *name, int64_t *size_bytes, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc = disk_rbd_open_ro(io, io->vms, name, NULL, &im, e);

	return rc == 0 ? size_of(io, &im, size_bytes, e) : rc;
}

static int stat_disk(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	struct disk_rbd *r = disk_rbd(s);
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	char name[CEPH_NAME_SIZE];

	ceph_name_disk(name, vm_uuid, index);
	if (ceph_io_take(r->conn, &io, e) != 0)
		return -1;
	return stat_name(&io, name, size_bytes, e);
}

static int list_disks(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(strv_done) struct strv names = { 0 };
	struct ceph_name n;

	if (ceph_io_take(disk_rbd(s)->conn, &io, e) != 0 ||
		disk_rbd_list(&io, io.vms, NULL, &names, e) != 0)
		return -1;
	/* Sorted: what belongs to one VM stands together. */
	for (size_t i = 0; i < names.len; i++)
		if (ceph_name_parse(names.v[i], &n) &&
			(vm_uuids->len == 0 ||
				!str_eq(vm_uuids->v[vm_uuids->len - 1], n.uuid)))
			strv_add(vm_uuids, n.uuid);
	return 0;
}

static int space(
	struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };

	if (ceph_io_take(disk_rbd(s)->conn, &io, e) != 0)
		return -1;
	return ceph_io_space(&io, total_bytes, free_bytes, e);
}

static int source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	struct disk_rbd *r = disk_rbd(s);
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(strv_done) struct strv mons = { 0 };
	char name[CEPH_NAME_SIZE], uuid[UUID_STR_SIZE];
	char *key = NULL;

	ceph_name_disk(name, spec->vm_uuid, spec->index);
	if (ceph_io_take(r->conn, &io, e) != 0 || ceph_io_mons(&io, &mons, e) != 0 ||
		ceph_io_key(&io, &key, e) != 0)
		return -1;
	disk_source_done(out);
	out->kind = DISK_SOURCE_RBD;
	out->format = xstrdup("raw");
	out->path = xasprintf("%s/%s", r->vm_pool, name);
	strv_copy(&out->mons, &mons);
	if (!key)
		return 0;
	uuid_of_name(r->name, uuid);
	out->user = xstrdup(ceph_conn_user(r->conn));
	out->secret_uuid = xstrdup(uuid);
	out->secret = key;
	return 0;
}

/* ---------------------------------------------------------------- making */

struct making {
	struct disk_rbd *r;
	struct ceph_io *io;
	const struct disk_spec *spec;
	char name[CEPH_NAME_SIZE], unfinished[CEPH_NAME_SIZE];
};

static int refuse_full(const struct making *m, struct err *e)
{
	return err_set(e, ERR_NO_SPACE,
		"store \"%s\" is full: there is no room for disk %u of %jd GiB",
		m->r->name, m->spec->index, (intmax_t)m->spec->size_gib);
}

/* Why the image cannot be cloned, when it cannot. */
static int explain_clone(const struct making *m, int clone_rc, struct err *e)
{
	const struct image *image = m->spec->image;
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int is_protected = 0;
	int rc = disk_rbd_open_ro(m->io, m->io->images, image->path, NULL, &im, e);

	if (rc < 0)
		return -1;
	if (rc == 1)
		return err_set(e, ERR_NOT_FOUND,
			"the data of image \"%s\" is missing in store \"%s\"",
			image->name, m->r->name);
	rc = m->io->lib->rbd_snap_is_protected(
		im.image, DISK_RBD_SNAPSHOT, &is_protected);
	if (rc == -ENOENT || (rc == 0 && !is_protected))
		return err_set(e, ERR_INVALID,
			"image \"%s\" in store \"%s\" has no protected snapshot "
			"\"" DISK_RBD_SNAPSHOT
			"\": make one, then disks can be made of it",
			image->name, m->r->name);
	return ceph_io_error(m->io, clone_rc, e, "cloning image \"%s\"", image->name);
}

static int clone_image(const struct making *m, struct err *e)
{
	int rc = 0;

	if (disk_rbd_clone(m->io, m->spec->image->path, m->unfinished, &rc) == 0)
		return 0;
	if (rc == -ENOENT || rc == -EINVAL)
		return explain_clone(m, rc, e);
	return ceph_io_error(m->io, rc, e, "cloning image \"%s\"", m->spec->image->name);
}

/* Grows it to the size ordered. */
static int settle(const struct making *m, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	const int64_t wanted = m->spec->size_gib * GIB;
	int64_t size = 0;
	int rc = disk_rbd_open_rw(m->io, m->io->vms, m->unfinished, &im, e);

	if (rc == 1)
		return err_set(e, ERR_UNAVAILABLE, "somebody removed it meanwhile");
	if (rc < 0 || size_of(m->io, &im, &size, e) != 0)
		return -1;
	if (m->spec->image &&
		disk_check_fits(m->spec->image, size, m->spec->size_gib, e) != 0)
		return -1;
	CRASH_POINT("disk.grow.before");
	if (size < wanted) {
		rc = m->io->lib->rbd_resize(im.image, (uint64_t)wanted);
		if (rc < 0)
			return ceph_io_error(m->io, rc, e, "growing a new disk");
	}
	CRASH_POINT("disk.grow.after");
	return disk_rbd_mark(m->io, &im, m->unfinished, e);
}

static int make_unfinished(const struct making *m, struct err *e)
{
	int rc;

	if (m->spec->image && m->spec->image_store)
		rc = disk_rbd_copy(m->r, m->io, m->spec, m->name, m->unfinished, e);
	else if (m->spec->image)
		rc = clone_image(m, e);
	else
		rc = disk_rbd_create(
			m->io, m->io->vms, m->unfinished, m->spec->size_gib * GIB, e);
	return rc == 0 ? settle(m, e) : -1;
}

/* What is there already serves: 0; 1 when nothing is. */
static int check_present(const struct making *m, struct err *e)
{
	int64_t size = 0;
	int rc = stat_name(m->io, m->name, &size, e);

	return rc == 0 ? disk_check_existing(m->spec, size, e) : rc;
}

/* 1: somebody else has made it meanwhile. */
static int publish(const struct making *m, struct err *e)
{
	struct err first = { 0 };
	int rc;

	if (disk_rbd_rename(m->io, m->io->vms, m->unfinished, m->name, &first) == 0)
		return 0;
	if (first.kind == ERR_EXISTS) {
		rc = check_present(m, e);
		if (rc <= 0)
			return rc == 0 ? 1 : -1;
		/* A removal that was cut off left its name. */
		if (disk_rbd_remove_image(m->io, m->io->vms, m->name, e) != 0)
			return -1;
		return disk_rbd_rename(m->io, m->io->vms, m->unfinished, m->name, e);
	}
	if (e)
		*e = first;
	return -1;
}

/* As well as it can be: what stays is removed with the VM. */
static void discard(const struct making *m)
{
	(void)!disk_rbd_remove_image(m->io, m->io->vms, m->unfinished, NULL);
}

static int make_disk(const struct making *m, struct err *e)
{
	struct err first = { 0 };
	int rc = make_unfinished(m, &first);

	if (rc == 0)
		rc = publish(m, &first);
	if (rc == 0)
		return 0;
	discard(m);
	if (rc == 1)
		return 0;
	if (first.kind == ERR_NO_SPACE)
		return refuse_full(m, e);
	if (e)
		*e = first;
	return -1;
}

static int ensure(struct disk_rbd *r, const struct disk_spec *spec, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	struct making m = { .r = r, .io = &io, .spec = spec };
	int rc;

	if (ceph_io_take(r->conn, &io, e) != 0)
		return -1;
	ceph_name_disk(m.name, spec->vm_uuid, spec->index);
	ceph_name_unfinished(m.unfinished, m.name);
	rc = check_present(&m, e);
	if (rc <= 0)
		return rc;
	if (spec->image && disk_check_fits(spec->image, spec->image->virtual_bytes,
				   spec->size_gib, e) != 0)
		return -1;
	return make_disk(&m, e);
}

static int ensure_alone(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	struct disk_rbd *r = disk_rbd(s);
	int rc;

	if (busy_enter(r, spec->vm_uuid, e) != 0)
		return -1;
	rc = ensure(r, spec, e);
	busy_leave(r, spec->vm_uuid);
	return rc;
}

/* ---------------------------------------------------------------- removing */

/* index < 0: all disks. */
static int remove_disks(struct disk_rbd *r, const char *vm_uuid, int index, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(strv_done) struct strv names = { 0 };
	const char *foreign = NULL;
	struct ceph_name n;

	if (ceph_io_take(r->conn, &io, e) != 0 ||
		disk_rbd_list(&io, io.vms, vm_uuid, &names, e) != 0)
		return -1;
	for (size_t i = 0; i < names.len; i++) {
		bool is_ours = ceph_name_parse(names.v[i], &n);

		if (!is_ours)
			foreign = names.v[i];
		else if ((index < 0 || n.index == (unsigned)index) &&
			 disk_rbd_remove_image(&io, io.vms, names.v[i], e) != 0)
			return -1;
	}
	if (foreign && index < 0)
		return err_set(e, ERR_CONFLICT,
			"store \"%s\": the pool %s holds \"%.80s\", which is not a disk "
			"of ours and is left alone: rename it, then delete the VM again",
			r->name, r->vm_pool, foreign);
	return 0;
}

static int remove_busy(struct disk_rbd *r, const char *vm_uuid, int index, struct err *e)
{
	int rc;

	if (busy_enter(r, vm_uuid, e) != 0)
		return -1;
	rc = remove_disks(r, vm_uuid, index, e);
	busy_leave(r, vm_uuid);
	return rc;
}

static int remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	return remove_busy(disk_rbd(s), vm_uuid, -1, e);
}

static int remove_one(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	return remove_busy(disk_rbd(s), vm_uuid, (int)index, e);
}

/* ---------------------------------------------------------------- changing */

static bool is_live_ok(struct disk_store *s)
{
	(void)s;
	return true;
}

/* What QEMU has open is changed by QEMU: librbd asks who holds the image's lock. */
static int open_disk(struct ceph_io *io, struct disk_store *s, const char *vm_uuid,
	unsigned index, struct disk_rbd_image *im, struct err *e)
{
	char name[CEPH_NAME_SIZE];
	int rc;

	ceph_name_disk(name, vm_uuid, index);
	if (ceph_io_take(disk_rbd(s)->conn, io, e) != 0)
		return -1;
	rc = disk_rbd_open_rw(io, io->vms, name, im, e);
	if (rc == 1)
		return err_set(e, ERR_NOT_FOUND, "VM %s has no disk %u in store \"%s\"",
			vm_uuid, index, disk_rbd(s)->name);
	return rc;
}

static int grow(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t size_gib, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int64_t size = 0;
	int rc;

	if (open_disk(&io, s, vm_uuid, index, &im, e) != 0)
		return -1;
	if (size_of(&io, &im, &size, e) != 0)
		return wrap(disk_rbd(s), vm_uuid, index, e);
	if (size >= size_gib * GIB)
		return 0;
	CRASH_POINT("disk.grow.before");
	rc = io.lib->rbd_resize(im.image, (uint64_t)(size_gib * GIB));
	CRASH_POINT("disk.grow.after");
	if (rc < 0)
		return ceph_io_error(
			&io, rc, e, "growing disk %u of VM %s", index, vm_uuid);
	return 0;
}

static int has_parent(
	struct ceph_io *io, struct disk_rbd_image *im, bool *out, struct err *e)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snapshot;
	int rc = io->lib->rbd_get_parent(im->image, &parent, &snapshot);

	if (rc < 0 && rc != -ENOENT)
		return ceph_io_error(io, rc, e, "asking what a disk was cloned from");
	*out = rc == 0;
	if (rc == 0) {
		io->lib->rbd_linked_image_spec_cleanup(&parent);
		io->lib->rbd_snap_spec_cleanup(&snapshot);
	}
	return 0;
}

static int flatten(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	bool is_clone = false;
	int rc;

	if (open_disk(&io, s, vm_uuid, index, &im, e) != 0)
		return -1;
	if (has_parent(&io, &im, &is_clone, e) != 0)
		return wrap(disk_rbd(s), vm_uuid, index, e);
	if (!is_clone)
		return 0;
	CRASH_POINT("disk.flatten.before");
	rc = io.lib->rbd_flatten(im.image);
	CRASH_POINT("disk.flatten.after");
	if (rc < 0)
		return ceph_io_error(
			&io, rc, e, "flattening disk %u of VM %s", index, vm_uuid);
	return 0;
}

const struct disk_ops disk_rbd_ops = {
	.open = open_store,
	.close = close_store,
	.ensure = ensure_alone,
	.remove_all = remove_all,
	.stat = stat_disk,
	.is_live_ok = is_live_ok,
	.remove = remove_one,
	.grow = grow,
	.flatten = flatten,
	.snapshot_make = disk_rbd_snapshot_make,
	.snapshot_remove = disk_rbd_snapshot_remove,
	.snapshot_restore = disk_rbd_snapshot_restore,
	.snapshot_list = disk_rbd_snapshot_list,
	.list = list_disks,
	.source_get = source_get,
	.space = space,
	.sink_open = disk_rbd_sink_open,
	.image_find = disk_rbd_image_find,
	.image_n_users = disk_rbd_image_n_users,
	.image_remove = disk_rbd_image_remove,
	.image_list = disk_rbd_image_list,
	.image_source = disk_rbd_image_source,
};
