/*
 * What a network is given: the lowest VXLAN id and the lowest /64 that nobody has. Out of what
 * is there (keys in etcd, whose values do not matter: a key is an allocation), the pools and the
 * time. Pure.
 *
 * A /64 is the upper half of an address, in host byte order.
 */
#ifndef UCLOUD_NETWORK_ALLOC_H
#define UCLOUD_NETWORK_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define ALLOC_VNI_MIN 1
#define ALLOC_VNI_MAX 16777215 /* RFC 7348: 24 bits */

/* Where /64s are taken from: a prefix of /32 to /63. */
struct alloc_pool {
	uint64_t first;
	int len;
};

struct alloc_pools {
	struct alloc_pool *v; /* in the order in which they are used */
	size_t len;
};

/* "2001:db8:1000::/36"; its other bits must be 0. */
int alloc_pool_parse(const char *text, struct alloc_pool *out, struct err *e) MUST_USE;
/* The last /64 in it. */
uint64_t alloc_pool_last(const struct alloc_pool *p);
/* The caller's. */
char *alloc_pool_format(const struct alloc_pool *p);
/* Of several; no two may have a /64 in common. */
int alloc_pools_parse(
	const struct strv *texts, struct alloc_pools *out, struct err *e) MUST_USE;
void alloc_pools_done(struct alloc_pools *p);
bool alloc_pools_has(const struct alloc_pools *p, uint64_t prefix);

/* "2001:db8:1:2::/64" */
int alloc_prefix_parse(const char *text, uint64_t *out, struct err *e) MUST_USE;
char *alloc_prefix_format(uint64_t prefix);

/* What is there of one kind. Valid when zeroed. */
struct alloc_present {
	uint64_t *v;
	size_t len, cap;
	bool is_sorted;
};

/* All of it. n_resting: how many are only kept from being used again so soon; first_free_at:
 * until when the first of them is, 0 none. */
struct alloc_state {
	struct alloc_present vnis, prefixes;
	size_t n_resting;
	int64_t first_free_at;
};

/* name is the key behind its prefix; what is no id or /64 is passed over. free_at 0: in use. */
void alloc_add_vni(struct alloc_state *s, const char *name, int64_t free_at);
void alloc_add_prefix(struct alloc_state *s, const char *name, int64_t free_at);
void alloc_state_done(struct alloc_state *s);

/* Has it rested enough, so that its key may go? */
bool alloc_is_over(int64_t free_at, int64_t now);

struct alloc_conf {
	int64_t vni_min, vni_max;
	const struct alloc_pools *pools;
};

struct alloc {
	int64_t vni;
	uint64_t prefix; /* 0: none was wanted */
};

/* ERR_NO_SPACE: which of them there is none of, and what an operator can do. Sorts s. */
int alloc_pick(const struct alloc_conf *c, struct alloc_state *s, bool want_prefix,
	struct alloc *out, struct err *e) MUST_USE;

#endif
