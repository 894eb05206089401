#include <arpa/inet.h>
#include <string.h>

#include "ucloud-network/filter_impl.h"

/* ---------------------------------------------------------------- rates */

#define BURST_MIN_KBYTES 256 /* some frames as large as they come from a tap (GSO) */

/* The rate is in the name: the kernel does not change the one of a limit that is there. */
static char *limit_name(const char *way, const struct want_port *p)
{
	return xasprintf("%s_%s_%jd", way, p->tap, (intmax_t)p->rate_mbit);
}

static void add_limits(const struct want_port *p, struct buf *out)
{
	int64_t kbytes = p->rate_mbit * 125;
	int64_t burst = kbytes / 10 > BURST_MIN_KBYTES ? kbytes / 10 : BURST_MIN_KBYTES;

	for (int k = 0; k < 2; k++) {
		CLEANUP_STR char *name = limit_name(k == 0 ? "from" : "to", p);

		buf_addf(out,
			"\tlimit %s { rate over %jd kbytes/second burst %jd kbytes }\n",
			name, (intmax_t)kbytes, (intmax_t)burst);
	}
}

static void add_rate_map(const struct wanted *w, const char *way, struct buf *out)
{
	CLEANUP_STR char *name = xasprintf("rates_%s", way);
	size_t n = 0;

	filter_set_begin(out, "map", name, "type ifname : limit");
	for (size_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].rate_mbit > 0) {
			CLEANUP_STR char *limit = limit_name(way, &w->ports[i]);

			filter_element(out, &n);
			buf_addf(out, "\"%s\" : \"%s\"", w->ports[i].tap, limit);
		}
	filter_set_end(out, n);
}

void filter_add_rates(const struct wanted *w, struct buf *out)
{
	for (size_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].rate_mbit > 0)
			add_limits(&w->ports[i], out);
	add_rate_map(w, "from", out);
	add_rate_map(w, "to", out);
}

bool filter_has_closed(const struct wanted *w)
{
	for (size_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].is_closed)
			return true;
	return false;
}

/* ---------------------------------------------------------------- to VMs */

static void add_closed_taps(const struct wanted *w, struct buf *out)
{
	size_t n = 0;

	filter_set_begin(out, "set", "closed_taps", "type ifname");
	for (size_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].is_closed) {
			filter_element(out, &n);
			buf_addf(out, "\"%s\"", w->ports[i].tap);
		}
	filter_set_end(out, n);
}

/* A closed VM hears no groups but for the sake of IPv6 itself. */
static const char to_rules[] =
	"	chain to_closed {\n"
	"		ether type != { ip6, 0x8035 } counter name closed drop\n"
	"		@ll,7,1 1 meta l4proto != ipv6-icmp counter name closed drop\n"
	"	}\n"
	"	chain to_rated {\n"
	"		limit name oifname map @rates_to counter name rate drop\n"
	"		oifname @closed_taps goto to_closed\n"
	"	}\n";

static void add_to_map(const struct wanted *w, struct buf *out)
{
	size_t n = 0;

	filter_set_begin(out, "map", "ways_to", "type ifname : verdict");
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct want_port *p = &w->ports[i];

		if (p->rate_mbit <= 0 && !p->is_closed)
			continue;
		filter_element(out, &n);
		buf_addf(out, "\"%s\" : goto %s", p->tap,
			p->rate_mbit > 0 ? "to_rated" : "to_closed");
	}
	filter_set_end(out, n);
}

void filter_add_to(const struct wanted *w, struct buf *out)
{
	bool is_needed = false;

	for (size_t i = 0; i < w->n_ports; i++)
		is_needed |= w->ports[i].rate_mbit > 0 || w->ports[i].is_closed;
	if (!is_needed)
		return;
	add_closed_taps(w, out);
	buf_add_str(out, to_rules);
	add_to_map(w, out);
	buf_add_str(out, "	chain to {\n"
			 "		type filter hook postrouting priority 300; "
			 "policy accept;\n"
			 "		oifname vmap @ways_to\n"
			 "	}\n");
}

/* ---------------------------------------------------------------- closed VMs */

static void add_mac(
	const struct want_port *p, const char *suffix, size_t *n, struct buf *out)
{
	filter_element(out, n);
	buf_addf(out, "%02x:%02x:%02x:%02x:%02x:%02x%s", p->mac[0], p->mac[1], p->mac[2],
		p->mac[3], p->mac[4], p->mac[5], suffix);
}

/* An address is of all of its VM's interfaces: the first one's is enough. */
static bool was_before(const struct wanted *w, size_t port, const struct in6_addr *a)
{
	for (size_t i = 0; i < port; i++)
		for (size_t k = 0; w->ports[i].is_closed && k < w->ports[i].n_own; k++)
			if (memcmp(&w->ports[i].own[k], a, sizeof(*a)) == 0)
				return true;
	return false;
}

static void add_own(const struct wanted *w, size_t port, const char *suffix, size_t *n,
	struct buf *out)
{
	const struct want_port *p = &w->ports[port];
	char text[INET6_ADDRSTRLEN];

	for (size_t k = 0; k < p->n_own; k++)
		if (!was_before(w, port, &p->own[k])) {
			filter_element(out, n);
			buf_addf(out, "%s%s",
				inet_ntop(AF_INET6, &p->own[k], text, sizeof(text)),
				suffix);
		}
}

/* Which closed VMs: by MAC for what is bridged to them, by address for what this machine routes
 * to them. */
struct closed_set {
	const char *name;
	const char *
		proto; /* "tcp", "udp": with ports; "icmpv6": who lets it in; NULL: all */
	bool is_by_mac, has_port;
};

static const struct closed_set closed_sets[] = {
	{ "closed", NULL, true, false },
	{ "tcp_ports", "tcp", true, true },
	{ "udp_ports", "udp", true, true },
	{ "pings", "icmpv6", true, false },
	{ "closed_to", NULL, false, false },
	{ "tcp_ports_to", "tcp", false, true },
	{ "udp_ports_to", "udp", false, true },
	{ "pings_to", "icmpv6", false, false },
};

/* " . 22" of "tcp/22", "" of "icmpv6"; NULL: this line is not about it. The caller's. */
static char *suffix_of(const struct closed_set *s, const char *line)
{
	size_t len = s->proto ? strlen(s->proto) : 0;

	if (!s->has_port)
		return !s->proto || str_eq(line, s->proto) ? xstrdup("") : NULL;
	if (!s->proto || strncmp(line, s->proto, len) != 0 || line[len] != '/')
		return NULL;
	return xasprintf(" . %s", line + len + 1);
}

static void add_closed_port(const struct wanted *w, size_t port,
	const struct closed_set *s, size_t *n, struct buf *out)
{
	const struct want_port *p = &w->ports[port];
	size_t n_lines = s->proto ? p->ingress.len : 1;

	for (size_t k = 0; k < n_lines; k++) {
		CLEANUP_STR char *suffix = suffix_of(s, s->proto ? p->ingress.v[k] : "");

		if (suffix && s->is_by_mac)
			add_mac(p, suffix, n, out);
		else if (suffix)
			add_own(w, port, suffix, n, out);
	}
}

static void add_closed_set(
	const struct wanted *w, const struct closed_set *s, struct buf *out)
{
	CLEANUP_STR char *type =
		xasprintf("type %s%s", s->is_by_mac ? "ether_addr" : "ipv6_addr",
			s->has_port ? " . inet_service" : "");
	size_t n = 0;

	filter_set_begin(out, "set", s->name, type);
	for (size_t i = 0; i < w->n_ports; i++)
		if (w->ports[i].is_closed)
			add_closed_port(w, i, s, &n, out);
	filter_set_end(out, n);
}

/* What answers, what tells of errors, and what finds neighbours and routers always may. What
 * no closed VM sends or gets is not tracked. */
static const char rules[] =
	"	chain begin {\n"
	"		type filter hook prerouting priority -300; policy accept;\n"
	"		iifname \"ucb*\" ether saddr != @closed ether daddr != @closed "
	"ip6 saddr "
	"!= @closed_to ip6 daddr != @closed_to notrack\n"
	"	}\n"
	"	chain forward {\n"
	"		type filter hook forward priority 0; policy accept;\n"
	"		oifname != \"ucb*\" accept\n"
	"		iifname \"ucb*\" ether daddr @closed jump bridged\n"
	"		ip6 daddr @closed_to jump routed\n"
	"	}\n"
	"	chain always {\n"
	"		ct state established,related accept\n"
	"		icmpv6 type { destination-unreachable, packet-too-big, "
	"time-exceeded, "
	"parameter-problem, mld-listener-query, nd-router-advert, nd-neighbor-solicit, "
	"nd-neighbor-advert } accept\n"
	"	}\n"
	"	chain bridged {\n"
	"		jump always\n"
	"		ether daddr . tcp dport @tcp_ports accept\n"
	"		ether daddr . udp dport @udp_ports accept\n"
	"		ether daddr @pings meta l4proto ipv6-icmp accept\n"
	"		counter name closed drop\n"
	"	}\n"
	"	chain routed {\n"
	"		jump always\n"
	"		ip6 daddr . tcp dport @tcp_ports_to accept\n"
	"		ip6 daddr . udp dport @udp_ports_to accept\n"
	"		ip6 daddr @pings_to meta l4proto ipv6-icmp accept\n"
	"		counter name closed drop\n"
	"	}\n";

void filter_add_closed(const struct wanted *w, struct buf *out)
{
	if (!filter_has_closed(w))
		return;
	buf_add_str(out, "\tcounter closed { packets 0 bytes 0 }\n");
	for (size_t i = 0; i < ARRAY_LEN(closed_sets); i++)
		add_closed_set(w, &closed_sets[i], out);
	buf_add_str(out, rules);
}
