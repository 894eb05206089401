#include "ucloud-scheduler/hostrec.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "common/model/host.h"
#include "common/model/names.h"
#include "common/model/vm.h"
#include "common/base/hash.h"
#include "ucloud-scheduler/diskrec.h"
#include "ucloud-scheduler/pages.h"

/* VMs that are read, and written, at once. */
#define BATCH	   60
#define AGAIN_MSEC 200
#define DEAD_MSEC  30000

struct absent {
	UT_hash_handle hh;
	int64_t since_msec; /* monotonic */
	char name[];
};

struct hostrec {
	struct sched *s;
	pthread_mutex_t lock;
	struct absent
		*absents; /* uthash: hosts without a heartbeat that are not DEAD yet */
};

struct hostrec *hostrec_new(struct sched *s)
{
	struct hostrec *h = xcalloc(1, sizeof(*h));

	h->s = s;
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

void hostrec_reset(struct hostrec *h)
{
	struct absent *a, *tmp;

	pthread_mutex_lock(&h->lock);
	HASH_ITER (hh, h->absents, a, tmp) {
		HASH_DEL(h->absents, a);
		free(a);
	}
	pthread_mutex_unlock(&h->lock);
}

void hostrec_free(struct hostrec *h)
{
	if (!h)
		return;
	hostrec_reset(h);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void hostrec_heard(struct hostrec *h, const char *name)
{
	struct absent *a = NULL;

	pthread_mutex_lock(&h->lock);
	HASH_FIND_STR(h->absents, name, a);
	if (a)
		HASH_DEL(h->absents, a);
	pthread_mutex_unlock(&h->lock);
	free(a);
}

/* How long it has been absent; the first time: 0. */
static int64_t absent_msec(struct hostrec *h, const char *name)
{
	int64_t now = clock_mono_msec();
	struct absent *a = NULL;

	pthread_mutex_lock(&h->lock);
	HASH_FIND_STR(h->absents, name, a);
	if (!a) {
		size_t size = strlen(name) + 1;
		a = xcalloc(1, sizeof(*a) + size);
		memcpy(a->name, name, size);
		a->since_msec = now;
		HASH_ADD_STR(h->absents, name, a);
	}
	int64_t since = a->since_msec;
	pthread_mutex_unlock(&h->lock);
	return now - since;
}

/* ---------------------------------------------------------------- the host's entry */

static void log_status(const struct hostrec *h, const char *name, enum host_status to)
{
	if (to == HOST_DEAD)
		log_warn("host is dead: no heartbeat for %lld s host=%s",
			(long long)h->s->conf->grace_sec, name);
	else
		log_info("host is alive host=%s", name);
}

/* 0: it has that status now; 1: look again. The heartbeat's presence is compared, too: what
 * we know of it may be old. */
static int set_status(
	struct hostrec *h, const char *name, enum host_status to, struct err *e)
{
	struct sched *s = h->s;
	CLEANUP_STR char *key = key_host(&s->conf->keys, name);
	CLEANUP_STR char *alive = key_alive(name);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(host_done) struct host host = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	int64_t fence = atomic_load(&s->fence);

	if (kv_get(s->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key || !fence)
		return 1;
	if (host_parse(pair.value, pair.value_size, &host, e) < 0)
		return -1;
	if (host.status == (int)to)
		return 0;
	host.status = (int)to;
	host.status_since = clock_unix_sec();
	CLEANUP_STR char *text = host_format(&host);
	kv_txn_if_lock(t, s->lock_key, fence);
	kv_txn_if_rev(t, key, pair.mod_rev);
	if (to == HOST_ALIVE)
		kv_txn_if_present(t, alive);
	else
		kv_txn_if_rev(t, alive, 0);
	kv_txn_put(t, key, text);
	int rc = kv_txn_commit(s->kv, t, NULL, e);
	if (rc == 0)
		log_status(h, name, to);
	return rc > 0 ? 1 : rc;
}

/* ---------------------------------------------------------------- the VMs of a dead host */

struct killing {
	struct hostrec *h;
	const struct host *host;
	char *host_key, *alive_key;
	int64_t host_rev, fence;
	bool is_again; /* some could not be written: look again */
};

static bool has_line(const struct vm *vm, const char *text)
{
	const struct vm_log_line *line = vm->log.v;

	for (size_t i = 0; i < vm->log.len; i++)
		if (str_eq(line[i].text, text))
			return true;
	return false;
}

/* The VM's new text; NULL when it is none that ran there, or knows already. */
static char *killed_text(const struct killing *k, const struct kv_pair *pair)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *text = NULL;
	char since[TIME_STR_SIZE];
	bool is_killed;
	struct err e;

	if (!pair->key || vm_parse(pair->value, pair->value_size, &vm, &e) < 0)
		return NULL;
	if (!str_eq(vm.hostname, k->host->hostname))
		return NULL;
	is_killed = vm.status == VM_RUNNING || vm.status == VM_SCHEDULED;
	if (!is_killed && vm.status != VM_REQUESTED_SHUTDOWN &&
		vm.status != VM_REQUESTED_DELETE)
		return NULL;
	time_format(k->host->status_since - k->h->s->conf->grace_sec, since);
	text = xasprintf("host %s has not been heard of since %s; %s", k->host->hostname,
		since,
		is_killed ? "the VM comes back when it does"
			  : "the order is carried out when it is back");
	if (is_killed)
		vm_move(&vm, VM_KILLED);
	else if (has_line(&vm, text))
		return NULL;
	vm_log(&vm, clock_unix_sec(), "%s", text);
	return vm_format(&vm);
}

/* All of them in one transaction; when that conflicts or is too large, each alone. */
static int kill_batch(struct killing *k, const struct kv_pair *v, size_t n, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct sched *s = k->h->s;

	kv_txn_if_lock(t, s->lock_key, k->fence);
	kv_txn_if_rev(t, k->host_key, k->host_rev); /* still DEAD */
	kv_txn_if_rev(t, k->alive_key, 0);
	for (size_t i = 0; i < n; i++) {
		CLEANUP_STR char *text = killed_text(k, &v[i]);
		if (!text)
			continue;
		kv_txn_if_rev(t, v[i].key, v[i].mod_rev);
		kv_txn_put(t, v[i].key, text);
	}
	if (kv_txn_n_ops(t) == 0)
		return 0;
	int rc = kv_txn_commit(s->kv, t, NULL, e);
	if (rc == 0)
		log_info("VMs of a dead host are told so host=%s n=%zu",
			k->host->hostname, kv_txn_n_ops(t));
	if (rc == 0 || (rc < 0 && (e->kind != ERR_TOO_LARGE || n == 1)))
		return rc;
	if (rc == KV_UNKNOWN || n == 1 || atomic_load(&s->fence) != k->fence) {
		k->is_again = true;
		return 0;
	}
	rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = kill_batch(k, &v[i], 1, e);
	return rc;
}

static int kill_some(struct killing *k, char *const *uuids, size_t n, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list vms = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };
	const struct keys *conf = &k->h->s->conf->keys;

	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_vm(conf, uuids[i]));
	if (kv_get_many(k->h->s->kv, (const char *const *)keys.v, n, &vms, e) < 0)
		return -1;
	return kill_batch(k, vms.v, n, e);
}

static void add_uuid(void *aux, const struct kv_pair *placement)
{
	struct strv *uuids = aux;
	const char *slash = strrchr(placement->key, '/');

	if (slash && uuid_check(slash + 1, NULL) == 0)
		strv_add(uuids, slash + 1);
}

/* Which VMs are there is asked of the store, not of a cache: a placement that was on its way
 * when the host died is in the list. */
static int kill_vms(
	struct hostrec *h, const struct cache_item *it, bool *is_again, struct err *e)
{
	const struct host *host = it->obj;
	CLEANUP_STR char *prefix = key_placements(host->hostname);
	CLEANUP_STR char *alive_key = key_alive(host->hostname);
	CLEANUP(strv_done) struct strv uuids = { 0 };
	struct killing k = { .h = h,
		.host = host,
		.host_key = it->key,
		.host_rev = it->mod_rev,
		.alive_key = alive_key,
		.fence = atomic_load(&h->s->fence) };

	if (!k.fence)
		return 0; /* comparing with 0 would mean: nobody leads */
	if (pages_read(h->s->kv, prefix, add_uuid, &uuids, e) < 0)
		return -1;
	for (size_t i = 0; i < uuids.len; i += BATCH) {
		size_t n = uuids.len - i < BATCH ? uuids.len - i : BATCH;
		if (kill_some(&k, &uuids.v[i], n, e) < 0)
			return -1;
	}
	*is_again = k.is_again;
	return 0;
}

/* ---------------------------------------------------------------- a look */

static enum wq_result look_dead(struct hostrec *h, const struct cache_item *it,
	int64_t *after_msec, struct err *e)
{
	bool is_again = false;

	hostrec_heard(h, it->name);
	if (kill_vms(h, it, &is_again, e) < 0 ||
		diskrec_take_back(h->s, it->obj, it->mod_rev, &is_again, e) < 0)
		return WQ_RETRY;
	/* What is asked of it from now on is found later. */
	*after_msec = is_again ? AGAIN_MSEC : DEAD_MSEC;
	return WQ_AGAIN;
}

static enum wq_result change(struct hostrec *h, const char *name, enum host_status to,
	int64_t *after_msec, struct err *e)
{
	int rc = set_status(h, name, to, e);

	if (rc < 0)
		return WQ_RETRY;
	/* Done: the host's entry changes, which brings us here again. */
	*after_msec = AGAIN_MSEC;
	return rc > 0 ? WQ_AGAIN : WQ_DONE;
}

enum wq_result hostrec_look(
	struct hostrec *h, const char *name, int64_t *after_msec, struct err *e)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *it = cache_get(h->s->hosts, name);
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *alive = cache_get(h->s->alives, name);
	const struct host *host = it ? it->obj : NULL;

	if (!host || alive)
		hostrec_heard(h, name);
	if (!host)
		return WQ_DONE;
	if (alive)
		return host->status == HOST_ALIVE
			       ? WQ_DONE
			       : change(h, name, HOST_ALIVE, after_msec, e);
	if (host->status == HOST_DEAD)
		return look_dead(h, it, after_msec, e);
	if (host->status != HOST_ALIVE)
		return WQ_DONE;
	int64_t left = h->s->conf->grace_sec * 1000 - absent_msec(h, name);
	if (left <= 0)
		return change(h, name, HOST_DEAD, after_msec, e);
	*after_msec = left;
	return WQ_AGAIN;
}
