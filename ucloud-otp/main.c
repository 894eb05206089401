/* ucloud-otp: the embedded default of the one-time password service. */
#include <stddef.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/parse.h"

#include "ucloud-otp/otpd.h"

#define OPT(name, kind, member, ...)                                                     \
	{                                                                                \
		name, kind, offsetof(struct otp_conf, member), __VA_ARGS__               \
	}

static const struct conf_opt otp_opts[] = {
	OPT("listen", CONF_STRV, listen, .def = "[::1]:8441", .meta = "ADDR:PORT",
		.help = "where to serve; may be repeated"),
	OPT("tls_cert", CONF_STR, tls_cert, .meta = "FILE",
		.help = "certificate chain (PEM); with tls_key, serves HTTPS"),
	OPT("tls_key", CONF_STR, tls_key, .meta = "FILE",
		.help = "its private key (PEM)"),
	OPT("key_file", CONF_STR, key_file, .def = "/etc/ucloud/ucloud-otp.key",
		.meta = "FILE",
		.help = "the key that seals seeds in etcd; setup makes it when absent"),
	OPT("realm_manage", CONF_STRV, realm_manage, .def = "ungleich-admin",
		.meta = "REALM",
		.help = "realms whose users may manage users over HTTP; may be repeated"),
	OPT("realm_verify", CONF_STRV, realm_verify, .def = "ungleich-auth",
		.meta = "REALM",
		.help = "realms whose users may ask about tokens; may be repeated"),
	{ 0 },
};

static const struct conf_opt user_opts[] = {
	OPT("realm", CONF_STR, realm, CONF_CLI_ONLY, .meta = "REALM",
		.help = "the user's realm"),
	OPT("seed", CONF_STR, seed, CONF_CLI_ONLY | CONF_SECRET, .meta = "BASE32",
		.help = "an existing seed instead of a new one (add)"),
	{ 0 },
};

static const struct conf_part parts[] = {
	{ otp_opts, 0 },
	{ etcd_opts, offsetof(struct otp_conf, etcd) },
	{ daemon_opts, offsetof(struct otp_conf, daemon) },
	{ 0 },
};

static int check(void *conf, struct err *e)
{
	struct otp_conf *c = conf;
	if (str_is_empty(c->tls_cert) != str_is_empty(c->tls_key))
		return err_set(e, ERR_INVALID, "tls_cert and tls_key belong together");
	return 0;
}

static int setup(void *conf, struct err *e)
{
	struct otp_conf *c = conf;
	uint8_t key[SEAL_KEY_SIZE];
	if (kv_etcd_check(&c->etcd, e))
		return -1;
	if (seal_key_read(c->key_file, true, key, e))
		return -1;
	return daemon_give_file("ucloud-otp", &c->daemon, c->key_file, e);
}

static int start(void *conf, void **state, struct err *e)
{
	struct otpd *o;
	if (otpd_open(conf, &o, e))
		return -1;
	*state = o;
	return 0;
}

static int health(void *state, struct err *e)
{
	return otpd_health(state, e);
}

static void stop(void *state)
{
	otpd_close(state);
}

/* ---------------------------------------------------------------- user add|list|... */

static int user_add(
	struct accounts *as, const struct otp_conf *c, const char *name, struct err *e)
{
	char *seed = NULL;
	if (account_add(as, c->realm, name, str_is_empty(c->seed) ? NULL : c->seed,
		    clock_unix_sec(), &seed, e))
		return -1;
	CLEANUP_STR char *uri = account_uri(c->realm, name, seed);
	printf("name:  %s\nrealm: %s\nseed:  %s\nuri:   %s\n", name, c->realm, seed, uri);
	secret_wipe(seed);
	free(seed);
	return 0;
}

static int user_delete(
	struct accounts *as, const struct otp_conf *c, const char *name, struct err *e)
{
	if (account_delete(as, c->realm, name, e))
		return -1;
	printf("deleted %s in realm %s\n", name, c->realm);
	if (account_end_sessions(as, c->realm, name, e))
		return err_wrap(e, "its sessions at the API go on");
	return 0;
}

static int user_show(
	struct accounts *as, const struct otp_conf *c, const char *name, struct err *e)
{
	CLEANUP(account_done) struct account a = { 0 };
	char created[TIME_STR_SIZE], used[TIME_STR_SIZE] = "never";
	if (account_get(as, c->realm, name, &a, e))
		return -1;
	time_format(a.created, created);
	if (a.last_step)
		time_format(a.last_step * TOTP_STEP_SEC, used);
	printf("name:       %s\nrealm:      %s\ncreated:    %s\nlast token: %s\n", a.name,
		a.realm, created, used);
	return 0;
}

static void print_account(void *aux, const struct account *a, bool is_valid)
{
	(void)aux;
	if (is_valid)
		printf("%-32s %s\n", a->name, a->realm);
	else
		printf("%s is damaged\n", a->name);
}

static int user_list(
	struct accounts *as, const struct otp_conf *c, const char *name, struct err *e)
{
	(void)name;
	return account_each(as, c->realm, print_account, NULL, e);
}

static const struct {
	const char *name;
	bool need_user;
	int (*run)(struct accounts *as, const struct otp_conf *c, const char *name,
		struct err *e);
} user_verbs[] = {
	{ "add", true, user_add },
	{ "delete", true, user_delete },
	{ "show", true, user_show },
	{ "list", false, user_list },
};

static int user_run(
	const struct otp_conf *c, size_t verb, const char *name, struct err *e)
{
	struct accounts as = { 0 };
	struct etcd_conf quiet = c->etcd;
	quiet.is_quiet = true;
	if (seal_key_read(c->key_file, false, as.key, e) ||
		kv_etcd_open(&quiet, &as.kv, e))
		return -1;
	int r = user_verbs[verb].run(&as, c, name, e);
	kv_close(as.kv);
	return r;
}

static int user_usage(const char *why)
{
	fprintf(stderr,
		"ucloud-otp: %s; usage: ucloud-otp user add|delete|show NAME --realm "
		"REALM | user list [--realm REALM]\n",
		why);
	return 2;
}

static int user(void *conf, const struct strv *rest)
{
	struct otp_conf *c = conf;
	struct err e = { 0 };
	if (!rest->len)
		return user_usage("what about users?");
	for (size_t i = 0; i < ARRAY_LEN(user_verbs); i++) {
		if (!str_eq(rest->v[0], user_verbs[i].name))
			continue;
		if (rest->len != (user_verbs[i].need_user ? 2 : 1))
			return user_usage("wrong number of names");
		if (user_verbs[i].need_user && str_is_empty(c->realm))
			return user_usage("--realm is missing");
		if (!user_run(c, i, rest->len > 1 ? rest->v[1] : NULL, &e))
			return 0;
		fprintf(stderr, "ucloud-otp: %s\n", e.msg);
		return 1;
	}
	return user_usage("no such subcommand");
}

static const struct daemon_verb verbs[] = {
	{ "user", "user add|list|delete|show [NAME] --realm REALM",
		"manage the users of this service; add prints the seed", user,
		user_opts },
	{ 0 },
};

static const struct daemon_spec spec = {
	.name = "ucloud-otp",
	.summary = "one-time password service of ucloud",
	.conf = { "ucloud-otp", parts, sizeof(struct otp_conf) },
	.daemon_conf_off = offsetof(struct otp_conf, daemon),
	.default_metrics_listen = "[::1]:9474",
	.check = check,
	.setup = setup,
	.start = start,
	.health = health,
	.stop = stop,
	.verbs = verbs,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &spec);
}
