/*
 * Asks the OTP service whether a user's one-time password is right. The service is ucloud-otp,
 * ungleichotp or anything else that speaks the same protocol (docs/api.md): we make our own
 * token from our seed for each question. Any thread.
 */
#ifndef UCLOUD_OTP_CLIENT_H
#define UCLOUD_OTP_CLIENT_H

#include "common/base/err.h"

/* How the members of the question are called. */
enum otp_dialect {
	OTP_NEW, /* asker auth_name, auth_realm, auth_token; user name, realm, token */
	OTP_OLD	 /* asker name, realm, token; user verifyname, verifyrealm, verifytoken */
};
extern const char *const otp_dialect_names[];

struct otp_conf {
	const char *url;
	const char *auth_name, *auth_realm, *auth_seed;
	int dialect;	     /* enum otp_dialect */
	const char *ca_file; /* NULL: the system's */
};

struct otp_client;

/* conf's strings are borrowed. */
int otp_client_new(
	const struct otp_conf *conf, struct otp_client **out, struct err *e) MUST_USE;
void otp_client_free(struct otp_client *c);

/* 0 it is right; 1 the service refuses it; < 0 the service does not answer, or not
 * sensibly. aux is the struct otp_client. Takes at most 4 s. */
int otp_client_verify(void *aux, const char *name, const char *realm, const char *token,
	struct err *e) MUST_USE;

/* The question as JSON text, the caller's. Pure. */
char *otp_question(const struct otp_conf *conf, const char *auth_token, const char *name,
	const char *realm, const char *token);
/* What an answer means; as otp_client_verify(). Pure. */
int otp_answer(int status, const char *body, size_t size, struct err *e) MUST_USE;

#endif
