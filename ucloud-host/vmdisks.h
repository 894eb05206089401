/*
 * A VM's disks: from its entry to calls of disk.h. Blocks; any thread.
 */
#ifndef UCLOUD_VMDISKS_H
#define UCLOUD_VMDISKS_H

#include "common/model/vm.h"
#include "ucloud-host/host_env.h"
#include "ucloud-host/vmstep.h"

int vmdisks_stat(const struct host_env *env, const struct vm *vm, enum vmdisks *out,
	struct err *e) MUST_USE;
/* Makes those that are missing. */
int vmdisks_make(const struct host_env *env, const struct vm *vm, struct err *e) MUST_USE;
int vmdisks_remove(
	const struct host_env *env, const struct vm *vm, struct err *e) MUST_USE;

struct vmdisk_sources {
	struct disk_source v[VM_DISKS_MAX];
	size_t len;
};
/* How its domain reaches them. */
int vmdisks_sources(const struct host_env *env, const struct vm *vm,
	struct vmdisk_sources *out, struct err *e) MUST_USE;
void vmdisks_sources_done(struct vmdisk_sources *s);

/* "none" when the file can be read past the page cache (O_DIRECT), else "writeback". */
const char *vmdisks_cache_mode(const struct disk_source *s);

#endif
