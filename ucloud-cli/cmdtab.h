/*
 * The commands: one table of nouns, verbs, options and what they mean. The parser (args.h),
 * the bodies sent to the API (body.h), `help`, the manual page and the completion all come
 * from it, so none of them can drift from the others. Pure; any thread.
 */
#ifndef UCLOUD_CLI_CMDTAB_H
#define UCLOUD_CLI_CMDTAB_H

#include "common/base/buf.h"
#include "common/base/err.h"

struct cli;
struct cli_args;

enum cli_kind {
	CLI_END,
	CLI_TEXT,
	CLI_FLAG,      /* takes no value */
	CLI_EMPTY,     /* takes no value; makes its member an empty object */
	CLI_NULL,      /* takes no value; makes its member null */
	CLI_INT,       /* a number from 0 */
	CLI_BOOL,      /* yes or no */
	CLI_MIB,       /* "1GiB", "512MiB": the member counts MiB */
	CLI_GIB,       /* "20GiB": the member counts GiB */
	CLI_DISK,      /* "20GiB" or "20GiB:class" */
	CLI_BOOT_DISK, /* "20GiB": of class ssd, before all others in its member */
	CLI_HDD,       /* "20GiB": of class hdd */
	CLI_LABEL,     /* "name=value" */
	CLI_DURATION,  /* "300", "5m": seconds */
	CLI_PATH,      /* of a file or directory */
	CLI_FILE,      /* path of a file whose text is the value; "-" is standard input */
	CLI_OR_FILE,   /* the value, or "@FILE", or "-" for standard input */
	CLI_NETWORK,   /* "lan" or "lan,rate=100Mbit" */
	CLI_INGRESS,   /* "tcp/22,icmpv6": its member is an array, also of several */
	CLI_CHOICE     /* one of choices */
};

enum {
	CLI_NEED = 1 << 0,
	CLI_MANY = 1 << 1, /* may be repeated; its member is an array (or object) */
	CLI_QUERY = 1 << 2 /* member is a parameter of the query instead */
};

struct cli_opt {
	const char *name; /* with dashes */
	enum cli_kind kind;
	unsigned flags;
	const char *meta; /* "SIZE": how the value is called in the help */
	const char *help;
	const char *member; /* of the body, "affinity.near"; NULL: none */
	const char *const *choices;
	const char *of; /* completed with the names in this collection: "images" */
};

#define CLI_OPT_GROUPS 4

struct cli_cmd {
	const char *noun;
	const char *
		verb; /* NULL: the noun is the whole command; "snapshot create": two words */
	const char *arg; /* the word that follows, "VM"; NULL none */
	const char *arg_of;
	bool is_arg_optional;
	bool is_arg_many; /* any number of words */
	/* Words behind the argument, in this order; those without CLI_NEED may be left out. */
	const struct cli_opt *more_args;
	const struct cli_opt *opts[CLI_OPT_GROUPS]; /* each ends with a zeroed one */
	const char *help;			    /* one sentence without its stop */
	const char *more;			    /* further sentences, NULL none */
	/* 0; < 0 failed. */
	int (*run)(struct cli *c, const struct cli_args *a, struct err *e);
};

struct cli_noun {
	const char *name;
	const char *help;
};

/* Both end with a zeroed one; commands of a noun stand together, in the order of nouns. */
extern const struct cli_noun cli_nouns[];
extern const struct cli_cmd cli_cmds[];
/* Options that every command has. */
extern const struct cli_opt cli_global_opts[];

/* The i-th option of the command (not the global ones), NULL behind the last. */
const struct cli_opt *cli_cmd_opt(const struct cli_cmd *cmd, size_t i);
/* By name with dashes or underscores: the command's own, then the global ones. cmd may be
 * NULL. NULL: none. */
const struct cli_opt *cli_opt_find(const struct cli_cmd *cmd, const char *name);
const struct cli_cmd *cli_cmd_find(const char *noun, const char *verb);
bool cli_noun_exists(const char *noun);
/* Is the word the first one of a verb of two? */
bool cli_verb_begins(const char *noun, const char *word);
/* "VM INDEX [SIZE]"; "" when it takes none. The caller's. */
char *cli_cmd_args(const struct cli_cmd *cmd);
/* The first command of the noun, NULL when there is none. */
const struct cli_cmd *cli_noun_cmds(const char *noun);
bool cli_opt_has_value(const struct cli_opt *opt);

/* What was likely meant: "vm list" for "vm lst" or "list". NULL: nothing is near. The
 * caller's. */
char *cli_suggest_cmd(const char *noun, const char *verb);
/* "--label" for "--lable". The caller's. */
char *cli_suggest_opt(const struct cli_cmd *cmd, const char *name);

#endif
