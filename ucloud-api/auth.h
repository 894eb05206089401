/*
 * Who asks? `Authorization: Basic name@realm:TOKEN` is asked of the OTP service,
 * `Authorization: Bearer TOKEN` is a session (sessions.h). Failed log-ins are slowed down by
 * account and by address (throttle.h). Any thread.
 */
#ifndef UCLOUD_AUTH_H
#define UCLOUD_AUTH_H

#include "common/base/buf.h"
#include "ucloud-api/sessions.h"
#include "ucloud-api/who.h"

struct auth;

/* Is the token right? As otp_client_verify(). */
typedef int auth_verify_fn(
	void *aux, const char *name, const char *realm, const char *token, struct err *e);

struct auth_conf {
	const struct strv *realm_allowed; /* users of these may use the API... */
	const struct strv *realm_admin;	  /* ...and of these, as admins; borrowed */
	struct sessions *sessions;	  /* borrowed */
	auth_verify_fn *verify;
	void *verify_aux;
	/* Askings under way at the most, so that a slow OTP service does not keep all workers
	 * busy; 0: 16. */
	unsigned max_verifies;
};

struct identity {
	char *name, *realm;
	bool is_admin;
	int64_t expires; /* of the session, 0 none */
	char *session;	 /* its key in the store, NULL none */
};
void identity_done(struct identity *id);

struct auth *auth_new(const struct auth_conf *conf);
void auth_free(struct auth *a);

/* authorization is the header's value or NULL. ERR_UNAUTHENTICATED, ERR_DENIED (the realm),
 * ERR_TOO_MANY (then *retry_after_sec is set), ERR_UNAVAILABLE. now is Unix time. */
int auth_check(struct auth *a, const char *authorization, const char *peer, int64_t now,
	struct identity *out, int64_t *retry_after_sec, struct err *e) MUST_USE;

/* "Basic ..." taken apart; the strings are the caller's. Pure. */
struct credentials {
	char *name, *realm, *token;
};
void credentials_done(struct credentials *c);
int credentials_parse(
	const char *authorization, struct credentials *out, struct err *e) MUST_USE;
/* The token of "Bearer ...", borrowed; NULL when it is none. */
const char *bearer_token(const char *authorization);

#endif
