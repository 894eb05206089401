#include "ucloud-network/radvd.h"

#include <arpa/inet.h>

#include "common/model/names.h"
#include "common/model/network.h"

/*
 * Guests ask when they come up, and are answered at once: what comes without being asked for
 * is for those that did not hear it. A router that is gone is one for half an hour at most; a
 * machine finds that out by itself when there are several.
 */
#define ADVERT_MIN_SEC	       3 /* the least that radvd takes */
#define ADVERT_MAX_SEC	       30
#define ROUTER_LIFETIME_SEC    1800
#define VALID_LIFETIME_SEC     86400
#define PREFERRED_LIFETIME_SEC 14400

/* More servers than that need another block. */
#define RDNSS_MAX 3

/* All eight groups: radvd refuses some short forms, and what one user names must not keep all
 * networks from being announced. */
static void add_address(struct buf *out, const char *text)
{
	struct in6_addr a;

	if (inet_pton(AF_INET6, text, &a) != 1)
		return;
	for (size_t i = 0; i < 16; i += 2)
		buf_addf(
			out, "%c%x", i ? ':' : ' ', a.s6_addr[i] << 8 | a.s6_addr[i + 1]);
}

static void end_list(struct buf *out, const char *lifetime)
{
	buf_addf(out, "\n\t{\n\t\t%s %d;\n\t};\n", lifetime, ROUTER_LIFETIME_SEC);
}

static void add_servers(struct buf *out, const struct strv *dns)
{
	size_t n = 0;

	for (size_t i = 0; dns && i < dns->len; i++) {
		if (ipv6_check(dns->v[i], NULL) < 0)
			continue;
		if (n % RDNSS_MAX == 0 && n > 0)
			end_list(out, "AdvRDNSSLifetime");
		if (n++ % RDNSS_MAX == 0)
			buf_add_str(out, "\n\tRDNSS");
		add_address(out, dns->v[i]);
	}
	if (n > 0)
		end_list(out, "AdvRDNSSLifetime");
}

static void add_domains(struct buf *out, const struct strv *domains)
{
	if (!domains || domains->len == 0)
		return;
	buf_add_str(out, "\n\tDNSSL");
	for (size_t i = 0; i < domains->len; i++)
		buf_addf(out, " %s", domains->v[i]);
	end_list(out, "AdvDNSSLLifetime");
}

static void add_net(
	const struct radvd_net *n, const struct radvd_conf *c, struct buf *out)
{
	char bridge[NETWORK_NAME_SIZE];

	network_bridge_name(n->vni, bridge);
	buf_addf(out,
		"\ninterface %s\n{\n"
		"\tAdvSendAdvert on;\n"
		"\tIgnoreIfMissing on;\n"
		"\tMinRtrAdvInterval %d;\n"
		"\tMaxRtrAdvInterval %d;\n"
		"\tAdvDefaultLifetime %d;\n",
		bridge, ADVERT_MIN_SEC, ADVERT_MAX_SEC, ROUTER_LIFETIME_SEC);
	if (n->mtu >= 1280) /* or it is refused */
		buf_addf(out, "\tAdvLinkMTU %jd;\n", (intmax_t)n->mtu);
	buf_addf(out,
		"\n\tprefix %s\n\t{\n"
		"\t\tAdvOnLink on;\n"
		"\t\tAdvAutonomous on;\n"
		"\t\tAdvValidLifetime %d;\n"
		"\t\tAdvPreferredLifetime %d;\n"
		"\t};\n",
		n->prefix, VALID_LIFETIME_SEC, PREFERRED_LIFETIME_SEC);
	add_servers(out, n->dns && n->dns->len > 0 ? n->dns : c->dns);
	add_domains(out, c->dns_search);
	buf_add_str(out, "};\n");
}

void radvd_text(const struct radvd_net *nets, size_t n, const struct radvd_conf *c,
	struct buf *out)
{
	buf_add_str(out, "# Written by ucloud-network, which writes it again whenever "
			 "networks change.\n");
	for (size_t i = 0; i < n; i++)
		add_net(&nets[i], c, out);
}
