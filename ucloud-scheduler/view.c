#include "ucloud-scheduler/view.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/host.h"
#include "common/model/names.h"
#include "common/model/vm.h"
#include "ucloud-scheduler/brief.h"
#include "ucloud-scheduler/pages.h"

/* Lost news heal. */
#define REBUILD_MSEC (10 * 60 * 1000)

/* More strings than this, and four times what is in use: so do names that are gone. */
#define STRINGS_MAX 20000

static struct metric m_hosts = { METRIC_GAUGE, "ucloud_scheduler_hosts",
	"Registered hosts, by status.", .label = "status" };

void view_init(struct view *v, struct sched *s)
{
	*v = (struct view){ .s = s, .dirty = dirty_new() };
	metric_register(&m_hosts);
}

static void forget_all(struct view *v)
{
	snap_free(v->snap);
	pends_done(&v->pends);
	v->snap = NULL;
	v->fence = 0;
}

void view_done(struct view *v)
{
	forget_all(v);
	dirty_free(v->dirty);
	v->dirty = NULL;
}

bool view_changed(struct view *v, enum dirty_kind kind, const char *name)
{
	return atomic_load(&v->s->fence) && dirty_add(v->dirty, kind, name);
}

void view_lost(struct view *v)
{
	dirty_end(v->dirty);
}

/* ---------------------------------------------------------------- following the entries */

/* An entry that does not parse is there, but says nothing: what was known of it stays. */
static void follow_vm(struct view *v, const char *name, const struct cache_item *it)
{
	struct pend *pend = pends_find(&v->pends, name);

	if (!it)
		snap_del_vm(v->snap, name);
	else if (it->obj)
		snap_put_vm(v->snap, name, it->obj, it->mod_rev);
	if (pend && it && it->mod_rev >= pend->min_vm_rev) {
		pend->is_news = true;
		pend->retry_msec = 0;
	}
}

static void follow_request(struct view *v, const char *name, const struct cache_item *it)
{
	const struct request *r = it ? it->obj : NULL;

	if (r && r->type == REQ_SCHEDULE_VM)
		pends_put(&v->pends, name, r, it->mod_rev, v->s->conf->deadline_sec);
	else
		pends_del(&v->pends, name);
}

static void follow(struct view *v, enum dirty_kind kind, const char *name,
	const struct cache_item *it)
{
	switch (kind) {
	case DIRTY_VM:
		follow_vm(v, name, it);
		break;
	case DIRTY_HOST:
		if (it && it->obj)
			snap_put_host(v->snap, it->obj, it->mod_rev);
		else
			snap_del_host(v->snap, name);
		break;
	case DIRTY_ALIVE:
		snap_set_alive(v->snap, name, it != NULL);
		break;
	case DIRTY_STORE:
		if (it && it->obj)
			snap_put_store(v->snap, it->obj);
		else
			snap_del_store(v->snap, name);
		break;
	case DIRTY_REQUEST:
		follow_request(v, name, it);
		break;
	}
}

static struct cache *cache_of(struct view *v, enum dirty_kind kind)
{
	struct sched *s = v->s;
	struct cache *const caches[] = {
		[DIRTY_VM] = s->vms,
		[DIRTY_HOST] = s->hosts,
		[DIRTY_ALIVE] = s->alives,
		[DIRTY_STORE] = s->stores,
		[DIRTY_REQUEST] = s->requests,
	};

	return caches[kind];
}

static void follow_cache(struct view *v, enum dirty_kind kind)
{
	struct cache_items items = { 0 };

	cache_items_get(cache_of(v, kind), &items);
	for (size_t i = 0; i < items.len; i++)
		follow(v, kind, items.v[i]->name, items.v[i]);
	cache_items_done(&items);
}

/* ---------------------------------------------------------------- behind the caches */

/* The host and the VM of a placement's key; false for a key that is none of ours. */
static bool split_placement(const char *key, char host[256], const char **uuid)
{
	const char *name = key + strlen(KEY_PLACEMENT);
	const char *slash = strchr(name, '/');

	if (!slash || (size_t)(slash - name) >= 256)
		return false;
	memcpy(host, name, (size_t)(slash - name));
	host[slash - name] = '\0';
	*uuid = slash + 1;
	return uuid_check(*uuid, NULL) == 0;
}

static bool is_shown(const struct view *v, const char *host, const char *uuid)
{
	const struct snap_vm *vm = snap_find_vm(v->snap, uuid);

	return vm && vm->is.host >= 0 &&
	       str_eq(snap_host_name(v->snap, vm->is.host), host);
}

static void put_read_vm(struct view *v, const char *uuid, const struct kv_pair *pair)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };

	if (!pair->key) {
		log_warn("there is a placement of a VM that does not exist vm=%s", uuid);
		return;
	}
	if (vm_parse(pair->value, pair->value_size, &vm, &e) < 0) {
		log_warn("what a VM uses is not known: %s vm=%s", e.msg, uuid);
		return;
	}
	struct vm_brief *b = brief_new(&vm, pair->value);
	snap_put_vm(v->snap, uuid, b, pair->mod_rev);
	brief_free(b);
}

static int read_vms(struct view *v, const struct strv *uuids, struct err *e)
{
	for (size_t i = 0; i < uuids->len; i += KV_TXN_MAX_OPS) {
		CLEANUP(strv_done) struct strv keys = { 0 };
		CLEANUP(kv_list_done) struct kv_list list = { 0 };
		for (size_t j = i; j < uuids->len && j < i + KV_TXN_MAX_OPS; j++)
			strv_add_take(&keys, key_vm(&v->s->conf->keys, uuids->v[j]));
		if (kv_get_many(v->s->kv, (const char *const *)keys.v, keys.len, &list,
			    e) < 0)
			return -1;
		for (size_t j = 0; j < keys.len; j++)
			put_read_vm(v, uuids->v[i + j], &list.v[j]);
	}
	return 0;
}

struct unseen {
	const struct view *v;
	struct strv uuids;
};

static void see_placement(void *aux, const struct kv_pair *pair)
{
	struct unseen *u = aux;
	const char *uuid;
	char host[256];

	if (split_placement(pair->key, host, &uuid) && !is_shown(u->v, host, uuid))
		strv_add(&u->uuids, uuid);
}

/*
 * The caches may be behind what the leader before us has written: without this, room that it
 * has given away would be given away again. All its placements came before our lock, so they
 * are in a list that is read now; the VMs that the cache does not show there are read, too.
 */
static int read_placements(struct view *v, struct err *e)
{
	struct unseen u = { v, { 0 } };
	int rc = pages_read(v->s->kv, KEY_PLACEMENT, see_placement, &u, e);

	if (rc == 0)
		rc = read_vms(v, &u.uuids, e);
	strv_done(&u.uuids);
	return rc;
}

/* ---------------------------------------------------------------- all of it */

/* Collecting begins before the caches are read, so that no change falls between. */
static int build(struct view *v, int64_t fence, struct err *e)
{
	forget_all(v);
	v->snap = snap_new();
	dirty_begin(v->dirty);
	for (int kind = DIRTY_VM; kind <= DIRTY_REQUEST; kind++)
		follow_cache(v, kind);
	if (read_placements(v, e) < 0)
		return -1;
	v->fence = fence;
	v->built_msec = clock_mono_msec();
	return 0;
}

static bool is_stale(const struct view *v, int64_t fence)
{
	const struct snap *s = v->snap;

	if (v->fence != fence)
		return true;
	if (s->n_assumed)
		return false;
	size_t n_used = HASH_COUNT(s->vms) + s->n_hosts;
	return clock_mono_msec() - v->built_msec > REBUILD_MSEC ||
	       (snap_n_strings(s) > STRINGS_MAX && snap_n_strings(s) > 4 * n_used);
}

static void set_host_metrics(const struct snap *s)
{
	size_t n[3] = { 0 };

	for (size_t i = 0; i < s->n_hosts; i++)
		if (s->hosts[i].is_registered)
			n[s->hosts[i].status]++;
	for (int i = HOST_REGISTERED; i <= HOST_DEAD; i++)
		metric_set(&m_hosts, host_status_names[i], (double)n[i]);
}

int view_update(struct view *v, int64_t fence, bool *is_new, struct err *e)
{
	bool is_built = is_stale(v, fence), is_host = is_built;

	if (is_built && build(v, fence, e) < 0)
		return -1;
	struct dirty_name *list = dirty_take(v->dirty);
	for (struct dirty_name *n = list; n; n = n->next) {
		const struct cache_item *it = cache_get(cache_of(v, n->kind), n->name);
		follow(v, n->kind, n->name, it);
		cache_item_put(it);
		is_host |= n->kind == DIRTY_HOST;
	}
	dirty_names_free(list);
	if (is_host)
		set_host_metrics(v->snap);
	*is_new = is_built;
	return 0;
}
