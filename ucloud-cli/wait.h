/*
 * `--wait`: follows a VM, an image or a network until it is what was ordered, with a line of progress for people.
 * Long polls of the API; an API that does not answer for a while is waited for too.
 */
#ifndef UCLOUD_CLI_WAIT_H
#define UCLOUD_CLI_WAIT_H

#include "ucloud-cli/cli.h"

/* What is waited for. */
struct cli_wait_class {
	const char *collection; /* "/v1/vms" */
	const char *noun;	/* "VM" */
	/* What there is to say about one on its way, and why one is in ERROR; the caller's. */
	char *(*news)(const json_t *entry);
	char *(*reason)(const json_t *entry);
};

extern const struct cli_wait_class cli_wait_images, cli_wait_networks;

struct cli_wait {
	const struct cli_wait_class *class; /* NULL: VMs */
	const char *uuid;
	const char *name;
	const char *target; /* a status; NULL: until the VM is gone */
	bool is_request;    /* until no request for it is open; then target */
	int64_t limit_sec;
	const json_t *first; /* the entry as the order was answered; may be NULL */
};

/* 0 with *out (the VM as it is then, the caller's; NULL when it is gone). ERR_TIMEOUT;
 * ERR_CONFLICT when it went to ERROR, with the reason. */
int cli_wait_vm(
	struct cli *c, const struct cli_wait *w, json_t **out, struct err *e) MUST_USE;

/* The newest log line's text; "" when there is none. Borrowed. */
const char *cli_vm_last_log(const json_t *vm);
/* What there is to say about a VM on its way: why it waits, or its newest log line.
 * Borrowed. */
const char *cli_vm_news(const json_t *vm);

/* Until no request for it is open any more; *out is the VM then, NULL when it is gone. */
int cli_wait_request(
	struct cli *c, const struct cli_wait *w, json_t **out, struct err *e) MUST_USE;

enum cli_verdict { CLI_GO_ON, CLI_REACHED, CLI_BROKEN };
/* first: the entry as the order was answered; a VM that was in ERROR then is broken only
 * when its log says something new. Pure. */
enum cli_verdict cli_wait_judge(
	const json_t *vm, const json_t *first, const char *target);

#endif
