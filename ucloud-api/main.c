/*
 * ucloud-api: what users and admins talk to. See docs/architecture.md.
 */
#include "common/base/log.h"
#include "ucloud-api/api.h"

static int check(void *conf, struct err *e)
{
	return api_conf_check(conf, e);
}

/* etcd must answer; the OTP service may come later. */
static int setup(void *aux, struct err *e)
{
	const struct api_conf *conf = aux;
	struct otp_conf otp_conf = {
		.url = conf->otp_url,
		.auth_name = conf->auth_name,
		.auth_realm = conf->auth_realm,
		.auth_seed = conf->auth_seed,
		.dialect = conf->otp_dialect,
		.ca_file = str_is_empty(conf->otp_ca) ? NULL : conf->otp_ca,
	};
	struct otp_client *otp = NULL;
	struct err why;

	if (kv_etcd_check(&conf->etcd, e) < 0 || otp_client_new(&otp_conf, &otp, e) < 0)
		return -1;
	/* Nobody has this token: that it is refused is the answer hoped for. */
	if (otp_client_verify(otp, conf->auth_name, conf->auth_realm, "000000", &why) < 0)
		log_warn("%s", why.msg);
	otp_client_free(otp);
	return 0;
}

static int start(void *conf, void **state, struct err *e)
{
	struct api *api;

	if (api_open(conf, &api, e) < 0)
		return -1;
	*state = api;
	return 0;
}

static int health(void *state, struct err *e)
{
	return api_health(state, e);
}

static void stop(void *state)
{
	api_close(state);
}

int main(int argc, char **argv)
{
	struct daemon_spec spec = {
		.name = "ucloud-api",
		.summary = "the HTTP API of ucloud",
		.conf = api_conf_table,
		.daemon_conf_off = offsetof(struct api_conf, daemon),
		.default_metrics_listen = "[::1]:9471",
		.check = check,
		.setup = setup,
		.start = start,
		.health = health,
		.stop = stop,
	};

	return daemon_main(argc, argv, &spec);
}
