#include "ucloud-filescan/filescan.h"

#include <stdatomic.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/store/session.h"
#include "ucloud-filescan/publish.h"

#define LOCK_SERVICE "filescan"

static struct metric m_leader = { METRIC_GAUGE, "ucloud_filescan_is_leader",
	"1 while this process publishes files." };

struct filescan {
	const struct filescan_conf *conf;
	char *lock_key;
	struct session *session;
	_Atomic int64_t fence;
	atomic_bool is_stopping, is_scanning;
	struct cache *entries;
	struct scan *scan;
	struct publish *publish;
};

static const struct cache_class file_class = { file_parse_item, file_free_item, false };

/* ---------------------------------------------------------------- what is told */

static void on_entry(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct filescan *f = aux;

	publish_add(f->publish, (after ? after : before)->name);
}

static void on_file(void *aux, const char *uuid)
{
	struct filescan *f = aux;

	publish_add(f->publish, uuid);
}

static void on_complete(void *aux)
{
	struct filescan *f = aux;

	publish_add_all(f->publish);
}

/* ---------------------------------------------------------------- the lock */

static void on_held(void *aux)
{
	struct filescan *f = aux;

	atomic_store(&f->fence, session_create_rev(f->session));
	metric_set(&m_leader, NULL, 1);
	log_info("this process publishes files");
	publish_poke(f->publish);
}

static void on_lost(void *aux)
{
	struct filescan *f = aux;

	atomic_store(&f->fence, 0);
	metric_set(&m_leader, NULL, 0);
	if (!atomic_load(&f->is_stopping))
		log_warn("nothing is published for now: etcd does not answer, or another "
			 "process has the lock");
}

static int64_t fence(void *aux)
{
	struct filescan *f = aux;

	return atomic_load(&f->fence);
}

/* We lead, and all entries are known: their hashes need not be computed again. */
static void on_ready(void *aux)
{
	CLEANUP(cache_items_done) struct cache_items items = { 0 };
	struct filescan *f = aux;

	cache_items_get(f->entries, &items);
	for (size_t i = 0; i < items.len; i++)
		if (items.v[i]->obj)
			scan_add_known(f->scan, items.v[i]->obj);
	log_info("looking for files base_dir=%s published=%zu", f->conf->scan.base_dir,
		items.len);
	scan_start(f->scan);
	atomic_store(&f->is_scanning, true);
}

static struct session *new_session(struct filescan *f, struct kv *kv)
{
	struct session_conf conf = {
		.kind = SESSION_LOCK,
		.key = f->lock_key,
		.ttl_sec = f->conf->lease_ttl_sec,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = f,
	};

	return session_new(kv, &conf);
}

/* ---------------------------------------------------------------- putting it together */

static struct publish *new_publish(struct filescan *f, struct kv *kv)
{
	struct publish_conf conf = {
		.kv = kv,
		.keys = &f->conf->keys,
		.lock_key = f->lock_key,
		.entries = f->entries,
		.scan = f->scan,
		.fence = fence,
		.on_ready = on_ready,
		.aux = f,
	};

	return publish_new(&conf);
}

struct filescan *filescan_new(struct kv *kv, const struct filescan_conf *conf)
{
	struct filescan *f = xcalloc(1, sizeof(*f));
	struct scan_calls calls = {
		.on_change = on_file, .on_complete = on_complete, .aux = f
	};

	f->conf = conf;
	f->lock_key = key_lock(LOCK_SERVICE);
	f->entries = cache_new(kv, conf->keys.file, &file_class, on_entry, f);
	f->scan = scan_new(&conf->scan, &calls);
	f->publish = new_publish(f, kv);
	f->session = new_session(f, kv);
	metric_register(&m_leader);
	return f;
}

void filescan_start(struct filescan *f)
{
	cache_start(f->entries);
	session_start(f->session);
	publish_start(f->publish);
}

void filescan_free(struct filescan *f)
{
	if (!f)
		return;
	atomic_store(&f->is_stopping, true);
	cache_stop_soon(f->entries);
	publish_stop(f->publish);
	scan_stop(f->scan);
	session_free(f->session, true);
	cache_stop(f->entries);
	publish_free(f->publish);
	scan_free(f->scan);
	cache_free(f->entries);
	free(f->lock_key);
	free(f);
}

int filescan_health(struct filescan *f, struct err *e)
{
	if (!cache_is_synced(f->entries))
		return err_set(e, ERR_UNAVAILABLE,
			"the entries have not been read yet: does etcd answer?");
	if (!atomic_load(&f->is_scanning)) {
		err_set(e, ERR_NONE, "waits: another process publishes files");
		return 0;
	}
	return scan_health(f->scan, e);
}
