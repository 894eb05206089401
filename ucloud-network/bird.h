/*
 * What BIRD 2 announces upstream: a file for its configuration to include, with one protocol
 * "ucloud_networks" that has the routes, and how it is told to read it again. Pure.
 *
 * The routes are the pools as they were configured, and the /64s of networks that are in none
 * of them: so nothing that is announced changes when a network comes or goes, and what is not
 * in use is answered with "unreachable" here instead of going round. The networks' own routes
 * are the kernel's, and are more specific.
 */
#ifndef UCLOUD_NETWORK_BIRD_H
#define UCLOUD_NETWORK_BIRD_H

#include "ucloud-network/alloc.h"

/* prefixes: those of networks, sorted or not. */
void bird_text(const struct alloc_pools *pools, const uint64_t *prefixes, size_t n,
	struct buf *out);

/*
 * What BIRD has answered so far on its control socket, to which `configure` was sent when it
 * had greeted. 0: it takes the configuration. 1: its answer is not complete. < 0: it does not,
 * and says why. *is_greeted: its greeting was read.
 */
int bird_reply(const char *text, bool *is_greeted, struct err *e) MUST_USE;

#endif
