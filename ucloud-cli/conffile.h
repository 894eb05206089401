/*
 * The configuration file of ucloud-cli, ~/.ucloud.conf: which API, who, and the seed.
 */
#ifndef UCLOUD_CLI_CONFFILE_H
#define UCLOUD_CLI_CONFFILE_H

#include "common/base/conf.h"

struct cli_conf {
	char *api;   /* "https://[2001:db8::1]" */
	char *name;  /* of the user */
	char *realm; /* of the user */
	char *seed;  /* base32 */
	char *ca;    /* file, NULL or "": the system's */
};

extern const struct conf_table cli_conf_table;

/* The file to use: given, else $UCLOUD_CONFIG, else ~/.ucloud.conf. The caller's. */
char *cli_conf_path(const char *given);
/* The user's home directory; the caller's. */
char *cli_home(void);
/* Reads the file; api and ca (NULL: not given) replace what is there, as $UCLOUD_API does.
 * Checks that nothing is missing. Warns on stderr when others may read the file. */
int cli_conf_load(const char *path, const char *api, const char *ca, struct cli_conf *out,
	struct err *e) MUST_USE;
/* Checks and completes the API's address: "[2001:db8::1]" becomes "https://[2001:db8::1]".
 * The caller's. Pure. */
int cli_api_url(const char *given, char **out, struct err *e) MUST_USE;
/* Do tokens travel unencrypted to somewhere else? Pure. */
bool cli_api_is_open(const char *api);
void cli_conf_done(struct cli_conf *conf);

#endif
