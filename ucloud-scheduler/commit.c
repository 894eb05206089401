#include "ucloud-scheduler/commit.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define THREADS_MAX	16
#define GROUP_BYTES_MAX (512 * 1024)
/* Room for the lock's comparison. */
#define GROUP_MAX ((KV_TXN_MAX_OPS - 1) / ORDER_MAX_CMPS)

struct group {
	struct group *next;
	int64_t fence;
	struct order *v[GROUP_MAX];
	size_t len, n_ops, size;
};

struct commit {
	struct commit_conf conf;
	struct group *filling; /* of the submitting thread */

	pthread_mutex_t lock;
	pthread_cond_t is_work;
	struct group *first, **last; /* queued */
	unsigned n_open;	     /* groups queued and under way */
	struct order *results;
	bool is_stopping;

	pthread_t threads[THREADS_MAX];
	unsigned n_threads; /* running ones */
};

struct commit *commit_new(const struct commit_conf *conf)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	assert(conf->n_threads > 0 && conf->n_threads <= THREADS_MAX);
	c->conf = *conf;
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->is_work, NULL);
	return c;
}

static void group_free(struct group *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->len; i++)
		order_free(g->v[i]);
	free(g);
}

void commit_free(struct commit *c)
{
	struct group *g;
	struct order *o;

	if (!c)
		return;
	assert(c->n_threads == 0);
	while ((g = c->first)) {
		c->first = g->next;
		group_free(g);
	}
	while ((o = c->results)) {
		c->results = o->next;
		order_free(o);
	}
	group_free(c->filling);
	pthread_cond_destroy(&c->is_work);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---------------------------------------------------------------- one group */

static void set_failed(struct order *o, const struct err *e)
{
	o->result = ORDER_FAILED;
	str_set(&o->error, xstrdup(e->msg));
}

/* The transaction of all orders that are still open; NULL: none is. One that cannot even be
 * written down has failed. */
static struct kv_txn *new_txn(struct commit *c, struct order **v, size_t n, int64_t fence)
{
	struct kv_txn *t = kv_txn_new();
	size_t n_added = 0;

	kv_txn_if_lock(t, c->conf.lock_key, fence);
	for (size_t i = 0; i < n; i++) {
		struct err e = { 0 };
		if (v[i]->result != ORDER_OPEN)
			continue;
		if (order_add_to_txn(v[i], c->conf.keys, clock_unix_sec(), t, &e) < 0)
			set_failed(v[i], &e);
		else
			n_added++;
	}
	if (n_added)
		return t;
	kv_txn_free(t);
	return NULL;
}

static void set_all(struct order **v, size_t n, enum order_result result, int64_t rev)
{
	for (size_t i = 0; i < n; i++) {
		if (v[i]->result != ORDER_OPEN)
			continue;
		v[i]->result = result;
		v[i]->done_rev = rev;
	}
}

/* What the entries say after a lost answer: ORDER_OPEN when it has not happened. */
static enum order_result result_seen(
	const struct order *o, const struct kv_pair *vm, const struct kv_pair *request)
{
	int64_t vm_rev = vm->key ? vm->mod_rev : 0;
	bool is_vm_same = vm_rev == (o->vm ? o->vm->mod_rev : 0);

	if (o->kind == ORDER_WAIT)
		return is_vm_same ? ORDER_OPEN : ORDER_CONFLICT;
	if (!request->key)
		return ORDER_DONE;
	return is_vm_same && request->mod_rev == o->request->mod_rev ? ORDER_OPEN
								     : ORDER_CONFLICT;
}

static int read_after_unknown(struct commit *c, struct order **v, size_t n, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n; i++) {
		strv_add_take(&keys, key_vm(c->conf.keys, v[i]->uuid));
		strv_add_take(&keys, key_request_scheduler(c->conf.keys, v[i]->uuid));
	}
	if (kv_get_many(c->conf.kv, (const char *const *)keys.v, keys.len, &list, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (v[i]->result == ORDER_OPEN)
			v[i]->result =
				result_seen(v[i], &list.v[2 * i], &list.v[2 * i + 1]);
	return 0;
}

static void run(struct commit *c, struct order **v, size_t n, int64_t fence, int n_tries);

/* Those that have not happened are tried again, each alone: the comparisons see to it that
 * what arrives late happens once at most. */
static void run_after_unknown(
	struct commit *c, struct order **v, size_t n, int64_t fence, int n_tries)
{
	struct err e = { 0 };

	if (n_tries == 0 || read_after_unknown(c, v, n, &e) < 0) {
		set_all(v, n, ORDER_UNSURE, 0);
		return;
	}
	for (size_t i = 0; i < n; i++)
		run(c, &v[i], 1, fence, n_tries - 1);
}

static void run(struct commit *c, struct order **v, size_t n, int64_t fence, int n_tries)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(c, v, n, fence);
	struct err e = { 0 };
	int64_t rev = 0;

	if (!t)
		return;
	int rc = kv_txn_commit(c->conf.kv, t, &rev, &e);
	if (rc == 0) {
		set_all(v, n, ORDER_DONE, rev);
	} else if (rc == KV_CONFLICT &&
		   (n == 1 || !c->conf.has_lock(c->conf.aux, fence))) {
		set_all(v, n, ORDER_CONFLICT, 0);
	} else if (rc == KV_CONFLICT) {
		run(c, v, n / 2, fence, n_tries);
		run(c, v + n / 2, n - n / 2, fence, n_tries);
	} else if (rc == KV_UNKNOWN) {
		run_after_unknown(c, v, n, fence, n_tries);
	} else {
		for (size_t i = 0; i < n; i++)
			if (v[i]->result == ORDER_OPEN)
				set_failed(v[i], &e);
	}
}

/* Takes the group. */
static void run_group(struct commit *c, struct group *g)
{
	run(c, g->v, g->len, g->fence, 2);
	pthread_mutex_lock(&c->lock);
	for (size_t i = g->len; i-- > 0;) {
		g->v[i]->next = c->results;
		c->results = g->v[i];
	}
	c->n_open--;
	pthread_mutex_unlock(&c->lock);
	free(g);
	c->conf.on_results(c->conf.aux);
}

/* ---------------------------------------------------------------- groups and threads */

static void *thread_main(void *aux)
{
	struct commit *c = aux;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->first && !c->is_stopping)
			pthread_cond_wait(&c->is_work, &c->lock);
		if (c->is_stopping)
			break;
		struct group *g = c->first;
		c->first = g->next;
		if (!c->first)
			c->last = &c->first;
		pthread_mutex_unlock(&c->lock);
		run_group(c, g);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void commit_start(struct commit *c)
{
	for (unsigned i = 0; i < c->conf.n_threads; i++) {
		int rc = pthread_create(&c->threads[i], NULL, thread_main, c);
		if (rc != 0) {
			log_warn("cannot start a thread: %s", strerror(rc));
			break;
		}
		c->n_threads++;
	}
}

void commit_stop(struct commit *c)
{
	pthread_mutex_lock(&c->lock);
	c->is_stopping = true;
	pthread_cond_broadcast(&c->is_work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->n_threads; i++)
		pthread_join(c->threads[i], NULL);
	c->n_threads = 0;
}

void commit_flush(struct commit *c)
{
	struct group *g = MOVE(c->filling);

	if (!g)
		return;
	pthread_mutex_lock(&c->lock);
	c->n_open++;
	if (c->n_threads) {
		*c->last = g;
		c->last = &g->next;
		pthread_cond_signal(&c->is_work);
	}
	pthread_mutex_unlock(&c->lock);
	if (!c->n_threads)
		run_group(c, g);
}

static bool has_room(const struct group *g, const struct order *o, int64_t fence)
{
	return g->fence == fence && g->len < GROUP_MAX &&
	       g->n_ops + order_n_ops(o) <= KV_TXN_MAX_OPS &&
	       g->size + order_size(o) <= GROUP_BYTES_MAX;
}

void commit_submit(struct commit *c, struct order *o, int64_t fence)
{
	if (c->filling && !has_room(c->filling, o, fence))
		commit_flush(c);
	if (!c->filling) {
		c->filling = xcalloc(1, sizeof(*c->filling));
		c->filling->fence = fence;
	}
	struct group *g = c->filling;
	g->v[g->len++] = o;
	g->n_ops += order_n_ops(o);
	g->size += order_size(o);
}

bool commit_is_full(struct commit *c)
{
	pthread_mutex_lock(&c->lock);
	bool is_full = c->n_open >= 2 * c->conf.n_threads;
	pthread_mutex_unlock(&c->lock);
	return is_full;
}

struct order *commit_take_results(struct commit *c)
{
	pthread_mutex_lock(&c->lock);
	struct order *o = MOVE(c->results);
	pthread_mutex_unlock(&c->lock);
	return o;
}
