#include "ucloud-network/netlead.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/store/ctl.h"
#include "common/store/session.h"
#include "ucloud-network/netsweep.h"

#define LOCK_SERVICE "network"
/* Keys that are no uuids: what rests, and what has lost its network, is looked at. */
#define SWEEP_KEY "resting"
#define LOST_KEY  "lost"

struct netlead {
	struct netlead_conf conf;
	struct netrec_env env;
	char *lock_key;
	struct session *session;
	struct cache *requests; /* struct request */
	struct netrec *rec;
	struct ctl *ctl;
	atomic_bool is_stopping;
};

static struct metric m_leader = { METRIC_GAUGE, "ucloud_network_is_leader",
	"1 while this ucloud-network hands out VXLAN ids and prefixes." };

static const struct cache_class request_class = { request_parse_item, request_free_item,
	false };
static const struct cache_class allocation_class = { allocation_parse_item,
	allocation_free_item, false };

bool netlead_is_leader(struct netlead *l)
{
	return atomic_load(&l->env.fence) != 0;
}

bool netlead_is_synced(struct netlead *l)
{
	return ctl_is_synced(l->ctl);
}

/* ---------------------------------------------------------------- what to look at */

static void on_request(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct netlead *l = aux;

	(void)before;
	if (after && netlead_is_leader(l))
		ctl_add(l->ctl, after->name);
}

static void add_requests(struct netlead *l)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(l->requests, &items);
	for (size_t i = 0; i < items.len; i++)
		ctl_add(l->ctl, items.v[i]->name);
}

/* One that goes leaves room; one that rests is over some day; all are counted. */
static void on_allocation(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct netlead *l = aux;

	(void)before;
	if (!netlead_is_leader(l))
		return;
	if (!after)
		add_requests(l);
	ctl_add(l->ctl, SWEEP_KEY);
}

static void add_all(void *aux, struct ctl *c)
{
	struct netlead *l = aux;

	(void)c;
	if (!netlead_is_leader(l))
		return;
	add_requests(l);
	ctl_add(l->ctl, SWEEP_KEY);
	ctl_add(l->ctl, LOST_KEY);
}

static enum wq_result reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct netlead *l = aux;

	if (str_eq(key, SWEEP_KEY))
		return netsweep_rested(&l->env, after_msec, e);
	if (str_eq(key, LOST_KEY))
		return netsweep_lost(&l->env, e);
	return netrec_reconcile(l->rec, key, after_msec, e);
}

/* ---------------------------------------------------------------- leading */

static void on_held(void *aux)
{
	struct netlead *l = aux;

	atomic_store(&l->env.fence, session_create_rev(l->session));
	metric_set(&m_leader, NULL, 1);
	log_info("this ucloud-network leads");
	add_all(l, l->ctl);
	ctl_poke(l->ctl);
}

static void on_lost(void *aux)
{
	struct netlead *l = aux;

	atomic_store(&l->env.fence, 0);
	metric_set(&m_leader, NULL, 0);
	netsweep_tell(&l->env);
	if (!atomic_load(&l->is_stopping))
		log_warn("this ucloud-network does not lead any more");
}

static bool may_run(void *aux)
{
	return netlead_is_leader(aux);
}

/* ---------------------------------------------------------------- putting it together */

static void new_session(struct netlead *l)
{
	struct session_conf session = {
		.kind = SESSION_LOCK,
		.ttl_sec = l->conf.lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = l,
	};

	l->lock_key = key_lock(LOCK_SERVICE);
	session.key = l->lock_key;
	l->session = session_new(l->env.kv, &session);
}

static void new_controller(struct netlead *l)
{
	CLEANUP_STR char *requests = key_requests_network(l->conf.keys);
	const struct ctl_conf ctl = {
		.name = "network",
		.n_workers = 1,
		.resync_sec = l->conf.resync_sec,
		.reconcile = reconcile,
		.add_all = add_all,
		.may_run = may_run,
		.aux = l,
	};

	l->ctl = ctl_new(&ctl);
	l->requests = cache_new(l->env.kv, requests, &request_class, on_request, l);
	l->env.vnis = cache_new(l->env.kv, KEY_VNI, &allocation_class, on_allocation, l);
	l->env.prefixes =
		cache_new(l->env.kv, KEY_PREFIX, &allocation_class, on_allocation, l);
	ctl_use_cache(l->ctl, l->requests);
	ctl_use_cache(l->ctl, l->env.vnis);
	ctl_use_cache(l->ctl, l->env.prefixes);
}

struct netlead *netlead_new(struct kv *kv, const struct netlead_conf *conf)
{
	struct netlead *l = xcalloc(1, sizeof(*l));

	metric_register(&m_leader);
	l->conf = *conf;
	l->env.kv = kv;
	l->env.keys = conf->keys;
	l->env.conf = &l->conf.rec;
	l->env.mtu = conf->mtu;
	l->env.aux = conf->aux;
	new_session(l);
	l->env.lock_key = l->lock_key;
	l->rec = netrec_new(&l->env);
	netsweep_tell(&l->env);
	new_controller(l);
	return l;
}

void netlead_start(struct netlead *l)
{
	session_start(l->session);
	ctl_start(l->ctl);
}

bool netlead_step(struct netlead *l)
{
	bool did = session_step(l->session);

	return ctl_step(l->ctl) || did;
}

int64_t netlead_next_msec(struct netlead *l)
{
	return ctl_next_msec(l->ctl);
}

bool netlead_stop(struct netlead *l)
{
	bool is_ended;

	atomic_store(&l->is_stopping, true);
	is_ended = ctl_stop(l->ctl);
	if (l->session)
		session_free(MOVE(l->session), true);
	atomic_store(&l->env.fence, 0);
	cache_stop(l->requests);
	cache_stop(l->env.vnis);
	cache_stop(l->env.prefixes);
	return is_ended;
}

void netlead_free(struct netlead *l)
{
	if (!l)
		return;
	ctl_free(l->ctl);
	cache_free(l->requests);
	cache_free(l->env.vnis);
	cache_free(l->env.prefixes);
	netrec_free(l->rec);
	free(l->lock_key);
	free(l);
}
