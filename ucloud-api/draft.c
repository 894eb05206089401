#include "ucloud-api/draft.h"

#include <assert.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/hash.h"

enum change { CHANGE_NONE, CHANGE_PUT, CHANGE_DEL };

struct node {
	char *key;
	bool is_known;
	bool is_wanted;
	bool is_compared;
	bool is_kept; /* seen by draft_see(): the next order may look at it again */
	char *value;  /* as in the store; NULL absent (or not known) */
	size_t size;
	int64_t rev, lease;
	enum change change;
	char *new_value;
	int64_t new_lease;
	const struct jtab *parsed_jtab;
	void *parsed; /* of new_value, else of value; NULL none */
	bool is_parsed_new;
	UT_hash_handle hh;
};

struct draft {
	struct node *nodes; /* in the order of their first mention */
	bool is_careful, is_doubtful;
	size_t n_compares, n_ops, size, n_wants;
};

struct draft *draft_new(void)
{
	return xcalloc(1, sizeof(struct draft));
}

static void parsed_drop(struct node *n)
{
	if (n->parsed)
		jtab_done(n->parsed_jtab, n->parsed);
	free(n->parsed);
	n->parsed = NULL;
	n->is_parsed_new = false;
}

static void node_undo(struct node *n)
{
	if (n->is_parsed_new)
		parsed_drop(n);
	n->is_wanted = n->is_compared = false;
	n->change = CHANGE_NONE;
	str_set(&n->new_value, NULL);
	n->new_lease = 0;
}

static void node_free(struct draft *d, struct node *n)
{
	HASH_DEL(d->nodes, n);
	parsed_drop(n);
	free(n->key);
	free(n->value);
	free(n->new_value);
	free(n);
}

static struct node *node_get(struct draft *d, const char *key)
{
	struct node *n;

	HASH_FIND_STR(d->nodes, key, n);
	if (n)
		return n;
	n = xcalloc(1, sizeof(*n));
	n->key = xstrdup(key);
	HASH_ADD_KEYPTR(hh, d->nodes, n->key, strlen(n->key), n);
	return n;
}

void draft_clear(struct draft *d)
{
	struct node *n, *next;

	for (n = d->nodes; n; n = next) {
		next = n->hh.next;
		node_undo(n);
	}
	d->n_compares = d->n_ops = d->size = d->n_wants = 0;
}

void draft_forget(struct draft *d)
{
	struct node *n, *next;

	for (n = d->nodes; n; n = next) {
		next = n->hh.next;
		node_free(d, n);
	}
	d->n_compares = d->n_ops = d->size = d->n_wants = 0;
}

void draft_free(struct draft *d)
{
	if (!d)
		return;
	draft_forget(d);
	free(d);
}

void draft_free_ptr(struct draft **d)
{
	draft_free(*d);
}

void draft_set_careful(struct draft *d, bool is_careful)
{
	d->is_careful = is_careful;
}

void draft_set_doubtful(struct draft *d)
{
	d->is_doubtful = true;
}

bool draft_is_doubtful(const struct draft *d)
{
	return d->is_doubtful;
}

static bool see(struct draft *d, const char *key, bool is_new, struct seen *out)
{
	struct node *n = node_get(d, key);

	n->is_kept |= !is_new;
	*out = (struct seen){ .rev = n->rev, .lease = n->lease };
	if (n->change == CHANGE_DEL)
		return true;
	if (n->change == CHANGE_PUT) {
		out->value = n->new_value;
		out->size = strlen(n->new_value);
		return true;
	}
	if (n->is_known) {
		out->value = n->value;
		out->size = n->size;
		return true;
	}
	if (is_new && !d->is_careful)
		return true;
	d->n_wants += !n->is_wanted;
	n->is_wanted = true;
	return false;
}

const void *draft_parsed(struct draft *d, const char *key, const struct jtab *t)
{
	struct node *n;

	HASH_FIND_STR(d->nodes, key, n);
	return n && n->parsed && n->parsed_jtab == t ? n->parsed : NULL;
}

void draft_keep_parsed(
	struct draft *d, const char *key, const struct jtab *t, const void *obj)
{
	struct node *n = node_get(d, key);

	assert(n->change == CHANGE_PUT || (n->is_known && n->value));
	parsed_drop(n);
	n->parsed = xcalloc(1, t->size);
	n->parsed_jtab = t;
	n->is_parsed_new = n->change == CHANGE_PUT;
	jtab_copy(t, obj, n->parsed);
}

bool draft_see(struct draft *d, const char *key, struct seen *out)
{
	return see(d, key, false, out);
}

bool draft_see_new(struct draft *d, const char *key, struct seen *out)
{
	return see(d, key, true, out);
}

void draft_same(struct draft *d, const char *key)
{
	struct node *n = node_get(d, key);

	d->n_compares += !n->is_compared;
	n->is_compared = true;
}

static struct node *change(
	struct draft *d, const char *key, enum change kind, const char *value)
{
	struct node *n = node_get(d, key);

	if (n->change == CHANGE_NONE)
		d->n_ops++;
	else if (n->change == CHANGE_PUT)
		d->size -= strlen(n->new_value);
	parsed_drop(n);
	n->change = kind;
	str_set(&n->new_value, xstrdup(value));
	if (value)
		d->size += strlen(value);
	n->new_lease = 0;
	return n;
}

void draft_put(struct draft *d, const char *key, const char *value)
{
	change(d, key, CHANGE_PUT, value);
}

void draft_put_lease(struct draft *d, const char *key, const char *value, int64_t lease)
{
	change(d, key, CHANGE_PUT, value)->new_lease = lease;
}

void draft_del(struct draft *d, const char *key)
{
	change(d, key, CHANGE_DEL, NULL);
}

size_t draft_n_compares(const struct draft *d)
{
	return d->n_compares;
}

size_t draft_n_ops(const struct draft *d)
{
	return d->n_ops;
}

size_t draft_size(const struct draft *d)
{
	return d->size;
}

bool draft_has_wants(const struct draft *d)
{
	return d->n_wants > 0;
}

static void node_learn(struct node *n, struct kv_pair *p)
{
	parsed_drop(n);
	str_set(&n->value, p->key ? MOVE(p->value) : NULL);
	n->size = n->value ? p->value_size : 0;
	n->rev = p->key ? p->mod_rev : 0;
	n->lease = p->key ? p->lease : 0;
	n->is_known = true;
	n->is_wanted = false;
}

/* Reads up to KV_TXN_MAX_OPS wanted keys from n on; *n is the first one not looked at. */
static int read_some(struct draft *d, struct kv *kv, struct node **n, struct err *e)
{
	const char *keys[KV_TXN_MAX_OPS];
	struct node *nodes[KV_TXN_MAX_OPS];
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	size_t len = 0;

	for (; *n && len < KV_TXN_MAX_OPS; *n = (*n)->hh.next) {
		if (!(*n)->is_wanted)
			continue;
		nodes[len] = *n;
		keys[len++] = (*n)->key;
	}
	if (len == 0)
		return 0;
	if (kv_get_many(kv, keys, len, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < len; i++)
		node_learn(nodes[i], &got.v[i]);
	d->n_wants -= len;
	return 0;
}

int draft_read(struct draft *d, struct kv *kv, struct err *e)
{
	struct node *n = d->nodes;

	while (n) {
		if (read_some(d, kv, &n, e) < 0)
			return -1;
	}
	return 0;
}

static void txn_add(struct kv_txn *t, const struct node *n)
{
	if (n->is_compared)
		kv_txn_if_rev(t, n->key, n->rev);
	if (n->change == CHANGE_DEL)
		kv_txn_del(t, n->key);
	else if (n->change == CHANGE_PUT && n->new_lease)
		kv_txn_put_lease(t, n->key, n->new_value, n->new_lease);
	else if (n->change == CHANGE_PUT)
		kv_txn_put(t, n->key, n->new_value);
}

static void node_commit(struct node *n, int64_t rev)
{
	if (n->change == CHANGE_NONE)
		return;
	n->is_known = true;
	n->is_parsed_new = false;
	n->rev = n->change == CHANGE_PUT ? rev : 0;
	n->lease = n->new_lease;
	str_set(&n->value, MOVE(n->new_value));
	n->size = n->value ? strlen(n->value) : 0;
}

int draft_commit(struct draft *d, struct kv *kv, int64_t *rev, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct node *n, *next;
	int64_t at = 0;
	int r;

	assert(d->n_wants == 0);
	for (n = d->nodes; n; n = next) {
		next = n->hh.next;
		txn_add(t, n);
	}
	r = kv_txn_commit(kv, t, &at, e);
	if (r != 0)
		return r;
	for (n = d->nodes; n; n = next) {
		next = n->hh.next;
		node_commit(n, at);
		node_undo(n);
	}
	draft_clear(d);
	if (rev)
		*rev = at;
	return 0;
}

void draft_trim(struct draft *d, size_t max_keys, size_t max_size)
{
	struct node *n, *next;
	size_t size = 0;

	for (n = d->nodes; n; n = next) {
		next = n->hh.next;
		if (!n->is_kept || !n->is_known)
			node_free(d, n);
		else
			size += n->size + strlen(n->key);
	}
	if (HASH_COUNT(d->nodes) > max_keys || size > max_size)
		draft_forget(d);
}
