#include "ucloud-cli/complete.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/cli.h"
#include "ucloud-cli/login.h"

/* Where the last word stands. */
struct place {
	const struct cli_cmd *cmd;
	const char *noun;	   /* NULL: the noun is what is being written */
	const char *verb;	   /* the first word of a verb of two */
	const struct cli_opt *opt; /* whose value is being written */
	const char *arg;	   /* the command's argument, NULL: not there yet */
	bool is_lost;		   /* there is no such command */
	struct strv given;	   /* names of options that stand there already */
};

static void add_match(struct strv *out, const char *word, const char *candidate)
{
	if (str_has_prefix(candidate, word) && !strv_has(out, candidate))
		strv_add(out, candidate);
}

static void take_word(struct place *p, const char *word)
{
	if (!p->noun) {
		p->noun = word;
		p->cmd = cli_cmd_find(word, NULL);
	} else if (!p->cmd) {
		CLEANUP_STR char *both =
			p->verb ? xasprintf("%s %s", p->verb, word) : NULL;

		p->cmd = cli_cmd_find(p->noun, both ? both : word);
		p->is_lost = !p->cmd && (both || !cli_verb_begins(p->noun, word));
		p->verb = word;
	} else {
		p->arg = word;
	}
}

static void take_option(struct place *p, const char *word)
{
	const char *eq = strchr(word, '=');
	CLEANUP_STR char *name = eq ? xstrndup(word, (size_t)(eq - word)) : xstrdup(word);
	const struct cli_opt *opt = cli_opt_find(p->cmd, name);

	if (!opt)
		return;
	strv_add(&p->given, opt->name);
	if (!eq && cli_opt_has_value(opt))
		p->opt = opt;
}

/* All words but the last. */
static void find_place(const char *const *words, size_t n, struct place *p)
{
	for (size_t i = 0; i + 1 < n; i++) {
		if (p->opt)
			p->opt = NULL;
		else if (str_has_prefix(words[i], "--"))
			take_option(p, words[i] + 2);
		else
			take_word(p, words[i]);
	}
}

static void add_names(const char *word, const char *collection, cli_names_fn *names_fn,
	void *aux, struct strv *out)
{
	struct strv names = { 0 };

	if (names_fn && collection)
		names_fn(aux, collection, &names);
	for (size_t i = 0; i < names.len; i++)
		add_match(out, word, names.v[i]);
	strv_done(&names);
}

static void add_values(const struct cli_opt *opt, const char *word,
	cli_names_fn *names_fn, void *aux, struct strv *out)
{
	for (size_t i = 0; opt->choices && opt->choices[i]; i++)
		add_match(out, word, opt->choices[i]);
	if (opt->kind == CLI_BOOL && !opt->choices) {
		add_match(out, word, "yes");
		add_match(out, word, "no");
	}
	add_names(word, opt->of, names_fn, aux, out);
	if (opt->kind == CLI_PATH || opt->kind == CLI_FILE ||
		(opt->kind == CLI_OR_FILE && word[0] == '@'))
		strv_add(out, CLI_COMPLETE_FILES);
}

static void add_option(const struct place *p, const struct cli_opt *o, const char *word,
	struct strv *out)
{
	CLEANUP_STR char *text = xasprintf("--%s", o->name);

	if ((o->flags & CLI_MANY) || !strv_has(&p->given, o->name))
		add_match(out, word, text);
}

static void add_options(const struct place *p, const char *word, struct strv *out)
{
	const struct cli_opt *o;

	for (size_t i = 0; p->cmd && (o = cli_cmd_opt(p->cmd, i)) != NULL; i++)
		add_option(p, o, word, out);
	for (o = cli_global_opts; o->name; o++)
		add_option(p, o, word, out);
}

static void add_nouns(const char *word, struct strv *out)
{
	for (const struct cli_noun *n = cli_nouns; n->name; n++)
		add_match(out, word, n->name);
}

/* Words of verbs, one at a time: first is what stands before of a verb of two. */
static void add_verbs(
	const char *noun, const char *first, const char *word, struct strv *out)
{
	const struct cli_cmd *cmd = cli_noun_cmds(noun);
	size_t skip = first ? strlen(first) + 1 : 0;

	for (; cmd && str_eq(cmd->noun, noun); cmd++) {
		CLEANUP_STR char *part = NULL;

		if (!cmd->verb || (first && (strncmp(cmd->verb, first, skip - 1) != 0 ||
						    cmd->verb[skip - 1] != ' ')))
			continue;
		part = xstrndup(cmd->verb + skip, strcspn(cmd->verb + skip, " "));
		add_match(out, word, part);
	}
}

void cli_complete(const char *const *words, size_t n, cli_names_fn *names_fn, void *aux,
	struct strv *out)
{
	struct place p = { 0 };
	const char *word = n > 0 ? words[n - 1] : "";

	find_place(words, n, &p);
	if (p.opt)
		add_values(p.opt, word, names_fn, aux, out);
	else if (word[0] == '-')
		add_options(&p, word, out);
	else if (!p.noun)
		add_nouns(word, out);
	else if (str_eq(p.noun, "help") && !p.arg)
		add_nouns(word, out);
	else if (str_eq(p.noun, "help"))
		add_verbs(p.arg, NULL, word, out);
	else if (!p.cmd && !p.is_lost)
		add_verbs(p.noun, p.verb, word, out);
	else if (p.cmd && str_eq(p.cmd->arg, "PATH") && !p.arg)
		strv_add(out, CLI_COMPLETE_FILES);
	else if (p.cmd && p.cmd->arg && !p.arg)
		add_names(word, p.cmd->arg_of, names_fn, aux, out);
	else if (p.cmd)
		add_options(&p, word, out);
	strv_done(&p.given);
}

/* ------------------------------------------------------------ with the API */

/* --config and --api of the line that is being completed. */
static const char *option_of(const char *const *words, size_t n, const char *name)
{
	for (size_t i = 0; i + 2 < n; i++)
		if (str_eq(words[i], name))
			return words[i + 1];
	return NULL;
}

struct line {
	const char *const *words;
	size_t n;
};

static void add_entry_names(const json_t *list, struct strv *out)
{
	size_t i;
	json_t *entry;

	json_array_foreach (list, i, entry) {
		const char *name = cli_json_text(entry, "name");

		if (!*name)
			name = cli_json_text(entry, "hostname");
		if (!*name)
			name = cli_json_text(entry, "filename");
		if (*name)
			strv_add_take(out, cli_text_cleaned(name));
	}
}

/* Only with a session that is there: completion must neither wait nor use up a password. */
static void names_of(void *aux, const char *collection, struct strv *out)
{
	const struct line *line = aux;
	CLEANUP(cli_conf_done) struct cli_conf conf = { 0 };
	CLEANUP_STR char *conf_path =
		cli_conf_path(option_of(line->words, line->n, "--config"));
	CLEANUP_STR char *path = xasprintf("/v1/%s?limit=1000", collection);
	CLEANUP_STR char *token = NULL;
	CLEANUP_STR char *bearer = NULL;
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	struct cli_call call = { .method = "GET", .path = path, .limit_msec = 2000 };
	struct cli_client *cl;
	struct err e;

	if (cli_conf_load(conf_path, option_of(line->words, line->n, "--api"),
		    option_of(line->words, line->n, "--ca"), &conf, &e) < 0)
		return;
	cl = cli_client_new(&conf, NULL);
	token = cli_login_kept(cl);
	bearer = xasprintf("Bearer %s", token ? token : "");
	if (token && cli_call_as(cl, &call, bearer, &an, &e) == 0 && an.status == 200)
		add_entry_names(cli_list_of(an.json, NULL), out);
	cli_client_free(cl);
}

int cli_complete_main(int argc, const char *const *argv)
{
	struct strv out = { 0 };
	int first = argc > 2 && str_eq(argv[2], "--") ? 3 : 2;
	struct line line = { argv + first, argc > first ? (size_t)(argc - first) : 0 };

	cli_complete(line.words, line.n, names_of, &line, &out);
	for (size_t i = 0; i < out.len; i++)
		puts(out.v[i]);
	strv_done(&out);
	return CLI_EXIT_DONE;
}
