/*
 * One API process, assembled: the store, who may ask, the orders, the HTTP server. Stateless:
 * any number of them may run side by side.
 */
#ifndef UCLOUD_API_H
#define UCLOUD_API_H

#include <pthread.h>

#include "common/base/conf.h"
#include "common/base/daemon.h"
#include "common/base/httpd.h"
#include "common/model/keys.h"
#include "common/store/kv_etcd.h"
#include "ucloud-api/auth.h"
#include "ucloud-api/events.h"
#include "ucloud-api/orders.h"
#include "ucloud-api/otp_client.h"
#include "ucloud-api/upload.h"
#include "ucloud-api/waits.h"

#define API_DEFAULT_PORT 8080

struct api_conf {
	char *auth_name, *auth_realm, *auth_seed; /* who we are at the OTP service */
	struct strv realm_allowed, realm_admin;
	char *otp_url, *otp_ca;
	int otp_dialect; /* enum otp_dialect */
	struct strv listen;
	char *tls_cert, *tls_key;
	int64_t session_ttl_sec;
	int64_t workers;
	struct amounts quota;
	struct vm_limits limits;
	bool users_may_publish;
	char *base_dir, *upload_url; /* where files go: here, or elsewhere */
	struct etcd_conf etcd;
	struct keys keys;
	struct daemon_conf daemon;
};

/* All options of the program. */
extern const struct conf_table api_conf_table;
/* What must be true of the options together. */
int api_conf_check(struct api_conf *conf, struct err *e) MUST_USE;
/* Logs what is possible and unwise. */
void api_conf_warn(const struct api_conf *conf);

struct api {
	const struct api_conf *conf;
	struct kv *kv;
	struct orders *orders;
	struct sessions *sessions;
	struct otp_client *otp;
	struct auth *auth;
	struct waits *waits;
	struct events *events;
	struct uploads *uploads; /* NULL: files are elsewhere */
	struct httpd *httpd;
	char *openapi; /* the document */
	pthread_mutex_t lock;
	unsigned n_consoles;  /* calls that wait for a console's output */
	int64_t healthy_msec; /* when the store answered last */
};

/* conf is borrowed. Serves when it returns; the store need not answer yet: until it does,
 * calls are answered with 503. */
int api_open(const struct api_conf *conf, struct api **out, struct err *e) MUST_USE;
void api_close(struct api *api);
/* Does the store answer? Asks it at most once in a second. */
int api_health(struct api *api, struct err *e) MUST_USE;
/* The port of the i-th listen address. */
uint16_t api_port(const struct api *api, size_t i);

/* A problem document with a status of its own. */
void answer_problem(
	struct httpd_req *req, int status, const char *title, const struct err *e);
void routes_register_metrics(void);

#endif
