/*
 * Users change the disks of their VMs, and make snapshots.
 */
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/sim.h"

enum change { ATTACH, DETACH, GROW, SNAPSHOT, RESTORE, UNSNAPSHOT, N_CHANGES };

static const char *snapshot_name(struct sim *s)
{
	static const char *const names[] = { "one", "two", "three" };
	return names[sim_random(s, ARRAY_LEN(names))];
}

static int attach(struct node *n, const struct who *who, const char *uuid, struct vm *out,
	struct err *e)
{
	struct sim *s = n->sim;
	json_t *body = json_pack("{s:i}", "size_gib", 1 + (int)sim_random(s, 5));
	int r = orders_disk_attach(
		n->orders, who, uuid, body, NULL, s->now / 1000, out, e);
	json_decref(body);
	return r;
}

/* Admins also have disks flattened. */
static int grow(struct node *n, const struct who *who, const char *uuid, struct vm *out,
	struct err *e)
{
	struct sim *s = n->sim;
	bool is_flatten = sim_chance(s, 25);
	json_t *body =
		is_flatten ? json_pack("{s:b}", "flatten", 1)
			   : json_pack("{s:i}", "size_gib", 3 + (int)sim_random(s, 20));
	int r = orders_disk_patch(n->orders, is_flatten ? &sim_admin : who, uuid,
		sim_random(s, 3), body, s->now / 1000, out, e);
	json_decref(body);
	return r;
}

static int snapshot(struct node *n, const struct who *who, const char *uuid,
	struct vm *out, struct err *e)
{
	struct sim *s = n->sim;
	json_t *body = json_pack("{s:s}", "name", snapshot_name(s));
	int r = orders_snapshot_create(
		n->orders, who, uuid, body, NULL, s->now / 1000, out, e);
	json_decref(body);
	return r;
}

static int give(struct node *n, enum change what, const struct who *who, const char *uuid,
	struct vm *out, struct err *e)
{
	struct sim *s = n->sim;
	int64_t now = s->now / 1000;
	switch (what) {
	case ATTACH:
		return attach(n, who, uuid, out, e);
	case DETACH:
		return orders_disk_detach(
			n->orders, who, uuid, sim_random(s, 4), now, out, e);
	case GROW:
		return grow(n, who, uuid, out, e);
	case SNAPSHOT:
		return snapshot(n, who, uuid, out, e);
	case RESTORE:
		return orders_snapshot_restore(
			n->orders, who, uuid, snapshot_name(s), now, out, e);
	default:
		return orders_snapshot_delete(
			n->orders, who, uuid, snapshot_name(s), now, out, e);
	}
}

void move_change(struct sim *s)
{
	static const uint8_t weights[] = { ATTACH, ATTACH, ATTACH, DETACH, DETACH, GROW,
		GROW, SNAPSHOT, SNAPSHOT, SNAPSHOT, RESTORE, RESTORE, UNSNAPSHOT };
	struct node *n = sim_api(s);
	struct sim_vm *v = sim_any_vm(s);
	if (!n || !v)
		return;
	enum change what = weights[sim_random(s, ARRAY_LEN(weights))];
	struct who who = { sim_user(v->user), SIM_REALM, false };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int64_t rev = fake_etcd_rev(s->etcd);
	unsigned n_pauses = s->n_pauses;
	s->has_grown |= what == ATTACH || what == GROW;
	int r = give(n, what, &who, v->uuid, &vm, &e);
	unsigned n_written = history_n_written(s, n, rev);
	log_debug("sim: change=%d vm=%s result=%d written=%u %s", what, v->uuid, r,
		n_written, r < 0 ? e.msg : "");
	if (sim_is_refusal(r, &e) && n_written && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: a change was refused and done: %s", v->uuid, e.msg);
	if (r == 0 && n_written == 0)
		sim_wrong(s, "%s: a change was accepted and not done", v->uuid);
	if (n_written > 1 && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: a change was done %u times", v->uuid, n_written);
	sim_answered(n, r);
	s->n_orders++;
}
