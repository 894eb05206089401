#include "ucloud-cli/manual.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/cli.h"

#define WIDTH 74 /* of source lines, before escaping */

/* Appends s for a line of text: what roff would take as its own is escaped. */
static void add_roff(const char *s, struct buf *out)
{
	if (*s == '.' || *s == '\'')
		buf_add_str(out, "\\&");
	for (; *s; s++)
		if (*s == '\\')
			buf_add_str(out, "\\e");
		else if (*s == '~')
			buf_add_str(out, "\\(ti");
		else
			buf_add_char(out, *s);
}

/* The same as the arguments of a macro: words that are macros are escaped too, and quotes.
 * Each word becomes an argument. */
static void add_arg(const char *s, struct buf *out)
{
	for (; *s; s++)
		if (*s == '"')
			buf_add_str(out, "\\(dq");
		else if (*s == '|')
			buf_add_str(out, "\\*(Ba");
		else if (*s == '~')
			buf_add_str(out, "\\(ti");
		else
			buf_add_char(out, *s);
}

/* One sentence in short lines, the first of which begins a line. Takes text. */
static void add_one(char *text, struct buf *out)
{
	CLEANUP(buf_done) struct buf wrapped = { 0 };
	struct strv lines = { 0 };

	cli_text_wrap(text, WIDTH, "", &wrapped);
	strv_split(&lines, buf_str(&wrapped), '\n');
	for (size_t i = 0; i < lines.len; i++) {
		add_roff(lines.v[i], out);
		buf_add_char(out, '\n');
	}
	strv_done(&lines);
	free(text);
}

/* mdoc wants each sentence to begin a line. */
static void add_sentence(const char *s, struct buf *out)
{
	const char *stop;

	while ((stop = strstr(s, ". ")) != NULL) {
		add_one(xstrndup(s, (size_t)(stop - s) + 1), out);
		s = stop + 2;
	}
	add_one(xasprintf("%s%s", s, str_has_suffix(s, ".") ? "" : "."), out);
}

static void add_capital_sentence(const char *s, struct buf *out)
{
	CLEANUP_STR char *text = xstrdup(s);

	if (*text >= 'a' && *text <= 'z')
		*text = (char)(*text - 'a' + 'A');
	add_sentence(text, out);
}

static void add_opt(const struct cli_opt *o, struct buf *out)
{
	buf_addf(out, ".It Fl -%s", o->name);
	if (o->meta) {
		buf_add_str(out, " Ar ");
		add_arg(o->meta, out);
	}
	buf_add_char(out, '\n');
	add_capital_sentence(o->help, out);
	if (o->flags & CLI_NEED)
		buf_add_str(out, "Must be given.\n");
	if (o->flags & CLI_MANY)
		buf_add_str(out, "May be repeated.\n");
}

static void add_cmd(const struct cli_cmd *cmd, struct buf *out)
{
	const struct cli_opt *o;

	buf_addf(out, ".It Cm %s%s%s", cmd->noun, cmd->verb ? " " : "",
		cmd->verb ? cmd->verb : "");
	if (cmd->arg)
		buf_addf(out, cmd->is_arg_optional ? " Op Ar %s" : " Ar %s", cmd->arg);
	for (o = cmd->more_args; o && o->name; o++)
		buf_addf(out, o->flags & CLI_NEED ? " Ar %s" : " Op Ar %s", o->name);
	buf_add_char(out, '\n');
	add_sentence(cmd->help, out);
	if (cmd->more)
		add_sentence(cmd->more, out);
	if (!cli_cmd_opt(cmd, 0))
		return;
	buf_add_str(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; (o = cli_cmd_opt(cmd, i)) != NULL; i++)
		add_opt(o, out);
	buf_add_str(out, ".El\n");
}

static void add_head(struct buf *out)
{
	buf_add_str(out,
		".\\\" Made by \"ucloud-cli manual\" from its table of commands.\n"
		".Dd $Mdocdate$\n"
		".Dt UCLOUD-CLI 1\n"
		".Os\n"
		".Sh NAME\n"
		".Nm ucloud-cli\n"
		".Nd virtual machines in a ucloud\n"
		".Sh SYNOPSIS\n"
		".Nm\n"
		".Op Ar options\n"
		".Ar noun\n"
		".Op Ar verb\n"
		".Op Ar argument\n"
		".Op Ar options\n"
		".Sh DESCRIPTION\n"
		".Nm\n"
		"orders virtual machines from a ucloud, shows them, and looks after "
		"them.\n"
		"It asks the API for everything;\n"
		"what is needed to find the API and to log in there is written by\n"
		".Ql ucloud-cli configure .\n"
		".Pp\n"
		"Options stand anywhere behind the command,\n"
		"those of every command also before it.\n"
		"Their names may be written with underscores instead of dashes,\n"
		"their values behind a blank or behind\n"
		".Ql = .\n"
		"What has a name can be named by it or by its uuid.\n"
		".Pp\n"
		"The options of every command are:\n"
		".Bl -tag -width Ds\n");
	for (const struct cli_opt *o = cli_global_opts; o->name; o++)
		add_opt(o, out);
	buf_add_str(out, ".El\n");
}

static void add_cmds(struct buf *out)
{
	buf_add_str(out, ".Sh COMMANDS\n");
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		const struct cli_cmd *cmd = cli_noun_cmds(n->name);
		CLEANUP_STR char *head = xasprintf("%s: %s", n->name, n->help);

		buf_add_str(out, ".Ss ");
		add_arg(head, out);
		buf_add_str(out, "\n.Bl -tag -width Ds\n");
		for (; str_eq(cmd->noun, n->name); cmd++)
			add_cmd(cmd, out);
		buf_add_str(out, ".El\n");
	}
}

static void add_tail(struct buf *out)
{
	buf_add_str(out,
		".Sh ENVIRONMENT\n"
		".Bl -tag -width UCLOUD_CONFIG\n"
		".It Ev UCLOUD_API\n"
		"Address of the API, instead of the configured one.\n"
		".It Ev UCLOUD_CONFIG\n"
		"The configuration file, instead of\n"
		".Pa \\(ti/.ucloud.conf .\n"
		".It Ev XDG_CACHE_HOME\n"
		"Directory of caches, instead of\n"
		".Pa \\(ti/.cache .\n"
		".It Ev NO_COLOR\n"
		"When set, nothing is coloured.\n"
		".El\n"
		".Sh FILES\n"
		".Bl -tag -width Ds\n"
		".It Pa \\(ti/.ucloud.conf\n"
		"The configuration:\n"
		".Cm api , name , realm , seed\n"
		"and\n"
		".Cm ca\n"
		"in a section\n"
		".Ql [ucloud-cli] .\n"
		"Whoever can read the seed can act as its user: only its owner may read "
		"the file.\n"
		".It Pa \\(ti/.cache/ucloud/session-*.json\n"
		"The session that commands share, readable by its owner only.\n"
		".El\n"
		".Sh EXIT STATUS\n"
		".Bl -tag -width Ds\n"
		".It 0\n"
		"It is done.\n"
		".It 1\n"
		"It was refused, or it failed; a line on standard error says why.\n"
		".It 2\n"
		"The command line is wrong.\n"
		".It 3\n"
		"The API does not answer, or says that it cannot serve now.\n"
		".It 4\n"
		"What was waited for did not happen in time; the order stands.\n"
		".El\n"
		".Sh EXAMPLES\n"
		"Order a VM and wait until it runs:\n"
		".Bd -literal -offset indent\n"
		"ucloud-cli vm create --name web --image debian-12 \\e\n"
		"    --cpu 2 --ram 4GiB --disk 20GiB --wait\n"
		".Ed\n"
		".Pp\n"
		"Two databases that are never on the same host:\n"
		".Bd -literal -offset indent\n"
		"ucloud-cli vm create --name db1 --image debian-12 \\e\n"
		"    --label app=db --apart app=db\n"
		"ucloud-cli vm create --name db2 --image debian-12 \\e\n"
		"    --label app=db --apart app=db\n"
		".Ed\n"
		".Pp\n"
		"Give it another disk while it runs, and keep what it is now:\n"
		".Bd -literal -offset indent\n"
		"ucloud-cli disk attach web 100GiB:hdd --wait\n"
		"ucloud-cli vm snapshot create web before-upgrade --wait\n"
		".Ed\n"
		".Pp\n"
		"Why does it wait?\n"
		".Bd -literal -offset indent\n"
		"ucloud-cli vm explain web\n"
		".Ed\n"
		".Pp\n"
		"The names of all VMs that run:\n"
		".Bd -literal -offset indent\n"
		"ucloud-cli vm list --json |\n"
		"    jq -r '.vms[] | select(.status == \"RUNNING\").name'\n"
		".Ed\n");
}

void cli_manual_text(struct buf *out)
{
	add_head(out);
	add_cmds(out);
	add_tail(out);
}

int cli_manual(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP(buf_done) struct buf out = { 0 };

	(void)c;
	(void)a;
	(void)e;
	cli_manual_text(&out);
	fputs(buf_str(&out), stdout);
	return 0;
}
