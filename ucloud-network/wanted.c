#include "ucloud-network/wanted.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/model/names.h"

void wanted_done(struct wanted *w)
{
	for (size_t i = 0; i < w->n_nets; i++) {
		free(w->nets[i].uuid);
		free(w->nets[i].problem);
		strv_done(&w->nets[i].roles);
	}
	for (size_t i = 0; i < w->n_ports; i++)
		strv_done(&w->ports[i].ingress);
	free(w->nets);
	free(w->ports);
	free(w->taken);
	free(w->underlays);
	*w = (struct wanted){ 0 };
}

/* ---------------------------------------------------------------- addresses */

struct in6_addr wanted_link_local(const unsigned char mac[6])
{
	struct in6_addr a = { 0 };

	a.s6_addr[0] = 0xfe;
	a.s6_addr[1] = 0x80;
	memcpy(&a.s6_addr[8], mac, 3);
	a.s6_addr[8] ^= 0x02;
	a.s6_addr[11] = 0xff;
	a.s6_addr[12] = 0xfe;
	memcpy(&a.s6_addr[13], mac + 3, 3);
	return a;
}

static bool read_mac(const char *text, unsigned char mac[6])
{
	unsigned b[6];

	if (str_is_empty(text) || mac_check(text, NULL) < 0)
		return false;
	if (sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) !=
		6)
		return false;
	for (size_t i = 0; i < 6; i++)
		mac[i] = (unsigned char)b[i];
	return true;
}

static bool read_address(const char *text, struct in6_addr *a)
{
	return !str_is_empty(text) && inet_pton(AF_INET6, text, a) == 1;
}

static bool read_prefix(const char *prefix, struct in6_addr *a)
{
	CLEANUP_STR char *address = NULL;

	if (str_is_empty(prefix))
		return false;
	address = xstrndup(prefix, strcspn(prefix, "/"));
	return read_address(address, a);
}

static void add_address(struct in6_addr **v, size_t *n, const struct in6_addr *a)
{
	*v = xreallocarray(*v, *n + 1, sizeof(**v));
	(*v)[(*n)++] = *a;
}

void wanted_add_taken(struct wanted *w, const char *mac, const char *address)
{
	unsigned char bytes[6];
	struct in6_addr a;

	if (read_mac(mac, bytes)) {
		a = wanted_link_local(bytes);
		add_address(&w->taken, &w->n_taken, &a);
	}
	if (read_address(address, &a))
		add_address(&w->taken, &w->n_taken, &a);
}

void wanted_add_router(struct wanted *w, const struct network *n)
{
	CLEANUP_STR char *address = network_router_address(n->prefix);

	wanted_add_taken(w, NULL, address);
}

void wanted_add_underlay(struct wanted *w, const char *address)
{
	struct in6_addr a;

	if (read_address(address, &a))
		add_address(&w->underlays, &w->n_underlays, &a);
}

/* ---------------------------------------------------------------- networks */

static struct want_net *find_net(struct wanted *w, int64_t vni)
{
	for (size_t i = 0; i < w->n_nets; i++)
		if (w->nets[i].vni == vni)
			return &w->nets[i];
	return NULL;
}

const struct want_net *wanted_find_net(const struct wanted *w, int64_t vni)
{
	for (size_t i = 0; i < w->n_nets; i++)
		if (w->nets[i].vni == vni)
			return &w->nets[i];
	return NULL;
}

static char *mtu_problem(int64_t mtu, int64_t underlay_mtu)
{
	if (mtu <= underlay_mtu - NETWORK_OVERHEAD)
		return NULL;
	return xasprintf("the network's MTU is %jd, which needs an MTU of %jd on the "
			 "underlay interface of this machine; it has %jd",
		(intmax_t)mtu, (intmax_t)(mtu + NETWORK_OVERHEAD),
		(intmax_t)underlay_mtu);
}

static struct want_net *new_net(
	struct wanted *w, const struct network *n, int64_t underlay_mtu)
{
	struct want_net *net;

	w->nets = xreallocarray(w->nets, w->n_nets + 1, sizeof(*w->nets));
	net = &w->nets[w->n_nets++];
	*net = (struct want_net){
		.vni = n->vni,
		.uuid = xstrdup(n->uuid),
		.mtu = n->mtu ? n->mtu : underlay_mtu - NETWORK_OVERHEAD,
	};
	net->problem = mtu_problem(net->mtu, underlay_mtu);
	return net;
}

void wanted_add_net(struct wanted *w, const struct network *n, const char *role,
	bool is_routed, int64_t underlay_mtu)
{
	struct want_net *net;

	if (n->vni <= 0)
		return;
	net = find_net(w, n->vni);
	if (!net)
		net = new_net(w, n, underlay_mtu);
	net->is_routed |= is_routed;
	if (!strv_has(&net->roles, role))
		strv_add(&net->roles, role);
}

/* ---------------------------------------------------------------- ports */

static void add_own(struct want_port *p, const struct in6_addr *a)
{
	if (p->n_own < ARRAY_LEN(p->own))
		p->own[p->n_own++] = *a;
}

static void add_prefix(struct want_port *p, const struct in6_addr *a)
{
	for (size_t i = 0; i < p->n_prefixes; i++)
		if (memcmp(&p->prefixes[i], a, 8) == 0)
			return;
	if (p->n_prefixes < ARRAY_LEN(p->prefixes))
		p->prefixes[p->n_prefixes++] = *a;
}

static void add_own_of(struct want_port *p, const struct vm_nic *nic)
{
	unsigned char mac[6];
	struct in6_addr a;

	if (read_mac(nic->mac, mac)) {
		a = wanted_link_local(mac);
		add_own(p, &a);
	}
	if (read_address(nic->address, &a))
		add_own(p, &a);
}

/* Its own network first: only there may it answer for addresses. */
static void set_sources(struct want_port *p, const struct vm *vm, const struct network *n,
	wanted_find_fn *find, void *aux)
{
	const struct vm_nic *nics = vm->networks.v;
	struct in6_addr a = { .s6_addr = { 0xfe, 0x80 } };

	add_prefix(p, &a);
	if (read_prefix(n->prefix, &a))
		add_prefix(p, &a);
	p->n_targets = p->n_prefixes;
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct network *other = find(aux, nics[i].network);

		add_own_of(p, &nics[i]);
		if (other && read_prefix(other->prefix, &a))
			add_prefix(p, &a);
	}
}

static void add_port(struct wanted *w, const struct vm *vm, const struct vm_nic *nic,
	const struct network *n, wanted_find_fn *find, void *aux)
{
	struct want_port p = { .vni = n->vni,
		.is_open = n->ipam == IPAM_NONE,
		.rate_mbit = nic->rate_mbit,
		.is_closed = vm->is_closed };

	if (!read_mac(nic->mac, p.mac))
		return;
	network_tap_name(nic->mac, p.tap);
	for (size_t i = 0; i < w->n_ports; i++)
		if (str_eq(w->ports[i].tap, p.tap))
			return;
	set_sources(&p, vm, n, find, aux);
	strv_copy(&p.ingress, &vm->ingress);
	w->ports = xreallocarray(w->ports, w->n_ports + 1, sizeof(*w->ports));
	w->ports[w->n_ports++] = p;
}

void wanted_add_vm(struct wanted *w, const struct vm *vm, int64_t underlay_mtu,
	wanted_find_fn *find, void *aux)
{
	const struct vm_nic *nics = vm->networks.v;

	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct network *n = find(aux, nics[i].network);

		if (!n || n->vni <= 0)
			continue;
		wanted_add_net(w, n, "host", false, underlay_mtu);
		add_port(w, vm, &nics[i], n, find, aux);
	}
}

/* ---------------------------------------------------------------- order */

static int compare_nets(const void *a, const void *b)
{
	int64_t x = ((const struct want_net *)a)->vni,
		y = ((const struct want_net *)b)->vni;

	return (x > y) - (x < y);
}

static int compare_ports(const void *a, const void *b)
{
	return strcmp(
		((const struct want_port *)a)->tap, ((const struct want_port *)b)->tap);
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct in6_addr));
}

static void sort(
	void *v, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	if (n > 1)
		qsort(v, n, size, compare);
}

static size_t sort_addresses(struct in6_addr *v, size_t n)
{
	size_t kept = 0;

	sort(v, n, sizeof(*v), compare_addresses);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || compare_addresses(&v[kept - 1], &v[i]) != 0)
			v[kept++] = v[i];
	return kept;
}

void wanted_sort(struct wanted *w)
{
	sort(w->nets, w->n_nets, sizeof(*w->nets), compare_nets);
	sort(w->ports, w->n_ports, sizeof(*w->ports), compare_ports);
	w->n_taken = sort_addresses(w->taken, w->n_taken);
	w->n_underlays = sort_addresses(w->underlays, w->n_underlays);
}
