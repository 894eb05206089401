/* The configurations for radvd and BIRD, and what these programs say to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-network/bird.h"
#include "ucloud-network/radvd.h"

#define RUN_MSEC 20000

static bool has_command(const char *name)
{
	CLEANUP_STR char *path = xasprintf("/usr/sbin/%s", name);

	return access(path, X_OK) == 0;
}

/* Compares with the file, or writes it with UPDATE=1. */
static void check_golden(const char *dir, const char *name, const char *text)
{
	CLEANUP_STR char *path = xasprintf("tests/golden/%s/%s.conf", dir, name);
	CLEANUP_STR char *want = NULL;

	if (getenv("UPDATE") != NULL)
		test_write_file(path, text);
	want = test_read_file(path);
	assert_non_null(want);
	assert_string_equal(text, want);
}

static void check_run(const char *const *argv)
{
	CLEANUP_STR char *out = NULL;

	if (test_run(argv, RUN_MSEC, &out) != 0)
		fail_msg("%s: %s", argv[0], out);
}

/* ---------------------------------------------------------------- radvd */

static void check_radvd(const char *name, const struct radvd_net *nets, size_t n,
	const struct radvd_conf *c)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP_STR char *path = test_path("radvd-%s.conf", name);
	const char *const argv[] = { "/usr/sbin/radvd", "-c", "-C", path, NULL };

	radvd_text(nets, n, c, &text);
	check_golden("radvd", name, buf_str(&text));
	/* Without any interface it says that there is none. */
	if (!has_command("radvd") || n == 0)
		return;
	test_write_file(path, buf_str(&text));
	check_run(argv);
}

static void advertisements(void **state)
{
	CLEANUP(strv_done) struct strv own = { 0 };
	CLEANUP(strv_done) struct strv common = { 0 };
	CLEANUP(strv_done) struct strv search = { 0 };
	struct strv none = { 0 };
	const struct radvd_conf plain = { 0 }, empty = { &none, &none },
				full = { &common, &search };
	const struct radvd_net nets[] = {
		{ 100, "2001:db8:1000::/64", 1430, &own },
		{ 101, "2001:db8:1000:1::/64", 8930, &none },
		{ 16777215, "fd00:1:2:3::/64", 0, NULL },
	};

	(void)state;
	strv_add(&own, "2001:db8::53");
	strv_add(&own, "2001:db8::54");
	/* What radvd does not take as it is written here. */
	strv_add(&own, "::1");
	strv_add(&own, "::ffff:192.0.2.1");
	strv_add(&own, "FE80::1");
	strv_add(&own, "::");
	strv_add(&own, "ff02::1");
	strv_add(&own, "1::8");
	strv_add(&common, "2001:4860:4860::8888");
	strv_add(&search, "example.com");
	strv_add(&search, "lan.example.com");
	check_radvd("one", nets, 1, &plain);
	check_radvd("several", nets, 3, &empty);
	check_radvd("dns", nets, 3, &full);
	check_radvd("none", nets, 0, &full);
}

/* ---------------------------------------------------------------- BIRD */

static void check_bird(
	const char *name, const char *pools_text, const uint64_t *prefixes, size_t n)
{
	CLEANUP(alloc_pools_done) struct alloc_pools pools = { 0 };
	CLEANUP(strv_done) struct strv each = { 0 };
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP_STR char *path = test_path("bird-%s.conf", name);
	CLEANUP_STR char *main_path = test_path("bird-%s-main.conf", name);
	CLEANUP_STR char *main_text = NULL;
	const char *const argv[] = { "/usr/sbin/bird", "-p", "-c", main_path, NULL };
	struct err e = { 0 };

	strv_split(&each, pools_text, ' ');
	assert_int_equal(alloc_pools_parse(&each, &pools, &e), 0);
	bird_text(&pools, prefixes, n, &text);
	check_golden("bird", name, buf_str(&text));
	if (!has_command("bird"))
		return;
	main_text = xasprintf("router id 192.0.2.1;\ninclude \"%s\";\n"
			      "protocol bgp up {\n\tlocal ::1 as 65001;\n"
			      "\tneighbor fd00::2 as 65002;\n\tipv6 { import none; "
			      "export where proto = \"ucloud_networks\"; };\n}\n",
		path);
	test_write_file(path, buf_str(&text));
	test_write_file(main_path, main_text);
	check_run(argv);
}

static void routes(void **state)
{
	static const uint64_t prefixes[] = { 0xfd00000100020005, 0x20010db810000000,
		0xfd00000100020003, 0x20010db810000001, 0xfd00000100020003 };

	(void)state;
	check_bird("none", "", NULL, 0);
	check_bird("pools", "2001:db8:1000::/36 2001:db8:0:2::/63", prefixes + 1, 1);
	check_bird("left", "2001:db8:1000::/36", prefixes, ARRAY_LEN(prefixes));
}

static void replies(void **state)
{
	static const struct {
		const char *text;
		int rc;
		bool is_greeted;
		const char *error;
	} cases[] = {
		{ "", 1, false, NULL },
		{ "0001 BIRD 2.0", 1, false, NULL },
		{ "0001 BIRD 2.0.12 ready.\n", 1, true, NULL },
		{ "0001 BIRD 2.0.12 ready.\n0002-Reading configuration from /x\n", 1,
			true, NULL },
		{ "0001 BIRD 2.0.12 ready.\n0002-Reading\n0003 Reconfigured\n", 0, true,
			NULL },
		{ "0001 BIRD 2.0.12 ready.\n0002-Reading\n0004 Reconfiguration in "
		  "progress\n",
			0, true, NULL },
		{ "0001 BIRD ready.\n0002-Reading\n8002 /x:3:4 syntax error\n", -1, true,
			"configuration: /x:3:4 syntax error" },
		{ "0001 BIRD ready.\n8006 \n", -1, true, "refuses" },
		{ "220 mail.example\n", 1, false, NULL },
		{ "2200 mail.example\n", -1, false, "no bird: it says \"2200 mail" },
		{ "\n\n0001 \n", 1, true, NULL },
		{ "0001\n", 1, false, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = { 0 };
		bool is_greeted = !cases[i].is_greeted;

		print_message("case %zu\n", i);
		assert_int_equal(bird_reply(cases[i].text, &is_greeted, &e), cases[i].rc);
		assert_int_equal(is_greeted, cases[i].is_greeted);
		if (cases[i].error)
			assert_non_null(strstr(e.msg, cases[i].error));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(advertisements),
		cmocka_unit_test(routes),
		cmocka_unit_test(replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
