/*
 * The kernel's interfaces through route netlink (rtnetlink(7), libnl): what is there, and the
 * steps of plan.h. A connection belongs to one thread; the network namespace is that of the
 * thread that opened it.
 */
#ifndef UCLOUD_NETWORK_LINK_H
#define UCLOUD_NETWORK_LINK_H

#include "ucloud-network/plan.h"

/* Hop limit of what VXLANs send: so many routers less one may be between two machines. */
#define LINK_VXLAN_HOPS 4

struct link_conn;

int link_open(struct link_conn **out, struct err *e) MUST_USE;
void link_close(struct link_conn *c);

/* All interfaces. *out is zeroed or valid before. */
int link_list(struct link_conn *c, struct links *out, struct err *e) MUST_USE;

/* The address that an interface sends from: global or unique local, usable, and not one that
 * changes with time. ERR_NOT_FOUND: it has none. */
int link_address(
	struct link_conn *c, int index, struct in6_addr *out, struct err *e) MUST_USE;

/* Carries one step out. What is already so is fine. */
int link_run(struct link_conn *c, const struct step *s, const struct plan_conf *conf,
	struct err *e) MUST_USE;

/*
 * Where a VXLAN without a group sends what floods: replaces the list by these n machines.
 * Only what differs is changed.
 */
int link_set_flood(struct link_conn *c, int index, const struct in6_addr *to, size_t n,
	struct err *e) MUST_USE;

/* A thread that calls fn(aux) whenever an interface, an IPv6 address, whether an interface
 * forwards, or a rule of nftables, was changed by anybody. Stopping waits for the thread. */
struct link_watch;
int link_watch_start(void (*fn)(void *aux), void *aux, struct link_watch **out,
	struct err *e) MUST_USE;
void link_watch_stop(struct link_watch *w);

#endif
