#include "ucloud-network/linkrec.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "ucloud-network/nft.h"
#include "ucloud-network/refill.h"

/* How often counters are read, at least. */
#define LOOK_MSEC 30000

struct linkrec {
	struct netenv *env;
	struct announce *announce;
	struct linkrec_role use[LINKREC_ROLES_MAX];
	size_t n;
	struct link_conn *conn;
	struct nft *nft;
	struct plan_idle idle;
	char *filter_wanted; /* the text that was loaded, with counters at 0 */
	char *filter_loaded; /* how the kernel lists it; NULL: not known yet */
	uint32_t
		filter_generation; /* nft_generation() when they were as we loaded them */
	struct filter_counts told; /* what metrics were told of */
	struct log_repeat underlay_log;
	pthread_mutex_t lock; /* guards: */
	char *problem;
};

static struct metric m_ready = { METRIC_GAUGE, "ucloud_network_ready",
	"Networks that are ready on this machine." };
static struct metric m_broken = { METRIC_GAUGE, "ucloud_network_broken",
	"Networks that should be on this machine and are not ready." };
static struct metric m_steps = { METRIC_COUNTER, "ucloud_network_steps_total",
	"Changes of interfaces.", .label = "step" };
static struct metric m_loads = { METRIC_COUNTER, "ucloud_network_filter_loads_total",
	"How often the port filters were loaded." };
static struct metric m_ports = { METRIC_GAUGE, "ucloud_network_ports",
	"Interfaces of VMs that have filters." };
static struct metric m_dropped = { METRIC_COUNTER, "ucloud_network_dropped_total",
	"Frames of VMs that were dropped.", .label = "reason" };

struct linkrec *linkrec_new(struct netenv *env, struct announce *announce,
	const struct linkrec_role *use, size_t n)
{
	struct metric *all[] = { &m_ready, &m_broken, &m_steps, &m_loads, &m_ports,
		&m_dropped };
	struct linkrec *l = xcalloc(1, sizeof(*l));

	l->env = env;
	l->announce = announce;
	l->n = n;
	memcpy(l->use, use, n * sizeof(*use));
	pthread_mutex_init(&l->lock, NULL);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		metric_register(all[i]);
	for (size_t i = 0; i < FILTER_N_REASONS; i++)
		metric_add(&m_dropped, filter_reason_names[i], 0);
	return l;
}

void linkrec_free(struct linkrec *l)
{
	if (!l)
		return;
	link_close(l->conn);
	nft_close(l->nft);
	plan_idle_done(&l->idle);
	free(l->filter_wanted);
	free(l->filter_loaded);
	free(l->problem);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void set_problem(struct linkrec *l, const char *problem)
{
	pthread_mutex_lock(&l->lock);
	str_set(&l->problem, xstrdup(problem));
	pthread_mutex_unlock(&l->lock);
}

int linkrec_health(struct linkrec *l, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (l->problem)
		rc = err_set(e, ERR_CONFLICT, "%s", l->problem);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

/* ---------------------------------------------------------------- what is wanted */

static void add_underlays(struct linkrec *l, struct wanted *w)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	CLEANUP_STR char *own = underlay_address(&l->env->underlay);

	w->underlay = l->env->underlay.address;
	wanted_add_underlay(w, own);
	cache_items_get(l->env->underlays, &items);
	for (size_t i = 0; i < items.len; i++) {
		const struct underlay *u = items.v[i]->obj;

		if (u)
			wanted_add_underlay(w, u->address);
	}
}

static bool get_wanted(struct linkrec *l, struct wanted *w)
{
	bool is_all = true;

	for (size_t i = 0; i < l->n; i++)
		is_all &= l->use[i].ops->want(l->use[i].role, w);
	add_underlays(l, w);
	wanted_sort(w);
	return is_all;
}

/* ---------------------------------------------------------------- interfaces */

static struct plan_conf plan_conf(const struct linkrec *l)
{
	return (struct plan_conf){
		.underlay = l->env->underlay.index,
		.local = l->env->underlay.address,
		.is_unicast = l->env->flood == FLOOD_UNICAST,
		.linger_msec = l->env->linger_sec * 1000,
		.host = l->env->host,
	};
}

static void run_step(struct linkrec *l, const struct step *s,
	const struct plan_conf *conf, struct plan *p)
{
	struct err e = { 0 };

	/* Networks that cannot be made, and those one of whose steps failed. */
	if (plan_problem_of(p, s->vni))
		return;
	if (link_run(l->conn, s, conf, &e) < 0) {
		p->problems = xreallocarray(
			p->problems, p->n_problems + 1, sizeof(*p->problems));
		p->problems[p->n_problems++] =
			(struct plan_problem){ s->vni, xstrdup(e.msg) };
		return;
	}
	metric_add(&m_steps, step_names[s->kind], 1);
	if (s->kind == STEP_ALIAS)
		log_info("network is ready vni=%jd network=%s", (intmax_t)s->vni,
			s->alias);
	else if (s->kind == STEP_DEL)
		log_info("interface removed interface=%s", s->name);
	else
		log_debug("interface changed step=%s interface=%s", step_names[s->kind],
			s->name);
}

/* False: we are stopping, and not all was done. */
static bool run_steps(struct linkrec *l, const struct plan_conf *conf, struct plan *p)
{
	for (size_t i = 0; i < p->len; i++) {
		if (atomic_load(&l->env->is_stopping))
			return false;
		run_step(l, &p->steps[i], conf, p);
	}
	return true;
}

/* Machines that flooded frames go to: all others. */
static int set_floods(struct linkrec *l, const struct wanted *w, struct err *e)
{
	CLEANUP(links_done) struct links links = { 0 };
	struct in6_addr *to;
	size_t n = 0;
	int rc = 0;

	if (l->env->flood != FLOOD_UNICAST || w->n_nets == 0)
		return 0;
	if (link_list(l->conn, &links, e) < 0)
		return -1;
	to = xcalloc(w->n_underlays, sizeof(*to));
	for (size_t i = 0; i < w->n_underlays; i++)
		if (memcmp(&w->underlays[i], &l->env->underlay.address, sizeof(*to)) != 0)
			to[n++] = w->underlays[i];
	for (size_t i = 0; rc == 0 && i < links.len; i++) {
		if (atomic_load(&l->env->is_stopping))
			break;
		if (wanted_find_net(w, plan_vni_of(links.v[i].name, "ucv")) &&
			links.v[i].group == PLAN_GROUP)
			rc = link_set_flood(l->conn, links.v[i].index, to, n, e);
	}
	free(to);
	return rc;
}

static void tell(struct linkrec *l, const struct wanted *w, const struct plan *p)
{
	size_t n_broken = 0;

	for (size_t i = 0; i < w->n_nets; i++) {
		const struct want_net *n = &w->nets[i];
		const char *problem = plan_problem_of(p, n->vni);

		n_broken += problem != NULL;
		if (l->announce)
			announce_put(l->announce, n->uuid, &n->roles, problem);
	}
	metric_set(&m_ready, NULL, (double)(w->n_nets - n_broken));
	metric_set(&m_broken, NULL, (double)n_broken);
	metric_set(&m_ports, NULL, (double)w->n_ports);
}

/* The first problem, for the log and /healthz. */
static int result_of(struct linkrec *l, const struct plan *p, struct err *e)
{
	if (p->n_problems == 0) {
		set_problem(l, NULL);
		return 0;
	}
	err_set(e, ERR_CONFLICT, "%zu networks are not as they should be: %jd: %s",
		p->n_problems, (intmax_t)p->problems[0].vni, p->problems[0].text);
	set_problem(l, e->msg);
	return -1;
}

/* ---------------------------------------------------------------- filters */

static void count(struct linkrec *l, const struct filter_counts *now)
{
	for (size_t i = 0; i < FILTER_N_REASONS; i++) {
		if (now->packets[i] > l->told.packets[i])
			metric_add(&m_dropped, filter_reason_names[i],
				(double)(now->packets[i] - l->told.packets[i]));
	}
	l->told = *now;
}

static bool is_generation(const struct linkrec *l)
{
	struct err ignored = { 0 };
	uint32_t now;

	return nft_generation(l->nft, &now, &ignored) == 0 && now == l->filter_generation;
}

/* `known`: what is there; NULL: it is not known, or not ours. */
static int load_text(
	struct linkrec *l, const char *known, const char *text, struct err *e)
{
	CLEANUP(buf_done) struct buf again = { 0 };
	struct err why = { 0 };

	if (!refill_fits(known, text))
		return nft_load(l->nft, text, e);
	refill_text(text, &again);
	if (nft_load(l->nft, buf_str(&again), &why) == 0)
		return 0;
	/* An older version's sets have other types, perhaps. */
	log_info("filters are made anew: %s", why.msg);
	return nft_load(l->nft, text, e);
}

static int load_filters(struct linkrec *l, const struct wanted *w,
	const struct filter_counts *counts, const char *known, const char *text,
	struct err *e)
{
	CLEANUP(buf_done) struct buf counted = { 0 };

	filter_text(w, counts, &counted);
	if (load_text(l, known, buf_str(&counted), e) < 0 ||
		nft_generation(l->nft, &l->filter_generation, e) < 0)
		return -1;
	metric_add(&m_loads, NULL, 1);
	str_set(&l->filter_wanted, xstrdup(text));
	str_set(&l->filter_loaded, NULL);
	return 0;
}

/* What was loaded, to compare with later on. Listing it takes as long as loading it, so it is
 * done when all else is; unless somebody changed any rules meanwhile: then it is loaded again. */
static void note_filters(struct linkrec *l)
{
	CLEANUP_STR char *there = NULL;

	if (!l->filter_wanted || l->filter_loaded || !is_generation(l))
		return;
	there = nft_list(l->nft);
	if (is_generation(l))
		l->filter_loaded = MOVE(there);
}

/* Is loaded what was loaded by us? Others' rules change the generation, too. */
static bool is_as_loaded(struct linkrec *l)
{
	CLEANUP_STR char *there = NULL;
	struct err ignored = { 0 };
	uint32_t now;

	if (!l->filter_loaded || nft_generation(l->nft, &now, &ignored) < 0)
		return false;
	if (now == l->filter_generation)
		return true;
	there = nft_list(l->nft);
	if (!there || !str_eq(there, l->filter_loaded))
		return false;
	l->filter_generation = now;
	return true;
}

static int set_filters(struct linkrec *l, const struct wanted *w, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP_STR char *known = NULL;
	struct filter_counts counts = { 0 };
	struct err why = { 0 };
	bool is_same, is_ours;

	if (nft_counts(l->nft, &counts, &why) == 0)
		count(l, &counts);
	filter_text(w, NULL, &text);
	if (filter_has_closed(w) && nft_check_bridges(e) < 0)
		return -1;
	is_same = str_eq(buf_str(&text), l->filter_wanted);
	is_ours = is_as_loaded(l);
	if (is_same && is_ours)
		return 0;
	if (is_same && l->filter_loaded)
		log_warn("somebody changed the port filters; they are loaded again");
	/* Also what an earlier one of us left. */
	if (is_ours)
		known = xstrdup(l->filter_loaded);
	else if (!l->filter_wanted)
		known = nft_list(l->nft);
	l->told = counts;
	return load_filters(l, w, &counts, known, buf_str(&text), e);
}

/* ---------------------------------------------------------------- all of it */

static int open_all(struct linkrec *l, struct err *e)
{
	if (!l->conn && link_open(&l->conn, e) < 0)
		return -1;
	if (!l->nft && nft_open(&l->nft, e) < 0)
		return -1;
	return 0;
}

static int settle(struct linkrec *l, const struct wanted *w, struct err *e)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->use[i].ops->settle &&
			l->use[i].ops->settle(l->use[i].role, w, e) < 0)
			return -1;
	return set_floods(l, w, e);
}

/* STOPPED: what was not done is nobody's business. */
enum { STOPPED = 1 };

static int make_links(struct linkrec *l, const struct wanted *w, bool is_all,
	int64_t *after_msec, struct err *e)
{
	CLEANUP(links_done) struct links links = { 0 };
	CLEANUP(plan_done) struct plan p = { 0 };
	struct plan_conf conf;
	int64_t now_msec = clock_mono_msec();

	if (link_list(l->conn, &links, e) < 0 ||
		underlay_check(
			&links, l->conn, l->env->underlay.name, &l->env->underlay, e) < 0)
		return -1;
	if (l->announce)
		announce_underlay(l->announce);
	conf = plan_conf(l);
	plan_links(w, &links, &conf, is_all, now_msec, &l->idle, &p);
	if (!run_steps(l, &conf, &p))
		return STOPPED;
	tell(l, w, &p);
	if (l->announce && is_all)
		announce_sweep(l->announce);
	if (p.next_msec >= 0 && p.next_msec - now_msec < *after_msec)
		*after_msec = p.next_msec - now_msec;
	if (settle(l, w, e) < 0)
		return -1;
	return result_of(l, &p, e);
}

enum wq_result linkrec_reconcile(struct linkrec *l, int64_t *after_msec, struct err *e)
{
	CLEANUP(wanted_done) struct wanted w = { 0 };
	bool is_all;
	int rc;

	*after_msec = LOOK_MSEC;
	if (open_all(l, e) < 0)
		return WQ_RETRY;
	is_all = get_wanted(l, &w);
	/* Filters first: a tap that comes with its network finds its own. */
	if (is_all && set_filters(l, &w, e) < 0) {
		set_problem(l, e->msg);
		return WQ_RETRY;
	}
	rc = make_links(l, &w, is_all, after_msec, e);
	note_filters(l);
	if (rc < 0) {
		set_problem(l, e->msg);
		*after_msec = 0;
		return WQ_RETRY;
	}
	return WQ_AGAIN;
}
