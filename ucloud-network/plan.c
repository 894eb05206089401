#include "ucloud-network/plan.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/parse.h"

const char *const step_names[] = {
	[STEP_DEL] = "delete",
	[STEP_ADD_BRIDGE] = "add_bridge",
	[STEP_ADD_VXLAN] = "add_vxlan",
	[STEP_PLAIN] = "bridge_settings",
	[STEP_IPV6] = "ipv6",
	[STEP_MTU] = "mtu",
	[STEP_MASTER] = "master",
	[STEP_UP] = "up",
	[STEP_ALIAS] = "alias",
	NULL,
};

/* ---------------------------------------------------------------- lists */

void links_done(struct links *l)
{
	for (size_t i = 0; i < l->len; i++)
		free(l->v[i].alias);
	free(l->v);
	*l = (struct links){ 0 };
}

const struct link *links_find(const struct links *l, const char *name)
{
	for (size_t i = 0; i < l->len; i++)
		if (str_eq(l->v[i].name, name))
			return &l->v[i];
	return NULL;
}

void plan_idle_done(struct plan_idle *idle)
{
	free(idle->v);
	*idle = (struct plan_idle){ 0 };
}

void plan_done(struct plan *p)
{
	for (size_t i = 0; i < p->n_problems; i++)
		free(p->problems[i].text);
	free(p->problems);
	free(p->steps);
	*p = (struct plan){ 0 };
}

const char *plan_problem_of(const struct plan *p, int64_t vni)
{
	for (size_t i = 0; i < p->n_problems; i++)
		if (p->problems[i].vni == vni)
			return p->problems[i].text;
	return NULL;
}

static void add_problem(struct plan *p, int64_t vni, char *text)
{
	p->problems = xreallocarray(p->problems, p->n_problems + 1, sizeof(*p->problems));
	p->problems[p->n_problems++] = (struct plan_problem){ vni, text };
}

static struct step *add_step(
	struct plan *p, enum step_kind kind, int64_t vni, const char *name)
{
	struct step *s;

	p->steps = xreallocarray(p->steps, p->len + 1, sizeof(*p->steps));
	s = &p->steps[p->len++];
	*s = (struct step){ .kind = kind, .vni = vni };
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

/* ---------------------------------------------------------------- whose is it? */

int64_t plan_vni_of(const char *name, const char *prefix)
{
	int64_t vni;

	if (!str_has_prefix(name, prefix))
		return 0;
	name += strlen(prefix);
	if (name[0] < '1' || name[0] > '9' ||
		parse_int64(name, 1, 16777215, &vni, NULL) < 0)
		return 0;
	return vni;
}

static bool is_our_bridge(const struct link *l)
{
	return l->kind == LINK_BRIDGE && l->group == PLAN_GROUP &&
	       plan_vni_of(l->name, "ucb") != 0;
}

static bool is_our_vxlan(const struct link *l)
{
	return l->kind == LINK_VXLAN && l->group == PLAN_GROUP &&
	       plan_vni_of(l->name, "ucv") != 0;
}

void plan_bridge_mac(const char *host, int64_t vni, unsigned char mac[6])
{
	/* FNV-1a: spreads, and stays the same. */
	uint32_t h = 2166136261u;

	for (const char *c = host; *c; c++)
		h = (h ^ (unsigned char)*c) * 16777619u;
	for (int i = 0; i < 3; i++)
		h = (h ^ (uint32_t)(vni >> (8 * i) & 0xff)) * 16777619u;
	memcpy(mac, (unsigned char[]){ 0x02, 0x75, 0xc1 }, 3);
	mac[3] = (unsigned char)(h >> 16);
	mac[4] = (unsigned char)(h >> 8);
	mac[5] = (unsigned char)h;
}

/* ---------------------------------------------------------------- one network */

struct one {
	const struct want_net *net;
	const struct plan_conf *conf;
	const struct link *bridge, *vxlan; /* NULL: not there */
	char bridge_name[NETWORK_NAME_SIZE], vxlan_name[NETWORK_NAME_SIZE];
	struct in6_addr flood_to;
};

static void one_init(struct one *o, const struct want_net *net, const struct links *there,
	const struct plan_conf *conf)
{
	CLEANUP_STR char *group = network_group(net->vni);

	*o = (struct one){ .net = net, .conf = conf };
	network_bridge_name(net->vni, o->bridge_name);
	network_vxlan_name(net->vni, o->vxlan_name);
	o->bridge = links_find(there, o->bridge_name);
	o->vxlan = links_find(there, o->vxlan_name);
	if (!conf->is_unicast)
		assert(inet_pton(AF_INET6, group, &o->flood_to) == 1);
}

static bool same_address(const struct in6_addr *a, const struct in6_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* What cannot be changed once it is made. */
static bool is_right_vxlan(const struct one *o)
{
	const struct link *v = o->vxlan;

	return v->vni == o->net->vni && v->lower == o->conf->underlay &&
	       v->port == NETWORK_VXLAN_PORT &&
	       same_address(&v->flood_to, &o->flood_to) &&
	       same_address(&v->local, &o->conf->local);
}

static bool is_foreign(const struct one *o, struct plan *p)
{
	const char *name = NULL;

	if (o->bridge && !is_our_bridge(o->bridge))
		name = o->bridge_name;
	else if (o->vxlan && !is_our_vxlan(o->vxlan))
		name = o->vxlan_name;
	if (name)
		add_problem(p, o->net->vni,
			xasprintf("an interface %s is there that ucloud-network did not "
				  "make: remove or rename it",
				name));
	return name != NULL;
}

static void plan_ipv6(struct plan *p, const struct one *o, const struct link *l,
	const char *name, bool is_on)
{
	bool is_right = l && (is_on ? !l->is_ipv6_off && l->is_ra_off : l->is_ipv6_off);

	if (!is_right)
		add_step(p, STEP_IPV6, o->net->vni, name)->is_on = is_on;
}

static void plan_mtu(
	struct plan *p, const struct one *o, const struct link *l, const char *name)
{
	if (l && l->mtu != o->net->mtu)
		add_step(p, STEP_MTU, o->net->vni, name)->mtu = o->net->mtu;
}

static void plan_up(
	struct plan *p, const struct one *o, const struct link *l, const char *name)
{
	if (!l || !l->is_up)
		add_step(p, STEP_UP, o->net->vni, name);
}

static void plan_bridge(struct plan *p, struct one *o)
{
	struct step *s;

	if (!o->bridge) {
		s = add_step(p, STEP_ADD_BRIDGE, o->net->vni, o->bridge_name);
		s->mtu = o->net->mtu;
		plan_bridge_mac(o->conf->host, o->net->vni, s->mac);
	} else if (!o->bridge->is_plain) {
		add_step(p, STEP_PLAIN, o->net->vni, o->bridge_name);
	}
	plan_ipv6(p, o, o->bridge, o->bridge_name, o->net->is_routed);
}

static void plan_vxlan(struct plan *p, struct one *o)
{
	struct step *s;

	if (o->vxlan && !is_right_vxlan(o)) {
		add_step(p, STEP_DEL, o->net->vni, o->vxlan_name);
		o->vxlan = NULL;
	}
	if (!o->vxlan) {
		s = add_step(p, STEP_ADD_VXLAN, o->net->vni, o->vxlan_name);
		s->mtu = o->net->mtu;
		s->flood_to = o->flood_to;
	}
	plan_ipv6(p, o, o->vxlan, o->vxlan_name, false);
}

/* In no bridge, or in that of another network; one that is not ours is its owner's business. */
static bool is_astray(
	const struct links *there, const struct one *o, const struct link *tap)
{
	for (size_t i = 0; i < there->len; i++)
		if (tap->master != 0 && there->v[i].index == tap->master)
			return is_our_bridge(&there->v[i]) && &there->v[i] != o->bridge;
	return tap->master == 0;
}

/* Taps of VMs that lost their bridge: libvirt puts them into it before they are up. */
static void plan_taps(const struct wanted *w, const struct links *there,
	const struct one *o, struct plan *p)
{
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct link *tap;
		struct step *s;

		if (w->ports[i].vni != o->net->vni)
			continue;
		tap = links_find(there, w->ports[i].tap);
		if (!tap || !tap->is_up || !is_astray(there, o, tap))
			continue;
		s = add_step(p, STEP_MASTER, o->net->vni, tap->name);
		snprintf(s->master, sizeof(s->master), "%s", o->bridge_name);
	}
}

static void plan_net(const struct want_net *net, const struct wanted *w,
	const struct links *there, const struct plan_conf *conf, struct plan *p)
{
	struct one o;
	struct step *s;

	if (net->problem)
		add_problem(p, net->vni, xstrdup(net->problem));
	one_init(&o, net, there, conf);
	if (net->problem || is_foreign(&o, p))
		return;
	plan_bridge(p, &o);
	plan_vxlan(p, &o);
	if (!o.bridge || !o.vxlan || o.vxlan->master != o.bridge->index) {
		s = add_step(p, STEP_MASTER, net->vni, o.vxlan_name);
		snprintf(s->master, sizeof(s->master), "%s", o.bridge_name);
	}
	plan_mtu(p, &o, o.vxlan, o.vxlan_name);
	plan_mtu(p, &o, o.bridge, o.bridge_name);
	plan_up(p, &o, o.vxlan, o.vxlan_name);
	plan_up(p, &o, o.bridge, o.bridge_name);
	plan_taps(w, there, &o, p);
	if (!o.bridge || !str_eq(o.bridge->alias, net->uuid)) {
		s = add_step(p, STEP_ALIAS, net->vni, o.bridge_name);
		snprintf(s->alias, sizeof(s->alias), "%s", net->uuid);
	}
}

/* ---------------------------------------------------------------- what goes */

static struct plan_since *find_idle(const struct plan_idle *idle, int64_t vni)
{
	for (size_t i = 0; i < idle->len; i++)
		if (idle->v[i].vni == vni)
			return &idle->v[i];
	return NULL;
}

static int64_t idle_since(struct plan_idle *idle, int64_t vni, int64_t now_msec)
{
	struct plan_since *s = find_idle(idle, vni);

	if (s)
		return s->since_msec;
	idle->v = xreallocarray(idle->v, idle->len + 1, sizeof(*idle->v));
	idle->v[idle->len++] = (struct plan_since){ vni, now_msec };
	return now_msec;
}

static void forget_idle(struct plan_idle *idle, int64_t vni)
{
	struct plan_since *s = find_idle(idle, vni);

	if (s)
		*s = idle->v[--idle->len];
}

/* Has the bridge a port that is not our VXLAN: a VM's tap, or somebody's own? */
static bool has_other_ports(const struct links *there, const struct link *bridge)
{
	char vxlan[NETWORK_NAME_SIZE];

	network_vxlan_name(plan_vni_of(bridge->name, "ucb"), vxlan);
	for (size_t i = 0; i < there->len; i++)
		if (there->v[i].master == bridge->index &&
			!str_eq(there->v[i].name, vxlan))
			return true;
	return false;
}

/* One of ours that nobody wants: the bridge first, since it is what says "ready". */
static void plan_gone(const struct links *there, const struct plan_conf *conf,
	int64_t vni, const struct link *l, int64_t now_msec, struct plan_idle *idle,
	struct plan *p)
{
	int64_t at_msec = idle_since(idle, vni, now_msec) + conf->linger_msec;
	char name[NETWORK_NAME_SIZE];
	const struct link *bridge;

	network_bridge_name(vni, name);
	bridge = links_find(there, name);
	if (now_msec < at_msec) {
		if (p->next_msec < 0 || at_msec < p->next_msec)
			p->next_msec = at_msec;
		return;
	}
	if (bridge && has_other_ports(there, bridge))
		return;
	add_step(p, STEP_DEL, vni, l->name);
}

static void plan_removal(const struct wanted *w, const struct links *there,
	const struct plan_conf *conf, int64_t now_msec, struct plan_idle *idle,
	struct plan *p)
{
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < there->len; i++) {
			const struct link *l = &there->v[i];
			int64_t vni = plan_vni_of(l->name, pass == 0 ? "ucb" : "ucv");

			if (vni && (pass == 0 ? is_our_bridge(l) : is_our_vxlan(l)) &&
				!wanted_find_net(w, vni))
				plan_gone(there, conf, vni, l, now_msec, idle, p);
		}
}

void plan_links(const struct wanted *w, const struct links *there,
	const struct plan_conf *conf, bool may_remove, int64_t now_msec,
	struct plan_idle *idle, struct plan *out)
{
	*out = (struct plan){ .next_msec = -1 };
	for (size_t i = 0; i < w->n_nets; i++) {
		forget_idle(idle, w->nets[i].vni);
		plan_net(&w->nets[i], w, there, conf, out);
	}
	if (may_remove)
		plan_removal(w, there, conf, now_msec, idle, out);
}
