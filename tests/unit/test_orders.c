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
static const struct who bob = { "bob", "users", false };

static const struct orders_conf conf = {
	.quota = { .vms = 5, .cpu = 8, .ram_mib = 8192, .disk_gib = 100, .images = 5 },
	.limits = { .max_cpu = 4, .max_ram_mib = 4096, .max_disk_gib = 50 },
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

static int delete_image(
	struct orders *o, const struct who *who, const char *ref, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };

	return orders_image_delete(o, who, ref, NOW, &im, e);
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

static int64_t count(struct world *w, const char *prefix)
{
	int64_t n;
	struct err e;

	assert_int_equal(kv_count(w->kv, prefix, &n, &e), 0);
	return n;
}

static void assert_use(struct world *w, const struct who *who, int64_t vms, int64_t cpu)
{
	CLEANUP(user_done) struct user u = { 0 };
	struct err e;

	assert_int_equal(
		orders_user_get(w->orders, who, who->name, who->realm, &u, &e), 0);
	assert_int_equal(u.use.vms, vms);
	assert_int_equal(u.use.cpu, cpu);
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

/* ---------------------------------------------------------------- create */

static void test_create(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(vm_done) struct vm got = { 0 };
	struct world *w = *state;
	const struct vm_disk *disk;
	struct err e;

	w->n_writes = 0;
	create(w, &alice, "web", &vm);
	assert_int_equal(w->n_writes, 1);
	assert_string_equal(vm.owner, "alice");
	assert_int_equal(vm.status, VM_REQUESTED_NEW);
	assert_int_equal(vm.specs.cpu, 1);
	disk = jtab_list_at(&vm_disk_jtab, &vm.specs.disks, 0);
	assert_int_equal(disk->size_gib, 3);
	assert_string_equal(vm.store, "local");
	assert_request(w, key_request_scheduler(&w->keys, vm.uuid), REQ_SCHEDULE_VM);
	assert_use(w, &alice, 1, 1);
	assert_int_equal(orders_vm_get(w->orders, &alice, "web", &got, &e), 0);
	assert_string_equal(got.uuid, vm.uuid);
	assert_int_equal(orders_vm_get(w->orders, &alice, vm.uuid, &got, &e), 0);
}

static void test_create_stopped(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e;

	assert_int_equal(
		create_as(w, &alice,
			"{\"name\":\"a\",\"image\":\"debian\",\"want\":\"stopped\"}",
			NULL, &vm, &e),
		0);
	assert_int_equal(vm.status, VM_STOPPED);
	assert_absent(w, key_request_scheduler(&w->keys, vm.uuid));
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_START);
	assert_request(w, key_request_scheduler(&w->keys, vm.uuid), REQ_SCHEDULE_VM);
}

static void refuse(
	struct world *w, const char *text, enum err_kind kind, const char *field)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };

	assert_int_equal(create_as(w, &alice, text, NULL, &vm, &e), -1);
	if (e.kind != kind || strcmp(e.field, field) != 0)
		fail_msg("%s: %s (%s, field \"%s\")", text, e.msg, err_kind_name(e.kind),
			e.field);
	assert_null(vm.uuid);
}

static void test_create_refusals(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;

	create(w, &alice, "taken", &vm);
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
	assert_int_equal(count(w, w->keys.vm), 1);
}

static void test_quota(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(user_done) struct user u = { 0 };
	CLEANUP(json_decref_ptr) json_t *more = js("{\"quota\":{\"vms\":6}}");
	CLEANUP(json_decref_ptr) json_t *none = js("{\"quota\":null}");
	struct world *w = *state;
	struct err e = { 0 };
	char name[16];

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "vm%d", i);
		create(w, &alice, name, &vm);
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
	create(w, &alice, "a", &vm);
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
	struct world *w = *state;
	struct err e = { 0 };

	assert_int_equal(create_as(w, &alice, "{\"name\":\"a\",\"image\":\"debian\"}",
				 "k1", &vm, &e),
		0);
	assert_int_equal(create_as(w, &alice, "{\"image\":\"debian\",\"name\":\"a\"}",
				 "k1", &again, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(again.uuid, vm.uuid);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"b\",\"image\":\"debian\"}",
				 "k1", &again, &e),
		-1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "Idempotency-Key");
	/* Another user's key is another key. */
	assert_int_equal(create_as(w, &bob, "{\"name\":\"a\",\"image\":\"debian\"}", "k1",
				 &again, &e),
		0);
	assert_string_not_equal(again.uuid, vm.uuid);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"c\",\"image\":\"debian\"}",
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
	struct world *w = *state;
	struct err e = { 0 };
	char text[80], key[16];

	for (int i = 0; i < 5; i++) {
		snprintf(
			text, sizeof(text), "{\"name\":\"a%d\",\"image\":\"debian\"}", i);
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(create_as(w, &alice, text, key, &vm, &e), 0);
	}
	assert_int_equal(create_as(w, &alice, "{\"name\":\"a0\",\"image\":\"debian\"}",
				 "k0", &vm, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(vm.name, "a0");
}

/* What is refused takes no lease: they last for a day, and anybody could fill the store. */
static void test_idempotency_refused(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct world *w = *state;
	struct err e;

	for (int i = 0; i < 3; i++) {
		CLEANUP_STR char *good =
			xasprintf("{\"name\":\"a%d\",\"image\":\"debian\"}", i);
		CLEANUP_STR char *key = xasprintf("key %d", i);

		assert_int_equal(create_as(w, &alice, good, key, &vm, &e), 0);
		assert_int_equal(
			create_as(w, &alice, "{\"name\":\"b\",\"image\":\"nothing\"}",
				"k", &vm, &e),
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
	struct world *w = *state;
	struct err e = { 0 };

	assert_int_equal(create_as(w, &alice, "{\"name\":\"a\",\"image\":\"debian\"}",
				 "k1", &vm, &e),
		0);
	assert_int_equal(kv_range(w->kv, KEY_IDEMPOTENCY, 0, &list, &e), 0);
	assert_int_equal(list.len, 1);
	assert_int_equal(kv_lease_revoke(w->kv, list.v[0].lease, &e), 0);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"b\",\"image\":\"debian\"}",
				 "k2", &vm, &e),
		0);
	assert_int_equal(count(w, KEY_IDEMPOTENCY), 1);
}

/* Whatever becomes of the transaction: never two VMs, and the use fits. */
static void test_create_unknown(void **state)
{
	struct world *w = *state;
	struct err e = { 0 };
	char text[80];

	for (int kind = 1; kind <= 3; kind++) {
		CLEANUP(vm_done) struct vm vm = { 0 };
		int r;

		snprintf(text, sizeof(text), "{\"name\":\"a%d\",\"image\":\"debian\"}",
			kind);
		fail_write(w, 1, kind);
		r = create_as(w, &alice, text, NULL, &vm, &e);
		assert_int_equal(r, kind == 1 ? -1 : 0);
		if (r < 0)
			assert_int_equal(e.kind, ERR_UNAVAILABLE);
		assert_int_equal(w->n_writes, kind == 3 ? 2 : 1);
	}
	assert_int_equal(count(w, w->keys.vm), 2);
	assert_use(w, &alice, 2, 2);
}

/* Another API process changes what this one remembers. */
static void test_create_beside_another_process(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct orders *other = orders_new(w->kv, &w->keys, &conf);
	CLEANUP(json_decref_ptr) json_t *b = js("{\"name\":\"b\",\"image\":\"debian\"}");
	CLEANUP(json_decref_ptr) json_t *c = js("{\"name\":\"c\",\"image\":\"debian\"}");
	struct err e = { 0 };

	create(w, &alice, "a", &vm);
	assert_int_equal(orders_vm_create(other, &alice, b, NULL, NOW, &vm, &e), 0);
	assert_int_equal(orders_vm_create(w->orders, &alice, c, NULL, NOW, &vm, &e), 0);
	assert_use(w, &alice, 3, 3);
	assert_int_equal(delete_image(other, &admin, "debian", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "3 VMs"));
	/* The image is usable again, and its entry was changed. */
	create(w, &alice, "d", &vm);
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
	struct world *w = *state;
	struct err e = { 0 };

	if (orders_ssh_key_add(w->orders, &alice, body, NOW, &got, &e) != 0)
		fail_msg("%s", e.msg);
	assert_int_equal(orders_ssh_key_add(w->orders, &alice, body, NOW, &got, &e),
		ORDER_AS_IT_IS);
	assert_string_equal(got.name, "laptop");
	create(w, &alice, "a", &vm);
	assert_int_equal(vm.ssh_keys.len, 1);
	assert_string_equal(vm.ssh_keys.v[0], key1);
	assert_int_equal(create_as(w, &alice,
				 "{\"name\":\"b\",\"image\":\"debian\",\"ssh_keys\":[]}",
				 NULL, &vm, &e),
		0);
	assert_int_equal(vm.ssh_keys.len, 0);
	assert_int_equal(
		create_as(w, &alice,
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
	struct world *w = *state;
	struct err e = { 0 };

	create(w, &alice, "web", &vm);
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
	struct world *w = *state;
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
	create(w, &alice, "good", &vm);
}

/* ---------------------------------------------------------------- life */

static void test_stop_waiting(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create(w, &alice, "a", &vm);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_STOPPED);
	assert_int_equal(vm.want, VM_WANT_STOPPED);
	assert_absent(w, key_request_scheduler(&w->keys, vm.uuid));
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e),
		ORDER_AS_IT_IS);
}

/* Nothing happens as long as the host is away: whoever looks is told. */
static void test_host_dead(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_host(&w->keys, "h1");
	const struct vm_log_line *line;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	kv_txn_put(t, key, "{\"hostname\":\"h1\",\"status\":\"DEAD\"}");
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
	set_vm(w, &vm, VM_KILLED, "h1");
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
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_SHUTDOWN);
	read_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r);
	assert_int_equal(r.type, REQ_STOP_VM);
	assert_string_equal(r.hostname, "h1");
	assert_false(r.is_force);
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", true, NOW, &vm, &e), 0);
	read_request(w, key_request_host(&w->keys, "h1", vm.uuid), &r);
	assert_true(r.is_force);
}

static void test_start_in_error(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	assert_int_equal(
		orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), ORDER_AS_IT_IS);
	set_vm(w, &vm, VM_ERROR, "h1");
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_SCHEDULED);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_START_VM);
	del_key(w, key_request_host(&w->keys, "h1", vm.uuid));
	set_vm(w, &vm, VM_ERROR, "");
	assert_int_equal(orders_vm_start(w->orders, &alice, "a", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_START);
	assert_request(w, key_request_scheduler(&w->keys, vm.uuid), REQ_SCHEDULE_VM);
}

static void test_reboot(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	assert_int_equal(
		orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_int_equal(vm.boot, 1);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_REBOOT_VM);
	assert_int_equal(
		orders_vm_reboot(w->orders, &alice, "a", false, NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	/* A stop takes its place. */
	assert_int_equal(orders_vm_stop(w->orders, &alice, "a", false, NOW, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_STOP_VM);
}

/* A reboot whose answer is lost is ordered once. */
static void test_reboot_unknown(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create_running(w, "a", &vm);
	for (int kind = 2; kind <= 3; kind++) {
		fail_write(w, 1, kind);
		assert_true(orders_vm_reboot(
				    w->orders, &alice, "a", false, NOW, &vm, &e) >= 0);
		assert_int_equal(vm.boot, kind - 1);
		del_key(w, key_request_host(&w->keys, "h1", vm.uuid));
	}
}

static void test_delete(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create(w, &alice, "never-placed", &vm);
	assert_int_equal(
		orders_vm_delete(w->orders, &alice, "never-placed", NOW, &vm, &e), 0);
	assert_int_equal(vm.status, VM_REQUESTED_DELETE);
	assert_request(w, key_request_scheduler(&w->keys, vm.uuid), REQ_DELETE_VM);
	assert_int_equal(orders_vm_delete(w->orders, &alice, vm.uuid, NOW, &vm, &e),
		ORDER_AS_IT_IS);
	assert_int_equal(orders_vm_start(w->orders, &alice, vm.uuid, NOW, &vm, &e), -1);

	create_running(w, "runs", &vm);
	assert_int_equal(
		orders_vm_stop(w->orders, &alice, "runs", false, NOW, &vm, &e), 0);
	assert_int_equal(orders_vm_delete(w->orders, &alice, "runs", NOW, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h1", vm.uuid), REQ_DELETE_VM);

	create(w, &alice, "disk-only", &vm);
	str_set(&vm.disk_host, xstrdup("h2"));
	set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(
		orders_vm_delete(w->orders, &alice, "disk-only", NOW, &vm, &e), 0);
	assert_request(w, key_request_host(&w->keys, "h2", vm.uuid), REQ_DELETE_VM);
	assert_absent(w, key_request_scheduler(&w->keys, vm.uuid));
}

static void patch(struct world *w, const char *text, enum err_kind kind, struct vm *out)
{
	CLEANUP(json_decref_ptr) json_t *body = js(text);
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
	struct world *w = *state;
	struct err e = { 0 };

	create(w, &alice, "b", &other);
	create_running(w, "a", &vm);
	patch(w, "{\"labels\":{\"app\":\"db\"}}", ERR_NONE, &vm);
	assert_string_equal(json_string_value(json_object_get(vm.labels, "app")), "db");
	patch(w, "{\"cpu\":2}", ERR_CONFLICT, &vm);
	patch(w, "{\"status\":\"ERROR\"}", ERR_INVALID, &vm);
	patch(w, "{\"name\":\"b\"}", ERR_EXISTS, &vm);
	patch(w, "{\"name\":null}", ERR_INVALID, &vm);
	set_vm(w, &vm, VM_STOPPED, "");
	patch(w, "{\"cpu\":5}", ERR_INVALID, &vm);
	patch(w, "{\"cpu\":4,\"ram_mib\":2048}", ERR_NONE, &vm);
	assert_int_equal(vm.specs.cpu, 4);
	assert_use(w, &alice, 2, 5);
	patch(w, "{\"name\":\"c\"}", ERR_NONE, &vm);
	assert_int_equal(orders_vm_get(w->orders, &alice, "c", &vm, &e), 0);
	assert_int_equal(orders_vm_get(w->orders, &alice, "a", &vm, &e), -1);
	assert_int_equal(count(w, KEY_VM_NAME), 2);
}

/* ---------------------------------------------------------------- admins' things */

static void test_hosts(void **state)
{
	CLEANUP(host_done) struct host h = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = js("{\"hostname\":\"h1\",\"labels\":{\"rack\":\"r1\"}}");
	CLEANUP(json_decref_ptr) json_t *change = js("{\"cpu_overcommit\":400}");
	struct world *w = *state;
	struct err e = { 0 };

	assert_int_equal(
		orders_host_create(w->orders, &alice, body, NULL, NOW, &h, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(
		orders_host_create(w->orders, &admin, body, NULL, NOW, &h, &e), 0);
	assert_int_equal(h.cpu_overcommit, 100);
	assert_int_equal(
		orders_host_create(w->orders, &admin, body, NULL, NOW, &h, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_int_equal(orders_host_patch(w->orders, &admin, "h1", change, &h, &e), 0);
	assert_int_equal(h.cpu_overcommit, 400);
	create_running(w, "a", &vm);
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 VM"));
	assert_int_equal(orders_host_get(w->orders, &admin, "h1", &h, &e), 0);
	assert_false(h.is_draining);
	str_set(&vm.disk_host, xstrdup("h1"));
	set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	str_set(&vm.disk_host, xstrdup("h2"));
	set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), 0);
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

/* While h1 is being deleted, after its VMs were counted, somebody gives it a VM. */
struct meddler {
	struct world *w;
	struct kv *kv;
	struct vm vm;
	int n_writes;
	bool is_inventory; /* only its inventory changes */
};

static void meddle(struct meddler *m)
{
	struct orders *o = orders_new(m->kv, &m->w->keys, &conf);
	CLEANUP(json_decref_ptr) json_t *change = js("{\"cpu_overcommit\":300}");
	CLEANUP(host_done) struct host h = { 0 };
	struct err e;

	if (m->is_inventory) {
		assert_int_equal(orders_host_patch(o, &admin, "h1", change, &h, &e), 0);
	} else {
		assert_int_equal(orders_host_drain(o, &admin, "h1", false, &h, &e), 0);
		set_vm(m->w, &m->vm, VM_RUNNING, "h1");
		assert_int_equal(orders_host_drain(o, &admin, "h1", true, &h, &e), 0);
	}
	orders_free(o);
}

/* The first write drains, the second deletes. */
static int on_write_meddle(void *aux)
{
	struct meddler *m = aux;

	if (++m->n_writes == 2)
		meddle(m);
	return 0;
}

static void test_host_delete_counts_what_it_deletes(void **state)
{
	CLEANUP(host_done) struct host h = { 0 };
	CLEANUP(json_decref_ptr) json_t *body = js("{\"hostname\":\"h1\"}");
	struct world *w = *state;
	struct meddler m = { .w = w, .kv = w->kv };
	struct kv_fault fault = { .on_write = on_write_meddle, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &conf);
	struct err e = { 0 };

	assert_int_equal(
		orders_host_create(w->orders, &admin, body, NULL, NOW, &h, &e), 0);
	create(w, &alice, "a", &m.vm);
	kv_fake_set_fault(kv, &fault);
	assert_int_equal(orders_host_delete(o, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 VM"));
	assert_int_equal(orders_host_get(w->orders, &admin, "h1", &h, &e), 0);
	/* A new inventory is no reason to refuse. */
	set_vm(w, &m.vm, VM_STOPPED, "");
	m.n_writes = 0;
	m.is_inventory = true;
	assert_int_equal(orders_host_delete(o, &admin, "h1", &e), 0);
	vm_done(&m.vm);
	orders_free(o);
	kv_close(kv);
}

static void test_images(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = js("{\"name\":\"mine\",\"store\":\"local\",\"path\":\"m.img\","
			  "\"format\":\"raw\"}");
	CLEANUP(json_decref_ptr)
	json_t *twin = js("{\"name\":\"debian\",\"store\":\"local\",\"path\":\"m.img\","
			  "\"format\":\"raw\",\"public\":true}");
	CLEANUP(json_decref_ptr) json_t *public = js("{\"public\":true}");
	static const struct who other_admin = { "eve", "ungleich-admin", true };
	struct world *w = *state;
	struct err e = { 0 };

	assert_int_equal(
		orders_image_create(w->orders, &admin, body, NULL, NOW, &im, &e), 0);
	assert_int_equal(orders_image_get(w->orders, &alice, "mine", &im, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_image_get(w->orders, &alice, im.uuid, &im, &e), -1);
	assert_int_equal(
		orders_image_patch(w->orders, &admin, "mine", public, &im, &e), 0);
	assert_int_equal(orders_image_get(w->orders, &alice, "mine", &im, &e), 0);
	assert_int_equal(delete_image(w->orders, &alice, "mine", &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(
		orders_image_create(w->orders, &other_admin, twin, NULL, NOW, &im, &e),
		-1);
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_int_equal(orders_store_delete(w->orders, &admin, "local", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "2 images"));
	assert_int_equal(delete_image(w->orders, &admin, "mine", &e), 0);
	assert_int_equal(delete_image(w->orders, &admin, "debian", &e), 0);
	assert_int_equal(count(w, KEY_IMAGE_PUBLIC), 0);
	assert_int_equal(count(w, KEY_IMAGE_NAME), 0);
	assert_int_equal(orders_store_delete(w->orders, &admin, "local", &e), 0);
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\"}", ERR_NOT_FOUND, "image");
}

/* Takes text. */
static void put_at(struct world *w, const char *key, char *text)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e;

	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(w->kv, t, NULL, &e), 0);
	free(text);
}

/* While the image is being deleted, after its VMs were counted, somebody opens it, a VM is made
 * of it, and somebody closes it again. */
static int on_write_open_image(void *aux)
{
	struct meddler *m = aux;
	CLEANUP(image_done) struct image im = { 0 };
	struct err e;

	if (++m->n_writes != 2)
		return 0;
	assert_int_equal(orders_image_get(m->w->orders, &admin, "debian", &im, &e), 0);
	CLEANUP_STR char *key = key_image(&m->w->keys, im.uuid);
	im.status = IMAGE_CREATED;
	put_at(m->w, key, image_format_text(&im));
	create(m->w, &alice, "a", &m->vm);
	im.status = IMAGE_TO_BE_DELETED;
	put_at(m->w, key, image_format_text(&im));
	return 0;
}

static void test_image_delete_counts_what_it_deletes(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct world *w = *state;
	struct meddler m = { .w = w };
	struct kv_fault fault = { .on_write = on_write_open_image, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &conf);
	struct err e = { 0 };

	kv_fake_set_fault(kv, &fault);
	assert_int_equal(orders_image_delete(o, &admin, "debian", NOW, &im, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "was changed while it was being deleted"));
	assert_int_equal(
		orders_image_delete(w->orders, &admin, "debian", NOW, &im, &e), -1);
	assert_non_null(strstr(e.msg, "1 VM"));
	vm_done(&m.vm);
	orders_free(o);
	kv_close(kv);
}

/* The image is being deleted since it was looked at. */
static int on_write_close_image(void *aux)
{
	struct meddler *m = aux;
	CLEANUP(image_done) struct image im = { 0 };
	struct err e;

	if (++m->n_writes != 1)
		return 0;
	assert_int_equal(orders_image_get(m->w->orders, &admin, "debian", &im, &e), 0);
	CLEANUP_STR char *key = key_image(&m->w->keys, im.uuid);
	im.status = IMAGE_TO_BE_DELETED;
	put_at(m->w, key, image_format_text(&im));
	return 0;
}

static void test_create_while_its_image_goes(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = js("{\"name\":\"a\",\"image\":\"debian\"}");
	struct world *w = *state;
	struct meddler m = { .w = w };
	struct kv_fault fault = { .on_write = on_write_close_image, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &conf);
	struct err e = { 0 };

	kv_fake_set_fault(kv, &fault);
	assert_int_equal(orders_vm_create(o, &alice, body, NULL, NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "image");
	assert_int_equal(count(w, KEY_VM_NAME), 0);
	orders_free(o);
	kv_close(kv);
}

/* A delete that was cut short is finished by the next one; nobody can use the image. */
static void test_image_delete_cut_short(void **state)
{
	struct world *w = *state;
	struct err e = { 0 };

	fail_write(w, 2, 1);
	assert_int_equal(delete_image(w->orders, &admin, "debian", &e), -1);
	fail_write(w, 0, 0);
	refuse(w, "{\"name\":\"a\",\"image\":\"debian\"}", ERR_CONFLICT, "image");
	assert_int_equal(delete_image(w->orders, &admin, "debian", &e), 0);
}

static void test_requests(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct world *w = *state;
	struct err e = { 0 };

	create(w, &alice, "a", &vm);
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

/* etcd does not answer at all. */
static void test_cut(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct kv_fault cut = { .is_cut = true };
	struct world *w = *state;
	struct err e = { 0 };

	kv_fake_set_fault(w->kv, &cut);
	assert_int_equal(create_as(w, &alice, "{\"name\":\"a\",\"image\":\"debian\"}",
				 NULL, &vm, &e),
		-1);
	assert_int_equal(err_http_status(e.kind), 503);
	kv_fake_set_fault(w->kv, &w->fault);
	create(w, &alice, "a", &vm);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		TEST(test_stop_waiting),
		TEST(test_host_dead),
		TEST(test_stop_running),
		TEST(test_start_in_error),
		TEST(test_reboot),
		TEST(test_reboot_unknown),
		TEST(test_delete),
		TEST(test_patch),
		TEST(test_hosts),
		TEST(test_host_delete_counts_what_it_deletes),
		TEST(test_images),
		TEST(test_image_delete_counts_what_it_deletes),
		TEST(test_create_while_its_image_goes),
		TEST(test_image_delete_cut_short),
		TEST(test_requests),
		TEST(test_cut),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
