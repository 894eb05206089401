#include "ucloud-network/netrec.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/names.h"
#include "ucloud-network/nettxn.h"

/* After a conflict, or an answer that was lost. */
#define AGAIN_MSEC 50
/* A network without room is looked at again, should nobody have said that there is some. */
#define NO_ROOM_MSEC 60000
/* What we have just given away, until the caches show it; what they never showed is gone
 * again by then. */
#define GIVEN_LEN  256
#define GIVEN_MSEC 30000

struct netrec {
	struct netrec_env *env;
	struct given {
		struct alloc what;
		int64_t since_msec; /* 0: none */
	} given[GIVEN_LEN];
	size_t next_given;
};

static struct metric m_ended = { METRIC_COUNTER, "ucloud_network_orders_total",
	"How orders for networks ended.", .label = "how" };

struct netrec *netrec_new(struct netrec_env *env)
{
	struct netrec *r = xcalloc(1, sizeof(*r));

	metric_register(&m_ended);
	r->env = env;
	return r;
}

void netrec_free(struct netrec *r)
{
	free(r);
}

/* ---------------------------------------------------------------- what is given away */

static void add_all(struct cache *c, struct alloc_state *s,
	void (*fn)(struct alloc_state *s, const char *name, int64_t free_at))
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(c, &items);
	for (size_t i = 0; i < items.len; i++) {
		/* One that cannot be read is there all the same. */
		const struct allocation *a = items.v[i]->obj;

		fn(s, items.v[i]->name, a ? a->free_at : 0);
	}
}

static void add_given(
	struct netrec *r, struct given *g, int64_t now_msec, struct alloc_state *s)
{
	CLEANUP(cache_item_put_ptr) const struct cache_item *shown = NULL;
	CLEANUP_STR char *vni = NULL;
	CLEANUP_STR char *prefix = NULL;

	if (g->since_msec == 0)
		return;
	vni = xasprintf("%jd", (intmax_t)g->what.vni);
	shown = cache_get(r->env->vnis, vni);
	if (shown || now_msec - g->since_msec >= GIVEN_MSEC) {
		g->since_msec = 0;
		return;
	}
	alloc_add_vni(s, vni, 0);
	if (g->what.prefix == 0)
		return;
	prefix = alloc_prefix_format(g->what.prefix);
	alloc_add_prefix(s, prefix, 0);
}

static void get_state(struct netrec *r, struct alloc_state *s)
{
	int64_t now_msec = clock_mono_msec();

	/* First: what the caches begin to show meanwhile is in both, not in none. */
	for (size_t i = 0; i < GIVEN_LEN; i++)
		add_given(r, &r->given[i], now_msec, s);
	add_all(r->env->vnis, s, alloc_add_vni);
	add_all(r->env->prefixes, s, alloc_add_prefix);
}

static void note_given(struct netrec *r, const struct alloc *what)
{
	r->given[r->next_given++ % GIVEN_LEN] =
		(struct given){ *what, clock_mono_msec() };
}

/* ---------------------------------------------------------------- a look */

struct look {
	struct netrec *rec;
	struct netrec_env *env;
	struct netread r;
	int64_t now;
};

static void look_done(struct look *k)
{
	netread_done(&k->r);
}

/* WQ_DONE: it was written. Takes t. */
static enum wq_result commit(
	struct look *k, struct kv_txn *t, int64_t *after_msec, struct err *e)
{
	int rc = kv_txn_commit(k->env->kv, t, NULL, e);

	kv_txn_free(t);
	if (rc < 0)
		return WQ_RETRY;
	*after_msec = AGAIN_MSEC;
	return rc == 0 ? WQ_DONE : WQ_AGAIN;
}

static enum wq_result end(struct look *k, struct kv_txn *t, const char *how,
	int64_t *after_msec, struct err *e)
{
	enum wq_result result = commit(k, t, after_msec, e);
	const struct network *n = k->r.net;

	if (result != WQ_DONE)
		return result;
	metric_add(&m_ended, how, 1);
	log_info("network %s network=%s vni=%jd prefix=%s", how, k->r.s.uuid,
		(intmax_t)(n ? n->vni : 0), n && n->prefix ? n->prefix : "");
	return WQ_DONE;
}

static enum wq_result failed(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	int64_t not_before = 0;
	enum wq_result result = commit(
		k, subject_failed_txn(&k->r.s, k->now, why, &not_before), after_msec, e);

	if (result != WQ_DONE)
		return result;
	log_warn("%s network=%s attempts=%jd", why->msg, k->r.s.uuid,
		(intmax_t)k->r.s.req.attempts);
	*after_msec = (not_before - k->now) * 1000;
	return WQ_AGAIN;
}

/* ---------------------------------------------------------------- making */

/* Written once, and again when there is something else to say. */
static enum wq_result no_room(
	struct look *k, const char *why, int64_t *after_msec, struct err *e)
{
	enum wq_result result = WQ_DONE;

	if (k->r.net->status != NET_ERROR || !str_eq(k->r.net->reason, why)) {
		result = end(
			k, nettxn_no_room(&k->r, k->now, why), "no_room", after_msec, e);
		if (result == WQ_DONE)
			log_warn("%s network=%s", why, k->r.s.uuid);
	}
	if (result != WQ_DONE)
		return result;
	*after_msec = NO_ROOM_MSEC;
	return WQ_AGAIN;
}

static enum wq_result make(struct look *k, int64_t *after_msec, struct err *e)
{
	CLEANUP(alloc_state_done) struct alloc_state s = { 0 };
	const struct netrec_conf *c = k->env->conf;
	const struct alloc_conf conf = { c->vni_min, c->vni_max, &c->pools };
	enum wq_result result;
	struct err why = { 0 };
	struct alloc got;

	get_state(k->rec, &s);
	if (alloc_pick(&conf, &s, k->r.net->ipam != IPAM_NONE, &got, &why) < 0)
		return no_room(k, why.msg, after_msec, e);
	result = end(k, nettxn_made(&k->r, &got, k->env->mtu(k->env->aux)), "made",
		after_msec, e);
	if (result == WQ_DONE)
		note_given(k->rec, &got);
	return result;
}

/* ---------------------------------------------------------------- deleting */

/* Nobody may have an interface in it: the API has looked (or died before), and nobody can order
 * one since. */
static int check_unused(struct look *k, struct err *e)
{
	CLEANUP_STR char *prefix = key_ports(k->r.s.uuid);
	int64_t n = 0;

	if (kv_count(k->env->kv, prefix, &n, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	return err_set(e, ERR_CONFLICT,
		"the network is not deleted: %jd interfaces of VMs are in it",
		(intmax_t)n);
}

static enum wq_result used(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	bool is_open_again = why->kind == ERR_CONFLICT && k->r.s.req.is_unchecked;

	if (!is_open_again)
		return failed(k, why, after_msec, e);
	return end(k, nettxn_in_use(&k->r, why->msg), "kept", after_msec, e);
}

static enum wq_result delete (struct look *k, int64_t *after_msec, struct err *e) {
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list rest = { 0 };
	int64_t quarantine = k->env->conf->quarantine_sec;
	bool is_use_odd = false;
	struct err why = { 0 };
	struct kv_txn * t;

	if (check_unused(k, &why) < 0) return used(k, &why, after_msec, e);
	nettxn_deleted_keys(&k->r, &keys);
	if (kv_get_many(k->env->kv, (const char *const *)keys.v, keys.len, &rest, e) <
		0) return WQ_RETRY;
	t = nettxn_deleted(&k->r, &rest, quarantine > 0 ? k->now + quarantine : 0,
		&is_use_odd, &why);
	if (!t) return failed(k, &why, after_msec, e);
	if (is_use_odd)
		log_warn("the owner's use was less than this network network=%s user=%s",
			k->r.s.uuid, k->r.net->owner);
	return end(k, t, "deleted", after_msec, e);
}

/* ---------------------------------------------------------------- reconcile */

static enum wq_result act(struct look *k, int64_t *after_msec, struct err *e)
{
	switch (netread_decide(&k->r, k->now)) {
	case NETACT_WAIT:
		*after_msec = (k->r.s.req.not_before - k->now) * 1000;
		return WQ_AGAIN;
	case NETACT_DROP:
		return end(k, subject_end_txn(&k->r.s), "dropped", after_msec, e);
	case NETACT_MAKE:
		return make(k, after_msec, e);
	case NETACT_DELETE:
		return delete (k, after_msec, e);
	default:
		if (k->r.s.is_unreadable)
			log_warn("the entry or the request of a network cannot be read "
				 "network=%s",
				k->r.s.uuid);
		return WQ_DONE;
	}
}

enum wq_result netrec_reconcile(
	struct netrec *r, const char *uuid, int64_t *after_msec, struct err *e)
{
	CLEANUP(look_done) struct look k = { .rec = r, .env = r->env };
	int64_t fence = atomic_load(&r->env->fence);

	if (!fence)
		return WQ_DONE; /* who leads looks at everything when it begins */
	if (uuid_check(uuid, e) < 0) {
		log_warn("a request for what is no network's uuid is left alone: %s",
			e->msg);
		return WQ_DONE;
	}
	k.now = clock_unix_sec();
	netread_init(&k.r, r->env->keys, r->env->lock_key, fence, uuid);
	if (netread_read(&k.r, r->env->kv, e) < 0)
		return WQ_RETRY;
	return act(&k, after_msec, e);
}
