/* Orders for networks, VMs that are made in them, who uses them, and their requests. */
#include "ucloud-api/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "tests/lib/orders_world.h"
#include "ucloud-api/list.h"
#include "ucloud-api/network_use.h"

#define NOW ORDERS_WORLD_NOW

static void refuse_at(int line, struct orders_world *w, const char *text,
	enum err_kind kind, const char *field, const char *says)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e = { 0 };
	int r = orders_world_network_as(w, &alice, text, NULL, &n, &e);

	orders_world_refused_at(line, r, &e, kind, field, says);
}
#define refuse(...) refuse_at(__LINE__, __VA_ARGS__)

static int request_type(struct orders_world *w, const char *uuid)
{
	CLEANUP(request_done) struct request r = { 0 };

	if (!orders_world_request(w, key_request_network(&w->keys, uuid), &r))
		return -1;
	assert_string_equal(r.uuid, uuid);
	return r.type;
}

static int status_of(struct orders_world *w, const char *ref)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e;

	assert_int_equal(orders_network_get(w->orders, &admin, ref, &n, &e), 0);
	return n.status;
}

/* ---------------------------------------------------------------- create */

static void test_create(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(kv_pair_done) struct kv_pair index = { 0 };
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(
		orders_world_network_as(w, &alice,
			"{\"name\":\"lan\",\"dns\":[\"2001:db8::53\"]}", NULL, &n, &e),
		0);
	assert_string_equal(n.name, "lan");
	assert_string_equal(n.owner, "alice");
	assert_string_equal(n.owner_realm, "users");
	assert_int_equal(n.ipam, IPAM_AUTO);
	assert_int_equal(n.status, NET_REQUESTED_NEW);
	assert_int_equal(n.created, NOW);
	assert_string_equal(n.dns.v[0], "2001:db8::53");
	assert_int_equal(request_type(w, n.uuid), REQ_CREATE_NETWORK);
	assert_int_equal(orders_world_use(w, &alice).networks, 1);
	orders_world_get(w, key_network_name("users", "alice", "lan"), &index);
	assert_string_equal(index.value, n.uuid);
	assert_int_equal(orders_world_network_as(w, &alice,
				 "{\"name\":\"raw\",\"ipam\":\"none\"}", NULL, &n, &e),
		0);
	assert_int_equal(n.ipam, IPAM_NONE);
	/* Names are each owner's. */
	assert_int_equal(orders_world_network_as(w, &bob,
				 "{\"name\":\"lan\",\"ipam\":\"manual\"}", NULL, &n, &e),
		0);
	assert_int_equal(n.ipam, IPAM_MANUAL);
}

static void test_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;

	refuse(w, "{}", ERR_INVALID, "name", "");
	refuse(w, "{\"name\":\"No\"}", ERR_INVALID, "name", "");
	refuse(w, "{\"name\":\"01234567-89ab-4cde-8123-456789abcdef\"}", ERR_INVALID,
		"name", "uuid");
	refuse(w, "{\"name\":\"a\",\"ipam\":\"dhcp\"}", ERR_INVALID, "ipam", "");
	refuse(w, "{\"name\":\"a\",\"dns\":[\"192.0.2.1\"]}", ERR_INVALID, "dns[0]",
		"IPv6");
	refuse(w, "{\"name\":\"a\",\"vni\":7}", ERR_INVALID, "vni", "");
	orders_world_network(w, &n);
	refuse(w, "{\"name\":\"lan\"}", ERR_EXISTS, "name", "lan");
	assert_int_equal(orders_world_use(w, &alice).networks, 1);
}

static void test_quota(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;

	for (int i = 0; i < 3; i++) {
		CLEANUP_STR char *text = xasprintf("{\"name\":\"n%d\"}", i);

		assert_int_equal(
			orders_world_network_as(w, &alice, text, NULL, &n, &e), 0);
	}
	refuse(w, "{\"name\":\"lan\"}", ERR_QUOTA, "", "networks");
	assert_int_equal(orders_world_use(w, &alice).networks, 3);
}

static void test_idempotency(void **state)
{
	CLEANUP(network_done) struct network first = { 0 }, second = { 0 };
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(
		orders_world_network_as(w, &alice, "{\"name\":\"lan\"}", "k", &first, &e),
		0);
	assert_int_equal(orders_world_network_as(
				 w, &alice, "{\"name\":\"lan\"}", "k", &second, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(first.uuid, second.uuid);
	assert_int_equal(orders_world_network_as(
				 w, &alice, "{\"name\":\"wan\"}", "k", &second, &e),
		-1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(orders_world_use(w, &alice).networks, 1);
}

/* Whatever happens to the writes: one network, counted once. */
static void test_create_faults(void **state)
{
	struct orders_world *w = *state;

	for (int kind = 1; kind <= 2; kind++) {
		CLEANUP(network_done) struct network n = { 0 };
		CLEANUP_STR char *text = xasprintf("{\"name\":\"n%d\"}", kind);
		struct err e;

		orders_world_fail_write(w, 1, kind);
		if (orders_world_network_as(w, &alice, text, NULL, &n, &e) < 0)
			assert_int_equal(
				orders_world_network_as(w, &alice, text, NULL, &n, &e),
				0);
		assert_int_equal(orders_world_use(w, &alice).networks, kind);
		assert_int_equal(request_type(w, n.uuid), REQ_CREATE_NETWORK);
	}
}

/* ---------------------------------------------------------------- look, change */

static void test_get(void **state)
{
	CLEANUP(network_done) struct network n = { 0 }, out = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	assert_int_equal(orders_network_get(w->orders, &alice, "lan", &out, &e), 0);
	assert_int_equal(orders_network_get(w->orders, &alice, n.uuid, &out, &e), 0);
	assert_string_equal(out.uuid, n.uuid);
	assert_int_equal(
		orders_network_get(w->orders, &admin, "alice@users:lan", &out, &e), 0);
	assert_int_equal(orders_network_get(w->orders, &admin, n.uuid, &out, &e), 0);
	assert_int_equal(orders_network_get(w->orders, &admin, "lan", &out, &e), -1);
	assert_int_equal(orders_network_get(w->orders, &bob, "lan", &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_network_get(w->orders, &bob, n.uuid, &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(
		orders_network_get(w->orders, &bob, "alice@users:lan", &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static int patch(struct orders_world *w, const struct who *who, const char *text,
	struct network *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_network_patch(w->orders, who, "lan", body, out, e);
}

static void test_patch(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	assert_int_equal(patch(w, &alice, "{\"dns\":[\"2001:db8::1\"]}", &n, &e), 0);
	assert_string_equal(n.dns.v[0], "2001:db8::1");
	assert_int_equal(n.vni, 7);
	assert_int_equal(patch(w, &alice, "{\"dns\":null}", &n, &e), 0);
	assert_int_equal(n.dns.len, 0);
	assert_int_equal(patch(w, &alice, "{\"ipam\":\"none\"}", &n, &e), -1);
	assert_int_equal(patch(w, &alice, "{\"dns\":[\"x\"]}", &n, &e), -1);
	assert_int_equal(patch(w, &bob, "{\"dns\":[]}", &n, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	orders_world_set_network(w, &n, NET_REQUESTED_DELETE);
	assert_int_equal(patch(w, &alice, "{\"dns\":[]}", &n, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* ---------------------------------------------------------------- VMs in it */

static void test_vm(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *address = NULL;
	CLEANUP_STR char *more = NULL;
	const struct vm_nic *nic;
	struct orders_world *w = *state;

	orders_world_active_network(w, &n);
	more = xasprintf(",\"networks\":[{\"network\":\"lan\"},{\"network\":\"%s\","
			 "\"rate_mbit\":100}],\"ingress\":[\"tcp/22\",\"icmpv6\"]",
		n.uuid);
	orders_world_vm(w, &alice, "web", more, &vm);
	assert_int_equal(vm.networks.len, 2);
	nic = vm.networks.v;
	address = eui64_address("2001:db8:1:2::/64", nic[0].mac);
	assert_string_equal(nic[0].network, n.uuid);
	assert_string_equal(nic[0].address, address);
	assert_int_equal(nic[0].rate_mbit, 0);
	assert_int_equal(nic[1].rate_mbit, 100);
	assert_string_not_equal(nic[0].mac, nic[1].mac);
	assert_true(orders_world_has(w, key_port(n.uuid, nic[0].mac)));
	assert_true(orders_world_has(w, key_port(n.uuid, nic[1].mac)));
	assert_true(vm.is_closed);
	assert_int_equal(vm.ingress.len, 2);
	vm_done(&vm);
	orders_world_vm(w, &alice, "shut", ",\"ingress\":[]", &vm);
	assert_true(vm.is_closed);
	vm_done(&vm);
	orders_world_vm(w, &alice, "open", "", &vm);
	assert_false(vm.is_closed);
}

static void refuse_vm(struct orders_world *w, const struct who *who, const char *more,
	enum err_kind kind, const char *field, const char *says)
{
	CLEANUP_STR char *text =
		xasprintf("{\"name\":\"no\",\"image\":\"debian\"%s}", more);

	orders_world_refuse_vm(w, who, text, kind, field, says);
}

static void test_vm_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *others = NULL;
	struct orders_world *w = *state;

	refuse_vm(w, &alice, ORDERS_WORLD_IN_LAN, ERR_NOT_FOUND, "networks",
		"no network \"lan\"");
	orders_world_network(w, &n);
	refuse_vm(w, &alice, ORDERS_WORLD_IN_LAN, ERR_CONFLICT, "networks",
		"still being made");
	str_set(&n.reason, xstrdup("no prefix is left"));
	orders_world_set_network(w, &n, NET_ERROR);
	refuse_vm(w, &alice, ORDERS_WORLD_IN_LAN, ERR_CONFLICT, "networks",
		"no prefix is left");
	orders_world_set_network(w, &n, NET_REQUESTED_DELETE);
	refuse_vm(w, &alice, ORDERS_WORLD_IN_LAN, ERR_CONFLICT, "networks",
		"is being deleted");
	orders_world_set_network(w, &n, NET_ACTIVE);
	refuse_vm(w, &bob, ORDERS_WORLD_IN_LAN, ERR_NOT_FOUND, "networks", "no network");
	others = xasprintf(",\"networks\":[{\"network\":\"%s\"}]", n.uuid);
	refuse_vm(w, &bob, others, ERR_NOT_FOUND, "networks", "no network");
	/* Also an admin's VMs are in an admin's networks. */
	refuse_vm(w, &admin, others, ERR_NOT_FOUND, "networks", "no network");
	refuse_vm(w, &alice, ",\"networks\":[{\"network\":\"lan\",\"rate_mbit\":-1}]",
		ERR_INVALID, "networks[0].rate_mbit", "");
	refuse_vm(
		w, &alice, ",\"ingress\":[\"ssh\"]", ERR_INVALID, "ingress[0]", "tcp/22");
}

static void test_use(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(network_use_done) struct network_use use = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	const struct network_user *user;
	const struct network_place *place;
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(w, &alice, "web", ORDERS_WORLD_IN_LAN, &vm);
	orders_world_put(w, key_network_host(n.uuid, "h1"),
		xstrdup("{\"roles\":[\"host\"],\"since\":\"2026-01-02T03:04:05Z\"}"));
	orders_world_put(w, key_network_host(n.uuid, "h2"),
		xstrdup("{\"roles\":[\"router\"],\"problem\":\"radvd died\"}"));
	assert_int_equal(network_use_read(w->kv, &w->keys, &n, &use, &e), 0);
	assert_string_equal(use.group, "ff15::75c1:7");
	assert_string_equal(use.router, "2001:db8:1:2::1");
	assert_int_equal(use.vms.len, 1);
	assert_false(use.has_more_vms);
	user = use.vms.v;
	assert_string_equal(user->name, "web");
	assert_string_equal(user->uuid, vm.uuid);
	assert_string_equal(user->mac, ((const struct vm_nic *)vm.networks.v)[0].mac);
	assert_int_equal(use.hosts.len, 2);
	place = use.hosts.v;
	assert_string_equal(place[0].hostname, "h1");
	assert_string_equal(place[0].roles.v[0], "host");
	assert_string_equal(place[1].problem, "radvd died");
	json = jtab_format_public(&network_use_jtab, &use);
	assert_int_equal(json_array_size(json_object_get(json, "hosts")), 2);
}

/* What cannot be read is there, and does no harm. */
static void test_use_of_rubbish(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(network_use_done) struct network_use use = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	orders_world_put(w, key_network_host(n.uuid, "h1"), xstrdup("nonsense"));
	orders_world_put(w, key_port(n.uuid, "02:00:00:00:00:01"), xstrdup("[]"));
	orders_world_put(w, key_port(n.uuid, "02:00:00:00:00:02"), xstrdup("{\"vm\":7}"));
	orders_world_put(w, key_port(n.uuid, "02:00:00:00:00:03"),
		xstrdup("{\"vm\":\"01234567-89ab-4cde-8123-456789abcdef\"}"));
	assert_int_equal(network_use_read(w->kv, &w->keys, &n, &use, &e), 0);
	assert_null(use.group);
	assert_int_equal(use.vms.len, 3);
	assert_int_equal(use.hosts.len, 1);
	network_use_done(&use);
	assert_int_equal(network_use_read_vms(w->kv, &w->keys, n.uuid, 2, &use, &e), 0);
	assert_int_equal(use.vms.len, 2);
	assert_true(use.has_more_vms);
}

/* ---------------------------------------------------------------- delete */

static void test_delete(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	assert_int_equal(orders_world_delete_network(w, &bob, n.uuid, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
	/* It counts until it is gone. */
	assert_int_equal(orders_world_use(w, &alice).networks, 1);
	assert_int_equal(
		orders_world_delete_network(w, &alice, "lan", &e), ORDER_AS_IT_IS);
}

static void test_delete_not_made(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

static void test_delete_in_use(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm web = { 0 }, db = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(w, &alice, "web", ORDERS_WORLD_IN_LAN, &web);
	orders_world_vm(w, &alice, "db", ORDERS_WORLD_IN_LAN, &db);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "web"));
	assert_non_null(strstr(e.msg, "db"));
	assert_int_equal(status_of(w, n.uuid), NET_ACTIVE);
	assert_int_equal(request_type(w, n.uuid), -1);
}

/* It is made, a VM is ordered in it, and another call is about to find that out. */
static void made_and_closed(struct orders_world *w)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e;

	assert_int_equal(orders_network_get(w->orders, &alice, w->uuid, &n, &e), 0);
	orders_world_set_network(w, &n, NET_ACTIVE);
	orders_world_vm(w, &alice, "web", ORDERS_WORLD_IN_LAN, &vm);
	orders_world_set_network(w, &n, NET_REQUESTED_DELETE);
}

static void test_delete_while_made(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	orders_world_meddle(w, 1, made_and_closed, n.uuid);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	assert_null(w->meddle);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(request_type(w, n.uuid), -1);
}

/* After a call that died between its steps, the next one does it all. */
static void test_delete_cut_short(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(w, &alice, "web", ORDERS_WORLD_IN_LAN, &vm);
	orders_world_set_network(w, &n, NET_REQUESTED_DELETE);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	assert_int_equal(status_of(w, n.uuid), NET_ACTIVE);
	orders_world_put(
		w, key_port(n.uuid, ((const struct vm_nic *)vm.networks.v)->mac), NULL);
	orders_world_set_network(w, &n, NET_REQUESTED_DELETE);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

/* A call that dies before it has looked has ordered that somebody else looks. */
static void test_delete_dies(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_fail_write(w, 2, 1);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	orders_world_fail_write(w, 0, 0);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_true(orders_world_request(w, key_request_network(&w->keys, n.uuid), &r));
	assert_int_equal(r.type, REQ_DELETE_NETWORK);
	assert_true(r.is_unchecked);
	assert_true(r.not_before > NOW);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	request_done(&r);
	assert_true(orders_world_request(w, key_request_network(&w->keys, n.uuid), &r));
	assert_false(r.is_unchecked);
	assert_int_equal(r.not_before, 0);
}

/* A call that comes again, and cannot read something, takes back nothing. */
static void test_delete_again(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct orders_world *w = *state;
	struct err e;
	int r = -1;

	orders_world_active_network(w, &n);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	for (int i = 1; r < 0 && i < 30; i++) {
		orders_world_fail_read(w, i);
		r = orders_world_delete_network(w, &alice, "lan", &e);
		orders_world_fail_read(w, 0);
		assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
		assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
	}
	assert_int_equal(r, ORDER_AS_IT_IS);
}

/* Another call deletes it after this one has found a VM that went just then: this one must not
 * open it again. */
static void other_delete(struct orders_world *w)
{
	CLEANUP(kv_list_done) struct kv_list ports = { 0 };
	CLEANUP_STR char *prefix = key_ports(w->uuid);
	struct err e;

	assert_int_equal(kv_range(w->kv, prefix, 0, &ports, &e), 0);
	for (size_t i = 0; i < ports.len; i++)
		orders_world_put(w, xstrdup(ports.v[i].key), NULL);
	assert_int_equal(orders_world_delete_network(w, &alice, w->uuid, &e), 0);
}

static void test_two_deletes(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_active_network(w, &n);
	orders_world_vm(w, &alice, "web", ORDERS_WORLD_IN_LAN, &vm);
	/* The first one closes it, the second one opens it again. */
	orders_world_meddle(w, 2, other_delete, n.uuid);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), -1);
	assert_null(w->meddle);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

/* ---------------------------------------------------------------- lists, requests */

static size_t list_len(struct orders_world *w, const char *owner, const char *after,
	size_t limit, char **next)
{
	struct list_range range = { limit, after };
	struct list_page page = { 0 };
	struct err e;
	size_t n;

	assert_int_equal(
		list_networks(w->kv, &w->keys, owner, "users", &range, &page, &e), 0);
	n = json_array_size(page.items);
	str_set(next, MOVE(page.next));
	list_page_done(&page);
	return n;
}

static void test_list(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *next = NULL;
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	assert_int_equal(
		orders_world_network_as(w, &alice, "{\"name\":\"b\"}", NULL, &n, &e), 0);
	assert_int_equal(
		orders_world_network_as(w, &bob, "{\"name\":\"lan\"}", NULL, &n, &e), 0);
	assert_int_equal(list_len(w, "alice", NULL, 10, &next), 2);
	assert_null(next);
	assert_int_equal(list_len(w, "alice", NULL, 1, &next), 1);
	assert_string_equal(next, "b");
	assert_int_equal(list_len(w, "alice", "b", 1, &next), 1);
	assert_int_equal(list_len(w, NULL, NULL, 10, &next), 3);
	assert_int_equal(list_len(w, "carol", NULL, 10, &next), 0);
}

/* VMs', images', networks': all of them, whatever the size of a page. */
static void test_list_requests(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	assert_int_equal(
		orders_world_network_as(w, &alice, "{\"name\":\"b\"}", NULL, &n, &e), 0);
	orders_world_vm(w, &alice, "web", "", &vm);
	for (size_t limit = 1; limit < 5; limit++) {
		CLEANUP_STR char *after = NULL;
		size_t sum = 0, n_pages = 0;

		do {
			struct list_range range = { limit, after };
			struct list_page page = { 0 };

			assert_int_equal(list_requests_of(w->kv, &w->keys, "alice",
						 "users", &range, &page, &e),
				0);
			sum += json_array_size(page.items);
			assert_true(json_array_size(page.items) <= limit);
			str_set(&after, MOVE(page.next));
			list_page_done(&page);
		} while (after && ++n_pages < 20);
		assert_int_equal(sum, 3);
	}
}

static void test_requests(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	orders_world_network(w, &n);
	assert_int_equal(orders_request_get(w->orders, &alice, n.uuid, &r, &e), 0);
	assert_int_equal(r.type, REQ_CREATE_NETWORK);
	assert_int_equal(orders_request_get(w->orders, &bob, n.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	r.attempts = 3;
	r.not_before = NOW + 60;
	orders_world_put(w, key_request_network(&w->keys, n.uuid), request_format(&r));
	assert_int_equal(orders_request_retry(w->orders, &alice, n.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(orders_request_retry(w->orders, &admin, n.uuid, &r, &e), 0);
	assert_int_equal(r.attempts, 0);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, n.uuid, NOW, &vm, &im, &e), 0);
	assert_null(vm.uuid);
	assert_null(im.uuid);
	assert_int_equal(orders_network_get(w->orders, &alice, "lan", &n, &e), 0);
	assert_int_equal(n.status, NET_ERROR);
	assert_string_equal(n.reason, "CreateNetwork aborted by root@ungleich-admin");
	assert_int_equal(request_type(w, n.uuid), -1);
	assert_int_equal(orders_request_get(w->orders, &alice, n.uuid, &r, &e), -1);
	assert_int_equal(orders_world_delete_network(w, &alice, "lan", &e), 0);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, n.uuid, NOW, &vm, &im, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "DeleteNetwork cannot be aborted"));
}

#define TEST(f)                                                                          \
	cmocka_unit_test_setup_teardown(f, orders_world_setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_refusals),
		TEST(test_quota),
		TEST(test_idempotency),
		TEST(test_create_faults),
		TEST(test_get),
		TEST(test_patch),
		TEST(test_vm),
		TEST(test_vm_refusals),
		TEST(test_use),
		TEST(test_use_of_rubbish),
		TEST(test_delete),
		TEST(test_delete_not_made),
		TEST(test_delete_in_use),
		TEST(test_delete_while_made),
		TEST(test_delete_dies),
		TEST(test_delete_again),
		TEST(test_delete_cut_short),
		TEST(test_two_deletes),
		TEST(test_list),
		TEST(test_list_requests),
		TEST(test_requests),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
