#include "ucloud-api/sessions.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/jtab.h"
#include "common/model/keys.h"
#include "common/model/names.h"
#include "common/base/hash.h"
#include "common/store/watch.h"

enum { REMEMBERED_MAX = 8192, REMEMBERED_MSEC = 60 * 1000 };

struct entry {
	char *key; /* in the store */
	struct session_user user;
	int64_t read_msec;
	UT_hash_handle hh;
};

struct sessions {
	struct kv *kv;
	int64_t ttl_sec;
	struct watch *watch; /* NULL: not started, nothing is remembered */
	pthread_mutex_t lock;
	struct entry *entries; /* the oldest is the first */
	uint64_t n_changes;    /* seen by the watch */
	sessions_end_fn *end_fn;
	void *end_aux;
};

static const struct jtab_field user_fields[] = {
	{ "name", JT_STR, offsetof(struct session_user, name), JT_NEED,
		.check = user_name_check },
	{ "realm", JT_STR, offsetof(struct session_user, realm), JT_NEED,
		.check = realm_check },
	{ "expires", JT_TIME, offsetof(struct session_user, expires), JT_NEED },
	{ 0 },
};
static const struct jtab user_jtab = { "session", sizeof(struct session_user),
	user_fields };

void session_user_done(struct session_user *u)
{
	jtab_done(&user_jtab, u);
}

/* ---------------------------------------------------------------- what is remembered */

static void entry_free(struct sessions *s, struct entry *en)
{
	HASH_DEL(s->entries, en);
	free(en->key);
	session_user_done(&en->user);
	free(en);
}

static void forget(struct sessions *s, const char *key)
{
	struct entry *en;

	HASH_FIND_STR(s->entries, key, en);
	if (en)
		entry_free(s, en);
}

static void forget_all(struct sessions *s)
{
	while (s->entries)
		entry_free(s, s->entries);
}

static void tell_end(struct sessions *s, const char *key)
{
	sessions_end_fn *fn;
	void *aux;

	pthread_mutex_lock(&s->lock);
	fn = s->end_fn;
	aux = s->end_aux;
	pthread_mutex_unlock(&s->lock);
	if (fn)
		fn(aux, key);
}

/* The watch's sink. */
static void on_list(void *aux)
{
	struct sessions *s = aux;

	pthread_mutex_lock(&s->lock);
	s->n_changes++;
	forget_all(s);
	pthread_mutex_unlock(&s->lock);
	tell_end(s, NULL);
}

static void on_list_page(void *aux, const struct kv_list *page)
{
	(void)aux;
	(void)page;
}

static void on_list_end(void *aux, int64_t rev)
{
	(void)rev;
	on_list(aux);
}

static void on_change(void *aux, const struct kv_events *ev)
{
	struct sessions *s = aux;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < ev->len; i++) {
		s->n_changes++;
		forget(s, ev->v[i].pair.key);
	}
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < ev->len; i++) {
		if (ev->v[i].is_delete)
			tell_end(s, ev->v[i].pair.key);
	}
}

static const struct watch_sink sink = { on_list, on_list_page, on_list_end, on_change };

static bool is_remembered(struct sessions *s, const char *key, struct session_user *out,
	uint64_t *n_changes)
{
	struct entry *en = NULL;
	bool is_fresh = s->watch && watch_is_synced(s->watch);

	pthread_mutex_lock(&s->lock);
	*n_changes = s->n_changes;
	if (is_fresh)
		HASH_FIND_STR(s->entries, key, en);
	if (en && clock_mono_msec() - en->read_msec > REMEMBERED_MSEC) {
		entry_free(s, en);
		en = NULL;
	}
	if (en)
		jtab_copy(&user_jtab, &en->user, out);
	pthread_mutex_unlock(&s->lock);
	return en != NULL;
}

/* Unless something changed since before it was read: that may have been its end. */
static void remember(struct sessions *s, const char *key, const struct session_user *u,
	uint64_t n_changes, int64_t read_msec)
{
	struct entry *en;

	pthread_mutex_lock(&s->lock);
	if (s->watch && s->n_changes == n_changes) {
		forget(s, key);
		if (HASH_COUNT(s->entries) >= REMEMBERED_MAX)
			entry_free(s, s->entries);
		en = xcalloc(1, sizeof(*en));
		en->key = xstrdup(key);
		en->read_msec = read_msec;
		jtab_copy(&user_jtab, u, &en->user);
		HASH_ADD_KEYPTR(hh, s->entries, en->key, strlen(en->key), en);
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- public */

struct sessions *sessions_new(struct kv *kv, int64_t ttl_sec)
{
	struct sessions *s = xcalloc(1, sizeof(*s));

	s->kv = kv;
	s->ttl_sec = ttl_sec;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void sessions_start(struct sessions *s)
{
	struct watch_conf conf = { .prefix = KEY_SESSION, .is_tail = true };

	s->watch = watch_new(s->kv, &conf, &sink, s);
	watch_start(s->watch);
}

void sessions_free(struct sessions *s)
{
	if (!s)
		return;
	if (s->watch)
		watch_free(s->watch);
	forget_all(s);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void sessions_set_end(struct sessions *s, sessions_end_fn *fn, void *aux)
{
	pthread_mutex_lock(&s->lock);
	s->end_fn = fn;
	s->end_aux = aux;
	pthread_mutex_unlock(&s->lock);
}

char *sessions_key(const char *token)
{
	char hash[SHA256_HEX_SIZE];

	sha256_hex(token, strlen(token), hash);
	return key_session(hash);
}

static int store(struct sessions *s, const char *key, const struct session_user *u,
	int64_t lease, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *text = jtab_format_text(&user_jtab, u);
	int r;

	kv_txn_put_lease(t, key, text, lease);
	r = kv_txn_commit(s->kv, t, NULL, e);
	/* In doubt, the token is never handed out: its key ends with its lease. */
	if (r > 0)
		return err_set(e, ERR_UNAVAILABLE,
			"the store did not say whether the session was made: try again");
	return r;
}

int sessions_create(struct sessions *s, const char *name, const char *realm, int64_t now,
	char token[TOKEN_STR_SIZE], int64_t *expires, struct err *e)
{
	CLEANUP(session_user_done)
	struct session_user u = { .name = xstrdup(name),
		.realm = xstrdup(realm),
		.expires = now + s->ttl_sec };
	CLEANUP_STR char *key = NULL;
	char new_token[TOKEN_STR_SIZE];
	int64_t lease;

	token_new(new_token);
	key = sessions_key(new_token);
	if (kv_lease_grant(s->kv, s->ttl_sec, &lease, e) < 0 ||
		store(s, key, &u, lease, e) < 0)
		return -1;
	memcpy(token, new_token, TOKEN_STR_SIZE);
	secret_wipe(new_token);
	*expires = u.expires;
	return 0;
}

/* 0, 1 absent, < 0. What is stored and cannot be read is no session. */
static int read_one(
	struct sessions *s, const char *key, struct session_user *out, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };

	if (kv_get(s->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key || jtab_parse_text(&user_jtab, pair.value, pair.value_size,
				 JTAB_STORED, out, NULL) < 0)
		return 1;
	return 0;
}

int sessions_find(struct sessions *s, const char *token, int64_t now,
	struct session_user *out, struct err *e)
{
	CLEANUP(session_user_done) struct session_user u = { 0 };
	CLEANUP_STR char *key = sessions_key(token);
	int64_t begun = clock_mono_msec();
	uint64_t n_changes;
	int r;

	if (!is_remembered(s, key, &u, &n_changes)) {
		r = read_one(s, key, &u, e);
		if (r != 0)
			return r;
		remember(s, key, &u, n_changes, begun);
	}
	if (u.expires && now >= u.expires)
		return 1;
	session_user_done(out);
	*out = u;
	u = (struct session_user){ 0 };
	return 0;
}

/* Here at once, not only when the watch tells. */
static void ended(struct sessions *s, const char *key)
{
	pthread_mutex_lock(&s->lock);
	s->n_changes++;
	forget(s, key);
	pthread_mutex_unlock(&s->lock);
	tell_end(s, key);
}

int sessions_delete(struct sessions *s, const char *token, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = sessions_key(token);
	int r;

	if (kv_get(s->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return 0;
	if (pair.lease)
		r = kv_lease_revoke(s->kv, pair.lease, e);
	else {
		kv_txn_del(t, key);
		r = kv_txn_commit(s->kv, t, NULL, e);
	}
	ended(s, key);
	if (r > 0)
		return err_set(e, ERR_UNAVAILABLE,
			"the store did not say whether the session has ended: try again");
	return r;
}

static bool is_of(const struct kv_pair *p, const char *name, const char *realm)
{
	CLEANUP(session_user_done) struct session_user u = { 0 };

	return jtab_parse_text(
		       &user_jtab, p->value, p->value_size, JTAB_STORED, &u, NULL) == 0 &&
	       str_eq(u.name, name) && str_eq(u.realm, realm);
}

static int delete_keys(
	struct sessions *s, const char *const *keys, size_t n, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	int r;

	for (size_t i = 0; i < n; i++)
		kv_txn_del(t, keys[i]);
	r = n > 0 ? kv_txn_commit(s->kv, t, NULL, e) : 0;
	for (size_t i = 0; i < n && r >= 0; i++)
		ended(s, keys[i]);
	if (r > 0)
		return err_set(e, ERR_UNAVAILABLE,
			"the store did not say whether the sessions have ended: try "
			"again");
	return r;
}

int sessions_delete_all(
	struct sessions *s, const char *name, const char *realm, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list all = { 0 };
	const char *keys[KV_TXN_MAX_OPS];
	size_t n = 0;

	if (kv_range(s->kv, KEY_SESSION, 0, &all, e) < 0)
		return -1;
	for (size_t i = 0; i < all.len; i++) {
		if (is_of(&all.v[i], name, realm))
			keys[n++] = all.v[i].key;
		if (n == KV_TXN_MAX_OPS && delete_keys(s, keys, n, e) < 0)
			return -1;
		n = n == KV_TXN_MAX_OPS ? 0 : n;
	}
	return delete_keys(s, keys, n, e);
}
