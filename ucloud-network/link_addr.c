#include "ucloud-network/link_addr.h"

#include <dirent.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <string.h>

#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "ucloud-network/link_impl.h"

#define PREFIX_LEN 64

void link_addrs_done(struct link_addrs *a)
{
	free(a->v);
	*a = (struct link_addrs){ 0 };
}

/* ---------------------------------------------------------------- addresses */

static int on_address(struct nl_msg *msg, void *aux)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);
	const struct ifaddrmsg *info = nlmsg_data(h);
	struct link_addrs *all = aux;
	const struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWADDR || info->ifa_family != AF_INET6 ||
		info->ifa_scope != RT_SCOPE_UNIVERSE)
		return NL_OK;
	a = nlmsg_find_attr(h, sizeof(*info), IFA_ADDRESS);
	if (!a || nla_len(a) != (int)sizeof(struct in6_addr))
		return NL_OK;
	all->v = xreallocarray(all->v, all->len + 1, sizeof(*all->v));
	all->v[all->len].index = (int)info->ifa_index;
	all->v[all->len].prefix_len = info->ifa_prefixlen;
	memcpy(&all->v[all->len++].address, nla_data(a), sizeof(struct in6_addr));
	return NL_OK;
}

int link_addr_list(struct link_conn *c, struct link_addrs *out, struct err *e)
{
	struct nl_msg *msg = link_msg(RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg info = { .ifa_family = AF_INET6 };
	struct link_addrs got = { 0 };

	nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
	if (link_dump(c, msg, on_address, &got, "listing the addresses", e) < 0) {
		link_addrs_done(&got);
		return -1;
	}
	link_addrs_done(out);
	*out = got;
	return 0;
}

static int change(struct link_conn *c, int type, int flags, const struct link_addr *a,
	const char *name, struct err *e)
{
	const struct ifaddrmsg info = { .ifa_family = AF_INET6,
		.ifa_prefixlen = (unsigned char)a->prefix_len,
		.ifa_flags = IFA_F_NODAD,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = (unsigned)a->index };
	struct nl_msg *msg = link_msg(type, flags);
	struct in6_addr address = a->address;
	int code;

	nlmsg_append(msg, (void *)(uintptr_t)&info, sizeof(info), NLMSG_ALIGNTO);
	nla_put(msg, IFA_LOCAL, sizeof(address), &address);
	nla_put(msg, IFA_ADDRESS, sizeof(address), &address);
	CRASH_POINT("link.address.before");
	code = link_talk(c, msg);
	CRASH_POINT("link.address.after");
	if (code == 0 || -code == NLE_EXIST || -code == NLE_NOADDR)
		return 0;
	return link_error(e, code, "the router's address on", name);
}

int link_addr_ensure(struct link_conn *c, const struct link_addrs *there,
	const char *name, const struct in6_addr *address, struct err *e)
{
	struct link_addr want = { .address = *address, .prefix_len = PREFIX_LEN };
	bool is_there = false, is_changed = false;

	if (link_index(name, &want.index, e) < 0)
		return -1;
	for (size_t i = 0; i < there->len; i++) {
		const struct link_addr *a = &there->v[i];

		if (a->index != want.index)
			continue;
		if (a->prefix_len == PREFIX_LEN &&
			memcmp(&a->address, address, sizeof(*address)) == 0) {
			is_there = true;
			continue;
		}
		if (change(c, RTM_DELADDR, 0, a, name, e) < 0)
			return -1;
		is_changed = true;
	}
	if (is_there)
		return is_changed;
	return change(c, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &want, name, e) < 0
		       ? -1
		       : 1;
}

/* ---------------------------------------------------------------- forwarding */

/* One digit; -1: it cannot be read. */
static int read_sysctl(const char *interface, const char *what)
{
	CLEANUP_STR char *path = xasprintf(LINK_CONF_DIR "/%s/%s", interface, what);
	CLEANUP(buf_done) struct buf text = { 0 };

	if (file_read(path, 64, &text, NULL) < 0)
		return -1;
	return text.size > 0 ? text.s[0] - '0' : -1;
}

/* accept_ra 1 means: not when forwarding. 2: in any case. */
static int keep_own_routes(struct err *e)
{
	DIR *d = opendir(LINK_CONF_DIR);
	const struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_errno(e, errno, "%s", LINK_CONF_DIR);
	/* cppcheck-suppress readdirCalled -- a stream of our own */
	while (rc == 0 && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.' && !str_eq(entry->d_name, "all") &&
			!str_eq(entry->d_name, "default") &&
			read_sysctl(entry->d_name, "accept_ra") == 1 &&
			read_sysctl(entry->d_name, "forwarding") == 0)
			rc = link_sysctl(entry->d_name, "accept_ra", '2', e);
	closedir(d);
	return rc;
}

int link_forward(const char *name, struct err *e)
{
	if (read_sysctl("all", "forwarding") != 1) {
		if (keep_own_routes(e) < 0 ||
			link_sysctl("all", "forwarding", '1', e) < 0)
			return err_wrap(e, "this machine cannot be made a router");
		log_info("this machine forwards IPv6 from now on "
			 "(net.ipv6.conf.all.forwarding)");
	}
	if (read_sysctl(name, "forwarding") == 1)
		return 0;
	return link_sysctl(name, "forwarding", '1', e);
}
