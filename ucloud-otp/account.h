/*
 * Accounts of the OTP service in etcd (`/v1/otp/<realm>/<name>`). The seed is sealed with the
 * service's key and bound to realm and name: whoever reads etcd learns nothing, and a value
 * copied to another key does not open. Any thread.
 */
#ifndef UCLOUD_OTP_ACCOUNT_H
#define UCLOUD_OTP_ACCOUNT_H

#include "common/base/crypt.h"
#include "common/base/jtab.h"
#include "common/store/kv.h"

struct accounts {
	struct kv *kv; /* borrowed */
	uint8_t key[SEAL_KEY_SIZE];
};

struct account {
	char *name, *realm;
	char *sealed_seed;
	int64_t last_step; /* the newest step whose token was accepted */
	char *last_login;  /* uuid of that acceptance: tells whose write it was */
	int64_t created;
	json_t *rest;
};

extern const struct jtab account_jtab;

void account_done(struct account *a);

/* Adds a user. seed NULL: a new one is made. *seed_out is the caller's. ERR_EXISTS. */
int account_add(struct accounts *as, const char *realm, const char *name,
	const char *seed, int64_t now, char **seed_out, struct err *e) MUST_USE;
int account_delete(
	struct accounts *as, const char *realm, const char *name, struct err *e) MUST_USE;
/* Ends the API's sessions of a user who is no more: they would go on till they expire. Only for
 * an API that uses the same etcd. */
int account_end_sessions(
	struct accounts *as, const char *realm, const char *name, struct err *e) MUST_USE;
int account_get(struct accounts *as, const char *realm, const char *name,
	struct account *out, struct err *e) MUST_USE;
/* All, or those of one realm when realm is not NULL. A value that does not parse is passed
 * with its key as name and is_valid false. */
int account_each(struct accounts *as, const char *realm,
	void (*fn)(void *aux, const struct account *a, bool is_valid), void *aux,
	struct err *e) MUST_USE;

enum account_answer {
	ACCOUNT_OK,
	ACCOUNT_UNKNOWN, /* no such user */
	ACCOUNT_WRONG,	 /* not the token of now */
	ACCOUNT_USED	 /* it was, but it has been accepted before */
};
extern const char *const account_answer_names[]; /* "ok", "unknown", "wrong", "used" */

/* Is this the user's token now (one step of drift either way)? once: accepts each token
 * once, in etcd, so that it holds for any number of OTP services. < 0: cannot say. */
int account_verify(struct accounts *as, const char *realm, const char *name,
	const char *token, int64_t now, bool once, enum account_answer *out,
	struct err *e) MUST_USE;

/* "otpauth://totp/realm:name?secret=...": for authenticator apps. The caller's. */
char *account_uri(const char *realm, const char *name, const char *seed);

#endif
