/*
 * The command line, parsed with the table of commands. Every value is checked as far as
 * that is possible without the API. Pure; any thread.
 */
#ifndef UCLOUD_CLI_ARGS_H
#define UCLOUD_CLI_ARGS_H

#include <stdint.h>

#include "ucloud-cli/cmdtab.h"

struct cli_given {
	const struct cli_opt *opt;
	char *value; /* "" for options without one */
};

struct cli_args {
	const struct cli_cmd *cmd; /* NULL: only with --help or --version */
	struct strv words;	   /* all that are no options: noun, verb, argument */
	const char *arg;	   /* the command's argument, NULL none; in words */
	size_t n_before;	   /* words before it */
	struct cli_given *given;   /* in the order given */
	size_t n_given;
};

/* argv[0] is skipped. Errors are ERR_INVALID: wrong usage. */
int cli_args_parse(
	int argc, const char *const *argv, struct cli_args *out, struct err *e) MUST_USE;
void cli_args_done(struct cli_args *a);
/* The i-th of cmd->more_args, NULL when it was not given. Borrowed. */
const char *cli_args_more(const struct cli_args *a, size_t i);

/* The last value given, NULL when there is none. */
const char *cli_args_get(const struct cli_args *a, const char *name);
bool cli_args_has(const struct cli_args *a, const char *name);
/* Seconds of a CLI_DURATION, or what is to be taken when it was not given. */
int64_t cli_args_sec(const struct cli_args *a, const char *name, int64_t other);

/* "20GiB:ssd"; *class is the caller's, NULL when there is none. */
int cli_disk_parse(
	const char *s, int64_t *size_gib, char **class, struct err *e) MUST_USE;
/* "name=value"; both are the caller's. */
int cli_label_parse(const char *s, char **name, char **value, struct err *e) MUST_USE;
/* "lan,rate=100Mbit"; *name is the caller's, *rate_mbit 0 when there is none. */
int cli_network_parse(
	const char *s, char **name, int64_t *rate_mbit, struct err *e) MUST_USE;
/* "tcp/22,icmpv6", or "none": what each is (names.h); added to out. */
int cli_ingress_parse(const char *s, struct strv *out, struct err *e) MUST_USE;
/* A size in units of unit_bytes; it must be a whole number of them. */
int cli_size_parse(const char *s, int64_t unit_bytes, const char *unit, int64_t *n,
	struct err *e) MUST_USE;

#endif
