#include "ucloud-host/vmdisks.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define GIB	     (INT64_C(1) << 30)
#define TELL_PERCENT 25

void vmdisks_close(struct vmdisks_ctx *c)
{
	store_put(&c->store);
	store_put(&c->image_store);
	image_done(&c->image);
	*c = (struct vmdisks_ctx){ 0 };
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

static int open_store(const struct host_env *env, const struct vm *vm,
	struct store_ref **out, struct err *e)
{
	return stores_get(env->stores, vm->store != NULL ? vm->store : "", out, e);
}

/* The image is in a store of its own: that one, too. */
static int open_image(struct vmdisks_ctx *c, struct err *e)
{
	if (read_image(c->env, c->vm->image_uuid, &c->image, e) < 0)
		return -1;
	c->has_image = true;
	if (str_is_empty(c->vm->image_store) || str_eq(c->vm->image_store, c->vm->store))
		return 0;
	return stores_get(c->env->stores, c->vm->image_store, &c->image_store, e);
}

int vmdisks_open(const struct host_env *env, const struct vm *vm, struct vmdisks_ctx *out,
	struct err *e)
{
	struct vmdisks_ctx c = { .env = env, .vm = vm };

	if (open_store(env, vm, &c.store, e) < 0 ||
		(!str_is_empty(vm->image_uuid) && open_image(&c, e) < 0)) {
		vmdisks_close(&c);
		return -1;
	}
	*out = c;
	return 0;
}

/* A line in the VM's log, while it is ours; without it nothing is lost. */
static int write_line(const struct vmdisks_ctx *c, int percent, struct err *e)
{
	CLEANUP_STR char *key = key_vm(&c->env->keys, c->vm->uuid);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *text = NULL;

	if (kv_get(c->env->kv, key, &pair, NULL, e) < 0 || pair.key == NULL)
		return -1;
	if (vm_parse(pair.value, pair.value_size, &vm, e) < 0)
		return -1;
	if (!str_eq(vm.hostname, c->env->host))
		return 0;
	vm_log(&vm, clock_unix_sec(),
		"copying the image \"%s\" to the store \"%s\": %d %%", c->image.name,
		vm.store, percent);
	text = vm_format(&vm);
	kv_txn_if_rev(t, key, pair.mod_rev);
	kv_txn_put(t, key, text);
	return kv_txn_commit(c->env->kv, t, NULL, e) < 0 ? -1 : 0;
}

static void on_progress(void *aux, int percent)
{
	struct vmdisks_ctx *c = aux;
	struct err e = { 0 };

	if (percent < c->told_percent + TELL_PERCENT || percent >= 100)
		return;
	c->told_percent = percent;
	if (write_line(c, percent, &e) < 0)
		log_debug("%s vm=%s", e.msg, c->vm->uuid);
}

struct disk_spec vmdisks_spec(struct vmdisks_ctx *c, const struct vm_disk *disk)
{
	struct disk_spec spec = {
		.vm_uuid = c->vm->uuid,
		.index = (unsigned)disk->index,
		.size_gib = disk->size_gib,
	};

	if (disk->index != 0 || !c->has_image)
		return spec;
	spec.image = &c->image;
	if (c->image_store != NULL) {
		spec.image_store = c->image_store->disks;
		spec.on_progress = on_progress;
		spec.aux = c;
	}
	return spec;
}

static const struct vm_disk *disk_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);
}

/* A disk that is leaving and is gone is as it should be. */
static int stat_disk(struct disk_store *s, const struct vm *vm,
	const struct vm_disk *disk, enum vmdisks *out, struct err *e)
{
	int64_t size_bytes = 0;
	int rc = disk_stat(s, vm->uuid, (unsigned)disk->index, &size_bytes, e);

	if (rc < 0)
		return -1;
	*out = VMDISKS_READY;
	if (rc > 0 && !disk->is_leaving)
		*out = disk->index == 0 ? VMDISKS_MISSING : VMDISKS_UNFINISHED;
	else if (rc == 0 && (disk->is_leaving || size_bytes < disk->size_gib * GIB))
		*out = VMDISKS_UNFINISHED;
	return 0;
}

int vmdisks_stat(
	const struct host_env *env, const struct vm *vm, enum vmdisks *out, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;
	enum vmdisks all = VMDISKS_READY;

	if (open_store(env, vm, &store, e) < 0)
		return -1;
	for (size_t i = 0; i < vm->specs.disks.len && all != VMDISKS_MISSING; i++) {
		enum vmdisks one;

		if (stat_disk(store->disks, vm, disk_at(vm, i), &one, e) < 0)
			return -1;
		if (one != VMDISKS_READY)
			all = one;
	}
	*out = all;
	return 0;
}

static int make_disk(struct vmdisks_ctx *c, const struct vm_disk *disk, struct err *e)
{
	struct disk_store *s = c->store->disks;
	const char *uuid = c->vm->uuid;
	unsigned index = (unsigned)disk->index;
	struct disk_spec spec = vmdisks_spec(c, disk);
	int64_t size_bytes;
	int rc;

	if (disk->is_leaving)
		return disk_remove(s, uuid, index, e);
	rc = disk_stat(s, uuid, index, &size_bytes, e);
	if (rc < 0)
		return -1;
	if (rc == 0 && size_bytes < disk->size_gib * GIB)
		return disk_grow(s, uuid, index, disk->size_gib, e);
	return disk_ensure(s, &spec, e);
}

int vmdisks_make(const struct host_env *env, const struct vm *vm, struct err *e)
{
	CLEANUP(vmdisks_close) struct vmdisks_ctx c = { 0 };

	if (vmdisks_open(env, vm, &c, e) < 0)
		return -1;
	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (make_disk(&c, disk_at(vm, i), e) < 0)
			return -1;
	return 0;
}

int vmdisks_remove(const struct host_env *env, const struct vm *vm, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;

	if (open_store(env, vm, &store, e) < 0)
		return -1;
	return disk_remove_all(store->disks, vm->uuid, e);
}

int vmdisks_source(struct vmdisks_ctx *c, const struct vm_disk *disk,
	struct disk_source *out, struct err *e)
{
	struct disk_spec spec = vmdisks_spec(c, disk);
	struct disk_source got = { 0 };

	if (disk_source_get(c->store->disks, &spec, &got, e) < 0)
		return -1;
	if (got.secret_uuid != NULL && got.secret != NULL &&
		virt_secret_ensure(c->env->virt, got.secret_uuid, got.secret, e) < 0) {
		disk_source_done(&got);
		return -1;
	}
	*out = got;
	return 0;
}

/* What was got before an error is in *out, too. */
static int get_sources(struct vmdisks_ctx *c, struct vmdisk_sources *out, struct err *e)
{
	const struct vm *vm = c->vm;

	if (vm->specs.disks.len > VM_DISKS_MAX)
		return err_set(e, ERR_TOO_LARGE, "a VM can have %d disks, not %zu",
			VM_DISKS_MAX, vm->specs.disks.len);
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		if (disk_at(vm, i)->is_leaving)
			continue;
		if (vmdisks_source(c, disk_at(vm, i), &out->v[out->len], e) < 0)
			return -1;
		out->len++;
	}
	return 0;
}

int vmdisks_sources(const struct host_env *env, const struct vm *vm,
	struct vmdisk_sources *out, struct err *e)
{
	CLEANUP(vmdisks_close) struct vmdisks_ctx c = { 0 };
	struct vmdisk_sources got = { 0 };

	if (vmdisks_open(env, vm, &c, e) < 0)
		return -1;
	if (get_sources(&c, &got, e) < 0) {
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

const char *vmdisks_cache_mode(const struct host_env *env, const struct disk_source *s)
{
	int fd;

	if (env->disk_cache != NULL)
		return env->disk_cache;
	if (s->kind != DISK_SOURCE_FILE)
		return "writeback";
	fd = open(s->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return "writeback";
	close(fd);
	return "none";
}
