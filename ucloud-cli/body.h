/*
 * The JSON body of a command: every option that names a member goes there, by its kind.
 * Pure, but for the files that options name: those are read with the function given.
 */
#ifndef UCLOUD_CLI_BODY_H
#define UCLOUD_CLI_BODY_H

#include <jansson.h>

#include "ucloud-cli/args.h"

/* Appends the text of the file; "-" is standard input. */
typedef int cli_read_fn(const char *path, struct buf *out, struct err *e);

/* *out is the caller's: an object, empty when no option has a member. */
int cli_body_make(const struct cli_args *a, cli_read_fn *read_fn, json_t **out,
	struct err *e) MUST_USE;

/* The real one: at most 1 MiB of UTF-8. */
int cli_read_file(const char *path, struct buf *out, struct err *e) MUST_USE;
/* A CLI_OR_FILE's value: s itself, or what "@FILE" or "-" hold, without blanks and line
 * ends around it. *out is the caller's. */
int cli_read_value(
	const char *s, cli_read_fn *read_fn, char **out, struct err *e) MUST_USE;

/* "lan,rate=100Mbit" as the API takes it; *out is the caller's. */
int cli_network_body(const char *s, json_t **out, struct err *e) MUST_USE;

#endif
