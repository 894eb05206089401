/*
 * Disks and snapshots that are changed: who may change what of the entry, and what is left in
 * the end.
 */
#include <string.h>

#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

uint32_t rules_disks(const struct vm *vm, bool with_leaving)
{
	const struct vm_disk *d = vm->specs.disks.v;
	uint32_t disks = 0;
	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (with_leaving || !d[i].is_leaving)
			disks |= 1U << d[i].index;
	return disks;
}

/* A host makes nothing larger, and leaves no more open than there was. */
static bool rule_by_host(struct sim *s, const struct txn *t, const struct sim_vm *v,
	const struct vm *b, const struct vm *a)
{
	const struct vm_disk *d = a->specs.disks.v;
	bool is_right = !(rules_disks(a, true) & ~rules_disks(b, true)) &&
			a->snapshots.len <= b->snapshots.len;
	for (size_t i = 0; is_right && i < a->specs.disks.len; i++) {
		const struct vm_disk *was = vm_find_disk(b, d[i].index);
		is_right = d[i].size_gib <= was->size_gib &&
			   d[i].is_leaving <= was->is_leaving;
	}
	return is_right ||
	       sim_wrong(s, "%s changed the disks of %s", t->writer->name, v->uuid);
}

bool rule_changed(struct sim *s, const struct txn *t, struct sim_vm *v,
	const struct vm *b, const struct vm *a)
{
	uint32_t new = rules_disks(a, true) & ~rules_disks(b, true);
	v->n_disks_ordered += (unsigned)__builtin_popcount(new);
	if (!t->writer || t->writer->kind == NODE_API)
		return true;
	if (t->writer->kind == NODE_HOST)
		return rule_by_host(s, t, v, b, a);
	return (vm_disk_gib(a) == vm_disk_gib(b) &&
		       a->snapshots.len == b->snapshots.len && !new) ||
	       sim_wrong(s, "%s changed the disks of %s", t->writer->name, v->uuid);
}

/* ---------------------------------------------------------------- in the end */

static int list_snapshots(
	const struct sim_vm *v, unsigned index, struct strv *out, struct err *e)
{
	struct image_store conf = { .name = v->vm.store, .type = STORE_FAKE };
	struct disk_store *store;
	int rc = disk_store_open(&conf, &store, e);
	if (rc == 0) {
		rc = disk_snapshot_list(store, v->uuid, index, out, e);
		disk_store_close(store);
	}
	return rc;
}

/* Each is ready, and there; and there is none that the entry does not tell of. */
static bool check_snapshots(struct sim *s, const struct sim_vm *v)
{
	const struct vm_snapshot *snap = v->vm.snapshots.v;
	CLEANUP(strv_done) struct strv all = { 0 };
	struct err e = { 0 };
	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		CLEANUP(strv_done) struct strv names = { 0 };
		if ((v->disks & (1U << i)) && list_snapshots(v, i, &names, &e))
			return sim_wrong(s, "%s: %s", v->uuid, e.msg);
		for (size_t k = 0; k < names.len; k++)
			if (!vm_find_snapshot(&v->vm, names.v[k]))
				return sim_wrong(s, "disk %u of %s has snapshot %s", i,
					v->uuid, names.v[k]);
		if (i == 0)
			strv_copy(&all, &names);
	}
	for (size_t i = 0; i < v->vm.snapshots.len; i++)
		if (!strv_has(&all, snap[i].name))
			return sim_wrong(
				s, "%s has no snapshot %s", v->uuid, snap[i].name);
	return true;
}

static bool check_sizes(struct sim *s, const struct sim_vm *v)
{
	const struct vm_disk *d = v->vm.specs.disks.v;
	for (size_t i = 0; i < v->vm.specs.disks.len; i++) {
		int64_t bytes =
			disk_fake_size(v->vm.store, v->uuid, (unsigned)d[i].index);
		if (bytes >= 0 && bytes != d[i].size_gib << 30)
			return sim_wrong(s, "disk %d of %s has %lld bytes, not %lld GiB",
				(int)d[i].index, v->uuid, (long long)bytes,
				(long long)d[i].size_gib);
	}
	return true;
}

/* What could not be attached is said so in its log. */
static bool is_told(const struct vm *vm, const char *what)
{
	const struct vm_log_line *line = vm->log.v;
	for (size_t i = 0; i < vm->log.len; i++)
		if (strstr(line[i].text, what))
			return true;
	return vm->log.len == VM_LOG_MAX;
}

static bool check_nics(struct sim *s, struct fake_hyper *h, const struct sim_vm *v)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	const struct vm_nic *nic = v->vm.networks.v;
	fake_hyper_nics(h, v->uuid, &macs);
	for (size_t i = 0; i < macs.len; i++)
		if (!vm_find_nic(&v->vm, macs.v[i]))
			return sim_wrong(s, "%s has %s attached", v->uuid, macs.v[i]);
	for (size_t i = 0; i < v->vm.networks.len; i++)
		if (!strv_has(&macs, nic[i].mac) && !is_told(&v->vm, nic[i].mac))
			return sim_wrong(s, "%s runs without %s", v->uuid, nic[i].mac);
	return true;
}

static bool check_running(struct sim *s, const struct sim_vm *v)
{
	struct fake_hyper *h = s->hypers[sim_host_index(v->vm.hostname)];
	if (fake_hyper_is_frozen(h, v->uuid))
		return sim_wrong(s, "%s is frozen", v->uuid);
	if (v->disks != rules_disks(&v->vm, true))
		return sim_wrong(s, "%s runs without its disks", v->uuid);
	return (fake_hyper_disks(h, v->uuid) == v->disks ||
		       is_told(&v->vm, "not attached before") ||
		       sim_wrong(s, "%s has disks %x open of %x", v->uuid,
			       fake_hyper_disks(h, v->uuid), v->disks)) &&
	       check_nics(s, h, v);
}

bool rest_check_changes(struct sim *s, const struct sim_vm *v)
{
	if (vm_has_changes(&v->vm))
		return sim_wrong(s, "%s is left to be changed", v->uuid);
	if (v->vm.status == VM_STOPPED && str_eq(v->vm.store, sim_store(1)) &&
		!str_is_empty(v->vm.disk_host))
		return sim_wrong(s, "%s is left to %s", v->uuid, v->vm.disk_host);
	if (v->vm.status == VM_RUNNING && !check_running(s, v))
		return false;
	return check_snapshots(s, v) && check_sizes(s, v);
}
