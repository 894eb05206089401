/*
 * The options of the role "router" (role.h).
 */
#ifndef UCLOUD_NETWORK_ROUTERROLE_H
#define UCLOUD_NETWORK_ROUTERROLE_H

#include "common/base/conf.h"

struct router_conf {
	int64_t vni_min, vni_max, quarantine;
	char *run_dir;
	char *radvd;
	struct strv dns, dns_search;
	char *bird_include, *bird_socket;
};

extern const struct conf_opt router_opts[];
/* What one option cannot say; prefixes are the pools. */
int router_conf_check(
	const struct router_conf *c, const struct strv *prefixes, struct err *e) MUST_USE;

#endif
