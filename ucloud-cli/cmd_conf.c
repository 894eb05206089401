/* configure, login, logout. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/crypt.h"
#include "ucloud-cli/body.h"
#include "ucloud-cli/cli.h"
#include "ucloud-cli/login.h"
#include "ucloud-cli/prompt.h"

/* Given on the command line, else asked for on a terminal. *out is the caller's. */
static int one_value(const struct cli_args *a, const char *name, const char *question,
	bool is_secret, char **out, struct err *e)
{
	const char *given = cli_args_get(a, name);

	if (given && is_secret)
		return cli_read_value(given, cli_read_file, out, e);
	if (given) {
		*out = xstrdup(given);
		return 0;
	}
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return err_set_field(e, ERR_INVALID, name,
			"give --%s too: without a terminal nothing can be asked for",
			name);
	return cli_prompt(question, is_secret, out, e);
}

static int gather(const struct cli_args *a, struct cli_conf *conf, struct err *e)
{
	CLEANUP_STR char *api = NULL;
	const char *env = getenv("UCLOUD_API"), *ca = cli_args_get(a, "ca");

	if (!cli_args_has(a, "api") && !str_is_empty(env))
		api = xstrdup(env);
	else if (one_value(a, "api", "Address of the API (https://...): ", false, &api,
			 e) < 0)
		return -1;
	if (cli_api_url(api, &conf->api, e) < 0 ||
		one_value(a, "name", "Your user name: ", false, &conf->name, e) < 0 ||
		one_value(a, "realm", "Your realm: ", false, &conf->realm, e) < 0 ||
		one_value(a, "seed", "Your seed (not shown): ", true, &conf->seed, e) < 0)
		return -1;
	if (totp_seed_check(conf->seed, e) < 0)
		return -1;
	if (!ca)
		return 0;
	conf->ca = realpath(ca, NULL);
	if (!conf->ca)
		return err_set_field(e, ERR_NOT_FOUND, "ca", "%s cannot be found", ca);
	return 0;
}

static int check_file(const char *path, const struct cli_args *a, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) != 0 || cli_args_has(a, "force"))
		return 0;
	return err_set(e, ERR_EXISTS,
		"%s exists; --force replaces it (the old one is kept as %s.old)", path,
		path);
}

int cli_configure(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP(cli_conf_done) struct cli_conf conf = { 0 };
	CLEANUP_STR char *path = cli_conf_path(cli_args_get(a, "config"));

	if (check_file(path, a, e) < 0 || gather(a, &conf, e) < 0 ||
		conf_check(&cli_conf_table, &conf, e) < 0)
		return -1;
	if (cli_api_is_open(conf.api))
		cli_note(c,
			"%s is not encrypted: whoever is between here and there can read "
			"and change everything",
			conf.api);
	c->client = cli_client_new(&conf, NULL);
	if (!cli_args_has(a, "no-check") && cli_login_check(c->client, e) < 0)
		return -1;
	if (conf_write_file(&cli_conf_table, path, &conf, cli_args_has(a, "force"), e) <
		0)
		return -1;
	if (!c->is_quiet)
		printf("%s is written; you are %s@%s of %s\n", path, conf.name,
			conf.realm, conf.api);
	return 0;
}

int cli_login(struct cli *c, const struct cli_args *a, struct err *e)
{
	char *token = NULL;
	const struct cli_conf *conf;

	if (cli_need_client(c, a, e) < 0 ||
		cli_login_token(c->client, NULL, &token, e) < 0)
		return -1;
	secret_wipe(token);
	free(token);
	conf = cli_client_conf(c->client);
	if (!c->is_quiet)
		printf("%s@%s is logged in at %s\n", conf->name, conf->realm, conf->api);
	return 0;
}

/* The API forgets the session first; one that it does not know any more is fine. */
int cli_logout(struct cli *c, const struct cli_args *a, struct err *e)
{
	struct cli_call call = { .method = "DELETE", .path = "/v1/session" };
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	CLEANUP_STR char *token = NULL;
	CLEANUP_STR char *bearer = NULL;

	if (cli_need_client(c, a, e) < 0)
		return -1;
	token = cli_login_kept(c->client);
	if (token) {
		bearer = xasprintf("Bearer %s", token);
		if (cli_call_as(c->client, &call, bearer, &an, e) < 0)
			return -1;
		if (an.status / 100 != 2 && an.status != 401 && an.status != 404)
			return cli_problem(&an, e);
	}
	if (cli_login_forget(c->client, e) < 0)
		return -1;
	if (!c->is_quiet)
		puts(token ? "logged out" : "there was no session");
	return 0;
}
