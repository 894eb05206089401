#include "common/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void grows(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };

	(void)state;
	assert_string_equal(buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%04d", i);
	assert_int_equal(b.size, 4000);
	assert_memory_equal(b.s + 3996, "0999", 5);
	buf_drop(&b, 3996);
	assert_string_equal(buf_str(&b), "0999");
	buf_add_char(&b, 'x');
	buf_add_str(&b, "yz");
	buf_add(&b, "\0a", 2);
	assert_int_equal(b.size, 9);
	assert_memory_equal(b.s, "0999xyz\0a", 10);
	buf_drop(&b, 9);
	assert_string_equal(buf_str(&b), "");
}

static void empty_things_are_fine(void **state)
{
	struct buf b = { 0 };
	char *s;

	(void)state;
	buf_drop(&b, 0);
	buf_clear(&b);
	buf_add(&b, NULL, 0);
	assert_int_equal(b.size, 0);
	s = buf_take(&b);
	assert_string_equal(s, "");
	free(s);
	s = buf_take(&b);
	assert_string_equal(s, "");
	free(s);
	buf_done(&b);
	buf_done(&b);
}

static void take_and_clear(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	CLEANUP_STR char *s = NULL;

	(void)state;
	buf_add_str(&b, "one");
	buf_clear(&b);
	assert_string_equal(buf_str(&b), "");
	buf_add_str(&b, "two");
	s = buf_take(&b);
	assert_string_equal(s, "two");
	assert_null(b.s);
	assert_int_equal(b.size, 0);
}

/* A line exactly as long as what is left, and one more. */
static void formats_at_the_edge(void **state)
{
	(void)state;
	for (int first = 0; first < 70; first++) {
		CLEANUP(buf_done) struct buf b = { 0 };

		for (int i = 0; i < first; i++)
			buf_add_char(&b, 'a');
		buf_addf(&b, "%s", "0123456789");
		assert_int_equal(b.size, first + 10);
		assert_string_equal(b.s + first, "0123456789");
	}
}

static void lists(void **state)
{
	CLEANUP(strv_done) struct strv a = { 0 }, b = { 0 };
	CLEANUP_STR char *joined = NULL;

	(void)state;
	assert_false(strv_has(&a, "x"));
	strv_add(&a, "x");
	strv_add_take(&a, xstrdup("y"));
	strv_add(&b, "old");
	strv_copy(&b, &a);
	strv_copy(&b, &b);
	strv_done(&a);
	assert_int_equal(b.len, 2);
	assert_true(strv_has(&b, "y"));
	assert_false(strv_has(&b, "old"));
	joined = strv_join(&b, ", ");
	assert_string_equal(joined, "x, y");
}

static void splits(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ ",", "" },
		{ " , ,", "" },
		{ "a", "a" },
		{ "a,b", "a|b" },
		{ " a b ,\tc\n,", "a b|c" },
		{ ",,a", "a" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP(strv_done) struct strv parts = { 0 };
		CLEANUP_STR char *joined = NULL;

		strv_split(&parts, rows[i].text, ',');
		joined = strv_join(&parts, "|");
		assert_string_equal(joined, rows[i].want);
	}
}

static void compares(void **state)
{
	(void)state;
	assert_true(str_has_prefix("abc", "ab"));
	assert_true(str_has_prefix("abc", ""));
	assert_false(str_has_prefix("a", "ab"));
	assert_true(str_has_suffix("abc", "bc"));
	assert_true(str_has_suffix("abc", ""));
	assert_false(str_has_suffix("c", "bc"));
	assert_true(str_is_empty(NULL));
	assert_true(str_is_empty(""));
	assert_false(str_is_empty(" "));
	assert_true(str_eq(NULL, NULL));
	assert_false(str_eq(NULL, ""));
	assert_false(str_eq("a", NULL));
	assert_true(str_eq("a", "a"));
	assert_false(str_eq("a", "A"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows),
		cmocka_unit_test(empty_things_are_fine),
		cmocka_unit_test(take_and_clear),
		cmocka_unit_test(formats_at_the_edge),
		cmocka_unit_test(lists),
		cmocka_unit_test(splits),
		cmocka_unit_test(compares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
