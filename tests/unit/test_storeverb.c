/* `ucloud-image store ...`, against an etcd in memory and a directory. */
#include "ucloud-image/storeverb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

static struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	char *dir;
} w;

static int setup(void **state)
{
	struct err e = { 0 };

	(void)state;
	w.etcd = fake_etcd_new();
	w.kv = kv_fake_open(w.etcd);
	keys_set_defaults(&w.keys);
	assert_int_equal(keys_check(&w.keys, &e), 0);
	w.dir = test_path("store");
	test_mkdir(w.dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keys_done(&w.keys);
	kv_close(w.kv);
	fake_etcd_free(w.etcd);
	free(w.dir);
	return 0;
}

static int add(const char *name, const struct store_opts *opts, struct err *e)
{
	*e = (struct err){ 0 };
	return store_add(w.kv, name, opts, 7, e);
}

static char *list(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct err e = { 0 };

	assert_int_equal(store_list(w.kv, f, &e), 0);
	fclose(f);
	return text;
}

static void added_and_listed(void **state)
{
	const struct store_opts opts = { .type = STORE_FILESYSTEM, .path = w.dir };
	CLEANUP(image_store_done) struct image_store s = { 0 };
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP_STR char *key = key_image_store("local");
	CLEANUP_STR char *text = NULL;
	struct err e;

	(void)state;
	assert_int_equal(add("local", &opts, &e), 0);
	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(image_store_parse(pair.value, pair.value_size, &s, &e), 0);
	assert_string_equal(s.path, w.dir);
	assert_int_equal(s.max_image_gib, 2048);
	assert_int_equal(s.created, 7);
	text = list();
	assert_non_null(strstr(text, "local"));
	assert_non_null(strstr(text, w.dir));
	/* What is there stays as it is. */
	assert_true(add("local", &opts, &e) < 0);
	assert_int_equal(e.kind, ERR_EXISTS);
}

static void refused(void **state)
{
	char nowhere[] = "/nowhere/at/all", pool[] = "pool";
	const struct {
		const char *name;
		struct store_opts opts;
		const char *why;
	} bad[] = {
		{ "a/b", { .type = STORE_FILESYSTEM, .path = w.dir }, "name" },
		{ "x", { .type = STORE_FILESYSTEM }, "path" },
		{ "x", { .type = STORE_FILESYSTEM, .path = nowhere }, "this machine" },
		{ "x", { .type = STORE_CEPH, .pool = pool, .vm_pool = pool },
			"a pool each" },
		{ "x", { .type = STORE_CEPH, .ceph_conf = pool }, "absolute path" },
		{ "x", { .type = STORE_CEPH, .ceph_conf = nowhere }, "this machine" },
	};
	CLEANUP_STR char *text = NULL;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(add(bad[i].name, &bad[i].opts, &e) < 0);
		if (!strstr(e.msg, bad[i].why))
			fail_msg("line %zu: %s", i, e.msg);
	}
	text = list();
	assert_string_equal(text, "");
}

static void put_image(const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key =
		key_image(&w.keys, "11111111-1111-4111-8111-111111111111");
	struct err e;

	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

static void deleted_when_empty(void **state)
{
	const struct store_opts opts = { .type = STORE_FILESYSTEM, .path = w.dir };
	CLEANUP_STR char *text = NULL;
	struct err e;

	(void)state;
	assert_int_equal(add("local", &opts, &e), 0);
	put_image("damaged: it may be in it");
	assert_true(store_delete(w.kv, &w.keys, "local", &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_non_null(strstr(e.msg, "1 image"));
	put_image(NULL);
	assert_int_equal(store_delete(w.kv, &w.keys, "local", &e), 0);
	assert_true(store_delete(w.kv, &w.keys, "local", &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	text = list();
	assert_string_equal(text, "");
}

static int n_lost;

/* It happens, and nobody hears of it. */
static int lose_answers(void *aux)
{
	(void)aux;
	n_lost++;
	return 2;
}

static void an_answer_that_is_lost(void **state)
{
	const struct store_opts opts = { .type = STORE_FILESYSTEM, .path = w.dir };
	const struct kv_fault fault = { .on_write = lose_answers };
	struct err e;

	(void)state;
	kv_fake_set_fault(w.kv, &fault);
	assert_int_equal(add("local", &opts, &e), 0);
	assert_int_equal(store_delete(w.kv, &w.keys, "local", &e), 0);
	assert_int_equal(n_lost, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(added_and_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(deleted_when_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_that_is_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
