/*
 * What happens next.
 */
#include <string.h>

#include "tests/sim/sim.h"

static void move_step(struct sim *s)
{
	node_step(&s->nodes[sim_random(s, SIM_NODES)]);
}

static void move_time(struct sim *s)
{
	static const uint16_t steps[] = { 1, 20, 300, 2000, 7000 };
	sim_advance(s, 1 + sim_random(s, steps[sim_random(s, ARRAY_LEN(steps))]));
}

/* Everybody runs until nobody has anything to do. False: they still have. */
bool sim_settle(struct sim *s, unsigned n_rounds)
{
	for (unsigned i = 0; i < n_rounds && !s->is_wrong; i++) {
		bool did = false;
		for (unsigned k = 0; k < SIM_NODES && !s->is_wrong; k++) {
			did |= node_step(&s->nodes[k]);
			history_follow(s);
			world_check(s);
		}
		if (!did)
			return true;
	}
	return false;
}

static void move_settle(struct sim *s)
{
	sim_settle(s, 1 + sim_random(s, 30));
}

/* Some seconds of normal work. */
static void move_work(struct sim *s)
{
	int64_t end = s->now + 1 + sim_random(s, 20000);
	while (s->now < end && !s->is_wrong) {
		sim_settle(s, 20);
		sim_advance(s, 1 + sim_random(s, 2000));
	}
}

static const struct {
	void (*move)(struct sim *s);
	uint16_t weight;
	bool is_needed;
} moves[] = {
	{ move_step, 6000, true },
	{ move_time, 900, true },
	{ move_settle, 200, true },
	{ move_work, 100, true },
	{ move_create, 400, true },
	{ move_repeat, 200 },
	{ move_order, 600, true },
	{ move_patch, 100 },
	{ move_change, 300 },
	{ move_network, 250 },
	{ move_nic, 250 },
	{ move_quota, 20 },
	{ move_drain, 50 },
	{ move_host, 50 },
	{ move_image, 60 },
	{ move_request, 80 },
	{ move_net_request, 20 },
	{ move_pools, 30 },
	{ move_guest, 150 },
	{ move_disk, 80 },
	{ move_full, 20 },
	{ move_hyper, 60 },
	{ move_bridges, 60 },
	{ move_death, 250 },
	{ move_pause, 200 },
	{ move_cut, 150 },
	{ move_long_cut, 15 },
	{ move_slow, 60 },
	{ move_reset, 30 },
	{ move_compact, 40 },
	{ move_future, 60 },
	{ move_foreign, 40 },
	{ move_garble, 30 },
	{ move_mend, 60 },
	{ move_steal, 15 },
	{ move_orphan, 5 },
	{ move_lost, 10 },
};
_Static_assert(ARRAY_LEN(moves) <= SIM_MOVES_MAX, "room for the weights");

void sim_draw_weights(struct sim *s)
{
	s->weight_sum = 0;
	for (size_t i = 0; i < ARRAY_LEN(moves); i++) {
		uint32_t percent = sim_chance(s, 50) ? 100 : 20 + sim_random(s, 280);
		if (!moves[i].is_needed && sim_chance(s, 35))
			percent = 0;
		s->weights[i] = (uint16_t)(moves[i].weight * percent / 100);
		s->weight_sum += s->weights[i];
	}
}

void sim_move(struct sim *s)
{
	uint32_t dice = sim_random(s, s->weight_sum);
	size_t i = 0;
	s->n_moves++;
	while (dice >= s->weights[i])
		dice -= s->weights[i++];
	moves[i].move(s);
	history_follow(s);
	world_check(s);
}
