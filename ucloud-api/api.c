#include "ucloud-api/api.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "ucloud-api/openapi.h"
#include "ucloud-api/route.h"

/* A call of the store may take this long: all that one request needs fits into 5 s. */
enum { STORE_LIMIT_SEC = 2, HEALTHY_MSEC = 1000 };
/* Threads that write uploads to the disk. */
enum { BODY_WORKERS = 8 };

void answer_problem(
	struct httpd_req *req, int status, const char *title, const struct err *e)
{
	json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank",
		"title", title, "status", status, "detail", e->msg, "kind",
		err_kind_name(e->kind));
	char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	httpd_answer(req, status, "application/problem+json", text ? text : "{}",
		text ? strlen(text) : 2);
	free(text);
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	return route_run(aux, req);
}

static int open_store(struct api *api, struct err *e)
{
	struct etcd_conf conf = api->conf->etcd;
	struct orders_conf orders_conf = { .quota = api->conf->quota,
		.limits = api->conf->limits,
		.users_may_publish = api->conf->users_may_publish };

	if (conf.limit_sec > STORE_LIMIT_SEC)
		conf.limit_sec = STORE_LIMIT_SEC;
	if (kv_etcd_open(&conf, &api->kv, e) < 0)
		return -1;
	api->orders = orders_new(api->kv, &api->conf->keys, &orders_conf);
	return 0;
}

static int open_auth(struct api *api, struct err *e)
{
	const struct api_conf *conf = api->conf;
	struct otp_conf otp = {
		.url = conf->otp_url,
		.auth_name = conf->auth_name,
		.auth_realm = conf->auth_realm,
		.auth_seed = conf->auth_seed,
		.dialect = conf->otp_dialect,
		.ca_file = str_is_empty(conf->otp_ca) ? NULL : conf->otp_ca,
	};
	struct auth_conf auth = {
		.realm_allowed = &conf->realm_allowed,
		.realm_admin = &conf->realm_admin,
		.verify = otp_client_verify,
	};

	if (otp_client_new(&otp, &api->otp, e) < 0)
		return -1;
	api->sessions = sessions_new(api->kv, conf->session_ttl_sec);
	sessions_start(api->sessions);
	auth.sessions = api->sessions;
	auth.max_verifies = (unsigned)(conf->workers + 1) / 2;
	auth.verify_aux = api->otp;
	api->auth = auth_new(&auth);
	return 0;
}

static int open_uploads(struct api *api, struct err *e)
{
	const struct api_conf *conf = api->conf;
	const char *realm = conf->realm_allowed.len > 0 ? conf->realm_allowed.v[0] : "";

	if (str_is_empty(conf->base_dir))
		return 0;
	return uploads_open(conf->base_dir, realm, &api->uploads, e);
}

static int open_http(struct api *api, struct err *e)
{
	const struct api_conf *conf = api->conf;
	struct httpd_conf http = {
		.listen = &conf->listen,
		.default_port = API_DEFAULT_PORT,
		.cert_file = str_is_empty(conf->tls_cert) ? NULL : conf->tls_cert,
		.key_file = str_is_empty(conf->tls_key) ? NULL : conf->tls_key,
		.n_workers = (unsigned)conf->workers,
		.server = "ucloud-api",
		.is_streamed = route_is_streamed,
		.n_body_workers = BODY_WORKERS,
		.max_streamed = UPLOADS_MAX,
	};
	json_t *doc = openapi_document(api_routes, ucloud_version());

	api->openapi = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	if (!api->openapi)
		return err_set(e, ERR_INTERNAL, "the OpenAPI document cannot be written");
	return httpd_open(&http, handle, api, &api->httpd, e);
}

int api_open(const struct api_conf *conf, struct api **out, struct err *e)
{
	struct api *api = xcalloc(1, sizeof(*api));
	struct err why;

	api->conf = conf;
	api_conf_warn(conf);
	pthread_mutex_init(&api->lock, NULL);
	routes_register_metrics();
	if (open_store(api, e) < 0 || open_auth(api, e) < 0 || open_uploads(api, e) < 0)
		goto failed;
	api->waits = waits_new(api->kv, &conf->keys);
	api->events = events_new(api->kv, &conf->keys, api->waits);
	waits_start(api->waits);
	events_start(api->events);
	sessions_set_end(api->sessions, events_end_session, api->events);
	if (open_http(api, e) < 0)
		goto failed;
	if (api_health(api, &why) < 0 && !why.is_logged)
		log_warn("calls are answered with 503 until etcd answers: %s", why.msg);
	*out = api;
	return 0;
failed:
	api_close(api);
	return -1;
}

void api_close(struct api *api)
{
	if (!api)
		return;
	if (api->httpd)
		httpd_close(api->httpd);
	if (api->events)
		events_stop(api->events);
	uploads_close(api->uploads);
	auth_free(api->auth);
	sessions_free(api->sessions);
	waits_free(api->waits);
	events_free(api->events);
	otp_client_free(api->otp);
	orders_free(api->orders);
	if (api->kv)
		kv_close(api->kv);
	free(api->openapi);
	pthread_mutex_destroy(&api->lock);
	free(api);
}

int api_health(struct api *api, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP_STR char *key = key_lock("scheduler");
	int64_t now = clock_mono_msec();
	bool is_known;

	pthread_mutex_lock(&api->lock);
	is_known = api->healthy_msec && now - api->healthy_msec < HEALTHY_MSEC;
	pthread_mutex_unlock(&api->lock);
	if (is_known)
		return 0;
	if (kv_get(api->kv, key, &pair, NULL, e) < 0)
		return -1;
	pthread_mutex_lock(&api->lock);
	api->healthy_msec = now;
	pthread_mutex_unlock(&api->lock);
	return 0;
}

uint16_t api_port(const struct api *api, size_t i)
{
	return httpd_port(api->httpd, i);
}
