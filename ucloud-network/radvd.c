#include "ucloud-network/radvd.h"

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

static void add_list(struct buf *out, const char *option, const struct strv *names,
	const char *lifetime)
{
	if (!names || names->len == 0)
		return;
	buf_addf(out, "\n\t%s", option);
	for (size_t i = 0; i < names->len; i++)
		buf_addf(out, " %s", names->v[i]);
	buf_addf(out, "\n\t{\n\t\t%s %d;\n\t};\n", lifetime, ROUTER_LIFETIME_SEC);
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
	if (n->mtu > 0)
		buf_addf(out, "\tAdvLinkMTU %jd;\n", (intmax_t)n->mtu);
	buf_addf(out,
		"\n\tprefix %s\n\t{\n"
		"\t\tAdvOnLink on;\n"
		"\t\tAdvAutonomous on;\n"
		"\t\tAdvValidLifetime %d;\n"
		"\t\tAdvPreferredLifetime %d;\n"
		"\t};\n",
		n->prefix, VALID_LIFETIME_SEC, PREFERRED_LIFETIME_SEC);
	add_list(out, "RDNSS", n->dns && n->dns->len > 0 ? n->dns : c->dns,
		"AdvRDNSSLifetime");
	add_list(out, "DNSSL", c->dns_search, "AdvDNSSLLifetime");
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
