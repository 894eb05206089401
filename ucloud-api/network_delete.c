/*
 * Deleting networks.
 *
 * A create of a VM compares the network's entry but does not write it. So a network that VMs
 * may use becomes REQUESTED_DELETE first: the ports of what was ordered before that are looked
 * for afterwards, what is ordered later is refused. Without a port, DeleteNetwork is ordered,
 * for the very entry that was looked at; with one, the entry is ACTIVE again. ucloud-network
 * does the rest: all of it, when this process dies in between, because the first of these steps
 * orders DeleteNetwork "unchecked", for some time later.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/network_order.h"
#include "ucloud-api/network_use.h"

enum { VMS_NAMED = 10 };

struct network_delete {
	struct orders *o;
	const struct who *who;
	const char *uuid;
	int64_t now;
	int64_t rev; /* of the entry when its ports were looked for; 0: not needed */
	struct network network; /* of the last run */
};

static int run(struct network_delete *c, order_fn *fn, struct network *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0) {
		network_done(out);
		*out = c->network;
		c->network = (struct network){ 0 };
	}
	network_done(&c->network);
	return r;
}

/* The network, and the revision of its entry. */
static int find(struct network_delete *c, struct draft *d, int64_t *rev, struct err *e)
{
	CLEANUP_STR char *key = key_network(c->o->keys, c->uuid);
	struct seen seen;
	int r = find_network(c->o, d, c->who, c->uuid, &c->network, e);

	if (r != 0)
		return r;
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	*rev = seen.rev;
	return 0;
}

static int changed_meanwhile(const struct network *n, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"the network \"%s\" was changed while it was being deleted: try again",
		n->name);
}

static int close_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct network_delete *c = aux;
	int64_t rev;
	int r = find(c, d, &rev, e);

	if (r != 0)
		return r;
	if (c->network.status == NET_REQUESTED_DELETE)
		return DRAFT_AS_IT_IS;
	key = key_request_network(c->o->keys, c->network.uuid);
	r = look_deletion(d, key, REQ_DELETE_NETWORK, e);
	if (r != 0)
		return r;
	c->network.status = NET_REQUESTED_DELETE;
	put_network(c->o, d, &c->network);
	put_deletion(d, key, REQ_DELETE_NETWORK, c->network.uuid, c->now, true);
	return 0;
}

/* Only the entry whose ports were looked for: another call may have found none since, and
 * ordered the deletion; or before, when this one could not look. */
static int reopen_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct network_delete *c = aux;
	int64_t rev;
	int r = find(c, d, &rev, e);

	if (r != 0)
		return r;
	key = key_request_network(c->o->keys, c->network.uuid);
	r = look_deletion(d, key, REQ_DELETE_NETWORK, e);
	if (r != 0)
		return r;
	if (rev != c->rev)
		return DRAFT_AS_IT_IS;
	c->network.status = NET_ACTIVE;
	put_network(c->o, d, &c->network);
	draft_same(d, key);
	draft_del(d, key);
	return 0;
}

/* Can no VM be in it? One that is ACTIVE was made meanwhile, and perhaps another call has
 * closed it since: VMs may have been ordered. */
static bool is_looked_at(const struct network_delete *c, int64_t rev)
{
	if (c->rev)
		return rev == c->rev && c->network.status == NET_REQUESTED_DELETE;
	return c->network.status == NET_REQUESTED_NEW || c->network.status == NET_ERROR;
}

static int delete_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct network_delete *c = aux;
	int64_t rev;
	int r = find(c, d, &rev, e);

	if (r != 0)
		return r;
	key = key_request_network(c->o->keys, c->network.uuid);
	r = look_deletion(d, key, REQ_DELETE_NETWORK, e);
	if (r != 0)
		return r;
	if (!is_looked_at(c, rev))
		return changed_meanwhile(&c->network, e);
	c->network.status = NET_REQUESTED_DELETE;
	put_network(c->o, d, &c->network);
	put_deletion(d, key, REQ_DELETE_NETWORK, c->network.uuid, c->now, false);
	return 0;
}

/* ---------------------------------------------------------------- who uses it */

/* "web, db and others" */
static void add_vm_names(const struct network_use *use, struct buf *out)
{
	CLEANUP(strv_done) struct strv names = { 0 };

	for (size_t i = 0; i < use->vms.len; i++) {
		const struct network_user *u =
			jtab_list_at(&network_user_jtab, &use->vms, i);
		const char *name = str_is_empty(u->name) ? u->uuid : u->name;

		if (!strv_has(&names, name))
			strv_add(&names, name);
	}
	for (size_t i = 0; i < names.len; i++)
		buf_addf(out, "%s%s", i ? ", " : "", names.v[i]);
	if (use->has_more_vms)
		buf_add_str(out, " and others");
}

static int unused_check(struct orders *o, const struct network *n, struct err *e)
{
	CLEANUP(network_use_done) struct network_use use = { 0 };
	CLEANUP(buf_done) struct buf names = { 0 };

	if (network_use_read_vms(o->kv, o->keys, n->uuid, VMS_NAMED, &use, e) < 0)
		return -1;
	if (use.vms.len == 0)
		return 0;
	add_vm_names(&use, &names);
	return err_set(e, ERR_CONFLICT,
		"the network \"%s\" is in use by VMs: delete them first: %s", n->name,
		buf_str(&names));
}

/* The revision of an entry that says REQUESTED_DELETE. */
static int closed_rev(struct network_delete *c, const struct network *n, struct err *e)
{
	CLEANUP_STR char *key = key_network(c->o->keys, n->uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(network_done) struct network now = { 0 };

	if (kv_get(c->o->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key || network_parse(pair.value, pair.value_size, &now, e) < 0 ||
		now.status != NET_REQUESTED_DELETE)
		return changed_meanwhile(n, e);
	c->rev = pair.mod_rev;
	return 0;
}

/* No VM may use it from here on; those that do are looked for. */
static int close_network(struct network_delete *c, struct err *e)
{
	CLEANUP(network_done) struct network closed = { 0 };
	CLEANUP(network_done) struct network opened = { 0 };
	struct err in_use = { 0 };

	if (run(c, close_fn, &closed, e) < 0 || closed_rev(c, &closed, e) < 0)
		return -1;
	if (unused_check(c->o, &closed, &in_use) == 0)
		return 0;
	/* Then it is ucloud-network that looks, and VMs may be gone by then. */
	if (run(c, reopen_fn, &opened, e) < 0)
		return err_wrap(e,
			"%s; that is looked at once more, and the network deleted then "
			"if it is not so any more",
			in_use.msg);
	*e = in_use;
	return -1;
}

int orders_network_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct network *out, struct err *e)
{
	CLEANUP(network_done) struct network n = { 0 };
	struct network_delete c = { .o = o, .who = who, .now = now };
	int r;

	if (orders_network_get(o, who, ref, &n, e) < 0)
		return -1;
	c.uuid = n.uuid;
	/* REQUESTED_DELETE: an earlier call was cut short, perhaps before the ports were
	 * looked for. In other states no VM can use it. */
	if ((n.status == NET_ACTIVE || n.status == NET_REQUESTED_DELETE) &&
		close_network(&c, e) < 0)
		return -1;
	r = run(&c, delete_fn, out, e);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}
