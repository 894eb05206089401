/*
 * Answers questions for a VM's console output: the API writes `{}` to
 * /v1/console/<host>/<vm uuid> on a lease; we put {"text", "time", "is_cut"} in its place,
 * under the same lease. The text is the end of what virtlogd wrote.
 */
#ifndef UCLOUD_CONSOLE_H
#define UCLOUD_CONSOLE_H

#include "common/store/wq.h"
#include "ucloud-host/host_env.h"

#define CONSOLE_TEXT_MAX (64 * 1024)

/* A ctl_reconcile_fn; aux is the struct host_env, the key a VM's uuid. */
enum wq_result console_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e);

/* The last `max` bytes of what is in path, and before it in path.0, as text: UTF-8 without
 * control characters but newlines and tabs. Files that are missing are empty. *is_cut: there
 * was more. */
int console_read_tail(const char *path, size_t max, struct buf *out, bool *is_cut,
	struct err *e) MUST_USE;

#endif
