/*
 * Does the underlay work between this machine and the others? Asks all in `/v1/underlay/` at
 * the start, at each resync, and soon after one of them came or changed (probe_ask.h), and
 * answers them (probe_answer.h). What does not arrive is said in the log, when that changes, and
 * in the metric `ucloud_network_unreached`; it is no reason not to be healthy, since the VMs
 * here run. What was found is asked again soon, until it is mended.
 *
 * Tried is what we send, and that an answer comes; what the others send, they try.
 */
#ifndef UCLOUD_PROBER_H
#define UCLOUD_PROBER_H

#include "ucloud-network/probe_judge.h"
#include "ucloud-network/role.h"

struct prober;

/* NULL where port is 0: nothing is asked or answered. env outlives it. */
struct prober *prober_new(struct netenv *env, const struct prober_conf *conf);
/* From here on we answer. Before others hear of us: they ask soon afterwards. */
void prober_start(struct prober *p);
/* A machine came, changed or went. Any thread. */
void prober_poke(struct prober *p);
/* The underlay interface may be another one now: of the links' thread. */
void prober_set_underlay(struct prober *p, const struct underlay_if *u);
/* Waits for its threads; soon. Before the caches are freed. */
void prober_stop(struct prober *p);
void prober_free(struct prober *p);

#endif
