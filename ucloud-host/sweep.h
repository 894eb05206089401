/*
 * Finds what is on this host and perhaps should not be. Each is a key of the controller:
 *
 *	"domains"   every domain of ours is given to the "vm" controller, which reads its entry
 *	            and removes it when it is not placed here
 *	"disks"     disks whose VM has no entry
 *	"consoles"  console logs whose VM has no entry
 *	"nocloud"   every VM with a boot configuration here is given to the "vm" controller,
 *	            which removes it when the VM is not here
 *
 * A disk is only ever removed when (1) its VM's key is absent in a linearizable read, (2) the
 * same read shows this host's own entry, so that it is the right etcd and not an empty one,
 * and (3) that was so at every look for orphan_keep_sec: whoever restored an old backup of
 * etcd has this long to notice. In normal work no such disks arise (see vmrec.c).
 */
#ifndef UCLOUD_SWEEP_H
#define UCLOUD_SWEEP_H

#include "common/store/ctl.h"
#include "ucloud-host/host_env.h"

struct sweep;

/* look_at(aux, uuid) is called for each domain and each boot configuration. */
struct sweep *sweep_new(const struct host_env *env,
	void (*look_at)(void *aux, const char *uuid), void *aux);
void sweep_free(struct sweep *s);
/* A ctl_reconcile_fn; aux is the struct sweep. */
enum wq_result sweep_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e);
void sweep_add_all(struct ctl *c);

#endif
