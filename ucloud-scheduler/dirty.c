#include "ucloud-scheduler/dirty.h"

#include <pthread.h>
#include <string.h>

struct dirty {
	pthread_mutex_t lock;
	bool is_on;
	struct dirty_name *by_name; /* uthash: kind and name */
};

struct dirty *dirty_new(void)
{
	struct dirty *d = xcalloc(1, sizeof(*d));

	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void dirty_names_free(struct dirty_name *list)
{
	struct dirty_name *n;

	while ((n = list)) {
		list = n->next;
		free(n);
	}
}

/* The names leave the hash, as a list in the order in which they came. */
static struct dirty_name *take_locked(struct dirty *d)
{
	struct dirty_name *first = d->by_name;

	for (struct dirty_name *n = first; n; n = n->next)
		n->next = n->hh.next;
	HASH_CLEAR(hh, d->by_name);
	return first;
}

void dirty_free(struct dirty *d)
{
	if (!d)
		return;
	dirty_names_free(take_locked(d));
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void set_on(struct dirty *d, bool is_on)
{
	pthread_mutex_lock(&d->lock);
	struct dirty_name *old = take_locked(d);
	d->is_on = is_on;
	pthread_mutex_unlock(&d->lock);
	dirty_names_free(old);
}

void dirty_begin(struct dirty *d)
{
	set_on(d, true);
}

void dirty_end(struct dirty *d)
{
	set_on(d, false);
}

static struct dirty_name *new_name(enum dirty_kind kind, const char *name)
{
	size_t size = strlen(name) + 1;
	struct dirty_name *n = xcalloc(1, sizeof(*n) + 1 + size);

	n->kind = kind;
	n->key[0] = (char)('a' + (int)kind);
	memcpy(n->key + 1, name, size);
	n->name = n->key + 1;
	return n;
}

bool dirty_add(struct dirty *d, enum dirty_kind kind, const char *name)
{
	struct dirty_name *new = new_name(kind, name), *old = NULL;

	pthread_mutex_lock(&d->lock);
	bool is_on = d->is_on;
	if (is_on)
		HASH_FIND_STR(d->by_name, new->key, old);
	if (is_on && !old) {
		HASH_ADD_STR(d->by_name, key, new);
		new = NULL;
	}
	pthread_mutex_unlock(&d->lock);
	free(new);
	return is_on;
}

struct dirty_name *dirty_take(struct dirty *d)
{
	pthread_mutex_lock(&d->lock);
	struct dirty_name *list = take_locked(d);
	pthread_mutex_unlock(&d->lock);
	return list;
}
