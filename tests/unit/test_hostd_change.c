/* ChangeVM carried out by the whole of ucloud-host without threads, between a fake etcd, a fake
 * hypervisor and fake disks; this file plays the scheduler and the API. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/disk/disk_fake.h"
#include "common/model/user.h"
#include "tests/lib/hostd_world.h"

/* ------------------------------------------------------------------ ordering */

/* It is STOPPED, its disk is here. */
static void stop_vm(struct hostd_world *w)
{
	hostd_world_run_vm(w);
	hostd_world_order_stop(w);
	hostd_world_pass(w, 1000);
	hostd_world_assert_status(w, VM_STOPPED);
}

static void add_use(struct hostd_world *w, int64_t disk_gib, int64_t snapshots)
{
	CLEANUP_STR char *text = hostd_world_get(w, key_user("users", "joe"));
	CLEANUP(user_done) struct user user = { 0 };
	struct err e = { 0 };

	assert_int_equal(user_parse(text, strlen(text), &user, &e), 0);
	user.use.disk_gib += disk_gib;
	user.use.snapshots += snapshots;
	hostd_world_put(w, key_user("users", "joe"), user_format(&user));
}

static void assert_use(struct hostd_world *w, int64_t disk_gib, int64_t snapshots)
{
	CLEANUP_STR char *text = hostd_world_get(w, key_user("users", "joe"));
	CLEANUP(user_done) struct user user = { 0 };
	struct err e = { 0 };

	assert_int_equal(user_parse(text, strlen(text), &user, &e), 0);
	assert_int_equal(user.use.disk_gib, disk_gib);
	assert_int_equal(user.use.snapshots, snapshots);
}

static void order(struct hostd_world *w, struct vm *vm)
{
	vm->is_changing = true;
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(vm));
	hostd_world_order(w, REQ_CHANGE_VM, clock_unix_sec() + REQUEST_CHANGE_SEC);
	vm_done(vm);
}

static void order_disk(struct hostd_world *w, int64_t size_gib)
{
	struct vm vm = hostd_world_get_vm(w);

	vm_add_disk(&vm)->size_gib = size_gib;
	add_use(w, size_gib, 0);
	order(w, &vm);
}

static void order_detach(struct hostd_world *w, int64_t index)
{
	struct vm vm = hostd_world_get_vm(w);

	vm_find_disk(&vm, index)->is_leaving = true;
	order(w, &vm);
}

static void order_size(struct hostd_world *w, int64_t index, int64_t size_gib)
{
	struct vm vm = hostd_world_get_vm(w);

	add_use(w, size_gib - vm_find_disk(&vm, index)->size_gib, 0);
	vm_find_disk(&vm, index)->size_gib = size_gib;
	order(w, &vm);
}

static void order_snapshot(struct hostd_world *w, enum vm_snapshot_state state)
{
	struct vm vm = hostd_world_get_vm(w);
	struct vm_snapshot *s = vm_find_snapshot(&vm, "s");

	if (s == NULL) {
		s = jtab_list_add(&vm_snapshot_jtab, &vm.snapshots);
		s->name = xstrdup("s");
		add_use(w, 0, 1);
	}
	s->state = (int)state;
	order(w, &vm);
}

static bool has_snapshot(unsigned index)
{
	char name[] = "local", path[] = "/";
	struct image_store conf = { .name = name, .type = STORE_FAKE, .path = path };
	CLEANUP(strv_done) struct strv names = { 0 };
	struct disk_store *s;
	struct err e = { 0 };

	assert_int_equal(disk_store_open(&conf, &s, &e), 0);
	assert_int_equal(disk_snapshot_list(s, VM, index, &names, &e), 0);
	disk_store_close(s);
	return strv_has(&names, "s");
}

#define GIB(n) ((int64_t)(n) << 30)

/* ------------------------------------------------------------------ it runs */

static void test_attach_and_grow(void **state)
{
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 3);
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	hostd_world_assert_log(w, "its disks and interfaces are as ordered");
	order_size(w, 1, 8);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(8));
	hostd_world_assert_status(w, VM_RUNNING);
	assert_use(w, 18, 0);
}

static void test_detach(void **state)
{
	struct fake_hyper_fault fault = { .detach_msec = 2500 };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	hostd_world_settle(w);
	assert_true(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	assert_use(w, 15, 0);
	hostd_world_pass(w, 4000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 1);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
	hostd_world_assert_log(w, "disk 1 is detached and removed");
}

/* A guest that does not let go of a disk keeps it. */
static void test_detach_refused(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;
	struct vm vm;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	hostd_world_pass(w, 60000);
	assert_true(hostd_world_has_order(w));
	hostd_world_assert_log(w, "the guest does not let go of the disk");
	hostd_world_pass(w, (REQUEST_CHANGE_SEC + 90) * 1000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "disk 1 stays: the guest does not let go");
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	vm = hostd_world_get_vm(w);
	assert_false(vm_has_changes(&vm));
	assert_int_equal(vm.specs.disks.len, 2);
	vm_done(&vm);
	assert_use(w, 15, 0);
}

static void test_no_room(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	hostd_world_run_vm(w);
	disk_fake_set_full("local", true);
	order_disk(w, 5);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "disk 1 of 5 GiB is not made: store");
	vm = hostd_world_get_vm(w);
	assert_int_equal(vm.specs.disks.len, 1);
	vm_done(&vm);
	assert_use(w, 10, 0);
	order_size(w, 0, 20);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "disk 0 keeps its 10 GiB");
	assert_use(w, 10, 0);
	hostd_world_assert_status(w, VM_RUNNING);
}

static void test_snapshot(void **state)
{
	struct fake_hyper_fault fault = { .has_agent = true };
	struct hostd_world *w = *state;
	struct virt_dom dom;
	struct vm vm;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	order_snapshot(w, SNAPSHOT_CREATING);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "as after a power failure");
	assert_true(has_snapshot(0) && has_snapshot(1));
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.state, VIRT_RUNNING);
	order_snapshot(w, SNAPSHOT_DELETING);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_false(has_snapshot(0) || has_snapshot(1));
	assert_use(w, 15, 0);
	fake_hyper_set_fault(w->hyper, &fault);
	order_snapshot(w, SNAPSHOT_CREATING);
	hostd_world_settle(w);
	hostd_world_assert_log(w, "of quiesced file systems");
	assert_false(fake_hyper_is_frozen(w->hyper, VM));
	vm = hostd_world_get_vm(w);
	assert_true(vm_find_snapshot(&vm, "s")->is_quiesced);
	vm_done(&vm);
	assert_use(w, 15, 1);
}

/* An agent's freeze, or the pause, is over whenever we die. */
static int die_at(void *aux, const char *call)
{
	return strcmp(call, aux) == 0 ? 1 : 0;
}

static void test_snapshot_cut_off(void **state)
{
	static char calls[][12] = { "thaw", "resume", "snapshot" };
	struct hostd_world *w = *state;
	struct virt_dom dom;

	hostd_world_run_vm(w);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct fake_hyper_fault fault = {
			.has_agent = i == 0, .on_call = die_at, .aux = calls[i]
		};
		const struct fake_hyper_fault none = { 0 };

		fake_hyper_set_fault(w->hyper, &fault);
		order_snapshot(w, SNAPSHOT_CREATING);
		hostd_world_settle(w);
		assert_true(hostd_world_has_order(w));
		fake_hyper_set_fault(w->hyper, &none);
		hostd_world_close(w);
		hostd_world_open(w);
		hostd_world_pass(w, 20000);
		assert_false(hostd_world_has_order(w));
		assert_true(has_snapshot(0));
		assert_false(fake_hyper_is_frozen(w->hyper, VM));
		assert_true(fake_hyper_get(w->hyper, VM, &dom));
		assert_int_equal(dom.state, VIRT_RUNNING);
		order_snapshot(w, SNAPSHOT_DELETING);
		hostd_world_pass(w, 2000);
		assert_false(hostd_world_has_order(w));
	}
}

/* ------------------------------------------------------------------ what comes between */

/* The guest goes off before it has let go: the disk is removed then, and the rest follows. */
static void test_guest_off(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	hostd_world_settle(w);
	assert_true(hostd_world_has_order(w));
	fake_hyper_guest_off(w->hyper, VM);
	hostd_world_pass(w, 2000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	hostd_world_assert_status(w, VM_STOPPED);
	hostd_world_assert_log(w, "powered off from inside");
	assert_use(w, 10, 0);
}

static void test_machine_restart(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	hostd_world_settle(w);
	hostd_world_close(w);
	fake_hyper_reboot(w->hyper);
	hostd_world_open(w);
	hostd_world_pass(w, 2000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 1);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
}

/* A stop goes before; what it left open is ordered again when it is done. */
static void test_stop_between(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	hostd_world_settle(w);
	hostd_world_order_stop(w);
	hostd_world_pass(w, 2000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_STOPPED);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
}

/* The same of what does not show in the entry. */
static void test_stop_before_growing(void **state)
{
	struct fake_hyper_fault fault = { .on_call = die_at, .aux = "resize" };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_size(w, 0, 20);
	hostd_world_settle(w);
	assert_true(hostd_world_has_order(w));
	hostd_world_order_stop(w);
	hostd_world_pass(w, 2000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_STOPPED);
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
}

/* ------------------------------------------------------------------ it is stopped */

static void test_stopped(void **state)
{
	struct hostd_world *w = *state;

	stop_vm(w);
	order_disk(w, 5);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	order_snapshot(w, SNAPSHOT_CREATING);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_true(has_snapshot(0) && has_snapshot(1));
	order_size(w, 0, 20);
	hostd_world_settle(w);
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
	/* It keeps what was ordered since. */
	order_snapshot(w, SNAPSHOT_RESTORING);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "the disks are as they were in snapshot");
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
	order_detach(w, 1);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	hostd_world_assert_status(w, VM_STOPPED);
	assert_use(w, 20, 1);
}

/* Passing errors are counted, and tried again; lost answers too. */
static void test_passing(void **state)
{
	struct hostd_world *w = *state;

	stop_vm(w);
	disk_fake_fail("local", 2, ERR_UNAVAILABLE);
	order_disk(w, 5);
	hostd_world_settle(w);
	assert_true(hostd_world_has_order(w));
	hostd_world_assert_log(w, "trying again");
	hostd_world_pass(w, 10000);
	assert_false(hostd_world_has_order(w));
	disk_fake_fail_after("local", 1, ERR_UNAVAILABLE);
	order_detach(w, 1);
	hostd_world_pass(w, 10000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
}

/* Nothing is undone by somebody who does not know what is there: that a snapshot is under way,
 * of disks that are open, would not be seen. */
static void test_libvirt_down(void **state)
{
	struct fake_hyper_fault fault = { .is_down = true };
	const struct fake_hyper_fault none = { 0 };
	struct hostd_world *w = *state;

	hostd_world_run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_snapshot(w, SNAPSHOT_CREATING);
	hostd_world_pass(w, (REQUEST_CHANGE_SEC + 100) * 1000);
	assert_true(hostd_world_has_order(w));
	hostd_world_assert_log(w, "\"state\":\"creating\"");
	fake_hyper_set_fault(w->hyper, &none);
	hostd_world_pass(w, 100000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(w, "\"state\":\"ready\"");
	assert_true(has_snapshot(0));
}

static void test_no_snapshot(void **state)
{
	struct hostd_world *w = *state;
	struct vm vm;

	stop_vm(w);
	order_snapshot(w, SNAPSHOT_RESTORING);
	hostd_world_settle(w);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_log(
		w, "\\\"s\\\" is not restored on all disks: no disk has a snapshot");
	vm = hostd_world_get_vm(w);
	assert_false(vm_has_changes(&vm));
	vm_done(&vm);
}

#define TEST(name)                                                                       \
	cmocka_unit_test_setup_teardown(name, hostd_world_setup, hostd_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_attach_and_grow),
		TEST(test_detach),
		TEST(test_detach_refused),
		TEST(test_no_room),
		TEST(test_snapshot),
		TEST(test_snapshot_cut_off),
		TEST(test_guest_off),
		TEST(test_machine_restart),
		TEST(test_stop_between),
		TEST(test_stop_before_growing),
		TEST(test_stopped),
		TEST(test_passing),
		TEST(test_libvirt_down),
		TEST(test_no_snapshot),
	};

	hostd_world_init("test_hostd_change");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
