/*
 * The port filters: which frames VMs may send and get, as an nftables table of the bridge family.
 * Pure text, which nft.h loads in one transaction.
 *
 * The rules are always the same; what differs is in sets and maps: so a frame costs a few
 * lookups, however many VMs there are: from an address that is kept for its VM two, or four
 * from another one. Only what VMs that are closed or have a rate get is looked at before it
 * gets there, and that hook is not there without such VMs. A tap of ours ("uct...") that is in no set passes nothing: the
 * filter is in force before the tap exists. Frames from VMs end at the bridge: the machine
 * itself hears of them only where it routes the network, and then only IPv6.
 *
 * A second table, of the ip6 family, is for what the machine itself gets, and for VMs that are
 * closed, since the bridge family knows no connections: frames get there when br_netfilter is
 * there and on. Only what such VMs
 * send and get is tracked. A rate is kept by dropping what is above it, with the kernel's
 * burst of a second of it and some more.
 */
#ifndef UCLOUD_NETWORK_FILTER_H
#define UCLOUD_NETWORK_FILTER_H

#include "ucloud-network/wanted.h"

#define FILTER_TABLE "ucloud"

/* Why a frame was dropped: names of counters, and the metric's label. */
enum filter_reason {
	FILTER_NO_PORT,	   /* from a tap that has no filter (yet) */
	FILTER_MAC,	   /* not from its own MAC */
	FILTER_PROTOCOL,   /* neither IPv6 nor RARP */
	FILTER_HIDDEN,	   /* a fragment that does not tell what it is */
	FILTER_SOURCE,	   /* an address outside its prefixes */
	FILTER_TAKEN,	   /* an address that is kept for another one, or a router's */
	FILTER_ROUTER,	   /* router advertisement or redirect */
	FILTER_NEIGHBOUR,  /* says it has an address that it may not have */
	FILTER_DHCP,	   /* as a DHCPv6 server */
	FILTER_VXLAN,	   /* a VXLAN frame to a machine of ours */
	FILTER_TO_MACHINE, /* to this machine */
	FILTER_CLOSED,	   /* to a VM that did not ask for it */
	FILTER_RATE,	   /* above its rate */
	FILTER_N_REASONS
};
extern const char *const filter_reason_names[];

struct filter_counts {
	uint64_t packets[FILTER_N_REASONS], bytes[FILTER_N_REASONS];
};

/* The whole table, replacing the one that may be there; its counters begin at `counts` (NULL:
 * 0). w must be sorted. */
void filter_text(
	const struct wanted *w, const struct filter_counts *counts, struct buf *out);

/* Does it need br_netfilter? */
bool filter_has_closed(const struct wanted *w);

/* Adds the counters out of `nft -j list counters table ...` to *io. */
int filter_counts_parse(
	const char *json, size_t size, struct filter_counts *io, struct err *e) MUST_USE;

#endif
