/*
 * Runs the simulation for SIM_SEEDS seeds (from SIM_SEED on), SIM_MOVES moves each. A failure
 * prints its seed, which replays it: SIM_SEED=N SIM_SEEDS=1 SIM_LOG=1.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "tests/sim/sim.h"

#define REST_LIMIT_MSEC (45 * 60 * INT64_C(1000))

static int64_t env_int(const char *name, int64_t def)
{
	struct err e;
	int64_t v;
	const char *s = getenv(name);
	return s && !parse_int64(s, 0, INT64_MAX, &v, &e) ? v : def;
}

static bool step_all(struct sim *s)
{
	bool did = false;
	for (unsigned i = 0; i < SIM_NODES; i++)
		did |= node_step(&s->nodes[i]);
	return did;
}

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

/* No more faults; hosts are not drained any more; time passes until nothing changes for a
 * resync and a half. */
static bool come_to_rest(struct sim *s)
{
	struct err e;
	struct who admin = {"root", "ungleich-admin", true};
	s->is_calm = true;
	for (unsigned i = 0; i < SIM_NODES; i++) {
		struct node *n = &s->nodes[i];
		n->n_effects_left = -1;
		n->cut_until = 0;
		n->up_at = s->now;
		n->is_slow = false;
		node_step(n);
	}
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		CLEANUP(host_done)
		struct host h = {0};
		CLEANUP_STR char *name = xasprintf("h%u", i);
		struct node *api = &s->nodes[SIM_HOSTS + SIM_SCHEDS];
		if (orders_host_drain(api->orders, &admin, name, false, &h, &e) < 0) {
			fprintf(stderr, "undrain: %s\n", e.msg);
			return false;
		}
	}
	int64_t end = s->now + REST_LIMIT_MSEC;
	while (s->now < end) {
		for (unsigned i = 0; i < 200 && step_all(s); i++)
			if (!sim_check(s))
				return false;
		sim_advance(s, next_msec(s));
		if (!sim_check(s))
			return false;
	}
	return sim_check_rest(s);
}

static bool run(uint64_t seed, int64_t n_moves)
{
	struct sim s;
	sim_open(&s, seed);
	bool ok = true;
	for (int64_t i = 0; ok && i < n_moves; i++) {
		sim_move(&s);
		ok = sim_check(&s);
	}
	ok = ok && come_to_rest(&s);
	if (!ok)
		sim_dump(&s);
	uint64_t n_starts = 0;
	for (unsigned i = 0; i < s.n_vms; i++)
		for (unsigned h = 0; h < SIM_HOSTS; h++)
			n_starts += fake_hyper_n_starts(s.hypers[h], s.vms[i].uuid);
	printf("seed %llu: %s (%u VMs, %u orders, %llu starts, %u deaths of daemons)\n",
		(unsigned long long)seed, ok ? "ok" : "FAILED", s.n_vms, s.n_orders,
		(unsigned long long)n_starts, s.n_deaths);
	sim_close(&s);
	return ok;
}

static void no_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

int main(void)
{
	mem_init();
	crypt_init();
	bool is_loud = getenv("SIM_LOG");
	log_init("sim", is_loud ? LOG_DEBUG : LOG_ERROR);
	if (!is_loud)
		log_set_sink(no_log, NULL);
	int64_t first = env_int("SIM_SEED", 1), n = env_int("SIM_SEEDS", 40);
	int64_t n_moves = env_int("SIM_MOVES", 3000);
	unsigned n_failed = 0;
	for (int64_t seed = first; seed < first + n; seed++)
		if (!run((uint64_t)seed, n_moves))
			n_failed++;
	printf("%lld passed, %u failed\n", (long long)(n - n_failed), n_failed);
	return n_failed ? 1 : 0;
}
