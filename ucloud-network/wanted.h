/*
 * What must be on this machine: networks, and the interfaces of VMs in them with what they may
 * send. Each role adds what it wants; plan.h makes links of it, filter.h rules. Pure.
 */
#ifndef UCLOUD_NETWORK_WANTED_H
#define UCLOUD_NETWORK_WANTED_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/model/network.h"
#include "common/model/vm.h"

struct want_net {
	int64_t vni;
	char *uuid;
	int64_t mtu; /* of VXLAN and bridge */
	/* The machine routes it: its bridge speaks IPv6. Else nobody reaches the machine. */
	bool is_routed;
	struct strv roles; /* who wants it */
	char *problem;	   /* why it cannot be made; NULL: it can */
};

/* A VM's interface: its tap, and what may come out of it. */
struct want_port {
	char tap[NETWORK_NAME_SIZE];
	unsigned char mac[6];
	int64_t vni;
	bool is_open; /* only the MAC is looked at */
	/* The first 8 bytes of addresses that it may send from, and those that it may say it
	 * has (neighbour advertisements): the first n_targets. */
	struct in6_addr prefixes[VM_NICS_MAX + 1];
	size_t n_prefixes, n_targets;
	/* Addresses that are kept for it: of all its VM's interfaces. */
	struct in6_addr own[2 * VM_NICS_MAX];
	size_t n_own;
	int64_t rate_mbit; /* 0: no limit */
	/* From outside only what `ingress` says may begin: "tcp/22", "udp/53", "icmpv6". */
	bool is_closed;
	struct strv ingress;
};

struct wanted {
	struct want_net *nets; /* by vni */
	size_t n_nets;
	struct want_port *ports; /* by tap */
	size_t n_ports;
	/* Addresses in these networks that are kept for somebody: nobody else may use them. */
	struct in6_addr *taken; /* sorted, each once */
	size_t n_taken;
	/* Machines that carry networks: VMs may send them no VXLAN frames. */
	struct in6_addr *underlays; /* sorted, each once */
	size_t n_underlays;
	/* This machine's own: where others send VXLAN frames to. "::": not known. */
	struct in6_addr underlay;
};

void wanted_done(struct wanted *w);

/*
 * Adds a network, or the role to one that is there. underlay_mtu is that of the interface
 * that carries it. A network without an id (yet) is not added; one whose MTU is too large for
 * the underlay is added with the problem.
 */
void wanted_add_net(struct wanted *w, const struct network *n, const char *role,
	bool is_routed, int64_t underlay_mtu);
/* NULL: there is none. */
const struct want_net *wanted_find_net(const struct wanted *w, int64_t vni);

/* Finds a network by uuid; NULL: it is not there (yet), or invalid. */
typedef const struct network *wanted_find_fn(void *aux, const char *uuid);
/* The networks and ports of a VM that is placed here. */
void wanted_add_vm(struct wanted *w, const struct vm *vm, int64_t underlay_mtu,
	wanted_find_fn *find, void *aux);
/* An interface of any VM in a network: its address (may be "") and the link-local one that
 * follows from its MAC are kept for it. What is no MAC or address is passed over. */
void wanted_add_taken(struct wanted *w, const char *mac, const char *address);
/* The router's addresses in a network. */
void wanted_add_router(struct wanted *w, const struct network *n);
void wanted_add_underlay(struct wanted *w, const char *address);
/* Sorts: once, when everything was added. */
void wanted_sort(struct wanted *w);

/* fe80:: and the modified EUI-64 of the MAC (RFC 4291, appendix A). */
struct in6_addr wanted_link_local(const unsigned char mac[6]);

#endif
