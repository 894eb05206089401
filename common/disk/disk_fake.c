#include "common/disk/disk_fake_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define GIB	      (INT64_C(1) << 30)
#define MAX_IMAGE_GIB 2048

/* The "real world" of the simulation: one for the process, as disks are. */
static struct {
	pthread_mutex_t lock;
	struct fake_content *stores;
	bool (*in_use)(void *aux, const char *vm_uuid);
	void *in_use_aux;
} world = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct fake_content *disk_fake_lock_name(const char *name)
{
	struct fake_content *c;

	pthread_mutex_lock(&world.lock);
	for (c = world.stores; c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return c;
	c = xcalloc(1, sizeof(*c));
	c->name = xstrdup(name);
	c->total_gib = c->free_gib = -1;
	c->next = world.stores;
	world.stores = c;
	return c;
}

void disk_fake_unlock(void)
{
	pthread_mutex_unlock(&world.lock);
}

/* A fault that was ordered for a call: its failure, else 0. */
static int take_fault(
	struct fake_content *c, unsigned *n, enum err_kind kind, struct err *e)
{
	if (*n == 0)
		return 0;
	(*n)--;
	return err_set(e, kind, "store \"%s\": a fault was ordered", c->name);
}

int disk_fake_fail_now(struct fake_content *c, struct err *e)
{
	return take_fault(c, &c->n_fail, c->fail_kind, e);
}

int disk_fake_fail_then(struct fake_content *c, struct err *e)
{
	return take_fault(c, &c->n_fail_after, c->fail_after_kind, e);
}

static int compare(const struct fake_disk *d, const char *vm_uuid, unsigned index)
{
	int order = strcmp(d->vm_uuid, vm_uuid);

	return order != 0 ? order : (d->index > index) - (d->index < index);
}

/* Where the disk is, or where it belongs. */
static size_t disk_place(
	const struct fake_content *c, const char *vm_uuid, unsigned index)
{
	size_t low = 0, high = c->n_disks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(&c->disks[middle], vm_uuid, index) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct fake_disk *disk_fake_find(
	struct fake_content *c, const char *vm_uuid, unsigned index)
{
	size_t at = disk_place(c, vm_uuid, index);

	if (at < c->n_disks && compare(&c->disks[at], vm_uuid, index) == 0)
		return &c->disks[at];
	return NULL;
}

static void disk_add(struct fake_content *c, const struct disk_spec *spec)
{
	size_t at = disk_place(c, spec->vm_uuid, spec->index);
	struct fake_disk *d;

	c->disks = xreallocarray(c->disks, c->n_disks + 1, sizeof(c->disks[0]));
	d = &c->disks[at];
	memmove(d + 1, d, (c->n_disks - at) * sizeof(*d));
	*d = (struct fake_disk){ .index = spec->index,
		.size_bytes = spec->size_gib * GIB };
	snprintf(d->vm_uuid, sizeof(d->vm_uuid), "%s", spec->vm_uuid);
	if (spec->image && spec->image->uuid && !spec->image_store)
		snprintf(d->image_uuid, sizeof(d->image_uuid), "%s", spec->image->uuid);
	c->n_disks++;
	c->n_made++;
}

void disk_fake_forget(struct fake_content *c, struct fake_disk *d)
{
	for (size_t i = 0; i < d->n_snapshots; i++)
		free(d->snapshots[i].name);
	free(d->snapshots);
	c->n_disks--;
	memmove(d, d + 1, (size_t)(&c->disks[c->n_disks] - d) * sizeof(*d));
}

bool disk_fake_is_in_use(const char *vm_uuid)
{
	return world.in_use && world.in_use(world.in_use_aux, vm_uuid);
}

static int check_image(struct fake_content *c, const struct image *im, struct err *e)
{
	if (!im->is_made || disk_fake_has_image(c, im->uuid))
		return 0;
	return err_set(e, ERR_NOT_FOUND, "image \"%s\" is missing in store \"%s\"",
		im->name, c->name);
}

static int ensure(struct fake_content *c, const struct disk_spec *spec, struct err *e)
{
	const struct fake_disk *d = disk_fake_find(c, spec->vm_uuid, spec->index);

	if (disk_fake_fail_now(c, e) != 0)
		return -1;
	if (d)
		return disk_check_existing(spec, d->size_bytes, e);
	if (spec->image && !spec->image_store && check_image(c, spec->image, e) != 0)
		return -1;
	if (spec->image && disk_check_fits(spec->image, spec->image->virtual_bytes,
				   spec->size_gib, e) != 0)
		return -1;
	if (c->is_full)
		return err_set(e, ERR_NO_SPACE,
			"store \"%s\" is full: there is no room for disk %u of %jd GiB",
			c->name, spec->index, (intmax_t)spec->size_gib);
	disk_add(c, spec);
	return disk_fake_fail_then(c, e);
}

struct fake_content *disk_fake_lock(struct disk_store *s)
{
	return disk_fake_lock_name(((struct fake_store *)s)->name);
}

/* An image of another store must be there, too. */
static int check_other(const struct disk_spec *spec, struct err *e)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	int rc = image_find(spec->image_store, spec->image->uuid, &made, e);

	if (rc == 1)
		return err_set(e, ERR_NOT_FOUND, "image \"%s\" is missing in its store",
			spec->image->name);
	for (int percent = 25; rc == 0 && spec->on_progress && percent <= 100;
		percent += 25)
		spec->on_progress(spec->aux, percent);
	return rc;
}

static bool is_there(struct disk_store *s, const struct disk_spec *spec)
{
	bool is = disk_fake_find(disk_fake_lock(s), spec->vm_uuid, spec->index) != NULL;

	disk_fake_unlock();
	return is;
}

static int fake_ensure(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	int rc;

	if (spec->image && spec->image_store && spec->image->is_made &&
		!is_there(s, spec) && check_other(spec, e) != 0)
		return -1;
	rc = ensure(disk_fake_lock(s), spec, e);
	disk_fake_unlock();
	return rc;
}

static int remove_all(struct fake_content *c, const char *vm_uuid, struct err *e)
{
	size_t at = disk_place(c, vm_uuid, 0);

	if (disk_fake_fail_now(c, e) != 0)
		return -1;
	while (at < c->n_disks && strcmp(c->disks[at].vm_uuid, vm_uuid) == 0)
		disk_fake_forget(c, &c->disks[at]);
	return disk_fake_fail_then(c, e);
}

static int fake_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	int rc = remove_all(disk_fake_lock(s), vm_uuid, e);

	disk_fake_unlock();
	return rc;
}

static int fake_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	const struct fake_disk *d = disk_fake_find(c, vm_uuid, index);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0 && !d)
		rc = 1;
	if (rc == 0)
		*size_bytes = d->size_bytes;
	disk_fake_unlock();
	return rc;
}

static int fake_list(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	int rc = disk_fake_fail_now(c, e);

	for (size_t i = 0; rc == 0 && i < c->n_disks; i++)
		if (i == 0 || strcmp(c->disks[i].vm_uuid, c->disks[i - 1].vm_uuid) != 0)
			strv_add(vm_uuids, c->disks[i].vm_uuid);
	disk_fake_unlock();
	return rc;
}

static int fake_space(
	struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0) {
		*total_bytes = c->total_gib < 0 ? -1 : c->total_gib * GIB;
		*free_bytes = c->free_gib < 0 ? -1 : c->free_gib * GIB;
	}
	disk_fake_unlock();
	return rc;
}

static int fake_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	const char *name = ((struct fake_store *)s)->name;
	const struct fake_disk *d =
		disk_fake_find(disk_fake_lock(s), spec->vm_uuid, spec->index);
	bool has_backing = spec->image && !spec->image_store &&
			   (!d || !spec->image->uuid || d->image_uuid[0] != '\0');

	disk_fake_unlock();
	(void)e;
	disk_source_done(out);
	out->kind = DISK_SOURCE_FILE;
	out->format = xstrdup("qcow2");
	out->path =
		xasprintf("/fake/%s/vms/%s/%u.qcow2", name, spec->vm_uuid, spec->index);
	if (has_backing) {
		out->backing_path =
			xasprintf("/fake/%s/images/%s", name, spec->image->path);
		out->backing_format = xstrdup(image_format_names[spec->image->format]);
	}
	return 0;
}

static bool fake_is_live_ok(struct disk_store *s)
{
	return ((struct fake_store *)s)->is_shared;
}

static int fake_open(
	const struct image_store *conf, struct disk_store **out, struct err *e);

static void fake_close(struct disk_store *s)
{
	struct fake_store *f = (struct fake_store *)s;

	free(f->name);
	free(f);
}

static const struct disk_ops fake_ops = {
	.open = fake_open,
	.close = fake_close,
	.ensure = fake_ensure,
	.remove_all = fake_remove_all,
	.stat = fake_stat,
	.list = fake_list,
	.source_get = fake_source_get,
	.space = fake_space,
	.is_live_ok = fake_is_live_ok,
	.remove = disk_fake_remove,
	.grow = disk_fake_grow,
	.flatten = disk_fake_flatten,
	.snapshot_make = disk_fake_snapshot_make,
	.snapshot_remove = disk_fake_snapshot_remove,
	.snapshot_restore = disk_fake_snapshot_restore,
	.snapshot_list = disk_fake_snapshot_list,
	.sink_open = disk_fake_sink_open,
	.image_find = disk_fake_image_find,
	.image_n_users = disk_fake_image_n_users,
	.image_remove = disk_fake_image_remove,
	.image_list = disk_fake_image_list,
	.image_source = disk_fake_image_source,
};

static int fake_open(
	const struct image_store *conf, struct disk_store **out, struct err *e)
{
	struct fake_store *f = xcalloc(1, sizeof(*f));

	(void)e;
	f->base.ops = &fake_ops;
	f->name = xstrdup(conf->name);
	f->is_shared = conf->type == STORE_CEPH;
	f->max_image_bytes =
		(conf->max_image_gib ? conf->max_image_gib : MAX_IMAGE_GIB) * GIB;
	*out = &f->base;
	return 0;
}

void disk_fake_register_as(enum store_type type)
{
	disk_register(type, &fake_ops);
}

void disk_fake_register(void)
{
	disk_fake_register_as(STORE_FAKE);
}

void disk_fake_reset(void)
{
	pthread_mutex_lock(&world.lock);
	while (world.stores) {
		struct fake_content *c = world.stores;

		world.stores = c->next;
		while (c->n_disks > 0)
			disk_fake_forget(c, &c->disks[c->n_disks - 1]);
		disk_fake_images_done(c);
		free(c->name);
		free(c->disks);
		free(c);
	}
	world.in_use = NULL;
	disk_fake_unlock();
}

void disk_fake_set_in_use(bool (*fn)(void *aux, const char *vm_uuid), void *aux)
{
	world.in_use = fn;
	world.in_use_aux = aux;
}

int64_t disk_fake_size(const char *store, const char *vm_uuid, unsigned index)
{
	const struct fake_disk *d =
		disk_fake_find(disk_fake_lock_name(store), vm_uuid, index);
	int64_t size = d ? d->size_bytes : -1;

	disk_fake_unlock();
	return size;
}

void disk_fake_fail(const char *store, unsigned n, enum err_kind kind)
{
	struct fake_content *c = disk_fake_lock_name(store);

	c->n_fail = n;
	c->fail_kind = kind;
	disk_fake_unlock();
}

void disk_fake_fail_after(const char *store, unsigned n, enum err_kind kind)
{
	struct fake_content *c = disk_fake_lock_name(store);

	c->n_fail_after = n;
	c->fail_after_kind = kind;
	disk_fake_unlock();
}

void disk_fake_set_full(const char *store, bool is_full)
{
	disk_fake_lock_name(store)->is_full = is_full;
	disk_fake_unlock();
}

void disk_fake_set_space(const char *store, int64_t total_gib, int64_t free_gib)
{
	struct fake_content *c = disk_fake_lock_name(store);

	c->total_gib = total_gib;
	c->free_gib = free_gib;
	disk_fake_unlock();
}

void disk_fake_disks(const char *store, struct strv *out)
{
	struct fake_content *c = disk_fake_lock_name(store);

	for (size_t i = 0; i < c->n_disks; i++)
		strv_add_take(
			out, xasprintf("%s/%u", c->disks[i].vm_uuid, c->disks[i].index));
	disk_fake_unlock();
}

unsigned disk_fake_n_made(const char *store)
{
	unsigned n = disk_fake_lock_name(store)->n_made;

	disk_fake_unlock();
	return n;
}
