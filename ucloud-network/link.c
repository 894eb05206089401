#include "ucloud-network/link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/crash.h"
#include "ucloud-network/link_impl.h"

/* A dump that something changed meanwhile is asked for again, at most so often. */
#define N_TRIES 20

/* ---------------------------------------------------------------- talking */

int link_open(struct link_conn **out, struct err *e)
{
	struct link_conn *c = xcalloc(1, sizeof(*c));
	int code;

	c->sock = nl_socket_alloc();
	if (!c->sock) {
		free(c);
		return err_set(e, ERR_IO, "rtnetlink: no memory for a socket");
	}
	code = nl_connect(c->sock, NETLINK_ROUTE);
	if (code < 0) {
		link_close(c);
		return err_set(e, ERR_IO, "rtnetlink: %s", nl_geterror(code));
	}
	*out = c;
	return 0;
}

void link_close(struct link_conn *c)
{
	if (!c)
		return;
	nl_socket_free(c->sock);
	free(c);
}

struct nl_msg *link_msg(int type, int flags)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);

	if (!msg)
		abort();
	return msg;
}

int link_talk(struct link_conn *c, struct nl_msg *msg)
{
	int code = nl_send_sync(c->sock, msg);

	return code < 0 ? code : 0;
}

static enum err_kind kind_of(int code)
{
	switch (-code) {
	case NLE_PERM:
	case NLE_NOACCESS:
		return ERR_DENIED;
	case NLE_OBJ_NOTFOUND:
	case NLE_NODEV:
		return ERR_NOT_FOUND;
	case NLE_EXIST:
		return ERR_EXISTS;
	default:
		return ERR_IO;
	}
}

int link_error(struct err *e, int code, const char *what, const char *name)
{
	if (-code == NLE_PERM || -code == NLE_NOACCESS)
		return err_set(e, ERR_DENIED,
			"%s %s: %s: ucloud-network needs the capability "
			"CAP_NET_ADMIN, or root",
			what, name, nl_geterror(code));
	return err_set(e, kind_of(code), "%s %s: %s", what, name, nl_geterror(code));
}

int link_index(const char *name, int *out, struct err *e)
{
	unsigned index = if_nametoindex(name);

	if (index == 0)
		return err_set(e, ERR_NOT_FOUND, "there is no interface %s", name);
	*out = (int)index;
	return 0;
}

int link_sysctl(const char *interface, const char *what, char digit, struct err *e)
{
	CLEANUP_STR char *path = xasprintf(LINK_CONF_DIR "/%s/%s", interface, what);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = -1;
	int errnum = errno;

	if (fd < 0)
		return err_errno(e, errnum, "%s", path);
	CRASH_POINT("link.sysctl.before");
	n = write(fd, &digit, 1);
	errnum = errno;
	CRASH_POINT("link.sysctl.after");
	close(fd);
	return n < 0 ? err_errno(e, errnum, "%s", path) : 0;
}

int link_dump(struct link_conn *c, struct nl_msg *msg, int (*fn)(struct nl_msg *, void *),
	void *aux, const char *what, struct err *e)
{
	int code;

	nl_socket_modify_cb(c->sock, NL_CB_VALID, NL_CB_CUSTOM, fn, aux);
	code = nl_send_auto(c->sock, msg);
	nlmsg_free(msg);
	if (code >= 0)
		code = nl_recvmsgs_default(c->sock);
	nl_socket_modify_cb(c->sock, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
	if (code < 0)
		return err_set(e, -code == NLE_DUMP_INTR ? ERR_CONFLICT : ERR_IO,
			"%s: %s", what, nl_geterror(code));
	return 0;
}

/* ---------------------------------------------------------------- reading interfaces */

static void get_address(struct nlattr *attr, struct in6_addr *out)
{
	if (attr && nla_len(attr) == (int)sizeof(*out))
		memcpy(out, nla_data(attr), sizeof(*out));
}

static void read_vxlan(struct nlattr *data, struct link *l)
{
	struct nlattr *a[IFLA_VXLAN_MAX + 1];

	if (!data || nla_parse_nested(a, IFLA_VXLAN_MAX, data, NULL) < 0)
		return;
	if (a[IFLA_VXLAN_ID])
		l->vni = nla_get_u32(a[IFLA_VXLAN_ID]);
	if (a[IFLA_VXLAN_LINK])
		l->lower = (int)nla_get_u32(a[IFLA_VXLAN_LINK]);
	if (a[IFLA_VXLAN_PORT])
		l->port = ntohs(nla_get_u16(a[IFLA_VXLAN_PORT]));
	get_address(a[IFLA_VXLAN_GROUP6], &l->flood_to);
	get_address(a[IFLA_VXLAN_LOCAL6], &l->local);
}

static void read_bridge(struct nlattr *data, struct link *l)
{
	struct nlattr *a[IFLA_BR_MAX + 1];

	if (!data || nla_parse_nested(a, IFLA_BR_MAX, data, NULL) < 0)
		return;
	l->is_plain = a[IFLA_BR_STP_STATE] && nla_get_u32(a[IFLA_BR_STP_STATE]) == 0 &&
		      a[IFLA_BR_MCAST_SNOOPING] &&
		      nla_get_u8(a[IFLA_BR_MCAST_SNOOPING]) == 0;
}

static void read_kind(struct nlattr *attr, struct link *l)
{
	struct nlattr *a[IFLA_INFO_MAX + 1];
	const char *kind;

	if (!attr || nla_parse_nested(a, IFLA_INFO_MAX, attr, NULL) < 0 ||
		!a[IFLA_INFO_KIND])
		return;
	kind = nla_get_string(a[IFLA_INFO_KIND]);
	if (str_eq(kind, "vxlan")) {
		l->kind = LINK_VXLAN;
		read_vxlan(a[IFLA_INFO_DATA], l);
	} else if (str_eq(kind, "bridge")) {
		l->kind = LINK_BRIDGE;
		read_bridge(a[IFLA_INFO_DATA], l);
	}
}

static int32_t devconf(struct nlattr *attr, int which)
{
	int32_t value = 0;

	if (nla_len(attr) >= (which + 1) * (int)sizeof(value))
		memcpy(&value, (char *)nla_data(attr) + (size_t)which * sizeof(value),
			sizeof(value));
	return value;
}

/* An interface that the kernel's IPv6 does not know at all says nothing: that is off. */
static void read_ipv6(struct nlattr *attr, struct link *l)
{
	struct nlattr *families[AF_MAX], *a[IFLA_INET6_MAX + 1];

	l->is_ipv6_off = l->is_ra_off = true;
	if (!attr || nla_parse_nested(families, AF_MAX - 1, attr, NULL) < 0 ||
		!families[AF_INET6] ||
		nla_parse_nested(a, IFLA_INET6_MAX, families[AF_INET6], NULL) < 0 ||
		!a[IFLA_INET6_CONF])
		return;
	l->is_ipv6_off = devconf(a[IFLA_INET6_CONF], DEVCONF_DISABLE_IPV6) != 0;
	l->is_ra_off = devconf(a[IFLA_INET6_CONF], DEVCONF_ACCEPT_RA) == 0;
}

static void read_link(const struct ifinfomsg *info, struct nlattr **a, struct link *l)
{
	l->index = info->ifi_index;
	l->is_up = info->ifi_flags & IFF_UP;
	nla_strlcpy(l->name, a[IFLA_IFNAME], sizeof(l->name));
	if (a[IFLA_MTU])
		l->mtu = nla_get_u32(a[IFLA_MTU]);
	if (a[IFLA_GROUP])
		l->group = nla_get_u32(a[IFLA_GROUP]);
	if (a[IFLA_MASTER])
		l->master = (int)nla_get_u32(a[IFLA_MASTER]);
	if (a[IFLA_IFALIAS])
		l->alias = xstrndup(
			nla_data(a[IFLA_IFALIAS]), (size_t)nla_len(a[IFLA_IFALIAS]));
	if (a[IFLA_ADDRESS] && nla_len(a[IFLA_ADDRESS]) == 6)
		memcpy(l->mac, nla_data(a[IFLA_ADDRESS]), 6);
	read_kind(a[IFLA_LINKINFO], l);
	read_ipv6(a[IFLA_AF_SPEC], l);
}

static int on_link(struct nl_msg *msg, void *aux)
{
	struct nlmsghdr *head = nlmsg_hdr(msg);
	struct nlattr *a[IFLA_MAX + 1];
	struct links *links = aux;

	if (head->nlmsg_type != RTM_NEWLINK ||
		nlmsg_parse(head, sizeof(struct ifinfomsg), a, IFLA_MAX, NULL) < 0 ||
		!a[IFLA_IFNAME])
		return NL_OK;
	links->v = xreallocarray(links->v, links->len + 1, sizeof(*links->v));
	links->v[links->len] = (struct link){ 0 };
	read_link(nlmsg_data(head), a, &links->v[links->len++]);
	return NL_OK;
}

static int list_once(struct link_conn *c, struct links *out, struct err *e)
{
	struct nl_msg *msg = link_msg(RTM_GETLINK, NLM_F_DUMP);
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC };

	links_done(out);
	nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
	return link_dump(c, msg, on_link, out, "listing the interfaces", e);
}

int link_list(struct link_conn *c, struct links *out, struct err *e)
{
	struct links now = { 0 };
	struct err why = { 0 };
	int rc = -1;

	for (int i = 0; rc < 0 && i < N_TRIES; i++) {
		rc = list_once(c, &now, &why);
		if (why.kind != ERR_CONFLICT)
			break;
	}
	if (rc < 0) {
		links_done(&now);
		return err_set(e, why.kind, "%s", why.msg);
	}
	links_done(out);
	*out = now;
	return 0;
}

/* ---------------------------------------------------------------- reading addresses */

struct search {
	int index;
	bool is_found;
	struct in6_addr address;
};

static bool is_usable(const struct ifaddrmsg *info, struct nlattr **a)
{
	unsigned flags = a[IFA_FLAGS] ? nla_get_u32(a[IFA_FLAGS]) : info->ifa_flags;

	return info->ifa_scope == RT_SCOPE_UNIVERSE &&
	       !(flags & (IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_DADFAILED |
				 IFA_F_TENTATIVE));
}

static int on_address(struct nl_msg *msg, void *aux)
{
	struct nlmsghdr *head = nlmsg_hdr(msg);
	struct nlattr *a[IFA_MAX + 1];
	struct search *s = aux;
	struct ifaddrmsg *info = nlmsg_data(head);

	if (head->nlmsg_type != RTM_NEWADDR ||
		nlmsg_parse(head, sizeof(*info), a, IFA_MAX, NULL) < 0 ||
		(int)info->ifa_index != s->index || !a[IFA_ADDRESS] ||
		!is_usable(info, a))
		return NL_OK;
	/* The lowest, so that it is the same one each time. */
	struct in6_addr found = { 0 };

	get_address(a[IFA_ADDRESS], &found);
	if (!s->is_found || memcmp(&found, &s->address, sizeof(found)) < 0)
		s->address = found;
	s->is_found = true;
	return NL_OK;
}

int link_address(struct link_conn *c, int index, struct in6_addr *out, struct err *e)
{
	struct nl_msg *msg = link_msg(RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg info = { .ifa_family = AF_INET6 };
	struct search s = { .index = index };

	nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
	if (link_dump(c, msg, on_address, &s, "listing the addresses", e) < 0)
		return -1;
	if (!s.is_found)
		return err_set(e, ERR_NOT_FOUND, "it has no IPv6 address");
	*out = s.address;
	return 0;
}
