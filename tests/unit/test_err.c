#include "common/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/parse.h"

static void says_what_and_where(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_set_field(&e, ERR_INVALID, "cpu", "%d is too many", 9), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(e.field, "cpu");
	assert_string_equal(e.msg, "9 is too many");
	assert_int_equal(err_wrap(&e, "VM %s", "a"), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(e.field, "cpu");
	assert_string_equal(e.msg, "VM a: 9 is too many");
	assert_int_equal(err_set(&e, ERR_IO, "other"), -1);
	assert_string_equal(e.field, "");
}

static void arguments_may_be_the_error_itself(void **state)
{
	struct err e = { 0 };

	(void)state;
	err_set_field(&e, ERR_INVALID, "b", "inner");
	err_set_field(&e, ERR_EXISTS, e.field, "outer of %s", e.msg);
	assert_string_equal(e.msg, "outer of inner");
	assert_string_equal(e.field, "b");
	err_wrap(&e, "again %s", e.msg);
	assert_string_equal(e.msg, "again outer of inner: outer of inner");
}

static void no_error_is_wanted(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_IO, "x"), -1);
	assert_int_equal(err_set_field(NULL, ERR_IO, "f", "x"), -1);
	assert_int_equal(err_errno(NULL, ENOENT, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
}

static void errno_chooses_the_kind(void **state)
{
	static const struct {
		int errnum;
		enum err_kind kind;
	} rows[] = {
		{ ENOENT, ERR_NOT_FOUND },
		{ EEXIST, ERR_EXISTS },
		{ ENOSPC, ERR_NO_SPACE },
		{ EDQUOT, ERR_NO_SPACE },
		{ ETIMEDOUT, ERR_TIMEOUT },
		{ ECONNREFUSED, ERR_UNAVAILABLE },
		{ EHOSTUNREACH, ERR_UNAVAILABLE },
		{ ENOSYS, ERR_UNSUPPORTED },
		{ EACCES, ERR_IO },
		{ EINVAL, ERR_IO },
	};
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(err_errno(&e, rows[i].errnum, "open %s", "f"), -1);
		assert_int_equal(e.kind, rows[i].kind);
	}
	err_errno(&e, ENOENT, "open %s", "f");
	assert_string_equal(e.msg, "open f: No such file or directory");
}

/* Every length of text in front of a character of four bytes: the cut is never inside. */
static void truncation_keeps_characters_whole(void **state)
{
	char text[1200];

	(void)state;
	for (size_t len = 740; len < 800; len++) {
		struct err e = { 0 };

		memset(text, 'a', len);
		strncpy(text + len, "\xf0\x9f\x98\x80\xc3\xa9", sizeof(text) - len - 1);
		text[len + 6] = '\0';
		err_set_field(&e, ERR_INVALID, text, "%s", text);
		assert_true(str_is_text(e.msg, strlen(e.msg), false));
		assert_null(strchr(e.msg, '?'));
		assert_true(strlen(e.msg) >= 740);
		err_wrap(&e, "%s", text);
		assert_true(str_is_text(e.msg, strlen(e.msg), false));
		assert_null(strchr(e.msg, '?'));
		assert_true(str_is_text(e.field, strlen(e.field), false));
	}
}

static void a_long_wrap_keeps_the_cause(void **state)
{
	struct err e = { 0 };
	char text[1200];

	(void)state;
	memset(text, 'w', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(&e, ERR_IO, "disk full");
	err_wrap(&e, "%s", text);
	assert_non_null(strstr(e.msg, "www: disk full"));
}

static void messages_are_one_line_of_text(void **state)
{
	struct err e = { 0 };

	(void)state;
	err_set(&e, ERR_INVALID, "%s",
		"a\nb\tc\x01"
		"d\xff"
		"e\xc2\x85"
		"f\xc3\n");
	assert_string_equal(e.msg, "a b c?d?e?f?");
}

static void kinds_and_http_agree(void **state)
{
	(void)state;
	for (int k = ERR_INVALID; k < ERR_N_KINDS; k++) {
		int status = err_http_status((enum err_kind)k);

		assert_non_null(err_kind_name((enum err_kind)k));
		assert_in_range(status, 400, 599);
		assert_int_equal(err_http_status(err_kind_of_http(status)), status);
	}
	assert_int_equal(err_kind_of_http(403), ERR_DENIED);
	assert_int_equal(err_kind_of_http(409), ERR_CONFLICT);
	assert_int_equal(err_kind_of_http(500), ERR_INTERNAL);
	assert_int_equal(err_kind_of_http(418), ERR_INTERNAL);
	assert_int_equal(err_kind_of_http(200), ERR_INTERNAL);
	assert_int_equal(err_http_status(ERR_QUOTA), 403);
	assert_int_equal(err_http_status(ERR_EXISTS), 409);
	assert_int_equal(err_http_status(ERR_NO_SPACE), 507);
	assert_string_equal(err_kind_name(ERR_NOT_FOUND), "not_found");
	assert_string_equal(err_kind_name((enum err_kind)99), "unknown");
}

static void only_some_kinds_pass(void **state)
{
	(void)state;
	assert_true(err_is_passing(ERR_UNAVAILABLE));
	assert_true(err_is_passing(ERR_TIMEOUT));
	assert_true(err_is_passing(ERR_NO_SPACE));
	assert_true(err_is_passing(ERR_IO));
	assert_false(err_is_passing(ERR_INVALID));
	assert_false(err_is_passing(ERR_UNSUPPORTED));
	assert_false(err_is_passing(ERR_INTERNAL));
	assert_false(err_is_passing(ERR_NONE));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_and_where),
		cmocka_unit_test(arguments_may_be_the_error_itself),
		cmocka_unit_test(no_error_is_wanted),
		cmocka_unit_test(errno_chooses_the_kind),
		cmocka_unit_test(truncation_keeps_characters_whole),
		cmocka_unit_test(a_long_wrap_keeps_the_cause),
		cmocka_unit_test(messages_are_one_line_of_text),
		cmocka_unit_test(kinds_and_http_agree),
		cmocka_unit_test(only_some_kinds_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
