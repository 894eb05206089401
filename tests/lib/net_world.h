/*
 * A machine for tests of ucloud-network: a network namespace of its own, with an underlay
 * interface "eth0" (fd00:10::1), and an etcd in memory. The main thread only.
 */
#ifndef UCLOUD_NET_WORLD_H
#define UCLOUD_NET_WORLD_H

#include "common/store/kv_fake.h"
#include "ucloud-network/link.h"
#include "ucloud-network/netd.h"

struct net_world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv; /* the test's and the daemon's */
	struct keys keys;
	struct strv roles;
	struct link_conn *conn;
	struct netd *netd;
	struct prober_conf check; /* of a daemon that is run from now on */
	/* Of VMs that are added from now on. */
	const char *host;    /* where they are placed; NULL: "h1" */
	const char *ingress; /* closed but for that; NULL: open */
	int64_t rate_mbit;
};

/* Once, before any thread: the program moves into a new network namespace, which goes with
 * it. Skips the program when it may not, or the kernel cannot. */
void net_world_enter(void);
void net_world_start(struct net_world *w);
void net_world_stop(struct net_world *w);
/* The daemon alone. */
void net_world_run(struct net_world *w, int64_t linger_sec, enum flood_kind flood);
void net_world_halt(struct net_world *w);

/* "ip ..." in the namespace; fails the test when it does. */
void net_world_ip(const char *args);
void net_world_put(struct net_world *w, const char *key, const char *value);
void net_world_del(struct net_world *w, const char *key);
/* The value, the caller's; NULL: there is none. */
char *net_world_get(struct net_world *w, const char *key);

/* Network number n has that id, the uuid 00000000-0000-4000-8000-<n>, and the prefix
 * 2001:db8:0:<n>::/64. */
void net_world_add_net(struct net_world *w, int n, const char *ipam);
/* VM number v, placed, with interfaces in networks first to first + n - 1; their MACs
 * are 52:54:00:<v>:<network, two bytes>. */
void net_world_add_vm(struct net_world *w, int v, int first, int n);
void net_world_del_vm(struct net_world *w, int v);

/* Is (or is not) network n ready within the time? */
bool net_world_wait_ready(struct net_world *w, int n, bool is_ready, int64_t limit_msec);
bool net_world_is_ready(struct net_world *w, int n);
/* Its index; 0: there is no such interface. */
int net_world_index(struct net_world *w, const char *name);

#endif
