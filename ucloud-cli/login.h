/*
 * Sessions: a one-time password is exchanged once for a session token, which is kept in the
 * user's cache directory for the commands that follow. Commands that run at the same time
 * share one log-in: whoever makes it holds a lock on the file.
 */
#ifndef UCLOUD_CLI_LOGIN_H
#define UCLOUD_CLI_LOGIN_H

#include "ucloud-cli/client.h"

/*
 * A session's token, the caller's. `refused` is one that the API no longer takes, or NULL.
 *
 * A password that was used already is refused like a wrong one: the API cannot tell them
 * apart. When it is known here that it was used, or when this seed has worked before, the
 * next password (in at most 30 s) is tried too; what is being waited for is said once.
 */
int cli_login_token(
	struct cli_client *cl, const char *refused, char **token, struct err *e) MUST_USE;
/* Makes a new session whatever is kept, as a proof that name, realm and seed are right. */
int cli_login_check(struct cli_client *cl, struct err *e) MUST_USE;
/* The kept session's token, NULL when there is none; never logs in. The caller's. */
char *cli_login_kept(struct cli_client *cl);
/* Forgets the kept session. */
int cli_login_forget(struct cli_client *cl, struct err *e) MUST_USE;

/* "session-<sha256 of api, name and realm>", the caller's. Pure. */
char *cli_session_name(const struct cli_conf *conf);

#endif
