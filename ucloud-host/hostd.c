#include "ucloud-host/hostd.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/model/host.h"
#include "common/store/ctl.h"
#include "common/store/session.h"
#include "ucloud-host/console.h"
#include "ucloud-host/host_env.h"
#include "ucloud-host/inventory.h"
#include "ucloud-host/sweep.h"
#include "ucloud-host/vmrec.h"

#define INVENTORY_SEC 60

struct hostd {
	struct host_env env;
	char *alive_key, *alive_value, *host_key;
	struct session *session;
	struct cache *placements, *requests, *consoles;
	struct watch *own_entry, *store_entries; /* what the inventory depends on */
	struct vmrec *vmrec;
	struct inventory *inventory;
	struct sweep *sweep;
	struct ctl *vm_ctl, *inventory_ctl, *console_ctl, *sweep_ctl;
	bool is_stuck; /* a reconcile did not end: nothing that it uses may be freed */
};

/* ------------------------------------------------------------------ env */

char *host_env_console_path(const struct host_env *env, const char *vm_uuid)
{
	if (env->state_dir == NULL)
		return NULL;
	return xasprintf("%s/console/%s.log", env->state_dir, vm_uuid);
}

/* virtlogd keeps a few older ones: .0, .1, ... */
void host_env_remove_console(const struct host_env *env, const char *vm_uuid)
{
	CLEANUP_STR char *path = host_env_console_path(env, vm_uuid);

	if (path == NULL)
		return;
	if (unlink(path) < 0 && errno != ENOENT)
		log_warn("a console log cannot be removed: %s vm=%s", strerror(errno),
			vm_uuid);
	for (int i = 0; i < 10; i++) {
		CLEANUP_STR char *older = xasprintf("%s.%d", path, i);

		if (unlink(older) < 0)
			break;
	}
}

static void env_init(struct host_env *env, struct kv *kv, struct virt *virt,
	const struct hostd_conf *c)
{
	env->kv = kv;
	env->virt = virt;
	env->stores = stores_new(kv);
	env->keys = (struct keys){
		.vm = xstrdup(c->keys->vm),
		.host = xstrdup(c->keys->host),
		.request = xstrdup(c->keys->request),
		.file = xstrdup(c->keys->file),
		.image = xstrdup(c->keys->image),
		.network = xstrdup(c->keys->network),
	};
	env->host = xstrdup(c->host);
	env->accel = xstrdup(c->accel != NULL ? c->accel : "tcg");
	env->state_dir = xstrdup(c->state_dir);
	env->sysfs = xstrdup(c->sysfs);
	env->disk_cache = xstrdup(c->disk_cache);
	if (c->stores != NULL)
		strv_copy(&env->stores_wanted, c->stores);
	env->shutdown_sec = c->shutdown_sec != 0 ? c->shutdown_sec : 60;
	env->max_crashes = c->max_crashes != 0 ? c->max_crashes : 5;
	env->orphan_keep_sec = c->orphan_keep_sec != 0 ? c->orphan_keep_sec : 86400;
}

static void env_done(struct host_env *env)
{
	stores_free(env->stores);
	keys_done(&env->keys);
	free(env->host);
	free(env->accel);
	free(env->state_dir);
	free(env->sysfs);
	free(env->disk_cache);
	strv_done(&env->stores_wanted);
}

/* ------------------------------------------------------------------ the "vm" controller */

static void vm_look_at(void *aux, const char *uuid)
{
	struct hostd *h = aux;

	ctl_add(h->vm_ctl, uuid);
}

static void on_vm_change(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	vm_look_at(aux, after != NULL ? after->name : before->name);
}

static void add_names(struct ctl *c, struct cache *cache)
{
	struct cache_items items = { 0 };

	cache_items_get(cache, &items);
	for (size_t i = 0; i < items.len; i++)
		ctl_add(c, items.v[i]->name);
	cache_items_done(&items);
}

static void vm_add_all(void *aux, struct ctl *c)
{
	struct hostd *h = aux;

	add_names(c, h->placements);
	add_names(c, h->requests);
}

/* Only while the heartbeat is ours: another machine may have been given our name. */
static bool vm_may_run(void *aux)
{
	struct hostd *h = aux;

	return session_create_rev(h->session) != 0;
}

/* ------------------------------------------------------------------ reconciles */

static enum wq_result on_vm(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct hostd *h = aux;

	return vmrec_reconcile(h->vmrec, key, after_msec, e);
}

static enum wq_result on_inventory(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct hostd *h = aux;

	return inventory_reconcile(h->inventory, key, after_msec, e);
}

static enum wq_result on_console(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct hostd *h = aux;

	return console_reconcile(&h->env, key, after_msec, e);
}

static enum wq_result on_sweep(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct hostd *h = aux;

	return sweep_reconcile(h->sweep, key, after_msec, e);
}

/* ------------------------------------------------------------------ the others */

static void inventory_add_all(void *aux, struct ctl *c)
{
	(void)aux;
	ctl_add(c, "host");
}

static void sweep_add(void *aux, struct ctl *c)
{
	(void)aux;
	sweep_add_all(c);
}

static void on_console_change(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct hostd *h = aux;

	(void)before;
	if (after != NULL)
		ctl_add(h->console_ctl, after->name);
}

static void on_entries(void *aux, const struct kv_events *ev)
{
	struct hostd *h = aux;

	if (ev->len > 0)
		ctl_add(h->inventory_ctl, "host");
}

static void on_entries_list(void *aux)
{
	struct hostd *h = aux;

	ctl_add(h->inventory_ctl, "host");
}

static void on_entries_end(void *aux, int64_t rev)
{
	(void)aux;
	(void)rev;
}

static const struct watch_sink entries_sink = {
	.list_begin = on_entries_list,
	.list_end = on_entries_end,
	.change = on_entries,
};

static void on_virt_event(void *aux, const char *uuid)
{
	struct hostd *h = aux;

	if (uuid != NULL) {
		ctl_add(h->vm_ctl, uuid);
		return;
	}
	vmrec_libvirt_is_back(h->vmrec);
	ctl_add(h->inventory_ctl, "host");
	ctl_add(h->sweep_ctl, "domains");
	vm_add_all(h, h->vm_ctl);
}

static void on_held(void *aux)
{
	struct hostd *h = aux;

	log_info("heartbeat is in etcd host=%s", h->env.host);
	/* While it was away our VMs may have been declared KILLED: that is not told. */
	vm_add_all(h, h->vm_ctl);
	ctl_poke(h->vm_ctl);
}

static void on_lost(void *aux)
{
	struct hostd *h = aux;

	log_warn("heartbeat is lost; VMs keep running, nothing is changed until it is "
		 "back host=%s",
		h->env.host);
}

/* ------------------------------------------------------------------ assembly */

static void make_session(struct hostd *h, const struct hostd_conf *c)
{
	char instance[UUID_STR_SIZE];
	struct session_conf conf = {
		.kind = SESSION_ALIVE,
		.ttl_sec = c->lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = h,
	};

	uuid_new(instance);
	h->alive_key = key_alive(c->host);
	h->alive_value = alive_new(c->host, c->machine != NULL ? c->machine : c->host,
		instance, clock_unix_sec());
	conf.key = h->alive_key;
	conf.value = h->alive_value;
	h->session = session_new(h->env.kv, &conf);
}

static struct cache *make_cache(struct hostd *h, char *prefix, cache_change_fn *fn)
{
	struct cache *c = cache_new(h->env.kv, prefix, NULL, fn, h);

	free(prefix);
	return c;
}

static void make_controllers(struct hostd *h, const struct hostd_conf *c)
{
	const struct ctl_conf vm = {
		.name = "vm",
		.n_workers = c->n_workers != 0 ? c->n_workers : 4,
		.resync_sec = c->resync_sec,
		.reconcile = on_vm,
		.add_all = vm_add_all,
		.may_run = vm_may_run,
		.aux = h,
	};
	const struct ctl_conf inventory = {
		.name = "inventory",
		.n_workers = 1,
		.resync_sec = INVENTORY_SEC,
		.reconcile = on_inventory,
		.add_all = inventory_add_all,
		.aux = h,
	};
	const struct ctl_conf console = {
		.name = "console",
		.n_workers = 1,
		.reconcile = on_console,
		.aux = h,
	};
	const struct ctl_conf sweep = {
		.name = "sweep",
		.n_workers = 1,
		.resync_sec = c->resync_sec,
		.reconcile = on_sweep,
		.add_all = sweep_add,
		.aux = h,
	};

	h->vm_ctl = ctl_new(&vm);
	h->inventory_ctl = ctl_new(&inventory);
	h->console_ctl = ctl_new(&console);
	h->sweep_ctl = ctl_new(&sweep);
	ctl_use_cache(h->vm_ctl, h->placements);
	ctl_use_cache(h->vm_ctl, h->requests);
	ctl_use_cache(h->console_ctl, h->consoles);
}

struct hostd *hostd_new(struct kv *kv, struct virt *virt, const struct hostd_conf *c)
{
	struct hostd *h = xcalloc(1, sizeof(*h));
	const struct watch_conf stores = { .prefix = KEY_IMAGE_STORE, .is_tail = true };
	struct watch_conf own_entry = { .is_single_key = true, .is_tail = true };

	env_init(&h->env, kv, virt, c);
	h->host_key = key_host(&h->env.keys, c->host);
	own_entry.prefix = h->host_key;
	h->vmrec = vmrec_new(&h->env);
	h->inventory = inventory_new(&h->env);
	h->sweep = sweep_new(&h->env, vm_look_at, h);
	h->placements = make_cache(h, key_placements(c->host), on_vm_change);
	h->requests =
		make_cache(h, key_requests_host(&h->env.keys, c->host), on_vm_change);
	h->consoles = make_cache(h, key_consoles(c->host), on_console_change);
	h->own_entry = watch_new(kv, &own_entry, &entries_sink, h);
	h->store_entries = watch_new(kv, &stores, &entries_sink, h);
	make_session(h, c);
	make_controllers(h, c);
	virt_set_event(virt, on_virt_event, h);
	return h;
}

static void make_dirs(const struct host_env *env)
{
	CLEANUP_STR char *console = NULL;

	if (env->state_dir == NULL)
		return;
	console = xasprintf("%s/console", env->state_dir);
	if (mkdir(console, 0700) < 0 && errno != EEXIST)
		log_error(
			"console logs cannot be kept: %s: %s", console, strerror(errno));
}

void hostd_start(struct hostd *h)
{
	make_dirs(&h->env);
	session_start(h->session);
	watch_start(h->own_entry);
	watch_start(h->store_entries);
	ctl_start(h->inventory_ctl);
	ctl_start(h->vm_ctl);
	ctl_start(h->console_ctl);
	ctl_start(h->sweep_ctl);
}

void hostd_stop(struct hostd *h)
{
	virt_set_event(h->env.virt, NULL, NULL);
	h->is_stuck |= !ctl_stop(h->sweep_ctl);
	h->is_stuck |= !ctl_stop(h->vm_ctl);
	h->is_stuck |= !ctl_stop(h->console_ctl);
	h->is_stuck |= !ctl_stop(h->inventory_ctl);
}

bool hostd_free(struct hostd *h, bool is_release)
{
	if (h == NULL)
		return true;
	hostd_stop(h);
	watch_free(h->own_entry);
	watch_free(h->store_entries);
	/* Their caches tell of changes until they are stopped: all of them first. */
	cache_stop(h->placements);
	cache_stop(h->requests);
	cache_stop(h->consoles);
	session_free(h->session, is_release);
	if (h->is_stuck)
		return false;
	ctl_free(h->sweep_ctl);
	ctl_free(h->vm_ctl);
	ctl_free(h->console_ctl);
	ctl_free(h->inventory_ctl);
	cache_free(h->placements);
	cache_free(h->requests);
	cache_free(h->consoles);
	sweep_free(h->sweep);
	inventory_free(h->inventory);
	vmrec_free(h->vmrec);
	free(h->alive_key);
	free(h->alive_value);
	free(h->host_key);
	env_done(&h->env);
	free(h);
	return true;
}

/* ------------------------------------------------------------------ the simulation */

bool hostd_step(struct hostd *h)
{
	bool did = session_step(h->session);

	did |= watch_step(h->own_entry);
	did |= watch_step(h->store_entries);
	did |= ctl_step(h->inventory_ctl);
	did |= ctl_step(h->vm_ctl);
	did |= ctl_step(h->console_ctl);
	did |= ctl_step(h->sweep_ctl);
	return did;
}

int64_t hostd_next_msec(struct hostd *h)
{
	struct ctl *all[] = { h->vm_ctl, h->inventory_ctl, h->console_ctl, h->sweep_ctl };
	int64_t first = -1;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		int64_t msec = ctl_next_msec(all[i]);

		if (msec >= 0 && (first < 0 || msec < first))
			first = msec;
	}
	return first;
}

int hostd_health(struct hostd *h, struct err *e)
{
	char driver[32];

	if (session_create_rev(h->session) == 0)
		return err_set(e, ERR_UNAVAILABLE, "the heartbeat is not in etcd");
	if (virt_driver(h->env.virt, driver, sizeof(driver), e) < 0)
		return -1;
	if (!inventory_is_registered(h->inventory))
		return err_set(e, ERR_CONFLICT, "this host is not registered");
	return 0;
}
