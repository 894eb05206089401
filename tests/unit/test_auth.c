#include "ucloud-api/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/store/kv_fake.h"
#include "ucloud-api/otp_client.h"

#define NOW 1700000000

struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct sessions *sessions;
	struct strv allowed, admins;
	struct auth *auth;
	int n_asked;
	bool is_down;
	bool asks_again; /* within an asking: another log-in */
};

static int log_in_meanwhile(struct world *w, struct err *e);

static int verify(
	void *aux, const char *name, const char *realm, const char *token, struct err *e)
{
	struct world *w = aux;

	(void)name;
	(void)realm;
	w->n_asked++;
	if (w->asks_again)
		return log_in_meanwhile(w, e);
	if (w->is_down)
		return err_set(e, ERR_UNAVAILABLE, "down");
	return strcmp(token, "111111") == 0 ? 0 : 1;
}

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct auth_conf conf = { .realm_allowed = &w->allowed,
		.realm_admin = &w->admins,
		.verify = verify,
		.verify_aux = w,
		.max_verifies = 1 };

	w->etcd = fake_etcd_new();
	w->kv = kv_fake_open(w->etcd);
	w->sessions = sessions_new(w->kv, 60);
	strv_add(&w->allowed, "users");
	strv_add(&w->admins, "admins");
	conf.sessions = w->sessions;
	w->auth = auth_new(&conf);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	auth_free(w->auth);
	sessions_free(w->sessions);
	kv_close(w->kv);
	fake_etcd_free(w->etcd);
	strv_done(&w->allowed);
	strv_done(&w->admins);
	free(w);
	return 0;
}

static char *basic(const char *text)
{
	CLEANUP_STR char *b64 = base64_format(text, strlen(text));

	return xasprintf("Basic %s", b64);
}

static int check(struct world *w, const char *text, struct identity *id, struct err *e)
{
	CLEANUP_STR char *authorization = basic(text);
	int64_t retry_after_sec = 0;

	identity_done(id);
	return auth_check(
		w->auth, authorization, "2001:db8::1", NOW, id, &retry_after_sec, e);
}

static void test_credentials(void **state)
{
	static const char *const bad[] = { "", "alice", "alice@users", "alice:111111",
		"@users:111111", "alice@:111111", "alice@users:", "alice@users:11111x",
		"al/ice@users:111111", "alice@us ers:111111", "a:b@users:111111",
		"alice@users:"
		"11111111111111111111111111111111111111111111111111111111111111111" };
	CLEANUP(credentials_done) struct credentials c = { 0 };
	CLEANUP_STR char *good = basic("alice@users:111111");
	struct err e;

	(void)state;
	assert_int_equal(credentials_parse(good, &c, &e), 0);
	assert_string_equal(c.name, "alice");
	assert_string_equal(c.realm, "users");
	assert_string_equal(c.token, "111111");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CLEANUP_STR char *text = basic(bad[i]);
		struct credentials none = { 0 };

		if (credentials_parse(text, &none, &e) == 0)
			fail_msg("accepted %s", bad[i]);
		assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
		assert_null(none.name);
	}
	assert_int_equal(
		credentials_parse("Basic ***", &(struct credentials){ 0 }, &e), -1);
	assert_int_equal(credentials_parse("Basic", &(struct credentials){ 0 }, &e), -1);
	assert_string_equal(bearer_token("bearer abc"), "abc");
	assert_null(bearer_token("Basic abc"));
	assert_null(bearer_token(NULL));
}

/* The OTP service is slow: who comes then is told so, and keeps no worker busy. */
static int log_in_meanwhile(struct world *w, struct err *e)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	CLEANUP_STR char *text = basic("bob@users:111111");
	int64_t retry = 0;
	struct err why;

	w->asks_again = false;
	assert_int_equal(auth_check(w->auth, text, "::2", NOW, &id, &retry, &why), -1);
	assert_int_equal(why.kind, ERR_UNAVAILABLE);
	assert_int_equal(retry, 1);
	(void)e;
	return 0;
}

static void test_slow_service(void **state)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	struct world *w = *state;
	struct err e;

	w->asks_again = true;
	assert_int_equal(check(w, "alice@users:111111", &id, &e), 0);
	assert_int_equal(w->n_asked, 1);
	identity_done(&id);
	assert_int_equal(check(w, "bob@users:111111", &id, &e), 0);
}

static void test_basic(void **state)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	struct world *w = *state;
	int64_t retry;
	struct err e;

	assert_int_equal(check(w, "alice@users:111111", &id, &e), 0);
	assert_string_equal(id.name, "alice");
	assert_false(id.is_admin);
	assert_int_equal(check(w, "root@admins:111111", &id, &e), 0);
	assert_true(id.is_admin);
	assert_int_equal(check(w, "eve@elsewhere:111111", &id, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(w->n_asked, 2);
	assert_int_equal(check(w, "alice@users:222222", &id, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	assert_int_equal(auth_check(w->auth, NULL, "::1", NOW, &id, &retry, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
}

static void test_slowed(void **state)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	CLEANUP_STR char *authorization = basic("alice@users:222222");
	struct world *w = *state;
	int64_t retry = 0;
	struct err e;

	w->is_down = true;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(check(w, "alice@users:222222", &id, &e), -1);
		assert_int_equal(e.kind, ERR_UNAVAILABLE);
	}
	w->is_down = false;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(check(w, "alice@users:222222", &id, &e), -1);
		assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	}
	assert_int_equal(
		auth_check(w->auth, authorization, "::1", NOW, &id, &retry, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_MANY);
	assert_true(retry >= 1);
	/* Another account from there is not slowed yet, and a right one never counts. */
	for (int i = 0; i < 40; i++)
		assert_int_equal(check(w, "bob@users:111111", &id, &e), 0);
}

static void test_sessions(void **state)
{
	CLEANUP(identity_done) struct identity id = { 0 };
	CLEANUP_STR char *bearer = NULL;
	struct world *w = *state;
	char token[TOKEN_STR_SIZE];
	int64_t expires, retry;
	struct err e;

	assert_int_equal(
		sessions_create(w->sessions, "alice", "users", NOW, token, &expires, &e),
		0);
	assert_int_equal(expires, NOW + 60);
	bearer = xasprintf("Bearer %s", token);
	assert_int_equal(auth_check(w->auth, bearer, "::1", NOW, &id, &retry, &e), 0);
	assert_string_equal(id.name, "alice");
	assert_int_equal(id.expires, expires);
	identity_done(&id);
	assert_int_equal(
		auth_check(w->auth, bearer, "::1", NOW + 60, &id, &retry, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	/* The realm is not allowed any more. */
	strv_done(&w->allowed);
	assert_int_equal(auth_check(w->auth, bearer, "::1", NOW, &id, &retry, &e), -1);
	assert_int_equal(e.kind, ERR_DENIED);
	strv_add(&w->allowed, "users");
	assert_int_equal(sessions_delete(w->sessions, token, &e), 0);
	assert_int_equal(sessions_delete(w->sessions, token, &e), 0);
	assert_int_equal(auth_check(w->auth, bearer, "::1", NOW, &id, &retry, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
}

static void assert_json(char *text, const char *want)
{
	json_t *a = json_loads(text, 0, NULL), *b = json_loads(want, 0, NULL);

	assert_non_null(b);
	if (!json_equal(a, b))
		fail_msg("%s", text);
	json_decref(a);
	json_decref(b);
	free(text);
}

static void test_otp_protocol(void **state)
{
	struct otp_conf conf = { .auth_name = "api", .auth_realm = "ungleich-auth" };
	struct err e;

	(void)state;
	assert_json(otp_question(&conf, "1", "alice", "users", "2"),
		"{\"auth_name\":\"api\",\"auth_realm\":\"ungleich-auth\",\"auth_token\":"
		"\"1\","
		"\"name\":\"alice\",\"realm\":\"users\",\"token\":\"2\"}");
	conf.dialect = OTP_OLD;
	assert_json(otp_question(&conf, "1", "alice", "users", "2"),
		"{\"name\":\"api\",\"realm\":\"ungleich-auth\",\"token\":\"1\","
		"\"verifyname\":\"alice\",\"verifyrealm\":\"users\",\"verifytoken\":"
		"\"2\"}");
	assert_int_equal(otp_answer(200, "{\"status\":\"OK\"}", 15, &e), 0);
	assert_int_equal(otp_answer(403, "", 0, &e), 1);
	assert_int_equal(otp_answer(200, "{\"status\":\"no\"}", 15, &e), -1);
	assert_int_equal(otp_answer(200, "OK", 2, &e), -1);
	assert_int_equal(otp_answer(500, "", 0, &e), -1);
	/* The service says why: so do we. */
	assert_int_equal(otp_answer(503, "{\"detail\":\"no etcd\"}", 20, &e), -1);
	assert_string_equal(e.msg, "the OTP service answered with status 503: no etcd");
	/* Refused is the API itself, not its user. */
	assert_int_equal(otp_answer(403, "{\"reason\":\"asker\"}", 18, &e), -1);
	assert_int_equal(otp_answer(403, "{\"reason\":\"wrong\"}", 18, &e), 1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
}

static void no_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)level;
	(void)line;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_credentials),
		TEST(test_basic),
		TEST(test_slow_service),
		TEST(test_slowed),
		TEST(test_sessions),
		cmocka_unit_test(test_otp_protocol),
	};

	crypt_init();
	log_set_sink(no_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
