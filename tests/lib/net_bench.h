/*
 * What the benches of networks share: network namespaces of the program's own, which go with
 * it however it ends, and real ucloud-networks in them. What fails ends the program. The main
 * thread only; it is in the namespace that it moved into last, and what it starts stays there.
 */
#ifndef UCLOUD_NET_BENCH_H
#define UCLOUD_NET_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/lib/net_world.h"

/* Prints it behind the program's name; the end of daemons' logs, too. */
void net_bench_die(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));
void net_bench_need(int rc, const struct err *e); /* dies unless rc is 0 */
/* BENCH_SCALE=short */
bool net_bench_is_short(void);

/* Moves into a new namespace, where lo is up, and returns a descriptor of it. Skips the
 * program when it may not. */
int net_bench_new_netns(void);
void net_bench_enter(int netns);
/* The interface `name`, which is in netns `from`, comes into this one. */
void net_bench_fetch(int from, const char *name);

/* An underlay in this namespace: eth0 with this address ("fd00:10::1"), a veth whose other
 * end is "wire". */
void net_bench_add_underlay(const char *address);

/* Changes of this namespace's interfaces, as the kernel tells them: a descriptor to close. */
int net_bench_listen(void);
enum net_bench_change {
	NET_BENCH_ALIAS, /* something else changed of an interface that has an alias, too */
	NET_BENCH_GONE,	   /* an interface */
	NET_BENCH_ADDRESS, /* a global address came */
};
struct net_bench_event {
	enum net_bench_change change;
	char name[NETWORK_NAME_SIZE]; /* of the interface; not of NET_BENCH_ADDRESS */
	int index;
};
/* Waits for the next one; false when limit_msec are over. */
bool net_bench_next(int fd, int64_t limit_msec, struct net_bench_event *out);

/* Starts ucloud-network as this host, in this namespace, on the underlay eth0; more:
 * options, NULL-terminated, or NULL. */
pid_t net_bench_start(const char *etcd_url, const char *host, const char *const *more);
void net_bench_stop(pid_t daemon); /* as an operator does: networks stay */

double net_bench_quantile(double *v, size_t n, double q); /* sorts */
double net_bench_median(double *v, size_t n);

#endif
