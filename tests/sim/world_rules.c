/*
 * What must be so at any moment between the store, the domains and the disks.
 */
#include <string.h>

#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

/* v was just started: all its networks are there. */
static bool check_nets(struct sim *s, const struct sim_vm *v, int host)
{
	const struct node *n = &s->nodes[host];
	for (size_t i = 0; v->exists && !n->was_paused && i < v->vm.networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &v->vm.networks, i);
		const struct sim_net *net = sim_find_net(s, nic->network);
		if (nic->is_leaving)
			continue;
		if (!net || !net->exists || net->net.status != NET_ACTIVE)
			return sim_wrong(s, "%s was started in %s, which is not ACTIVE",
				v->uuid, nic->network);
		if (!bridges_has(s, (unsigned)host, nic->network))
			return sim_wrong(
				s, "%s was started without %s", v->uuid, nic->network);
	}
	return true;
}

/* A domain is only where its VM is placed, whether it runs or not: so a VM never runs twice,
 * and one that is to run elsewhere has left nothing behind that could be started. */
static bool check_domain(struct sim *s, struct sim_vm *v, size_t *n_found)
{
	uint64_t n_starts = 0;
	for (int i = 0; i < SIM_HOSTS; i++) {
		struct virt_dom dom;
		uint64_t n = fake_hyper_n_starts(s->hypers[i], v->uuid);
		n_starts += n;
		if (n > v->n_starts[i] && !check_nets(s, v, i))
			return false;
		v->n_starts[i] = n;
		if (!fake_hyper_get(s->hypers[i], v->uuid, &dom))
			continue;
		++*n_found;
		if (!v->exists)
			return sim_wrong(
				s, "%s has a domain on h%d and no entry", v->uuid, i);
		if (sim_host_index(v->vm.hostname) != i)
			return sim_wrong(s,
				"%s has a domain on h%d, its hostname is '%s'", v->uuid,
				i, v->vm.hostname ? v->vm.hostname : "");
		if (dom.state == VIRT_RUNNING && !(v->disks & 1))
			return sim_wrong(s, "%s runs without its disk", v->uuid);
		if (fake_hyper_disks(s->hypers[i], v->uuid) & ~v->disks)
			return sim_wrong(s, "%s has disks %x open, there are %x", v->uuid,
				fake_hyper_disks(s->hypers[i], v->uuid), v->disks);
	}
	return n_starts <= v->n_may_start ||
	       sim_wrong(s, "%s was started %llu times, for %llu reasons", v->uuid,
		       (unsigned long long)n_starts, (unsigned long long)v->n_may_start);
}

/* Disks are made once for each order, and go only when that was ordered, and before the entry
 * forgets them. */
static bool check_disks(struct sim *s, struct sim_vm *v, uint32_t disks)
{
	uint32_t gone = v->disks & ~disks, made = disks & ~v->disks;
	v->disks = disks;
	v->n_disks_made += (unsigned)__builtin_popcount(made);
	if (disks && !v->exists)
		return sim_wrong(s, "%s has disks and no entry", v->uuid);
	if (disks & ~rules_disks(&v->vm, true))
		return sim_wrong(s, "%s has disks %x, its entry %x", v->uuid, disks,
			rules_disks(&v->vm, true));
	if (v->n_disks_made > v->n_disks_ordered)
		return sim_wrong(s, "a disk of %s was made twice", v->uuid);
	return !(gone & rules_disks(&v->vm, false)) || !v->exists ||
	       v->vm.status == VM_REQUESTED_DELETE ||
	       sim_wrong(s, "disks %x of %s were removed while it is %s", gone, v->uuid,
		       vm_status_names[v->vm.status]);
}

static uint32_t find_disks(const struct strv *disks, const char *uuid)
{
	uint32_t found = 0;
	for (size_t i = 0; i < disks->len; i++)
		if (str_has_prefix(disks->v[i], uuid))
			found |= 1U << (disks->v[i][UUID_STR_SIZE] - '0');
	return found;
}

/* Of VMs that were gone the last time only when some domain is not accounted for: looking for
 * all of them each time takes a third of the whole run. */
static void check_domains(struct sim *s)
{
	size_t n_found = 0, n_domains = 0;
	for (unsigned i = 0; i < s->n_vms && !s->is_wrong; i++) {
		struct sim_vm *v = s->vms[i];
		if (v->exists || !v->was_gone)
			check_domain(s, v, &n_found);
		v->was_gone = !v->exists;
	}
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		n_domains += fake_hyper_n_domains(s->hypers[i]);
	for (unsigned i = 0; n_found != n_domains && i < s->n_vms && !s->is_wrong; i++)
		check_domain(s, s->vms[i], &n_found);
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
			check_disks(s, s->vms[i], find_disks(&disks, s->vms[i]->uuid));
		n_made += s->vms[i]->n_disks_made;
	}
	check_domains(s);
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
