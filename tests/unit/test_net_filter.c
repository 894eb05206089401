/* What VMs may send, from entries to the text for nftables: tests/golden/nft/. UPDATE=1
 * rewrites them. */
#include "ucloud-network/filter.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"

#define GOLDEN "tests/golden/nft/"

static struct network nets[] = {
	{ .uuid = (char[]){ "auto" },
		.ipam = IPAM_AUTO,
		.vni = 101,
		.prefix = (char[]){ "2001:db8:1:1::/64" },
		.mtu = 1430 },
	{ .uuid = (char[]){ "manual" },
		.ipam = IPAM_MANUAL,
		.vni = 102,
		.prefix = (char[]){ "2001:db8:1:2::/64" },
		.mtu = 1430 },
	{ .uuid = (char[]){ "none" }, .ipam = IPAM_NONE, .vni = 103 },
	{ .uuid = (char[]){ "new" }, .ipam = IPAM_AUTO },
};

static const struct network *find(void *aux, const char *uuid)
{
	(void)aux;
	for (size_t i = 0; i < ARRAY_LEN(nets); i++)
		if (str_eq(nets[i].uuid, uuid))
			return &nets[i];
	return NULL;
}

static void add_nic(
	struct vm *vm, const char *network, const char *mac, const char *address)
{
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm->networks);

	nic->network = xstrdup(network);
	nic->mac = xstrdup(mac);
	nic->address = xstrdup(address);
}

/* Two VMs here; a third one, elsewhere, in the first network. */
static void make(struct wanted *w)
{
	CLEANUP(vm_done) struct vm a = { 0 }, b = { 0 };

	add_nic(&a, "manual", "52:54:00:00:00:02", "");
	add_nic(&a, "auto", "52:54:00:00:00:01", "2001:db8:1:1:5054:ff:fe00:1");
	add_nic(&a, "new", "52:54:00:00:00:04", "");
	add_nic(&a, "gone", "52:54:00:00:00:05", "");
	add_nic(&b, "none", "52:54:00:00:00:03", "");
	wanted_add_vm(w, &b, 1500, find, NULL);
	wanted_add_vm(w, &a, 1500, find, NULL);
	wanted_add_taken(w, "52:54:00:00:00:09", "2001:db8:1:1:5054:ff:fe00:9");
	wanted_add_taken(w, "52:54:00:00:00:01", "2001:db8:1:1:5054:ff:fe00:1");
	wanted_add_taken(w, "52:54:00:00:00:01", "2001:db8:1:1:5054:ff:fe00:1");
	wanted_add_taken(w, "junk", "junk");
	for (size_t i = 0; i < 3; i++)
		wanted_add_router(w, &nets[i]);
	wanted_add_underlay(w, "fd00:10::2");
	wanted_add_underlay(w, "fd00:10::1");
	assert_int_equal(inet_pton(AF_INET6, "fd00:10::1", &w->underlay), 1);
	wanted_sort(w);
}

static void same_as_file(const char *name, const char *text)
{
	CLEANUP_STR char *path = xasprintf(GOLDEN "%s.nft", name);
	CLEANUP_STR char *golden = NULL;

	if (getenv("UPDATE"))
		test_write_file(path, text);
	golden = test_read_file(path);
	assert_non_null(golden);
	assert_string_equal(text, golden);
}

static void check(
	const char *name, const struct wanted *w, const struct filter_counts *counts)
{
	CLEANUP(buf_done) struct buf out = { 0 };

	filter_text(w, counts, &out);
	same_as_file(name, buf_str(&out));
}

static void no_vm(void **state)
{
	struct wanted w = { 0 };
	(void)state;

	check("empty", &w, NULL);
}

static void two_vms(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	(void)state;

	make(&w);
	check("host", &w, NULL);
}

static void also_a_router(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	struct filter_counts counts = { .packets[FILTER_MAC] = 3,
		.bytes[FILTER_MAC] = 180 };
	(void)state;

	make(&w);
	wanted_add_net(&w, &nets[0], "router", true, 1500);
	check("router", &w, &counts);
}

/* One that lets in two ports and pings, and one that lets in nothing and has a rate. */
static void closed(void **state)
{
	CLEANUP(vm_done) struct vm a = { .is_closed = true }, b = { .is_closed = true };
	CLEANUP(wanted_done) struct wanted w = { 0 };
	(void)state;

	add_nic(&a, "auto", "52:54:00:00:00:01", "2001:db8:1:1:5054:ff:fe00:1");
	add_nic(&a, "manual", "52:54:00:00:00:02", "");
	strv_add(&a.ingress, "tcp/22");
	strv_add(&a.ingress, "udp/53");
	strv_add(&a.ingress, "icmpv6");
	add_nic(&b, "auto", "52:54:00:00:00:03", "2001:db8:1:1:5054:ff:fe00:3");
	((struct vm_nic *)b.networks.v)->rate_mbit = 100;
	wanted_add_vm(&w, &a, 1500, find, NULL);
	wanted_add_vm(&w, &b, 1500, find, NULL);
	wanted_sort(&w);
	assert_true(filter_has_closed(&w));
	check("closed", &w, NULL);
}

/* Who may use what, beyond what the files show. */
static void ports(void **state)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	(void)state;

	make(&w);
	assert_int_equal(w.n_nets, 3);
	assert_int_equal(w.n_ports, 3);
	assert_string_equal(w.ports[0].tap, "uct525400000001");
	assert_int_equal(w.ports[0].vni, 101);
	/* Link-local and its own network; and, to send from, the VM's other one. */
	assert_int_equal(w.ports[0].n_targets, 2);
	assert_int_equal(w.ports[0].n_prefixes, 3);
	assert_false(w.ports[0].is_open);
	assert_true(w.ports[2].is_open);
	/* A network without an MTU takes what the underlay leaves. */
	assert_int_equal(wanted_find_net(&w, 103)->mtu, 1430);
	assert_null(wanted_find_net(&w, 104));
	/* Two VMs with two each, and two routers. */
	assert_int_equal(w.n_taken, 6);
	assert_int_equal(w.n_underlays, 2);
}

/* Frames from addresses in "own" are not looked at any further. */
static void own_addresses_outside_of_the_prefixes(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP(wanted_done) struct wanted w = { 0 };
	CLEANUP(buf_done) struct buf out = { 0 };
	(void)state;

	add_nic(&vm, "auto", "52:54:00:00:00:01", "2001:db8:9:9:5054:ff:fe00:1");
	add_nic(&vm, "manual", "02:75:c1:00:00:01", "2001:db8:1:2::7");
	wanted_add_vm(&w, &vm, 1500, find, NULL);
	wanted_sort(&w);
	filter_text(&w, NULL, &out);
	assert_non_null(strstr(buf_str(&out), "0x20010db8000100020000000000000007"));
	assert_null(strstr(buf_str(&out), "0x20010db800090009"));
	assert_null(strstr(buf_str(&out), "0xfe800000000000000075c1fffe000001"));
}

static void counters_are_read(void **state)
{
	static const char json[] =
		"{\"nftables\":[{\"metainfo\":{\"version\":\"1\"}},{\"counter\":{"
		"\"family\":"
		"\"bridge\",\"name\":\"mac\",\"table\":\"ucloud\",\"handle\":1,"
		"\"packets\":7,"
		"\"bytes\":420}},{\"counter\":{\"name\":\"later\",\"packets\":1}}]}";
	struct filter_counts c = { .packets[FILTER_DHCP] = 9 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(filter_counts_parse(json, strlen(json), &c, &e), 0);
	assert_int_equal(c.packets[FILTER_MAC], 7);
	assert_int_equal(c.bytes[FILTER_MAC], 420);
	assert_int_equal(c.packets[FILTER_DHCP], 9);
	assert_true(filter_counts_parse("x", 1, &c, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_vm),
		cmocka_unit_test(two_vms),
		cmocka_unit_test(also_a_router),
		cmocka_unit_test(closed),
		cmocka_unit_test(ports),
		cmocka_unit_test(own_addresses_outside_of_the_prefixes),
		cmocka_unit_test(counters_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
