/* ucloud-host and what a guest finds at its start: its networks, which are waited for, and its
 * boot configuration. Without threads, between fakes; this file plays ucloud-network. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"
#include "ucloud-host/virt_fake.h"

#define HOST  "h1"
#define VM    "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define STRAY "1c6f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a11"
#define NET   "3d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a13"

struct world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv;
	struct fake_hyper *hyper;
	struct virt *virt;
	struct hostd *hostd;
	struct keys keys;
	char *dir, *cd;
};

static void put(struct world *w, char *key, char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	free(key);
	free(value);
}

/* The caller's; NULL when it is not there. */
static char *value_of(struct world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w->admin, key, &pair, NULL, &e), 0);
	free(key);
	return pair.key == NULL ? NULL : xstrdup(pair.value);
}

static struct vm get_vm(struct world *w)
{
	CLEANUP_STR char *text = value_of(w, key_vm(&w->keys, VM));
	struct vm vm = { 0 };
	struct err e = { 0 };

	assert_non_null(text);
	if (vm_parse(text, strlen(text), &vm, &e) < 0)
		fail_msg("%s", e.msg);
	return vm;
}

static void assert_status(struct world *w, enum vm_status want)
{
	CLEANUP(vm_done) struct vm vm = get_vm(w);

	if (vm.status != (int)want)
		fail_msg("%s, not %s", vm_status_names[vm.status], vm_status_names[want]);
}

static int count_lines(struct world *w, const char *part)
{
	CLEANUP(vm_done) struct vm vm = get_vm(w);
	int n = 0;

	for (size_t i = 0; i < vm.log.len; i++) {
		const struct vm_log_line *l = jtab_list_at(&vm_log_jtab, &vm.log, i);

		n += strstr(l->text, part) != NULL;
	}
	return n;
}

static void order_vm(struct world *w, const char *networks, int64_t deadline)
{
	put(w, key_vm(&w->keys, VM),
		xasprintf(
			"{\"uuid\":\"" VM "\",\"name\":\"web\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"specs\":{\"cpu\":1,\"ram_mib\":512,"
			"\"disks\":[{\"size_gib\":10}]},\"store\":\"local\","
			"\"want\":\"running\",\"status\":\"SCHEDULED\","
			"\"hostname\":\"" HOST "\",\"disk_host\":\"" HOST "\",\"boot\":1,"
			"\"networks\":[%s]}",
			networks));
	put(w, key_placement(HOST, VM), xstrdup("{}"));
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(REQ_START_VM, VM, HOST, clock_unix_sec(), deadline));
}

#define NIC "{\"network\":\"" NET "\",\"mac\":\"52:54:00:00:00:01\"}"

static void put_net(struct world *w)
{
	put(w, key_network(&w->keys, NET),
		xstrdup("{\"uuid\":\"" NET "\",\"name\":\"lan\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"ipam\":\"auto\",\"status\":"
			"\"ACTIVE\",\"vni\":5,\"prefix\":\"2001:db8:1::/64\"}"));
}

static void put_file(struct world *w, const char *name, const char *text)
{
	CLEANUP_STR char *path = xasprintf("%s%s", w->dir, name);

	test_write_file(path, text);
}

static void make_dir(struct world *w, const char *name)
{
	CLEANUP_STR char *path = xasprintf("%s%s", w->dir, name);

	test_mkdir(path);
}

static void open_host(struct world *w)
{
	struct hostd_conf conf = { .host = HOST,
		.keys = &w->keys,
		.state_dir = w->dir,
		.sysfs = w->dir,
		.resync_sec = 60 };
	struct err e = { 0 };

	w->kv = kv_fake_open(w->etcd);
	assert_int_equal(virt_open("fake:" HOST, NULL, NULL, &w->virt, &e), 0);
	w->hostd = hostd_new(w->kv, w->virt, &conf);
}

static void close_host(struct world *w)
{
	assert_true(hostd_free(w->hostd, false));
	virt_close(w->virt);
	kv_close(w->kv);
}

static void settle(struct world *w)
{
	int n = 0;

	while (hostd_step(w->hostd) || fake_hyper_step(w->hyper))
		if (++n > 5000)
			fail_msg("it never comes to rest");
}

static void pass(struct world *w, int64_t msec)
{
	int64_t end = clock_mono_msec() + msec;

	settle(w);
	while (clock_mono_msec() < end) {
		clock_fake_advance(
			end - clock_mono_msec() < 100 ? end - clock_mono_msec() : 100);
		settle(w);
	}
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	disk_fake_register();
	disk_fake_reset();
	keys_set_defaults(&w->keys);
	w->dir = test_path("host");
	w->cd = xasprintf("%s/nocloud/" VM ".iso", w->dir);
	test_mkdir(w->dir);
	make_dir(w, "/nocloud");
	make_dir(w, "/class");
	make_dir(w, "/class/net");
	w->etcd = fake_etcd_new();
	w->admin = kv_fake_open(w->etcd);
	w->hyper = fake_hyper_new(HOST, 8, 16384);
	put(w, key_host(&w->keys, HOST),
		xstrdup("{\"hostname\":\"" HOST "\",\"status\":\"REGISTERED\"}"));
	put(w, key_image_store("local"),
		xstrdup("{\"name\":\"local\",\"type\":\"fake\"}"));
	open_host(w);
	settle(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	close_host(w);
	kv_close(w->admin);
	fake_hyper_free(w->hyper);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
	disk_fake_reset();
	test_remove(w->dir);
	free(w->dir);
	free(w->cd);
	free(w);
	return 0;
}

/* ------------------------------------------------------------------ tests */

#define NOT_READY                                                                        \
	"network lan is not ready on this host: is ucloud-network running there?"

/* It is waited for, said once, and then it goes on at once. */
static void test_not_ready(void **state)
{
	struct world *w = *state;

	put_net(w);
	order_vm(w, NIC, 0);
	pass(w, 1000);
	assert_status(w, VM_SCHEDULED);
	assert_int_equal(count_lines(w, NOT_READY), 0);
	pass(w, 60000);
	assert_int_equal(count_lines(w, NOT_READY), 1);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	assert_int_equal(access(w->cd, F_OK), -1);
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", "\n");
	pass(w, 10000);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	pass(w, 2500);
	assert_status(w, VM_RUNNING);
	assert_int_equal(count_lines(w, NOT_READY), 1);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* The usual case: the network is up a moment later, and nobody hears of it. */
static void test_soon(void **state)
{
	struct world *w = *state;

	put_net(w);
	order_vm(w, NIC, 0);
	pass(w, 500);
	assert_status(w, VM_SCHEDULED);
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	pass(w, 200);
	assert_status(w, VM_RUNNING);
	assert_int_equal(count_lines(w, "not ready"), 0);
}

/* A network that never comes is the reason of the ERROR. */
static void test_never(void **state)
{
	struct world *w = *state;

	put_net(w);
	order_vm(w, NIC, clock_unix_sec() + 30);
	pass(w, 35000);
	assert_status(w, VM_ERROR);
	assert_int_equal(count_lines(w, "in time: " NOT_READY), 1);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* ------------------------------------------------------------------ while it runs */

#define MAC  "52:54:00:00:00:01"
#define MAC2 "52:54:00:00:00:02"
#define NOT_BEFORE                                                                       \
	"interface " MAC2 " is there, but not attached before the VM's next start: "

/* It runs with one interface. */
static void run_vm(struct world *w)
{
	put_net(w);
	make_dir(w, "/class/net/ucb5");
	put_file(w, "/class/net/ucb5/ifalias", NET "\n");
	order_vm(w, NIC, 0);
	pass(w, 500);
	assert_status(w, VM_RUNNING);
}

static void put_ports(struct world *w, const struct vm *vm)
{
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		put(w, key_port(nic->network, nic->mac), vm_port_format(vm, i));
	}
}

static void order_change(struct world *w, struct vm *vm)
{
	vm->is_changing = true;
	put_ports(w, vm);
	put(w, key_vm(&w->keys, VM), vm_format(vm));
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(REQ_CHANGE_VM, VM, HOST, clock_unix_sec(),
			clock_unix_sec() + REQUEST_CHANGE_SEC));
}

#define NET2 "4d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a14"

static void order_attach(struct world *w)
{
	CLEANUP(vm_done) struct vm vm = get_vm(w);
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm.networks);

	nic->network = xstrdup(NET2);
	nic->mac = xstrdup(MAC2);
	put(w, key_network(&w->keys, NET2),
		xstrdup("{\"uuid\":\"" NET2 "\",\"name\":\"back\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"ipam\":\"none\",\"status\":"
			"\"ACTIVE\",\"vni\":6}"));
	order_change(w, &vm);
}

static void order_detach(struct world *w, const char *mac)
{
	CLEANUP(vm_done) struct vm vm = get_vm(w);

	vm_find_nic(&vm, mac)->is_leaving = true;
	order_change(w, &vm);
}

static void make_bridge(struct world *w)
{
	make_dir(w, "/class/net/ucb6");
	put_file(w, "/class/net/ucb6/ifalias", NET2 "\n");
}

/* Of an interface; -1: it has no port. */
static int port_index(struct world *w, const char *net, const char *mac)
{
	CLEANUP_STR char *text = value_of(w, key_port(net, mac));
	const char *index = text ? strstr(text, "\"index\":") : NULL;

	return index ? index[8] - '0' : -1;
}

static bool is_open(struct world *w)
{
	CLEANUP_STR char *text = value_of(w, key_request_host(&w->keys, HOST, VM));

	return text != NULL;
}

/* Which the domain has: bit 0 the first one, bit 1 the second. */
static unsigned nics_of(struct world *w)
{
	CLEANUP(strv_done) struct strv macs = { 0 };

	fake_hyper_nics(w->hyper, VM, &macs);
	return (strv_has(&macs, MAC) ? 1U : 0) | (strv_has(&macs, MAC2) ? 2U : 0);
}

static bool has_nic(struct world *w, const char *mac)
{
	CLEANUP(vm_done) struct vm vm = get_vm(w);

	return vm_find_nic(&vm, mac) != NULL;
}

#define BACK_NOT_READY                                                                   \
	"network back is not ready on this host: is ucloud-network running there?"

/* Its network is waited for, as at a start; the guest runs on meanwhile. */
static void test_attach(void **state)
{
	struct world *w = *state;

	run_vm(w);
	order_attach(w);
	pass(w, 2000);
	assert_true(is_open(w));
	assert_int_equal(count_lines(w, BACK_NOT_READY), 0);
	pass(w, 20000);
	assert_int_equal(count_lines(w, BACK_NOT_READY), 1);
	assert_int_equal(nics_of(w), 1);
	make_bridge(w);
	pass(w, 2500);
	assert_false(is_open(w));
	assert_int_equal(nics_of(w), 3);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	assert_int_equal(count_lines(w, "its disks and interfaces are as ordered"), 1);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
	assert_status(w, VM_RUNNING);
}

/* It stays in the entry, and comes with the next start. */
static void test_attach_never(void **state)
{
	struct world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	run_vm(w);
	order_attach(w);
	pass(w, (REQUEST_CHANGE_SEC - 10) * 1000);
	assert_true(is_open(w));
	pass(w, 20000);
	assert_false(is_open(w));
	assert_int_equal(count_lines(w, NOT_BEFORE BACK_NOT_READY), 1);
	assert_int_equal(nics_of(w), 1);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	vm = get_vm(w);
	assert_false(vm_has_changes(&vm));
	make_bridge(w);
	fake_hyper_crash(w->hyper, VM);
	pass(w, 1000);
	assert_status(w, VM_KILLED);
	vm_done(&vm);
	vm = get_vm(w);
	str_set(&vm.hostname, xstrdup(HOST));
	vm_move(&vm, VM_SCHEDULED);
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	put(w, key_placement(HOST, VM), xstrdup("{}"));
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(REQ_START_VM, VM, HOST, clock_unix_sec(), 0));
	pass(w, 1000);
	assert_status(w, VM_RUNNING);
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
	struct world *w = *state;

	run_vm(w);
	make_bridge(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_attach(w);
	pass(w, 3000);
	assert_true(is_open(w));
	fake_hyper_set_fault(w->hyper, &none);
	pass(w, 20000);
	assert_false(is_open(w));
	assert_int_equal(nics_of(w), 3);
}

static void attach_second(struct world *w)
{
	run_vm(w);
	make_bridge(w);
	order_attach(w);
	pass(w, 1000);
	assert_false(is_open(w));
	assert_int_equal(nics_of(w), 3);
}

/* The port stays until the guest has let go, and goes with the entry's interface. */
static void test_detach(void **state)
{
	struct fake_hyper_fault fault = { .detach_msec = 2500 };
	struct world *w = *state;

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC);
	pass(w, 1000);
	assert_true(is_open(w));
	assert_int_equal(port_index(w, NET, MAC), 0);
	pass(w, 4000);
	assert_false(is_open(w));
	assert_int_equal(nics_of(w), 2);
	assert_false(has_nic(w, MAC));
	assert_int_equal(port_index(w, NET, MAC), -1);
	assert_int_equal(port_index(w, NET2, MAC2), 0);
	assert_int_equal(count_lines(w, "interface " MAC " is detached"), 1);
}

static void test_detach_refused(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC2);
	pass(w, 60000);
	assert_true(is_open(w));
	assert_int_equal(
		count_lines(w, "trying again") +
			count_lines(w, "the guest does not let go of the interface"),
		2);
	pass(w, (REQUEST_CHANGE_SEC + 90) * 1000);
	assert_false(is_open(w));
	assert_int_equal(
		count_lines(w, "interface " MAC2 " stays: the guest does not"), 1);
	assert_int_equal(nics_of(w), 3);
	assert_int_equal(port_index(w, NET2, MAC2), 1);
	vm = get_vm(w);
	assert_false(vm_has_changes(&vm));
	assert_int_equal(vm.networks.len, 2);
}

/* The guest goes off before it has let go: the rest is done at rest. */
static void test_guest_off(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;

	attach_second(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, MAC);
	settle(w);
	assert_true(is_open(w));
	fake_hyper_guest_off(w->hyper, VM);
	pass(w, 2000);
	assert_false(is_open(w));
	assert_status(w, VM_STOPPED);
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
	struct world *w = *state;

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
		settle(w);
		assert_true(is_open(w));
		assert_int_equal(nics_of(w), i == 0 ? 3 : 1);
		close_host(w);
		fake_hyper_set_fault(w->hyper, &none);
		open_host(w);
		pass(w, 20000);
		assert_false(is_open(w));
		assert_int_equal(nics_of(w), i == 0 ? 3 : 1);
		assert_int_equal(has_nic(w, MAC2), i == 0);
		assert_int_equal(port_index(w, NET2, MAC2), i == 0 ? 1 : -1);
	}
}

/* A stop goes before an attach whose network is waited for. */
static void test_stop_between(void **state)
{
	struct world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	run_vm(w);
	order_attach(w);
	pass(w, 1000);
	vm = get_vm(w);
	vm_move(&vm, VM_REQUESTED_SHUTDOWN);
	vm.want = VM_WANT_STOPPED;
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(REQ_STOP_VM, VM, HOST, clock_unix_sec(), 0));
	pass(w, 3000);
	assert_false(is_open(w));
	assert_status(w, VM_STOPPED);
	assert_true(has_nic(w, MAC2));
	vm_done(&vm);
	vm = get_vm(w);
	assert_false(vm_has_changes(&vm));
}

/* A VM without networks has a host name all the same. What was on its CD does not stay here
 * without it. */
static void test_cd(void **state)
{
	struct world *w = *state;
	CLEANUP(vm_done) struct vm vm = { 0 };

	order_vm(w, "", 0);
	settle(w);
	assert_status(w, VM_RUNNING);
	assert_int_equal(access(w->cd, F_OK), 0);
	vm = get_vm(w);
	vm_move(&vm, VM_REQUESTED_SHUTDOWN);
	vm.want = VM_WANT_STOPPED;
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(REQ_STOP_VM, VM, HOST, clock_unix_sec(), 0));
	settle(w);
	assert_status(w, VM_STOPPED);
	assert_int_equal(access(w->cd, F_OK), -1);
}

/* What a VM that is not here has left behind goes; what belongs to one that runs does not. */
static void test_sweep(void **state)
{
	struct world *w = *state;
	CLEANUP_STR char *stray = xasprintf("%s/nocloud/" STRAY ".iso", w->dir);

	order_vm(w, "", 0);
	settle(w);
	test_write_file(stray, "x");
	pass(w, 130000);
	assert_int_equal(access(stray, F_OK), -1);
	assert_int_equal(access(w->cd, F_OK), 0);
	assert_status(w, VM_RUNNING);
}

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

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

	clock_fake_start(1800000000000);
	log_init("test_hostd_nets", LOG_INFO);
	if (getenv("VERBOSE") == NULL)
		log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
