/*
 * Who uses a network, and where it is: read from the store for each call. Any thread; blocks on
 * the store only.
 */
#ifndef UCLOUD_NETWORK_USE_H
#define UCLOUD_NETWORK_USE_H

#include "common/base/jtab.h"
#include "common/model/keys.h"
#include "common/model/network.h"
#include "common/store/kv.h"

/* So many are named; that there are more is said. */
#define NETWORK_USERS_MAX 100
#define NETWORK_HOSTS_MAX 1000

/* An interface of a VM in it. */
struct network_user {
	char *uuid, *name; /* of the VM; name "": its entry is gone */
	int64_t index;	   /* of the interface */
	char *mac, *address;
};

/* A host or router where it is. */
struct network_place {
	char *hostname;
	struct strv roles;
	int64_t since;
	char *problem;
};

/* What there is to say about a network beyond its entry. */
struct network_use {
	char *group;	      /* multicast group of its VXLAN */
	char *router;	      /* its address in the network */
	struct jtab_list vms; /* struct network_user */
	bool has_more_vms;
	struct jtab_list hosts; /* struct network_place */
	bool has_more_hosts;
};
extern const struct jtab network_use_jtab, network_user_jtab;
void network_use_done(struct network_use *u);

/* Only its VMs: vms, the first max of them (at most NETWORK_USERS_MAX), and has_more_vms. */
int network_use_read_vms(struct kv *kv, const struct keys *keys, const char *uuid,
	size_t max, struct network_use *out, struct err *e) MUST_USE;
/* All of it; *out is zeroed before. */
int network_use_read(struct kv *kv, const struct keys *keys, const struct network *n,
	struct network_use *out, struct err *e) MUST_USE;
/* The network as users see it: its entry, and all of the above. *out is a new object. */
int network_use_json(struct kv *kv, const struct keys *keys, const struct network *n,
	json_t **out, struct err *e) MUST_USE;

#endif
