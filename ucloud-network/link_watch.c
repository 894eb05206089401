#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ucloud-network/link.h"

struct link_watch {
	void (*fn)(void *aux);
	void *aux;
	int route, filter, stop; /* descriptors */
	pthread_t thread;
};

static int join(int fd, int group, struct err *e)
{
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		0)
		return err_errno(e, errno, "netlink: following changes");
	return 0;
}

static int subscribe(int family, int group, struct err *e)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, family);

	if (fd < 0)
		return err_errno(e, errno, "netlink: a socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		err_errno(e, errno, "netlink: following changes");
		close(fd);
		return -1;
	}
	if (join(fd, group, e) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What was changed does not matter: whoever is woken looks at everything. More than the
 * socket holds is lost (ENOBUFS), which is a change, too. */
static void drain(int fd)
{
	char skip[8192];

	while (recv(fd, skip, sizeof(skip), 0) >= 0 || errno == ENOBUFS || errno == EINTR)
		;
}

static void *watch(void *aux)
{
	struct link_watch *w = aux;
	struct pollfd fds[] = { { w->stop, POLLIN, 0 }, { w->route, POLLIN, 0 },
		{ w->filter, POLLIN, 0 } };

	for (;;) {
		if (poll(fds, ARRAY_LEN(fds), -1) < 0)
			continue;
		if (fds[0].revents)
			return NULL;
		drain(w->route);
		drain(w->filter);
		w->fn(w->aux);
	}
}

static void close_all(struct link_watch *w)
{
	if (w->route >= 0)
		close(w->route);
	if (w->filter >= 0)
		close(w->filter);
	if (w->stop >= 0)
		close(w->stop);
	free(w);
}

int link_watch_start(
	void (*fn)(void *aux), void *aux, struct link_watch **out, struct err *e)
{
	struct link_watch *w = xcalloc(1, sizeof(*w));
	int rc;

	*w = (struct link_watch){ .fn = fn, .aux = aux, .filter = -1, .stop = -1 };
	w->route = subscribe(NETLINK_ROUTE, RTNLGRP_LINK, e);
	/* The last one tells that an interface forwards, or does not any more. */
	if (w->route >= 0 && join(w->route, RTNLGRP_IPV6_IFADDR, e) == 0 &&
		join(w->route, RTNLGRP_IPV6_NETCONF, e) == 0)
		w->filter = subscribe(NETLINK_NETFILTER, NFNLGRP_NFTABLES, e);
	if (w->filter < 0) {
		close_all(w);
		return -1;
	}
	w->stop = eventfd(0, EFD_CLOEXEC);
	rc = w->stop < 0 ? errno : pthread_create(&w->thread, NULL, watch, w);
	if (rc != 0) {
		close_all(w);
		return err_errno(e, rc, "a thread for changes of interfaces");
	}
	*out = w;
	return 0;
}

void link_watch_stop(struct link_watch *w)
{
	uint64_t one = 1;

	if (!w)
		return;
	while (write(w->stop, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(w->thread, NULL);
	close_all(w);
}
