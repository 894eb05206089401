#include "ucloud-scheduler/placerec.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/store/backoff.h"
#include "ucloud-scheduler/commit.h"
#include "ucloud-scheduler/place.h"
#include "ucloud-scheduler/view.h"

#define N_THREADS	6
#define PASS_MAX_MSEC	100 /* then the news are taken in first */
#define PASS_INTERVAL	20  /* msec after a pass that has sent something: so they share */
#define PASS_PAUSE	1   /* msec after one that has not */
#define VM_BEHIND_MSEC	300 /* how long the watch of VMs may lag behind the requests' */
#define WHY_STABLE_MSEC 300 /* reasons that hold for so long are told */
#define WHY_FIRST_MSEC	2000 /* between two writes of a VM's reasons; doubled while they */
#define WHY_MAX_MSEC	30000 /* keep changing, */
#define WHY_CALM_MSEC	60000 /* until they have not for so long */
#define WHY_PER_SEC	500 /* written for all VMs together, when a host's change does it */

struct placerec {
	struct sched *s;
	struct commit *commit;
	/* All of the following belongs to the pass. */
	struct view view;
	struct snap *snap; /* the view's */
	struct placer *placer;
	uint64_t n_places;
	int64_t next_pass_msec;
	bool was_full;
	struct log_repeat failures;
	/* Of the pass under way. */
	int64_t mono_msec, unix_msec;
	bool has_sent;
	int64_t wait_msec; /* until something is due, -1 never */
};

static struct metric m_placements = { METRIC_COUNTER, "ucloud_scheduler_placements_total",
	"VMs that were given a host." };
static struct metric m_waiting = { METRIC_GAUGE, "ucloud_scheduler_waiting_vms",
	"Requests to place a VM that are open." };
static struct metric m_pass = { METRIC_HISTOGRAM, "ucloud_scheduler_pass_seconds",
	"Duration of a pass over the waiting VMs." };
static void on_results(void *aux)
{
	struct placerec *p = aux;

	ctl_add(p->s->ctl, SCHED_KEY_PLACE);
}

static bool has_lock(void *aux, int64_t fence)
{
	struct placerec *p = aux;

	return atomic_load(&p->s->fence) == fence;
}

struct placerec *placerec_new(struct sched *s)
{
	struct placerec *p = xcalloc(1, sizeof(*p));
	struct commit_conf conf = {
		.kv = s->kv,
		.keys = &s->conf->keys,
		.lock_key = s->lock_key,
		.n_threads = N_THREADS,
		.on_results = on_results,
		.has_lock = has_lock,
		.aux = p,
	};

	p->s = s;
	view_init(&p->view, s);
	p->commit = commit_new(&conf);
	metric_register(&m_placements);
	metric_register(&m_waiting);
	metric_register(&m_pass);
	return p;
}

void placerec_start(struct placerec *p)
{
	commit_start(p->commit);
}

void placerec_stop(struct placerec *p)
{
	commit_stop(p->commit);
}

void placerec_free(struct placerec *p)
{
	if (!p)
		return;
	commit_free(p->commit);
	placer_free(p->placer);
	view_done(&p->view);
	free(p);
}

bool placerec_changed(struct placerec *p, enum dirty_kind kind, const char *name)
{
	return view_changed(&p->view, kind, name);
}

void placerec_lost(struct placerec *p)
{
	view_lost(&p->view);
}

/* ---------------------------------------------------------------- what came of the orders */

static void log_done(const struct order *o)
{
	switch (o->kind) {
	case ORDER_PLACE:
		metric_add(&m_placements, NULL, 1);
		log_info("VM is placed vm=%s host=%s", o->uuid, o->host);
		break;
	case ORDER_WAIT:
		log_info("VM waits for a host: %s vm=%s", o->why, o->uuid);
		break;
	case ORDER_EXPIRE:
		log_warn("VM has waited too long: %s vm=%s", o->why, o->uuid);
		break;
	case ORDER_STOP:
	case ORDER_DROP:
		log_info("request is dropped: the VM does not wait for a host vm=%s",
			o->uuid);
		break;
	}
}

static void take_result(struct placerec *p, const struct order *o)
{
	struct pend *pend = pends_find(&p->view.pends, o->uuid);

	if (o->result == ORDER_DONE) {
		log_done(o);
		log_repeat_end(&p->failures, "placements are written again");
	}
	if (o->result == ORDER_FAILED) /* which VM would make each line another one */
		log_repeat(
			&p->failures, LOG_WARN, "cannot write placements: %s", o->error);
	if (!pend || pend->sent != o)
		return;
	pend->sent = NULL;
	if (o->result == ORDER_DONE) {
		/* A new request for the VM may have come already. */
		pend->is_done =
			o->kind != ORDER_WAIT && pend->request_rev == o->request->mod_rev;
		pend->min_vm_rev = o->done_rev;
		pend->n_failures = 0;
		return;
	}
	/* When nobody knows whether it happened, the room stays taken. */
	if (o->kind == ORDER_PLACE && o->result != ORDER_UNSURE)
		snap_forget(p->snap, o->uuid);
	pend->why_msec = 0;
	pend->why_mask = 0;
	pend_failed(pend, p->mono_msec);
}

static void take_results(struct placerec *p)
{
	struct order *list = commit_take_results(p->commit), *o;

	while ((o = list)) {
		list = o->next;
		take_result(p, o);
		order_free(o);
	}
}

/* ---------------------------------------------------------------- one waiting VM */

static void due_in(struct placerec *p, int64_t msec)
{
	if (msec < 1)
		msec = 1;
	if (p->wait_msec < 0 || msec < p->wait_msec)
		p->wait_msec = msec;
}

/* Takes why. */
static void send(struct placerec *p, struct pend *pend, struct order *o, char *why)
{
	o->why = why;
	pend->sent = o;
	p->has_sent = true;
	commit_submit(p->commit, o, p->view.fence);
}

static void place(struct placerec *p, struct pend *pend, struct snap_vm *vm,
	const struct place_ask *ask, const struct place_result *r, struct order *o)
{
	const struct snap_host *host = &p->snap->hosts[r->host];

	o->kind = ORDER_PLACE;
	o->host = xstrdup(snap_host_name(p->snap, r->host));
	o->host_rev = host->mod_rev;
	o->is_local = p->snap->stores[vm->store].is_local;
	send(p, pend, o, place_why(p->snap, ask, r));
	snap_assume(p->snap, vm, r->host, o->is_local);
	p->n_places++;
}

/* The kinds of reasons, as bits. */
static uint32_t mask_of(
	const struct snap *s, const struct place_ask *ask, const struct place_result *r)
{
	uint32_t mask = 1U << 31;

	for (int i = 0; i < PLACE_N_REASONS; i++)
		mask |= r->n[i] ? 1U << i : 0;
	mask |= r->n_seen ? 1U << 30 : 0;
	mask |= s->stores[ask->store].is_known ? 1U << 29 : 0;
	return mask;
}

static int64_t why_interval(const struct pend *pend)
{
	int64_t msec = WHY_FIRST_MSEC;

	for (unsigned i = 0; i < pend->n_whys && msec < WHY_MAX_MSEC; i++)
		msec *= 2;
	return msec < WHY_MAX_MSEC ? msec : WHY_MAX_MSEC;
}

/* When new reasons may be written: not those of a passing moment, not too often, and not of
 * everybody at the same time when it is a host that has changed. */
static int64_t why_due(struct placerec *p, struct pend *pend, uint32_t mask)
{
	uint64_t spread_msec = 1 + pends_len(&p->view.pends) * 1000 / WHY_PER_SEC;

	if (mask != pend->new_mask) {
		pend->new_mask = mask;
		pend->new_msec = p->mono_msec;
	}
	int64_t stable = pend->new_msec + WHY_STABLE_MSEC;
	if (!pend->why_msec)
		return stable;
	stable += (int64_t)(backoff_hash(pend->uuid) % spread_msec);
	int64_t next = pend->why_msec + why_interval(pend);
	return next > stable ? next : stable;
}

static void note_why(struct placerec *p, struct pend *pend, uint32_t mask)
{
	bool is_calm = !pend->why_msec || p->mono_msec - pend->why_msec > WHY_CALM_MSEC;

	pend->n_whys = is_calm ? 0 : pend->n_whys + 1;
	pend->why_msec = p->mono_msec;
	pend->why_mask = mask;
}

/* It fits nowhere. Takes o, or frees it when there is nothing new to tell. */
static void wait_on(struct placerec *p, struct pend *pend, const struct place_ask *ask,
	const struct place_result *r, struct order *o)
{
	const struct vm_brief *b = o->vm->obj;
	uint32_t mask = mask_of(p->snap, ask, r);
	char *why = NULL;

	if (mask != pend->why_mask)
		why = place_reasons(p->snap, ask, r);
	if (!why || place_is_same_why(b->why, why)) {
		pend->why_mask = mask;
		pend->new_mask = 0;
	} else if (p->mono_msec < why_due(p, pend, mask)) {
		pend->due_msec = why_due(p, pend, mask);
	} else {
		note_why(p, pend, mask);
		o->kind = ORDER_WAIT;
		send(p, pend, MOVE(o), MOVE(why));
	}
	free(why);
	order_free(o);
}

static char *duration_text(int64_t sec)
{
	if (sec >= 3600 && sec % 3600 == 0)
		return xasprintf("%lld h", (long long)sec / 3600);
	if (sec >= 60 && sec % 60 == 0)
		return xasprintf("%lld min", (long long)sec / 60);
	return xasprintf("%lld s", (long long)sec);
}

static bool is_expired(const struct placerec *p, const struct pend *pend)
{
	return pend->deadline && p->unix_msec >= pend->deadline * 1000;
}

static void expire(struct placerec *p, struct pend *pend, const struct place_ask *ask,
	const struct place_result *r, struct order *o)
{
	CLEANUP_STR char *after = duration_text(pend->deadline - pend->created);
	const struct vm_brief *b = o->vm->obj;
	CLEANUP_STR char *why =
		r->host < 0 ? place_reasons(p->snap, ask, r) : xstrdup(b->why);

	o->kind = ORDER_EXPIRE;
	send(p, pend, o,
		xasprintf("no host within %s%s%s", after, *why ? ": " : "", why));
}

/* An assumption that is still there: nobody knows whether it was stored. The same host is
 * tried again, if it can be. */
static void find(struct placerec *p, struct snap_vm *vm, const struct place_ask *ask,
	struct place_result *r)
{
	if (vm->is_assumed) {
		int host = vm->assumed.host;
		snap_forget(p->snap, vm->uuid);
		if (placer_look(p->placer, p->snap, ask, host, r) == PLACE_FITS)
			return;
	}
	placer_find(p->placer, p->snap, ask, r);
}

/* Takes o. */
static void look_for_host(struct placerec *p, struct pend *pend, struct order *o)
{
	struct snap_vm *vm = snap_find_vm(p->snap, pend->uuid);
	struct place_result r;

	if (!vm || vm->mod_rev != o->vm->mod_rev) {
		/* The cache is ahead of the snapshot: the next pass knows. */
		order_free(o);
		pend->is_news = true;
		return;
	}
	struct place_ask ask = place_ask_of(p->snap, vm);
	find(p, vm, &ask, &r);
	pend->is_near = ask.near != 0;
	pend->seen_gen = p->snap->gen;
	pend->seen_places = p->n_places;
	if (is_expired(p, pend))
		expire(p, pend, &ask, &r, o);
	else if (r.host >= 0)
		place(p, pend, vm, &ask, &r, o);
	else
		wait_on(p, pend, &ask, &r, o);
}

/* ORDER_PLACE: it waits for a host and wants one. */
static enum order_kind kind_of(const struct vm_brief *b)
{
	if (!b || !brief_is_waiting(b))
		return ORDER_DROP;
	return b->want == VM_WANT_RUNNING ? ORDER_PLACE : ORDER_STOP;
}

/*
 * A request is made in one transaction with its VM, but two watches tell of them, in any
 * order: where the VM seems to want nothing, what is known of it may be older than the
 * request. Its news bring the next look. Not for ever: it may be true.
 */
static bool is_behind(struct placerec *p, struct pend *pend, const struct cache_item *vm,
	const struct cache_item *request)
{
	if (vm && vm->mod_rev >= request->create_rev)
		return false;
	if (pend->behind_msec == 0)
		pend->behind_msec = p->mono_msec;
	if (p->mono_msec >= pend->behind_msec + VM_BEHIND_MSEC)
		return false;
	pend->due_msec = pend->behind_msec + VM_BEHIND_MSEC;
	pend->seen_gen = p->snap->gen;
	pend->seen_places = p->n_places;
	return true;
}

static void look(struct placerec *p, struct pend *pend)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *vm = cache_get(p->s->vms, pend->uuid);
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *request = cache_get(p->s->requests, pend->uuid);
	const struct vm_brief *b = vm ? vm->obj : NULL;

	pend->is_news = false;
	pend->due_msec = 0;
	/* Invalid ones are left alone; a newer request comes with the next pass. */
	if ((vm && !b) || !request || request->mod_rev != pend->request_rev)
		return;
	if (vm && vm->mod_rev < pend->min_vm_rev)
		return;
	if (b && b->status == VM_REQUESTED_DELETE) {
		sched_add_key(p->s, SCHED_KEY_DISK, pend->uuid);
		return;
	}
	if (kind_of(b) != ORDER_PLACE && is_behind(p, pend, vm, request))
		return;
	struct order *o = order_new(kind_of(b), pend->uuid, MOVE(vm), MOVE(request));
	if (o->kind == ORDER_PLACE)
		look_for_host(p, pend, o);
	else
		send(p, pend, o, NULL);
}

/* ---------------------------------------------------------------- all of them */

static bool may_fit_now(const struct placerec *p, const struct pend *pend)
{
	return pend->seen_gen != p->snap->gen ||
	       (pend->is_near && pend->seen_places != p->n_places);
}

/* Is it time to look at it? Else says when it will be. */
static bool is_due(struct placerec *p, const struct pend *pend)
{
	int64_t not_before = pend->not_before * 1000 - p->unix_msec;
	int64_t deadline = pend->deadline ? pend->deadline * 1000 - p->unix_msec : -1;
	int64_t due = pend->due_msec ? pend->due_msec - p->mono_msec : -1;

	if (pend->is_gone || pend->sent || pend->is_done)
		return false;
	if (pend->retry_msec > p->mono_msec) {
		due_in(p, pend->retry_msec - p->mono_msec);
		return false;
	}
	if (pend->deadline && deadline <= 0)
		return true;
	if (pend->deadline)
		due_in(p, deadline);
	if (not_before > 0) {
		due_in(p, not_before);
		return false;
	}
	if (pend->is_news || may_fit_now(p, pend) || (pend->due_msec && due <= 0))
		return true;
	if (pend->due_msec)
		due_in(p, due);
	return false;
}

/* True when it went through the whole list. */
static bool look_at_all(struct placerec *p)
{
	struct pends *ps = &p->view.pends;

	pends_sort(ps);
	for (size_t i = 0; i < ps->len; i++) {
		if (!is_due(p, ps->v[i]))
			continue;
		p->was_full = commit_is_full(p->commit);
		if (p->was_full)
			return false;
		look(p, ps->v[i]);
		/* For a new appointment; what it has found does not change by asking. */
		if (!ps->v[i]->sent)
			is_due(p, ps->v[i]);
		if (clock_mono_msec() - p->mono_msec > PASS_MAX_MSEC)
			return false;
	}
	return true;
}

/* A result brings the next pass when the writers were busy; else some time must pass, the
 * more the longer this one took, so that passes never take all of a processor. One that
 * found nothing to do does not hold up who comes next. */
static enum wq_result end_pass(struct placerec *p, bool is_whole, int64_t *after_msec)
{
	int64_t took = clock_mono_msec() - p->mono_msec;
	int64_t pause = (p->has_sent ? PASS_INTERVAL : PASS_PAUSE) + 2 * took;

	metric_set(&m_waiting, NULL, (double)pends_len(&p->view.pends));
	metric_observe(&m_pass, NULL, (double)took / 1000);
	if (p->was_full)
		return WQ_DONE;
	p->next_pass_msec = is_whole ? clock_mono_msec() + pause : 0;
	*after_msec = is_whole ? p->wait_msec : 0;
	return p->wait_msec < 0 && is_whole ? WQ_DONE : WQ_AGAIN;
}

/* A new snapshot needs a new placer, which knows nothing of the old one. */
static int update(struct placerec *p, int64_t fence, struct err *e)
{
	bool is_new;

	if (view_update(&p->view, fence, &is_new, e) < 0)
		return -1;
	if (!is_new)
		return 0;
	placer_free(p->placer);
	p->placer = placer_new(p->s->conf->strategy);
	p->snap = p->view.snap;
	return 0;
}

enum wq_result placerec_pass(struct placerec *p, int64_t *after_msec, struct err *e)
{
	int64_t fence = atomic_load(&p->s->fence);

	if (!fence)
		return WQ_DONE;
	p->mono_msec = clock_mono_msec();
	p->unix_msec = clock_unix_msec();
	if (!p->was_full && p->mono_msec < p->next_pass_msec) {
		*after_msec = p->next_pass_msec - p->mono_msec;
		return WQ_AGAIN;
	}
	p->was_full = p->has_sent = false;
	p->wait_msec = -1;
	if (update(p, fence, e) < 0)
		return WQ_RETRY;
	take_results(p);
	bool is_whole = look_at_all(p);
	commit_flush(p->commit);
	return end_pass(p, is_whole, after_msec);
}
