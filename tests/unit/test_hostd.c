/* VMs carried through their lives by the whole of ucloud-host without threads, between a fake
 * etcd, a fake hypervisor and fake disks; this file plays the scheduler and the API. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/disk/disk_fake.h"
#include "tests/lib/hostd_world.h"

static bool is_placed(struct hostd_world *w)
{
	return hostd_world_has(w, key_placement(HOST, VM));
}

static void test_start(void **state)
{
	struct hostd_world *w = *state;
	struct virt_dom dom;

	hostd_world_run_vm(w);
	assert_false(hostd_world_has_order(w));
	assert_true(is_placed(w));
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.state, VIRT_RUNNING);
	assert_int_equal(dom.boot, 1);
	assert_string_equal(dom.host, HOST);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
	assert_int_equal(disk_fake_n_made("local"), 1);
}

static void test_stop(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_order_stop(w);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_STOPPED);
	assert_false(hostd_world_has_order(w));
	assert_false(is_placed(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	assert_int_equal(disk_fake_n_made("local"), 1);
}

/* The guest does not listen: asked, asked again, turned off. */
static void test_stop_deaf(void **state)
{
	struct hostd_world *w = *state;
	struct fake_hyper_fault fault = { .ignores_shutdown = true };

	hostd_world_run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	hostd_world_order_stop(w);
	hostd_world_pass(w, 59000);
	hostd_world_assert_status(w, VM_REQUESTED_SHUTDOWN);
	hostd_world_pass(w, 2000);
	hostd_world_assert_status(w, VM_STOPPED);
}

static void test_reboot(void **state)
{
	struct hostd_world *w = *state;
	struct fake_hyper_fault slow = { .shutdown_msec = 3000 };
	struct virt_dom dom;
	struct vm vm;

	hostd_world_run_vm(w);
	fake_hyper_set_fault(w->hyper, &slow);
	vm = hostd_world_get_vm(w);
	vm.boot = 2;
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	hostd_world_order(w, REQ_REBOOT_VM, 0);
	hostd_world_pass(w, 1000);
	assert_true(hostd_world_has_order(w));
	/* A daemon that dies in the middle does not do it twice. */
	hostd_world_close(w);
	hostd_world_open(w);
	hostd_world_pass(w, 5000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_RUNNING);
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.boot, 2);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 2);
}

static void test_delete(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *user = NULL;
	CLEANUP(strv_done) struct strv disks = { 0 };

	hostd_world_run_vm(w);
	hostd_world_edit_vm(w, VM_REQUESTED_DELETE, VM_WANT_STOPPED);
	hostd_world_order(w, REQ_DELETE_VM, 0);
	hostd_world_settle(w);
	assert_false(hostd_world_has(w, key_vm(&w->keys, VM)));
	assert_false(hostd_world_has(w, key_vm_name("users", "joe", "web")));
	assert_false(hostd_world_has_order(w));
	assert_false(is_placed(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 0);
	user = hostd_world_get(w, key_user("users", "joe"));
	assert_null(strstr(user, "512"));
}

static void test_delete_stopped(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP(strv_done) struct strv disks = { 0 };

	test_stop(state);
	hostd_world_edit_vm(w, VM_REQUESTED_DELETE, VM_WANT_STOPPED);
	hostd_world_order(w, REQ_DELETE_VM, 0);
	hostd_world_settle(w);
	assert_false(hostd_world_has(w, key_vm(&w->keys, VM)));
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 0);
}

static void test_guest_off(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	hostd_world_run_vm(w);
	assert_true(fake_hyper_guest_off(w->hyper, VM));
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_STOPPED);
	assert_false(is_placed(w));
	hostd_world_assert_log(w, "powered off from inside");
	vm = hostd_world_get_vm(w);
	assert_int_equal(vm.want, VM_WANT_STOPPED);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	vm_done(&vm);
}

/* The daemon was away, and libvirt's news of it are lost. */
static void test_guest_off_unseen(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_close(w);
	assert_true(fake_hyper_guest_off(w->hyper, VM));
	hostd_world_open(w);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_STOPPED);
}

static void test_crash(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *text = NULL;
	struct request req = { 0 };
	struct err e = { 0 };
	struct vm vm;

	hostd_world_run_vm(w);
	assert_true(fake_hyper_crash(w->hyper, VM));
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_KILLED);
	assert_false(is_placed(w));
	vm = hostd_world_get_vm(w);
	assert_int_equal(vm.n_crashes, 1);
	assert_string_equal(vm.hostname, "");
	vm_done(&vm);
	text = hostd_world_get(w, key_request_scheduler(&w->keys, VM));
	assert_int_equal(request_parse(text, strlen(text), &req, &e), 0);
	assert_int_equal(req.type, REQ_SCHEDULE_VM);
	assert_int_equal(req.not_before, clock_unix_sec() + 5);
	request_done(&req);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void test_crash_again_and_again(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	hostd_world_run_vm(w);
	vm = hostd_world_get_vm(w);
	vm.n_crashes = 5;
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	assert_true(fake_hyper_crash(w->hyper, VM));
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_ERROR);
	hostd_world_assert_log(w, "QEMU died 6 times in a row");
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void test_machine_restart(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_close(w);
	fake_hyper_reboot(w->hyper);
	hostd_world_open(w);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_RUNNING);
	hostd_world_assert_log(w, "was restarted");
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 2);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
	/* Not a crash. */
	assert_false(hostd_world_has(w, key_request_scheduler(&w->keys, VM)));
}

/* Nobody ordered that start, so there is no request that could tell why it fails. */
static void test_restart_without_disk(void **state)
{
	struct hostd_world *w = *state;
	int64_t rev;

	hostd_world_run_vm(w);
	hostd_world_close(w);
	fake_hyper_reboot(w->hyper);
	disk_fake_reset();
	hostd_world_open(w);
	hostd_world_pass(w, 5000);
	hostd_world_assert_status(w, VM_KILLED);
	hostd_world_assert_log(
		w, "its disk is not in the image store 'local' on this host");
	rev = fake_etcd_rev(w->etcd);
	hostd_world_pass(w, 600 * 1000);
	/* Said once. */
	assert_int_equal(fake_etcd_rev(w->etcd), rev);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* The heartbeat was away: what became of our VMs meanwhile is looked at when it is back. */
static void test_heartbeat_back(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	hostd_world_edit_vm(w, VM_KILLED, VM_WANT_RUNNING);
	hostd_world_del(w, key_alive(HOST));
	hostd_world_pass(w, 15 * 1000);
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* Somebody tries to delete the image, in vain: VMs that have it start all the same. */
static void test_image_to_be_deleted(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_put(w, key_image(&w->keys, IMAGE),
		xstrdup("{\"uuid\":\"" IMAGE "\",\"name\":\"debian\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"store\":\"local\",\"path\":"
			"\"debian.img\",\"format\":\"raw\",\"status\":\"TO_BE_DELETED\","
			"\"virtual_bytes\":1073741824}"));
	hostd_world_run_vm(w);
}

static void test_image_gone(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_del(w, key_image(&w->keys, IMAGE));
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_ERROR);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "the image " IMAGE " does not exist");
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* A full disk: tried again, said once, until there is room. */
static void test_no_space(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	disk_fake_set_full("local", true);
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_pass(w, 20000);
	hostd_world_assert_status(w, VM_SCHEDULED);
	assert_true(hostd_world_has_order(w));
	hostd_world_assert_log(w, "trying again");
	vm = hostd_world_get_vm(w);
	assert_int_equal(vm.log.len, 1);
	vm_done(&vm);
	disk_fake_set_full("local", false);
	hostd_world_pass(w, 61000);
	hostd_world_assert_status(w, VM_RUNNING);
}

static void test_deadline(void **state)
{
	struct hostd_world *w = *state;

	disk_fake_set_full("local", true);
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, clock_unix_sec() + 30);
	hostd_world_pass(w, 95000);
	hostd_world_assert_status(w, VM_ERROR);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* libvirt is away for a while: no start is tried, and all goes on at once when it is back. */
static void test_libvirt_down(void **state)
{
	struct hostd_world *w = *state;
	struct fake_hyper_fault down = { .is_down = true }, up = { 0 };

	fake_hyper_set_fault(w->hyper, &down);
	hostd_world_put_vm(w, "SCHEDULED", "");
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_pass(w, 120000);
	hostd_world_assert_status(w, VM_SCHEDULED);
	hostd_world_assert_log(w, "libvirt does not answer");
	fake_hyper_set_fault(w->hyper, &up);
	fake_hyper_reconnect(w->hyper);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_RUNNING);
}

static int fail_each_call(void *aux, const char *call)
{
	int *countdown = aux;

	(void)call;
	return --*countdown == 0 ? 2 : 0;
}

/* The k-th answer of libvirt is lost, for each k until none is lost any more: the VM runs in
 * the end, started once. */
static void test_lost_answers(void **state)
{
	struct hostd_world *w = *state;
	int left = 0;

	for (int k = 1; left <= 0; k++) {
		struct fake_hyper_fault fault = { .on_call = fail_each_call,
			.aux = &left };
		struct fake_hyper_fault none = { 0 };
		uint64_t n = fake_hyper_n_starts(w->hyper, VM);

		assert_true(k < 100);
		left = k;
		fake_hyper_set_fault(w->hyper, &fault);
		hostd_world_put_vm(w, "SCHEDULED", "");
		hostd_world_order(w, REQ_START_VM, 0);
		hostd_world_pass(w, 3000);
		fake_hyper_set_fault(w->hyper, &none);
		hostd_world_assert_status(w, VM_RUNNING);
		assert_int_equal(fake_hyper_n_starts(w->hyper, VM), n + 1);
		hostd_world_order_stop(w);
		hostd_world_pass(w, 3000);
		hostd_world_assert_status(w, VM_STOPPED);
		assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	}
}

static int lose_write(void *aux)
{
	int *countdown = aux;

	return --*countdown == 0 ? 2 : 0;
}

/* The same with each answer of etcd. */
static void test_unknown_outcomes(void **state)
{
	struct hostd_world *w = *state;
	int left = 0;

	for (int k = 1; left <= 0; k++) {
		struct kv_fault fault = { .on_write = lose_write, .aux = &left };
		uint64_t n = fake_hyper_n_starts(w->hyper, VM);

		assert_true(k < 100);
		left = k;
		kv_fake_set_fault(w->kv, &fault);
		hostd_world_put_vm(w, "SCHEDULED", "");
		hostd_world_order(w, REQ_START_VM, 0);
		hostd_world_pass(w, 1000);
		hostd_world_assert_status(w, VM_RUNNING);
		assert_int_equal(fake_hyper_n_starts(w->hyper, VM), n + 1);
		assert_true(fake_hyper_crash(w->hyper, VM));
		hostd_world_pass(w, 1000);
		hostd_world_assert_status(w, VM_KILLED);
		assert_false(is_placed(w));
		kv_fake_set_fault(w->kv, NULL);
	}
}

#define TEST(name)                                                                       \
	cmocka_unit_test_setup_teardown(name, hostd_world_setup, hostd_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_start),
		TEST(test_stop),
		TEST(test_stop_deaf),
		TEST(test_reboot),
		TEST(test_delete),
		TEST(test_delete_stopped),
		TEST(test_guest_off),
		TEST(test_guest_off_unseen),
		TEST(test_crash),
		TEST(test_crash_again_and_again),
		TEST(test_machine_restart),
		TEST(test_restart_without_disk),
		TEST(test_heartbeat_back),
		TEST(test_image_to_be_deleted),
		TEST(test_image_gone),
		TEST(test_no_space),
		TEST(test_deadline),
		TEST(test_libvirt_down),
		TEST(test_lost_answers),
		TEST(test_unknown_outcomes),
	};

	hostd_world_init("test_hostd");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
