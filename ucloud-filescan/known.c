#include "ucloud-filescan/known.h"

#include <stdio.h>

static char *new_key(const char *whose, const char *identity)
{
	return xasprintf("%s/%s", whose, identity);
}

struct known *known_find(struct knowns *ks, const char *whose, const char *identity)
{
	CLEANUP_STR char *key = new_key(whose, identity);
	struct known *k;

	HASH_FIND_STR(ks->by_key, key, k);
	return k;
}

struct known *known_add(struct knowns *ks, const char *whose, const char *identity,
	const char *sha512, int64_t scanned, int64_t now_msec)
{
	struct known *k = known_find(ks, whose, identity);

	if (!k) {
		k = xcalloc(1, sizeof(*k));
		k->key = new_key(whose, identity);
		k->unused_msec = now_msec;
		HASH_ADD_KEYPTR(hh, ks->by_key, k->key, strlen(k->key), k);
	}
	snprintf(k->sha512, sizeof(k->sha512), "%s", sha512);
	k->scanned = scanned;
	return k;
}

struct known *known_get(struct known *k)
{
	k->n_files++;
	return k;
}

void known_put(struct known *k, int64_t now_msec)
{
	if (!k)
		return;
	k->n_files--;
	k->unused_msec = now_msec;
}

static void forget(struct knowns *ks, struct known *k)
{
	HASH_DEL(ks->by_key, k);
	free(k->key);
	free(k);
}

void known_purge(struct knowns *ks, int64_t before_msec)
{
	struct known *k, *next;

	HASH_ITER (hh, ks->by_key, k, next)
		if (k->n_files == 0 && k->unused_msec < before_msec)
			forget(ks, k);
}

void knowns_done(struct knowns *ks)
{
	struct known *k, *next;

	HASH_ITER (hh, ks->by_key, k, next)
		forget(ks, k);
}
