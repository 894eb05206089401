/* Orders for images that are made of uploaded files, and their requests. */
#include "ucloud-api/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/crypt.h"
#include "common/model/names.h"
#include "tests/lib/orders_world.h"

#define NOW    ORDERS_WORLD_NOW
#define SHA512 "ab"

/* What ucloud-filescan publishes. */
static void add_file(struct orders_world *w, const struct who *who, const char *name)
{
	char uuid[UUID_STR_SIZE], sha512[] = SHA512;
	struct file f = { .uuid = uuid,
		.owner = xstrdup(who->name),
		.owner_realm = xstrdup(who->realm),
		.filename = xstrdup(name),
		.size_bytes = 1000,
		.sha512 = sha512 };

	file_uuid(who->realm, who->name, name, uuid);
	orders_world_put(w, key_file(&w->keys, uuid), file_format(&f));
	orders_world_put(w, key_file_name(who->realm, who->name, name), xstrdup(uuid));
	free(f.owner);
	free(f.owner_realm);
	free(f.filename);
}

static int setup(void **state)
{
	struct orders_world *w = orders_world_new(NULL);

	orders_world_add_store(w, "local");
	add_file(w, &alice, "debian.qcow2");
	*state = w;
	return 0;
}

static int create_as(struct orders_world *w, const struct who *who, const char *text,
	const char *idem, struct image *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *body = orders_world_json(text);

	return orders_image_create(w->orders, who, body, idem, NOW, out, e);
}

#define ORDER "{\"name\":\"deb\",\"file\":\"debian.qcow2\"}"

static void create(struct orders_world *w, struct image *out)
{
	struct err e;

	if (create_as(w, &alice, ORDER, NULL, out, &e) != 0)
		fail_msg("%s", e.msg);
}

static void refuse_at(int line, struct orders_world *w, const struct who *who,
	const char *text, enum err_kind kind, const char *field, const char *says)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct err e = { 0 };
	int r = create_as(w, who, text, NULL, &im, &e);

	orders_world_refused_at(line, r, &e, kind, field, says);
}
#define refuse(...) refuse_at(__LINE__, __VA_ARGS__)

/* As ucloud-image would write it. */
static void set_status(struct orders_world *w, struct image *im, enum image_status status)
{
	im->status = (int)status;
	orders_world_put(w, key_image(&w->keys, im->uuid), image_format_text(im));
}

static bool get_request(struct orders_world *w, const char *uuid, struct request *r)
{
	if (!orders_world_request(w, key_request_image(&w->keys, uuid), r))
		return false;
	assert_string_equal(r->uuid, uuid);
	return true;
}

static int request_type(struct orders_world *w, const char *uuid)
{
	CLEANUP(request_done) struct request r = { 0 };

	return get_request(w, uuid, &r) ? r.type : -1;
}

static int delete_as(
	struct orders_world *w, const struct who *who, const char *ref, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };

	return orders_image_delete(w->orders, who, ref, NOW, &im, e);
}

/* ---------------------------------------------------------------- create */

static void test_create(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(kv_pair_done) struct kv_pair index = { 0 };
	struct orders_world *w = *state;
	char uuid[UUID_STR_SIZE];

	create(w, &im);
	file_uuid("users", "alice", "debian.qcow2", uuid);
	assert_string_equal(im.name, "deb");
	assert_string_equal(im.owner, "alice");
	assert_string_equal(im.store, "local");
	assert_string_equal(im.file_uuid, uuid);
	assert_string_equal(im.filename, "debian.qcow2");
	assert_string_equal(im.sha512, SHA512);
	assert_true(im.is_made);
	assert_int_equal(im.status, IMAGE_TO_BE_CREATED);
	assert_int_equal(request_type(w, im.uuid), REQ_CREATE_IMAGE);
	assert_int_equal(orders_world_use(w, &alice).images, 1);
	orders_world_get(w, key_image_name("users", "alice", "deb"), &index);
	assert_string_equal(index.value, im.uuid);
}

static void test_create_by_uuid_and_store(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *text = NULL;
	struct orders_world *w = *state;
	char uuid[UUID_STR_SIZE];
	struct err e;

	orders_world_add_store(w, "other");
	refuse(w, &alice, ORDER, ERR_INVALID, "store", "local, other");
	file_uuid("users", "alice", "debian.qcow2", uuid);
	text = xasprintf("{\"name\":\"deb\",\"file\":\"%s\",\"store\":\"other\","
			 "\"description\":\"d\"}",
		uuid);
	assert_int_equal(create_as(w, &alice, text, NULL, &im, &e), 0);
	assert_string_equal(im.store, "other");
	assert_string_equal(im.filename, "debian.qcow2");
}

static void test_create_refusals(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *others = NULL;
	char uuid[UUID_STR_SIZE];
	struct orders_world *w = *state;

	file_uuid("users", "alice", "debian.qcow2", uuid);
	others = xasprintf("{\"name\":\"x\",\"file\":\"%s\"}", uuid);
	refuse(w, &bob, others, ERR_NOT_FOUND, "file", "no file");
	/* Also an admin's images are made of an admin's files. */
	refuse(w, &admin, others, ERR_NOT_FOUND, "file", "no file");
	refuse(w, &alice, "{\"name\":\"x\",\"file\":\"no.img\"}", ERR_NOT_FOUND, "file",
		"no.img");
	refuse(w, &alice, "{\"name\":\"x\",\"file\":\"../x\"}", ERR_INVALID, "file", "");
	refuse(w, &alice, "{\"name\":\"x\"}", ERR_INVALID, "file", "");
	refuse(w, &alice, "{\"file\":\"debian.qcow2\"}", ERR_INVALID, "name", "");
	refuse(w, &alice, "{\"name\":\"X\",\"file\":\"debian.qcow2\"}", ERR_INVALID,
		"name", "");
	refuse(w, &alice, "{\"name\":\"x\",\"file\":\"debian.qcow2\",\"format\":\"raw\"}",
		ERR_INVALID, "format", "takes no format");
	refuse(w, &alice, "{\"name\":\"x\",\"file\":\"debian.qcow2\",\"public\":true}",
		ERR_DENIED, "public", "only admins");
	refuse(w, &alice,
		"{\"name\":\"x\",\"store\":\"local\",\"path\":\"a\",\"format\":\"raw\"}",
		ERR_DENIED, "path", "only admins");
	refuse(w, &admin, "{\"name\":\"x\",\"store\":\"local\",\"path\":\"a\"}",
		ERR_INVALID, "format", "raw or qcow2");
	refuse(w, &alice, "{\"name\":\"x\",\"file\":\"debian.qcow2\",\"store\":\"none\"}",
		ERR_NOT_FOUND, "store", "none");
	create(w, &im);
	refuse(w, &alice, ORDER, ERR_EXISTS, "name", "deb");
}

static void test_no_store(void **state)
{
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(orders_store_delete(w->orders, &admin, "local", &e), 0);
	refuse(w, &alice, ORDER, ERR_NOT_FOUND, "store", "an admin has to");
}

static void test_quota(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct err e;

	for (int i = 0; i < 3; i++) {
		CLEANUP_STR char *text =
			xasprintf("{\"name\":\"i%d\",\"file\":\"debian.qcow2\"}", i);

		assert_int_equal(create_as(w, &alice, text, NULL, &im, &e), 0);
	}
	refuse(w, &alice, ORDER, ERR_QUOTA, "", "1 images asked for, 0 of 3 left");
	assert_int_equal(orders_world_use(w, &alice).images, 3);
}

static void test_users_may_publish(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(json_decref_ptr)
	json_t *body = orders_world_json(
		"{\"name\":\"deb\",\"file\":\"debian.qcow2\",\"public\":true}");
	CLEANUP(json_decref_ptr) json_t *no = orders_world_json("{\"public\":false}");
	CLEANUP(json_decref_ptr) json_t *yes = orders_world_json("{\"public\":true}");
	struct orders_world *w = *state;
	struct orders_conf free_conf = w->conf;
	struct orders *o;
	struct err e;

	free_conf.users_may_publish = true;
	o = orders_new(w->kv, &w->keys, &free_conf);
	assert_int_equal(orders_image_create(o, &alice, body, NULL, NOW, &im, &e), 0);
	assert_true(orders_world_has(w, key_image_public("deb")));
	assert_int_equal(orders_image_patch(o, &alice, "deb", no, &im, &e), 0);
	assert_false(orders_world_has(w, key_image_public("deb")));
	assert_int_equal(orders_image_patch(w->orders, &alice, "deb", yes, &im, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(orders_image_patch(o, &alice, "deb", yes, &im, &e), 0);
	orders_free(o);
}

static void test_idempotency(void **state)
{
	CLEANUP(image_done) struct image one = { 0 }, two = { 0 };
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(create_as(w, &alice, ORDER, "k", &one, &e), 0);
	assert_int_equal(create_as(w, &alice, ORDER, "k", &two, &e), ORDER_AS_IT_IS);
	assert_string_equal(one.uuid, two.uuid);
	assert_int_equal(orders_world_use(w, &alice).images, 1);
}

/* The answer to the transaction is lost, though it happened. */
static void test_unknown(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct err e;
	int r;

	orders_world_fail_write(w, 1, 2);
	r = create_as(w, &alice, ORDER, NULL, &im, &e);
	assert_true(r == 0 || r == ORDER_AS_IT_IS);
	assert_int_equal(orders_world_use(w, &alice).images, 1);
	assert_int_equal(request_type(w, im.uuid), REQ_CREATE_IMAGE);
}

static int create_vm(struct orders_world *w, struct err *e)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	return orders_world_vm_as(
		w, &alice, "{\"name\":\"v\",\"image\":\"deb\"}", NULL, &vm, e);
}

static void test_vms_wait_for_it(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct err e;

	create(w, &im);
	im.progress = 37;
	set_status(w, &im, IMAGE_TO_BE_CREATED);
	assert_int_equal(create_vm(w, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_string_equal(e.field, "image");
	assert_non_null(strstr(e.msg, "is still being made (37 %)"));
	str_set(&im.reason, xstrdup("it has a backing file"));
	set_status(w, &im, IMAGE_ERROR);
	assert_int_equal(create_vm(w, &e), -1);
	assert_non_null(strstr(e.msg, "could not be made: it has a backing file"));
	set_status(w, &im, IMAGE_CREATED);
	assert_int_equal(create_vm(w, &e), 0);
}

/* ---------------------------------------------------------------- delete */

static void test_delete_in_every_state(void **state)
{
	static const enum image_status statuses[] = { IMAGE_TO_BE_CREATED, IMAGE_CREATED,
		IMAGE_ERROR };
	struct orders_world *w = *state;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		CLEANUP(image_done) struct image im = { 0 };
		CLEANUP_STR char *text =
			xasprintf("{\"name\":\"i%zu\",\"file\":\"debian.qcow2\"}", i);

		assert_int_equal(create_as(w, &alice, text, NULL, &im, &e), 0);
		if (statuses[i] != IMAGE_TO_BE_CREATED) {
			orders_world_put(w, key_request_image(&w->keys, im.uuid), NULL);
			set_status(w, &im, statuses[i]);
		}
		assert_int_equal(delete_as(w, &bob, im.uuid, &e), -1);
		assert_int_equal(e.kind, ERR_NOT_FOUND);
		assert_int_equal(delete_as(w, &alice, im.uuid, &e), ORDER_IMAGE_GOES);
		assert_int_equal(request_type(w, im.uuid), REQ_DELETE_IMAGE);
		assert_int_equal(
			orders_image_get(w->orders, &alice, im.uuid, &im, &e), 0);
		assert_int_equal(im.status, IMAGE_TO_BE_DELETED);
		/* Again is fine. */
		assert_int_equal(delete_as(w, &alice, im.uuid, &e), ORDER_IMAGE_GOES);
	}
	/* ucloud-image gives it back, with the entry. */
	assert_int_equal(orders_world_use(w, &alice).images, 3);
}

static void test_delete_while_used(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct err e;

	create(w, &im);
	set_status(w, &im, IMAGE_CREATED);
	assert_int_equal(create_vm(w, &e), 0);
	assert_int_equal(delete_as(w, &alice, "deb", &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 VM"));
	assert_int_equal(orders_image_get(w->orders, &alice, "deb", &im, &e), 0);
	assert_int_equal(im.status, IMAGE_CREATED);
}

static void test_delete_cut_short(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	struct orders_world *w = *state;
	struct err e;

	create(w, &im);
	set_status(w, &im, IMAGE_CREATED);
	orders_world_fail_write(w, 2, 1);
	assert_int_equal(delete_as(w, &alice, "deb", &e), -1);
	/* Should it not come again, ucloud-image looks who uses it. */
	assert_true(get_request(w, im.uuid, &r));
	assert_int_equal(r.type, REQ_DELETE_IMAGE);
	assert_true(r.is_unchecked && r.not_before > 0);
	request_done(&r);
	assert_int_equal(delete_as(w, &alice, "deb", &e), ORDER_IMAGE_GOES);
	assert_true(get_request(w, im.uuid, &r));
	assert_int_equal(r.type, REQ_DELETE_IMAGE);
	assert_true(!r.is_unchecked && r.not_before == 0);
}

static void test_registered(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	struct orders_world *w = *state;
	struct err e;

	assert_int_equal(create_as(w, &admin,
				 "{\"name\":\"reg\",\"store\":\"local\",\"path\":\"a\","
				 "\"format\":\"raw\",\"public\":true}",
				 NULL, &im, &e),
		0);
	assert_int_equal(im.status, IMAGE_CREATED);
	assert_false(im.is_made);
	assert_int_equal(request_type(w, im.uuid), -1);
	assert_int_equal(orders_world_use(w, &admin).images, 1);
	assert_int_equal(delete_as(w, &alice, "reg", &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(delete_as(w, &admin, "reg", &e), 0);
	assert_int_equal(orders_world_use(w, &admin).images, 0);
	assert_false(orders_world_has(w, key_image(&w->keys, im.uuid)));
	assert_false(orders_world_has(w, key_image_public("reg")));
}

/* ---------------------------------------------------------------- requests */

static void test_requests(void **state)
{
	CLEANUP(image_done) struct image im = { 0 }, out = { 0 };
	CLEANUP(request_done) struct request r = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct orders_world *w = *state;
	struct err e;

	create(w, &im);
	assert_int_equal(orders_request_get(w->orders, &alice, im.uuid, &r, &e), 0);
	assert_int_equal(r.type, REQ_CREATE_IMAGE);
	assert_int_equal(orders_request_get(w->orders, &bob, im.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	r.attempts = 3;
	r.not_before = NOW + 60;
	orders_world_put(w, key_request_image(&w->keys, im.uuid), request_format(&r));
	assert_int_equal(orders_request_retry(w->orders, &alice, im.uuid, &r, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(orders_request_retry(w->orders, &admin, im.uuid, &r, &e), 0);
	assert_int_equal(r.attempts, 0);
	assert_int_equal(
		orders_request_abort(w->orders, &alice, im.uuid, NOW, &vm, &out, &e), -1);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, im.uuid, NOW, &vm, &out, &e), 0);
	assert_null(vm.uuid);
	assert_int_equal(out.status, IMAGE_ERROR);
	assert_string_equal(out.reason, "CreateImage aborted by root@ungleich-admin");
	assert_int_equal(request_type(w, im.uuid), -1);
	assert_int_equal(orders_request_get(w->orders, &alice, im.uuid, &r, &e), -1);
	assert_int_equal(delete_as(w, &alice, im.uuid, &e), ORDER_IMAGE_GOES);
	assert_int_equal(
		orders_request_abort(w->orders, &admin, im.uuid, NOW, &vm, &out, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "DeleteImage cannot be aborted"));
}

/* ---------------------------------------------------------------- files */

static void test_files(void **state)
{
	const struct file_ref own = { .name = "debian.qcow2" };
	const struct file_ref of_alice = { "alice", "users", "debian.qcow2" };
	struct file_ref by_uuid = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	struct orders_world *w = *state;
	char uuid[UUID_STR_SIZE];
	struct err e;

	file_uuid("users", "alice", "debian.qcow2", uuid);
	by_uuid.name = uuid;
	assert_int_equal(orders_file_get(w->orders, &alice, &own, &f, &e), 0);
	assert_string_equal(f.uuid, uuid);
	assert_int_equal(orders_file_get(w->orders, &alice, &by_uuid, &f, &e), 0);
	assert_int_equal(orders_file_get(w->orders, &alice, &of_alice, &f, &e), 0);
	assert_int_equal(orders_file_get(w->orders, &admin, &of_alice, &f, &e), 0);
	assert_int_equal(orders_file_get(w->orders, &admin, &by_uuid, &f, &e), 0);
	assert_int_equal(orders_file_get(w->orders, &bob, &own, &f, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_file_get(w->orders, &bob, &of_alice, &f, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(orders_file_get(w->orders, &bob, &by_uuid, &f, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, orders_world_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_create_by_uuid_and_store),
		TEST(test_create_refusals),
		TEST(test_no_store),
		TEST(test_quota),
		TEST(test_users_may_publish),
		TEST(test_idempotency),
		TEST(test_unknown),
		TEST(test_vms_wait_for_it),
		TEST(test_delete_in_every_state),
		TEST(test_delete_while_used),
		TEST(test_delete_cut_short),
		TEST(test_registered),
		TEST(test_requests),
		TEST(test_files),
	};

	mem_init();
	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
