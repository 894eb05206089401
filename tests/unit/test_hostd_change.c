/* ChangeVM carried out by the whole of ucloud-host without threads, between a fake etcd, a fake
 * hypervisor and fake disks; this file plays the scheduler and the API. */
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

/* ------------------------------------------------------------------ ordering */

/* The VM runs with its one disk. */
static void run_vm(struct world *w)
{
	put_vm(w, VM, "SCHEDULED");
	put_request(w, REQ_START_VM, 0);
	settle(w);
	assert_status(w, VM_RUNNING);
}

/* It is STOPPED, its disk is here. */
static void stop_vm(struct world *w)
{
	run_vm(w);
	edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	put_request(w, REQ_STOP_VM, 0);
	pass(w, 1000);
	assert_status(w, VM_STOPPED);
}

static void add_use(struct world *w, int64_t disk_gib, int64_t snapshots)
{
	CLEANUP_STR char *text = value_of(w, key_user("users", "joe"));
	CLEANUP(user_done) struct user user = { 0 };
	struct err e = { 0 };

	assert_int_equal(user_parse(text, strlen(text), &user, &e), 0);
	user.use.disk_gib += disk_gib;
	user.use.snapshots += snapshots;
	put(w, key_user("users", "joe"), user_format(&user));
}

static void assert_use(struct world *w, int64_t disk_gib, int64_t snapshots)
{
	CLEANUP_STR char *text = value_of(w, key_user("users", "joe"));
	CLEANUP(user_done) struct user user = { 0 };
	struct err e = { 0 };

	assert_int_equal(user_parse(text, strlen(text), &user, &e), 0);
	assert_int_equal(user.use.disk_gib, disk_gib);
	assert_int_equal(user.use.snapshots, snapshots);
}

static void order(struct world *w, struct vm *vm)
{
	vm->is_changing = true;
	put(w, key_vm(&w->keys, VM), vm_format(vm));
	put_request(w, REQ_CHANGE_VM, clock_unix_sec() + REQUEST_CHANGE_SEC);
	vm_done(vm);
}

static void order_disk(struct world *w, int64_t size_gib)
{
	struct vm vm = get_vm(w, VM);

	vm_add_disk(&vm)->size_gib = size_gib;
	add_use(w, size_gib, 0);
	order(w, &vm);
}

static void order_detach(struct world *w, int64_t index)
{
	struct vm vm = get_vm(w, VM);

	vm_find_disk(&vm, index)->is_leaving = true;
	order(w, &vm);
}

static void order_size(struct world *w, int64_t index, int64_t size_gib)
{
	struct vm vm = get_vm(w, VM);

	add_use(w, size_gib - vm_find_disk(&vm, index)->size_gib, 0);
	vm_find_disk(&vm, index)->size_gib = size_gib;
	order(w, &vm);
}

static void order_snapshot(struct world *w, enum vm_snapshot_state state)
{
	struct vm vm = get_vm(w, VM);
	struct vm_snapshot *s = vm_find_snapshot(&vm, "s");

	if (s == NULL) {
		s = jtab_list_add(&vm_snapshot_jtab, &vm.snapshots);
		s->name = xstrdup("s");
		add_use(w, 0, 1);
	}
	s->state = (int)state;
	order(w, &vm);
}

static void assert_done(struct world *w)
{
	assert_false(is_there(w, key_request_host(&w->keys, HOST, VM)));
}

static void assert_open(struct world *w)
{
	assert_true(is_there(w, key_request_host(&w->keys, HOST, VM)));
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
	struct world *w = *state;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	assert_done(w);
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 3);
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	assert_log(w, "its disks and interfaces are as ordered");
	order_size(w, 1, 8);
	settle(w);
	assert_done(w);
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(8));
	assert_status(w, VM_RUNNING);
	assert_use(w, 18, 0);
}

static void test_detach(void **state)
{
	struct fake_hyper_fault fault = { .detach_msec = 2500 };
	struct world *w = *state;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	settle(w);
	assert_open(w);
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	assert_use(w, 15, 0);
	pass(w, 4000);
	assert_done(w);
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 1);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
	assert_log(w, "disk 1 is detached and removed");
}

/* A guest that does not let go of a disk keeps it. */
static void test_detach_refused(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;
	struct vm vm;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	pass(w, 60000);
	assert_open(w);
	assert_log(w, "the guest does not let go of the disk");
	pass(w, (REQUEST_CHANGE_SEC + 90) * 1000);
	assert_done(w);
	assert_log(w, "disk 1 stays: the guest does not let go");
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	vm = get_vm(w, VM);
	assert_false(vm_has_changes(&vm));
	assert_int_equal(vm.specs.disks.len, 2);
	vm_done(&vm);
	assert_use(w, 15, 0);
}

static void test_no_room(void **state)
{
	struct world *w = *state;
	struct vm vm;

	run_vm(w);
	disk_fake_set_full("local", true);
	order_disk(w, 5);
	settle(w);
	assert_done(w);
	assert_log(w, "disk 1 of 5 GiB is not made: store");
	vm = get_vm(w, VM);
	assert_int_equal(vm.specs.disks.len, 1);
	vm_done(&vm);
	assert_use(w, 10, 0);
	order_size(w, 0, 20);
	settle(w);
	assert_done(w);
	assert_log(w, "disk 0 keeps its 10 GiB");
	assert_use(w, 10, 0);
	assert_status(w, VM_RUNNING);
}

static void test_snapshot(void **state)
{
	struct fake_hyper_fault fault = { .has_agent = true };
	struct world *w = *state;
	struct virt_dom dom;
	struct vm vm;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	order_snapshot(w, SNAPSHOT_CREATING);
	settle(w);
	assert_done(w);
	assert_log(w, "as after a power failure");
	assert_true(has_snapshot(0) && has_snapshot(1));
	assert_true(fake_hyper_get(w->hyper, VM, &dom));
	assert_int_equal(dom.state, VIRT_RUNNING);
	order_snapshot(w, SNAPSHOT_DELETING);
	settle(w);
	assert_done(w);
	assert_false(has_snapshot(0) || has_snapshot(1));
	assert_use(w, 15, 0);
	fake_hyper_set_fault(w->hyper, &fault);
	order_snapshot(w, SNAPSHOT_CREATING);
	settle(w);
	assert_log(w, "of quiesced file systems");
	assert_false(fake_hyper_is_frozen(w->hyper, VM));
	vm = get_vm(w, VM);
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
	struct world *w = *state;
	struct virt_dom dom;

	run_vm(w);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct fake_hyper_fault fault = {
			.has_agent = i == 0, .on_call = die_at, .aux = calls[i]
		};
		const struct fake_hyper_fault none = { 0 };

		fake_hyper_set_fault(w->hyper, &fault);
		order_snapshot(w, SNAPSHOT_CREATING);
		settle(w);
		assert_open(w);
		fake_hyper_set_fault(w->hyper, &none);
		close_host(w);
		open_host(w);
		pass(w, 20000);
		assert_done(w);
		assert_true(has_snapshot(0));
		assert_false(fake_hyper_is_frozen(w->hyper, VM));
		assert_true(fake_hyper_get(w->hyper, VM, &dom));
		assert_int_equal(dom.state, VIRT_RUNNING);
		order_snapshot(w, SNAPSHOT_DELETING);
		pass(w, 2000);
		assert_done(w);
	}
}

/* ------------------------------------------------------------------ what comes between */

/* The guest goes off before it has let go: the disk is removed then, and the rest follows. */
static void test_guest_off(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	settle(w);
	assert_open(w);
	fake_hyper_guest_off(w->hyper, VM);
	pass(w, 2000);
	assert_done(w);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_status(w, VM_STOPPED);
	assert_log(w, "powered off from inside");
	assert_use(w, 10, 0);
}

static void test_machine_restart(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	settle(w);
	close_host(w);
	fake_hyper_reboot(w->hyper);
	open_host(w);
	pass(w, 2000);
	assert_done(w);
	assert_status(w, VM_RUNNING);
	assert_int_equal(fake_hyper_disks(w->hyper, VM), 1);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
}

/* A stop goes before; what it left open is ordered again when it is done. */
static void test_stop_between(void **state)
{
	struct fake_hyper_fault fault = { .keeps_disks = true };
	struct world *w = *state;

	run_vm(w);
	order_disk(w, 5);
	settle(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_detach(w, 1);
	settle(w);
	edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	put_request(w, REQ_STOP_VM, 0);
	pass(w, 2000);
	assert_done(w);
	assert_status(w, VM_STOPPED);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
}

/* The same of what does not show in the entry. */
static void test_stop_before_growing(void **state)
{
	struct fake_hyper_fault fault = { .on_call = die_at, .aux = "resize" };
	struct world *w = *state;

	run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_size(w, 0, 20);
	settle(w);
	assert_open(w);
	edit_vm(w, VM_REQUESTED_SHUTDOWN, VM_WANT_STOPPED);
	put_request(w, REQ_STOP_VM, 0);
	pass(w, 2000);
	assert_done(w);
	assert_status(w, VM_STOPPED);
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
}

/* ------------------------------------------------------------------ it is stopped */

static void test_stopped(void **state)
{
	struct world *w = *state;

	stop_vm(w);
	order_disk(w, 5);
	settle(w);
	assert_done(w);
	assert_int_equal(disk_fake_size("local", VM, 1), GIB(5));
	order_snapshot(w, SNAPSHOT_CREATING);
	settle(w);
	assert_done(w);
	assert_true(has_snapshot(0) && has_snapshot(1));
	order_size(w, 0, 20);
	settle(w);
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
	/* It keeps what was ordered since. */
	order_snapshot(w, SNAPSHOT_RESTORING);
	settle(w);
	assert_done(w);
	assert_log(w, "the disks are as they were in snapshot");
	assert_int_equal(disk_fake_size("local", VM, 0), GIB(20));
	order_detach(w, 1);
	settle(w);
	assert_done(w);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_status(w, VM_STOPPED);
	assert_use(w, 20, 1);
}

/* Passing errors are counted, and tried again; lost answers too. */
static void test_passing(void **state)
{
	struct world *w = *state;

	stop_vm(w);
	disk_fake_fail("local", 2, ERR_UNAVAILABLE);
	order_disk(w, 5);
	settle(w);
	assert_open(w);
	assert_log(w, "trying again");
	pass(w, 10000);
	assert_done(w);
	disk_fake_fail_after("local", 1, ERR_UNAVAILABLE);
	order_detach(w, 1);
	pass(w, 10000);
	assert_done(w);
	assert_int_equal(disk_fake_size("local", VM, 1), -1);
	assert_use(w, 10, 0);
}

/* Nothing is undone by somebody who does not know what is there: that a snapshot is under way,
 * of disks that are open, would not be seen. */
static void test_libvirt_down(void **state)
{
	struct fake_hyper_fault fault = { .is_down = true };
	const struct fake_hyper_fault none = { 0 };
	struct world *w = *state;

	run_vm(w);
	fake_hyper_set_fault(w->hyper, &fault);
	order_snapshot(w, SNAPSHOT_CREATING);
	pass(w, (REQUEST_CHANGE_SEC + 100) * 1000);
	assert_open(w);
	assert_log(w, "\"state\":\"creating\"");
	fake_hyper_set_fault(w->hyper, &none);
	pass(w, 100000);
	assert_done(w);
	assert_log(w, "\"state\":\"ready\"");
	assert_true(has_snapshot(0));
}

static void test_no_snapshot(void **state)
{
	struct world *w = *state;
	struct vm vm;

	stop_vm(w);
	order_snapshot(w, SNAPSHOT_RESTORING);
	settle(w);
	assert_done(w);
	assert_log(w, "\\\"s\\\" is not restored on all disks: no disk has a snapshot");
	vm = get_vm(w, VM);
	assert_false(vm_has_changes(&vm));
	vm_done(&vm);
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

	clock_fake_start(1800000000000);
	log_init("test_hostd_change", LOG_INFO);
	if (getenv("VERBOSE") == NULL)
		log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
