/*
 * Many networks: created through the API, one after the other, until each is ACTIVE and its
 * bridge on the router has the router's address; then deleted, until all interfaces and
 * entries are gone. A real etcd, the API, a real ucloud-network as the router with a real
 * radvd, in a network namespace of their own.
 *
 * Beside it, before the router is started: as many equal transactions sent to etcd, and then
 * the same interfaces made, one bare call of the kernel after the other. The router does both
 * at the same time, for different networks.
 *
 *	bench_net_many
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/http.h"
#include "common/base/log.h"
#include "tests/lib/net_bench.h"
#include "tests/lib/test_api.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-api/api.h"
#include "ucloud-network/link_addr.h"

enum { LIMIT_MSEC = 60000, VNI_MIN = 100 };

static struct bench {
	struct net_world world;
	struct test_etcd *etcd;
	struct underlay_if underlay;
	struct api_conf conf;
	struct api *api;
	struct http *http;
	char *url, *bearer;
	int events, n;
} b;

/* ---------------------------------------------------------------- the API */

static void start_api(void)
{
	char token[TOKEN_STR_SIZE];
	struct err e = { 0 };
	int64_t expires;

	test_api_conf(&b.conf, b.etcd, 1);
	b.conf.quota.networks = b.n;
	net_bench_need(api_conf_check(&b.conf, &e), &e);
	net_bench_need(api_open(&b.conf, &b.api, &e), &e);
	net_bench_need(sessions_create(b.api->sessions, "user", "users", clock_unix_sec(),
			       token, &expires, &e),
		&e);
	b.url = xasprintf("http://[::1]:%u/v1/networks", (unsigned)api_port(b.api, 0));
	b.bearer = xasprintf("Bearer %s", token);
	b.http = http_new(&(struct http_conf){ .limit_msec = LIMIT_MSEC });
}

static void call(const char *method, const char *url, const char *body)
{
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	struct http_req req = { .method = method,
		.url = url,
		.authorization = b.bearer,
		.body = body,
		.body_size = body ? strlen(body) : 0 };
	struct err e = { 0 };

	net_bench_need(http_call(b.http, &req, &resp, &e), &e);
	if (resp.status != 202)
		net_bench_die(
			"%s %s: %d: %s", method, url, resp.status, buf_str(&resp.body));
}

static void create(int i)
{
	CLEANUP_STR char *body = xasprintf("{\"name\":\"net-%d\",\"ipam\":\"auto\"}", i);

	call("POST", b.url, body);
}

static void delete (int i)
{
	CLEANUP_STR char *url = xasprintf("%s/net-%d", b.url, i);

	call("DELETE", url, NULL);
}

/* ---------------------------------------------------------------- waiting */

static void wait_for(enum net_bench_change change, int n)
{
	struct net_bench_event ev;

	for (int i = 0; i < n;) {
		if (!net_bench_next(b.events, LIMIT_MSEC, &ev))
			net_bench_die("only %d of %d networks are done", i, n);
		i += ev.change == change &&
		     (change == NET_BENCH_ADDRESS || str_has_prefix(ev.name, "ucv"));
	}
}

static void forget_events(void)
{
	struct net_bench_event ev;

	while (net_bench_next(b.events, 0, &ev))
		;
}

static int n_networks(bool is_active)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	struct err e = { 0 };
	int n = 0;

	net_bench_need(kv_range(b.world.admin, b.world.keys.network, 0, &list, &e), &e);
	for (size_t i = 0; i < list.len; i++)
		n += !is_active || strstr(list.v[i].value, "\"ACTIVE\"") != NULL;
	return n;
}

/* ---------------------------------------------------------------- through ucloud */

static double create_all(void)
{
	int64_t begin = clock_mono_usec();

	for (int i = 0; i < b.n; i++)
		create(i);
	wait_for(NET_BENCH_ADDRESS, b.n);
	if (n_networks(true) != b.n)
		net_bench_die("not all networks are ACTIVE");
	return (double)(clock_mono_usec() - begin) / 1e6;
}

static double delete_all(void)
{
	int64_t begin;

	forget_events();
	begin = clock_mono_usec();
	for (int i = 0; i < b.n; i++)
		delete (i);
	wait_for(NET_BENCH_GONE, b.n);
	if (n_networks(false) != 0)
		net_bench_die("networks are left");
	return (double)(clock_mono_usec() - begin) / 1e6;
}

/* ---------------------------------------------------------------- the bare calls */

/* Values as long as the real ones. */
struct values {
	char network[420], user[200], request[170], name[60], allocation[60];
};

static void commit(struct kv_txn *t)
{
	struct err e = { 0 };

	net_bench_need(kv_txn_commit(b.world.admin, t, NULL, &e), &e);
	kv_txn_free(t);
}

struct names {
	char *network, *name, *request, *vni, *prefix;
};

static struct names names_of(int i)
{
	return (struct names){
		.network = xasprintf("/bench/network/%036d", i),
		.name = xasprintf("/bench/network-name/users/user/net-%d", i),
		.request = xasprintf("/bench/request/network/%036d", i),
		.vni = xasprintf("/bench/vni/%d", i),
		.prefix = xasprintf("/bench/prefix/2001:db8:0:%x::/64", i),
	};
}

static void names_done(struct names *n)
{
	free(n->network);
	free(n->name);
	free(n->request);
	free(n->vni);
	free(n->prefix);
}

/* Order and deed of one network, with what each compares; nobody else changes these keys. */
static void put_one(int i, const struct values *v)
{
	CLEANUP(names_done) struct names n = names_of(i);
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_rev(t, n.name, 0);
	kv_txn_if_rev(t, n.network, 0);
	kv_txn_put(t, n.network, v->network);
	kv_txn_put(t, n.name, v->name);
	kv_txn_put(t, "/bench/user", v->user);
	kv_txn_put(t, n.request, v->request);
	commit(t);
	t = kv_txn_new();
	kv_txn_if_present(t, n.network);
	kv_txn_if_present(t, n.request);
	kv_txn_if_rev(t, n.vni, 0);
	kv_txn_if_rev(t, n.prefix, 0);
	kv_txn_put(t, n.vni, v->allocation);
	kv_txn_put(t, n.prefix, v->allocation);
	kv_txn_put(t, n.network, v->network);
	kv_txn_del(t, n.request);
	commit(t);
}

static void del_one(int i, const struct values *v)
{
	CLEANUP(names_done) struct names n = names_of(i);
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_present(t, n.network);
	kv_txn_put(t, n.network, v->network);
	kv_txn_put(t, n.request, v->request);
	commit(t);
	t = kv_txn_new();
	kv_txn_if_present(t, n.network);
	kv_txn_if_present(t, n.request);
	kv_txn_put(t, n.vni, v->allocation);
	kv_txn_put(t, n.prefix, v->allocation);
	kv_txn_put(t, "/bench/user", v->user);
	kv_txn_del(t, n.network);
	kv_txn_del(t, n.name);
	kv_txn_del(t, n.request);
	commit(t);
}

static void fill_values(struct values *v)
{
	memset(v, 'x', sizeof(*v));
	v->network[sizeof(v->network) - 1] = v->user[sizeof(v->user) - 1] = '\0';
	v->request[sizeof(v->request) - 1] = v->name[sizeof(v->name) - 1] = '\0';
	v->allocation[sizeof(v->allocation) - 1] = '\0';
}

static struct in6_addr router_address(int i)
{
	struct in6_addr a = { .s6_addr = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };

	a.s6_addr[6] = (unsigned char)(i >> 8);
	a.s6_addr[7] = (unsigned char)i;
	return a;
}

static void make_link(int i, const struct plan_conf *conf)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	CLEANUP(plan_done) struct plan p = { 0 };
	struct network n = { .uuid = (char[]){ "00000000-0000-4000-8000-000000000000" },
		.vni = VNI_MIN + i,
		.mtu = 1430 };
	const struct links none = { 0 };
	const struct link_addrs no_address = { 0 };
	struct in6_addr address = router_address(i);
	char bridge[NETWORK_NAME_SIZE];
	struct err e = { 0 };

	wanted_add_net(&w, &n, "router", true, b.underlay.mtu);
	plan_links(&w, &none, conf, false, 0, &idle, &p);
	for (size_t k = 0; k < p.len; k++)
		net_bench_need(link_run(b.world.conn, &p.steps[k], conf, &e), &e);
	network_bridge_name(n.vni, bridge);
	if (link_addr_ensure(b.world.conn, &no_address, bridge, &address, &e) < 0)
		net_bench_need(-1, &e);
}

static void remove_link(int i, const struct plan_conf *conf)
{
	struct step bridge = { .kind = STEP_DEL }, vxlan = { .kind = STEP_DEL };
	struct err e = { 0 };

	network_bridge_name(VNI_MIN + i, bridge.name);
	network_vxlan_name(VNI_MIN + i, vxlan.name);
	net_bench_need(link_run(b.world.conn, &bridge, conf, &e), &e);
	net_bench_need(link_run(b.world.conn, &vxlan, conf, &e), &e);
}

struct bare {
	double txns, links;
};

static struct bare bare_create(const struct values *v, const struct plan_conf *conf)
{
	int64_t begin = clock_mono_usec(), between;

	for (int i = 0; i < b.n; i++)
		put_one(i, v);
	between = clock_mono_usec();
	for (int i = 0; i < b.n; i++)
		make_link(i, conf);
	return (struct bare){ (double)(between - begin) / 1e6,
		(double)(clock_mono_usec() - between) / 1e6 };
}

static struct bare bare_delete(const struct values *v, const struct plan_conf *conf)
{
	int64_t begin = clock_mono_usec(), between;

	for (int i = 0; i < b.n; i++)
		del_one(i, v);
	between = clock_mono_usec();
	for (int i = 0; i < b.n; i++)
		remove_link(i, conf);
	return (struct bare){ (double)(between - begin) / 1e6,
		(double)(clock_mono_usec() - between) / 1e6 };
}

/* ---------------------------------------------------------------- figures */

static pid_t start_router(void)
{
	const char *const more[] = { "--role", "router", "--prefix", "2001:db8::/48",
		"--quarantine", "0", "--linger", "0", "--run_dir", test_dir(), NULL };
	pid_t pid = net_bench_start(test_etcd_url(b.etcd, 0), "r1", more);

	/* It leads, and has made one. */
	b.conf.quota.networks = b.n;
	create(b.n);
	wait_for(NET_BENCH_ADDRESS, 1);
	delete (b.n);
	wait_for(NET_BENCH_GONE, 1);
	return pid;
}

static void tell(const char *what, double sec, const struct bare *bare)
{
	double floor = bare->txns + bare->links;

	printf("%d networks %s: %.2f s, %.0f/s; equal transactions one by one %.2f s, "
	       "then "
	       "interfaces by bare calls %.2f s; ratio %.2f\n",
		b.n, what, sec, b.n / sec, bare->txns, bare->links, sec / floor);
	fflush(stdout);
}

int main(void)
{
	struct values v;
	struct bare made, gone;
	struct err e = { 0 };
	double sec;
	pid_t router;

	mem_init();
	crypt_init();
	log_init("bench_net_many", LOG_ERROR);
	test_need_command("radvd");
	b.n = net_bench_is_short() ? 20 : 200;
	close(net_bench_new_netns());
	net_bench_add_underlay("fd00:10::1");
	net_bench_need(underlay_look("eth0", &b.underlay, &e), &e);
	net_bench_need(link_open(&b.world.conn, &e), &e);
	b.etcd = test_etcd_start(NULL);
	b.world.admin = test_etcd_open(b.etcd);
	keys_set_defaults(&b.world.keys);
	const struct plan_conf conf = {
		.underlay = b.underlay.index, .local = b.underlay.address, .host = "r1"
	};
	fill_values(&v);
	made = bare_create(&v, &conf);
	gone = bare_delete(&v, &conf);
	b.events = net_bench_listen();
	start_api();
	router = start_router();
	forget_events();
	sec = create_all();
	tell("created", sec, &made);
	sec = delete_all();
	tell("deleted", sec, &gone);
	net_bench_stop(router);
	api_close(b.api);
	return 0;
}
