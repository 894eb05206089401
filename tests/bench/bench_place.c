/*
 * Placements per second of the pure part: 5,000 hosts, 10,000 VMs, no etcd. One line per
 * figure: name, value, unit.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "tests/unit/sched_fixture.h"

#define N_HOSTS 5000
#define N_VMS	10000

struct run {
	const char *name;
	int n_vms;
	int n_groups; /* of labels; 0: none */
	int n_owners;
	bool is_apart;
	bool is_full; /* nothing fits */
};

static struct snap *new_snap(const struct run *run)
{
	struct snap *s = snap_new();

	fix_put_store(s, "s", true);
	for (int i = 0; i < N_HOSTS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "host%d", i);
		struct fix_host h = { .name = name,
			.cpus = run->is_full ? 1 : 16 + i % 17,
			.ram_mib = 32768 + 1024 * (i % 33),
			.store_gib = 2000 };
		fix_put_host(s, &h);
	}
	return s;
}

static struct snap_vm *put_vm(struct snap *s, const struct run *run, int i)
{
	char name[16], owner[16], labels[32];

	snprintf(name, sizeof(name), "vm%d", i);
	snprintf(owner, sizeof(owner), "user%d", i % run->n_owners);
	snprintf(labels, sizeof(labels), "{\"app\":\"a%d\"}",
		run->n_groups ? i % run->n_groups : 0);
	struct fix_vm vm = { .name = name,
		.owner = owner,
		.cpu = 2 + i % 3,
		.ram_mib = 1024 * (1 + i % 4),
		.disk_gib = 10 + i % 20,
		.labels = run->n_groups ? labels : NULL,
		.apart = run->is_apart ? labels : NULL };
	return fix_put_vm(s, &vm, i + 1);
}

static void check_capacity(const struct snap *s)
{
	for (size_t i = 0; i < s->n_hosts; i++) {
		const struct snap_host *h = &s->hosts[i];
		if (h->cpu_used > h->cpu_cap || h->ram_used > h->ram_cap) {
			fprintf(stderr, "host %zu is over capacity\n", i);
			exit(1);
		}
	}
}

static void place_all(const struct run *run)
{
	struct snap *s = new_snap(run);
	struct placer *p = placer_new(PLACE_SPREAD);
	struct snap_vm **vms = xcalloc((size_t)run->n_vms, sizeof(*vms));
	int n_placed = 0;

	for (int i = 0; i < run->n_vms; i++)
		vms[i] = put_vm(s, run, i);
	int64_t start = clock_mono_usec();
	for (int i = 0; i < run->n_vms; i++) {
		struct place_ask ask = place_ask_of(s, vms[i]);
		struct place_result r;
		placer_find(p, s, &ask, &r);
		free(place_why(s, &ask, &r));
		if (r.host < 0)
			continue;
		snap_assume(s, vms[i], r.host, true);
		n_placed++;
	}
	int64_t took = clock_mono_usec() - start;
	check_capacity(s);
	printf("%-40s %10.0f /s (%d of %d placed on %d hosts)\n", run->name,
		run->n_vms / ((double)took / 1e6), n_placed, run->n_vms, N_HOSTS);
	free(vms);
	placer_free(p);
	snap_free(s);
}

int main(void)
{
	static const struct run runs[] = {
		{ "place", N_VMS, .n_owners = 50 },
		{ "place, anti-affinity, 100 groups of 100", N_VMS, .n_groups = 100,
			.n_owners = 1, .is_apart = true },
		{ "place, anti-affinity, one group of 5000", N_HOSTS, .n_groups = 1,
			.n_owners = 1, .is_apart = true },
		{ "place, nothing fits", N_VMS, .n_owners = 50, .is_full = true },
	};

	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		place_all(&runs[i]);
	return 0;
}
