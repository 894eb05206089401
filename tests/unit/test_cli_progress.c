#include "ucloud-cli/progress.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *what, int64_t done, int64_t total, int64_t rate,
	size_t width, const char *want)
{
	CLEANUP(buf_done) struct buf b = { 0 };

	cli_progress_format(what, done, total, rate, width, &b);
	assert_string_equal(buf_str(&b), want);
	assert_true(b.size <= width || strlen(want) == b.size);
}

static void lines(void **state)
{
	(void)state;
	expect("uploading a", 0, 1000, 0, 80,
		"uploading a   0 % [........................] 0 bytes of 1000 bytes");
	expect("uploading a", 512 * 1024, 1024 * 1024, 0, 80,
		"uploading a  50 % [############............] 512.0 KiB of 1.0 MiB");
	expect("uploading a", 1024, 2048, 1024, 100,
		"uploading a  50 % [############............] 1.0 KiB of 2.0 KiB, 1.0 "
		"KiB/s, 0:01 left");
	/* Too narrow for a bar, then for the name. */
	expect("uploading a", 1024, 2048, 1024, 60,
		"uploading a  50 % 1.0 KiB of 2.0 KiB, 1.0 KiB/s, 0:01 left");
	expect("uploading a", 1024, 2048, 1024, 52,
		"uploa  50 % 1.0 KiB of 2.0 KiB, 1.0 KiB/s, 0:01 left");
	expect("\xC3\xA4\xC3\xA4", 0, 1000, 0, 30,
		"\xC3\xA4   0 % 0 bytes of 1000 bytes");
	/* It has grown; there is nothing. */
	expect("x", 3000, 1000, 0, 80,
		"x 100 % [########################] 1000 bytes of 1000 bytes");
	expect("x", 0, 0, 0, 80, "x   0 % [........................] 0 bytes of 1 bytes");
}

static void units(void **state)
{
	static const struct {
		int64_t n;
		const char *bytes, *seconds;
	} cases[] = {
		{ 0, "0 bytes", "0:00" },
		{ 59, "59 bytes", "0:59" },
		{ 1024, "1.0 KiB", "17:04" },
		{ 3723, "3.6 KiB", "1:02:03" },
		{ INT64_MAX, "8192.0 PiB", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(buf_done) struct buf b = { 0 }, t = { 0 };

		cli_bytes_format(cases[i].n, &b);
		assert_string_equal(b.s, cases[i].bytes);
		cli_seconds_format(cases[i].n, &t);
		if (cases[i].seconds)
			assert_string_equal(t.s, cases[i].seconds);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(units),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
