/* Orders to VMs that exist, and their requests. */
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

static void test_stop_waiting(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_vm(w, &alice, "a", "", &vm);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_STOPPED);
	assert_int_equal(vm.want, VM_WANT_STOPPED);
	assert_false(orders_world_has(w, key_request_scheduler(&w->keys, vm.uuid)));
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e),
		ORDER_AS_IT_IS);
}

/* Nothing happens as long as the host is away: whoever looks is told. */
static void test_host_dead(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	const struct vm_log_line *line;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	orders_world_put(w, key_host(&w->keys, "h1"),
		xstrdup("{\"hostname\":\"h1\",\"status\":\"DEAD\"}"));
	orders_world_set_vm(w, &vm, VM_KILLED, "h1");
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	line = jtab_list_at(&vm_log_jtab, &vm.log, vm.log.len - 1);
	assert_string_equal(line->text, "stop ordered by alice@users; nothing is heard "
					"of host h1: it is done when that is back");
	assert_int_equal(orders_vm_delete(w->orders, &alice, "a", NOW, &vm, &e), 0);
	line = jtab_list_at(&vm_log_jtab, &vm.log, vm.log.len - 1);
	assert_non_null(strstr(line->text, "nothing is heard of host h1"));
}

static void test_stop_running(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_SHUTDOWN);
	assert_true(
		orders_world_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r));
	assert_int_equal(r.type, REQ_STOP_VM);
	assert_string_equal(r.hostname, "h1");
	assert_false(r.is_force);
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", true, NOW, &vm, &e), 0);
	assert_true(
		orders_world_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r));
	assert_true(r.is_force);
}

static void test_start_in_error(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(
		orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), ORDER_AS_IT_IS);
	orders_world_set_vm(w, &vm, VM_ERROR, "h1");
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_SCHEDULED);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_START_VM);
	orders_world_put(w, key_request_host(&w->keys, "h1", vm.uuid), NULL);
	orders_world_set_vm(w, &vm, VM_ERROR, "");
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_START);
	assert_int_equal(
		orders_world_request_type(w, key_request_scheduler(&w->keys, vm.uuid)),
		REQ_SCHEDULE_VM);
}

static void test_reboot(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(
		orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.boot, 1);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_REBOOT_VM);
	assert_int_equal(
		orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	/* A stop takes its place. */
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_STOP_VM);
}

/* A reboot whose answer is lost is ordered once. */
static void test_reboot_unknown(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_running_vm(w, "a", "", &vm);
	for (int kind = 2; kind <= 3; kind++) {
		orders_world_fail_write(w, 1, kind);
		assert_true(orders_vm_reboot(
				    w->orders, &alice, "a", false, NOW, &vm, &e) >= 0);
		assert_int_equal(vm.boot, kind - 1);
		orders_world_put(w, key_request_host(&w->keys, "h1", vm.uuid), NULL);
	}
}

static void test_delete(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_vm(w, &alice, "never-placed", "", &vm);
	assert_int_equal(
		orders_vm_delete(w->orders, &alice, "never-placed", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_DELETE);
	assert_int_equal(
		orders_world_request_type(w, key_request_scheduler(&w->keys, vm.uuid)),
		REQ_DELETE_VM);
	assert_int_equal(orders_vm_delete(w->orders, &alice, vm.uuid, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(orders_vm_start(w->orders, &alice, vm.uuid, NOW, &vm, &e), -1);

	orders_world_running_vm(w, "runs", "", &vm);
	assert_int_equal(
		orders_vm_stop(w->orders, &alice, "runs", false, NOW, &vm, &e), 0);
	assert_int_equal(orders_vm_delete(w->orders, &alice, "runs", NOW, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h1", vm.uuid)),
		REQ_DELETE_VM);

	orders_world_vm(w, &alice, "disk-only", "", &vm);
	str_set(&vm.disk_host, xstrdup("h2"));
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(
		orders_vm_delete(w->orders, &alice, "disk-only", NOW, &vm, &e), 0);
	assert_int_equal(
		orders_world_request_type(w, key_request_host(&w->keys, "h2", vm.uuid)),
		REQ_DELETE_VM);
	assert_false(orders_world_has(w, key_request_scheduler(&w->keys, vm.uuid)));
}

static void patch(
	struct orders_world *w, const char *text, enum err_kind kind, struct vm *out)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);
	struct err e = { 0 };
	int r = orders_vm_patch(w->orders, &alice, "a", body, NOW, out, &e);

	if (r < 0 && e.kind != kind)
		fail_msg("%s: %s", text, e.msg);
	assert_int_equal(r < 0, kind != ERR_NONE);
}

static void test_patch(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(vm_done) struct vm other = { 0 };
	struct orders_world *w = *state;
	struct amounts use;
	struct err e = { 0 };

	orders_world_vm(w, &alice, "b", "", &other);
	orders_world_running_vm(w, "a", "", &vm);
	patch(w, "{\"labels\":{\"app\":\"db\"}}", ERR_NONE, &vm);
	assert_string_equal(json_string_value(json_object_get(vm.labels, "app")), "db");
	patch(w, "{\"cpu\":2}", ERR_CONFLICT, &vm);
	patch(w, "{\"status\":\"ERROR\"}", ERR_INVALID, &vm);
	patch(w, "{\"name\":\"b\"}", ERR_EXISTS, &vm);
	patch(w, "{\"name\":null}", ERR_INVALID, &vm);
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	patch(w, "{\"cpu\":5}", ERR_INVALID, &vm);
	patch(w, "{\"cpu\":4,\"ram_mib\":2048}", ERR_NONE, &vm);
	assert_int_equal(vm.specs.cpu, 4);
	use = orders_world_use(w, &alice);
	assert_int_equal(use.vms, 2);
	assert_int_equal(use.cpu, 5);
	patch(w, "{\"name\":\"c\"}", ERR_NONE, &vm);
	assert_int_equal(orders_vm_get(w->orders, &alice, "c", &vm, &e), 0);
	assert_int_equal(orders_vm_get(w->orders, &alice, "a", &vm, &e), -1);
	assert_int_equal(orders_world_count(w, KEY_VM_NAME), 2);
}

static void test_requests(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_vm(w, &alice, "a", "", &vm);
	assert_int_equal(orders_request_get(w->orders, &alice, vm.uuid, &r, &e), 0);
	assert_int_equal(r.type, REQ_SCHEDULE_VM);
	assert_int_equal(orders_request_retry(w->orders, &alice, vm.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(
		orders_request_retry(w->orders, &admin, vm.uuid, &r, &e), ORDER_AS_IT_IS);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, vm.uuid, NOW, &vm, NULL, &e), 0);
	assert_int_equal(vm.status, VM_ERROR);
	assert_int_equal(orders_request_get(w->orders, &alice, vm.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_vm_delete(w->orders, &alice, vm.uuid, NOW, &vm, &e), 0);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, vm.uuid, NOW, &vm, NULL, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

#define TEST(f)                                                                          \
	cmocka_unit_test_setup_teardown(f, orders_world_setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_stop_waiting),
		TEST(test_host_dead),
		TEST(test_stop_running),
		TEST(test_start_in_error),
		TEST(test_reboot),
		TEST(test_reboot_unknown),
		TEST(test_delete),
		TEST(test_patch),
		TEST(test_requests),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
