/*
 * Frames per second between two VMs on two hosts, with the port filters and without them. Two
 * network namespaces are the hosts; a veth between them, with IPv6 only, is the underlay. The
 * real ucloud-network, with a real etcd, makes bridge, VXLAN and filters for VMs that are
 * placed there; the VMs' ends of their taps are threads of this program: one writes frames on
 * host 1, one reads them on host 2.
 *
 * A frame's whole way, up to the queue of the other tap, is work of the writing thread's
 * processor. Slices with and without the filters take turns, and the medians are compared.
 * Before that the daemons are ended: they would put back what is taken away.
 *
 *	bench_net_frames
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/lib/net_bench.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/nft.h"

enum {
	NET = 5,
	WAIT_MSEC = 20000,
	ARRIVE_MSEC = 1000,
	N_FEW = 1,
	N_MANY = 100,
	V_CLOSED = N_MANY, /* one more VM */
	SLICES_MAX = 100,
	/* Ethernet, IPv6, UDP */
	HEAD_SIZE = 14 + 40 + 8,
	FRAME_SMALL = 64,
	FRAME_FULL = 14 + 1430,
};

struct host {
	const char *name;
	int first_vm; /* the VM whose tap there is; others follow */
	int netns, tap;
	struct link_conn *conn;
	struct nft *nft;
	char *filters; /* what ucloud-network has loaded */
};

static struct bench {
	struct net_world world;
	struct test_etcd *etcd;
	struct host hosts[2];
	atomic_size_t n_come;
	int n_slices, slice_msec;
	size_t n_lost;
} b = { .hosts = { { .name = "h1", .first_vm = 1 }, { .name = "h2", .first_vm = 121 } } };

/* ---------------------------------------------------------------- the hosts */

static void open_host(struct host *h)
{
	struct err e = { 0 };

	net_bench_need(link_open(&h->conn, &e), &e);
	net_bench_need(nft_open(&h->nft, &e), &e);
}

static void make_hosts(void)
{
	struct host *h1 = &b.hosts[0], *h2 = &b.hosts[1];

	h1->netns = net_bench_new_netns();
	net_bench_add_underlay("fd00:10::1");
	open_host(h1);
	h2->netns = net_bench_new_netns();
	net_bench_fetch(h1->netns, "wire");
	net_world_ip("link set wire name eth0 up");
	net_world_ip("-6 addr add fd00:10::2/64 dev eth0 nodad");
	open_host(h2);
}

static void start_etcd(void)
{
	static const struct test_etcd_conf conf = { .address = "fd00:10::1" };

	net_bench_enter(b.hosts[0].netns);
	b.etcd = test_etcd_start(&conf);
	b.world.admin = test_etcd_open(b.etcd);
	keys_set_defaults(&b.world.keys);
	net_world_add_net(&b.world, NET, "auto");
}

/* VMs from..to - 1 of each host. */
static void place(int from, int to)
{
	for (size_t i = 0; i < ARRAY_LEN(b.hosts); i++) {
		b.world.host = b.hosts[i].name;
		for (int v = from; v < to; v++)
			net_world_add_vm(&b.world, b.hosts[i].first_vm + v, NET, 1);
	}
}

static void tap_name(const struct host *h, int v, char name[IFNAMSIZ])
{
	snprintf(name, IFNAMSIZ, "uct525400%02x%04x", (unsigned)(h->first_vm + v), NET);
}

struct waits {
	struct host *h;
	int n_ports;
};

static bool is_made(void *aux)
{
	struct waits *w = aux;
	CLEANUP_STR char *text = nft_list(w->h->nft);
	char name[IFNAMSIZ];

	b.world.conn = w->h->conn;
	tap_name(w->h, w->n_ports - 1, name);
	return text && strstr(text, name) && net_world_is_ready(&b.world, NET);
}

/* The networks and filters as they are with the first n VMs of each host. */
static void let_daemons_make(int n)
{
	pid_t pid[ARRAY_LEN(b.hosts)];

	for (size_t i = 0; i < ARRAY_LEN(b.hosts); i++) {
		net_bench_enter(b.hosts[i].netns);
		pid[i] = net_bench_start(test_etcd_url(b.etcd, 0), b.hosts[i].name, NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(b.hosts); i++) {
		struct waits w = { &b.hosts[i], n };

		if (!wait_until(is_made, &w, WAIT_MSEC))
			net_bench_die("the network did not come on %s", w.h->name);
	}
	for (size_t i = 0; i < ARRAY_LEN(b.hosts); i++) {
		net_bench_stop(pid[i]);
		str_set(&b.hosts[i].filters, nft_list(b.hosts[i].nft));
	}
}

/* ---------------------------------------------------------------- filters on and off */

static void load(const char *text_1, const char *text_2)
{
	struct err e = { 0 };

	net_bench_need(nft_load(b.hosts[0].nft, text_1, &e), &e);
	net_bench_need(nft_load(b.hosts[1].nft, text_2, &e), &e);
}

static void filters_off(void)
{
	static const char text[] =
		"add table bridge " FILTER_TABLE "\ndelete table bridge " FILTER_TABLE
		"\nadd table ip6 " FILTER_TABLE "\ndelete table ip6 " FILTER_TABLE "\n";

	load(text, text);
}

static void filters_on(void)
{
	filters_off();
	load(b.hosts[0].filters, b.hosts[1].filters);
}

/* ---------------------------------------------------------------- taps and frames */

static void open_tap(struct host *h)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI };

	net_bench_enter(h->netns);
	tap_name(h, 0, req.ifr_name);
	h->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (h->tap < 0 || ioctl(h->tap, TUNSETIFF, &req) < 0)
		test_skip("no tap can be made: %s", strerror(errno));
	CLEANUP_STR char *conf =
		xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", req.ifr_name);
	CLEANUP_STR char *up =
		xasprintf("link set %s mtu 1430 master ucb%d up", req.ifr_name, NET);
	test_write_file(conf, "1");
	net_world_ip(up);
}

/* Of the VM's interface; or one that the VM chose itself. */
static void put_address(unsigned char *at, int v, bool is_chosen)
{
	CLEANUP_STR char *text =
		is_chosen ? xasprintf("2001:db8:0:%x:1234:5678:9abc:%x", NET, v)
			  : xasprintf("2001:db8:0:%x:5054:ff:fe%02x:%x", NET, v, NET);

	inet_pton(AF_INET6, text, at);
}

/* From VM `from` to VM `to`: UDP, whose checksum nobody looks at on the way. */
static void fill_frame(unsigned char *f, size_t size, int from, int to, bool is_chosen)
{
	const unsigned char macs[] = { 0x52, 0x54, 0, (unsigned char)to, 0, NET, 0x52,
		0x54, 0, (unsigned char)from, 0, NET, 0x86, 0xdd, 0x60 };
	uint16_t len = htons((uint16_t)(size - 14 - 40));
	uint16_t udp[] = { htons(4000), htons(4001), len, htons(1) };

	memset(f, 0, size);
	memcpy(f, macs, sizeof(macs));
	memcpy(f + 18, &len, 2);
	f[20] = IPPROTO_UDP;
	f[21] = 64;
	put_address(f + 22, from, is_chosen);
	put_address(f + 38, to, false);
	memcpy(f + 54, udp, sizeof(udp));
}

static void *read_frames(void *aux)
{
	int tap = *(int *)aux;
	unsigned char f[2048];

	for (;;)
		if (read(tap, f, sizeof(f)) >= HEAD_SIZE && f[20] == IPPROTO_UDP)
			atomic_fetch_add_explicit(&b.n_come, 1, memory_order_relaxed);
	return NULL;
}

static bool has_come(void *aux)
{
	return atomic_load(&b.n_come) >= *(size_t *)aux;
}

/* So that all bridges know where the two are. */
static void say_hello(void)
{
	unsigned char f[FRAME_SMALL];
	size_t come = atomic_load(&b.n_come) + 1;

	fill_frame(f, sizeof(f), b.hosts[1].first_vm, b.hosts[0].first_vm, false);
	if (write(b.hosts[1].tap, f, sizeof(f)) < 0)
		net_bench_die("a frame cannot be sent: %s", strerror(errno));
	fill_frame(f, sizeof(f), b.hosts[0].first_vm, b.hosts[1].first_vm, false);
	if (write(b.hosts[0].tap, f, sizeof(f)) < 0 ||
		!wait_until(has_come, &come, ARRIVE_MSEC))
		net_bench_die("no frame gets from host to host");
}

struct stream {
	const char *what;
	size_t size;
	bool is_chosen; /* from an address that the VM chose itself */
};

/* Frames that came, a second. */
static double slice(const struct stream *st, int64_t msec)
{
	unsigned char f[2048];
	size_t before, n = 0, all;
	int64_t begin, end;

	say_hello();
	fill_frame(f, st->size, b.hosts[0].first_vm, b.hosts[1].first_vm, st->is_chosen);
	before = atomic_load(&b.n_come);
	begin = end = clock_mono_usec();
	while (end - begin < msec * 1000) {
		for (int i = 0; i < 64; i++)
			n += write(b.hosts[0].tap, f, st->size) == (ssize_t)st->size;
		end = clock_mono_usec();
	}
	all = before + n;
	if (!wait_until(has_come, &all, ARRIVE_MSEC / 10))
		b.n_lost += all - atomic_load(&b.n_come);
	n = atomic_load(&b.n_come) - before;
	return (double)n / ((double)(end - begin) / 1e6);
}

/* ---------------------------------------------------------------- figures */

static void compare(const struct stream *st)
{
	double with[SLICES_MAX], without[SLICES_MAX], m_with, m_without;

	b.n_lost = 0;
	for (int i = 0; i < b.n_slices; i++) {
		filters_on();
		with[i] = slice(st, b.slice_msec);
		filters_off();
		without[i] = slice(st, b.slice_msec);
	}
	m_with = net_bench_median(with, (size_t)b.n_slices);
	m_without = net_bench_median(without, (size_t)b.n_slices);
	printf("frames of %zu bytes, %s: %.0f/s with filters, %.0f/s without, ratio %.2f "
	       "(aim: 0.9); %zu lost\n",
		st->size, st->what, m_with, m_without, m_with / m_without, b.n_lost);
	fflush(stdout);
}

int main(void)
{
	pthread_t reader;

	mem_init();
	b.n_slices = net_bench_is_short() ? 5 : 30;
	b.slice_msec = net_bench_is_short() ? 40 : 200;
	make_hosts();
	start_etcd();
	place(0, N_FEW);
	let_daemons_make(N_FEW);
	open_tap(&b.hosts[0]);
	open_tap(&b.hosts[1]);
	pthread_create(&reader, NULL, read_frames, &b.hosts[1].tap);
	compare(&(struct stream){ "1 VM on each host", FRAME_FULL, false });
	compare(&(struct stream){ "1 VM on each host", FRAME_SMALL, false });
	place(N_FEW, N_MANY);
	let_daemons_make(N_MANY);
	compare(&(struct stream){ "100 VMs on each host", FRAME_FULL, false });
	compare(&(struct stream){ "100 VMs on each host", FRAME_SMALL, false });
	compare(&(struct stream){
		"100 VMs, from a self-chosen address", FRAME_SMALL, true });
	b.world.ingress = "tcp/22";
	place(V_CLOSED, V_CLOSED + 1);
	let_daemons_make(V_CLOSED + 1);
	compare(&(struct stream){ "100 VMs, another one is closed", FRAME_SMALL, false });
	return 0;
}
