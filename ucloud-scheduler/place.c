#include "ucloud-scheduler/place.h"

#include <string.h>

const char *const place_strategy_names[] = { "spread", "pack", NULL };

/* What the labels of other VMs say about a host; valid when epoch is the placer's. */
struct mark {
	uint32_t epoch;
	bool is_apart, is_near;
};

/* Asks that differ in nothing that decides whether they fit. */
struct shape {
	int64_t cpu, ram_mib, disk_gib;
	uint32_t store, image_store, host_labels;
	int32_t pin, room;
	uint32_t owner, labels, apart; /* 0 when no rule of the owner's VMs is in play */
};

struct memo {
	UT_hash_handle hh;
	struct shape shape;
	struct place_result result;
};

struct placer {
	enum place_strategy strategy;
	struct mark *marks;
	size_t n_marks;
	uint32_t epoch;
	struct memo *memos; /* what fits nowhere; uthash */
	uint64_t memo_gen;
};

/* One question: the ask, and what was worked out once for all hosts. */
struct question {
	const struct snap *s;
	const struct place_ask *ask;
	const struct mark *marks; /* NULL: labels of other VMs play no part */
	uint32_t epoch;
	bool needs_near;
	bool is_local;
	int64_t shared_used_gib;
};

/* What a host answers. */
struct look {
	double free;
	int scarcest;
	int64_t has[PLACE_N_DIMS];
};

struct placer *placer_new(enum place_strategy strategy)
{
	struct placer *p = xcalloc(1, sizeof(*p));

	p->strategy = strategy;
	return p;
}

static void forget_memos(struct placer *p)
{
	struct memo *m, *tmp;

	HASH_ITER (hh, p->memos, m, tmp) {
		HASH_DEL(p->memos, m);
		free(m);
	}
}

void placer_free(struct placer *p)
{
	if (!p)
		return;
	forget_memos(p);
	free(p->marks);
	free(p);
}

struct place_ask place_ask_of(const struct snap *s, const struct snap_vm *vm)
{
	const struct snap_store *st = &s->stores[vm->store];
	bool has_disks = st->is_local ? vm->is.disk_host >= 0 : vm->is.has_disk;

	return (struct place_ask){
		.cpu = vm->cpu,
		.ram_mib = vm->ram_mib,
		.disk_gib = has_disks ? 0 : vm->disk_gib,
		.owner = vm->owner,
		.store = vm->store,
		.image_store = vm->image_store,
		.labels = vm->labels,
		.host_labels = vm->host_labels,
		.near = vm->near,
		.apart = vm->apart,
		.pin = vm->is.disk_host,
		.room = vm->is.keeps_room ? vm->is.disk_host : -1,
		.seed = vm->seed,
	};
}

/* ---------------------------------------------------------------- labels of other VMs */

/* A rule that names no labels matches nobody. */
static bool is_match(const struct snap *s, uint32_t labels, uint32_t rule)
{
	return rule && snap_set_has_all(s, labels, rule);
}

static struct mark *mark_of(struct placer *p, int host)
{
	struct mark *m = &p->marks[host];

	if (m->epoch != p->epoch)
		*m = (struct mark){ .epoch = p->epoch };
	return m;
}

static void next_epoch(struct placer *p, size_t n_hosts)
{
	if (n_hosts > p->n_marks || p->epoch == UINT32_MAX) {
		free(p->marks);
		p->n_marks = n_hosts + n_hosts / 2 + 16;
		p->marks = xcalloc(p->n_marks, sizeof(*p->marks));
		p->epoch = 0;
	}
	p->epoch++;
}

/* Walks the owner's VMs that are on a host. Neighbours in the list mostly have the same
 * labels: what was found for the last one serves again. */
static void mark_hosts(struct placer *p, struct question *q)
{
	const struct snap *s = q->s;
	const struct place_ask *ask = q->ask;
	uint32_t labels = UINT32_MAX, apart = UINT32_MAX;
	bool is_apart = false, is_near = false, is_near_seen = false;

	next_epoch(p, s->n_hosts);
	q->marks = p->marks;
	q->epoch = p->epoch;
	for (const struct snap_vm *vm = s->owners[ask->owner].placed; vm; vm = vm->next) {
		if (vm->labels != labels || vm->apart != apart) {
			labels = vm->labels;
			apart = vm->apart;
			is_apart = is_match(s, labels, ask->apart) ||
				   is_match(s, ask->labels, apart);
			is_near = is_match(s, labels, ask->near);
			is_near_seen |= is_near;
		}
		if (!is_apart && !is_near)
			continue;
		struct mark *m =
			mark_of(p, vm->is_assumed ? vm->assumed.host : vm->is.host);
		m->is_apart |= is_apart;
		m->is_near |= is_near;
	}
	q->needs_near =
		ask->near && (is_near_seen || !is_match(s, ask->labels, ask->near));
}

static bool needs_marks(const struct snap *s, const struct place_ask *ask)
{
	return ask->apart || ask->near || (ask->labels && s->owners[ask->owner].n_apart);
}

static struct question question_of(
	struct placer *p, const struct snap *s, const struct place_ask *ask)
{
	struct question q = {
		.s = s,
		.ask = ask,
		.is_local = s->stores[ask->store].is_local,
		.shared_used_gib = s->stores[ask->store].used_gib,
	};

	if (needs_marks(s, ask))
		mark_hosts(p, &q);
	return q;
}

/* ---------------------------------------------------------------- one host */

static const uint8_t reason_of_block[] = {
	[SNAP_OPEN] = PLACE_FITS,
	[SNAP_ABSENT] = PLACE_DEAD,
	[SNAP_DEAD] = PLACE_DEAD,
	[SNAP_DRAINING] = PLACE_DRAINING,
	[SNAP_UNSIZED] = PLACE_UNSIZED,
};

static enum place_reason check_labels(
	const struct question *q, const struct snap_host *h, int host)
{
	const struct mark *m = q->marks ? &q->marks[host] : NULL;

	if (q->ask->host_labels &&
		!snap_set_has_all(q->s, h->labels, q->ask->host_labels))
		return PLACE_LABELS;
	if (!m)
		return PLACE_FITS;
	bool is_marked = m->epoch == q->epoch;
	if (is_marked && m->is_apart)
		return PLACE_APART;
	return q->needs_near && !(is_marked && m->is_near) ? PLACE_NEAR : PLACE_FITS;
}

static void dim_left(struct look *l, int dim, double left)
{
	if (left < l->free) {
		l->free = left;
		l->scarcest = dim;
	}
}

static bool has_store(const struct snap_host *h, uint32_t store)
{
	const struct snap_hstore *st = snap_find_hstore(h, store);

	return st && st->is_reported;
}

static enum place_reason check_host(
	const struct question *q, const struct snap_host *h, int host, struct look *l)
{
	const struct place_ask *ask = q->ask;

	if (h->block != SNAP_OPEN)
		return reason_of_block[h->block];
	const struct snap_hstore *st = snap_find_hstore(h, ask->store);
	if (!st || !st->is_reported)
		return PLACE_STORE;
	if (ask->image_store && !has_store(h, ask->image_store))
		return PLACE_IMAGE_STORE;
	if (ask->host_labels || q->marks) {
		enum place_reason r = check_labels(q, h, host);
		if (r != PLACE_FITS)
			return r;
	}
	int64_t cpu = l->has[PLACE_CPU] = h->cpu_cap - h->cpu_used;
	int64_t ram = l->has[PLACE_RAM] = h->ram_cap - h->ram_used;
	if (ask->room == host) {
		cpu = l->has[PLACE_CPU] += ask->cpu;
		ram = l->has[PLACE_RAM] += ask->ram_mib;
	}
	if (cpu < ask->cpu)
		return PLACE_NO_CPU;
	if (ram < ask->ram_mib)
		return PLACE_NO_RAM;
	l->free = (double)(cpu - ask->cpu) * h->cpu_inv;
	l->scarcest = PLACE_CPU;
	dim_left(l, PLACE_RAM, (double)(ram - ask->ram_mib) * h->ram_inv);
	if (st->cap_gib < 0 || !ask->disk_gib)
		return PLACE_FITS;
	int64_t used = q->is_local ? st->used_gib : q->shared_used_gib;
	l->has[PLACE_DISK] = st->cap_gib - used;
	if (l->has[PLACE_DISK] < ask->disk_gib)
		return PLACE_NO_DISK;
	/* A shared store is as full from everywhere: it says nothing about hosts. */
	if (q->is_local)
		dim_left(l, PLACE_DISK,
			(double)(l->has[PLACE_DISK] - ask->disk_gib) /
				(double)st->cap_gib);
	return PLACE_FITS;
}

/* ---------------------------------------------------------------- all hosts */

static uint64_t tie(uint64_t host, uint64_t seed)
{
	uint64_t h = (host ^ seed) * 0x9e3779b97f4a7c15ULL;

	return h ^ (h >> 32);
}

static bool is_better(enum place_strategy strategy, double free, double than)
{
	return strategy == PLACE_PACK ? free < than : free > than;
}

static void count_reason(
	struct place_result *r, enum place_reason reason, const struct look *l)
{
	r->n_seen++;
	r->n[reason]++;
	if (reason < PLACE_NO_CPU || reason > PLACE_NO_DISK)
		return;
	int dim = (int)reason - PLACE_NO_CPU;
	int64_t has = l->has[dim] < 0 ? 0 : l->has[dim];
	if (has > r->best[dim])
		r->best[dim] = has;
}

static void take_if_better(struct placer *p, const struct question *q,
	struct place_result *r, int host, const struct look *l)
{
	const struct snap_host *hosts = q->s->hosts;

	if (r->host >= 0 && !is_better(p->strategy, l->free, r->free)) {
		if (is_better(p->strategy, r->free, l->free))
			return;
		uint64_t seed = q->ask->seed;
		if (tie(hosts[host].name_hash, seed) <=
			tie(hosts[r->host].name_hash, seed))
			return;
	}
	r->host = host;
	r->free = l->free;
	r->scarcest = l->scarcest;
}

static void scan(struct placer *p, const struct question *q, struct place_result *r)
{
	const struct snap *s = q->s;
	int from = q->ask->pin >= 0 ? q->ask->pin : 0;
	int to = q->ask->pin >= 0 ? from + 1 : (int)s->n_hosts;

	for (int i = from; i < to; i++) {
		struct look l;
		if (!s->hosts[i].is_registered)
			continue;
		enum place_reason reason = check_host(q, &s->hosts[i], i, &l);
		count_reason(r, reason, &l);
		if (reason == PLACE_FITS)
			take_if_better(p, q, r, i, &l);
	}
}

static bool shape_of(
	const struct snap *s, const struct place_ask *ask, struct shape *shape)
{
	/* Zeroed including its padding: it is hashed and compared as bytes. */
	memset(shape, 0, sizeof(*shape));
	shape->cpu = ask->cpu;
	shape->ram_mib = ask->ram_mib;
	shape->disk_gib = ask->disk_gib;
	shape->store = ask->store;
	shape->image_store = ask->image_store;
	shape->host_labels = ask->host_labels;
	shape->pin = ask->pin;
	shape->room = ask->room;
	if (needs_marks(s, ask)) {
		shape->owner = ask->owner;
		shape->labels = ask->labels;
		shape->apart = ask->apart;
	}
	/* A new neighbour may make room for one that wants to be near. */
	return !ask->near;
}

static const struct memo *find_memo(
	struct placer *p, const struct snap *s, const struct shape *shape)
{
	struct memo *m = NULL;

	if (p->memo_gen != s->gen)
		forget_memos(p);
	p->memo_gen = s->gen;
	HASH_FIND(hh, p->memos, shape, sizeof(*shape), m);
	return m;
}

void placer_find(struct placer *p, const struct snap *s, const struct place_ask *ask,
	struct place_result *out)
{
	struct shape shape;
	bool is_memo = shape_of(s, ask, &shape);
	const struct memo *known = is_memo ? find_memo(p, s, &shape) : NULL;

	if (known) {
		*out = known->result;
		return;
	}
	*out = (struct place_result){ .host = -1 };
	if (!s->stores[ask->store].is_known)
		return;
	struct question q = question_of(p, s, ask);
	scan(p, &q, out);
	if (out->host >= 0 || !is_memo)
		return;
	struct memo *m = xcalloc(1, sizeof(*m));
	m->shape = shape;
	m->result = *out;
	HASH_ADD(hh, p->memos, shape, sizeof(m->shape), m);
}

enum place_reason placer_look(struct placer *p, const struct snap *s,
	const struct place_ask *ask, int host, struct place_result *out)
{
	struct question q = question_of(p, s, ask);
	struct look l = { 0 };
	enum place_reason reason = check_host(&q, &s->hosts[host], host, &l);

	*out = (struct place_result){ .host = -1 };
	count_reason(out, reason, &l);
	if (reason == PLACE_FITS)
		take_if_better(p, &q, out, host, &l);
	return reason;
}
