/*
 * Group commit: orders that wait at the same moment share a transaction. The first one that
 * finds nobody at work commits for all that wait; those that come meanwhile are the next
 * group. One client alone thus pays for one transaction, sixty-four for a few. When there were
 * others a moment ago, it waits up to a millisecond for them to come back.
 *
 * The group remembers what its transactions read and wrote (users, images, stores): the next
 * one needs no reading, and a comparison that fails shows when that was out of date.
 * Any order that does not fit into a group (refused, conflicting again and again, in doubt)
 * is run alone by its own thread, with fresh values: so its error is exact, and a bad one
 * holds up nobody.
 *
 * Any thread. Holds no lock while it talks to the store.
 */
#ifndef UCLOUD_GROUP_H
#define UCLOUD_GROUP_H

#include "ucloud-api/order_run.h"

struct group;

/* At most how much one order adds to a transaction. */
struct group_room {
	size_t n_ops, n_compares, size;
};

struct group *group_new(struct kv *kv);
void group_free(struct group *g);
/* As order_run(). fn may be called on another thread, while this one waits. */
int group_run(struct group *g, order_fn *fn, void *aux, const struct group_room *room,
	struct err *e) MUST_USE;

#endif
