/*
 * The small read-only CD that a guest finds its host name, keys, user data and network
 * configuration on: an ISO 9660 file system called "cidata" (with Rock Ridge and Joliet) in a
 * file below state_dir, made with libisofs. The same content is the same image, to the byte.
 * Any thread.
 */
#ifndef UCLOUD_CIDATA_H
#define UCLOUD_CIDATA_H

#include "ucloud-host/host_env.h"
#include "ucloud-host/nocloud.h"

/* Appends the image to out. */
int cidata_format(const struct nocloud *n, struct buf *out, struct err *e) MUST_USE;

/* Makes the VM's image as its entry says, when it is not so already. *path is the caller's;
 * NULL when there is no state_dir. Of a VM whose domain does not run. */
int cidata_ensure(const struct host_env *env, const struct vm *vm,
	const struct vmnets *nets, char **path, struct err *e) MUST_USE;
/* One that is not there is fine. */
int cidata_remove(
	const struct host_env *env, const char *vm_uuid, struct err *e) MUST_USE;
/* uuids of VMs that have one. Removes what writes that were cut off have left. */
int cidata_list(const struct host_env *env, struct strv *uuids, struct err *e) MUST_USE;

#endif
