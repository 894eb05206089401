#include "ucloud-image/imaged.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/request.h"
#include "common/store/ctl.h"
#include "common/store/session.h"
#include "ucloud-image/imgrec.h"
#include "ucloud-image/imgsweep.h"

#define LOCK_SERVICE "image"
/* The one key of the sweep's controller. */
#define SWEEP_KEY "stores"

struct imaged {
	struct imgenv env;
	struct session *session;
	struct imgrec *rec;
	struct imgsweep_state *sweep;
	struct ctl *image_ctl, *sweep_ctl;
	bool is_stuck;
};

static struct metric m_leader = { METRIC_GAUGE, "ucloud_image_is_leader",
	"1 while this ucloud-image leads." };

static const struct cache_class request_class = { request_parse_item, request_free_item,
	false };

bool imaged_is_leader(struct imaged *d)
{
	return atomic_load(&d->env.fence) != 0;
}

bool imaged_is_synced(struct imaged *d)
{
	return ctl_is_synced(d->image_ctl);
}

/* ---------------------------------------------------------------- what to look at */

static void look_at(void *aux, const char *uuid)
{
	struct imaged *d = aux;

	ctl_add(d->image_ctl, uuid);
}

static void on_request(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct imaged *d = aux;

	(void)before;
	if (after && imaged_is_leader(d))
		look_at(d, after->name);
}

static void add_requests(void *aux, struct ctl *c)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct imaged *d = aux;

	if (!imaged_is_leader(d))
		return;
	cache_items_get(d->env.requests, &items);
	for (size_t i = 0; i < items.len; i++)
		ctl_add(c, items.v[i]->name);
}

static void add_sweep(void *aux, struct ctl *c)
{
	if (imaged_is_leader(aux))
		ctl_add(c, SWEEP_KEY);
}

/* ---------------------------------------------------------------- leading */

static void on_held(void *aux)
{
	struct imaged *d = aux;

	atomic_store(&d->env.fence, session_create_rev(d->session));
	metric_set(&m_leader, NULL, 1);
	log_info("this ucloud-image leads");
	add_requests(d, d->image_ctl);
	ctl_add(d->sweep_ctl, SWEEP_KEY);
	ctl_poke(d->image_ctl);
	ctl_poke(d->sweep_ctl);
}

static void on_lost(void *aux)
{
	struct imaged *d = aux;

	atomic_store(&d->env.fence, 0);
	metric_set(&m_leader, NULL, 0);
	if (!atomic_load(&d->env.is_stopping))
		log_warn("this ucloud-image does not lead any more");
}

static bool may_run(void *aux)
{
	return imaged_is_leader(aux);
}

static enum wq_result on_image(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct imaged *d = aux;

	return imgrec_reconcile(d->rec, key, after_msec, e);
}

static enum wq_result on_sweep(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct imaged *d = aux;

	return imgsweep_reconcile(d->sweep, key, after_msec, e);
}

/* ---------------------------------------------------------------- putting it together */

static void new_session(struct imaged *d, const struct imaged_conf *conf)
{
	struct session_conf session = {
		.kind = SESSION_LOCK,
		.ttl_sec = conf->lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = d,
	};

	d->env.lock_key = key_lock(LOCK_SERVICE);
	session.key = d->env.lock_key;
	d->session = session_new(d->env.kv, &session);
}

static void new_controllers(struct imaged *d, const struct imaged_conf *conf)
{
	const struct ctl_conf image = {
		.name = "image",
		/* One more: a deletion does not wait until an image is made. */
		.n_workers = conf->n_jobs + 1,
		.resync_sec = conf->resync_sec,
		.reconcile = on_image,
		.add_all = add_requests,
		.may_run = may_run,
		.aux = d,
	};
	const struct ctl_conf sweep = {
		.name = "sweep",
		.n_workers = 1,
		.resync_sec = conf->resync_sec,
		.reconcile = on_sweep,
		.add_all = add_sweep,
		.may_run = may_run,
		.aux = d,
	};

	d->image_ctl = ctl_new(&image);
	d->sweep_ctl = ctl_new(&sweep);
}

struct imaged *imaged_new(struct kv *kv, const struct imaged_conf *conf)
{
	CLEANUP_STR char *requests = key_requests_image(&conf->keys);
	struct imaged *d = xcalloc(1, sizeof(*d));

	d->env.kv = kv;
	d->env.keys = &conf->keys;
	d->env.import = conf->import;
	d->env.n_jobs = conf->n_jobs;
	d->env.orphan_keep_sec = conf->orphan_keep_sec;
	metric_register(&m_leader);
	new_session(d, conf);
	d->rec = imgrec_new(&d->env, look_at, d);
	d->sweep = imgsweep_new(&d->env, look_at, d);
	new_controllers(d, conf);
	d->env.requests = cache_new(kv, requests, &request_class, on_request, d);
	ctl_use_cache(d->image_ctl, d->env.requests);
	return d;
}

void imaged_start(struct imaged *d)
{
	session_start(d->session);
	ctl_start(d->image_ctl);
	ctl_start(d->sweep_ctl);
}

void imaged_stop(struct imaged *d)
{
	atomic_store(&d->env.is_stopping, true);
	d->is_stuck |= !ctl_stop(d->image_ctl);
	d->is_stuck |= !ctl_stop(d->sweep_ctl);
	if (d->session)
		session_free(MOVE(d->session), true);
	atomic_store(&d->env.fence, 0);
}

bool imaged_free(struct imaged *d)
{
	if (!d)
		return true;
	imaged_stop(d);
	cache_stop(d->env.requests);
	if (d->is_stuck)
		return false;
	ctl_free(d->image_ctl);
	ctl_free(d->sweep_ctl);
	cache_free(d->env.requests);
	imgrec_free(d->rec);
	imgsweep_free(d->sweep);
	free(d->env.lock_key);
	free(d);
	return true;
}
