/*
 * Orders for networks: made, looked at, changed; and their open requests. Deleting them is in
 * network_delete.c. ucloud-network gives them their id and prefix.
 */
#include "common/base/buf.h"
#include "ucloud-api/network_order.h"

#define AT(member) offsetof(struct network, member)

#define DNS_FIELD                                                                        \
	{                                                                                \
		"dns", JT_STRV, AT(dns),                                                 \
			.max = 8, .check = ipv6_check,                                   \
			.help = "IPv6 addresses of DNS servers that its VMs are told of" \
	}

static const struct jtab_field input_fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .check = new_name_check,
		.help = "1-63 of a-z, 0-9 and -; unique among the owner's networks" },
	{ "ipam", JT_ENUM, AT(ipam), .names = network_ipam_names,
		.help = "auto (default): a /64 that its router announces, so that VMs "
			"get their addresses by themselves; manual: a /64 that is routed "
			"and not announced; none: no router, any traffic" },
	DNS_FIELD,
	{ 0 },
};
const struct jtab network_input_jtab = { "network_order", sizeof(struct network),
	input_fields };

static const struct jtab_field patch_fields[] = { DNS_FIELD, { 0 } };
const struct jtab network_patch_jtab = { "network_change", sizeof(struct network),
	patch_fields };

struct network_order {
	struct orders *o;
	const struct who *who;
	const char *ref;
	json_t *body;
	int64_t now;
	struct idem idem;
	char uuid[UUID_STR_SIZE];
	struct network input;
	struct network network; /* of the last run */
};

static void network_order_done(struct network_order *c)
{
	idem_done(&c->idem);
	network_done(&c->input);
	network_done(&c->network);
}

static int run(struct network_order *c, order_fn *fn, struct network *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0) {
		network_done(out);
		*out = c->network;
		c->network = (struct network){ 0 };
	}
	network_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

void put_network(const struct orders *o, struct draft *d, const struct network *n)
{
	CLEANUP_STR char *key = key_network(o->keys, n->uuid);
	CLEANUP_STR char *text = network_format(n);

	draft_same(d, key);
	draft_put(d, key, text);
}

/* ---------------------------------------------------------------- create */

/* Was it carried out already (Idempotency-Key, or an answer that was lost)? */
static int look_done(struct network_order *c, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;
	struct seen seen;
	int r = idem_look(&c->idem, d, &subject, e);

	if (r == 0 && draft_is_doubtful(d)) {
		CLEANUP_STR char *key = key_network(c->o->keys, c->uuid);

		if (!draft_see(d, key, &seen))
			return DRAFT_MORE;
		if (seen.value) {
			str_set(&subject, xstrdup(c->uuid));
			r = DRAFT_AS_IT_IS;
		}
	}
	if (r != DRAFT_AS_IT_IS)
		return r;
	r = find_network(c->o, d, c->who, subject, &c->network, e);
	return r == 0 ? DRAFT_AS_IT_IS : r;
}

static int look_name(
	const struct network_order *c, struct draft *d, const char *key, struct err *e)
{
	struct seen seen;

	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	if (!seen.value)
		return 0;
	return err_set_field(e, ERR_EXISTS, "name",
		"you have a network named \"%s\" already: choose another name",
		c->input.name);
}

static void build(struct network_order *c)
{
	struct network *n = &c->network;

	network_done(n);
	n->uuid = xstrdup(c->uuid);
	n->name = xstrdup(c->input.name);
	n->owner = xstrdup(c->who->name);
	n->owner_realm = xstrdup(c->who->realm);
	n->ipam = c->input.ipam;
	n->status = NET_REQUESTED_NEW;
	strv_copy(&n->dns, &c->input.dns);
	n->created = c->now;
}

static int create_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *name_key = NULL;
	CLEANUP_STR char *request_key = NULL;
	CLEANUP_STR char *request = NULL;
	struct network_order *c = aux;
	int r = look_done(c, d, e);

	name_key = key_network_name(c->who->realm, c->who->name, c->input.name);
	if (r == 0)
		r = look_name(c, d, name_key, e);
	if (r == 0)
		r = find_user(d, c->who->realm, c->who->name, c->now, &user, NULL, e);
	if (r != 0)
		return r;
	if (user_take(&user, user_quota(c->o, &user), &NETWORK_AMOUNTS, e) < 0 ||
		put_user(d, &user, e) < 0)
		return -1;
	build(c);
	put_network(c->o, d, &c->network);
	draft_same(d, name_key);
	draft_put(d, name_key, c->uuid);
	request_key = key_request_network(c->o->keys, c->uuid);
	request = request_new(REQ_CREATE_NETWORK, c->uuid, NULL, c->now, 0);
	draft_put(d, request_key, request);
	idem_write(&c->idem, d, c->uuid);
	return 0;
}

int orders_network_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct network *out, struct err *e)
{
	struct network_order c = { .o = o, .who = who, .now = now };
	const json_t *ipam = json_object_get(body, "ipam");

	if (jtab_parse(&network_input_jtab, body, JTAB_INPUT, &c.input, e) < 0 ||
		idem_init(o, who, "network", idempotency_key, body, now, &c.idem, e) <
			0) {
		network_order_done(&c);
		return -1;
	}
	if (!ipam || json_is_null(ipam))
		c.input.ipam = IPAM_AUTO;
	uuid_new(c.uuid);
	return run(&c, create_fn, out, e);
}

/* ---------------------------------------------------------------- look, change */

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	struct network_order *c = aux;
	int r = find_network(c->o, d, c->who, c->ref, &c->network, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_network_get(struct orders *o, const struct who *who, const char *ref,
	struct network *out, struct err *e)
{
	struct network_order c = { .o = o, .who = who, .ref = ref };

	return run(&c, get_fn, out, e) < 0 ? -1 : 0;
}

static int patch_fn(void *aux, struct draft *d, struct err *e)
{
	struct network_order *c = aux;
	int r = find_network(c->o, d, c->who, c->ref, &c->network, e);

	if (r != 0)
		return r;
	if (c->network.status == NET_REQUESTED_DELETE)
		return err_set(e, ERR_CONFLICT, "the network \"%s\" is being deleted",
			c->network.name);
	if (jtab_patch(&network_patch_jtab, c->body, &c->network, e) < 0)
		return -1;
	put_network(c->o, d, &c->network);
	return 0;
}

int orders_network_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, struct network *out, struct err *e)
{
	struct network_order c = { .o = o, .who = who, .ref = ref, .body = body };

	return run(&c, patch_fn, out, e);
}

/* ---------------------------------------------------------------- requests */

int find_network_request(const struct orders *o, struct draft *d, const struct who *who,
	const char *uuid, struct network *network, struct request *out, char **key,
	struct err *e)
{
	CLEANUP_STR char *request_key = key_request_network(o->keys, uuid);
	int r = find_network(o, d, who, uuid, network, e);

	if (r == 0)
		r = find_request(d, request_key, out, e);
	if (r == DRAFT_AS_IT_IS || (r < 0 && e->kind == ERR_NOT_FOUND))
		return err_set(e, ERR_NOT_FOUND, "no request is open for %s", uuid);
	if (r == 0 && key)
		*key = MOVE(request_key);
	return r;
}

/* ---------------------------------------------------------------- interfaces in it */

static int network_usable_check(const struct network *net, struct err *e)
{
	switch (net->status) {
	case NET_ACTIVE:
		return 0;
	case NET_REQUESTED_NEW:
		return err_set_field(e, ERR_CONFLICT, "networks",
			"the network \"%s\" is still being made", net->name);
	case NET_ERROR:
		return err_set_field(e, ERR_CONFLICT, "networks",
			"the network \"%s\" could not be made: %.300s", net->name,
			net->reason ? net->reason : "");
	default:
		return err_set_field(e, ERR_CONFLICT, "networks",
			"the network \"%s\" is being deleted", net->name);
	}
}

int look_usable_network(const struct orders *o, struct draft *d, const char *owner,
	const char *realm, const char *ref, struct network *out, struct err *e)
{
	const struct who who = { owner, realm, false };
	int r = find_network(o, d, &who, ref, out, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "networks",
			"%s@%s has no network \"%s\"", owner, realm, ref);
	return r == 0 ? network_usable_check(out, e) : r;
}

void put_port(struct draft *d, const struct vm *vm, size_t i)
{
	const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);
	CLEANUP_STR char *key = key_port(nic->network, nic->mac);
	CLEANUP_STR char *text = vm_port_format(vm, i);

	draft_put(d, key, text);
}
