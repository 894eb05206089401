/*
 * The serial console's output: asked of the host that has it, through the store
 * (docs/architecture.md, "Console output").
 */
#ifndef UCLOUD_CONSOLE_H
#define UCLOUD_CONSOLE_H

#include <jansson.h>

#include "common/model/keys.h"
#include "common/store/kv.h"

/* Waits at most limit_msec (ERR_TIMEOUT) for the host's answer: *out is that object, the
 * caller's. Any thread. */
int console_fetch(struct kv *kv, const char *host, const char *vm_uuid,
	int64_t limit_msec, json_t **out, struct err *e) MUST_USE;

#endif
