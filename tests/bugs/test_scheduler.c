/*
 * Bugs of the scheduler that the simulation found, each in small.
 */
#include "common/base/log.h"
#include "tests/unit/sched_world.h"

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

static void start(struct world *w)
{
	world_start(w);
	world_put_store(w, "s", "\"type\":\"filesystem\",\"path\":\"/s\"");
	world_add_host(w, "h1", 8, 8192);
}

/* A placement's key that names no VM ended the program, at every start anew. */
static void test_placement_of_nobody(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_put(&w, KEY_PLACEMENT "h1/nobody", "{}");
	world_run(&w, 1000);
	world_order_vm(&w, &(struct world_vm){ "a" });
	world_run(&w, 1000);
	world_assert_vm(&w, "a", VM_SCHEDULED, "h1");
	world_set_alive(&w, "h1", false);
	world_run(&w, 31000);
	world_assert_vm(&w, "a", VM_KILLED, "h1");
	world_end(&w);
}

/* A heartbeat that was there for a moment only: the grace period begins anew. */
static void test_short_heartbeat(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	world_run(&w, 1000);
	world_set_alive(&w, "h1", false);
	world_run(&w, 25000);
	world_set_alive(&w, "h1", true);
	world_set_alive(&w, "h1", false);
	world_run(&w, 25000);
	world_assert_host(&w, "h1", HOST_ALIVE);
	world_run(&w, 6000);
	world_assert_host(&w, "h1", HOST_DEAD);
	world_end(&w);
}

/* What a leader saw missing before it lost the lock does not count when it leads again. */
static void test_leads_again(void **state)
{
	CLEANUP_STR char *lock = key_lock("scheduler");
	struct world w;

	(void)state;
	start(&w);
	world_run(&w, 1000);
	world_set_alive(&w, "h1", false);
	world_run(&w, 5000);
	/* It is about to look at the host, and loses the lock first. */
	world_put(&w, lock, "{}");
	CLEANUP_STR char *key = key_host(&w.conf.keys, "h1");
	CLEANUP_STR char *host = world_get(&w, key);
	world_put(&w, key, host);
	world_run(&w, 30000);
	assert_false(sched_is_leader(w.sched));
	world_del(&w, lock);
	world_run(&w, 25000);
	assert_true(sched_is_leader(w.sched));
	world_assert_host(&w, "h1", HOST_ALIVE);
	world_end(&w);
}

/* Whoever is to remove the disks in a shared store can be found by the VM's entry: the API
 * looks there for the open request, and would order the deletion a second time. */
static void test_who_deletes(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world w;

	(void)state;
	start(&w);
	world_put_store(&w, "c", "\"type\":\"ceph\"");
	CLEANUP_STR char *key = key_host(&w.conf.keys, "h2");
	world_put(&w, key,
		"{\"hostname\":\"h2\",\"stores\":[{\"name\":\"c\",\"total_gib\":-1,"
		"\"free_gib\":-1}]}");
	world_set_alive(&w, "h2", true);
	world_run(&w, 1000);
	world_put_vm(
		&w, &(struct world_vm){ "a", .status = "REQUESTED_DELETE", .store = "c",
			    .more = ",\"last_start\":\"2026-11-23T04:00:00Z\"" });
	world_request(&w, "a", "DeleteVM");
	world_run(&w, 1000);
	world_vm_at(&w, "a", &vm);
	assert_string_equal(vm.disk_host, "h2");
	CLEANUP_STR char *request = key_request_host(&w.conf.keys, "h2", vm.uuid);
	assert_true(world_has(&w, request));
	world_end(&w);
}

static int setup(void **state)
{
	(void)state;
	clock_fake_start(WORLD_START_MSEC);
	log_set_sink(quiet, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_placement_of_nobody),
		cmocka_unit_test(test_short_heartbeat),
		cmocka_unit_test(test_leads_again),
		cmocka_unit_test(test_who_deletes),
	};

	mem_init();
	return cmocka_run_group_tests(tests, setup, NULL);
}
