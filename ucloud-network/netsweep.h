/*
 * What the leading router does about VXLAN ids and prefixes that no network has: those that
 * have rested enough go, those whose network is gone rest. One thread, that of netrec.h.
 */
#ifndef UCLOUD_NETWORK_NETSWEEP_H
#define UCLOUD_NETWORK_NETSWEEP_H

#include "ucloud-network/netrec.h"

/* Says in the metrics how many ids and prefixes there are; none while we do not lead. */
void netsweep_tell(struct netrec_env *env);
/* Tells, and removes what has rested enough; WQ_AGAIN when the next one has. */
enum wq_result netsweep_rested(
	struct netrec_env *env, int64_t *after_msec, struct err *e);
/* Looks for the networks of all others. */
enum wq_result netsweep_lost(struct netrec_env *env, struct err *e);

#endif
