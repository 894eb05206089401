/* Orders that attach and detach interfaces of VMs. */
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

#define LAN "{\"network\":\"lan\"}"

static int attach(struct orders_world *w, const struct who *who, const char *ref,
	const char *text, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_nic_attach(w->orders, who, ref, body, NULL, NOW, out, e);
}

static const struct vm_nic *nic_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_nic_jtab, &vm->networks, i);
}

static json_int_t port_index(struct orders_world *w, const char *uuid, const char *mac)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	CLEANUP(json_decref_ptr) json_t *json = NULL;

	orders_world_get(w, key_port(uuid, mac), &p);
	if (!p.key)
		return -1;
	json = orders_world_json(p.value);
	return json_integer_value(json_object_get(json, "index"));
}

static void test_attach_detach(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *first = NULL;
	CLEANUP_STR char *second = NULL;
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(
		w, &alice, "web", ORDERS_WORLD_IN_LAN ",\"want\":\"stopped\"", &vm);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"lan\",\"rate_mbit\":5}",
				 &vm, &e),
		0);
	assert_int_equal(vm.networks.len, 2);
	assert_int_equal(nic_at(&vm, 1)->rate_mbit, 5);
	assert_true(str_has_prefix(nic_at(&vm, 1)->address, "2001:db8:1:2:"));
	first = xstrdup(nic_at(&vm, 0)->mac);
	second = xstrdup(nic_at(&vm, 1)->mac);
	assert_string_not_equal(first, second);
	assert_int_equal(port_index(w, n.uuid, second), 1);
	assert_int_equal(
		orders_nic_detach(w->orders, &alice, "web", first, NOW, &vm, &e), 0);
	assert_int_equal(vm.networks.len, 1);
	assert_string_equal(nic_at(&vm, 0)->mac, second);
	assert_int_equal(port_index(w, n.uuid, first), -1);
	assert_int_equal(port_index(w, n.uuid, second), 0);
	assert_int_equal(
		orders_nic_detach(w->orders, &alice, "web", first, NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	/* The MAC that is free is taken again. An admin's hand, the owner's network. */
	assert_int_equal(attach(w, &admin, vm.uuid, LAN, &vm, &e), 0);
	assert_string_equal(nic_at(&vm, 1)->mac, first);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
}

static void test_attach_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 }, out = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	orders_world_vm(w, &alice, "web", ",\"want\":\"stopped\"", &vm);
	assert_int_equal(attach(w, &alice, "web", LAN, &out, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"wan\"}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(attach(w, &alice, "web", "{}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	orders_world_set_network(w, &n, NET_ACTIVE);
	assert_int_equal(attach(w, &bob, vm.uuid, LAN, &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	for (int i = 0; i < VM_NICS_MAX; i++)
		assert_int_equal(attach(w, &alice, "web", LAN, &out, &e), 0);
	assert_int_equal(attach(w, &alice, "web", LAN, &out, &e), -1);
	assert_non_null(strstr(e.msg, "8 interfaces already"));
	assert_int_equal(
		orders_nic_detach(w->orders, &alice, "web", "nonsense", NOW, &out, &e),
		-1);
	assert_int_equal(e.kind, ERR_INVALID);
	orders_world_vm(w, &alice, "on", "", &vm);
	assert_int_equal(attach(w, &alice, "on", LAN, &out, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* Whatever happens to the write: one interface more, or one less. */
static void test_attach_faults(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *mac = NULL;
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(w, &alice, "web", ",\"want\":\"stopped\"", &vm);
	orders_world_fail_write(w, 1, 2);
	assert_true(attach(w, &alice, "web", LAN, &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 1);
	mac = xstrdup(nic_at(&vm, 0)->mac);
	orders_world_fail_write(w, 1, 2);
	assert_true(orders_nic_detach(w->orders, &alice, "web", mac, NOW, &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 0);
	assert_int_equal(port_index(w, n.uuid, mac), -1);
}

/* ChangeVM is open at its host; it is done with. */
static bool take_change(struct orders_world *w, const char *uuid)
{
	CLEANUP(request_done) struct request r = { 0 };

	if (!orders_world_request(w, key_request_host(&w->keys, "h1", uuid), &r))
		return false;
	assert_int_equal(r.type, REQ_CHANGE_VM);
	assert_int_equal(r.deadline, NOW + REQUEST_CHANGE_SEC);
	orders_world_put(w, key_request_host(&w->keys, "h1", uuid), NULL);
	return true;
}

/* Its host carries it out, and takes what leaves out of the entry. */
static void test_attach_detach_live(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *first = NULL;
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_running_vm(w, "web", ORDERS_WORLD_IN_LAN, &vm);
	first = xstrdup(nic_at(&vm, 0)->mac);
	assert_int_equal(attach(w, &alice, "web", LAN, &vm, &e), 0);
	assert_true(vm.is_changing);
	assert_int_equal(vm.networks.len, 2);
	assert_int_equal(port_index(w, n.uuid, nic_at(&vm, 1)->mac), 1);
	/* One after the other. */
	assert_int_equal(attach(w, &alice, "web", LAN, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "busy with ChangeVM"));
	assert_true(take_change(w, vm.uuid));
	assert_int_equal(
		orders_nic_detach(w->orders, &alice, "web", first, NOW, &vm, &e), 0);
	assert_int_equal(vm.networks.len, 2);
	assert_true(nic_at(&vm, 0)->is_leaving && vm_has_changes(&vm));
	assert_int_equal(port_index(w, n.uuid, first), 0);
	assert_int_equal(orders_nic_detach(w->orders, &alice, "web", first, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_true(take_change(w, vm.uuid));
	/* Until it is gone it is used. */
	vm_drop_nic(&vm, nic_at(&vm, 1)->mac);
	orders_world_put(w, key_vm(&w->keys, vm.uuid), vm_format(&vm));
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	assert_non_null(strstr(e.msg, "web"));
}

/* Whatever happens to the write: ordered once. */
static void test_live_faults(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *mac = NULL;
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_running_vm(w, "web", ORDERS_WORLD_IN_LAN, &vm);
	mac = xstrdup(nic_at(&vm, 0)->mac);
	orders_world_fail_write(w, 1, 2);
	assert_true(attach(w, &alice, "web", LAN, &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 2);
	assert_true(take_change(w, vm.uuid));
	orders_world_fail_write(w, 1, 2);
	assert_true(orders_nic_detach(w->orders, &alice, "web", mac, NOW, &vm, &e) >= 0);
	assert_true(vm_find_nic(&vm, mac)->is_leaving);
	assert_true(take_change(w, vm.uuid));
}

static void test_attach_idempotency(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr) json_t *lan = orders_world_json(LAN);
	CLEANUP(json_decref_ptr)
	json_t *slow = orders_world_json("{\"network\":\"lan\",\"rate_mbit\":5}");
	struct orders_world *w = *state;
	struct orders *o = w->orders;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_running_vm(w, "web", ORDERS_WORLD_IN_LAN, &vm);
	assert_int_equal(orders_nic_attach(o, &alice, "web", lan, "k", NOW, &vm, &e), 0);
	assert_int_equal(orders_nic_attach(o, &alice, "web", lan, "k", NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(vm.networks.len, 2);
	assert_int_equal(
		orders_nic_attach(o, &alice, "web", slow, "k", NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "Idempotency-Key");
}

#define TEST(f)                                                                          \
	cmocka_unit_test_setup_teardown(f, orders_world_setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_attach_detach),
		TEST(test_attach_refusals),
		TEST(test_attach_faults),
		TEST(test_attach_detach_live),
		TEST(test_live_faults),
		TEST(test_attach_idempotency),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
