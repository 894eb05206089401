/*
 * What the parts of link.h share. Only for link*.c.
 */
#ifndef UCLOUD_NETWORK_LINK_IMPL_H
#define UCLOUD_NETWORK_LINK_IMPL_H

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "ucloud-network/link.h"

/* Below it a directory for each interface. */
#define LINK_CONF_DIR "/proc/sys/net/ipv6/conf"

struct link_conn {
	struct nl_sock *sock;
};

/* Sends a request (takes msg) and waits for its acknowledgement; the netlink library's code,
 * 0 done. */
int link_talk(struct link_conn *c, struct nl_msg *msg);
/* Sends a question whose answer has many parts. fn sees each. */
int link_dump(struct link_conn *c, struct nl_msg *msg, int (*fn)(struct nl_msg *, void *),
	void *aux, const char *what, struct err *e) MUST_USE;
struct nl_msg *link_msg(int type, int flags);
int link_error(struct err *e, int code, const char *what, const char *name);
/* Interface of that name; ERR_NOT_FOUND. */
int link_index(const char *name, int *out, struct err *e) MUST_USE;
/* Writes one digit to net.ipv6.conf.<interface>.<what>; ERR_NOT_FOUND: the kernel's IPv6 does
 * not know that interface. */
int link_sysctl(
	const char *interface, const char *what, char digit, struct err *e) MUST_USE;

#endif
