/*
 * The end: no more faults, and everything comes to be as its users want it.
 */
#include <string.h>

#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"
#include "ucloud-host/vmstep.h"

/* Long enough for back-offs, but not for everybody's resync: nothing that hosts were asked for
 * is open any more. */
#define SOON_MSEC (400 * INT64_C(1000))
/* Long enough for orphans and two resyncs. */
#define REST_MSEC (38 * 60 * INT64_C(1000))
/* And then nothing is written any more, through the next resync. */
#define STILL_MSEC (12 * 60 * INT64_C(1000))

static void end_faults(struct sim *s)
{
	s->is_calm = true;
	for (unsigned i = 0; i < SIM_STORES; i++) {
		disk_fake_fail(sim_store(i), 0, ERR_NONE);
		disk_fake_fail_after(sim_store(i), 0, ERR_NONE);
		disk_fake_set_full(sim_store(i), false);
		disk_fake_set_space(sim_store(i), -1, -1);
	}
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		s->bridges[i].is_down = false;
	for (unsigned i = 0; i < SIM_NODES; i++) {
		struct node *n = &s->nodes[i];
		n->n_effects_left = n->n_calls_left = -1;
		n->cut_until = n->hyper_down_until = 0;
		n->is_slow = n->ignores_shutdown = n->loses_events = n->keeps_disks =
			false;
		n->page_len = 0;
		n->up_at = s->now;
		node_step(n);
		node_step(n); /* when it died in the first one */
	}
}

/* ---------------------------------------------------------------- what is there */

static bool is_running(struct sim *s, const struct sim_vm *v)
{
	int i = sim_host_index(v->vm.hostname);
	struct virt_dom dom;
	if (i < 0 || !fake_hyper_get(s->hypers[i], v->uuid, &dom) ||
		dom.state != VIRT_RUNNING)
		return sim_wrong(s, "%s says RUNNING and does not", v->uuid);
	/* A reboot that was aborted was ordered, and not done. */
	return dom.boot >= v->min_boot || v->may_fail ||
	       sim_wrong(s, "%s runs boot %lld instead of %lld", v->uuid,
		       (long long)dom.boot, (long long)v->min_boot);
}

static bool has_room(struct sim *s, const struct sim_vm *v, int host)
{
	const struct host *h = &s->hosts[host].host;
	const struct host_store *st = host_find_store(h, v->vm.store);
	int64_t cpu = v->vm.specs.cpu, ram_mib = v->vm.specs.ram_mib;
	for (unsigned i = 0; i < s->n_vms; i++) {
		if (!s->vms[i]->exists || s->vms[i] == v ||
			!rules_uses(&s->vms[i]->vm, h->hostname))
			continue;
		cpu += s->vms[i]->vm.specs.cpu;
		ram_mib += s->vms[i]->vm.specs.ram_mib;
	}
	return st && cpu <= h->cpus * h->cpu_overcommit / 100 &&
	       ram_mib <= (h->ram_mib - h->reserved_ram_mib) * h->ram_overcommit / 100;
}

/* Rules about other VMs are left to the tests of the placement. */
static bool check_waits(struct sim *s, const struct sim_vm *v)
{
	bool is_simple = !json_object_size(v->vm.affinity.near) &&
			 !json_object_size(v->vm.affinity.apart) &&
			 !json_object_size(v->vm.labels);
	if (str_is_empty(v->vm.why))
		return sim_wrong(s, "%s waits and nobody says why", v->uuid);
	/* A crash that nobody was told of is found when the VM is looked at again, and that
	 * may be just now. */
	if (v->vm.status == VM_KILLED &&
		s->now / 1000 < v->vm.last_crash + vmstep_backoff_sec(v->vm.n_crashes))
		return true;
	for (int i = 0; is_simple && i < SIM_HOSTS; i++)
		if ((str_is_empty(v->vm.disk_host) ||
			    sim_host_index(v->vm.disk_host) == i) &&
			has_room(s, v, i))
			return sim_wrong(s, "%s waits, and fits on h%d: %s", v->uuid, i,
				v->vm.why);
	return true;
}

static bool check_status(struct sim *s, const struct sim_vm *v)
{
	const char *status = vm_status_names[v->vm.status];
	switch ((enum vm_status)v->vm.status) {
	case VM_RUNNING:
		return is_running(s, v);
	case VM_STOPPED:
		return true;
	case VM_REQUESTED_NEW:
	case VM_REQUESTED_START:
	case VM_KILLED:
		if (vm_has_host(&v->vm))
			break;
		return check_waits(s, v);
	case VM_ERROR:
		return v->may_fail || sim_wrong(s, "%s ended in ERROR", v->uuid);
	default:
		break;
	}
	return sim_wrong(s, "%s is stuck in %s", v->uuid, status);
}

static bool check_vm(struct sim *s, const struct sim_vm *v)
{
	const char *status = vm_status_names[v->vm.status];
	if (!check_status(s, v))
		return false;
	if (v->is_deleted)
		return sim_wrong(s, "%s was deleted and is there (%s)", v->uuid, status);
	if (v->may_fail)
		return true;
	if (v->expect == SIM_STOPPED && v->vm.status != VM_STOPPED)
		return sim_wrong(s, "%s was stopped and is %s", v->uuid, status);
	if (v->expect == SIM_RUNNING && v->vm.want != VM_WANT_RUNNING)
		return sim_wrong(s, "%s was started and is not wanted", v->uuid);
	return rest_check_changes(s, v);
}

/* Nothing is left of a VM that is gone, but for what was said of it under an
 * Idempotency-Key. */
static bool check_gone(struct sim *s, const struct sim_vm *v)
{
	struct entry *e, *next;
	if (v->disks)
		return sim_wrong(s, "a disk of %s is left", v->uuid);
	HASH_ITER (hh, s->entries, e, next) {
		if (!e->value || e->is_foreign || str_has_prefix(e->key, KEY_IDEMPOTENCY))
			continue;
		if (strstr(e->key, v->uuid) || strstr(e->value, v->uuid))
			return sim_wrong(s, "%s is gone, %s is left", v->uuid, e->key);
	}
	return true;
}

static bool check_domains(struct sim *s)
{
	size_t n_domains = 0, n_running = 0;
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		n_domains += fake_hyper_n_domains(s->hypers[i]);
	for (unsigned i = 0; i < s->n_vms; i++) {
		const struct sim_vm *v = s->vms[i];
		struct virt_dom dom;
		int host = sim_host_index(v->vm.hostname);
		/* What runs in ERROR is left alone. */
		n_running += v->exists && host >= 0 &&
			     fake_hyper_get(s->hypers[host], v->uuid, &dom) &&
			     dom.state == VIRT_RUNNING;
	}
	return n_domains == n_running ||
	       sim_wrong(s, "%zu domains, of which %zu run", n_domains, n_running);
}

static bool check_orphans(struct sim *s)
{
	CLEANUP(strv_done) struct strv disks = { 0 };
	for (unsigned i = 0; i < SIM_STORES; i++)
		disk_fake_disks(sim_store(i), &disks);
	for (size_t i = 0; i < disks.len; i++) {
		CLEANUP_STR char *uuid = xstrndup(disks.v[i], UUID_STR_SIZE - 1);
		if (!sim_find_vm(s, uuid))
			return sim_wrong(s, "a disk without VM is left: %s", uuid);
	}
	return true;
}

static bool check_request(struct sim *s, const struct sim_vm *v)
{
	struct request_key k;
	return !v->n_requests ||
	       (!request_key_parse(&s->keys, v->request_key, &k, NULL) && !k.host[0] &&
		       v->request_type != REQ_CHANGE_VM) ||
	       sim_wrong(s, "%s is left open", v->request_key);
}

/* Nobody had to wait for a resync. What was mended is only looked at with the next one: hosts
 * do not watch VMs' entries. */
static bool check_soon(struct sim *s)
{
	for (unsigned i = 0; i < s->n_vms && !s->is_wrong; i++) {
		const struct sim_vm *v = s->vms[i];
		if (!v->exists || v->was_garbled || !v->n_requests)
			continue;
		if (v->request_type == REQ_SCHEDULE_VM)
			check_waits(s, v);
		else
			check_request(s, v);
	}
	return !s->is_wrong && rest_check_nets(s, true);
}

static bool check_all(struct sim *s)
{
	for (unsigned i = 0; i < s->n_vms; i++)
		if (!(s->vms[i]->exists ? check_vm(s, s->vms[i])
					: check_gone(s, s->vms[i])))
			return false;
	for (unsigned i = 0; i < s->n_vms; i++)
		if (!check_request(s, s->vms[i]))
			return false;
	return check_domains(s) && check_orphans(s) && rest_check_nets(s, false);
}

/* ---------------------------------------------------------------- getting there */

static int64_t next_msec(struct sim *s)
{
	int64_t next = 5000;
	for (unsigned i = 0; i < SIM_NODES; i++) {
		int64_t n = node_next_msec(&s->nodes[i]);
		if (n >= 0 && n < next)
			next = n;
	}
	return next > 0 ? next : 1;
}

static void pass(struct sim *s, int64_t msec)
{
	int64_t end = s->now + msec;
	while (s->now < end && !s->is_wrong) {
		sim_settle(s, 200);
		sim_advance(s, next_msec(s));
		history_follow(s);
		world_check(s);
	}
}

bool sim_come_to_rest(struct sim *s)
{
	end_faults(s);
	sim_mend_all(s);
	if (!sim_restore_hosts(s))
		return false;
	pass(s, SOON_MSEC);
	if (s->is_wrong || !check_soon(s))
		return false;
	pass(s, REST_MSEC);
	if (s->is_wrong || !check_all(s))
		return false;
	int64_t rev = fake_etcd_rev(s->etcd);
	pass(s, STILL_MSEC);
	if (fake_etcd_rev(s->etcd) != rev)
		sim_wrong(s, "somebody still writes: revision %lld became %lld",
			(long long)rev, (long long)fake_etcd_rev(s->etcd));
	return !s->is_wrong;
}
