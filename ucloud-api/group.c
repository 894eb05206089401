#include "ucloud-api/group.h"

#include <assert.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/store/cond.h"

/*
 * Clients whose answers went out together come back almost together. Who begins with the
 * first of them leaves all others to the next transaction: half as many would share one.
 * So the first waits a moment for as many as there were; never for more than this.
 */
enum { LINGER_MSEC = 1, LINGER_FOR_MAX = 32 };
enum { MEMBERS_MAX = 128, SHARED_TRIES = 3, LOOKS = 16 };
/* Who waited that long for an unknown outcome is told so without another look. */
enum { PATIENCE_MSEC = 2500 };
enum { SIZE_MAX_BYTES = 512 * 1024, KNOWN_KEYS_MAX = 8192, KNOWN_SIZE_MAX = 4 << 20 };

/*
 *	QUEUED --taken--> WAITING --no room--> WAITING (the next transaction)
 *	                     |--drafted--> DRAFTED --committed, failed--> DONE
 *	                     |                 |-----conflict--> WAITING
 *	                     +--refused--> ALONE <--unknown------+
 */
enum state { QUEUED, WAITING, DRAFTED, DONE, ALONE };

struct member {
	order_fn *fn;
	void *aux;
	const struct group_room *room;
	/* Of whoever is busy: */
	enum state state;
	int result;
	bool is_doubtful;
	struct err err;
	/* Under the lock: */
	bool is_ended; /* the ones above are this member's own again */
	pthread_cond_t cond;
	struct member *next;
};

struct group {
	struct kv *kv;
	pthread_mutex_t lock;
	struct member *first, **last;
	size_t n_queued, n_expected;
	struct member *lingerer; /* waits for n_expected to be queued; NULL none */
	bool is_busy;
	struct draft *draft; /* of whoever is busy */
};

static struct metric n_txns = { METRIC_COUNTER, "ucloud_api_group_txn_total",
	"Transactions that orders shared, by outcome.", .label = "outcome" };
static struct metric n_orders = { METRIC_COUNTER, "ucloud_api_group_order_total",
	"Orders accepted in shared transactions (shared) and alone.", .label = "how" };

struct group *group_new(struct kv *kv)
{
	struct group *g = xcalloc(1, sizeof(*g));

	g->kv = kv;
	pthread_mutex_init(&g->lock, NULL);
	g->last = &g->first;
	g->draft = draft_new();
	metric_register(&n_txns);
	metric_register(&n_orders);
	return g;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	assert(!g->first && !g->is_busy);
	draft_free(g->draft);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static bool has_room(const struct draft *d, const struct group_room *room)
{
	if (draft_n_ops(d) == 0)
		return true;
	return draft_n_ops(d) + room->n_ops <= KV_TXN_MAX_OPS &&
	       draft_n_compares(d) + room->n_compares <= KV_TXN_MAX_OPS &&
	       draft_size(d) + room->size <= SIZE_MAX_BYTES;
}

static void move_all(struct member **m, size_t n, enum state from, enum state to)
{
	for (size_t i = 0; i < n; i++) {
		if (m[i]->state == from)
			m[i]->state = to;
	}
}

static size_t count(struct member *const *m, size_t n, enum state state)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		len += m[i]->state == state;
	return len;
}

/* One pass over all that wait. True when somebody wants more to be read. */
static bool draft_all(struct group *g, struct member **m, size_t n)
{
	draft_clear(g->draft);
	for (size_t i = 0; i < n; i++) {
		int r;

		if (m[i]->state != WAITING || !has_room(g->draft, m[i]->room))
			continue;
		r = m[i]->fn(m[i]->aux, g->draft, &m[i]->err);
		if (r != DRAFT_MORE)
			m[i]->state = r == 0 ? DRAFTED : ALONE;
	}
	return draft_has_wants(g->draft);
}

static void fail_all(struct member **m, size_t n, const struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		if (m[i]->state != WAITING && m[i]->state != DRAFTED)
			continue;
		m[i]->state = DONE;
		m[i]->result = -1;
		m[i]->err = *e;
	}
}

/* Drafts as many as have room, reading what they want to see. < 0: all have failed. */
static int draft_group(struct group *g, struct member **m, size_t n)
{
	struct err e;

	for (int i = 0; draft_all(g, m, n); i++) {
		move_all(m, n, DRAFTED, WAITING);
		if (i >= LOOKS)
			err_set(&e, ERR_INTERNAL, "orders looked at the store %d times",
				i);
		else if (draft_read(g->draft, g->kv, &e) == 0)
			continue;
		fail_all(m, n, &e);
		return -1;
	}
	return 0;
}

/* Ends those that are in the transaction, by its outcome. */
static void end_group(struct member **m, size_t n, int outcome, const struct err *e)
{
	if (outcome == KV_CONFLICT) {
		move_all(m, n, DRAFTED, WAITING);
	} else if (outcome < 0 && err_is_passing(e->kind)) {
		fail_all(m, n, e);
	} else if (outcome != 0) {
		for (size_t i = 0; i < n; i++)
			m[i]->is_doubtful |=
				m[i]->state == DRAFTED && outcome == KV_UNKNOWN;
		/* What the store will not take is found by going alone, too. */
		move_all(m, n, DRAFTED, ALONE);
	} else {
		move_all(m, n, DRAFTED, DONE);
	}
}

static const char *outcome_name(int outcome)
{
	return outcome == 0		? "done"
	       : outcome == KV_CONFLICT ? "conflict"
	       : outcome == KV_UNKNOWN	? "unknown"
					: "failed";
}

/* One shared transaction; its outcome. */
static int commit_group(struct group *g, struct member **m, size_t n)
{
	struct err e = { 0 };
	int r;

	r = draft_commit(g->draft, g->kv, NULL, &e);
	metric_add(&n_txns, outcome_name(r), 1);
	if (r == 0) {
		metric_add(&n_orders, "shared", (double)count(m, n, DRAFTED));
		draft_trim(g->draft, KNOWN_KEYS_MAX, KNOWN_SIZE_MAX);
	} else {
		draft_forget(g->draft);
	}
	end_group(m, n, r, &e);
	return r;
}

/* Brings all of them to DONE or ALONE. */
static void serve(struct group *g, struct member **m, size_t n)
{
	int n_conflicts = 0;

	draft_set_careful(g->draft, false);
	while (count(m, n, WAITING) > 0) {
		if (draft_group(g, m, n) < 0 || count(m, n, DRAFTED) == 0)
			continue;
		if (commit_group(g, m, n) != KV_CONFLICT)
			continue;
		draft_set_careful(g->draft, true);
		if (++n_conflicts >= SHARED_TRIES)
			move_all(m, n, WAITING, ALONE);
	}
}

/* Takes what is queued; the lock is held. */
static size_t take(struct group *g, struct member **m)
{
	size_t n = 0;

	while (g->first && n < MEMBERS_MAX) {
		m[n] = g->first;
		g->first = g->first->next;
		g->n_queued--;
		m[n++]->state = WAITING;
	}
	if (!g->first)
		g->last = &g->first;
	return n;
}

/* Until those who are expected are queued, too, or a moment has passed. */
static void linger(struct group *g, struct member *self)
{
	struct timespec end;

	if (g->n_queued >= g->n_expected)
		return;
	end = cond_deadline(LINGER_MSEC);
	g->lingerer = self;
	while (g->n_queued < g->n_expected &&
		cond_wait_until(&self->cond, &g->lock, &end))
		;
	g->lingerer = NULL;
}

/* All that are there now may well come again. */
static size_t expected(const struct group *g, size_t n_ended)
{
	size_t n = n_ended + g->n_queued;

	return n < LINGER_FOR_MAX ? n : LINGER_FOR_MAX;
}

/* Commits for all that are queued. The lock is held before and after, not meanwhile. */
static void work(struct group *g, struct member *self)
{
	struct member *m[MEMBERS_MAX];
	size_t n;

	g->is_busy = true;
	linger(g, self);
	n = take(g, m);
	pthread_mutex_unlock(&g->lock);
	serve(g, m, n);
	pthread_mutex_lock(&g->lock);
	g->is_busy = false;
	g->n_expected = expected(g, n);
	for (size_t i = 0; i < n; i++) {
		m[i]->is_ended = true;
		pthread_cond_signal(&m[i]->cond);
	}
	if (g->first)
		pthread_cond_signal(&g->first->cond);
}

static void join(struct group *g, struct member *self)
{
	pthread_mutex_lock(&g->lock);
	*g->last = self;
	g->last = &self->next;
	g->n_queued++;
	if (g->lingerer && g->n_queued >= g->n_expected)
		pthread_cond_signal(&g->lingerer->cond);
	while (!self->is_ended) {
		if (g->is_busy)
			pthread_cond_wait(&self->cond, &g->lock);
		else
			work(g, self);
	}
	pthread_mutex_unlock(&g->lock);
}

int group_run(struct group *g, order_fn *fn, void *aux, const struct group_room *room,
	struct err *e)
{
	struct member self = { .fn = fn, .aux = aux, .room = room };
	int64_t begun = clock_mono_msec();
	int r;

	assert(room->n_ops <= KV_TXN_MAX_OPS && room->n_compares <= KV_TXN_MAX_OPS);
	cond_init(&self.cond);
	join(g, &self);
	pthread_cond_destroy(&self.cond);
	if (self.is_doubtful && clock_mono_msec() - begun > PATIENCE_MSEC)
		return order_in_doubt(e);
	if (self.state == ALONE) {
		r = order_run(g->kv, fn, aux, self.is_doubtful, e);
		if (r == 0)
			metric_add(&n_orders, "alone", 1);
		return r;
	}
	if (self.result < 0)
		*e = self.err;
	return self.result;
}
