#include "ucloud-api/auth.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/model/names.h"
#include "common/base/throttle.h"

enum { TOKEN_LEN_MAX = 64, BASIC_LEN_MAX = 1024, VERIFIES_MAX = 16 };

struct auth {
	struct auth_conf conf;
	pthread_mutex_t lock; /* of all that follows */
	struct throttle *by_account, *by_address;
	unsigned n_verifies; /* under way */
};

static struct metric n_logins = { METRIC_COUNTER, "ucloud_api_login_total",
	"Log-ins by outcome.", .label = "outcome" };

/* Six digits, three of them right at a time: at one guess in a minute an account withstands
 * for years. */
static const struct throttle_conf account_conf = { .n_free = 5,
	.max_wait_msec = 60 * 1000,
	.forget_msec = 15 * 60 * 1000,
	.max_keys = 16384 };
static const struct throttle_conf address_conf = { .n_free = 20,
	.max_wait_msec = 5 * 60 * 1000,
	.forget_msec = 15 * 60 * 1000,
	.max_keys = 16384 };

void identity_done(struct identity *id)
{
	free(id->name);
	free(id->realm);
	free(id->session);
	*id = (struct identity){ 0 };
}

void credentials_done(struct credentials *c)
{
	free(c->name);
	free(c->realm);
	secret_wipe(c->token);
	free(c->token);
	*c = (struct credentials){ 0 };
}

struct auth *auth_new(const struct auth_conf *conf)
{
	struct auth *a = xcalloc(1, sizeof(*a));

	a->conf = *conf;
	if (a->conf.max_verifies == 0)
		a->conf.max_verifies = VERIFIES_MAX;
	pthread_mutex_init(&a->lock, NULL);
	a->by_account = throttle_new(&account_conf);
	a->by_address = throttle_new(&address_conf);
	metric_register(&n_logins);
	return a;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	throttle_free(a->by_account);
	throttle_free(a->by_address);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/* ---------------------------------------------------------------- the header */

static const char *after_scheme(const char *authorization, const char *scheme)
{
	size_t len = strlen(scheme);

	if (strncasecmp(authorization, scheme, len) != 0 || authorization[len] != ' ')
		return NULL;
	return authorization + len + strspn(authorization + len, " ");
}

const char *bearer_token(const char *authorization)
{
	return authorization ? after_scheme(authorization, "Bearer") : NULL;
}

static int malformed(struct err *e)
{
	return err_set(e, ERR_UNAUTHENTICATED,
		"the Authorization header must be \"Basic\" and the base64 of "
		"name@realm:TOKEN, or \"Bearer\" and a session's token");
}

/* "name@realm:token": the realm has no "@", name and realm no ":". */
static int split(const char *s, struct credentials *out)
{
	const char *colon = strchr(s, ':');
	const char *at = colon ? memrchr(s, '@', (size_t)(colon - s)) : NULL;

	if (!at)
		return -1;
	out->name = xstrndup(s, (size_t)(at - s));
	out->realm = xstrndup(at + 1, (size_t)(colon - at - 1));
	out->token = xstrdup(colon + 1);
	return 0;
}

int credentials_parse(const char *authorization, struct credentials *out, struct err *e)
{
	struct credentials c = { 0 };
	const char *basic = after_scheme(authorization, "Basic");
	CLEANUP_STR char *text = NULL;
	size_t size, len;
	bool is_good;

	if (!basic || strlen(basic) > BASIC_LEN_MAX ||
		base64_parse(basic, strlen(basic), &text, &size, NULL) < 0)
		return malformed(e);
	is_good = strlen(text) == size && split(text, &c) == 0;
	secret_wipe(text);
	len = is_good ? strlen(c.token) : 0;
	if (!is_good || len == 0 || len > TOKEN_LEN_MAX ||
		strspn(c.token, "0123456789") != len ||
		user_name_check(c.name, NULL) < 0 || realm_check(c.realm, NULL) < 0) {
		credentials_done(&c);
		return malformed(e);
	}
	*out = c;
	return 0;
}

/* ---------------------------------------------------------------- Basic */

static bool is_admin(const struct auth *a, const char *realm)
{
	return strv_has(a->conf.realm_admin, realm);
}

static int realm_ok(const struct auth *a, const char *realm, struct err *e)
{
	if (is_admin(a, realm) || strv_has(a->conf.realm_allowed, realm))
		return 0;
	return err_set(
		e, ERR_DENIED, "users of the realm \"%s\" may not use this API", realm);
}

/* 0, or how long to wait. Counts the attempt. */
static int64_t take(struct auth *a, const char *account, const char *address)
{
	int64_t now = clock_mono_msec(), wait;

	pthread_mutex_lock(&a->lock);
	wait = throttle_take(a->by_address, address, now);
	if (wait == 0) {
		wait = throttle_take(a->by_account, account, now);
		if (wait > 0)
			throttle_give_back(a->by_address, address);
	}
	pthread_mutex_unlock(&a->lock);
	return wait;
}

/* The attempt was right (0), wrong (1), or could not be asked about (< 0). */
static void settle(struct auth *a, const char *account, const char *address, int result)
{
	metric_add(&n_logins,
		result == 0  ? "right"
		: result > 0 ? "wrong"
			     : "unavailable",
		1);
	if (result > 0)
		return;
	pthread_mutex_lock(&a->lock);
	throttle_give_back(a->by_address, address);
	if (result == 0)
		throttle_forget(a->by_account, account);
	else
		throttle_give_back(a->by_account, account);
	pthread_mutex_unlock(&a->lock);
}

/* False: the OTP service has enough to do. */
static bool verify_begin(struct auth *a)
{
	bool is_free;

	pthread_mutex_lock(&a->lock);
	is_free = a->n_verifies < a->conf.max_verifies;
	a->n_verifies += is_free;
	pthread_mutex_unlock(&a->lock);
	return is_free;
}

static void verify_end(struct auth *a)
{
	pthread_mutex_lock(&a->lock);
	a->n_verifies--;
	pthread_mutex_unlock(&a->lock);
}

static int ask(struct auth *a, const struct credentials *c, int64_t *retry_after_sec,
	struct err *e)
{
	int r;

	if (!verify_begin(a)) {
		*retry_after_sec = 1;
		return err_set(e, ERR_UNAVAILABLE,
			"too many log-ins are under way: try again in a second");
	}
	r = a->conf.verify(a->conf.verify_aux, c->name, c->realm, c->token, e);
	verify_end(a);
	return r;
}

static int verify(struct auth *a, const struct credentials *c, const char *peer,
	int64_t *retry_after_sec, struct err *e)
{
	CLEANUP_STR char *account = xasprintf("%s@%s", c->name, c->realm);
	char address[THROTTLE_ADDRESS_SIZE];
	int64_t wait;
	int r;

	throttle_address(peer, address);
	wait = take(a, account, address);
	if (wait > 0) {
		metric_add(&n_logins, "slowed", 1);
		*retry_after_sec = (wait + 999) / 1000;
		return err_set(e, ERR_TOO_MANY,
			"too many failed log-ins: try again in %lld seconds",
			(long long)*retry_after_sec);
	}
	r = ask(a, c, retry_after_sec, e);
	settle(a, account, address, r);
	if (r <= 0)
		return r;
	log_info("refused a log-in account=%s peer=%s", account, peer);
	return err_set(e, ERR_UNAUTHENTICATED,
		"name, realm or token are wrong; a token can be used once, within 30 s");
}

static int check_basic(struct auth *a, const char *authorization, const char *peer,
	struct identity *out, int64_t *retry_after_sec, struct err *e)
{
	CLEANUP(credentials_done) struct credentials c = { 0 };

	if (credentials_parse(authorization, &c, e) < 0 || realm_ok(a, c.realm, e) < 0 ||
		verify(a, &c, peer, retry_after_sec, e) < 0)
		return -1;
	out->name = MOVE(c.name);
	out->realm = MOVE(c.realm);
	out->expires = 0;
	out->is_admin = is_admin(a, out->realm);
	return 0;
}

/* ---------------------------------------------------------------- Bearer */

static int check_bearer(struct auth *a, const char *token, int64_t now,
	struct identity *out, struct err *e)
{
	CLEANUP(session_user_done) struct session_user u = { 0 };
	int r;

	r = strlen(token) == TOKEN_STR_SIZE - 1
		    ? sessions_find(a->conf.sessions, token, now, &u, e)
		    : 1;
	if (r > 0)
		return err_set(e, ERR_UNAUTHENTICATED,
			"the session does not exist or has ended: log in again");
	/* The configuration may have changed since. */
	if (r < 0 || realm_ok(a, u.realm, e) < 0)
		return -1;
	out->is_admin = is_admin(a, u.realm);
	out->name = MOVE(u.name);
	out->realm = MOVE(u.realm);
	out->expires = u.expires;
	out->session = sessions_key(token);
	return 0;
}

int auth_check(struct auth *a, const char *authorization, const char *peer, int64_t now,
	struct identity *out, int64_t *retry_after_sec, struct err *e)
{
	const char *token = bearer_token(authorization);

	if (!authorization)
		return err_set(e, ERR_UNAUTHENTICATED,
			"who are you? Send an Authorization header: \"Basic\" with "
			"name@realm:TOKEN, or \"Bearer\" with a session's token");
	if (token)
		return check_bearer(a, token, now, out, e);
	return check_basic(a, authorization, peer, out, retry_after_sec, e);
}
