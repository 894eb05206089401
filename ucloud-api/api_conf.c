#include <string.h>

#include "common/base/http.h"
#include "common/base/httpd.h"
#include "common/base/log.h"
#include "common/model/names.h"
#include "ucloud-api/api.h"

#define AT(member) offsetof(struct api_conf, member)

static int realm_or_user(const char *s, struct err *e)
{
	return realm_check(s, e);
}

static const struct conf_opt opts[] = {
	{ "auth_name", CONF_STR, AT(auth_name), CONF_NEED, .meta = "NAME",
		.help = "this API's own name at the OTP service",
		.check = user_name_check },
	{ "auth_realm", CONF_STR, AT(auth_realm), CONF_NEED, .meta = "REALM",
		.help = "this API's own realm there (ungleich-auth)",
		.check = realm_or_user },
	{ "auth_seed", CONF_STR, AT(auth_seed), CONF_NEED | CONF_SECRET, .meta = "SEED",
		.help = "this API's own seed there (base32)" },
	{ "realm_allowed", CONF_STRV, AT(realm_allowed), 0, .meta = "REALM",
		.help = "realm whose users may use this API", .check = realm_or_user },
	{ "realm_admin", CONF_STRV, AT(realm_admin), 0, .def = "ungleich-admin",
		.meta = "REALM", .help = "realm whose users are admins",
		.check = realm_or_user },
	{ "otp_url", CONF_STR, AT(otp_url), CONF_NEED, .meta = "URL",
		.help = "where the OTP service verifies tokens" },
	{ "otp_dialect", CONF_ENUM, AT(otp_dialect), 0, .def = "new",
		.names = otp_dialect_names,
		.help = "new; old for ungleichotp servers that want verifyname" },
	{ "otp_ca", CONF_STR, AT(otp_ca), 0, .meta = "FILE",
		.help = "certificates that may sign the OTP service's (default: the "
			"system's)" },
	{ "listen", CONF_STRV, AT(listen), 0, .def = "[::]:8080", .meta = "ADDRESS",
		.help = "address and port to serve on" },
	{ "tls_cert", CONF_STR, AT(tls_cert), 0, .meta = "FILE",
		.help = "certificate (PEM); with tls_key: serve HTTPS" },
	{ "tls_key", CONF_STR, AT(tls_key), 0, .meta = "FILE", .help = "its key (PEM)" },
	{ "session_ttl", CONF_DURATION, AT(session_ttl_sec), 0, .def = "12h",
		.meta = "TIME", .help = "how long a session lasts", .min = 60,
		.max = 30 * 86400 },
	{ "workers", CONF_INT, AT(workers), 0, .def = "32", .meta = "N",
		.help = "calls that are worked on at the same time", .min = 1,
		.max = 256 },
	{ "quota_vms", CONF_INT, AT(quota.vms), 0, .def = "20", .meta = "N",
		.help = "VMs a user may have, unless an admin says otherwise", .min = 0,
		.max = 1000000 },
	{ "quota_cpu", CONF_INT, AT(quota.cpu), 0, .def = "40", .meta = "N",
		.help = "virtual CPUs, likewise", .min = 0, .max = 1000000 },
	{ "quota_ram_mib", CONF_INT, AT(quota.ram_mib), 0, .def = "65536", .meta = "MIB",
		.help = "RAM in MiB, likewise", .min = 0, .max = 1000000000 },
	{ "quota_disk_gib", CONF_INT, AT(quota.disk_gib), 0, .def = "1000", .meta = "GIB",
		.help = "disk space in GiB, likewise", .min = 0, .max = 1000000000 },
	{ "quota_snapshots", CONF_INT, AT(quota.snapshots), 0, .def = "50", .meta = "N",
		.help = "snapshots of VMs, likewise", .min = 0, .max = 1000000 },
	{ "quota_images", CONF_INT, AT(quota.images), 0, .def = "50", .meta = "N",
		.help = "images, likewise", .min = 0, .max = 1000000 },
	{ "quota_networks", CONF_INT, AT(quota.networks), 0, .def = "20", .meta = "N",
		.help = "networks, likewise", .min = 0, .max = 1000000 },
	{ "quota_file_gib", CONF_INT, AT(quota.file_gib), 0, .def = "200", .meta = "GIB",
		.help = "space of uploaded files in GiB, likewise", .min = 0,
		.max = 1000000000 },
	{ "users_may_publish", CONF_BOOL, AT(users_may_publish), 0, .def = "no",
		.help = "may users make images public, not only admins? (yes, no)" },
	{ "base_dir", CONF_STR, AT(base_dir), 0, .meta = "DIR",
		.help = "directory of users' files, when it is on this machine: uploads "
			"are taken here" },
	{ "upload_url", CONF_STR, AT(upload_url), 0, .meta = "URL",
		.help = "else: the API that has it; uploads are sent there" },
	{ "max_cpu", CONF_INT, AT(limits.max_cpu), 0, .def = "64", .meta = "N",
		.help = "virtual CPUs of one VM at most", .min = 1, .max = 256 },
	{ "max_ram_mib", CONF_INT, AT(limits.max_ram_mib), 0, .def = "262144",
		.meta = "MIB", .help = "RAM of one VM at most, in MiB", .min = 64,
		.max = 16777216 },
	{ "max_disk_gib", CONF_INT, AT(limits.max_disk_gib), 0, .def = "4096",
		.meta = "GIB", .help = "size of one disk at most, in GiB", .min = 1,
		.max = 65536 },
	{ 0 },
};

static const struct conf_part parts[] = {
	{ opts, 0 },
	{ etcd_opts, AT(etcd) },
	{ keys_opts, AT(keys) },
	{ daemon_opts, AT(daemon) },
	{ 0 },
};

const struct conf_table api_conf_table = { "ucloud-api", parts, sizeof(struct api_conf) };

void api_conf_warn(const struct api_conf *conf)
{
	const char *listen = httpd_exposed(&conf->listen);

	if (listen && str_is_empty(conf->tls_cert))
		log_warn("the API listens on %s without TLS: tokens can be read on the "
			 "way; set tls_cert and tls_key, or listen on [::1] behind a "
			 "proxy that has TLS",
			listen);
	if (url_is_exposed(conf->otp_url))
		log_warn("otp_url is %s: users' tokens go to another machine without "
			 "TLS; give ucloud-otp tls_cert and tls_key there, and use "
			 "https:// here",
			conf->otp_url);
}

int api_conf_check(struct api_conf *conf, struct err *e)
{
	if (keys_check(&conf->keys, e) < 0 || totp_seed_check(conf->auth_seed, e) < 0)
		return -1;
	if (str_is_empty(conf->tls_cert) != str_is_empty(conf->tls_key))
		return err_set_field(e, ERR_INVALID, "tls_key",
			"HTTPS needs both tls_cert and tls_key");
	if (conf->listen.len == 0)
		return err_set_field(
			e, ERR_INVALID, "listen", "where is the API to listen?");
	if (conf->realm_allowed.len == 0 && conf->realm_admin.len == 0)
		return err_set_field(e, ERR_INVALID, "realm_allowed",
			"nobody could use this API: name a realm");
	if (!str_is_empty(conf->base_dir) && conf->base_dir[0] != '/')
		return err_set_field(
			e, ERR_INVALID, "base_dir", "base_dir must be an absolute path");
	if (!str_is_empty(conf->upload_url))
		str_set(&conf->upload_url, url_complete(conf->upload_url, "http", 0));
	str_set(&conf->otp_url, url_complete(conf->otp_url, "http", 0));
	return 0;
}
