/*
 * What users order of networks, and of their VMs' interfaces; what befalls the routers' pools.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/sim.h"

/* What is left open of an order: nobody knows how it ended. */
static bool is_lost(const struct node *n, int r, const struct err *e)
{
	return n->is_dead || (r < 0 && !sim_is_refusal(r, e));
}

/* ---------------------------------------------------------------- pools */

/* Small, so that they run out; some have nothing in common. */
static const struct {
	int64_t vni_min, vni_max;
	const char *prefixes[3];
} pools[] = {
	{ 100, 104, { "2001:db8:1::/62" } },
	{ 100, 106, { "2001:db8:1::/63", "2001:db8:2::/63" } },
	{ 103, 110, { "2001:db8:2::/62" } },
	{ 100, 130, { "2001:db8:1::/59" } },
	{ 101, 110, { NULL } },
	{ 102, 102, { "2001:db8:1:2::/63", "2001:db8:3::/60" } },
};

void sim_pools(struct node *n)
{
	CLEANUP(strv_done) struct strv texts = { 0 };
	struct err e;
	n->net_conf = (struct netrec_conf){ .vni_min = pools[n->pool].vni_min,
		.vni_max = pools[n->pool].vni_max,
		.quarantine_sec = n->sim->quarantine_sec };
	for (const char *const *p = pools[n->pool].prefixes; *p; p++)
		strv_add(&texts, *p);
	if (alloc_pools_parse(&texts, &n->net_conf.pools, &e) == 0)
		return;
	fprintf(stderr, "pool: %s\n", e.msg);
	abort();
}

void sim_pools_done(struct node *n)
{
	alloc_pools_done(&n->net_conf.pools);
}

/* An admin changes a router's configuration, and restarts it. */
void move_pools(struct sim *s)
{
	struct node *n = &s->nodes[SIM_NODES - 1 - sim_random(s, SIM_ROUTERS)];
	unsigned pool = sim_random(s, ARRAY_LEN(pools));
	log_debug("sim: other pools node=%s pool=%u", n->name, pool);
	n->pool = pool;
	if (n->is_paused)
		n->is_dead = true; /* when it would go on */
	else
		node_stop(n);
	n->up_at = s->now + sim_random(s, 3000);
	s->n_deaths++;
}

/* ---------------------------------------------------------------- networks */

static json_t *net_name(struct sim *s)
{
	return json_sprintf("net%u", sim_random(s, 10));
}

static void create(struct sim *s, struct node *n)
{
	static const char *const ipams[] = { "none", "manual", "auto", "auto" };
	struct who who = { sim_user(sim_random(s, SIM_USERS)), SIM_REALM, false };
	CLEANUP(network_done) struct network net = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack("{s:o, s:s}", "name", net_name(s), "ipam",
		ipams[sim_random(s, ARRAY_LEN(ipams))]);
	CLEANUP_STR char *key =
		sim_chance(s, 30) ? xasprintf("net-%u", s->n_orders) : NULL;
	struct err e = { 0 };
	int64_t rev = fake_etcd_rev(s->etcd);
	int r = orders_network_create(
		n->orders, &who, body, key, s->now / 1000, &net, &e);
	unsigned n_made = history_n_written(s, n, rev);
	log_debug("sim: network create result=%d made=%u network=%s %s", r, n_made,
		r >= 0 ? net.uuid : "", r < 0 ? e.msg : "");
	if (sim_is_refusal(r, &e) && n_made)
		sim_wrong(s, "a network was refused and made: %s", e.msg);
	if ((r == 0 && n_made != 1) || n_made > 1)
		sim_wrong(s, "one order made %u networks", n_made);
	if (!sim_answered(n, r))
		return;
	const struct sim_net *made = sim_find_net(s, net.uuid);
	if (!made || (!made->exists && !made->may_be_gone))
		sim_wrong(s, "%s was accepted and is not there", net.uuid);
}

/* Several transactions: it may be refused after the first of them. */
static bool delete_net(struct sim *s, struct node *n, struct sim_net *net)
{
	struct who who = { sim_user(net->user), SIM_REALM, false };
	CLEANUP(network_done) struct network out = { 0 };
	struct err e = { 0 };
	bool could_be_gone = net->may_be_gone;
	unsigned n_pauses = s->n_pauses;
	net->may_be_gone = true;
	int r = orders_network_delete(
		n->orders, &who, net->uuid, s->now / 1000, &out, &e);
	log_debug("sim: network delete network=%s result=%d %s", net->uuid, r,
		r < 0 ? e.msg : "");
	bool is_open = is_lost(n, r, &e) || s->n_pauses != n_pauses;
	bool is_accepted = sim_answered(n, r);
	if (is_accepted && !is_open && net->exists && !net->has_request)
		sim_wrong(s, "the deletion of %s was accepted and is not ordered",
			net->uuid);
	if (is_accepted)
		net->is_deleted = true;
	else if (!is_open)
		net->may_be_gone = could_be_gone;
	return is_accepted || (!is_open && e.kind == ERR_CONFLICT);
}

static void patch(struct sim *s, struct node *n, const struct sim_net *net)
{
	struct who who = { sim_user(net->user), SIM_REALM, false };
	CLEANUP(network_done) struct network out = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack(
		"{s:[o]}", "dns", json_sprintf("2001:db8:53::%u", 1 + sim_random(s, 9)));
	struct err e = { 0 };
	int r = orders_network_patch(n->orders, &who, net->uuid, body, &out, &e);
	log_debug("sim: network patch network=%s result=%d %s", net->uuid, r,
		r < 0 ? e.msg : "");
	sim_answered(n, r);
}

void sim_delete_in_use(struct sim *s)
{
	struct sim_net *net = sim_find_net(s, s->net_in_use);
	struct node *n = net && net->exists ? sim_api(s) : NULL;
	if (n)
		delete_net(s, n, net);
}

void move_network(struct sim *s)
{
	struct node *n = sim_api(s);
	uint32_t dice = sim_random(s, 100);
	struct sim_net *net = sim_any_net(s);
	if (!n)
		return;
	s->n_orders++;
	if (!net || dice < 60) {
		if (s->n_nets < SIM_NETS)
			create(s, n);
	} else if (dice < 90) {
		delete_net(s, n, net);
	} else {
		patch(s, n, net);
	}
}

/* Admins have an order tried again at once, or ended. */
void move_net_request(struct sim *s)
{
	struct node *n = sim_api(s);
	struct sim_net *net = sim_any_net(s);
	if (!n || !net)
		return;
	CLEANUP(request_done) struct request req = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	bool is_abort = sim_chance(s, 40);
	net->may_fail |= is_abort;
	int r = is_abort ? orders_request_abort(n->orders, &sim_admin, net->uuid,
				   s->now / 1000, &vm, NULL, &e)
			 : orders_request_retry(
				   n->orders, &sim_admin, net->uuid, &req, &e);
	log_debug("sim: network %s network=%s result=%d %s", is_abort ? "abort" : "retry",
		net->uuid, r, r < 0 ? e.msg : "");
	sim_answered(n, r);
}

/* A VXLAN id or a prefix says that it is of a network that is not there: as when somebody
 * removes an entry by hand. */
void move_lost(struct sim *s)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	char uuid[UUID_STR_SIZE];
	struct allocation a = { .network = uuid };
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *prefix =
		xasprintf("2001:db8:1%s::/64", sim_chance(s, 50) ? "" : ":1");
	CLEANUP_STR char *key =
		sim_chance(s, 50) ? key_vni(100 + sim_random(s, 8)) : key_prefix(prefix);
	struct err e;
	uuid_new(uuid);
	text = allocation_format(&a);
	history_follow(s);
	if (history_find(s, key))
		return;
	log_debug("sim: lost key=%s", key);
	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, text);
	history_writer(s, NULL);
	if (kv_txn_commit(s->god, t, NULL, &e))
		log_debug("sim: not lost: %s", e.msg);
}

/* ---------------------------------------------------------------- interfaces */

/* One of the user's, mostly one that can be used. */
static const char *choose_net(struct sim *s, unsigned user)
{
	const struct sim_net *found = NULL;
	uint32_t n = 0;
	for (unsigned i = 0; i < s->n_nets; i++) {
		const struct sim_net *net = s->nets[i];
		bool is_usable =
			net->exists && net->user == user && net->net.status == NET_ACTIVE;
		if ((is_usable || sim_chance(s, 1)) && sim_random(s, ++n) == 0)
			found = net;
	}
	if (found)
		memcpy(s->net_in_use, found->uuid, sizeof(s->net_in_use));
	return found ? found->uuid : NULL;
}

json_t *sim_nics(struct sim *s, unsigned user)
{
	json_t *nics = json_array();
	for (uint32_t i = 1 + sim_random(s, 2); i > 0; i--) {
		const char *net = choose_net(s, user);
		if (net)
			json_array_append_new(nics, json_pack("{s:s}", "network", net));
	}
	return nics;
}

/* One of the VM's; one in which a newer version has left something is kept, so that this can
 * be looked for. */
static char *choose_mac(struct sim *s, const struct sim_vm *v)
{
	size_t len = v->exists ? v->vm.networks.len : 0;
	if (!len)
		return NULL;
	const struct vm_nic *nic =
		jtab_list_at(&vm_nic_jtab, &v->vm.networks, sim_random(s, (uint32_t)len));
	return json_object_get(nic->rest, "x_future") ? NULL : xstrdup(nic->mac);
}

static int give(struct node *n, const struct sim_vm *v, const struct who *who,
	struct vm *out, struct err *e)
{
	struct sim *s = n->sim;
	int64_t now = s->now / 1000;
	CLEANUP_STR char *mac = sim_chance(s, 45) ? choose_mac(s, v) : NULL;
	if (mac)
		return orders_nic_detach(n->orders, who, v->uuid, mac, now, out, e);
	const char *net = choose_net(s, v->user);
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack("{s:s}", "network", net ? net : "none");
	return orders_nic_attach(n->orders, who, v->uuid, body, NULL, now, out, e);
}

/* One that may be given an interface now, rather than any. */
static struct sim_vm *choose_vm(struct sim *s)
{
	struct sim_vm *v = sim_any_vm(s);
	for (int i = 0;
		v && i < 8 && v->vm.status != VM_STOPPED && v->vm.status != VM_RUNNING;
		i++)
		v = sim_any_vm(s);
	return v;
}

void move_nic(struct sim *s)
{
	struct node *n = sim_api(s);
	struct sim_vm *v = choose_vm(s);
	if (!n || !v)
		return;
	struct who who = { sim_user(v->user), SIM_REALM, false };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int64_t rev = fake_etcd_rev(s->etcd);
	unsigned n_pauses = s->n_pauses;
	int r = give(n, v, &who, &vm, &e);
	s->net_in_use[0] = '\0';
	unsigned n_written = history_n_written(s, n, rev);
	log_debug("sim: interface vm=%s result=%d written=%u %s", v->uuid, r, n_written,
		r < 0 ? e.msg : "");
	if (sim_is_refusal(r, &e) && n_written && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: an interface was refused and changed: %s", v->uuid,
			e.msg);
	if (r == 0 && n_written == 0)
		sim_wrong(s, "%s: an interface was accepted and not changed", v->uuid);
	if (n_written > 1 && s->n_pauses == n_pauses)
		sim_wrong(s, "%s: an interface was changed %u times", v->uuid, n_written);
	sim_answered(n, r);
	s->n_orders++;
}
