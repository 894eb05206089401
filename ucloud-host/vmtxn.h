/*
 * The transactions of ucloud-host, as docs/architecture.md lists them. Pure: each takes what
 * was read and returns what to commit, the caller's. All compare the VM's entry, the request
 * (or its absence) and, when placed, the placement.
 */
#ifndef UCLOUD_VMTXN_H
#define UCLOUD_VMTXN_H

#include "common/model/keys.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/store/kv.h"

/* What was read; revisions are 0 for what is absent. Borrowed. */
struct vmread {
	const struct keys *keys;
	const char *host; /* we */
	const char *uuid;
	const struct vm *vm; /* NULL: absent */
	int64_t vm_rev;
	const struct request *req;
	int64_t req_rev;
	int64_t placement_rev;
};

/* NULL with ERR_CONFLICT when the VM's state does not allow it. */
struct kv_txn *vmtxn_running(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_rebooted(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_guest_off(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_restart(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_killed(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_stopped(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_calm(const struct vmread *r, int64_t now, struct err *e);
struct kv_txn *vmtxn_error(
	const struct vmread *r, int64_t now, const char *why, struct err *e);
struct kv_txn *vmtxn_drop_request(const struct vmread *r);
/* A failed attempt is counted; *not_before is when the next one is due. */
struct kv_txn *vmtxn_failed(
	const struct vmread *r, int64_t now, const struct err *why, int64_t *not_before);
/* The VM's log, and its request when there is one, say why it does not run; NULL when the log
 * says so already. */
struct kv_txn *vmtxn_told(const struct vmread *r, int64_t now, const struct err *why);

/*
 * ChangeVM is over; `after` is the entry as it is then. What it has less than before is given
 * back, the ports of interfaces too: user is the owner's entry as read (key NULL: absent). is_shared: the store is on no
 * host in particular, and so are the disks again.
 */
struct kv_txn *vmtxn_changed(const struct vmread *r, const struct vm *after,
	const struct kv_pair *user, bool is_shared, bool *is_use_odd, struct err *e);

/* The keys to read for vmtxn_deleted(): the user's, the name's, and each port's. */
void vmtxn_deleted_keys(const struct vm *vm, struct strv *keys);
/* rest: those keys' values, in that order. *is_use_odd: the user's use was less than what is given back. */
struct kv_txn *vmtxn_deleted(const struct vmread *r, const struct kv_list *rest,
	bool *is_use_odd, struct err *e);

#endif
