#include "ucloud-host/vmdisks.h"

#include <fcntl.h>
#include <unistd.h>

/* What is needed for a VM's disks. */
struct vmdisks_ctx {
	struct store_ref *store;
	struct image image;
	bool has_image;
};

static void ctx_done(struct vmdisks_ctx *c)
{
	store_put(&c->store);
	c->store = NULL;
	image_done(&c->image);
}

/* TO_BE_DELETED is for VMs that are yet to be ordered: the image stays while a VM uses it,
 * and for a moment it says so whenever somebody tries to delete it in vain. */
static int check_image(const struct image *image, struct err *e)
{
	switch ((enum image_status)image->status) {
	case IMAGE_CREATED:
	case IMAGE_TO_BE_DELETED:
		return 0;
	case IMAGE_TO_BE_CREATED:
		return err_set(e, ERR_UNAVAILABLE, "the image '%s' is still being made",
			image->name);
	default:
		return err_set(e, ERR_INVALID, "the image '%s' cannot be used: it is %s",
			image->name, image_status_names[image->status]);
	}
}

static int read_image(
	const struct host_env *env, const char *uuid, struct image *out, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair entry = { 0 };
	CLEANUP_STR char *key = NULL;

	if (uuid_check(uuid, e) < 0)
		return err_wrap(e, "image");
	key = key_image(&env->keys, uuid);
	if (kv_get(env->kv, key, &entry, NULL, e) < 0)
		return -1;
	if (entry.key == NULL)
		return err_set(e, ERR_NOT_FOUND, "the image %s does not exist", uuid);
	if (image_parse(entry.value, entry.value_size, out, e) < 0)
		return err_wrap(e, "the image %s", uuid);
	return check_image(out, e);
}

static int ctx_init(const struct host_env *env, const struct vm *vm,
	struct vmdisks_ctx *c, struct err *e)
{
	if (stores_get(env->stores, vm->store != NULL ? vm->store : "", &c->store, e) < 0)
		return -1;
	if (str_is_empty(vm->image_uuid))
		return 0;
	c->has_image = true;
	return read_image(env, vm->image_uuid, &c->image, e);
}

static struct disk_spec spec_of(
	const struct vmdisks_ctx *c, const struct vm *vm, size_t i)
{
	const struct vm_disk *disk = jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

	return (struct disk_spec){
		.vm_uuid = vm->uuid,
		.index = (unsigned)disk->index,
		.size_gib = disk->size_gib,
		.image = disk->index == 0 && c->has_image ? &c->image : NULL,
	};
}

int vmdisks_stat(
	const struct host_env *env, const struct vm *vm, enum vmdisks *out, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;

	if (stores_get(env->stores, vm->store != NULL ? vm->store : "", &store, e) < 0)
		return -1;
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *disk =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);
		int64_t size_bytes;
		int rc = disk_stat(
			store->disks, vm->uuid, (unsigned)disk->index, &size_bytes, e);

		if (rc < 0)
			return -1;
		if (rc > 0) {
			*out = VMDISKS_MISSING;
			return 0;
		}
	}
	*out = VMDISKS_READY;
	return 0;
}

int vmdisks_make(const struct host_env *env, const struct vm *vm, struct err *e)
{
	CLEANUP(ctx_done) struct vmdisks_ctx c = { 0 };

	if (ctx_init(env, vm, &c, e) < 0)
		return -1;
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		struct disk_spec spec = spec_of(&c, vm, i);

		if (disk_ensure(c.store->disks, &spec, e) < 0)
			return -1;
	}
	return 0;
}

int vmdisks_remove(const struct host_env *env, const struct vm *vm, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;

	if (stores_get(env->stores, vm->store != NULL ? vm->store : "", &store, e) < 0)
		return -1;
	return disk_remove_all(store->disks, vm->uuid, e);
}

/* What was got before an error is in *out, too. */
static int get_sources(const struct vmdisks_ctx *c, const struct vm *vm,
	struct vmdisk_sources *out, struct err *e)
{
	if (vm->specs.disks.len > VM_DISKS_MAX)
		return err_set(e, ERR_TOO_LARGE, "a VM can have %d disks, not %zu",
			VM_DISKS_MAX, vm->specs.disks.len);
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		struct disk_spec spec = spec_of(c, vm, i);

		if (disk_source_get(c->store->disks, &spec, &out->v[i], e) < 0)
			return -1;
		out->len++;
	}
	return 0;
}

int vmdisks_sources(const struct host_env *env, const struct vm *vm,
	struct vmdisk_sources *out, struct err *e)
{
	CLEANUP(ctx_done) struct vmdisks_ctx c = { 0 };
	struct vmdisk_sources got = { 0 };

	if (ctx_init(env, vm, &c, e) < 0)
		return -1;
	if (get_sources(&c, vm, &got, e) < 0) {
		vmdisks_sources_done(&got);
		return -1;
	}
	*out = got;
	return 0;
}

void vmdisks_sources_done(struct vmdisk_sources *s)
{
	for (size_t i = 0; i < s->len; i++)
		disk_source_done(&s->v[i]);
	s->len = 0;
}

const char *vmdisks_cache_mode(const struct disk_source *s)
{
	int fd;

	if (s->kind != DISK_SOURCE_FILE)
		return "writeback";
	fd = open(s->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return "writeback";
	close(fd);
	return "none";
}
