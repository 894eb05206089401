#include "ucloud-cli/args.h"

#include <string.h>

#include "common/base/parse.h"
#include "common/model/names.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)

int cli_size_parse(
	const char *s, int64_t unit_bytes, const char *unit, int64_t *n, struct err *e)
{
	int64_t bytes;

	if (parse_size(s, unit_bytes, &bytes, e) < 0)
		return -1;
	if (bytes <= 0 || bytes % unit_bytes != 0)
		return err_set(e, ERR_INVALID,
			"\"%.40s\" is not a whole number of %s above 0", s, unit);
	*n = bytes / unit_bytes;
	return 0;
}

int cli_disk_parse(const char *s, int64_t *size_gib, char **class, struct err *e)
{
	const char *colon = strchr(s, ':');
	CLEANUP_STR char *size = colon ? xstrndup(s, (size_t)(colon - s)) : xstrdup(s);

	if (colon && !colon[1])
		return err_set(e, ERR_INVALID,
			"\"%.40s\" has no class behind the colon; write it like "
			"20GiB:ssd, or 20GiB",
			s);
	if (cli_size_parse(size, GIB, "GiB", size_gib, e) < 0)
		return -1;
	*class = colon ? xstrdup(colon + 1) : NULL;
	return 0;
}

int cli_label_parse(const char *s, char **name, char **value, struct err *e)
{
	const char *eq = strchr(s, '=');

	if (!eq || eq == s)
		return err_set(e, ERR_INVALID,
			"\"%.80s\" is not a label; write it like name=value", s);
	*name = xstrndup(s, (size_t)(eq - s));
	*value = xstrdup(eq + 1);
	return 0;
}

/* "100Mbit", "1Gbit" */
static int rate_parse(const char *s, int64_t *mbit, struct err *e)
{
	size_t n = strspn(s, "0123456789");
	CLEANUP_STR char *number = xstrndup(s, n);
	bool is_gbit = strcasecmp(s + n, "Gbit") == 0;
	int64_t value = 0;

	if ((!is_gbit && strcasecmp(s + n, "Mbit") != 0) ||
		parse_int64(number, 1, is_gbit ? 1000 : 1000000, &value, e) < 0)
		return err_set(e, ERR_INVALID,
			"\"%.40s\" is no rate; write it like 100Mbit or 1Gbit", s);
	*mbit = is_gbit ? 1000 * value : value;
	return 0;
}

int cli_network_parse(const char *s, char **name, int64_t *rate_mbit, struct err *e)
{
	const char *comma = strchr(s, ',');
	size_t len = comma ? (size_t)(comma - s) : strlen(s);
	int64_t mbit = 0;

	if (len == 0)
		return err_set(e, ERR_INVALID, "which network? Write its name or uuid");
	if (comma && !str_has_prefix(comma + 1, "rate="))
		return err_set(e, ERR_INVALID,
			"\"%.80s\": only a rate may follow, like %.*s,rate=100Mbit", s,
			(int)(len < 80 ? len : 80), s);
	if (comma && rate_parse(comma + strlen(",rate="), &mbit, e) < 0)
		return -1;
	*name = xstrndup(s, len);
	*rate_mbit = mbit;
	return 0;
}

int cli_ingress_parse(const char *s, struct strv *out, struct err *e)
{
	CLEANUP(strv_done) struct strv parts = { 0 };

	if (str_eq(s, "none"))
		return 0;
	strv_split(&parts, s, ',');
	if (parts.len == 0)
		return err_set(e, ERR_INVALID,
			"what is to be let in? Write it like tcp/22,icmpv6, or none");
	for (size_t i = 0; i < parts.len; i++) {
		if (ingress_check(parts.v[i], e) < 0)
			return -1;
		strv_add(out, parts.v[i]);
	}
	return 0;
}

static int check_network(const char *s, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	int64_t rate_mbit;

	return cli_network_parse(s, &name, &rate_mbit, e);
}

static int check_ingress(const char *s, struct err *e)
{
	CLEANUP(strv_done) struct strv parts = { 0 };

	return cli_ingress_parse(s, &parts, e);
}

static int check_choice(const struct cli_opt *opt, const char *s, struct err *e)
{
	CLEANUP(buf_done) struct buf list = { 0 };

	for (size_t i = 0; opt->choices[i]; i++) {
		if (str_eq(opt->choices[i], s))
			return 0;
		buf_addf(&list, "%s%s", i ? ", " : "", opt->choices[i]);
	}
	return err_set(e, ERR_INVALID, "\"%.80s\" is none of %s", s, buf_str(&list));
}

static int check_label(const char *s, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	CLEANUP_STR char *value = NULL;

	return cli_label_parse(s, &name, &value, e);
}

static int check_disk(const char *s, struct err *e)
{
	CLEANUP_STR char *class = NULL;
	int64_t n;

	return cli_disk_parse(s, &n, &class, e);
}

static int check_value(const struct cli_opt *opt, const char *s, struct err *e)
{
	int64_t n;

	switch (opt->kind) {
	case CLI_INT:
		return parse_int64(s, 0, INT64_C(1) << 50, &n, e);
	case CLI_MIB:
		return cli_size_parse(s, MIB, "MiB", &n, e);
	case CLI_BOOT_DISK:
	case CLI_HDD:
	case CLI_GIB:
		return cli_size_parse(s, GIB, "GiB", &n, e);
	case CLI_DISK:
		return check_disk(s, e);
	case CLI_LABEL:
		return check_label(s, e);
	case CLI_DURATION:
		return parse_duration(s, &n, e);
	case CLI_BOOL:
	case CLI_CHOICE:
		return check_choice(opt, s, e);
	case CLI_NETWORK:
		return check_network(s, e);
	case CLI_INGRESS:
		return check_ingress(s, e);
	case CLI_PATH:
	case CLI_FILE:
	case CLI_OR_FILE:
		return *s ? 0 : err_set(e, ERR_INVALID, "it may not be empty");
	default:
		return 0;
	}
}

static int add_given(
	struct cli_args *a, const struct cli_opt *opt, const char *value, struct err *e)
{
	if (!(opt->flags & CLI_MANY) && cli_args_has(a, opt->name))
		return err_set(e, ERR_INVALID, "--%s stands twice", opt->name);
	if (check_value(opt, value, e) < 0)
		return err_wrap(e, "--%s", opt->name);
	a->given = xreallocarray(a->given, a->n_given + 1, sizeof(*a->given));
	a->given[a->n_given++] = (struct cli_given){ opt, xstrdup(value) };
	return 0;
}

static int no_such_option(const struct cli_args *a, const char *name, struct err *e)
{
	CLEANUP_STR char *near = cli_suggest_opt(a->cmd, name);
	const char *verb = a->cmd && a->cmd->verb ? a->cmd->verb : "";

	if (!a->cmd)
		return err_set(e, ERR_INVALID,
			"there is no option --%.60s that could stand before the command",
			name);
	if (near)
		return err_set(e, ERR_INVALID,
			"\"%s%s%s\" has no option --%.60s; did you mean %s?",
			a->cmd->noun, *verb ? " " : "", verb, name, near);
	return err_set(e, ERR_INVALID,
		"\"%s%s%s\" has no option --%.60s; its options are shown by \"ucloud-cli "
		"help %s%s%s\"",
		a->cmd->noun, *verb ? " " : "", verb, name, a->cmd->noun,
		*verb ? " " : "", verb);
}

/* An option at argv[*i], which is moved to its last word. */
static int take_option(
	struct cli_args *a, int argc, const char *const *argv, int *i, struct err *e)
{
	const char *word = argv[*i] + 2, *eq = strchr(word, '=');
	CLEANUP_STR char *name = eq ? xstrndup(word, (size_t)(eq - word)) : xstrdup(word);
	const struct cli_opt *opt = cli_opt_find(a->cmd, name);

	if (!opt)
		return no_such_option(a, name, e);
	if (!cli_opt_has_value(opt)) {
		if (eq)
			return err_set(e, ERR_INVALID, "--%s takes no value", opt->name);
		return add_given(a, opt, "", e);
	}
	if (eq)
		return add_given(a, opt, eq + 1, e);
	if (*i + 1 >= argc)
		return err_set(
			e, ERR_INVALID, "--%s needs a value: %s", opt->name, opt->meta);
	return add_given(a, opt, argv[++*i], e);
}

static char *verbs_of(const char *noun)
{
	const struct cli_cmd *first = cli_noun_cmds(noun), *cmd = first;
	struct buf list = { 0 };

	for (; cmd && str_eq(cmd->noun, first->noun); cmd++)
		buf_addf(&list, "%s%s", list.size > 0 ? ", " : "",
			cmd->verb ? cmd->verb : "");
	return buf_take(&list);
}

static int no_such_command(const struct cli_args *a, struct err *e)
{
	const char *noun = a->words.v[0];
	const struct strv *w = &a->words;
	CLEANUP_STR char *both = w->len > 2 ? xasprintf("%s %s", w->v[1], w->v[2]) : NULL;
	const char *verb = both ? both : w->len > 1 ? w->v[1] : NULL;
	CLEANUP_STR char *near = cli_suggest_cmd(noun, verb);
	CLEANUP_STR char *verbs = verbs_of(noun);

	if (near)
		return err_set(e, ERR_INVALID,
			"there is no command \"%.60s%s%.60s\"; did you mean \"%s\"?",
			noun, verb ? " " : "", verb ? verb : "", near);
	if (verb && *verbs)
		return err_set(e, ERR_INVALID,
			"\"%s\" has no command \"%.60s\"; it has %s", noun, verb, verbs);
	return err_set(e, ERR_INVALID,
		"there is no command \"%.60s\"; \"ucloud-cli help\" lists them", noun);
}

/* The option that says what the next word behind the argument is; NULL: none may follow. */
static const struct cli_opt *next_more(const struct cli_args *a)
{
	const struct cli_opt *o = a->cmd->more_args;
	size_t n = a->words.len - a->n_before - 1;

	while (o && o->name && n-- > 0)
		o++;
	return o && o->name ? o : NULL;
}

/* Behind the command's argument. */
static int take_more(struct cli_args *a, const char *word, struct err *e)
{
	const struct cli_opt *o = next_more(a);

	if (!o)
		return 0;
	return check_value(o, word, e) < 0 ? err_wrap(e, "%s", o->name) : 0;
}

static bool may_follow(const struct cli_args *a)
{
	const struct cli_cmd *cmd = a->cmd;

	return cmd->arg && (!a->arg || cmd->is_arg_many || next_more(a));
}

/* The first word, or the first two or three, that are a command. */
static int take_command(struct cli_args *a, struct err *e)
{
	struct strv *w = &a->words;
	CLEANUP_STR char *verb = NULL;

	if (w->len > 1)
		verb = w->len == 2 ? xstrdup(w->v[1])
				   : xasprintf("%s %s", w->v[1], w->v[2]);
	a->cmd = cli_cmd_find(w->v[0], verb);
	a->n_before = w->len;
	/* Of an unknown noun the verb is of interest too. */
	if (a->cmd || w->len == 1 || (w->len == 2 && cli_verb_begins(w->v[0], w->v[1])))
		return 0;
	return no_such_command(a, e);
}

static int take_word(struct cli_args *a, const char *word, struct err *e)
{
	if (a->cmd && !may_follow(a))
		return err_set(e, ERR_INVALID,
			"\"%.80s\" is one word too many behind \"%s%s%s\"", word,
			a->cmd->noun, a->cmd->verb ? " " : "",
			a->cmd->verb ? a->cmd->verb : "");
	if (a->cmd && a->arg && take_more(a, word, e) < 0)
		return -1;
	strv_add(&a->words, word);
	if (!a->cmd)
		return take_command(a, e);
	if (!a->arg)
		a->arg = a->words.v[a->n_before];
	return 0;
}

static int check_more(const struct cli_args *a, struct err *e)
{
	const struct cli_opt *o = a->cmd->more_args;

	for (size_t i = 0; o && o[i].name; i++)
		if ((o[i].flags & CLI_NEED) && !cli_args_more(a, i))
			return err_set(e, ERR_INVALID, "\"%s %s\" needs %s", a->cmd->noun,
				a->cmd->verb ? a->cmd->verb : "", o[i].name);
	return 0;
}

/* Is everything there that the command needs? */
static int check_complete(const struct cli_args *a, struct err *e)
{
	const struct cli_cmd *cmd = a->cmd;
	const struct cli_opt *opt;

	if (!cmd && a->words.len == 0)
		return err_set(e, ERR_INVALID,
			"what is to be done? \"ucloud-cli help\" lists the commands");
	if (!cmd && !cli_noun_exists(a->words.v[0]))
		return no_such_command(a, e);
	if (!cmd) {
		CLEANUP_STR char *verbs = verbs_of(a->words.v[0]);

		return err_set(e, ERR_INVALID,
			"\"%s%s%s\" alone says too little; %s has %s", a->words.v[0],
			a->words.len > 1 ? " " : "",
			a->words.len > 1 ? a->words.v[1] : "",
			a->words.len > 1 ? a->words.v[0] : "it", verbs);
	}
	if (cmd->arg && !a->arg && !cmd->is_arg_optional)
		return err_set(e, ERR_INVALID, "\"%s %s\" needs a %s", cmd->noun,
			cmd->verb ? cmd->verb : "", cmd->arg);
	if (check_more(a, e) < 0)
		return -1;
	for (size_t i = 0; (opt = cli_cmd_opt(cmd, i)) != NULL; i++)
		if ((opt->flags & CLI_NEED) && !cli_args_has(a, opt->name))
			return err_set(e, ERR_INVALID, "\"%s %s\" needs --%s %s",
				cmd->noun, cmd->verb ? cmd->verb : "", opt->name,
				opt->meta);
	return 0;
}

static int parse_all(struct cli_args *a, int argc, const char *const *argv, struct err *e)
{
	bool has_ended = false;

	for (int i = 1; i < argc; i++) {
		const char *s = argv[i];

		if (!has_ended && str_eq(s, "--"))
			has_ended = true;
		else if (!has_ended && str_eq(s, "-h")) {
			if (add_given(a, cli_opt_find(NULL, "help"), "", e) < 0)
				return -1;
		} else if (!has_ended && str_has_prefix(s, "--")) {
			if (take_option(a, argc, argv, &i, e) < 0)
				return -1;
		} else if (!has_ended && s[0] == '-' && s[1])
			return err_set(e, ERR_INVALID,
				"\"%.60s\" is no option: they begin with two dashes", s);
		else if (take_word(a, s, e) < 0)
			return -1;
	}
	if (cli_args_has(a, "help") || cli_args_has(a, "version"))
		return 0;
	return check_complete(a, e);
}

int cli_args_parse(int argc, const char *const *argv, struct cli_args *out, struct err *e)
{
	struct cli_args a = { 0 };

	if (parse_all(&a, argc, argv, e) < 0) {
		cli_args_done(&a);
		return -1;
	}
	*out = a;
	return 0;
}

void cli_args_done(struct cli_args *a)
{
	for (size_t i = 0; i < a->n_given; i++)
		free(a->given[i].value);
	free(a->given);
	strv_done(&a->words);
	*a = (struct cli_args){ 0 };
}

const char *cli_args_more(const struct cli_args *a, size_t i)
{
	size_t at = a->n_before + 1 + i;

	return at < a->words.len ? a->words.v[at] : NULL;
}

const char *cli_args_get(const struct cli_args *a, const char *name)
{
	for (size_t i = a->n_given; i > 0; i--)
		if (str_eq(a->given[i - 1].opt->name, name))
			return a->given[i - 1].value;
	return NULL;
}

bool cli_args_has(const struct cli_args *a, const char *name)
{
	return cli_args_get(a, name) != NULL;
}

int64_t cli_args_sec(const struct cli_args *a, const char *name, int64_t other)
{
	const char *s = cli_args_get(a, name);
	struct err e;
	int64_t sec;

	/* It was checked when it was parsed. */
	return s && parse_duration(s, &sec, &e) == 0 ? sec : other;
}
