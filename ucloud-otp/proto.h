/*
 * The OTP protocol: what an asking service posts, in both dialects. Pure.
 *
 * new	{"auth_name","auth_realm","auth_token", "name","realm","token"}
 * old	{"name","realm","token", "verifyname","verifyrealm","verifytoken"}: the first three
 *	are the asker's
 *
 * A body that has a member beginning with "verify" is of the old dialect.
 */
#ifndef UCLOUD_OTP_PROTO_H
#define UCLOUD_OTP_PROTO_H

#include "common/base/jtab.h"

struct otp_login {
	char *name, *realm, *token;
};

struct otp_question {
	struct otp_login asker;
	/* Whom it is about. The token is NULL when a user is managed, not verified. */
	struct otp_login subject;
};

/* Both logins complete; names and realms are well-formed. */
int otp_verify_parse(
	const char *body, size_t size, struct otp_question *out, struct err *e) MUST_USE;
/* Managing: the asker (new dialect's names) and a subject without token; the subject's name
 * and realm may be missing unless need_subject. */
int otp_manage_parse(const char *body, size_t size, bool need_subject,
	struct otp_question *out, struct err *e) MUST_USE;
void otp_question_done(struct otp_question *q);

#endif
