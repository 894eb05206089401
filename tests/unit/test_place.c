#include "ucloud-scheduler/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sched_fixture.h"

#define HOSTS_MAX 5
#define VMS_MAX	  5

struct place_case {
	const char *what;
	struct fix_host hosts[HOSTS_MAX];
	struct fix_vm vms[VMS_MAX]; /* that are there */
	struct fix_vm vm;	    /* that is to be placed; its name may be left out */
	int strategy;
	bool is_shared; /* store "s" */
	bool is_unknown_store;
	const char *host; /* NULL: fits nowhere */
	const char *why;  /* NULL: not compared */
};

#define DB   "{\"app\":\"db\"}"
#define WEB  "{\"app\":\"web\"}"
#define RACK "{\"rack\":\"r1\"}"

static const struct place_case cases[] = {
	{ .what = "no hosts", .why = "no host is registered" },
	{ .what = "unknown store",
		.hosts = { { "h1", .cpus = 4, .ram_mib = 4096 } },
		.is_unknown_store = true,
		.why = "image store \"s\" is not registered" },
	{ .what = "one host",
		.hosts = { { "h1", .cpus = 4, .ram_mib = 4096 } },
		.host = "h1",
		.why = "h1: 75 % of its scarcest resource (CPU) stays free; 1 of 1 host "
		       "fits" },
	{ .what = "not enough RAM",
		.hosts = { { "h1", .cpus = 64, .ram_mib = 2048 },
			{ "h2", .cpus = 64, .ram_mib = 1024 },
			{ "h3", .cpus = 64, .ram_mib = 65536, .is_draining = true } },
		.vm = { .ram_mib = 8192 },
		.why = "2 hosts: not enough RAM (need 8192 MiB, best has 2048); 1 host: "
		       "draining" },
	{ .what = "RAM to the last MiB",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1024 } },
		.host = "h1" },
	{ .what = "one MiB too few",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1023 } },
		.why = "1 host: not enough RAM (need 1024 MiB, best has 1023)" },
	{ .what = "not enough CPU",
		.hosts = { { "h1", .cpus = 4, .ram_mib = 9000 } },
		.vms = { { "a", .cpu = 3, .host = "h1" } },
		.vm = { .cpu = 2 },
		.why = "1 host: not enough CPU (need 2, best has 1)" },
	{ .what = "CPU overcommit",
		.hosts = { { "h1", .cpus = 4, .ram_mib = 9000, .cpu_overcommit = 200 } },
		.vms = { { "a", .cpu = 4, .host = "h1" } },
		.vm = { .cpu = 4 },
		.host = "h1" },
	{ .what = "more in use than there is",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 9000 } },
		.vms = { { "a", .cpu = 4, .host = "h1" } },
		.why = "1 host: not enough CPU (need 1, best has 0)" },
	{ .what = "reserved RAM",
		.hosts = { { "h1", .cpus = 4, .ram_mib = 2048,
			.reserved_ram_mib = 1025 } },
		.why = "1 host: not enough RAM (need 1024 MiB, best has 1023)" },
	{ .what = "a stopped VM uses no CPU and RAM",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1024 } },
		.vms = { { "a", .disk_host = "h1", .status = VM_STOPPED } },
		.host = "h1" },
	{ .what = "a KILLED one of a dead host does",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1024 } },
		.vms = { { "a", .host = "h1", .status = VM_KILLED } },
		.why = "1 host: not enough CPU (need 1, best has 0)" },
	{ .what = "nor does one that crashed lose its place to others",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1024 } },
		.vms = { { "a", .disk_host = "h1", .status = VM_KILLED } },
		.why = "1 host: not enough CPU (need 1, best has 0)" },
	{ .what = "it has that place itself",
		.hosts = { { "h1", .cpus = 1, .ram_mib = 1024 } },
		.vm = { .disk_host = "h1", .status = VM_KILLED },
		.host = "h1" },
	{ .what = "disk space",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .store_gib = 30 } },
		.vms = { { "a", .disk_gib = 15, .disk_host = "h1",
			.status = VM_STOPPED } },
		.vm = { .disk_gib = 16 },
		.why = "1 host: not enough disk space (need 16 GiB, best has 15) in "
		       "store \"s\"" },
	{ .what = "its own disk counts once",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .store_gib = 16 },
			{ "h2", .cpus = 9, .ram_mib = 9000, .store_gib = 99 } },
		.vm = { .disk_gib = 16, .disk_host = "h1", .status = VM_REQUESTED_START },
		.host = "h1",
		.why = "h1: its disks are there; 89 % of its scarcest resource (RAM) "
		       "stays free" },
	{ .what = "unknown space is no limit",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000 } },
		.vm = { .disk_gib = 9999 },
		.host = "h1" },
	{ .what = "a shared store counts everybody's disks",
		.is_shared = true,
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .store_gib = 30 },
			{ "h2", .cpus = 9, .ram_mib = 9000, .store_gib = 30 } },
		.vms = { { "a", .disk_gib = 15, .host = "h2" },
			{ "b", .disk_gib = 10, .status = VM_STOPPED, .last_start = 1 },
			{ "c", .disk_gib = 10 } },
		.vm = { .disk_gib = 6 },
		.why = "2 hosts: not enough disk space (need 6 GiB, best has 5) in store "
		       "\"s\"" },
	{ .what = "a disk that is there in a shared store",
		.is_shared = true,
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .store_gib = 15 } },
		.vm = { .disk_gib = 15, .last_start = 1, .status = VM_REQUESTED_START },
		.host = "h1" },
	{ .what = "store not reached",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .store = "other" } },
		.why = "1 host: does not reach image store \"s\"" },
	{ .what = "no heartbeat",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .is_dead = true },
			{ "h2", .cpus = 9, .ram_mib = 9000, .is_registered_only = true },
			{ "h3" } },
		.why = "1 host: has not reported its CPUs and RAM yet; 2 hosts: no "
		       "heartbeat" },
	{ .what = "its disks are on a dead host",
		.hosts = { { "h1", .cpus = 9, .ram_mib = 9000, .is_dead = true },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vm = { .disk_host = "h1" },
		.why = "its disks are on h1: no heartbeat" },
	{ .what = "its disks are on a host that is gone",
		.hosts = { { "h2", .cpus = 9, .ram_mib = 9000 } },
		.vm = { .disk_host = "h1" },
		.why = "its disks are on h1: that host is not registered" },
	{ .what = "host labels",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", "{\"rack\":\"r1\",\"x\":\"y\"}", .cpus = 9,
				.ram_mib = 9000 } },
		.vm = { .host_labels = RACK },
		.host = "h2" },
	{ .what = "host labels, nowhere",
		.hosts = { { "h1", "{\"rack\":\"r2\"}", .cpus = 99, .ram_mib = 99000 } },
		.vm = { .host_labels = RACK },
		.why = "1 host: lacks the host label rack=r1" },
	{ .what = "apart",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vms = { { "a", .labels = DB, .host = "h1" } },
		.vm = { .apart = DB },
		.host = "h2" },
	{ .what = "apart, nowhere",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 } },
		.vms = { { "a", .labels = DB, .host = "h1" } },
		.vm = { .apart = DB },
		.why = "1 host: a VM that it must be apart from is there" },
	{ .what = "apart, symmetric",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vms = { { "a", .apart = DB, .host = "h1" } },
		.vm = { .labels = DB },
		.host = "h2" },
	{ .what = "apart from another owner's VM means nothing",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vms = { { "a", .labels = DB, .host = "h1", .owner = "bob" } },
		.vm = { .apart = DB },
		.host = "h1" },
	{ .what = "apart from a VM that is not there any more",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 } },
		.vms = { { "a", .labels = DB, .disk_host = "h1", .status = VM_STOPPED } },
		.vm = { .apart = DB },
		.host = "h1" },
	{ .what = "apart needs all the labels",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 } },
		.vms = { { "a", .labels = DB, .host = "h1" } },
		.vm = { .apart = "{\"app\":\"db\",\"tier\":\"x\"}" },
		.host = "h1" },
	{ .what = "near",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vms = { { "a", .labels = DB, .host = "h2" } },
		.vm = { .near = DB },
		.host = "h2" },
	{ .what = "near, nowhere",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 } },
		.vms = { { "a", .labels = DB, .host = "h1", .owner = "bob" } },
		.vm = { .near = DB },
		.why = "1 host: no VM with app=db is there to be near to" },
	{ .what = "near its own kind, the first",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 } },
		.vm = { .near = WEB, .labels = WEB },
		.host = "h1" },
	{ .what = "near its own kind, the second",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 9, .ram_mib = 9000 } },
		.vms = { { "a", .labels = WEB, .host = "h2" } },
		.vm = { .near = WEB, .labels = WEB },
		.host = "h2" },
	{ .what = "near and apart contradict",
		.hosts = { { "h1", .cpus = 99, .ram_mib = 99000 },
			{ "h2", .cpus = 99, .ram_mib = 99000 } },
		.vms = { { "a", .labels = DB, .host = "h1" } },
		.vm = { .near = DB, .apart = DB },
		.why = "1 host: a VM that it must be apart from is there; 1 host: no VM "
		       "with app=db is there to be near to" },
	{ .what = "spread takes the emptiest",
		.hosts = { { "h1", .cpus = 8, .ram_mib = 8192 },
			{ "h2", .cpus = 8, .ram_mib = 8192 },
			{ "h3", .cpus = 8, .ram_mib = 8192 } },
		.vms = { { "a", .host = "h1" }, { "b", .host = "h3" } },
		.host = "h2" },
	{ .what = "spread looks at the scarcest: much CPU does not help",
		.hosts = { { "h1", .cpus = 100, .ram_mib = 4096 },
			{ "h2", .cpus = 8, .ram_mib = 8192 } },
		.vm = { .ram_mib = 2048 },
		.host = "h2",
		.why = "h2: 75 % of its scarcest resource (RAM) stays free; 2 of 2 hosts "
		       "fit" },
	{ .what = "spread looks at disk space, too",
		.hosts = { { "h1", .cpus = 8, .ram_mib = 8192, .store_gib = 20 },
			{ "h2", .cpus = 4, .ram_mib = 4096, .store_gib = 1000 } },
		.host = "h2" },
	{ .what = "pack takes the fullest that fits",
		.strategy = PLACE_PACK,
		.hosts = { { "h1", .cpus = 8, .ram_mib = 8192 },
			{ "h2", .cpus = 8, .ram_mib = 8192 },
			{ "h3", .cpus = 8, .ram_mib = 8192 } },
		.vms = { { "a", .cpu = 7, .host = "h2" },
			{ "b", .cpu = 8, .host = "h3" } },
		.host = "h2",
		.why = "h2: 0 % of its scarcest resource (CPU) stays free; 2 of 3 hosts "
		       "fit; 1 host: not enough CPU (need 1, best has 0)" },
};

static void run_case(const struct place_case *c)
{
	struct snap *s = snap_new();
	struct placer *p = placer_new(c->strategy);
	struct fix_vm f = c->vm;

	if (!c->is_unknown_store)
		fix_put_store(s, "s", !c->is_shared);
	for (size_t i = 0; i < HOSTS_MAX && c->hosts[i].name; i++)
		fix_put_host(s, &c->hosts[i]);
	for (size_t i = 0; i < VMS_MAX && c->vms[i].name; i++)
		fix_put_vm(s, &c->vms[i], 1);
	f.name = "the VM";
	struct place_ask ask = place_ask_of(s, fix_put_vm(s, &f, 1));
	struct place_result r, again;
	placer_find(p, s, &ask, &r);
	placer_find(p, s, &ask, &again);
	char *why = place_why(s, &ask, &r);
	char *why_again = place_why(s, &ask, &again);
	if (strcmp(snap_host_name(s, r.host), c->host ? c->host : "") != 0 ||
		(c->why && strcmp(why, c->why) != 0))
		fail_msg("%s: \"%s\": %s", c->what, snap_host_name(s, r.host), why);
	assert_string_equal(why, why_again);
	/* One host alone says the same. */
	for (size_t i = 0; i < s->n_hosts; i++) {
		struct place_result one;
		if (s->hosts[i].is_registered &&
			placer_look(p, s, &ask, (int)i, &one) != PLACE_FITS)
			assert_int_not_equal(r.host, (int)i);
	}
	free(why);
	free(why_again);
	placer_free(p);
	snap_free(s);
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		run_case(&cases[i]);
}

static struct snap *equal_hosts(int n)
{
	struct snap *s = snap_new();

	fix_put_store(s, "s", true);
	for (int i = 0; i < n; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", i);
		struct fix_host h = { .name = name, .cpus = 8, .ram_mib = 8192 };
		fix_put_host(s, &h);
	}
	return s;
}

/* Equal hosts: the same VM always gets the same one, different VMs different ones. */
static void test_ties(void **state)
{
	struct snap *s = equal_hosts(10);
	bool taken[10] = { 0 };
	int n_taken = 0;

	(void)state;
	for (int i = 0; i < 50; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		struct fix_vm f = { .name = name };
		struct placer *p = placer_new(PLACE_SPREAD),
			      *q = placer_new(PLACE_SPREAD);
		struct place_ask ask = place_ask_of(s, fix_put_vm(s, &f, 1));
		struct place_result r, again;
		placer_find(p, s, &ask, &r);
		placer_find(q, s, &ask, &again);
		assert_int_equal(r.host, again.host);
		n_taken += !taken[r.host];
		taken[r.host] = true;
		placer_free(p);
		placer_free(q);
	}
	assert_true(n_taken >= 8);
	snap_free(s);
}

/* Fills hosts with assumed VMs to the last CPU: never one more, and evenly. */
static void test_fill(void **state)
{
	struct snap *s = equal_hosts(7);
	struct placer *p = placer_new(PLACE_SPREAD);
	int n_placed = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		struct fix_vm f = { .name = name, .cpu = 2 };
		struct snap_vm *vm = fix_put_vm(s, &f, 1);
		struct place_ask ask = place_ask_of(s, vm);
		struct place_result r;
		placer_find(p, s, &ask, &r);
		if (r.host < 0)
			continue;
		snap_assume(s, vm, r.host, true);
		n_placed++;
		if (i == 13)
			for (int h = 0; h < 7; h++)
				assert_int_equal(s->hosts[h].n_vms, 2);
	}
	assert_int_equal(n_placed, 28);
	for (int h = 0; h < 7; h++)
		assert_int_equal(s->hosts[h].cpu_used, 8);
	placer_free(p);
	snap_free(s);
}

/* What fitted nowhere is remembered, but not longer than that is so. */
static void test_memo(void **state)
{
	struct snap *s = equal_hosts(1);
	struct placer *p = placer_new(PLACE_SPREAD);
	struct fix_vm big = { .name = "big", .cpu = 8, .host = "h0" };
	struct fix_vm waiting = { .name = "waiting", .cpu = 1 };

	(void)state;
	fix_put_vm(s, &big, 1);
	struct place_ask ask = place_ask_of(s, fix_put_vm(s, &waiting, 1));
	struct place_result r;
	placer_find(p, s, &ask, &r);
	assert_int_equal(r.host, -1);
	placer_find(p, s, &ask, &r);
	assert_int_equal(r.host, -1);
	assert_int_equal(r.n[PLACE_NO_CPU], 1);
	big.cpu = 7;
	fix_put_vm(s, &big, 2);
	placer_find(p, s, &ask, &r);
	assert_int_equal(r.host, 0);
	placer_free(p);
	snap_free(s);
}

/* A near rule may come to fit without any room having appeared. */
static void test_near_is_not_remembered(void **state)
{
	struct snap *s = equal_hosts(2);
	struct placer *p = placer_new(PLACE_SPREAD);
	struct fix_vm near = { .name = "near", .near = DB };
	struct fix_vm db = { .name = "db", .labels = DB, .host = "h1" };

	(void)state;
	struct place_ask ask = place_ask_of(s, fix_put_vm(s, &near, 1));
	struct place_result r;
	placer_find(p, s, &ask, &r);
	assert_int_equal(r.host, -1);
	fix_put_vm(s, &db, 1);
	placer_find(p, s, &ask, &r);
	assert_int_equal(r.host, snap_find_host(s, "h1"));
	placer_free(p);
	snap_free(s);
}

static void test_same_why(void **state)
{
	static const struct {
		const char *a, *b;
		bool is_same;
	} whys[] = {
		{ "", "", true },
		{ NULL, "", true },
		{ NULL, "no host is registered", false },
		{ "2 hosts: draining", "1 host: draining", true },
		{ "1 host: draining", "12 hosts: draining", true },
		{ "1 host: draining", "1 host: no heartbeat", false },
		{ "2 hosts: not enough RAM (need 8192 MiB, best has 2048)",
			"30 hosts: not enough RAM (need 8192 MiB, best has 0)", true },
		{ "1 host: draining", "1 host: draining; 1 host: no heartbeat", false },
		{ "1 host: draining; 1 host: no heartbeat", "1 host: draining", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whys); i++)
		if (place_is_same_why(whys[i].a, whys[i].b) != whys[i].is_same)
			fail_msg("case %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_memo),
		cmocka_unit_test(test_near_is_not_remembered),
		cmocka_unit_test(test_same_why),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
