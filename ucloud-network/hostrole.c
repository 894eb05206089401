/*
 * The role "host": the networks of the VMs that are placed here, and what these may send.
 *
 * A placement says which VMs; their entries are read when a placement or a request for this
 * host comes or goes, since nothing of a VM that matters here changes without one, and at each
 * resync. What was read is kept: without etcd everything stays as it is.
 */
#include <jansson.h>
#include <pthread.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "ucloud-network/role.h"

#define N_READERS 2

struct placed {
	char *uuid;
	struct vm vm; /* uuid NULL: its entry is invalid, and never was anything else */
	UT_hash_handle hh;
};

struct hostrole {
	struct netenv *env;
	struct cache *placements, *requests;
	struct ctl *ctl;
	pthread_mutex_t lock; /* guards: */
	struct placed *placed;
};

static const struct cache_class text_class = { NULL, NULL, false };

/* ---------------------------------------------------------------- VMs that are here */

static struct placed *find(struct hostrole *h, const char *uuid)
{
	struct placed *p;

	HASH_FIND_STR(h->placed, uuid, p);
	return p;
}

static void drop(struct hostrole *h, struct placed *p)
{
	HASH_DEL(h->placed, p);
	vm_done(&p->vm);
	free(p->uuid);
	free(p);
}

/* Takes what is in vm, unless it is NULL: the entry is invalid. */
static void keep(struct hostrole *h, const char *uuid, struct vm *vm)
{
	struct placed *p;

	pthread_mutex_lock(&h->lock);
	p = find(h, uuid);
	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->uuid = xstrdup(uuid);
		HASH_ADD_KEYPTR(hh, h->placed, p->uuid, strlen(p->uuid), p);
	}
	if (vm) {
		vm_done(&p->vm);
		p->vm = *vm;
		*vm = (struct vm){ 0 };
	}
	pthread_mutex_unlock(&h->lock);
}

static void forget(struct hostrole *h, const char *uuid)
{
	struct placed *p;

	pthread_mutex_lock(&h->lock);
	p = find(h, uuid);
	if (p)
		drop(h, p);
	pthread_mutex_unlock(&h->lock);
}

static bool is_placed(struct hostrole *h, const char *uuid)
{
	const struct cache_item *it = cache_get(h->placements, uuid);

	cache_item_put(it);
	return it != NULL;
}

static enum wq_result on_vm(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e)
{
	struct hostrole *h = aux;
	CLEANUP_STR char *key = key_vm(&h->env->keys, uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err why = { 0 };

	(void)after_msec;
	if (!is_placed(h, uuid)) {
		forget(h, uuid);
		netenv_look(h->env);
		return WQ_DONE;
	}
	if (kv_get(h->env->kv, key, &pair, NULL, e) < 0)
		return WQ_RETRY;
	if (!pair.key) {
		/* It went with its placement, of which we shall hear. */
		keep(h, uuid, NULL);
	} else if (vm_parse(pair.value, pair.value_size, &vm, &why) < 0) {
		log_warn("the entry of a VM that is placed here cannot be read: %s vm=%s",
			why.msg, uuid);
		keep(h, uuid, NULL);
	} else {
		keep(h, uuid, &vm);
	}
	netenv_look(h->env);
	return WQ_DONE;
}

/* ---------------------------------------------------------------- what is wanted */

struct finder {
	struct cache *networks;
	/* Keeps what was found alive. */
	const struct cache_item **held;
	size_t n;
};

static const struct network *find_network(void *aux, const char *uuid)
{
	struct finder *f = aux;
	const struct cache_item *it = uuid ? cache_get(f->networks, uuid) : NULL;

	if (!it)
		return NULL;
	f->held = xreallocarray(f->held, f->n + 1, sizeof(const struct cache_item *));
	f->held[f->n++] = it;
	return it->obj;
}

/* "<network uuid>/<mac>": the interfaces in networks that are here. */
static void add_taken(struct hostrole *h, const struct finder *f, struct wanted *w)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(h->env->ports, &items);
	for (size_t i = 0; i < items.len; i++) {
		const char *name = items.v[i]->name, *slash = strchr(name, '/');
		json_t *port = items.v[i]->obj;
		size_t k = 0;

		while (k < f->n &&
			(!slash || strlen(f->held[k]->name) != (size_t)(slash - name) ||
				memcmp(f->held[k]->name, name, (size_t)(slash - name)) !=
					0))
			k++;
		if (k < f->n)
			wanted_add_taken(w, slash + 1,
				json_string_value(json_object_get(port, "address")));
	}
}

static bool add_vms(struct hostrole *h, struct finder *f, struct wanted *w)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	bool is_all = true;

	cache_items_get(h->placements, &items);
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < items.len; i++) {
		struct placed *p = find(h, items.v[i]->name);

		if (!p)
			is_all = false;
		else if (p->vm.uuid)
			wanted_add_vm(w, &p->vm, h->env->underlay.mtu, find_network, f);
	}
	pthread_mutex_unlock(&h->lock);
	return is_all;
}

static bool want(void *role, struct wanted *w)
{
	struct hostrole *h = role;
	struct finder f = { .networks = h->env->networks };
	bool is_all;

	if (!cache_is_synced(h->placements))
		return false;
	is_all = add_vms(h, &f, w);
	add_taken(h, &f, w);
	for (size_t i = 0; i < f.n; i++) {
		if (f.held[i]->obj)
			wanted_add_router(w, f.held[i]->obj);
		cache_item_put(f.held[i]);
	}
	free(f.held);
	return is_all;
}

/* ---------------------------------------------------------------- the role */

static void on_change(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct hostrole *h = aux;

	ctl_add(h->ctl, after ? after->name : before->name);
}

static void add_all(void *aux, struct ctl *c)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct hostrole *h = aux;

	cache_items_get(h->placements, &items);
	for (size_t i = 0; i < items.len; i++)
		ctl_add(c, items.v[i]->name);
	netenv_look(h->env);
}

static void *open_role(struct netenv *env)
{
	struct hostrole *h = xcalloc(1, sizeof(*h));
	CLEANUP_STR char *placements = key_placements(env->host);
	CLEANUP_STR char *requests = key_requests_host(&env->keys, env->host);
	const struct ctl_conf ctl = { .name = "vm",
		.n_workers = N_READERS,
		.resync_sec = env->resync_sec,
		.reconcile = on_vm,
		.add_all = add_all,
		.aux = h };

	h->env = env;
	pthread_mutex_init(&h->lock, NULL);
	h->ctl = ctl_new(&ctl);
	h->placements = cache_new(env->kv, placements, &text_class, on_change, h);
	h->requests = cache_new(env->kv, requests, &text_class, on_change, h);
	ctl_use_cache(h->ctl, h->placements);
	ctl_use_cache(h->ctl, h->requests);
	return h;
}

static void start(void *role)
{
	ctl_start(((struct hostrole *)role)->ctl);
}

static int health(void *role, struct err *e)
{
	if (cache_is_synced(((struct hostrole *)role)->placements))
		return 0;
	return err_set(e, ERR_UNAVAILABLE,
		"the placements have not been read yet: does etcd answer?");
}

static bool stop(void *role)
{
	struct hostrole *h = role;
	bool is_ended = ctl_stop(h->ctl);

	cache_stop(h->placements);
	cache_stop(h->requests);
	return is_ended;
}

static void close_role(void *role)
{
	struct hostrole *h = role;
	struct placed *p, *next;

	ctl_free(h->ctl);
	cache_free(h->placements);
	cache_free(h->requests);
	HASH_ITER (hh, h->placed, p, next)
		drop(h, p);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

const struct role_ops host_role = { .name = "host",
	.open = open_role,
	.start = start,
	.want = want,
	.health = health,
	.stop = stop,
	.close = close_role };
