#include "ucloud-network/nettxn.h"

#include <string.h>

#include "common/base/buf.h"

/* ---------------------------------------------------------------- reading */

void netread_init(struct netread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid)
{
	*r = (struct netread){ .keys = keys, .lock_key = lock_key, .fence = fence };
	r->uuid = xstrdup(uuid);
	r->net_key = key_network(keys, uuid);
	r->req_key = key_request_network(keys, uuid);
}

static void forget(struct netread *r)
{
	network_done(&r->net);
	request_done(&r->req);
	r->has_net = r->has_req = r->is_unreadable = false;
	r->net_rev = r->req_rev = 0;
}

void netread_done(struct netread *r)
{
	forget(r);
	free(r->uuid);
	free(r->net_key);
	free(r->req_key);
	memset(r, 0, sizeof(*r));
}

static void parse(struct netread *r, const struct kv_pair *net, const struct kv_pair *req)
{
	r->net_rev = net->key ? net->mod_rev : 0;
	r->req_rev = req->key ? req->mod_rev : 0;
	r->has_net = net->key &&
		     network_parse(net->value, net->value_size, &r->net, NULL) == 0 &&
		     str_eq(r->net.uuid, r->uuid);
	r->has_req = req->key &&
		     request_parse(req->value, req->value_size, &r->req, NULL) == 0;
	r->is_unreadable = (net->key && !r->has_net) || (req->key && !r->has_req);
}

int netread_read(struct netread *r, struct kv *kv, struct err *e)
{
	const char *keys[] = { r->net_key, r->req_key };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (kv_get_many(kv, keys, ARRAY_LEN(keys), &got, e) < 0)
		return -1;
	forget(r);
	parse(r, &got.v[0], &got.v[1]);
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
	if (r->is_unreadable || !r->has_req)
		return NETACT_NOTHING;
	if (!r->has_net)
		return NETACT_DROP;
	if (r->req.not_before > now)
		return NETACT_WAIT;
	if (r->req.type == REQ_CREATE_NETWORK)
		return decide_create(&r->net);
	if (r->req.type != REQ_DELETE_NETWORK)
		return NETACT_NOTHING;
	return r->net.status == NET_REQUESTED_DELETE ? NETACT_DELETE : NETACT_DROP;
}

/* ---------------------------------------------------------------- writing */

static struct kv_txn *new_txn(const struct netread *r)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, r->lock_key, r->fence);
	kv_txn_if_rev(t, r->net_key, r->net_rev);
	kv_txn_if_rev(t, r->req_key, r->req_rev);
	return t;
}

/* As new_txn(), and the request has had its effect. */
static struct kv_txn *end_txn(const struct netread *r)
{
	struct kv_txn *t = new_txn(r);

	if (r->req_rev)
		kv_txn_del(t, r->req_key);
	return t;
}

static void put_network(const struct netread *r, struct kv_txn *t)
{
	CLEANUP_STR char *text = network_format(&r->net);

	kv_txn_put(t, r->net_key, text);
}

static void put_request(const struct netread *r, struct kv_txn *t)
{
	CLEANUP_STR char *text = request_format(&r->req);

	kv_txn_put(t, r->req_key, text);
}

/* The key is the allocation: it must not be there. Takes key. */
static void put_allocation(const struct netread *r, char *key, struct kv_txn *t)
{
	const struct allocation a = { .network = r->uuid };
	CLEANUP_STR char *text = allocation_format(&a);

	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, text);
	free(key);
}

struct kv_txn *nettxn_made(struct netread *r, const struct alloc *got, int64_t mtu)
{
	struct kv_txn *t = end_txn(r);
	struct network *n = &r->net;

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
	struct kv_txn *t = new_txn(r);
	struct err e = { 0 };

	err_set(&e, ERR_NO_SPACE, "%s", why);
	request_failed(&r->req, now, &e);
	/* It is looked at whenever something changes: that costs no time. */
	r->req.not_before = 0;
	r->net.status = NET_ERROR;
	str_set(&r->net.reason, xstrdup(why));
	put_network(r, t);
	put_request(r, t);
	return t;
}

struct kv_txn *nettxn_failed(
	struct netread *r, int64_t now, const struct err *why, int64_t *not_before)
{
	struct kv_txn *t = kv_txn_new();

	request_failed(&r->req, now, why);
	kv_txn_if_lock(t, r->lock_key, r->fence);
	kv_txn_if_rev(t, r->req_key, r->req_rev);
	put_request(r, t);
	*not_before = r->req.not_before;
	return t;
}

struct kv_txn *nettxn_drop(struct netread *r)
{
	return end_txn(r);
}

/* ---------------------------------------------------------------- deleting */

enum { AT_NAME, AT_USER, AT_ALLOCATED };

void nettxn_deleted_keys(const struct netread *r, struct strv *keys)
{
	const struct network *n = &r->net;

	strv_add_take(keys, key_network_name(n->owner_realm, n->owner, n->name));
	strv_add_take(keys, key_user(n->owner_realm, n->owner));
	if (n->vni > 0)
		strv_add_take(keys, key_vni(n->vni));
	if (!str_is_empty(n->prefix))
		strv_add_take(keys, key_prefix(n->prefix));
}

/* A name that was given to another network meanwhile stays. */
static void del_name(
	const struct netread *r, const struct kv_pair *name, struct kv_txn *t)
{
	if (!name->key || !str_eq(name->value, r->uuid))
		return;
	kv_txn_if_rev(t, name->key, name->mod_rev);
	kv_txn_del(t, name->key);
}

static int put_user(
	const struct kv_pair *pair, struct kv_txn *t, bool *is_use_odd, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *text = NULL;

	if (!pair->key)
		return 0;
	if (user_parse(pair->value, pair->value_size, &user, e) < 0)
		return err_wrap(e, "%s", pair->key);
	*is_use_odd = !user_give_back(&user, &NETWORK_AMOUNTS);
	text = user_format(&user);
	kv_txn_if_rev(t, pair->key, pair->mod_rev);
	kv_txn_put(t, pair->key, text);
	return 0;
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
	if (!str_eq(a.network, r->uuid))
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
	struct kv_txn *t = end_txn(r);
	int rc;

	*is_use_odd = false;
	kv_txn_del(t, r->net_key);
	del_name(r, &rest->v[AT_NAME], t);
	rc = put_user(&rest->v[AT_USER], t, is_use_odd, e);
	for (size_t i = AT_ALLOCATED; rc == 0 && i < rest->len; i++)
		rc = rest_allocation(r, &rest->v[i], free_at, t, e);
	if (rc == 0)
		return t;
	kv_txn_free(t);
	return NULL;
}
