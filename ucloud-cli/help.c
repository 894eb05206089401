#include "ucloud-cli/help.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/cli.h"

#define WIDTH	   80
#define OPT_COLUMN 28
#define CMD_COLUMN 26

/* Where a line must not be broken, until it was wrapped. */
#define NO_BREAK '\x01'

static void add_opt_usage(const struct cli_opt *o, struct buf *out)
{
	buf_addf(out, " --%s%c%s%s", o->name, o->meta ? NO_BREAK : ' ',
		o->meta ? o->meta : "", o->flags & CLI_MANY ? "..." : "");
}

/* "vm create --name NAME --image IMAGE [OPTIONS]": what must be given. */
static void add_usage(const struct cli_cmd *cmd, struct buf *out)
{
	CLEANUP(buf_done) struct buf line = { 0 };
	CLEANUP_STR char *args = cli_cmd_args(cmd);
	const struct cli_opt *o;

	buf_addf(&line, "Usage: ucloud-cli %s%s%s", cmd->noun, cmd->verb ? " " : "",
		cmd->verb ? cmd->verb : "");
	if (*args)
		buf_addf(&line, " %s", args);
	for (size_t i = 0; (o = cli_cmd_opt(cmd, i)) != NULL; i++)
		if (o->flags & CLI_NEED)
			add_opt_usage(o, &line);
	buf_add_str(&line, cli_cmd_opt(cmd, 0) ? " [OPTIONS]" : "");
	cli_text_wrap(buf_str(&line), WIDTH, "", out);
	for (size_t i = 0; i < out->size; i++)
		if (out->s[i] == NO_BREAK)
			out->s[i] = ' ';
}

/* head, and from the column on text, in as many lines as it takes. */
static void add_columns(
	const char *head, size_t column, const char *text, struct buf *out)
{
	CLEANUP_STR char *indent = xasprintf("%*s", (int)column, "");
	CLEANUP(buf_done) struct buf wrapped = { 0 };
	size_t len = strlen(head);

	cli_text_wrap(text, WIDTH, indent, &wrapped);
	buf_add_str(out, head);
	if (len + 2 > column) {
		buf_add_char(out, '\n');
		buf_add_str(out, buf_str(&wrapped));
	} else {
		buf_add_str(out, buf_str(&wrapped) + len);
	}
}

static void add_opt_help(const struct cli_opt *o, struct buf *out)
{
	CLEANUP_STR char *head = xasprintf(
		"  --%s%s%s", o->name, o->meta ? " " : "", o->meta ? o->meta : "");
	CLEANUP_STR char *text =
		xasprintf("%s%s%s", o->help, o->flags & CLI_NEED ? " (needed)" : "",
			o->flags & CLI_MANY ? " (may be repeated)" : "");

	add_columns(head, OPT_COLUMN, text, out);
}

static void add_sentence(const char *s, struct buf *out)
{
	CLEANUP_STR char *text = xasprintf("%s.", s);

	cli_text_wrap(text, WIDTH, "", out);
}

static void help_cmd(const struct cli_cmd *cmd, struct buf *out)
{
	const struct cli_opt *o;

	add_usage(cmd, out);
	buf_add_char(out, '\n');
	add_sentence(cmd->help, out);
	if (cmd->more)
		add_sentence(cmd->more, out);
	buf_add_str(out, cli_cmd_opt(cmd, 0) ? "\nOptions:\n" : "");
	for (size_t i = 0; (o = cli_cmd_opt(cmd, i)) != NULL; i++)
		add_opt_help(o, out);
	buf_add_str(out, "\nOptions of every command:\n");
	for (o = cli_global_opts; o->name; o++)
		add_opt_help(o, out);
}

static void add_cmd_line(const struct cli_cmd *cmd, struct buf *out)
{
	CLEANUP(buf_done) struct buf head = { 0 };
	CLEANUP_STR char *args = cli_cmd_args(cmd);

	buf_addf(&head, "  %s%s%s", cmd->noun, cmd->verb ? " " : "",
		cmd->verb ? cmd->verb : "");
	if (*args)
		buf_addf(&head, " %s", args);
	add_columns(buf_str(&head), CMD_COLUMN, cmd->help, out);
}

static void help_noun(const char *noun, struct buf *out)
{
	buf_addf(out, "Usage: ucloud-cli %s COMMAND [OPTIONS]\n\n", noun);
	for (const struct cli_cmd *cmd = cli_noun_cmds(noun); str_eq(cmd->noun, noun);
		cmd++)
		add_cmd_line(cmd, out);
	buf_addf(out, "\n\"ucloud-cli help %s COMMAND\" explains one of them.\n", noun);
}

static void help_all(struct buf *out)
{
	const char *last = NULL;

	buf_add_str(out, "Usage: ucloud-cli [OPTIONS] COMMAND [OPTIONS]\n\n"
			 "Virtual machines in a ucloud: orders them, shows them, and "
			 "looks after them.\n");
	for (const struct cli_cmd *cmd = cli_cmds; cmd->noun; cmd++) {
		if (cmd->verb && !str_eq(last, cmd->noun))
			buf_add_char(out, '\n');
		if (!cmd->verb && last && cli_noun_cmds(last)->verb)
			buf_add_char(out, '\n');
		last = cmd->noun;
		add_cmd_line(cmd, out);
	}
	buf_add_str(out, "\nOptions of every command:\n");
	for (const struct cli_opt *o = cli_global_opts; o->name; o++)
		add_opt_help(o, out);
	buf_add_str(out, "\n\"ucloud-cli help COMMAND\" explains one of them, \"man "
			 "ucloud-cli\" all.\n");
}

int cli_help_text(const char *noun, const char *verb, struct buf *out, struct err *e)
{
	const struct cli_cmd *cmd = noun ? cli_cmd_find(noun, verb) : NULL;
	CLEANUP_STR char *near = NULL;

	if (!noun) {
		help_all(out);
	} else if (cmd) {
		help_cmd(cmd, out);
	} else if (cli_noun_exists(noun) && (!verb || cli_verb_begins(noun, verb))) {
		help_noun(cli_noun_cmds(noun)->noun, out);
	} else {
		near = cli_suggest_cmd(noun, verb);
		return err_set(e, ERR_INVALID,
			"there is no command \"%.60s%s%.60s\"%s%s%s", noun,
			verb ? " " : "", verb ? verb : "",
			near ? "; did you mean \"" : "", near ? near : "",
			near ? "\"?" : "");
	}
	return 0;
}

int cli_help(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	const struct strv *w = &a->words;
	CLEANUP_STR char *both = w->len > 3 ? xasprintf("%s %s", w->v[2], w->v[3]) : NULL;

	(void)c;
	if (cli_help_text(w->len > 1 ? w->v[1] : NULL,
		    both	 ? both
		    : w->len > 2 ? w->v[2]
				 : NULL,
		    &out, e) < 0)
		return -1;
	fputs(buf_str(&out), stdout);
	return 0;
}
