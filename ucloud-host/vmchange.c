#include "ucloud-host/vmchange.h"

#include <string.h>

#include "common/base/buf.h"

#define GIB (INT64_C(1) << 30)

const char *const vmchange_op_names[] = { "thaw", "detach", "remove", "unsnapshot",
	"restore", "make", "grow", "attach", "flatten", "snapshot", "nic-detach",
	"nic-attach", NULL };
_Static_assert(ARRAY_LEN(vmchange_op_names) == VMCHANGE_N + 1, "a name for each");

void vmchange_world_done(struct vmchange_world *w)
{
	for (size_t i = 0; i < VM_DISKS_MAX; i++)
		strv_done(&w->disks[i].snapshots);
	strv_done(&w->macs);
	*w = (struct vmchange_world){ 0 };
}

void vmchange_plan_done(struct vmchange_plan *p)
{
	free(p->v);
	*p = (struct vmchange_plan){ 0 };
}

static struct vmchange_step *add(
	struct vmchange_plan *p, enum vmchange_op op, unsigned index)
{
	p->v = xreallocarray(p->v, p->len + 1, sizeof(*p->v));
	p->v[p->len] = (struct vmchange_step){ .op = op, .index = index };
	return &p->v[p->len++];
}

static const struct vm_disk *disk_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);
}

static struct vm_snapshot *snapshot_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_snapshot_jtab, &vm->snapshots, i);
}

static bool has_snapshot(
	const struct vmchange_world *w, const struct vm_disk *d, const char *name)
{
	return strv_has(&w->disks[d->index].snapshots, name);
}

/* Is it the hypervisor's to change its content? */
static bool is_open(const struct vmchange_world *w, const struct vm_disk *d)
{
	return w->is_on && w->disks[d->index].is_attached && !w->is_live_ok;
}

/* ------------------------------------------------------------------ snapshots */

/* Do all disks have it that stay? Leaving ones play no part. */
static bool is_complete(
	const struct vm *vm, const struct vmchange_world *w, const char *name)
{
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d = disk_at(vm, i);

		if (!d->is_leaving && !has_snapshot(w, d, name))
			return false;
	}
	return true;
}

/* Removes it from each disk that has it, the boot disk first. */
static size_t add_unsnapshots(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, const char *name)
{
	size_t before = p->len;

	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d = disk_at(vm, i);
		struct vmchange_step *s;

		if (d->is_leaving || !has_snapshot(w, d, name))
			continue;
		s = add(p, VMCHANGE_UNSNAPSHOT, (unsigned)d->index);
		s->is_live = is_open(w, d);
		s->snapshot = name;
	}
	return p->len - before;
}

/* Some disks have it and others not: those are of an attempt that was cut off. */
static void plan_half_made(
	struct vmchange_plan *p, const struct vm *vm, const struct vmchange_world *w)
{
	for (size_t i = 0; i < vm->snapshots.len; i++) {
		const struct vm_snapshot *snap = snapshot_at(vm, i);

		if (snap->state == SNAPSHOT_CREATING && !is_complete(vm, w, snap->name))
			add_unsnapshots(p, vm, w, snap->name);
	}
}

static int plan_restore(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, const char *name, struct err *e)
{
	size_t before = p->len;

	if (w->is_on)
		return err_set(e, ERR_UNSUPPORTED, "it runs: stop it first");
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d = disk_at(vm, i);

		if (!d->is_leaving && has_snapshot(w, d, name))
			add(p, VMCHANGE_RESTORE, (unsigned)d->index)->snapshot = name;
	}
	if (p->len == before)
		return err_set(
			e, ERR_NOT_FOUND, "no disk has a snapshot named \"%s\"", name);
	return 0;
}

static int plan_old_snapshots(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, struct err *e)
{
	for (size_t i = 0; i < vm->snapshots.len; i++) {
		const struct vm_snapshot *snap = snapshot_at(vm, i);

		if (snap->state == SNAPSHOT_DELETING)
			add_unsnapshots(p, vm, w, snap->name);
		else if (snap->state == SNAPSHOT_RESTORING &&
			 plan_restore(p, vm, w, snap->name, e) < 0)
			return -1;
	}
	return 0;
}

static void plan_new_snapshots(
	struct vmchange_plan *p, const struct vm *vm, const struct vmchange_world *w)
{
	for (size_t i = 0; i < vm->snapshots.len; i++) {
		const struct vm_snapshot *snap = snapshot_at(vm, i);
		struct vmchange_step *s;

		if (snap->state != SNAPSHOT_CREATING || is_complete(vm, w, snap->name))
			continue;
		s = add(p, VMCHANGE_SNAPSHOT, 0);
		s->snapshot = snap->name;
		for (size_t k = 0; k < vm->specs.disks.len; k++) {
			const struct vm_disk *d = disk_at(vm, k);
			/* What the plan attaches is open by then. */
			bool is_live = w->is_on && !w->is_live_ok;

			if (d->is_leaving)
				continue;
			s->disks |= 1U << d->index;
			s->live_disks |= is_live ? 1U << d->index : 0;
		}
	}
}

/* ------------------------------------------------------------------ disks */

static void plan_leaving(
	struct vmchange_plan *p, const struct vm *vm, const struct vmchange_world *w)
{
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d = disk_at(vm, i);

		if (!d->is_leaving)
			continue;
		if (w->is_on && w->disks[d->index].is_attached)
			add(p, VMCHANGE_DETACH, (unsigned)d->index);
		add(p, VMCHANGE_REMOVE, (unsigned)d->index);
	}
}

static bool is_too_small(
	const struct vm *vm, const struct vmchange_world *w, const struct vm_disk *d)
{
	const struct vmchange_disk *have = &w->disks[d->index];
	int64_t want = d->size_gib * GIB;

	if (have->size_bytes < want)
		return true;
	if (w->is_on && have->is_attached)
		return have->seen_bytes != 0 && have->seen_bytes < want;
	/* It may have been smaller when the snapshot was made. */
	for (size_t i = 0; i < vm->snapshots.len; i++)
		if (snapshot_at(vm, i)->state == SNAPSHOT_RESTORING)
			return true;
	return false;
}

static void plan_disk(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, const struct vm_disk *d)
{
	const struct vmchange_disk *have = &w->disks[d->index];
	bool is_seen = w->is_on && have->is_attached;

	if (!have->exists)
		add(p, VMCHANGE_MAKE, (unsigned)d->index);
	else if (is_too_small(vm, w, d))
		add(p, VMCHANGE_GROW, (unsigned)d->index)->is_live = is_seen;
	if (w->is_on && !have->is_attached)
		add(p, VMCHANGE_ATTACH, (unsigned)d->index);
}

static int plan_disks(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, struct err *e)
{
	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *d = disk_at(vm, i);

		if (d->is_leaving)
			continue;
		plan_disk(p, vm, w, d);
		if (d->is_flatten && is_open(w, d))
			return err_set(e, ERR_UNSUPPORTED,
				"a disk in this image store can only be made independent "
				"of its image while the VM is stopped");
		if (d->is_flatten)
			add(p, VMCHANGE_FLATTEN, (unsigned)d->index);
	}
	return 0;
}

/* ------------------------------------------------------------------ interfaces */

static struct vm_nic *nic_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_nic_jtab, &vm->networks, i);
}

static bool is_nic_attached(const struct vmchange_world *w, const struct vm_nic *nic)
{
	return w->is_on && nic->mac != NULL && strv_has(&w->macs, nic->mac);
}

static void plan_leaving_nics(
	struct vmchange_plan *p, const struct vm *vm, const struct vmchange_world *w)
{
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = nic_at(vm, i);

		if (nic->is_leaving && is_nic_attached(w, nic))
			add(p, VMCHANGE_NIC_DETACH, (unsigned)i)->mac = nic->mac;
	}
}

static void plan_new_nics(
	struct vmchange_plan *p, const struct vm *vm, const struct vmchange_world *w)
{
	for (size_t i = 0; w->is_on && i < vm->networks.len; i++) {
		const struct vm_nic *nic = nic_at(vm, i);

		if (!nic->is_leaving && nic->mac != NULL && !is_nic_attached(w, nic))
			add(p, VMCHANGE_NIC_ATTACH, (unsigned)i)->mac = nic->mac;
	}
}

/* ------------------------------------------------------------------ plans */

static bool has_state(const struct vm *vm, enum vm_snapshot_state state)
{
	for (size_t i = 0; i < vm->snapshots.len; i++)
		if (snapshot_at(vm, i)->state == (int)state)
			return true;
	return false;
}

static int plan_all(struct vmchange_plan *p, const struct vm *vm,
	const struct vmchange_world *w, struct err *e)
{
	if (w->is_on && has_state(vm, SNAPSHOT_CREATING))
		add(p, VMCHANGE_THAW, 0);
	plan_half_made(p, vm, w);
	plan_leaving(p, vm, w);
	plan_leaving_nics(p, vm, w);
	if (plan_old_snapshots(p, vm, w, e) < 0 || plan_disks(p, vm, w, e) < 0)
		return -1;
	plan_new_snapshots(p, vm, w);
	plan_new_nics(p, vm, w);
	return 0;
}

/* Every disk of the entry is one that vmchange_world has room for; the boot disk is there. */
static int check(const struct vm *vm, const struct vmchange_world *w, struct err *e)
{
	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (disk_at(vm, i)->index < 0 || disk_at(vm, i)->index >= VM_DISKS_MAX)
			return err_set(e, ERR_INVALID, "a VM has at most %d disks",
				VM_DISKS_MAX);
	if (w->disks[0].exists)
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		"its disk is not in the image store '%s' on this host; is the store "
		"mounted?",
		vm->store != NULL ? vm->store : "");
}

int vmchange_plan(const struct vm *vm, const struct vmchange_world *w,
	struct vmchange_plan *out, struct err *e)
{
	struct vmchange_plan p = { 0 };

	if (check(vm, w, e) < 0)
		return -1;
	if (plan_all(&p, vm, w, e) < 0) {
		vmchange_plan_done(&p);
		return -1;
	}
	*out = p;
	return 0;
}

void vmchange_undo_plan(
	const struct vm *vm, const struct vmchange_world *w, struct vmchange_plan *out)
{
	struct vmchange_plan p = { 0 };

	if (w->is_on && has_state(vm, SNAPSHOT_CREATING))
		add(&p, VMCHANGE_THAW, 0);
	plan_half_made(&p, vm, w);
	/* A deletion that has begun is not undone. */
	for (size_t i = 0; i < vm->snapshots.len; i++) {
		const struct vm_snapshot *snap = snapshot_at(vm, i);

		if (snap->state == SNAPSHOT_DELETING &&
			!strv_has(&w->disks[0].snapshots, snap->name))
			add_unsnapshots(&p, vm, w, snap->name);
	}
	*out = p;
}

/* ------------------------------------------------------------------ the entry afterwards */

static void snapshot_done(
	struct vm *vm, struct vm_snapshot *s, bool is_quiesced, int64_t now)
{
	if (s->state == SNAPSHOT_CREATING)
		vm_log(vm, now, "snapshot \"%s\" is made, %s", s->name,
			is_quiesced ? "of quiesced file systems"
				    : "as after a power failure");
	else
		vm_log(vm, now, "the disks are as they were in snapshot \"%s\"", s->name);
	s->is_quiesced = s->state == SNAPSHOT_CREATING ? is_quiesced : s->is_quiesced;
	s->state = SNAPSHOT_READY;
}

static bool snapshots_done(struct vm *vm, bool is_quiesced, int64_t now)
{
	bool is_told = false;

	for (size_t i = vm->snapshots.len; i-- > 0;) {
		struct vm_snapshot *s = snapshot_at(vm, i);

		if (s->state == SNAPSHOT_READY)
			continue;
		is_told = true;
		if (s->state != SNAPSHOT_DELETING) {
			snapshot_done(vm, s, is_quiesced, now);
			continue;
		}
		vm_log(vm, now, "snapshot \"%s\" is deleted", s->name);
		vm_drop_snapshot(vm, s->name);
	}
	return is_told;
}

static bool disks_done(struct vm *vm, int64_t now)
{
	bool is_told = false;

	for (size_t i = vm->specs.disks.len; i-- > 0;) {
		struct vm_disk *d = jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		is_told |= d->is_leaving || d->is_flatten;
		if (d->is_flatten && !d->is_leaving)
			vm_log(vm, now, "disk %lld is independent of its image",
				(long long)d->index);
		d->is_flatten = false;
		if (!d->is_leaving)
			continue;
		vm_log(vm, now, "disk %lld is detached and removed", (long long)d->index);
		vm_drop_disk(vm, d->index);
	}
	return is_told;
}

static void drop_nic(struct vm *vm, const struct vm_nic *nic, int64_t now)
{
	vm_log(vm, now, "interface %s is detached", nic->mac);
	vm_drop_nic(vm, nic->mac);
}

static bool nics_done(struct vm *vm, int64_t now)
{
	bool is_told = false;

	for (size_t i = vm->networks.len; i-- > 0;) {
		const struct vm_nic *nic = nic_at(vm, i);

		if (!nic->is_leaving)
			continue;
		drop_nic(vm, nic, now);
		is_told = true;
	}
	return is_told;
}

void vmchange_done(struct vm *vm, bool is_quiesced, int64_t now)
{
	bool is_told = disks_done(vm, now);

	vm->is_changing = false;

	is_told |= snapshots_done(vm, is_quiesced, now);
	is_told |= nics_done(vm, now);
	if (!is_told)
		vm_log(vm, now, "its disks and interfaces are as ordered");
}

/* ------------------------------------------------------------------ giving up */

/* True when the disk goes out of the entry. */
static bool undo_disk(struct vm *vm, struct vm_disk *d, const struct vmchange_world *w,
	const char *why, int64_t now)
{
	const struct vmchange_disk *have = &w->disks[d->index];
	long long index = d->index, size_gib = (have->size_bytes + GIB - 1) / GIB;

	if (d->is_flatten)
		vm_log(vm, now, "disk %lld still needs its image: %s", index, why);
	d->is_flatten = false;
	if (!have->exists && d->is_leaving)
		return true;
	if (!have->exists && d->index > 0) {
		vm_log(vm, now, "disk %lld of %lld GiB is not made: %s", index,
			(long long)d->size_gib, why);
		return true;
	}
	if (d->is_leaving)
		vm_log(vm, now, "disk %lld stays: %s", index, why);
	d->is_leaving = false;
	if (have->exists && size_gib > 0 && size_gib < d->size_gib) {
		vm_log(vm, now, "disk %lld keeps its %lld GiB: %s", index, size_gib, why);
		d->size_gib = size_gib;
	}
	if (have->exists && w->is_on && !have->is_attached)
		vm_log(vm, now,
			"disk %lld is there, but not attached before the VM's next "
			"start: %s",
			index, why);
	return false;
}

static void undo_snapshot(struct vm *vm, struct vm_snapshot *s,
	const struct vmchange_world *w, const char *why, int64_t now)
{
	bool is_there = strv_has(&w->disks[0].snapshots, s->name);
	int state = s->state;

	s->state = SNAPSHOT_READY;
	if (state == SNAPSHOT_RESTORING)
		vm_log(vm, now, "snapshot \"%s\" is not restored on all disks: %s",
			s->name, why);
	else if (state == SNAPSHOT_CREATING && !is_complete(vm, w, s->name))
		vm_log(vm, now, "snapshot \"%s\" is not made: %s", s->name, why);
	else if (state == SNAPSHOT_DELETING && is_there)
		vm_log(vm, now, "snapshot \"%s\" is not deleted: %s", s->name, why);
	/* One that is not of all its disks any more is none. */
	if ((state == SNAPSHOT_DELETING && !is_there) ||
		(state == SNAPSHOT_CREATING && !is_complete(vm, w, s->name)))
		vm_drop_snapshot(vm, s->name);
}

/* One that was ordered is there at the next start; one that is gone is gone. */
static void undo_nic(struct vm *vm, struct vm_nic *nic, const struct vmchange_world *w,
	const char *why, int64_t now)
{
	bool is_attached = is_nic_attached(w, nic);

	if (nic->is_leaving && !is_attached) {
		drop_nic(vm, nic, now);
		return;
	}
	if (nic->is_leaving)
		vm_log(vm, now, "interface %s stays: %s", nic->mac, why);
	else if (w->is_on && nic->mac != NULL && !is_attached)
		vm_log(vm, now,
			"interface %s is there, but not attached before the VM's next "
			"start: %s",
			nic->mac, why);
	nic->is_leaving = false;
}

void vmchange_undone(
	struct vm *vm, const struct vmchange_world *w, const char *why, int64_t now)
{
	vm->is_changing = false;
	for (size_t i = vm->specs.disks.len; i-- > 0;) {
		struct vm_disk *d = jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		if (d->index < VM_DISKS_MAX && undo_disk(vm, d, w, why, now))
			vm_drop_disk(vm, d->index);
	}
	for (size_t i = vm->snapshots.len; i-- > 0;) {
		struct vm_snapshot *s = snapshot_at(vm, i);

		if (s->state != SNAPSHOT_READY)
			undo_snapshot(vm, s, w, why, now);
	}
	for (size_t i = vm->networks.len; i-- > 0;)
		undo_nic(vm, nic_at(vm, i), w, why, now);
}
