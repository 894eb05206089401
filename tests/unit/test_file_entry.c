#include "common/model/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define U "123e4567-e89b-42d3-a456-426614174000"

#define NEEDED                                                                           \
	"\"uuid\":\"" U "\",\"owner\":\"nico\",\"owner_realm\":\"R\","                   \
	"\"filename\":\"debian/12.qcow2\",\"size_bytes\":1000,\"sha512\":\"00ff\""

#define FULL                                                                             \
	"{" NEEDED ",\"mtime\":\"2001-09-09T01:46:40Z\","                                \
	"\"scanned\":\"2001-09-09T01:46:41Z\",\"identity\":\"1:2:3.4\","                 \
	"\"later\":[true]}"

static void full_round_trip(void **state)
{
	CLEANUP(file_done) struct file f = { 0 };
	struct err e = { 0 };
	(void)state;

	if (file_parse(FULL, strlen(FULL), &f, &e) != 0)
		fail_msg("%s", e.msg);
	CLEANUP_STR char *text = file_format(&f);
	assert_string_equal(text, FULL);
	assert_int_equal(f.size_bytes, 1000);
	assert_int_equal(f.mtime, 1000000000);
	assert_int_equal(f.scanned, 1000000001);
	assert_string_equal(f.identity, "1:2:3.4");
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "{}", "[]", "{" NEEDED ",\"mtime\":5}",
		"{" NEEDED ",\"identity\":7}",
		"{\"uuid\":\"x\",\"owner\":\"a\",\"owner_realm\":\"R\",\"filename\":"
		"\"a\"}",
		"{\"uuid\":\"" U
		"\",\"owner\":\"a/b\",\"owner_realm\":\"R\",\"filename\":\"a\"}",
		"{\"uuid\":\"" U
		"\",\"owner\":\"a\",\"owner_realm\":\"\",\"filename\":\"a\"}",
		"{\"uuid\":\"" U
		"\",\"owner\":\"a\",\"owner_realm\":\"R\",\"filename\":\"../a\"}",
		"{\"uuid\":\"" U
		"\",\"owner\":\"a\",\"owner_realm\":\"R\",\"filename\":\"/etc/shadow\"}",
		"{\"uuid\":\"" U
		"\",\"owner\":\"a\",\"owner_realm\":\"R\",\"filename\":\"a\\nb\"}",
		"{\"uuid\":\"" U "\",\"owner\":\"a\",\"owner_realm\":\"R\",\"filename\":"
		"\"a\",\"size_bytes\":-1}",
		NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct file f = { .size_bytes = 77 };
		struct err e = { 0 };

		if (file_parse(*b, strlen(*b), &f, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(f.size_bytes, 77);
	}
}

static void file_item(void **state)
{
	json_t *json = json_loads("{" NEEDED "}", 0, NULL);
	struct err e = { 0 };
	struct file *f = file_parse_item(U, json, &e);
	(void)state;

	assert_non_null(f);
	assert_string_equal(f->owner, "nico");
	file_free_item(f);
	assert_null(file_parse_item("another key", json, &e));
	json_decref(json);
}

static void uuid_is_the_names(void **state)
{
	static const char *const others[][3] = { { "R", "bob", "b" }, { "S", "bob", "a" },
		{ "R", "eve", "a" }, { "R", "bob", "a/b" } };
	char uuid[UUID_STR_SIZE], again[UUID_STR_SIZE];
	struct err e;
	(void)state;

	file_uuid("R", "bob", "a", uuid);
	file_uuid("R", "bob", "a", again);
	assert_string_equal(uuid, again);
	/* Entries of older versions must be found: this may never change. */
	assert_string_equal(uuid, "aeb08de8-c292-576a-912e-0e89baaf00ee");
	assert_int_equal(uuid_check(uuid, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		file_uuid(others[i][0], others[i][1], others[i][2], again);
		assert_string_not_equal(uuid, again);
	}
}

static void identity(void **state)
{
	struct stat a = { .st_ino = 7, .st_size = 8, .st_mtim = { 9, 10 } }, b;
	CLEANUP_STR char *text = file_identity(&a);
	(void)state;

	assert_string_equal(text, "7:8:9.000000010");
	for (int i = 0; i < 5; i++) {
		b = a;
		b.st_ino += i == 0;
		b.st_size += i == 1;
		b.st_mtim.tv_sec += i == 2;
		b.st_mtim.tv_nsec += i == 3;
		b.st_atim.tv_sec += i == 4;
		CLEANUP_STR char *other = file_identity(&b);
		assert_int_equal(str_eq(text, other), i == 4);
	}
}

/* Directory, name, realm; NULL: nobody's. */
static const char *const dirs[][3] = {
	{ "bob", "bob", "R" },
	{ "bob@S", "bob", "S" },
	{ "B.o-b_1", "B.o-b_1", "R" },
	{ "bob@R", NULL, NULL }, /* would be a second directory of the same user */
	{ "bob@T", NULL, NULL },
	{ "bob@", NULL, NULL },
	{ "@S", NULL, NULL },
	{ "bob@S@S", NULL, NULL },
	{ "", NULL, NULL },
	{ "lost+found", NULL, NULL },
	{ ".ssh", NULL, NULL },
	{ "b\xc3\xb6", NULL, NULL },
};

static void directories(void **state)
{
	CLEANUP(strv_done) struct strv realms = { 0 };
	(void)state;

	strv_add(&realms, "R");
	strv_add(&realms, "S");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		CLEANUP_STR char *name = NULL, *realm = NULL;
		struct err e = { 0 };
		int rc = file_dir_parse(dirs[i][0], &realms, &name, &realm, &e);

		if (!dirs[i][1]) {
			assert_true(rc < 0);
			assert_int_equal(e.kind, ERR_INVALID);
			assert_null(name);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_string_equal(name, dirs[i][1]);
		assert_string_equal(realm, dirs[i][2]);
		CLEANUP_STR char *dir = file_dir(name, realm, "R");
		assert_string_equal(dir, dirs[i][0]);
	}
}

static void no_realm_no_users(void **state)
{
	struct strv none = { 0 };
	char *name = NULL, *realm = NULL;
	struct err e;
	(void)state;

	assert_true(file_dir_parse("bob", &none, &name, &realm, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(file_item),
		cmocka_unit_test(uuid_is_the_names),
		cmocka_unit_test(identity),
		cmocka_unit_test(directories),
		cmocka_unit_test(no_realm_no_users),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
