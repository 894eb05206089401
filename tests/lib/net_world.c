#include "tests/lib/net_world.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"

#define LIST_TRIES 100

static int run_ip(const char *args, char **out)
{
	CLEANUP(strv_done) struct strv words = { 0 };
	const char *argv[40] = { "ip" };

	strv_split(&words, args, ' ');
	assert(words.len + 2 <= ARRAY_LEN(argv));
	for (size_t i = 0; i < words.len; i++)
		argv[i + 1] = words.v[i];
	return test_run(argv, 10000, out);
}

void net_world_ip(const char *args)
{
	CLEANUP_STR char *out = NULL;

	if (run_ip(args, &out) != 0)
		fail_msg("ip %s: %s", args, out ? out : "");
}

static void need(const char *args)
{
	CLEANUP_STR char *out = NULL;

	if (run_ip(args, &out) != 0)
		test_skip("this kernel cannot: ip %s", args);
}

void net_world_enter(void)
{
	test_need_command("ip");
	if (geteuid() != 0)
		test_skip("needs root, for a network namespace of its own");
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace can be made: %s", strerror(errno));
	need("link set lo up");
	need("link add eth0 type veth peer name eth0p");
	need("link set eth0p up");
	need("link set eth0 up");
	need("-6 addr add fd00:10::1/64 dev eth0 nodad");
	need("link add ucvtest type vxlan id 1 group ff15::1 dev eth0 dstport 4789 "
	     "udp6zerocsumtx udp6zerocsumrx");
	need("link add ucbtest type bridge mcast_snooping 0");
	need("link del ucvtest");
	need("link del ucbtest");
}

void net_world_start(struct net_world *w)
{
	struct err e = { 0 };

	*w = (struct net_world){ 0 };
	w->etcd = fake_etcd_new();
	w->admin = kv_fake_open(w->etcd);
	w->kv = kv_fake_open(w->etcd);
	keys_set_defaults(&w->keys);
	strv_add(&w->roles, "host");
	assert_int_equal(link_open(&w->conn, &e), 0);
}

/* Nothing of ours stays for the next test. */
static void remove_links(struct net_world *w)
{
	CLEANUP(links_done) struct links links = { 0 };
	struct err e = { 0 };

	/* All at once: the kernel takes its time for each call. */
	(void)run_ip("link del group 30145", NULL);
	assert_int_equal(link_list(w->conn, &links, &e), 0);
	for (size_t i = 0; i < links.len; i++) {
		struct step s = { .kind = STEP_DEL };

		if (!str_has_prefix(links.v[i].name, "uc") &&
			!str_has_prefix(links.v[i].name, "br"))
			continue;
		snprintf(s.name, sizeof(s.name), "%s", links.v[i].name);
		(void)!link_run(w->conn, &s, NULL, &e);
	}
}

void net_world_stop(struct net_world *w)
{
	net_world_halt(w);
	remove_links(w);
	link_close(w->conn);
	kv_close(w->kv);
	kv_close(w->admin);
	fake_etcd_free(w->etcd);
	keys_done(&w->keys);
	strv_done(&w->roles);
}

void net_world_run(struct net_world *w, int64_t linger_sec, enum flood_kind flood)
{
	struct netd_conf conf = { .host = "h1",
		.keys = &w->keys,
		.roles = &w->roles,
		.flood = flood,
		.linger_sec = linger_sec,
		.lease_ttl_sec = 5,
		.resync_sec = 600,
		.check = w->check };
	struct err e = { 0 };

	if (underlay_look("eth0", &conf.underlay, &e) < 0)
		fail_msg("%s", e.msg);
	w->netd = netd_new(w->kv, &conf);
	assert_int_equal(netd_start(w->netd, &e), 0);
}

void net_world_halt(struct net_world *w)
{
	assert_true(netd_free(MOVE(w->netd)));
}

/* ---------------------------------------------------------------- entries */

void net_world_put(struct net_world *w, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
}

void net_world_del(struct net_world *w, const char *key)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w->admin, t, NULL, &e), 0);
}

char *net_world_get(struct net_world *w, const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w->admin, key, &pair, NULL, &e), 0);
	return pair.key ? xstrdup(pair.value) : NULL;
}

static char *net_uuid(int n)
{
	return xasprintf("00000000-0000-4000-8000-%012d", n);
}

static char *vm_uuid(int v)
{
	return xasprintf("00000000-0000-4000-9000-%012d", v);
}

void net_world_add_net(struct net_world *w, int n, const char *ipam)
{
	CLEANUP_STR char *uuid = net_uuid(n);
	CLEANUP_STR char *key = key_network(&w->keys, uuid);
	CLEANUP_STR char *prefix =
		str_eq(ipam, "none") ? xstrdup("")
				     : xasprintf("\"prefix\":\"2001:db8:0:%x::/64\",", n);
	CLEANUP_STR char *text = xasprintf(
		"{\"uuid\":\"%s\",\"name\":\"n%d\",\"owner\":\"a\",\"owner_realm\":\"r\","
		"\"ipam\":\"%s\",\"status\":\"ACTIVE\",\"vni\":%d,%s\"mtu\":1430}",
		uuid, n, ipam, n, prefix);

	net_world_put(w, key, text);
}

static void add_nic(struct net_world *w, struct vm *vm, int v, int n)
{
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm->networks);
	CLEANUP_STR char *port = NULL;

	nic->rate_mbit = w->rate_mbit;
	nic->network = net_uuid(n);
	nic->mac = xasprintf("52:54:00:%02x:%02x:%02x", v, n >> 8, n & 255);
	nic->address = xasprintf("2001:db8:0:%x:5054:ff:fe%02x:%x", n, v, n);
	port = key_port(nic->network, nic->mac);
	CLEANUP_STR char *text = xasprintf(
		"{\"vm\":\"%s\",\"index\":0,\"address\":\"%s\"}", vm->uuid, nic->address);
	net_world_put(w, port, text);
}

void net_world_add_vm(struct net_world *w, int v, int first, int n)
{
	const char *host = w->host ? w->host : "h1";
	CLEANUP(vm_done)
	struct vm vm = { .uuid = vm_uuid(v),
		.name = xstrdup("vm"),
		.owner = xstrdup("a"),
		.owner_realm = xstrdup("r"),
		.specs = { .cpu = 1, .ram_mib = 128 },
		.image_uuid = net_uuid(9),
		.store = xstrdup("s"),
		.status = VM_SCHEDULED,
		.hostname = xstrdup(host),
		.is_closed = w->ingress != NULL };
	CLEANUP_STR char *key = key_vm(&w->keys, vm.uuid);
	CLEANUP_STR char *placement = key_placement(host, vm.uuid);

	if (w->ingress)
		strv_split(&vm.ingress, w->ingress, ',');
	for (int i = 0; i < n; i++)
		add_nic(w, &vm, v, first + i);
	CLEANUP_STR char *text = vm_format(&vm);
	net_world_put(w, key, text);
	net_world_put(w, placement, "{}");
}

void net_world_del_vm(struct net_world *w, int v)
{
	CLEANUP_STR char *uuid = vm_uuid(v);
	CLEANUP_STR char *placement = key_placement("h1", uuid);

	net_world_del(w, placement);
}

/* ---------------------------------------------------------------- what is there */

int net_world_index(struct net_world *w, const char *name)
{
	CLEANUP(links_done) struct links links = { 0 };
	const struct link *l;
	struct err e = { 0 };
	int rc = -1;

	/* One that was interrupted by changes says nothing. */
	for (int i = 0; i < LIST_TRIES && rc != 0; i++)
		rc = link_list(w->conn, &links, &e);
	if (rc != 0)
		fail_msg("%s", e.msg);
	l = links_find(&links, name);
	return l ? l->index : 0;
}

bool net_world_is_ready(struct net_world *w, int n)
{
	CLEANUP(links_done) struct links links = { 0 };
	CLEANUP_STR char *uuid = net_uuid(n);
	char bridge[NETWORK_NAME_SIZE], vxlan[NETWORK_NAME_SIZE];
	const struct link *b, *v;
	struct err e = { 0 };

	network_bridge_name(n, bridge);
	network_vxlan_name(n, vxlan);
	/* One that was interrupted by changes says nothing. */
	if (link_list(w->conn, &links, &e) < 0)
		return false;
	b = links_find(&links, bridge);
	v = links_find(&links, vxlan);
	return b && v && str_eq(b->alias, uuid) && b->is_up && v->is_up &&
	       v->master == b->index && b->mtu == 1430 && v->mtu == 1430 &&
	       b->is_ipv6_off && v->is_ipv6_off && b->is_plain;
}

struct wait {
	struct net_world *w;
	int n;
	bool is_ready;
};

static bool is_so(void *aux)
{
	struct wait *wait = aux;

	return net_world_is_ready(wait->w, wait->n) == wait->is_ready;
}

bool net_world_wait_ready(struct net_world *w, int n, bool is_ready, int64_t limit_msec)
{
	struct wait wait = { w, n, is_ready };

	return wait_until(is_so, &wait, limit_msec);
}
