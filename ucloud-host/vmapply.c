#include "ucloud-host/vmapply.h"

#include <string.h>

#include "common/base/crash.h"
#include "common/base/log.h"
#include "ucloud-host/domxml.h"
#include "ucloud-host/vmdisks.h"
#include "ucloud-host/vmnets.h"

#define GIB (INT64_C(1) << 30)

static int get_store(const struct host_env *env, const struct vm *vm,
	struct store_ref **out, struct err *e)
{
	return stores_get(env->stores, vm->store != NULL ? vm->store : "", out, e);
}

int vmapply_is_shared(
	const struct host_env *env, const struct vm *vm, bool *is_shared, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;

	if (get_store(env, vm, &store, e) < 0)
		return -1;
	*is_shared = !image_store_is_local(&store->conf);
	return 0;
}

/* ------------------------------------------------------------------ looking */

static int look_disk(struct disk_store *s, const struct vm *vm, unsigned index,
	struct vmchange_disk *d, struct err *e)
{
	int rc = disk_stat(s, vm->uuid, index, &d->size_bytes, e);

	if (rc < 0)
		return -1;
	d->exists = rc == 0;
	if (!d->exists || vm->snapshots.len == 0)
		return 0;
	return disk_snapshot_list(s, vm->uuid, index, &d->snapshots, e);
}

static int look_domain(const struct host_env *env, const struct vm *vm,
	struct vmchange_world *w, struct err *e)
{
	struct virt_disks open;

	if (virt_disks(env->virt, vm->uuid, &open, e) < 0)
		return -1;
	for (size_t i = 0; i < VM_DISKS_MAX; i++) {
		w->disks[i].is_attached = open.is_attached[i];
		w->disks[i].seen_bytes = open.size_bytes[i];
	}
	return virt_nics(env->virt, vm->uuid, &w->macs, e);
}

static int look_all(const struct host_env *env, const struct vm *vm,
	struct vmchange_world *w, struct err *e)
{
	CLEANUP(store_put) struct store_ref *store = NULL;

	if (get_store(env, vm, &store, e) < 0)
		return -1;
	w->is_live_ok = disk_is_live_ok(store->disks);
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		if (d->index < 0 || d->index >= VM_DISKS_MAX)
			return err_set(e, ERR_INVALID, "a VM has at most %d disks",
				VM_DISKS_MAX);
		if (look_disk(store->disks, vm, (unsigned)d->index, &w->disks[d->index],
			    e) < 0)
			return -1;
	}
	return w->is_on ? look_domain(env, vm, w, e) : 0;
}

int vmapply_look(const struct host_env *env, const struct vm *vm, bool is_on,
	struct vmchange_world *out, struct err *e)
{
	struct vmchange_world w = { .is_on = is_on };

	if (look_all(env, vm, &w, e) < 0) {
		vmchange_world_done(&w);
		return -1;
	}
	*out = w;
	return 0;
}

/* ------------------------------------------------------------------ one step */

/* A plan under way. */
struct run {
	struct vmdisks_ctx c;
	const struct host_env *env;
	const struct vm *vm;
	bool is_on;
	struct vmapply_outcome *out;
};

static int detach(struct run *r, unsigned index, struct err *e)
{
	struct virt_disks open;
	int rc = virt_disk_detach(r->env->virt, r->vm->uuid, index, e);

	if (rc < 0 && e->kind != ERR_IO)
		return -1;
	/* QEMU may be on it already, and refuse to be asked again. */
	if (rc < 0)
		log_debug("%s vm=%s", e->msg, r->vm->uuid);
	if (virt_disks(r->env->virt, r->vm->uuid, &open, e) < 0)
		return -1;
	return open.is_attached[index] ? VMAPPLY_DISK_STAYS : VMAPPLY_DONE;
}

static int attach(struct run *r, const struct vm_disk *disk, struct err *e)
{
	struct disk_source source = { 0 };
	CLEANUP_STR char *xml = NULL;
	int rc;

	if (vmdisks_source(&r->c, disk, &source, e) < 0)
		return -1;
	xml = domxml_disk_format(&source, vmdisks_cache_mode(r->env, &source));
	rc = virt_disk_attach(r->env->virt, r->vm->uuid, (unsigned)disk->index, xml, e);
	disk_source_done(&source);
	return rc;
}

static int make(struct run *r, const struct vm_disk *disk, struct err *e)
{
	struct disk_spec spec = vmdisks_spec(&r->c, disk);

	return disk_ensure(r->c.store->disks, &spec, e);
}

static int grow(struct run *r, const struct vmchange_step *s, const struct vm_disk *disk,
	struct err *e)
{
	if (s->is_live)
		return virt_disk_resize(
			r->env->virt, r->vm->uuid, s->index, disk->size_gib * GIB, e);
	return disk_grow(r->c.store->disks, r->vm->uuid, s->index, disk->size_gib, e);
}

static int unsnapshot(struct run *r, const struct vmchange_step *s, struct err *e)
{
	if (s->is_live)
		return virt_snapshot_remove(
			r->env->virt, r->vm->uuid, s->index, s->snapshot, e);
	return disk_snapshot_remove(
		r->c.store->disks, r->vm->uuid, s->index, s->snapshot, e);
}

/* ------------------------------------------------------------------ interfaces */

static int nic_detach(struct run *r, const char *mac, struct err *e)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	int rc = virt_nic_detach(r->env->virt, r->vm->uuid, mac, e);

	if (rc < 0 && e->kind != ERR_IO)
		return -1;
	/* QEMU may be on it already, and refuse to be asked again. */
	if (rc < 0)
		log_debug("%s vm=%s", e->msg, r->vm->uuid);
	if (virt_nics(r->env->virt, r->vm->uuid, &macs, e) < 0)
		return -1;
	return strv_has(&macs, mac) ? VMAPPLY_NIC_STAYS : VMAPPLY_DONE;
}

static int nic_attach(struct run *r, const char *mac, struct err *e)
{
	const struct vm_nic *nic = vm_find_nic(r->vm, mac);
	CLEANUP_STR char *xml = NULL;
	struct vmnet net = { 0 };
	int rc = vmnets_read_one(r->env, nic, &net, r->out->why, sizeof(r->out->why), e);

	if (rc != 0)
		return rc < 0 ? -1 : VMAPPLY_NO_NET;
	xml = domxml_nic_format(&net);
	network_done(&net.net);
	log_info("change: attach interface %s vm=%s", mac, r->vm->uuid);
	return virt_nic_attach(r->env->virt, r->vm->uuid, mac, xml, e);
}

/* ------------------------------------------------------------------ snapshots */

static int take_snapshots(struct run *r, const struct vmchange_step *s, struct err *e)
{
	if (s->live_disks != 0 && virt_snapshot_make(r->env->virt, r->vm->uuid,
					  s->live_disks, s->snapshot, e) < 0)
		return -1;
	for (unsigned i = 0; i < VM_DISKS_MAX; i++)
		if ((s->disks & ~s->live_disks & (1U << i)) &&
			disk_snapshot_make(
				r->c.store->disks, r->vm->uuid, i, s->snapshot, e) < 0)
			return -1;
	return 0;
}

/* Nothing is written meanwhile: by the guest's own doing, or because it stands still. */
static int hold(struct run *r, struct err *e)
{
	struct virt *virt = r->env->virt;
	struct err why = { 0 };

	r->out->is_quiesced = virt_freeze(virt, r->vm->uuid, &why) == 0;
	if (r->out->is_quiesced)
		return 0;
	log_debug("%s vm=%s", why.msg, r->vm->uuid);
	/* It may have frozen some. */
	if (why.kind != ERR_UNSUPPORTED && virt_thaw(virt, r->vm->uuid, e) < 0)
		return -1;
	return virt_pause(virt, r->vm->uuid, e);
}

static int let_go(struct run *r, struct err *e)
{
	return r->out->is_quiesced ? virt_thaw(r->env->virt, r->vm->uuid, e)
				   : virt_resume(r->env->virt, r->vm->uuid, e);
}

static int snapshot(struct run *r, const struct vmchange_step *s, struct err *e)
{
	struct err later = { 0 };
	int rc;

	if (!r->is_on)
		return take_snapshots(r, s, e);
	if (hold(r, e) < 0)
		return -1;
	rc = take_snapshots(r, s, e);
	/* The first error is of interest; a guest that is left standing is seen to by the
	 * next look. */
	if (let_go(r, rc < 0 ? &later : e) < 0)
		rc = -1;
	return rc;
}

/* ------------------------------------------------------------------ all of them */

static int run_step(struct run *r, const struct vmchange_step *s, struct err *e)
{
	struct disk_store *disks = r->c.store->disks;
	const struct vm_disk *disk = vm_find_disk(r->vm, s->index);
	const char *uuid = r->vm->uuid;

	switch (s->op) {
	case VMCHANGE_THAW:
		return virt_thaw(r->env->virt, uuid, e);
	case VMCHANGE_DETACH:
		return detach(r, s->index, e);
	case VMCHANGE_REMOVE:
		return disk_remove(disks, uuid, s->index, e);
	case VMCHANGE_UNSNAPSHOT:
		return unsnapshot(r, s, e);
	case VMCHANGE_RESTORE:
		return disk_snapshot_restore(disks, uuid, s->index, s->snapshot, e);
	case VMCHANGE_MAKE:
		return make(r, disk, e);
	case VMCHANGE_GROW:
		return grow(r, s, disk, e);
	case VMCHANGE_ATTACH:
		return attach(r, disk, e);
	case VMCHANGE_FLATTEN:
		return disk_flatten(disks, uuid, s->index, e);
	case VMCHANGE_NIC_DETACH:
		return nic_detach(r, s->mac, e);
	case VMCHANGE_NIC_ATTACH:
		return nic_attach(r, s->mac, e);
	default:
		return snapshot(r, s, e);
	}
}

/* Those that may be repeated many times say so by themselves. */
static void log_step(const struct vm *vm, const struct vmchange_step *s)
{
	if (s->mac == NULL)
		log_info("change: %s vm=%s disk=%u", vmchange_op_names[s->op], vm->uuid,
			s->index);
	else if (s->op == VMCHANGE_NIC_DETACH)
		log_info("change: detach interface %s vm=%s", s->mac, vm->uuid);
}

int vmapply_run(const struct host_env *env, const struct vm *vm, bool is_on,
	const struct vmchange_plan *plan, struct vmapply_outcome *out, struct err *e)
{
	struct run r = { .env = env, .vm = vm, .is_on = is_on, .out = out };
	int rc = VMAPPLY_DONE;

	if (plan->len > 0 && vmdisks_open(env, vm, &r.c, e) < 0)
		return -1;
	for (size_t i = 0; rc == VMAPPLY_DONE && i < plan->len; i++) {
		log_step(vm, &plan->v[i]);
		CRASH_POINT("vmapply.step.before");
		rc = run_step(&r, &plan->v[i], e);
		CRASH_POINT("vmapply.step.after");
	}
	vmdisks_close(&r.c);
	return rc;
}
