#include "ucloud-cli/conffile.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/parse.h"

#define AT(member) offsetof(struct cli_conf, member)

static const struct conf_opt opts[] = {
	{ "api", CONF_STR, AT(api), CONF_NEED, NULL, "URL", "address of the ucloud API" },
	{ "name", CONF_STR, AT(name), CONF_NEED, NULL, "NAME", "your user name" },
	{ "realm", CONF_STR, AT(realm), CONF_NEED, NULL, "REALM", "your realm" },
	{ "seed", CONF_STR, AT(seed), CONF_NEED | CONF_SECRET, NULL, "SEED",
		"what your one-time passwords are made from (base32)" },
	{ "ca", CONF_STR, AT(ca), 0, NULL, "FILE",
		"certificates (PEM) to trust instead of the system's" },
	{ 0 },
};
static const struct conf_part parts[] = { { opts, 0 }, { 0 } };
const struct conf_table cli_conf_table = { "ucloud-cli", parts, sizeof(struct cli_conf) };

void cli_conf_done(struct cli_conf *conf)
{
	conf_done(&cli_conf_table, conf);
}

char *cli_home(void)
{
	const char *home = getenv("HOME");
	struct passwd pw, *found = NULL;
	char text[4096];

	if (!str_is_empty(home))
		return xstrdup(home);
	if (getpwuid_r(getuid(), &pw, text, sizeof(text), &found) != 0 || !found)
		return xstrdup("/");
	return xstrdup(found->pw_dir);
}

char *cli_conf_path(const char *given)
{
	const char *env = getenv("UCLOUD_CONFIG");
	CLEANUP_STR char *home = NULL;

	if (given)
		return xstrdup(given);
	if (!str_is_empty(env))
		return xstrdup(env);
	home = cli_home();
	return xasprintf("%s/.ucloud.conf", home);
}

int cli_api_url(const char *given, char **out, struct err *e)
{
	const char *sep = strstr(given, "://");
	const char *host = sep ? sep + 3 : given;
	char *url;

	if (sep && !str_has_prefix(given, "http://") &&
		!str_has_prefix(given, "https://"))
		return err_set_field(e, ERR_INVALID, "api",
			"the address of the API begins with https:// or http://, not "
			"like \"%.80s\"",
			given);
	if (!*host || *host == '/' || strpbrk(host, " \t@?#\"<>\\") ||
		!str_is_text(host, strlen(host), false))
		return err_set_field(e, ERR_INVALID, "api",
			"\"%.80s\" is no address of an API; write it like "
			"https://cloud.example or https://[2001:db8::1]:8443",
			given);
	url = sep ? xstrdup(given) : xasprintf("https://%s", given);
	while (str_has_suffix(url, "/"))
		url[strlen(url) - 1] = '\0';
	*out = url;
	return 0;
}

bool cli_api_is_open(const char *api)
{
	return str_has_prefix(api, "http://") && !str_has_prefix(api, "http://[::1]") &&
	       !str_has_prefix(api, "http://localhost");
}

static void warn_when_wide(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
		fprintf(stderr,
			"ucloud-cli: others may read %s, and your seed is in it; chmod "
			"600 would prevent that\n",
			path);
}

static int read_conf(const char *path, struct cli_conf *out, struct err *e)
{
	conf_set_defaults(&cli_conf_table, out);
	if (conf_read_file(&cli_conf_table, path, out, e) == 0)
		return 0;
	if (e->kind == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND,
			"there is no configuration %s yet; \"ucloud-cli configure\" "
			"makes one",
			path);
	return -1;
}

int cli_conf_load(const char *path, const char *api, const char *ca, struct cli_conf *out,
	struct err *e)
{
	const char *env = getenv("UCLOUD_API");
	struct cli_conf conf = { 0 };
	char *url = NULL;

	if (!api && !str_is_empty(env))
		api = env;
	if (read_conf(path, &conf, e) < 0)
		goto failed;
	warn_when_wide(path);
	if (api)
		str_set(&conf.api, xstrdup(api));
	if (ca)
		str_set(&conf.ca, xstrdup(ca));
	if (conf_check(&cli_conf_table, &conf, e) < 0 ||
		cli_api_url(conf.api, &url, e) < 0) {
		err_wrap(e, "%s", path);
		goto failed;
	}
	str_set(&conf.api, url);
	*out = conf;
	return 0;
failed:
	cli_conf_done(&conf);
	return -1;
}
