/* ChangeVM, carried out and ended. */
#include "ucloud-host/vmrec_impl.h"

#include <stdio.h>

#include "common/base/log.h"
#include "ucloud-host/vmapply.h"
#include "ucloud-host/vmtxn.h"

/* How often a guest is asked to let go of a device, and how long in one attempt. */
#define DETACH_EVERY_MSEC 1000
#define DETACH_MSEC	  20000

static bool is_on(const struct look *k)
{
	return k->l.dom.state == VIRT_RUNNING || k->l.dom.state == VIRT_PAUSED;
}

/* Writes what has become of the VM's entry, gives back what it has less, and ends the
 * request. */
static enum wq_result write_changed(
	struct look *k, const struct vm *after, int64_t *after_msec, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP_STR char *user_key = key_user(after->owner_realm, after->owner);
	CLEANUP(kv_pair_done) struct kv_pair user = { 0 };
	bool is_shared, is_use_odd = false;
	struct kv_txn *t;

	if (vmapply_is_shared(env, after, &is_shared, e) < 0 ||
		kv_get(env->kv, user_key, &user, NULL, e) < 0)
		return WQ_RETRY;
	t = vmtxn_changed(&k->read, after, &user, is_shared, &is_use_odd, e);
	if (is_use_odd)
		log_warn("the owner's use was less than this VM's share vm=%s user=%s",
			k->uuid, after->owner);
	return vmrec_commit(k, t, after_msec, e);
}

/* 0 undone, in *after; < 0 it cannot be told yet what is really there. */
static int undo(struct look *k, const char *why, struct vm *after, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP(vmchange_world_done) struct vmchange_world before = { 0 };
	CLEANUP(vmchange_world_done) struct vmchange_world w = { 0 };
	CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };
	struct vmapply_outcome ignored = { 0 };
	int rc;

	if (vmapply_look(env, &k->vm, is_on(k), &before, e) < 0)
		return -1;
	vmchange_undo_plan(&k->vm, &before, &plan);
	rc = vmapply_run(env, &k->vm, is_on(k), &plan, &ignored, e);
	if (rc < 0 || vmapply_look(env, &k->vm, is_on(k), &w, e) < 0)
		return -1;
	vm_copy(&k->vm, after);
	vmchange_undone(after, &w, why, k->l.now_sec);
	return 0;
}

enum wq_result vmrec_undo_change(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	CLEANUP(vm_done) struct vm after = { 0 };

	if (undo(k, why->msg, &after, e) < 0) {
		struct err later = *e;

		return vmrec_record(k, &later, after_msec, e);
	}
	log_warn("ChangeVM is undone: %s vm=%s", why->msg, k->uuid);
	return write_changed(k, &after, after_msec, e);
}

/* As vmapply_run(). */
static int make_changes(struct look *k, struct vmapply_outcome *out, struct err *e)
{
	const struct host_env *env = k->r->env;
	CLEANUP(vmchange_world_done) struct vmchange_world w = { 0 };
	CLEANUP(vmchange_plan_done) struct vmchange_plan plan = { 0 };

	if (vmapply_look(env, &k->vm, is_on(k), &w, e) < 0 ||
		vmchange_plan(&k->vm, &w, &plan, e) < 0)
		return -1;
	return vmapply_run(env, &k->vm, is_on(k), &plan, out, e);
}

/* The guest has not let go of a disk, or an interface, yet. */
static enum wq_result wait_for_guest(
	struct look *k, bool is_disk, int64_t *after_msec, struct err *e)
{
	int64_t *since = &k->memo.m.detach_since_msec;

	if (*since == 0)
		*since = k->l.now_msec;
	if (k->l.now_msec - *since < DETACH_MSEC) {
		*after_msec = DETACH_EVERY_MSEC;
		return WQ_AGAIN;
	}
	*since = 0;
	(void)err_set(e, ERR_TIMEOUT,
		"the guest does not let go of the %s: it must run a system that knows "
		"PCI hot-plugging%s",
		is_disk ? "disk" : "interface",
		is_disk ? ", and not have the disk mounted" : "");
	return vmrec_failed(k, after_msec, e);
}

/* For as long as ChangeVM has. */
static enum wq_result wait_for_net(
	struct look *k, const char *why, int64_t *after_msec, struct err *e)
{
	struct vmstep step;

	if (k->memo.m.nets_since_msec == 0)
		k->memo.m.nets_since_msec = k->l.now_msec;
	k->l.memo = k->memo.m;
	snprintf(k->l.nets_why, sizeof(k->l.nets_why), "%s", why);
	step = vmstep_change_nets(&k->l);
	if (step.act == VMACT_WAIT)
		return vmrec_wait_for(k, &step, after_msec, e);
	(void)err_set(e, ERR_TIMEOUT, "%s", step.why);
	return vmrec_failed(k, after_msec, e);
}

enum wq_result vmrec_change_vm(struct look *k, int64_t *after_msec, struct err *e)
{
	CLEANUP(vm_done) struct vm after = { 0 };
	struct vmapply_outcome out = { 0 };
	int rc = make_changes(k, &out, e);

	if (rc < 0)
		return vmrec_failed(k, after_msec, e);
	if (rc == VMAPPLY_NO_NET)
		return wait_for_net(k, out.why, after_msec, e);
	if (rc != VMAPPLY_DONE)
		return wait_for_guest(k, rc == VMAPPLY_DISK_STAYS, after_msec, e);
	vm_copy(&k->vm, &after);
	vmchange_done(&after, out.is_quiesced, k->l.now_sec);
	return write_changed(k, &after, after_msec, e);
}
