/* The command line: parsing, suggestions, and the bodies that are sent. */
#include "ucloud-cli/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "ucloud-cli/body.h"

#define WORDS_MAX 32

/* Splits at blanks; a + stands for a blank inside a word. */
struct line {
	char *text;
	const char *v[WORDS_MAX];
	int n;
};

static void line_make(const char *s, struct line *l)
{
	char *save = NULL;

	l->text = xstrdup(s);
	l->v[0] = "ucloud-cli";
	l->n = 1;
	for (char *w = strtok_r(l->text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		for (char *p = w; *p; p++)
			if (*p == '+')
				*p = ' ';
		assert_true(l->n < WORDS_MAX);
		l->v[l->n++] = w;
	}
}

static int parse(const char *s, struct cli_args *a, struct err *e)
{
	struct line l;
	int r;

	line_make(s, &l);
	r = cli_args_parse(l.n, l.v, a, e);
	free(l.text);
	return r;
}

static void table_is_sound(void **state)
{
	(void)state;
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++) {
		const struct cli_opt *o;
		bool has_noun = false;

		for (const struct cli_noun *n = cli_nouns; n->name; n++)
			has_noun |= str_eq(n->name, c->noun);
		assert_true(has_noun);
		assert_non_null(c->run);
		assert_true(c->help && !str_has_suffix(c->help, "."));
		assert_ptr_equal(cli_cmd_find(c->noun, c->verb), c);
		for (size_t i = 0; (o = cli_cmd_opt(c, i)) != NULL; i++) {
			assert_non_null(o->help);
			assert_null(strchr(o->name, '_'));
			assert_true(cli_opt_has_value(o) == (o->meta != NULL));
			assert_true(o->kind != CLI_CHOICE || o->choices);
			/* A name stands once. */
			for (size_t k = 0; k < i; k++)
				assert_string_not_equal(cli_cmd_opt(c, k)->name, o->name);
		}
	}
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		assert_true(cli_noun_exists(n->name));
}

static void options_in_all_spellings(void **state)
{
	static const char *const same[] = {
		"vm create --name a --image b --idempotency-key k",
		"vm create --idempotency_key=k --name=a --image=b",
		"--json vm create --image=b --quiet --name a --idempotency-key=k",
		"vm --json create --name a --image b --idempotency_key k"
	};
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct cli_args a = { 0 };

		assert_int_equal(parse(same[i], &a, &e), 0);
		assert_string_equal(a.cmd->noun, "vm");
		assert_string_equal(a.cmd->verb, "create");
		assert_string_equal(cli_args_get(&a, "name"), "a");
		assert_string_equal(cli_args_get(&a, "image"), "b");
		assert_string_equal(cli_args_get(&a, "idempotency-key"), "k");
		assert_true(cli_args_has(&a, "json") == (i >= 2));
		assert_null(a.arg);
		cli_args_done(&a);
	}
}

static void words_and_arguments(void **state)
{
	struct cli_args a = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(parse("image_store show demo", &a, &e), 0);
	assert_string_equal(a.cmd->noun, "image-store");
	assert_string_equal(a.arg, "demo");
	cli_args_done(&a);
	assert_int_equal(parse("disk grow web 2 --wait 30GiB", &a, &e), 0);
	assert_string_equal(a.arg, "web");
	assert_string_equal(cli_args_more(&a, 0), "2");
	assert_string_equal(cli_args_more(&a, 1), "30GiB");
	assert_null(cli_args_more(&a, 2));
	cli_args_done(&a);
	assert_int_equal(parse("vm --json snapshot create web", &a, &e), 0);
	assert_string_equal(a.cmd->verb, "snapshot create");
	assert_null(cli_args_more(&a, 0));
	cli_args_done(&a);
	assert_int_equal(parse("vm show -- --odd", &a, &e), 0);
	assert_string_equal(a.arg, "--odd");
	cli_args_done(&a);
	assert_int_equal(parse("user show", &a, &e), 0);
	assert_null(a.arg);
	cli_args_done(&a);
	assert_int_equal(parse("help vm create", &a, &e), 0);
	assert_int_equal(a.words.len, 3);
	cli_args_done(&a);
	assert_int_equal(parse("vm stop x --timeout 5m --wait", &a, &e), 0);
	assert_int_equal(cli_args_sec(&a, "timeout", 1), 300);
	cli_args_done(&a);
	assert_int_equal(parse("vm stop x", &a, &e), 0);
	assert_int_equal(cli_args_sec(&a, "timeout", 7), 7);
	cli_args_done(&a);
	/* Help is given however incomplete the rest is. */
	assert_int_equal(parse("vm create --help", &a, &e), 0);
	assert_true(cli_args_has(&a, "help"));
	cli_args_done(&a);
	assert_int_equal(parse("-h", &a, &e), 0);
	assert_null(a.cmd);
	cli_args_done(&a);
}

static void wrong_usage_is_explained(void **state)
{
	static const struct {
		const char *line, *msg;
	} bad[] = {
		{ "", "what is to be done?" },
		{ "vm", "\"vm\" alone says too little; it has create, list, " },
		{ "vm lst", "did you mean \"vm list\"?" },
		{ "vm crate --name x", "did you mean \"vm create\"?" },
		{ "vn list", "did you mean \"vm list\"?" },
		{ "hots show h", "did you mean \"host show\"?" },
		{ "list vm", "did you mean \"vm list\"?" },
		{ "list", "did you mean \"vm list\"?" },
		{ "confgure", "did you mean \"configure\"?" },
		{ "vm frobnicate",
			"\"vm\" has no command \"frobnicate\"; it has create, " },
		{ "frobnicate all", "there is no command \"frobnicate\"" },
		{ "vm list x", "\"x\" is one word too many behind \"vm list\"" },
		{ "vm show a b", "\"b\" is one word too many" },
		{ "vm show", "\"vm show\" needs a VM" },
		{ "vm create --name x", "\"vm create\" needs --image IMAGE" },
		{ "vm create --name", "--name needs a value: NAME" },
		{ "vm create --name a --name b", "--name stands twice" },
		{ "vm stop x --force=1", "--force takes no value" },
		{ "vm stop x --frce", "did you mean --force?" },
		{ "vm stop x --cpu 1", "\"vm stop\" has no option --cpu" },
		{ "--name x vm create", "no option --name that could stand before" },
		{ "vm list -x", "\"-x\" is no option" },
		{ "vm create --cpu two", "--cpu: \"two\" is not a whole number" },
		{ "vm create --cpu -1", "--cpu: " },
		{ "vm create --ram 1.5GiB", "--ram: \"1.5GiB\" is not a size" },
		{ "vm create --ram 0",
			"--ram: \"0\" is not a whole number of MiB above" },
		{ "vm create --disk 512MiB",
			"--disk: \"512MiB\" is not a whole number of GiB" },
		{ "vm create --disk 5GiB:", "no class behind the colon" },
		{ "vm create --label app", "\"app\" is not a label; write it like" },
		{ "vm create --label =db", "\"=db\" is not a label" },
		{ "vm create --timeout soon", "--timeout: " },
		{ "vm create --user-data=", "--user-data: it may not be empty" },
		{ "vm snapshot", "\"vm snapshot\" alone says too little; vm has " },
		{ "vm snapshot rstore", "did you mean \"vm snapshot restore\"?" },
		{ "vm snapshot restore a", "\"vm snapshot restore\" needs SNAPSHOT" },
		{ "vm snapshot create a b c", "\"c\" is one word too many" },
		{ "disk grow a", "\"disk grow\" needs INDEX" },
		{ "disk grow a 1", "\"disk grow\" needs SIZE" },
		{ "disk grow a one 5GiB", "INDEX: \"one\" is not a whole number" },
		{ "disk attach a 1KiB", "SIZE[:CLASS]: " },
		{ "image create --format vmdk", "\"vmdk\" is none of raw, qcow2" },
		{ "network create --ipam dhcp", "is none of auto, manual, none" },
		{ "vm create --network ,rate=1Mbit", "which network?" },
		{ "vm create --network a,rate=fast", "\"fast\" is no rate" },
		{ "vm create --network a,rate=0Mbit", "\"0Mbit\" is no rate" },
		{ "vm create --network a,rate=1001Gbit", "\"1001Gbit\" is no rate" },
		{ "vm create --network a,b", "only a rate may follow, like a,rate=" },
		{ "vm create --ingress tcp/22,ssh", "\"ssh\" is not what" },
		{ "vm create --ingress ,", "what is to be let in?" },
		{ "image change x --public maybe", "\"maybe\" is none of yes, no" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct cli_args a = { 0 };
		struct err e = { 0 };

		assert_int_equal(parse(bad[i].line, &a, &e), -1);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.msg, bad[i].msg))
			fail_msg("\"%s\" gave \"%s\"", bad[i].line, e.msg);
		assert_null(a.cmd);
	}
}

static void long_words_are_harmless(void **state)
{
	char word[5000], *line;
	struct cli_args a = { 0 };
	struct err e = { 0 };

	(void)state;
	memset(word, 'v', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	line = xasprintf("%s list", word);
	assert_int_equal(parse(line, &a, &e), -1);
	free(line);
	line = xasprintf("vm list --%s", word);
	assert_int_equal(parse(line, &a, &e), -1);
	free(line);
	line = xasprintf("vm create --label %s", word);
	assert_int_equal(parse(line, &a, &e), -1);
	assert_true(strlen(e.msg) < 300);
	free(line);
}

/* ---------------------------------------------------------------- bodies */

static int fake_read(const char *path, struct buf *out, struct err *e)
{
	if (str_eq(path, "key.pub"))
		buf_add_str(out, "ssh-ed25519 AAAA me\n");
	else if (str_eq(path, "key"))
		buf_add_str(out, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n");
	else if (str_eq(path, "-"))
		buf_add_str(out, "#cloud-config\n");
	else
		return err_set(e, ERR_NOT_FOUND, "%s: no such file", path);
	return 0;
}

static void check_body(const char *line, const char *want)
{
	struct cli_args a = { 0 };
	struct err e = { 0 };
	json_t *body = NULL, *json = json_loads(want, 0, NULL);
	char *got;

	assert_non_null(json);
	if (parse(line, &a, &e) < 0 || cli_body_make(&a, fake_read, &body, &e) < 0)
		fail_msg("%s: %s", line, e.msg);
	got = json_dumps(body, JSON_COMPACT);
	if (!json_equal(body, json))
		fail_msg("%s\ngave %s", line, got);
	free(got);
	json_decref(body);
	json_decref(json);
	cli_args_done(&a);
}

static void bodies(void **state)
{
	(void)state;
	check_body("vm create --name a --image b --wait --timeout 9 --json",
		"{\"name\":\"a\",\"image\":\"b\"}");
	check_body("vm create --name a --image b --cpu 2 --ram 4GiB --disk 20GiB --disk "
		   "1TiB:hdd",
		"{\"name\":\"a\",\"image\":\"b\",\"cpu\":2,\"ram_mib\":4096,"
		"\"disks\":[{\"size_gib\":20},{\"size_gib\":1024,\"class\":\"hdd\"}]}");
	check_body("vm create --name a --image b --hdd 5GiB --disk 3GiB --os-ssd 20GiB",
		"{\"name\":\"a\",\"image\":\"b\",\"disks\":[{\"size_gib\":20,"
		"\"class\":\"ssd\"},{\"size_gib\":5,\"class\":\"hdd\"},{"
		"\"size_gib\":3}]}");
	check_body("vm create --name a --image b --label app=db --label x= --near a=b "
		   "--apart app=db --host-label rack=r=1",
		"{\"name\":\"a\",\"image\":\"b\",\"labels\":{\"app\":\"db\",\"x\":\"\"},"
		"\"affinity\":{\"near\":{\"a\":\"b\"},\"apart\":{\"app\":\"db\"},"
		"\"host_labels\":{\"rack\":\"r=1\"}}}");
	check_body("vm create --name a --image b --ssh-key home --ssh-key @key.pub "
		   "--user-data - --want stopped --network u",
		"{\"name\":\"a\",\"image\":\"b\",\"ssh_keys\":[\"home\","
		"\"ssh-ed25519 AAAA me\"],\"user_data\":\"#cloud-config\\n\","
		"\"want\":\"stopped\",\"networks\":[{\"network\":\"u\"}]}");
	check_body("vm create --name a --image b --network lan,rate=100Mbit --network w "
		   "--network x,rate=2gbit --ingress tcp/22,icmpv6 --ingress udp/53",
		"{\"name\":\"a\",\"image\":\"b\",\"networks\":[{\"network\":\"lan\","
		"\"rate_mbit\":100},{\"network\":\"w\"},{\"network\":\"x\","
		"\"rate_mbit\":2000}],\"ingress\":[\"tcp/22\",\"icmpv6\",\"udp/53\"]}");
	check_body("vm create --name a --image b --ingress none",
		"{\"name\":\"a\",\"image\":\"b\",\"ingress\":[]}");
	check_body("network create --name n --ipam manual --dns 2001:db8::1 --dns "
		   "2001:db8::2 --wait",
		"{\"name\":\"n\",\"ipam\":\"manual\",\"dns\":[\"2001:db8::1\","
		"\"2001:db8::2\"]}");
	check_body("network change n --no-dns", "{\"dns\":null}");
	check_body("network change n --dns 2001:db8::1", "{\"dns\":[\"2001:db8::1\"]}");
	check_body("user quota a@b --networks 4", "{\"quota\":{\"networks\":4}}");
	check_body("vm change a --no-labels --no-near --owner me@home",
		"{\"labels\":{},\"affinity\":{\"near\":{}}}");
	check_body("vm stop a --force", "{\"force\":true}");
	check_body("vm stop a", "{}");
	check_body("image change a --public no", "{\"public\":false}");
	check_body("user quota a@b --ram 64GiB --vms 3",
		"{\"quota\":{\"ram_mib\":65536,\"vms\":3}}");
	check_body("user quota a@b --default", "{\"quota\":null}");
	check_body("host create --name h --label rack=r1 --ram-overcommit 150",
		"{\"hostname\":\"h\",\"labels\":{\"rack\":\"r1\"},\"ram_overcommit\":"
		"150}");
}

static void bodies_that_fail(void **state)
{
	struct cli_args a = { 0 };
	struct err e = { 0 };
	json_t *body = NULL;

	(void)state;
	assert_int_equal(parse("ssh-key add --name a --key @missing.pub", &a, &e), 0);
	assert_int_equal(cli_body_make(&a, fake_read, &body, &e), -1);
	assert_string_equal(e.msg, "--key: missing.pub: no such file");
	assert_null(body);
	cli_args_done(&a);
	/* Not even the API gets to see it. */
	assert_int_equal(parse("ssh-key add --name a --key @key", &a, &e), 0);
	assert_int_equal(cli_body_make(&a, fake_read, &body, &e), -1);
	assert_non_null(strstr(e.msg, "private key"));
	assert_null(strstr(e.msg, "AAAA"));
	cli_args_done(&a);
	assert_int_equal(parse("vm create --image i --name \xff", &a, &e), 0);
	assert_int_equal(cli_body_make(&a, fake_read, &body, &e), -1);
	assert_string_equal(e.msg, "--name: it is not valid UTF-8");
	cli_args_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_sound),
		cmocka_unit_test(options_in_all_spellings),
		cmocka_unit_test(words_and_arguments),
		cmocka_unit_test(wrong_usage_is_explained),
		cmocka_unit_test(long_words_are_harmless),
		cmocka_unit_test(bodies),
		cmocka_unit_test(bodies_that_fail),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
