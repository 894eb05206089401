/* Asking on the terminal. */
#ifndef UCLOUD_CLI_PROMPT_H
#define UCLOUD_CLI_PROMPT_H

#include "common/base/buf.h"
#include "common/base/err.h"

/* Reads a line from standard input, a terminal; with is_secret without showing it. *out is
 * the caller's. An empty answer is an error. */
int cli_prompt(const char *question, bool is_secret, char **out, struct err *e) MUST_USE;

#endif
