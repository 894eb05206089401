/*
 * Completion for shells: `ucloud-cli complete -- WORDS...` prints what the last word could
 * become, one candidate a line. Words are those behind "ucloud-cli".
 */
#ifndef UCLOUD_CLI_COMPLETE_H
#define UCLOUD_CLI_COMPLETE_H

#include "ucloud-cli/cmdtab.h"

/* Instead of candidates: the shell should complete names of files. */
#define CLI_COMPLETE_FILES "@files"

/* Adds the names in a collection ("vms"). */
typedef void cli_names_fn(void *aux, const char *collection, struct strv *out);

/* Candidates for the last of n words, those that begin like it only. Pure but for names_fn,
 * which may be NULL. */
void cli_complete(const char *const *words, size_t n, cli_names_fn *names_fn, void *aux,
	struct strv *out);

/* The hidden command. Never fails: without candidates it prints nothing. */
int cli_complete_main(int argc, const char *const *argv);

#endif
