/*
 * The scheduler with its threads: many orders, changes from outside meanwhile, and a second
 * scheduler that takes over. Worth running with SAN=thread.
 */
#include "tests/lib/test_util.h"
#include "tests/unit/sched_world.h"

#include "common/base/log.h"

#define N_VMS	   300
#define LIMIT_MSEC 60000

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

static void start(struct world *w, int n_hosts)
{
	world_start(w);
	world_put_store(w, "s", "\"type\":\"filesystem\",\"path\":\"/x\"");
	for (int i = 0; i < n_hosts; i++) {
		char name[16];
		snprintf(name, sizeof(name), "h%d", i);
		world_add_host(w, name, 16, 65536);
	}
}

static void order_vms(struct world *w, int from, int to)
{
	for (int i = from; i < to; i++) {
		char name[16];
		snprintf(name, sizeof(name), "vm%d", i);
		world_order_vm(w, &(struct world_vm){ name });
	}
}

struct wanted {
	struct world *w;
	int64_t n;
};

static bool is_placed(void *aux)
{
	struct wanted *want = aux;

	return world_count(want->w, KEY_PLACEMENT) == want->n;
}

static void wait_placed(struct world *w, int64_t n)
{
	struct wanted want = { w, n };

	if (!wait_until(is_placed, &want, LIMIT_MSEC))
		fail_msg("%" PRId64 " placed, not %" PRId64,
			world_count(w, KEY_PLACEMENT), n);
}

static void assert_capacity(struct world *w, int n_hosts)
{
	for (int i = 0; i < n_hosts; i++) {
		CLEANUP_STR char *name = xasprintf("h%d", i);
		CLEANUP_STR char *prefix = key_placements(name);
		assert_in_range(world_count(w, prefix), 0, 16);
	}
}

/* Exactly as many as fit; one more when room appears. */
static void test_places_all(void **state)
{
	struct world w;

	(void)state;
	start(&w, 10);
	sched_start(w.sched);
	order_vms(&w, 0, N_VMS);
	wait_placed(&w, 160);
	assert_capacity(&w, 10);
	world_add_host(&w, "h10", 16, 65536);
	wait_placed(&w, 176);
	assert_capacity(&w, 11);
	sched_stop(w.sched);
	world_end(&w);
}

/* VMs that change while they are being placed. */
static void test_changes_meanwhile(void **state)
{
	struct world w;

	(void)state;
	start(&w, 20);
	sched_start(w.sched);
	order_vms(&w, 0, N_VMS);
	for (int i = 0; i < N_VMS; i += 7) {
		CLEANUP_STR char *name = xasprintf("vm%d", i);
		CLEANUP_STR char *key = world_request_key(&w, name);
		char uuid[UUID_STR_SIZE];
		uuid_of_name(name, uuid);
		CLEANUP_STR char *vm = key_vm(&w.conf.keys, uuid);
		/* As long as it waits: it is stopped, by one transaction as the api's. */
		CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
		struct err e;
		assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
		struct kv_txn *t = kv_txn_new();
		kv_txn_if_rev(t, key, pair.key ? pair.mod_rev : 1);
		kv_txn_del(t, key);
		kv_txn_del(t, vm);
		int rc = kv_txn_commit(w.kv, t, NULL, &e);
		assert_true(rc == 0 || rc == KV_CONFLICT);
		kv_txn_free(t);
	}
	wait_placed(&w, world_count(&w, w.conf.keys.vm));
	assert_capacity(&w, 20);
	sched_stop(w.sched);
	world_end(&w);
}

static void test_second_takes_over(void **state)
{
	struct world w;

	(void)state;
	start(&w, 20);
	struct kv *kv = kv_fake_open(w.etcd);
	struct sched *other = sched_new(kv, &w.conf);
	sched_start(w.sched);
	order_vms(&w, 0, 10);
	wait_placed(&w, 10);
	sched_start(other);
	order_vms(&w, 10, 20);
	wait_placed(&w, 20);
	assert_false(sched_is_leader(other));
	int64_t start_msec = test_now_msec();
	sched_stop(w.sched);
	order_vms(&w, 20, 30);
	wait_placed(&w, 30);
	assert_true(sched_is_leader(other));
	/* The lock was given back: nobody had to wait for the lease to end. */
	assert_in_range(test_now_msec() - start_msec, 0, 15000);
	sched_free(other);
	kv_close(kv);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places_all),
		cmocka_unit_test(test_changes_meanwhile),
		cmocka_unit_test(test_second_takes_over),
	};

	mem_init();
	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests_name("sched_threads", tests, NULL, NULL);
}
