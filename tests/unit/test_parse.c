#include "common/base/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void whole_numbers(void **state)
{
	static const char *const bad[] = { "", " 1", "1 ", "+", "-", "--1", "1.0", "0x10",
		"1e3", "x", "11", "-11", "9223372036854775808",
		"99999999999999999999999999999999", "\xd9\xa3" };
	int64_t n = 77;
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(parse_int64(bad[i], -10, 10, &n, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(n, 77);
	}
	assert_int_equal(parse_int64("11", -10, 10, &n, &e), -1);
	assert_string_equal(
		e.msg, "\"11\" is out of range; give a number from -10 to 10");
	assert_int_equal(parse_int64("ten", -10, 10, &n, &e), -1);
	assert_string_equal(
		e.msg, "\"ten\" is not a whole number; give one from -10 to 10");
	assert_int_equal(parse_int64("-10", -10, 10, &n, &e), 0);
	assert_int_equal(n, -10);
	assert_int_equal(parse_int64("+007", -10, 10, &n, &e), 0);
	assert_int_equal(n, 7);
	assert_int_equal(
		parse_int64("9223372036854775807", INT64_MIN, INT64_MAX, &n, &e), 0);
	assert_true(n == INT64_MAX);
	assert_int_equal(
		parse_int64("-9223372036854775808", INT64_MIN, INT64_MAX, &n, &e), 0);
	assert_true(n == INT64_MIN);
}

static void long_input_is_quoted_in_part(void **state)
{
	char text[5000];
	int64_t n;
	struct err e = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(parse_int64(text, 0, 1, &n, &e), -1);
	assert_true(strlen(e.msg) < 200);
	assert_non_null(strstr(e.msg, "xxx...\""));
}

static void yes_and_no(void **state)
{
	static const char *const yes[] = { "yes", "true", "on", "1", "Yes", "TRUE" };
	static const char *const no[] = { "no", "false", "off", "0" };
	static const char *const bad[] = { "", "2", "y", "yes ", "truee" };
	struct err e = { 0 };
	bool b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		b = false;
		assert_int_equal(parse_bool(yes[i], &b, &e), 0);
		assert_true(b);
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		b = true;
		assert_int_equal(parse_bool(no[i], &b, &e), 0);
		assert_false(b);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_bool(bad[i], &b, &e), -1);
}

#define GIB INT64_C(1073741824)

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes; /* -1: refused */
	} rows[] = {
		{ "20", 20 * GIB },
		{ "20GiB", 20 * GIB },
		{ "20G", 20 * GIB },
		{ "20GB", 20 * GIB },
		{ "20gib", 20 * GIB },
		{ "512MiB", GIB / 2 },
		{ "1TiB", 1024 * GIB },
		{ "4K", 4096 },
		{ "100B", 100 },
		{ "0", 0 },
		{ "8388607T", INT64_C(8388607) << 40 },
		{ "", -1 },
		{ "G", -1 },
		{ "-1G", -1 },
		{ "+1G", -1 },
		{ "1.5G", -1 },
		{ "1 G", -1 },
		{ "1GiBs", -1 },
		{ "1Gi", -1 },
		{ "1X", -1 },
		{ "1Bi", -1 },
		{ "8388608T", -1 },
		{ "9223372036854775807", -1 },
		{ "9223372036854775808B", -1 },
		{ "1000000000000000000000000000G", -1 },
	};
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t bytes = -1;
		int rc = parse_size(rows[i].text, GIB, &bytes, &e);

		assert_int_equal(rc, rows[i].bytes < 0 ? -1 : 0);
		assert_int_equal(bytes, rows[i].bytes);
	}
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t sec;
	} rows[] = { { "90", 90 }, { "90s", 90 }, { "10m", 600 }, { "2h", 7200 },
		{ "1d", 86400 }, { "0", 0 }, { "", -1 }, { "s", -1 }, { "1w", -1 },
		{ "-1s", -1 }, { "1ms", -1 }, { "1h30m", -1 }, { "1.5h", -1 },
		{ "9223372036854775807d", -1 } };
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t sec = -1;
		int rc = parse_duration(rows[i].text, &sec, &e);

		assert_int_equal(rc, rows[i].sec < 0 ? -1 : 0);
		assert_int_equal(sec, rows[i].sec);
	}
}

static void times_there_and_back(void **state)
{
	static const struct {
		const char *text;
		int64_t sec;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1969-12-31T23:59:59Z", -1 },
		{ "2000-02-29T12:00:00Z", 951825600 },
		{ "2026-11-23T04:00:00Z", 1795406400 },
		{ "2038-01-19T03:14:08Z", 2147483648 },
		{ "0000-01-01T00:00:00Z", -62167219200 },
		{ "9999-12-31T23:59:59Z", 253402300799 },
	};
	char text[TIME_STR_SIZE];
	struct err e = { 0 };
	int64_t sec = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(time_parse(rows[i].text, &sec, &e), 0);
		assert_int_equal(sec, rows[i].sec);
		time_format(rows[i].sec, text);
		assert_string_equal(text, rows[i].text);
	}
	time_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59Z");
	time_format(INT64_MIN, text);
	assert_string_equal(text, "0000-01-01T00:00:00Z");
}

static void bad_times(void **state)
{
	static const char *const bad[] = { "", "2026", "2026-11-23",
		"2026-11-23T04:00:00", "2026-11-23 04:00:00Z",
		"2026-11-23T04:00:00+00:00", "2026-11-23T04:00:00.0Z",
		"2026-11-23T04:00:00Z ", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z",
		"2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2016-12-31T23:59:60Z",
		"-026-01-01T00:00:00Z", "2026-1-01T00:00:00ZZ" };
	struct err e = { 0 };
	int64_t sec = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(time_parse(bad[i], &sec, &e), -1);
		assert_int_equal(sec, 77);
	}
}

static void hosts_and_ports(void **state)
{
	static const struct {
		const char *text, *host; /* NULL: refused */
		int port;
	} rows[] = {
		{ "[2001:db8::1]:8080", "2001:db8::1", 8080 },
		{ "[2001:db8::1]", "2001:db8::1", 443 },
		{ "[::]", "::", 443 },
		{ "[::1]:0", "::1", 0 },
		{ "[fe80::1%eth0]:80", "fe80::1%eth0", 80 },
		{ "host-1.example.com:80", "host-1.example.com", 80 },
		{ "host", "host", 443 },
		{ "127.0.0.1:80", "127.0.0.1", 80 },
		{ "", NULL, 0 },
		{ ":80", NULL, 0 },
		{ "::1", NULL, 0 },
		{ "2001:db8::1:80", NULL, 0 },
		{ "[]", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "[::1]8080", NULL, 0 },
		{ "[::1]:", NULL, 0 },
		{ "[host]:80", NULL, 0 },
		{ "[127.0.0.1]:80", NULL, 0 },
		{ "[fe80::1%]", NULL, 0 },
		{ "[fe80::1%eth0/24]", NULL, 0 },
		{ "host:", NULL, 0 },
		{ "host:65536", NULL, 0 },
		{ "host:-1", NULL, 0 },
		{ "host:http", NULL, 0 },
		{ "ho st:80", NULL, 0 },
		{ "-host", NULL, 0 },
		{ "http://host", NULL, 0 },
	};
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP_STR char *host = NULL;
		uint16_t port = 1;
		int rc = parse_host_port(rows[i].text, 443, &host, &port, &e);

		assert_int_equal(rc, rows[i].host ? 0 : -1);
		if (rows[i].host) {
			assert_string_equal(host, rows[i].host);
			assert_int_equal(port, rows[i].port);
		} else {
			assert_null(host);
			assert_int_equal(port, 1);
		}
	}
	assert_int_equal(
		parse_host_port("::1", 1, &(char *){ 0 }, &(uint16_t){ 0 }, &e), -1);
	assert_non_null(strstr(e.msg, "in brackets"));
}

static void text_is_utf8_without_control_characters(void **state)
{
	static const struct {
		const char *s;
		size_t size;
		bool one_line, multi_line;
	} rows[] = {
		{ "", 0, true, true },
		{ "abc ~", 5, true, true },
		{ "a\nb\t", 4, false, true },
		{ "a\r", 2, false, false },
		{ "a\0b", 3, false, false },
		{ "\x1b", 1, false, false },
		{ "\x7f", 1, false, false },
		{ "\xc3\xa9", 2, true, true },
		{ "\xc2\x85", 2, false, false }, /* C1 */
		{ "\xc2\xa0", 2, true, true },
		{ "\xe2\x82\xac", 3, true, true },
		{ "\xf0\x9f\x98\x80", 4, true, true },
		{ "\xf4\x8f\xbf\xbf", 4, true, true },	 /* the last one */
		{ "\xf4\x90\x80\x80", 4, false, false }, /* above U+10FFFF */
		{ "\xc3", 1, false, false },
		{ "\xe2\x82", 2, false, false },
		{ "\xf0\x9f\x98", 3, false, false },
		{ "\xe2\x82\x41", 3, false, false },
		{ "\xc0\xaf", 2, false, false }, /* overlong */
		{ "\xc1\xbf", 2, false, false },
		{ "\xe0\x9f\xbf", 3, false, false }, /* overlong */
		{ "\xf0\x8f\xbf\xbf", 4, false, false },
		{ "\xed\xa0\x80", 3, false, false }, /* surrogate */
		{ "\xed\x9f\xbf", 3, true, true },
		{ "\x80", 1, false, false },
		{ "\xff", 1, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(
			str_is_text(rows[i].s, rows[i].size, false), rows[i].one_line);
		assert_int_equal(
			str_is_text(rows[i].s, rows[i].size, true), rows[i].multi_line);
	}
	assert_int_equal(utf8_char_len("", 0), 0);
	assert_int_equal(utf8_char_len("\xf0\x9f\x98\x80", 4), 4);
	assert_int_equal(utf8_char_len("\xf0\x9f\x98\x80", 3), 0);
}

static void hosts_of_this_machine(void **state)
{
	static const char *const here[] = { "::1", "0:0:0:0:0:0:0:1", "localhost",
		"LocalHost", "api.localhost", "::ffff:127.0.0.1" };
	static const char *const there[] = { "::", "::2", "2001:db8::1", "example.org",
		"localhost.example.org", "notlocalhost", "", "fe80::1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(here); i++)
		assert_true(host_is_loopback(here[i]));
	for (size_t i = 0; i < ARRAY_LEN(there); i++)
		assert_false(host_is_loopback(there[i]));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_numbers),
		cmocka_unit_test(long_input_is_quoted_in_part),
		cmocka_unit_test(yes_and_no),
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(times_there_and_back),
		cmocka_unit_test(bad_times),
		cmocka_unit_test(hosts_and_ports),
		cmocka_unit_test(hosts_of_this_machine),
		cmocka_unit_test(text_is_utf8_without_control_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
