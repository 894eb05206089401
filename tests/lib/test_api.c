#include "tests/lib/test_api.h"

void test_api_conf(struct api_conf *conf, const struct test_etcd *etcd, unsigned otp_port)
{
	conf_set_defaults(&api_conf_table, conf);
	str_set(&conf->auth_name, xstrdup("api"));
	str_set(&conf->auth_realm, xstrdup("ungleich-auth"));
	str_set(&conf->auth_seed, xstrdup(TEST_API_SEED));
	str_set(&conf->otp_url, xasprintf("http://[::1]:%u/", otp_port));
	strv_done(&conf->listen);
	strv_add(&conf->listen, "[::1]:0");
	strv_add(&conf->realm_allowed, "users");
	strv_copy(&conf->etcd.url, &test_etcd_client(etcd)->url);
}
