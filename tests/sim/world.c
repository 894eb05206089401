#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "tests/sim/sim.h"

#define START_MSEC INT64_C(1700000000000)

/* ---------------------------------------------------------------- daemons */

static void host_start(struct node *n)
{
	struct err e;
	CLEANUP_STR char *uri = xasprintf("fake:h%u", n->i);
	CLEANUP_STR char *host = xasprintf("h%u", n->i);
	if (virt_open(uri, NULL, NULL, &n->virt, &e)) {
		fprintf(stderr, "virt_open: %s\n", e.msg);
		abort();
	}
	struct hostd_conf conf = { .host = host,
		.keys = &n->sim->keys,
		.machine = host,
		.accel = "tcg",
		.sysfs = n->sim->bridges[n->i].sysfs,
		.orphan_keep_sec = n->sim->orphan_keep_sec };
	n->hostd = hostd_new(n->kv, n->virt, &conf);
}

static int64_t mtu(void *aux)
{
	(void)aux;
	return SIM_MTU;
}

static void router_start(struct node *n)
{
	sim_pools(n);
	struct netlead_conf conf = { .rec = n->net_conf,
		.keys = &n->sim->keys,
		.lease_ttl_sec = SIM_LEASE_SEC,
		.mtu = mtu };
	n->netlead = netlead_new(n->kv, &conf);
}

static void router_stop(struct node *n)
{
	if (!n->netlead)
		return;
	netlead_stop(n->netlead);
	netlead_free(MOVE(n->netlead));
	sim_pools_done(n);
}

static void node_start(struct node *n)
{
	struct sim *s = n->sim;
	n->kv = kv_fake_open(s->etcd);
	n->life++;
	n->is_dead = false;
	n->n_effects_left = n->n_calls_left = -1;
	n->is_slow = sim_chance_of(s, CHANCE_SLOW);
	n->page_len = sim_chance_of(s, CHANCE_PAGES) ? 1 + sim_random(s, 6) : 0;
	n->sched_conf = (struct sched_conf){ .keys = s->keys,
		.grace_sec = SIM_GRACE_SEC,
		.lease_ttl_sec = SIM_LEASE_SEC,
		.deadline_sec = 86400 };
	struct orders_conf oc = { .quota = { 50, 100, 200000, 2000, .snapshots = 40,
					  .images = 50, .networks = 8 },
		.limits = { 64, 65536, 1000 } };
	if (n->kind == NODE_HOST)
		host_start(n);
	else if (n->kind == NODE_SCHED)
		n->sched = sched_new(n->kv, &n->sched_conf);
	else if (n->kind == NODE_ROUTER)
		router_start(n);
	else
		n->orders = orders_new(n->kv, &s->keys, &oc);
	node_set_fault(n);
}

/* As a killed process leaves it: nothing is released. */
void node_stop(struct node *n)
{
	if (!n->kv)
		return;
	n->is_dead = true;
	if (n->hostd)
		hostd_free(n->hostd, false);
	if (n->virt)
		virt_close(n->virt);
	if (n->sched)
		sched_free(n->sched);
	if (n->orders)
		orders_free(n->orders);
	router_stop(n);
	kv_close(n->kv);
	n->hostd = NULL;
	n->virt = NULL;
	n->sched = NULL;
	n->orders = NULL;
	n->kv = NULL;
}

static bool node_run(struct node *n)
{
	switch (n->kind) {
	case NODE_HOST:
		return hostd_step(n->hostd);
	case NODE_SCHED:
		return sched_step(n->sched);
	case NODE_ROUTER:
		return netlead_step(n->netlead);
	case NODE_API:
		break;
	}
	return false;
}

bool node_step(struct node *n)
{
	struct sim *s = n->sim;
	if (n->is_paused)
		return false;
	if (!n->kv) {
		if (s->now < n->up_at)
			return false;
		node_start(n);
		return true;
	}
	node_set_fault(n);
	n->was_paused = false;
	bool did = n->is_dead ? false : node_run(n);
	if (!n->is_dead)
		return did;
	/* What it wrote is looked at while we know who it was. */
	history_follow(s);
	node_stop(n);
	n->up_at = s->now + (s->is_calm ? 0 : sim_random(s, 40000));
	return true;
}

int64_t node_next_msec(struct node *n)
{
	if (!n->kv)
		return n->up_at > n->sim->now ? n->up_at - n->sim->now : 0;
	switch (n->kind) {
	case NODE_HOST:
		return hostd_next_msec(n->hostd);
	case NODE_SCHED:
		return sched_next_msec(n->sched);
	case NODE_ROUTER:
		return netlead_next_msec(n->netlead);
	case NODE_API:
		break;
	}
	return -1;
}

struct node *sim_api(struct sim *s)
{
	struct node *n = &s->nodes[SIM_HOSTS + SIM_SCHEDS + sim_random(s, SIM_APIS)];
	if (!n->kv || n->is_paused)
		return NULL;
	node_set_fault(n);
	n->was_paused = false;
	return n;
}

/* ---------------------------------------------------------------- the world */

static const char *const users[SIM_USERS] = { "anna", "ben" };
/* One on each host, one that all hosts share. */
static const char *const stores[SIM_STORES] = { "disks", "pool" };

const char *sim_user(unsigned i)
{
	return users[i];
}

const char *sim_store(unsigned i)
{
	return stores[i];
}

int sim_host_index(const char *host)
{
	if (str_is_empty(host) || host[0] != 'h' || host[1] < '0' || host[2] ||
		host[1] >= '0' + SIM_HOSTS)
		return -1;
	return host[1] - '0';
}

void sim_advance(struct sim *s, int64_t msec)
{
	s->now += msec;
	history_writer(s, NULL);
	clock_fake_advance(msec);
	fake_etcd_tick(s->etcd);
	bridges_step(s);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		while (fake_hyper_step(s->hypers[i]))
			;
}

static void need(int r, const char *what, const struct err *e)
{
	if (!r)
		return;
	fprintf(stderr, "%s: %s\n", what, e->msg);
	abort();
}

static void add_image(
	struct sim *s, struct orders *o, const char *name, const char *store)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct err e;
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", name, "store",
		store, "path", "linux.raw", "format", "raw", "public", 1);
	need(orders_image_create(o, &sim_admin, body, NULL, s->now / 1000, &im, &e),
		"image", &e);
	json_decref(body);
}

/* What an admin does once: hosts, stores, images. */
static void sim_furnish(struct sim *s)
{
	struct err e;
	struct orders_conf oc = { .quota = { 1, 1, 1, 1, .images = 50 },
		.limits = { 64, 65536, 1000 } };
	struct orders *o = orders_new(s->god, &s->keys, &oc);
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP(host_done) struct host h = { 0 };
		json_t *body = json_pack("{s:o}", "hostname", json_sprintf("h%u", i));
		need(orders_host_create(o, &sim_admin, body, NULL, s->now / 1000, &h, &e),
			"host", &e);
		json_decref(body);
	}
	for (unsigned i = 0; i < SIM_STORES; i++) {
		CLEANUP(image_store_done) struct image_store st = { 0 };
		json_t *body = json_pack("{s:s, s:s}", "name", stores[i], "type",
			store_type_names[i == 0 ? STORE_FAKE : STORE_CEPH]);
		need(orders_store_create(
			     o, &sim_admin, body, NULL, s->now / 1000, &st, &e),
			"store", &e);
		json_decref(body);
	}
	add_image(s, o, "linux", stores[0]);
	add_image(s, o, "shared", stores[1]);
	orders_free(o);
}

static void node_init(struct sim *s, struct node *n, enum node_kind kind, unsigned i)
{
	static const char *const kinds[] = { "host", "sched", "api", "router" };
	*n = (struct node){ .sim = s, .kind = kind, .i = i };
	snprintf(n->name, sizeof(n->name), "%s%u", kinds[kind], i);
}

static bool is_in_use(void *aux, const char *vm_uuid)
{
	struct sim *s = aux;
	for (unsigned i = 0; !fake_hyper_is_inside() && i < SIM_HOSTS; i++)
		if (s->hypers[i] && fake_hyper_disks(s->hypers[i], vm_uuid))
			return true;
	return false;
}

static void open_disks(struct sim *s)
{
	disk_fake_register();
	disk_fake_register_as(STORE_CEPH);
	disk_fake_reset();
	disk_fake_set_in_use(is_in_use, s);
	for (unsigned i = 0; i < SIM_STORES; i++)
		if (sim_chance(s, 50))
			disk_fake_set_space(stores[i], 40 + sim_random(s, 200), 20);
}

void sim_open(struct sim *s, uint64_t seed)
{
	static const uint16_t rams[] = { 4096, 8192, 16384 };
	static const uint16_t quarantines[] = { 0, 15, 120, 900 };
	unsigned n = 0;
	*s = (struct sim){ .seed = seed, .rng = seed };
	sim_set_current(s);
	clock_fake_start(START_MSEC);
	s->now = clock_unix_msec();
	sim_draw_chances(s);
	sim_draw_weights(s);
	s->has_label_changes = sim_chance(s, 50);
	s->orphan_keep_sec = sim_chance(s, 50) ? 1 : 600;
	s->quarantine_sec = quarantines[sim_random(s, ARRAY_LEN(quarantines))];
	open_disks(s);
	bridges_open(s);
	keys_set_defaults(&s->keys);
	s->etcd = fake_etcd_new();
	s->god = kv_fake_open(s->etcd);
	history_open(s);
	sim_furnish(s);
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP_STR char *name = xasprintf("h%u", i);
		s->hypers[i] = fake_hyper_new(name, 4 + sim_random(s, 12),
			rams[sim_random(s, ARRAY_LEN(rams))]);
		node_init(s, &s->nodes[n++], NODE_HOST, i);
	}
	for (unsigned i = 0; i < SIM_SCHEDS; i++)
		node_init(s, &s->nodes[n++], NODE_SCHED, i);
	for (unsigned i = 0; i < SIM_APIS; i++)
		node_init(s, &s->nodes[n++], NODE_API, i);
	for (unsigned i = 0; i < SIM_ROUTERS; i++)
		node_init(s, &s->nodes[n++], NODE_ROUTER, i);
	for (n = 0; n < SIM_NODES; n++)
		node_start(&s->nodes[n]);
}

void sim_close(struct sim *s)
{
	for (unsigned i = 0; i < SIM_NODES; i++)
		node_stop(&s->nodes[i]);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		fake_hyper_free(s->hypers[i]);
	for (unsigned i = 0; i < SIM_ORDERS; i++)
		json_decref(s->orders[i].body);
	bridges_close(s);
	history_close(s);
	kv_close(s->god);
	fake_etcd_free(s->etcd);
	keys_done(&s->keys);
	disk_fake_reset();
	sim_set_current(NULL);
}
