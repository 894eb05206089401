/*
 * The interface that carries all VXLANs, and whether this machine can carry any: looked at when
 * the daemon starts and whenever links are looked at.
 */
#ifndef UCLOUD_NETWORK_UNDERLAY_H
#define UCLOUD_NETWORK_UNDERLAY_H

#include "ucloud-network/link.h"

/* IPv6 needs 1280 (RFC 8200) inside the VXLAN. */
#define UNDERLAY_MTU_MIN (1280 + NETWORK_OVERHEAD)

struct underlay_if {
	char name[NETWORK_NAME_SIZE];
	int index;
	int64_t mtu;
	struct in6_addr address;
};

/* Errors say what to do. */
int underlay_check(const struct links *links, struct link_conn *c, const char *name,
	struct underlay_if *out, struct err *e) MUST_USE;
/* The same, with a connection of its own: for setup and start. */
int underlay_look(const char *name, struct underlay_if *out, struct err *e) MUST_USE;
/* The "address" as text. */
char *underlay_address(const struct underlay_if *u);

#endif
