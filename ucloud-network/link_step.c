#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <string.h>

#include "common/base/crash.h"
#include "ucloud-network/link_impl.h"

/* Each step is one message, but for STEP_IPV6: a crash leaves it done or not done. */

static void put_info(struct nl_msg *msg, int index, unsigned flags)
{
	struct ifinfomsg info = {
		.ifi_family = AF_UNSPEC,
		.ifi_index = index,
		.ifi_flags = flags,
		.ifi_change = flags,
	};

	nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
}

static struct nl_msg *change(int index, unsigned flags)
{
	struct nl_msg *msg = link_msg(RTM_NEWLINK, 0);

	put_info(msg, index, flags);
	return msg;
}

static struct nl_msg *create(const struct step *s)
{
	struct nl_msg *msg = link_msg(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);

	put_info(msg, 0, 0);
	nla_put_string(msg, IFLA_IFNAME, s->name);
	nla_put_u32(msg, IFLA_MTU, (uint32_t)s->mtu);
	nla_put_u32(msg, IFLA_GROUP, PLAN_GROUP);
	return msg;
}

static void put_plain(struct nl_msg *msg)
{
	struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
	struct nlattr *data;

	nla_put_string(msg, IFLA_INFO_KIND, "bridge");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	nla_put_u32(msg, IFLA_BR_FORWARD_DELAY, 0);
	nla_put_u32(msg, IFLA_BR_STP_STATE, 0);
	nla_put_u8(msg, IFLA_BR_MCAST_SNOOPING, 0);
	nla_nest_end(msg, data);
	nla_nest_end(msg, info);
}

static void put_vxlan(
	struct nl_msg *msg, const struct step *s, const struct plan_conf *conf)
{
	struct nlattr *info = nla_nest_start(msg, IFLA_LINKINFO);
	struct in6_addr none = { 0 };
	struct nlattr *data;

	nla_put_string(msg, IFLA_INFO_KIND, "vxlan");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	nla_put_u32(msg, IFLA_VXLAN_ID, (uint32_t)s->vni);
	if (memcmp(&none, &s->flood_to, sizeof(none)) != 0)
		nla_put(msg, IFLA_VXLAN_GROUP6, sizeof(s->flood_to), &s->flood_to);
	nla_put(msg, IFLA_VXLAN_LOCAL6, sizeof(conf->local), &conf->local);
	nla_put_u32(msg, IFLA_VXLAN_LINK, (uint32_t)conf->underlay);
	nla_put_u16(msg, IFLA_VXLAN_PORT, htons(NETWORK_VXLAN_PORT));
	nla_put_u8(msg, IFLA_VXLAN_TTL, LINK_VXLAN_HOPS);
	nla_put_u8(msg, IFLA_VXLAN_LEARNING, 1);
	nla_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, 1);
	nla_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
	nla_nest_end(msg, data);
	nla_nest_end(msg, info);
}

/* A router's bridge learns nothing from others' advertisements, from its first moment on. */
static int set_ipv6(const struct step *s, struct err *e)
{
	struct err why = { 0 };

	if (s->is_on)
		return link_sysctl(s->name, "accept_ra", '0', e) < 0
			       ? -1
			       : link_sysctl(s->name, "disable_ipv6", '0', e);
	/* No IPv6 there at all is as good as off. */
	if (link_sysctl(s->name, "disable_ipv6", '1', &why) == 0 ||
		why.kind == ERR_NOT_FOUND)
		return 0;
	return err_set(e, why.kind, "%s", why.msg);
}

static struct nl_msg *message_of(
	const struct step *s, const struct plan_conf *conf, int index, int master)
{
	struct nl_msg *msg;

	switch (s->kind) {
	case STEP_DEL:
		msg = link_msg(RTM_DELLINK, 0);
		put_info(msg, index, 0);
		return msg;
	case STEP_ADD_BRIDGE:
		msg = create(s);
		nla_put(msg, IFLA_ADDRESS, sizeof(s->mac), s->mac);
		put_plain(msg);
		return msg;
	case STEP_ADD_VXLAN:
		msg = create(s);
		put_vxlan(msg, s, conf);
		return msg;
	case STEP_PLAIN:
		msg = change(index, 0);
		put_plain(msg);
		return msg;
	case STEP_MTU:
		msg = change(index, 0);
		nla_put_u32(msg, IFLA_MTU, (uint32_t)s->mtu);
		return msg;
	case STEP_MASTER:
		msg = change(index, 0);
		nla_put_u32(msg, IFLA_MASTER, (uint32_t)master);
		return msg;
	case STEP_UP:
		return change(index, IFF_UP);
	default:
		msg = change(index, 0);
		nla_put_string(msg, IFLA_IFALIAS, s->alias);
		return msg;
	}
}

static bool makes_new(const struct step *s)
{
	return s->kind == STEP_ADD_BRIDGE || s->kind == STEP_ADD_VXLAN;
}

static int failed(const struct step *s, int code, struct err *e)
{
	if (s->kind == STEP_UP && -code == NLE_NOMEM)
		return err_set(e, ERR_IO,
			"up %s: no room for its multicast group: raise the sysctl "
			"net.core.optmem_max",
			s->name);
	return link_error(e, code, step_names[s->kind], s->name);
}

/* The netlink library's code. */
static int send_step(struct link_conn *c, const struct step *s, struct nl_msg *msg)
{
	int code;

	if (makes_new(s)) {
		CRASH_POINT("link.make.before");
		code = link_talk(c, msg);
		CRASH_POINT("link.make.after");
	} else if (s->kind == STEP_DEL) {
		CRASH_POINT("link.delete.before");
		code = link_talk(c, msg);
		CRASH_POINT("link.delete.after");
	} else {
		CRASH_POINT("link.change.before");
		code = link_talk(c, msg);
		CRASH_POINT("link.change.after");
	}
	return code;
}

int link_run(struct link_conn *c, const struct step *s, const struct plan_conf *conf,
	struct err *e)
{
	int index = 0, master = 0, code;

	if (s->kind == STEP_IPV6)
		return set_ipv6(s, e);
	if (!makes_new(s) && link_index(s->name, &index, e) < 0)
		return s->kind == STEP_DEL ? 0 : -1;
	if (s->kind == STEP_MASTER && link_index(s->master, &master, e) < 0)
		return -1;
	code = send_step(c, s, message_of(s, conf, index, master));
	if (code == 0 || (s->kind == STEP_DEL && -code == NLE_OBJ_NOTFOUND))
		return 0;
	return failed(s, code, e);
}

/* ---------------------------------------------------------------- flooding to a list */

struct flood {
	int index;
	struct in6_addr *v;
	size_t len;
};

static int on_neighbour(struct nl_msg *msg, void *aux)
{
	static const unsigned char zero[6];
	struct nlmsghdr *head = nlmsg_hdr(msg);
	struct nlattr *a[NDA_MAX + 1];
	struct ndmsg *nd = nlmsg_data(head);
	struct flood *f = aux;

	if (head->nlmsg_type != RTM_NEWNEIGH ||
		nlmsg_parse(head, sizeof(*nd), a, NDA_MAX, NULL) < 0 ||
		nd->ndm_ifindex != f->index || !a[NDA_LLADDR] || !a[NDA_DST] ||
		nla_len(a[NDA_LLADDR]) != 6 || nla_len(a[NDA_DST]) != 16 ||
		memcmp(nla_data(a[NDA_LLADDR]), zero, 6) != 0)
		return NL_OK;
	f->v = xreallocarray(f->v, f->len + 1, sizeof(*f->v));
	memcpy(&f->v[f->len++], nla_data(a[NDA_DST]), 16);
	return NL_OK;
}

static int change_flood(struct link_conn *c, int index, const struct in6_addr *to,
	bool is_add, struct err *e)
{
	struct nl_msg *msg = link_msg(is_add ? RTM_NEWNEIGH : RTM_DELNEIGH,
		is_add ? NLM_F_CREATE | NLM_F_APPEND : 0);
	struct ndmsg nd = {
		.ndm_family = AF_BRIDGE,
		.ndm_ifindex = index,
		.ndm_state = NUD_NOARP | NUD_PERMANENT,
		.ndm_flags = NTF_SELF,
	};
	char text[INET6_ADDRSTRLEN];
	int code;

	nlmsg_append(msg, &nd, sizeof(nd), NLMSG_ALIGNTO);
	nla_put(msg, NDA_LLADDR, 6, "\0\0\0\0\0");
	nla_put(msg, NDA_DST, sizeof(*to), to);
	CRASH_POINT("link.flood.before");
	code = link_talk(c, msg);
	CRASH_POINT("link.flood.after");
	if (code == 0 || -code == (is_add ? NLE_EXIST : NLE_OBJ_NOTFOUND))
		return 0;
	return link_error(
		e, code, "flooding to", inet_ntop(AF_INET6, to, text, sizeof(text)));
}

static bool has_address(const struct in6_addr *v, size_t n, const struct in6_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&v[i], a, sizeof(*a)) == 0)
			return true;
	return false;
}

int link_set_flood(struct link_conn *c, int index, const struct in6_addr *to, size_t n,
	struct err *e)
{
	struct nl_msg *msg = link_msg(RTM_GETNEIGH, NLM_F_DUMP);
	struct ndmsg nd = { .ndm_family = AF_BRIDGE, .ndm_ifindex = index };
	struct flood there = { .index = index };
	int rc;

	nlmsg_append(msg, &nd, sizeof(nd), NLMSG_ALIGNTO);
	rc = link_dump(
		c, msg, on_neighbour, &there, "listing where a VXLAN floods to", e);
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (!has_address(there.v, there.len, &to[i]))
			rc = change_flood(c, index, &to[i], true, e);
	for (size_t i = 0; rc == 0 && i < there.len; i++)
		if (!has_address(to, n, &there.v[i]))
			rc = change_flood(c, index, &there.v[i], false, e);
	free(there.v);
	return rc;
}
