#include "tests/lib/orders_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/model/names.h"

#define NOW ORDERS_WORLD_NOW

static const struct orders_conf default_conf = {
	.quota = { .vms = 5,
		.cpu = 8,
		.ram_mib = 8192,
		.disk_gib = 100,
		.images = 3,
		.networks = 3 },
	.limits = { .max_cpu = 4, .max_ram_mib = 4096, .max_disk_gib = 50 },
};

/* ---------------------------------------------------------------- faults */

static int on_write(void *aux)
{
	struct orders_world *w = aux;

	++w->n_writes;
	if (w->meddle && w->n_writes == w->meddle_at) {
		void (*meddle)(struct orders_world *) = w->meddle;

		w->meddle = NULL;
		meddle(w);
	}
	return w->n_writes == w->write_fault_at ? w->write_fault_kind : 0;
}

static int on_read(void *aux)
{
	struct orders_world *w = aux;

	return ++w->n_reads == w->read_fault_at;
}

void orders_world_fail_write(struct orders_world *w, int n, int kind)
{
	w->n_writes = 0;
	w->write_fault_at = n;
	w->write_fault_kind = kind;
}

void orders_world_fail_read(struct orders_world *w, int n)
{
	w->n_reads = 0;
	w->read_fault_at = n;
}

void orders_world_meddle(struct orders_world *w, int n,
	void (*meddle)(struct orders_world *w), const char *uuid)
{
	snprintf(w->uuid, sizeof(w->uuid), "%s", uuid);
	w->n_writes = 0;
	w->meddle_at = n;
	w->meddle = meddle;
}

/* ---------------------------------------------------------------- the world */

struct orders_world *orders_world_new(const struct orders_conf *conf)
{
	struct orders_world *w = xcalloc(1, sizeof(*w));

	w->conf = conf ? *conf : default_conf;
	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->fault =
		(struct kv_fault){ .on_write = on_write, .on_read = on_read, .aux = w };
	kv_fake_set_fault(w->kv, &w->fault);
	keys_set_defaults(&w->keys);
	w->orders = orders_new(w->kv, &w->keys, &w->conf);
	return w;
}

void orders_world_free(struct orders_world *w)
{
	orders_free(w->orders);
	kv_close(w->kv);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
	free(w);
}

int orders_world_setup(void **state)
{
	struct orders_world *w = orders_world_new(NULL);

	orders_world_add_store(w, "local");
	orders_world_add_image(w);
	*state = w;
	return 0;
}

int orders_world_teardown(void **state)
{
	orders_world_free(*state);
	return 0;
}

void orders_world_add_store(struct orders_world *w, const char *name)
{
	CLEANUP(image_store_done) struct image_store s = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = json_pack(
		"{s:s, s:s, s:s}", "name", name, "type", "filesystem", "path", "/srv/x");
	struct err e;

	if (orders_store_create(w->orders, &admin, body, NULL, NOW, &s, &e) != 0)
		fail_msg("%s", e.msg);
}

void orders_world_add_image(struct orders_world *w)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = orders_world_json(
		"{\"name\":\"debian\",\"store\":\"local\",\"path\":\"debian.img\","
		"\"format\":\"qcow2\",\"public\":true,\"virtual_bytes\":3221225472}");
	struct err e;

	if (orders_image_create(w->orders, &admin, body, NULL, NOW, &im, &e) != 0)
		fail_msg("%s", e.msg);
}

/* ---------------------------------------------------------------- keys */

json_t *orders_world_json(const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	return j;
}

void orders_world_put(struct orders_world *w, char *key, char *text)
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

void orders_world_get(struct orders_world *w, char *key, struct kv_pair *out)
{
	struct err e;

	assert_int_equal(kv_get(w->kv, key, out, NULL, &e), 0);
	free(key);
}

bool orders_world_has(struct orders_world *w, char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };

	orders_world_get(w, key, &p);
	return p.key != NULL;
}

int64_t orders_world_count(struct orders_world *w, const char *prefix)
{
	int64_t n;
	struct err e;

	assert_int_equal(kv_count(w->kv, prefix, &n, &e), 0);
	return n;
}

bool orders_world_request(struct orders_world *w, char *key, struct request *out)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;

	orders_world_get(w, key, &p);
	if (!p.key)
		return false;
	assert_int_equal(request_parse(p.value, p.value_size, out, &e), 0);
	return true;
}

int orders_world_request_type(struct orders_world *w, char *key)
{
	CLEANUP(request_done) struct request r = { 0 };

	return orders_world_request(w, key, &r) ? r.type : -1;
}

struct amounts orders_world_use(struct orders_world *w, const struct who *who)
{
	CLEANUP(user_done) struct user u = { 0 };
	struct err e;

	assert_int_equal(
		orders_user_get(w->orders, who, who->name, who->realm, &u, &e), 0);
	return u.use;
}

void orders_world_refused_at(int line, int r, const struct err *e, enum err_kind kind,
	const char *field, const char *says)
{
	if (r != -1)
		fail_msg("line %d: not refused: %d", line, r);
	if (e->kind != kind || (field && strcmp(e->field, field) != 0) ||
		!strstr(e->msg, says))
		fail_msg("line %d: %s: field \"%s\": %s", line, err_kind_name(e->kind),
			e->field, e->msg);
}

/* ---------------------------------------------------------------- VMs */

int orders_world_vm_as(struct orders_world *w, const struct who *who, const char *text,
	const char *idem, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_vm_create(w->orders, who, body, idem, NOW, out, e);
}

void orders_world_refuse_vm_at(int line, struct orders_world *w, const struct who *who,
	const char *text, enum err_kind kind, const char *field, const char *says)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int r = orders_world_vm_as(w, who, text, NULL, &vm, &e);

	orders_world_refused_at(line, r, &e, kind, field, says);
	assert_null(vm.uuid);
}

void orders_world_vm(struct orders_world *w, const struct who *who, const char *name,
	const char *more, struct vm *out)
{
	CLEANUP_STR char *text =
		xasprintf("{\"name\":\"%s\",\"image\":\"debian\"%s}", name, more);
	struct err e = { 0 };

	if (orders_world_vm_as(w, who, text, NULL, out, &e) != 0)
		fail_msg("VM %s: %s", name, e.msg);
}

void orders_world_set_vm(
	struct orders_world *w, struct vm *vm, enum vm_status status, const char *host)
{
	vm->status = (int)status;
	str_set(&vm->hostname, xstrdup(host));
	orders_world_put(w, key_vm(&w->keys, vm->uuid), vm_format(vm));
}

void orders_world_running_vm(
	struct orders_world *w, const char *name, const char *more, struct vm *out)
{
	orders_world_vm(w, &alice, name, more, out);
	orders_world_put(w, key_request_scheduler(&w->keys, out->uuid), NULL);
	vm_move(out, VM_SCHEDULED);
	vm_move(out, VM_RUNNING);
	orders_world_set_vm(w, out, VM_RUNNING, "h1");
}

/* ---------------------------------------------------------------- networks */

int orders_world_network_as(struct orders_world *w, const struct who *who,
	const char *text, const char *idem, struct network *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_network_create(w->orders, who, body, idem, NOW, out, e);
}

void orders_world_network(struct orders_world *w, struct network *out)
{
	struct err e;

	if (orders_world_network_as(w, &alice, "{\"name\":\"lan\"}", NULL, out, &e) != 0)
		fail_msg("%s", e.msg);
}

void orders_world_set_network(
	struct orders_world *w, struct network *n, enum network_status status)
{
	n->status = (int)status;
	if (status == NET_ACTIVE) {
		n->vni = 7;
		n->mtu = 1430;
		str_set(&n->prefix, xstrdup("2001:db8:1:2::/64"));
		orders_world_put(w, key_request_network(&w->keys, n->uuid), NULL);
	}
	orders_world_put(w, key_network(&w->keys, n->uuid), network_format(n));
}

void orders_world_active_network(struct orders_world *w, struct network *out)
{
	orders_world_network(w, out);
	orders_world_set_network(w, out, NET_ACTIVE);
}

int orders_world_delete_network(
	struct orders_world *w, const struct who *who, const char *ref, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };

	return orders_network_delete(w->orders, who, ref, NOW, &n, e);
}
