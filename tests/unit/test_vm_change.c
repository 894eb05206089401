/* Orders that change VMs: disks, snapshots. */
#include "ucloud-api/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "tests/lib/orders_world.h"

#define NOW ORDERS_WORLD_NOW

static const struct orders_conf conf = {
	.quota = { .vms = 5,
		.cpu = 8,
		.ram_mib = 8192,
		.disk_gib = 30,
		.snapshots = 2,
		.images = 5 },
	.limits = { .max_cpu = 4, .max_ram_mib = 4096, .max_disk_gib = 25 },
};

static int setup(void **state)
{
	struct orders_world *w = orders_world_new(&conf);

	orders_world_add_store(w, "local");
	orders_world_add_image(w);
	*state = w;
	return 0;
}

static void assert_use(struct orders_world *w, int64_t disk_gib, int64_t snapshots)
{
	struct amounts use = orders_world_use(w, &alice);

	assert_int_equal(use.disk_gib, disk_gib);
	assert_int_equal(use.snapshots, snapshots);
}

/* ---------------------------------------------------------------- disks */

static int attach(struct orders_world *w, const char *text, const char *idem,
	struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_disk_attach(w->orders, &alice, "a", body, idem, NOW, out, e);
}

static int patch(struct orders_world *w, const struct who *who, int64_t index,
	const char *text, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);
	CLEANUP_STR char *ref = xstrdup(who == &admin ? "alice@users:a" : "a");

	return orders_disk_patch(w->orders, who, ref, index, body, NOW, out, e);
}

/* What the host does when it is done: the request goes. */
static void finish(struct orders_world *w, const struct vm *vm)
{
	orders_world_put(w, key_request_host(&w->keys, "h1", vm->uuid), NULL);
}

static void test_attach(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	assert_use(w, 3, 0);
	assert_int_equal(
		attach(w, "{\"size_gib\":5,\"class\":\"hdd\"}", NULL, &vm, &e), 0);
	assert_int_equal(vm.specs.disks.len, 2);
	assert_int_equal(vm_find_disk(&vm, 1)->size_gib, 5);
	assert_string_equal(vm_find_disk(&vm, 1)->class, "hdd");
	assert_true(
		orders_world_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r));
	assert_int_equal(r.type, REQ_CHANGE_VM);
	assert_int_equal(r.deadline, NOW + REQUEST_CHANGE_SEC);
	assert_use(w, 8, 0);
	/* One at a time; and what is asked of a busy one says with what. */
	rc = attach(w, "{\"size_gib\":5}", NULL, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "busy with ChangeVM");
	rc = orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "busy with ChangeVM");
	finish(w, &vm);
	/* Quota and limits. */
	rc = attach(w, "{\"size_gib\":23}", NULL, &vm, &e);
	orders_world_refused(
		rc, &e, ERR_QUOTA, NULL, "23 GiB of disk asked for, 22 of 30 left");
	rc = attach(w, "{\"size_gib\":26}", NULL, &vm, &e);
	orders_world_refused(rc, &e, ERR_INVALID, NULL, "at most 25 GiB");
	rc = attach(w, "{\"size\":26}", NULL, &vm, &e);
	assert_int_equal(rc, -1);
	for (int i = 2; i < VM_DISKS_MAX; i++) {
		assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), 0);
		finish(w, &vm);
	}
	rc = attach(w, "{\"size_gib\":1}", NULL, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "8 disks already");
	assert_use(w, 14, 0);
}

/* A stop goes before; a deletion takes its place. */
static void test_replaced(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_STOP_VM);
	assert_int_equal(orders_vm_delete(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_DELETE_VM);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* Where the request goes: to the host of its disks, or to the scheduler. A start waits. */
static void test_stopped(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	vm.want = VM_WANT_STOPPED;
	str_set(&vm.disk_host, xstrdup("h2"));
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h2", vm.uuid)),
		REQ_CHANGE_VM);
	rc = orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "busy with ChangeVM");
	orders_world_put(w, key_request_host(&w->keys, "h2", vm.uuid), NULL);
	str_set(&vm.disk_host, xstrdup(""));
	vm.last_start = NOW;
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_scheduler(&w->keys, vm.uuid)),
		REQ_CHANGE_VM);
	orders_world_set_vm(w, &vm, VM_ERROR, "");
	assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* It has no disks anywhere yet: nobody needs to do anything. */
static void test_never_placed(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\",\"want\":"
				 "\"stopped\"}",
				 NULL, &vm, &e),
		0);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(patch(w, &alice, 0, "{\"size_gib\":4}", &vm, &e), 0);
	assert_use(w, 9, 0);
	assert_int_equal(orders_disk_detach(w->orders, &alice, "a", 1, NOW, &vm, &e), 0);
	assert_int_equal(vm.specs.disks.len, 1);
	assert_use(w, 4, 0);
	assert_false(orders_world_has(w, key_request_scheduler(&w->keys, vm.uuid)));
	rc = orders_snapshot_create(w->orders, &alice, "a", NULL, NULL, NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "no disks before");
}

static void test_grow(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(patch(w, &alice, 0, "{\"size_gib\":10}", &vm, &e), 0);
	assert_int_equal(vm_find_disk(&vm, 0)->size_gib, 10);
	assert_use(w, 10, 0);
	assert_int_equal(
		patch(w, &alice, 0, "{\"size_gib\":10}", &vm, &e), ORDER_AS_IT_IS);
	rc = patch(w, &alice, 0, "{\"size_gib\":9}", &vm, &e);
	orders_world_refused(rc, &e, ERR_INVALID, NULL, "never shrink");
	finish(w, &vm);
	rc = patch(w, &alice, 1, "{\"size_gib\":9}", &vm, &e);
	orders_world_refused(rc, &e, ERR_NOT_FOUND, NULL, "has no disk 1");
	rc = patch(w, &alice, 0, "{}", &vm, &e);
	orders_world_refused(rc, &e, ERR_INVALID, NULL, "nothing is to be changed");
	rc = patch(w, &alice, 0, "{\"flatten\":true}", &vm, &e);
	orders_world_refused(rc, &e, ERR_DENIED, NULL, "admins");
	assert_int_equal(patch(w, &admin, 0, "{\"flatten\":true}", &vm, &e), 0);
	assert_true(vm_find_disk(&vm, 0)->is_flatten);
	assert_use(w, 10, 0);
}

static void test_detach(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	finish(w, &vm);
	rc = orders_disk_detach(w->orders, &alice, "a", 0, NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "boots from");
	assert_int_equal(orders_disk_detach(w->orders, &alice, "a", 1, NOW, &vm, &e), 0);
	assert_true(vm_find_disk(&vm, 1)->is_leaving);
	/* It counts until it is gone. */
	assert_use(w, 8, 0);
	assert_int_equal(orders_disk_detach(w->orders, &alice, "a", 1, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	rc = patch(w, &alice, 1, "{\"size_gib\":9}", &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "is being removed");
}

/* ---------------------------------------------------------------- snapshots */

static int snapshot(
	struct orders_world *w, const char *text, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_snapshot_create(w->orders, &alice, "a", body, NULL, NOW, out, e);
}

/* What the host does when it is done. */
static void ready(struct orders_world *w, struct vm *vm)
{
	struct vm_snapshot *s = vm->snapshots.v;

	for (size_t i = 0; i < vm->snapshots.len; i++)
		s[i].state = SNAPSHOT_READY;
	orders_world_set_vm(w, vm, (enum vm_status)vm->status, vm->hostname);
	finish(w, vm);
}

static void test_snapshots(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(snapshot(w, "{\"name\":\"one\"}", &vm, &e), 0);
	assert_int_equal(vm_find_snapshot(&vm, "one")->state, SNAPSHOT_CREATING);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_CHANGE_VM);
	assert_use(w, 3, 1);
	rc = orders_snapshot_delete(w->orders, &alice, "a", "one", NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "not ready");
	ready(w, &vm);
	rc = snapshot(w, "{\"name\":\"one\"}", &vm, &e);
	orders_world_refused(rc, &e, ERR_EXISTS, NULL, "already");
	rc = orders_snapshot_restore(w->orders, &alice, "a", "one", NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "stop it first");
	/* Without a name it is the time. */
	assert_int_equal(snapshot(w, "{}", &vm, &e), 0);
	assert_non_null(vm_find_snapshot(&vm, "2023-11-14t22-13-20z"));
	ready(w, &vm);
	rc = snapshot(w, "{\"name\":\"three\"}", &vm, &e);
	orders_world_refused(
		rc, &e, ERR_QUOTA, NULL, "1 snapshots asked for, 0 of 2 left");
	rc = snapshot(w, "{\"name\":\"Three\"}", &vm, &e);
	assert_int_equal(e.kind, ERR_INVALID);
	vm.want = VM_WANT_STOPPED;
	str_set(&vm.disk_host, xstrdup("h1"));
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(
		orders_snapshot_restore(w->orders, &alice, "a", "one", NOW, &vm, &e), 0);
	assert_int_equal(vm_find_snapshot(&vm, "one")->state, SNAPSHOT_RESTORING);
	ready(w, &vm);
	assert_int_equal(
		orders_snapshot_delete(w->orders, &alice, "a", "one", NOW, &vm, &e), 0);
	assert_int_equal(
		orders_snapshot_delete(w->orders, &alice, "a", "one", NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_use(w, 3, 2);
	rc = orders_snapshot_delete(w->orders, &alice, "a", "none", NOW, &vm, &e);
	orders_world_refused(rc, &e, ERR_NOT_FOUND, NULL, "no snapshot named");
}

/* ---------------------------------------------------------------- answers that are lost */

static void test_unknown(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	for (int kind = 2; kind <= 3; kind++) {
		orders_world_fail_write(w, 1, kind);
		assert_true(attach(w, "{\"size_gib\":5}", NULL, &vm, &e) >= 0);
		assert_int_equal(vm.specs.disks.len, kind);
		finish(w, &vm);
	}
	orders_world_fail_write(w, 1, 2);
	assert_true(snapshot(w, "{\"name\":\"one\"}", &vm, &e) >= 0);
	assert_int_equal(vm.snapshots.len, 1);
	assert_use(w, 13, 1);
}

static void test_idempotency(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", "key", &vm, &e), 0);
	finish(w, &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", "key", &vm, &e), ORDER_AS_IT_IS);
	assert_int_equal(vm.specs.disks.len, 2);
	rc = attach(w, "{\"size_gib\":6}", "key", &vm, &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "another order");
}

/* ---------------------------------------------------------------- admins */

/* The host is told to try once more and then to undo. */
static void test_abort(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(image_done) struct image image = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(orders_request_abort(
				 w->orders, &admin, vm.uuid, NOW + 1, &vm, &image, &e),
		0);
	assert_int_equal(vm.status, VM_RUNNING);
	assert_true(
		orders_world_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r));
	assert_int_equal(r.deadline, NOW + 1);
	assert_int_equal(orders_request_abort(
				 w->orders, &admin, vm.uuid, NOW + 2, &vm, &image, &e),
		ORDER_AS_IT_IS);
}

/* Disks in another store than the image's. */
static void test_store(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(image_store_done) struct image_store store = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *fast = orders_world_json(
		"{\"name\":\"fast\",\"type\":\"filesystem\",\"path\":\"/srv/y\"}");
	struct orders_world *w = *state;
	struct err e = { 0 };
	int rc;

	assert_int_equal(
		orders_store_create(w->orders, &admin, fast, NULL, NOW, &store, &e), 0);
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\",\"store\":"
				 "\"fast\"}",
				 NULL, &vm, &e),
		0);
	assert_string_equal(vm.store, "fast");
	assert_string_equal(vm.image_store, "local");
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"b\",\"image\":\"debian\",\"store\":"
				 "\"local\"}",
				 NULL, &vm, &e),
		0);
	assert_string_equal(vm.image_store, "");
	rc = orders_world_vm_as(w, &alice,
		"{\"name\":\"c\",\"image\":\"debian\",\"store\":\"slow\"}", NULL, &vm,
		&e);
	orders_world_refused(rc, &e, ERR_NOT_FOUND, NULL, "no image store \"slow\"");
	assert_string_equal(e.field, "store");
	rc = orders_store_delete(w->orders, &admin, "fast", &e);
	orders_world_refused(rc, &e, ERR_CONFLICT, NULL, "disks of 1 VM");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, orders_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_attach),
		TEST(test_replaced),
		TEST(test_stopped),
		TEST(test_never_placed),
		TEST(test_grow),
		TEST(test_detach),
		TEST(test_snapshots),
		TEST(test_unknown),
		TEST(test_idempotency),
		TEST(test_abort),
		TEST(test_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
