#include "ucloud-scheduler/diskrec.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/names.h"
#include "common/model/request.h"
#include "common/model/vm.h"
#include "common/work/subject.h"
#include "ucloud-scheduler/brief.h"
#include "ucloud-scheduler/pages.h"

#define AGAIN_MSEC 200

/* A request, and all that is compared and written for it, as read at one revision. */
struct work {
	struct sched *s;
	const char *uuid;
	char *vm_key, *request_key, *name_key, *user_key;
	struct kv_pair vm_pair, request_pair, name_pair, user_pair;
	struct vm vm;
	struct request request;
	int64_t fence;
};

static void work_done(struct work *d)
{
	free(d->vm_key);
	free(d->request_key);
	free(d->name_key);
	free(d->user_key);
	kv_pair_done(&d->vm_pair);
	kv_pair_done(&d->request_pair);
	kv_pair_done(&d->name_pair);
	kv_pair_done(&d->user_pair);
	vm_done(&d->vm);
	request_done(&d->request);
}

static int64_t rev_of(const struct kv_pair *p)
{
	return p->key ? p->mod_rev : 0;
}

/* Two keys; the pairs are moved out. */
static int read_two(struct kv *kv, const char *a, const char *b, struct kv_pair *pa,
	struct kv_pair *pb, struct err *e)
{
	const char *keys[] = { a, b };
	CLEANUP(kv_list_done) struct kv_list list = { 0 };

	if (kv_get_many(kv, keys, 2, &list, e) < 0)
		return -1;
	*pa = list.v[0];
	*pb = list.v[1];
	memset(list.v, 0, 2 * sizeof(list.v[0]));
	return 0;
}

static int read_vm(struct work *d, struct err *e)
{
	const struct keys *keys = &d->s->conf->keys;
	struct kv *kv = d->s->kv;

	d->vm_key = key_vm(keys, d->uuid);
	if (!d->request_key)
		d->request_key = key_request_scheduler(keys, d->uuid);
	if (read_two(kv, d->vm_key, d->request_key, &d->vm_pair, &d->request_pair, e) < 0)
		return -1;
	if (d->request_pair.key &&
		request_parse(d->request_pair.value, d->request_pair.value_size,
			&d->request, e) < 0)
		return -1;
	if (d->vm_pair.key &&
		vm_parse(d->vm_pair.value, d->vm_pair.value_size, &d->vm, e) < 0)
		return -1;
	return 0;
}

static int read_owner(struct work *d, struct err *e)
{
	d->name_key = key_vm_name(d->vm.owner_realm, d->vm.owner, d->vm.name);
	d->user_key = key_user(d->vm.owner_realm, d->vm.owner);
	return read_two(
		d->s->kv, d->name_key, d->user_key, &d->name_pair, &d->user_pair, e);
}

/* ---------------------------------------------------------------- what is written */

static struct kv_txn *new_txn(const struct work *d)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, d->s->lock_key, d->fence);
	kv_txn_if_rev(t, d->request_key, d->request_pair.mod_rev);
	kv_txn_if_rev(t, d->vm_key, rev_of(&d->vm_pair));
	kv_txn_del(t, d->request_key);
	return t;
}

/* Somebody else's name, that ours was given to meanwhile, stays. */
static void add_name(const struct work *d, struct kv_txn *t)
{
	kv_txn_if_rev(t, d->name_key, rev_of(&d->name_pair));
	if (d->name_pair.key && str_eq(d->name_pair.value, d->uuid))
		kv_txn_del(t, d->name_key);
}

static void add_ports(const struct work *d, struct kv_txn *t)
{
	const struct vm_nic *nic = d->vm.networks.v;

	for (size_t i = 0; i < d->vm.networks.len; i++) {
		if (str_is_empty(nic[i].network) || str_is_empty(nic[i].mac))
			continue;
		CLEANUP_STR char *key = key_port(nic[i].network, nic[i].mac);
		kv_txn_del(t, key);
	}
}

static int add_user(const struct work *d, struct kv_txn *t, struct err *e)
{
	struct amounts a = vm_amounts(&d->vm);
	bool is_odd;

	if (subject_give_back(t, d->user_key, &d->user_pair, &a, &is_odd, e) < 0)
		return -1;
	if (is_odd)
		log_warn("more is given back than the user had in use user=%s vm=%s",
			d->user_key, d->uuid);
	return 0;
}

static enum wq_result finish(struct work *d, struct kv_txn *t, const char *what,
	int64_t *after_msec, struct err *e)
{
	int rc = kv_txn_commit(d->s->kv, t, NULL, e);

	if (rc == 0)
		log_info("%s vm=%s", what, d->uuid);
	*after_msec = AGAIN_MSEC;
	return rc < 0 ? WQ_RETRY : rc > 0 ? WQ_AGAIN : WQ_DONE;
}

static enum wq_result drop(
	struct work *d, const char *why, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);

	return finish(d, t, why, after_msec, e);
}

/* host_rev: of its entry, which must be the same (0: may be another one). A host that is to be
 * deleted drains first, so that this is noticed. */
static enum wq_result hand_over(struct work *d, const char *host, int64_t host_rev,
	int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);
	CLEANUP_STR char *host_key = key_host(&d->s->conf->keys, host);
	CLEANUP_STR char *key = key_request_host(&d->s->conf->keys, host, d->uuid);
	CLEANUP_STR char *text = request_new((enum request_type)d->request.type, d->uuid,
		host, d->request.created ? d->request.created : clock_unix_sec(),
		d->request.deadline);
	CLEANUP_STR char *what = xasprintf("%s is handed to a host host=%s",
		request_type_names[d->request.type], host);

	if (host_rev)
		kv_txn_if_rev(t, host_key, host_rev);
	kv_txn_put(t, key, text);
	/* A store that is shared: from now on the entry says whose the request is. */
	if (!vm_has_host(&d->vm) && !str_eq(d->vm.disk_host, host)) {
		str_set(&d->vm.disk_host, xstrdup(host));
		CLEANUP_STR char *vm = vm_format(&d->vm);
		kv_txn_put(t, d->vm_key, vm);
	}
	return finish(d, t, what, after_msec, e);
}

static enum wq_result remove_vm(struct work *d, int64_t *after_msec, struct err *e)
{
	if (read_owner(d, e) < 0)
		return WQ_RETRY;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);
	kv_txn_del(t, d->vm_key);
	add_name(d, t);
	add_ports(d, t);
	if (add_user(d, t, e) < 0)
		return WQ_RETRY;
	return finish(d, t, "VM is deleted", after_msec, e);
}

/* ---------------------------------------------------------------- who touches the disks */

static bool is_host_alive(struct sched *s, const char *name)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *it = cache_get(s->hosts, name);
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *alive = cache_get(s->alives, name);
	const struct host *h = it ? it->obj : NULL;

	return alive && h && h->status == HOST_ALIVE;
}

/* A host that is alive and reaches the store; a draining one will do, if there is no other.
 * Counted, or NULL. */
static const struct cache_item *find_host(struct sched *s, const char *store)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	size_t draining = SIZE_MAX;

	cache_items_get(s->hosts, &items);
	for (size_t i = 0; i < items.len; i++) {
		const struct host *h = items.v[i]->obj;

		if (!h || !host_find_store(h, store) ||
			!is_host_alive(s, items.v[i]->name))
			continue;
		if (!h->is_draining)
			return MOVE(items.v[i]);
		draining = i;
	}
	return draining == SIZE_MAX ? NULL : MOVE(items.v[draining]);
}

/* Counts the failed attempt in the request, where its owner sees the reason. */
static enum wq_result postpone(
	struct work *d, const struct err *why, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

	request_failed(&d->request, clock_unix_sec(), why);
	CLEANUP_STR char *text = request_format(&d->request);
	kv_txn_if_lock(t, d->s->lock_key, d->fence);
	kv_txn_if_rev(t, d->request_key, d->request_pair.mod_rev);
	kv_txn_put(t, d->request_key, text);
	return finish(d, t, why->msg, after_msec, e);
}

/* To some host, by way of the store. */
static enum wq_result hand_to_any(struct work *d, int64_t *after_msec, struct err *e)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *host = find_host(d->s, d->vm.store);
	struct err why = { 0 };

	if (host)
		return hand_over(d, host->name, host->mod_rev, after_msec, e);
	err_set(&why, ERR_UNAVAILABLE,
		"no host that is alive reaches store \"%s\" to %s the VM's disks",
		d->vm.store, d->request.type == REQ_DELETE_VM ? "remove" : "change");
	return postpone(d, &why, after_msec, e);
}

static bool is_store(const struct work *d, bool is_local)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *store = cache_get(d->s->stores, d->vm.store);

	return store && store->obj && image_store_is_local(store->obj) == is_local;
}

/* The host that it is on, or that has its disks; NULL: none in particular. */
static const char *host_of(const struct work *d)
{
	if (vm_has_host(&d->vm))
		return d->vm.hostname;
	/* A shared store's disks were handed to a host, which died. */
	if (str_is_empty(d->vm.disk_host) ||
		(is_store(d, false) && !is_host_alive(d->s, d->vm.disk_host)))
		return NULL;
	return d->vm.disk_host;
}

static enum wq_result delete_vm(struct work *d, int64_t *after_msec, struct err *e)
{
	if (host_of(d))
		return hand_over(d, host_of(d), 0, after_msec, e);
	/* Disks in a local store would have a disk_host. */
	if (!vm_was_placed(&d->vm) || is_store(d, true))
		return remove_vm(d, after_msec, e);
	return hand_to_any(d, after_msec, e);
}

static enum wq_result change_vm(struct work *d, int64_t *after_msec, struct err *e)
{
	if (d->vm.status != VM_STOPPED)
		return drop(
			d, "request is dropped: the VM is not STOPPED", after_msec, e);
	if (host_of(d))
		return hand_over(d, host_of(d), 0, after_msec, e);
	if (is_store(d, true))
		return drop(d, "request is dropped: the VM has no disks", after_msec, e);
	return hand_to_any(d, after_msec, e);
}

static bool is_ours(const struct request *r)
{
	return r->type == REQ_DELETE_VM || r->type == REQ_CHANGE_VM;
}

enum wq_result diskrec_look(
	struct sched *s, const char *vm_uuid, int64_t *after_msec, struct err *e)
{
	CLEANUP(work_done) struct work d = { .s = s, .uuid = vm_uuid };

	d.fence = atomic_load(&s->fence);
	if (!d.fence)
		return WQ_DONE;
	if (read_vm(&d, e) < 0)
		return WQ_RETRY;
	if (!d.request_pair.key)
		return WQ_DONE;
	if (!d.vm_pair.key)
		return is_ours(&d.request)
			       ? drop(&d, "request is dropped: the VM is gone",
					 after_msec, e)
			       : WQ_DONE;
	int64_t wait_sec = d.request.not_before - clock_unix_sec();
	if (wait_sec > 0) {
		*after_msec = wait_sec * 1000;
		return WQ_AGAIN;
	}
	if (d.vm.status == VM_REQUESTED_DELETE)
		return delete_vm(&d, after_msec, e);
	if (d.request.type == REQ_CHANGE_VM)
		return change_vm(&d, after_msec, e);
	if (d.request.type != REQ_DELETE_VM)
		return WQ_DONE;
	return drop(&d, "request is dropped: nobody ordered the VM to be deleted",
		after_msec, e);
}

/* ---------------------------------------------------------------- a host that died */

static void add_subject(void *aux, const struct kv_pair *pair)
{
	CLEANUP(request_done) struct request r = { 0 };
	struct strv *uuids = aux;
	struct err e;

	if (request_parse(pair->value, pair->value_size, &r, &e) == 0 && is_ours(&r) &&
		uuid_check(r.uuid, NULL) == 0)
		strv_add(uuids, r.uuid);
}

/* A VM that is placed there waits for the host, and so does one whose disks are there. */
static bool may_take_back(const struct work *d, const char *host)
{
	return d->vm_pair.key && d->request_pair.key && is_ours(&d->request) &&
	       !vm_has_host(&d->vm) && str_eq(d->vm.disk_host, host) &&
	       is_store(d, false);
}

static int take_one(struct work *d, const struct host *host, int64_t host_rev,
	bool *is_again, struct err *e)
{
	const struct keys *keys = &d->s->conf->keys;
	CLEANUP_STR char *host_key = key_host(keys, host->hostname);
	CLEANUP_STR char *alive_key = key_alive(host->hostname);
	CLEANUP_STR char *our_key = key_request_scheduler(keys, d->uuid);
	CLEANUP_STR char *text = NULL;
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);
	int rc;

	kv_txn_if_rev(t, host_key, host_rev); /* still DEAD */
	kv_txn_if_rev(t, alive_key, 0);
	kv_txn_if_rev(t, our_key, 0);
	text = request_new((enum request_type)d->request.type, d->uuid, NULL,
		d->request.created, d->request.deadline);
	kv_txn_put(t, our_key, text);
	rc = kv_txn_commit(d->s->kv, t, NULL, e);
	if (rc == 0)
		log_info("%s is taken back from a dead host vm=%s host=%s",
			request_type_names[d->request.type], d->uuid, host->hostname);
	*is_again |= rc > 0;
	return rc < 0 ? -1 : 0;
}

int diskrec_take_back(struct sched *s, const struct host *host, int64_t host_rev,
	bool *is_again, struct err *e)
{
	CLEANUP_STR char *prefix = key_requests_host(&s->conf->keys, host->hostname);
	CLEANUP(strv_done) struct strv uuids = { 0 };
	int rc = pages_read(s->kv, prefix, add_subject, &uuids, e);

	for (size_t i = 0; rc == 0 && i < uuids.len; i++) {
		CLEANUP(work_done) struct work d = { .s = s, .uuid = uuids.v[i] };

		d.fence = atomic_load(&s->fence);
		if (!d.fence)
			return 0;
		d.request_key =
			key_request_host(&s->conf->keys, host->hostname, uuids.v[i]);
		rc = read_vm(&d, e);
		if (rc == 0 && may_take_back(&d, host->hostname))
			rc = take_one(&d, host, host_rev, is_again, e);
	}
	return rc;
}
