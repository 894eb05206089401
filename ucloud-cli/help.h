/*
 * What `help` prints, made from the table of commands. Pure.
 */
#ifndef UCLOUD_CLI_HELP_H
#define UCLOUD_CLI_HELP_H

#include "ucloud-cli/cmdtab.h"

/* noun NULL: everything, shortly; verb NULL: one noun. ERR_INVALID: no such command. */
int cli_help_text(
	const char *noun, const char *verb, struct buf *out, struct err *e) MUST_USE;

#endif
