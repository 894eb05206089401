/*
 * One of the routers leads: it holds `/v1/lock/network`, and carries out the requests for
 * networks (netrec.h). The others wait for it to go.
 */
#ifndef UCLOUD_NETWORK_NETLEAD_H
#define UCLOUD_NETWORK_NETLEAD_H

#include "ucloud-network/netrec.h"

struct netlead;

struct netlead_conf {
	struct netrec_conf rec; /* its pools are borrowed */
	const struct keys *keys;
	int64_t lease_ttl_sec, resync_sec;
	int64_t (*mtu)(void *aux);
	void *aux;
};

/* conf is copied; what it points to is borrowed. */
struct netlead *netlead_new(struct kv *kv, const struct netlead_conf *conf);
void netlead_start(struct netlead *l);
/* Instead, for tests: does something that is to be done; false: there is nothing. */
bool netlead_step(struct netlead *l);
/* Milliseconds until the next step has something to do by itself; -1 never. */
int64_t netlead_next_msec(struct netlead *l);
bool netlead_is_leader(struct netlead *l);
bool netlead_is_synced(struct netlead *l);
/* False: something hangs, and nothing that it uses may be freed. */
bool netlead_stop(struct netlead *l);
void netlead_free(struct netlead *l); /* stopped before; NULL is fine */

#endif
