/*
 * A VM lost its host, its guest powered itself off meanwhile, its owner ordered a start, the
 * host came back: the VM was STOPPED, because its guest had powered off. The start was the
 * newer order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"
#include "ucloud-api/orders.h"
#include "ucloud-host/vmstep.h"

#define UUID "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"

static void put(struct kv *kv, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(kv, t, NULL, &e), 0);
}

static void test_order(void **state)
{
	struct fake_etcd *etcd = fake_etcd_new();
	struct kv *kv = kv_fake_open(etcd);
	struct orders_conf conf = { .quota = { 9, 9, 9999, 99, .images = 9 },
		.limits = { 9, 9999, 99 } };
	struct who who = { "anna", "demo", false };
	CLEANUP(keys_done) struct keys keys = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e;

	(void)state;
	keys_set_defaults(&keys);
	CLEANUP_STR char *key = key_vm(&keys, UUID);
	struct orders *o = orders_new(kv, &keys, &conf);
	put(kv, key,
		"{\"uuid\":\"" UUID "\",\"name\":\"vm\",\"owner\":\"anna\","
		"\"owner_realm\":\"demo\",\"want\":\"running\",\"status\":\"KILLED\","
		"\"hostname\":\"h1\",\"boot\":3,\"store\":\"s\","
		"\"specs\":{\"cpu\":1,\"ram_mib\":512,\"disks\":[{\"size_gib\":1}]}}");
	if (orders_vm_start(o, &who, UUID, 1000, &vm, &e) != 0)
		fail_msg("%s", e.msg);
	assert_int_equal(vm.boot, 4);
	orders_free(o);
	kv_close(kv);
	fake_etcd_free(etcd);
}

static void assert_act(int64_t dom_boot, enum virt_off off, enum vmact want)
{
	struct vm vm = { .uuid = (char[]){ UUID },
		.hostname = (char[]){ "h1" },
		.status = VM_KILLED,
		.boot = 4 };
	struct request req = { .type = REQ_START_VM };
	struct vmlook l = { .host = "h1",
		.vm = &vm,
		.req = &req,
		.has_placement = true,
		.dom = { .state = VIRT_OFF, .off = off, .boot = dom_boot } };

	assert_int_equal(vmstep_decide(&l).act, want);
}

static void test_step(void **state)
{
	(void)state;
	assert_act(3, VIRT_OFF_GUEST, VMACT_UNDEFINE);
	assert_act(3, VIRT_OFF_CRASHED, VMACT_UNDEFINE);
	assert_act(4, VIRT_OFF_GUEST, VMACT_SET_RUNNING);
	assert_act(4, VIRT_OFF_CRASHED, VMACT_SET_RUNNING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_step),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
