/*
 * From the networks that are wanted and the interfaces that are there to the steps between:
 * pure. link.h carries them out. Steps of one network are in order; when one fails, the
 * network's others make no sense, those of other networks do.
 *
 * An interface is ours when it has a name of ours, the kind that belongs to it, and our device
 * group, which it is given in the same step that makes it: so no crash leaves one behind that
 * nobody knows, and what somebody else made is never touched, whatever its name.
 *
 * The bridge's alias is set last; what has to be mended later is mended under it, while VMs
 * run.
 */
#ifndef UCLOUD_NETWORK_PLAN_H
#define UCLOUD_NETWORK_PLAN_H

#include "ucloud-network/wanted.h"

/* The device group (ip link ... group) of all interfaces that we make. */
#define PLAN_GROUP 30145

enum link_kind { LINK_OTHER, LINK_VXLAN, LINK_BRIDGE };

/* An interface that is there. */
struct link {
	int index;
	char name[NETWORK_NAME_SIZE];
	enum link_kind kind;
	int64_t group;
	int64_t mtu;
	int master; /* index, 0 none */
	bool is_up;
	char *alias; /* NULL none */
	unsigned char mac[6];
	/* IPv6 as the kernel does it there: none at all, or without router advertisements. */
	bool is_ipv6_off, is_ra_off;
	/* LINK_VXLAN */
	int64_t vni;
	struct in6_addr flood_to; /* group; all zero: none */
	struct in6_addr local;
	int lower; /* index of the interface below */
	int port;
	/* LINK_BRIDGE: no snooping of multicasts, no spanning tree, no delay */
	bool is_plain;
};

struct links {
	struct link *v;
	size_t len;
};
void links_done(struct links *l);
const struct link *links_find(const struct links *l, const char *name);
/* The only kind of names that are ours: "ucb<id>", "ucv<id>". The id, 0 for others. */
int64_t plan_vni_of(const char *name, const char *prefix);

/* Networks that nobody wants any more, since when. Valid when zeroed. */
struct plan_idle {
	struct plan_since {
		int64_t vni, since_msec;
	} * v;
	size_t len;
};
void plan_idle_done(struct plan_idle *idle);

struct plan_conf {
	int underlay; /* index of the interface that carries all */
	struct in6_addr local;
	bool is_unicast; /* no groups: every frame that floods goes to a list of machines */
	int64_t linger_msec; /* a network stays that long after its last use */
	const char *host;    /* of its bridges' MACs */
};

enum step_kind {
	STEP_DEL,
	STEP_ADD_BRIDGE, /* mtu, mac */
	STEP_ADD_VXLAN,	 /* vni, mtu, flood_to */
	STEP_PLAIN,	 /* a bridge's settings */
	STEP_IPV6,	 /* is_on: without router advertisements; else none at all */
	STEP_MTU,
	STEP_MASTER, /* of the VXLAN, or of a tap that lost its bridge: master */
	STEP_UP,
	STEP_ALIAS,
	N_STEPS
};
extern const char *const step_names[];

struct step {
	enum step_kind kind;
	int64_t vni;
	char name[NETWORK_NAME_SIZE];
	char master[NETWORK_NAME_SIZE];
	int64_t mtu;
	bool is_on;
	char alias[64];
	unsigned char mac[6];
	struct in6_addr flood_to;
};

struct plan {
	struct step *steps;
	size_t len;
	/* Of networks that cannot be made: the problem, the caller's. */
	struct plan_problem {
		int64_t vni;
		char *text;
	} * problems;
	size_t n_problems;
	int64_t next_msec; /* look again then, because a network may go; -1 never */
};
void plan_done(struct plan *p);
const char *plan_problem_of(const struct plan *p, int64_t vni); /* NULL none */

/* now_msec is monotonic. `may_remove`: is `w` everything that is wanted? */
void plan_links(const struct wanted *w, const struct links *there,
	const struct plan_conf *conf, bool may_remove, int64_t now_msec,
	struct plan_idle *idle, struct plan *out);
/* A bridge's MAC: of our own range, the same at each start, another one on each machine.
 * Hosts know by it which link-local addresses are routers' (02:75:c1:...). */
void plan_bridge_mac(const char *host, int64_t vni, unsigned char mac[6]);

#endif
