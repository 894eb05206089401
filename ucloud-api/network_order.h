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

#endif
