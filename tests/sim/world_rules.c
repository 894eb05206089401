/*
 * What must be so at any moment between the store, the domains and the disks.
 */
#include <string.h>

#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

/* A domain is only where its VM is placed, whether it runs or not: so a VM never runs twice,
 * and one that is to run elsewhere has left nothing behind that could be started. */
static bool check_domain(struct sim *s, const struct sim_vm *v)
{
	uint64_t n_starts = 0;
	for (int i = 0; i < SIM_HOSTS; i++) {
		struct virt_dom dom;
		n_starts += fake_hyper_n_starts(s->hypers[i], v->uuid);
		if (!fake_hyper_get(s->hypers[i], v->uuid, &dom))
			continue;
		if (!v->exists)
			return sim_wrong(
				s, "%s has a domain on h%d and no entry", v->uuid, i);
		if (sim_host_index(v->vm.hostname) != i)
			return sim_wrong(s,
				"%s has a domain on h%d, its hostname is '%s'", v->uuid,
				i, v->vm.hostname ? v->vm.hostname : "");
		if (dom.state == VIRT_RUNNING && v->n_disks < v->vm.specs.disks.len)
			return sim_wrong(s, "%s runs without its disks", v->uuid);
	}
	return n_starts <= v->n_may_start ||
	       sim_wrong(s, "%s was started %llu times, for %llu reasons", v->uuid,
		       (unsigned long long)n_starts, (unsigned long long)v->n_may_start);
}

/* Disks are made once, and go only when their VM is being deleted, and before its entry. */
static bool check_disks(struct sim *s, struct sim_vm *v, unsigned n_disks)
{
	unsigned before = v->n_disks;
	v->n_disks = n_disks;
	if (n_disks > before)
		v->n_disks_made += n_disks - before;
	if (n_disks && !v->exists)
		return sim_wrong(s, "%s has disks and no entry", v->uuid);
	if (v->n_disks_made > v->vm.specs.disks.len)
		return sim_wrong(s, "a disk of %s was made twice", v->uuid);
	return n_disks >= before || !v->exists || v->vm.status == VM_REQUESTED_DELETE ||
	       sim_wrong(s, "a disk of %s was removed while it is %s", v->uuid,
		       vm_status_names[v->vm.status]);
}

static unsigned count_disks(const struct strv *sorted, const char *uuid)
{
	unsigned n = 0;
	for (size_t i = 0; i < sorted->len; i++)
		n += str_has_prefix(sorted->v[i], uuid);
	return n;
}

void world_check(struct sim *s)
{
	CLEANUP(strv_done) struct strv disks = { 0 };
	unsigned n_made = s->n_orphans_made, n_ever = 0;
	for (unsigned i = 0; i < SIM_STORES; i++) {
		disk_fake_disks(sim_store(i), &disks);
		n_ever += disk_fake_n_made(sim_store(i));
	}
	bool is_news = n_ever != s->n_disks_made || disks.len != s->n_disks;
	s->n_disks_made = n_ever;
	s->n_disks = disks.len;
	for (unsigned i = 0; i < s->n_vms && !s->is_wrong; i++) {
		if (is_news)
			check_disks(s, s->vms[i], count_disks(&disks, s->vms[i]->uuid));
		check_domain(s, s->vms[i]);
		n_made += s->vms[i]->n_disks_made;
	}
	if (n_made != n_ever && !s->is_wrong)
		sim_wrong(s, "a disk was made and removed in one step");
}

/* Nothing is changed by a host whose heartbeat is over: another one may have its name. */
void world_call(struct node *n, const char *call)
{
	struct sim *s = n->sim;
	history_follow(s);
	if (!n->was_paused && !s->hosts[n->i].is_alive && !s->hosts[n->i].was_meddled)
		sim_wrong(s, "%s calls %s without a heartbeat", n->name, call);
}
