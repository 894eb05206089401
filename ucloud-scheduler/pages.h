/*
 * Reads a prefix page by page, each page as new as can be: for reading much without holding
 * all of it.
 */
#ifndef UCLOUD_SCHEDULER_PAGES_H
#define UCLOUD_SCHEDULER_PAGES_H

#include "common/store/kv.h"

typedef void pages_fn(void *aux, const struct kv_pair *pair);

/* Calls fn for each pair, in the order of keys. */
int pages_read(struct kv *kv, const char *prefix, pages_fn *fn, void *aux,
	struct err *e) MUST_USE;

#endif
