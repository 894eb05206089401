/*
 * What admins order.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/sim.h"

const struct who sim_admin = { "root", "ungleich-admin", true };

static void note(const char *what, const char *subject, int r, const struct err *e)
{
	log_debug("sim: admin %s %s result=%d %s", what, subject, r, r < 0 ? e->msg : "");
}

void move_quota(struct sim *s)
{
	struct node *n = sim_api(s);
	if (!n)
		return;
	const char *name = sim_user(sim_random(s, SIM_USERS));
	CLEANUP(user_done) struct user u = { 0 };
	struct err e = { 0 };
	json_t *body = sim_chance(s, 40) ? json_pack("{s:n}", "quota")
					 : json_pack("{s:{s:i, s:i, s:i}}", "quota",
						   "vms", (int)sim_random(s, 12),
						   "ram_mib", (int)sim_random(s, 32768),
						   "networks", (int)sim_random(s, 8));
	int r = orders_user_set_quota(
		n->orders, &sim_admin, name, SIM_REALM, body, s->now / 1000, &u, &e);
	json_decref(body);
	note("quota", name, r, &e);
	sim_answered(n, r);
}

void move_drain(struct sim *s)
{
	struct node *n = sim_api(s);
	if (!n)
		return;
	CLEANUP(host_done) struct host h = { 0 };
	CLEANUP_STR char *name = xasprintf("h%u", sim_random(s, SIM_HOSTS));
	struct err e = { 0 };
	int r = orders_host_drain(n->orders, &sim_admin, name, sim_chance(s, 40), &h, &e);
	note("drain", name, r, &e);
	sim_answered(n, r);
}

static int create_host(struct sim *s, struct orders *o, const char *name, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };
	json_t *body = json_pack("{s:s, s:i}", "hostname", name, "cpu_overcommit", 200);
	int r = orders_host_create(o, &sim_admin, body, NULL, s->now / 1000, &h, e);
	json_decref(body);
	return r;
}

static int patch_host(struct sim *s, struct orders *o, const char *name, struct err *e)
{
	CLEANUP(host_done) struct host h = { 0 };
	json_t *body = json_pack("{s:i, s:i}", "reserved_ram_mib",
		(int)sim_random(s, 4096), "cpu_overcommit", 50 + (int)sim_random(s, 400));
	int r = orders_host_patch(o, &sim_admin, name, body, &h, e);
	json_decref(body);
	return r;
}

void move_host(struct sim *s)
{
	struct node *n = sim_api(s);
	if (!n)
		return;
	CLEANUP_STR char *name = xasprintf("h%u", sim_random(s, SIM_HOSTS));
	struct err e = { 0 };
	uint32_t dice = sim_random(s, 100);
	int r = dice < 30   ? orders_host_delete(n->orders, &sim_admin, name, &e)
		: dice < 70 ? create_host(s, n->orders, name, &e)
			    : patch_host(s, n->orders, name, &e);
	note(dice < 30	    ? "host delete"
		: dice < 70 ? "host create"
			    : "host patch",
		name, r, &e);
	sim_answered(n, r);
}

/* The image "other" comes and goes; the others stay while VMs use them. */
void move_image(struct sim *s)
{
	struct node *n = sim_api(s);
	if (!n)
		return;
	CLEANUP(image_done) struct image im = { 0 };
	struct err e = { 0 };
	int r;
	if (sim_chance(s, 40)) {
		r = orders_image_delete(
			n->orders, &sim_admin, "other", s->now / 1000, &im, &e);
		note("image delete", "other", r, &e);
	} else {
		json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", "other",
			"store", sim_store(sim_random(s, SIM_STORES)), "path",
			"other.qcow2", "format", "qcow2", "public", 1);
		r = orders_image_create(
			n->orders, &sim_admin, body, NULL, s->now / 1000, &im, &e);
		json_decref(body);
		note("image create", "other", r, &e);
	}
	sim_answered(n, r);
}

void move_request(struct sim *s)
{
	struct node *n = sim_api(s);
	struct sim_vm *v = sim_any_vm(s);
	if (!n || !v)
		return;
	CLEANUP(request_done) struct request req = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	bool is_abort = sim_chance(s, 30);
	if (is_abort) {
		v->may_fail = true;
		v->expect = SIM_ANY;
	}
	int r = is_abort ? orders_request_abort(n->orders, &sim_admin, v->uuid,
				   s->now / 1000, &vm, NULL, &e)
			 : orders_request_retry(n->orders, &sim_admin, v->uuid, &req, &e);
	note(is_abort ? "abort" : "retry", v->uuid, r, &e);
	sim_answered(n, r);
}

bool sim_restore_hosts(struct sim *s)
{
	struct orders *o = s->nodes[SIM_HOSTS + SIM_SCHEDS].orders;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP(host_done) struct host h = { 0 };
		CLEANUP_STR char *name = xasprintf("h%u", i);
		struct err e = { 0 };
		history_follow(s);
		if (!s->hosts[i].is_registered && create_host(s, o, name, &e) < 0)
			return sim_wrong(s, "%s: %s", name, e.msg);
		if (orders_host_drain(o, &sim_admin, name, false, &h, &e) < 0)
			return sim_wrong(s, "%s: %s", name, e.msg);
	}
	return true;
}
