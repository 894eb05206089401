#include "ucloud-network/underlay.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

int underlay_check(const struct links *links, struct link_conn *c, const char *name,
	struct underlay_if *out, struct err *e)
{
	const struct link *l = links_find(links, name);
	struct underlay_if u = { 0 };

	if (!l)
		return err_set_field(e, ERR_INVALID, "underlay",
			"there is no interface \"%s\" on this machine: name the one that "
			"reaches the other hosts and routers (ip -6 address)",
			name);
	if (!l->is_up)
		return err_set_field(e, ERR_UNAVAILABLE, "underlay",
			"the underlay interface %s is down: ip link set %s up", name,
			name);
	if (l->mtu < UNDERLAY_MTU_MIN)
		return err_set_field(e, ERR_INVALID, "underlay",
			"the underlay interface %s has an MTU of %jd; VXLAN takes %d of "
			"it, "
			"and IPv6 needs 1280, so it must be at least %d",
			name, (intmax_t)l->mtu, NETWORK_OVERHEAD, UNDERLAY_MTU_MIN);
	if (link_address(c, l->index, &u.address, e) < 0) {
		if (e && e->kind == ERR_NOT_FOUND)
			err_set_field(e, ERR_INVALID, "underlay",
				"the underlay interface %s has no IPv6 address that "
				"others "
				"could use: give it a global or a unique local one "
				"(fd00::/8)",
				name);
		return -1;
	}
	snprintf(u.name, sizeof(u.name), "%s", l->name);
	u.index = l->index;
	u.mtu = l->mtu;
	*out = u;
	return 0;
}

int underlay_look(const char *name, struct underlay_if *out, struct err *e)
{
	CLEANUP(links_done) struct links links = { 0 };
	struct link_conn *c;
	int rc = -1;

	if (link_open(&c, e) < 0)
		return -1;
	if (link_list(c, &links, e) == 0)
		rc = underlay_check(&links, c, name, out, e);
	link_close(c);
	return rc;
}

char *underlay_address(const struct underlay_if *u)
{
	char text[INET6_ADDRSTRLEN];

	return xstrdup(inet_ntop(AF_INET6, &u->address, text, sizeof(text)));
}
