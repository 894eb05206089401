/* Snapshots of disks in Ceph: disk_rbd.h. */
#include <errno.h>

#include "common/base/crash.h"
#include "common/disk/disk_rbd.h"

static int refuse_missing_disk(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "VM %s has no disk %u in store \"%s\"", vm_uuid,
		index, disk_rbd(s)->name);
}

/* 1: there is no such disk. */
static int open_disk(struct ceph_io *io, struct disk_store *s, const char *vm_uuid,
	unsigned index, bool is_ro, struct disk_rbd_image *im, struct err *e)
{
	char name[CEPH_NAME_SIZE];

	ceph_name_disk(name, vm_uuid, index);
	if (!io->session && ceph_io_take(disk_rbd(s)->conn, io, e) != 0)
		return -1;
	return is_ro ? disk_rbd_open_ro(io, io->vms, name, NULL, im, e)
		     : disk_rbd_open_rw(io, io->vms, name, im, e);
}

int disk_rbd_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc = open_disk(&io, s, vm_uuid, index, false, &im, e);

	if (rc == 1)
		return refuse_missing_disk(s, vm_uuid, index, e);
	if (rc < 0)
		return -1;
	CRASH_POINT("disk.snapshot.before");
	rc = io.lib->rbd_snap_create(im.image, snapshot);
	CRASH_POINT("disk.snapshot.after");
	if (rc < 0 && rc != -EEXIST)
		return ceph_io_error(&io, rc, e, "snapshot %s of disk %u of VM %s",
			snapshot, index, vm_uuid);
	return 0;
}

int disk_rbd_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc = open_disk(&io, s, vm_uuid, index, false, &im, e);

	if (rc != 0)
		return rc == 1 ? 0 : -1;
	CRASH_POINT("disk.snapshot_remove.before");
	rc = io.lib->rbd_snap_remove(im.image, snapshot);
	CRASH_POINT("disk.snapshot_remove.after");
	if (rc < 0 && rc != -ENOENT)
		return ceph_io_error(&io, rc, e,
			"removing snapshot %s of disk %u of VM %s", snapshot, index,
			vm_uuid);
	return 0;
}

static int check_restorable(struct ceph_io *io, struct disk_store *s, const char *vm_uuid,
	unsigned index, const char *snapshot, struct err *e)
{
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	CLEANUP(strv_done) struct strv names = { 0 };
	char name[CEPH_NAME_SIZE];
	int rc = open_disk(io, s, vm_uuid, index, true, &im, e);

	if (rc == 1)
		return refuse_missing_disk(s, vm_uuid, index, e);
	if (rc < 0 || disk_rbd_snap_names(io, &im, &names, e) != 0)
		return -1;
	if (!strv_has(&names, snapshot))
		return err_set(e, ERR_NOT_FOUND,
			"disk %u of VM %s has no snapshot \"%s\" in store \"%s\"", index,
			vm_uuid, snapshot, disk_rbd(s)->name);
	ceph_name_disk(name, vm_uuid, index);
	if (disk_rbd_check_closed(io, &im, name, e) == 0)
		return 0;
	if (e && e->kind == ERR_UNAVAILABLE)
		e->kind = ERR_CONFLICT;
	return -1;
}

int disk_rbd_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc;

	if (check_restorable(&io, s, vm_uuid, index, snapshot, e) != 0)
		return -1;
	rc = open_disk(&io, s, vm_uuid, index, false, &im, e);
	if (rc == 1)
		return refuse_missing_disk(s, vm_uuid, index, e);
	if (rc < 0)
		return -1;
	CRASH_POINT("disk.restore.before");
	rc = io.lib->rbd_snap_rollback(im.image, snapshot);
	CRASH_POINT("disk.restore.after");
	if (rc < 0)
		return ceph_io_error(&io, rc, e,
			"restoring snapshot %s of disk %u of VM %s", snapshot, index,
			vm_uuid);
	return 0;
}

int disk_rbd_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e)
{
	CLEANUP(ceph_io_give) struct ceph_io io = { 0 };
	CLEANUP(disk_rbd_image_done) struct disk_rbd_image im = { 0 };
	int rc = open_disk(&io, s, vm_uuid, index, true, &im, e);

	if (rc != 0)
		return rc == 1 ? 0 : -1;
	return disk_rbd_snap_names(&io, &im, out, e);
}
