/* The port filters in a real kernel: frames into a tap, and which of them come out elsewhere. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/net_world.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/nft.h"

/* VM 1 in network 5 and VM 2, too, and VM 5 with a rate; VM 3 in 6, which is "none". The taps are veths: what goes
 * into "guest1" comes out of the tap as if QEMU had written it. "out5" is another port of
 * network 5's bridge, "out6" of network 6's. */
#define SOON_MSEC 5000
#define MAC_1	  "\x52\x54\x00\x01\x00\x05"
#define MAC_2	  "\x52\x54\x00\x02\x00\x05"
#define MAC_3	  "\x52\x54\x00\x03\x00\x06"
#define MAC_5	  "\x52\x54\x00\x05\x00\x05"
#define OWN_1	  "2001:db8:0:5:5054:ff:fe01:5"
#define OWN_2	  "2001:db8:0:5:5054:ff:fe02:5"
#define OWN_5	  "2001:db8:0:5:5054:ff:fe05:5"
#define LOCAL_1	  "fe80::5054:ff:fe01:5"
#define LOCAL_2	  "fe80::5054:ff:fe02:5"
#define PRIVACY	  "2001:db8:0:5:1234:5678:9abc:def0"
#define PASSES	  FILTER_N_REASONS

static struct net_world w;
static struct nft *nft;
static int guest1, guest2, guest3, guest5, stray, out5, out6;

/* ---------------------------------------------------------------- frames */

struct frame {
	unsigned char b[256];
	size_t size;
};

static void put(struct frame *f, const void *p, size_t size)
{
	assert_true(f->size + size <= sizeof(f->b));
	memcpy(f->b + f->size, p, size);
	f->size += size;
}

static void put_address(struct frame *f, const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	put(f, &a, sizeof(a));
}

static void put_ethernet(struct frame *f, const char *mac, uint16_t type)
{
	uint16_t net = htons(type);

	put(f, "\x33\x33\x00\x00\x00\x01", 6);
	put(f, mac, 6);
	put(f, &net, 2);
}

/* next: the protocol; size: of what follows. */
static void put_ipv6(struct frame *f, const char *mac, const char *from, const char *to,
	unsigned char next, uint16_t size)
{
	unsigned char head[8] = { 0x60, 0, 0, 0, (unsigned char)(size >> 8),
		(unsigned char)size, next, 255 };

	put_ethernet(f, mac, 0x86dd);
	put(f, head, sizeof(head));
	put_address(f, from);
	put_address(f, to);
}

static struct frame icmp(
	const char *mac, const char *from, unsigned char type, const char *target)
{
	struct frame f = { 0 };
	unsigned char head[8] = { type };

	put_ipv6(&f, mac, from, "ff02::1", 58, 24);
	put(&f, head, sizeof(head));
	put_address(&f, target);
	return f;
}

/* The same behind a hop-by-hop header. */
static struct frame hidden(const char *mac, const char *from, unsigned char type)
{
	struct frame f = { 0 };
	unsigned char hop[8] = { 58, 0, 1, 4 }, head[24] = { type };

	put_ipv6(&f, mac, from, "ff02::1", 0, 32);
	put(&f, hop, sizeof(hop));
	put(&f, head, sizeof(head));
	return f;
}

/* A fragment (RFC 8200, section 4.5) at `offset` bytes, of 24 bytes of which the first are `head`;
 * it says that `next` follows. */
static struct frame fragment(const char *from, unsigned char next, uint16_t offset,
	bool has_more, const void *head, size_t head_size)
{
	unsigned char wrap[8] = { next, 0, (unsigned char)(offset >> 8),
		(unsigned char)((offset & 0xf8) | has_more), 0, 0, 0, 7 };
	unsigned char body[24] = { 0 };
	struct frame f = { 0 };

	assert_true(head_size <= sizeof(body));
	memcpy(body, head, head_size);
	put_ipv6(&f, MAC_1, from, "ff02::1", 44, sizeof(wrap) + sizeof(body));
	put(&f, wrap, sizeof(wrap));
	put(&f, body, sizeof(body));
	return f;
}

static struct frame udp_of(
	const char *mac, const char *from, const char *to, uint16_t sport, uint16_t dport)
{
	struct frame f = { 0 };
	uint16_t head[4] = { htons(sport), htons(dport), htons(16) };

	put_ipv6(&f, mac, from, to, 17, 16);
	put(&f, head, sizeof(head));
	put(&f, "payload.", 8);
	return f;
}

static struct frame udp(const char *from, const char *to, uint16_t sport, uint16_t dport)
{
	return udp_of(MAC_1, from, to, sport, dport);
}

static struct frame other(const char *mac, uint16_t type)
{
	struct frame f = { 0 };

	put_ethernet(&f, mac, type);
	put(&f, "0123456789012345678901234567890123456789", 40);
	return f;
}

/* From 10.0.0.1 to 10.0.0.2; its header's sum is right. */
static struct frame ipv4(const char *mac)
{
	struct frame f = { 0 };

	put_ethernet(&f, mac, 0x0800);
	put(&f, "\x45\x00\x00\x14\x00\x00\x00\x00\x40\x3b\x66\xad", 12);
	put(&f, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	return f;
}

static struct frame tagged(const char *tag)
{
	struct frame f = { 0 }, inner = icmp(MAC_1, OWN_1, 128, "::");

	put(&f, inner.b, 12);
	put(&f, tag, 4);
	put(&f, inner.b + 12, inner.size - 12);
	return f;
}

/* ---------------------------------------------------------------- sending */

static int open_raw(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL) };
	struct timeval wait = { .tv_usec = 100000 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	assert_true(fd >= 0);
	at.sll_ifindex = (int)if_nametoindex(name);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	return fd;
}

static void send_frame(int fd, const struct frame *f)
{
	assert_int_equal(send(fd, f->b, f->size, 0), f->size);
}

/* Does exactly this frame come, before the mark that was sent behind it? */
static bool comes(int fd, const struct frame *f, const struct frame *mark)
{
	int64_t end_msec = test_now_msec() + SOON_MSEC;
	bool is_seen = false;

	while (test_now_msec() < end_msec) {
		unsigned char b[2048];
		ssize_t n = recv(fd, b, sizeof(b), 0);

		if (n == (ssize_t)f->size && memcmp(b, f->b, f->size) == 0)
			is_seen = true;
		if (n == (ssize_t)mark->size && memcmp(b, mark->b, mark->size) == 0)
			return is_seen;
	}
	fail_msg("the mark did not come");
	return false;
}

static struct filter_counts counts(void)
{
	struct filter_counts c = { 0 };
	struct err e = { 0 };

	if (nft_counts(nft, &c, &e) < 0)
		fail_msg("%s", e.msg);
	return c;
}

/* A frame that always passes, another one each time. */
static struct frame mark(void)
{
	static uint16_t port = 20000;

	return udp(OWN_1, "ff02::99", port++, 7);
}

static struct frame mark_open(void)
{
	static uint16_t type = 0x6000;

	return other(MAC_3, type++);
}

static void expect_at(const char *what, int in, int out, struct frame f, struct frame m,
	enum filter_reason reason)
{
	struct filter_counts before = counts(), after;

	send_frame(in, &f);
	send_frame(in == stray ? guest1 : in, &m);
	if (comes(out, &f, &m) != (reason == PASSES))
		fail_msg("%s: %s", what,
			reason == PASSES ? "was dropped" : "came through");
	after = counts();
	for (int i = 0; i < FILTER_N_REASONS; i++) {
		bool is_counted = after.packets[i] != before.packets[i];

		/* Groups reach the host and the closed VM, too. */
		if (i == FILTER_TO_MACHINE || (i == FILTER_CLOSED && i != (int)reason))
			continue;
		if (is_counted != (i == (int)reason))
			fail_msg("%s: counter %s", what, filter_reason_names[i]);
	}
}

static void expect(const char *what, struct frame f, enum filter_reason reason)
{
	expect_at(what, guest1, out5, f, mark(), reason);
}

/* ---------------------------------------------------------------- the tests */

static void add_tap(const char *tap, const char *guest, const char *bridge)
{
	CLEANUP_STR char *add =
		xasprintf("link add %s type veth peer name %s", tap, guest);
	CLEANUP_STR char *up = xasprintf("link set %s master %s up", tap, bridge);
	CLEANUP_STR char *peer = xasprintf("link set %s up", guest);

	net_world_ip(add);
	/* What the kernel itself would say there. */
	CLEANUP_STR char *conf =
		xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", guest);
	test_write_file(conf, "1");
	net_world_ip(up);
	net_world_ip(peer);
}

static bool is_loaded(void *aux)
{
	CLEANUP_STR char *text = nft_list(nft);

	return text && strstr(text, aux);
}

static bool is_not_loaded(void *aux)
{
	return !is_loaded(aux);
}

static int begin(void **state)
{
	struct err e = { 0 };
	char last[] = "\"uct525400050005\"";
	(void)state;

	net_world_start(&w);
	assert_int_equal(nft_open(&nft, &e), 0);
	net_world_add_net(&w, 5, "auto");
	net_world_add_net(&w, 6, "none");
	net_world_add_vm(&w, 1, 5, 1);
	w.ingress = "udp/53,icmpv6";
	net_world_add_vm(&w, 2, 5, 1);
	w.ingress = NULL;
	net_world_add_vm(&w, 3, 6, 1);
	w.rate_mbit = 8;
	net_world_add_vm(&w, 4, 6, 1);
	w.rate_mbit = 1000;
	net_world_add_vm(&w, 5, 5, 1);
	net_world_run(&w, 60, FLOOD_MULTICAST);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	assert_true(net_world_wait_ready(&w, 6, true, SOON_MSEC));
	assert_true(wait_until(is_loaded, last, SOON_MSEC));
	add_tap("uct525400010005", "br-guest1", "ucb5");
	add_tap("uct525400020005", "br-guest2", "ucb5");
	add_tap("uct525400040006", "br-guest4", "ucb6");
	add_tap("uct525400030006", "br-guest3", "ucb6");
	add_tap("uct525400050005", "br-guest5", "ucb5");
	add_tap("uct5254000100ff", "br-stray", "ucb5");
	add_tap("br-port5", "br-out5", "ucb5");
	add_tap("br-port6", "br-out6", "ucb6");
	guest1 = open_raw("br-guest1");
	guest2 = open_raw("br-guest2");
	guest3 = open_raw("br-guest3");
	guest5 = open_raw("br-guest5");
	stray = open_raw("br-stray");
	out5 = open_raw("br-out5");
	out6 = open_raw("br-out6");
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(guest1);
	close(guest2);
	close(guest3);
	close(guest5);
	close(stray);
	close(out5);
	close(out6);
	nft_close(nft);
	net_world_stop(&w);
	return 0;
}

static void what_a_guest_needs(void **state)
{
	(void)state;
	expect("its address", udp(OWN_1, "2001:db8::99", 1000, 80), PASSES);
	expect("link-local", udp(LOCAL_1, "fe80::1", 1000, 80), PASSES);
	expect("a privacy address", udp(PRIVACY, "2001:db8::99", 1000, 80), PASSES);
	expect("looking whether an address is free", icmp(MAC_1, "::", 135, PRIVACY),
		PASSES);
	expect("asking for routers", icmp(MAC_1, LOCAL_1, 133, "::"), PASSES);
	expect("asking for a neighbour", icmp(MAC_1, OWN_1, 135, OWN_2), PASSES);
	expect("its address to a neighbour", icmp(MAC_1, OWN_1, 136, OWN_1), PASSES);
	expect("its link-local one", icmp(MAC_1, LOCAL_1, 136, LOCAL_1), PASSES);
	expect("its privacy address", icmp(MAC_1, PRIVACY, 136, PRIVACY), PASSES);
	expect("groups", hidden(MAC_1, "::", 143), PASSES);
	expect("as a DHCPv6 client", udp(LOCAL_1, "ff02::1:2", 546, 547), PASSES);
	expect("where it went", other(MAC_1, 0x8035), PASSES);
	expect("its own VXLAN", udp(OWN_1, "2001:db8:0:5::77", 1000, 4789), PASSES);
}

static void attacks(void **state)
{
	(void)state;
	expect("another MAC", icmp(MAC_2, OWN_1, 128, "::"), FILTER_MAC);
	expect("another network's address", udp("2001:db8:0:6::1", OWN_2, 1, 80),
		FILTER_SOURCE);
	expect("an address of the world", udp("2620:fe::fe", OWN_2, 1, 80),
		FILTER_SOURCE);
	expect("no address", udp("::", OWN_2, 1, 80), FILTER_SOURCE);
	expect("its neighbour's address", udp(OWN_2, OWN_1, 1, 80), FILTER_TAKEN);
	expect("its neighbour's link-local", udp(LOCAL_2, OWN_1, 1, 80), FILTER_TAKEN);
	expect("the router's address", udp("2001:db8:0:5::1", OWN_2, 1, 80),
		FILTER_TAKEN);
	expect("a router's link-local", udp("fe80::75:c1ff:fe01:203", OWN_2, 1, 80),
		FILTER_TAKEN);
	expect("a router advertisement", icmp(MAC_1, LOCAL_1, 134, "::"), FILTER_ROUTER);
	expect("a redirect", icmp(MAC_1, LOCAL_1, 137, "::"), FILTER_ROUTER);
	expect("a hidden router advertisement", hidden(MAC_1, LOCAL_1, 134),
		FILTER_ROUTER);
	expect("an advertisement from nowhere", icmp(MAC_1, "::", 134, "::"),
		FILTER_SOURCE);
	expect("as its neighbour", icmp(MAC_1, OWN_1, 136, OWN_2), FILTER_NEIGHBOUR);
	expect("as its neighbour, link-local", icmp(MAC_1, LOCAL_1, 136, LOCAL_2),
		FILTER_NEIGHBOUR);
	expect("as the router", icmp(MAC_1, OWN_1, 136, "2001:db8:0:5::1"),
		FILTER_NEIGHBOUR);
	expect("as a router, link-local",
		icmp(MAC_1, LOCAL_1, 136, "fe80::75:c1ff:fe01:203"), FILTER_NEIGHBOUR);
	expect("as the world", icmp(MAC_1, OWN_1, 136, "2620:fe::fe"), FILTER_NEIGHBOUR);
	expect("as a DHCPv6 server", udp(LOCAL_1, LOCAL_2, 547, 546), FILTER_DHCP);
	expect("VXLAN to the host", udp(OWN_1, "fd00:10::1", 1000, 4789), FILTER_VXLAN);
	expect("the same from another address", udp(PRIVACY, "fd00:10::1", 1000, 4789),
		FILTER_VXLAN);
	expect("a router advertisement from another address",
		icmp(MAC_1, PRIVACY, 134, "::"), FILTER_ROUTER);
	expect("IPv4", ipv4(MAC_1), FILTER_PROTOCOL);
	expect("ARP", other(MAC_1, 0x0806), FILTER_PROTOCOL);
	expect("a VLAN", tagged("\x81\x00\x00\x01"), FILTER_PROTOCOL);
	expect("a provider's VLAN", tagged("\x88\xa8\x00\x01"), FILTER_PROTOCOL);
	expect("a length instead of a protocol", other(MAC_1, 60), FILTER_PROTOCOL);
}

/* "Is it free?" keeps others from using an address, too (RFC 3756, section 4.1.3). */
static void asking_for_addresses_of_others(void **state)
{
	(void)state;
	expect("its own", icmp(MAC_1, "::", 135, OWN_1), PASSES);
	expect("its neighbour's", icmp(MAC_1, "::", 135, OWN_2), FILTER_NEIGHBOUR);
	expect("its neighbour's link-local", icmp(MAC_1, "::", 135, LOCAL_2),
		FILTER_NEIGHBOUR);
	expect("the router's", icmp(MAC_1, "::", 135, "2001:db8:0:5::1"),
		FILTER_NEIGHBOUR);
	expect("the router's link-local",
		icmp(MAC_1, "::", 135, "fe80::75:c1ff:fe01:203"), FILTER_NEIGHBOUR);
}

static void dhcp_from_any_port(void **state)
{
	(void)state;
	expect("to a client", udp(LOCAL_1, LOCAL_2, 1234, 546), FILTER_DHCP);
	expect("to a client, in a fragment",
		fragment(LOCAL_1, 17, 0, true, "\x04\xd2\x02\x22", 4), FILTER_DHCP);
	expect("to a client, from a privacy address", udp(PRIVACY, LOCAL_2, 1234, 546),
		FILTER_DHCP);
}

/* No rule drops it. It need not come out at once: where a VM is closed, the kernel puts
 * fragments together for it. */
static void expect_kept(const char *what, struct frame f)
{
	struct filter_counts before = counts(), after;
	struct frame m = mark();

	send_frame(guest1, &f);
	send_frame(guest1, &m);
	(void)comes(out5, &f, &m);
	after = counts();
	for (int i = 0; i < FILTER_TO_MACHINE; i++)
		if (after.packets[i] != before.packets[i])
			fail_msg("%s: counter %s", what, filter_reason_names[i]);
}

/* What is in fragments may be seen neither by the filter nor by those who reassemble them
 * otherwise (RFC 6980, RFC 7112, RFC 7113). */
static void fragments(void **state)
{
	static const unsigned char options[8] = { 58, 2 }, short_options[8] = { 58 };
	(void)state;

	expect_kept("a ping's first", fragment(OWN_1, 58, 0, true, "\x80", 1));
	expect_kept("a ping's second", fragment(OWN_1, 58, 24, false, "\x86", 1));
	expect_kept("of UDP", fragment(OWN_1, 17, 0, true, "\x00\x01\x00\x02", 4));
	expect_kept("of UDP, second", fragment(OWN_1, 17, 24, false, "", 0));
	expect_kept("of TCP", fragment(PRIVACY, 6, 0, true, "\x00\x01\x00\x02", 4));
	for (unsigned char type = 133; type <= 137; type++) {
		expect("neighbour discovery", fragment(LOCAL_1, 58, 0, true, &type, 1),
			FILTER_HIDDEN);
		expect("the same, alone", fragment(PRIVACY, 58, 0, false, &type, 1),
			FILTER_HIDDEN);
	}
	expect("options that go on in the next one",
		fragment(LOCAL_1, 60, 0, true, options, sizeof(options)), FILTER_HIDDEN);
	expect("options, then ICMPv6",
		fragment(LOCAL_1, 60, 0, true, short_options, sizeof(short_options)),
		FILTER_HIDDEN);
	expect("what follows them", fragment(LOCAL_1, 60, 24, false, "\x86", 1),
		FILTER_HIDDEN);
	expect("a fragment in a fragment", fragment(LOCAL_1, 44, 0, false, "\x3a", 1),
		FILTER_HIDDEN);
	expect("from nowhere", fragment("::", 58, 0, true, "\x87", 1), FILTER_HIDDEN);
	expect("its neighbour's address", fragment(OWN_2, 58, 24, false, "", 0),
		FILTER_TAKEN);
}

/* A network without addresses of ours: only the MAC counts. */
static void a_network_of_its_own(void **state)
{
	(void)state;
	expect_at("IPv4", guest3, out6, ipv4(MAC_3), mark_open(), PASSES);
	expect_at("router advertisement", guest3, out6, icmp(MAC_3, "fe80::1", 134, "::"),
		mark_open(), PASSES);
	expect_at("another MAC", guest3, out6, ipv4(MAC_1), mark_open(), FILTER_MAC);
}

static void a_tap_without_filters(void **state)
{
	(void)state;
	expect_at("any frame", stray, out5, icmp(MAC_1, OWN_1, 128, "::"), mark(),
		FILTER_NO_PORT);
}

/* Not one frame from a VM gets to the host itself. */
static void the_host_is_out_of_reach(void **state)
{
	struct filter_counts before = counts();
	(void)state;

	expect("a ping to all", icmp(MAC_1, LOCAL_1, 128, "::"), PASSES);
	assert_true(
		counts().packets[FILTER_TO_MACHINE] > before.packets[FILTER_TO_MACHINE]);
}

/* ---------------------------------------------------------------- closed, and slow */

/* A UDP frame whose checksum (RFC 8200, section 8.1) is right: connections are tracked. */
static struct frame between(const char *from, const char *from_mac, const char *to,
	const char *to_mac, uint16_t sport, uint16_t dport)
{
	uint16_t head[4] = { htons(sport), htons(dport), htons(16) };
	struct frame f = { 0 };
	uint32_t sum = 17 + 16;

	put_ipv6(&f, from_mac, from, to, 17, 16);
	memcpy(f.b, to_mac, 6);
	put(&f, head, sizeof(head));
	put(&f, "payload.", 8);
	for (size_t i = 14 + 8; i < f.size; i += 2)
		sum += (uint32_t)f.b[i] << 8 | f.b[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	f.b[14 + 40 + 6] = (unsigned char)(sum >> 8);
	f.b[14 + 40 + 7] = (unsigned char)sum;
	return f;
}

static struct frame to_2(uint16_t sport, uint16_t dport)
{
	return between(OWN_1, MAC_1, OWN_2, MAC_2, sport, dport);
}

static struct frame mark_2(void)
{
	static uint16_t port = 30000;

	return to_2(port++, 53);
}

static void a_closed_vm(void **state)
{
	struct frame ask = between(OWN_2, MAC_2, OWN_1, MAC_1, 4000, 4001), m, groups;
	(void)state;

	expect_at("what it lets in", guest1, guest2, to_2(1, 53), mark_2(), PASSES);
	expect_at(
		"what it does not", guest1, guest2, to_2(1, 54), mark_2(), FILTER_CLOSED);
	expect_at("no answer", guest1, guest2, to_2(4001, 4000), mark_2(), FILTER_CLOSED);
	m = between(OWN_2, MAC_2, OWN_1, MAC_1, 4000, 4002);
	expect_at("what it sends", guest2, guest1, ask, m, PASSES);
	expect_at("the answer", guest1, guest2, to_2(4001, 4000), mark_2(), PASSES);
	expect_at("neighbours", guest1, guest2, icmp(MAC_1, OWN_1, 135, OWN_2), mark_2(),
		PASSES);
	groups = between(OWN_1, MAC_1, "ff02::1", "\x33\x33\0\0\0\x01", 1, 54);
	expect_at("a group", guest1, guest2, groups, mark_2(), FILTER_CLOSED);
}

static void a_slow_vm(void **state)
{
	int guest4 = open_raw("br-guest4");
	struct filter_counts before = counts(), after;
	struct frame f = other("\x52\x54\x00\x04\x00\x06", 0x88b5);
	(void)state;

	f.size = 250;
	for (int i = 0; i < 20000; i++)
		(void)!send(guest4, f.b, f.size, 0);
	close(guest4);
	after = counts();
	assert_true(after.packets[FILTER_RATE] > before.packets[FILTER_RATE] + 1000);
	/* The burst, and a second's worth at the very least, came through. */
	assert_true(
		after.packets[FILTER_RATE] - before.packets[FILTER_RATE] < 20000 - 900);
}

static struct frame mark_5(void)
{
	static uint16_t port = 40000;

	return udp_of(MAC_5, OWN_5, "ff02::99", port++, 7);
}

/* A rate takes away none of the rules. */
static void attacks_from_a_vm_with_a_rate(void **state)
{
	(void)state;
	expect_at("its address", guest5, out5, udp_of(MAC_5, OWN_5, "2001:db8::99", 1, 2),
		mark_5(), PASSES);
	expect_at("another MAC", guest5, out5, udp(OWN_5, OWN_2, 1, 80), mark_5(),
		FILTER_MAC);
	expect_at("its neighbour's address", guest5, out5,
		udp_of(MAC_5, OWN_1, OWN_2, 1, 80), mark_5(), FILTER_TAKEN);
	expect_at("IPv4", guest5, out5, ipv4(MAC_5), mark_5(), FILTER_PROTOCOL);
	expect_at("a router advertisement", guest5, out5, icmp(MAC_5, OWN_5, 134, "::"),
		mark_5(), FILTER_ROUTER);
}

/* A stream of frames goes on while the daemon stops, starts, and loads its filters again. */
static void a_restart_loses_nothing(void **state)
{
	char last[] = "\"uct525400040006\"";
	struct frame f = udp(PRIVACY, "ff02::98", 9, 9);
	int out = open_raw("br-out5");
	unsigned n_sent = 0, n_come = 0;
	unsigned char b[2048];
	int64_t end_msec;
	(void)state;

	for (int i = 0; i < 200; i++) {
		const struct timespec pause = { .tv_nsec = i > 100 ? 3000000 : 0 };

		send_frame(guest1, &f);
		n_sent++;
		if (i == 50)
			net_world_halt(&w);
		if (i == 100)
			net_world_run(&w, 60, FLOOD_MULTICAST);
		nanosleep(&pause, NULL);
	}
	assert_true(wait_until(is_loaded, last, SOON_MSEC));
	end_msec = test_now_msec() + SOON_MSEC;
	while (n_come < n_sent && test_now_msec() < end_msec)
		if (recv(out, b, sizeof(b), 0) == (ssize_t)f.size &&
			memcmp(b, f.b, f.size) == 0)
			n_come++;
	close(out);
	assert_int_equal(n_come, n_sent);
}

/* Another rate of an interface that had one, and none: what was in force before is no more. */
static void rates_that_change(void **state)
{
	char tap[] = "\"uct525400070005\"", old[] = "10000 kbytes/second",
	     new[] = "20000 kbytes/second";
	(void)state;

	for (int i = 0; i < 2; i++) {
		w.rate_mbit = 80;
		net_world_add_vm(&w, 7, 5, 1);
		assert_true(wait_until(is_loaded, old, SOON_MSEC));
		net_world_del_vm(&w, 7);
		assert_true(wait_until(is_not_loaded, i ? tap : old, SOON_MSEC));
		w.rate_mbit = 160;
		net_world_add_vm(&w, 7, 5, 1);
		assert_true(wait_until(is_loaded, new, SOON_MSEC));
		assert_false(is_loaded(old));
		net_world_del_vm(&w, 7);
		assert_true(wait_until(is_not_loaded, new, SOON_MSEC));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_guest_needs),
		cmocka_unit_test(attacks),
		cmocka_unit_test(asking_for_addresses_of_others),
		cmocka_unit_test(dhcp_from_any_port),
		cmocka_unit_test(fragments),
		cmocka_unit_test(a_network_of_its_own),
		cmocka_unit_test(a_closed_vm),
		cmocka_unit_test(a_slow_vm),
		cmocka_unit_test(attacks_from_a_vm_with_a_rate),
		cmocka_unit_test(rates_that_change),
		cmocka_unit_test(a_tap_without_filters),
		cmocka_unit_test(the_host_is_out_of_reach),
		cmocka_unit_test(a_restart_loses_nothing),
	};

	net_world_enter();
	return cmocka_run_group_tests(tests, begin, end);
}
