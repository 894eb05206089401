/*
 * What users order, and what they may expect of the answers.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/sim.h"

bool sim_answered(struct node *n, int r)
{
	bool is_answered = !n->is_dead;
	history_follow(n->sim);
	node_step(n);
	return is_answered && r >= 0;
}

bool sim_is_refusal(int r, const struct err *e)
{
	return r < 0 && (e->kind == ERR_CONFLICT || e->kind == ERR_NOT_FOUND ||
				e->kind == ERR_INVALID || e->kind == ERR_EXISTS ||
				e->kind == ERR_QUOTA || e->kind == ERR_DENIED);
}

/* ---------------------------------------------------------------- create */

static void add_affinity(struct sim *s, json_t *body)
{
	json_object_set_new(body, "labels", json_pack("{s:s}", "app", "db"));
	json_object_set_new(body, "affinity",
		json_pack(
			"{s:{s:s}}", sim_chance(s, 80) ? "apart" : "near", "app", "db"));
}

static json_t *random_body(struct sim *s, unsigned user)
{
	json_t *body = json_pack("{s:o, s:s, s:i, s:i}", "name",
		json_sprintf("vm%u", sim_random(s, 12)), "image",
		sim_chance(s, 10)   ? "other"
		: sim_chance(s, 60) ? "linux"
				    : "shared",
		"cpu", 1 + (int)sim_random(s, 4), "ram_mib", 256 << sim_random(s, 5));
	if (sim_chance(s, 80))
		json_object_set_new(
			body, "disk_gib", json_integer(1 + (int)sim_random(s, 20)));
	else
		json_object_set_new(body, "disks",
			json_pack("[{s:i}, {s:i}]", "size_gib", 3, "size_gib", 1));
	if (sim_chance(s, 25))
		add_affinity(s, body);
	if (sim_chance(s, 10))
		json_object_set_new(body, "want", json_string("stopped"));
	if (sim_chance(s, 15))
		json_object_set_new(
			body, "store", json_string(sim_store(sim_random(s, SIM_STORES))));
	if (sim_chance(s, 40))
		json_object_set_new(body, "networks", sim_nics(s, user));
	return body;
}

/* One create; true with the VM's uuid when it was accepted. What the answer says is what
 * happened: exactly one VM, or none. */
static bool create(struct sim *s, struct node *n, unsigned user, json_t *body,
	const char *key, char uuid[UUID_STR_SIZE], unsigned *n_made)
{
	struct who who = { sim_user(user), SIM_REALM, false };
	int64_t rev = fake_etcd_rev(s->etcd);
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int r = orders_vm_create(n->orders, &who, body, key, s->now / 1000, &vm, &e);
	s->net_in_use[0] = '\0';
	*n_made = history_n_written(s, n, rev);
	s->n_orders++;
	log_debug("sim: create result=%d made=%u vm=%s %s", r, *n_made,
		r >= 0 ? vm.uuid : "", r < 0 ? e.msg : "");
	if (*n_made > 1)
		sim_wrong(s, "one create made %u VMs", *n_made);
	if (sim_is_refusal(r, &e) && *n_made)
		sim_wrong(s, "a create was refused and done: %s", e.msg);
	if (r == 0 && *n_made != 1)
		sim_wrong(s, "a create was accepted and not done");
	if (!sim_answered(n, r))
		return false;
	struct sim_vm *v = sim_find_vm(s, vm.uuid);
	if (!v || (!v->exists && !v->may_be_gone))
		sim_wrong(s, "%s was accepted and is not there", vm.uuid);
	memcpy(uuid, vm.uuid, UUID_STR_SIZE);
	return true;
}

static void remember(struct sim *s, unsigned user, json_t *body)
{
	struct sim_order *o = &s->orders[sim_random(s, SIM_ORDERS)];
	json_decref(o->body);
	*o = (struct sim_order){ .user = user, .body = json_incref(body) };
	snprintf(o->key, sizeof(o->key), "order-%u", s->n_orders);
}

/* An order with an Idempotency-Key, sent for the first time or again: all of them together
 * make one VM at most, and all that are accepted name the same one. */
void move_repeat(struct sim *s)
{
	struct sim_order *o = &s->orders[sim_random(s, SIM_ORDERS)];
	struct node *n = sim_api(s);
	char uuid[UUID_STR_SIZE];
	unsigned n_made;
	if (!n || !o->body)
		return;
	CLEANUP_STR char *key = xstrdup(o->key);
	json_t *body = json_incref(o->body);
	bool is_accepted = create(s, n, o->user, body, key, uuid, &n_made);
	json_decref(body);
	if (!str_eq(o->key, key))
		return; /* forgotten while it stood still */
	o->n_made += n_made;
	if (o->n_made > 1)
		sim_wrong(s, "orders with one Idempotency-Key made %u VMs", o->n_made);
	if (is_accepted && o->uuid[0] && strcmp(o->uuid, uuid) != 0)
		sim_wrong(s, "orders with one Idempotency-Key made %s and %s", o->uuid,
			uuid);
	if (is_accepted)
		memcpy(o->uuid, uuid, sizeof(uuid));
}

void move_create(struct sim *s)
{
	struct node *n = sim_api(s);
	if (!n || s->n_vms + 10 > SIM_VMS)
		return;
	unsigned user = sim_random(s, SIM_USERS), n_made;
	char uuid[UUID_STR_SIZE];
	json_t *body = random_body(s, user);
	if (sim_chance(s, 30))
		remember(s, user, body);
	else
		create(s, n, user, body, NULL, uuid, &n_made);
	json_decref(body);
}

/* ---------------------------------------------------------------- orders for a VM */

enum vm_order {
	ORDER_START,
	ORDER_STOP,
	ORDER_STOP_FORCE,
	ORDER_REBOOT,
	ORDER_REBOOT_FORCE,
	ORDER_DELETE
};

static int give(struct node *n, enum vm_order what, const struct who *who,
	const char *uuid, struct vm *out, struct err *e)
{
	struct orders *o = n->orders;
	int64_t now = n->sim->now / 1000;
	bool is_force = what == ORDER_STOP_FORCE || what == ORDER_REBOOT_FORCE;
	switch (what) {
	case ORDER_START:
		return orders_vm_start(o, who, uuid, now, out, e);
	case ORDER_STOP:
	case ORDER_STOP_FORCE:
		return orders_vm_stop(o, who, uuid, is_force, now, out, e);
	case ORDER_REBOOT:
	case ORDER_REBOOT_FORCE:
		return orders_vm_reboot(o, who, uuid, is_force, now, out, e);
	case ORDER_DELETE:
		return orders_vm_delete(o, who, uuid, now, out, e);
	}
	return -1;
}

/* The expectation that follows from an answer. */
static void expect(
	struct sim_vm *v, enum vm_order what, int r, bool is_accepted, bool is_lost)
{
	/* "It runs already" may be said of one that has just powered itself off. */
	if (is_lost || (r == ORDER_AS_IT_IS && what == ORDER_START))
		v->expect = SIM_ANY;
	else if (is_accepted)
		v->expect = what == ORDER_STOP || what == ORDER_STOP_FORCE ||
					    what == ORDER_DELETE
				    ? SIM_STOPPED
				    : SIM_RUNNING;
}

void move_order(struct sim *s)
{
	static const uint8_t weights[] = { ORDER_START, ORDER_START, ORDER_START,
		ORDER_START, ORDER_STOP, ORDER_STOP, ORDER_STOP_FORCE, ORDER_REBOOT,
		ORDER_REBOOT, ORDER_REBOOT_FORCE, ORDER_DELETE };
	struct node *n = sim_api(s);
	struct sim_vm *v = sim_any_vm(s);
	if (!n || !v)
		return;
	enum vm_order what = weights[sim_random(s, ARRAY_LEN(weights))];
	struct who who = { sim_user(v->user), SIM_REALM, false };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int64_t rev = fake_etcd_rev(s->etcd);
	bool could_be_gone = v->may_be_gone;
	unsigned n_pauses = s->n_pauses;
	v->may_be_gone |= what == ORDER_DELETE;
	int r = give(n, what, &who, v->uuid, &vm, &e);
	bool is_lost = n->is_dead || (r < 0 && !sim_is_refusal(r, &e));
	unsigned n_written = history_n_written(s, n, rev);
	log_debug("sim: order=%d vm=%s result=%d written=%u %s", what, v->uuid, r,
		n_written, r < 0 ? e.msg : "");
	if (sim_is_refusal(r, &e) && n_written && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: an order was refused and done: %s", v->uuid, e.msg);
	if (r == 0 && n_written == 0)
		sim_wrong(s, "%s: an order was accepted and not done", v->uuid);
	if (n_written > 1 && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: an order was done %u times", v->uuid, n_written);
	bool is_accepted = sim_answered(n, r);
	s->n_orders++;
	if (what == ORDER_DELETE && !is_accepted && !is_lost && s->n_pauses == n_pauses)
		v->may_be_gone = could_be_gone;
	if (what == ORDER_DELETE && is_accepted)
		v->is_deleted = true;
	/* While the API stood still others may have ordered something else. */
	expect(v, what, r, is_accepted, is_lost || s->n_pauses != n_pauses);
}

/* ---------------------------------------------------------------- changes */

void move_patch(struct sim *s)
{
	struct node *n = sim_api(s);
	struct sim_vm *v = sim_any_vm(s);
	if (!n || !v)
		return;
	struct who who = { sim_user(v->user), SIM_REALM, false };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	json_t *body = json_object();
	if (sim_chance(s, 40))
		json_object_set_new(
			body, "name", json_sprintf("vm%u", sim_random(s, 12)));
	if (sim_chance(s, 40))
		json_object_set_new(
			body, "ram_mib", json_integer(256 << sim_random(s, 6)));
	if (sim_chance(s, 30))
		json_object_set_new(body, "cpu", json_integer(1 + (int)sim_random(s, 4)));
	if (s->has_label_changes && sim_chance(s, 30))
		json_object_set_new(body, "labels", json_object());
	int r = orders_vm_patch(n->orders, &who, v->uuid, body, s->now / 1000, &vm, &e);
	json_decref(body);
	log_debug("sim: patch vm=%s result=%d %s", v->uuid, r, r < 0 ? e.msg : "");
	sim_answered(n, r);
}
