/* Orders that make VMs, and who may see them. */
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

#define refuse(w, text, kind, field)                                                     \
	orders_world_refuse_vm(w, &alice, text, kind, field, "")

static void assert_use(
	struct orders_world *w, const struct who *who, int64_t vms, int64_t cpu)
{
	struct amounts use = orders_world_use(w, who);

	assert_int_equal(use.vms, vms);
	assert_int_equal(use.cpu, cpu);
}

/* ---------------------------------------------------------------- create */

static void test_create(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(vm_done) struct vm got = { 0 };
	struct orders_world *w = *state;
	const struct vm_disk *disk;
	struct err e;

	w->n_writes = 0;
	orders_world_vm(w, &alice, "web", "", &vm);
	assert_int_equal(w->n_writes, 1);
	assert_string_equal(vm.owner, "alice");
	assert_int_equal(vm.status, VM_REQUESTED_NEW);
	assert_int_equal(vm.specs.cpu, 1);
	disk = jtab_list_at(&vm_disk_jtab, &vm.specs.disks, 0);
	assert_int_equal(disk->size_gib, 3);
	assert_string_equal(vm.store, "local");
	assert_int_equal(
		orders_world_request_type(w, key_request_scheduler(&w->keys, vm.uuid)),
		REQ_SCHEDULE_VM);
	assert_use(w, &alice, 1, 1);
	assert_int_equal(orders_vm_get(w->orders, &alice, "web", &got, &e), 0);
	assert_string_equal(got.uuid, vm.uuid);
	assert_int_equal(orders_vm_get(w->orders, &alice, vm.uuid, &got, &e), 0);
}

static void test_create_stopped(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(
		orders_world_vm_as(w, &alice,
			"{\"name\":\"a\",\"image\":\"debian\",\"want\":\"stopped\"}",
			NULL, &vm, &e),
		0);
	assert_int_equal(vm.status, VM_STOPPED);
	assert_false(orders_world_has(w, key_request_scheduler(&w->keys, vm.uuid)));
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_START);
	assert_int_equal(
		orders_world_request_type(w, key_request_scheduler(&w->keys, vm.uuid)),
		REQ_SCHEDULE_VM);
}

static void test_create_refusals(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;

	orders_world_vm(w, &alice, "taken", "", &vm);
	refuse(w, "{\"name\":\"taken\",\"image\":\"debian\"}", ERR_EXISTS, "name");
	refuse(w, "{\"name\":\"a\",\"image\":\"none\"}", ERR_NOT_FOUND, "image");
	refuse(w, "{\"image\":\"debian\"}", ERR_INVALID, "name");
	refuse(w, "{\"name\":\"A\",\"image\":\"debian\"}", ERR_INVALID, "name");
	refuse(w,
		"{\"name\":\"01234567-89ab-4cde-8123-456789abcdef\",\"image\":"
		"\"debian\"}",
		ERR_INVALID, "name");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"cpus\":1}", ERR_INVALID,
		"cpus");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"cpu\":5}", ERR_INVALID, "cpu");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"cpu\":0}", ERR_INVALID, "cpu");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"disk_gib\":2}", ERR_INVALID,
		"disk_gib");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"disk_gib\":51}", ERR_INVALID,
		"disk_gib");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"labels\":{\"a\":1}}",
		ERR_INVALID, "labels");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"affinity\":{\"near\":[]}}",
		ERR_INVALID, "affinity.near");
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\",\"ssh_keys\":[\"laptop\"]}",
		ERR_NOT_FOUND, "ssh_keys");
	refuse(w,
		"{\"name\":\"a\",\"image\":\"debian\",\"networks\":[{\"network\":"
		"\"01234567-89ab-4cde-8123-456789abcdef\"}]}",
		ERR_NOT_FOUND, "networks");
	assert_use(w, &alice, 1, 1);
	assert_int_equal(orders_world_count(w, w->keys.vm), 1);
}

static void test_quota(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(user_done) struct user u = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *more = orders_world_json("{\"quota\":{\"vms\":6}}");
	CLEANUP(json_decref_ptr) json_t *none = orders_world_json("{\"quota\":null}");
	struct orders_world *w = *state;
	struct err e = { 0 };
	char name[16];

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		orders_world_vm(w, &alice, name, "", &vm);
	}
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\"}", ERR_QUOTA, "");
	assert_int_equal(orders_user_set_quota(
				 w->orders, &alice, "alice", "users", more, NOW, &u, &e),
		-1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(orders_user_set_quota(
				 w->orders, &admin, "alice", "users", more, NOW, &u, &e),
		0);
	assert_int_equal(u.quota.vms, 6);
	assert_int_equal(u.quota.cpu, 8);
	orders_world_vm(w, &alice, "a", "", &vm);
	assert_int_equal(orders_user_set_quota(
				 w->orders, &admin, "alice", "users", none, NOW, &u, &e),
		0);
	assert_int_equal(u.quota.vms, 5);
	refuse(w, "{\"name\":\"b\",\"image\":\"debian\"}", ERR_QUOTA, "");
}

static void test_idempotency(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(vm_done) struct vm again = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\"}", "k1", &vm, &e),
		0);
	assert_int_equal(
		orders_world_vm_as(w, &alice, "{\"image\":\"debian\",\"name\":\"a\"}",
			"k1", &again, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(again.uuid, vm.uuid);
	assert_int_equal(
		orders_world_vm_as(w, &alice, "{\"name\":\"b\",\"image\":\"debian\"}",
			"k1", &again, &e),
		-1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "Idempotency-Key");
	/* Another user's key is another key. */
	assert_int_equal(
		orders_world_vm_as(w, &bob, "{\"name\":\"a\",\"image\":\"debian\"}", "k1",
			&again, &e),
		0);
	assert_string_not_equal(again.uuid, vm.uuid);
	assert_int_equal(
		orders_world_vm_as(w, &alice, "{\"name\":\"c\",\"image\":\"debian\"}",
			"tab\t", &again, &e),
		-1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_use(w, &alice, 1, 1);
	assert_int_equal(idempotency_key_check("", &e), -1);
	assert_int_equal(idempotency_key_check("\tx", &e), -1);
	assert_int_equal(idempotency_key_check("d\xc3\xa9j\xc3\xa0", &e), -1);
	assert_int_equal(idempotency_key_check(" ~", &e), 0);
}

/* The original answer, though the quota would not allow another one. */
static void test_idempotency_beyond_quota(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };
	char text[80], key[16];

	for (int i = 0; i < 5; i++) {
		snprintf(
			text, sizeof(text), "{\"name\":\"a%d\",\"image\":\"debian\"}", i);
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(orders_world_vm_as(w, &alice, text, key, &vm, &e), 0);
	}
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a0\",\"image\":\"debian\"}", "k0", &vm, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(vm.name, "a0");
}

/* What is refused takes no lease: they last for a day, and anybody could fill the store. */
static void test_idempotency_refused(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct orders_world *w = *state;
	struct err e;

	for (int i = 0; i < 3; i++) {
		CLEANUP_STR char *good =
			xasprintf("{\"name\":\"a%d\",\"image\":\"debian\"}", i);
		CLEANUP_STR char *key = xasprintf("key %d", i);

		assert_int_equal(orders_world_vm_as(w, &alice, good, key, &vm, &e), 0);
		assert_int_equal(
			orders_world_vm_as(w, &alice,
				"{\"name\":\"b\",\"image\":\"nothing\"}", "k", &vm, &e),
			-1);
		assert_int_equal(e.kind, ERR_NOT_FOUND);
	}
	assert_int_equal(kv_range(w->kv, KEY_IDEMPOTENCY, 0, &list, &e), 0);
	assert_int_equal(list.len, 3);
	assert_int_equal(list.v[0].lease, list.v[1].lease);
	assert_int_equal(list.v[0].lease, list.v[2].lease);
}

/* The lease of the keys is gone (a restored store): the next order takes a new one. */
static void test_idempotency_lease_lost(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\"}", "k1", &vm, &e),
		0);
	assert_int_equal(kv_range(w->kv, KEY_IDEMPOTENCY, 0, &list, &e), 0);
	assert_int_equal(list.len, 1);
	assert_int_equal(kv_lease_revoke(w->kv, list.v[0].lease, &e), 0);
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"b\",\"image\":\"debian\"}", "k2", &vm, &e),
		0);
	assert_int_equal(orders_world_count(w, KEY_IDEMPOTENCY), 1);
}

/* Whatever becomes of the transaction: never two VMs, and the use fits. */
static void test_create_unknown(void **state)
{
	struct orders_world *w = *state;
	struct err e = { 0 };
	char text[80];

	for (int kind = 1; kind <= 3; kind++) {
		CLEANUP(vm_done) struct vm vm = { 0 };
		int r;

		snprintf(text, sizeof(text), "{\"name\":\"a%d\",\"image\":\"debian\"}",
			kind);
		orders_world_fail_write(w, 1, kind);
		r = orders_world_vm_as(w, &alice, text, NULL, &vm, &e);
		assert_int_equal(r, kind == 1 ? -1 : 0);
		if (r < 0)
			assert_int_equal(e.kind, ERR_UNAVAILABLE);
		assert_int_equal(w->n_writes, kind == 3 ? 2 : 1);
	}
	assert_int_equal(orders_world_count(w, w->keys.vm), 2);
	assert_use(w, &alice, 2, 2);
}

/* Another API process changes what this one remembers. */
static void test_create_beside_another_process(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct orders *other = orders_new(w->kv, &w->keys, &w->conf);
	CLEANUP(json_decref_ptr)
	json_t *b = orders_world_json("{\"name\":\"b\",\"image\":\"debian\"}");
	CLEANUP(json_decref_ptr)
	json_t *c = orders_world_json("{\"name\":\"c\",\"image\":\"debian\"}");
	struct err e = { 0 };

	orders_world_vm(w, &alice, "a", "", &vm);
	assert_int_equal(orders_vm_create(other, &alice, b, NULL, NOW, &vm, &e), 0);
	assert_int_equal(orders_vm_create(w->orders, &alice, c, NULL, NOW, &vm, &e), 0);
	assert_use(w, &alice, 3, 3);
	assert_int_equal(orders_image_delete(other, &admin, "debian", NOW, &im, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "3 VMs"));
	/* The image is usable again, and its entry was changed. */
	orders_world_vm(w, &alice, "d", "", &vm);
	orders_free(other);
}

static void test_ssh_keys(void **state)
{
	static const char key1[] =
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUW"
		"FxgZGhscHR4f a@b";
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct ssh_key got = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack("{s:s, s:s}", "name", "laptop", "key", key1);
	struct orders_world *w = *state;
	struct err e = { 0 };

	if (orders_ssh_key_add(w->orders, &alice, body, NOW, &got, &e) != 0)
		fail_msg("%s", e.msg);
	assert_int_equal(orders_ssh_key_add(w->orders, &alice, body, NOW, &got, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(got.name, "laptop");
	orders_world_vm(w, &alice, "a", "", &vm);
	assert_int_equal(vm.ssh_keys.len, 1);
	assert_string_equal(vm.ssh_keys.v[0], key1);
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"b\",\"image\":\"debian\",\"ssh_keys\":[]}",
				 NULL, &vm, &e),
		0);
	assert_int_equal(vm.ssh_keys.len, 0);
	assert_int_equal(
		orders_world_vm_as(w, &alice,
			"{\"name\":\"c\",\"image\":\"debian\",\"ssh_keys\":[\"laptop\"]}",
			NULL, &vm, &e),
		0);
	assert_string_equal(vm.ssh_keys.v[0], key1);
	assert_int_equal(orders_ssh_key_del(w->orders, &alice, "laptop", &e), 0);
	assert_int_equal(orders_ssh_key_del(w->orders, &alice, "laptop", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	jtab_done(&ssh_key_jtab, &got);
}

/* ---------------------------------------------------------------- who */

static void test_others_are_not_found(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(vm_done) struct vm got = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_vm(w, &alice, "web", "", &vm);
	assert_int_equal(orders_vm_get(w->orders, &bob, "web", &got, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_vm_get(w->orders, &bob, vm.uuid, &got, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_vm_get(w->orders, &bob, "alice@users:web", &got, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_vm_delete(w->orders, &bob, vm.uuid, NOW, &got, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(
		orders_request_get(w->orders, &bob, vm.uuid, &(struct request){ 0 }, &e),
		-1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(
		orders_vm_get(w->orders, &admin, "alice@users:web", &got, &e), 0);
	assert_int_equal(orders_vm_get(w->orders, &admin, vm.uuid, &got, &e), 0);
	assert_int_equal(orders_vm_get(w->orders, &admin, "web", &got, &e), -1);
	assert_int_equal(orders_vm_get(w->orders, &admin, "alice:web", &got, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_garbage(void **state)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	const char *uuid = "01234567-89ab-4cde-8123-456789abcdef";
	CLEANUP_STR char *key = key_vm(&w->keys, uuid);
	CLEANUP_STR char *name = key_vm_name("users", "alice", "bad");
	struct err e = { 0 };

	kv_txn_put(t, key, "{nonsense");
	kv_txn_put(t, name, uuid);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
	assert_int_equal(orders_vm_get(w->orders, &alice, "bad", &vm, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_vm_get(w->orders, &admin, uuid, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_INTERNAL);
	refuse(w, "{\"name\":\"bad\",\"image\":\"debian\"}", ERR_EXISTS, "name");
	orders_world_vm(w, &alice, "good", "", &vm);
}

/* etcd does not answer at all. */
static void test_cut(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct kv_fault cut = { .is_cut = true };
	struct orders_world *w = *state;
	struct err e = { 0 };

	kv_fake_set_fault(w->kv, &cut);
	assert_int_equal(orders_world_vm_as(w, &alice,
				 "{\"name\":\"a\",\"image\":\"debian\"}", NULL, &vm, &e),
		-1);
	assert_int_equal(err_http_status(e.kind), 503);
	kv_fake_set_fault(w->kv, &w->fault);
	orders_world_vm(w, &alice, "a", "", &vm);
}

#define TEST(f)                                                                          \
	cmocka_unit_test_setup_teardown(f, orders_world_setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_create_stopped),
		TEST(test_create_refusals),
		TEST(test_quota),
		TEST(test_idempotency),
		TEST(test_idempotency_beyond_quota),
		TEST(test_idempotency_refused),
		TEST(test_idempotency_lease_lost),
		TEST(test_create_unknown),
		TEST(test_create_beside_another_process),
		TEST(test_ssh_keys),
		TEST(test_others_are_not_found),
		TEST(test_garbage),
		TEST(test_cut),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
