#include "ucloud-host/vmtxn.h"

#include <assert.h>
#include <string.h>

#include "common/work/subject.h"
#include "ucloud-host/vmstep.h"

/* A transaction under way: the VM's new entry and what else is written. */
struct draft {
	const struct vmread *r;
	struct kv_txn *txn;
	struct vm vm;
	char *vm_key, *req_key, *placement_key;
};

static void draft_done(struct draft *d)
{
	kv_txn_free(d->txn);
	vm_done(&d->vm);
	free(d->vm_key);
	free(d->req_key);
	free(d->placement_key);
}

static void draft_init(struct draft *d, const struct vmread *r)
{
	d->r = r;
	d->txn = kv_txn_new();
	d->vm_key = key_vm(r->keys, r->uuid);
	d->req_key = key_request_host(r->keys, r->host, r->uuid);
	d->placement_key = key_placement(r->host, r->uuid);
	if (r->vm != NULL)
		vm_copy(r->vm, &d->vm);
	kv_txn_if_rev(d->txn, d->vm_key, r->vm_rev);
	kv_txn_if_rev(d->txn, d->req_key, r->req_rev);
	if (r->placement_rev != 0)
		kv_txn_if_rev(d->txn, d->placement_key, r->placement_rev);
}

static struct kv_txn *draft_take(struct draft *d)
{
	CLEANUP_STR char *text = vm_format(&d->vm);

	kv_txn_put(d->txn, d->vm_key, text);
	return MOVE(d->txn);
}

static void del_request(struct draft *d)
{
	if (d->r->req_rev != 0)
		kv_txn_del(d->txn, d->req_key);
}

static void del_placement(struct draft *d)
{
	kv_txn_del(d->txn, d->placement_key);
	vm_release_host(&d->vm);
}

static int move(struct draft *d, enum vm_status to, struct err *e)
{
	if (!vm_may_move((enum vm_status)d->vm.status, to))
		return err_set(e, ERR_CONFLICT, "a VM that is %s cannot become %s",
			vm_status_names[d->vm.status], vm_status_names[to]);
	vm_move(&d->vm, to);
	return 0;
}

static bool is_req(const struct vmread *r, enum request_type type)
{
	return r->req != NULL && r->req->type == (int)type;
}

/* Changes that an order replaced, or an end of everything cut off, are ordered again at
 * whoever can carry them out, in place of the request that is done. */
static void end_request(struct draft *d, int64_t now)
{
	const char *host = vm_has_host(&d->vm) ? d->vm.hostname : d->vm.disk_host;
	CLEANUP_STR char *key = str_is_empty(host)
					? key_request_scheduler(d->r->keys, d->r->uuid)
					: key_request_host(d->r->keys, host, d->r->uuid);
	CLEANUP_STR char *text = NULL;

	if (!vm_has_changes(&d->vm)) {
		del_request(d);
		return;
	}
	if (strcmp(key, d->req_key) != 0)
		del_request(d);
	text = request_new(REQ_CHANGE_VM, d->r->uuid, str_is_empty(host) ? NULL : host,
		now, now + REQUEST_CHANGE_SEC);
	kv_txn_put(d->txn, key, text);
}

struct kv_txn *vmtxn_running(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (d.vm.status != VM_RUNNING) {
		if (move(&d, VM_RUNNING, e) < 0)
			return NULL;
		d.vm.last_start = now;
		vm_log(&d.vm, now, "running on %s", r->host);
	}
	if (r->req == NULL || is_req(r, REQ_START_VM))
		end_request(&d, now);
	return draft_take(&d);
}

struct kv_txn *vmtxn_rebooted(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (d.vm.status != VM_RUNNING && move(&d, VM_RUNNING, e) < 0)
		return NULL;
	d.vm.last_start = now;
	vm_log(&d.vm, now, "rebooted on %s", r->host);
	del_request(&d);
	return draft_take(&d);
}

struct kv_txn *vmtxn_guest_off(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (move(&d, VM_REQUESTED_SHUTDOWN, e) < 0)
		return NULL;
	d.vm.want = VM_WANT_STOPPED;
	vm_log(&d.vm, now, "powered off from inside");
	del_request(&d);
	return draft_take(&d);
}

struct kv_txn *vmtxn_restart(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (move(&d, VM_KILLED, e) < 0)
		return NULL;
	vm_log(&d.vm, now, "the host %s was restarted; starting the VM again", r->host);
	return draft_take(&d);
}

static char *schedule_request(const struct vmread *r, int64_t now, int64_t not_before)
{
	CLEANUP_STR char *uuid = xstrdup(r->uuid);
	struct request req = {
		.type = REQ_SCHEDULE_VM,
		.uuid = uuid,
		.created = now,
		.not_before = not_before,
	};

	return request_format(&req);
}

struct kv_txn *vmtxn_killed(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };
	CLEANUP_STR char *key = key_request_scheduler(r->keys, r->uuid);
	CLEANUP_STR char *text = NULL;
	int64_t rest;

	draft_init(&d, r);
	if (move(&d, VM_KILLED, e) < 0)
		return NULL;
	d.vm.n_crashes = vmstep_n_crashes(r->vm, now);
	d.vm.last_crash = now;
	rest = vmstep_backoff_sec(d.vm.n_crashes);
	vm_log(&d.vm, now, "QEMU died on %s (crash %lld); starting again in %lld s",
		r->host, (long long)d.vm.n_crashes, (long long)rest);
	text = schedule_request(r, now, now + rest);
	kv_txn_put(d.txn, key, text);
	del_placement(&d);
	del_request(&d);
	return draft_take(&d);
}

struct kv_txn *vmtxn_stopped(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (move(&d, VM_STOPPED, e) < 0)
		return NULL;
	d.vm.n_crashes = 0;
	str_set(&d.vm.why, xstrdup(""));
	vm_log(&d.vm, now, "stopped");
	del_placement(&d);
	end_request(&d, now);
	return draft_take(&d);
}

struct kv_txn *vmtxn_calm(const struct vmread *r, int64_t now, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	(void)now;
	(void)e;
	draft_init(&d, r);
	d.vm.n_crashes = 0;
	return draft_take(&d);
}

struct kv_txn *vmtxn_error(
	const struct vmread *r, int64_t now, const char *why, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	if (move(&d, VM_ERROR, e) < 0)
		return NULL;
	vm_log(&d.vm, now, "%s: %s", r->host, why);
	del_request(&d);
	return draft_take(&d);
}

struct kv_txn *vmtxn_drop_request(const struct vmread *r)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	del_request(&d);
	return MOVE(d.txn);
}

struct kv_txn *vmtxn_failed(
	const struct vmread *r, int64_t now, const struct err *why, int64_t *not_before)
{
	CLEANUP(draft_done) struct draft d = { 0 };
	CLEANUP_STR char *text = NULL;
	struct request req = { 0 };

	draft_init(&d, r);
	jtab_copy(&request_jtab, r->req, &req);
	request_failed(&req, now, why);
	*not_before = req.not_before;
	text = request_format(&req);
	kv_txn_put(d.txn, d.req_key, text);
	/* Once for each different reason, not at each attempt. */
	if (!str_eq(r->req->last_error, why->msg)) {
		CLEANUP_STR char *vm_text = NULL;

		vm_log(&d.vm, now, "%s: %s; trying again", r->host, why->msg);
		vm_text = vm_format(&d.vm);
		kv_txn_put(d.txn, d.vm_key, vm_text);
	}
	request_done(&req);
	return MOVE(d.txn);
}

static bool is_newest_line(const struct vm *vm, const struct vm *with_line)
{
	const struct vm_log_line *a, *b;

	if (vm->log.len == 0)
		return false;
	a = jtab_list_at(&vm_log_jtab, &vm->log, vm->log.len - 1);
	b = jtab_list_at(&vm_log_jtab, &with_line->log, with_line->log.len - 1);
	return str_eq(a->text, b->text);
}

/* Without counting an attempt. */
static void put_reason(struct draft *d, const struct err *why)
{
	CLEANUP_STR char *text = NULL;
	struct request req = { 0 };

	jtab_copy(&request_jtab, d->r->req, &req);
	str_set(&req.last_error, xstrdup(why->msg));
	text = request_format(&req);
	kv_txn_put(d->txn, d->req_key, text);
	request_done(&req);
}

struct kv_txn *vmtxn_told(const struct vmread *r, int64_t now, const struct err *why)
{
	CLEANUP(draft_done) struct draft d = { 0 };

	draft_init(&d, r);
	vm_log(&d.vm, now, "%s: %s; trying again", r->host, why->msg);
	if (is_newest_line(r->vm, &d.vm))
		return NULL;
	if (r->req != NULL)
		put_reason(&d, why);
	return draft_take(&d);
}

/* ------------------------------------------------------------------ deletion */

void vmtxn_deleted_keys(const struct vm *vm, struct strv *keys)
{
	strv_add_take(keys, key_user(vm->owner_realm, vm->owner));
	strv_add_take(keys, key_vm_name(vm->owner_realm, vm->owner, vm->name));
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		if (!str_is_empty(nic->mac))
			strv_add_take(keys, key_port(nic->network, nic->mac));
	}
}

struct kv_txn *vmtxn_deleted(const struct vmread *r, const struct kv_list *rest,
	bool *is_use_odd, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP_STR char *scheduler_key = key_request_scheduler(r->keys, r->uuid);
	struct amounts amounts;

	draft_init(&d, r);
	amounts = vm_amounts(&d.vm);
	vmtxn_deleted_keys(r->vm, &keys);
	assert(rest->len == keys.len);
	if (subject_give_back(d.txn, keys.v[0], &rest->v[0], &amounts, is_use_odd, e) < 0)
		return NULL;
	/* Its name and ports, when they (still) are this VM's. */
	for (size_t i = 1; i < keys.len; i++) {
		const struct kv_pair *pair = &rest->v[i];

		if (pair->key == NULL || strstr(pair->value, r->uuid) == NULL)
			continue;
		kv_txn_if_rev(d.txn, keys.v[i], pair->mod_rev);
		kv_txn_del(d.txn, keys.v[i]);
	}
	kv_txn_del(d.txn, d.vm_key);
	kv_txn_del(d.txn, d.placement_key);
	kv_txn_del(d.txn, scheduler_key);
	del_request(&d);
	return MOVE(d.txn);
}

/* ------------------------------------------------------------------ changes */

/* Those of interfaces that it has no more go; the others say the interface's index. They
 * change only with the VM's entry. */
static void write_ports(struct draft *d)
{
	const struct vm *before = d->r->vm;

	if (before->networks.len == d->vm.networks.len)
		return;
	for (size_t i = 0; i < before->networks.len; i++) {
		const struct vm_nic *nic =
			jtab_list_at(&vm_nic_jtab, &before->networks, i);
		CLEANUP_STR char *key = key_port(nic->network, nic->mac);

		if (vm_find_nic(&d->vm, nic->mac) == NULL)
			kv_txn_del(d->txn, key);
	}
	for (size_t i = 0; i < d->vm.networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &d->vm.networks, i);
		CLEANUP_STR char *key = key_port(nic->network, nic->mac);
		CLEANUP_STR char *text = vm_port_format(&d->vm, i);

		kv_txn_put(d->txn, key, text);
	}
}

struct kv_txn *vmtxn_changed(const struct vmread *r, const struct vm *after,
	const struct kv_pair *user, bool is_shared, bool *is_use_odd, struct err *e)
{
	CLEANUP(draft_done) struct draft d = { 0 };
	CLEANUP_STR char *user_key = key_user(after->owner_realm, after->owner);
	struct amounts before = vm_amounts(r->vm), now = vm_amounts(after);
	struct amounts back = { .disk_gib = before.disk_gib - now.disk_gib,
		.snapshots = before.snapshots - now.snapshots };

	draft_init(&d, r);
	vm_done(&d.vm);
	vm_copy(after, &d.vm);
	if (is_shared && !vm_has_host(&d.vm))
		str_set(&d.vm.disk_host, xstrdup(""));
	*is_use_odd = false;
	if ((back.disk_gib != 0 || back.snapshots != 0) &&
		subject_give_back(d.txn, user_key, user, &back, is_use_odd, e) < 0)
		return NULL;
	write_ports(&d);
	del_request(&d);
	return draft_take(&d);
}
