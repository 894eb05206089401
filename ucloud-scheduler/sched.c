#include "ucloud-scheduler/sched.h"

#include <string.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/host.h"
#include "common/model/image.h"
#include "common/model/request.h"
#include "ucloud-scheduler/brief.h"
#include "ucloud-scheduler/diskrec.h"
#include "ucloud-scheduler/hostrec.h"
#include "ucloud-scheduler/placerec.h"
#include "ucloud-scheduler/sched_impl.h"

/* One for the pass, the others for hosts and disks. */
#define N_WORKERS    3
#define LOCK_SERVICE "scheduler"

static struct metric m_leader = { METRIC_GAUGE, "ucloud_scheduler_is_leader",
	"1 while this scheduler leads." };

static const struct cache_class vm_class = { brief_parse_item, brief_free_item, false };
static const struct cache_class host_class = { host_parse_item, host_free_item, false };
static const struct cache_class request_class = { request_parse_item, request_free_item,
	false };
static const struct cache_class store_class = { image_store_parse_item,
	image_store_free_item, false };
/* Heartbeats: that they are there is all that matters. */
static const struct cache_class alive_class = { NULL, NULL, false };

void sched_add_key(struct sched *s, const char *prefix, const char *name)
{
	CLEANUP_STR char *key = xasprintf("%s%s", prefix, name);

	ctl_add(s->ctl, key);
}

bool sched_is_leader(struct sched *s)
{
	return atomic_load(&s->fence) != 0;
}

bool sched_is_synced(struct sched *s)
{
	return ctl_is_synced(s->ctl);
}

/* ---------------------------------------------------------------- what has changed */

static const char *changed(struct sched *s, enum dirty_kind kind,
	const struct cache_item *before, const struct cache_item *after)
{
	const char *name = (after ? after : before)->name;

	if (placerec_changed(s->placerec, kind, name))
		ctl_add(s->ctl, SCHED_KEY_PLACE);
	return name;
}

static void on_vm(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	changed(aux, DIRTY_VM, before, after);
}

static void on_store(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	changed(aux, DIRTY_STORE, before, after);
}

/* Keys for hosts and disks are added while we lead only: a new leader adds them all. */
static void on_host(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	const char *name = changed(aux, DIRTY_HOST, before, after);

	if (sched_is_leader(aux))
		sched_add_key(aux, SCHED_KEY_HOST, name);
}

static void on_alive(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	const char *name = changed(aux, DIRTY_ALIVE, before, after);
	struct sched *s = aux;

	if (after)
		hostrec_heard(s->hostrec, name);
	if (sched_is_leader(s))
		sched_add_key(s, SCHED_KEY_HOST, name);
}

static void add_disk_request(struct sched *s, const struct cache_item *it)
{
	const struct request *r = it ? it->obj : NULL;

	if (r && (r->type == REQ_DELETE_VM || r->type == REQ_CHANGE_VM))
		sched_add_key(s, SCHED_KEY_DISK, it->name);
}

static void on_request(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	changed(aux, DIRTY_REQUEST, before, after);
	if (sched_is_leader(aux))
		add_disk_request(aux, after);
}

/* ---------------------------------------------------------------- leading */

static void on_held(void *aux)
{
	struct sched *s = aux;

	hostrec_reset(s->hostrec);
	atomic_store(&s->fence, session_create_rev(s->session));
	metric_set(&m_leader, NULL, 1);
	log_info("this scheduler leads");
	ctl_add(s->ctl, SCHED_KEY_LEAD);
	ctl_poke(s->ctl);
}

static void on_lost(void *aux)
{
	struct sched *s = aux;

	atomic_store(&s->fence, 0);
	metric_set(&m_leader, NULL, 0);
	placerec_lost(s->placerec);
	if (!atomic_load(&s->is_stopping))
		log_warn("this scheduler does not lead any more");
}

static bool may_run(void *aux)
{
	return sched_is_leader(aux);
}

static void add_all(void *aux, struct ctl *c)
{
	CLEANUP(cache_items_done) struct cache_items hosts = { 0 }, requests = { 0 };
	struct sched *s = aux;

	if (!sched_is_leader(s))
		return;
	ctl_add(c, SCHED_KEY_PLACE);
	cache_items_get(s->hosts, &hosts);
	for (size_t i = 0; i < hosts.len; i++)
		sched_add_key(s, SCHED_KEY_HOST, hosts.v[i]->name);
	cache_items_get(s->requests, &requests);
	for (size_t i = 0; i < requests.len; i++)
		add_disk_request(s, requests.v[i]);
}

static enum wq_result reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct sched *s = aux;

	if (str_eq(key, SCHED_KEY_PLACE))
		return placerec_pass(s->placerec, after_msec, e);
	if (str_has_prefix(key, SCHED_KEY_HOST))
		return hostrec_look(
			s->hostrec, key + strlen(SCHED_KEY_HOST), after_msec, e);
	if (str_has_prefix(key, SCHED_KEY_DISK))
		return diskrec_look(s, key + strlen(SCHED_KEY_DISK), after_msec, e);
	add_all(s, s->ctl);
	return WQ_DONE;
}

/* ---------------------------------------------------------------- putting it together */

static void new_session(struct sched *s)
{
	s->lock_key = key_lock(LOCK_SERVICE);
	struct session_conf conf = {
		.kind = SESSION_LOCK,
		.key = s->lock_key,
		.ttl_sec = s->conf->lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = s,
	};
	s->session = session_new(s->kv, &conf);
}

static void new_caches(struct sched *s)
{
	CLEANUP_STR char *requests = key_requests_scheduler(&s->conf->keys);
	const struct keys *keys = &s->conf->keys;
	struct kv *kv = s->kv;

	s->hosts = cache_new(kv, keys->host, &host_class, on_host, s);
	s->alives = cache_new(kv, KEY_ALIVE, &alive_class, on_alive, s);
	s->stores = cache_new(kv, KEY_IMAGE_STORE, &store_class, on_store, s);
	s->vms = cache_new(kv, keys->vm, &vm_class, on_vm, s);
	s->requests = cache_new(kv, requests, &request_class, on_request, s);
	ctl_use_cache(s->ctl, s->hosts);
	ctl_use_cache(s->ctl, s->alives);
	ctl_use_cache(s->ctl, s->stores);
	ctl_use_cache(s->ctl, s->vms);
	ctl_use_cache(s->ctl, s->requests);
}

struct sched *sched_new(struct kv *kv, const struct sched_conf *conf)
{
	struct sched *s = xcalloc(1, sizeof(*s));
	struct ctl_conf ctl = {
		.name = "scheduler",
		.n_workers = N_WORKERS,
		.reconcile = reconcile,
		.add_all = add_all,
		.may_run = may_run,
		.aux = s,
	};

	s->kv = kv;
	s->conf = conf;
	metric_register(&m_leader);
	new_session(s);
	s->ctl = ctl_new(&ctl);
	s->placerec = placerec_new(s);
	s->hostrec = hostrec_new(s);
	new_caches(s);
	return s;
}

void sched_start(struct sched *s)
{
	placerec_start(s->placerec);
	session_start(s->session);
	ctl_start(s->ctl);
}

void sched_stop(struct sched *s)
{
	atomic_store(&s->is_stopping, true);
	s->is_stuck = !ctl_stop(s->ctl);
	placerec_stop(s->placerec);
	session_free(MOVE(s->session), true);
	atomic_store(&s->fence, 0);
}

bool sched_free(struct sched *s)
{
	if (!s)
		return true;
	sched_stop(s);
	if (s->is_stuck)
		return false;
	ctl_free(s->ctl);
	cache_free(s->hosts);
	cache_free(s->alives);
	cache_free(s->stores);
	cache_free(s->vms);
	cache_free(s->requests);
	placerec_free(s->placerec);
	hostrec_free(s->hostrec);
	free(s->lock_key);
	free(s);
	return true;
}

bool sched_step(struct sched *s)
{
	bool did = session_step(s->session);

	return ctl_step(s->ctl) || did;
}

int64_t sched_next_msec(struct sched *s)
{
	return ctl_next_msec(s->ctl);
}
