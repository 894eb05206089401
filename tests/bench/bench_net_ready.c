/*
 * A network ready on a host: the time between the answer to the placement's transaction, which
 * this program writes as the scheduler would, and the kernel's message that the network's
 * bridge has its alias. A real etcd, a real ucloud-network, in a network namespace of their
 * own; once on an empty host, once on one with a hundred VMs in as many networks. One VM at a
 * time, and it is gone again before the next one.
 *
 * Beside it, in the same namespace and run, while the daemon is away: the same filters loaded
 * and the same interfaces made, one bare call of the kernel after the other.
 *
 *	bench_net_ready
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/model/request.h"
#include "tests/lib/net_bench.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/filter.h"
#include "ucloud-network/nft.h"

enum {
	N_OTHERS = 100,	  /* VMs and networks 1 .. */
	V_ROUND = 101,	  /* the VM of all rounds; each has a network of its own, */
	NET_ROUND = 1000, /* from this one on */
	ROUNDS_MAX = 1000,
	PAUSE_MSEC = 100,
	LIMIT_MSEC = 30000,
};

static struct bench {
	struct net_world world;
	struct test_etcd *etcd;
	struct nft *nft;
	struct underlay_if underlay;
	int events;
	int n_rounds, n_others;
	double ready[ROUNDS_MAX], floor[ROUNDS_MAX], filters[ROUNDS_MAX];
} b;

static void pause_a_while(void)
{
	struct timespec t = { .tv_nsec = PAUSE_MSEC * 1000 * 1000 };

	nanosleep(&t, NULL);
}

/* ---------------------------------------------------------------- waiting */

static int64_t wait_for(enum net_bench_change change, const char *prefix, int n)
{
	CLEANUP_STR char *name = xasprintf("%s%d", prefix, n);
	struct net_bench_event ev;

	while (net_bench_next(b.events, LIMIT_MSEC, &ev))
		if (ev.change == change && str_eq(ev.name, name))
			return clock_mono_usec();
	net_bench_die("%s: nothing happened to it", name);
}

static void forget_events(void)
{
	struct net_bench_event ev;

	while (net_bench_next(b.events, 0, &ev))
		;
}

/* ---------------------------------------------------------------- entries */

static char *vm_uuid(int v)
{
	return xasprintf("00000000-0000-4000-9000-%012d", v);
}

static void get_vm(int v, struct vm *vm, int64_t *rev)
{
	CLEANUP_STR char *uuid = vm_uuid(v);
	CLEANUP_STR char *key = key_vm(&b.world.keys, uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	net_bench_need(kv_get(b.world.admin, key, &pair, NULL, &e), &e);
	net_bench_need(vm_parse(pair.value, pair.value_size, vm, &e), &e);
	*rev = pair.mod_rev;
}

/* A network and a VM in it that waits for a host. */
static void order(int n)
{
	net_world_add_net(&b.world, n, "auto");
	b.world.host = "nowhere";
	net_world_add_vm(&b.world, V_ROUND, n, 1);
}

/* What the scheduler writes. */
static void place(void)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };
	int64_t rev;

	get_vm(V_ROUND, &vm, &rev);
	str_set(&vm.hostname, xstrdup("h1"));
	CLEANUP_STR char *key = key_vm(&b.world.keys, vm.uuid);
	CLEANUP_STR char *placement = key_placement("h1", vm.uuid);
	CLEANUP_STR char *request = key_request_host(&b.world.keys, "h1", vm.uuid);
	CLEANUP_STR char *text = vm_format(&vm);
	CLEANUP_STR char *start =
		request_new(REQ_START_VM, vm.uuid, "h1", clock_unix_sec(), 0);
	kv_txn_if_rev(t, key, rev);
	kv_txn_if_rev(t, placement, 0);
	kv_txn_put(t, key, text);
	kv_txn_put(t, placement, "{}");
	kv_txn_put(t, request, start);
	net_bench_need(kv_txn_commit(b.world.admin, t, NULL, &e), &e);
}

/* What the host writes in the end. */
static void leave(void)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *uuid = vm_uuid(V_ROUND);
	CLEANUP_STR char *placement = key_placement("h1", uuid);
	CLEANUP_STR char *request = key_request_host(&b.world.keys, "h1", uuid);
	struct err e = { 0 };

	kv_txn_del(t, placement);
	kv_txn_del(t, request);
	net_bench_need(kv_txn_commit(b.world.admin, t, NULL, &e), &e);
}

/* ---------------------------------------------------------------- through ucloud-network */

static double ready_msec(int n)
{
	int64_t begin, end;

	order(n);
	pause_a_while();
	forget_events();
	place();
	begin = clock_mono_usec();
	end = wait_for(NET_BENCH_ALIAS, "ucb", n);
	leave();
	wait_for(NET_BENCH_GONE, "ucv", n);
	return (double)(end - begin) / 1000;
}

/* ---------------------------------------------------------------- the bare calls */

static const struct network *find_network(void *aux, const char *uuid)
{
	static struct network n;
	static char prefix[64];

	(void)aux;
	/* The tail of net_world's uuids is the number. */
	n = (struct network){ .ipam = IPAM_AUTO, .mtu = 1430, .prefix = prefix };
	if (sscanf(uuid, "00000000-0000-4000-8000-%12" SCNd64, &n.vni) != 1)
		return NULL;
	n.uuid = (char *)(uintptr_t)uuid;
	snprintf(prefix, sizeof(prefix), "2001:db8:0:%x::/64", (unsigned)n.vni);
	return &n;
}

static void want_vm(struct wanted *w, int v)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	const struct vm_nic *nic;
	int64_t rev;

	get_vm(v, &vm, &rev);
	wanted_add_vm(w, &vm, b.underlay.mtu, find_network, NULL);
	nic = vm.networks.v;
	wanted_add_taken(w, nic->mac, nic->address);
	wanted_add_router(w, find_network(NULL, nic->network));
}

static void plan(const struct wanted *w, const struct plan_conf *conf, struct plan *p)
{
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	CLEANUP(links_done) struct links links = { 0 };
	struct err e = { 0 };

	net_bench_need(link_list(b.world.conn, &links, &e), &e);
	plan_links(w, &links, conf, false, 0, &idle, p);
}

static void remove_link(const char *prefix, int n, const struct plan_conf *conf)
{
	struct step s = { .kind = STEP_DEL };
	struct err e = { 0 };

	snprintf(s.name, sizeof(s.name), "%s%d", prefix, n);
	net_bench_need(link_run(b.world.conn, &s, conf, &e), &e);
}

static void floor_msec(int n, double *all, double *filters)
{
	const struct plan_conf conf = {
		.underlay = b.underlay.index, .local = b.underlay.address, .host = "h1"
	};
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(plan_done) struct plan p = { 0 };
	CLEANUP(buf_done) struct buf text = { 0 };
	struct err e = { 0 };
	int64_t begin, loaded;

	order(n);
	for (int v = 1; v <= b.n_others; v++)
		want_vm(&w, v);
	want_vm(&w, V_ROUND);
	wanted_sort(&w);
	plan(&w, &conf, &p);
	filter_text(&w, NULL, &text);
	begin = clock_mono_usec();
	net_bench_need(nft_load(b.nft, buf_str(&text), &e), &e);
	loaded = clock_mono_usec();
	for (size_t i = 0; i < p.len; i++)
		net_bench_need(link_run(b.world.conn, &p.steps[i], &conf, &e), &e);
	*all = (double)(clock_mono_usec() - begin) / 1000;
	*filters = (double)(loaded - begin) / 1000;
	remove_link("ucb", n, &conf);
	remove_link("ucv", n, &conf);
}

/* ---------------------------------------------------------------- figures */

static pid_t start_daemon(void)
{
	static const char *const more[] = { "--linger", "0", NULL };
	pid_t pid = net_bench_start(test_etcd_url(b.etcd, 0), "h1", more);

	for (int n = 1; n <= b.n_others; n++)
		if (!net_world_wait_ready(&b.world, n, true, LIMIT_MSEC))
			net_bench_die("network %d did not come", n);
	return pid;
}

static void tell(const char *where)
{
	size_t n = (size_t)b.n_rounds;
	double p50 = net_bench_quantile(b.ready, n, 0.5);
	double floor = net_bench_quantile(b.floor, n, 0.5);

	printf("network ready after a placement, %s: p50 %.1f ms, p99 %.1f ms, worst "
	       "%.1f ms "
	       "of %d; filters and interfaces by bare calls: p50 %.1f ms (%.1f ms of it "
	       "filters), p99 %.1f ms; ratio %.2f\n",
		where, p50, net_bench_quantile(b.ready, n, 0.99), b.ready[n - 1],
		b.n_rounds, floor, net_bench_quantile(b.filters, n, 0.5),
		net_bench_quantile(b.floor, n, 0.99), p50 / floor);
	fflush(stdout);
}

/* Two parts, so that the figures are of the same time. */
static void run(const char *where)
{
	int half = b.n_rounds / 2;

	for (int part = 0; part < 2; part++) {
		int first = part * half, end = part == 0 ? half : b.n_rounds;
		pid_t daemon = start_daemon();

		(void)ready_msec(NET_ROUND); /* it is awake */
		for (int i = first; i < end; i++)
			b.ready[i] = ready_msec(NET_ROUND + i);
		net_bench_stop(daemon);
		for (int i = first; i < end; i++)
			floor_msec(NET_ROUND + i, &b.floor[i], &b.filters[i]);
	}
	tell(where);
}

int main(void)
{
	struct err e = { 0 };

	mem_init();
	b.n_rounds = net_bench_is_short() ? 4 : 100;
	close(net_bench_new_netns());
	net_bench_add_underlay("fd00:10::1");
	net_bench_need(underlay_look("eth0", &b.underlay, &e), &e);
	net_bench_need(link_open(&b.world.conn, &e), &e);
	net_bench_need(nft_open(&b.nft, &e), &e);
	b.events = net_bench_listen();
	b.etcd = test_etcd_start(NULL);
	b.world.admin = test_etcd_open(b.etcd);
	keys_set_defaults(&b.world.keys);
	run("empty host");
	b.n_others = net_bench_is_short() ? 10 : N_OTHERS;
	b.world.host = "h1";
	for (int v = 1; v <= b.n_others; v++) {
		net_world_add_net(&b.world, v, "auto");
		net_world_add_vm(&b.world, v, v, 1);
	}
	CLEANUP_STR char *where = xasprintf("host with %d more", b.n_others);
	run(where);
	return 0;
}
