/*
 * A VM's disks: from its entry to calls of disk.h. Blocks; any thread.
 */
#ifndef UCLOUD_VMDISKS_H
#define UCLOUD_VMDISKS_H

#include "common/model/vm.h"
#include "ucloud-host/host_env.h"
#include "ucloud-host/vmstep.h"

/* What is needed for them; zeroed: nothing. */
struct vmdisks_ctx {
	const struct host_env *env;
	const struct vm *vm; /* borrowed */
	struct store_ref *store;
	struct store_ref *image_store; /* NULL: the image is in the same one */
	struct image image;
	bool has_image;
	int told_percent; /* of copying the image: what the VM's log says */
};
int vmdisks_open(const struct host_env *env, const struct vm *vm, struct vmdisks_ctx *out,
	struct err *e) MUST_USE;
void vmdisks_close(struct vmdisks_ctx *c);
/* Borrows from c, which progress is told to. */
struct disk_spec vmdisks_spec(struct vmdisks_ctx *c, const struct vm_disk *disk);
/* How a domain reaches the disk; what libvirt must know for that, it is told. */
int vmdisks_source(struct vmdisks_ctx *c, const struct vm_disk *disk,
	struct disk_source *out, struct err *e) MUST_USE;

int vmdisks_stat(const struct host_env *env, const struct vm *vm, enum vmdisks *out,
	struct err *e) MUST_USE;
/* Of a VM that does not run: makes those that are missing, grows those that are smaller than
 * ordered, removes those that are leaving. */
int vmdisks_make(const struct host_env *env, const struct vm *vm, struct err *e) MUST_USE;
int vmdisks_remove(
	const struct host_env *env, const struct vm *vm, struct err *e) MUST_USE;

struct vmdisk_sources {
	struct disk_source v[VM_DISKS_MAX];
	size_t len;
};
/* How its domain reaches them; not those that are leaving. */
int vmdisks_sources(const struct host_env *env, const struct vm *vm,
	struct vmdisk_sources *out, struct err *e) MUST_USE;
void vmdisks_sources_done(struct vmdisk_sources *s);

/* QEMU's cache mode for it: as configured, else "none" when the file can be read past the page cache (O_DIRECT), else
 * "writeback". */
const char *vmdisks_cache_mode(const struct host_env *env, const struct disk_source *s);

#endif
