#include "ucloud-host/stores.h"

#include <pthread.h>
#include <string.h>

#include "common/model/keys.h"

struct stores {
	struct kv *kv;
	pthread_mutex_t lock; /* v, len */
	struct store_ref **v; /* the newest of each name; few */
	size_t len;
};

struct stores *stores_new(struct kv *kv)
{
	struct stores *s = xcalloc(1, sizeof(*s));

	s->kv = kv;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void store_put(struct store_ref **ref)
{
	struct store_ref *r = *ref;

	if (r == NULL || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	disk_store_close(r->disks);
	image_store_done(&r->conf);
	free(r->name);
	free(r);
}

void stores_free(struct stores *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->len; i++)
		store_put(&s->v[i]);
	free(s->v);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static struct store_ref *ref(struct store_ref *r)
{
	__atomic_add_fetch(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

/* A counted one when it was opened from this very entry. */
static struct store_ref *find(struct stores *s, const char *name, int64_t mod_rev)
{
	struct store_ref *found = NULL;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->len && found == NULL; i++)
		if (strcmp(s->v[i]->name, name) == 0 && s->v[i]->mod_rev == mod_rev)
			found = ref(s->v[i]);
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* Keeps r instead of an older one of that name. */
static void keep(struct stores *s, struct store_ref *r)
{
	struct store_ref *old = NULL;
	size_t i = 0;

	pthread_mutex_lock(&s->lock);
	while (i < s->len && strcmp(s->v[i]->name, r->name) != 0)
		i++;
	if (i == s->len) {
		s->v = xreallocarray(s->v, s->len + 1, sizeof(struct store_ref *));
		s->v[s->len++] = ref(r);
	} else if (s->v[i]->mod_rev < r->mod_rev) {
		old = s->v[i];
		s->v[i] = ref(r);
	}
	pthread_mutex_unlock(&s->lock);
	store_put(&old);
}

int stores_open(struct stores *s, const struct kv_pair *entry, struct store_ref **out,
	struct err *e)
{
	CLEANUP(store_put) struct store_ref *r = NULL;
	const char *name = entry->key + strlen(KEY_IMAGE_STORE);

	r = find(s, name, entry->mod_rev);
	if (r == NULL) {
		r = xcalloc(1, sizeof(*r));
		r->refs = 1;
		r->name = xstrdup(name);
		r->mod_rev = entry->mod_rev;
		if (image_store_parse(entry->value, entry->value_size, &r->conf, e) < 0 ||
			disk_store_open(&r->conf, &r->disks, e) < 0)
			return err_wrap(e, "image store '%s'", name);
		keep(s, r);
	}
	*out = MOVE(r);
	return 0;
}

int stores_get(struct stores *s, const char *name, struct store_ref **out, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair entry = { 0 };
	CLEANUP_STR char *key = NULL;

	if (name_check(name, e) < 0)
		return err_wrap(e, "image store");
	key = key_image_store(name);
	if (kv_get(s->kv, key, &entry, NULL, e) < 0)
		return -1;
	if (entry.key == NULL)
		return err_set(e, ERR_NOT_FOUND, "there is no image store '%s'", name);
	return stores_open(s, &entry, out, e);
}
