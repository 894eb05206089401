/*
 * The OTP service over HTTP.
 *
 *	POST .../verify/    an asker in a verifying realm asks about a user's token: 200
 *			    {"status":"OK"}, else 403 {"status":"FAIL","reason":R} with R one
 *			    of account_answer_names or "asker"
 *	POST .../user/add/  .../user/delete/  .../user/list/
 *			    an asker in a managing realm manages users
 *
 * Any path that ends so is served, with or without the last slash, so that the addresses of
 * other servers of this protocol (/ungleichotp/verify/) work unchanged.
 */
#ifndef UCLOUD_OTP_OTPD_H
#define UCLOUD_OTP_OTPD_H

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/store/kv_etcd.h"

#include "ucloud-otp/account.h"

struct otp_conf {
	struct daemon_conf daemon;
	struct etcd_conf etcd;
	struct strv listen;
	char *tls_cert, *tls_key;
	char *key_file;
	struct strv realm_manage, realm_verify;
	/* Of the `user` subcommands. */
	char *realm;
	char *seed;
};

struct otpd;

/* Takes no ownership of conf; it must outlive the service. */
int otpd_open(const struct otp_conf *conf, struct otpd **out, struct err *e) MUST_USE;
void otpd_close(struct otpd *o);
int otpd_health(struct otpd *o, struct err *e) MUST_USE;
uint16_t otpd_port(const struct otpd *o);

#endif
