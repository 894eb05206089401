/*
 * A read-only mirror of a prefix, kept by a watch. Items are immutable and counted: a reader
 * keeps what it got for as long as it likes. A value that does not parse is logged once and
 * kept as *invalid* (obj NULL): it is there, and nobody may treat it as absent.
 *
 * Any thread may read. The change function is called on the watch's thread with no lock
 * held, and should only enqueue.
 */
#ifndef UCLOUD_CACHE_H
#define UCLOUD_CACHE_H

#include <jansson.h>

#include "common/store/watch.h"

struct cache;

struct cache_item {
	char *key;
	const char *name; /* the key behind the prefix */
	char *value;	  /* NULL unless the class keeps values */
	int64_t create_rev, mod_rev;
	void *obj; /* what parse() made; NULL: invalid */
	int refs;  /* atomic */
	const struct cache_class *class;
};

struct cache_class {
	/* name is the key behind the prefix; json is borrowed. Returns NULL with the error
	 * when invalid. NULL: values are not parsed, obj stays NULL. */
	void *(*parse)(const char *name, json_t *json, struct err *e);
	void (*free)(void *obj);
	bool keep_value;
};

/* before is NULL for a new key, after is NULL for a deleted one; both borrowed. The cache
 * shows the change already. */
typedef void cache_change_fn(
	void *aux, const struct cache_item *before, const struct cache_item *after);

/* class may be NULL: values are kept as text, not parsed. */
/* The class is borrowed, and must outlive the items. */
struct cache *cache_new(struct kv *kv, const char *prefix,
	const struct cache_class *class, cache_change_fn *fn, void *aux);
void cache_start(struct cache *c); /* the watch's thread; twice is fine */
bool cache_step(struct cache *c);  /* the simulation */
/* Was it complete once? Nothing may be concluded from absence before. It stays true when
 * the store goes away: what is here is then the state at that time. */
bool cache_is_synced(struct cache *c);
/* Waits for it; false when the time is up. */
bool cache_wait_synced(struct cache *c, int64_t wait_msec);
/* No change is followed or told any more; what is here can still be read. "soon": tells the
 * thread, and does not wait for it. */
void cache_stop_soon(struct cache *c);
void cache_stop(struct cache *c);
void cache_free(struct cache *c); /* stops it first */

/* A counted item or NULL; name is the key behind the prefix. */
const struct cache_item *cache_get(struct cache *c, const char *name);
void cache_item_put(const struct cache_item *it); /* NULL is fine */
void cache_item_put_ptr(const struct cache_item **it);
size_t cache_len(struct cache *c);
/* All items, each counted, in no particular but a reproducible order. */
struct cache_items {
	const struct cache_item **v;
	size_t len;
};
void cache_items_get(struct cache *c, struct cache_items *out);
void cache_items_done(struct cache_items *items);

#endif
