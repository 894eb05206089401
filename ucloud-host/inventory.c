#include "ucloud-host/inventory.h"

#include <string.h>

#include "common/base/daemon.h"
#include "common/base/log.h"

/* Free space is news when it moved by this part of the whole, but not below 1 GiB. */
#define SPACE_NEWS_PARTS 100

struct inventory {
	const struct host_env *env;
	int is_unregistered; /* atomic */
	struct log_repeat repeat;
};

struct inventory *inventory_new(const struct host_env *env)
{
	struct inventory *inv = xcalloc(1, sizeof(*inv));

	inv->env = env;
	return inv;
}

void inventory_free(struct inventory *inv)
{
	free(inv);
}

bool inventory_is_registered(struct inventory *inv)
{
	return !__atomic_load_n(&inv->is_unregistered, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------ news */

static bool is_space_news(const struct host_store *a, const struct host_store *b)
{
	int64_t step = b->total_gib / SPACE_NEWS_PARTS;
	int64_t moved = a->free_gib > b->free_gib ? a->free_gib - b->free_gib
						  : b->free_gib - a->free_gib;

	if (a->total_gib != b->total_gib || (a->free_gib < 0) != (b->free_gib < 0))
		return true;
	return moved > (step < 1 ? 0 : step);
}

bool inventory_is_news(const struct host *published, const struct host *now)
{
	if (published->cpus != now->cpus || published->ram_mib != now->ram_mib ||
		!str_eq(published->accel, now->accel) ||
		!str_eq(published->version, now->version) ||
		published->stores.len != now->stores.len)
		return true;
	for (size_t i = 0; i < now->stores.len; i++) {
		const struct host_store *s =
			jtab_list_at(&host_store_jtab, &now->stores, i);
		const struct host_store *old = host_find_store(published, s->name);

		if (old == NULL || is_space_news(old, s))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ looking */

/* Adds the store when this host reaches it. */
static void add_store(struct inventory *inv, const struct kv_pair *entry, struct host *h)
{
	const struct host_env *env = inv->env;
	const char *name = entry->key + strlen(KEY_IMAGE_STORE);
	bool is_wanted = strv_has(&env->stores_wanted, name);
	CLEANUP(store_put) struct store_ref *ref = NULL;
	int64_t total = -1, free_gib = -1;
	struct host_store *s;
	struct err e = { 0 };

	if (env->stores_wanted.len > 0 && !is_wanted)
		return;
	if (stores_open(env->stores, entry, &ref, &e) < 0 ||
		disk_space(ref->disks, &total, &free_gib, &e) < 0) {
		if (is_wanted)
			log_repeat(&inv->repeat, LOG_WARN, "%s", e.msg);
		return;
	}
	s = jtab_list_add(&host_store_jtab, &h->stores);
	s->name = xstrdup(name);
	s->total_gib = total;
	s->free_gib = free_gib;
}

static int look(struct inventory *inv, struct host *h, struct err *e)
{
	const struct host_env *env = inv->env;
	CLEANUP(kv_list_done) struct kv_list stores = { 0 };
	struct virt_node node;

	if (virt_node(env->virt, &node, e) < 0)
		return -1;
	if (kv_range(env->kv, KEY_IMAGE_STORE, 0, &stores, e) < 0)
		return -1;
	h->cpus = node.cpus;
	h->ram_mib = node.ram_mib;
	str_set(&h->accel, xstrdup(env->accel));
	str_set(&h->version, xstrdup(ucloud_version()));
	for (size_t i = 0; i < stores.len; i++)
		add_store(inv, &stores.v[i], h);
	return 0;
}

/* ------------------------------------------------------------------ publishing */

static void set_registered(struct inventory *inv, bool is_registered)
{
	bool was = inventory_is_registered(inv);

	__atomic_store_n(&inv->is_unregistered, !is_registered, __ATOMIC_RELAXED);
	if (was && !is_registered)
		log_warn("this host is not registered yet: an administrator has to run "
			 "'ucloud-cli host create --name %s'; waiting for that",
			inv->env->host);
	else if (!was && is_registered)
		log_info("this host is registered host=%s", inv->env->host);
}

/* What another version has written about a store goes on with it. */
static void keep_rests(const struct host *h, struct host *now)
{
	for (size_t i = 0; i < now->stores.len; i++) {
		struct host_store *s = jtab_list_at(&host_store_jtab, &now->stores, i);
		const struct host_store *old = host_find_store(h, s->name);

		s->rest = old ? json_deep_copy(old->rest) : NULL;
	}
}

/* Moves what `now` found into h, and h's old stores into `now`, for its owner to free. */
static void merge(struct host *h, struct host *now)
{
	struct jtab_list stores = h->stores;

	keep_rests(h, now);
	h->stores = now->stores;
	now->stores = stores;
	h->cpus = now->cpus;
	h->ram_mib = now->ram_mib;
	str_set(&h->accel, xstrdup(now->accel));
	str_set(&h->version, xstrdup(now->version));
}

static enum wq_result publish(struct inventory *inv, const struct kv_pair *pair,
	struct host *h, struct host *now, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *text = NULL;
	int rc;

	merge(h, now);
	text = host_format(h);
	kv_txn_if_rev(t, pair->key, pair->mod_rev);
	kv_txn_put(t, pair->key, text);
	rc = kv_txn_commit(inv->env->kv, t, NULL, e);
	if (rc < 0)
		return WQ_RETRY;
	if (rc == 0)
		log_info("inventory published host=%s cpus=%lld ram_mib=%lld stores=%zu "
			 "accel=%s",
			inv->env->host, (long long)h->cpus, (long long)h->ram_mib,
			h->stores.len, h->accel);
	return rc == 0 ? WQ_DONE : WQ_AGAIN;
}

enum wq_result inventory_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct inventory *inv = aux;
	CLEANUP_STR char *host_key = key_host(&inv->env->keys, inv->env->host);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(host_done) struct host h = { 0 };
	CLEANUP(host_done) struct host now = { 0 };

	(void)key;
	*after_msec = 0;
	if (kv_get(inv->env->kv, host_key, &pair, NULL, e) < 0)
		return WQ_RETRY;
	set_registered(inv, pair.key != NULL);
	if (pair.key == NULL)
		return WQ_DONE;
	if (host_parse(pair.value, pair.value_size, &h, e) < 0) {
		err_wrap(e, "the entry of this host");
		return WQ_RETRY;
	}
	if (look(inv, &now, e) < 0)
		return WQ_RETRY;
	return inventory_is_news(&h, &now) ? publish(inv, &pair, &h, &now, e) : WQ_DONE;
}
