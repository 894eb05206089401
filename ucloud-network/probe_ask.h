/*
 * Asks machines whether what is sent to them over the underlay arrives (probe_wire.h): as
 * VXLANs would send it, from the underlay's address, through its interface, with their hop
 * limit, and never in fragments. For ucloud-network and its subcommand `check`; a socket of
 * its own each time, so both may ask at the same time. Any thread; blocks.
 */
#ifndef UCLOUD_PROBE_ASK_H
#define UCLOUD_PROBE_ASK_H

#include "common/base/err.h"
#include "ucloud-network/probe_judge.h"
#include "ucloud-network/underlay.h"

struct probe_ask {
	const struct underlay_if *underlay;
	uint16_t port;
	bool is_multicast;  /* the group is asked, too */
	int64_t limit_msec; /* for all of it */
	int stop_fd;	    /* when it can be read, we give up; -1: there is none */
};

/* Bits of enum probe_how. */
unsigned probe_asked(const struct probe_ask *a);
/* What was stopped is PROBE_STOPPED; else all is there that came in time: answered, and errnum
 * of what could not be sent. Ends early when everybody has answered everything. */
#define PROBE_STOPPED 1
int probe_ask(const struct probe_ask *a, struct probe_targets *t, struct err *e) MUST_USE;

/* The group that is asked: of id 0, which no network has. */
struct in6_addr probe_group(void);

#endif
