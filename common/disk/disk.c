#include "common/disk/disk.h"

#include <assert.h>
#include <string.h>

#include "common/disk/disk_impl.h"
#include "common/model/vm.h"

#define GIB	     (INT64_C(1) << 30)
#define SIZE_GIB_MAX 65536

/* By type of store; NULL: this program cannot. Written before threads start. */
static const struct disk_ops *implementations[] = {
	[STORE_FILESYSTEM] = &disk_file_ops,
	[STORE_CEPH] = &disk_rbd_ops,
	[STORE_FAKE] = NULL,
};

void disk_register(enum store_type type, const struct disk_ops *ops)
{
	assert((size_t)type < ARRAY_LEN(implementations));
	implementations[type] = ops;
}

int disk_store_open(
	const struct image_store *conf, struct disk_store **out, struct err *e)
{
	const struct disk_ops *ops = NULL;

	if (conf->type >= 0 && (size_t)conf->type < ARRAY_LEN(implementations))
		ops = implementations[conf->type];
	if (image_store_check(conf, e) != 0)
		return err_wrap(e, "store \"%s\"", conf->name);
	if (!ops)
		return err_set(e, ERR_UNSUPPORTED,
			"store \"%s\" is of type %s, which this build cannot use",
			conf->name, store_type_names[conf->type]);
	return ops->open(conf, out, e);
}

void disk_store_close(struct disk_store *s)
{
	if (s)
		s->ops->close(s);
}

/* The arguments come out of entries in etcd, and become paths. */
static int check_vm(const char *vm_uuid, struct err *e)
{
	if (uuid_check(vm_uuid, e) != 0)
		return err_wrap(e, "the VM of a disk");
	return 0;
}

static int check_index(unsigned index, struct err *e)
{
	if (index < VM_DISKS_MAX)
		return 0;
	return err_set(e, ERR_INVALID, "a VM has at most %d disks; there is no disk %u",
		VM_DISKS_MAX, index);
}

static int check_size(int64_t size_gib, struct err *e)
{
	if (size_gib >= 1 && size_gib <= SIZE_GIB_MAX)
		return 0;
	return err_set(e, ERR_INVALID, "a disk has 1 to %d GiB; %jd GiB are not possible",
		SIZE_GIB_MAX, (intmax_t)size_gib);
}

static int check_spec(const struct disk_spec *spec, struct err *e)
{
	if (check_vm(spec->vm_uuid, e) != 0 || check_index(spec->index, e) != 0 ||
		check_size(spec->size_gib, e) != 0)
		return -1;
	if (spec->image &&
		rel_path_check(spec->image->path ? spec->image->path : "", e) != 0)
		return err_set(e, ERR_INVALID,
			"image \"%s\" has no usable path in its store",
			spec->image->name);
	return 0;
}

int disk_ensure(struct disk_store *s, const struct disk_spec *spec, struct err *e)
{
	return check_spec(spec, e) == 0 ? s->ops->ensure(s, spec, e) : -1;
}

int disk_remove_all(struct disk_store *s, const char *vm_uuid, struct err *e)
{
	return check_vm(vm_uuid, e) == 0 ? s->ops->remove_all(s, vm_uuid, e) : -1;
}

int disk_stat(struct disk_store *s, const char *vm_uuid, unsigned index,
	int64_t *size_bytes, struct err *e)
{
	if (check_vm(vm_uuid, e) != 0 || check_index(index, e) != 0)
		return -1;
	return s->ops->stat(s, vm_uuid, index, size_bytes, e);
}

static int refuse(struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "stores of this type cannot do that");
}

static int check_disk(const char *vm_uuid, unsigned index, struct err *e)
{
	return check_vm(vm_uuid, e) == 0 ? check_index(index, e) : -1;
}

bool disk_is_live_ok(struct disk_store *s)
{
	return s->ops->is_live_ok && s->ops->is_live_ok(s);
}

int disk_remove(struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	if (check_disk(vm_uuid, index, e) != 0)
		return -1;
	return s->ops->remove ? s->ops->remove(s, vm_uuid, index, e) : refuse(e);
}

int disk_grow(struct disk_store *s, const char *vm_uuid, unsigned index, int64_t size_gib,
	struct err *e)
{
	if (check_disk(vm_uuid, index, e) != 0 || check_size(size_gib, e) != 0)
		return -1;
	return s->ops->grow ? s->ops->grow(s, vm_uuid, index, size_gib, e) : refuse(e);
}

int disk_flatten(struct disk_store *s, const char *vm_uuid, unsigned index, struct err *e)
{
	if (check_disk(vm_uuid, index, e) != 0)
		return -1;
	return s->ops->flatten ? s->ops->flatten(s, vm_uuid, index, e) : refuse(e);
}

/* Its name becomes one in the store, and a word of a command. */
static int check_snapshot(
	const char *vm_uuid, unsigned index, const char *snapshot, struct err *e)
{
	if (check_disk(vm_uuid, index, e) != 0)
		return -1;
	return name_check(snapshot, e) == 0 ? 0 : err_wrap(e, "the name of a snapshot");
}

int disk_snapshot_make(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	if (check_snapshot(vm_uuid, index, snapshot, e) != 0)
		return -1;
	return s->ops->snapshot_make
		       ? s->ops->snapshot_make(s, vm_uuid, index, snapshot, e)
		       : refuse(e);
}

int disk_snapshot_remove(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	if (check_snapshot(vm_uuid, index, snapshot, e) != 0)
		return -1;
	return s->ops->snapshot_remove
		       ? s->ops->snapshot_remove(s, vm_uuid, index, snapshot, e)
		       : refuse(e);
}

int disk_snapshot_restore(struct disk_store *s, const char *vm_uuid, unsigned index,
	const char *snapshot, struct err *e)
{
	if (check_snapshot(vm_uuid, index, snapshot, e) != 0)
		return -1;
	return s->ops->snapshot_restore
		       ? s->ops->snapshot_restore(s, vm_uuid, index, snapshot, e)
		       : refuse(e);
}

int disk_snapshot_list(struct disk_store *s, const char *vm_uuid, unsigned index,
	struct strv *out, struct err *e)
{
	if (check_disk(vm_uuid, index, e) != 0)
		return -1;
	return s->ops->snapshot_list ? s->ops->snapshot_list(s, vm_uuid, index, out, e)
				     : refuse(e);
}

int disk_list(struct disk_store *s, struct strv *vm_uuids, struct err *e)
{
	return s->ops->list(s, vm_uuids, e);
}

int disk_source_get(struct disk_store *s, const struct disk_spec *spec,
	struct disk_source *out, struct err *e)
{
	if (check_spec(spec, e) != 0 || s->ops->source_get(s, spec, out, e) != 0)
		return -1;
	out->index = spec->index;
	return 0;
}

void disk_source_done(struct disk_source *src)
{
	free(src->format);
	free(src->path);
	free(src->backing_path);
	free(src->backing_format);
	free(src->user);
	free(src->secret_uuid);
	if (src->secret)
		explicit_bzero(src->secret, strlen(src->secret));
	free(src->secret);
	strv_done(&src->mons);
	memset(src, 0, sizeof(*src));
}

int disk_space(struct disk_store *s, int64_t *total_gib, int64_t *free_gib, struct err *e)
{
	int64_t total = -1, available = -1;

	if (s->ops->space(s, &total, &available, e) != 0)
		return -1;
	*total_gib = total < 0 ? -1 : total / GIB;
	*free_gib = available < 0 ? -1 : available / GIB;
	return 0;
}

int disk_check_fits(
	const struct image *im, int64_t virtual_bytes, int64_t size_gib, struct err *e)
{
	if (virtual_bytes <= size_gib * GIB)
		return 0;
	return err_set(e, ERR_INVALID,
		"image \"%s\" has %jd bytes and needs a disk of at least %jd GiB; %jd "
		"GiB were ordered",
		im->name, (intmax_t)virtual_bytes,
		(intmax_t)(virtual_bytes / GIB + (virtual_bytes % GIB != 0)),
		(intmax_t)size_gib);
}

int disk_check_existing(
	const struct disk_spec *spec, int64_t virtual_bytes, struct err *e)
{
	if (virtual_bytes >= spec->size_gib * GIB)
		return 0;
	return err_set(e, ERR_CONFLICT,
		"disk %u of VM %s exists with %jd bytes, fewer than the %jd GiB ordered; "
		"it is left as it is",
		spec->index, spec->vm_uuid, (intmax_t)virtual_bytes,
		(intmax_t)spec->size_gib);
}
