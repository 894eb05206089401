#include "common/base/throttle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hash.h"

#define FIRST_WAIT_MSEC 1000

struct entry {
	char *key;
	unsigned n_failures;
	int64_t last_msec, next_msec;
	UT_hash_handle hh;
};

struct throttle {
	struct throttle_conf conf;
	struct entry *entries; /* the one that was quiet longest is the first */
};

struct throttle *throttle_new(const struct throttle_conf *conf)
{
	struct throttle *t = xcalloc(1, sizeof(*t));

	t->conf = *conf;
	return t;
}

static void entry_free(struct throttle *t, struct entry *en)
{
	HASH_DEL(t->entries, en);
	free(en->key);
	free(en);
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	while (t->entries)
		entry_free(t, t->entries);
	free(t);
}

static struct entry *find(struct throttle *t, const char *key)
{
	struct entry *en;

	HASH_FIND_STR(t->entries, key, en);
	return en;
}

/* Found or new; it is the last one now. */
static struct entry *touch(struct throttle *t, const char *key)
{
	struct entry *en = find(t, key);

	if (en) {
		HASH_DEL(t->entries, en);
	} else {
		if (HASH_COUNT(t->entries) >= t->conf.max_keys)
			entry_free(t, t->entries);
		en = xcalloc(1, sizeof(*en));
		en->key = xstrdup(key);
	}
	HASH_ADD_KEYPTR(hh, t->entries, en->key, strlen(en->key), en);
	return en;
}

static int64_t wait_msec(const struct throttle *t, unsigned n_failures)
{
	int64_t msec = FIRST_WAIT_MSEC;

	for (unsigned i = t->conf.n_free; i < n_failures && msec < t->conf.max_wait_msec;
		i++)
		msec *= 2;
	return msec < t->conf.max_wait_msec ? msec : t->conf.max_wait_msec;
}

int64_t throttle_take(struct throttle *t, const char *key, int64_t now_msec)
{
	struct entry *en = find(t, key);

	if (en && now_msec - en->last_msec >= t->conf.forget_msec) {
		en->n_failures = 0;
		en->next_msec = 0;
	}
	if (en && now_msec < en->next_msec)
		return en->next_msec - now_msec;
	en = touch(t, key);
	en->n_failures++;
	en->last_msec = now_msec;
	if (en->n_failures >= t->conf.n_free)
		en->next_msec = now_msec + wait_msec(t, en->n_failures);
	return 0;
}

void throttle_give_back(struct throttle *t, const char *key)
{
	struct entry *en = find(t, key);

	if (!en)
		return;
	en->next_msec = 0;
	if (en->n_failures > 0)
		en->n_failures--;
	if (en->n_failures == 0)
		entry_free(t, en);
}

void throttle_forget(struct throttle *t, const char *key)
{
	struct entry *en = find(t, key);

	if (en)
		entry_free(t, en);
}

size_t throttle_len(const struct throttle *t)
{
	return HASH_COUNT(t->entries);
}

void throttle_address(const char *peer, char out[THROTTLE_ADDRESS_SIZE])
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr a;

	snprintf(address, sizeof(address), "%.*s", (int)strcspn(peer, "%"), peer);
	if (inet_pton(AF_INET6, address, &a) != 1) {
		snprintf(out, THROTTLE_ADDRESS_SIZE, "%s", peer);
		return;
	}
	memset(a.s6_addr + 8, 0, 8);
	inet_ntop(AF_INET6, &a, address, sizeof(address));
	snprintf(out, THROTTLE_ADDRESS_SIZE, "%s/64", address);
}
