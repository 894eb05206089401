/*
 * Server-sent events (WHATWG HTML, section 9.2), taken apart as their bytes arrive. Pure.
 */
#ifndef UCLOUD_CLI_SSE_H
#define UCLOUD_CLI_SSE_H

#include "common/base/buf.h"

/* Non-zero ends the reading. */
typedef int cli_sse_fn(void *aux, const char *event, const char *data);

/* Zeroed but for fn and aux it is ready. */
struct cli_sse {
	cli_sse_fn *fn;
	void *aux;
	struct buf line, event, data;
	bool is_too_long; /* the line: it is thrown away */
};

/* Fits http_piece_fn(); aux is the struct cli_sse. */
int cli_sse_feed(void *aux, const char *p, size_t size);
void cli_sse_done(struct cli_sse *s);

#endif
