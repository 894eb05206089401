#include "common/store/kv_fake_impl.h"

#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/store/cond.h"

static struct fake_watch *watch_of(struct kv_watch *w)
{
	return (struct fake_watch *)w;
}

static bool concerns(const struct fake_watch *w, const char *key)
{
	return w->is_single_key ? strcmp(key, w->prefix) == 0
				: str_has_prefix(key, w->prefix);
}

/* Changes that the watch has not shown yet. */
static size_t n_pending(const struct fake_watch *w)
{
	const struct mvcc *m = w->client->f->m;
	size_t n = 0;

	for (size_t i = mvcc_seek(m, w->next_rev); i < mvcc_n_changes(m); i++)
		n += concerns(w, mvcc_change(m, i).key);
	return n;
}

static void add_event(struct kv_events *out, const struct mvcc_change *ch, bool want_prev)
{
	struct kv_event *ev;

	out->v = xreallocarray(out->v, out->len + 1, sizeof(*out->v));
	ev = &out->v[out->len++];
	memset(ev, 0, sizeof(*ev));
	ev->is_delete = !ch->now->value;
	mvcc_pair_copy(ch->key, ch->now, &ev->pair);
	if (want_prev && ch->before)
		mvcc_pair_copy(ch->key, ch->before, &ev->prev);
}

/* Takes about max events, but a transaction as a whole or not at all. */
static void show(struct fake_watch *w, size_t max, struct kv_events *out)
{
	const struct mvcc *m = w->client->f->m;
	struct kv_events got = { 0 };

	for (size_t i = mvcc_seek(m, w->next_rev); i < mvcc_n_changes(m); i++) {
		struct mvcc_change ch = mvcc_change(m, i);

		if (!concerns(w, ch.key))
			continue;
		if (got.len >= max && ch.now->mod_rev != got.rev)
			break;
		add_event(&got, &ch, w->want_prev);
		got.rev = ch.now->mod_rev;
	}
	w->next_rev = got.rev + 1;
	*out = got;
}

/* One look: 0 with events, KV_COMPACTED, < 0; KV_IDLE: *n wait to be shown. */
static int look(struct fake_watch *w, size_t *n, struct err *e)
{
	struct mvcc *m = w->client->f->m;

	*n = 0;
	if (w->is_broken)
		return err_set(e, ERR_UNAVAILABLE, "the watch of %s broke", w->prefix);
	if (w->is_compacted || w->next_rev <= mvcc_compact_rev(m)) {
		w->is_compacted = true;
		return KV_COMPACTED;
	}
	*n = n_pending(w);
	if (*n == 0 && w->next_rev <= mvcc_rev(m))
		w->next_rev = mvcc_rev(m) + 1; /* nothing there that it wants */
	return KV_IDLE;
}

static int look_and_show(struct fake_watch *w, struct kv_events *out, struct err *e)
{
	struct fake_etcd *f = w->client->f;
	struct kv_fault fault = w->client->fault;
	size_t n, max;
	int rc = look(w, &n, e);

	if (rc != KV_IDLE || n == 0)
		return rc;
	max = n;
	if (fault.on_watch) {
		fake_unlock(f);
		max = fault.on_watch(fault.aux, n);
		fake_lock(f);
		rc = look(w, &n, e);
	}
	if (rc != KV_IDLE || max == 0 || n == 0)
		return rc;
	show(w, max, out);
	return 0;
}

static int fake_watch_next(
	struct kv_watch *kw, int64_t wait_msec, struct kv_events *out, struct err *e)
{
	struct fake_watch *w = watch_of(kw);
	struct fake_etcd *f = w->client->f;
	struct timespec deadline = cond_deadline(wait_msec), wake;
	int rc;

	fake_lock(f);
	while ((rc = look_and_show(w, out, e)) == KV_IDLE && !w->is_woken &&
		wait_msec > 0 && !cond_is_past(&deadline)) {
		/* Nobody else may be there to notice that a lease is over. */
		wake = cond_deadline(f->next_expiry_msec - clock_mono_msec());
		wake = cond_earlier(wake, deadline);
		cond_wait_until(&f->news, &f->lock, &wake);
		fake_expire(f);
	}
	if (rc == KV_IDLE)
		w->is_woken = false;
	fake_unlock(f);
	return rc;
}

static void fake_watch_wake(struct kv_watch *kw)
{
	struct fake_watch *w = watch_of(kw);

	fake_lock(w->client->f);
	w->is_woken = true;
	pthread_cond_broadcast(&w->client->f->news);
	fake_unlock(w->client->f);
}

static void fake_watch_close(struct kv_watch *kw)
{
	struct fake_watch *w = watch_of(kw);

	fake_lock(w->client->f);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	fake_unlock(w->client->f);
	free(w->prefix);
	free(w);
}

static const struct kv_watch_ops watch_ops = {
	.next = fake_watch_next,
	.wake = fake_watch_wake,
	.close = fake_watch_close,
};

int fake_watch_open(struct kv *kv, const struct kv_watch_req *req, struct kv_watch **out,
	struct err *e)
{
	struct fake_client *c = (struct fake_client *)kv;
	struct fake_watch *w;

	if (fake_before_read(c, e) < 0)
		return -1;
	w = xcalloc(1, sizeof(*w));
	w->w.ops = &watch_ops;
	w->client = c;
	w->prefix = xstrdup(req->prefix);
	w->is_single_key = req->is_single_key;
	w->want_prev = req->want_prev;
	fake_lock(c->f);
	w->next_rev = req->from_rev > 0 ? req->from_rev : mvcc_rev(c->f->m) + 1;
	w->next = c->f->watches;
	w->link = &c->f->watches;
	if (w->next)
		w->next->link = &w->next;
	c->f->watches = w;
	fake_unlock(c->f);
	*out = &w->w;
	return 0;
}

/* A watch that has shown everything goes on; one that has not was too slow. */
void fake_watches_compact(struct fake_etcd *f)
{
	for (struct fake_watch *w = f->watches; w; w = w->next) {
		if (w->next_rev > mvcc_rev(f->m))
			continue;
		if (n_pending(w) > 0 || w->next_rev <= mvcc_compact_rev(f->m))
			w->is_compacted = true;
		else
			w->next_rev = mvcc_rev(f->m) + 1;
	}
}
