#include "common/model/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define U "123e4567-e89b-42d3-a456-426614174000"

#define NEEDED                                                                           \
	"\"uuid\":\"" U "\",\"name\":\"debian\",\"owner\":\"nico\","                     \
	"\"owner_realm\":\"R\",\"store\":\"local\",\"format\":\"qcow2\","                \
	"\"status\":\"CREATED\""

#define FULL                                                                             \
	"{\"uuid\":\"" U "\",\"name\":\"debian\",\"owner\":\"nico\","                    \
	"\"owner_realm\":\"R\",\"description\":\"a\\nb\",\"store\":\"local\","           \
	"\"path\":\"debian/12.qcow2\",\"format\":\"qcow2\",\"public\":true,"             \
	"\"status\":\"ERROR\",\"progress\":40,\"size_bytes\":1000,"                      \
	"\"virtual_bytes\":2147483648,\"sha512\":\"00ff\",\"file_uuid\":\"" U "\","      \
	"\"created\":\"2001-09-09T01:46:40Z\",\"reason\":\"no\",\"later\":true}"

static void full_round_trip(void **state)
{
	struct image im = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_parse(FULL, strlen(FULL), &im, &e), 0);
	CLEANUP_STR char *text = image_format_text(&im);
	assert_string_equal(text, FULL);
	assert_int_equal(im.format, IMAGE_QCOW2);
	assert_int_equal(im.status, IMAGE_ERROR);
	image_done(&im);
}

static void bad_images(void **state)
{
	static const char *const bad[] = { "{}", "{" NEEDED ",\"path\":\"/etc/shadow\"}",
		"{" NEEDED ",\"path\":\"a/../../b\"}", "{" NEEDED ",\"progress\":101}",
		"{" NEEDED ",\"size_bytes\":-1}", "{" NEEDED ",\"file_uuid\":\"x\"}",
		"{" NEEDED ",\"format\":\"vmdk\"}", NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct image im = { .progress = 77 };
		struct err e = { 0 };

		if (image_parse(*b, strlen(*b), &im, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(im.progress, 77);
	}
}

static void image_item(void **state)
{
	CLEANUP(json_decref_ptr) json_t *json = json_loads("{" NEEDED "}", 0, NULL);
	struct err e = { 0 };
	struct image *im = image_parse_item(U, json, &e);
	(void)state;

	assert_non_null(im);
	image_free_item(im);
	assert_null(image_parse_item("other", json, &e));
}

static void store_round_trip(void **state)
{
	static const char text[] =
		"{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/srv/store\","
		"\"max_image_gib\":10,\"created\":\"2001-09-09T01:46:40Z\",\"later\":1}";
	struct image_store s = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_store_parse(text, strlen(text), &s, &e), 0);
	CLEANUP_STR char *again = image_store_format(&s);
	assert_string_equal(again, text);
	assert_true(image_store_is_local(&s));
	image_store_done(&s);
}

static void ceph_store_has_defaults(void **state)
{
	static const char text[] = "{\"name\":\"rbd\",\"type\":\"ceph\"}";
	struct image_store s = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(image_store_parse(text, strlen(text), &s, &e), 0);
	assert_string_equal(s.pool, "images");
	assert_string_equal(s.vm_pool, "uservms");
	assert_int_equal(s.max_image_gib, 2048);
	assert_false(image_store_is_local(&s));
	image_store_done(&s);
}

static void bad_stores(void **state)
{
	static const struct {
		const char *text, *field;
	} bad[] = {
		{ "{\"name\":\"a\"}", "type" },
		{ "{\"type\":\"filesystem\",\"path\":\"/x\"}", "name" },
		{ "{\"name\":\"a\",\"type\":\"filesystem\"}", "path" },
		{ "{\"name\":\"a\",\"type\":\"filesystem\",\"path\":\"x\"}", "path" },
		{ "{\"name\":\"a\",\"type\":\"filesystem\",\"path\":\"/\"}", "path" },
		{ "{\"name\":\"a\",\"type\":\"filesystem\",\"path\":\"/a/../b\"}",
			"path" },
		{ "{\"name\":\"a\",\"type\":\"filesystem\",\"path\":\"/a/\"}", "path" },
		{ "{\"name\":\"a\",\"type\":\"ceph\",\"pool\":\"a/b\"}", "pool" },
		{ "{\"name\":\"a\",\"type\":\"ceph\",\"vm_pool\":\"images\"}",
			"vm_pool" },
		{ "{\"name\":\"a\",\"type\":\"ceph\",\"ceph_conf\":\"x\"}", "ceph_conf" },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct image_store s = { .max_image_gib = 77 };
		struct err e = { 0 };

		if (image_store_parse(bad[i].text, strlen(bad[i].text), &s, &e) == 0)
			fail_msg("accepted: %s", bad[i].text);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(e.field, bad[i].field);
		assert_int_equal(s.max_image_gib, 77);
	}
}

static void store_item(void **state)
{
	CLEANUP(json_decref_ptr)
	json_t *json = json_pack("{s:s,s:s}", "name", "a", "type", "ceph");
	struct err e = { 0 };
	struct image_store *s = image_store_parse_item("a", json, &e);
	(void)state;

	assert_non_null(s);
	image_store_free_item(s);
	assert_null(image_store_parse_item("b", json, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(bad_images),
		cmocka_unit_test(image_item),
		cmocka_unit_test(store_round_trip),
		cmocka_unit_test(ceph_store_has_defaults),
		cmocka_unit_test(bad_stores),
		cmocka_unit_test(store_item),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
