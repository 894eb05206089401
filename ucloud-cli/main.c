/* ucloud-cli: the thin client of the API. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/crypt.h"
#include "common/base/daemon.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/complete.h"
#include "ucloud-cli/help.h"

static void print_line(const char *s)
{
	CLEANUP_STR char *clean = cli_text_cleaned(s);

	fprintf(stderr, "ucloud-cli: %s\n", clean);
}

/* The option that sends this member of the body; NULL none. "disks[0].class" is of --disk. */
static const struct cli_opt *opt_of(const struct cli_args *a, const char *field)
{
	size_t len = strcspn(field, "[");
	const struct cli_opt *o;

	for (size_t i = 0; a->cmd && (o = cli_cmd_opt(a->cmd, i)) != NULL; i++)
		if (o->member && strlen(o->member) == len &&
			strncmp(o->member, field, len) == 0)
			return o;
	return NULL;
}

/* Names the option at fault, or else the member, unless the sentence does. */
static void print_err(const struct cli_args *a, const struct err *e)
{
	const struct cli_opt *o = *e->field ? opt_of(a, e->field) : NULL;
	size_t len = strlen(e->field);
	CLEANUP_STR char *text = NULL;

	if (o && strncmp(e->msg, e->field, len) == 0 &&
		str_has_prefix(e->msg + len, ": "))
		text = xasprintf("--%s%s", o->name, e->msg + len);
	else if (o)
		text = xasprintf("%s (--%s)", e->msg, o->name);
	else if (*e->field && !strstr(e->msg, e->field))
		text = xasprintf("%s (%s)", e->msg, e->field);
	print_line(text ? text : e->msg);
}

static void set_up(struct cli *c, const struct cli_args *a)
{
	c->is_json = cli_args_has(a, "json");
	c->is_quiet = cli_args_has(a, "quiet");
	c->is_out_tty = isatty(STDOUT_FILENO);
	c->is_err_tty = isatty(STDERR_FILENO);
	c->has_color = c->is_out_tty && str_is_empty(getenv("NO_COLOR"));
}

static int run(const struct cli_args *a)
{
	CLEANUP(cli_done) struct cli c = { 0 };
	struct err e = { 0 };

	set_up(&c, a);
	if (a->cmd->run(&c, a, &e) == 0)
		return CLI_EXIT_DONE;
	fflush(stdout);
	print_err(a, &e);
	return cli_exit_status(e.kind);
}

static int print_help(const struct cli_args *a)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	struct err e;

	if (cli_help_text(a->words.len > 0 ? a->words.v[0] : NULL,
		    a->cmd ? a->cmd->verb : NULL, &out, &e) < 0) {
		print_line(e.msg);
		return CLI_EXIT_USAGE;
	}
	fputs(buf_str(&out), stdout);
	return CLI_EXIT_DONE;
}

static int main_args(int argc, const char *const *argv)
{
	CLEANUP(cli_args_done) struct cli_args a = { 0 };
	struct err e;

	if (cli_args_parse(argc, argv, &a, &e) < 0) {
		print_line(e.msg);
		return CLI_EXIT_USAGE;
	}
	if (cli_args_has(&a, "version")) {
		printf("ucloud-cli %s\n", ucloud_version());
		return CLI_EXIT_DONE;
	}
	return cli_args_has(&a, "help") ? print_help(&a) : run(&a);
}

int main(int argc, char **argv)
{
	const char *const *words = (const char *const *)argv;
	int status;

	mem_init();
	crypt_init();
	/* Only the width and shape of characters: numbers and times stay as they are. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	if (argc > 1 && str_eq(argv[1], "complete"))
		status = cli_complete_main(argc, words);
	else
		status = main_args(argc, words);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("ucloud-cli: standard output");
		return CLI_EXIT_FAILED;
	}
	return status;
}
