#include "common/model/network.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
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

void *network_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&network_class, name, json, e);
}

void network_free_item(void *n)
{
	entry_free_item(&network_class, n);
}

/* ---------------------------------------------------------------- what is allocated */

#undef AT
#define AT(member) offsetof(struct allocation, member)

static const struct jtab_field allocation_fields[] = {
	{ "network", JT_STR, AT(network), JT_ALWAYS, .check = uuid_check,
		.help = "uuid of the network that has it; \"\": none any more" },
	{ "free_at", JT_TIME, AT(free_at), 0, .help = "it rests until then" },
	{ 0 },
};
const struct jtab allocation_jtab = { "allocation", sizeof(struct allocation),
	allocation_fields, .rest_off = AT(rest), .has_rest = true };

int allocation_parse(const char *json, size_t size, struct allocation *out, struct err *e)
{
	return jtab_parse_text(&allocation_jtab, json, size, JTAB_STORED, out, e);
}

char *allocation_format(const struct allocation *a)
{
	return jtab_format_text(&allocation_jtab, a);
}

void allocation_done(struct allocation *a)
{
	jtab_done(&allocation_jtab, a);
}

/* An entry whose key is not in its value. */
static void *parse_nameless(const struct jtab *t, json_t *json, struct err *e)
{
	void *made = xcalloc(1, t->size);

	if (jtab_parse(t, json, JTAB_STORED, made, e) == 0)
		return made;
	jtab_done(t, made);
	free(made);
	return NULL;
}

static void free_nameless(const struct jtab *t, void *entry)
{
	if (entry)
		jtab_done(t, entry);
	free(entry);
}

void *allocation_parse_item(const char *name, json_t *json, struct err *e)
{
	(void)name;
	return parse_nameless(&allocation_jtab, json, e);
}

void allocation_free_item(void *a)
{
	free_nameless(&allocation_jtab, a);
}

/* ---------------------------------------------------------------- where they are */

#undef AT
#define AT(member) offsetof(struct network_host, member)

static const struct jtab_field network_host_fields[] = {
	{ "roles", JT_STRV, AT(roles), JT_ALWAYS, .max = 4,
		.help = "what it is there for: \"host\", \"router\"" },
	{ "since", JT_TIME, AT(since), 0, .help = "when it became ready there" },
	{ "problem", JT_STR, AT(problem), 0, .max = 1024,
		.help = "why it is not ready; missing: it is" },
	{ 0 },
};
const struct jtab network_host_jtab = { "network_host", sizeof(struct network_host),
	network_host_fields, .rest_off = AT(rest), .has_rest = true };

#undef AT
#define AT(member) offsetof(struct underlay, member)

static const struct jtab_field underlay_fields[] = {
	{ "address", JT_STR, AT(address), JT_NEED, .min = 1, .check = ipv6_check,
		.help = "where its VXLANs are reached" },
	{ "interface", JT_STR, AT(interface), JT_ALWAYS, .max = 15,
		.help = "that has the address" },
	{ "mtu", JT_INT, AT(mtu), 0, .max = 65535, .help = "of the interface" },
	{ "roles", JT_STRV, AT(roles), JT_ALWAYS, .max = 4,
		.help = "what it is: \"host\", \"router\"" },
	{ "flood", JT_STR, AT(flood), 0, .max = 15,
		.help = "how it sends what floods: \"multicast\", \"unicast\"" },
	{ 0 },
};
const struct jtab underlay_jtab = { "underlay", sizeof(struct underlay), underlay_fields,
	.rest_off = AT(rest), .has_rest = true };

void *underlay_parse_item(const char *name, json_t *json, struct err *e)
{
	(void)name;
	return parse_nameless(&underlay_jtab, json, e);
}

void underlay_free_item(void *u)
{
	free_nameless(&underlay_jtab, u);
}

/* ---------------------------------------------------------------- names and addresses */

static void interface_name(const char *what, int64_t vni, char out[NETWORK_NAME_SIZE])
{
	int n = snprintf(out, NETWORK_NAME_SIZE, "%s%jd", what, (intmax_t)vni);

	assert(vni > 0 && n > 0 && n < NETWORK_NAME_SIZE);
}

void network_bridge_name(int64_t vni, char out[NETWORK_NAME_SIZE])
{
	interface_name("ucb", vni, out);
}

void network_vxlan_name(int64_t vni, char out[NETWORK_NAME_SIZE])
{
	interface_name("ucv", vni, out);
}

void network_tap_name(const char *mac, char out[NETWORK_NAME_SIZE])
{
	size_t n = 3;

	assert(mac_check(mac, NULL) == 0);
	memcpy(out, "uct", 3);
	for (const char *c = mac; *c; c++)
		if (*c != ':')
			out[n++] = *c;
	out[n] = '\0';
}

char *network_group(int64_t vni)
{
	struct in6_addr a = { 0 };
	char text[INET6_ADDRSTRLEN];

	a.s6_addr[0] = 0xff;
	a.s6_addr[1] = 0x15;
	/* Its upper 8 bits do not fit behind the last colon, and are rarely used. */
	a.s6_addr[11] = (unsigned char)(vni >> 16);
	a.s6_addr[12] = 0x75;
	a.s6_addr[13] = 0xc1;
	a.s6_addr[14] = (unsigned char)(vni >> 8);
	a.s6_addr[15] = (unsigned char)vni;
	return xstrdup(inet_ntop(AF_INET6, &a, text, sizeof(text)));
}

char *network_router_address(const char *prefix)
{
	CLEANUP_STR char *address =
		xstrndup(prefix ? prefix : "", strcspn(prefix ? prefix : "", "/"));
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (inet_pton(AF_INET6, address, &a) != 1)
		return NULL;
	a.s6_addr[15] = 1;
	return xstrdup(inet_ntop(AF_INET6, &a, text, sizeof(text)));
}
