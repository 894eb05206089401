#include "ucloud-api/upload_input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/crypt.h"

static void ranges(void **state)
{
	static const struct {
		const char *text;
		int64_t first, last, total;
	} good[] = {
		{ "bytes 0-99/100", 0, 99, 100 },
		{ "bytes 0-0/1", 0, 0, 1 },
		{ "bytes 1000-1999/5000", 1000, 1999, 5000 },
		{ "bytes */5000", -1, -1, 5000 },
		{ "bytes */0", -1, -1, 0 },
		{ "bytes 0-1152921504606846974/1152921504606846975", 0,
			1152921504606846974, 1152921504606846975 },
	};
	static const char *const bad[] = { "", "bytes", "bytes ", "bytes 0-99",
		"bytes 0-99/", "bytes 0-99/*", "bytes 0-100/100", "bytes 5-4/10",
		"bytes -1-4/10", "bytes 0--4/10", "bytes */", "bytes */*", "bytes *",
		"bytes 0-99/100 ", "bytes  0-99/100", "bytes=0-99/100", "bits 0-9/10",
		"Bytes 0-9/10", "bytes 0-9/0", "bytes +0-9/10", "bytes 0-9/10/10",
		"bytes 0-99999999999999999999/99999999999999999999",
		"bytes 0-1/1152921504606846977", "bytes *-9/10", "bytes 0-*/10" };
	int64_t first, last, total;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (content_range_parse(good[i].text, &first, &last, &total, &e) < 0)
			fail_msg("%s: %s", good[i].text, e.msg);
		assert_int_equal(first, good[i].first);
		assert_int_equal(last, good[i].last);
		assert_int_equal(total, good[i].total);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (content_range_parse(bad[i], &first, &last, &total, &e) == 0)
			fail_msg("'%s' is taken", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(e.field, "Content-Range");
	}
}

static void digests(void **state)
{
	unsigned char bytes[64];
	CLEANUP_STR char *b64 = NULL;
	CLEANUP_STR char *hex = xstrdup("");
	char out[SHA512_HEX_SIZE];
	const char *const good[] = { "sha-512=:%s:", "  sha-512=:%s:",
		"sha-256=:AAAA:, sha-512=:%s:", "sha-512=:%s:;q=1, md5=:AAAA:",
		"unixsum, sha-512=:%s:", "a=1,\tsha-512=:%s:" };
	const char *const bad[] = { "sha-512", "sha-512=", "sha-512=%s", "sha-512=:%s",
		"sha-512=:%.20s:", "sha-512=:%sAAAA:", "sha-512=::", "sha-512=:????:",
		"=:%s:", ",", "sha-512=:%s:,", "sha-512=:%s:, ", "SHA-512=:%s:" };
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (unsigned char)(i * 37);
		str_set(&hex, xasprintf("%s%02x", hex, bytes[i]));
	}
	b64 = base64_format(bytes, sizeof(bytes));
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		CLEANUP(buf_done) struct buf text = { 0 };
		const char *at = strstr(good[i], "%s");

		buf_add(&text, good[i], (size_t)(at - good[i]));
		buf_add_str(&text, b64);
		buf_add_str(&text, at + 2);
		if (repr_digest_parse(text.s, out, &e) < 0)
			fail_msg("%s: %s", text.s, e.msg);
		assert_string_equal(out, hex);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP(buf_done) struct buf text = { 0 };
		const char *at = strstr(bad[i], "%");
		bool is_cut = at && at[1] == '.';

		buf_add(&text, bad[i], at ? (size_t)(at - bad[i]) : strlen(bad[i]));
		if (at) {
			buf_add(&text, b64, is_cut ? 20 : strlen(b64));
			buf_add_str(&text, strchr(at, 's') + 1);
		}
		if (repr_digest_parse(buf_str(&text), out, &e) == 0)
			fail_msg("'%s' is taken", text.s);
		assert_string_equal(e.field, "Repr-Digest");
	}
	/* Others' algorithms are no reason to refuse. */
	assert_int_equal(repr_digest_parse("sha-256=:AAAA:", out, &e), 0);
	assert_string_equal(out, "");
	assert_int_equal(repr_digest_parse("", out, &e), 0);
	assert_string_equal(out, "");
}

static void inputs(void **state)
{
	struct upload_input in;
	bool needs_length;
	struct err e;

	(void)state;
	assert_int_equal(
		upload_input_parse(NULL, "17", false, NULL, &in, &needs_length, &e), 0);
	assert_int_equal(in.kind, UPLOAD_WHOLE);
	assert_int_equal(in.size, 17);
	assert_int_equal(in.total, 17);
	assert_int_equal(in.from, 0);
	assert_int_equal(
		upload_input_parse(NULL, NULL, true, NULL, &in, &needs_length, &e), 0);
	assert_int_equal(in.size, -1);
	assert_int_equal(in.total, -1);
	assert_int_equal(
		upload_input_parse(NULL, NULL, false, NULL, &in, &needs_length, &e), -1);
	assert_true(needs_length);
	assert_int_equal(upload_input_parse("bytes 5-9/20", "5", false, NULL, &in,
				 &needs_length, &e),
		0);
	assert_int_equal(in.kind, UPLOAD_PART);
	assert_int_equal(in.from, 5);
	assert_int_equal(in.size, 5);
	assert_int_equal(in.total, 20);
	assert_int_equal(upload_input_parse("bytes 5-9/20", NULL, true, NULL, &in,
				 &needs_length, &e),
		0);
	assert_int_equal(in.size, 5);
	assert_int_equal(upload_input_parse("bytes 5-9/20", "6", false, NULL, &in,
				 &needs_length, &e),
		-1);
	assert_false(needs_length);
	assert_int_equal(upload_input_parse(
				 "bytes */20", "0", false, NULL, &in, &needs_length, &e),
		0);
	assert_int_equal(in.kind, UPLOAD_ASK);
	assert_int_equal(in.total, 20);
	assert_int_equal(upload_input_parse(
				 "bytes */20", "1", false, NULL, &in, &needs_length, &e),
		-1);
	assert_int_equal(
		upload_input_parse(NULL, "-1", false, NULL, &in, &needs_length, &e), -1);
	assert_int_equal(
		upload_input_parse(NULL, "1", false, "sha-512", &in, &needs_length, &e),
		-1);
}

static void names(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(upload_name_check("a", &e), 0);
	assert_int_equal(upload_name_check("dir/b.img", &e), 0);
	assert_int_equal(upload_name_check(".hidden", &e), 0);
	assert_int_equal(upload_name_check("ucloud-x", &e), 0);
	assert_int_equal(upload_name_check("a/../b", &e), -1);
	assert_int_equal(upload_name_check("/a", &e), -1);
	assert_int_equal(upload_name_check("..", &e), -1);
	assert_int_equal(upload_name_check("", &e), -1);
	assert_int_equal(upload_name_check(".ucloud-upload/x.part", &e), -1);
	assert_int_equal(upload_name_check("a/.ucloud-x", &e), -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		cmocka_unit_test(digests),
		cmocka_unit_test(inputs),
		cmocka_unit_test(names),
	};

	crypt_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
