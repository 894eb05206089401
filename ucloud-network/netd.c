#include "ucloud-network/netd.h"

#include <assert.h>

#include "common/base/log.h"
#include "ucloud-network/linkrec.h"
#include "ucloud-network/prober.h"

const char *const flood_names[] = {
	[FLOOD_MULTICAST] = "multicast", [FLOOD_UNICAST] = "unicast", NULL
};
const struct role_ops *const roles[] = { &host_role, &router_role, NULL };

struct netd {
	struct netenv env;
	struct announce *announce;
	struct linkrec *linkrec;
	struct link_watch *watch;
	struct linkrec_role use[LINKREC_ROLES_MAX];
	size_t n;
};

static void *parse_port(const char *name, json_t *json, struct err *e)
{
	(void)name;
	(void)e;
	return json_incref(json);
}

static void free_port(void *port)
{
	json_decref(port);
}

static const struct cache_class network_class = { network_parse_item, network_free_item,
	false };
static const struct cache_class underlay_class = { underlay_parse_item,
	underlay_free_item, false };
static const struct cache_class port_class = { parse_port, free_port, false };

const struct role_ops *netd_find_role(const char *name)
{
	for (size_t i = 0; roles[i]; i++)
		if (str_eq(roles[i]->name, name))
			return roles[i];
	return NULL;
}

/* ---------------------------------------------------------------- looking */

void netenv_look(struct netenv *env)
{
	ctl_add(env->links, LINKS_KEY);
}

static void on_link_event(void *aux)
{
	netenv_look(aux);
}

static void on_change(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	(void)before;
	(void)after;
	netenv_look(aux);
}

static void on_underlay(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct netenv *env = aux;

	on_change(aux, before, after);
	prober_poke(env->prober);
}

static void add_links(void *aux, struct ctl *c)
{
	(void)aux;
	ctl_add(c, LINKS_KEY);
}

static enum wq_result on_links(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	struct netd *d = aux;
	enum wq_result result = linkrec_reconcile(d->linkrec, after_msec, e);

	(void)key;
	prober_set_underlay(d->env.prober, &d->env.underlay);
	return result;
}

/* ---------------------------------------------------------------- putting it together */

static void env_init(struct netenv *env, struct kv *kv, const struct netd_conf *c)
{
	*env = (struct netenv){
		.kv = kv,
		.keys = { .vm = xstrdup(c->keys->vm),
			.host = xstrdup(c->keys->host),
			.request = xstrdup(c->keys->request),
			.file = xstrdup(c->keys->file),
			.image = xstrdup(c->keys->image),
			.network = xstrdup(c->keys->network) },
		.host = xstrdup(c->host),
		.underlay = c->underlay,
		.flood = c->flood,
		.router = c->router,
		.resync_sec = c->resync_sec,
		.linger_sec = c->linger_sec,
		.lease_ttl_sec = c->lease_ttl_sec,
	};
	if (c->prefixes)
		strv_copy(&env->prefixes, c->prefixes);
	env->networks = cache_new(kv, env->keys.network, &network_class, on_change, env);
	env->ports = cache_new(kv, KEY_PORT, &port_class, on_change, env);
	env->underlays = cache_new(kv, KEY_UNDERLAY, &underlay_class, on_underlay, env);
	env->prober = prober_new(env, &c->check);
}

static void env_done(struct netenv *env)
{
	ctl_free(env->links);
	prober_free(env->prober);
	cache_free(env->networks);
	cache_free(env->ports);
	cache_free(env->underlays);
	keys_done(&env->keys);
	strv_done(&env->prefixes);
	free(env->host);
}

struct netd *netd_new(struct kv *kv, const struct netd_conf *conf)
{
	struct netd *d = xcalloc(1, sizeof(*d));
	const struct ctl_conf links = { .name = "links",
		.n_workers = 1,
		.resync_sec = conf->resync_sec,
		.reconcile = on_links,
		.add_all = add_links,
		.aux = d };

	env_init(&d->env, kv, conf);
	d->env.links = ctl_new(&links);
	ctl_use_cache(d->env.links, d->env.networks);
	ctl_use_cache(d->env.links, d->env.ports);
	ctl_use_cache(d->env.links, d->env.underlays);
	d->announce = announce_new(&d->env, conf->roles);
	for (size_t i = 0; i < conf->roles->len; i++) {
		const struct role_ops *ops = netd_find_role(conf->roles->v[i]);

		assert(ops && d->n < LINKREC_ROLES_MAX);
		d->use[d->n++] = (struct linkrec_role){ ops, ops->open(&d->env) };
	}
	d->linkrec = linkrec_new(&d->env, d->announce, d->use, d->n);
	return d;
}

int netd_start(struct netd *d, struct err *e)
{
	if (link_watch_start(on_link_event, &d->env, &d->watch, e) < 0)
		return -1;
	prober_start(d->env.prober);
	announce_start(d->announce);
	/* Roles first: the links' thread asks them what they want. */
	for (size_t i = 0; i < d->n; i++)
		d->use[i].ops->start(d->use[i].role);
	ctl_start(d->env.links);
	return 0;
}

bool netd_free(struct netd *d)
{
	bool is_ended = true;

	if (!d)
		return true;
	atomic_store(&d->env.is_stopping, true);
	link_watch_stop(MOVE(d->watch));
	prober_stop(d->env.prober);
	for (size_t i = 0; i < d->n; i++)
		is_ended &= d->use[i].ops->stop(d->use[i].role);
	is_ended &= ctl_stop(d->env.links);
	is_ended &= announce_stop(d->announce);
	cache_stop(d->env.networks);
	cache_stop(d->env.ports);
	cache_stop(d->env.underlays);
	if (!is_ended)
		return false;
	for (size_t i = 0; i < d->n; i++)
		d->use[i].ops->close(d->use[i].role);
	linkrec_free(d->linkrec);
	announce_free(d->announce);
	env_done(&d->env);
	free(d);
	return true;
}

int netd_health(struct netd *d, struct err *e)
{
	if (!announce_is_held(d->announce))
		return err_set(e, ERR_UNAVAILABLE,
			"etcd does not hear of this machine: does it answer?");
	if (linkrec_health(d->linkrec, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n; i++)
		if (d->use[i].ops->health(d->use[i].role, e) < 0)
			return -1;
	return 0;
}
