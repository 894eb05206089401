#include "common/store/cache.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/jtab.h"
#include "common/base/log.h"
#include "common/store/cond.h"
#include "common/base/hash.h"

struct entry {
	char *name;
	const struct cache_item *item; /* counted */
	uint64_t list_seen;	       /* the last list that it was in */
	UT_hash_handle hh;
};

struct cache {
	char *prefix;
	size_t prefix_len;
	const struct cache_class *class;
	cache_change_fn *fn;
	void *aux;
	struct watch *watch;

	/* The watch's thread alone. */
	uint64_t list_now;
	int64_t rev;	   /* everything up to this one is here */
	bool was_restored; /* this list is of a store that is older than what we saw */

	pthread_mutex_t lock; /* guards: */
	pthread_cond_t synced_news;
	struct entry *entries; /* in the order of their insertion */
	bool is_synced, is_started;
};

static const struct cache_class text_class = { .keep_value = true };

/* -------------------------------------------------------------------------- items */

void cache_item_put(const struct cache_item *it)
{
	struct cache_item *item = (struct cache_item *)(uintptr_t)it;

	if (!item || __atomic_sub_fetch(&item->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (item->obj && item->class->free)
		item->class->free(item->obj);
	free(item->key);
	free(item->value);
	free(item);
}

void cache_item_put_ptr(const struct cache_item **it)
{
	cache_item_put(*it);
	*it = NULL;
}

/* The count is the one part of an item that changes. */
static const struct cache_item *item_get(const struct cache_item *it)
{
	struct cache_item *item = (struct cache_item *)(uintptr_t)it;

	__atomic_add_fetch(&item->refs, 1, __ATOMIC_RELAXED);
	return it;
}

static void parse_value(struct cache_item *item, const struct kv_pair *pair)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err e = { 0 };

	if (json_parse(pair->value, pair->value_size, &json, &e) == 0)
		item->obj = item->class->parse(item->name, json, &e);
	if (!item->obj)
		log_warn("the value of %s is invalid and left alone: %s rev=%lld",
			pair->key, e.msg, (long long)pair->mod_rev);
}

static const struct cache_item *item_new(
	const struct cache *c, const struct kv_pair *pair)
{
	struct cache_item *item = xcalloc(1, sizeof(*item));

	item->key = xstrdup(pair->key);
	item->name = item->key + c->prefix_len;
	item->create_rev = pair->create_rev;
	item->mod_rev = pair->mod_rev;
	item->refs = 1;
	item->class = c->class;
	if (c->class->keep_value)
		item->value = xstrndup(pair->value, pair->value_size);
	if (c->class->parse)
		parse_value(item, pair);
	return item;
}

/* -------------------------------------------------------------------------- entries */

static struct entry *find(struct cache *c, const char *name)
{
	struct entry *en;

	HASH_FIND_STR(c->entries, name, en);
	return en;
}

/* Takes item; returns the one that was there before, the caller's. */
static const struct cache_item *swap_item(struct cache *c, const struct cache_item *item)
{
	const struct cache_item *before;
	struct entry *en;

	pthread_mutex_lock(&c->lock);
	en = find(c, item->name);
	if (!en) {
		en = xcalloc(1, sizeof(*en));
		en->name = xstrdup(item->name);
		HASH_ADD_KEYPTR(hh, c->entries, en->name, strlen(en->name), en);
	}
	before = en->item;
	en->item = item;
	en->list_seen = c->list_now;
	pthread_mutex_unlock(&c->lock);
	return before;
}

/* Locked. Returns the item, the caller's. */
static const struct cache_item *remove_entry(struct cache *c, struct entry *en)
{
	const struct cache_item *item = en->item;

	HASH_DEL(c->entries, en);
	free(en->name);
	free(en);
	return item;
}

static void tell(
	struct cache *c, const struct cache_item *before, const struct cache_item *after)
{
	if (c->fn)
		c->fn(c->aux, before, after);
}

static void put(struct cache *c, const struct kv_pair *pair)
{
	const struct cache_item *after = item_new(c, pair), *before;

	/* Ours until it is told: a reader cannot free it, but the next change could. */
	item_get(after);
	before = swap_item(c, after);
	tell(c, before, after);
	cache_item_put(before);
	cache_item_put(after);
}

static bool is_ours(const struct cache *c, const char *key)
{
	return strncmp(key, c->prefix, c->prefix_len) == 0;
}

/* The mod_rev of what is here, 0 when nothing is. is_in_list marks it as still there. */
static int64_t look_up(struct cache *c, const char *name, bool is_in_list)
{
	struct entry *en;
	int64_t rev;

	pthread_mutex_lock(&c->lock);
	en = find(c, name);
	rev = en ? en->item->mod_rev : 0;
	if (en && is_in_list)
		en->list_seen = c->list_now;
	pthread_mutex_unlock(&c->lock);
	return rev;
}

/* -------------------------------------------------------------------------- the sink */

static void on_list_begin(void *aux)
{
	struct cache *c = aux;

	c->list_now++;
	c->was_restored = false;
}

static void on_list_page(void *aux, const struct kv_list *page)
{
	struct cache *c = aux;

	if (page->rev < c->rev)
		c->was_restored = true; /* equal revisions may hold different values */
	for (size_t i = 0; i < page->len; i++) {
		const struct kv_pair *pair = &page->v[i];

		if (!is_ours(c, pair->key))
			continue;
		if (look_up(c, pair->key + c->prefix_len, true) != pair->mod_rev ||
			c->was_restored)
			put(c, pair);
	}
}

/* Everything that the complete list did not have, in order; the caller's. */
static void sweep(struct cache *c, struct cache_items *gone)
{
	struct entry *en, *next;

	pthread_mutex_lock(&c->lock);
	gone->v = xcalloc(HASH_COUNT(c->entries) + 1, sizeof(struct cache_item *));
	for (en = c->entries; en; en = next) {
		next = en->hh.next;
		if (en->list_seen != c->list_now)
			gone->v[gone->len++] = remove_entry(c, en);
	}
	pthread_mutex_unlock(&c->lock);
}

static void on_list_end(void *aux, int64_t rev)
{
	struct cache *c = aux;
	struct cache_items gone = { 0 };

	sweep(c, &gone);
	for (size_t i = 0; i < gone.len; i++)
		tell(c, gone.v[i], NULL);
	cache_items_done(&gone);
	c->rev = rev;
	pthread_mutex_lock(&c->lock);
	c->is_synced = true;
	pthread_cond_broadcast(&c->synced_news);
	pthread_mutex_unlock(&c->lock);
}

static void del(struct cache *c, const char *name)
{
	const struct cache_item *before = NULL;
	struct entry *en;

	pthread_mutex_lock(&c->lock);
	en = find(c, name);
	if (en)
		before = remove_entry(c, en);
	pthread_mutex_unlock(&c->lock);
	if (before)
		tell(c, before, NULL);
	cache_item_put(before);
}

static void on_change(void *aux, const struct kv_events *ev)
{
	struct cache *c = aux;

	for (size_t i = 0; i < ev->len; i++) {
		const struct kv_pair *pair = &ev->v[i].pair;
		const char *name = pair->key + c->prefix_len;

		if (!is_ours(c, pair->key) || pair->mod_rev <= c->rev ||
			pair->mod_rev <= look_up(c, name, false))
			continue;
		if (ev->v[i].is_delete)
			del(c, name);
		else
			put(c, pair);
	}
	if (ev->rev > c->rev)
		c->rev = ev->rev;
}

static const struct watch_sink sink = {
	.list_begin = on_list_begin,
	.list_page = on_list_page,
	.list_end = on_list_end,
	.change = on_change,
};

/* -------------------------------------------------------------------------- the cache */

struct cache *cache_new(struct kv *kv, const char *prefix,
	const struct cache_class *class, cache_change_fn *fn, void *aux)
{
	struct watch_conf conf = { .prefix = prefix };
	struct cache *c = xcalloc(1, sizeof(*c));

	c->prefix = xstrdup(prefix);
	c->prefix_len = strlen(prefix);
	c->class = class ? class : &text_class;
	c->fn = fn;
	c->aux = aux;
	pthread_mutex_init(&c->lock, NULL);
	cond_init(&c->synced_news);
	c->watch = watch_new(kv, &conf, &sink, c);
	return c;
}

void cache_start(struct cache *c)
{
	bool was_started;

	pthread_mutex_lock(&c->lock);
	was_started = c->is_started;
	c->is_started = true;
	pthread_mutex_unlock(&c->lock);
	if (!was_started)
		watch_start(c->watch);
}

bool cache_step(struct cache *c)
{
	return watch_step(c->watch);
}

bool cache_is_synced(struct cache *c)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->is_synced;
	pthread_mutex_unlock(&c->lock);
	return is;
}

bool cache_wait_synced(struct cache *c, int64_t wait_msec)
{
	struct timespec deadline = cond_deadline(wait_msec);
	bool in_time = true, is;

	pthread_mutex_lock(&c->lock);
	while (!c->is_synced && in_time)
		in_time = cond_wait_until(&c->synced_news, &c->lock, &deadline);
	is = c->is_synced;
	pthread_mutex_unlock(&c->lock);
	return is;
}

void cache_stop_soon(struct cache *c)
{
	watch_stop_soon(c->watch);
}

void cache_stop(struct cache *c)
{
	watch_stop(c->watch);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	watch_free(c->watch);
	while (c->entries)
		cache_item_put(remove_entry(c, c->entries));
	pthread_cond_destroy(&c->synced_news);
	pthread_mutex_destroy(&c->lock);
	free(c->prefix);
	free(c);
}

/* -------------------------------------------------------------------------- reading */

const struct cache_item *cache_get(struct cache *c, const char *name)
{
	const struct cache_item *it = NULL;
	struct entry *en;

	pthread_mutex_lock(&c->lock);
	en = find(c, name);
	if (en)
		it = item_get(en->item);
	pthread_mutex_unlock(&c->lock);
	return it;
}

size_t cache_len(struct cache *c)
{
	size_t len;

	pthread_mutex_lock(&c->lock);
	len = HASH_COUNT(c->entries);
	pthread_mutex_unlock(&c->lock);
	return len;
}

void cache_items_get(struct cache *c, struct cache_items *out)
{
	struct cache_items items = { 0 };

	pthread_mutex_lock(&c->lock);
	items.v = xcalloc(HASH_COUNT(c->entries) + 1, sizeof(struct cache_item *));
	for (struct entry *en = c->entries; en; en = en->hh.next)
		items.v[items.len++] = item_get(en->item);
	pthread_mutex_unlock(&c->lock);
	*out = items;
}

void cache_items_done(struct cache_items *items)
{
	for (size_t i = 0; i < items->len; i++)
		cache_item_put(items->v[i]);
	free(items->v);
	*items = (struct cache_items){ 0 };
}
