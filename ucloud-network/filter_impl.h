/*
 * What the parts of filter.h share. Only for filter*.c.
 */
#ifndef UCLOUD_NETWORK_FILTER_IMPL_H
#define UCLOUD_NETWORK_FILTER_IMPL_H

#include "ucloud-network/filter.h"

/* A set: its head, each element after filter_element(), its end. */
void filter_set_begin(
	struct buf *out, const char *what, const char *name, const char *type);
void filter_element(struct buf *out, size_t *n);
void filter_set_end(struct buf *out, size_t n);

/* Limits and the maps "rates_from" and "rates_to". */
void filter_add_rates(const struct wanted *w, struct buf *out);
/* What is looked at in frames to VMs: nothing, unless one is closed or has a rate. */
void filter_add_to(const struct wanted *w, struct buf *out);
/* What the table of the ip6 family has for VMs that are closed: nothing, unless one is. */
void filter_add_closed(const struct wanted *w, struct buf *out);

#endif
