/*
 * The networks of a VM, as they are in etcd and on this host. A VM is started when all of them
 * are ready here: ACTIVE, and with a bridge whose alias is the network's uuid, which
 * ucloud-network sets last. Blocks; any thread.
 */
#ifndef UCLOUD_VMNETS_H
#define UCLOUD_VMNETS_H

#include "common/model/network.h"
#include "common/model/vm.h"
#include "ucloud-host/host_env.h"

/* One of its interfaces. */
struct vmnet {
	const struct vm_nic *nic; /* borrowed from the VM */
	struct network net;
};

/* In the order of vm->networks; not those that are leaving. */
struct vmnets {
	struct vmnet v[VM_NICS_MAX];
	size_t len;
};

/* 0: all are ready, and in *out; 1: not yet, why (a sentence) says which one. */
int vmnets_read(const struct host_env *env, const struct vm *vm, struct vmnets *out,
	char *why, size_t why_size, struct err *e) MUST_USE;
/* The same of one interface, which need not be the VM's only one. *out is the caller's:
 * network_done(&out->net). */
int vmnets_read_one(const struct host_env *env, const struct vm_nic *nic,
	struct vmnet *out, char *why, size_t why_size, struct err *e) MUST_USE;
void vmnets_done(struct vmnets *n);

#endif
