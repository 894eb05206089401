#include "common/store/mvcc.h"

#include <assert.h>
#include <string.h>

struct key {
	char *name;
	struct mvcc_version *v; /* oldest first */
	size_t len;
};

struct change {
	int64_t rev;
	struct key *key;
};

struct mvcc {
	struct key **keys; /* in byte order; deleted ones stay until the compaction */
	size_t n_keys;
	struct change *changes;
	size_t n_changes, cap_changes;
	int64_t rev, compact_rev;
};

struct mvcc *mvcc_new(void)
{
	struct mvcc *m = xcalloc(1, sizeof(*m));

	m->rev = 1; /* as in an etcd that was just made */
	return m;
}

static void key_free(struct key *k)
{
	for (size_t i = 0; i < k->len; i++)
		free(k->v[i].value);
	free(k->v);
	free(k->name);
	free(k);
}

void mvcc_free(struct mvcc *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n_keys; i++)
		key_free(m->keys[i]);
	free(m->keys);
	free(m->changes);
	free(m);
}

int64_t mvcc_rev(const struct mvcc *m)
{
	return m->rev;
}

int64_t mvcc_compact_rev(const struct mvcc *m)
{
	return m->compact_rev;
}

/* -------------------------------------------------------------------------- reading */

/* Place of the first key that is not before name. */
static size_t place_of(const struct mvcc *m, const char *name)
{
	size_t low = 0, high = m->n_keys;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(m->keys[mid]->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct key *find_key(const struct mvcc *m, const char *name)
{
	size_t at = place_of(m, name);

	if (at == m->n_keys || strcmp(m->keys[at]->name, name) != 0)
		return NULL;
	return m->keys[at];
}

/* The newest version that is not after rev, also when it is a deletion. */
static struct mvcc_version *version_at(const struct key *k, int64_t rev)
{
	for (size_t i = k->len; i > 0; i--)
		if (k->v[i - 1].mod_rev <= rev)
			return &k->v[i - 1];
	return NULL;
}

static struct mvcc_version *live_at(const struct key *k, int64_t rev)
{
	struct mvcc_version *v = version_at(k, rev);

	return v && v->value ? v : NULL;
}

const struct mvcc_version *mvcc_find(
	const struct mvcc *m, const char *key, int64_t at_rev)
{
	const struct key *k = find_key(m, key);

	return k ? live_at(k, at_rev) : NULL;
}

void mvcc_pair_copy(
	const char *key, const struct mvcc_version *version, struct kv_pair *out)
{
	*out = (struct kv_pair){
		.key = xstrdup(key),
		.value = xstrdup(version->value),
		.value_size = version->value ? strlen(version->value) : 0,
		.create_rev = version->create_rev,
		.mod_rev = version->mod_rev,
		.lease = version->lease,
	};
}

/* Grown by doubling at powers of two. */
struct kv_pair *mvcc_list_add(struct kv_list *l)
{
	if ((l->len & (l->len - 1)) == 0)
		l->v = xreallocarray(l->v, l->len ? 2 * l->len : 1, sizeof(*l->v));
	memset(&l->v[l->len], 0, sizeof(*l->v));
	return &l->v[l->len++];
}

int64_t mvcc_range(const struct mvcc *m, const char *key, const char *end, int64_t at_rev,
	int64_t limit, struct kv_list *out)
{
	int64_t count = 0;

	for (size_t i = place_of(m, key); i < m->n_keys; i++) {
		const struct key *k = m->keys[i];
		const struct mvcc_version *v;

		if (end ? *end && strcmp(k->name, end) >= 0 : strcmp(k->name, key) != 0)
			break;
		v = live_at(k, at_rev);
		if (!v)
			continue;
		if (out && (limit == 0 || count < limit))
			mvcc_pair_copy(k->name, v, mvcc_list_add(out));
		count++;
	}
	return count;
}

/* -------------------------------------------------------------------------- changing */

static struct key *find_or_add_key(struct mvcc *m, const char *name)
{
	size_t at = place_of(m, name);
	struct key *k;

	if (at < m->n_keys && strcmp(m->keys[at]->name, name) == 0)
		return m->keys[at];
	if ((m->n_keys & (m->n_keys - 1)) == 0)
		m->keys = xreallocarray(
			m->keys, m->n_keys ? 2 * m->n_keys : 1, sizeof(struct key *));
	memmove(&m->keys[at + 1], &m->keys[at], (m->n_keys - at) * sizeof(struct key *));
	m->n_keys++;
	k = xcalloc(1, sizeof(*k));
	k->name = xstrdup(name);
	m->keys[at] = k;
	return k;
}

static struct mvcc_version *add_version(struct mvcc *m, struct key *k)
{
	struct mvcc_version *v;

	assert(k->len == 0 || k->v[k->len - 1].mod_rev <= m->rev);
	k->v = xreallocarray(k->v, k->len + 1, sizeof(*k->v));
	v = &k->v[k->len++];
	*v = (struct mvcc_version){ .mod_rev = m->rev + 1 };
	if (m->n_changes == m->cap_changes) {
		m->cap_changes = m->cap_changes ? 2 * m->cap_changes : 256;
		m->changes =
			xreallocarray(m->changes, m->cap_changes, sizeof(*m->changes));
	}
	m->changes[m->n_changes++] = (struct change){ m->rev + 1, k };
	return v;
}

void mvcc_put(struct mvcc *m, const char *key, const char *value, int64_t lease)
{
	struct key *k = find_or_add_key(m, key);
	struct mvcc_version *before = live_at(k, m->rev);
	int64_t create_rev = before ? before->create_rev : m->rev + 1;
	struct mvcc_version *v = add_version(m, k);

	v->create_rev = create_rev;
	v->lease = lease;
	v->value = xstrdup(value);
}

static void del_key(struct mvcc *m, struct key *k)
{
	if (live_at(k, m->rev))
		add_version(m, k);
}

void mvcc_del(struct mvcc *m, const char *key)
{
	struct key *k = find_key(m, key);

	if (k)
		del_key(m, k);
}

void mvcc_del_lease(struct mvcc *m, int64_t lease)
{
	for (size_t i = 0; i < m->n_keys; i++) {
		struct mvcc_version *v = live_at(m->keys[i], m->rev);

		if (v && v->lease == lease)
			del_key(m, m->keys[i]);
	}
}

int64_t mvcc_commit(struct mvcc *m)
{
	if (m->n_changes > 0 && m->changes[m->n_changes - 1].rev > m->rev)
		m->rev++;
	return m->rev;
}

/* --------------------------------------------------------------- changes, compaction */

size_t mvcc_seek(const struct mvcc *m, int64_t rev)
{
	size_t low = 0, high = m->n_changes;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->changes[mid].rev < rev)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

size_t mvcc_n_changes(const struct mvcc *m)
{
	return m->n_changes;
}

struct mvcc_change mvcc_change(const struct mvcc *m, size_t i)
{
	const struct change *c = &m->changes[i];

	return (struct mvcc_change){
		.key = c->key->name,
		.now = version_at(c->key, c->rev),
		.before = live_at(c->key, c->rev - 1),
	};
}

/* Keeps the newest version only; false when that is a deletion. */
static bool key_compact(struct key *k, int64_t rev)
{
	(void)rev;
	for (size_t i = 0; i + 1 < k->len; i++)
		free(k->v[i].value);
	k->v[0] = k->v[k->len - 1];
	k->len = 1;
	return k->v[0].value;
}

/* False when it has no version left. */
static bool key_roll_back(struct key *k, int64_t rev)
{
	while (k->len > 0 && k->v[k->len - 1].mod_rev > rev)
		free(k->v[--k->len].value);
	return k->len > 0;
}

/* Drops the keys for which the function says false. */
static void reduce_keys(
	struct mvcc *m, bool (*reduce)(struct key *k, int64_t rev), int64_t rev)
{
	size_t n = 0;
	size_t cap = 1;

	for (size_t i = 0; i < m->n_keys; i++) {
		if (reduce(m->keys[i], rev))
			m->keys[n++] = m->keys[i];
		else
			key_free(m->keys[i]);
	}
	while (cap < n)
		cap *= 2;
	if (m->keys)
		m->keys = xreallocarray(m->keys, cap, sizeof(struct key *));
	m->n_keys = n;
}

void mvcc_compact(struct mvcc *m)
{
	reduce_keys(m, key_compact, m->rev);
	m->n_changes = 0;
	m->compact_rev = m->rev;
}

void mvcc_roll_back(struct mvcc *m, int64_t rev)
{
	assert(rev >= m->compact_rev && rev > 0 && rev <= m->rev);
	m->n_changes = mvcc_seek(m, rev + 1);
	reduce_keys(m, key_roll_back, rev);
	m->rev = rev;
}
