/* From wanted networks and present interfaces to steps. */
#include "ucloud-network/plan.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UUID  "11111111-1111-4111-8111-111111111111"
#define OTHER "22222222-2222-4222-8222-222222222222"
#define LOWER 2
#define TAP   "uct525400000001"

static struct plan_conf conf = { .underlay = LOWER, .linger_msec = 1000, .host = "h1" };

static struct in6_addr group_of(int64_t vni)
{
	CLEANUP_STR char *text = network_group(vni);
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return a;
}

static struct link *add_link(struct links *l, int index, const char *name)
{
	l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
	l->v[l->len] = (struct link){ .index = index, .mtu = 1430, .is_up = true };
	snprintf(l->v[l->len].name, sizeof(l->v[l->len].name), "%s", name);
	return &l->v[l->len++];
}

/* The interfaces of network 7 as they should be: ucb7 is index 10, ucv7 11. */
static void add_right(struct links *l)
{
	struct link *b = add_link(l, 10, "ucb7"), *v;

	b->kind = LINK_BRIDGE;
	b->group = PLAN_GROUP;
	b->is_plain = b->is_ipv6_off = true;
	b->alias = xstrdup(UUID);
	v = add_link(l, 11, "ucv7");
	v->kind = LINK_VXLAN;
	v->group = PLAN_GROUP;
	v->is_ipv6_off = true;
	v->vni = 7;
	v->master = 10;
	v->lower = LOWER;
	v->port = NETWORK_VXLAN_PORT;
	v->flood_to = group_of(7);
}

static struct link *at(struct links *l, const char *name)
{
	for (size_t i = 0; i < l->len; i++)
		if (str_eq(l->v[i].name, name))
			return &l->v[i];
	return NULL;
}

static void take(struct links *l, const char *name)
{
	struct link *gone = at(l, name);

	free(gone->alias);
	*gone = l->v[--l->len];
}

/* "add_bridge ucb7, ipv6 ucb7 off, ..." */
static char *text_of(const struct plan *p)
{
	struct buf out = { 0 };

	for (size_t i = 0; i < p->len; i++) {
		const struct step *s = &p->steps[i];

		buf_addf(&out, "%s%s %s", i ? ", " : "", step_names[s->kind], s->name);
		if (s->kind == STEP_IPV6)
			buf_add_str(&out, s->is_on ? " on" : " off");
		if (s->mtu)
			buf_addf(&out, " %d", (int)s->mtu);
		if (s->master[0])
			buf_addf(&out, " %s", s->master);
		if (s->alias[0])
			buf_addf(&out, " %.8s", s->alias);
	}
	for (size_t i = 0; i < p->n_problems; i++)
		buf_addf(&out, "%sproblem %d", out.size ? ", " : "",
			(int)p->problems[i].vni);
	return buf_take(&out);
}

static void expect(const struct wanted *w, const struct links *l, bool may_remove,
	int64_t now_msec, struct plan_idle *idle, const char *steps)
{
	CLEANUP(plan_done) struct plan p = { 0 };
	CLEANUP_STR char *text = NULL;

	plan_links(w, l, &conf, may_remove, now_msec, idle, &p);
	text = text_of(&p);
	assert_string_equal(text, steps);
}

#define NEW                                                                              \
	"add_bridge ucb7 1430, ipv6 ucb7 off, add_vxlan ucv7 1430, ipv6 ucv7 off, "      \
	"master ucv7 ucb7, up ucv7, up ucb7, alias ucb7 11111111"

enum what {
	NOTHING,
	RIGHT,
	NO_BRIDGE,
	NO_VXLAN,
	NO_ALIAS,
	HALF_BRIDGE,
	BRIDGE_MTU,
	VXLAN_MTU,
	BRIDGE_DOWN,
	VXLAN_DOWN,
	NO_MASTER,
	SNOOPING,
	IPV6_ON,
	WRONG_ID,
	WRONG_GROUP,
	WRONG_LOWER,
	WRONG_LOCAL,
	WRONG_ALIAS,
	FOREIGN_BRIDGE,
	FOREIGN_KIND,
	FOREIGN_VXLAN,
	ORPHAN_TAP,
	OTHER_TAP,
	FOREIGN_TAP,
	ASTRAY_TAP,
	DOWN_TAP
};

static const struct {
	enum what what;
	const char *steps;
} heal[] = {
	{ NOTHING, NEW },
	{ RIGHT, "" },
	{ NO_BRIDGE, "add_bridge ucb7 1430, ipv6 ucb7 off, master ucv7 ucb7, up ucb7, "
		     "alias ucb7 11111111" },
	{ NO_VXLAN, "add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 ucb7, up ucv7" },
	{ NO_ALIAS, "alias ucb7 11111111" },
	{ HALF_BRIDGE, "ipv6 ucb7 off, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 "
		       "ucb7, up ucv7, up ucb7, alias ucb7 11111111" },
	{ BRIDGE_MTU, "mtu ucb7 1430" },
	{ VXLAN_MTU, "mtu ucv7 1430" },
	{ BRIDGE_DOWN, "up ucb7" },
	{ VXLAN_DOWN, "up ucv7" },
	{ NO_MASTER, "master ucv7 ucb7" },
	{ SNOOPING, "bridge_settings ucb7" },
	{ IPV6_ON, "ipv6 ucb7 off" },
	{ WRONG_ID, "delete ucv7, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 ucb7, "
		    "up ucv7" },
	{ WRONG_GROUP, "delete ucv7, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 "
		       "ucb7, up ucv7" },
	{ WRONG_LOWER, "delete ucv7, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 "
		       "ucb7, up ucv7" },
	{ WRONG_LOCAL, "delete ucv7, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 "
		       "ucb7, up ucv7" },
	{ WRONG_ALIAS, "alias ucb7 11111111" },
	{ FOREIGN_BRIDGE, "problem 7" },
	{ FOREIGN_KIND, "problem 7" },
	{ FOREIGN_VXLAN, "problem 7" },
	{ ORPHAN_TAP, "master " TAP " ucb7" },
	{ OTHER_TAP, "" },
	{ FOREIGN_TAP, "" },
	{ ASTRAY_TAP, "master " TAP " ucb7" },
	{ DOWN_TAP, "" },
};

static void break_it(struct links *l, enum what what)
{
	struct link *b = at(l, "ucb7"), *v = at(l, "ucv7");

	switch (what) {
	case NOTHING:
		take(l, "ucv7");
		take(l, "ucb7");
		break;
	case RIGHT:
		break;
	case NO_BRIDGE:
		v->master = 0;
		take(l, "ucb7");
		break;
	case NO_VXLAN:
		take(l, "ucv7");
		break;
	case NO_ALIAS:
		str_set(&b->alias, NULL);
		break;
	case HALF_BRIDGE:
		str_set(&b->alias, NULL);
		b->is_ipv6_off = b->is_up = false;
		take(l, "ucv7");
		break;
	case BRIDGE_MTU:
		b->mtu = 1300;
		break;
	case VXLAN_MTU:
		v->mtu = 1300;
		break;
	case BRIDGE_DOWN:
		b->is_up = false;
		break;
	case VXLAN_DOWN:
		v->is_up = false;
		break;
	case NO_MASTER:
		v->master = 0;
		break;
	case SNOOPING:
		b->is_plain = false;
		break;
	case IPV6_ON:
		b->is_ipv6_off = false;
		break;
	case WRONG_ID:
		v->vni = 8;
		break;
	case WRONG_GROUP:
		v->flood_to = group_of(8);
		break;
	case WRONG_LOWER:
		v->lower = 3;
		break;
	case WRONG_LOCAL:
		v->local.s6_addr[15] = 9;
		break;
	case WRONG_ALIAS:
		str_set(&b->alias, xstrdup(OTHER));
		break;
	case FOREIGN_BRIDGE:
		b->group = 0;
		break;
	case FOREIGN_KIND:
		b->kind = LINK_OTHER;
		break;
	case FOREIGN_VXLAN:
		v->group = 0;
		break;
	case ORPHAN_TAP:
		add_link(l, 12, TAP);
		break;
	case OTHER_TAP:
		add_link(l, 12, TAP)->master = 10;
		break;
	case FOREIGN_TAP:
		add_link(l, 12, TAP)->master = 13;
		add_link(l, 13, "br0")->kind = LINK_BRIDGE;
		break;
	case ASTRAY_TAP:
		add_link(l, 12, TAP)->master = 13;
		b = add_link(l, 13, "ucb8");
		b->kind = LINK_BRIDGE;
		b->group = PLAN_GROUP;
		break;
	case DOWN_TAP:
		add_link(l, 12, TAP)->is_up = false;
		break;
	}
}

static void add_net(struct wanted *w, int64_t vni, bool is_routed)
{
	struct network n = { .uuid = xstrdup(UUID), .vni = vni, .mtu = 1430 };

	wanted_add_net(w, &n, is_routed ? "router" : "host", is_routed, 1500);
	free(n.uuid);
}

static void add_port(struct wanted *w)
{
	w->ports = xreallocarray(w->ports, w->n_ports + 1, sizeof(*w->ports));
	w->ports[w->n_ports] = (struct want_port){ .vni = 7 };
	snprintf(w->ports[w->n_ports++].tap, NETWORK_NAME_SIZE, TAP);
}

static void what_is_wrong_is_mended(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(heal); i++) {
		CLEANUP(wanted_done) struct wanted w = { 0 };
		CLEANUP(links_done) struct links l = { 0 };
		CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };

		add_link(&l, LOWER, "eth0");
		add_right(&l);
		break_it(&l, heal[i].what);
		add_net(&w, 7, false);
		add_port(&w);
		expect(&w, &l, true, 0, &idle, heal[i].steps);
	}
}

/* With IPv6 on, and no router advertisements heard. */
static void routers_speak_ipv6(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	(void)state;

	add_right(&l);
	add_net(&w, 7, false);
	add_net(&w, 7, true);
	assert_int_equal(w.nets[0].roles.len, 2);
	expect(&w, &l, true, 0, &idle, "ipv6 ucb7 on");
	at(&l, "ucb7")->is_ipv6_off = false;
	expect(&w, &l, true, 0, &idle, "ipv6 ucb7 on");
	at(&l, "ucb7")->is_ra_off = true;
	expect(&w, &l, true, 0, &idle, "");
}

static void unicast_has_no_group(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	(void)state;

	add_right(&l);
	add_net(&w, 7, false);
	conf.is_unicast = true;
	expect(&w, &l, true, 0, &idle,
		"delete ucv7, add_vxlan ucv7 1430, ipv6 ucv7 off, master ucv7 ucb7, up "
		"ucv7");
	at(&l, "ucv7")->flood_to = (struct in6_addr){ 0 };
	expect(&w, &l, true, 0, &idle, "");
	conf.is_unicast = false;
}

/* Some time after it was wanted last; at once never, with a VM's tap in it never. */
static void what_nobody_wants_goes(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 }, none = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	(void)state;

	add_right(&l);
	add_net(&w, 7, false);
	expect(&none, &l, false, 0, &idle, "");
	expect(&none, &l, true, 5000, &idle, "");
	expect(&none, &l, true, 5999, &idle, "");
	expect(&w, &l, true, 6500, &idle, "");
	expect(&none, &l, true, 7000, &idle, "");
	expect(&none, &l, true, 7999, &idle, "");
	add_link(&l, 12, TAP)->master = 10;
	expect(&none, &l, true, 8000, &idle, "");
	take(&l, TAP);
	expect(&none, &l, true, 8000, &idle, "delete ucb7, delete ucv7");
	expect(&none, &l, false, 8000, &idle, "");
}

static void next_look_is_when_it_goes(void **state)
{
	CLEANUP(wanted_done) struct wanted none = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	CLEANUP(plan_done) struct plan p = { 0 };
	(void)state;

	add_right(&l);
	plan_links(&none, &l, &conf, true, 5000, &idle, &p);
	assert_int_equal(p.next_msec, 6000);
}

/* Names that only look like ours, and ours that another program made. */
static void foreign_ones_stay(void **state)
{
	static const char *const names[] = { "ucb", "ucb0", "ucb07", "ucbx",
		"ucb16777216", "br0", "ucb7x", "ucb-7" };
	CLEANUP(wanted_done) struct wanted none = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct link *b = add_link(&l, 20 + (int)i, names[i]);

		b->kind = LINK_BRIDGE;
		b->group = PLAN_GROUP;
	}
	add_right(&l);
	at(&l, "ucb7")->group = at(&l, "ucv7")->group = 0;
	expect(&none, &l, true, 0, &idle, "");
	expect(&none, &l, true, 1000000, &idle, "");
}

static void too_large_for_the_underlay(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(links_done) struct links l = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	CLEANUP(plan_done) struct plan p = { 0 };
	struct network n = { .uuid = xstrdup(UUID), .vni = 7, .mtu = 8930 };
	(void)state;

	wanted_add_net(&w, &n, "host", false, 1500);
	free(n.uuid);
	plan_links(&w, &l, &conf, true, 0, &idle, &p);
	assert_int_equal(p.len, 0);
	assert_non_null(strstr(plan_problem_of(&p, 7), "9000"));
	assert_null(plan_problem_of(&p, 8));
}

static void bridges_have_macs_of_their_own(void **state)
{
	unsigned char a[6], b[6], again[6];
	(void)state;

	plan_bridge_mac("h1", 7, a);
	plan_bridge_mac("h2", 7, b);
	plan_bridge_mac("h1", 7, again);
	assert_memory_equal(a, again, 6);
	assert_memory_not_equal(a, b, 6);
	assert_memory_equal(a, "\x02\x75\xc1", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_mended),
		cmocka_unit_test(routers_speak_ipv6),
		cmocka_unit_test(unicast_has_no_group),
		cmocka_unit_test(what_nobody_wants_goes),
		cmocka_unit_test(next_look_is_when_it_goes),
		cmocka_unit_test(foreign_ones_stay),
		cmocka_unit_test(too_large_for_the_underlay),
		cmocka_unit_test(bridges_have_macs_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
