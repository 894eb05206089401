/*
 * Orders for parts of a VM that exists: its disks, snapshots and interfaces. With --wait, until
 * they are carried out; then what became of them is seen in the VM's entry.
 */
#ifndef UCLOUD_CLI_CHANGE_H
#define UCLOUD_CLI_CHANGE_H

#include "ucloud-cli/cli.h"

/* One call at "/v1/vms/<the command's argument><tail>"; takes body, which may be NULL.
 * ERR_CONFLICT with what the VM's log says, when it could not be done. */
int cli_change_order(struct cli *c, const struct cli_args *a, const char *method,
	const char *tail, json_t *body, struct err *e) MUST_USE;
/* A POST that makes something, with an Idempotency-Key; likewise. */
int cli_change_order_new(struct cli *c, const struct cli_args *a, const char *tail,
	json_t *body, struct err *e) MUST_USE;

#endif
