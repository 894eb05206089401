/*
 * What the parts of the running ucloud-network share, and how a role plugs in: a role says
 * which networks it wants on this machine; linkrec.h makes them, and their filters, for all
 * roles together. Only for this directory.
 */
#ifndef UCLOUD_NETWORK_ROLE_H
#define UCLOUD_NETWORK_ROLE_H

#include <stdatomic.h>

#include "common/model/keys.h"
#include "common/store/cache.h"
#include "common/store/ctl.h"
#include "common/store/kv.h"
#include "ucloud-network/underlay.h"
#include "ucloud-network/wanted.h"

struct router_conf;
struct prober;

enum flood_kind { FLOOD_MULTICAST, FLOOD_UNICAST };
extern const char *const flood_names[]; /* NULL-terminated */

struct prober_conf {
	uint16_t port; /* UDP; 0: machines are not checked */
	/* From a change to when machines are asked; how long they have for their answers; when
	 * something lacked, until they are asked again. 0: what is usual. */
	int64_t settle_msec, round_msec, again_msec;
};

struct netenv {
	struct kv *kv;
	struct keys keys;
	char *host;
	struct underlay_if underlay;
	enum flood_kind flood;
	struct strv prefixes;		  /* pools for /64s: "2001:db8::/48" */
	const struct router_conf *router; /* borrowed */
	int64_t resync_sec, linger_sec, lease_ttl_sec;
	struct cache *networks;	 /* struct network, by uuid; parsed */
	struct cache *ports;	 /* values as text, "<network uuid>/<mac>" */
	struct cache *underlays; /* struct underlay, by host */
	struct ctl *links;	 /* the one key LINKS_KEY: look at all interfaces */
	struct prober *prober;	 /* prober.h; NULL: there is none */
	/* Whoever has many steps to take looks at it before each: what is left is done by the
	 * next process. */
	atomic_bool is_stopping;
};

#define LINKS_KEY "links"

/* Interfaces and filters are looked at again, soon. Any thread. */
void netenv_look(struct netenv *env);

struct role_ops {
	const char *name; /* "host", "router" */
	/* Env outlives it. Nothing of it runs before start(). */
	void *(*open)(struct netenv *env);
	void (*start)(void *role);
	/* Adds what it wants now. False: it does not know everything yet, so nothing that is
	 * there may go, nor the filters change. */
	bool (*want)(void *role, struct wanted *w);
	/* Networks were made ready, or found so, as `w` has them; on the links' thread. May be
	 * NULL. */
	int (*settle)(void *role, const struct wanted *w, struct err *e);
	int (*health)(void *role, struct err *e);
	/* False: something hangs, nothing that it uses may be freed. */
	bool (*stop)(void *role);
	void (*close)(void *role);
};

extern const struct role_ops host_role, router_role;
/* NULL-terminated: the roles there are. */
extern const struct role_ops *const roles[];

#endif
