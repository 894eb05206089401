/*
 * What the parts of ucloud-host share: connections and configuration. Nothing here changes
 * after hostd_new(); any thread may read.
 */
#ifndef UCLOUD_HOST_ENV_H
#define UCLOUD_HOST_ENV_H

#include "common/base/buf.h"
#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-host/stores.h"
#include "ucloud-host/virt.h"

struct host_env {
	struct kv *kv;
	struct virt *virt;
	struct stores *stores;
	struct keys keys;
	char *host;
	char *accel;		   /* "kvm" or "tcg" */
	char *state_dir;	   /* NULL: no console logs, no boot configuration */
	char *sysfs;		   /* NULL: "/sys" */
	char *disk_cache;	   /* NULL: chosen for each disk */
	struct strv stores_wanted; /* empty: all that are reached */
	int64_t shutdown_sec;
	int64_t max_crashes;
	int64_t orphan_keep_sec;
};

/* <state_dir>/console/<uuid>.log, the caller's; NULL without a state_dir. */
char *host_env_console_path(const struct host_env *env, const char *vm_uuid);
/* Removes the log and the older ones beside it. */
void host_env_remove_console(const struct host_env *env, const char *vm_uuid);

#endif
