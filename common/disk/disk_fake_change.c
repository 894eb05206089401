#include "common/disk/disk_fake_impl.h"

#include <string.h>

#define GIB (INT64_C(1) << 30)

/* What a change is made to: a disk that is there, and that nobody has open. NULL: not. */
static struct fake_disk *disk_of(struct disk_store *s, struct fake_content *c,
	const char *vm_uuid, unsigned index, struct err *e)
{
	struct fake_disk *d = disk_fake_find(c, vm_uuid, index);

	if (disk_fake_fail_now(c, e) != 0)
		return NULL;
	if (!d) {
		err_set(e, ERR_NOT_FOUND, "store \"%s\": VM %s has no disk %u", c->name,
			vm_uuid, index);
		return NULL;
	}
	if (!disk_is_live_ok(s) && disk_fake_is_in_use(vm_uuid)) {
		err_set(e, ERR_CONFLICT,
			"store \"%s\": disk %u of VM %s is in use: the VM runs", c->name,
			index, vm_uuid);
		return NULL;
	}
	return d;
}

static int refuse_full(const struct fake_content *c, struct err *e)
{
	return err_set(e, ERR_NO_SPACE, "store \"%s\" is full", c->name);
}

static int remove_disk(struct disk_store *s, struct fake_content *c, const char *vm_uuid,
	unsigned index, struct err *e)
{
	struct fake_disk *d;

	if (!disk_fake_find(c, vm_uuid, index))
		return disk_fake_fail_now(c, e);
	d = disk_of(s, c, vm_uuid, index, e);
	if (!d)
		return -1;
	disk_fake_forget(c, d);
	return disk_fake_fail_then(c, e);
}

int disk_fake_remove(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	int rc = remove_disk(s, disk_fake_lock(s), vm_uuid, index, e);

	disk_fake_unlock();
	return rc;
}

static int grow(struct disk_store *s, struct fake_content *c, const char *vm_uuid,
	unsigned index, int64_t size_gib, struct err *e)
{
	struct fake_disk *d = disk_of(s, c, vm_uuid, index, e);

	if (!d)
		return -1;
	if (d->size_bytes >= size_gib * GIB)
		return 0;
	if (c->is_full)
		return refuse_full(c, e);
	d->size_bytes = size_gib * GIB;
	return disk_fake_fail_then(c, e);
}

int disk_fake_grow(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t size_gib, struct err *e)
{
	int rc = grow(s, disk_fake_lock(s), vm_uuid, index, size_gib, e);

	disk_fake_unlock();
	return rc;
}

static int flatten(struct disk_store *s, struct fake_content *c, const char *vm_uuid,
	unsigned index, struct err *e)
{
	struct fake_disk *d = disk_of(s, c, vm_uuid, index, e);

	if (!d)
		return -1;
	if (d->image_uuid[0] == '\0')
		return 0;
	if (d->n_snapshots > 0 && !disk_is_live_ok(s))
		return err_set(e, ERR_CONFLICT,
			"disk %u of VM %s has %zu snapshots, which need the image: "
			"delete them first",
			index, vm_uuid, d->n_snapshots);
	if (c->is_full)
		return refuse_full(c, e);
	d->image_uuid[0] = '\0';
	return disk_fake_fail_then(c, e);
}

int disk_fake_flatten(
	struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	int rc = flatten(s, disk_fake_lock(s), vm_uuid, index, e);

	disk_fake_unlock();
	return rc;
}

/* ---------------------------------------------------------------- snapshots */

/* Where it is, or belongs. */
static size_t place(const struct fake_disk *d, const char *snapshot)
{
	size_t at = 0;

	while (at < d->n_snapshots && strcmp(d->snapshots[at].name, snapshot) < 0)
		at++;
	return at;
}

static struct fake_snapshot *find(struct fake_disk *d, const char *snapshot)
{
	size_t at = place(d, snapshot);

	return at < d->n_snapshots && str_eq(d->snapshots[at].name, snapshot)
		       ? &d->snapshots[at]
		       : NULL;
}

enum change { MAKE, REMOVE, RESTORE };

static void make(struct fake_disk *d, const char *snapshot)
{
	size_t at = place(d, snapshot);

	d->snapshots =
		xreallocarray(d->snapshots, d->n_snapshots + 1, sizeof(d->snapshots[0]));
	memmove(&d->snapshots[at + 1], &d->snapshots[at],
		(d->n_snapshots - at) * sizeof(d->snapshots[0]));
	d->snapshots[at] = (struct fake_snapshot){ xstrdup(snapshot), d->size_bytes };
	d->n_snapshots++;
}

static void forget(struct fake_disk *d, struct fake_snapshot *snapshot)
{
	free(snapshot->name);
	d->n_snapshots--;
	memmove(snapshot, snapshot + 1,
		(size_t)(&d->snapshots[d->n_snapshots] - snapshot) * sizeof(*snapshot));
}

static int change(struct fake_content *c, struct fake_disk *d, enum change what,
	const char *snapshot, struct err *e)
{
	struct fake_snapshot *there = find(d, snapshot);

	if (what == RESTORE && !there)
		return err_set(e, ERR_NOT_FOUND,
			"disk %u of VM %s has no snapshot \"%s\"", d->index, d->vm_uuid,
			snapshot);
	if (what == (there ? MAKE : REMOVE))
		return 0;
	if (what == MAKE && c->is_full)
		return refuse_full(c, e);
	if (what == MAKE)
		make(d, snapshot);
	else if (what == REMOVE)
		forget(d, there);
	else
		d->size_bytes = there->size_bytes;
	return disk_fake_fail_then(c, e);
}

static int snapshot_change(struct disk_store *s, const char *vm_uuid, unsigned index,
	enum change what, const char *snapshot, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	struct fake_disk *d = NULL;
	int rc = -1;

	if (what == REMOVE && !disk_fake_find(c, vm_uuid, index))
		rc = disk_fake_fail_now(c, e);
	else
		d = disk_of(s, c, vm_uuid, index, e);
	if (d && what == RESTORE && disk_fake_is_in_use(vm_uuid))
		err_set(e, ERR_CONFLICT,
			"store \"%s\": disk %u of VM %s is in use: the VM runs", c->name,
			index, vm_uuid);
	else if (d)
		rc = change(c, d, what, snapshot, e);
	disk_fake_unlock();
	return rc;
}

int disk_fake_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	return snapshot_change(s, vm_uuid, index, MAKE, snapshot, e);
}

/* One of a disk that is not there is not there. */
int disk_fake_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	return snapshot_change(s, vm_uuid, index, REMOVE, snapshot, e);
}

int disk_fake_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	return snapshot_change(s, vm_uuid, index, RESTORE, snapshot, e);
}

int disk_fake_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	const struct fake_disk *d = disk_fake_find(c, vm_uuid, index);
	int rc = disk_fake_fail_now(c, e);

	for (size_t i = 0; rc == 0 && d && i < d->n_snapshots; i++)
		strv_add(out, d->snapshots[i].name);
	disk_fake_unlock();
	return rc;
}
