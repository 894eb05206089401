#include "ucloud-image/imgsweep.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "ucloud-image/imgstep.h"

/* The store's own key is one more in each read. */
#define BATCH_LEN (KV_TXN_MAX_OPS - 1)

/* "<store>/<image uuid>": something odd that was found, and since when. */
struct odd {
	char *name;
	int64_t since_msec;
	bool is_seen; /* by the look that is under way */
	UT_hash_handle hh;
};

struct imgsweep_state {
	struct imgenv *env;
	void (*look_at)(void *aux, const char *uuid);
	void *aux;
	struct odd *orphans, *missing;
};

static struct metric m_orphans = { METRIC_GAUGE, "ucloud_image_orphans",
	"Images in stores that have no entry in etcd." };
static struct metric m_missing = { METRIC_GAUGE, "ucloud_image_missing",
	"Images that are CREATED and are not in their store." };

struct imgsweep_state *imgsweep_new(
	struct imgenv *env, void (*look_at)(void *aux, const char *uuid), void *aux)
{
	struct imgsweep_state *s = xcalloc(1, sizeof(*s));

	metric_register(&m_orphans);
	metric_register(&m_missing);
	s->env = env;
	s->look_at = look_at;
	s->aux = aux;
	return s;
}

/* ---------------------------------------------------------------- what is odd */

static void odd_free(struct odd **all, struct odd *o)
{
	HASH_DEL(*all, o);
	free(o->name);
	free(o);
}

/* *is_new: it was not known yet. */
static struct odd *odd_note(
	struct odd **all, const char *store, const char *uuid, bool *is_new)
{
	CLEANUP_STR char *name = xasprintf("%s/%s", store, uuid);
	struct odd *o;

	HASH_FIND_STR(*all, name, o);
	*is_new = o == NULL;
	if (!o) {
		o = xcalloc(1, sizeof(*o));
		o->name = MOVE(name);
		o->since_msec = clock_mono_msec();
		HASH_ADD_KEYPTR(hh, *all, o->name, strlen(o->name), o);
	}
	o->is_seen = true;
	return o;
}

/* What this look did not see is over, or its store was not looked at: it starts anew. */
static void odd_forget_unseen(struct odd **all, struct metric *m)
{
	struct odd *o, *next;

	for (o = *all; o; o = next) {
		next = o->hh.next;
		if (!o->is_seen)
			odd_free(all, o);
		else
			o->is_seen = false;
	}
	metric_set(m, NULL, (double)HASH_COUNT(*all));
}

void imgsweep_free(struct imgsweep_state *s)
{
	if (!s)
		return;
	while (s->orphans)
		odd_free(&s->orphans, s->orphans);
	while (s->missing)
		odd_free(&s->missing, s->missing);
	free(s);
}

/* ---------------------------------------------------------------- data without an entry */

static int sweep_orphan(struct imgsweep_state *s, const struct imgstore *store,
	const char *uuid, struct err *e)
{
	int64_t keep = s->env->orphan_keep_sec;
	bool is_new;
	struct odd *o = odd_note(&s->orphans, store->conf.name, uuid, &is_new);

	if (is_new && keep < 0)
		log_warn("an image in a store has no entry; it is kept store=%s image=%s",
			store->conf.name, uuid);
	else if (is_new)
		log_warn("an image in a store has no entry; it will be removed in %lld s "
			 "store=%s image=%s",
			(long long)keep, store->conf.name, uuid);
	if (keep < 0 || clock_mono_msec() - o->since_msec < keep * 1000)
		return 0;
	log_warn("removing an image that has no entry store=%s image=%s",
		store->conf.name, uuid);
	return image_remove(store->disks, uuid, e);
}

static int sweep_data(struct imgsweep_state *s, const struct imgstore *store,
	const char *uuid, const struct kv_pair *entry, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	bool is_bad =
		entry->key && image_parse(entry->value, entry->value_size, &im, NULL) < 0;

	switch (imgstep_sweep(
		entry->key && !is_bad ? &im : NULL, is_bad, store->conf.name)) {
	case IMGSWEEP_REMOVE:
		log_info("removing what a failed import left store=%s image=%s",
			store->conf.name, uuid);
		return image_remove(store->disks, uuid, e);
	case IMGSWEEP_ORPHAN:
		return sweep_orphan(s, store, uuid, e);
	default:
		return 0;
	}
}

static int sweep_batch(struct imgsweep_state *s, const struct imgstore *store,
	char **uuids, size_t n, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	int rc = 0;

	strv_add_take(&keys, key_image_store(store->conf.name));
	for (size_t i = 0; i < n; i++)
		strv_add_take(&keys, key_image(s->env->keys, uuids[i]));
	if (kv_get_many(s->env->kv, (const char *const *)keys.v, keys.len, &got, e) < 0)
		return -1;
	if (!got.v[0].key || !atomic_load(&s->env->fence))
		return 0;
	for (size_t i = 0; i < n; i++)
		if (sweep_data(s, store, uuids[i], &got.v[i + 1], e) < 0)
			rc = -1;
	return rc;
}

/* ---------------------------------------------------------------- entries without data */

static void sweep_entry(struct imgsweep_state *s, const struct kv_pair *entry,
	const struct imgstore *store, const struct strv *data)
{
	CLEANUP(image_done) struct image im = { 0 };
	bool is_new;

	if (image_parse(entry->value, entry->value_size, &im, NULL) < 0 ||
		!str_eq(im.store, store->conf.name))
		return;
	if (im.status == IMAGE_TO_BE_CREATED)
		s->look_at(s->aux, im.uuid);
	if (im.status != IMAGE_CREATED || !im.is_made || strv_has(data, im.uuid))
		return;
	odd_note(&s->missing, im.store, im.uuid, &is_new);
	if (is_new)
		log_error("an image is gone from its store store=%s image=%s name=%s",
			im.store, im.uuid, im.name);
}

/* The entries are read first: what is made meanwhile is not missed. What is in the store is
 * listed before its entries are read: what goes meanwhile is no orphan. */
static int sweep_store(struct imgsweep_state *s, const struct imgstore *store,
	const struct kv_list *entries, struct err *e)
{
	CLEANUP(strv_done) struct strv data = { 0 };

	if (image_list(store->disks, &data, e) < 0)
		return -1;
	for (size_t i = 0; i < entries->len; i++)
		sweep_entry(s, &entries->v[i], store, &data);
	for (size_t i = 0; i < data.len; i += BATCH_LEN) {
		size_t n = data.len - i < BATCH_LEN ? data.len - i : BATCH_LEN;

		if (sweep_batch(s, store, data.v + i, n, e) < 0)
			return -1;
	}
	return 0;
}

enum wq_result imgsweep_reconcile(
	void *aux, const char *key, int64_t *after_msec, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list stores = { 0 };
	CLEANUP(kv_list_done) struct kv_list entries = { 0 };
	struct imgsweep_state *s = aux;
	int rc = 0;

	(void)key;
	*after_msec = 0;
	if (!atomic_load(&s->env->fence))
		return WQ_DONE;
	if (kv_range(s->env->kv, s->env->keys->image, 0, &entries, e) != 0 ||
		kv_range(s->env->kv, KEY_IMAGE_STORE, 0, &stores, e) != 0)
		return WQ_RETRY;
	for (size_t i = 0; i < stores.len; i++) {
		CLEANUP(imgstore_done) struct imgstore store = { 0 };
		const char *name = stores.v[i].key + strlen(KEY_IMAGE_STORE);
		struct err why = { 0 };

		/* It may be one that is not reached from here. */
		if (imgstore_open(s->env->kv, name, &store, &why) < 0) {
			log_debug("%s", why.msg);
			continue;
		}
		if (sweep_store(s, &store, &entries, &why) < 0) {
			err_set(e, why.kind, "image store \"%s\": %s", name, why.msg);
			rc = -1;
		}
	}
	odd_forget_unseen(&s->orphans, &m_orphans);
	odd_forget_unseen(&s->missing, &m_missing);
	return rc < 0 ? WQ_RETRY : WQ_DONE;
}
