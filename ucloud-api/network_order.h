/*
 * What the orders that look at networks share. Nobody else includes this.
 */
#ifndef UCLOUD_NETWORK_ORDER_H
#define UCLOUD_NETWORK_ORDER_H

#include "ucloud-api/orders_impl.h"

void put_network(const struct orders *o, struct draft *d, const struct network *n);
/* The open request for a network, as find_request(). */
int find_network_request(const struct orders *o, struct draft *d, const struct who *who,
	const char *uuid, struct network *network, struct request *out, char **key,
	struct err *e) MUST_USE;

/* One of the owner's that VMs can be in now; ERR_NOT_FOUND, ERR_CONFLICT with the reason. */
int look_usable_network(const struct orders *o, struct draft *d, const char *owner,
	const char *realm, const char *ref, struct network *out, struct err *e) MUST_USE;
/* Writes the port of the VM's i-th interface. */
void put_port(struct draft *d, const struct vm *vm, size_t i);

#endif
