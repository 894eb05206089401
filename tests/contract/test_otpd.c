/*
 * ucloud-otp as those who ask it see it: HTTP on [::1], a real etcd.
 */
#include "ucloud-otp/otpd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/http.h"
#include "common/model/keys.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define SEED  "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
#define TRIES 400

static struct world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct otp_conf conf;
	struct otpd *otpd;
	struct accounts accounts;
	struct http *http;
} w;

static void add(const char *name, const char *realm)
{
	char *seed = NULL;
	struct err e = { 0 };

	if (account_add(&w.accounts, realm, name, SEED, clock_unix_sec(), &seed, &e) < 0)
		fail_msg("%s", e.msg);
	free(seed);
}

static int start_world(void **state)
{
	const struct etcd_conf *etcd;
	struct err e = { 0 };

	(void)state;
	w.etcd = test_etcd_start(NULL);
	etcd = test_etcd_client(w.etcd);
	strv_copy(&w.conf.etcd.url, &etcd->url);
	strv_add(&w.conf.listen, "[::1]:0");
	strv_add(&w.conf.realm_verify, "ungleich-auth");
	strv_add(&w.conf.realm_manage, "ungleich-admin");
	w.conf.key_file = test_path("otp.key");
	if (kv_etcd_open(&w.conf.etcd, &w.kv, &e) < 0 ||
		seal_key_read(w.conf.key_file, true, w.accounts.key, &e) < 0 ||
		otpd_open(&w.conf, &w.otpd, &e) < 0)
		fail_msg("%s", e.msg);
	w.accounts.kv = w.kv;
	w.http = http_new(&(struct http_conf){ 0 });
	add("api", "ungleich-auth");
	add("other", "ungleich-auth");
	add("boss", "ungleich-admin");
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	http_free(w.http);
	otpd_close(w.otpd);
	kv_close(w.kv);
	strv_done(&w.conf.listen);
	strv_done(&w.conf.etcd.url);
	strv_done(&w.conf.realm_verify);
	strv_done(&w.conf.realm_manage);
	free(w.conf.key_file);
	test_etcd_free(w.etcd);
	return 0;
}

static int post(const char *path, const char *body)
{
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *url = xasprintf("http://[::1]:%u%s", otpd_port(w.otpd), path);
	struct http_req req = {
		.method = "POST", .url = url, .body = body, .body_size = strlen(body)
	};
	struct err e;

	if (http_call(w.http, &req, &resp, &e) < 0)
		fail_msg("%s", e.msg);
	return resp.status;
}

/* As asker `name`, about a user who does not exist. */
static int ask(const char *name, const char *token)
{
	CLEANUP_STR char *body =
		xasprintf("{\"auth_name\":\"%s\",\"auth_realm\":\"ungleich-auth\",\"auth_"
			  "token\":\"%s\","
			  "\"name\":\"nobody\",\"realm\":\"users\",\"token\":\"000000\"}",
			name, token);

	return post("/verify", body);
}

/* An asker's token has six digits, too: nobody may try them all. */
static void test_askers_are_slowed(void **state)
{
	char token[TOTP_STR_SIZE];
	int n_slowed = 0, right;
	struct err e;

	(void)state;
	for (int i = 0; i < TRIES && n_slowed == 0; i++)
		n_slowed += ask("api", "00000x") == 429;
	assert_int_equal(n_slowed, 1);
	/* Others are not. */
	assert_int_equal(totp_make(SEED, clock_unix_sec(), token, &e), 0);
	right = ask("other", token);
	assert_int_equal(right, 403); /* "nobody" is unknown */
	for (int i = 0; i < TRIES; i++)
		assert_int_not_equal(ask("other", token), 429);
}

static bool has_session(const char *hash)
{
	CLEANUP_STR char *key = key_session(hash);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e;

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	return pair.key != NULL;
}

static void put_session(char hash[SHA256_HEX_SIZE], const char *token, const char *name)
{
	CLEANUP_STR char *text = xasprintf("{\"name\":\"%s\",\"realm\":\"users\","
					   "\"expires\":\"2099-01-01T00:00:00Z\"}",
		name);
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = NULL;
	struct err e;

	sha256_hex(token, strlen(token), hash);
	key = key_session(hash);
	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

/* Who is removed is out: also with the sessions that are open. */
static void test_deleted_user_has_no_session(void **state)
{
	char hers[SHA256_HEX_SIZE], his[SHA256_HEX_SIZE], token[TOTP_STR_SIZE];
	CLEANUP_STR char *body = NULL;
	struct err e;

	(void)state;
	add("alice", "users");
	put_session(hers, "a", "alice");
	put_session(his, "b", "bob");
	assert_int_equal(totp_make(SEED, clock_unix_sec(), token, &e), 0);
	body = xasprintf("{\"auth_name\":\"boss\",\"auth_realm\":\"ungleich-admin\","
			 "\"auth_token\":\"%s\",\"name\":\"alice\",\"realm\":\"users\"}",
		token);
	assert_int_equal(post("/user/delete", body), 200);
	assert_false(has_session(hers));
	assert_true(has_session(his));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_askers_are_slowed),
		cmocka_unit_test(test_deleted_user_has_no_session),
	};

	return cmocka_run_group_tests(tests, start_world, stop_world);
}
