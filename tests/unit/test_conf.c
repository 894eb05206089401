#include "common/base/conf.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"

struct inner {
	char *etcd_ca;
	struct strv etcd_url;
};

struct sample {
	int64_t n;
	char *name;
	char *seed;
	bool is_open;
	int64_t grace_sec;
	int mode;
	struct inner etcd;
	bool once;
	struct strv realm_admin;
};

static const char *const modes[] = { "slow", "fast", NULL };

static int check_name(const char *value, struct err *e)
{
	return strcmp(value, "bad") == 0 ? err_set(e, ERR_INVALID, "is a bad name") : 0;
}

static const struct conf_opt own_opts[] = {
	{ "n", CONF_INT, offsetof(struct sample, n), .def = "7", .min = -5, .max = 100 },
	{ "my_name", CONF_STR, offsetof(struct sample, name), CONF_NEED, .meta = "NAME",
		.help = "what it is called", .check = check_name },
	{ "seed", CONF_STR, offsetof(struct sample, seed), CONF_SECRET },
	{ "is_open", CONF_BOOL, offsetof(struct sample, is_open) },
	{ "grace", CONF_DURATION, offsetof(struct sample, grace_sec), .def = "90s",
		.min = 1, .max = 3600 },
	{ "mode", CONF_ENUM, offsetof(struct sample, mode), .def = "fast",
		.names = modes },
	{ "once", CONF_BOOL, offsetof(struct sample, once), CONF_CLI_ONLY },
	{ "realm_admin", CONF_STRV, offsetof(struct sample, realm_admin),
		.def = "ungleich-admin" },
	{ 0 },
};

static const struct conf_opt inner_opts[] = {
	{ "etcd_ca", CONF_STR, offsetof(struct inner, etcd_ca) },
	{ "etcd_url", CONF_STRV, offsetof(struct inner, etcd_url),
		.def = "http://[::1]:2379", .meta = "URL", .help = "where etcd is" },
	{ 0 },
};

static const struct conf_opt none_opts[] = { { 0 } };

static const struct conf_part parts[] = {
	{ none_opts, 0 },
	{ own_opts, 0 },
	{ inner_opts, offsetof(struct sample, etcd) },
	{ none_opts, 0 },
	{ 0 },
};

static const struct conf_table table = { "ucloud-test", parts, sizeof(struct sample) };

static void sample_done(struct sample *s)
{
	conf_done(&table, s);
}

#define SAMPLE(s)                                                                        \
	CLEANUP(sample_done)                                                             \
	struct sample s = { 0 };                                                         \
	conf_set_defaults(&table, &s)

static int read_text(struct sample *s, const char *text, struct err *e)
{
	return conf_read_text(&table, "a.conf", text, strlen(text), s, e);
}

#define N_ARGS(...) ((int)(sizeof((char *[]){ "prog", __VA_ARGS__ }) / sizeof(char *)))
#define READ_ARGS(s, rest, e, ...)                                                       \
	conf_read_argv(&table, N_ARGS(__VA_ARGS__),                                      \
		(char *[]){ "prog", __VA_ARGS__, NULL }, s, rest, e)

static void defaults(void **state)
{
	SAMPLE(s);
	(void)state;

	assert_int_equal(s.n, 7);
	assert_null(s.name);
	assert_false(s.is_open);
	assert_int_equal(s.grace_sec, 90);
	assert_int_equal(s.mode, 1);
	assert_int_equal(s.etcd.etcd_url.len, 1);
	assert_string_equal(s.etcd.etcd_url.v[0], "http://[::1]:2379");
}

static void file_of_all_kinds(void **state)
{
	struct err e;
	SAMPLE(s);
	(void)state;

	assert_int_equal(read_text(&s,
				 "\xEF\xBB\xBF# a comment\r\n"
				 "; another one\n"
				 "\n"
				 "[ucloud-test]\n"
				 "n=-5\n"
				 "my_name =  Anna Q ; not this \n"
				 "   seed: a=b:c;d #e [f]\n"
				 "\tis_open = yes\n"
				 "grace = 2m\n"
				 "mode = slow\n"
				 "etcd_url = http://[2001:db8::1]\n"
				 "etcd_url = http://[2001:db8::2]",
				 &e),
		0);
	assert_int_equal(s.n, -5);
	assert_string_equal(s.name, "Anna Q");
	assert_string_equal(s.seed, "a=b:c;d #e [f]");
	assert_true(s.is_open);
	assert_int_equal(s.grace_sec, 120);
	assert_int_equal(s.mode, 0);
	assert_int_equal(s.etcd.etcd_url.len, 2);
	assert_string_equal(s.etcd.etcd_url.v[0], "http://[2001:db8::1]");
	assert_string_equal(s.etcd.etcd_url.v[1], "http://[2001:db8::2]");
}

static void file_errors_name_the_line(void **state)
{
	static const struct {
		const char *text, *msg, *field;
	} rows[] = {
		{ "[ucloud-test]\n\nfoo = 1\n", "a.conf:3: there is no option \"foo\"",
			"" },
		{ "[ucloud-test]\nonce = yes\n", "a.conf:2: there is no option", "" },
		{ "n = 1\n", "a.conf:1: options must stand below [ucloud-test]", "" },
		{ "[other]\nn = 1\n", "a.conf:2: options must stand below", "" },
		{ "[ucloud-test]\nn = 101\n", "a.conf:2: n: ", "n" },
		{ "[ucloud-test]\nn = many\n", "a.conf:2: n: ", "n" },
		{ "[ucloud-test]\nn =\n", "a.conf:2: n: ", "n" },
		{ "[ucloud-test]\ngrace = 2h\n", "must be 1 to 3600 seconds", "grace" },
		{ "[ucloud-test]\nmode = quick\n",
			"a.conf:2: mode: must be one of slow, fast", "mode" },
		{ "[ucloud-test]\nis_open = maybe\n", "a.conf:2: is_open: ", "is_open" },
		{ "[ucloud-test]\nmy_name = bad\n", "my_name: is a bad name", "my_name" },
		{ "[ucloud-test]\nn = 1\nmode = fast\nn = 2\n",
			"a.conf:4: option n was already given in line 2", "" },
		{ "[ucloud-test]\nn\n", "a.conf:2: must be \"name = value\"", "" },
		{ "[ucloud-test\nn = 1\n", "a.conf:1: must be", "" },
		{ "[ucloud-test]\nblah\nfoo = 1\n", "a.conf:2: must be", "" },
		{ "[ucloud-test]\nfoo = 1\nblah\n", "a.conf:2: there is no option", "" },
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = { 0 };
		SAMPLE(s);

		if (read_text(&s, rows[i].text, &e) == 0)
			fail_msg("taken: %s", rows[i].text);
		if (!strstr(e.msg, rows[i].msg))
			fail_msg("'%s' is not in '%s'", rows[i].msg, e.msg);
		assert_string_equal(e.field, rows[i].field);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void long_lines_and_nul_bytes(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	struct err e;
	SAMPLE(s);
	(void)state;

	/* The longest there may be. */
	buf_add_str(&b, "[ucloud-test]\nseed = ");
	for (int i = 0; i < CONF_LINE_MAX - 7; i++)
		buf_add_char(&b, 'x');
	assert_int_equal(conf_read_text(&table, "a.conf", b.s, b.size, &s, &e), 0);
	assert_int_equal(strlen(s.seed), CONF_LINE_MAX - 7);
	buf_add_char(&b, 'y');
	assert_int_equal(conf_read_text(&table, "a.conf", b.s, b.size, &s, &e), -1);
	assert_string_equal(e.msg, "a.conf:2: this line is too long");
	assert_int_equal(conf_read_text(&table, "a.conf", "\n\0\n", 3, &s, &e), -1);
	assert_string_equal(e.msg, "a.conf:2: there is a NUL byte in this line");
	assert_int_equal(conf_read_text(&table, "a.conf", "", 0, &s, &e), 0);
}

static void command_line_of_all_kinds(void **state)
{
	CLEANUP(strv_done) struct strv rest = { 0 };
	struct err e;
	SAMPLE(s);
	(void)state;

	assert_int_equal(
		READ_ARGS(&s, &rest, &e, "user", "--my-name", "-x", "--n=-3", "add",
			"--is_open", "--etcd-url", "a", "-", "--etcd_url=b", "--once=no",
			"--mode", "slow", "--grace", "3", "--", "--n", "8"),
		0);
	assert_int_equal(s.n, -3);
	assert_string_equal(s.name, "-x");
	assert_true(s.is_open);
	assert_int_equal(s.mode, 0);
	assert_int_equal(s.grace_sec, 3);
	CLEANUP_STR char *urls = strv_join(&s.etcd.etcd_url, " ");
	assert_string_equal(urls, "a b");
	CLEANUP_STR char *words = strv_join(&rest, " ");
	assert_string_equal(words, "user add - --n 8");
}

static void command_line_errors(void **state)
{
	struct err e = { 0 };
	SAMPLE(s);
	(void)state;

	assert_int_equal(READ_ARGS(&s, NULL, &e, "word"), -1);
	assert_string_equal(e.msg, "unexpected word \"word\"");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--", "word"), -1);
	assert_string_equal(e.msg, "unexpected word \"word\"");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--nope=3"), -1);
	assert_string_equal(e.msg, "there is no option --nope (see --help)");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "-n", "3"), -1);
	assert_string_equal(e.msg, "there is no option -n (see --help)");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--my_nam", "x"), -1);
	assert_string_equal(e.msg, "there is no option --my_nam (see --help)");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--etcd", "x"), -1);
	assert_string_equal(e.msg, "there is no option --etcd (see --help)");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--n", "1", "--my_name"), -1);
	assert_string_equal(e.msg, "--my_name needs a value");
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--n", "x1"), -1);
	assert_string_equal(e.field, "n");
	assert_non_null(strstr(e.msg, "--n: "));
	assert_null(s.name);
	assert_int_equal(conf_read_argv(&table, 0, NULL, &s, NULL, &e), 0);
}

static void peeking_reads_nothing(void **state)
{
	char *argv[] = { "prog", "--seed", "-", "--my_name", "--n", "--n=3", "--is-open",
		"--n", "4", "--nope", "--once", "--", "--mode", "fast", NULL };
	int argc = (int)ARRAY_LEN(argv) - 1;
	(void)state;

	assert_string_equal(conf_peek_argv(&table, argc, argv, "n"), "4");
	assert_string_equal(conf_peek_argv(&table, argc, argv, "my_name"), "--n");
	assert_string_equal(conf_peek_argv(&table, argc, argv, "seed"), "-");
	assert_string_equal(conf_peek_argv(&table, argc, argv, "is_open"), "yes");
	assert_string_equal(conf_peek_argv(&table, argc, argv, "once"), "yes");
	assert_null(conf_peek_argv(&table, argc, argv, "mode"));
	assert_null(conf_peek_argv(&table, argc, argv, "no_option"));
}

static void later_sources_replace_lists(void **state)
{
	struct err e;
	SAMPLE(s);
	(void)state;

	assert_int_equal(
		read_text(&s, "[ucloud-test]\netcd_url=a\netcd_url=b\nmy_name=f\n", &e),
		0);
	assert_int_equal(s.etcd.etcd_url.len, 2);
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--n", "3"), 0);
	assert_int_equal(s.etcd.etcd_url.len, 2);
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--etcd_url", "c", "--my_name", "g",
				 "--realm_admin="),
		0);
	assert_int_equal(s.etcd.etcd_url.len, 1);
	assert_string_equal(s.etcd.etcd_url.v[0], "c");
	assert_string_equal(s.name, "g");
	assert_int_equal(s.realm_admin.len, 0);
}

static void secrets_come_from_files(void **state)
{
	CLEANUP_STR char *path = test_path("secret");
	CLEANUP_STR char *arg = xasprintf("--seed=@%s", path);
	int saved = dup(0), fd;
	struct err e;
	SAMPLE(s);
	(void)state;

	test_write_file(path, "top secret\n");
	assert_int_equal(READ_ARGS(&s, NULL, &e, arg), 0);
	assert_string_equal(s.seed, "top secret");

	test_write_file(path, "from stdin\r\n");
	fd = open(path, O_RDONLY);
	assert_int_equal(dup2(fd, 0), 0);
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--seed", "-"), 0);
	assert_string_equal(s.seed, "from stdin");
	assert_int_equal(dup2(saved, 0), 0);
	close(saved);
	close(fd);

	assert_int_equal(READ_ARGS(&s, NULL, &e, "--seed", "@/nonexistent/x"), -1);
	assert_string_equal(e.field, "seed");
	assert_non_null(strstr(e.msg, "/nonexistent/x"));
	/* Only secrets, and only on the command line. */
	assert_int_equal(READ_ARGS(&s, NULL, &e, "--my_name", arg + 7), 0);
	assert_string_equal(s.name, arg + 7);
	assert_int_equal(read_text(&s, "[ucloud-test]\nseed = @x\n", &e), 0);
	assert_string_equal(s.seed, "@x");
}

static void needed_ones(void **state)
{
	struct err e;
	SAMPLE(s);
	(void)state;

	assert_int_equal(conf_check(&table, &s, &e), -1);
	assert_string_equal(e.field, "my_name");
	assert_string_equal(
		e.msg, "option my_name is needed: --my_name NAME (what it is called)");
	s.name = xstrdup("");
	assert_int_equal(conf_check(&table, &s, &e), -1);
	str_set(&s.name, xstrdup("x"));
	assert_int_equal(conf_check(&table, &s, &e), 0);
}

static void assert_round_trip(const char *value)
{
	CLEANUP_STR char *path = test_path("round.conf");
	struct err e = { 0 };
	SAMPLE(s);
	SAMPLE(back);

	s.name = xstrdup(value);
	s.seed = xstrdup(value);
	strv_done(&s.etcd.etcd_url);
	strv_add(&s.etcd.etcd_url, "one");
	if (*value)
		strv_add(&s.etcd.etcd_url, value);
	s.n = -5;
	s.is_open = true;
	s.mode = 0;
	s.grace_sec = 3600;
	s.once = true;
	strv_done(&s.realm_admin);
	if (conf_write_file(&table, path, &s, true, &e) < 0)
		fail_msg("'%s': %s", value, e.msg);
	if (conf_read_file(&table, path, &back, &e) < 0)
		fail_msg("'%s': %s", value, e.msg);
	assert_string_equal(back.name ? back.name : "", value);
	assert_string_equal(back.seed ? back.seed : "", value);
	assert_int_equal(back.n, -5);
	assert_true(back.is_open);
	assert_int_equal(back.mode, 0);
	assert_int_equal(back.grace_sec, 3600);
	assert_false(back.once);
	assert_int_equal(back.etcd.etcd_url.len, s.etcd.etcd_url.len);
	if (*value)
		assert_string_equal(back.etcd.etcd_url.v[1], value);
	assert_int_equal(back.realm_admin.len, 0);
}

static void nasty_values_come_back(void **state)
{
	static const char *const values[] = { "", "x", "a;b", ";", "a; b",
		"# not a comment", "[x]", "=", ":", "a = b", "\"quoted\"", "'", "\\n",
		"a\\", "a  b", "a\tb", "%s%n", "\xC3\xA4\xE2\x82\xAC", "@file", "-",
		"yes", "a #b", "\xEF\xBB\xBFx" };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		if (strcmp(values[i], ";") != 0)
			assert_round_trip(values[i]);
}

static void what_cannot_come_back_is_refused(void **state)
{
	static const char *const values[] = { "a\nb", "a\rb", "\n", " a", "a ", "\ta",
		";", ";a", "a ;b", "a\t;", "a\vb" };
	CLEANUP_STR char *path = test_path("refused.conf");
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct err e = { 0 };
		SAMPLE(s);

		s.seed = xstrdup(values[i]);
		if (conf_write_file(&table, path, &s, false, &e) == 0)
			fail_msg("written: '%s'", values[i]);
		assert_string_equal(e.field, "seed");
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void files_are_private_and_not_overwritten(void **state)
{
	CLEANUP_STR char *path = test_path("w.conf");
	CLEANUP_STR char *old = test_path("w.conf.old");
	struct stat st;
	struct err e;
	SAMPLE(s);
	(void)state;

	s.name = xstrdup("first");
	assert_int_equal(conf_write_file(&table, path, &s, false, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	str_set(&s.name, xstrdup("second"));
	assert_int_equal(conf_write_file(&table, path, &s, false, &e), -1);
	assert_int_equal(e.kind, ERR_EXISTS);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(conf_write_file(&table, path, &s, true, &e), 0);
		str_set(&s.name, xstrdup("third"));
	}
	CLEANUP_STR char *now = test_read_file(path);
	CLEANUP_STR char *before = test_read_file(old);
	assert_non_null(strstr(now, "\nmy_name = third\n"));
	assert_non_null(strstr(now, "\n#n = 7\n"));
	assert_non_null(strstr(before, "\nmy_name = second\n"));
	CLEANUP_STR char *nowhere = test_path("missing/w.conf");
	assert_int_equal(conf_write_file(&table, nowhere, &s, false, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void help(void **state)
{
	CLEANUP(buf_done) struct buf b = { 0 };
	(void)state;

	conf_help(&table, &b);
	assert_non_null(strstr(
		b.s, "\n  --my_name NAME              what it is called (needed)\n"));
	assert_non_null(strstr(b.s, "(slow, fast) (default fast)\n"));
	assert_non_null(strstr(b.s, "where etcd is (repeatable) (default http"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(file_of_all_kinds),
		cmocka_unit_test(file_errors_name_the_line),
		cmocka_unit_test(long_lines_and_nul_bytes),
		cmocka_unit_test(command_line_of_all_kinds),
		cmocka_unit_test(command_line_errors),
		cmocka_unit_test(peeking_reads_nothing),
		cmocka_unit_test(later_sources_replace_lists),
		cmocka_unit_test(secrets_come_from_files),
		cmocka_unit_test(needed_ones),
		cmocka_unit_test(nasty_values_come_back),
		cmocka_unit_test(what_cannot_come_back_is_refused),
		cmocka_unit_test(files_are_private_and_not_overwritten),
		cmocka_unit_test(help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
