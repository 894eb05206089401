#include "ucloud-network/prober.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/names.h"
#include "common/store/cond.h"
#include "ucloud-network/probe_answer.h"
#include "ucloud-network/probe_ask.h"

/* Switches take this long to learn that somebody joined a group; several changes are one. */
#define SETTLE_MSEC 3000
#define ROUND_MSEC  3000

struct prober {
	struct netenv *env;
	struct prober_conf conf;
	pthread_t thread;
	bool is_started;
	int stop; /* eventfd: can be read once we are stopping */
	struct probe_answer *answer;
	struct underlay_if answered; /* what `answer` was started with */
	struct probe_memory memory;
	struct log_repeat trouble, ask_trouble;
	atomic_bool is_known_stale;
	/* Of the answering thread. */
	struct in6_addr *known; /* sorted */
	size_t n_known;
	pthread_mutex_t lock; /* guards: */
	pthread_cond_t cond;
	bool is_stopping;
	struct underlay_if underlay;
	int64_t next_msec, full_msec; /* of some that matter; of all */
};

static struct metric m_unreached = { METRIC_GAUGE, "ucloud_network_unreached",
	"Other machines that what is sent over the underlay does not reach.",
	.label = "kind" };

/* ---------------------------------------------------------------- who may ask */

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct in6_addr));
}

static void read_known(struct prober *p)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(p->env->underlays, &items);
	p->known = xreallocarray(p->known, items.len + 1, sizeof(*p->known));
	p->n_known = 0;
	for (size_t i = 0; i < items.len; i++) {
		const struct underlay *u = items.v[i]->obj;

		if (u && u->address &&
			inet_pton(AF_INET6, u->address, &p->known[p->n_known]) == 1)
			p->n_known++;
	}
	qsort(p->known, p->n_known, sizeof(*p->known), compare_addresses);
}

static bool is_known(void *aux, const struct in6_addr *from)
{
	struct prober *p = aux;

	if (atomic_exchange(&p->is_known_stale, false))
		read_known(p);
	return p->n_known > 0 && bsearch(from, p->known, p->n_known, sizeof(*p->known),
					 compare_addresses) != NULL;
}

/* Answers on the underlay as it is now. */
static void ensure_answer(struct prober *p, const struct underlay_if *u)
{
	struct err e = { 0 };

	if (p->answer && p->answered.index == u->index &&
		memcmp(&p->answered.address, &u->address, sizeof(u->address)) == 0)
		return;
	probe_answer_stop(MOVE(p->answer));
	p->answered = *u;
	if (probe_answer_start(u, p->conf.port, is_known, p, &p->answer, &e) < 0)
		log_repeat(&p->trouble, LOG_WARN,
			"other machines cannot find out whether they reach this one: %s",
			e.msg);
	else
		log_repeat_end(&p->trouble, "other machines are answered again");
}

/* ---------------------------------------------------------------- whom we ask */

/* All other machines. */
static void get_machines(
	struct prober *p, const struct underlay_if *u, struct probe_targets *out)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(p->env->underlays, &items);
	for (size_t i = 0; i < items.len; i++) {
		const struct underlay *other = items.v[i]->obj;

		if (other && !str_eq(items.v[i]->name, p->env->host) &&
			hostname_check(items.v[i]->name, NULL) == 0)
			probe_targets_add(out, items.v[i]->name, other->address,
				other->mtu, &u->address, u->mtu);
	}
}

/* Leaves those out that are as they were, and were reached. */
static void leave_due(const struct probe_memory *m, struct probe_targets *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->len; i++) {
		if (probe_memory_is_due(m, &t->v[i]))
			t->v[kept++] = t->v[i];
		else
			free(t->v[i].host);
	}
	t->len = kept;
}

/* ---------------------------------------------------------------- a round */

static void tell(struct prober *p, const struct probe_targets *t)
{
	CLEANUP(buf_done) struct buf healed = { 0 };

	for (int lack = 0; lack < PROBE_N_LACKS; lack++) {
		CLEANUP(buf_done) struct buf text = { 0 };

		if (probe_tell(t, (enum probe_lack)lack, true, p->conf.port, &text))
			log_warn("%s", buf_str(&text));
		metric_set(&m_unreached, probe_lack_names[lack],
			(double)probe_memory_count(&p->memory, (enum probe_lack)lack));
	}
	if (probe_tell_healed(t, &healed))
		log_info("%s", buf_str(&healed));
}

/* Whom we asked may be gone by now: then it was about to. */
static void leave_present(
	struct prober *p, const struct underlay_if *u, struct probe_targets *t)
{
	CLEANUP(probe_targets_done) struct probe_targets now = { 0 };

	get_machines(p, u, &now);
	probe_memory_keep(&p->memory, &now);
	probe_targets_keep(t, &now);
}

/* False: it has to be tried again. */
static bool ask(struct prober *p, const struct underlay_if *u, bool is_full)
{
	CLEANUP(probe_targets_done) struct probe_targets t = { 0 };
	const struct probe_ask how = { .underlay = u,
		.port = p->conf.port,
		.is_multicast = p->env->flood == FLOOD_MULTICAST,
		.limit_msec = p->conf.round_msec,
		.stop_fd = p->stop };
	struct err e = { 0 };
	int rc;

	get_machines(p, u, &t);
	if (!is_full)
		leave_due(&p->memory, &t);
	rc = t.len > 0 ? probe_ask(&how, &t, &e) : 0;
	if (rc < 0)
		log_repeat(&p->ask_trouble, LOG_WARN, "%s", e.msg);
	if (rc != 0)
		return false;
	leave_present(p, u, &t);
	probe_memory_note(&p->memory, probe_asked(&how), &t);
	tell(p, &t);
	return true;
}

/* The next one is soon when something lacks: when it is said, and when it is mended. A machine
 * that died is gone from etcd by then. */
static int64_t pause_msec(const struct prober *p, bool is_done)
{
	if (!is_done || probe_memory_has_lacks(&p->memory))
		return p->conf.again_msec;
	return p->env->resync_sec * 1000;
}

static void plan_next(struct prober *p, int64_t after_msec)
{
	int64_t at_msec = clock_mono_msec() + after_msec;

	if (at_msec < p->next_msec)
		p->next_msec = at_msec;
}

/* The lock is held. */
static void round_of(struct prober *p, int64_t now_msec)
{
	struct underlay_if underlay = p->underlay;
	bool is_full = now_msec >= p->full_msec, is_done = false;

	p->next_msec = INT64_MAX;
	if (is_full)
		p->full_msec = now_msec + p->env->resync_sec * 1000;
	pthread_mutex_unlock(&p->lock);
	ensure_answer(p, &underlay);
	if (cache_is_synced(p->env->underlays))
		is_done = ask(p, &underlay, is_full);
	pthread_mutex_lock(&p->lock);
	plan_next(p, pause_msec(p, is_done));
}

static void *run(void *aux)
{
	struct prober *p = aux;

	pthread_mutex_lock(&p->lock);
	while (!p->is_stopping) {
		int64_t now_msec = clock_mono_msec();
		struct timespec until;

		if (now_msec >= p->next_msec) {
			round_of(p, now_msec);
			continue;
		}
		until = cond_deadline(p->next_msec - now_msec);
		cond_wait_until(&p->cond, &p->lock, &until);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---------------------------------------------------------------- from outside */

void prober_poke(struct prober *p)
{
	if (!p)
		return;
	atomic_store(&p->is_known_stale, true);
	pthread_mutex_lock(&p->lock);
	plan_next(p, p->conf.settle_msec);
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

void prober_set_underlay(struct prober *p, const struct underlay_if *u)
{
	bool is_other;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	is_other = p->underlay.index != u->index || p->underlay.mtu != u->mtu ||
		   memcmp(&p->underlay.address, &u->address, sizeof(u->address)) != 0;
	p->underlay = *u;
	if (is_other) {
		p->full_msec = 0;
		plan_next(p, 0);
		pthread_cond_broadcast(&p->cond);
	}
	pthread_mutex_unlock(&p->lock);
}

struct prober *prober_new(struct netenv *env, const struct prober_conf *conf)
{
	struct prober *p;

	if (conf->port == 0)
		return NULL;
	p = xcalloc(1, sizeof(*p));
	p->env = env;
	p->conf = *conf;
	if (!p->conf.settle_msec)
		p->conf.settle_msec = SETTLE_MSEC;
	if (!p->conf.round_msec)
		p->conf.round_msec = ROUND_MSEC;
	if (!p->conf.again_msec)
		p->conf.again_msec = env->lease_ttl_sec * 1000 + p->conf.settle_msec;
	p->underlay = env->underlay;
	p->stop = -1;
	p->is_known_stale = true;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->cond);
	metric_register(&m_unreached);
	for (int lack = 0; lack < PROBE_N_LACKS; lack++)
		metric_set(&m_unreached, probe_lack_names[lack], 0);
	return p;
}

void prober_start(struct prober *p)
{
	int rc;

	if (!p)
		return;
	ensure_answer(p, &p->underlay);
	p->next_msec = clock_mono_msec() + p->conf.settle_msec;
	p->stop = eventfd(0, EFD_CLOEXEC);
	rc = p->stop < 0 ? errno : pthread_create(&p->thread, NULL, run, p);
	p->is_started = rc == 0;
	if (rc != 0)
		log_error("other machines are not checked: %s", strerrordesc_np(rc));
}

void prober_stop(struct prober *p)
{
	const uint64_t one = 1;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_stopping = true;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	while (p->stop >= 0 && write(p->stop, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	if (p->is_started)
		pthread_join(p->thread, NULL);
	p->is_started = false;
	probe_answer_stop(MOVE(p->answer));
}

void prober_free(struct prober *p)
{
	if (!p)
		return;
	prober_stop(p);
	if (p->stop >= 0)
		close(p->stop);
	probe_memory_done(&p->memory);
	free(p->known);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
