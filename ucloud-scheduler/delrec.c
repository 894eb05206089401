#include "ucloud-scheduler/delrec.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "ucloud-scheduler/brief.h"

#define AGAIN_MSEC 200

/* All that a deletion compares and writes, as read at one revision. */
struct deletion {
	struct sched *s;
	const char *uuid;
	char *vm_key, *request_key, *name_key, *user_key;
	struct kv_pair vm_pair, request_pair, name_pair, user_pair;
	struct vm vm;
	struct request request;
	int64_t fence;
};

static void deletion_done(struct deletion *d)
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

static int read_vm(struct deletion *d, struct err *e)
{
	const struct keys *keys = &d->s->conf->keys;
	struct kv *kv = d->s->kv;

	d->vm_key = key_vm(keys, d->uuid);
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

static int read_owner(struct deletion *d, struct err *e)
{
	d->name_key = key_vm_name(d->vm.owner_realm, d->vm.owner, d->vm.name);
	d->user_key = key_user(d->vm.owner_realm, d->vm.owner);
	return read_two(
		d->s->kv, d->name_key, d->user_key, &d->name_pair, &d->user_pair, e);
}

/* ---------------------------------------------------------------- what is written */

static struct kv_txn *new_txn(const struct deletion *d)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, d->s->lock_key, d->fence);
	kv_txn_if_rev(t, d->request_key, d->request_pair.mod_rev);
	kv_txn_if_rev(t, d->vm_key, rev_of(&d->vm_pair));
	kv_txn_del(t, d->request_key);
	return t;
}

/* Somebody else's name, that ours was given to meanwhile, stays. */
static void add_name(const struct deletion *d, struct kv_txn *t)
{
	kv_txn_if_rev(t, d->name_key, rev_of(&d->name_pair));
	if (d->name_pair.key && str_eq(d->name_pair.value, d->uuid))
		kv_txn_del(t, d->name_key);
}

static void add_ports(const struct deletion *d, struct kv_txn *t)
{
	const struct vm_nic *nic = d->vm.networks.v;

	for (size_t i = 0; i < d->vm.networks.len; i++) {
		if (str_is_empty(nic[i].network) || str_is_empty(nic[i].mac))
			continue;
		CLEANUP_STR char *key = key_port(nic[i].network, nic[i].mac);
		kv_txn_del(t, key);
	}
}

static int add_user(const struct deletion *d, struct kv_txn *t, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	struct amounts a = vm_amounts(&d->vm);

	kv_txn_if_rev(t, d->user_key, rev_of(&d->user_pair));
	if (!d->user_pair.key)
		return 0;
	if (user_parse(d->user_pair.value, d->user_pair.value_size, &user, e) < 0)
		return -1;
	if (!user_give_back(&user, &a))
		log_warn("more is given back than the user had in use user=%s vm=%s",
			d->user_key, d->uuid);
	CLEANUP_STR char *text = user_format(&user);
	kv_txn_put(t, d->user_key, text);
	return 0;
}

static enum wq_result finish(struct deletion *d, struct kv_txn *t, const char *what,
	int64_t *after_msec, struct err *e)
{
	int rc = kv_txn_commit(d->s->kv, t, NULL, e);

	if (rc == 0)
		log_info("%s vm=%s", what, d->uuid);
	*after_msec = AGAIN_MSEC;
	return rc < 0 ? WQ_RETRY : rc > 0 ? WQ_AGAIN : WQ_DONE;
}

static enum wq_result drop(
	struct deletion *d, const char *why, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);

	return finish(d, t, why, after_msec, e);
}

static enum wq_result hand_over(
	struct deletion *d, const char *host, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(d);
	CLEANUP_STR char *key = key_request_host(&d->s->conf->keys, host, d->uuid);
	CLEANUP_STR char *text = request_new(REQ_DELETE_VM, d->uuid, host,
		d->request.created ? d->request.created : clock_unix_sec(),
		d->request.deadline);
	CLEANUP_STR char *what =
		xasprintf("a host removes the VM's disks and the VM host=%s", host);

	kv_txn_put(t, key, text);
	/* A store that is shared: from now on the entry says whose the request is. */
	if (!vm_has_host(&d->vm) && str_is_empty(d->vm.disk_host)) {
		str_set(&d->vm.disk_host, xstrdup(host));
		CLEANUP_STR char *vm = vm_format(&d->vm);
		kv_txn_put(t, d->vm_key, vm);
	}
	return finish(d, t, what, after_msec, e);
}

static enum wq_result remove_vm(struct deletion *d, int64_t *after_msec, struct err *e)
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

/* ---------------------------------------------------------------- who removes the disks */

/* A host that is alive and reaches the store; a draining one will do. Counted, or NULL. */
static const struct cache_item *find_host(struct sched *s, const char *store)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	const struct cache_item *found = NULL;

	cache_items_get(s->hosts, &items);
	for (size_t i = 0; i < items.len && !found; i++) {
		const struct host *h = items.v[i]->obj;
		if (!h || h->status != HOST_ALIVE || !host_find_store(h, store))
			continue;
		const struct cache_item *alive = cache_get(s->alives, items.v[i]->name);
		if (alive)
			found = MOVE(items.v[i]);
		cache_item_put(alive);
	}
	return found;
}

/* Counts the failed attempt in the request, where its owner sees the reason. */
static enum wq_result postpone(
	struct deletion *d, const struct err *why, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

	request_failed(&d->request, clock_unix_sec(), why);
	CLEANUP_STR char *text = request_format(&d->request);
	kv_txn_if_lock(t, d->s->lock_key, d->fence);
	kv_txn_if_rev(t, d->request_key, d->request_pair.mod_rev);
	kv_txn_put(t, d->request_key, text);
	return finish(d, t, why->msg, after_msec, e);
}

static enum wq_result delete_vm(struct deletion *d, int64_t *after_msec, struct err *e)
{
	if (vm_has_host(&d->vm))
		return hand_over(d, d->vm.hostname, after_msec, e);
	if (!str_is_empty(d->vm.disk_host))
		return hand_over(d, d->vm.disk_host, after_msec, e);
	if (!vm_was_placed(&d->vm))
		return remove_vm(d, after_msec, e);
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *store = cache_get(d->s->stores, d->vm.store);
	/* Disks in a local store would have a disk_host. */
	if (store && store->obj && image_store_is_local(store->obj))
		return remove_vm(d, after_msec, e);
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *host = find_host(d->s, d->vm.store);
	if (host)
		return hand_over(d, host->name, after_msec, e);
	struct err why = { 0 };
	err_set(&why, ERR_UNAVAILABLE,
		"no host that is alive reaches store \"%s\" to remove the VM's disks",
		d->vm.store);
	return postpone(d, &why, after_msec, e);
}

enum wq_result delrec_look(
	struct sched *s, const char *vm_uuid, int64_t *after_msec, struct err *e)
{
	CLEANUP(deletion_done) struct deletion d = { .s = s, .uuid = vm_uuid };

	d.fence = atomic_load(&s->fence);
	if (!d.fence)
		return WQ_DONE;
	if (read_vm(&d, e) < 0)
		return WQ_RETRY;
	if (!d.request_pair.key)
		return WQ_DONE;
	bool is_delete = d.request.type == REQ_DELETE_VM;
	if (!d.vm_pair.key)
		return is_delete ? drop(&d, "request is dropped: the VM is gone",
					   after_msec, e)
				 : WQ_DONE;
	int64_t wait_sec = d.request.not_before - clock_unix_sec();
	if (wait_sec > 0) {
		*after_msec = wait_sec * 1000;
		return WQ_AGAIN;
	}
	if (d.vm.status == VM_REQUESTED_DELETE)
		return delete_vm(&d, after_msec, e);
	if (!is_delete)
		return WQ_DONE;
	return drop(&d, "request is dropped: nobody ordered the VM to be deleted",
		after_msec, e);
}
