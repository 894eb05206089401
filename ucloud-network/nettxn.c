#include "ucloud-network/nettxn.h"

#include "common/base/buf.h"

/* ---------------------------------------------------------------- reading */

static const struct cache_class network_class = { network_parse_item, network_free_item,
	false };

void netread_init(struct netread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid)
{
	r->net = NULL;
	subject_init(&r->s, &network_class, lock_key, fence, uuid,
		key_network(keys, uuid), key_request_network(keys, uuid));
}

void netread_done(struct netread *r)
{
	subject_done(&r->s);
	r->net = NULL;
}

int netread_read(struct netread *r, struct kv *kv, struct err *e)
{
	if (subject_read(&r->s, kv, e) < 0)
		return -1;
	r->net = r->s.entry;
	return 0;
}

/* ---------------------------------------------------------------- what to do */

static enum netact decide_create(const struct network *n)
{
	switch (n->status) {
	case NET_REQUESTED_NEW:
	case NET_ERROR:
		return NETACT_MAKE;
	case NET_REQUESTED_DELETE:
		return NETACT_NOTHING; /* its deletion is about to replace the request */
	default:
		return NETACT_DROP;
	}
}

enum netact netread_decide(const struct netread *r, int64_t now)
{
	if (r->s.is_unreadable || !r->s.has_req)
		return NETACT_NOTHING;
	if (!r->net)
		return NETACT_DROP;
	if (r->s.req.not_before > now)
		return NETACT_WAIT;
	if (r->s.req.type == REQ_CREATE_NETWORK)
		return decide_create(r->net);
	if (r->s.req.type != REQ_DELETE_NETWORK)
		return NETACT_NOTHING;
	return r->net->status == NET_REQUESTED_DELETE ? NETACT_DELETE : NETACT_DROP;
}

/* ---------------------------------------------------------------- writing */

static void put_network(const struct netread *r, struct kv_txn *t)
{
	CLEANUP_STR char *text = network_format(r->net);

	kv_txn_put(t, r->s.key, text);
}

/* The key is the allocation: it must not be there. Takes key. */
static void put_allocation(const struct netread *r, char *key, struct kv_txn *t)
{
	const struct allocation a = { .network = r->s.uuid };
	CLEANUP_STR char *text = allocation_format(&a);

	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, text);
	free(key);
}

struct kv_txn *nettxn_made(struct netread *r, const struct alloc *got, int64_t mtu)
{
	struct kv_txn *t = subject_end_txn(&r->s);
	struct network *n = r->net;

	n->status = NET_ACTIVE;
	n->vni = got->vni;
	n->mtu = mtu;
	str_set(&n->prefix, got->prefix ? alloc_prefix_format(got->prefix) : NULL);
	str_set(&n->reason, NULL);
	put_allocation(r, key_vni(n->vni), t);
	if (n->prefix)
		put_allocation(r, key_prefix(n->prefix), t);
	put_network(r, t);
	return t;
}

struct kv_txn *nettxn_no_room(struct netread *r, int64_t now, const char *why)
{
	struct kv_txn *t = subject_req_txn(&r->s);
	struct err e = { 0 };

	err_set(&e, ERR_NO_SPACE, "%s", why);
	request_failed(&r->s.req, now, &e);
	/* It is looked at whenever something changes: that costs no time. */
	r->s.req.not_before = 0;
	r->net->status = NET_ERROR;
	str_set(&r->net->reason, xstrdup(why));
	put_network(r, t);
	subject_put_req(&r->s, t);
	return t;
}

/* ---------------------------------------------------------------- deleting */

struct kv_txn *nettxn_in_use(struct netread *r, const char *why)
{
	struct kv_txn *t = subject_end_txn(&r->s);

	r->net->status = NET_ACTIVE;
	str_set(&r->net->reason, xstrdup(why));
	put_network(r, t);
	return t;
}

enum { AT_NAME, AT_USER, AT_ALLOCATED };

void nettxn_deleted_keys(const struct netread *r, struct strv *keys)
{
	const struct network *n = r->net;

	strv_add_take(keys, key_network_name(n->owner_realm, n->owner, n->name));
	strv_add_take(keys, key_user(n->owner_realm, n->owner));
	if (n->vni > 0)
		strv_add_take(keys, key_vni(n->vni));
	if (!str_is_empty(n->prefix))
		strv_add_take(keys, key_prefix(n->prefix));
}

/* Hosts may still have it for a while, and others' caches: it rests. free_at 0: at once. */
static int rest_allocation(const struct netread *r, const struct kv_pair *pair,
	int64_t free_at, struct kv_txn *t, struct err *e)
{
	CLEANUP(allocation_done) struct allocation a = { 0 };
	CLEANUP_STR char *text = NULL;

	if (!pair->key)
		return 0;
	if (allocation_parse(pair->value, pair->value_size, &a, e) < 0)
		return err_wrap(e, "%s", pair->key);
	if (!str_eq(a.network, r->s.uuid))
		return 0; /* another one's */
	kv_txn_if_rev(t, pair->key, pair->mod_rev);
	if (free_at == 0) {
		kv_txn_del(t, pair->key);
		return 0;
	}
	str_set(&a.network, xstrdup(""));
	a.free_at = free_at;
	text = allocation_format(&a);
	kv_txn_put(t, pair->key, text);
	return 0;
}

struct kv_txn *nettxn_deleted(struct netread *r, const struct kv_list *rest,
	int64_t free_at, bool *is_use_odd, struct err *e)
{
	CLEANUP_STR char *user_key = key_user(r->net->owner_realm, r->net->owner);
	struct kv_txn *t = subject_end_txn(&r->s);
	int rc;

	kv_txn_del(t, r->s.key);
	subject_del_name(&r->s, &rest->v[AT_NAME], t);
	rc = subject_give_back(
		t, user_key, &rest->v[AT_USER], &NETWORK_AMOUNTS, is_use_odd, e);
	for (size_t i = AT_ALLOCATED; rc == 0 && i < rest->len; i++)
		rc = rest_allocation(r, &rest->v[i], free_at, t, e);
	if (rc == 0)
		return t;
	kv_txn_free(t);
	return NULL;
}
