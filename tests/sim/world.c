#include "tests/sim/sim.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"

#define START_MSEC INT64_C(1700000000000)

/* ---------------------------------------------------------------- chance */

/* The run that is under way; libraries may want randomness before the first one. */
static struct sim none, *current = &none;

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t sim_random(struct sim *s, uint32_t below)
{
	return (uint32_t)(next_random(&s->rng) % below);
}

bool sim_chance(struct sim *s, uint32_t percent)
{
	return sim_random(s, 100) < percent;
}

/* The libraries' randomness comes from the seed, too: these stand before theirs. */
void uuid_generate_random(uuid_t out)
{
	uint64_t parts[2] = {next_random(&current->rng), next_random(&current->rng)};
	memcpy(out, parts, sizeof(parts));
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void randombytes_buf(void *const buf, const size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)next_random(&current->rng);
}

uint32_t randombytes_uniform(const uint32_t below)
{
	return below ? sim_random(current, below) : 0;
}

/* ---------------------------------------------------------------- faults */

/* Counts down to the node's death: 0 nothing; 1 it dies before, 2 after the effect. */
static int node_effect(struct node *n)
{
	struct sim *s = n->sim;
	if (n->is_dead)
		return 1;
	if (n->n_effects_left < 0 || n->n_effects_left-- > 0)
		return 0;
	n->is_dead = true;
	s->n_deaths++;
	log_debug("sim: dies node=%s", n->name);
	return sim_chance(s, 50) ? 1 : 2;
}

static int on_write(void *aux)
{
	struct node *n = aux;
	int death = node_effect(n);
	if (death || n->sim->is_calm)
		return death;
	return sim_chance(n->sim, 3) ? 1 + (int)sim_random(n->sim, 3) : 0;
}

static int on_read(void *aux)
{
	struct node *n = aux;
	if (n->is_dead)
		return 1;
	return !n->sim->is_calm && sim_chance(n->sim, 1);
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

static int on_call(void *aux, const char *call)
{
	struct node *n = aux;
	bool is_read = !strcmp(call, "get") || !strcmp(call, "list") ||
		       !strcmp(call, "node") || !strcmp(call, "driver");
	if (is_read)
		return n->is_dead;
	int death = node_effect(n);
	if (death || n->sim->is_calm)
		return death;
	return sim_chance(n->sim, 3) ? 1 + (int)sim_random(n->sim, 2) : 0;
}

static void node_set_fault(struct node *n)
{
	struct kv_fault fault = {.is_cut = n->cut_until > n->sim->now,
		.on_write = on_write,
		.on_read = on_read,
		.on_watch = on_watch,
		.aux = n};
	kv_fake_set_fault(n->kv, &fault);
}

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
	struct fake_hyper_fault fault = {
		.on_call = on_call, .aux = n, .shutdown_msec = 3000};
	fake_hyper_set_fault(n->sim->hypers[n->i], &fault);
	struct hostd_conf conf = {
		.host = host, .keys = &n->sim->keys, .machine = host, .accel = "tcg"};
	n->hostd = hostd_new(n->kv, n->virt, &conf);
}

void node_start(struct node *n)
{
	n->kv = kv_fake_open(n->sim->etcd);
	n->is_dead = false;
	n->n_effects_left = -1;
	n->is_slow = sim_chance(n->sim, 30);
	node_set_fault(n);
	n->sched_conf = (struct sched_conf){.keys = n->sim->keys,
		.grace_sec = 30,
		.lease_ttl_sec = 10,
		.deadline_sec = 86400};
	struct orders_conf oc = {
		.quota = {50, 100, 200000, 2000}, .limits = {64, 65536, 1000}};
	if (n->kind == NODE_HOST)
		host_start(n);
	else if (n->kind == NODE_SCHED)
		n->sched = sched_new(n->kv, &n->sched_conf);
	else
		n->orders = orders_new(n->kv, &n->sim->keys, &oc);
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
	case NODE_API:
		break;
	}
	return false;
}

bool node_step(struct node *n)
{
	struct sim *s = n->sim;
	if (!n->kv) {
		if (s->now < n->up_at)
			return false;
		node_start(n);
		return true;
	}
	node_set_fault(n);
	bool did = node_run(n);
	if (!n->is_dead)
		return did;
	node_stop(n);
	n->up_at = s->now + (s->is_calm ? 0 : sim_random(s, 40000));
	return true;
}

int64_t node_next_msec(struct node *n)
{
	if (!n->kv)
		return n->up_at > n->sim->now ? n->up_at - n->sim->now : 0;
	if (n->kind == NODE_HOST)
		return hostd_next_msec(n->hostd);
	return n->kind == NODE_SCHED ? sched_next_msec(n->sched) : -1;
}

/* ---------------------------------------------------------------- the world */

static const char *const users[SIM_USERS] = {"anna", "ben"};

const char *sim_user(unsigned i)
{
	return users[i];
}

struct sim_vm *sim_find_vm(struct sim *s, const char *uuid)
{
	for (unsigned i = 0; i < s->n_vms; i++)
		if (!strcmp(s->vms[i].uuid, uuid))
			return &s->vms[i];
	return NULL;
}

void sim_advance(struct sim *s, int64_t msec)
{
	s->now += msec;
	clock_fake_advance(msec);
	fake_etcd_tick(s->etcd);
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

/* What an admin does once: hosts, a store, an image. */
static void sim_furnish(struct sim *s)
{
	struct err e;
	struct who admin = {"root", "ungleich-admin", true};
	struct orders_conf oc = {.quota = {1, 1, 1, 1}, .limits = {64, 65536, 1000}};
	struct orders *o = orders_new(s->god, &s->keys, &oc);
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP(host_done)
		struct host h = {0};
		json_t *body = json_pack("{s:o}", "hostname", json_sprintf("h%u", i));
		need(orders_host_create(o, &admin, body, NULL, s->now / 1000, &h, &e),
			"host", &e);
		json_decref(body);
	}
	CLEANUP(image_store_done)
	struct image_store st = {0};
	json_t *body = json_pack("{s:s, s:s}", "name", "disks", "type", "fake");
	need(orders_store_create(o, &admin, body, NULL, s->now / 1000, &st, &e), "store",
		&e);
	json_decref(body);
	CLEANUP(image_done)
	struct image im = {0};
	body = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", "linux", "store", "disks",
		"path", "linux.qcow2", "format", "qcow2", "public", 1);
	need(orders_image_create(o, &admin, body, NULL, s->now / 1000, &im, &e), "image",
		&e);
	json_decref(body);
	orders_free(o);
}

static void node_init(struct sim *s, struct node *n, enum node_kind kind, unsigned i)
{
	static const char *const kinds[] = {"host", "sched", "api"};
	*n = (struct node){.sim = s, .kind = kind, .i = i, .n_effects_left = -1};
	snprintf(n->name, sizeof(n->name), "%s%u", kinds[kind], i);
}

void sim_open(struct sim *s, uint64_t seed)
{
	static bool has_clock;
	*s = (struct sim){.seed = seed, .rng = seed};
	current = s;
	if (!has_clock)
		clock_fake_start(START_MSEC);
	has_clock = true;
	s->now = clock_unix_msec();
	disk_fake_register();
	disk_fake_reset();
	keys_set_defaults(&s->keys);
	s->etcd = fake_etcd_new();
	s->god = kv_fake_open(s->etcd);
	sim_furnish(s);
	unsigned n = 0;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP_STR char *name = xasprintf("h%u", i);
		s->hypers[i] = fake_hyper_new(name, 8, 16384);
		node_init(s, &s->nodes[n++], NODE_HOST, i);
	}
	for (unsigned i = 0; i < SIM_SCHEDS; i++)
		node_init(s, &s->nodes[n++], NODE_SCHED, i);
	for (unsigned i = 0; i < SIM_APIS; i++)
		node_init(s, &s->nodes[n++], NODE_API, i);
	for (n = 0; n < SIM_NODES; n++)
		node_start(&s->nodes[n]);
}

void sim_close(struct sim *s)
{
	for (unsigned i = 0; i < SIM_NODES; i++)
		node_stop(&s->nodes[i]);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		fake_hyper_free(s->hypers[i]);
	kv_close(s->god);
	fake_etcd_free(s->etcd);
	keys_done(&s->keys);
	disk_fake_reset();
	current = &none;
}
