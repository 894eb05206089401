#include "ucloud-scheduler/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sched_fixture.h"

static const struct snap_host *host_of(const struct snap *s, const char *name)
{
	int i = snap_find_host(s, name);

	assert_true(i >= 0);
	return &s->hosts[i];
}

static void assert_used(
	const struct snap *s, const char *name, int64_t cpu, int64_t ram, int64_t disk)
{
	const struct snap_host *h = host_of(s, name);
	const struct snap_hstore *st =
		snap_find_hstore(h, intern_find(&s->store_names, "s"));

	assert_int_equal(h->cpu_used, cpu);
	assert_int_equal(h->ram_used, ram);
	assert_int_equal(st ? st->used_gib : 0, disk);
}

static struct snap *new_snap(void)
{
	struct snap *s = snap_new();
	static const struct fix_host hosts[] = {
		{ "h1", .cpus = 8, .ram_mib = 16384, .store_gib = 100 },
		{ "h2", .cpus = 8, .ram_mib = 16384, .store_gib = 100 },
	};

	fix_put_store(s, "s", true);
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
		fix_put_host(s, &hosts[i]);
	return s;
}

static void test_capacity(void **state)
{
	struct snap *s = snap_new();
	static const struct fix_host h = { "h1", .cpus = 6, .ram_mib = 8192,
		.cpu_overcommit = 250, .reserved_ram_mib = 1024, .store_gib = 100 };

	(void)state;
	fix_put_host(s, &h);
	assert_int_equal(host_of(s, "h1")->cpu_cap, 15);
	assert_int_equal(host_of(s, "h1")->ram_cap, 7168);
	assert_int_equal(host_of(s, "h1")->block, SNAP_OPEN);
	assert_int_equal(s->n_registered, 1);
	snap_set_alive(s, "h1", false);
	assert_int_equal(host_of(s, "h1")->block, SNAP_DEAD);
	snap_del_host(s, "h1");
	snap_del_host(s, "h1");
	assert_int_equal(host_of(s, "h1")->block, SNAP_ABSENT);
	assert_int_equal(s->n_registered, 0);
	snap_free(s);
	snap_free(NULL);
}

static void test_more_reserved_than_there_is(void **state)
{
	struct snap *s = snap_new();
	static const struct fix_host h = { "h1", .cpus = 6, .ram_mib = 512,
		.reserved_ram_mib = 1024 };

	(void)state;
	fix_put_host(s, &h);
	assert_int_equal(host_of(s, "h1")->ram_cap, 0);
	assert_int_equal(host_of(s, "h1")->block, SNAP_UNSIZED);
	snap_free(s);
}

/* One VM through its life: what it uses follows each entry. */
static void test_vm_life(void **state)
{
	struct snap *s = new_snap();
	struct fix_vm vm = { .name = "a", .cpu = 2, .ram_mib = 2048, .disk_gib = 20 };
	char uuid[UUID_STR_SIZE];

	(void)state;
	fix_put_vm(s, &vm, 1);
	assert_used(s, "h1", 0, 0, 0);
	vm.host = vm.disk_host = "h1";
	fix_put_vm(s, &vm, 2);
	assert_used(s, "h1", 2, 2048, 20);
	fix_put_vm(s, &vm, 3);
	assert_used(s, "h1", 2, 2048, 20);
	vm.cpu = 3;
	fix_put_vm(s, &vm, 4);
	assert_used(s, "h1", 3, 2048, 20);
	vm.host = NULL;
	vm.status = VM_STOPPED;
	fix_put_vm(s, &vm, 5);
	assert_used(s, "h1", 0, 0, 20);
	vm.status = 0;
	vm.host = vm.disk_host = "h2";
	fix_put_vm(s, &vm, 6);
	assert_used(s, "h1", 0, 0, 0);
	assert_used(s, "h2", 3, 2048, 20);
	snap_del_vm(s, fix_uuid("a", uuid));
	snap_del_vm(s, uuid);
	assert_used(s, "h2", 0, 0, 0);
	assert_null(snap_find_vm(s, uuid));
	snap_free(s);
}

static void test_vm_of_unknown_host(void **state)
{
	struct snap *s = new_snap();
	struct fix_vm vm = { .name = "a", .host = "gone", .disk_host = "gone" };
	static const struct fix_host back = { "gone", .cpus = 4, .ram_mib = 4096 };

	(void)state;
	fix_put_vm(s, &vm, 1);
	assert_int_equal(host_of(s, "gone")->block, SNAP_ABSENT);
	fix_put_host(s, &back);
	assert_used(s, "gone", 1, 1024, 10);
	assert_int_equal(host_of(s, "gone")->cpu_cap, 4);
	snap_free(s);
}

static void test_assumption(void **state)
{
	struct snap *s = new_snap();
	struct fix_vm f = { .name = "a", .cpu = 2, .ram_mib = 2048, .disk_gib = 20 };
	struct snap_vm *vm = fix_put_vm(s, &f, 10);
	int h1 = snap_find_host(s, "h1");

	(void)state;
	snap_assume(s, vm, h1, true);
	assert_used(s, "h1", 2, 2048, 20);
	assert_int_equal(s->n_assumed, 1);
	/* The same entry, seen again, is no news. */
	fix_put_vm(s, &f, 10);
	assert_used(s, "h1", 2, 2048, 20);
	/* The write is seen: nothing changes, and nobody gets room by it. */
	uint64_t gen = s->gen;
	f.host = f.disk_host = "h1";
	f.status = VM_SCHEDULED;
	fix_put_vm(s, &f, 11);
	assert_used(s, "h1", 2, 2048, 20);
	assert_int_equal(s->n_assumed, 0);
	assert_int_equal(s->gen, gen);
	snap_forget(s, vm->uuid);
	assert_used(s, "h1", 2, 2048, 20);
	snap_free(s);
}

static void test_assumption_forgotten(void **state)
{
	struct snap *s = new_snap();
	struct fix_vm f = { .name = "a", .cpu = 2 };
	struct snap_vm *vm = fix_put_vm(s, &f, 10);

	(void)state;
	snap_assume(s, vm, snap_find_host(s, "h1"), true);
	uint64_t gen = s->gen;
	snap_forget(s, vm->uuid);
	assert_used(s, "h1", 0, 0, 0);
	assert_true(s->gen > gen);
	/* Somebody else's write ends one, too. */
	snap_assume(s, vm, snap_find_host(s, "h1"), true);
	f.status = VM_STOPPED;
	fix_put_vm(s, &f, 11);
	assert_used(s, "h1", 0, 0, 0);
	snap_assume(s, vm, snap_find_host(s, "h2"), false);
	assert_used(s, "h2", 2, 1024, 0);
	snap_del_vm(s, vm->uuid);
	assert_used(s, "h2", 0, 0, 0);
	assert_int_equal(s->n_assumed, 0);
	snap_free(s);
}

static void test_gen(void **state)
{
	struct snap *s = new_snap();
	struct fix_vm f = { .name = "a", .host = "h1" };
	char uuid[UUID_STR_SIZE];

	(void)state;
	uint64_t gen = s->gen;
	fix_put_vm(s, &f, 1); /* uses room: nobody else fits by that */
	assert_int_equal(s->gen, gen);
	f.host = NULL;
	f.status = VM_STOPPED;
	fix_put_vm(s, &f, 2);
	assert_true(s->gen > gen);
	gen = s->gen;
	snap_set_alive(s, "h1", false);
	assert_true(s->gen > gen);
	gen = s->gen;
	snap_set_alive(s, "h1", false);
	assert_int_equal(s->gen, gen);
	snap_set_alive(s, "h1", true);
	assert_true(s->gen > gen);
	gen = s->gen;
	snap_del_vm(s, fix_uuid("a", uuid));
	assert_true(s->gen > gen);
	snap_free(s);
}

static void test_sets(void **state)
{
	static const struct {
		const char *have, *need;
		bool is_all;
	} cases[] = {
		{ NULL, NULL, true },
		{ "{\"a\":\"1\"}", NULL, true },
		{ NULL, "{\"a\":\"1\"}", false },
		{ "{\"a\":\"1\",\"b\":\"2\"}", "{\"b\":\"2\"}", true },
		{ "{\"b\":\"2\",\"a\":\"1\"}", "{\"a\":\"1\",\"b\":\"2\"}", true },
		{ "{\"a\":\"1\"}", "{\"a\":\"1\",\"b\":\"2\"}", false },
		{ "{\"a\":\"1\"}", "{\"a\":\"2\"}", false },
		{ "{\"a\":\"1\",\"c\":\"\"}", "{\"c\":\"\"}", true },
	};

	(void)state;
	struct snap *s = snap_new();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%zu", i);
		struct fix_vm f = { .name = name,
			.labels = cases[i].have,
			.host_labels = cases[i].need };
		struct snap_vm *vm = fix_put_vm(s, &f, 1);
		if (snap_set_has_all(s, vm->labels, vm->host_labels) != cases[i].is_all)
			fail_msg("case %zu", i);
	}
	snap_free(s);
}

/* The sum that is kept step by step equals the one made in one go. */
static void test_many_changes(void **state)
{
	struct snap *s = new_snap(), *fresh = new_snap();
	static const char *const hosts[] = { NULL, "h1", "h2", "h3" };
	struct fix_vm last[20] = { 0 };
	char names[20][8];
	unsigned seed = 7;

	(void)state;
	for (int64_t rev = 1; rev <= 3000; rev++) {
		seed = seed * 1103515245 + 12345;
		unsigned i = (seed >> 8) % 20;
		snprintf(names[i], sizeof(names[i]), "vm%u", i);
		struct fix_vm f = { .name = names[i],
			.cpu = 1 + (seed >> 14) % 4,
			.ram_mib = 100 + (seed >> 12) % 99,
			.disk_gib = 1 + (seed >> 20) % 9,
			.host = hosts[(seed >> 16) % 4],
			.disk_host = hosts[(seed >> 18) % 4],
			.apart = (seed >> 22) % 2 ? "{\"a\":\"b\"}" : NULL };
		struct snap_vm *vm = fix_put_vm(s, &f, rev);
		last[i] = f;
		if ((seed >> 24) % 3 == 0)
			snap_assume(s, vm, (int)(seed >> 26) % 2, (seed >> 27) % 2);
		if ((seed >> 25) % 5 == 0) {
			snap_del_vm(s, vm->uuid);
			last[i] = (struct fix_vm){ 0 };
		}
	}
	for (unsigned i = 0; i < 20; i++) {
		char uuid[UUID_STR_SIZE];
		if (!last[i].name)
			continue;
		snap_forget(s, fix_uuid(last[i].name, uuid));
		fix_put_vm(fresh, &last[i], 1);
	}
	size_t n_placed = 0;
	for (const struct snap_vm *vm = s->owners[1].placed; vm; vm = vm->next)
		n_placed++;
	assert_int_equal(n_placed, fresh->owners[1].n_placed);
	assert_int_equal(s->owners[1].n_placed, fresh->owners[1].n_placed);
	assert_int_equal(s->owners[1].n_apart, fresh->owners[1].n_apart);
	for (unsigned i = 1; i < 4; i++) {
		const struct snap_host *h = host_of(fresh, hosts[i]);
		const struct snap_hstore *st =
			snap_find_hstore(h, intern_find(&fresh->store_names, "s"));
		assert_used(s, hosts[i], h->cpu_used, h->ram_used, st->used_gib);
		assert_int_equal(host_of(s, hosts[i])->n_vms, h->n_vms);
	}
	snap_free(s);
	snap_free(fresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_more_reserved_than_there_is),
		cmocka_unit_test(test_vm_life),
		cmocka_unit_test(test_vm_of_unknown_host),
		cmocka_unit_test(test_assumption),
		cmocka_unit_test(test_assumption_forgotten),
		cmocka_unit_test(test_gen),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_many_changes),
	};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
