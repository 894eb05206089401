#include "ucloud-network/netsweep.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/network.h"

/* After a conflict; and until the caches show what was done. */
#define AGAIN_MSEC 50
/* Removed in one transaction. */
#define SWEEP_LEN 60
/* Networks that are looked for in one read. */
#define BATCH_LEN 100

static struct metric m_resting = { METRIC_GAUGE, "ucloud_network_resting",
	"VXLAN ids and prefixes that are not used again yet." };
static struct metric m_given = { METRIC_GAUGE, "ucloud_network_allocated",
	"VXLAN ids and prefixes that there are keys of.", .label = "kind" };

/* ---------------------------------------------------------------- how many */

static size_t tell_kind(struct cache *c, const char *kind)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	size_t n_resting = 0;

	if (c)
		cache_items_get(c, &items);
	for (size_t i = 0; i < items.len; i++) {
		const struct allocation *a = items.v[i]->obj;

		n_resting += a && a->free_at != 0;
	}
	metric_set(&m_given, kind, (double)items.len);
	return n_resting;
}

void netsweep_tell(struct netrec_env *env)
{
	bool is_leader = atomic_load(&env->fence) != 0;
	size_t n;

	metric_register(&m_resting);
	metric_register(&m_given);
	n = tell_kind(is_leader ? env->vnis : NULL, "vni");
	n += tell_kind(is_leader ? env->prefixes : NULL, "prefix");
	metric_set(&m_resting, NULL, (double)n);
}

/* ---------------------------------------------------------------- what rests */

struct sweep {
	int64_t now;
	int64_t next; /* when the next one is over; 0: none */
	struct kv_txn *txn;
	size_t n;
};

static void sweep_cache(struct sweep *s, struct cache *c, const char *prefix)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(c, &items);
	for (size_t i = 0; i < items.len && s->n < SWEEP_LEN; i++) {
		const struct allocation *a = items.v[i]->obj;
		CLEANUP_STR char *key = NULL;

		if (!a || a->free_at == 0)
			continue;
		if (!alloc_is_over(a->free_at, s->now)) {
			if (s->next == 0 || a->free_at < s->next)
				s->next = a->free_at;
			continue;
		}
		key = xasprintf("%s%s", prefix, items.v[i]->name);
		kv_txn_if_rev(s->txn, key, items.v[i]->mod_rev);
		kv_txn_del(s->txn, key);
		s->n++;
	}
}

static enum wq_result sweep_next(const struct sweep *s, int64_t *after_msec)
{
	if (s->next == 0)
		return WQ_DONE;
	*after_msec = (s->next - s->now) * 1000;
	return WQ_AGAIN;
}

enum wq_result netsweep_rested(struct netrec_env *env, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	int64_t fence = atomic_load(&env->fence);
	struct sweep s = { .now = clock_unix_sec(), .txn = t };
	int rc;

	netsweep_tell(env);
	if (!fence)
		return WQ_DONE;
	kv_txn_if_lock(t, env->lock_key, fence);
	sweep_cache(&s, env->vnis, KEY_VNI);
	sweep_cache(&s, env->prefixes, KEY_PREFIX);
	if (s.n == 0)
		return sweep_next(&s, after_msec);
	rc = kv_txn_commit(env->kv, t, NULL, e);
	if (rc < 0)
		return WQ_RETRY;
	if (rc == 0)
		log_debug("%zu VXLAN ids and prefixes have rested enough", s.n);
	/* Once the caches show it there is room; and perhaps there is more. */
	*after_msec = AGAIN_MSEC;
	return WQ_AGAIN;
}

/* ---------------------------------------------------------------- whose network is gone */

static bool is_in_use(const struct cache_item *it)
{
	const struct allocation *a = it->obj;

	return a && a->free_at == 0 && !str_is_empty(a->network);
}

/* An id or prefix and its network come and go in one transaction: without the network it is
 * nobody's. Somebody removed the entry by hand. */
static int give_up(struct netrec_env *env, int64_t fence, const char *prefix,
	const struct cache_item *it, const char *network_key, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = xasprintf("%s%s", prefix, it->name);
	CLEANUP(allocation_done) struct allocation a = { 0 };
	CLEANUP_STR char *text = NULL;
	int rc;

	jtab_copy(&allocation_jtab, it->obj, &a);
	str_set(&a.network, xstrdup(""));
	a.free_at = clock_unix_sec() + env->conf->quarantine_sec;
	text = allocation_format(&a);
	kv_txn_if_lock(t, env->lock_key, fence);
	kv_txn_if_rev(t, network_key, 0);
	kv_txn_if_rev(t, key, it->mod_rev);
	kv_txn_put(t, key, text);
	rc = kv_txn_commit(env->kv, t, NULL, e);
	if (rc == 0)
		log_warn("the network that has %s is gone; it may be used again later",
			key);
	return rc < 0 ? -1 : 0;
}

/* A wrong network_prefix shows no network at all: then nothing is concluded. */
static bool has_any(const struct kv_list *got)
{
	for (size_t i = 0; i < got->len; i++)
		if (got->v[i].key)
			return true;
	return false;
}

static int look_at_batch(struct netrec_env *env, int64_t fence, const char *prefix,
	const struct cache_item *const *items, size_t n, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct allocation *a = items[i]->obj;

		strv_add_take(&keys, key_network(env->keys, a->network));
	}
	if (kv_get_many(env->kv, (const char *const *)keys.v, n, &got, e) < 0)
		return -1;
	for (size_t i = 0; has_any(&got) && i < n; i++)
		if (!got.v[i].key &&
			give_up(env, fence, prefix, items[i], keys.v[i], e) < 0)
			return -1;
	return 0;
}

static int look_at_cache(struct netrec_env *env, int64_t fence, struct cache *c,
	const char *prefix, struct err *e)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	size_t n = 0;

	cache_items_get(c, &items);
	/* Those in use first; all stay counted. */
	for (size_t i = 0; i < items.len; i++)
		if (is_in_use(items.v[i])) {
			const struct cache_item *it = items.v[i];

			items.v[i] = items.v[n];
			items.v[n++] = it;
		}
	for (size_t i = 0; i < n; i += BATCH_LEN)
		if (look_at_batch(env, fence, prefix, items.v + i,
			    n - i < BATCH_LEN ? n - i : BATCH_LEN, e) < 0)
			return -1;
	return 0;
}

enum wq_result netsweep_lost(struct netrec_env *env, struct err *e)
{
	int64_t fence = atomic_load(&env->fence);

	if (!fence)
		return WQ_DONE;
	if (look_at_cache(env, fence, env->vnis, KEY_VNI, e) < 0 ||
		look_at_cache(env, fence, env->prefixes, KEY_PREFIX, e) < 0)
		return WQ_RETRY;
	return WQ_DONE;
}
