#include "common/disk/disk_fake.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/disk/disk_impl.h"

#define GIB (INT64_C(1) << 30)

struct fake_disk {
	char vm_uuid[UUID_STR_SIZE];
	unsigned index;
	int64_t size_bytes;
};

/* What a store holds, and what is to go wrong with it. */
struct fake_content {
	char *name;
	struct fake_disk *disks; /* by uuid and index */
	size_t n_disks;
	unsigned n_made;
	unsigned n_fail, n_fail_after;
	enum err_kind fail_kind, fail_after_kind;
	bool is_full;
	int64_t total_gib, free_gib;
	struct fake_content *next;
};

struct fake_store {
	struct disk_store base;
	char *name;
};

/* The "real world" of the simulation: one for the process, as disks are. */
static struct {
	pthread_mutex_t lock;
	struct fake_content *stores;
} world = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct fake_content *world_lock(const char *name)
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

static void world_unlock(void)
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

static int fail_before(struct fake_content *c, struct err *e)
{
	return take_fault(c, &c->n_fail, c->fail_kind, e);
}

static int fail_after(struct fake_content *c, struct err *e)
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

static const struct fake_disk *disk_find(
	const struct fake_content *c, const char *vm_uuid, unsigned index)
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
	c->n_disks++;
	c->n_made++;
}

static int ensure(struct fake_content *c, const struct disk_spec *spec, struct err *e)
{
	const struct fake_disk *d = disk_find(c, spec->vm_uuid, spec->index);

	if (fail_before(c, e) != 0)
		return -1;
	if (d)
		return disk_check_existing(spec, d->size_bytes, e);
	if (spec->image && disk_check_fits(spec->image, spec->image->virtual_bytes,
				   spec->size_gib, e) != 0)
		return -1;
	if (c->is_full)
		return err_set(e, ERR_NO_SPACE,
			"store \"%s\" is full: there is no room for disk %u of %jd GiB",
			c->name, spec->index, (intmax_t)spec->size_gib);
	disk_add(c, spec);
	return fail_after(c, e);
}

static struct fake_content *lock_store(struct disk_store *s)
{
	return world_lock(((struct fake_store *)s)->name);
}

static int fake_ensure(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	int rc = ensure(lock_store(s), spec, e);

	world_unlock();
	return rc;
}

static int remove_all(struct fake_content *c, const char *vm_uuid, struct err *e)
{
	size_t from = disk_place(c, vm_uuid, 0), to = from;

	if (fail_before(c, e) != 0)
		return -1;
	while (to < c->n_disks && strcmp(c->disks[to].vm_uuid, vm_uuid) == 0)
		to++;
	if (to > from)
		memmove(&c->disks[from], &c->disks[to],
			(c->n_disks - to) * sizeof(c->disks[0]));
	c->n_disks -= to - from;
	return fail_after(c, e);
}

static int fake_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	int rc = remove_all(lock_store(s), vm_uuid, e);

	world_unlock();
	return rc;
}

static int fake_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	struct fake_content *c = lock_store(s);
	const struct fake_disk *d = disk_find(c, vm_uuid, index);
	int rc = fail_before(c, e);

	if (rc == 0 && !d)
		rc = 1;
	if (rc == 0)
		*size_bytes = d->size_bytes;
	world_unlock();
	return rc;
}

static int fake_list(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	struct fake_content *c = lock_store(s);
	int rc = fail_before(c, e);

	for (size_t i = 0; rc == 0 && i < c->n_disks; i++)
		if (i == 0 || strcmp(c->disks[i].vm_uuid, c->disks[i - 1].vm_uuid) != 0)
			strv_add(vm_uuids, c->disks[i].vm_uuid);
	world_unlock();
	return rc;
}

static int fake_space(
	struct disk_store *s, int64_t *total_bytes, int64_t *free_bytes, struct err *e)
{
	struct fake_content *c = lock_store(s);
	int rc = fail_before(c, e);

	if (rc == 0) {
		*total_bytes = c->total_gib < 0 ? -1 : c->total_gib * GIB;
		*free_bytes = c->free_gib < 0 ? -1 : c->free_gib * GIB;
	}
	world_unlock();
	return rc;
}

static int fake_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	const char *name = ((struct fake_store *)s)->name;

	(void)e;
	disk_source_done(out);
	out->kind = DISK_SOURCE_FILE;
	out->format = xstrdup("qcow2");
	out->path =
		xasprintf("/fake/%s/vms/%s/%u.qcow2", name, spec->vm_uuid, spec->index);
	if (spec->image) {
		out->backing_path =
			xasprintf("/fake/%s/images/%s", name, spec->image->path);
		out->backing_format = xstrdup(image_format_names[spec->image->format]);
	}
	return 0;
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
};

static int fake_open(
	const struct image_store *conf, struct disk_store **out, struct err *e)
{
	struct fake_store *f = xcalloc(1, sizeof(*f));

	(void)e;
	f->base.ops = &fake_ops;
	f->name = xstrdup(conf->name);
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
		free(c->name);
		free(c->disks);
		free(c);
	}
	world_unlock();
}

void disk_fake_fail(const char *store, unsigned n, enum err_kind kind)
{
	struct fake_content *c = world_lock(store);

	c->n_fail = n;
	c->fail_kind = kind;
	world_unlock();
}

void disk_fake_fail_after(const char *store, unsigned n, enum err_kind kind)
{
	struct fake_content *c = world_lock(store);

	c->n_fail_after = n;
	c->fail_after_kind = kind;
	world_unlock();
}

void disk_fake_set_full(const char *store, bool is_full)
{
	world_lock(store)->is_full = is_full;
	world_unlock();
}

void disk_fake_set_space(const char *store, int64_t total_gib, int64_t free_gib)
{
	struct fake_content *c = world_lock(store);

	c->total_gib = total_gib;
	c->free_gib = free_gib;
	world_unlock();
}

void disk_fake_disks(const char *store, struct strv *out)
{
	struct fake_content *c = world_lock(store);

	for (size_t i = 0; i < c->n_disks; i++)
		strv_add_take(
			out, xasprintf("%s/%u", c->disks[i].vm_uuid, c->disks[i].index));
	world_unlock();
}

unsigned disk_fake_n_made(const char *store)
{
	unsigned n = world_lock(store)->n_made;

	world_unlock();
	return n;
}
