/*
 * Networks, in the end: each is ACTIVE, or there is no room for it.
 */
#include <string.h>

#include "tests/sim/sim.h"

/* Every key counts, whatever it says. */
static bool has_free_vni(struct sim *s, const struct netrec_conf *c)
{
	for (int64_t vni = c->vni_min; vni <= c->vni_max; vni++) {
		CLEANUP_STR char *key = key_vni(vni);
		if (!history_find(s, key))
			return true;
	}
	return false;
}

static bool has_free_prefix(struct sim *s, const struct alloc_pools *pools)
{
	for (size_t i = 0; i < pools->len; i++) {
		uint64_t last = alloc_pool_last(&pools->v[i]);
		for (uint64_t prefix = pools->v[i].first; prefix <= last; prefix++) {
			CLEANUP_STR char *text = alloc_prefix_format(prefix);
			CLEANUP_STR char *key = key_prefix(text);
			if (!history_find(s, key))
				return true;
		}
	}
	return false;
}

static bool check_no_room(struct sim *s, const struct sim_net *n)
{
	int leader = s->leaders[LOCK_NETWORK].node;
	if (leader < 0)
		return sim_wrong(s, "%s waits, and nobody leads", n->uuid);
	const struct netrec_conf *c = &s->nodes[leader].net_conf;
	if (!has_free_vni(s, c) ||
		(n->net.ipam != IPAM_NONE && !has_free_prefix(s, &c->pools)))
		return true;
	return sim_wrong(s, "%s waits, and there is room: %s", n->uuid, n->net.reason);
}

static bool check_net(struct sim *s, const struct sim_net *n)
{
	const char *status = network_status_names[n->net.status];
	if (n->is_deleted)
		return sim_wrong(s, "%s was deleted and is there (%s)", n->uuid, status);
	switch ((enum network_status)n->net.status) {
	case NET_ACTIVE:
		return true;
	case NET_ERROR:
		return n->has_request ? check_no_room(s, n) : n->may_fail;
	default:
		return sim_wrong(s, "%s is stuck in %s", n->uuid, status);
	}
}

/* Nothing is left that is its, nor a VM in it. (VMs' logs may tell of it.) */
static bool check_gone(struct sim *s, const struct sim_net *n)
{
	struct entry *e, *next;
	CLEANUP_STR char *in = xasprintf("\"network\":\"%s\"", n->uuid);
	HASH_ITER (hh, s->entries, e, next)
		if (e->value && !e->is_foreign &&
			(strstr(e->key, n->uuid) || str_eq(e->value, n->uuid) ||
				strstr(e->value, in)))
			return sim_wrong(s, "%s is gone, %s is left", n->uuid, e->key);
	return true;
}

/* Nobody waits for a look at everything until what has rested is free. */
static bool check_rested(struct sim *s)
{
	struct sim_alloc *a, *next;
	HASH_ITER (hh, s->allocs, a, next)
		if (a->exists && a->free_at && s->now / 1000 > a->free_at + 5)
			return sim_wrong(s, "%s rests %lld s too long", a->key,
				(long long)(s->now / 1000 - a->free_at));
	return true;
}

static bool has_network(struct sim *s, const struct sim_alloc *a)
{
	const struct sim_net *n = sim_find_net(s, a->network);
	return n && n->exists;
}

/* What rested is free again, and what had lost its network: unless there is no network at all
 * that has any, which might as well be a wrong prefix of keys. */
static bool check_allocs(struct sim *s, enum sim_kind kind)
{
	struct sim_alloc *a, *next;
	const struct sim_alloc *lost = NULL;
	bool has_any = false;
	HASH_ITER (hh, s->allocs, a, next) {
		if (!a->exists || rules_kind(s, a->key) != kind)
			continue;
		if (!a->network[0])
			return sim_wrong(s, "%s still rests", a->key);
		if (has_network(s, a))
			has_any = true;
		else
			lost = a;
	}
	return !has_any || !lost ||
	       sim_wrong(s, "%s is left, of %s", lost->key, lost->network);
}

bool rest_check_nets(struct sim *s, bool is_soon)
{
	for (unsigned i = 0; i < s->n_nets; i++) {
		const struct sim_net *n = s->nets[i];
		if (is_soon && n->was_garbled)
			continue;
		if (n->exists ? !check_net(s, n) : !check_gone(s, n))
			return false;
	}
	return is_soon ? check_rested(s)
		       : (check_allocs(s, KIND_VNI) && check_allocs(s, KIND_PREFIX));
}
