#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/log.h"
#include "common/disk/disk_fake.h"

/* ---------------------------------------------------------------- users */

static struct node *any_api(struct sim *s)
{
	struct node *n = &s->nodes[SIM_HOSTS + SIM_SCHEDS + sim_random(s, SIM_APIS)];
	return n->kv ? n : NULL;
}

static struct sim_vm *any_vm(struct sim *s)
{
	return s->n_vms ? &s->vms[sim_random(s, s->n_vms)] : NULL;
}

/* An order's node may have died with it: then nobody got an answer. */
static bool answered(struct node *n, int r)
{
	bool is_answered = !n->is_dead;
	node_step(n);
	return is_answered && r >= 0;
}

static json_t *random_body(struct sim *s)
{
	json_t *body = json_pack("{s:o, s:s, s:i, s:i, s:i}", "name",
		json_sprintf("vm%u", sim_random(s, 12)), "image", "linux", "cpu",
		1 + (int)sim_random(s, 4), "ram_mib", 256 << sim_random(s, 5), "disk_gib",
		1 + (int)sim_random(s, 20));
	if (sim_chance(s, 25)) {
		json_object_set_new(body, "labels", json_pack("{s:s}", "app", "db"));
		json_object_set_new(body, "affinity",
			json_pack("{s:{s:s}}", sim_chance(s, 80) ? "apart" : "near",
				"app", "db"));
	}
	return body;
}

static void move_create(struct sim *s)
{
	struct node *n = any_api(s);
	if (!n || s->n_vms == SIM_VMS)
		return;
	unsigned user = sim_random(s, SIM_USERS);
	struct who who = {sim_user(user), "demo", false};
	CLEANUP(vm_done)
	struct vm vm = {0};
	struct err e;
	json_t *body = random_body(s);
	int r = orders_vm_create(n->orders, &who, body, NULL, s->now / 1000, &vm, &e);
	json_decref(body);
	if (!answered(n, r))
		return;
	struct sim_vm *v = &s->vms[s->n_vms++];
	*v = (struct sim_vm){.user = user, .expect = SIM_RUNNING};
	memcpy(v->uuid, vm.uuid, UUID_STR_SIZE);
	log_debug("sim: created vm=%s", v->uuid);
}

enum vm_order { ORDER_START, ORDER_STOP, ORDER_STOP_FORCE, ORDER_REBOOT, ORDER_DELETE };

static int give(struct node *n, enum vm_order what, const struct who *who,
	const char *uuid, struct vm *out, struct err *e)
{
	int64_t now = n->sim->now / 1000;
	switch (what) {
	case ORDER_START:
		return orders_vm_start(n->orders, who, uuid, now, out, e);
	case ORDER_STOP:
		return orders_vm_stop(n->orders, who, uuid, false, now, out, e);
	case ORDER_STOP_FORCE:
		return orders_vm_stop(n->orders, who, uuid, true, now, out, e);
	case ORDER_REBOOT:
		return orders_vm_reboot(n->orders, who, uuid, false, now, out, e);
	case ORDER_DELETE:
		return orders_vm_delete(n->orders, who, uuid, now, out, e);
	}
	return -1;
}

/* A refusal changes nothing; an answer that was lost leaves everything open. */
static bool is_refusal(int r, const struct err *e)
{
	return r < 0 && (e->kind == ERR_CONFLICT || e->kind == ERR_NOT_FOUND ||
				e->kind == ERR_INVALID);
}

static void move_order(struct sim *s)
{
	static const uint8_t weights[] = {ORDER_START, ORDER_START, ORDER_START,
		ORDER_STOP, ORDER_STOP, ORDER_STOP_FORCE, ORDER_REBOOT, ORDER_DELETE};
	struct node *n = any_api(s);
	struct sim_vm *v = any_vm(s);
	if (!n || !v)
		return;
	enum vm_order what = weights[sim_random(s, ARRAY_LEN(weights))];
	struct who who = {sim_user(v->user), "demo", false};
	CLEANUP(vm_done)
	struct vm vm = {0};
	struct err e = {0};
	int r = give(n, what, &who, v->uuid, &vm, &e);
	bool is_lost = n->is_dead || (r < 0 && !is_refusal(r, &e));
	bool is_accepted = answered(n, r);
	log_debug(
		"sim: order=%d vm=%s result=%d %s", what, v->uuid, r, r < 0 ? e.msg : "");
	s->n_orders++;
	if (what == ORDER_DELETE && (is_accepted || is_lost))
		v->may_be_gone = true;
	if (what == ORDER_DELETE && is_accepted)
		v->is_deleted = true;
	/* "It runs already" may be said of one that has just powered itself off. */
	if (is_lost || (r == ORDER_AS_IT_IS && what == ORDER_START))
		v->expect = SIM_ANY;
	else if (is_accepted && what != ORDER_REBOOT)
		v->expect = what == ORDER_START ? SIM_RUNNING : SIM_STOPPED;
}

static void move_drain(struct sim *s)
{
	struct node *n = any_api(s);
	if (!n)
		return;
	struct who admin = {"root", "ungleich-admin", true};
	CLEANUP(host_done)
	struct host h = {0};
	CLEANUP_STR char *name = xasprintf("h%u", sim_random(s, SIM_HOSTS));
	struct err e;
	answered(
		n, orders_host_drain(n->orders, &admin, name, sim_chance(s, 40), &h, &e));
}

/* ---------------------------------------------------------------- fate */

/* Something happens to a VM that runs. */
static void move_guest(struct sim *s)
{
	struct fake_hyper *h = s->hypers[sim_random(s, SIM_HOSTS)];
	CLEANUP(strv_done)
	struct strv running = {0};
	fake_hyper_list_running(h, &running);
	if (!running.len)
		return;
	const char *uuid = running.v[sim_random(s, (uint32_t)running.len)];
	struct sim_vm *v = sim_find_vm(s, uuid);
	if (sim_chance(s, 50)) {
		fake_hyper_guest_off(h, uuid);
		if (v)
			v->expect = SIM_ANY;
	} else {
		sim_chance(s, 70) ? fake_hyper_crash(h, uuid)
				  : fake_hyper_vanish(h, uuid);
		if (v)
			v->n_crashes++;
	}
	log_debug("sim: guest off or crashed vm=%s", uuid);
}

static void move_node(struct sim *s)
{
	struct node *n = &s->nodes[sim_random(s, SIM_NODES)];
	if (!n->kv)
		return;
	switch (sim_random(s, 4)) {
	case 0:
		n->n_effects_left = (int)sim_random(s, 6);
		break;
	case 1:
		n->cut_until = s->now + sim_random(s, 60000);
		break;
	case 2:
		n->is_slow = !n->is_slow;
		break;
	case 3:
		if (n->kind == NODE_HOST && sim_chance(s, 30)) {
			log_debug("sim: machine reset node=%s", n->name);
			node_stop(n);
			fake_hyper_reboot(s->hypers[n->i]);
			n->up_at = s->now + sim_random(s, 120000);
			s->n_deaths++;
		}
		break;
	}
}

static void move_disk(struct sim *s)
{
	if (sim_chance(s, 50))
		disk_fake_fail("disks", 1, ERR_UNAVAILABLE);
	else
		disk_fake_fail_after("disks", 1, ERR_UNAVAILABLE);
}

static void move_time(struct sim *s)
{
	static const uint16_t steps[] = {1, 20, 300, 2000, 7000};
	sim_advance(s, 1 + sim_random(s, steps[sim_random(s, ARRAY_LEN(steps))]));
}

void sim_move(struct sim *s)
{
	uint32_t dice = sim_random(s, 1000);
	s->n_moves++;
	if (dice < 660)
		node_step(&s->nodes[sim_random(s, SIM_NODES)]);
	else if (dice < 810)
		move_time(s);
	else if (dice < 845)
		move_create(s);
	else if (dice < 900)
		move_order(s);
	else if (dice < 905)
		move_drain(s);
	else if (dice < 920)
		move_guest(s);
	else if (dice < 928)
		move_disk(s);
	else if (dice < 996)
		move_node(s);
	else
		fake_etcd_compact(s->etcd);
}
