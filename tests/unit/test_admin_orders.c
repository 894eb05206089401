/* Orders for what admins have: hosts, and images that are registered. */
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

static int delete_image(struct orders *o, const char *ref, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };

	return orders_image_delete(o, &admin, ref, NOW, &im, e);
}

static void test_hosts(void **state)
{
	CLEANUP(host_done) struct host h = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body =
		orders_world_json("{\"hostname\":\"h1\",\"labels\":{\"rack\":\"r1\"}}");
	CLEANUP(json_decref_ptr)
	json_t *change = orders_world_json("{\"cpu_overcommit\":400}");
	struct orders_world *w = *state;
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
	orders_world_running_vm(w, "a", "", &vm);
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 VM"));
	assert_int_equal(orders_host_get(w->orders, &admin, "h1", &h, &e), 0);
	assert_false(h.is_draining);
	str_set(&vm.disk_host, xstrdup("h1"));
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	str_set(&vm.disk_host, xstrdup("h2"));
	orders_world_set_vm(w, &vm, VM_STOPPED, "");
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), 0);
	assert_int_equal(orders_host_delete(w->orders, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

/* While h1 is being deleted, after its VMs were counted, somebody gives it a VM. */
struct meddler {
	struct orders_world *w;
	struct kv *kv;
	struct vm vm;
	int n_writes;
	bool is_inventory; /* only its inventory changes */
};

static void meddle(struct meddler *m)
{
	struct orders *o = orders_new(m->kv, &m->w->keys, &m->w->conf);
	CLEANUP(json_decref_ptr)
	json_t *change = orders_world_json("{\"cpu_overcommit\":300}");
	CLEANUP(host_done) struct host h = { 0 };
	struct err e;

	if (m->is_inventory) {
		assert_int_equal(orders_host_patch(o, &admin, "h1", change, &h, &e), 0);
	} else {
		assert_int_equal(orders_host_drain(o, &admin, "h1", false, &h, &e), 0);
		orders_world_set_vm(m->w, &m->vm, VM_RUNNING, "h1");
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
	CLEANUP(json_decref_ptr)
	json_t *body = orders_world_json("{\"hostname\":\"h1\"}");
	struct orders_world *w = *state;
	struct meddler m = { .w = w, .kv = w->kv };
	struct kv_fault fault = { .on_write = on_write_meddle, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &w->conf);
	struct err e = { 0 };

	assert_int_equal(
		orders_host_create(w->orders, &admin, body, NULL, NOW, &h, &e), 0);
	orders_world_vm(w, &alice, "a", "", &m.vm);
	kv_fake_set_fault(kv, &fault);
	assert_int_equal(orders_host_delete(o, &admin, "h1", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 VM"));
	assert_int_equal(orders_host_get(w->orders, &admin, "h1", &h, &e), 0);
	/* A new inventory is no reason to refuse. */
	orders_world_set_vm(w, &m.vm, VM_STOPPED, "");
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
	json_t *body = orders_world_json(
		"{\"name\":\"mine\",\"store\":\"local\",\"path\":\"m.img\","
		"\"format\":\"raw\"}");
	CLEANUP(json_decref_ptr)
	json_t *twin = orders_world_json(
		"{\"name\":\"debian\",\"store\":\"local\",\"path\":\"m.img\","
		"\"format\":\"raw\",\"public\":true}");
	CLEANUP(json_decref_ptr) json_t *public = orders_world_json("{\"public\":true}");
	static const struct who other_admin = { "eve", "ungleich-admin", true };
	struct orders_world *w = *state;
	struct err e = { 0 };

	assert_int_equal(
		orders_image_create(w->orders, &admin, body, NULL, NOW, &im, &e), 0);
	assert_int_equal(orders_image_get(w->orders, &alice, "mine", &im, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_image_get(w->orders, &alice, im.uuid, &im, &e), -1);
	assert_int_equal(
		orders_image_patch(w->orders, &admin, "mine", public, &im, &e), 0);
	assert_int_equal(orders_image_get(w->orders, &alice, "mine", &im, &e), 0);
	assert_int_equal(
		orders_image_delete(w->orders, &alice, "mine", NOW, &im, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(
		orders_image_create(w->orders, &other_admin, twin, NULL, NOW, &im, &e),
		-1);
	assert_int_equal(e.kind, ERR_EXISTS);
	assert_int_equal(orders_store_delete(w->orders, &admin, "local", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "2 images"));
	assert_int_equal(delete_image(w->orders, "mine", &e), 0);
	assert_int_equal(delete_image(w->orders, "debian", &e), 0);
	assert_int_equal(orders_world_count(w, KEY_IMAGE_PUBLIC), 0);
	assert_int_equal(orders_world_count(w, KEY_IMAGE_NAME), 0);
	assert_int_equal(orders_store_delete(w->orders, &admin, "local", &e), 0);
	orders_world_refuse_vm(w, &alice, "{\"name\":\"a\",\"image\":\"debian\"}",
		ERR_NOT_FOUND, "image", "");
}

static void set_image(struct meddler *m, enum image_status status)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct err e;

	assert_int_equal(orders_image_get(m->w->orders, &admin, "debian", &im, &e), 0);
	im.status = (int)status;
	orders_world_put(m->w, key_image(&m->w->keys, im.uuid), image_format_text(&im));
}

/* While the image is being deleted, after its VMs were counted, somebody opens it, a VM is made
 * of it, and somebody closes it again. */
static int on_write_open_image(void *aux)
{
	struct meddler *m = aux;

	if (++m->n_writes != 2)
		return 0;
	set_image(m, IMAGE_CREATED);
	orders_world_vm(m->w, &alice, "a", "", &m->vm);
	set_image(m, IMAGE_TO_BE_DELETED);
	return 0;
}

static void test_image_delete_counts_what_it_deletes(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct meddler m = { .w = w };
	struct kv_fault fault = { .on_write = on_write_open_image, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &w->conf);
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

	if (++m->n_writes == 1)
		set_image(m, IMAGE_TO_BE_DELETED);
	return 0;
}

static void test_create_while_its_image_goes(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = orders_world_json("{\"name\":\"a\",\"image\":\"debian\"}");
	struct orders_world *w = *state;
	struct meddler m = { .w = w };
	struct kv_fault fault = { .on_write = on_write_close_image, .aux = &m };
	struct kv *kv = kv_fake_open(w->etcd);
	struct orders *o = orders_new(kv, &w->keys, &w->conf);
	struct err e = { 0 };

	kv_fake_set_fault(kv, &fault);
	assert_int_equal(orders_vm_create(o, &alice, body, NULL, NOW, &vm, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "image");
	assert_int_equal(orders_world_count(w, KEY_VM_NAME), 0);
	orders_free(o);
	kv_close(kv);
}

/* A delete that was cut short is finished by the next one; nobody can use the image. */
static void test_image_delete_cut_short(void **state)
{
	struct orders_world *w = *state;
	struct err e = { 0 };

	orders_world_fail_write(w, 2, 1);
	assert_int_equal(delete_image(w->orders, "debian", &e), -1);
	orders_world_fail_write(w, 0, 0);
	orders_world_refuse_vm(w, &alice, "{\"name\":\"a\",\"image\":\"debian\"}",
		ERR_CONFLICT, "image", "");
	assert_int_equal(delete_image(w->orders, "debian", &e), 0);
}

#define TEST(f)                                                                          \
	cmocka_unit_test_setup_teardown(f, orders_world_setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_hosts),
		TEST(test_host_delete_counts_what_it_deletes),
		TEST(test_images),
		TEST(test_image_delete_counts_what_it_deletes),
		TEST(test_create_while_its_image_goes),
		TEST(test_image_delete_cut_short),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
