/*
 * Answers other machines' questions (probe_wire.h), in a thread of its own: what arrives
 * through the underlay interface, from a machine of the cloud, gets one small answer.
 */
#ifndef UCLOUD_PROBE_ANSWER_H
#define UCLOUD_PROBE_ANSWER_H

#include "common/base/err.h"
#include "ucloud-network/probe_wire.h"
#include "ucloud-network/underlay.h"

struct probe_answer;

/* Is that a machine of the cloud? Called by the thread. */
typedef bool probe_is_known_fn(void *aux, const struct in6_addr *from);

/* Joins the group, and runs. Errors: somebody has the port. */
int probe_answer_start(const struct underlay_if *underlay, uint16_t port,
	probe_is_known_fn *is_known, void *aux, struct probe_answer **out,
	struct err *e) MUST_USE;
/* Waits for the thread. NULL is fine. */
void probe_answer_stop(struct probe_answer *a);

#endif
