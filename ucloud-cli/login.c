#include "ucloud-cli/login.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/file.h"
#include "common/base/parse.h"

#define SESSION_MAX  65536
#define SPARE_SEC    10 /* a session that ends so soon is not used any more */
#define MAX_ATTEMPTS 2

struct kept {
	char *token;		      /* NULL none */
	int64_t expires;	      /* time */
	int64_t step;		      /* of the password that it was made with, 0 none */
	char password[TOTP_STR_SIZE]; /* that one: it cannot be used again */
};

static void kept_done(struct kept *k)
{
	secret_wipe(k->token);
	free(k->token);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void json_done(json_t **j)
{
	json_decref(*j);
}

char *cli_session_name(const struct cli_conf *conf)
{
	CLEANUP_STR char *text =
		xasprintf("%s\n%s\n%s", conf->api, conf->name, conf->realm);
	char hex[SHA256_HEX_SIZE];

	sha256_hex(text, strlen(text), hex);
	return xasprintf("session-%s", hex);
}

static char *session_path(const struct cli_client *cl, const char *suffix)
{
	CLEANUP_STR char *name = cli_session_name(cli_client_conf(cl));

	return xasprintf("%s/%s%s", cli_client_world(cl)->cache_dir, name, suffix);
}

/* ------------------------------------------------------------ what is kept */

static int64_t time_of(const json_t *json)
{
	struct err e;
	int64_t t;

	if (json_is_integer(json))
		return json_integer_value(json);
	if (json_is_string(json) && time_parse(json_string_value(json), &t, &e) == 0)
		return t;
	return 0;
}

/* An unreadable file is none: a new session takes its place. */
static void read_kept(const struct cli_client *cl, struct kept *k)
{
	CLEANUP_STR char *path = session_path(cl, ".json");
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP(json_done) json_t *json = NULL;
	const char *token;
	struct err e;

	*k = (struct kept){ 0 };
	if (file_read(path, SESSION_MAX, &text, &e) < 0)
		return;
	json = json_loadb(buf_str(&text), text.size, JSON_REJECT_DUPLICATES, NULL);
	secret_wipe(text.s);
	token = json_string_value(json_object_get(json, "token"));
	k->step = json_integer_value(json_object_get(json, "step"));
	if (json_string_length(json_object_get(json, "password")) == TOTP_STR_SIZE - 1)
		memcpy(k->password, json_string_value(json_object_get(json, "password")),
			TOTP_STR_SIZE);
	k->expires = time_of(json_object_get(json, "expires"));
	if (!str_is_empty(token) && k->expires > clock_unix_sec() + SPARE_SEC)
		k->token = xstrdup(token);
}

static int write_kept(const struct cli_client *cl, const struct kept *k, struct err *e)
{
	CLEANUP_STR char *path = session_path(cl, ".json");
	CLEANUP(json_done)
	json_t *json = json_pack("{s:s*, s:I, s:I, s:s}", "token", k->token, "expires",
		(json_int_t)k->expires, "step", (json_int_t)k->step, "password",
		k->password);
	CLEANUP_STR char *text = json_dumps(json, JSON_COMPACT);

	return file_write(path, text, strlen(text), 0600, FILE_REPLACE, e);
}

static int make_dirs(const char *dir, struct err *e)
{
	CLEANUP_STR char *path = xstrdup(dir);

	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return err_errno(e, errno, "%s", path);
		*p = c;
		if (c == '\0')
			return 0;
	}
}

/* Held until the descriptor is closed. Waits for other commands that log in. */
static int take_lock(const struct cli_client *cl, int *fd, struct err *e)
{
	CLEANUP_STR char *path = session_path(cl, ".lock");

	if (make_dirs(cli_client_world(cl)->cache_dir, e) < 0)
		return -1;
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return err_errno(e, errno, "%s", path);
	while (flock(*fd, LOCK_EX) != 0)
		if (errno != EINTR)
			return err_errno(e, errno, "%s", path);
	return 0;
}

/* -------------------------------------------------------------- logging in */

static char *basic_of(const struct cli_conf *conf, const char *password)
{
	CLEANUP_STR char *plain =
		xasprintf("%s@%s:%s", conf->name, conf->realm, password);
	CLEANUP_STR char *text = base64_format(plain, strlen(plain));

	return xasprintf("Basic %s", text);
}

/* One attempt: a password and the answer to it. */
struct attempt {
	int64_t step;
	char password[TOTP_STR_SIZE];
	struct cli_answer an;
};

static void attempt_done(struct attempt *at)
{
	cli_answer_done(&at->an);
}

static int ask_session(struct cli_client *cl, struct attempt *at, struct err *e)
{
	const struct cli_conf *conf = cli_client_conf(cl);
	struct cli_call call = { .method = "POST", .path = "/v1/session" };
	CLEANUP_STR char *basic = NULL;

	at->step = clock_unix_sec() / TOTP_STEP_SEC;
	if (totp_make(conf->seed, at->step * TOTP_STEP_SEC, at->password, e) < 0)
		return err_wrap(e, "the seed in your configuration is unusable");
	basic = basic_of(conf, at->password);
	return cli_call_as(cl, &call, basic, &at->an, e);
}

static bool is_refused(const struct attempt *at)
{
	return at->an.status == 401 || at->an.status == 403;
}

static int take_session(const struct attempt *at, struct kept *out, struct err *e)
{
	const char *token = json_string_value(json_object_get(at->an.json, "token"));

	if (str_is_empty(token))
		return err_set(e, ERR_INTERNAL,
			"the API's answer to the log-in has no token: is the address "
			"right?");
	out->token = xstrdup(token);
	out->expires = time_of(json_object_get(at->an.json, "expires"));
	out->step = at->step;
	memcpy(out->password, at->password, sizeof(out->password));
	return 0;
}

static int refused_login(
	const struct cli_client *cl, const struct cli_answer *an, struct err *e)
{
	const struct cli_conf *conf = cli_client_conf(cl);
	char now[TIME_STR_SIZE];

	cli_problem(an, e);
	if (e->kind != ERR_UNAUTHENTICATED && e->kind != ERR_DENIED)
		return -1;
	time_format(clock_unix_sec(), now);
	return err_set(e, e->kind,
		"the log-in of %s@%s was refused: %.400s (are name, realm and seed "
		"right, and this machine's clock? It says %s)",
		conf->name, conf->realm, e->msg, now);
}

/* One-time passwords can be used once: waits for the next one. */
static void wait_for_step(
	struct cli_client *cl, const struct attempt *at, bool is_known_used)
{
	const struct cli_world *w = cli_client_world(cl);
	int64_t left = (at->step + 1) * TOTP_STEP_SEC * 1000 - clock_unix_msec();

	w->note(w->aux,
		is_known_used
			? "the current one-time password was used already; waiting for "
			  "the next one (up to 30 s)"
			: "the current one-time password was refused, perhaps because it "
			  "was used already; waiting for the next one (up to 30 s)");
	if (left > 0)
		w->sleep_msec(w->aux, left);
}

/* last: what worked last. With is_strict only a password that is known to have been used is
 * worth another attempt; else any, when the log-in has worked before. */
static int new_session(struct cli_client *cl, const struct kept *last, bool is_strict,
	struct kept *out, struct err *e)
{
	for (int i = 1;; i++) {
		CLEANUP(attempt_done) struct attempt at = { 0 };
		bool is_known_used;

		if (ask_session(cl, &at, e) < 0)
			return -1;
		if (at.an.status / 100 == 2)
			return take_session(&at, out, e);
		is_known_used = last->step > 0 && secret_eq(at.password, last->password);
		if (i == MAX_ATTEMPTS || !is_refused(&at) || last->step == 0 ||
			(is_strict && !is_known_used))
			return refused_login(cl, &at.an, e);
		wait_for_step(cl, &at, is_known_used);
	}
}

static void complain(struct cli_client *cl, const struct err *e)
{
	const struct cli_world *w = cli_client_world(cl);
	CLEANUP_STR char *line =
		xasprintf("the session cannot be kept for later commands: %s", e->msg);

	w->note(w->aux, line);
}

static int log_in(struct cli_client *cl, const char *refused, bool is_check, char **token,
	struct err *e)
{
	CLEANUP(close_fd)
	int lock = -1;
	CLEANUP(kept_done) struct kept old = { 0 };
	CLEANUP(kept_done) struct kept new = { 0 };
	struct err e2;
	bool can_keep;

	can_keep = take_lock(cl, &lock, &e2) == 0;
	if (!can_keep)
		complain(cl, &e2);
	else
		read_kept(cl, &old);
	if (!is_check && old.token && !str_eq(old.token, refused)) {
		*token = MOVE(old.token);
		return 0;
	}
	if (new_session(cl, &old, is_check, &new, e) < 0)
		return -1;
	if (can_keep && write_kept(cl, &new, &e2) < 0)
		complain(cl, &e2);
	*token = MOVE(new.token);
	return 0;
}

int cli_login_token(
	struct cli_client *cl, const char *refused, char **token, struct err *e)
{
	return log_in(cl, refused, false, token, e);
}

int cli_login_check(struct cli_client *cl, struct err *e)
{
	char *token = NULL;

	if (log_in(cl, NULL, true, &token, e) < 0)
		return -1;
	secret_wipe(token);
	free(token);
	return 0;
}

char *cli_login_kept(struct cli_client *cl)
{
	CLEANUP(kept_done) struct kept k = { 0 };

	read_kept(cl, &k);
	return MOVE(k.token);
}

int cli_login_forget(struct cli_client *cl, struct err *e)
{
	CLEANUP(close_fd)
	int lock = -1;
	CLEANUP(kept_done) struct kept k = { 0 };

	if (take_lock(cl, &lock, e) < 0)
		return -1;
	read_kept(cl, &k);
	/* The step stays: its password cannot be used again. */
	secret_wipe(k.token);
	str_set(&k.token, NULL);
	k.expires = 0;
	return write_kept(cl, &k, e);
}
