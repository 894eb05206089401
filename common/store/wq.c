#include "common/store/wq.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/backoff.h"
#include "common/store/cond.h"
#include "common/base/hash.h"

#define BACKOFF_FIRST_MSEC 200
#define BACKOFF_MAX_MSEC   60000

/* IDLE keys are not here at all. WAITING is the diagram's QUEUED with an appointment that is
 * still to come. A running key can have one, too; it counts from the end of the run on. */
enum state { WAITING, QUEUED, RUNNING, DIRTY };

struct item {
	char *key;
	enum state state;
	unsigned n_failures;
	struct item *next; /* in the queue of ready keys */
	int64_t due_msec;  /* the appointment, while at > 0 */
	uint64_t seq;	   /* of two appointments at one time, the older one first */
	size_t at;	   /* place in the heap, from 1; 0 none */
	UT_hash_handle hh;
};

struct wq {
	pthread_mutex_t lock;
	pthread_cond_t news;
	struct item *items; /* by key */
	struct item *first, **end;
	struct item **heap; /* appointments, the earliest at 1 */
	size_t heap_len, heap_cap;
	uint64_t seq;
	bool is_closed;
};

struct wq *wq_new(void)
{
	struct wq *q = xcalloc(1, sizeof(*q));

	pthread_mutex_init(&q->lock, NULL);
	cond_init(&q->news);
	q->end = &q->first;
	return q;
}

static void forget(struct wq *q, struct item *it)
{
	HASH_DEL(q->items, it);
	free(it->key);
	free(it);
}

void wq_free(struct wq *q)
{
	if (!q)
		return;
	while (q->items)
		forget(q, q->items);
	free(q->heap);
	pthread_cond_destroy(&q->news);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ------------------------------------------------------------- the heap of appointments */

static bool is_before(const struct item *a, const struct item *b)
{
	return a->due_msec != b->due_msec ? a->due_msec < b->due_msec : a->seq < b->seq;
}

static void heap_set(struct wq *q, size_t at, struct item *it)
{
	q->heap[at] = it;
	it->at = at;
}

static void heap_up(struct wq *q, struct item *it)
{
	size_t at = it->at;

	for (; at > 1 && is_before(it, q->heap[at / 2]); at /= 2)
		heap_set(q, at, q->heap[at / 2]);
	heap_set(q, at, it);
}

static void heap_down(struct wq *q, struct item *it)
{
	size_t at = it->at, child;

	for (; (child = 2 * at) <= q->heap_len; at = child) {
		if (child < q->heap_len && is_before(q->heap[child + 1], q->heap[child]))
			child++;
		if (!is_before(q->heap[child], it))
			break;
		heap_set(q, at, q->heap[child]);
	}
	heap_set(q, at, it);
}

static void heap_del(struct wq *q, struct item *it)
{
	struct item *last;

	if (!it->at)
		return;
	last = q->heap[q->heap_len--];
	if (last != it) {
		heap_set(q, it->at, last);
		heap_up(q, last);
		heap_down(q, last);
	}
	it->at = 0;
}

/* An earlier appointment stays. */
static void appoint(struct wq *q, struct item *it, int64_t due_msec)
{
	if (it->at && it->due_msec <= due_msec)
		return;
	heap_del(q, it);
	if (q->heap_len + 2 > q->heap_cap) {
		q->heap_cap = q->heap_cap ? 2 * q->heap_cap : 64;
		q->heap = xreallocarray(q->heap, q->heap_cap, sizeof(struct item *));
	}
	it->due_msec = due_msec;
	it->seq = q->seq++;
	it->at = ++q->heap_len;
	heap_up(q, it);
}

/* ------------------------------------------------------------------------ the states */

static struct item *find(struct wq *q, const char *key)
{
	struct item *it;

	HASH_FIND_STR(q->items, key, it);
	return it;
}

static struct item *find_or_add(struct wq *q, const char *key)
{
	struct item *it = find(q, key);

	if (it)
		return it;
	it = xcalloc(1, sizeof(*it));
	it->key = xstrdup(key);
	it->state = WAITING;
	HASH_ADD_KEYPTR(hh, q->items, it->key, strlen(it->key), it);
	return it;
}

/* To the end of the ready ones. A look now is what an appointment was for. */
static void queue(struct wq *q, struct item *it)
{
	heap_del(q, it);
	it->state = QUEUED;
	it->next = NULL;
	*q->end = it;
	q->end = &it->next;
}

static void make_ready(struct wq *q, struct item *it)
{
	if (it->state == WAITING) {
		queue(q, it);
	} else if (it->state == RUNNING) {
		heap_del(q, it);
		it->state = DIRTY;
	}
}

static void make_due_ready(struct wq *q, int64_t now_msec)
{
	while (q->heap_len > 0 && q->heap[1]->due_msec <= now_msec)
		make_ready(q, q->heap[1]);
}

static struct item *take_first(struct wq *q)
{
	struct item *it = q->first;

	if (!it)
		return NULL;
	q->first = it->next;
	if (!q->first)
		q->end = &q->first;
	it->state = RUNNING;
	return it;
}

/* ------------------------------------------------------------------------ the header's */

void wq_add(struct wq *q, const char *key)
{
	pthread_mutex_lock(&q->lock);
	make_ready(q, find_or_add(q, key));
	pthread_cond_signal(&q->news);
	pthread_mutex_unlock(&q->lock);
}

void wq_add_after(struct wq *q, const char *key, int64_t after_msec)
{
	struct item *it;

	pthread_mutex_lock(&q->lock);
	it = find_or_add(q, key);
	if (after_msec <= 0)
		make_ready(q, it);
	else if (it->state == WAITING || it->state == RUNNING)
		appoint(q, it, clock_mono_msec() + after_msec);
	pthread_cond_signal(&q->news);
	pthread_mutex_unlock(&q->lock);
}

char *wq_take(struct wq *q, int64_t wait_msec)
{
	struct timespec deadline = cond_deadline(wait_msec), wake;
	struct item *it = NULL;
	char *key = NULL;

	pthread_mutex_lock(&q->lock);
	while (!q->is_closed) {
		int64_t now_msec = clock_mono_msec();

		make_due_ready(q, now_msec);
		it = take_first(q);
		if (it || wait_msec <= 0 || cond_is_past(&deadline))
			break;
		wake = deadline;
		if (q->heap_len)
			wake = cond_earlier(
				deadline, cond_deadline(q->heap[1]->due_msec - now_msec));
		cond_wait_until(&q->news, &q->lock, &wake);
	}
	if (it)
		key = xstrdup(it->key);
	/* We may have got the signal that was meant for the next one, or been the only one
	 * who waited for the next appointment. */
	if (q->first || q->heap_len)
		pthread_cond_signal(&q->news);
	pthread_mutex_unlock(&q->lock);
	return key;
}

/* Not dirty: when is it to be looked at again? */
static void settle(
	struct wq *q, struct item *it, enum wq_result result, int64_t after_msec)
{
	it->state = WAITING;
	if (result == WQ_RETRY) {
		int64_t backoff = backoff_msec(it->n_failures, BACKOFF_FIRST_MSEC,
			BACKOFF_MAX_MSEC, backoff_salt(it->key));

		if (after_msec < backoff)
			after_msec = backoff;
	}
	if (result != WQ_DONE && after_msec <= 0)
		queue(q, it);
	else if (result != WQ_DONE)
		appoint(q, it, clock_mono_msec() + after_msec);
	else if (!it->at)
		forget(q, it);
}

void wq_end(struct wq *q, const char *key, enum wq_result result, int64_t after_msec)
{
	struct item *it;

	pthread_mutex_lock(&q->lock);
	it = find(q, key);
	assert(it && (it->state == RUNNING || it->state == DIRTY));
	it->n_failures = result == WQ_RETRY ? it->n_failures + 1 : 0;
	if (it->state == DIRTY)
		queue(q, it);
	else
		settle(q, it, result, after_msec);
	pthread_cond_signal(&q->news);
	pthread_mutex_unlock(&q->lock);
}

void wq_close(struct wq *q)
{
	pthread_mutex_lock(&q->lock);
	q->is_closed = true;
	pthread_cond_broadcast(&q->news);
	pthread_mutex_unlock(&q->lock);
}

int64_t wq_next_msec(struct wq *q)
{
	int64_t msec = -1;

	pthread_mutex_lock(&q->lock);
	if (q->heap_len)
		msec = q->heap[1]->due_msec - clock_mono_msec();
	if (q->first || (q->heap_len && msec < 0))
		msec = 0;
	pthread_mutex_unlock(&q->lock);
	return msec;
}

size_t wq_len(struct wq *q)
{
	size_t len;

	pthread_mutex_lock(&q->lock);
	len = HASH_COUNT(q->items);
	pthread_mutex_unlock(&q->lock);
	return len;
}

unsigned wq_n_failures(struct wq *q, const char *key)
{
	struct item *it;
	unsigned n;

	pthread_mutex_lock(&q->lock);
	it = find(q, key);
	n = it ? it->n_failures : 0;
	pthread_mutex_unlock(&q->lock);
	return n;
}
