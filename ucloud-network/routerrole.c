/*
 * The role "router": has all networks that have a prefix, with the router's address in them,
 * forwards, announces the `auto` ones (radvdrun.h), tells BIRD of the routes (birdctl.h), and
 * one of all routers hands out ids and prefixes (netlead.h).
 *
 * What it does is said by the networks' entries alone. Without etcd it goes on with those that
 * it last saw.
 */
#include "ucloud-network/routerrole.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/names.h"
#include "ucloud-network/bird.h"
#include "ucloud-network/birdctl.h"
#include "ucloud-network/link_addr.h"
#include "ucloud-network/netlead.h"
#include "ucloud-network/radvd.h"
#include "ucloud-network/radvdrun.h"
#include "ucloud-network/role.h"

#define BIRD_MSEC 5000
/* What did not work is tried again. */
#define AGAIN_MSEC 5000

struct routerrole {
	struct netenv *env;
	const struct router_conf *conf;
	struct alloc_pools pools;
	struct netlead *lead;
	struct radvdrun *radvd;
	struct link_conn *conn; /* of the links' thread */
	char *bird_text;	/* what BIRD was told of; NULL: nothing yet */
	struct log_repeat trouble;
	_Atomic int64_t underlay_mtu; /* of this machine, as links' thread saw it last */
	pthread_mutex_t lock;	      /* guards: */
	char *problem;
};

static struct metric m_routed = { METRIC_GAUGE, "ucloud_network_routed",
	"Networks that this router routes." };
static struct metric m_announced = { METRIC_GAUGE, "ucloud_network_announced",
	"Networks in which this router sends advertisements." };

/* ---------------------------------------------------------------- options */

#define AT(member) offsetof(struct router_conf, member)

const struct conf_opt router_opts[] = {
	{ "vni_min", CONF_INT, AT(vni_min), .def = "100", .min = ALLOC_VNI_MIN,
		.max = ALLOC_VNI_MAX, .meta = "ID",
		.help = "router: lowest VXLAN id that is given to networks" },
	{ "vni_max", CONF_INT, AT(vni_max), .def = "65535", .min = ALLOC_VNI_MIN,
		.max = ALLOC_VNI_MAX, .meta = "ID", .help = "router: highest one" },
	{ "quarantine", CONF_DURATION, AT(quarantine), .def = "1h", .max = 31536000,
		.meta = "TIME",
		.help = "router: how long the id and prefix of a deleted network rest "
			"before another one gets them; longer than linger of the hosts" },
	{ "run_dir", CONF_STR, AT(run_dir), .def = "/run/ucloud-network", .meta = "DIR",
		.help = "router: directory of radvd's configuration" },
	{ "radvd", CONF_STR, AT(radvd), .def = "radvd", .meta = "PROGRAM",
		.help = "router: radvd, which announces networks" },
	{ "dns", CONF_STRV, AT(dns), .meta = "ADDRESS", .check = ipv6_check,
		.help = "router: DNS server that is announced in networks that name "
			"none; repeatable" },
	{ "dns_search", CONF_STRV, AT(dns_search), .meta = "DOMAIN",
		.check = hostname_check,
		.help = "router: domain in which VMs look for short names; repeatable" },
	{ "bird_include", CONF_STR, AT(bird_include), .meta = "FILE",
		.help = "router: file with the routes, for BIRD 2 to include (protocol "
			"ucloud_networks)" },
	{ "bird_socket", CONF_STR, AT(bird_socket), .meta = "PATH",
		.help = "router: BIRD's control socket; it is told when the file "
			"changes" },
	{ 0 },
};

int router_conf_check(
	const struct router_conf *c, const struct strv *prefixes, struct err *e)
{
	struct alloc_pools pools = { 0 };

	if (c->vni_min > c->vni_max)
		return err_set_field(e, ERR_INVALID, "vni_max",
			"vni_max must not be below vni_min, which is %jd",
			(intmax_t)c->vni_min);
	if (!str_is_empty(c->bird_socket) && str_is_empty(c->bird_include))
		return err_set_field(e, ERR_INVALID, "bird_include",
			"bird_socket is given, so bird_include must be, too");
	if (alloc_pools_parse(prefixes, &pools, e) < 0)
		return err_wrap(e, "prefix");
	alloc_pools_done(&pools);
	return 0;
}

/* ---------------------------------------------------------------- which networks */

static bool is_routed(const struct network *n)
{
	return n && n->vni > 0 && n->ipam != IPAM_NONE && !str_is_empty(n->prefix);
}

static int compare_items(const void *a, const void *b)
{
	const struct cache_item *const *x = a, *const *y = b;
	const struct network *m = (*x)->obj, *n = (*y)->obj;

	return (m->vni > n->vni) - (m->vni < n->vni);
}

/* Those that are routed, by id. */
static void get_routed(struct routerrole *r, struct cache_items *out)
{
	size_t n = 0;

	cache_items_get(r->env->networks, out);
	for (size_t i = 0; i < out->len; i++) {
		if (is_routed(out->v[i]->obj))
			out->v[n++] = out->v[i];
		else
			cache_item_put(out->v[i]);
	}
	out->len = n;
	if (n > 0)
		qsort(out->v, n, sizeof(const struct cache_item *), compare_items);
}

static bool want(void *role, struct wanted *w)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct routerrole *r = role;

	if (!cache_is_synced(r->env->networks))
		return false;
	get_routed(r, &items);
	for (size_t i = 0; i < items.len; i++) {
		wanted_add_net(w, items.v[i]->obj, "router", true, r->env->underlay.mtu);
		wanted_add_router(w, items.v[i]->obj);
	}
	return true;
}

/* The smallest underlay that is known, so that frames of any machine fit anywhere. */
static int64_t network_mtu(void *aux)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct routerrole *r = aux;
	int64_t mtu = atomic_load(&r->underlay_mtu);

	cache_items_get(r->env->underlays, &items);
	for (size_t i = 0; i < items.len; i++) {
		const struct underlay *u = items.v[i]->obj;

		if (u && u->mtu >= UNDERLAY_MTU_MIN && u->mtu < mtu)
			mtu = u->mtu;
	}
	return mtu - NETWORK_OVERHEAD;
}

/* ---------------------------------------------------------------- what is made so */

static int settle_net(struct routerrole *r, const struct link_addrs *there,
	const struct network *n, struct err *e)
{
	CLEANUP_STR char *text = network_router_address(n->prefix);
	char bridge[NETWORK_NAME_SIZE];
	struct in6_addr address;
	int rc;

	network_bridge_name(n->vni, bridge);
	if (!text || inet_pton(AF_INET6, text, &address) != 1)
		return err_set(
			e, ERR_INVALID, "%s: the prefix %s is none", bridge, n->prefix);
	if (link_forward(bridge, e) < 0)
		return -1;
	rc = link_addr_ensure(r->conn, there, bridge, &address, e);
	if (rc > 0)
		log_info("network is routed network=%s interface=%s address=%s", n->uuid,
			bridge, text);
	return rc < 0 ? -1 : 0;
}

/* One that does not work holds up no other. */
static int settle_nets(struct routerrole *r, const struct wanted *w,
	const struct cache_items *items, struct err *e)
{
	CLEANUP(link_addrs_done) struct link_addrs there = { 0 };
	size_t n = 0;
	int rc = 0;

	if (!r->conn && link_open(&r->conn, e) < 0)
		return -1;
	if (link_addr_list(r->conn, &there, e) < 0)
		return -1;
	for (size_t i = 0; i < items->len; i++) {
		const struct network *net = items->v[i]->obj;
		const struct want_net *made = wanted_find_net(w, net->vni);
		struct err why = { 0 };

		if (atomic_load(&r->env->is_stopping))
			return 0;
		/* It says itself what is wrong with it. */
		if (!made || made->problem)
			continue;
		if (settle_net(r, &there, net, &why) == 0)
			n++;
		else if (rc == 0)
			rc = err_set(e, why.kind, "%s", why.msg);
	}
	metric_set(&m_routed, NULL, (double)n);
	return rc;
}

static int settle_radvd(
	struct routerrole *r, const struct cache_items *items, struct err *e)
{
	const struct radvd_conf conf = { &r->conf->dns, &r->conf->dns_search };
	CLEANUP(buf_done) struct buf text = { 0 };
	struct radvd_net *nets = xcalloc(items->len + 1, sizeof(*nets));
	size_t n = 0;
	int rc;

	for (size_t i = 0; i < items->len; i++) {
		const struct network *net = items->v[i]->obj;

		if (net->ipam == IPAM_AUTO)
			nets[n++] = (struct radvd_net){ net->vni, net->prefix, net->mtu,
				&net->dns };
	}
	radvd_text(nets, n, &conf, &text);
	rc = radvdrun_set(r->radvd, buf_str(&text), n > 0, e);
	if (rc == 0)
		metric_set(&m_announced, NULL, (double)n);
	free(nets);
	return rc;
}

/* By a name that is always the same: a crash leaves one file at most. */
static int place_bird(const char *path, const struct buf *text, struct err *e)
{
	CLEANUP_STR char *new_path = xasprintf("%s.new", path);
	int rc = 0;

	CRASH_POINT("bird.include.before");
	if (file_write(new_path, text->s, text->size, 0644, FILE_IN_PLACE, e) < 0)
		return -1;
	CRASH_POINT("bird.include.written");
	if (rename(new_path, path) < 0)
		rc = err_errno(e, errno, "%s", path);
	CRASH_POINT("bird.include.after");
	return rc;
}

static int settle_bird(
	struct routerrole *r, const struct cache_items *items, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	uint64_t *prefixes;
	size_t n = 0;

	if (str_is_empty(r->conf->bird_include))
		return 0;
	prefixes = xcalloc(items->len + 1, sizeof(*prefixes));
	for (size_t i = 0; i < items->len; i++) {
		const struct network *net = items->v[i]->obj;

		n += alloc_prefix_parse(net->prefix, &prefixes[n], NULL) == 0;
	}
	bird_text(&r->pools, prefixes, n, &text);
	free(prefixes);
	if (str_eq(buf_str(&text), r->bird_text))
		return 0;
	if (place_bird(r->conf->bird_include, &text, e) < 0)
		return -1;
	if (!str_is_empty(r->conf->bird_socket) &&
		birdctl_configure(r->conf->bird_socket, BIRD_MSEC, e) < 0)
		return -1;
	log_info("bird was told of the routes file=%s", r->conf->bird_include);
	str_set(&r->bird_text, buf_take(&text));
	return 0;
}

static void note(struct routerrole *r, const char *problem)
{
	pthread_mutex_lock(&r->lock);
	str_set(&r->problem, xstrdup(problem));
	pthread_mutex_unlock(&r->lock);
}

/* All of it, whatever else does not work; the first reason. */
static int settle_all(struct routerrole *r, const struct wanted *w, struct err *e)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct err why[3] = { 0 };

	get_routed(r, &items);
	(void)!settle_nets(r, w, &items, &why[0]);
	(void)!settle_radvd(r, &items, &why[1]);
	(void)!settle_bird(r, &items, &why[2]);
	for (size_t i = 0; i < ARRAY_LEN(why); i++)
		if (why[i].kind != ERR_NONE)
			return err_set(e, why[i].kind, "%s", why[i].msg);
	return 0;
}

/* What does not work here is no reason that networks are not ready: it is told by health(). */
static int settle(void *role, const struct wanted *w, struct err *e)
{
	struct routerrole *r = role;
	struct err why = { 0 };

	(void)e;
	atomic_store(&r->underlay_mtu, r->env->underlay.mtu);
	if (!cache_is_synced(r->env->networks))
		return 0;
	if (settle_all(r, w, &why) == 0) {
		log_repeat_end(&r->trouble, "networks are routed again");
		note(r, NULL);
		return 0;
	}
	log_repeat(&r->trouble, LOG_WARN, "%s", why.msg);
	note(r, why.msg);
	ctl_add_after(r->env->links, LINKS_KEY, AGAIN_MSEC);
	return 0;
}

/* ---------------------------------------------------------------- the role */

static void *open_role(struct netenv *env)
{
	struct routerrole *r = xcalloc(1, sizeof(*r));
	struct netlead_conf lead = { .keys = &env->keys,
		.lease_ttl_sec = env->lease_ttl_sec,
		.resync_sec = env->resync_sec,
		.mtu = network_mtu,
		.aux = r };
	struct err e = { 0 };

	metric_register(&m_routed);
	metric_register(&m_announced);
	r->env = env;
	r->conf = env->router;
	atomic_store(&r->underlay_mtu, env->underlay.mtu);
	pthread_mutex_init(&r->lock, NULL);
	if (alloc_pools_parse(&env->prefixes, &r->pools, &e) < 0)
		log_error("%s", e.msg);
	lead.rec = (struct netrec_conf){ r->conf->vni_min, r->conf->vni_max, r->pools,
		r->conf->quarantine };
	r->lead = netlead_new(env->kv, &lead);
	r->radvd = radvdrun_new(r->conf->radvd, r->conf->run_dir);
	return r;
}

static void start(void *role)
{
	struct routerrole *r = role;

	radvdrun_start(r->radvd);
	netlead_start(r->lead);
}

static int health(void *role, struct err *e)
{
	struct routerrole *r = role;
	int rc = 0;

	if (!netlead_is_synced(r->lead))
		return err_set(e, ERR_UNAVAILABLE,
			"the requests have not been read yet: does etcd answer?");
	pthread_mutex_lock(&r->lock);
	if (r->problem)
		rc = err_set(e, ERR_UNAVAILABLE, "%s", r->problem);
	pthread_mutex_unlock(&r->lock);
	return rc == 0 ? radvdrun_health(r->radvd, e) : rc;
}

static bool stop(void *role)
{
	struct routerrole *r = role;

	radvdrun_stop(r->radvd);
	return netlead_stop(r->lead);
}

static void close_role(void *role)
{
	struct routerrole *r = role;

	netlead_free(r->lead);
	radvdrun_free(r->radvd);
	link_close(r->conn);
	alloc_pools_done(&r->pools);
	free(r->bird_text);
	free(r->problem);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

const struct role_ops router_role = { .name = "router",
	.open = open_role,
	.start = start,
	.want = want,
	.settle = settle,
	.health = health,
	.stop = stop,
	.close = close_role };
