/*
 * The network entry (`/v1/network/<uuid>`). Pure. Its services are a later issue; VMs refer
 * to it, and the api compares it in the transaction that creates a VM.
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
	char *reason;
	json_t *rest;
};

extern const struct jtab network_jtab;

int network_parse(
	const char *json, size_t size, struct network *out, struct err *e) MUST_USE;
char *network_format(const struct network *n);
void network_done(struct network *n);

#endif
