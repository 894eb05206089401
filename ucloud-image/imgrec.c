#include "ucloud-image/imgrec.h"

#include <pthread.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/vm.h"
#include "ucloud-image/imgstep.h"
#include "ucloud-image/imgtxn.h"

/* After a conflict, or an answer that was lost. */
#define AGAIN_MSEC 200
/* Of the progress in the entry. */
#define PROGRESS_MSEC 1000
#define VM_PAGE_LEN   500

struct imgrec {
	struct imgenv *env;
	void (*look_at)(void *aux, const char *uuid);
	void *aux;
	pthread_mutex_t lock; /* n_running, waiting */
	unsigned n_running;
	struct strv waiting; /* uuids, oldest first */
};

static struct metric m_running = { METRIC_GAUGE, "ucloud_image_running",
	"Images that are being made now." };
static struct metric m_waiting = { METRIC_GAUGE, "ucloud_image_waiting",
	"Images that wait for their turn." };
static struct metric m_ended = { METRIC_COUNTER, "ucloud_image_ended_total",
	"How orders ended.", .label = "how" };
static struct metric m_sec = { METRIC_HISTOGRAM, "ucloud_image_make_seconds",
	"Time that making an image took." };

struct imgrec *imgrec_new(
	struct imgenv *env, void (*look_at)(void *aux, const char *uuid), void *aux)
{
	struct imgrec *r = xcalloc(1, sizeof(*r));

	metric_register(&m_running);
	metric_register(&m_waiting);
	metric_register(&m_ended);
	metric_register(&m_sec);
	r->env = env;
	r->look_at = look_at;
	r->aux = aux;
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

void imgrec_free(struct imgrec *r)
{
	if (!r)
		return;
	strv_done(&r->waiting);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---------------------------------------------------------------- whose turn it is */

static void note_slots(const struct imgrec *r)
{
	metric_set(&m_running, NULL, r->n_running);
	metric_set(&m_waiting, NULL, (double)r->waiting.len);
}

/* False: not now; look_at() tells when to come again. */
static bool take_slot(struct imgrec *r, const char *uuid)
{
	bool is_free;

	pthread_mutex_lock(&r->lock);
	is_free = r->n_running < r->env->n_jobs;
	if (is_free)
		r->n_running++;
	else if (!strv_has(&r->waiting, uuid))
		strv_add(&r->waiting, uuid);
	note_slots(r);
	pthread_mutex_unlock(&r->lock);
	return is_free;
}

static void give_slot_back(struct imgrec *r)
{
	CLEANUP_STR char *next = NULL;

	pthread_mutex_lock(&r->lock);
	r->n_running--;
	if (r->waiting.len > 0) {
		next = r->waiting.v[0];
		r->waiting.len--;
		for (size_t i = 0; i < r->waiting.len; i++)
			r->waiting.v[i] = r->waiting.v[i + 1];
	}
	note_slots(r);
	pthread_mutex_unlock(&r->lock);
	if (next)
		r->look_at(r->aux, next);
}

/* ---------------------------------------------------------------- a look */

struct look {
	struct imgrec *rec;
	struct imgenv *env;
	struct imgread r;
	struct imgstore store;
	struct file file;
	int64_t told_msec; /* when progress was written */
	bool is_cancelled; /* what was ordered is not wanted any more */
};

static void look_done(struct look *k)
{
	imgread_done(&k->r);
	imgstore_done(&k->store);
	file_done(&k->file);
}

static struct imglook seen(const struct look *k)
{
	return (struct imglook){
		.im = k->r.im,
		.req = k->r.s.has_req ? &k->r.s.req : NULL,
		.is_unreadable = k->r.s.is_unreadable,
		.now_sec = clock_unix_sec(),
	};
}

/* 0 when it was written; else as kv_txn_commit(). Takes t. */
static int commit(struct look *k, struct kv_txn *t, int64_t *rev, struct err *e)
{
	int rc = t ? kv_txn_commit(k->env->kv, t, rev, e) : -1;

	kv_txn_free(t);
	return rc;
}

/* The end of an order: how is for the log and the metric. */
static enum wq_result end(struct look *k, struct kv_txn *t, const char *how,
	const char *why, int64_t *after_msec, struct err *e)
{
	int rc = commit(k, t, NULL, e);

	*after_msec = AGAIN_MSEC;
	if (rc != 0)
		return rc < 0 ? WQ_RETRY : WQ_AGAIN;
	metric_add(&m_ended, how, 1);
	log_info("%s image=%s%s%s", how, k->r.s.uuid, *why ? " why=" : "", why);
	return WQ_DONE;
}

static enum wq_result give_up(
	struct look *k, const char *why, int64_t *after_msec, struct err *e)
{
	return end(k, imgtxn_error(&k->r, why), "error", why, after_msec, e);
}

static enum wq_result record(
	struct look *k, const struct err *why, int64_t *after_msec, struct err *e)
{
	int64_t now = clock_unix_sec(), not_before = 0;
	int rc = commit(k, subject_failed_txn(&k->r.s, now, why, &not_before), NULL, e);

	*after_msec = AGAIN_MSEC;
	if (rc != 0)
		return rc < 0 ? WQ_RETRY : WQ_AGAIN;
	log_warn("%s image=%s attempts=%lld", why->msg, k->r.s.uuid,
		(long long)k->r.s.req.attempts);
	*after_msec = (not_before - now) * 1000;
	return WQ_AGAIN;
}

static enum wq_result failed(struct look *k, int64_t *after_msec, struct err *e)
{
	struct imglook l = seen(k);
	struct err why = *e;

	if (k->is_cancelled) {
		*after_msec = AGAIN_MSEC;
		return WQ_AGAIN;
	}
	k->r.s.fence = atomic_load(&k->env->fence);
	if (!k->r.s.has_req || !k->r.s.fence)
		return WQ_RETRY;
	return imgstep_failed(&l, &why) == IMGFAIL_GIVE_UP
		       ? give_up(k, why.msg, after_msec, e)
		       : record(k, &why, after_msec, e);
}

/* ---------------------------------------------------------------- while it is made */

static int cancel(struct look *k, const char *why, struct err *e)
{
	k->is_cancelled = true;
	return err_set(e, ERR_UNAVAILABLE, "%s", why);
}

/* Reads both entries anew: somebody has changed one. */
static int refresh(struct look *k, struct err *e)
{
	if (imgread_read(&k->r, k->env->kv, e) < 0)
		return -1;
	if (k->r.im && k->r.s.has_req && k->r.im->status == IMAGE_TO_BE_CREATED &&
		k->r.s.req.type == REQ_CREATE_IMAGE)
		return 0;
	return cancel(k, "the image is not wanted any more", e);
}

/* Was the request replaced or removed since it was read? */
static bool is_request_new(const struct look *k)
{
	CLEANUP(cache_item_put_ptr)
	const struct cache_item *it = cache_get(k->env->requests, k->r.s.uuid);

	return !it || it->mod_rev > k->r.s.req_rev;
}

/* That etcd does not answer now is no reason to stop. */
static int refresh_if_possible(struct look *k, struct err *e)
{
	return refresh(k, e) < 0 && k->is_cancelled ? -1 : 0;
}

static int write_progress(struct look *k, int percent, struct err *e)
{
	int64_t rev = 0;
	int rc;

	k->told_msec = clock_mono_msec();
	rc = commit(k, imgtxn_progress(&k->r, percent), &rev, e);
	if (rc == 0)
		k->r.s.rev = rev;
	return rc > 0 ? refresh_if_possible(k, e) : 0;
}

static int tick(void *aux, int percent, struct err *e)
{
	struct look *k = aux;

	if (atomic_load(&k->env->is_stopping))
		return cancel(k, "ucloud-image is being stopped", e);
	if (is_request_new(k) && refresh_if_possible(k, e) < 0)
		return -1;
	k->r.s.fence = atomic_load(&k->env->fence);
	if (!k->r.s.fence || percent == k->r.im->progress ||
		clock_mono_msec() - k->told_msec < PROGRESS_MSEC)
		return 0;
	return write_progress(k, percent, e);
}

/*
 * Before the image gets complete in its store: is it wanted still, and do we lead? While etcd
 * does not answer that is not known, and an hour's work is not thrown away for it.
 */
static int may_commit(void *aux, struct err *e)
{
	const struct timespec pause = { .tv_nsec = 200 * 1000 * 1000 };
	struct look *k = aux;
	int64_t end_msec =
		clock_mono_msec() + k->env->import.reader.limit_sec * INT64_C(1000);

	for (;;) {
		k->r.s.fence = atomic_load(&k->env->fence);
		if (k->r.s.fence && refresh(k, e) == 0)
			return 0;
		if (k->is_cancelled)
			return -1;
		if (atomic_load(&k->env->is_stopping))
			return cancel(k, "ucloud-image is being stopped", e);
		if (clock_mono_msec() >= end_msec)
			return err_set(e, ERR_UNAVAILABLE, "etcd does not answer");
		nanosleep(&pause, NULL);
	}
}

/* ---------------------------------------------------------------- making */

static int read_file(struct look *k, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	const char *name = str_is_empty(k->r.im->filename) ? "" : k->r.im->filename;
	CLEANUP_STR char *key = NULL;

	if (uuid_check(k->r.im->file_uuid ? k->r.im->file_uuid : "", e) < 0)
		return err_wrap(e, "its file_uuid");
	key = key_file(k->env->keys, k->r.im->file_uuid);
	if (kv_get(k->env->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return err_set(
			e, ERR_NOT_FOUND, "the file \"%s\" is not there any more", name);
	return file_parse(pair.value, pair.value_size, &k->file, e);
}

static enum wq_result write_made(
	struct look *k, const struct image_made *made, int64_t *after_msec, struct err *e)
{
	k->r.s.fence = atomic_load(&k->env->fence);
	*after_msec = AGAIN_MSEC;
	if (!k->r.s.fence)
		return WQ_AGAIN;
	return end(k, imgtxn_made(&k->r, made), "created", "", after_msec, e);
}

static int begin(struct look *k, struct err *e)
{
	int64_t rev = 0;
	int rc = commit(k, imgtxn_begin(&k->r, &k->file), &rev, e);

	if (rc == 0)
		k->r.s.rev = rev;
	k->told_msec = clock_mono_msec();
	return rc <= 0 ? rc : cancel(k, "the entry was changed meanwhile", e);
}

static enum wq_result import(struct look *k, int64_t *after_msec, struct err *e)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	int64_t since_msec = clock_mono_msec();
	struct import im = {
		.conf = &k->env->import,
		.store = k->store.disks,
		.store_name = k->store.conf.name,
		.max_image_gib = k->store.conf.max_image_gib,
		.image_uuid = k->r.s.uuid,
		.file = &k->file,
		.tick = tick,
		.may_commit = may_commit,
		.aux = k,
	};

	if (read_file(k, e) < 0 || begin(k, e) < 0)
		return failed(k, after_msec, e);
	log_info("an image is being made image=%s file=%s store=%s", k->r.s.uuid,
		k->file.uuid, k->store.conf.name);
	if (import_run(&im, &made, e) < 0) {
		if (e->kind == ERR_EXISTS) {
			*after_msec = 0;
			return WQ_AGAIN;
		}
		return failed(k, after_msec, e);
	}
	metric_observe(&m_sec, NULL, (double)(clock_mono_msec() - since_msec) / 1000);
	return write_made(k, &made, after_msec, e);
}

static enum wq_result make(struct look *k, int64_t *after_msec, struct err *e)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	int rc;

	if (imgstore_open(k->env->kv, k->r.im->store, &k->store, e) < 0)
		return failed(k, after_msec, e);
	rc = image_find(k->store.disks, k->r.s.uuid, &made, e);
	if (rc < 0)
		return failed(k, after_msec, e);
	switch (imgstep_make(rc == 0, k->r.im)) {
	case IMGMAKE_ADOPT:
		return write_made(k, &made, after_msec, e);
	case IMGMAKE_REMOVE:
		if (image_remove(k->store.disks, k->r.s.uuid, e) < 0)
			return failed(k, after_msec, e);
		return import(k, after_msec, e);
	default:
		return import(k, after_msec, e);
	}
}

static enum wq_result make_in_turn(struct look *k, int64_t *after_msec, struct err *e)
{
	enum wq_result result;

	if (!take_slot(k->rec, k->r.s.uuid))
		return WQ_DONE;
	result = make(k, after_msec, e);
	give_slot_back(k->rec);
	return result;
}

/* ---------------------------------------------------------------- deleting */

static int count_page(
	const struct kv_list *page, const char *uuid, int64_t *n, struct err *e)
{
	for (size_t i = 0; i < page->len; i++) {
		CLEANUP(vm_done) struct vm vm = { 0 };

		/* One that cannot be read may use it. */
		if (vm_parse(page->v[i].value, page->v[i].value_size, &vm, e) < 0)
			return err_wrap(e, "%s", page->v[i].key);
		*n += str_eq(vm.image_uuid, uuid);
	}
	return 0;
}

/*
 * Who was ordered before it became TO_BE_DELETED is there by now; who came later was refused.
 * One that cannot be read is no reason to keep all images for ever, but to keep this one now.
 */
static int count_vms(struct look *k, int64_t *n, struct err *e)
{
	CLEANUP_STR char *after = NULL;
	bool has_more = true;

	while (has_more) {
		CLEANUP(kv_list_done) struct kv_list page = { 0 };

		if (kv_range_page(k->env->kv, k->env->keys->vm, after, VM_PAGE_LEN, 0,
			    &page, e) != 0 ||
			count_page(&page, k->r.s.uuid, n, e) < 0)
			return -1;
		has_more = page.has_more && page.len > 0;
		if (has_more)
			str_set(&after, xstrdup(page.v[page.len - 1].key));
	}
	return 0;
}

/* Back to what it was: it is needed. */
static enum wq_result undelete(
	struct look *k, const char *why, int64_t *after_msec, struct err *e)
{
	CLEANUP_STR char *text = xasprintf("it was not deleted: %s", why);
	struct kv_txn *t = imgtxn_undeleted(&k->r, imgstep_undeleted(k->r.im), text);

	return end(k, t, "undeleted", why, after_msec, e);
}

static enum wq_result undelete_used(
	struct look *k, int64_t n, int64_t *after_msec, struct err *e)
{
	CLEANUP_STR char *why = xasprintf("%lld VM%s made of it; delete %s first",
		(long long)n, n == 1 ? " is" : "s are", n == 1 ? "it" : "them");

	return undelete(k, why, after_msec, e);
}

static enum wq_result write_deleted(struct look *k, int64_t *after_msec, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list rest = { 0 };
	bool is_use_odd = false;
	struct kv_txn *t;

	imgtxn_deleted_keys(&k->r, &keys);
	if (kv_get_many(k->env->kv, (const char *const *)keys.v, keys.len, &rest, e) < 0)
		return WQ_RETRY;
	t = imgtxn_deleted(&k->r, &rest, &is_use_odd, e);
	if (!t)
		return failed(k, after_msec, e);
	if (is_use_odd)
		log_warn("the owner's use was less than this image image=%s user=%s",
			k->r.s.uuid, k->r.im->owner);
	return end(k, t, "deleted", "", after_msec, e);
}

/* The data first: once the entry is gone, nobody would know of it. */
static enum wq_result delete (struct look *k, int64_t *after_msec, struct err *e) {
	int64_t n_vms = 0; unsigned n = 0;

	if (count_vms(k, &n_vms, e) < 0) return failed(k, after_msec, e);
	if (n_vms > 0) return undelete_used(k, n_vms, after_msec, e);
	if (imgstore_open(k->env->kv, k->r.im->store, &k->store, e) < 0) return failed(
		k, after_msec, e);
	if (!str_is_empty(k->r.im->path) &&
		image_n_users(k->store.disks, k->r.im, &n, e) < 0 &&
		e->kind != ERR_NOT_FOUND) return failed(k, after_msec, e);
	if (n > 0) return undelete_used(k, n, after_msec, e);
	if (image_remove(k->store.disks, k->r.s.uuid, e) < 0){
		if (e->kind != ERR_CONFLICT) return failed(k, after_msec, e);
		struct err why = *e; return undelete(k, why.msg, after_msec, e); }
return write_deleted(k, after_msec, e);
}

/* ---------------------------------------------------------------- deciding */

static enum wq_result take_step(
	struct look *k, const struct imgstep *step, int64_t *after_msec, struct err *e)
{
	switch (step->act) {
	case IMGACT_WAIT:
		*after_msec = step->after_msec;
		return WQ_AGAIN;
	case IMGACT_DROP:
		return end(
			k, subject_end_txn(&k->r.s), "dropped", step->why, after_msec, e);
	case IMGACT_GIVE_UP:
		return give_up(k, step->why, after_msec, e);
	case IMGACT_MAKE:
		return make_in_turn(k, after_msec, e);
	case IMGACT_DELETE:
		return delete (k, after_msec, e);
	default:
		if (*step->why)
			log_debug("left alone: %s image=%s", step->why, k->r.s.uuid);
		return WQ_DONE;
	}
}

enum wq_result imgrec_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e)
{
	struct imgrec *rec = aux;
	CLEANUP(look_done) struct look k = { .rec = rec, .env = rec->env };
	int64_t fence = atomic_load(&rec->env->fence);
	struct imglook l;
	struct imgstep step;

	*after_msec = 0;
	if (!fence)
		return WQ_DONE;
	if (uuid_check(uuid, e) < 0) {
		log_warn("a key that is no image's uuid is left alone: %s", e->msg);
		return WQ_DONE;
	}
	imgread_init(&k.r, rec->env->keys, rec->env->lock_key, fence, uuid);
	if (imgread_read(&k.r, rec->env->kv, e) < 0)
		return WQ_RETRY;
	l = seen(&k);
	step = imgstep_decide(&l);
	return take_step(&k, &step, after_msec, e);
}
