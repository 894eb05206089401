#include "ucloud-api/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "common/store/kv_fake.h"

#define NOW 1700000000

/* A store with one image store and one public image, a user and an admin. */
struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct orders *orders;
	struct kv_fault fault;
	int n_writes;
	int fault_at, fault_kind; /* the fault_at-th write from now on */
};

static const struct who admin = { "root", "ungleich-admin", true };
static const struct who alice = { "alice", "users", false };

static const struct orders_conf conf = {
	.quota = { .vms = 5,
		.cpu = 8,
		.ram_mib = 8192,
		.disk_gib = 30,
		.snapshots = 2,
		.images = 5 },
	.limits = { .max_cpu = 4, .max_ram_mib = 4096, .max_disk_gib = 25 },
};

static json_t *js(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	return j;
}

static int on_write(void *aux)
{
	struct world *w = aux;

	w->n_writes++;
	return w->n_writes == w->fault_at ? w->fault_kind : 0;
}

/* The n-th write from now on goes wrong (kv_fake.h says how). */
static void fail_write(struct world *w, int n, int kind)
{
	w->n_writes = 0;
	w->fault_at = n;
	w->fault_kind = kind;
}

static void make_store_and_image(struct world *w)
{
	CLEANUP(image_store_done) struct image_store store = { 0 };
	CLEANUP(image_done) struct image image = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *s =
		js("{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/srv/x\"}");
	CLEANUP(json_decref_ptr)
	json_t *i =
		js("{\"name\":\"debian\",\"store\":\"local\",\"path\":\"debian.img\","
		   "\"format\":\"qcow2\",\"public\":true,\"virtual_bytes\":3221225472}");
	struct err e;

	assert_int_equal(
		orders_store_create(w->orders, &admin, s, NULL, NOW, &store, &e), 0);
	assert_int_equal(
		orders_image_create(w->orders, &admin, i, NULL, NOW, &image, &e), 0);
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->fault = (struct kv_fault){ .on_write = on_write, .aux = w };
	kv_fake_set_fault(w->kv, &w->fault);
	keys_set_defaults(&w->keys);
	w->orders = orders_new(w->kv, &w->keys, &conf);
	make_store_and_image(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	orders_free(w->orders);
	kv_close(w->kv);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
	free(w);
	return 0;
}

static int create_as(struct world *w, const struct who *who, const char *text,
	const char *idem, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_vm_create(w->orders, who, body, idem, NOW, out, e);
}

static void create(
	struct world *w, const struct who *who, const char *name, struct vm *out)
{
	CLEANUP_STR char *text =
		xasprintf("{\"name\":\"%s\",\"image\":\"debian\"}", name);
	struct err e = { 0 };

	if (create_as(w, who, text, NULL, out, &e) != 0)
		fail_msg("create %s: %s", name, e.msg);
}

static void assert_absent(struct world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;

	assert_int_equal(kv_get(w->kv, key, &p, NULL, &e), 0);
	if (p.key)
		fail_msg("%s exists", key);
	free(key);
}

static void read_request(struct world *w, char *key, struct request *out)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;

	assert_int_equal(kv_get(w->kv, key, &p, NULL, &e), 0);
	if (!p.key)
		fail_msg("%s does not exist", key);
	assert_int_equal(request_parse(p.value, p.value_size, out, &e), 0);
	free(key);
}

static void assert_request(struct world *w, char *key, enum request_type type)
{
	CLEANUP(request_done) struct request r = { 0 };

	read_request(w, key, &r);
	assert_int_equal(r.type, type);
}

static void assert_use(struct world *w, int64_t disk_gib, int64_t snapshots)
{
	CLEANUP(user_done) struct user u = { 0 };
	struct err e;

	assert_int_equal(orders_user_get(w->orders, &alice, "alice", "users", &u, &e), 0);
	assert_int_equal(u.use.disk_gib, disk_gib);
	assert_int_equal(u.use.snapshots, snapshots);
}

/* What the scheduler and the host would write. */
static void set_vm(
	struct world *w, struct vm *vm, enum vm_status status, const char *host)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_vm(&w->keys, vm->uuid);
	CLEANUP_STR char *text = NULL;
	struct err e;

	vm->status = (int)status;
	str_set(&vm->hostname, xstrdup(host));
	text = vm_format(vm);
	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
}

static void del_key(struct world *w, char *key)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
	free(key);
}

/* A VM that runs on host h1. */
static void create_running(struct world *w, const char *name, struct vm *vm)
{
	create(w, &alice, name, vm);
	del_key(w, key_request_scheduler(&w->keys, vm->uuid));
	set_vm(w, vm, VM_RUNNING, "h1");
}

/* ---------------------------------------------------------------- disks */

static int attach(struct world *w, const char *text, const char *idem, struct vm *out,
	struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_disk_attach(w->orders, &alice, "a", body, idem, NOW, out, e);
}

static int patch(struct world *w, const struct who *who, int64_t index, const char *text,
	struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);
	CLEANUP_STR char *ref = xstrdup(who == &admin ? "alice@users:a" : "a");

	return orders_disk_patch(w->orders, who, ref, index, body, NOW, out, e);
}

static void refused(int r, const struct err *e, enum err_kind kind, const char *part)
{
	assert_int_equal(r, -1);
	if (e->kind != kind || strstr(e->msg, part) == NULL)
		fail_msg("%d: %s", e->kind, e->msg);
}

/* What the host does when it is done: the request goes. */
static void finish(struct world *w, const struct vm *vm)
{
	del_key(w, key_request_host(&w->keys, "h1", vm->uuid));
}

static void test_attach(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	assert_use(w, 3, 0);
	assert_int_equal(
		attach(w, "{\"size_gib\":5,\"class\":\"hdd\"}", NULL, &vm, &e), 0);
	assert_int_equal(vm.specs.disks.len, 2);
	assert_int_equal(vm_find_disk(&vm, 1)->size_gib, 5);
	assert_string_equal(vm_find_disk(&vm, 1)->class, "hdd");
	read_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r);
	assert_int_equal(r.type, REQ_CHANGE_VM);
	assert_int_equal(r.deadline, NOW + REQUEST_CHANGE_SEC);
	assert_use(w, 8, 0);
	/* One at a time; and what is asked of a busy one says with what. */
	rc = attach(w, "{\"size_gib\":5}", NULL, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "busy with ChangeVM");
	rc = orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "busy with ChangeVM");
	finish(w, &vm);
	/* Quota and limits. */
	rc = attach(w, "{\"size_gib\":23}", NULL, &vm, &e);
	refused(rc, &e, ERR_QUOTA, "23 GiB of disk asked for, 22 of 30 left");
	rc = attach(w, "{\"size_gib\":26}", NULL, &vm, &e);
	refused(rc, &e, ERR_INVALID, "at most 25 GiB");
	rc = attach(w, "{\"size\":26}", NULL, &vm, &e);
	assert_int_equal(rc, -1);
	for (int i = 2; i < VM_DISKS_MAX; i++) {
		assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), 0);
		finish(w, &vm);
	}
	rc = attach(w, "{\"size_gib\":1}", NULL, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "8 disks already");
	assert_use(w, 14, 0);
}

/* A stop goes before; a deletion takes its place. */
static void test_replaced(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_STOP_VM);
	assert_int_equal(orders_vm_delete(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_DELETE_VM);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* Where the request goes: to the host of its disks, or to the scheduler. A start waits. */
static void test_stopped(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	vm.want = VM_WANT_STOPPED;
	str_set(&vm.disk_host, xstrdup("h2"));
	set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h2", vm.uuid), REQ_CHANGE_VM);
	rc = orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "busy with ChangeVM");
	del_key(w, key_request_host(&w->keys, "h2", vm.uuid));
	str_set(&vm.disk_host, xstrdup(""));
	vm.last_start = NOW;
	set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), 0);
	assert_request(w, key_request_scheduler(&w->keys, vm.uuid), REQ_CHANGE_VM);
	set_vm(w, &vm, VM_ERROR, "");
	assert_int_equal(attach(w, "{\"size_gib\":1}", NULL, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* It has no disks anywhere yet: nobody needs to do anything. */
static void test_never_placed(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	assert_int_equal(create_as(w, &alice,
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
	assert_absent(w, key_request_scheduler(&w->keys, vm.uuid));
	rc = orders_snapshot_create(w->orders, &alice, "a", NULL, NULL, NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "no disks before");
}

static void test_grow(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	assert_int_equal(patch(w, &alice, 0, "{\"size_gib\":10}", &vm, &e), 0);
	assert_int_equal(vm_find_disk(&vm, 0)->size_gib, 10);
	assert_use(w, 10, 0);
	assert_int_equal(
		patch(w, &alice, 0, "{\"size_gib\":10}", &vm, &e), ORDER_AS_IT_IS);
	rc = patch(w, &alice, 0, "{\"size_gib\":9}", &vm, &e);
	refused(rc, &e, ERR_INVALID, "never shrink");
	finish(w, &vm);
	rc = patch(w, &alice, 1, "{\"size_gib\":9}", &vm, &e);
	refused(rc, &e, ERR_NOT_FOUND, "has no disk 1");
	rc = patch(w, &alice, 0, "{}", &vm, &e);
	refused(rc, &e, ERR_INVALID, "nothing is to be changed");
	rc = patch(w, &alice, 0, "{\"flatten\":true}", &vm, &e);
	refused(rc, &e, ERR_DENIED, "admins");
	assert_int_equal(patch(w, &admin, 0, "{\"flatten\":true}", &vm, &e), 0);
	assert_true(vm_find_disk(&vm, 0)->is_flatten);
	assert_use(w, 10, 0);
}

static void test_detach(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	finish(w, &vm);
	rc = orders_disk_detach(w->orders, &alice, "a", 0, NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "boots from");
	assert_int_equal(orders_disk_detach(w->orders, &alice, "a", 1, NOW, &vm, &e), 0);
	assert_true(vm_find_disk(&vm, 1)->is_leaving);
	/* It counts until it is gone. */
	assert_use(w, 8, 0);
	assert_int_equal(orders_disk_detach(w->orders, &alice, "a", 1, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	rc = patch(w, &alice, 1, "{\"size_gib\":9}", &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "is being removed");
}

/* ---------------------------------------------------------------- snapshots */

static int snapshot(struct world *w, const char *text, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_snapshot_create(w->orders, &alice, "a", body, NULL, NOW, out, e);
}

/* What the host does when it is done. */
static void ready(struct world *w, struct vm *vm)
{
	struct vm_snapshot *s = vm->snapshots.v;

	for (size_t i = 0; i < vm->snapshots.len; i++)
		s[i].state = SNAPSHOT_READY;
	set_vm(w, vm, (enum vm_status)vm->status, vm->hostname);
	finish(w, vm);
}

static void test_snapshots(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	assert_int_equal(snapshot(w, "{\"name\":\"one\"}", &vm, &e), 0);
	assert_int_equal(vm_find_snapshot(&vm, "one")->state, SNAPSHOT_CREATING);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_CHANGE_VM);
	assert_use(w, 3, 1);
	rc = orders_snapshot_delete(w->orders, &alice, "a", "one", NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "not ready");
	ready(w, &vm);
	rc = snapshot(w, "{\"name\":\"one\"}", &vm, &e);
	refused(rc, &e, ERR_EXISTS, "already");
	rc = orders_snapshot_restore(w->orders, &alice, "a", "one", NOW, &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "stop it first");
	/* Without a name it is the time. */
	assert_int_equal(snapshot(w, "{}", &vm, &e), 0);
	assert_non_null(vm_find_snapshot(&vm, "2023-11-14t22-13-20z"));
	ready(w, &vm);
	rc = snapshot(w, "{\"name\":\"three\"}", &vm, &e);
	refused(rc, &e, ERR_QUOTA, "1 snapshots asked for, 0 of 2 left");
	rc = snapshot(w, "{\"name\":\"Three\"}", &vm, &e);
	assert_int_equal(e.kind, ERR_INVALID);
	vm.want = VM_WANT_STOPPED;
	str_set(&vm.disk_host, xstrdup("h1"));
	set_vm(w, &vm, VM_STOPPED, "");
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
	refused(rc, &e, ERR_NOT_FOUND, "no snapshot named");
}

/* ---------------------------------------------------------------- answers that are lost */

static void test_unknown(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	for (int kind = 2; kind <= 3; kind++) {
		fail_write(w, 1, kind);
		assert_true(attach(w, "{\"size_gib\":5}", NULL, &vm, &e) >= 0);
		assert_int_equal(vm.specs.disks.len, kind);
		finish(w, &vm);
	}
	fail_write(w, 1, 2);
	assert_true(snapshot(w, "{\"name\":\"one\"}", &vm, &e) >= 0);
	assert_int_equal(vm.snapshots.len, 1);
	assert_use(w, 13, 1);
}

static void test_idempotency(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	create_running(w, "a", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", "key", &vm, &e), 0);
	finish(w, &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", "key", &vm, &e), ORDER_AS_IT_IS);
	assert_int_equal(vm.specs.disks.len, 2);
	rc = attach(w, "{\"size_gib\":6}", "key", &vm, &e);
	refused(rc, &e, ERR_CONFLICT, "another order");
}

/* ---------------------------------------------------------------- admins */

/* The host is told to try once more and then to undo. */
static void test_abort(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(image_done) struct image image = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	assert_int_equal(attach(w, "{\"size_gib\":5}", NULL, &vm, &e), 0);
	assert_int_equal(orders_request_abort(
				 w->orders, &admin, vm.uuid, NOW + 1, &vm, &image, &e),
		0);
	assert_int_equal(vm.status, VM_RUNNING);
	read_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r);
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
	json_t *fast =
		js("{\"name\":\"fast\",\"type\":\"filesystem\",\"path\":\"/srv/y\"}");
	struct world *w = *state;
	struct err e = { 0 };
	int rc;

	assert_int_equal(
		orders_store_create(w->orders, &admin, fast, NULL, NOW, &store, &e), 0);
	assert_int_equal(create_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\",\"store\":"
				 "\"fast\"}",
				 NULL, &vm, &e),
		0);
	assert_string_equal(vm.store, "fast");
	assert_string_equal(vm.image_store, "local");
	assert_int_equal(create_as(w, &alice,
				 "{\"name\":\"b\",\"image\":\"debian\",\"store\":"
				 "\"local\"}",
				 NULL, &vm, &e),
		0);
	assert_string_equal(vm.image_store, "");
	rc = create_as(w, &alice,
		"{\"name\":\"c\",\"image\":\"debian\",\"store\":\"slow\"}", NULL, &vm,
		&e);
	refused(rc, &e, ERR_NOT_FOUND, "no image store \"slow\"");
	assert_string_equal(e.field, "store");
	rc = orders_store_delete(w->orders, &admin, "fast", &e);
	refused(rc, &e, ERR_CONFLICT, "disks of 1 VM");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
