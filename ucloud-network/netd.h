/*
 * ucloud-network, assembled: its roles, the interfaces and filters that they want (linkrec.h),
 * and what others may know of it (announce.h).
 */
#ifndef UCLOUD_NETWORK_NETD_H
#define UCLOUD_NETWORK_NETD_H

#include "ucloud-network/role.h"

struct netd;

struct netd_conf {
	const char *host;
	const struct keys *keys;
	const struct strv *roles;	  /* at least one; names of roles[] */
	const struct strv *prefixes;	  /* pools */
	const struct router_conf *router; /* borrowed; needed by the role "router" */
	struct underlay_if underlay;
	enum flood_kind flood;
	int64_t lease_ttl_sec, resync_sec, linger_sec;
	struct prober_conf check;
};

/* conf is copied. */
struct netd *netd_new(struct kv *kv, const struct netd_conf *conf);
int netd_start(struct netd *d, struct err *e) MUST_USE;
/* Networks stay. False: something hangs; nothing was freed, and kv must not be closed. */
bool netd_free(struct netd *d);
int netd_health(struct netd *d, struct err *e);

/* NULL: there is no such role. */
const struct role_ops *netd_find_role(const char *name);

#endif
