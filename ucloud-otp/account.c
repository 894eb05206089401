#include "ucloud-otp/account.h"

#include <stddef.h>

#include "common/model/keys.h"
#include "common/model/names.h"

#define DRIFT_STEPS 1
#define MAX_TRIES   8

static const struct jtab_field account_fields[] = {
	{ "name", JT_STR, offsetof(struct account, name), JT_NEED,
		.check = user_name_check },
	{ "realm", JT_STR, offsetof(struct account, realm), JT_NEED,
		.check = realm_check },
	{ "seed", JT_STR, offsetof(struct account, sealed_seed), JT_NEED | JT_SECRET },
	{ "last_step", JT_INT, offsetof(struct account, last_step), JT_ALWAYS },
	{ "last_login", JT_STR, offsetof(struct account, last_login), 0 },
	{ "created", JT_TIME, offsetof(struct account, created), 0 },
	{ 0 },
};

const struct jtab account_jtab = { "account", sizeof(struct account), account_fields,
	.rest_off = offsetof(struct account, rest), .has_rest = true };

const char *const account_answer_names[] = { "ok", "unknown", "wrong", "used", NULL };

void account_done(struct account *a)
{
	jtab_done(&account_jtab, a);
}

/* What a sealed seed is bound to. */
static char *context_of(const char *realm, const char *name)
{
	return xasprintf("%s/%s", realm, name);
}

static int no_such_user(const char *realm, const char *name, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "there is no user %s in realm %s", name, realm);
}

/* pair->key is NULL when there is no such user; *a is filled only when there is. */
static int account_read(struct accounts *as, const char *realm, const char *name,
	struct kv_pair *pair, struct account *a, struct err *e)
{
	CLEANUP_STR char *key = key_otp(realm, name);
	if (kv_get(as->kv, key, pair, NULL, e))
		return -1;
	if (!pair->key)
		return 0;
	if (jtab_parse_text(
		    &account_jtab, pair->value, pair->value_size, JTAB_STORED, a, e))
		return err_wrap(e, "the entry of %s in realm %s", name, realm);
	return 0;
}

static int account_create(
	struct accounts *as, const char *key, const struct account *a, struct err *e)
{
	CLEANUP_STR char *text = jtab_format_text(&account_jtab, a);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, text);
	int r = kv_txn_commit(as->kv, t, NULL, e);
	if (r == KV_CONFLICT)
		return err_set(e, ERR_EXISTS,
			"user %s exists in realm %s; delete it first to give it a new "
			"seed",
			a->name, a->realm);
	if (r == KV_UNKNOWN)
		return err_set(e, ERR_UNAVAILABLE,
			"etcd did not say whether user %s was added; look with: "
			"ucloud-otp user list",
			a->name);
	return r;
}

int account_add(struct accounts *as, const char *realm, const char *name,
	const char *seed, int64_t now, char **seed_out, struct err *e)
{
	if (user_name_check(name, e) || realm_check(realm, e))
		return -1;
	if (seed && totp_seed_check(seed, e))
		return -1;
	char *plain = seed ? xstrdup(seed) : totp_seed_new();
	CLEANUP_STR char *context = context_of(realm, name);
	CLEANUP_STR char *key = key_otp(realm, name);
	CLEANUP(account_done)
	struct account a = { .name = xstrdup(name),
		.realm = xstrdup(realm),
		.sealed_seed = seal(as->key, context, plain),
		.created = now };
	if (account_create(as, key, &a, e)) {
		secret_wipe(plain);
		free(plain);
		return -1;
	}
	*seed_out = plain;
	return 0;
}

int account_delete(
	struct accounts *as, const char *realm, const char *name, struct err *e)
{
	if (user_name_check(name, e) || realm_check(realm, e))
		return -1;
	CLEANUP_STR char *key = key_otp(realm, name);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	kv_txn_if_present(t, key);
	kv_txn_del(t, key);
	int r = kv_txn_commit(as->kv, t, NULL, e);
	if (r == KV_CONFLICT)
		return no_such_user(realm, name, e);
	if (r == KV_UNKNOWN)
		return err_set(e, ERR_UNAVAILABLE,
			"etcd did not say whether user %s was deleted; try again", name);
	return r;
}

static bool is_session_of(const struct kv_pair *p, const char *realm, const char *name)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	if (json_parse(p->value, p->value_size, &json, NULL))
		return false;
	return str_eq(json_string_value(json_object_get(json, "name")), name) &&
	       str_eq(json_string_value(json_object_get(json, "realm")), realm);
}

int account_end_sessions(
	struct accounts *as, const char *realm, const char *name, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	if (kv_range(as->kv, KEY_SESSION, 0, &list, e))
		return -1;
	for (size_t i = 0; i < list.len; i++) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		if (!is_session_of(&list.v[i], realm, name))
			continue;
		kv_txn_del(t, list.v[i].key);
		int r = kv_txn_commit(as->kv, t, NULL, e);
		if (r)
			return r < 0 ? -1
				     : err_set(e, ERR_UNAVAILABLE,
					       "etcd did not say whether a session has "
					       "ended");
	}
	return 0;
}

int account_get(struct accounts *as, const char *realm, const char *name,
	struct account *out, struct err *e)
{
	if (user_name_check(name, e) || realm_check(realm, e))
		return -1;
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	if (account_read(as, realm, name, &pair, out, e))
		return -1;
	return pair.key ? 0 : no_such_user(realm, name, e);
}

int account_each(struct accounts *as, const char *realm,
	void (*fn)(void *aux, const struct account *a, bool is_valid), void *aux,
	struct err *e)
{
	CLEANUP_STR char *prefix =
		realm ? xasprintf(KEY_OTP "%s/", realm) : xstrdup(KEY_OTP);
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	if (kv_range(as->kv, prefix, 0, &list, e))
		return -1;
	for (size_t i = 0; i < list.len; i++) {
		const struct kv_pair *p = &list.v[i];
		CLEANUP(account_done) struct account a = { 0 };
		struct err why;
		bool is_valid = !jtab_parse_text(
			&account_jtab, p->value, p->value_size, JTAB_STORED, &a, &why);
		if (!is_valid)
			str_set(&a.name, xstrdup(p->key));
		fn(aux, &a, is_valid);
	}
	return 0;
}

/* 0 and the step that the token belongs to, used or not; 1 it is not a token of now. */
static int token_step(struct accounts *as, const struct account *a, const char *token,
	int64_t now, int64_t *step, struct err *e)
{
	CLEANUP_STR char *context = context_of(a->realm, a->name);
	char *seed = NULL;
	if (seal_open(as->key, context, a->sealed_seed, &seed, e))
		return err_wrap(e, "the seed of %s in realm %s", a->name, a->realm);
	int r = totp_verify(seed, token, now, DRIFT_STEPS, step, e);
	secret_wipe(seed);
	free(seed);
	return r;
}

/* Writes down that this step's token was accepted. 1: somebody else was faster, look again. */
static int accept_step(struct accounts *as, const struct kv_pair *pair, struct account *a,
	int64_t step, struct err *e)
{
	char login[UUID_STR_SIZE];
	uuid_new(login);
	a->last_step = step;
	str_set(&a->last_login, xstrdup(login));
	CLEANUP_STR char *text = jtab_format_text(&account_jtab, a);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	kv_txn_if_rev(t, pair->key, pair->mod_rev);
	kv_txn_put(t, pair->key, text);
	int r = kv_txn_commit(as->kv, t, NULL, e);
	if (r != KV_UNKNOWN)
		return r == KV_CONFLICT ? 1 : r;
	CLEANUP(kv_pair_done) struct kv_pair there = { 0 };
	CLEANUP(account_done) struct account found = { 0 };
	if (account_read(as, a->realm, a->name, &there, &found, e))
		return -1;
	return found.last_login && str_eq(found.last_login, login) ? 0 : 1;
}

static int try_verify(struct accounts *as, const char *realm, const char *name,
	const char *token, int64_t now, bool once, enum account_answer *out,
	struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(account_done) struct account a = { 0 };
	if (account_read(as, realm, name, &pair, &a, e))
		return -1;
	if (!pair.key) {
		*out = ACCOUNT_UNKNOWN;
		return 0;
	}
	int64_t step = 0;
	int r = token_step(as, &a, token, now, &step, e);
	if (r < 0)
		return r;
	if (r > 0)
		*out = ACCOUNT_WRONG;
	else if (once && step <= a.last_step)
		*out = ACCOUNT_USED;
	else
		*out = ACCOUNT_OK;
	return *out == ACCOUNT_OK && once ? accept_step(as, &pair, &a, step, e) : 0;
}

int account_verify(struct accounts *as, const char *realm, const char *name,
	const char *token, int64_t now, bool once, enum account_answer *out,
	struct err *e)
{
	for (int i = 0; i < MAX_TRIES; i++) {
		enum account_answer answer;
		int r = try_verify(as, realm, name, token, now, once, &answer, e);
		if (r < 0)
			return r;
		if (r == 0) {
			*out = answer;
			return 0;
		}
	}
	return err_set(e, ERR_UNAVAILABLE,
		"too many log-ins of %s in realm %s at the same time; try again", name,
		realm);
}

char *account_uri(const char *realm, const char *name, const char *seed)
{
	return xasprintf("otpauth://totp/%s:%s?secret=%s&issuer=%s&algorithm=SHA1"
			 "&digits=6&period=30",
		realm, name, seed, realm);
}
