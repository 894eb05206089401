#include "ucloud-network/filter.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

#include "common/base/jtab.h"
#include "ucloud-network/filter_impl.h"

const char *const filter_reason_names[] = {
	[FILTER_NO_PORT] = "no_port",
	[FILTER_MAC] = "mac",
	[FILTER_PROTOCOL] = "protocol",
	[FILTER_HIDDEN] = "hidden",
	[FILTER_SOURCE] = "source",
	[FILTER_TAKEN] = "taken",
	[FILTER_ROUTER] = "router",
	[FILTER_NEIGHBOUR] = "neighbour",
	[FILTER_DHCP] = "dhcp",
	[FILTER_VXLAN] = "vxlan",
	[FILTER_TO_MACHINE] = "to_machine",
	[FILTER_CLOSED] = "closed",
	[FILTER_RATE] = "rate",
	NULL,
};

/* ---------------------------------------------------------------- sets */

void filter_set_begin(
	struct buf *out, const char *what, const char *name, const char *type)
{
	buf_addf(out, "\t%s %s {\n\t\t%s\n", what, name, type);
}

/* *n counts the elements so far. */
void filter_element(struct buf *out, size_t *n)
{
	buf_add_str(out, (*n)++ == 0 ? "\t\telements = {\n\t\t\t" : ",\n\t\t\t");
}

void filter_set_end(struct buf *out, size_t n)
{
	buf_add_str(out, n > 0 ? "\n\t\t}\n\t}\n" : "\t}\n");
}

/* The first `size` bytes as the number that nft compares raw payload with. */
static void add_number(struct buf *out, const struct in6_addr *a, size_t size)
{
	buf_add_str(out, "0x");
	for (size_t i = 0; i < size; i++)
		buf_addf(out, "%02x", a->s6_addr[i]);
}

/* Where frames go that come from a port's own MAC: behind the chains. */
static void add_ports(const struct wanted *w, struct buf *out)
{
	size_t n = 0;

	filter_set_begin(out, "map", "ports", "type ifname . ether_addr : verdict");
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct want_port *p = &w->ports[i];
		const unsigned char *m = p->mac;

		filter_element(out, &n);
		buf_addf(out, "\"%s\" . %02x:%02x:%02x:%02x:%02x:%02x : %s", p->tap, m[0],
			m[1], m[2], m[3], m[4], m[5],
			p->rate_mbit > 0 ? "goto rated"
			: p->is_open	 ? "accept"
					 : "goto addressed");
	}
	filter_set_end(out, n);
}

/* Only what it may send from: it is not looked at any further. */
static bool is_source(const struct want_port *p, const struct in6_addr *a)
{
	static const unsigned char router[] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x75,
		0xc1, 0xff, 0xfe };
	bool is_in = false;

	for (size_t i = 0; i < p->n_prefixes; i++)
		is_in |= memcmp(&p->prefixes[i], a, 8) == 0;
	return is_in && memcmp(a, router, sizeof(router)) != 0;
}

static void add_usual_of(const struct want_port *p, const struct in6_addr *address,
	size_t *n, struct buf *out)
{
	static const struct {
		int next_header;
		const char *verdict;
	} ways[] = { { 6, "accept" }, { 17, "goto from_udp" },
		{ 58, "goto from_icmpv6" } };
	const unsigned char *m = p->mac;

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		filter_element(out, n);
		buf_addf(out, "\"%s\" . 0x%02x%02x%02x%02x%02x%02x86dd . %d . ", p->tap,
			m[0], m[1], m[2], m[3], m[4], m[5], ways[i].next_header);
		add_number(out, address, 16);
		buf_addf(out, " : %s", ways[i].verdict);
	}
}

/* What nearly all frames are: IPv6 from a port's own MAC and an address that is kept for its VM,
 * without extension headers: what "ports", "addressed" and "content" say of it, in one lookup. */
static void add_usual(const struct wanted *w, struct buf *out)
{
	size_t n = 0;

	filter_set_begin(out, "map", "usual",
		"typeof iifname . @ll,48,64 . @nh,48,8 . @nh,64,128 : verdict");
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct want_port *p = &w->ports[i];

		for (size_t k = 0; !p->is_open && p->rate_mbit <= 0 && k < p->n_own; k++)
			if (is_source(p, &p->own[k]))
				add_usual_of(p, &p->own[k], &n, out);
	}
	filter_set_end(out, n);
}

static void add_taps(
	const struct wanted *w, struct buf *out, const char *name, bool is_open)
{
	size_t n = 0;

	filter_set_begin(out, "set", name, "type ifname");
	for (size_t i = 0; i < w->n_ports; i++) {
		if (is_open && !w->ports[i].is_open)
			continue;
		filter_element(out, &n);
		buf_addf(out, "\"%s\"", w->ports[i].tap);
	}
	filter_set_end(out, n);
}

static void add_prefixes(
	const struct wanted *w, struct buf *out, const char *name, bool is_target)
{
	size_t n = 0;

	filter_set_begin(out, "set", name, "typeof iifname . @nh,64,64");
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct want_port *p = &w->ports[i];
		size_t len = is_target ? p->n_targets : p->n_prefixes;

		for (size_t k = 0; !p->is_open && k < len; k++) {
			filter_element(out, &n);
			buf_addf(out, "\"%s\" . ", p->tap);
			add_number(out, &p->prefixes[k], 8);
		}
	}
	filter_set_end(out, n);
}

static void add_own(const struct wanted *w, struct buf *out)
{
	size_t n = 0;

	filter_set_begin(out, "set", "own", "typeof iifname . @nh,64,128");
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct want_port *p = &w->ports[i];

		for (size_t k = 0; !p->is_open && k < p->n_own; k++) {
			if (!is_source(p, &p->own[k]))
				continue;
			filter_element(out, &n);
			buf_addf(out, "\"%s\" . ", p->tap);
			add_number(out, &p->own[k], 16);
		}
	}
	filter_set_end(out, n);
}

static void add_addresses(
	struct buf *out, const char *name, const struct in6_addr *v, size_t len)
{
	size_t n = 0;

	filter_set_begin(out, "set", name, "typeof @nh,64,128");
	for (size_t i = 0; i < len; i++) {
		filter_element(out, &n);
		add_number(out, &v[i], 16);
	}
	filter_set_end(out, n);
}

/* Ports of bridges that this machine routes. */
static void add_routed(const struct wanted *w, struct buf *out)
{
	char name[NETWORK_NAME_SIZE];
	size_t n = 0;

	filter_set_begin(out, "set", "routed", "type ifname");
	for (size_t i = 0; i < w->n_nets; i++) {
		if (!w->nets[i].is_routed)
			continue;
		network_vxlan_name(w->nets[i].vni, name);
		filter_element(out, &n);
		buf_addf(out, "\"%s\"", name);
		for (size_t k = 0; k < w->n_ports; k++)
			if (w->ports[k].vni == w->nets[i].vni) {
				filter_element(out, &n);
				buf_addf(out, "\"%s\"", w->ports[k].tap);
			}
	}
	filter_set_end(out, n);
}

/* ---------------------------------------------------------------- rules */

/*
 * What VMs usually send takes the fewest steps: the map "usual" knows tap, MAC, protocol and
 * address in one lookup; of what is not in it, "ports" knows tap and MAC, "own" tap and address;
 * what is left to look at depends on the protocol.
 *
 * 02:75:c1 are the MACs of routers (plan_bridge_mac()), fe80::75:c1ff:fe.. their link-local
 * addresses. "::" may only look whether an address is free that the VM may have (else it could
 * keep others from theirs), and ask for routers and groups. RARP (0x8035) is how QEMU says where
 * a guest went. DHCPv6 clients listen on 546, and do not care from which port (RFC 7610).
 *
 * Behind extension headers nft finds what follows by itself; but in fragments it may be in
 * another one, or written over by it. So nothing passes that is not told by its first fragment
 * at once (RFC 7112), nor neighbour discovery in fragments (RFC 6980).
 *
 * Behind "meta l4proto" and such ports are read raw, since nft would have the protocol looked
 * at again. What cannot be read does not match: "!= 255" is anything that can be.
 */
static const char rules[] =
	"	chain to_dhcp_client {\n"
	"		counter name dhcp drop\n"
	"	}\n"
	"	chain to_vxlan {\n"
	"		@nh,192,128 @underlays counter name vxlan drop\n"
	"	}\n"
	"	chain from_udp {\n"
	"		@th,0,16 547 counter name dhcp drop\n"
	"		@th,16,16 vmap { 546 : goto to_dhcp_client, 4789 : goto to_vxlan "
	"}\n"
	"	}\n"
	"	chain neighbour {\n"
	"		iifname . @th,64,64 != @targets counter name neighbour drop\n"
	"		@th,64,104 0xfe800000000000000075c1fffe counter name neighbour "
	"drop\n"
	"		iifname . @th,64,128 != @own @th,64,128 @taken counter name "
	"neighbour "
	"drop\n"
	"	}\n"
	"	chain from_icmpv6 {\n"
	"		icmpv6 type { nd-router-advert, nd-redirect } counter name "
	"router drop\n"
	"		icmpv6 type nd-neighbor-advert goto neighbour\n"
	"	}\n"
	"	chain wrapped {\n"
	"		frag nexthdr { 0, 43, 44, 51, 60, 135, 139, 140 } counter name "
	"hidden drop\n"
	"		exthdr frag exists icmpv6 type { nd-router-solicit, "
	"nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } "
	"counter name hidden drop\n"
	"		meta l4proto vmap { udp : goto from_udp, ipv6-icmp : goto "
	"from_icmpv6 }\n"
	"		meta l4proto != 255 accept\n"
	"		counter name hidden drop\n"
	"	}\n"
	"	chain content {\n"
	"		@nh,48,8 vmap { 6 : accept, 17 : goto from_udp, 58 : goto "
	"from_icmpv6 }\n"
	"		goto wrapped\n"
	"	}\n"
	"	chain homeless {\n"
	"		@nh,64,128 != 0 counter name source drop\n"
	"		exthdr frag exists counter name hidden drop\n"
	"		icmpv6 type nd-neighbor-solicit goto neighbour\n"
	"		icmpv6 type { nd-router-solicit, mld-listener-report, "
	"mld2-listener-report } accept\n"
	"		counter name source drop\n"
	"	}\n"
	"	chain other {\n"
	"		ether type 0x8035 accept\n"
	"		counter name protocol drop\n"
	"	}\n"
	"	chain addressed {\n"
	"		ether type != ip6 goto other\n"
	"		iifname . @nh,64,128 @own goto content\n"
	"		iifname . @nh,64,64 != @sources goto homeless\n"
	"		@nh,64,104 0xfe800000000000000075c1fffe counter name taken drop\n"
	"		@nh,64,128 @taken counter name taken drop\n"
	"		goto content\n"
	"	}\n"
	"	chain rated {\n"
	"		limit name iifname map @rates_from counter name rate drop\n"
	"		iifname @open accept\n"
	"		goto addressed\n"
	"	}\n";

static const char hooks[] =
	"	chain from {\n"
	"		type filter hook prerouting priority -300; policy accept;\n"
	"		iifname != \"uct*\" accept\n"
	"		iifname . @ll,48,64 . @nh,48,8 . @nh,64,128 vmap @usual\n"
	"		iifname . ether saddr vmap @ports\n"
	"		iifname @taps counter name mac drop\n"
	"		counter name no_port drop\n"
	"	}\n"
	"	chain machine {\n"
	"		type filter hook input priority -300; policy accept;\n"
	"		ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter "
	"name to_machine drop\n"
	"		iifname @routed ether type ip6 accept\n"
	"		iifname { \"uct*\", \"ucv*\" } counter name to_machine drop\n"
	"	}\n";

/*
 * The machine itself takes VXLAN only from machines: under the address that they know. Else a VM
 * could write into any network through the address of its router. Taps and VXLANs are ports of
 * bridges; one that is not (any more) is no way in. The first rule says nothing that the others do
 * not say: it is for nearly all that machines send each other, which so is let in at once.
 */
static void add_machine(const struct wanted *w, struct buf *out)
{
	static const struct in6_addr none;
	bool has_underlay = memcmp(&w->underlay, &none, sizeof(none)) != 0;
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &w->underlay, text, sizeof(text));
	buf_add_str(out, "	counter vxlan { packets 0 bytes 0 }\n"
			 "	counter to_machine { packets 0 bytes 0 }\n"
			 "	chain machine {\n"
			 "		type filter hook input priority -300; policy "
			 "accept;\n");
	if (has_underlay)
		buf_addf(out, "		ip6 daddr %s iifname != \"uc*\" accept\n", text);
	buf_add_str(out,
		"		iifname { \"uct*\", \"ucv*\" } counter name "
		"to_machine drop\n"
		"		iifname \"ucb*\" udp dport 4789 counter name vxlan "
		"drop\n");
	if (has_underlay)
		buf_addf(out,
			"		ip6 daddr != { %s, ff00::/8 } udp dport 4789 "
			"counter name vxlan drop\n",
			text);
	buf_add_str(out, "	}\n");
}

static void add_counters(const struct filter_counts *counts, struct buf *out)
{
	for (size_t i = 0; i < FILTER_N_REASONS; i++)
		buf_addf(out, "\tcounter %s { packets %ju bytes %ju }\n",
			filter_reason_names[i],
			counts ? (uintmax_t)counts->packets[i] : 0,
			counts ? (uintmax_t)counts->bytes[i] : 0);
}

void filter_text(
	const struct wanted *w, const struct filter_counts *counts, struct buf *out)
{
	buf_add_str(out, "add table bridge " FILTER_TABLE "\n"
			 "delete table bridge " FILTER_TABLE "\n"
			 "table bridge " FILTER_TABLE " {\n");
	add_counters(counts, out);
	add_taps(w, out, "taps", false);
	add_taps(w, out, "open", true);
	add_prefixes(w, out, "sources", false);
	add_prefixes(w, out, "targets", true);
	add_own(w, out);
	add_addresses(out, "taken", w->taken, w->n_taken);
	add_addresses(out, "underlays", w->underlays, w->n_underlays);
	add_routed(w, out);
	filter_add_rates(w, out);
	buf_add_str(out, rules);
	filter_add_to(w, out);
	add_usual(w, out);
	add_ports(w, out);
	buf_add_str(out, hooks);
	buf_add_str(out, "}\n"
			 "add table ip6 " FILTER_TABLE "\n"
			 "delete table ip6 " FILTER_TABLE "\n"
			 "table ip6 " FILTER_TABLE " {\n");
	add_machine(w, out);
	filter_add_closed(w, out);
	buf_add_str(out, "}\n");
}

/* ---------------------------------------------------------------- counters */

int filter_counts_parse(
	const char *json, size_t size, struct filter_counts *io, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *tree = NULL;
	json_t *item;
	size_t i;

	if (json_parse(json, size, &tree, e) < 0)
		return err_wrap(e, "counters of nftables");
	json_array_foreach (json_object_get(tree, "nftables"), i, item) {
		json_t *counter = json_object_get(item, "counter");
		const char *name = json_string_value(json_object_get(counter, "name"));
		int which = name ? names_find(filter_reason_names, name) : -1;

		if (which < 0)
			continue;
		io->packets[which] +=
			(uint64_t)json_integer_value(json_object_get(counter, "packets"));
		io->bytes[which] +=
			(uint64_t)json_integer_value(json_object_get(counter, "bytes"));
	}
	return 0;
}
