/*
 * A router's addresses on its bridges, and that it forwards. A connection as in link.h.
 */
#ifndef UCLOUD_NETWORK_LINK_ADDR_H
#define UCLOUD_NETWORK_LINK_ADDR_H

#include "ucloud-network/link.h"

/* Global (and unique local) IPv6 addresses that are there. Valid when zeroed. */
struct link_addrs {
	struct link_addr {
		int index; /* of the interface */
		struct in6_addr address;
		int prefix_len;
	} * v;
	size_t len;
};
void link_addrs_done(struct link_addrs *a);

/* All. *out is zeroed or valid before. */
int link_addr_list(struct link_conn *c, struct link_addrs *out, struct err *e) MUST_USE;

/*
 * Makes `address`/64 the only one on that interface. `there`: what link_addr_list() showed.
 * Other routers may have the same one: nobody is asked whether it is free (RFC 4862, 5.4).
 * Returns 1 when it changed something.
 */
int link_addr_ensure(struct link_conn *c, const struct link_addrs *there,
	const char *name, const struct in6_addr *address, struct err *e) MUST_USE;

/*
 * Lets this interface, and the machine, forward IPv6. The kernel asks for both. An interface
 * that learned its own default route from router advertisements goes on doing so.
 */
int link_forward(const char *name, struct err *e) MUST_USE;

#endif
