/*
 * How machines of a cloud ask each other whether the underlay works between them: one UDP
 * datagram to `check_port`, to a machine or to the multicast group of id 0, which no network
 * has, and one datagram back. Pure.
 *
 *	 0  "ucloudPB"
 *	 8  version: 1
 *	 9  1 question, 2 answer
 *	10  how the question was sent (enum probe_how); the answer repeats it
 *	11  zeros
 *	16  nonce: random bytes of whoever asks; the answer repeats them, so that nobody who
 *	    does not see the question can answer it
 *	32  of a question only: zeros, up to the size that is tried
 *
 * An answer is never larger than its question: nobody can make a machine send more than he
 * sends himself.
 */
#ifndef UCLOUD_PROBE_WIRE_H
#define UCLOUD_PROBE_WIRE_H

#include <netinet/in.h>
#include <stdbool.h>

#include "common/base/mem.h"

#define PROBE_SIZE	 32
#define PROBE_NONCE_SIZE 16
/* IPv6 and UDP take this much of a packet (RFC 8200, RFC 768). */
#define PROBE_OVERHEAD	 48
#define PROBE_PACKET_MAX 65535

enum probe_how {
	PROBE_MULTICAST, /* to the group */
	PROBE_LARGE,	 /* to the machine, as large as both underlays carry */
	PROBE_PLAIN	 /* to the machine, small */
};
/* Sets of them are bits. */
#define PROBE_BIT(how) (1u << (how))

struct probe {
	bool is_answer;
	enum probe_how how;
	uint8_t nonce[PROBE_NONCE_SIZE];
};

void probe_format(const struct probe *p, uint8_t out[PROBE_SIZE]);
/* False: it is none of ours. */
bool probe_parse(const void *datagram, size_t size, struct probe *out) MUST_USE;

/* What one machine answers at most: PROBE_RATE in a second, after a pause so many at once.
 * Zeroed is ready to use. */
#define PROBE_RATE 1000
struct probe_budget {
	int64_t used, at_msec;
};
bool probe_budget_take(struct probe_budget *b, int64_t now_msec);

#endif
