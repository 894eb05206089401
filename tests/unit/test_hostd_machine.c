/* What the whole of ucloud-host makes of its machine, without threads and between fakes: what
 * is there and should perhaps not be, and what is published of it. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/disk/disk_fake.h"
#include "common/model/host.h"
#include "tests/lib/hostd_world.h"

/* A daemon with another vm_prefix must not take all VMs for deleted. */
static void test_entry_missing(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_del(w, key_vm(&w->keys, VM));
	hostd_world_pass(w, 1200 * 1000);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
}

/* The host was declared dead, and is back with its VM running. */
static void test_declared_dead(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_edit_vm(w, VM_KILLED, VM_WANT_RUNNING);
	hostd_world_pass(w, 1200 * 1000); /* nothing tells us: the resync finds it */
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

static void test_placed_elsewhere(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	hostd_world_run_vm(w);
	vm = hostd_world_get_vm(w);
	str_set(&vm.hostname, xstrdup("h2"));
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	hostd_world_del(w, key_placement(HOST, VM));
	hostd_world_settle(w);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	hostd_world_assert_status(w, VM_RUNNING);
}

static void test_foreign(void **state)
{
	struct hostd_world *w = *state;
	struct virt_dom dom;

	fake_hyper_add_foreign(w->hyper, VM, "somebody-elses");
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_ERROR);
	hostd_world_assert_log(w, "not ucloud's");
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.state, VIRT_RUNNING);
}

/* A domain of ours that nothing in etcd knows goes; unless etcd does not know us either. */
static void test_stray_domain(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *host_key = key_host(&w->keys, HOST);
	CLEANUP_STR char *vm_key = key_vm(&w->keys, VM);
	CLEANUP_STR char *placement_key = key_placement(HOST, VM);
	struct err e = { 0 };

	hostd_world_run_vm(w);
	kv_txn_del(t, host_key);
	kv_txn_del(t, vm_key);
	kv_txn_del(t, placement_key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	fake_hyper_reconnect(w->hyper);
	hostd_world_settle(w);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
	hostd_world_put_host(w);
	hostd_world_close(w);
	hostd_world_open(w);
	hostd_world_settle(w);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void make_stray_disk(void)
{
	struct image_store conf = { .name = xstrdup("local"), .type = STORE_FAKE };
	struct disk_spec spec = { .vm_uuid = VM2, .size_gib = 1 };
	struct disk_store *store;
	struct err e = { 0 };

	assert_int_equal(disk_store_open(&conf, &store, &e), 0);
	assert_int_equal(disk_ensure(store, &spec, &e), 0);
	disk_store_close(store);
	free(conf.name);
}

static size_t n_disks(void)
{
	CLEANUP(strv_done) struct strv disks = { 0 };

	disk_fake_disks("local", &disks);
	return disks.len;
}

/* A disk whose VM has no entry is kept for orphan_keep_sec, and forgiven when it appears. */
static void test_stray_disk(void **state)
{
	struct hostd_world *w = *state;

	make_stray_disk();
	hostd_world_close(w);
	hostd_world_open(w);
	hostd_world_pass(w, 3500 * 1000);
	assert_int_equal(n_disks(), 1);
	hostd_world_pass(w, 120 * 1000);
	assert_int_equal(n_disks(), 0);
	/* One whose entry is there, or cannot be read, stays. */
	make_stray_disk();
	hostd_world_put(w, key_vm(&w->keys, VM2), xstrdup("garbage"));
	hostd_world_pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

/* Its disk may be in use by a domain that is not ours. */
static void test_stray_disk_in_use(void **state)
{
	struct hostd_world *w = *state;

	fake_hyper_add_foreign(w->hyper, VM2, "somebody-elses");
	make_stray_disk();
	hostd_world_pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

/* A store that does not know this host may be an empty one: that a VM is not in it says nothing. */
static void test_stray_disk_of_an_unknown_host(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_del(w, key_host(&w->keys, HOST));
	make_stray_disk();
	hostd_world_pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

static void test_garbage(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_put(w, xstrdup(KEY_PLACEMENT HOST "/not-a-uuid"), xstrdup("{}"));
	hostd_world_put(w, key_request_host(&w->keys, HOST, VM2), xstrdup("not json"));
	hostd_world_put(w, key_vm(&w->keys, VM2), xstrdup("[1,2"));
	hostd_world_put(w, key_placement(HOST, VM2), xstrdup("x"));
	hostd_world_settle(w);
	hostd_world_run_vm(w);
	assert_true(hostd_world_has(w, key_request_host(&w->keys, HOST, VM2)));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 1);
}

static void test_inventory(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *text = NULL;
	struct host host = { 0 };
	struct err e = { 0 };
	int64_t rev;

	disk_fake_set_space("local", 1000, 500);
	hostd_world_pass(w, 120 * 1000);
	text = hostd_world_get(w, key_host(&w->keys, HOST));
	assert_int_equal(host_parse(text, strlen(text), &host, &e), 0);
	assert_int_equal(host.cpus, 8);
	assert_int_equal(host.ram_mib, 16384);
	assert_string_equal(host.accel, "tcg");
	assert_int_equal(host_find_store(&host, "local")->free_gib, 500);
	host_done(&host);
	/* A little less is no news. */
	rev = fake_etcd_rev(w->etcd);
	disk_fake_set_space("local", 1000, 492);
	hostd_world_pass(w, 120 * 1000);
	assert_int_equal(fake_etcd_rev(w->etcd), rev);
}

/* An image store that is registered later is noticed at once. */
static void test_new_store(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *text = NULL;

	hostd_world_put(w, key_image_store("second"),
		xstrdup("{\"name\":\"second\",\"type\":\"fake\"}"));
	hostd_world_settle(w);
	text = hostd_world_get(w, key_host(&w->keys, HOST));
	assert_non_null(strstr(text, "\"second\""));
}

/* Not registered: nothing is published, and the registration is noticed at once. */
static void test_unregistered(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *text = NULL;
	struct err e = { 0 };

	hostd_world_del(w, key_host(&w->keys, HOST));
	hostd_world_settle(w);
	assert_int_equal(hostd_health(w->hostd, &e), -1);
	assert_string_equal(e.msg, "this host is not registered");
	hostd_world_put_host(w);
	hostd_world_settle(w);
	text = hostd_world_get(w, key_host(&w->keys, HOST));
	assert_non_null(strstr(text, "16384"));
	assert_int_equal(hostd_health(w->hostd, &e), 0);
}

#define TEST(name)                                                                       \
	cmocka_unit_test_setup_teardown(name, hostd_world_setup, hostd_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_entry_missing),
		TEST(test_declared_dead),
		TEST(test_placed_elsewhere),
		TEST(test_foreign),
		TEST(test_stray_domain),
		TEST(test_stray_disk),
		TEST(test_stray_disk_in_use),
		TEST(test_stray_disk_of_an_unknown_host),
		TEST(test_garbage),
		TEST(test_inventory),
		TEST(test_new_store),
		TEST(test_unregistered),
	};

	hostd_world_init("test_hostd_machine");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
