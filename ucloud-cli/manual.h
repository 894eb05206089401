/*
 * The manual page, in mdoc(7), made from the table of commands. Pure.
 */
#ifndef UCLOUD_CLI_MANUAL_H
#define UCLOUD_CLI_MANUAL_H

#include "ucloud-cli/cmdtab.h"

void cli_manual_text(struct buf *out);

#endif
