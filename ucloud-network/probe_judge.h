/*
 * What follows from the answers to questions (probe_wire.h): which machines are not reached,
 * how, and what to do about it. Pure.
 *
 * What was tried is our sending and their answer: that everything arrives there. What they
 * send is tried by themselves.
 */
#ifndef UCLOUD_PROBE_JUDGE_H
#define UCLOUD_PROBE_JUDGE_H

#include "common/base/buf.h"
#include "ucloud-network/probe_wire.h"

/* What does not work. Sets of them are bits, too. */
enum probe_lack { LACK_MULTICAST, LACK_LARGE, LACK_ALL, PROBE_N_LACKS };
extern const char
	*const probe_lack_names[]; /* "multicast", "large", "all"; ends with NULL */

/* A machine that was asked, or is to be. */
struct probe_target {
	char *host;
	struct in6_addr address;
	int64_t packet;	   /* size of the large one, with all headers */
	unsigned answered; /* bits of enum probe_how */
	int errnum;	   /* of the last send that failed; 0: none did */
	unsigned lacks;	   /* bits of enum probe_lack: what is said of it */
	unsigned was;	   /* what was said of it before */
};

struct probe_targets {
	struct probe_target *v;
	size_t len;
};

void probe_targets_done(struct probe_targets *t);
/* A machine with this address and MTU, asked from one with those. False: the address is none,
 * or the same. */
bool probe_targets_add(struct probe_targets *t, const char *host, const char *address,
	int64_t mtu, const struct in6_addr *own, int64_t own_mtu);
/* Leaves out whoever is not there any more. */
void probe_targets_keep(struct probe_targets *t, const struct probe_targets *there);

/* Bits of enum probe_lack; asked and answered are bits of enum probe_how. */
unsigned probe_lacks(unsigned asked, unsigned answered);

/* What earlier rounds said. Zeroed is ready to use. */
struct probe_known;
struct probe_memory {
	struct probe_known *v;
	size_t len;
};
void probe_memory_done(struct probe_memory *m);
/* Is it worth asking: it is new or changed, or something lacked the last time? */
bool probe_memory_is_due(const struct probe_memory *m, const struct probe_target *t);
/*
 * After a round: sets lacks and was. Only when the round before found something to lack, too,
 * it is said: machines end, and switches learn of groups, a moment before anybody is told.
 */
void probe_memory_note(struct probe_memory *m, unsigned asked, struct probe_targets *t);
/* Forgets all but these. */
void probe_memory_keep(struct probe_memory *m, const struct probe_targets *t);
/* Of how many machines this is said. */
size_t probe_memory_count(const struct probe_memory *m, enum probe_lack lack);
/* Did something lack in the last round, said or not? */
bool probe_memory_has_lacks(const struct probe_memory *m);

/* Appends a sentence that names the machines that lack this (only_new: and did not before) and
 * says what to do; false: there are none, and nothing is appended. */
bool probe_tell(const struct probe_targets *t, enum probe_lack lack, bool only_new,
	int64_t port, struct buf *out);
/* The same of those that lack nothing any more. */
bool probe_tell_healed(const struct probe_targets *t, struct buf *out);

#endif
