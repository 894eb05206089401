#include "ucloud-filescan/publish.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/store/cond.h"
#include "common/store/wq.h"

#define BATCH_MAX (KV_TXN_MAX_OPS / DIFF_OPS_MAX)

#define WAIT_MSEC	   500
#define LATER_MSEC	   200 /* for deletions that have to wait */
#define AFTER_UNKNOWN_MSEC 1000
#define NAMED_MAX	   10 /* files named in the log within TELL_MSEC */
#define TELL_MSEC	   10000

static struct metric m_published = { METRIC_COUNTER, "ucloud_filescan_published_total",
	"Entries written to etcd and deleted there.", .label = "what" };
static struct metric m_queue = { METRIC_GAUGE, "ucloud_filescan_publish_queue",
	"Files whose entries are to be looked at." };

struct publish {
	struct publish_conf conf;
	struct wq *queue;
	pthread_t thread;
	bool is_started, is_ready;
	atomic_bool is_stopping;
	pthread_mutex_t lock;
	pthread_cond_t poked;
	struct log_repeat log;
	/* Written and not told yet; files told by name since told_msec. */
	size_t n_put, n_del;
	unsigned n_named;
	int64_t told_msec;
};

/* One uuid of a batch. */
struct one {
	char *uuid;
	enum diff_act act;
	const struct cache_item *entry; /* counted */
	struct file found;
	enum wq_result result;
	int64_t after_msec;
};

static void one_done(struct one *o)
{
	free(o->uuid);
	cache_item_put(o->entry);
	file_done(&o->found);
	*o = (struct one){ 0 };
}

static const struct file *old_file(const struct one *o)
{
	return o->entry ? o->entry->obj : NULL;
}

/* ---------------------------------------------------------------- deciding */

static void decide(struct publish *p, struct one *o)
{
	struct diff_entry entry = { 0 };
	enum tree_has has;
	bool is_sure;

	o->entry = cache_get(p->conf.entries, o->uuid);
	entry.is_there = o->entry != NULL;
	entry.file = old_file(o);
	has = scan_get(p->conf.scan, o->uuid, &o->found);
	is_sure = has == TREE_ABSENT && entry.file &&
		  scan_is_sure(p->conf.scan, entry.file);
	o->act = diff_decide(&entry, has, &o->found, is_sure);
}

static size_t count(const struct one *v, size_t n, enum diff_act act)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += v[i].act == act;
	return found;
}

/* Deletions wait until nothing is to be written and nothing to be looked at: until it is known
 * under which name a file came again. And base_dir must be there right now. */
static void hold_deletions(struct publish *p, struct one *v, size_t n)
{
	if (count(v, n, DIFF_DEL) == 0)
		return;
	if (count(v, n, DIFF_PUT) == 0 && !scan_is_looking(p->conf.scan) &&
		scan_is_base_there(p->conf.scan))
		return;
	for (size_t i = 0; i < n; i++) {
		if (v[i].act != DIFF_DEL)
			continue;
		v[i].act = DIFF_NONE;
		v[i].result = WQ_AGAIN;
		v[i].after_msec = LATER_MSEC;
	}
}

/* ---------------------------------------------------------------- writing */

static struct kv_txn *new_txn(struct publish *p, const struct one *v, size_t n)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, p->conf.lock_key, p->conf.fence(p->conf.aux));
	for (size_t i = 0; i < n; i++) {
		if (v[i].act == DIFF_PUT)
			diff_put(t, p->conf.keys, &v[i].found, old_file(&v[i]));
		else if (v[i].act == DIFF_DEL)
			diff_del(t, p->conf.keys, v[i].uuid, old_file(&v[i]));
	}
	return t;
}

/* Many files: not a line for each. */
static void tell(struct publish *p, bool is_idle)
{
	int64_t now = clock_mono_msec();
	bool is_over = now >= p->told_msec + TELL_MSEC;

	if (is_over) {
		p->told_msec = now;
		p->n_named = 0;
	}
	if (p->n_put + p->n_del == 0 || (!is_idle && !is_over))
		return;
	log_info("published files=%zu deleted=%zu", p->n_put, p->n_del);
	p->n_put = p->n_del = 0;
}

static void tell_one(const struct one *o)
{
	const struct file *f = o->act == DIFF_PUT ? &o->found : old_file(o);

	log_info("%s owner=%s@%s size=%jd file=\"%s\"",
		o->act == DIFF_PUT ? "published" : "deleted", f->owner, f->owner_realm,
		(intmax_t)f->size_bytes, f->filename);
}

static void written(struct publish *p, const struct one *v, size_t n)
{
	size_t n_put = count(v, n, DIFF_PUT), n_del = count(v, n, DIFF_DEL);

	metric_add(&m_published, "put", (double)n_put);
	metric_add(&m_published, "delete", (double)n_del);
	if (n_put + n_del > 1 || p->n_put + p->n_del > 0 || ++p->n_named > NAMED_MAX) {
		p->n_put += n_put;
		p->n_del += n_del;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (v[i].act != DIFF_NONE)
			tell_one(&v[i]);
}

/* Again after the back-off; what the entries are then is looked at anew. */
static void set_all(struct one *v, size_t n, enum wq_result result, int64_t after_msec)
{
	for (size_t i = 0; i < n; i++) {
		if (v[i].act == DIFF_NONE)
			continue;
		v[i].result = result;
		v[i].after_msec = after_msec;
	}
}

static void write_batch(struct publish *p, struct one *v, size_t n)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = new_txn(p, v, n);
	struct err e = { 0 };
	int rc;

	if (kv_txn_n_ops(t) == 0)
		return;
	rc = kv_txn_commit(p->conf.kv, t, NULL, &e);
	if (rc == 0) {
		log_repeat_end(&p->log, "publishing works again");
		written(p, v, n);
	} else if (rc == KV_CONFLICT) {
		/* Not our lock any more; that is said by who notices. */
		set_all(v, n, WQ_RETRY, 0);
	} else if (rc == KV_UNKNOWN) {
		set_all(v, n, WQ_AGAIN, AFTER_UNKNOWN_MSEC);
	} else if (n > 1 && !err_is_passing(e.kind)) {
		for (size_t i = 0; i < n; i++)
			write_batch(p, &v[i], 1);
	} else {
		if (!e.is_logged)
			log_repeat(&p->log, LOG_WARN, "cannot publish: %s", e.msg);
		set_all(v, n, WQ_RETRY, 0);
	}
}

/* ---------------------------------------------------------------- the thread */

static size_t take_batch(struct publish *p, struct one *v)
{
	size_t n = 0;

	while (n < BATCH_MAX) {
		char *uuid = wq_take(p->queue, n ? 0 : WAIT_MSEC);
		if (!uuid)
			break;
		v[n++] = (struct one){ .uuid = uuid, .result = WQ_DONE };
	}
	return n;
}

static void do_batch(struct publish *p)
{
	struct one v[BATCH_MAX];
	size_t n = take_batch(p, v);

	for (size_t i = 0; i < n; i++)
		decide(p, &v[i]);
	hold_deletions(p, v, n);
	if (n)
		write_batch(p, v, n);
	tell(p, n == 0);
	for (size_t i = 0; i < n; i++) {
		wq_end(p->queue, v[i].uuid, v[i].result, v[i].after_msec);
		one_done(&v[i]);
	}
	metric_set(&m_queue, NULL, (double)wq_len(p->queue));
}

static bool may_write(struct publish *p)
{
	return p->conf.fence(p->conf.aux) != 0 && cache_is_synced(p->conf.entries);
}

/* Keys wait in the queue meanwhile. */
static void wait_for_lock(struct publish *p)
{
	struct timespec until = cond_deadline(WAIT_MSEC);

	pthread_mutex_lock(&p->lock);
	while (!may_write(p) && !atomic_load(&p->is_stopping) &&
		cond_wait_until(&p->poked, &p->lock, &until))
		;
	pthread_mutex_unlock(&p->lock);
}

static void *publish_main(void *aux)
{
	struct publish *p = aux;

	pthread_setname_np(pthread_self(), "publish");
	while (!atomic_load(&p->is_stopping)) {
		if (!may_write(p)) {
			wait_for_lock(p);
			continue;
		}
		if (!p->is_ready)
			p->conf.on_ready(p->conf.aux);
		p->is_ready = true;
		do_batch(p);
	}
	return NULL;
}

struct publish *publish_new(const struct publish_conf *conf)
{
	struct publish *p = xcalloc(1, sizeof(*p));

	p->conf = *conf;
	p->queue = wq_new();
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->poked);
	metric_register(&m_published);
	metric_register(&m_queue);
	return p;
}

void publish_start(struct publish *p)
{
	int rc = pthread_create(&p->thread, NULL, publish_main, p);

	p->is_started = rc == 0;
	if (rc != 0)
		log_error("cannot start a thread: %s", strerror(rc));
}

void publish_add(struct publish *p, const char *uuid)
{
	wq_add(p->queue, uuid);
}

void publish_add_all(struct publish *p)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };

	cache_items_get(p->conf.entries, &items);
	for (size_t i = 0; i < items.len; i++)
		wq_add(p->queue, items.v[i]->name);
	scan_tell_all(p->conf.scan);
}

void publish_poke(struct publish *p)
{
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->poked);
	pthread_mutex_unlock(&p->lock);
}

void publish_stop(struct publish *p)
{
	atomic_store(&p->is_stopping, true);
	wq_close(p->queue);
	publish_poke(p);
	if (p->is_started)
		pthread_join(p->thread, NULL);
	p->is_started = false;
}

void publish_free(struct publish *p)
{
	if (!p)
		return;
	publish_stop(p);
	wq_free(p->queue);
	pthread_cond_destroy(&p->poked);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
