/* Orders for networks, VMs in them, who uses them, and their requests. */
#include "ucloud-api/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "common/store/kv_fake.h"
#include "ucloud-api/list.h"
#include "ucloud-api/network_use.h"

#define NOW 1700000000

struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct orders *orders;
	struct kv_fault fault;
	int n_writes;
	int fault_at, fault_kind;
	int n_reads, read_fault_at;
	/* What happens just before the write number meddle_at. */
	int meddle_at;
	void (*meddle)(struct world *w);
	char uuid[UUID_STR_SIZE]; /* of a network, for meddle */
};

static const struct who admin = { "root", "ungleich-admin", true };
static const struct who alice = { "alice", "users", false };
static const struct who bob = { "bob", "users", false };

static const struct orders_conf conf = {
	.quota = { .vms = 5,
		.cpu = 8,
		.ram_mib = 8192,
		.disk_gib = 100,
		.images = 3,
		.networks = 3 },
	.limits = { .max_cpu = 4, .max_ram_mib = 4096, .max_disk_gib = 50 },
};

static int on_write(void *aux)
{
	struct world *w = aux;

	++w->n_writes;
	if (w->meddle && w->n_writes == w->meddle_at) {
		void (*meddle)(struct world *) = w->meddle;

		w->meddle = NULL;
		meddle(w);
	}
	return w->n_writes == w->fault_at ? w->fault_kind : 0;
}

static int on_read(void *aux)
{
	struct world *w = aux;

	return ++w->n_reads == w->read_fault_at;
}

static json_t *js(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	return j;
}

static void put_key(struct world *w, char *key, char *text)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	if (text)
		kv_txn_put(t, key, text);
	else
		kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
	free(key);
	free(text);
}

static void get_key(struct world *w, char *key, struct kv_pair *out)
{
	struct err e;

	assert_int_equal(kv_get(w->kv, key, out, NULL, &e), 0);
	free(key);
}

static bool has_key(struct world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };

	get_key(w, key, &p);
	return p.key != NULL;
}

static void add_image(struct world *w)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *store =
		js("{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/x\"}");
	CLEANUP(json_decref_ptr)
	json_t *image = js("{\"name\":\"deb\",\"store\":\"local\",\"path\":\"a\","
			   "\"format\":\"raw\",\"public\":true}");
	struct err e;

	assert_int_equal(
		orders_store_create(w->orders, &admin, store, NULL, NOW, &s, &e), 0);
	assert_int_equal(
		orders_image_create(w->orders, &admin, image, NULL, NOW, &im, &e), 0);
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->fault =
		(struct kv_fault){ .on_write = on_write, .on_read = on_read, .aux = w };
	kv_fake_set_fault(w->kv, &w->fault);
	keys_set_defaults(&w->keys);
	w->orders = orders_new(w->kv, &w->keys, &conf);
	add_image(w);
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
	const char *idem, struct network *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_network_create(w->orders, who, body, idem, NOW, out, e);
}

static void create(struct world *w, struct network *out)
{
	struct err e;

	if (create_as(w, &alice, "{\"name\":\"lan\"}", NULL, out, &e) != 0)
		fail_msg("%s", e.msg);
}

static void refuse_at(int line, struct world *w, const char *text, enum err_kind kind,
	const char *field, const char *says)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e = { 0 };

	if (create_as(w, &alice, text, NULL, &n, &e) >= 0)
		fail_msg("line %d: not refused", line);
	if (e.kind != kind || strcmp(e.field, field) != 0 || !strstr(e.msg, says))
		fail_msg("line %d: %s: %s: %s", line, err_kind_name(e.kind), e.field,
			e.msg);
}
#define refuse(...) refuse_at(__LINE__, __VA_ARGS__)

/* As ucloud-network would write it. */
static void set_status(struct world *w, struct network *n, enum network_status status)
{
	n->status = (int)status;
	if (status == NET_ACTIVE) {
		n->vni = 7;
		n->mtu = 1430;
		str_set(&n->prefix, xstrdup("2001:db8:1:2::/64"));
		put_key(w, key_request_network(&w->keys, n->uuid), NULL);
	}
	put_key(w, key_network(&w->keys, n->uuid), network_format(n));
}

static void create_active(struct world *w, struct network *out)
{
	create(w, out);
	set_status(w, out, NET_ACTIVE);
}

static int create_vm_as(struct world *w, const struct who *who, const char *name,
	const char *more, struct vm *out, struct err *e)
{
	CLEANUP_STR char *text =
		xasprintf("{\"name\":\"%s\",\"image\":\"deb\"%s}", name, more);
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_vm_create(w->orders, who, body, NULL, NOW, out, e);
}

#define IN_LAN ",\"networks\":[{\"network\":\"lan\"}]"

static void create_vm(struct world *w, const char *name, struct vm *out)
{
	struct err e;

	if (create_vm_as(w, &alice, name, IN_LAN, out, &e) != 0)
		fail_msg("%s", e.msg);
}

static int64_t n_used(struct world *w, const struct who *who)
{
	CLEANUP(user_done) struct user u = { 0 };
	struct err e;

	assert_int_equal(
		orders_user_get(w->orders, who, who->name, who->realm, &u, &e), 0);
	return u.use.networks;
}

static int request_type(struct world *w, const char *uuid)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct err e;

	get_key(w, key_request_network(&w->keys, uuid), &p);
	if (!p.key)
		return -1;
	assert_int_equal(request_parse(p.value, p.value_size, &r, &e), 0);
	assert_string_equal(r.uuid, uuid);
	return r.type;
}

static int status_of(struct world *w, const char *ref)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct err e;

	assert_int_equal(orders_network_get(w->orders, &admin, ref, &n, &e), 0);
	return n.status;
}

static int delete_as(
	struct world *w, const struct who *who, const char *ref, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };

	return orders_network_delete(w->orders, who, ref, NOW, &n, e);
}

/* ---------------------------------------------------------------- create */

static void test_create(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(kv_pair_done) struct kv_pair index = { 0 };
	struct world *w = *state;
	struct err e;

	assert_int_equal(
		create_as(w, &alice, "{\"name\":\"lan\",\"dns\":[\"2001:db8::53\"]}",
			NULL, &n, &e),
		0);
	assert_string_equal(n.name, "lan");
	assert_string_equal(n.owner, "alice");
	assert_string_equal(n.owner_realm, "users");
	assert_int_equal(n.ipam, IPAM_AUTO);
	assert_int_equal(n.status, NET_REQUESTED_NEW);
	assert_int_equal(n.created, NOW);
	assert_string_equal(n.dns.v[0], "2001:db8::53");
	assert_int_equal(request_type(w, n.uuid), REQ_CREATE_NETWORK);
	assert_int_equal(n_used(w, &alice), 1);
	get_key(w, key_network_name("users", "alice", "lan"), &index);
	assert_string_equal(index.value, n.uuid);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"raw\",\"ipam\":\"none\"}",
				 NULL, &n, &e),
		0);
	assert_int_equal(n.ipam, IPAM_NONE);
	/* Names are each owner's. */
	assert_int_equal(create_as(w, &bob, "{\"name\":\"lan\",\"ipam\":\"manual\"}",
				 NULL, &n, &e),
		0);
	assert_int_equal(n.ipam, IPAM_MANUAL);
}

static void test_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;

	refuse(w, "{}", ERR_INVALID, "name", "");
	refuse(w, "{\"name\":\"No\"}", ERR_INVALID, "name", "");
	refuse(w, "{\"name\":\"01234567-89ab-4cde-8123-456789abcdef\"}", ERR_INVALID,
		"name", "uuid");
	refuse(w, "{\"name\":\"a\",\"ipam\":\"dhcp\"}", ERR_INVALID, "ipam", "");
	refuse(w, "{\"name\":\"a\",\"dns\":[\"192.0.2.1\"]}", ERR_INVALID, "dns[0]",
		"IPv6");
	refuse(w, "{\"name\":\"a\",\"vni\":7}", ERR_INVALID, "vni", "");
	create(w, &n);
	refuse(w, "{\"name\":\"lan\"}", ERR_EXISTS, "name", "lan");
	assert_int_equal(n_used(w, &alice), 1);
}

static void test_quota(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;

	for (int i = 0; i < 3; i++) {
		CLEANUP_STR char *text = xasprintf("{\"name\":\"n%d\"}", i);

		assert_int_equal(create_as(w, &alice, text, NULL, &n, &e), 0);
	}
	refuse(w, "{\"name\":\"lan\"}", ERR_QUOTA, "", "networks");
	assert_int_equal(n_used(w, &alice), 3);
}

static void test_idempotency(void **state)
{
	CLEANUP(network_done) struct network first = { 0 }, second = { 0 };
	struct world *w = *state;
	struct err e;

	assert_int_equal(create_as(w, &alice, "{\"name\":\"lan\"}", "k", &first, &e), 0);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"lan\"}", "k", &second, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(first.uuid, second.uuid);
	assert_int_equal(
		create_as(w, &alice, "{\"name\":\"wan\"}", "k", &second, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(n_used(w, &alice), 1);
}

/* Whatever happens to the writes: one network, counted once. */
static void test_create_faults(void **state)
{
	struct world *w = *state;

	for (int kind = 1; kind <= 2; kind++) {
		CLEANUP(network_done) struct network n = { 0 };
		CLEANUP_STR char *text = xasprintf("{\"name\":\"n%d\"}", kind);
		struct err e;

		w->n_writes = 0;
		w->fault_at = 1;
		w->fault_kind = kind;
		if (create_as(w, &alice, text, NULL, &n, &e) < 0)
			assert_int_equal(create_as(w, &alice, text, NULL, &n, &e), 0);
		assert_int_equal(n_used(w, &alice), kind);
		assert_int_equal(request_type(w, n.uuid), REQ_CREATE_NETWORK);
	}
}

/* ---------------------------------------------------------------- look, change */

static void test_get(void **state)
{
	CLEANUP(network_done) struct network n = { 0 }, out = { 0 };
	struct world *w = *state;
	struct err e;

	create(w, &n);
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

static int patch(struct world *w, const struct who *who, const char *text,
	struct network *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_network_patch(w->orders, who, "lan", body, out, e);
}

static void test_patch(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	assert_int_equal(patch(w, &alice, "{\"dns\":[\"2001:db8::1\"]}", &n, &e), 0);
	assert_string_equal(n.dns.v[0], "2001:db8::1");
	assert_int_equal(n.vni, 7);
	assert_int_equal(patch(w, &alice, "{\"dns\":null}", &n, &e), 0);
	assert_int_equal(n.dns.len, 0);
	assert_int_equal(patch(w, &alice, "{\"ipam\":\"none\"}", &n, &e), -1);
	assert_int_equal(patch(w, &alice, "{\"dns\":[\"x\"]}", &n, &e), -1);
	assert_int_equal(patch(w, &bob, "{\"dns\":[]}", &n, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	set_status(w, &n, NET_REQUESTED_DELETE);
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
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	more = xasprintf(",\"networks\":[{\"network\":\"lan\"},{\"network\":\"%s\","
			 "\"rate_mbit\":100}],\"ingress\":[\"tcp/22\",\"icmpv6\"]",
		n.uuid);
	assert_int_equal(create_vm_as(w, &alice, "web", more, &vm, &e), 0);
	assert_int_equal(vm.networks.len, 2);
	nic = vm.networks.v;
	address = eui64_address("2001:db8:1:2::/64", nic[0].mac);
	assert_string_equal(nic[0].network, n.uuid);
	assert_string_equal(nic[0].address, address);
	assert_int_equal(nic[0].rate_mbit, 0);
	assert_int_equal(nic[1].rate_mbit, 100);
	assert_string_not_equal(nic[0].mac, nic[1].mac);
	assert_true(has_key(w, key_port(n.uuid, nic[0].mac)));
	assert_true(has_key(w, key_port(n.uuid, nic[1].mac)));
	assert_true(vm.is_closed);
	assert_int_equal(vm.ingress.len, 2);
	vm_done(&vm);
	assert_int_equal(create_vm_as(w, &alice, "shut", ",\"ingress\":[]", &vm, &e), 0);
	assert_true(vm.is_closed);
	vm_done(&vm);
	assert_int_equal(create_vm_as(w, &alice, "open", "", &vm, &e), 0);
	assert_false(vm.is_closed);
}

static void refuse_vm(struct world *w, const struct who *who, const char *more,
	enum err_kind kind, const char *field, const char *says)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };

	assert_int_equal(create_vm_as(w, who, "no", more, &vm, &e), -1);
	if (e.kind != kind || strcmp(e.field, field) != 0 || !strstr(e.msg, says))
		fail_msg("%s: %s: %s: %s", more, err_kind_name(e.kind), e.field, e.msg);
}

static void test_vm_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP_STR char *others = NULL;
	struct world *w = *state;

	refuse_vm(w, &alice, IN_LAN, ERR_NOT_FOUND, "networks", "no network \"lan\"");
	create(w, &n);
	refuse_vm(w, &alice, IN_LAN, ERR_CONFLICT, "networks", "still being made");
	str_set(&n.reason, xstrdup("no prefix is left"));
	set_status(w, &n, NET_ERROR);
	refuse_vm(w, &alice, IN_LAN, ERR_CONFLICT, "networks", "no prefix is left");
	set_status(w, &n, NET_REQUESTED_DELETE);
	refuse_vm(w, &alice, IN_LAN, ERR_CONFLICT, "networks", "is being deleted");
	set_status(w, &n, NET_ACTIVE);
	refuse_vm(w, &bob, IN_LAN, ERR_NOT_FOUND, "networks", "no network");
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
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	put_key(w, key_network_host(n.uuid, "h1"),
		xstrdup("{\"roles\":[\"host\"],\"since\":\"2026-01-02T03:04:05Z\"}"));
	put_key(w, key_network_host(n.uuid, "h2"),
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
	struct world *w = *state;
	struct err e;

	create(w, &n);
	put_key(w, key_network_host(n.uuid, "h1"), xstrdup("nonsense"));
	put_key(w, key_port(n.uuid, "02:00:00:00:00:01"), xstrdup("[]"));
	put_key(w, key_port(n.uuid, "02:00:00:00:00:02"), xstrdup("{\"vm\":7}"));
	put_key(w, key_port(n.uuid, "02:00:00:00:00:03"),
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

/* ---------------------------------------------------------------- attach, detach */

static int attach(struct world *w, const struct who *who, const char *ref,
	const char *text, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);

	return orders_nic_attach(w->orders, who, ref, body, NULL, NOW, out, e);
}

static const struct vm_nic *nic_at(const struct vm *vm, size_t i)
{
	return jtab_list_at(&vm_nic_jtab, &vm->networks, i);
}

static json_int_t port_index(struct world *w, const char *uuid, const char *mac)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	CLEANUP(json_decref_ptr) json_t *json = NULL;

	get_key(w, key_port(uuid, mac), &p);
	if (!p.key)
		return -1;
	json = js(p.value);
	return json_integer_value(json_object_get(json, "index"));
}

static void test_attach_detach(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *first = NULL;
	CLEANUP_STR char *second = NULL;
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	assert_int_equal(
		create_vm_as(w, &alice, "web", IN_LAN ",\"want\":\"stopped\"", &vm, &e),
		0);
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
	assert_int_equal(attach(w, &admin, vm.uuid, "{\"network\":\"lan\"}", &vm, &e), 0);
	assert_string_equal(nic_at(&vm, 1)->mac, first);
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
}

static void test_attach_refusals(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 }, out = { 0 };
	struct world *w = *state;
	struct err e;

	create(w, &n);
	assert_int_equal(
		create_vm_as(w, &alice, "web", ",\"want\":\"stopped\"", &vm, &e), 0);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"lan\"}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"wan\"}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(attach(w, &alice, "web", "{}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	set_status(w, &n, NET_ACTIVE);
	assert_int_equal(attach(w, &bob, vm.uuid, "{\"network\":\"lan\"}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	for (int i = 0; i < VM_NICS_MAX; i++)
		assert_int_equal(
			attach(w, &alice, "web", "{\"network\":\"lan\"}", &out, &e), 0);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"lan\"}", &out, &e), -1);
	assert_non_null(strstr(e.msg, "8 interfaces already"));
	assert_int_equal(
		orders_nic_detach(w->orders, &alice, "web", "nonsense", NOW, &out, &e),
		-1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_int_equal(create_vm_as(w, &alice, "on", "", &vm, &e), 0);
	assert_int_equal(attach(w, &alice, "on", "{\"network\":\"lan\"}", &out, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
}

/* Whatever happens to the write: one interface more, or one less. */
static void test_attach_faults(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *mac = NULL;
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	assert_int_equal(
		create_vm_as(w, &alice, "web", ",\"want\":\"stopped\"", &vm, &e), 0);
	w->n_writes = 0;
	w->fault_at = 1;
	w->fault_kind = 2;
	assert_true(attach(w, &alice, "web", "{\"network\":\"lan\"}", &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 1);
	mac = xstrdup(nic_at(&vm, 0)->mac);
	w->n_writes = 0;
	assert_true(orders_nic_detach(w->orders, &alice, "web", mac, NOW, &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 0);
	assert_int_equal(port_index(w, n.uuid, mac), -1);
}

/* As ucloud-host would write it. */
static void make_running(struct world *w, struct vm *vm)
{
	vm_move(vm, VM_SCHEDULED);
	vm_move(vm, VM_RUNNING);
	str_set(&vm->hostname, xstrdup("h1"));
	put_key(w, key_vm(&w->keys, vm->uuid), vm_format(vm));
	put_key(w, key_request_scheduler(&w->keys, vm->uuid), NULL);
}

/* ChangeVM is open at its host; it is done with. */
static bool take_change(struct world *w, const char *uuid)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct err e;

	get_key(w, key_request_host(&w->keys, "h1", uuid), &p);
	if (!p.key)
		return false;
	assert_int_equal(request_parse(p.value, p.value_size, &r, &e), 0);
	assert_int_equal(r.type, REQ_CHANGE_VM);
	assert_int_equal(r.deadline, NOW + REQUEST_CHANGE_SEC);
	put_key(w, key_request_host(&w->keys, "h1", uuid), NULL);
	return true;
}

/* Its host carries it out, and takes what leaves out of the entry. */
static void test_attach_detach_live(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *first = NULL;
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	make_running(w, &vm);
	first = xstrdup(nic_at(&vm, 0)->mac);
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"lan\"}", &vm, &e), 0);
	assert_true(vm.is_changing);
	assert_int_equal(vm.networks.len, 2);
	assert_int_equal(port_index(w, n.uuid, nic_at(&vm, 1)->mac), 1);
	/* One after the other. */
	assert_int_equal(attach(w, &alice, "web", "{\"network\":\"lan\"}", &vm, &e), -1);
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
	put_key(w, key_vm(&w->keys, vm.uuid), vm_format(&vm));
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	assert_non_null(strstr(e.msg, "web"));
}

/* Whatever happens to the write: ordered once. */
static void test_live_faults(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *mac = NULL;
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	make_running(w, &vm);
	mac = xstrdup(nic_at(&vm, 0)->mac);
	w->fault_kind = 2;
	w->n_writes = 0;
	w->fault_at = 1;
	assert_true(attach(w, &alice, "web", "{\"network\":\"lan\"}", &vm, &e) >= 0);
	assert_int_equal(vm.networks.len, 2);
	assert_true(take_change(w, vm.uuid));
	w->n_writes = 0;
	assert_true(orders_nic_detach(w->orders, &alice, "web", mac, NOW, &vm, &e) >= 0);
	assert_true(vm_find_nic(&vm, mac)->is_leaving);
	assert_true(take_change(w, vm.uuid));
}

static void test_attach_idempotency(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr) json_t *lan = js("{\"network\":\"lan\"}");
	CLEANUP(json_decref_ptr)
	json_t *slow = js("{\"network\":\"lan\",\"rate_mbit\":5}");
	struct world *w = *state;
	struct orders *o = w->orders;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	make_running(w, &vm);
	assert_int_equal(orders_nic_attach(o, &alice, "web", lan, "k", NOW, &vm, &e), 0);
	assert_int_equal(orders_nic_attach(o, &alice, "web", lan, "k", NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(vm.networks.len, 2);
	assert_int_equal(
		orders_nic_attach(o, &alice, "web", slow, "k", NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "Idempotency-Key");
}

/* ---------------------------------------------------------------- delete */

static void test_delete(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	assert_int_equal(delete_as(w, &bob, n.uuid, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
	/* It counts until it is gone. */
	assert_int_equal(n_used(w, &alice), 1);
	assert_int_equal(delete_as(w, &alice, "lan", &e), ORDER_AS_IT_IS);
}

static void test_delete_not_made(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;

	create(w, &n);
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

static void test_delete_in_use(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm web = { 0 }, db = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &web);
	create_vm(w, "db", &db);
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "web"));
	assert_non_null(strstr(e.msg, "db"));
	assert_int_equal(status_of(w, n.uuid), NET_ACTIVE);
	assert_int_equal(request_type(w, n.uuid), -1);
}

/* It is made, a VM is ordered in it, and another call is about to find that out. */
static void made_and_closed(struct world *w)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e;

	assert_int_equal(orders_network_get(w->orders, &alice, w->uuid, &n, &e), 0);
	set_status(w, &n, NET_ACTIVE);
	create_vm(w, "web", &vm);
	set_status(w, &n, NET_REQUESTED_DELETE);
}

static void test_delete_while_made(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;

	create(w, &n);
	snprintf(w->uuid, sizeof(w->uuid), "%s", n.uuid);
	w->n_writes = 0;
	w->meddle_at = 1;
	w->meddle = made_and_closed;
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	assert_null(w->meddle);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(request_type(w, n.uuid), -1);
}

/* After a call that died between its steps, the next one does it all. */
static void test_delete_cut_short(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	set_status(w, &n, NET_REQUESTED_DELETE);
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	assert_int_equal(status_of(w, n.uuid), NET_ACTIVE);
	put_key(w, key_port(n.uuid, ((const struct vm_nic *)vm.networks.v)->mac), NULL);
	set_status(w, &n, NET_REQUESTED_DELETE);
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

/* A call that dies before it has looked has ordered that somebody else looks. */
static void test_delete_dies(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	w->n_writes = 0;
	w->fault_at = 2;
	w->fault_kind = 1;
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	w->fault_at = 0;
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	get_key(w, key_request_network(&w->keys, n.uuid), &p);
	assert_non_null(p.key);
	assert_int_equal(request_parse(p.value, p.value_size, &r, &e), 0);
	assert_int_equal(r.type, REQ_DELETE_NETWORK);
	assert_true(r.is_unchecked);
	assert_true(r.not_before > NOW);
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	kv_pair_done(&p);
	request_done(&r);
	get_key(w, key_request_network(&w->keys, n.uuid), &p);
	assert_int_equal(request_parse(p.value, p.value_size, &r, &e), 0);
	assert_false(r.is_unchecked);
	assert_int_equal(r.not_before, 0);
}

/* A call that comes again, and cannot read something, takes back nothing. */
static void test_delete_again(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct world *w = *state;
	struct err e;
	int r = -1;

	create_active(w, &n);
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	for (int i = 1; r < 0 && i < 30; i++) {
		w->n_reads = 0;
		w->read_fault_at = i;
		r = delete_as(w, &alice, "lan", &e);
		w->read_fault_at = 0;
		assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
		assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
	}
	assert_int_equal(r, ORDER_AS_IT_IS);
}

/* Another call deletes it after this one has found a VM that went just then: this one must not
 * open it again. */
static void other_delete(struct world *w)
{
	CLEANUP(kv_list_done) struct kv_list ports = { 0 };
	CLEANUP_STR char *prefix = key_ports(w->uuid);
	struct err e;

	assert_int_equal(kv_range(w->kv, prefix, 0, &ports, &e), 0);
	for (size_t i = 0; i < ports.len; i++)
		put_key(w, xstrdup(ports.v[i].key), NULL);
	assert_int_equal(delete_as(w, &alice, w->uuid, &e), 0);
}

static void test_two_deletes(void **state)
{
	CLEANUP(network_done) struct network n = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e;

	create_active(w, &n);
	create_vm(w, "web", &vm);
	snprintf(w->uuid, sizeof(w->uuid), "%s", n.uuid);
	w->n_writes = 0;
	w->meddle_at = 2; /* the first one closes it, the second one opens it again */
	w->meddle = other_delete;
	assert_int_equal(delete_as(w, &alice, "lan", &e), -1);
	assert_null(w->meddle);
	assert_int_equal(status_of(w, n.uuid), NET_REQUESTED_DELETE);
	assert_int_equal(request_type(w, n.uuid), REQ_DELETE_NETWORK);
}

/* ---------------------------------------------------------------- lists, requests */

static size_t list_len(
	struct world *w, const char *owner, const char *after, size_t limit, char **next)
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
	struct world *w = *state;
	struct err e;

	create(w, &n);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"b\"}", NULL, &n, &e), 0);
	assert_int_equal(create_as(w, &bob, "{\"name\":\"lan\"}", NULL, &n, &e), 0);
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
	struct world *w = *state;
	struct err e;

	create(w, &n);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"b\"}", NULL, &n, &e), 0);
	assert_int_equal(create_vm_as(w, &alice, "web", "", &vm, &e), 0);
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
	struct world *w = *state;
	struct err e;

	create(w, &n);
	assert_int_equal(orders_request_get(w->orders, &alice, n.uuid, &r, &e), 0);
	assert_int_equal(r.type, REQ_CREATE_NETWORK);
	assert_int_equal(orders_request_get(w->orders, &bob, n.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	r.attempts = 3;
	r.not_before = NOW + 60;
	put_key(w, key_request_network(&w->keys, n.uuid), request_format(&r));
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
	assert_int_equal(delete_as(w, &alice, "lan", &e), 0);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, n.uuid, NOW, &vm, &im, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "DeleteNetwork cannot be aborted"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		TEST(test_attach_detach),
		TEST(test_attach_refusals),
		TEST(test_attach_faults),
		TEST(test_attach_detach_live),
		TEST(test_live_faults),
		TEST(test_attach_idempotency),
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
