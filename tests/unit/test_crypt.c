#include "common/base/crypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "tests/lib/test_util.h"

/* RFC 6238, appendix B: the SHA-1 seed "12345678901234567890" in base32. */
#define RFC_SEED "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

static void sha256_of_abc(void **state)
{
	char hex[SHA256_HEX_SIZE];
	(void)state;

	sha256_hex("abc", 3, hex);
	assert_string_equal(
		hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void base64_both_ways(void **state)
{
	/* RFC 4648, section 10. */
	static const char *const rows[][2] = { { "", "" }, { "f", "Zg==" },
		{ "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
		{ "foobar", "Zm9vYmFy" } };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP_STR char *text = base64_format(rows[i][0], strlen(rows[i][0]));
		CLEANUP_STR char *raw = NULL;
		size_t size = 99;
		struct err e;

		assert_string_equal(text, rows[i][1]);
		assert_int_equal(base64_parse(text, strlen(text), &raw, &size, &e), 0);
		assert_int_equal(size, strlen(rows[i][0]));
		assert_string_equal(raw, rows[i][0]);
	}
}

static void base64_refuses(void **state)
{
	static const char *const bad[] = { "Zg", "Zg=", "Zg===", "Z", "Zm9v\n", " Zm9v",
		"Zm9v!", "Zm-_", "Zm9vZg==Zg==" };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char *raw = NULL;
		size_t size = 0;
		struct err e;

		if (base64_parse(bad[i], strlen(bad[i]), &raw, &size, &e) == 0)
			fail_msg("'%s' was taken for base64", bad[i]);
		assert_null(raw);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void tokens_differ(void **state)
{
	char a[TOKEN_STR_SIZE], b[TOKEN_STR_SIZE];
	(void)state;

	token_new(a);
	token_new(b);
	assert_int_equal(strlen(a), 43);
	assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789-_"),
		43);
	assert_string_not_equal(a, b);
	assert_true(secret_eq(a, a));
	assert_false(secret_eq(a, b));
	assert_false(secret_eq("a", "aa"));
	assert_false(secret_eq(NULL, NULL));
	secret_wipe(a);
	assert_string_equal(a, "");
	secret_wipe(NULL);
	for (int i = 0; i < 100; i++)
		assert_true(random_u32(3) < 3);
}

static void sealed_opens_only_where_it_belongs(void **state)
{
	uint8_t key[SEAL_KEY_SIZE] = { 1, 2, 3 }, other[SEAL_KEY_SIZE] = { 1, 2, 4 };
	CLEANUP_STR char *sealed = seal(key, "realm/anna", "SECRETSEED");
	CLEANUP_STR char *again = seal(key, "realm/anna", "SECRETSEED");
	CLEANUP_STR char *plain = NULL;
	char *none = NULL;
	struct err e;
	(void)state;

	assert_string_not_equal(sealed, again);
	assert_int_equal(seal_open(key, "realm/anna", sealed, &plain, &e), 0);
	assert_string_equal(plain, "SECRETSEED");
	assert_int_equal(seal_open(other, "realm/anna", sealed, &none, &e), -1);
	assert_int_equal(seal_open(key, "realm/bert", sealed, &none, &e), -1);
	sealed[40] = sealed[40] == 'A' ? 'B' : 'A';
	assert_int_equal(seal_open(key, "realm/anna", sealed, &none, &e), -1);
	assert_int_equal(seal_open(key, "realm/anna", "AAAA", &none, &e), -1);
	assert_int_equal(seal_open(key, "realm/anna", "no base64", &none, &e), -1);
	assert_null(none);
}

static void key_file(void **state)
{
	uint8_t a[SEAL_KEY_SIZE], b[SEAL_KEY_SIZE];
	struct stat st;
	struct err e;
	(void)state;

	CLEANUP_STR char *dir = test_path("keys");
	CLEANUP_STR char *path = test_path("keys/key");

	test_mkdir(dir);
	assert_int_equal(seal_key_read(path, false, a, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_int_equal(seal_key_read(path, true, a, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_int_equal(seal_key_read(path, true, b, &e), 0);
	assert_memory_equal(a, b, sizeof(a));

	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(seal_key_read(path, false, b, &e), -1);
	assert_non_null(strstr(e.msg, "chmod 600"));

	assert_int_equal(file_write(path, "abc\n", 4, 0600, FILE_REPLACE, &e), 0);
	assert_int_equal(seal_key_read(path, true, b, &e), -1);
	assert_non_null(strstr(e.msg, "64 hex digits"));

	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0); /* no temporary file was left */
}

static void totp_of_the_rfc(void **state)
{
	/* RFC 6238, appendix B; six digits are the last six of its eight. */
	static const struct {
		int64_t at;
		const char *code;
	} rows[] = { { 59, "287082" }, { 1111111109, "081804" }, { 1111111111, "050471" },
		{ 1234567890, "005924" }, { 2000000000, "279037" },
		{ 20000000000, "353130" } };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char code[TOTP_STR_SIZE];
		int64_t step = 0;
		struct err e;

		assert_int_equal(totp_make(RFC_SEED, rows[i].at, code, &e), 0);
		assert_string_equal(code, rows[i].code);
		assert_int_equal(
			totp_verify(RFC_SEED, code, rows[i].at, 0, &step, &e), 0);
		assert_int_equal(step, rows[i].at / 30);
	}
}

static void totp_window(void **state)
{
	const int64_t now = 1700000010; /* in the middle of a step */
	char code[TOTP_STR_SIZE];
	int64_t step = -5;
	struct err e;
	(void)state;

	assert_int_equal(totp_make(RFC_SEED, now - 30, code, &e), 0);
	assert_int_equal(totp_verify(RFC_SEED, code, now, 0, &step, &e), 1);
	assert_int_equal(step, -5);
	assert_int_equal(totp_verify(RFC_SEED, code, now, 1, &step, &e), 0);
	assert_int_equal(step, now / 30 - 1);
	assert_int_equal(totp_verify(RFC_SEED, code, now - 60, 1, &step, &e), 0);
	assert_int_equal(totp_verify(RFC_SEED, code, now + 60, 1, &step, &e), 1);
	assert_int_equal(totp_verify(RFC_SEED, "", now, 1, &step, &e), 1);
	assert_int_equal(totp_verify(RFC_SEED, "12345", now, 1, &step, &e), 1);
	/* Near 1970 there is no step before the first. */
	assert_int_equal(totp_make(RFC_SEED, 0, code, &e), 0);
	assert_int_equal(totp_verify(RFC_SEED, code, 0, 2, &step, &e), 0);
	assert_int_equal(step, 0);
}

static void seeds(void **state)
{
	static const char *const bad[] = { "", "A", "ABCDEFGH", "01890189018901890189",
		"GEZDGNBVGY3TQOJQ!!!!!!!!" };
	CLEANUP_STR char *seed = totp_seed_new();
	CLEANUP_STR char *long_one = xmalloc(201);
	struct err e;
	(void)state;

	assert_int_equal(strlen(seed), 32);
	assert_int_equal(totp_seed_check(seed, &e), 0);
	assert_int_equal(totp_seed_check("gezdgnbvgy3tqojq", &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (totp_seed_check(bad[i], &e) == 0)
			fail_msg("'%s' was taken for a seed", bad[i]);
		assert_true(strlen(bad[i]) < 2 || !strstr(e.msg, bad[i]));
	}
	memset(long_one, 'A', 200);
	long_one[200] = '\0';
	assert_int_equal(totp_seed_check(long_one, &e), -1);
}

static int set_up(void **state)
{
	(void)state;
	crypt_init();
	crypt_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_of_abc),
		cmocka_unit_test(base64_both_ways),
		cmocka_unit_test(base64_refuses),
		cmocka_unit_test(tokens_differ),
		cmocka_unit_test(sealed_opens_only_where_it_belongs),
		cmocka_unit_test(key_file),
		cmocka_unit_test(totp_of_the_rfc),
		cmocka_unit_test(totp_window),
		cmocka_unit_test(seeds),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
