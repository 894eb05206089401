/*
 * A router in a real kernel, with a real radvd: orders become networks that a guest, which is
 * a network namespace of its own, finds without being told anything, and gets out of.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/model/request.h"
#include "tests/lib/net_world.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/routerrole.h"

#define SOON_MSEC  8000
#define LIMIT_MSEC 30000
#define UUID	   "00000000-0000-4000-8000-%012d"
/* What follows from the guest's MAC. */
#define GUEST_MAC  "52:54:00:00:00:01"
#define GUEST_TAIL ":5054:ff:fe00:1"

static struct net_world w;
static struct strv prefixes;
static struct router_conf conf;
static char *run_dir, *bird_file;
static pid_t guest, world;

/* ---------------------------------------------------------------- the machine */

static void run_router(void)
{
	struct netd_conf c = { .host = "r1",
		.keys = &w.keys,
		.roles = &w.roles,
		.prefixes = &prefixes,
		.router = &conf,
		.linger_sec = 0,
		.lease_ttl_sec = 2,
		.resync_sec = 600 };
	struct err e = { 0 };

	if (underlay_look("eth0", &c.underlay, &e) < 0)
		fail_msg("%s", e.msg);
	w.netd = netd_new(w.kv, &c);
	assert_int_equal(netd_start(w.netd, &e), 0);
}

static int begin(void **state)
{
	(void)state;
	net_world_start(&w);
	strv_done(&w.roles);
	strv_add(&w.roles, "router");
	strv_done(&prefixes);
	strv_add(&prefixes, "2001:db8:1000::/52");
	conf.quarantine = 3600;
	run_router();
	return 0;
}

static int end(void **state)
{
	(void)state;
	net_world_stop(&w);
	return 0;
}

/* A process in a new network namespace: what it has there goes with it. */
static pid_t new_namespace(void)
{
	const char *const argv[] = { "unshare", "--net", "sleep", "600", NULL };

	return test_spawn(argv, NULL);
}

/* In that namespace; true: it went well. Its output is the caller's (may be NULL). */
static bool in_namespace(pid_t pid, char **out, const char *command)
{
	CLEANUP_STR char *target = xasprintf("%d", (int)pid);
	const char *const argv[] = { "nsenter", "-t", target, "-n", "sh", "-c", command,
		NULL };

	return test_run(argv, LIMIT_MSEC, out) == 0;
}

static bool has_own_namespace(void *aux)
{
	return in_namespace(*(pid_t *)aux, NULL, "! ip link show eth0 2>/dev/null");
}

/* The guest's end of a tap; the world behind the router. */
static void make_namespaces(void)
{
	CLEANUP_STR char *up = NULL;

	guest = new_namespace();
	world = new_namespace();
	assert_true(wait_until(has_own_namespace, &guest, LIMIT_MSEC));
	assert_true(wait_until(has_own_namespace, &world, LIMIT_MSEC));
	up = xasprintf("link add up0 type veth peer name world0 netns %d", (int)world);
	net_world_ip(up);
	net_world_ip("-6 addr add fd00:20::1/64 dev up0 nodad");
	net_world_ip("link set up0 up");
	assert_true(in_namespace(world, NULL,
		"ip -6 addr add fd00:20::2/64 dev world0 nodad && ip link set world0 up "
		"&& ip -6 route add default via fd00:20::1"));
}

static void plug_guest(const char *bridge)
{
	CLEANUP_STR char *add = xasprintf("link add brtap type veth peer name g0 netns "
					  "%d",
		(int)guest);
	CLEANUP_STR char *plug = xasprintf("link set brtap master %s up", bridge);

	net_world_ip(add);
	net_world_ip(plug);
	assert_true(in_namespace(guest, NULL,
		"ip link set g0 address " GUEST_MAC " && "
		"echo 2 >/proc/sys/net/ipv6/conf/g0/accept_ra && ip link set g0 up"));
}

/* ---------------------------------------------------------------- orders */

static void order(int n, const char *ipam)
{
	CLEANUP_STR char *uuid = xasprintf(UUID, n);
	CLEANUP_STR char *key = key_network(&w.keys, uuid);
	CLEANUP_STR char *request_key = key_request_network(&w.keys, uuid);
	CLEANUP_STR char *request = request_new(REQ_CREATE_NETWORK, uuid, NULL, 1, 0);
	CLEANUP_STR char *text = xasprintf(
		"{\"uuid\":\"%s\",\"name\":\"n%d\",\"owner\":\"a\",\"owner_realm\":\"r\","
		"\"ipam\":\"%s\",\"status\":\"REQUESTED_NEW\",\"dns\":[\"::1\"]}",
		uuid, n, ipam);

	net_world_put(&w, key, text);
	net_world_put(&w, request_key, request);
}

static void order_delete(int n)
{
	CLEANUP_STR char *uuid = xasprintf(UUID, n);
	CLEANUP_STR char *key = key_network(&w.keys, uuid);
	CLEANUP_STR char *request_key = key_request_network(&w.keys, uuid);
	CLEANUP_STR char *request = request_new(REQ_DELETE_NETWORK, uuid, NULL, 1, 0);
	CLEANUP_STR char *text = net_world_get(&w, key);
	CLEANUP(network_done) struct network net = { 0 };
	CLEANUP_STR char *changed = NULL;

	assert_int_equal(network_parse(text, strlen(text), &net, NULL), 0);
	net.status = NET_REQUESTED_DELETE;
	changed = network_format(&net);
	net_world_put(&w, key, changed);
	net_world_put(&w, request_key, request);
}

/* ---------------------------------------------------------------- what is so */

/* A shell command here; the first character says where: "r" router, "g" guest, "w" world. */
static bool is_so(void *aux)
{
	const char *command = aux;
	const char *const argv[] = { "sh", "-c", command + 1, NULL };
	CLEANUP_STR char *out = NULL;

	if (command[0] == 'r')
		return test_run(argv, LIMIT_MSEC, &out) == 0;
	return in_namespace(command[0] == 'g' ? guest : world, &out, command + 1);
}

static void await(const char *command, int64_t limit_msec)
{
	CLEANUP_STR char *copy = xstrdup(command);

	if (!wait_until(is_so, copy, limit_msec))
		fail_msg("it never came: %s", command);
}

#define HAS_ADDRESS(n) "rip -6 addr show dev ucb10" #n " | grep -q"

static void a_guest_gets_out(void **state)
{
	struct err e = { 0 };

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	plug_guest("ucb100");
	await("gip -6 addr show dev g0 | grep -q ' 2001:db8:1000:0" GUEST_TAIL "/64 '",
		LIMIT_MSEC);
	await("gip -6 route show default | grep -q 'dev g0'", SOON_MSEC);
	await("gip -6 route show default | grep -q 'mtu 1430' || "
	      "grep -q 1430 /proc/sys/net/ipv6/conf/g0/mtu",
		SOON_MSEC);
	await("gbusybox ping6 -c 1 -W 2 2001:db8:1000::1", LIMIT_MSEC);
	await("gbusybox ping6 -c 1 -W 2 fd00:20::2", LIMIT_MSEC);
	await("wbusybox ping6 -c 1 -W 2 2001:db8:1000:0" GUEST_TAIL, LIMIT_MSEC);
	if (netd_health(w.netd, &e) < 0)
		fail_msg("%s", e.msg);
	net_world_ip("link del brtap");
}

#define FORWARDING(interface) "/proc/sys/net/ipv6/conf/" interface "/forwarding"

static void what_somebody_breaks_is_mended(void **state)
{
	CLEANUP_STR char *kill_radvd = xasprintf("kill -9 $(cat %s/radvd.pid)", run_dir);
	CLEANUP_STR char *other =
		xasprintf("r[ \"$(cat %s/radvd.pid)\" ] && kill -0 $(cat %s/radvd.pid)",
			run_dir, run_dir);
	const char *const argv[] = { "sh", "-c", kill_radvd, NULL };

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	net_world_ip("-6 addr del 2001:db8:1000::1/64 dev ucb100");
	net_world_ip("-6 addr add 2001:db8:bad::1/64 dev ucb100 nodad");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	await("r! ip -6 addr show dev ucb100 | grep -q :bad:", SOON_MSEC);
	net_world_ip("link del ucb100");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	await(other, SOON_MSEC);
	assert_int_equal(test_run(argv, LIMIT_MSEC, NULL), 0);
	await(other, LIMIT_MSEC);
	await("recho 0 >" FORWARDING("ucb100"), SOON_MSEC);
	await("rgrep -q 1 " FORWARDING("ucb100"), SOON_MSEC);
	await("recho 0 >" FORWARDING("all"), SOON_MSEC);
	await("rgrep -q 1 " FORWARDING("ucb100") " && grep -q 1 " FORWARDING("all"),
		SOON_MSEC);
	plug_guest("ucb100");
	await("gip -6 addr show dev g0 | grep -q ' 2001:db8:1000:0" GUEST_TAIL "/64 '",
		LIMIT_MSEC);
	net_world_ip("link del brtap");
}

static void the_three_kinds(void **state)
{
	CLEANUP_STR char *no_section =
		xasprintf("r! grep -q ucb101 %s/radvd.conf", run_dir);
	CLEANUP_STR char *section = xasprintf("rgrep -q ucb100 %s/radvd.conf", run_dir);
	CLEANUP_STR char *route =
		xasprintf("rgrep -q 'route 2001:db8:1000::/52' %s", bird_file);

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	order(2, "manual");
	await(HAS_ADDRESS(1) " ' 2001:db8:1000:1::1/64 '", SOON_MSEC);
	order(3, "none");
	await(section, SOON_MSEC);
	await(no_section, SOON_MSEC);
	await(route, SOON_MSEC);
	order(4, "auto");
	await("rip -6 addr show dev ucb103 | grep -q ' 2001:db8:1000:2::1/64 '",
		SOON_MSEC);
	assert_int_equal(net_world_index(&w, "ucb102"), 0);
}

static bool is_at_rest(void *aux)
{
	(void)aux;
	return net_world_index(&w, "ucb100") == 0 && net_world_index(&w, "ucv100") == 0;
}

static void nothing_is_left(void **state)
{
	CLEANUP_STR char *vni = key_vni(100);
	CLEANUP_STR char *rests = NULL;
	CLEANUP_STR char *gone = xasprintf("r! kill -0 $(cat %s/radvd.pid)", run_dir);

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	order_delete(1);
	assert_true(wait_until(is_at_rest, NULL, SOON_MSEC));
	await(gone, SOON_MSEC);
	rests = net_world_get(&w, vni);
	assert_non_null(strstr(rests, "free_at"));
}

/* A restart leaves what is there; without etcd it goes on. */
static void a_restart_changes_nothing(void **state)
{
	const struct kv_fault cut = { .is_cut = true };
	int index;

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	index = net_world_index(&w, "ucb100");
	net_world_halt(&w);
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	run_router();
	order(2, "auto");
	await(HAS_ADDRESS(1) " ' 2001:db8:1000:1::1/64 '", SOON_MSEC);
	assert_int_equal(net_world_index(&w, "ucb100"), index);
	kv_fake_set_fault(w.kv, &cut);
	net_world_ip("-6 addr del 2001:db8:1000::1/64 dev ucb100");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	plug_guest("ucb100");
	await("gip -6 addr show dev g0 | grep -q ' 2001:db8:1000:0" GUEST_TAIL "/64 '",
		LIMIT_MSEC);
	net_world_ip("link del brtap");
	kv_fake_set_fault(w.kv, NULL);
}

/* Nothing is known then but what is there: it goes on, radvd too. */
static void a_restart_without_etcd(void **state)
{
	CLEANUP_STR char *announces =
		xasprintf("rgrep -q ucb100 %s/radvd.conf && kill -0 $(cat %s/radvd.pid)",
			run_dir, run_dir);
	CLEANUP_STR char *ended = xasprintf("r! kill -0 $(cat %s/radvd.pid)", run_dir);
	const struct kv_fault cut = { .is_cut = true };
	int index;

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	await(announces, SOON_MSEC);
	index = net_world_index(&w, "ucb100");
	net_world_halt(&w);
	await(ended, SOON_MSEC);
	kv_fake_set_fault(w.kv, &cut);
	run_router();
	await(announces, SOON_MSEC);
	plug_guest("ucb100");
	await("gip -6 addr show dev g0 | grep -q ' 2001:db8:1000:0" GUEST_TAIL "/64 '",
		LIMIT_MSEC);
	net_world_ip("link del brtap");
	kv_fake_set_fault(w.kv, NULL);
	order(2, "auto");
	await(HAS_ADDRESS(1) " ' 2001:db8:1000:1::1/64 '", LIMIT_MSEC);
	await(announces, SOON_MSEC);
	assert_int_equal(net_world_index(&w, "ucb100"), index);
}

static bool says_why(void *aux)
{
	struct err e = { 0 };

	(void)aux;
	return netd_health(w.netd, &e) < 0 && strstr(e.msg, "bird_socket");
}

static bool is_healthy(void *aux)
{
	struct err e = { 0 };

	(void)aux;
	return netd_health(w.netd, &e) == 0;
}

/* What does not work holds up nothing else, and is told. */
static void bird_does_not_answer(void **state)
{
	CLEANUP_STR char *path = test_path("bird.ctl");
	CLEANUP_STR char *section = xasprintf("rgrep -q ucb100 %s/radvd.conf", run_dir);

	(void)state;
	net_world_halt(&w);
	conf.bird_socket = path;
	run_router();
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	await(section, SOON_MSEC);
	assert_true(wait_until(says_why, NULL, SOON_MSEC));
	net_world_halt(&w);
	conf.bird_socket = NULL;
	run_router();
	assert_true(wait_until(is_healthy, NULL, SOON_MSEC));
}

/* ---------------------------------------------------------------- BGP */

/* BIRD with this configuration; in the world's namespace, or here. */
static pid_t start_bird(const char *name, bool is_world, const char *text)
{
	CLEANUP_STR char *path = test_path("%s.conf", name);
	CLEANUP_STR char *control = test_path("%s.ctl", name);
	CLEANUP_STR char *log = test_path("%s.log", name);
	CLEANUP_STR char *target = xasprintf("%d", (int)world);
	const char *const here[] = { "bird", "-f", "-c", path, "-s", control, NULL };
	const char *const there[] = { "nsenter", "-t", target, "-n", "bird", "-f", "-c",
		path, "-s", control, NULL };

	test_write_file(path, text);
	return test_spawn(is_world ? there : here, log);
}

static void end_bird(pid_t pid)
{
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(test_wait(pid, LIMIT_MSEC), 0);
}

/* The world learns where the networks are from its peer alone, and of prefixes that are added
 * later, too. */
static void the_world_learns_the_prefixes(void **state)
{
	static const char upstream[] =
		"router id 192.0.2.2;\nprotocol device {}\n"
		"protocol kernel { ipv6 { import none; export all; }; }\n"
		"protocol bgp peer { local fd00:20::2 as 65002; neighbor fd00:20::1 as "
		"65001; connect delay time 1; connect retry time 1; error wait time 1, "
		"2; ipv6 { import all; export none; }; }\n";
	CLEANUP_STR char *own = xasprintf(
		"router id 192.0.2.1;\nprotocol device {}\ninclude \"%s\";\n"
		"protocol bgp up { local fd00:20::1 as 65001; neighbor fd00:20::2 as "
		"65002; connect delay time 1; connect retry time 1; error wait time 1, "
		"2; ipv6 { import none; export where proto = \"ucloud_networks\"; }; "
		"}\n",
		bird_file);
	CLEANUP_STR char *control = test_path("own.ctl");
	pid_t here, there;

	(void)state;
	order(1, "auto");
	await(HAS_ADDRESS(0) " ' 2001:db8:1000::1/64 '", SOON_MSEC);
	net_world_halt(&w);
	assert_true(in_namespace(world, NULL, "ip -6 route del default"));
	here = start_bird("own", false, own);
	there = start_bird("peer", true, upstream);
	await("wip -6 route show 2001:db8:1000::/52 | grep -q 'proto bird'", LIMIT_MSEC);
	await("wbusybox ping6 -c 1 -W 2 2001:db8:1000::1", LIMIT_MSEC);
	strv_add(&prefixes, "2001:db8:2000::/52");
	conf.bird_socket = control;
	run_router();
	await("wip -6 route show 2001:db8:2000::/52 | grep -q 'proto bird'", LIMIT_MSEC);
	net_world_halt(&w);
	conf.bird_socket = NULL;
	end_bird(here);
	end_bird(there);
	assert_true(
		in_namespace(world, NULL, "ip -6 route replace default via fd00:20::1"));
}

/* Ordered at once; each has its address, and all are announced by one radvd. */
static void some_hundred_networks(void **state)
{
	enum { N = 300 };
	CLEANUP_STR char *last = xasprintf(
		"rip -6 addr show dev ucb%d | grep -q ' 2001:db8:1000:%x::1/64 '",
		100 + N - 1, N - 1);
	CLEANUP_STR char *all =
		xasprintf("r[ $(grep -c ^interface %s/radvd.conf) = %d ]", run_dir, N);
	int64_t since = test_now_msec();

	(void)state;
	for (int i = 1; i <= N; i++)
		order(i, "auto");
	await(last, 2 * LIMIT_MSEC);
	await(all, LIMIT_MSEC);
	print_message("%d networks are routed after %jd ms\n", N,
		(intmax_t)(test_now_msec() - since));
	for (int i = 1; i <= N; i++)
		order_delete(i);
	await("r! ip -o link | grep -q ' uc[bv]'", 2 * LIMIT_MSEC);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(a_guest_gets_out),
		IN_WORLD(what_somebody_breaks_is_mended),
		IN_WORLD(the_three_kinds),
		IN_WORLD(nothing_is_left),
		IN_WORLD(a_restart_changes_nothing),
		IN_WORLD(a_restart_without_etcd),
		IN_WORLD(bird_does_not_answer),
		IN_WORLD(the_world_learns_the_prefixes),
		IN_WORLD(some_hundred_networks),
	};
	int rc;

	test_need_command("radvd");
	test_need_command("bird");
	test_need_command("nsenter");
	test_need_command("busybox");
	net_world_enter();
	make_namespaces();
	run_dir = test_path("router");
	bird_file = test_path("bird.conf");
	conf = (struct router_conf){ .vni_min = 100,
		.vni_max = 999,
		.run_dir = run_dir,
		.radvd = xstrdup("radvd"),
		.bird_include = bird_file };
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	free(conf.radvd);
	free(run_dir);
	free(bird_file);
	strv_done(&prefixes);
	return rc;
}
