/*
 * What this machine has (CPUs, RAM, image stores with their space, accelerator, version),
 * published into its host entry when it changed by more than a little.
 */
#ifndef UCLOUD_INVENTORY_H
#define UCLOUD_INVENTORY_H

#include "common/model/host.h"
#include "common/store/wq.h"
#include "ucloud-host/host_env.h"

struct inventory;

struct inventory *inventory_new(const struct host_env *env);
void inventory_free(struct inventory *inv);
/* A ctl_reconcile_fn; aux is the struct inventory, there is one key. */
enum wq_result inventory_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e);
/* Has this host an entry? True before the first look. */
bool inventory_is_registered(struct inventory *inv);

/* Does `now` differ from what is published by enough to write it? Pure. */
bool inventory_is_news(const struct host *published, const struct host *now);

#endif
