#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/sim/sim.h"

/* The run that is under way; libraries may want randomness before the first one. */
static struct sim none, *current = &none;

void sim_set_current(struct sim *s)
{
	current = s ? s : &none;
}

/* splitmix64 */
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

bool sim_chance_of(struct sim *s, enum sim_chance_of what)
{
	return !s->is_calm && s->chances[what] && sim_random(s, 1000) < s->chances[what];
}

/* Some seeds know no faults of a kind, others many: a bug that needs a long run of luck is
 * not drowned in bad luck of other kinds. */
void sim_draw_chances(struct sim *s)
{
	static const uint16_t most[CHANCE_N] = { [CHANCE_WRITE] = 60,
		[CHANCE_READ] = 30,
		[CHANCE_CALL] = 60,
		[CHANCE_COMPACT] = 20,
		[CHANCE_SLOW] = 600,
		[CHANCE_PAGES] = 600,
		[CHANCE_RACE] = 40 };
	for (int i = 0; i < CHANCE_N; i++)
		s->chances[i] = sim_chance(s, 30) ? 0 : sim_random(s, most[i]);
}

/* The libraries' randomness comes from the seed, too: these stand before theirs. */
void uuid_generate_random(uuid_t out)
{
	uint64_t parts[2] = { next_random(&current->rng), next_random(&current->rng) };
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
