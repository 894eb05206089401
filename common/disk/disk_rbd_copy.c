/* A disk that is a copy of an image of another store: disk_rbd.h. */
#include "common/disk/disk_rbd.h"
#include "common/disk/qemu_img.h"

#define GIB (INT64_C(1) << 30)

/* At least 4 MiB a second, and time for a cluster that does not answer at once. */
static int64_t limit_msec(int64_t size_bytes)
{
	return 600 * 1000 + size_bytes / (4 << 20) * 1000;
}

/* Before so much is written again: what a copy left that was cut off. */
static int remove_leftovers(struct ceph_io *io, const char *name, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	struct ceph_name n;

	if (disk_rbd_list(io, io->vms, name, &names, e) != 0)
		return -1;
	/* One that counts as open goes with the VM. */
	for (size_t i = 0; i < names.len; i++)
		if (ceph_name_parse(names.v[i], &n) && n.is_unfinished &&
			str_eq(n.finished, name))
			(void)!disk_rbd_remove_image(io, io->vms, names.v[i], NULL);
	return 0;
}

int disk_rbd_copy(struct disk_rbd *r, struct ceph_io *io, const struct disk_spec *spec,
	const char *name, const char *unfinished, struct err *e)
{
	struct disk_store *from = spec->image_store;
	CLEANUP_STR char *source = NULL, *format = NULL;
	CLEANUP_STR char *target = ceph_name_url(r->vm_pool, unfinished, NULL,
		ceph_conn_user(r->conn), ceph_conn_conf(r->conn));
	struct qemu_img_convert c = { .target = target,
		.target_format = "raw",
		.is_target_there = true,
		.is_target_zero = true,
		.limit_msec = limit_msec(spec->size_gib * GIB),
		.on_progress = spec->on_progress,
		.aux = spec->aux };

	if (!from->ops->image_source)
		return err_set(e, ERR_UNSUPPORTED,
			"image \"%s\" cannot be copied out of its store",
			spec->image->name);
	if (from->ops->image_source(from, spec->image, &source, &format, e) != 0 ||
		remove_leftovers(io, name, e) != 0 ||
		disk_rbd_create(io, io->vms, unfinished, spec->size_gib * GIB, e) != 0)
		return -1;
	c.source = source;
	c.source_format = format;
	if (qemu_img_convert(&c, e) == 0)
		return 0;
	if (e && e->kind == ERR_NO_SPACE)
		return -1;
	return err_wrap(
		e, "copying image \"%s\" into store \"%s\"", spec->image->name, r->name);
}
