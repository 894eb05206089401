/*
 * radvd's configuration (radvd.conf(5)): router advertisements (RFC 4861, RFC 8106) in the
 * networks that are `auto`. Pure text. One radvd serves all; it passes over interfaces that
 * are not there (yet).
 */
#ifndef UCLOUD_NETWORK_RADVD_H
#define UCLOUD_NETWORK_RADVD_H

#include <stdint.h>

#include "common/base/buf.h"

struct radvd_net {
	int64_t vni;
	const char *prefix; /* "2001:db8:1::/64" */
	int64_t mtu;
	const struct strv *dns; /* addresses; may be NULL */
};

struct radvd_conf {
	const struct strv *dns;	       /* in networks that name none */
	const struct strv *dns_search; /* domains */
};

/* nets in the order of their ids: the same networks give the same text. */
void radvd_text(const struct radvd_net *nets, size_t n, const struct radvd_conf *c,
	struct buf *out);

#endif
