/*
 * What others may know of this machine, all on one lease, so that it goes when we do:
 * `/v1/underlay/<host>`, how its VXLANs are reached, and `/v1/network-host/<uuid>/<host>` for
 * each network that it has. Only this daemon writes them. Any thread.
 */
#ifndef UCLOUD_NETWORK_ANNOUNCE_H
#define UCLOUD_NETWORK_ANNOUNCE_H

#include "ucloud-network/role.h"

struct announce;

struct announce *announce_new(struct netenv *env, const struct strv *roles);
void announce_start(struct announce *a);
/* What is true of a network now; problem NULL or "": it is ready. */
void announce_put(struct announce *a, const char *uuid, const struct strv *roles,
	const char *problem);
/* All networks but those that were put since the last call are gone. */
void announce_sweep(struct announce *a);
/* The underlay interface may have another address or MTU now: env says. */
void announce_underlay(struct announce *a);
bool announce_is_held(struct announce *a);
bool announce_stop(struct announce *a);
void announce_free(struct announce *a);

#endif
