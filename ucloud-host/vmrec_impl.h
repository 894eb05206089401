/*
 * What the files of vmrec.h share. Nobody else includes this.
 */
#ifndef UCLOUD_VMREC_IMPL_H
#define UCLOUD_VMREC_IMPL_H

#include <pthread.h>

#include "common/base/hash.h"
#include "ucloud-host/vmnets.h"
#include "ucloud-host/vmrec.h"
#include "ucloud-host/vmstep.h"
#include "ucloud-host/vmtxn.h"

/* What is remembered of a VM while something goes on with it. */
struct memo {
	char uuid[UUID_STR_SIZE];
	struct vmmemo m;
	char said[256]; /* the last oddity that was logged */
	UT_hash_handle hh;
};

struct vmrec {
	const struct host_env *env;
	pthread_mutex_t lock; /* memos, back_msec */
	struct memo *memos;
	int64_t back_msec; /* libvirt last came back */
};

/* One look: everything that a step is decided by, and what it was made of. */
struct look {
	struct vmrec *r;
	const char *uuid;
	struct vm vm;
	struct request req;
	struct vmnets nets; /* when l.nets is READY */
	struct vmlook l;
	struct vmread read;
	struct memo memo;  /* a copy; stored again by memo_put() */
	bool is_dom_known; /* libvirt has answered */
};

/* Commits t (takes it); NULL: e says why there is none. */
enum wq_result vmrec_commit(
	struct look *k, struct kv_txn *t, int64_t *after_msec, struct err *e);
/* Counts a failed attempt in the request. */
enum wq_result vmrec_record(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e);
/* An act failed with e: whatever vmstep_failed() says. */
enum wq_result vmrec_failed(struct look *k, int64_t *after_msec, struct err *e);
/* VMACT_WAIT. */
enum wq_result vmrec_wait_for(
	struct look *k, const struct vmstep *step, int64_t *after_msec, struct err *e);

/* VMACT_CHANGE, and VMFAIL_UNDO. */
enum wq_result vmrec_change_vm(struct look *k, int64_t *after_msec, struct err *e);
enum wq_result vmrec_undo_change(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e);

#endif
