/* The networks of a host in a real kernel: made, mended, removed, and nothing else touched. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/metrics.h"
#include "tests/lib/net_world.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/nft.h"

/* "At once": far below the resync, on a busy machine too. */
#define SOON_MSEC 5000
#define LONG_MSEC 30000
/* Below the 3 s that a worker is waited for. */
#define STOP_MSEC 2500
#define NET_5	  "00000000-0000-4000-8000-000000000005"

static struct net_world w;

static int begin(void **state)
{
	(void)state;
	net_world_start(&w);
	return 0;
}

static int end(void **state)
{
	(void)state;
	net_world_stop(&w);
	return 0;
}

static bool is_announced(void *aux)
{
	CLEANUP_STR char *key = key_network_host(NET_5, "h1");
	CLEANUP_STR char *value = net_world_get(&w, key);

	return aux ? value && strstr(value, aux) : value == NULL;
}

static bool is_there(void *aux)
{
	return net_world_index(&w, aux) != 0;
}

static bool is_gone(void *aux)
{
	return net_world_index(&w, aux) == 0;
}

static void comes_and_goes(void **state)
{
	CLEANUP_STR char *underlay = key_underlay("h1");
	CLEANUP_STR char *text = NULL;
	(void)state;

	net_world_run(&w, 1, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	assert_true(wait_until(is_announced, (void *)(uintptr_t) "\"host\"", SOON_MSEC));
	text = net_world_get(&w, underlay);
	assert_non_null(strstr(text, "\"fd00:10::1\""));
	net_world_del_vm(&w, 1);
	assert_true(wait_until(is_gone, (void *)(uintptr_t) "ucb5", 1000 + SOON_MSEC));
	assert_true(wait_until(is_gone, (void *)(uintptr_t) "ucv5", SOON_MSEC));
	assert_true(wait_until(is_announced, NULL, SOON_MSEC));
}

static void a_network_that_comes_later(void **state)
{
	(void)state;
	net_world_run(&w, 1, FLOOD_MULTICAST);
	net_world_add_vm(&w, 1, 5, 1);
	net_world_add_net(&w, 5, "none");
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
}

static bool has_filters(void *aux)
{
	struct nft *nft = aux;
	CLEANUP_STR char *text = nft_list(nft);

	return text && strstr(text, "uct525400010005") && strstr(text, "hook prerouting");
}

static void what_somebody_breaks_is_mended(void **state)
{
	static const char *const breaks[] = { "link del ucb5", "link del ucv5",
		"link set ucb5 mtu 1300", "link set ucv5 mtu 1300", "link set ucb5 down",
		"link set ucv5 nomaster", "link set ucb5 type bridge mcast_snooping 1",
		"link set dev ucb5 alias x" };
	struct err e = { 0 };
	struct nft *nft;
	(void)state;

	net_world_run(&w, 1, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	for (size_t i = 0; i < ARRAY_LEN(breaks); i++) {
		net_world_ip(breaks[i]);
		if (!net_world_wait_ready(&w, 5, true, SOON_MSEC))
			fail_msg("not mended: %s", breaks[i]);
	}
	assert_int_equal(nft_open(&nft, &e), 0);
	assert_true(wait_until(has_filters, nft, SOON_MSEC));
	assert_int_equal(nft_load(nft, "delete table bridge ucloud", &e), 0);
	assert_true(wait_until(has_filters, nft, SOON_MSEC));
	assert_int_equal(nft_load(nft, "flush chain bridge ucloud from", &e), 0);
	assert_int_equal(nft_load(nft, "flush set bridge ucloud taps", &e), 0);
	assert_true(wait_until(has_filters, nft, SOON_MSEC));
	nft_close(nft);
}

/* A VM's tap finds its new bridge. */
static bool is_port(void *aux)
{
	CLEANUP(links_done) struct links links = { 0 };
	const struct link *tap, *bridge;
	struct err e = { 0 };

	assert_int_equal(link_list(w.conn, &links, &e), 0);
	tap = links_find(&links, aux);
	bridge = links_find(&links, "ucb5");
	return tap && bridge && tap->master == bridge->index;
}

static void taps_come_back(void **state)
{
	char tap[] = "uct525400010005";
	(void)state;

	net_world_run(&w, 1, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	net_world_ip("link add uct525400010005 type veth peer name brguest");
	net_world_ip("link set uct525400010005 master ucb5 up");
	net_world_ip("link del ucb5");
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	assert_true(wait_until(is_port, tap, SOON_MSEC));
}

static void what_is_not_ours_stays(void **state)
{
	/* Our names and another kind; our group and kind, and another name. */
	static const char *const alike[] = { "link add ucv6 type veth peer name ucb06",
		"link add ucb7x type bridge", "link set ucb7x group 30145",
		"link add ucb8 type veth peer name ucb08", "link set ucb8 group 30145" };
	static const char *const names[] = { "br7", "ucb6", "ucv6", "ucb06", "ucb7x",
		"ucb8" };
	char problem[] = "did not make";
	int before;
	(void)state;

	net_world_ip("link add ucb5 type bridge");
	net_world_ip("link add br7 type bridge");
	net_world_ip("link add ucb6 type bridge");
	for (size_t i = 0; i < ARRAY_LEN(alike); i++)
		net_world_ip(alike[i]);
	before = net_world_index(&w, "ucb5");
	net_world_run(&w, 0, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(wait_until(is_announced, problem, SOON_MSEC));
	assert_int_equal(net_world_index(&w, "ucb5"), before);
	net_world_ip("link del ucb5");
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (net_world_index(&w, names[i]) == 0)
			fail_msg("%s is gone", names[i]);
}

static double n_steps(void)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	const char *at;
	double n = 0;

	metrics_format(&text);
	at = buf_str(&text);
	while ((at = strstr(at, "ucloud_network_steps_total{"))) {
		double value;

		if (sscanf(at, "%*[^}]} %lf", &value) == 1)
			n += value;
		at++;
	}
	return n;
}

static void a_restart_changes_nothing(void **state)
{
	char bridge[] = "ucb5";
	double before;
	int index;
	(void)state;

	net_world_run(&w, 1, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	net_world_halt(&w);
	assert_true(is_there(bridge));
	index = net_world_index(&w, bridge);
	before = n_steps();
	net_world_run(&w, 0, FLOOD_MULTICAST);
	assert_true(wait_until(is_announced, (void *)(uintptr_t) "\"host\"", SOON_MSEC));
	assert_int_equal(net_world_index(&w, bridge), index);
	assert_true(n_steps() == before);
}

/* ---------------------------------------------------------------- deaths */

static struct plan plan_of(
	const struct wanted *wanted, const struct plan_conf *conf, struct plan_idle *idle)
{
	CLEANUP(links_done) struct links links = { 0 };
	struct plan p = { 0 };
	struct err e = { 0 };

	assert_int_equal(link_list(w.conn, &links, &e), 0);
	plan_links(wanted, &links, conf, true, 0, idle, &p);
	return p;
}

/* Every step is one call of the kernel: a process that is killed has done the first n. */
static size_t first_steps(const struct wanted *wanted, size_t n)
{
	CLEANUP(plan_idle_done) struct plan_idle idle = { 0 };
	struct underlay_if u;
	struct err e = { 0 };

	assert_int_equal(underlay_look("eth0", &u, &e), 0);
	struct plan_conf conf = { .underlay = u.index, .local = u.address, .host = "h1" };
	CLEANUP(plan_done) struct plan p = plan_of(wanted, &conf, &idle);
	for (size_t i = 0; i < n && i < p.len; i++)
		if (link_run(w.conn, &p.steps[i], &conf, &e) < 0)
			fail_msg("%s", e.msg);
	return p.len;
}

static void want_5(struct wanted *wanted)
{
	struct network n = { .uuid = (char[]){ NET_5 }, .vni = 5, .mtu = 1430 };

	wanted_add_net(wanted, &n, "host", false, 1500);
}

static void killed_while_making(void **state)
{
	size_t n_all = 1;
	(void)state;

	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	for (size_t n = 0; n <= n_all; n++) {
		CLEANUP(wanted_done) struct wanted wanted = { 0 };

		want_5(&wanted);
		n_all = first_steps(&wanted, n);
		/* Ready is only said of what is. */
		assert_int_equal(net_world_is_ready(&w, 5), n == n_all);
		net_world_run(&w, 1, FLOOD_MULTICAST);
		if (!net_world_wait_ready(&w, 5, true, SOON_MSEC))
			fail_msg("not finished after %zu steps", n);
		net_world_halt(&w);
		net_world_ip("link del ucb5");
		net_world_ip("link del ucv5");
	}
	assert_true(n_all > 5);
}

static void killed_while_making_what_nobody_wants_any_more(void **state)
{
	char bridge[] = "ucb5", vxlan[] = "ucv5";
	size_t n_all = 1;
	(void)state;

	for (size_t n = 0; n <= n_all; n++) {
		CLEANUP(wanted_done) struct wanted wanted = { 0 };

		want_5(&wanted);
		n_all = first_steps(&wanted, n);
		net_world_run(&w, 0, FLOOD_MULTICAST);
		assert_true(wait_until(is_gone, bridge, SOON_MSEC));
		assert_true(wait_until(is_gone, vxlan, SOON_MSEC));
		net_world_halt(&w);
	}
}

static void killed_while_removing(void **state)
{
	char bridge[] = "ucb5", vxlan[] = "ucv5";
	(void)state;

	for (size_t n = 0; n < 3; n++) {
		CLEANUP(wanted_done) struct wanted wanted = { 0 }, none = { 0 };

		want_5(&wanted);
		first_steps(&wanted, SIZE_MAX);
		assert_int_equal(first_steps(&none, n), 2);
		net_world_run(&w, 0, FLOOD_MULTICAST);
		assert_true(wait_until(is_gone, bridge, SOON_MSEC));
		assert_true(wait_until(is_gone, vxlan, SOON_MSEC));
		net_world_halt(&w);
	}
}

/* ---------------------------------------------------------------- etcd away */

static void without_etcd(void **state)
{
	const struct kv_fault fault = { .is_cut = true };
	(void)state;

	net_world_run(&w, 0, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	kv_fake_set_fault(w.kv, &fault);
	net_world_ip("link del ucb5");
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	kv_fake_set_fault(w.kv, NULL);
}

/* Nothing is known then: nothing goes, and nothing is announced as gone. */
static void a_restart_without_etcd(void **state)
{
	const struct kv_fault fault = { .is_cut = true };
	struct err e = { 0 };
	struct nft *nft;
	int index;
	(void)state;

	net_world_run(&w, 0, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	index = net_world_index(&w, "ucb5");
	net_world_halt(&w);
	kv_fake_set_fault(w.kv, &fault);
	net_world_run(&w, 0, FLOOD_MULTICAST);
	net_world_ip("link add br8 type bridge"); /* something to look at */
	kv_fake_set_fault(w.kv, NULL);
	net_world_add_net(&w, 6, "auto");
	net_world_add_vm(&w, 2, 6, 1);
	assert_true(net_world_wait_ready(&w, 6, true, 4 * SOON_MSEC));
	assert_int_equal(net_world_index(&w, "ucb5"), index);
	assert_int_equal(nft_open(&nft, &e), 0);
	assert_true(wait_until(has_filters, nft, SOON_MSEC));
	nft_close(nft);
}

/* ---------------------------------------------------------------- others */

static bool is_told(void *aux)
{
	CLEANUP_STR char *key = key_underlay("h1");
	CLEANUP_STR char *value = net_world_get(&w, key);

	return value && strstr(value, aux);
}

/* The machine gets another address: its VXLANs too, and the others hear of it. */
static void the_underlay_changes(void **state)
{
	char before[] = "\"fd00:10::1\"", after[] = "\"fd00:10::7\"";
	(void)state;

	net_world_run(&w, 0, FLOOD_MULTICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	assert_true(wait_until(is_told, before, SOON_MSEC));
	net_world_ip("-6 addr add fd00:10::7/64 dev eth0 nodad");
	net_world_ip("-6 addr del fd00:10::1/64 dev eth0");
	net_world_ip("link set ucb5 down"); /* something to look at */
	assert_true(wait_until(is_told, after, SOON_MSEC));
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	net_world_ip("-6 addr add fd00:10::1/64 dev eth0 nodad");
	net_world_ip("-6 addr del fd00:10::7/64 dev eth0");
}

static bool floods_to_h2(void *aux)
{
	const char *const argv[] = { "bridge", "fdb", "show", "dev", "ucv5", NULL };
	CLEANUP_STR char *out = NULL;
	bool want = aux != NULL;

	return test_run(argv, 5000, &out) == 0 &&
	       (strstr(out, "00:00:00:00:00:00 dst fd00:10::2") != NULL) == want &&
	       !strstr(out, "fd00:10::1");
}

static void unicast_floods_to_all_others(void **state)
{
	CLEANUP_STR char *h2 = key_underlay("h2");
	char yes[] = "yes";
	(void)state;

	test_need_command("bridge");
	net_world_put(&w, h2, "{\"address\":\"fd00:10::2\",\"interface\":\"eth0\"}");
	net_world_run(&w, 0, FLOOD_UNICAST);
	net_world_add_net(&w, 5, "auto");
	net_world_add_vm(&w, 1, 5, 1);
	assert_true(net_world_wait_ready(&w, 5, true, SOON_MSEC));
	assert_true(wait_until(floods_to_h2, yes, SOON_MSEC));
	net_world_del(&w, h2);
	assert_true(wait_until(floods_to_h2, NULL, SOON_MSEC));
}

#define N_HUNDREDS 300

/* What is under way does not hold up the end: the kernel takes its time to remove one. */
static void stop_while_removing(void)
{
	char last[] = "ucb300";
	int64_t start_msec;

	for (int i = 0; i * 8 < N_HUNDREDS; i++)
		net_world_del_vm(&w, i + 1);
	assert_true(wait_until(is_gone, (void *)(uintptr_t) "ucb1", LONG_MSEC));
	start_msec = test_now_msec();
	net_world_halt(&w);
	print_message("stopped after %jd ms, %s\n",
		(intmax_t)(test_now_msec() - start_msec),
		is_there(last) ? "not all is removed" : "all is removed");
	assert_true(test_now_msec() - start_msec < STOP_MSEC);
}

/* What kernels before 6.7 come with; those since 6.8 have one for each namespace. */
static void lower_limit(void)
{
	int fd = open("/proc/sys/net/core/optmem_max", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "20480", 5) < 0)
		print_message("net.core.optmem_max stays as it is\n");
	if (fd >= 0)
		close(fd);
}

static void some_hundred_networks(void **state)
{
	(void)state;

	lower_limit();
	for (int i = 1; i <= N_HUNDREDS; i++)
		net_world_add_net(&w, i, "auto");
	for (int i = 0; i * 8 < N_HUNDREDS; i++)
		net_world_add_vm(&w, i + 1, i * 8 + 1, 8);
	net_world_run(&w, 0, FLOOD_MULTICAST);
	for (int i = 1; i <= N_HUNDREDS; i++)
		assert_true(net_world_wait_ready(&w, i, true, LONG_MSEC));
	stop_while_removing();
}

static void underlays_that_cannot_carry(void **state)
{
	struct underlay_if u;
	struct err e = { 0 };
	(void)state;

	assert_true(underlay_look("nothing0", &u, &e) < 0);
	assert_non_null(strstr(e.msg, "no interface \"nothing0\""));
	net_world_ip("link add br9 type bridge");
	assert_true(underlay_look("br9", &u, &e) < 0);
	assert_non_null(strstr(e.msg, "ip link set br9 up"));
	net_world_ip("link set br9 up mtu 1300");
	assert_true(underlay_look("br9", &u, &e) < 0);
	assert_non_null(strstr(e.msg, "at least 1350"));
	net_world_ip("link set br9 mtu 1500");
	assert_true(underlay_look("br9", &u, &e) < 0);
	assert_non_null(strstr(e.msg, "no IPv6 address"));
	net_world_ip("-6 addr add fd00:11::1/64 dev br9 nodad");
	assert_int_equal(underlay_look("br9", &u, &e), 0);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(comes_and_goes),
		IN_WORLD(a_network_that_comes_later),
		IN_WORLD(what_somebody_breaks_is_mended),
		IN_WORLD(taps_come_back),
		IN_WORLD(what_is_not_ours_stays),
		IN_WORLD(a_restart_changes_nothing),
		IN_WORLD(killed_while_making),
		IN_WORLD(killed_while_making_what_nobody_wants_any_more),
		IN_WORLD(killed_while_removing),
		IN_WORLD(without_etcd),
		IN_WORLD(a_restart_without_etcd),
		IN_WORLD(unicast_floods_to_all_others),
		IN_WORLD(the_underlay_changes),
		IN_WORLD(some_hundred_networks),
		IN_WORLD(underlays_that_cannot_carry),
	};

	net_world_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
