/*
 * Does the underlay work between machines? Two of them, each a network namespace, on a switch
 * (a bridge) that loses what it is told to: what the daemon says of it, and what
 * `ucloud-network check` does.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "tests/lib/net_world.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"
#include "ucloud-network/checkverb.h"
#include "ucloud-network/limits.h"
#include "ucloud-network/probe_answer.h"
#include "ucloud-network/probe_ask.h"

#define PORT	  30145
#define SOON_MSEC 10000
#define OPTMEM	  "/proc/sys/net/core/optmem_max"
#define MAC_1	  "02:00:00:00:00:01"
#define MAC_2	  "02:00:00:00:00:02"

static struct net_world w;
static char *program;
static int here, there; /* namespaces */
static struct probe_answer *h2;
static bool h2_knows_us;

static struct {
	pthread_mutex_t lock;
	struct buf text;
} logged = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---------------------------------------------------------------- two machines */

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static bool is_apart(void *aux)
{
	CLEANUP_STR char *path = xasprintf("/proc/%d/ns/net", *(pid_t *)aux);
	char ours[64] = "", theirs[64] = "";

	return readlink("/proc/self/ns/net", ours, sizeof(ours) - 1) > 0 &&
	       readlink(path, theirs, sizeof(theirs) - 1) > 0 &&
	       strcmp(ours, theirs) != 0;
}

static void make_machines(void)
{
	const char *const argv[] = { "unshare", "--net", "sleep", "600", NULL };
	pid_t pid = test_spawn(argv, NULL);
	CLEANUP_STR char *path = xasprintf("/proc/%d/ns/net", (int)pid);
	CLEANUP_STR char *add = xasprintf(
		"link add h2p type veth peer name eth0 address " MAC_2 " netns %d",
		(int)pid);

	assert_true(wait_until(is_apart, &pid, SOON_MSEC));
	here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	there = open(path, O_RDONLY | O_CLOEXEC);
	net_world_ip("link add sw0 type bridge mcast_snooping 0");
	net_world_ip("link set sw0 up");
	net_world_ip(add);
	net_world_ip("link set h2p master sw0 up");
	net_world_ip("link set eth0p master sw0 up");
	net_world_ip("link set eth0 address " MAC_1);
	/* They find each other without multicast, too. */
	net_world_ip(
		"-6 neigh replace fd00:10::2 lladdr " MAC_2 " dev eth0 nud permanent");
	enter(there);
	net_world_ip("link set lo up");
	net_world_ip("link set eth0 up");
	net_world_ip("-6 addr add fd00:10::2/64 dev eth0 nodad");
	net_world_ip(
		"-6 neigh replace fd00:10::1 lladdr " MAC_1 " dev eth0 nud permanent");
	enter(here);
}

static bool does_h2_know(void *aux, const struct in6_addr *from)
{
	struct in6_addr us;

	(void)aux;
	return inet_pton(AF_INET6, "fd00:10::1", &us) == 1 &&
	       __atomic_load_n(&h2_knows_us, __ATOMIC_SEQ_CST) &&
	       memcmp(&us, from, sizeof(us)) == 0;
}

static void start_h2(void)
{
	struct underlay_if u;
	struct err e = { 0 };

	enter(there);
	if (underlay_look("eth0", &u, &e) < 0 ||
		probe_answer_start(&u, PORT, does_h2_know, NULL, &h2, &e) < 0)
		fail_msg("%s", e.msg);
	enter(here);
}

static void put_underlay(const char *host, const char *address, int mtu)
{
	CLEANUP_STR char *key = key_underlay(host);
	CLEANUP_STR char *value = xasprintf(
		"{\"address\":\"%s\",\"interface\":\"eth0\",\"mtu\":%d}", address, mtu);

	net_world_put(&w, key, value);
}

static void mend(void)
{
	net_world_ip("link set h2p type bridge_slave mcast_flood on");
	net_world_ip("link set h2p mtu 1500 up");
}

static void on_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	pthread_mutex_lock(&logged.lock);
	buf_addf(&logged.text, "%s\n", line);
	pthread_mutex_unlock(&logged.lock);
}

static int begin(void **state)
{
	(void)state;
	net_world_start(&w);
	w.check = (struct prober_conf){ PORT, 100, 600, 300 };
	__atomic_store_n(&h2_knows_us, true, __ATOMIC_SEQ_CST);
	start_h2();
	put_underlay("h2", "fd00:10::2", 1500);
	log_set_sink(on_log, NULL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	log_set_sink(NULL, NULL);
	fputs(buf_str(&logged.text), stderr);
	buf_clear(&logged.text);
	probe_answer_stop(MOVE(h2));
	net_world_stop(&w);
	mend();
	return 0;
}

/* ---------------------------------------------------------------- what the daemon says */

static bool is_logged(void *aux)
{
	bool is;

	pthread_mutex_lock(&logged.lock);
	is = strstr(buf_str(&logged.text), aux) != NULL;
	pthread_mutex_unlock(&logged.lock);
	return is;
}

static void await_log(const char *what)
{
	CLEANUP_STR char *copy = xstrdup(what);

	if (!wait_until(is_logged, copy, SOON_MSEC))
		fail_msg("it was never said: %s", what);
}

static size_t n_logged(const char *what)
{
	const char *at;
	size_t n = 0;

	pthread_mutex_lock(&logged.lock);
	for (at = buf_str(&logged.text); (at = strstr(at, what)); at++)
		n++;
	pthread_mutex_unlock(&logged.lock);
	return n;
}

/* "multicast 1" */
static bool is_counted(void *aux)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP(strv_done) struct strv words = { 0 };
	CLEANUP_STR char *line = NULL;

	strv_split(&words, aux, ' ');
	line = xasprintf(
		"\nucloud_network_unreached{kind=\"%s\"} %s\n", words.v[0], words.v[1]);
	metrics_format(&text);
	return strstr(buf_str(&text), line) != NULL;
}

static void await_count(const char *what)
{
	CLEANUP_STR char *copy = xstrdup(what);

	if (!wait_until(is_counted, copy, SOON_MSEC))
		fail_msg("it was never so: %s", what);
}

static void what_is_lost_is_said(void **state)
{
	(void)state;
	net_world_ip("link set h2p type bridge_slave mcast_flood off");
	net_world_run(&w, 1, FLOOD_MULTICAST);
	await_log("h2 (fd00:10::2) is not reached by multicast");
	await_count("multicast 1");
	await_count("all 0");
	mend();
	await_log("h2 (fd00:10::2) is reached again");
	await_count("multicast 0");
	/* What is well is asked again when it changes. */
	net_world_ip("link set h2p mtu 1400");
	put_underlay("h2", "fd00:10::2", 1498);
	await_log("h2 (fd00:10::2, 1498 bytes) does not get packets as large");
	await_count("large 1");
	net_world_ip("link set h2p down");
	await_log("h2 (fd00:10::2) does not answer");
	await_count("all 1");
	await_count("large 0");
	assert_int_equal(netd_health(w.netd, &(struct err){ 0 }), 0);
	assert_int_equal(n_logged("is not reached by multicast"), 1);
	assert_int_equal(n_logged("does not answer"), 1);
	assert_int_equal(n_logged("is reached again"), 1);
}

static void a_machine_that_goes_is_no_problem(void **state)
{
	CLEANUP_STR char *key = key_underlay("h2");

	(void)state;
	probe_answer_stop(MOVE(h2));
	net_world_run(&w, 1, FLOOD_MULTICAST);
	await_count("all 1");
	net_world_del(&w, key);
	await_count("all 0");
	assert_int_equal(n_logged("reached again"), 0);
}

static void without_multicast_it_is_not_missed(void **state)
{
	(void)state;
	net_world_ip("link set h2p type bridge_slave mcast_flood off");
	net_world_ip("link set h2p mtu 1400");
	net_world_run(&w, 1, FLOOD_UNICAST);
	await_count("large 1");
	mend();
	await_count("large 0");
	assert_int_equal(n_logged("multicast"), 0);
}

/* ---------------------------------------------------------------- who is answered */

static unsigned ask_from_h2(const char *address)
{
	CLEANUP(probe_targets_done) struct probe_targets t = { 0 };
	struct probe_ask ask = {
		.port = PORT, .is_multicast = true, .limit_msec = 500, .stop_fd = -1
	};
	struct underlay_if u;
	struct err e = { 0 };

	enter(there);
	assert_int_equal(underlay_look("eth0", &u, &e), 0);
	assert_int_equal(inet_pton(AF_INET6, address, &u.address), 1);
	ask.underlay = &u;
	assert_true(probe_targets_add(&t, "h1", "fd00:10::1", 1500, &u.address, 1500));
	if (probe_ask(&ask, &t, &e) != 0)
		fail_msg("%s", e.msg);
	enter(here);
	return t.v[0].answered;
}

static bool does_h1_answer(void *aux)
{
	(void)aux;
	return ask_from_h2("fd00:10::2") ==
	       (PROBE_BIT(PROBE_MULTICAST) | PROBE_BIT(PROBE_LARGE) |
		       PROBE_BIT(PROBE_PLAIN));
}

static void only_machines_of_the_cloud_are_answered(void **state)
{
	(void)state;
	enter(there);
	net_world_ip("-6 addr add fd00:10::3/64 dev eth0 nodad");
	enter(here);
	net_world_ip(
		"-6 neigh replace fd00:10::3 lladdr " MAC_2 " dev eth0 nud permanent");
	net_world_run(&w, 1, FLOOD_MULTICAST);
	assert_true(wait_until(does_h1_answer, NULL, SOON_MSEC));
	assert_int_equal(ask_from_h2("fd00:10::3"), 0);
	assert_true(does_h1_answer(NULL));
}

/* It may be listening for something else; then others hear nothing from us. */
static void a_port_that_is_taken(void **state)
{
	struct probe_answer *other;
	struct underlay_if u;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(underlay_look("eth0", &u, &e), 0);
	assert_int_equal(probe_answer_start(&u, PORT, does_h2_know, NULL, &other, &e), 0);
	net_world_run(&w, 1, FLOOD_MULTICAST);
	await_log("UDP port 30145");
	probe_answer_stop(other);
	put_underlay("h2", "fd00:10::2", 1499);
	await_log("are answered again");
}

/* ---------------------------------------------------------------- the subcommand */

static size_t check_for(int64_t sec, enum flood_kind flood, struct buf *text)
{
	const struct check_conf c = { .host = "h1",
		.underlay = "eth0",
		.flood = flood,
		.port = PORT,
		.time_sec = sec };
	struct underlay_if u;
	struct err e = { 0 };
	size_t n = 0;

	buf_clear(text);
	if (check_machine(&c, &u, text, &n, &e) < 0 ||
		check_others(&c, &u, w.admin, text, &n, &e) < 0)
		fail_msg("%s", e.msg);
	return n;
}

static size_t check(enum flood_kind flood, struct buf *text)
{
	return check_for(1, flood, text);
}

static void has_row(const struct buf *text, const char *host, const char *address,
	int mtu, const char *words)
{
	CLEANUP_STR char *row =
		xasprintf("%-4s  %-10s  %5d  %s\n", host, address, mtu, words);

	if (!strstr(buf_str(text), row))
		fail_msg("not there: %sbut: %s", row, buf_str(text));
}

static void the_table(void **state)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	(void)state;
	put_underlay("h1", "fd00:10::1", 1500);
	assert_int_equal(check(FLOOD_MULTICAST, &text), 0);
	assert_true(str_has_prefix(buf_str(&text), "HOST  ADDRESS "));
	has_row(&text, "h1", "fd00:10::1", 1500, "-          - (this machine)");
	has_row(&text, "h2", "fd00:10::2", 1500, "yes        yes");
	net_world_ip("link set h2p type bridge_slave mcast_flood off");
	assert_int_equal(check(FLOOD_MULTICAST, &text), 1);
	has_row(&text, "h2", "fd00:10::2", 1500, "no         yes");
	assert_non_null(strstr(buf_str(&text), "is not reached by multicast: let"));
	assert_int_equal(check(FLOOD_UNICAST, &text), 0);
	has_row(&text, "h2", "fd00:10::2", 1500, "-          yes");
	net_world_ip("link set h2p mtu 1400");
	assert_int_equal(check(FLOOD_MULTICAST, &text), 2);
	has_row(&text, "h2", "fd00:10::2", 1500, "no         no");
	put_underlay("h2", "fd00:10::2", 1400);
	assert_int_equal(check(FLOOD_UNICAST, &text), 0);
	__atomic_store_n(&h2_knows_us, false, __ATOMIC_SEQ_CST);
	assert_int_equal(check(FLOOD_UNICAST, &text), 1);
	assert_non_null(strstr(buf_str(&text), "does not answer: is there a way"));
}

static void who_is_there(void **state)
{
	CLEANUP_STR char *key = key_underlay("h2"), *bad = key_underlay("h3");
	CLEANUP(buf_done) struct buf text = { 0 };

	(void)state;
	assert_int_equal(check(FLOOD_MULTICAST, &text), 1);
	has_row(&text, "h2", "fd00:10::2", 1500, "-          -");
	assert_non_null(strstr(buf_str(&text), "start ucloud-network here first"));
	net_world_put(&w, bad, "{");
	assert_int_equal(check(FLOOD_MULTICAST, &text), 2);
	assert_non_null(strstr(buf_str(&text), "cannot be read"));
	net_world_del(&w, bad);
	net_world_put(&w, key,
		"{\"address\":\"fd00:10::2\",\"interface\":\"eth0\",\"mtu\":1500,"
		"\"flood\":\"unicast\"}");
	assert_int_equal(check(FLOOD_MULTICAST, &text), 2);
	assert_non_null(strstr(buf_str(&text),
		"h2 sends what floods by unicast, this machine by multicast"));
	assert_int_equal(check(FLOOD_UNICAST, &text), 1);
	net_world_del(&w, key);
	assert_int_equal(check(FLOOD_MULTICAST, &text), 0);
	assert_non_null(strstr(buf_str(&text), "no other machine is known\n"));
}

/* Beside the running daemon, whose port is its own. */
static void beside_the_daemon(void **state)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	(void)state;
	net_world_run(&w, 1, FLOOD_MULTICAST);
	await_log("holds /v1/underlay/h1");
	assert_int_equal(check(FLOOD_MULTICAST, &text), 0);
	has_row(&text, "h2", "fd00:10::2", 1500, "yes        yes");
}

/* ---------------------------------------------------------------- what is said on the wire */

static int udp_of_h2(uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	const struct timeval limit = { .tv_usec = 300000 };
	int fd;

	assert_int_equal(inet_pton(AF_INET6, "fd00:10::2", &a.sin6_addr), 1);
	enter(there);
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enter(here);
	assert_true(fd >= 0);
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* Size of the answer that h1 gives; -1: none. */
static ssize_t tell_h1(int fd, const struct probe *p, size_t size, struct probe *answer)
{
	struct sockaddr_in6 h1 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	uint8_t d[1400] = { 0 };
	ssize_t n;

	probe_format(p, d);
	assert_int_equal(inet_pton(AF_INET6, "fd00:10::1", &h1.sin6_addr), 1);
	assert_int_equal(
		sendto(fd, d, size, 0, (struct sockaddr *)&h1, sizeof(h1)), size);
	n = recv(fd, d, sizeof(d), 0);
	if (n >= 0)
		assert_true(probe_parse(d, (size_t)n, answer));
	return n;
}

static void answers_are_small_and_few(void **state)
{
	struct probe p = { .how = PROBE_LARGE, .nonce = { 1, 2, 3 } }, got = { 0 };
	int fd = udp_of_h2(0);

	(void)state;
	net_world_run(&w, 1, FLOOD_MULTICAST);
	assert_true(wait_until(does_h1_answer, NULL, SOON_MSEC));
	assert_int_equal(tell_h1(fd, &p, 1400, &got), PROBE_SIZE);
	assert_true(got.is_answer && got.how == PROBE_LARGE);
	assert_memory_equal(got.nonce, p.nonce, sizeof(p.nonce));
	p.how = PROBE_MULTICAST; /* which it was not */
	assert_int_equal(tell_h1(fd, &p, PROBE_SIZE, &got), -1);
	p = (struct probe){ .is_answer = true, .how = PROBE_PLAIN };
	assert_int_equal(tell_h1(fd, &p, PROBE_SIZE, &got), -1);
	p.is_answer = false;
	assert_int_equal(tell_h1(fd, &p, PROBE_SIZE - 1, &got), -1);
	assert_int_equal(tell_h1(fd, &p, PROBE_SIZE, &got), PROBE_SIZE);
	close(fd);
}

/* In place of h2: answers with another nonce, or none. */
struct forger {
	int fd;
	bool is_honest;
	_Atomic bool is_done;
};

static void *forge(void *aux)
{
	struct forger *f = aux;
	struct sockaddr_in6 from;
	uint8_t d[2048];
	struct probe p;
	ssize_t n;

	while (!f->is_done) {
		socklen_t len = sizeof(from);

		n = recvfrom(f->fd, d, sizeof(d), 0, (struct sockaddr *)&from, &len);
		if (n < 0)
			continue; /* nobody has asked for a while */
		if (!probe_parse(d, (size_t)n, &p))
			continue;
		p.is_answer = true;
		p.nonce[7] ^= f->is_honest ? 0 : 1;
		probe_format(&p, d);
		(void)!sendto(f->fd, d, PROBE_SIZE, 0, (struct sockaddr *)&from, len);
	}
	return NULL;
}

static void answers_cannot_be_guessed(void **state)
{
	const struct timeval limit = { .tv_usec = 100000 };

	(void)state;
	probe_answer_stop(MOVE(h2));
	put_underlay("h1", "fd00:10::1", 1500);
	for (int i = 0; i < 2; i++) {
		struct forger f = { .fd = udp_of_h2(PORT), .is_honest = i == 1 };
		CLEANUP(buf_done) struct buf text = { 0 };
		pthread_t thread;

		setsockopt(f.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		assert_int_equal(pthread_create(&thread, NULL, forge, &f), 0);
		assert_int_equal(
			check_for(i == 1 ? 20 : 1, FLOOD_UNICAST, &text), i == 1 ? 0 : 1);
		f.is_done = true;
		pthread_join(thread, NULL);
		close(f.fd);
	}
}

/* ---------------------------------------------------------------- the program */

static int run_program(struct test_etcd *etcd, const char *iface, char **out)
{
	const char *const argv[] = { program, "check", "--hostname", "h1", "--underlay",
		iface, "--etcd_url", test_etcd_url(etcd, 0), "--time", "1s", "--config",
		"/dev/null", NULL };

	return test_run(argv, SOON_MSEC, out);
}

static void the_program(void **state)
{
	struct test_etcd *etcd = test_etcd_start(NULL);
	const char *const put[] = { "put", "/v1/underlay/h9",
		"{\"address\":\"fd00:10::9\",\"mtu\":1500}", NULL };
	const char *const own[] = { "put", "/v1/underlay/h1",
		"{\"address\":\"fd00:10::1\",\"mtu\":1500}", NULL };
	char *out = NULL;

	(void)state;
	assert_int_equal(run_program(etcd, "eth0", &out), 0);
	assert_non_null(strstr(out, "\nh1 "));
	assert_non_null(strstr(out, "no other machine is known\n"));
	free(out);
	assert_int_equal(run_program(etcd, "eth7", &out), 1);
	assert_non_null(strstr(out, "there is no interface \"eth7\""));
	free(out);
	test_etcd_ctl(etcd, put, NULL);
	test_etcd_ctl(etcd, own, NULL);
	assert_int_equal(run_program(etcd, "eth0", &out), 1);
	assert_non_null(strstr(out, "h9 (fd00:10::9) does not answer"));
	free(out);
	test_etcd_free(etcd);
}

/* ---------------------------------------------------------------- limits */

static void write_optmem(const char *value)
{
	int fd = open(OPTMEM, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0) {
		print_message("this kernel has one %s for all namespaces\n", OPTMEM);
		skip();
	}
	close(fd);
}

static void low_limits_are_raised(void **state)
{
	CLEANUP(strv_done) struct strv low = { 0 };
	CLEANUP_STR char *now = NULL;

	(void)state;
	write_optmem("20480");
	limits_look(false, &low);
	assert_int_equal(low.len, 1);
	assert_string_equal(low.v[0],
		"the sysctl net.core.optmem_max is 20480, which is room for 365 networks "
		"at most: set it to 131072");
	strv_done(&low);
	limits_raise(false, &low);
	assert_int_equal(low.len, 0);
	now = test_read_file(OPTMEM);
	assert_string_equal(now, "131072\n");
}

/* build/plain/tests/contract/test_x -> build/plain/ucloud-network/ucloud-network */
static char *program_path(void)
{
	char self[4096] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		abort();
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-network/ucloud-network", self);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(what_is_lost_is_said),
		IN_WORLD(a_machine_that_goes_is_no_problem),
		IN_WORLD(without_multicast_it_is_not_missed),
		IN_WORLD(only_machines_of_the_cloud_are_answered),
		IN_WORLD(a_port_that_is_taken),
		IN_WORLD(the_table),
		IN_WORLD(who_is_there),
		IN_WORLD(beside_the_daemon),
		IN_WORLD(answers_are_small_and_few),
		IN_WORLD(answers_cannot_be_guessed),
		cmocka_unit_test(the_program),
		cmocka_unit_test(low_limits_are_raised),
	};
	int rc;

	net_world_enter();
	program = program_path();
	make_machines();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	buf_done(&logged.text);
	free(program);
	return rc;
}
