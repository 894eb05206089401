/* The whole of ucloud-host without threads, between a fake etcd, a fake hypervisor and fake
 * disks; this file plays the scheduler and the API. */
#include "ucloud-host/hostd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/disk_fake.h"
#include "common/model/host.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "common/store/kv_fake.h"
#include "ucloud-host/virt_fake.h"

#define HOST  "h1"
#define VM    "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define VM2   "1c6f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a11"
#define IMAGE "2d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a12"

struct world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv;
	struct fake_hyper *hyper;
	struct virt *virt;
	struct hostd *hostd;
	struct keys keys;
};

/* ------------------------------------------------------------------ the admin's hand */

static void put(struct world *w, char *key, char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	free(key);
	free(value);
}

static char *value_of(struct world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w->admin, key, &pair, NULL, &e), 0);
	free(key);
	return pair.key == NULL ? NULL : xstrdup(pair.value);
}

static bool is_there(struct world *w, char *key)
{
	CLEANUP_STR char *value = value_of(w, key);

	return value != NULL;
}

static void put_host(struct world *w)
{
	put(w, key_host(&w->keys, HOST),
		xstrdup("{\"hostname\":\"" HOST "\",\"status\":\"REGISTERED\"}"));
}

static void put_vm(struct world *w, const char *uuid, const char *status)
{
	put(w, key_vm(&w->keys, uuid),
		xasprintf("{\"uuid\":\"%s\",\"name\":\"web\",\"owner\":\"joe\","
			  "\"owner_realm\":\"users\",\"specs\":{\"cpu\":1,"
			  "\"ram_mib\":512,\"disks\":[{\"size_gib\":10}]},"
			  "\"image_uuid\":\"" IMAGE "\",\"store\":\"local\","
			  "\"want\":\"running\",\"status\":\"%s\",\"hostname\":\"" HOST
			  "\",\"disk_host\":\"" HOST "\",\"boot\":1}",
			uuid, status));
	put(w, key_placement(HOST, uuid), xstrdup("{}"));
}

static void put_request(struct world *w, enum request_type type, int64_t deadline)
{
	put(w, key_request_host(&w->keys, HOST, VM),
		request_new(type, VM, HOST, clock_unix_sec(), deadline));
}

/* What is stored of VM; the caller's to vm_done(). */
static struct vm get_vm(struct world *w, const char *uuid)
{
	CLEANUP_STR char *text = value_of(w, key_vm(&w->keys, uuid));
	struct vm vm = { 0 };
	struct err e = { 0 };

	assert_non_null(text);
	if (vm_parse(text, strlen(text), &vm, &e) < 0)
		fail_msg("%s", e.msg);
	return vm;
}

static void edit_vm(struct world *w, enum vm_status status, enum vm_want want)
{
	struct vm vm = get_vm(w, VM);

	vm_move(&vm, status);
	vm.want = (int)want;
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
}

static void assert_status(struct world *w, enum vm_status want)
{
	struct vm vm = get_vm(w, VM);

	if (vm.status != (int)want)
		fail_msg("%s, not %s", vm_status_names[vm.status], vm_status_names[want]);
	vm_done(&vm);
}

static void assert_log(struct world *w, const char *part)
{
	CLEANUP_STR char *text = value_of(w, key_vm(&w->keys, VM));

	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in %s", part, text);
}

/* ------------------------------------------------------------------ the world */

static void open_host(struct world *w)
{
	struct hostd_conf conf = { .host = HOST,
		.keys = &w->keys,
		.shutdown_sec = 60,
		.orphan_keep_sec = 3600 };
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

/* Until nothing is to do at this time. */
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
			end - clock_mono_msec() < 500 ? end - clock_mono_msec() : 500);
		settle(w);
	}
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	disk_fake_register();
	disk_fake_reset();
	keys_set_defaults(&w->keys);
	w->etcd = fake_etcd_new();
	w->admin = kv_fake_open(w->etcd);
	w->hyper = fake_hyper_new(HOST, 8, 16384);
	put_host(w);
	put(w, key_image_store("local"),
		xstrdup("{\"name\":\"local\",\"type\":\"fake\"}"));
	put(w, key_image(&w->keys, IMAGE),
		xstrdup("{\"uuid\":\"" IMAGE "\",\"name\":\"debian\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"store\":\"local\",\"path\":"
			"\"debian.img\",\"format\":\"raw\",\"status\":\"CREATED\","
			"\"virtual_bytes\":1073741824}"));
	put(w, key_user("users", "joe"),
		xstrdup("{\"name\":\"joe\",\"realm\":\"users\",\"use\":{\"vms\":1,"
			"\"cpu\":1,\"ram_mib\":512,\"disk_gib\":10}}"));
	put(w, key_vm_name("users", "joe", "web"), xstrdup(VM));
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
	free(w);
	return 0;
}

static void run_vm(struct world *w)
{
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	settle(w);
	assert_status(w, VM_RUNNING);
}

static bool has_request(struct world *w)
{
	return is_there(w, key_request_host(&w->keys, HOST, VM));
}

static bool is_placed(struct world *w)
{
	return is_there(w, key_placement(HOST, VM));
}

/* ------------------------------------------------------------------ tests */

static void test_start(void **state)
{
	struct world *w = *state;
	struct virt_dom dom;

	run_vm(w);
	assert_false(has_request(w));
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
	struct world *w = *state;

	run_vm(w);
	edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	put_request(w, REQ_STOP_VM, 0);
	settle(w);
	assert_status(w, VM_STOPPED);
	assert_false(has_request(w));
	assert_false(is_placed(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	assert_int_equal(disk_fake_n_made("local"), 1);
}

/* The guest does not listen: asked, asked again, turned off. */
static void test_stop_deaf(void **state)
{
	struct world *w = *state;
	struct fake_hyper_fault fault = { .ignores_shutdown = true };

	run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	put_request(w, REQ_STOP_VM, 0);
	pass(w, 59000);
	assert_status(w, VM_REQUESTED_SHUTDOWN);
	pass(w, 2000);
	assert_status(w, VM_STOPPED);
}

static void test_reboot(void **state)
{
	struct world *w = *state;
	struct fake_hyper_fault slow = { .shutdown_msec = 3000 };
	struct virt_dom dom;
	struct vm vm;

	run_vm(w);
	fake_hyper_set_fault(w->hyper, &slow);
	vm = get_vm(w, VM);
	vm.boot = 2;
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	put_request(w, REQ_REBOOT_VM, 0);
	pass(w, 1000);
	assert_true(has_request(w));
	/* A daemon that dies in the middle does not do it twice. */
	close_host(w);
	open_host(w);
	pass(w, 5000);
	assert_false(has_request(w));
	assert_status(w, VM_RUNNING);
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.boot, 2);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 2);
}

static void test_delete(void **state)
{
	struct world *w = *state;
	CLEANUP_STR char *user = NULL;
	CLEANUP(strv_done) struct strv disks = { 0 };

	run_vm(w);
	edit_vm(w, VM_REQUESTED_DELETE, VM_WANT_STOPPED);
	put_request(w, REQ_DELETE_VM, 0);
	settle(w);
	assert_false(is_there(w, key_vm(&w->keys, VM)));
	assert_false(is_there(w, key_vm_name("users", "joe", "web")));
	assert_false(has_request(w));
	assert_false(is_placed(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 0);
	user = value_of(w, key_user("users", "joe"));
	assert_null(strstr(user, "512"));
}

static void test_delete_stopped(void **state)
{
	struct world *w = *state;
	CLEANUP(strv_done) struct strv disks = { 0 };

	test_stop(state);
	edit_vm(w, VM_REQUESTED_DELETE, VM_WANT_STOPPED);
	put_request(w, REQ_DELETE_VM, 0);
	settle(w);
	assert_false(is_there(w, key_vm(&w->keys, VM)));
	disk_fake_disks("local", &disks);
	assert_int_equal(disks.len, 0);
}

static void test_guest_off(void **state)
{
	struct world *w = *state;
	struct vm vm;

	run_vm(w);
	assert_true(fake_hyper_guest_off(w->hyper, VM));
	settle(w);
	assert_status(w, VM_STOPPED);
	assert_false(is_placed(w));
	assert_log(w, "powered off from inside");
	vm = get_vm(w, VM);
	assert_int_equal(vm.want, VM_WANT_STOPPED);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	vm_done(&vm);
}

/* The daemon was away, and libvirt's news of it are lost. */
static void test_guest_off_unseen(void **state)
{
	struct world *w = *state;

	run_vm(w);
	close_host(w);
	assert_true(fake_hyper_guest_off(w->hyper, VM));
	open_host(w);
	settle(w);
	assert_status(w, VM_STOPPED);
}

static void test_crash(void **state)
{
	struct world *w = *state;
	CLEANUP_STR char *text = NULL;
	struct request req = { 0 };
	struct err e = { 0 };
	struct vm vm;

	run_vm(w);
	assert_true(fake_hyper_crash(w->hyper, VM));
	settle(w);
	assert_status(w, VM_KILLED);
	assert_false(is_placed(w));
	vm = get_vm(w, VM);
	assert_int_equal(vm.n_crashes, 1);
	assert_string_equal(vm.hostname, "");
	vm_done(&vm);
	text = value_of(w, key_request_scheduler(&w->keys, VM));
	assert_int_equal(request_parse(text, strlen(text), &req, &e), 0);
	assert_int_equal(req.type, REQ_SCHEDULE_VM);
	assert_int_equal(req.not_before, clock_unix_sec() + 5);
	request_done(&req);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void test_crash_again_and_again(void **state)
{
	struct world *w = *state;
	struct vm vm;

	run_vm(w);
	vm = get_vm(w, VM);
	vm.n_crashes = 5;
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	assert_true(fake_hyper_crash(w->hyper, VM));
	settle(w);
	assert_status(w, VM_ERROR);
	assert_log(w, "QEMU died 6 times in a row");
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void test_machine_restart(void **state)
{
	struct world *w = *state;

	run_vm(w);
	close_host(w);
	fake_hyper_reboot(w->hyper);
	open_host(w);
	settle(w);
	assert_status(w, VM_RUNNING);
	assert_log(w, "was restarted");
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 2);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
	/* Not a crash. */
	assert_false(is_there(w, key_request_scheduler(&w->keys, VM)));
}

/* Nobody ordered that start, so there is no request that could tell why it fails. */
static void test_restart_without_disk(void **state)
{
	struct world *w = *state;
	int64_t rev;

	run_vm(w);
	close_host(w);
	fake_hyper_reboot(w->hyper);
	disk_fake_reset();
	open_host(w);
	pass(w, 5000);
	assert_status(w, VM_KILLED);
	assert_log(w, "its disk is not in the image store 'local' on this host");
	rev = fake_etcd_rev(w->etcd);
	pass(w, 600 * 1000);
	/* Said once. */
	assert_int_equal(fake_etcd_rev(w->etcd), rev);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* The heartbeat was away: what became of our VMs meanwhile is looked at when it is back. */
static void test_heartbeat_back(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_alive(HOST);
	struct err e = { 0 };

	run_vm(w);
	edit_vm(w, VM_KILLED, VM_WANT_RUNNING);
	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	pass(w, 15 * 1000);
	assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

/* Somebody tries to delete the image, in vain: VMs that have it start all the same. */
static void test_image_to_be_deleted(void **state)
{
	struct world *w = *state;

	put(w, key_image(&w->keys, IMAGE),
		xstrdup("{\"uuid\":\"" IMAGE "\",\"name\":\"debian\",\"owner\":\"joe\","
			"\"owner_realm\":\"users\",\"store\":\"local\",\"path\":"
			"\"debian.img\",\"format\":\"raw\",\"status\":\"TO_BE_DELETED\","
			"\"virtual_bytes\":1073741824}"));
	run_vm(w);
}

/* A daemon with another vm_prefix must not take all VMs for deleted. */
static void test_entry_missing(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_vm(&w->keys, VM);
	struct err e = { 0 };

	run_vm(w);
	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	pass(w, 1200 * 1000);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
}

/* The host was declared dead, and is back with its VM running. */
static void test_declared_dead(void **state)
{
	struct world *w = *state;

	run_vm(w);
	edit_vm(w, VM_KILLED, VM_WANT_RUNNING);
	pass(w, 1200 * 1000); /* nothing tells us: the resync finds it */
	assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_n_starts(w->hyper, VM), 1);
}

static void test_placed_elsewhere(void **state)
{
	struct world *w = *state;
	struct vm vm;
	struct err e = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_placement(HOST, VM);

	run_vm(w);
	vm = get_vm(w, VM);
	str_set(&vm.hostname, xstrdup("h2"));
	put(w, key_vm(&w->keys, VM), vm_format(&vm));
	vm_done(&vm);
	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	settle(w);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
	assert_status(w, VM_RUNNING);
}

static void test_image_gone(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_image(&w->keys, IMAGE);
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	settle(w);
	assert_status(w, VM_ERROR);
	assert_false(has_request(w));
	assert_log(w, "the image " IMAGE " does not exist");
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* A full disk: tried again, said once, until there is room. */
static void test_no_space(void **state)
{
	struct world *w = *state;
	struct vm vm;

	disk_fake_set_full("local", true);
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	pass(w, 20000);
	assert_status(w, VM_SCHEDULED);
	assert_true(has_request(w));
	assert_log(w, "trying again");
	vm = get_vm(w, VM);
	assert_int_equal(vm.log.len, 1);
	vm_done(&vm);
	disk_fake_set_full("local", false);
	pass(w, 61000);
	assert_status(w, VM_RUNNING);
}

static void test_deadline(void **state)
{
	struct world *w = *state;

	disk_fake_set_full("local", true);
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, clock_unix_sec() + 30);
	pass(w, 95000);
	assert_status(w, VM_ERROR);
	assert_false(has_request(w));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

/* libvirt is away for a while: no start is tried, and all goes on at once when it is back. */
static void test_libvirt_down(void **state)
{
	struct world *w = *state;
	struct fake_hyper_fault down = { .is_down = true }, up = { 0 };

	fake_hyper_set_fault(w->hyper, &down);
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	pass(w, 120000);
	assert_status(w, VM_SCHEDULED);
	assert_log(w, "libvirt does not answer");
	fake_hyper_set_fault(w->hyper, &up);
	fake_hyper_reconnect(w->hyper);
	settle(w);
	assert_status(w, VM_RUNNING);
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
	struct world *w = *state;
	int left = 0;

	for (int k = 1; left <= 0; k++) {
		struct fake_hyper_fault fault = { .on_call = fail_each_call,
			.aux = &left };
		struct fake_hyper_fault none = { 0 };
		uint64_t n = fake_hyper_n_starts(w->hyper, VM);

		assert_true(k < 100);
		left = k;
		fake_hyper_set_fault(w->hyper, &fault);
		put_vm(w, VM, "SCHEDULED");
		put_request(w, REQ_START_VM, 0);
		pass(w, 3000);
		fake_hyper_set_fault(w->hyper, &none);
		assert_status(w, VM_RUNNING);
		assert_int_equal(fake_hyper_n_starts(w->hyper, VM), n + 1);
		edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
		put_request(w, REQ_STOP_VM, 0);
		pass(w, 3000);
		assert_status(w, VM_STOPPED);
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
	struct world *w = *state;
	int left = 0;

	for (int k = 1; left <= 0; k++) {
		struct kv_fault fault = { .on_write = lose_write, .aux = &left };
		uint64_t n = fake_hyper_n_starts(w->hyper, VM);

		assert_true(k < 100);
		left = k;
		kv_fake_set_fault(w->kv, &fault);
		put_vm(w, VM, "SCHEDULED");
		put_request(w, REQ_START_VM, 0);
		pass(w, 1000);
		assert_status(w, VM_RUNNING);
		assert_int_equal(fake_hyper_n_starts(w->hyper, VM), n + 1);
		assert_true(fake_hyper_crash(w->hyper, VM));
		pass(w, 1000);
		assert_status(w, VM_KILLED);
		assert_false(is_placed(w));
		kv_fake_set_fault(w->kv, NULL);
	}
}

static void test_foreign(void **state)
{
	struct world *w = *state;
	struct virt_dom dom;

	fake_hyper_add_foreign(w->hyper, VM, "somebody-elses");
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	settle(w);
	assert_status(w, VM_ERROR);
	assert_log(w, "not ucloud's");
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.state, VIRT_RUNNING);
}

/* A domain of ours that nothing in etcd knows goes; unless etcd does not know us either. */
static void test_stray_domain(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *host_key = key_host(&w->keys, HOST);
	CLEANUP_STR char *vm_key = key_vm(&w->keys, VM);
	CLEANUP_STR char *placement_key = key_placement(HOST, VM);
	struct err e = { 0 };

	run_vm(w);
	kv_txn_del(t, host_key);
	kv_txn_del(t, vm_key);
	kv_txn_del(t, placement_key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	fake_hyper_reconnect(w->hyper);
	settle(w);
	assert_int_equal(fake_hyper_n_running(w->hyper), 1);
	put_host(w);
	close_host(w);
	open_host(w);
	settle(w);
	assert_int_equal(fake_hyper_n_domains(w->hyper), 0);
}

static void make_stray_disk(struct world *w)
{
	struct image_store conf = { .name = xstrdup("local"), .type = STORE_FAKE };
	struct disk_spec spec = { .vm_uuid = VM2, .size_gib = 1 };
	struct disk_store *store;
	struct err e = { 0 };

	(void)w;
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
	struct world *w = *state;

	make_stray_disk(w);
	close_host(w);
	open_host(w);
	pass(w, 3500 * 1000);
	assert_int_equal(n_disks(), 1);
	pass(w, 120 * 1000);
	assert_int_equal(n_disks(), 0);
	/* One whose entry is there, or cannot be read, stays. */
	make_stray_disk(w);
	put(w, key_vm(&w->keys, VM2), xstrdup("garbage"));
	pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

/* Its disk may be in use by a domain that is not ours. */
static void test_stray_disk_in_use(void **state)
{
	struct world *w = *state;

	fake_hyper_add_foreign(w->hyper, VM2, "somebody-elses");
	make_stray_disk(w);
	pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

/* A store that does not know this host may be an empty one: that a VM is not in it says nothing. */
static void test_stray_disk_of_an_unknown_host(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_host(&w->keys, HOST);
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	make_stray_disk(w);
	pass(w, 3 * 3600 * 1000);
	assert_int_equal(n_disks(), 1);
}

static void test_garbage(void **state)
{
	struct world *w = *state;

	put(w, xstrdup(KEY_PLACEMENT HOST "/not-a-uuid"), xstrdup("{}"));
	put(w, key_request_host(&w->keys, HOST, VM2), xstrdup("not json"));
	put(w, key_vm(&w->keys, VM2), xstrdup("[1,2"));
	put(w, key_placement(HOST, VM2), xstrdup("x"));
	settle(w);
	run_vm(w);
	assert_true(is_there(w, key_request_host(&w->keys, HOST, VM2)));
	assert_int_equal(fake_hyper_n_domains(w->hyper), 1);
}

static void test_inventory(void **state)
{
	struct world *w = *state;
	CLEANUP_STR char *text = NULL;
	struct host host = { 0 };
	struct err e = { 0 };
	int64_t rev;

	disk_fake_set_space("local", 1000, 500);
	pass(w, 120 * 1000);
	text = value_of(w, key_host(&w->keys, HOST));
	assert_int_equal(host_parse(text, strlen(text), &host, &e), 0);
	assert_int_equal(host.cpus, 8);
	assert_int_equal(host.ram_mib, 16384);
	assert_string_equal(host.accel, "tcg");
	assert_int_equal(host_find_store(&host, "local")->free_gib, 500);
	host_done(&host);
	/* A little less is no news. */
	rev = fake_etcd_rev(w->etcd);
	disk_fake_set_space("local", 1000, 492);
	pass(w, 120 * 1000);
	assert_int_equal(fake_etcd_rev(w->etcd), rev);
}

/* An image store that is registered later is noticed at once. */
static void test_new_store(void **state)
{
	struct world *w = *state;
	CLEANUP_STR char *text = NULL;

	put(w, key_image_store("second"),
		xstrdup("{\"name\":\"second\",\"type\":\"fake\"}"));
	settle(w);
	text = value_of(w, key_host(&w->keys, HOST));
	assert_non_null(strstr(text, "\"second\""));
}

/* Not registered: nothing is published, and the registration is noticed at once. */
static void test_unregistered(void **state)
{
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_host(&w->keys, HOST);
	CLEANUP_STR char *text = NULL;
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
	settle(w);
	assert_int_equal(hostd_health(w->hostd, &e), -1);
	assert_string_equal(e.msg, "this host is not registered");
	put_host(w);
	settle(w);
	text = value_of(w, key_host(&w->keys, HOST));
	assert_non_null(strstr(text, "16384"));
	assert_int_equal(hostd_health(w->hostd, &e), 0);
}

static void quiet(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	if (level == LOG_ERROR)
		fail_msg("%s", line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
		TEST(test_entry_missing),
		TEST(test_declared_dead),
		TEST(test_placed_elsewhere),
		TEST(test_image_gone),
		TEST(test_no_space),
		TEST(test_deadline),
		TEST(test_libvirt_down),
		TEST(test_lost_answers),
		TEST(test_unknown_outcomes),
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

	clock_fake_start(1800000000000);
	log_init("test_hostd", LOG_INFO);
	if (getenv("VERBOSE") == NULL)
		log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
