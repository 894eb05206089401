/*
 * Is a host dead or alive? Its heartbeat is a key on a lease. When the key has been missing
 * for longer than the grace period (counted by this leader: since it saw it missing, or
 * since it began to lead), the host is DEAD and the VMs that ran on it are KILLED; they keep
 * their hostname, because only that host may run them again. With the key the host is ALIVE
 * again at once, and sees to its VMs itself.
 *
 *	REGISTERED --heartbeat--> ALIVE --none for grace_sec--> DEAD --heartbeat--> ALIVE
 */
#ifndef UCLOUD_SCHEDULER_HOSTREC_H
#define UCLOUD_SCHEDULER_HOSTREC_H

#include "common/store/wq.h"
#include "ucloud-scheduler/sched_impl.h"

struct hostrec;

struct hostrec *hostrec_new(struct sched *s);
void hostrec_free(struct hostrec *h);
/* A new leader has seen nothing missing yet. Before it begins to lead: what it saw when it
 * led before must not count. */
void hostrec_reset(struct hostrec *h);
/* The host's heartbeat was there, if only for a moment. Any thread. */
void hostrec_heard(struct hostrec *h, const char *name);
/* Any thread, but never twice at once for the same host. */
enum wq_result hostrec_look(
	struct hostrec *h, const char *name, int64_t *after_msec, struct err *e);

#endif
