/*
 * Networks: what a transaction may do to their entries, VXLAN ids, prefixes and ports, and what
 * must be so after each.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

static const char *status(const struct sim_net *n)
{
	return network_status_names[n->net.status];
}

/* ---------------------------------------------------------------- the entry */

static struct sim_net *new_net(struct sim *s, const char *uuid)
{
	struct sim_net *n = xcalloc(1, sizeof(*n));
	snprintf(n->uuid, sizeof(n->uuid), "%s", uuid);
	HASH_ADD_KEYPTR(hh, s->net_by_uuid, n->uuid, strlen(n->uuid), n);
	s->nets[s->n_nets++] = n;
	return n;
}

static bool rule_born(struct sim *s, const struct txn *t, const struct sim_net *n,
	const struct network *a)
{
	if (n->net.uuid && !n->may_be_gone)
		return sim_wrong(s, "%s was made twice", n->uuid);
	return ((!t->writer || t->writer->kind == NODE_API) &&
		       a->status == NET_REQUESTED_NEW && !a->vni &&
		       str_is_empty(a->prefix)) ||
	       sim_wrong(s, "%s began as %s", n->uuid, network_status_names[a->status]);
}

static bool rule_gone(struct sim *s, const struct txn *t, const struct sim_net *n)
{
	if ((t->writer && t->writer->kind != NODE_ROUTER) ||
		n->net.status != NET_REQUESTED_DELETE)
		return sim_wrong(s, "%s is gone, and was %s", n->uuid, status(n));
	return n->may_be_gone ||
	       sim_wrong(s, "%s is gone, and nobody had it deleted", n->uuid);
}

/* Who makes what of it. The API has it ERROR when the order is aborted. ACTIVE again, when it is
 * in use after all, has it the API, or when that died the router. */
static bool may_move(int from, int to, enum node_kind by)
{
	if (from == to)
		return true;
	if (by == NODE_ROUTER)
		return (from == NET_REQUESTED_DELETE && to == NET_ACTIVE) ||
		       ((from == NET_REQUESTED_NEW || from == NET_ERROR) &&
			       (to == NET_ACTIVE || to == NET_ERROR));
	return to == NET_REQUESTED_DELETE ||
	       (from == NET_REQUESTED_DELETE && to == NET_ACTIVE) ||
	       (from == NET_REQUESTED_NEW && to == NET_ERROR);
}

static bool rule_same(struct sim *s, const struct network *b, const struct network *a)
{
	bool is_same = str_eq(b->uuid, a->uuid) && str_eq(b->name, a->name) &&
		       str_eq(b->owner, a->owner) &&
		       str_eq(b->owner_realm, a->owner_realm) && b->ipam == a->ipam &&
		       b->created == a->created;
	bool is_kept = !b->vni || (b->vni == a->vni && b->mtu == a->mtu &&
					  str_eq(b->prefix ? b->prefix : "",
						  a->prefix ? a->prefix : ""));
	return (is_same && is_kept) ||
	       sim_wrong(s, "%s: what never changes was changed", a->uuid);
}

/* It was given its id and prefix: out of the pools of the one who did it. */
static bool rule_made(struct sim *s, const struct node *n, const struct network *a)
{
	const struct netrec_conf *c = &n->net_conf;
	uint64_t prefix = 0;
	bool is_right = a->status == NET_ACTIVE && n->kind == NODE_ROUTER &&
			a->vni >= c->vni_min && a->vni <= c->vni_max && a->mtu == SIM_MTU;
	if (a->ipam == IPAM_NONE)
		is_right &= str_is_empty(a->prefix);
	else
		is_right &= !str_is_empty(a->prefix) &&
			    alloc_prefix_parse(a->prefix, &prefix, NULL) == 0 &&
			    alloc_pools_has(&c->pools, prefix);
	return is_right ||
	       sim_wrong(s, "%s was given %lld, %s by %s", a->uuid, (long long)a->vni,
		       a->prefix ? a->prefix : "", n->name);
}

static bool rule_change(struct sim *s, const struct txn *t, const struct sim_net *n,
	const struct network *a)
{
	const struct network *b = &n->net;
	if (t->writer && !may_move(b->status, a->status, t->writer->kind))
		return sim_wrong(s, "%s went from %s to %s by %s", n->uuid, status(n),
			network_status_names[a->status], t->writer->name);
	return rule_same(s, b, a) &&
	       (!t->writer || b->vni == a->vni || rule_made(s, t->writer, a));
}

bool change_network(
	struct sim *s, const struct txn *t, const char *key, const char *value)
{
	CLEANUP(network_done) struct network after = { 0 };
	const char *uuid = strrchr(key, '/') + 1;
	struct sim_net *n = sim_find_net(s, uuid);
	struct err e;
	bool ok;

	if (value && network_parse(value, strlen(value), &after, &e))
		return sim_wrong(s, "%s: %s", key, e.msg);
	if (!n && (!value || s->n_nets == SIM_NETS))
		return sim_wrong(s, "%s goes and never was, or there are too many", key);
	if (!n)
		n = new_net(s, uuid);
	n->is_touched = true;
	if (!value)
		ok = rule_gone(s, t, n);
	else
		ok = n->exists ? rule_change(s, t, n, &after)
			       : rule_born(s, t, n, &after);
	n->exists = value;
	if (!value)
		return ok;
	network_done(&n->net);
	n->net = after;
	after = (struct network){ 0 };
	for (unsigned i = 0; i < SIM_USERS; i++)
		if (str_eq(n->net.owner, sim_user(i)))
			n->user = i;
	return ok;
}

bool change_network_name(
	struct sim *s, const char *key, const char *before, const char *after)
{
	struct sim_net *was = before ? sim_find_net(s, before) : NULL;
	struct sim_net *is = after ? sim_find_net(s, after) : NULL;
	if (was)
		was->is_touched = true;
	if (is)
		is->is_touched = true;
	return !after || is || sim_wrong(s, "%s is of %s, which never was", key, after);
}

bool change_network_request(struct sim *s, const struct kv_event *ev, const char *uuid)
{
	CLEANUP(request_done) struct request r = { 0 };
	const struct kv_pair *p = &ev->pair;
	struct sim_net *n = sim_find_net(s, uuid);
	struct err e;
	if (!n)
		return sim_wrong(s, "%s is for a network that never was", p->key);
	n->is_touched = true;
	n->has_request = !ev->is_delete;
	if (ev->is_delete)
		return true;
	if (request_parse(p->value, p->value_size, &r, &e))
		return sim_wrong(s, "%s: %s", p->key, e.msg);
	n->request_type = r.type;
	n->is_unchecked = r.is_unchecked;
	return str_eq(r.uuid, uuid) || sim_wrong(s, "%s is for %s", p->key, r.uuid);
}

/* ---------------------------------------------------------------- ids and prefixes */

static struct sim_alloc *alloc_of(struct sim *s, const char *key)
{
	struct sim_alloc *a;
	HASH_FIND_STR(s->allocs, key, a);
	if (a)
		return a;
	a = xcalloc(1, sizeof(*a));
	a->key = xstrdup(key);
	HASH_ADD_KEYPTR(hh, s->allocs, a->key, strlen(a->key), a);
	return a;
}

/* One key more or less that says that it is that network's. */
static void count(struct sim *s, enum sim_kind kind, const char *uuid, int add)
{
	struct sim_net *n = sim_find_net(s, uuid);
	if (!n)
		return;
	n->is_touched = true;
	if (kind == KIND_VNI)
		n->n_vnis += (unsigned)add;
	else
		n->n_prefixes += (unsigned)add;
}

static bool is_there(struct sim *s, const char *uuid)
{
	const struct sim_net *n = sim_find_net(s, uuid);
	return n && n->exists;
}

/* A leader that was about to write may have stood still for as long as its lease. */
static int64_t earliest_end(const struct sim *s)
{
	return s->now / 1000 + s->quarantine_sec - SIM_LEASE_SEC - 1;
}

static bool rule_taken(
	struct sim *s, const struct txn *t, const struct sim_alloc *a, const char *uuid)
{
	if (a->exists)
		return sim_wrong(s, "%s is of %s, and was %s", a->key, uuid,
			a->network[0] ? a->network : "resting");
	if (!t->writer)
		return true;
	if (s->now / 1000 < a->rests_until)
		return sim_wrong(s, "%s is used again %lld s too soon", a->key,
			(long long)(a->rests_until - s->now / 1000));
	return is_there(s, uuid) ||
	       sim_wrong(s, "%s is of %s, which is not there", a->key, uuid);
}

static bool rule_rests(
	struct sim *s, const struct sim_alloc *a, const struct allocation *now)
{
	if (!a->exists || !a->network[0])
		return sim_wrong(s, "%s rests, and was not in use", a->key);
	if (is_there(s, a->network))
		return sim_wrong(s, "%s rests, and %s is there", a->key, a->network);
	return now->free_at >= earliest_end(s) ||
	       sim_wrong(s, "%s rests %lld s too short", a->key,
		       (long long)(earliest_end(s) - now->free_at));
}

static bool rule_free(struct sim *s, const struct txn *t, const struct sim_alloc *a)
{
	if (!t->writer)
		return true;
	if (a->network[0])
		return (s->quarantine_sec == 0 && !is_there(s, a->network)) ||
		       sim_wrong(s, "%s is gone, and was of %s", a->key, a->network);
	return s->now / 1000 >= a->free_at ||
	       sim_wrong(s, "%s is gone %lld s too soon", a->key,
		       (long long)(a->free_at - s->now / 1000));
}

bool change_alloc(struct sim *s, const struct txn *t, enum sim_kind kind, const char *key,
	const char *value)
{
	CLEANUP(allocation_done) struct allocation now = { 0 };
	struct sim_alloc *a = alloc_of(s, key);
	struct err e;
	bool ok;
	if (value && allocation_parse(value, strlen(value), &now, &e))
		return sim_wrong(s, "%s: %s", key, e.msg);
	const char *uuid = now.network ? now.network : "";
	bool is_same = value && a->exists && str_eq(a->network, uuid) &&
		       a->free_at == now.free_at;
	if (!value)
		ok = rule_free(s, t, a);
	else if (is_same)
		ok = true;
	else
		ok = uuid[0] ? rule_taken(s, t, a, uuid) : rule_rests(s, a, &now);
	if (a->exists && a->network[0])
		count(s, kind, a->network, -1);
	if (value && uuid[0])
		count(s, kind, uuid, 1);
	if (a->network[0] && !uuid[0])
		a->rests_until = earliest_end(s);
	a->exists = value;
	a->free_at = now.free_at;
	snprintf(a->network, sizeof(a->network), "%s", uuid);
	return ok;
}

/* ---------------------------------------------------------------- ports */

/* The VM that a port says it is of. */
static struct sim_vm *vm_of(struct sim *s, const char *text)
{
	CLEANUP(json_decref_ptr)
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;
	const char *uuid = json_string_value(json_object_get(json, "vm"));
	struct sim_vm *v = uuid ? sim_find_vm(s, uuid) : NULL;
	if (v)
		v->is_touched = true;
	return v;
}

/* Users' orders make them; a host writes those again that a VM keeps. */
static bool rule_port_new(
	struct sim *s, const struct txn *t, const char *key, const struct sim_net *n)
{
	if (t->writer && t->writer->kind != NODE_API)
		return sim_wrong(s, "%s made %s", t->writer->name, key);
	return (n->exists && n->net.status == NET_ACTIVE) ||
	       sim_wrong(s, "%s is new in a network that is %s", key,
		       n->exists ? status(n) : "gone");
}

bool change_port(struct sim *s, const struct txn *t, const char *key, const char *before,
	const char *after)
{
	CLEANUP_STR char *uuid =
		xstrndup(key + strlen(KEY_PORT), strcspn(key + strlen(KEY_PORT), "/"));
	struct sim_net *n = sim_find_net(s, uuid);
	struct sim_vm *was = vm_of(s, before), *is = vm_of(s, after);
	if (!n || (before && !was) || (after && !is))
		return sim_wrong(s, "%s is of nobody: %s", key, after ? after : before);
	n->is_touched = true;
	if (was) {
		n->n_ports--;
		was->n_ports--;
	}
	if (is) {
		n->n_ports++;
		is->n_ports++;
	}
	return before || rule_port_new(s, t, key, n);
}

static bool rule_port(struct sim *s, const struct sim_vm *v, size_t i)
{
	const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &v->vm.networks, i);
	CLEANUP_STR char *key = key_port(nic->network, nic->mac);
	struct entry *e = history_find(s, key);
	CLEANUP(json_decref_ptr)
	json_t *is = e ? json_loads(e->value, 0, NULL) : NULL;
	CLEANUP(json_decref_ptr)
	json_t *want = json_pack("{s:s, s:I, s:s}", "vm", v->uuid, "index", (json_int_t)i,
		"address", nic->address ? nic->address : "");
	const struct sim_net *n = sim_find_net(s, nic->network);
	if (!is || !json_equal(is, want))
		return sim_wrong(s, "interface %zu of %s has the port %s", i, v->uuid,
			e ? e->value : "none");
	if (!n || !n->exists)
		return sim_wrong(s, "%s is in %s, which is gone", v->uuid, nic->network);
	bool has_address = !str_is_empty(nic->address);
	return (n->net.ipam == IPAM_AUTO) == has_address ||
	       sim_wrong(s, "%s has the address '%s' in %s", v->uuid,
		       has_address ? nic->address : "", n->uuid);
}

bool rule_ports(struct sim *s, const struct sim_vm *v)
{
	for (size_t i = 0; i < v->vm.networks.len; i++)
		if (!rule_port(s, v, i))
			return false;
	return v->n_ports == v->vm.networks.len ||
	       sim_wrong(s, "%s has %zu interfaces and %u ports", v->uuid,
		       v->vm.networks.len, v->n_ports);
}

/* A host parts with what is leaving, once it is gone from the domain; or leaves it. */
static bool rule_nic_by_host(struct sim *s, const struct txn *t, const struct vm *vm,
	const struct vm_nic *was, const struct vm_nic *is)
{
	CLEANUP(strv_done) struct strv macs = { 0 };
	if (is)
		return is->is_leaving <= was->is_leaving;
	fake_hyper_nics(s->hypers[t->writer->i], vm->uuid, &macs);
	return was->is_leaving && !strv_has(&macs, was->mac);
}

/* Users have those of a STOPPED VM changed at once. */
static bool rule_nic_by_api(
	const struct vm *vm, const struct vm_nic *was, const struct vm_nic *is)
{
	return is ? is->is_leaving >= was->is_leaving : vm->status == VM_STOPPED;
}

static bool rule_nic(struct sim *s, const struct txn *t, const struct vm *b,
	const struct vm *a, const struct vm_nic *was)
{
	const struct vm_nic *is = vm_find_nic(a, was->mac);
	if (is && !str_eq(is->network, was->network))
		return false;
	switch (t->writer->kind) {
	case NODE_API:
		return rule_nic_by_api(b, was, is);
	case NODE_HOST:
		return rule_nic_by_host(s, t, b, was, is);
	default:
		return is && is->is_leaving == was->is_leaving;
	}
}

bool rule_nics(struct sim *s, const struct txn *t, const struct vm *b, const struct vm *a)
{
	size_t n_kept = 0;
	bool is_right = true;
	for (size_t i = 0; t->writer && is_right && i < b->networks.len; i++) {
		const struct vm_nic *was = jtab_list_at(&vm_nic_jtab, &b->networks, i);
		n_kept += vm_find_nic(a, was->mac) != NULL;
		is_right = rule_nic(s, t, b, a, was);
	}
	if (t->writer && t->writer->kind != NODE_API)
		is_right &= n_kept == a->networks.len;
	return is_right || sim_wrong(s, "%s changed the interfaces of %s, which is %s",
				   t->writer->name, a->uuid, vm_status_names[b->status]);
}

/* ---------------------------------------------------------------- keys that go together */

/* What each state has, and needs to go on. A deletion that was cut short has no request. */
static bool rule_state(struct sim *s, const struct sim_net *n)
{
	const struct network *net = &n->net;
	bool is_create = n->has_request && n->request_type == REQ_CREATE_NETWORK;
	bool is_delete = n->has_request && n->request_type == REQ_DELETE_NETWORK;
	bool is_right = true;
	switch ((enum network_status)net->status) {
	case NET_REQUESTED_NEW:
		is_right = is_create && !net->vni;
		break;
	case NET_ACTIVE:
		is_right = !n->has_request && net->vni;
		break;
	case NET_ERROR:
		is_right = (is_create || (!n->has_request && n->may_fail)) && !net->vni &&
			   !str_is_empty(net->reason);
		break;
	case NET_REQUESTED_DELETE:
		is_right = is_delete;
		break;
	}
	if (!is_right)
		return sim_wrong(s, "%s is %s with %s, id %lld", n->uuid, status(n),
			n->has_request ? request_type_names[n->request_type]
				       : "no request",
			(long long)net->vni);
	return !is_delete || n->is_unchecked || !n->n_ports ||
	       sim_wrong(s, "%s is to be deleted and has %u ports", n->uuid, n->n_ports);
}

static bool is_of(struct sim *s, char *key, const struct sim_net *n)
{
	bool is_right = str_eq(alloc_of(s, key)->network, n->uuid) ||
			sim_wrong(s, "%s does not have %s", n->uuid, key);
	free(key);
	return is_right;
}

static bool rule_allocated(struct sim *s, const struct sim_net *n)
{
	const struct network *net = &n->net;
	bool has_prefix = !str_is_empty(net->prefix);
	if (n->n_vnis != (net->vni > 0) || n->n_prefixes != has_prefix)
		return sim_wrong(s, "%s has %u ids and %u prefixes, its entry %lld, '%s'",
			n->uuid, n->n_vnis, n->n_prefixes, (long long)net->vni,
			has_prefix ? net->prefix : "");
	return (!net->vni || is_of(s, key_vni(net->vni), n)) &&
	       (!has_prefix || is_of(s, key_prefix(net->prefix), n));
}

static bool rule_net(struct sim *s, const struct sim_net *n)
{
	CLEANUP_STR char *name =
		key_network_name(n->net.owner_realm, n->net.owner, n->net.name);
	const struct entry *e = history_find(s, name);
	bool has_name = e && str_eq(e->value, n->uuid);
	if (n->exists)
		return (has_name || sim_wrong(s, "%s does not have its name", n->uuid)) &&
		       rule_state(s, n) && rule_allocated(s, n);
	return (!has_name && !n->has_request && !n->n_vnis && !n->n_prefixes &&
		       !n->n_ports) ||
	       sim_wrong(s, "%s is gone, its %s is not", n->uuid,
		       has_name		? "name"
		       : n->has_request ? "request"
		       : n->n_ports	? "port"
					: "id or prefix");
}

bool rule_nets(struct sim *s)
{
	for (unsigned i = 0; i < s->n_nets; i++) {
		struct sim_net *n = s->nets[i];
		if (n->is_touched && !rule_net(s, n))
			return false;
		n->is_touched = false;
	}
	return true;
}

void nets_close(struct sim *s)
{
	struct sim_alloc *a, *next;
	HASH_CLEAR(hh, s->net_by_uuid);
	for (unsigned i = 0; i < s->n_nets; i++) {
		network_done(&s->nets[i]->net);
		free(s->nets[i]);
	}
	HASH_ITER (hh, s->allocs, a, next) {
		HASH_DEL(s->allocs, a);
		free(a->key);
		free(a);
	}
}
