/* ucloud-host and what a guest finds at its start: its networks, which are waited for, and its
 * boot configuration. Without threads, between fakes; this file plays ucloud-network. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/lib/hostd_world.h"
#include "tests/lib/test_util.h"

#define NET "3d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a13"

static int count_lines(struct hostd_world *w, const char *part)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);
	int n = 0;

	for (size_t i = 0; i < vm.log.len; i++) {
		const struct vm_log_line *l = jtab_list_at(&vm_log_jtab, &vm.log, i);

		n += strstr(l->text, part) != NULL;
	}
	return n;
}

static void order_vm(struct hostd_world *w, const char *networks, int64_t deadline)
{
	hostd_world_put_vm(w, "SCHEDULED", networks);
	hostd_world_order(w, REQ_START_VM, deadline);
}

#define NIC "{\"network\":\"" NET "\",\"mac\":\"52:54:00:00:00:01\"}"

static void put_net(struct hostd_world *w)
{
	hostd_world_put(w, key_network(&w->keys, NET),
		xstrdup("{\"uuid\":\"" NET "\",\"name\":\"lan\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"ipam\":\"auto\",\"status\":"
			"\"ACTIVE\",\"vni\":5,\"prefix\":\"2001:db8:1::/64\"}"));
}

static void put_file(struct hostd_world *w, const char *name, const char *text)
{
	CLEANUP_STR char *path = xasprintf("%s%s", w->dir, name);

	test_write_file(path, text);
}

static void make_dir(struct hostd_world *w, const char *name)
{
	CLEANUP_STR char *path = xasprintf("%s%s", w->dir, name);

	test_mkdir(path);
}

static int setup(void **state)
{
	struct hostd_world *w = hostd_world_new();

	w->resync_sec = 60;
	w->step_msec = 100;
	w->dir = test_path("host");
	test_mkdir(w->dir);
	make_dir(w, "/nocloud");
	make_dir(w, "/class");
	make_dir(w, "/class/net");
	hostd_world_open(w);
	hostd_world_settle(w);
	*state = w;
	return 0;
}

/* The boot configuration that VM's CD has. */
static bool has_cd(struct hostd_world *w)
{
	CLEANUP_STR char *path = xasprintf("%s/nocloud/" VM ".iso", w->dir);

	return access(path, F_OK) == 0;
}

/* ------------------------------------------------------------------ tests */

#define NOT_READY                                                                        \
	"network lan is not ready on this host: is ucloud-network running there?"

/* It is waited for, said once, and then it goes on at once. */
static void test_not_ready(void **state)
{
	struct hostd_world *w = *state;

	put_net(w);
	order_vm(w, NIC, 0);
	hostd_world_pass(w, 1000);
	hostd_world_assert_status(w, VM_SCHEDULED);
	assert_int_equal(count_lines(w, NOT_READY), 0);
	hostd_world_pass(w, 60000);
	assert_int_equal(count_lines(w, NOT_READY), 1);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	assert_false(has_cd(w));
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", "\n");
	hostd_world_pass(w, 10000);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	hostd_world_pass(w, 2500);
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(count_lines(w, NOT_READY), 1);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* The usual case: the network is up a moment later, and nobody hears of it. */
static void test_soon(void **state)
{
	struct hostd_world *w = *state;

	put_net(w);
	order_vm(w, NIC, 0);
	hostd_world_pass(w, 500);
	hostd_world_assert_status(w, VM_SCHEDULED);
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	hostd_world_pass(w, 200);
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(count_lines(w, "not ready"), 0);
}

/* A network that never comes is the reason of the ERROR. */
static void test_never(void **state)
{
	struct hostd_world *w = *state;

	put_net(w);
	order_vm(w, NIC, clock_unix_sec() + 30);
	hostd_world_pass(w, 35000);
	hostd_world_assert_status(w, VM_ERROR);
	assert_int_equal(count_lines(w, "in time: " NOT_READY), 1);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* ------------------------------------------------------------------ while it runs */

#define MAC  "52:54:00:00:00:01"
#define MAC2 "52:54:00:00:00:02"
#define NOT_BEFORE                                                                       \
	"interface " MAC2 " is there, but not attached before the VM's next start: "

/* It runs with one interface. */
static void run_vm(struct hostd_world *w)
{
	put_net(w);
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	order_vm(w, NIC, 0);
	hostd_world_pass(w, 500);
	hostd_world_assert_status(w, VM_RUNNING);
}

static void put_ports(struct hostd_world *w, const struct vm *vm)
{
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		hostd_world_put(
			w, key_port(nic->network, nic->mac), vm_port_format(vm, i));
	}
}

static void order_change(struct hostd_world *w, struct vm *vm)
{
	vm->is_changing = true;
	put_ports(w, vm);
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(vm));
	hostd_world_order(w, REQ_CHANGE_VM, clock_unix_sec() + REQUEST_CHANGE_SEC);
}

#define NET2 "4d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a14"

static void order_attach(struct hostd_world *w)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm.networks);

	nic->network = xstrdup(NET2);
	nic->mac = xstrdup(MAC2);
	hostd_world_put(w, key_network(&w->keys, NET2),
		xstrdup("{\"uuid\":\"" NET2 "\",\"name\":\"back\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"ipam\":\"none\",\"status\":"
			"\"ACTIVE\",\"vni\":6}"));
	order_change(w, &vm);
}

static void order_detach(struct hostd_world *w, const char *mac)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);

	vm_find_nic(&vm, mac)->is_leaving = true;
	order_change(w, &vm);
}

static void make_bridge(struct hostd_world *w)
{
	make_dir(w, "/class/net/ucb6");
	put_file(w, "/class/net/ucb6/ifalias", NET2 "\n");
}

/* Of an interface; -1: it has no port. */
static int port_index(struct hostd_world *w, const char *net, const char *mac)
{
	CLEANUP_STR char *text = hostd_world_get(w, key_port(net, mac));
	const char *index = text ? strstr(text, "\"index\":") : NULL;

	return index ? index[8] - '0' : -1;
}

/* Which the domain has: bit 0 the first one, bit 1 the second. */
static unsigned nics_of(struct hostd_world *w)
{
	CLEANUP(strv_done) struct strv macs = { 0 };

	fake_hyper_nics(w->hyper, VM, &macs);
	return (strv_has(&macs, MAC) ? 1U : 0) | (strv_has(&macs, MAC2) ? 2U : 0);
}

static bool has_nic(struct hostd_world *w, const char *mac)
{
	CLEANUP(vm_done) struct vm vm = hostd_world_get_vm(w);

	return vm_find_nic(&vm, mac) != NULL;
}

#define BACK_NOT_READY                                                                   \
	"network back is not ready on this host: is ucloud-network running there?"

/* Its network is waited for, as at a start; the guest runs on meanwhile. */
static void test_attach(void **state)
{
	struct hostd_world *w = *state;

	run_vm(w);
	order_attach(w);
	hostd_world_pass(w, 2000);
	assert_true(hostd_world_has_order(w));
	assert_int_equal(count_lines(w, BACK_NOT_READY), 0);
	hostd_world_pass(w, 20000);
	assert_int_equal(count_lines(w, BACK_NOT_READY), 1);
	assert_int_equal(nics_of(w), 1);
	make_bridge(w);
	hostd_world_pass(w, 2500);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(nics_of(w), 3);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	assert_int_equal(count_lines(w, "its disks and interfaces are as ordered"), 1);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
	hostd_world_assert_status(w, VM_RUNNING);
}

/* It stays in the entry, and comes with the next start. */
static void test_attach_never(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	run_vm(w);
	order_attach(w);
	hostd_world_pass(w, (REQUEST_CHANGE_SEC - 10) * 1000);
	assert_true(hostd_world_has_order(w));
	hostd_world_pass(w, 20000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(count_lines(w, NOT_BEFORE BACK_NOT_READY), 1);
	assert_int_equal(nics_of(w), 1);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	vm = hostd_world_get_vm(w);
	assert_false(vm_has_changes(&vm));
	make_bridge(w);
	fake_hyper_crash(w->hyper, VM);
	hostd_world_pass(w, 1000);
	hostd_world_assert_status(w, VM_KILLED);
	vm_done(&vm);
	vm = hostd_world_get_vm(w);
	str_set(&vm.hostname, xstrdup(HOST));
	vm_move(&vm, VM_SCHEDULED);
	hostd_world_put(w, key_vm(&w->keys, VM), vm_format(&vm));
	hostd_world_put(w, key_placement(HOST, VM), xstrdup("{}"));
	hostd_world_order(w, REQ_START_VM, 0);
	hostd_world_pass(w, 1000);
	hostd_world_assert_status(w, VM_RUNNING);
	assert_int_equal(nics_of(w), 3);
}

static int refuse_attach(void *aux, const char *call)
{
	(void)aux;
	return strcmp(call, "nic-attach") == 0 ? 1 : 0;
}

/* libvirt fails, for a while: tried again. */
static void test_attach_again(void **state)
{
	struct fake_hyper_fault fault = { .on_call = refuse_attach };
	const struct fake_hyper_fault none = { 0 };
	struct hostd_world *w = *state;

	run_vm(w);
	make_bridge(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_attach(w);
	hostd_world_pass(w, 3000);
	assert_true(hostd_world_has_order(w));
	fake_hyper_set_fault(w->hyper, &none);
	hostd_world_pass(w, 20000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(nics_of(w), 3);
}

static void attach_second(struct hostd_world *w)
{
	run_vm(w);
	make_bridge(w);
	order_attach(w);
	hostd_world_pass(w, 1000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(nics_of(w), 3);
}

/* The port stays until the guest has let go, and goes with the entry's interface. */
static void test_detach(void **state)
{
	struct fake_hyper_fault fault = { .detach_msec = 2500 };
	struct hostd_world *w = *state;

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC);
	hostd_world_pass(w, 1000);
	assert_true(hostd_world_has_order(w));
	assert_int_equal(port_index(w, NET, MAC), 0);
	hostd_world_pass(w, 4000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(nics_of(w), 2);
	assert_false(has_nic(w, MAC));
	assert_int_equal(port_index(w, NET, MAC), -1);
	assert_int_equal(port_index(w, NET2, MAC2), 0);
	assert_int_equal(count_lines(w, "interface " MAC " is detached"), 1);
}

static void test_detach_refused(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC2);
	hostd_world_pass(w, 60000);
	assert_true(hostd_world_has_order(w));
	assert_int_equal(
		count_lines(w, "trying again") +
			count_lines(w, "the guest does not let go of the interface"),
		2);
	hostd_world_pass(w, (REQUEST_CHANGE_SEC + 90) * 1000);
	assert_false(hostd_world_has_order(w));
	assert_int_equal(
		count_lines(w, "interface " MAC2 " stays: the guest does not"), 1);
	assert_int_equal(nics_of(w), 3);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	vm = hostd_world_get_vm(w);
	assert_false(vm_has_changes(&vm));
	assert_int_equal(vm.networks.len, 2);
}

/* The guest goes off before it has let go: the rest is done at rest. */
static void test_guest_off(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct hostd_world *w = *state;

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC);
	hostd_world_settle(w);
	assert_true(hostd_world_has_order(w));
	fake_hyper_guest_off(w->hyper, VM);
	hostd_world_pass(w, 2000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_STOPPED);
	assert_false(has_nic(w, MAC));
	assert_int_equal(port_index(w, NET, MAC), -1);
	assert_int_equal(port_index(w, NET2, MAC2), 0);
}

/* libvirt does it and does not say so; then ucloud-host dies. */
static int lose_answer(void *aux, const char *call)
{
	return strcmp(call, aux) == 0 ? 2 : 0;
}

static void test_cut_off(void **state)
{
	static char calls[][12] = { "nic-attach", "nic-detach" };
	const struct fake_hyper_fault none = { 0 };
	struct hostd_world *w = *state;

	run_vm(w);
	make_bridge(w);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct fake_hyper_fault fault = { .on_call = lose_answer,
			.aux = calls[i] };

		fake_hyper_set_fault(w->hyper, &fault);
		if (i == 0)
			order_attach(w);
		else
			order_detach(w, MAC2);
		hostd_world_settle(w);
		assert_true(hostd_world_has_order(w));
		assert_int_equal(nics_of(w), i == 0 ? 3 : 1);
		hostd_world_close(w);
		fake_hyper_set_fault(w->hyper, &none);
		hostd_world_open(w);
		hostd_world_pass(w, 20000);
		assert_false(hostd_world_has_order(w));
		assert_int_equal(nics_of(w), i == 0 ? 3 : 1);
		assert_int_equal(has_nic(w, MAC2), i == 0);
		assert_int_equal(port_index(w, NET2, MAC2), i == 0 ? 1 : -1);
	}
}

/* A stop goes before an attach whose network is waited for. */
static void test_stop_between(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	run_vm(w);
	order_attach(w);
	hostd_world_pass(w, 1000);
	hostd_world_order_stop(w);
	hostd_world_pass(w, 3000);
	assert_false(hostd_world_has_order(w));
	hostd_world_assert_status(w, VM_STOPPED);
	assert_true(has_nic(w, MAC2));
	vm = hostd_world_get_vm(w);
	assert_false(vm_has_changes(&vm));
}

/* A VM without networks has a host name all the same. What was on its CD does not stay here
 * without it. */
static void test_cd(void **state)
{
	struct hostd_world *w = *state;

	order_vm(w, "", 0);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_RUNNING);
	assert_true(has_cd(w));
	hostd_world_order_stop(w);
	hostd_world_settle(w);
	hostd_world_assert_status(w, VM_STOPPED);
	assert_false(has_cd(w));
}

/* What a VM that is not here has left behind goes; what belongs to one that runs does not. */
static void test_sweep(void **state)
{
	struct hostd_world *w = *state;
	CLEANUP_STR char *stray = xasprintf("%s/nocloud/" VM2 ".iso", w->dir);

	order_vm(w, "", 0);
	hostd_world_settle(w);
	test_write_file(stray, "x");
	hostd_world_pass(w, 130000);
	assert_int_equal(access(stray, F_OK), -1);
	assert_true(has_cd(w));
	hostd_world_assert_status(w, VM_RUNNING);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, hostd_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_not_ready),
		TEST(test_soon),
		TEST(test_never),
		TEST(test_attach),
		TEST(test_attach_never),
		TEST(test_attach_again),
		TEST(test_detach),
		TEST(test_detach_refused),
		TEST(test_guest_off),
		TEST(test_cut_off),
		TEST(test_stop_between),
		TEST(test_cd),
		TEST(test_sweep),
	};

	hostd_world_init("test_hostd_nets");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
