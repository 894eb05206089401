/* What people see: clean text, tables, entries; and what of a console is new. */
#include "ucloud-cli/table.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "ucloud-cli/cli.h"
#include "ucloud-cli/console.h"
#include "ucloud-cli/sse.h"
#include "ucloud-cli/wait.h"

static void controls_are_shown(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "plain" },
		{ "Zürich 東京", "Zürich 東京" },
		{ "a\nb\tc", "a\\x0ab\\x09c" },
		{ "\x1b[2Jgone", "\\x1b[2Jgone" },
		{ "\x7f\xc2\x9b", "\\x7f\\x9b" },
		{ "\xff\xc3", "\\xff\\xc3" },
		{ "a\xe2\x80\xae"
		  "b",
			"a\\u202eb" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = cli_text_cleaned(cases[i].in);

		assert_string_equal(got, cases[i].out);
		free(got);
	}
}

static void consoles_are_stripped(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "boot\r\nok\tx\n", "boot\nok\tx\n" },
		{ "\x1b[1;32mok\x1b[0m.", "ok." },
		{ "\x1b]0;title\ax", "x" },
		{ "\x1bPq#0\x1b\\x", "x" },
		{ "\x1b(Bx", "Bx" },
		{ "a\x1b", "a" },
		{ "a\x1b[12", "a" },
		{ "\a\b\x7f\xc2\x9bz\xff", "z" },
		{ "ü\xe2\x80\xae!", "ü!" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf got = { 0 };

		cli_text_strip(cases[i].in, strlen(cases[i].in), &got);
		assert_string_equal(buf_str(&got), cases[i].out);
		buf_done(&got);
	}
}

static void widths(void **state)
{
	(void)state;
	assert_int_equal(cli_text_width(""), 0);
	assert_int_equal(cli_text_width("abc"), 3);
	assert_int_equal(cli_text_width("Zürich"), 6);
	assert_int_equal(cli_text_width("東京"), 4);
	assert_int_equal(cli_text_width("e\xcc\x81"), 1);
}

static void lines_are_wrapped(void **state)
{
	struct buf got = { 0 };

	(void)state;
	cli_text_wrap("one two  three averyverylongword x", 10, "  ", &got);
	assert_string_equal(
		buf_str(&got), "  one two\n  three\n  averyverylongword\n  x\n");
	buf_done(&got);
	cli_text_wrap("", 10, "  ", &got);
	assert_string_equal(buf_str(&got), "");
	buf_done(&got);
}

static void add_row(struct cli_table *t, const char *a, const char *b, const char *c)
{
	struct cli_cell cells[] = { { xstrdup(a), CLI_PLAIN }, { xstrdup(b), CLI_GREEN },
		{ xstrdup(c), CLI_PLAIN } };

	cli_table_add(t, cells);
}

static void columns_line_up(void **state)
{
	struct cli_table t = { .n_cols = 3 };
	struct buf got = { 0 };

	(void)state;
	add_row(&t, "NAME", "HOST", "UUID");
	cli_table_format(&t, false, &got);
	assert_string_equal(buf_str(&got), "NAME  HOST  UUID\n");
	buf_done(&got);
	add_row(&t, "Zürich", "", "1");
	add_row(&t, "東京", "", "22");
	cli_table_format(&t, false, &got);
	/* HOST is empty everywhere. */
	assert_string_equal(buf_str(&got), "NAME    UUID\nZürich  1\n東京    22\n");
	buf_done(&got);
	add_row(&t, "x", "h1", "");
	cli_table_format(&t, true, &got);
	assert_non_null(strstr(buf_str(&got), "x       \x1b[32mh1\x1b[0m"));
	buf_done(&got);
	cli_table_done(&t);
}

/* -------------------------------------------------------------- entries */

static const char vm_text[] =
	"{\"name\":\"web\",\"owner\":\"me\",\"owner_realm\":\"home\",\"status\":"
	"\"RUNNING\",\"specs\":{\"cpu\":2,\"ram_mib\":1536,\"disks\":[{\"size_gib\":20},"
	"{\"index\":2,\"size_gib\":100,\"class\":\"hdd\",\"leaving\":true}]},"
	"\"snapshots\":[{\"name\":\"a\",\"state\":\"ready\"},{\"name\":\"b\","
	"\"state\":\"creating\"}],\"labels\":{\"app\":\"db\",\"x\":\"1\"},"
	"\"networks\":[{\"mac\":\"02:00:00:00:00:01\",\"address\":\"2001:db8::1\"},"
	"{\"mac\":\"02:00:00:00:00:02\",\"network_name\":\"lan\",\"rate_mbit\":1000}],"
	"\"closed\":true,\"ingress\":[\"tcp/22\",\"icmpv6\"],\"ssh_keys\":[\"ssh-ed25519 "
	"AAAA me@home\","
	"\"ssh-rsa BBBB\"],\"in_migration\":false,\"log\":[{\"time\":"
	"\"2026-11-23T04:00:00Z\",\"text\":\"ordered\\u001b[2J\"}],\"virtual_bytes\":"
	"1610612736,\"stores\":[{\"name\":\"a\",\"total_gib\":-1,\"free_gib\":-1},"
	"{\"name\":\"b\",\"total_gib\":9,\"free_gib\":3}]}";

static void members_are_written_for_people(void **state)
{
	static const struct {
		struct cli_field f;
		const char *want;
	} cases[] = {
		{ { "", "name", VIEW_TEXT }, "web" },
		{ { "", "owner", VIEW_OWNER }, "me@home" },
		{ { "", "specs.cpu", VIEW_NUMBER }, "2" },
		{ { "", "specs.ram_mib", VIEW_MIB }, "1536 MiB" },
		{ { "", "specs.disks", VIEW_DISKS },
			"0: 20 GiB, 2: 100 GiB hdd (leaving)" },
		{ { "", "snapshots", VIEW_SNAPSHOTS }, "a, b (creating)" },
		{ { "", "specs.disks", VIEW_DISK_SUM }, "120 GiB" },
		{ { "", "labels", VIEW_LABELS }, "app=db, x=1" },
		{ { "", "networks", VIEW_NICS }, "2001:db8::1, 02:00:00:00:00:02" },
		{ { "", "ingress", VIEW_INGRESS }, "tcp/22, icmpv6" },
		{ { "", "no_ingress", VIEW_INGRESS }, "nothing" },
		{ { "", "ingress", VIEW_STRINGS }, "tcp/22, icmpv6" },
		{ { "", "ssh_keys", VIEW_KEYS }, "ssh-ed25519 me@home, ssh-rsa" },
		{ { "", "in_migration", VIEW_YES }, "" },
		{ { "", "in_migration", VIEW_BOOL }, "no" },
		{ { "", "virtual_bytes", VIEW_BYTES }, "1.5 GiB" },
		{ { "", "stores", VIEW_STORES }, "a, b (free 3 of 9 GiB)" },
		{ { "", "no.such.member", VIEW_TEXT }, "" },
		{ { "", "labels", VIEW_TEXT }, "" },
		{ { "", "name", VIEW_DISKS }, "" },
	};
	json_t *vm = json_loads(vm_text, 0, NULL);

	(void)state;
	assert_non_null(vm);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = cli_view_text(vm, &cases[i].f);

		assert_string_equal(got, cases[i].want);
		free(got);
	}
	json_decref(vm);
}

static void entries_are_lines(void **state)
{
	static const struct cli_field lines[] = { { "name", "name", VIEW_TEXT },
		{ "status", "status", VIEW_STATUS }, { "host", "hostname", VIEW_TEXT },
		{ "log", "log", VIEW_LOG }, { 0 } };
	json_t *vm = json_loads(vm_text, 0, NULL), *list = json_pack("[O]", vm);
	struct buf got = { 0 };

	(void)state;
	cli_view_entry(vm, lines, false, &got);
	assert_string_equal(buf_str(&got), "name: web\nstatus: RUNNING\nlog:\n  "
					   "2026-11-23T04:00:00Z  ordered\\x1b[2J\n");
	buf_done(&got);
	cli_view_entry(vm, lines, true, &got);
	assert_non_null(strstr(buf_str(&got), "status: \x1b[32mRUNNING\x1b[0m\n"));
	buf_done(&got);
	cli_view_list(list, lines, false, &got);
	assert_string_equal(buf_str(&got), "name  status\nweb   RUNNING\n");
	buf_done(&got);
	cli_view_list(NULL, lines, false, &got);
	assert_string_equal(buf_str(&got), "name  status  host  log\n");
	buf_done(&got);
	json_decref(list);
	json_decref(vm);
}

static void networks_are_lines(void **state)
{
	static const struct cli_field lines[] = {
		{ "interfaces", "networks", VIEW_NIC_LINES },
		{ "used by", "vms", VIEW_NET_USERS },
		{ "up on", "hosts", VIEW_NET_PLACES },
		{ "others", "none", VIEW_NET_PLACES },
		{ 0 },
	};
	static const char network_text[] =
		"{\"vms\":[{\"name\":\"web\",\"uuid\":\"u1\",\"index\":1,\"mac\":"
		"\"02:00:00:00:00:01\",\"address\":\"2001:db8::1\"},{\"name\":\"\","
		"\"uuid\":"
		"\"u2\",\"mac\":\"m\"}],\"hosts\":[{\"hostname\":\"h1\",\"roles\":["
		"\"host\"]},"
		"{\"hostname\":\"r1\",\"roles\":[\"host\",\"router\"],\"problem\":"
		"\"radvd\\u001b died\"},{\"roles\":[7]},7]}";
	json_t *vm = json_loads(vm_text, 0, NULL);
	json_t *network = json_loads(network_text, 0, NULL);
	struct buf got = { 0 };

	(void)state;
	assert_non_null(network);
	cli_view_entry(vm, lines, false, &got);
	assert_string_equal(buf_str(&got), "interfaces:\n"
					   "  0:  02:00:00:00:00:01  2001:db8::1\n"
					   "  1:  02:00:00:00:00:02  lan  1 Gbit/s\n");
	buf_done(&got);
	cli_view_entry(network, lines, false, &got);
	assert_string_equal(buf_str(&got),
		"used by:\n"
		"  web  interface 1  02:00:00:00:00:01  2001:db8::1\n"
		"  u2  interface 0  m\n"
		"up on:\n"
		"  h1  host\n"
		"  r1  host  router  problem: radvd\\x1b died\n"
		"\n\n");
	buf_done(&got);
	json_decref(network);
	json_decref(vm);
}

/* ------------------------------------------------------ console, events */

static size_t new_at(const char *old, const char *now)
{
	return cli_console_new_at(old, strlen(old), now, strlen(now));
}

static void new_console_output(void **state)
{
	char old[2000], now[2000];

	(void)state;
	assert_int_equal(new_at("", "abc"), 0);
	assert_int_equal(new_at("abc", "abc"), 3);
	assert_int_equal(new_at("abc", "abcdef"), 3);
	/* Nothing in common: a new boot, all of it is new. */
	assert_int_equal(new_at("abc", "xyz"), 0);
	assert_int_equal(new_at("abc", ""), 0);
	/* Cut at its beginning. */
	for (size_t i = 0; i < sizeof(old); i++)
		old[i] = (char)('a' + i * i % 23 + i % 3);
	memcpy(now, old + 1000, 1000);
	memset(now + 1000, '!', 1000);
	assert_int_equal(cli_console_new_at(old, sizeof(old), now, sizeof(now)), 1000);
}

static int on_event(void *aux, const char *event, const char *data)
{
	buf_addf(aux, "<%s|%s>", event, data);
	return str_eq(data, "stop");
}

static void events_in_pieces(void **state)
{
	static const char text[] = ": comment\r\n\r\nid: 7\nevent: vm\ndata: {\"a\":\n"
				   "data:1}\n\ndata: x\n\nevent:reset\n\n";
	struct buf got = { 0 };

	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		struct cli_sse s = { .fn = on_event, .aux = &got };

		for (size_t i = 0; i < sizeof(text) - 1; i += step) {
			size_t left = sizeof(text) - 1 - i;

			assert_int_equal(
				cli_sse_feed(&s, text + i, step < left ? step : left), 0);
		}
		assert_string_equal(buf_str(&got), "<vm|{\"a\":\n1}><message|x><reset|>");
		cli_sse_done(&s);
		buf_done(&got);
	}
}

static void events_can_be_ended(void **state)
{
	struct buf got = { 0 };
	struct cli_sse s = { .fn = on_event, .aux = &got };

	(void)state;
	assert_int_equal(cli_sse_feed(&s, "data: stop\n\ndata: x\n\n", 21), 1);
	assert_string_equal(buf_str(&got), "<message|stop>");
	cli_sse_done(&s);
	buf_done(&got);
}

/* -------------------------------------------------------------- waiting */

static json_t *vm_in(const char *status, const char *log)
{
	return json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "status", status, "why",
		"2 hosts: not enough RAM", "log", "time", "2026-11-23T04:00:00Z", "text",
		log);
}

static void waiting_is_judged(void **state)
{
	static const struct {
		const char *first, *first_log, *now, *now_log, *target;
		enum cli_verdict want;
	} cases[] = {
		{ "REQUESTED_NEW", "a", "RUNNING", "b", "RUNNING", CLI_REACHED },
		{ "REQUESTED_NEW", "a", "SCHEDULED", "b", "RUNNING", CLI_GO_ON },
		{ "REQUESTED_NEW", "a", "KILLED", "b", "RUNNING", CLI_GO_ON },
		{ "REQUESTED_NEW", "a", "ERROR", "b", "RUNNING", CLI_BROKEN },
		{ "REQUESTED_DELETE", "a", "ERROR", "b", NULL, CLI_BROKEN },
		{ "REQUESTED_DELETE", "a", "RUNNING", "b", NULL, CLI_GO_ON },
		/* An order for one that was in ERROR already. */
		{ "ERROR", "a", "ERROR", "a", "RUNNING", CLI_GO_ON },
		{ "ERROR", "a", "ERROR", "b", "RUNNING", CLI_BROKEN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *first = vm_in(cases[i].first, cases[i].first_log);
		json_t *now = vm_in(cases[i].now, cases[i].now_log);

		assert_int_equal(
			cli_wait_judge(now, first, cases[i].target), cases[i].want);
		json_decref(first);
		json_decref(now);
	}
}

static void news_say_why_it_waits(void **state)
{
	json_t *waits = vm_in("REQUESTED_NEW", "ordered"), *runs = vm_in("RUNNING", "up");

	(void)state;
	assert_string_equal(cli_vm_news(waits), "2 hosts: not enough RAM");
	assert_string_equal(cli_vm_news(runs), "up");
	assert_string_equal(cli_vm_news(NULL), "");
	json_decref(waits);
	json_decref(runs);
}

static void addresses_of_the_api(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {
		{ "https://cloud.example/", "https://cloud.example" },
		{ "cloud.example", "https://cloud.example" },
		{ "[2001:db8::1]:8443", "https://[2001:db8::1]:8443" },
		{ "http://[::1]:8080", "http://[::1]:8080" },
	};
	static const char *const bad[] = { "", "https://", "ftp://x", "https://me@x",
		"https://x y", "https://x?a=b", "/path", "file:///etc/passwd" };
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		char *url = NULL;

		assert_int_equal(cli_api_url(good[i].in, &url, &e), 0);
		assert_string_equal(url, good[i].out);
		free(url);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char *url = NULL;

		assert_int_equal(cli_api_url(bad[i], &url, &e), -1);
		assert_string_equal(e.field, "api");
		assert_null(url);
	}
	assert_true(cli_api_is_open("http://cloud.example"));
	assert_false(cli_api_is_open("http://[::1]:8080"));
	assert_false(cli_api_is_open("https://cloud.example"));
}

static void problems_become_errors(void **state)
{
	static const struct {
		const char *json;
		int status, exit;
		const char *msg, *field;
	} cases[] = {
		{ "{\"detail\":\"too small\",\"kind\":\"invalid\",\"field\":\"ram_mib\"}",
			400, CLI_EXIT_FAILED, "too small", "ram_mib" },
		{ "{\"detail\":\"etcd is gone\",\"kind\":\"unavailable\"}", 503,
			CLI_EXIT_UNREACHABLE, "etcd is gone", "" },
		{ "{\"title\":\"Forbidden\"}", 403, CLI_EXIT_FAILED, "Forbidden", "" },
		{ "{\"detail\":\"evil \\u001b[2J\",\"kind\":\"nonsense\"}", 404,
			CLI_EXIT_FAILED, "evil ?[2J", "" },
		{ "[]", 502, CLI_EXIT_UNREACHABLE,
			"the API answered with status 502 and no explanation", "" },
		{ "{}", 418, CLI_EXIT_FAILED,
			"the API answered with status 418 and no explanation", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cli_answer an = { .status = cases[i].status };
		struct err e = { 0 };

		an.json = json_loads(cases[i].json, 0, NULL);
		assert_int_equal(cli_problem(&an, &e), -1);
		assert_string_equal(e.msg, cases[i].msg);
		assert_string_equal(e.field, cases[i].field);
		assert_int_equal(cli_exit_status(e.kind), cases[i].exit);
		cli_answer_done(&an);
	}
	assert_int_equal(cli_exit_status(ERR_TIMEOUT), CLI_EXIT_TIMEOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(controls_are_shown),
		cmocka_unit_test(consoles_are_stripped),
		cmocka_unit_test(widths),
		cmocka_unit_test(lines_are_wrapped),
		cmocka_unit_test(columns_line_up),
		cmocka_unit_test(members_are_written_for_people),
		cmocka_unit_test(entries_are_lines),
		cmocka_unit_test(networks_are_lines),
		cmocka_unit_test(new_console_output),
		cmocka_unit_test(events_in_pieces),
		cmocka_unit_test(events_can_be_ended),
		cmocka_unit_test(waiting_is_judged),
		cmocka_unit_test(news_say_why_it_waits),
		cmocka_unit_test(addresses_of_the_api),
		cmocka_unit_test(problems_become_errors),
	};

	mem_init();
	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
