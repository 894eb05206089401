#include "ucloud-network/probe_answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "ucloud-network/probe_ask.h"

#define RECV_BYTES (1 << 20)
#define AT_ONCE	   64

struct probe_answer {
	struct underlay_if underlay;
	probe_is_known_fn *is_known;
	void *aux;
	struct in6_addr group;
	struct probe_budget budget;
	int fd, stop;
	pthread_t thread;
};

/* A datagram that came. */
struct question {
	uint8_t head[PROBE_SIZE];
	size_t size; /* all of it */
	struct sockaddr_in6 from;
	struct in6_pktinfo to;
};

/* Room for what the kernel says of a datagram, aligned as it must be. */
union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* ---------------------------------------------------------------- one question */

/* False: there is none any more. */
static bool receive(struct probe_answer *a, struct question *q)
{
	union control control;
	struct iovec iov = { q->head, sizeof(q->head) };
	struct msghdr msg = { .msg_name = &q->from,
		.msg_namelen = sizeof(q->from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(a->fd, &msg, MSG_DONTWAIT | MSG_TRUNC);

	q->size = n > 0 ? (size_t)n : 0;
	q->to = (struct in6_pktinfo){ 0 };
	if (n < 0)
		return errno == EINTR;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			memcpy(&q->to, CMSG_DATA(c), sizeof(q->to));
	return true;
}

static void answer(struct probe_answer *a, const struct question *q, struct probe *p)
{
	bool is_group = IN6_IS_ADDR_MULTICAST(&q->to.ipi6_addr);
	struct in6_pktinfo from = { .ipi6_addr = is_group ? a->underlay.address
							  : q->to.ipi6_addr,
		.ipi6_ifindex = (unsigned)a->underlay.index };
	uint8_t datagram[PROBE_SIZE];
	struct sockaddr_in6 to = q->from;
	union control control = { .room = { 0 } };
	struct iovec iov = { datagram, sizeof(datagram) };
	struct msghdr msg = { .msg_name = &to,
		.msg_namelen = sizeof(to),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	p->is_answer = true;
	probe_format(p, datagram);
	control.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(from)),
		.cmsg_level = IPPROTO_IPV6,
		.cmsg_type = IPV6_PKTINFO };
	memcpy(CMSG_DATA(&control.align), &from, sizeof(from));
	/* One that is lost is asked for again. */
	(void)!sendmsg(a->fd, &msg, MSG_DONTWAIT);
}

/* How it came must be how it was sent. */
static bool is_right(
	const struct probe_answer *a, const struct question *q, struct probe *p)
{
	if ((int)q->to.ipi6_ifindex != a->underlay.index)
		return false;
	if (!probe_parse(q->head, q->size, p) || p->is_answer)
		return false;
	if (p->how != PROBE_MULTICAST)
		return !IN6_IS_ADDR_MULTICAST(&q->to.ipi6_addr);
	return memcmp(&q->to.ipi6_addr, &a->group, sizeof(a->group)) == 0;
}

/* Some, so that whoever sends without end does not keep us from stopping. */
static void answer_some(struct probe_answer *a)
{
	struct question q;
	struct probe p;

	for (int i = 0; i < AT_ONCE && receive(a, &q); i++)
		if (is_right(a, &q, &p) && a->is_known(a->aux, &q.from.sin6_addr) &&
			probe_budget_take(&a->budget, clock_mono_msec()))
			answer(a, &q, &p);
}

static void *run(void *aux)
{
	struct probe_answer *a = aux;
	struct pollfd fds[] = { { a->stop, POLLIN, 0 }, { a->fd, POLLIN, 0 } };

	for (;;) {
		if (poll(fds, ARRAY_LEN(fds), -1) < 0)
			continue;
		if (fds[0].revents)
			return NULL;
		answer_some(a);
	}
}

/* ---------------------------------------------------------------- the socket */

static int set_options(struct probe_answer *a, struct err *e)
{
	const struct ipv6_mreq group = { a->group, (unsigned)a->underlay.index };
	const int on = 1, recv_bytes = RECV_BYTES;

	/* Many may ask at once; what is lost is asked again. */
	(void)setsockopt(
		a->fd, SOL_SOCKET, SO_RCVBUFFORCE, &recv_bytes, sizeof(recv_bytes));
	if (setsockopt(a->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0 ||
		setsockopt(a->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
		return err_errno(e, errno, "being checked over the underlay: a socket");
	if (setsockopt(a->fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof(group)) < 0)
		return err_errno(e, errno,
			"being checked over the underlay: joining a group on %s",
			a->underlay.name);
	return 0;
}

static int open_socket(struct probe_answer *a, uint16_t port, struct err *e)
{
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6,
		.sin6_port = htons(port) };

	a->fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return err_errno(e, errno, "being checked over the underlay: a socket");
	if (set_options(a, e) < 0)
		return -1;
	if (bind(a->fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return err_errno(e, errno,
			"UDP port %d, on which other machines check whether they reach "
			"this one (check_port)",
			port);
	return 0;
}

static void close_all(struct probe_answer *a)
{
	if (a->fd >= 0)
		close(a->fd);
	if (a->stop >= 0)
		close(a->stop);
	free(a);
}

int probe_answer_start(const struct underlay_if *underlay, uint16_t port,
	probe_is_known_fn *is_known, void *aux, struct probe_answer **out, struct err *e)
{
	struct probe_answer *a = xcalloc(1, sizeof(*a));
	int rc;

	*a = (struct probe_answer){ .underlay = *underlay,
		.is_known = is_known,
		.aux = aux,
		.group = probe_group(),
		.fd = -1,
		.stop = -1 };
	if (open_socket(a, port, e) < 0) {
		close_all(a);
		return -1;
	}
	a->stop = eventfd(0, EFD_CLOEXEC);
	rc = a->stop < 0 ? errno : pthread_create(&a->thread, NULL, run, a);
	if (rc != 0) {
		close_all(a);
		return err_errno(e, rc, "being checked over the underlay: a thread");
	}
	*out = a;
	return 0;
}

void probe_answer_stop(struct probe_answer *a)
{
	const uint64_t one = 1;

	if (!a)
		return;
	while (write(a->stop, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(a->thread, NULL);
	close_all(a);
}
