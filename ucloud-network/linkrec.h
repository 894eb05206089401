/*
 * Makes this machine's interfaces and filters what its roles want, under the one key
 * LINKS_KEY. Nothing that is right is touched: a restart is not noticed by any frame. What it
 * needs is in caches: it works without etcd, too, with what was last known.
 */
#ifndef UCLOUD_NETWORK_LINKREC_H
#define UCLOUD_NETWORK_LINKREC_H

#include "ucloud-network/announce.h"
#include "ucloud-network/role.h"

#define LINKREC_ROLES_MAX 4

struct linkrec;

struct linkrec_role {
	const struct role_ops *ops;
	void *role;
};

/* announce may be NULL. */
struct linkrec *linkrec_new(struct netenv *env, struct announce *announce,
	const struct linkrec_role *use, size_t n);
void linkrec_free(struct linkrec *l);
enum wq_result linkrec_reconcile(struct linkrec *l, int64_t *after_msec, struct err *e);
/* 0, or why not all is as it should be. */
int linkrec_health(struct linkrec *l, struct err *e);

#endif
