/*
 * Faults, and what befalls machines, guests and daemons.
 */
#include <string.h>

#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

/* ---------------------------------------------------------------- within a step */

/* Stands still while the others go on, for some moves: whatever it was about to do, it does
 * then. */
static void stand_still(struct node *n, unsigned n_moves)
{
	struct sim *s = n->sim;
	if (s->paused || s->is_calm)
		return;
	log_debug("sim: stands still node=%s", n->name);
	s->paused = n;
	n->is_paused = n->was_paused = true;
	s->n_pauses++;
	if (n->kind == NODE_API && sim_chance(s, 40))
		sim_delete_in_use(s);
	for (unsigned i = 0; i < n_moves && !s->is_wrong; i++)
		sim_move(s);
	n->is_paused = false;
	s->paused = NULL;
	node_set_fault(n);
	log_debug("sim: goes on node=%s", n->name);
}

/* Anything that leaves the process may be where it stands still. */
static void node_calls(struct node *n)
{
	struct sim *s = n->sim;
	if (n->n_calls_left >= 0 && n->n_calls_left-- == 0)
		stand_still(n, 1 + sim_random(s, sim_chance(s, 50) ? 30 : 300));
}

/* Counts down to the node's death: 0 nothing; 1 it dies before, 2 after the effect. */
static int node_effect(struct node *n)
{
	struct sim *s = n->sim;
	if (n->is_dead)
		return 1;
	node_calls(n);
	if (n->is_dead)
		return 1;
	if (n->n_effects_left < 0 || n->n_effects_left-- > 0)
		return 0;
	n->is_dead = true;
	s->n_deaths++;
	log_debug("sim: dies node=%s", n->name);
	return sim_chance(s, 50) ? 1 : 2;
}

static int write_fault(struct node *n)
{
	if (sim_chance_of(n->sim, CHANCE_RACE))
		stand_still(n, 1 + sim_random(n->sim, 60));
	int death = node_effect(n);
	if (death)
		return death;
	if (n->cut_until > n->sim->now)
		return 1; /* since it stood still */
	return sim_chance_of(n->sim, CHANCE_WRITE) ? 1 + (int)sim_random(n->sim, 3) : 0;
}

static int on_write(void *aux)
{
	struct node *n = aux;
	int fault = write_fault(n);
	if (fault == 0 || fault == 2) {
		history_follow(n->sim); /* on_change() asks what was there before */
		history_writer(n->sim, n);
	}
	return fault;
}

static void on_change(void *aux, const char *key, bool is_compared)
{
	struct node *n = aux;
	rule_compared(n, key, is_compared);
}

static int on_read(void *aux)
{
	struct node *n = aux;
	struct sim *s = n->sim;
	if (n->is_dead)
		return 1;
	node_calls(n);
	if (sim_chance_of(s, CHANCE_COMPACT))
		move_compact(s);
	return n->is_dead || n->cut_until > s->now || sim_chance_of(s, CHANCE_READ);
}

static size_t on_watch(void *aux, size_t n_pending)
{
	struct node *n = aux;
	if (n->is_dead)
		return 0;
	if (n->sim->is_calm || !n->is_slow)
		return n_pending;
	return sim_random(n->sim, (uint32_t)n_pending + 1);
}

static bool is_reading(const char *call)
{
	return !strcmp(call, "get") || !strcmp(call, "list") || !strcmp(call, "node") ||
	       !strcmp(call, "driver") || !strcmp(call, "disks");
}

static int on_call(void *aux, const char *call)
{
	struct node *n = aux;
	struct sim *s = n->sim;
	if (n->is_dead || n->hyper_down_until > s->now)
		return 1;
	if (is_reading(call)) {
		node_calls(n);
		return n->is_dead || sim_chance_of(s, CHANCE_CALL);
	}
	int death = node_effect(n);
	world_call(n, call);
	if (death)
		return death;
	return sim_chance_of(s, CHANCE_CALL) ? 1 + (int)sim_random(s, 2) : 0;
}

void node_set_fault(struct node *n)
{
	struct sim *s = n->sim;
	struct kv_fault fault = { .is_cut = n->cut_until > s->now,
		.on_write = on_write,
		.on_change = on_change,
		.on_read = on_read,
		.on_watch = on_watch,
		.page_len = n->page_len,
		.aux = n };
	kv_fake_set_fault(n->kv, &fault);
	if (n->kind != NODE_HOST)
		return;
	struct fake_hyper_fault hyper = { .on_call = on_call,
		.aux = n,
		.ignores_shutdown = n->ignores_shutdown,
		.loses_events = n->loses_events,
		.keeps_disks = n->keeps_disks,
		.has_agent = n->has_agent,
		.detach_msec = 1500,
		.shutdown_msec = 3000 };
	fake_hyper_set_fault(s->hypers[n->i], &hyper);
}

/* ---------------------------------------------------------------- guests and machines */

/* The one to whom something happened may be started once more for it. */
static void befell(struct sim_vm *v)
{
	v->n_may_start++;
	v->n_crashes++;
	v->may_fail |= v->n_crashes >= 5;
}

/* A guest that powers itself off stays off, unless something else is on its way. */
static void guest_off(struct fake_hyper *h, struct sim_vm *v)
{
	struct virt_dom dom;
	bool is_plain = fake_hyper_get(h, v->uuid, &dom) && dom.state == VIRT_RUNNING &&
			v->exists && v->vm.status == VM_RUNNING && !v->n_requests &&
			dom.boot == v->vm.boot;
	fake_hyper_guest_off(h, v->uuid);
	v->n_may_start++;
	v->expect = is_plain ? SIM_STOPPED : SIM_ANY;
}

/* Something happens to a VM that runs. */
void move_guest(struct sim *s)
{
	struct fake_hyper *h = s->hypers[sim_random(s, SIM_HOSTS)];
	CLEANUP(strv_done) struct strv running = { 0 };
	fake_hyper_list_running(h, &running);
	if (!running.len)
		return;
	const char *uuid = running.v[sim_random(s, (uint32_t)running.len)];
	struct sim_vm *v = sim_find_vm(s, uuid);
	uint32_t dice = sim_random(s, 100);
	if (!v)
		return;
	if (dice < 40) {
		guest_off(h, v);
	} else if (dice < 55) {
		fake_hyper_pause(h, uuid);
	} else {
		dice < 85 ? fake_hyper_crash(h, uuid) : fake_hyper_vanish(h, uuid);
		befell(v);
	}
	log_debug("sim: guest off, paused or crashed vm=%s dice=%u", uuid, dice);
}

void move_disk(struct sim *s)
{
	const char *store = sim_store(sim_random(s, SIM_STORES));
	if (sim_chance(s, 50))
		disk_fake_fail(store, 1 + sim_random(s, 3), ERR_UNAVAILABLE);
	else
		disk_fake_fail_after(store, 1, ERR_UNAVAILABLE);
}

/* A store that is full makes VMs fail for good. */
void move_full(struct sim *s)
{
	bool is_full = sim_chance(s, 40);
	disk_fake_set_full(sim_store(sim_random(s, SIM_STORES)), is_full);
	for (unsigned i = 0; is_full && i < s->n_vms; i++)
		s->vms[i]->may_fail = true;
	s->was_full |= is_full;
}

static struct node *any_host(struct sim *s)
{
	return &s->nodes[sim_random(s, SIM_HOSTS)];
}

void move_hyper(struct sim *s)
{
	struct node *n = any_host(s);
	switch (sim_random(s, 6)) {
	case 0:
		n->hyper_down_until = s->now + sim_random(s, 120000);
		break;
	case 1:
		n->ignores_shutdown = !n->ignores_shutdown;
		break;
	case 2:
		n->loses_events = !n->loses_events;
		break;
	case 3:
		if (!n->is_paused)
			fake_hyper_reconnect(s->hypers[n->i]);
		break;
	case 4:
		n->keeps_disks = !n->keeps_disks;
		break;
	case 5:
		n->has_agent = !n->has_agent;
		break;
	}
}

/* What runs is started again; and what has powered itself off, when nobody has noticed. */
static void was_reset(struct fake_hyper *h, struct sim_vm *v)
{
	struct virt_dom dom;
	if (!fake_hyper_get(h, v->uuid, &dom))
		return;
	if (dom.state == VIRT_RUNNING || dom.state == VIRT_PAUSED)
		v->n_may_start++;
	else
		v->expect = SIM_ANY;
}

/* The machine restarts, and its daemon comes back later. */
void move_reset(struct sim *s)
{
	struct node *n = any_host(s);
	log_debug("sim: machine reset node=%s", n->name);
	for (unsigned i = 0; i < s->n_vms; i++)
		was_reset(s->hypers[n->i], s->vms[i]);
	if (n->is_paused)
		n->is_dead = true; /* when it would go on */
	else
		node_stop(n);
	fake_hyper_reboot(s->hypers[n->i]);
	bridges_reboot(s, n->i);
	n->up_at = s->now + sim_random(s, 120000);
	s->n_deaths++;
}

/* ---------------------------------------------------------------- daemons and the store */

static struct node *any_node(struct sim *s)
{
	struct node *n = &s->nodes[sim_random(s, SIM_NODES)];
	return n->kv && !n->is_paused ? n : NULL;
}

void move_death(struct sim *s)
{
	struct node *n = any_node(s);
	if (n)
		n->n_effects_left = (int)sim_random(s, 6);
}

void move_pause(struct sim *s)
{
	struct node *n = any_node(s);
	if (n)
		n->n_calls_left = (int)sim_random(s, 8);
}

void move_cut(struct sim *s)
{
	s->nodes[sim_random(s, SIM_NODES)].cut_until = s->now + sim_random(s, 20000);
}

/* Long enough for a host to be given up. */
void move_long_cut(struct sim *s)
{
	int64_t until = s->now + (SIM_GRACE_SEC + 15) * 1000 + sim_random(s, 300000);
	any_host(s)->cut_until = until;
}

void move_slow(struct sim *s)
{
	struct node *n = any_node(s);
	if (n && s->chances[CHANCE_SLOW])
		n->is_slow = !n->is_slow;
}

/* Who watches from an older revision has to list again. We do not: we have seen it all. */
void move_compact(struct sim *s)
{
	history_follow(s);
	log_debug("sim: compacted");
	fake_etcd_compact(s->etcd);
	s->compacted_at = s->now;
}
