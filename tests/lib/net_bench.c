#include "tests/lib/net_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/test_util.h"

#define STOP_MSEC 10000
#define LOG_SHOWN 2000

/* ---------------------------------------------------------------- ends */

void net_bench_die(const char *fmt, ...)
{
	CLEANUP_STR char *path = test_path("ucloud-network.log");
	CLEANUP_STR char *log = test_read_file(path);
	size_t size = log ? strlen(log) : 0;
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n%s",
		log ? log + (size > LOG_SHOWN ? size - LOG_SHOWN : 0) : "");
	exit(1);
}

void net_bench_need(int rc, const struct err *e)
{
	if (rc != 0)
		net_bench_die("%s", rc < 0 ? e->msg : "it was changed by somebody else");
}

bool net_bench_is_short(void)
{
	const char *scale = getenv("BENCH_SCALE");

	return scale && str_eq(scale, "short");
}

/* ---------------------------------------------------------------- namespaces */

int net_bench_new_netns(void)
{
	int fd;

	test_need_command("ip");
	if (geteuid() != 0)
		test_skip("needs root, for network namespaces of its own");
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace can be made: %s", strerror(errno));
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		net_bench_die("/proc/thread-self/ns/net: %s", strerror(errno));
	net_world_ip("link set lo up");
	return fd;
}

void net_bench_enter(int netns)
{
	if (setns(netns, CLONE_NEWNET) < 0)
		net_bench_die("network namespace: %s", strerror(errno));
}

void net_bench_fetch(int from, const char *name)
{
	CLEANUP_STR char *there = xasprintf("--net=/proc/%d/fd/%d", (int)getpid(), from);
	CLEANUP_STR char *here = xasprintf("%d", (int)getpid());
	const char *const argv[] = { "nsenter", there, "ip", "link", "set", name, "netns",
		here, NULL };
	CLEANUP_STR char *out = NULL;

	if (test_run(argv, STOP_MSEC, &out) != 0)
		net_bench_die("moving %s: %s", name, out ? out : "");
}

void net_bench_add_underlay(const char *address)
{
	CLEANUP_STR char *add = xasprintf("-6 addr add %s/64 dev eth0 nodad", address);

	net_world_ip("link add eth0 type veth peer name wire");
	net_world_ip("link set wire up");
	net_world_ip("link set eth0 up");
	net_world_ip(add);
}

/* ---------------------------------------------------------------- changes of interfaces */

#define BUFFER_SIZE (64 << 20) /* nobody reads while hundreds of networks are made */

int net_bench_listen(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV6_IFADDR };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int size = BUFFER_SIZE;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		net_bench_die("netlink: %s", strerror(errno));
	return fd;
}

static bool read_link(struct nlmsghdr *h, struct net_bench_event *out)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	const struct rtattr *a = IFLA_RTA(info);
	int size = (int)IFLA_PAYLOAD(h);
	bool has_alias = false;

	for (; RTA_OK(a, size); a = RTA_NEXT(a, size)) {
		if (a->rta_type == IFLA_IFNAME)
			snprintf(out->name, sizeof(out->name), "%s",
				(const char *)RTA_DATA(a));
		has_alias |= a->rta_type == IFLA_IFALIAS;
	}
	out->index = info->ifi_index;
	out->change = h->nlmsg_type == RTM_DELLINK ? NET_BENCH_GONE : NET_BENCH_ALIAS;
	/* Of a bridge's port that leaves it there is such a message, too. */
	return info->ifi_family == AF_UNSPEC &&
	       (has_alias || out->change == NET_BENCH_GONE);
}

static bool read_event(struct nlmsghdr *h, struct net_bench_event *out)
{
	const struct ifaddrmsg *address = NLMSG_DATA(h);

	*out = (struct net_bench_event){ .change = NET_BENCH_ADDRESS };
	if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK)
		return read_link(h, out);
	out->index = (int)address->ifa_index;
	return h->nlmsg_type == RTM_NEWADDR && address->ifa_scope == RT_SCOPE_UNIVERSE;
}

bool net_bench_next(int fd, int64_t limit_msec, struct net_bench_event *out)
{
	int64_t end_msec = test_now_msec() + limit_msec;
	union {
		struct nlmsghdr head;
		char bytes[32768];
	} u;

	for (;;) {
		struct pollfd p = { fd, POLLIN, 0 };
		int64_t left = end_msec - test_now_msec();
		ssize_t n;

		if (left < 0 || poll(&p, 1, (int)left) == 0)
			return false;
		n = recv(fd, &u, sizeof(u), 0);
		if (n < 0)
			net_bench_die("netlink: %s", strerror(errno));
		/* Each change is a message of its own. */
		if (NLMSG_OK(&u.head, (size_t)n) && read_event(&u.head, out))
			return true;
	}
}

/* ---------------------------------------------------------------- the daemon */

static char *program_path(void)
{
	char self[4096] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		net_bench_die("/proc/self/exe: %s", strerror(errno));
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-network/ucloud-network", self);
}

pid_t net_bench_start(const char *etcd_url, const char *host, const char *const *more)
{
	CLEANUP_STR char *program = program_path();
	CLEANUP_STR char *log = test_path("ucloud-network.log");
	CLEANUP_STR char *conf = test_path("ucloud-network.conf");
	const char *argv[40] = { program, "--config", conf, "--etcd_url", etcd_url,
		"--hostname", host, "--underlay", "eth0" };
	size_t n = 9;

	test_write_file(conf, "");
	for (size_t i = 0; more && more[i] && n < ARRAY_LEN(argv) - 1; i++)
		argv[n++] = more[i];
	return test_spawn(argv, log);
}

void net_bench_stop(pid_t daemon)
{
	kill(daemon, SIGTERM);
	if (test_wait(daemon, STOP_MSEC) != 0)
		net_bench_die("ucloud-network did not end as it should");
}

/* ---------------------------------------------------------------- figures */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double net_bench_quantile(double *v, size_t n, double q)
{
	size_t at = (size_t)((double)n * q);

	qsort(v, n, sizeof(*v), compare);
	return v[at < n ? at : n - 1];
}

double net_bench_median(double *v, size_t n)
{
	return net_bench_quantile(v, n, 0.5);
}
