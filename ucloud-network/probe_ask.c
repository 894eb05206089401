#include "ucloud-network/probe_ask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"

/* What has no answer is asked again so often. */
#define N_TRIES	       3
#define RECV_BYTES     (1 << 20)
#define SEND_LIMIT_SEC 1

struct round {
	const struct probe_ask *ask;
	struct probe_targets *targets;
	struct probe probe;
	int fd;
};

struct in6_addr probe_group(void)
{
	CLEANUP_STR char *text = network_group(0);
	struct in6_addr group = { 0 };

	(void)inet_pton(AF_INET6, text, &group);
	return group;
}

unsigned probe_asked(const struct probe_ask *a)
{
	return PROBE_BIT(PROBE_LARGE) | PROBE_BIT(PROBE_PLAIN) |
	       (a->is_multicast ? PROBE_BIT(PROBE_MULTICAST) : 0);
}

/* ---------------------------------------------------------------- the socket */

static int set_ipv6(int fd, int option, int value, const char *what, struct err *e)
{
	if (setsockopt(fd, IPPROTO_IPV6, option, &value, sizeof(value)) == 0)
		return 0;
	return err_errno(e, errno, "checking the underlay: %s", what);
}

static int set_options(int fd, int index, struct err *e)
{
	const int recv_bytes = RECV_BYTES;
	const struct timeval limit = { .tv_sec = SEND_LIMIT_SEC };

	if (set_ipv6(fd, IPV6_UNICAST_IF, (int)htonl((uint32_t)index), "its interface",
		    e) < 0 ||
		set_ipv6(fd, IPV6_MULTICAST_IF, index, "its interface", e) < 0 ||
		set_ipv6(fd, IPV6_UNICAST_HOPS, LINK_VXLAN_HOPS, "hops", e) < 0 ||
		set_ipv6(fd, IPV6_MULTICAST_HOPS, LINK_VXLAN_HOPS, "hops", e) < 0 ||
		set_ipv6(fd, IPV6_MULTICAST_LOOP, 0, "no copies", e) < 0 ||
		/* What was learnt of the path does not count: it is tried. */
		set_ipv6(fd, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, "packet sizes", e) <
			0 ||
		set_ipv6(fd, IPV6_DONTFRAG, 1, "no fragments", e) < 0)
		return -1;
	/* Many may answer at once. More than is usual takes a capability: without it those
	 * that are lost are asked again. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &recv_bytes, sizeof(recv_bytes)) <
		0)
		(void)setsockopt(
			fd, SOL_SOCKET, SO_RCVBUF, &recv_bytes, sizeof(recv_bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return err_errno(e, errno, "checking the underlay: a time limit");
	return 0;
}

static int open_socket(const struct underlay_if *u, struct err *e)
{
	const struct sockaddr_in6 own = { .sin6_family = AF_INET6,
		.sin6_addr = u->address };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(e, errno, "checking the underlay: a socket");
	if (set_options(fd, u->index, e) == 0 &&
		bind(fd, (const struct sockaddr *)&own, sizeof(own)) == 0)
		return fd;
	if (e && e->kind == ERR_NONE)
		err_errno(e, errno, "checking the underlay: its address");
	close(fd);
	return -1;
}

/* ---------------------------------------------------------------- asking */

/* 0, or the errno. */
static int send_to(
	struct round *r, const struct in6_addr *to, enum probe_how how, size_t size)
{
	const struct sockaddr_in6 address = { .sin6_family = AF_INET6,
		.sin6_port = htons(r->ask->port),
		.sin6_addr = *to };
	uint8_t *datagram = xcalloc(1, size);
	int rc;

	r->probe.how = how;
	probe_format(&r->probe, datagram);
	rc = sendto(r->fd, datagram, size, 0, (const struct sockaddr *)&address,
		     sizeof(address)) < 0
		     ? errno
		     : 0;
	free(datagram);
	return rc;
}

static bool lacks(const struct probe_target *t, enum probe_how how)
{
	return (t->answered & PROBE_BIT(how)) == 0;
}

static void ask_one(struct round *r, struct probe_target *t)
{
	int rc = 0;

	if (lacks(t, PROBE_PLAIN))
		rc = send_to(r, &t->address, PROBE_PLAIN, PROBE_SIZE);
	if (rc == 0 && lacks(t, PROBE_LARGE))
		rc = send_to(
			r, &t->address, PROBE_LARGE, (size_t)t->packet - PROBE_OVERHEAD);
	t->errnum = rc;
}

/* The group comes last: a firewall that lets in what answers us knows by then of everybody who
 * may. */
static void ask_all(struct round *r)
{
	struct in6_addr group = probe_group();
	bool is_needed = false;

	for (size_t i = 0; i < r->targets->len; i++) {
		ask_one(r, &r->targets->v[i]);
		is_needed |= lacks(&r->targets->v[i], PROBE_MULTICAST);
	}
	if (r->ask->is_multicast && is_needed)
		(void)send_to(r, &group, PROBE_MULTICAST, PROBE_SIZE);
}

/* ---------------------------------------------------------------- answers */

static void take(struct round *r, const uint8_t *datagram, size_t size,
	const struct in6_addr *from)
{
	struct probe p;

	if (!probe_parse(datagram, size, &p) || !p.is_answer ||
		memcmp(p.nonce, r->probe.nonce, sizeof(p.nonce)) != 0)
		return;
	for (size_t i = 0; i < r->targets->len; i++)
		if (memcmp(&r->targets->v[i].address, from, sizeof(*from)) == 0)
			r->targets->v[i].answered |= PROBE_BIT(p.how);
}

static void take_all(struct round *r)
{
	uint8_t datagram[PROBE_SIZE + 1];
	struct sockaddr_in6 from = { 0 };

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(r->fd, datagram, sizeof(datagram), MSG_DONTWAIT,
			(struct sockaddr *)&from, &len);

		if (n >= 0)
			take(r, datagram, (size_t)n, &from.sin6_addr);
		else if (errno != EINTR)
			return;
	}
}

static bool is_complete(const struct round *r)
{
	unsigned asked = probe_asked(r->ask);

	for (size_t i = 0; i < r->targets->len; i++)
		if ((asked & ~r->targets->v[i].answered) != 0)
			return false;
	return true;
}

/* Until then, or everybody has answered; PROBE_STOPPED. */
static int await(struct round *r, int64_t until_msec)
{
	struct pollfd fds[] = { { r->fd, POLLIN, 0 }, { r->ask->stop_fd, POLLIN, 0 } };
	int64_t left_msec;

	while ((left_msec = until_msec - clock_mono_msec()) > 0 && !is_complete(r)) {
		if (poll(fds, ARRAY_LEN(fds), (int)left_msec) < 0)
			continue;
		if (fds[1].revents)
			return PROBE_STOPPED;
		take_all(r);
	}
	return 0;
}

int probe_ask(const struct probe_ask *a, struct probe_targets *t, struct err *e)
{
	struct round r = { .ask = a, .targets = t };
	int64_t start_msec = clock_mono_msec();
	int rc = 0;

	for (size_t i = 0; i < t->len; i++)
		t->v[i].answered = 0;
	if (getrandom(r.probe.nonce, sizeof(r.probe.nonce), 0) !=
		(ssize_t)sizeof(r.probe.nonce))
		return err_errno(e, errno, "checking the underlay: a random number");
	r.fd = open_socket(a->underlay, e);
	if (r.fd < 0)
		return -1;
	for (int i = 1; i <= N_TRIES && rc == 0 && !is_complete(&r); i++) {
		ask_all(&r);
		rc = await(&r, start_msec + a->limit_msec * i / N_TRIES);
	}
	close(r.fd);
	return rc;
}
