/* The manual page and the help, whole, as golden files: a change of the table is a change
 * that somebody reads. */
#include "ucloud-cli/manual.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/help.h"

#define GOLDEN "tests/golden/cli/"

/* Compares with the file, or writes it with UPDATE=1. */
static void check_golden(const char *name, const char *text)
{
	char *path = xasprintf(GOLDEN "%s", name), *want;

	if (getenv("UPDATE") != NULL) {
		mkdir(GOLDEN, 0755);
		test_write_file(path, text);
	}
	want = test_read_file(path);
	assert_non_null(want);
	if (strcmp(text, want) != 0)
		fail_msg("%s differs; if that is meant: UPDATE=1. It is now:\n%s", path,
			text);
	free(want);
	free(path);
}

static void the_manual(void **state)
{
	struct buf page = { 0 };

	(void)state;
	cli_manual_text(&page);
	check_golden("ucloud-cli.1", buf_str(&page));
	buf_done(&page);
}

/* mandoc finds every mistake of style there is. */
static void the_manual_is_clean(void **state)
{
	struct buf page = { 0 };
	char *path = test_path("ucloud-cli.1"), *out = NULL;
	const char *const which[] = { "sh", "-c", "command -v mandoc", NULL };
	const char *const argv[] = { "mandoc", "-Tlint", path, NULL };

	(void)state;
	if (test_run(which, 5000, NULL) != 0) {
		print_message("mandoc is not installed: the page is not checked\n");
		free(path);
		skip();
	}
	cli_manual_text(&page);
	test_write_file(path, buf_str(&page));
	assert_int_equal(test_run(argv, 20000, &out), 0);
	assert_string_equal(out, "");
	free(out);
	free(path);
	buf_done(&page);
}

static void everything_is_in_the_manual(void **state)
{
	struct buf page = { 0 };

	(void)state;
	cli_manual_text(&page);
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++) {
		const struct cli_opt *o;
		char *item = xasprintf(".It Cm %s%s%s", c->noun, c->verb ? " " : "",
			c->verb ? c->verb : "");

		assert_non_null(strstr(buf_str(&page), item));
		free(item);
		for (size_t i = 0; (o = cli_cmd_opt(c, i)) != NULL; i++) {
			item = xasprintf(".It Fl -%s", o->name);
			assert_non_null(strstr(buf_str(&page), item));
			free(item);
		}
	}
	buf_done(&page);
}

static void help_of(const char *noun, const char *verb, struct buf *out)
{
	struct err e = { 0 };

	if (cli_help_text(noun, verb, out, &e) < 0)
		fail_msg("%s", e.msg);
}

static void the_help(void **state)
{
	struct buf text = { 0 };

	(void)state;
	help_of(NULL, NULL, &text);
	check_golden("help", buf_str(&text));
	buf_done(&text);
	help_of("vm", NULL, &text);
	check_golden("help-vm", buf_str(&text));
	buf_done(&text);
	help_of("vm", "create", &text);
	check_golden("help-vm-create", buf_str(&text));
	buf_done(&text);
}

static void help_fits_a_terminal(void **state)
{
	(void)state;
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++) {
		struct buf text = { 0 };
		struct strv lines = { 0 };

		help_of(c->noun, c->verb, &text);
		strv_split(&lines, buf_str(&text), '\n');
		for (size_t i = 0; i < lines.len; i++)
			assert_true(cli_text_width(lines.v[i]) <= 80);
		strv_done(&lines);
		buf_done(&text);
	}
}

static void help_for_what_there_is_not(void **state)
{
	struct buf text = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(cli_help_text("vm", "crate", &text, &e), -1);
	assert_string_equal(
		e.msg, "there is no command \"vm crate\"; did you mean \"vm create\"?");
	assert_int_equal(cli_help_text("xyzzy", NULL, &text, &e), -1);
	assert_string_equal(e.msg, "there is no command \"xyzzy\"");
	buf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manual),
		cmocka_unit_test(the_manual_is_clean),
		cmocka_unit_test(everything_is_in_the_manual),
		cmocka_unit_test(the_help),
		cmocka_unit_test(help_fits_a_terminal),
		cmocka_unit_test(help_for_what_there_is_not),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
