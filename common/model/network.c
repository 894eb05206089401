#include "common/model/network.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/model/entry.h"
#include "common/model/names.h"

const char *const network_ipam_names[] = {
	[IPAM_NONE] = "none",
	[IPAM_MANUAL] = "manual",
	[IPAM_AUTO] = "auto",
	NULL,
};

const char *const network_status_names[] = {
	[NET_REQUESTED_NEW] = "REQUESTED_NEW",
	[NET_ACTIVE] = "ACTIVE",
	[NET_REQUESTED_DELETE] = "REQUESTED_DELETE",
	[NET_ERROR] = "ERROR",
	NULL,
};

/* "<address>/64" whose last 64 bits are zero. */
static bool is_prefix64(const char *s)
{
	static const unsigned char zero[8];
	CLEANUP_STR char *address = xstrndup(s, strcspn(s, "/"));
	struct in6_addr in6;

	return strcmp(s + strlen(address), "/64") == 0 &&
	       inet_pton(AF_INET6, address, &in6) == 1 &&
	       memcmp(in6.s6_addr + 8, zero, sizeof(zero)) == 0;
}

static int prefix64_check(const char *s, struct err *e)
{
	if (is_prefix64(s))
		return 0;
	return err_set(e, ERR_INVALID,
		"\"%.70s\" is not an IPv6 prefix of 64 bits: use one like "
		"\"2001:db8:1:2::/64\"",
		s);
}

#define AT(member) offsetof(struct network, member)

static const struct jtab_field network_fields[] = {
	{ "uuid", JT_STR, AT(uuid), JT_NEED, .min = 1, .check = uuid_check,
		.help = "never changes" },
	{ "name", JT_STR, AT(name), JT_NEED, .min = 1, .check = name_check,
		.help = "unique among the owner's networks" },
	{ "owner", JT_STR, AT(owner), JT_NEED, .min = 1, .check = user_name_check,
		.help = "name of the user it belongs to" },
	{ "owner_realm", JT_STR, AT(owner_realm), JT_NEED, .min = 1, .check = realm_check,
		.help = "realm of the user it belongs to" },
	{ "ipam", JT_ENUM, AT(ipam), JT_NEED | JT_ALWAYS, .names = network_ipam_names,
		.help = "who gives addresses" },
	{ "status", JT_ENUM, AT(status), JT_NEED | JT_ALWAYS,
		.names = network_status_names, .help = "can it be used?" },
	{ "vni", JT_INT, AT(vni), 0, .max = 16777215,
		.help = "VXLAN id; missing: not yet" },
	{ "prefix", JT_STR, AT(prefix), 0, .check = prefix64_check,
		.help = "its IPv6 prefix; missing: none" },
	{ "dns", JT_STRV, AT(dns), 0, .max = 8, .check = ipv6_check,
		.help = "DNS servers that are announced" },
	{ "mtu", JT_INT, AT(mtu), 0, .max = 65535, .help = "missing: not known yet" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was ordered" },
	{ "reason", JT_STR, AT(reason), 0, .max = 2048, .help = "why it is in ERROR" },
	{ 0 },
};
const struct jtab network_jtab = { "network", sizeof(struct network), network_fields,
	.rest_off = AT(rest), .has_rest = true };

static const struct entry_class network_class = { &network_jtab, AT(uuid), false, NULL };

int network_parse(const char *json, size_t size, struct network *out, struct err *e)
{
	return entry_parse(&network_class, json, size, out, e);
}

char *network_format(const struct network *n)
{
	return jtab_format_text(&network_jtab, n);
}

void network_done(struct network *n)
{
	jtab_done(&network_jtab, n);
}
