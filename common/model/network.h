/*
 * Networks (`/v1/network/<uuid>`, name index `/v1/network-name/<realm>/<owner>/<name>`), what
 * is allocated to them (`/v1/vni/<decimal>`, `/v1/prefix/<prefix>`), and where they are
 * (`/v1/network-host/<uuid>/<host>`, `/v1/underlay/<host>`, both on leases). Pure.
 *
 * A network is a VXLAN (RFC 7348) over IPv6, UDP port 4789. Its interfaces' names follow from
 * its id, those of VMs from their MACs: so nobody has to remember which is whose. The alias of a
 * bridge is the network's uuid and is set last: it says that the network is ready there.
 */
#ifndef UCLOUD_NETWORK_H
#define UCLOUD_NETWORK_H

#include "common/base/jtab.h"

enum network_ipam { IPAM_NONE, IPAM_MANUAL, IPAM_AUTO };
extern const char *const network_ipam_names[];
enum network_status { NET_REQUESTED_NEW, NET_ACTIVE, NET_REQUESTED_DELETE, NET_ERROR };
extern const char *const network_status_names[];

struct network {
	char *uuid, *name, *owner, *owner_realm;
	int ipam;
	int status;
	int64_t vni;  /* 0: not yet */
	char *prefix; /* "2001:db8:1::/64", "" none */
	struct strv dns;
	int64_t mtu;
	int64_t created;
	char *reason; /* of ERROR; one without room in the pools heals when there is some */
	json_t *rest;
};

/* Who has a VXLAN id or a prefix; the key is the allocation. */
struct allocation {
	char *network;	 /* uuid; "" while it rests */
	int64_t free_at; /* time until which it rests after use; 0 in use */
	json_t *rest;
};

/* A network that is up on a host or router. */
struct network_host {
	struct strv roles; /* "host", "router" */
	int64_t since;
	char *problem; /* "" none: why it is not ready, or not as it should be */
	json_t *rest;
};

/* A machine that carries networks, as the others reach it. */
struct underlay {
	char *address; /* IPv6 */
	char *interface;
	int64_t mtu;
	struct strv roles;
	char *flood; /* "multicast", "unicast"; "" (or NULL) not known */
	json_t *rest;
};

extern const struct jtab network_jtab, allocation_jtab, network_host_jtab, underlay_jtab;

#define NETWORK_VXLAN_PORT 4789
/* Ethernet in VXLAN in UDP in IPv6 takes this much of the underlay's MTU. */
#define NETWORK_OVERHEAD  70
#define NETWORK_NAME_SIZE 16 /* of interfaces: IFNAMSIZ */

void network_bridge_name(int64_t vni, char out[NETWORK_NAME_SIZE]); /* "ucb<vni>" */
void network_vxlan_name(int64_t vni, char out[NETWORK_NAME_SIZE]);  /* "ucv<vni>" */
/* "uct" and the MAC without colons. */
void network_tap_name(const char *mac, char out[NETWORK_NAME_SIZE]);
/* The multicast group "ff15::75c1:<vni>", in hexadecimal (RFC 5952); of an id above 65535
 * "ff15::<upper 8 bits>:75c1:<lower 16>". The caller's. */
char *network_group(int64_t vni);
/* "<prefix>::1", the router's address in it; the caller's, NULL when it has no prefix. */
char *network_router_address(const char *prefix);

int network_parse(
	const char *json, size_t size, struct network *out, struct err *e) MUST_USE;
char *network_format(const struct network *n);
void network_done(struct network *n);
void *network_parse_item(const char *name, json_t *json, struct err *e);
void network_free_item(void *n);

int allocation_parse(
	const char *json, size_t size, struct allocation *out, struct err *e) MUST_USE;
char *allocation_format(const struct allocation *a);
void allocation_done(struct allocation *a);
void *allocation_parse_item(const char *name, json_t *json, struct err *e);
void allocation_free_item(void *a);

void *underlay_parse_item(const char *name, json_t *json, struct err *e);
void underlay_free_item(void *u);

#endif
