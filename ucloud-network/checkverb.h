/*
 * `ucloud-network check`: does the underlay work between this machine and all others? Looks
 * at the interface and the kernel's limits, asks every machine in `/v1/underlay/`
 * (probe_ask.h) and says what to do. Beside the running ucloud-network, or with none on the
 * others; changes nothing.
 */
#ifndef UCLOUD_CHECKVERB_H
#define UCLOUD_CHECKVERB_H

#include "common/store/kv.h"
#include "ucloud-network/role.h"

struct check_conf {
	const char *host, *underlay; /* names: of this machine, of its interface */
	enum flood_kind flood;
	bool is_router;
	uint16_t port;
	int64_t time_sec;
};

/* The interface and the limits, without etcd: appends sentences. < 0: it cannot be used. */
int check_machine(const struct check_conf *c, struct underlay_if *out, struct buf *text,
	size_t *n_problems, struct err *e) MUST_USE;
/* The others: appends a table, and a sentence for each problem. */
int check_others(const struct check_conf *c, const struct underlay_if *u, struct kv *kv,
	struct buf *text, size_t *n_problems, struct err *e) MUST_USE;

#endif
