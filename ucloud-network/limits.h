/*
 * Limits of the kernel that some hundreds of networks, or a router of many VMs, run into.
 * What is read is this network namespace's, where it has its own.
 */
#ifndef UCLOUD_LIMITS_H
#define UCLOUD_LIMITS_H

#include "common/base/buf.h"

/* Adds a sentence for each limit that is too low: which sysctl, what follows, what would be
 * right. Those that the kernel does not show here are passed over. */
void limits_look(bool is_router, struct strv *low);
/* The same after raising what may be raised, which is logged. */
void limits_raise(bool is_router, struct strv *low);

#endif
