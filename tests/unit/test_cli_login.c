/*
 * Log-ins against a small server of sessions in this process, with a clock that only moves
 * when the client waits.
 */
#include "ucloud-cli/login.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/httpd.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "tests/lib/test_util.h"

#define SEED  "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
#define OTHER "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"
#define START INT64_C(1795400010000)

struct site {
	struct httpd *d;
	pthread_mutex_t lock;
	char used[TOTP_STR_SIZE]; /* the last password that was taken */
	char token[32];		  /* of the session there is, "" none */
	int n_asked, n_sessions;
	int64_t ttl_sec;
	char notes[1024];
	char *dir;
};

/* ------------------------------------------------------------ the server */

static bool is_password_right(struct site *s, const char *authorization)
{
	char want[TOTP_STR_SIZE], *plain = NULL, *text;
	struct err e;
	size_t size;
	bool is_right;

	assert_int_equal(totp_make(SEED, clock_unix_sec(), want, &e), 0);
	if (!authorization || !str_has_prefix(authorization, "Basic ") ||
		base64_parse(authorization + 6, strlen(authorization + 6), &plain, &size,
			&e) < 0)
		return false;
	text = xasprintf("me@home:%s", want);
	is_right = str_eq(plain, text) && !str_eq(want, s->used);
	if (is_right)
		memcpy(s->used, want, sizeof(want));
	free(text);
	free(plain);
	return is_right;
}

static void answer_session(struct site *s, struct httpd_req *req)
{
	char expires[TIME_STR_SIZE];
	struct err e;

	s->n_asked++;
	if (!is_password_right(s, httpd_header(req, "Authorization"))) {
		err_set(&e, ERR_UNAUTHENTICATED, "name, realm or token are wrong");
		httpd_answer_err(req, &e);
		return;
	}
	s->n_sessions++;
	snprintf(s->token, sizeof(s->token), "session-%d", s->n_sessions);
	time_format(clock_unix_sec() + s->ttl_sec, expires);
	httpd_answer_json(
		req, 201, json_pack("{s:s, s:s}", "token", s->token, "expires", expires));
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	struct site *s = aux;
	const char *authorization = httpd_header(req, "Authorization");
	struct err e;

	pthread_mutex_lock(&s->lock);
	if (str_eq(httpd_path(req), "/v1/session")) {
		answer_session(s, req);
	} else if (authorization && str_has_prefix(authorization, "Bearer ") &&
		   s->token[0] && str_eq(authorization + 7, s->token)) {
		httpd_answer_json(req, 200, json_pack("{s:s}", "name", "me"));
	} else {
		err_set(&e, ERR_UNAUTHENTICATED, "the session has ended");
		httpd_answer_err(req, &e);
	}
	pthread_mutex_unlock(&s->lock);
	return HTTPD_ANSWERED;
}

/* ------------------------------------------------------------ the client */

static void fake_sleep(void *aux, int64_t msec)
{
	(void)aux;
	assert_true(msec <= 30000);
	clock_fake_advance(msec);
}

static void fake_note(void *aux, const char *line)
{
	struct site *s = aux;
	size_t len = strlen(s->notes);

	snprintf(s->notes + len, sizeof(s->notes) - len, "%s\n", line);
}

static struct cli_client *client(struct site *s, const char *seed)
{
	char *api = xasprintf("http://[::1]:%u", httpd_port(s->d, 0));
	struct cli_conf conf = {
		.api = api, .name = "me", .realm = "home", .seed = (char *)(uintptr_t)seed
	};
	struct cli_world world = { fake_sleep, fake_note, s, s->dir };
	struct cli_client *cl = cli_client_new(&conf, &world);

	free(api);
	return cl;
}

static int ask(struct cli_client *cl, struct err *e)
{
	json_t *json = NULL;
	int r = cli_get(cl, "/v1/user", &json, e);

	json_decref(json);
	return r;
}

static int set_up(void **state)
{
	static int n;
	struct site *s = xcalloc(1, sizeof(*s));
	struct strv listen = { 0 };
	struct httpd_conf conf = { .listen = &listen, .n_workers = 2 };
	struct err e;

	strv_add(&listen, "[::1]:0");
	pthread_mutex_init(&s->lock, NULL);
	s->ttl_sec = 3600;
	s->dir = test_path("a/b%d", n++);
	if (httpd_open(&conf, handle, s, &s->d, &e) < 0)
		fail_msg("%s", e.msg);
	strv_done(&listen);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	httpd_close(s->d);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
	return 0;
}

/* ---------------------------------------------------------------- tests */

static void a_session_is_kept(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	char *name = cli_session_name(cli_client_conf(cl)), *path;
	struct stat st;
	struct err e;

	assert_int_equal(ask(cl, &e), 0);
	assert_int_equal(ask(cl, &e), 0);
	cli_client_free(cl);
	cl = client(s, SEED);
	assert_int_equal(ask(cl, &e), 0);
	cli_client_free(cl);
	assert_int_equal(s->n_asked, 1);
	assert_string_equal(s->notes, "");
	path = xasprintf("%s/%s.json", s->dir, name);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	free(path);
	free(name);
}

/* A session that the API does not know any more, while its password is still the same: the
 * next password is waited for, once. */
static void a_used_password_is_waited_out(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	int64_t before;
	struct err e;

	assert_int_equal(ask(cl, &e), 0);
	before = clock_unix_sec();
	s->token[0] = '\0';
	assert_int_equal(ask(cl, &e), 0);
	assert_int_equal(s->n_sessions, 2);
	assert_int_equal(s->n_asked, 3);
	assert_int_equal(clock_unix_sec() / 30, before / 30 + 1);
	assert_non_null(strstr(s->notes, "was used already; waiting for the next one"));
	assert_ptr_equal(strchr(s->notes, '\n'), s->notes + strlen(s->notes) - 1);
	cli_client_free(cl);
}

/* Used by somebody else with the same seed: this seed has worked before, so that is tried. */
static void used_elsewhere(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	struct err e;

	assert_int_equal(ask(cl, &e), 0);
	clock_fake_advance(3600 * 1000);
	s->token[0] = '\0';
	assert_int_equal(totp_make(SEED, clock_unix_sec(), s->used, &e), 0);
	assert_int_equal(ask(cl, &e), 0);
	assert_non_null(strstr(s->notes, "perhaps because it was used already"));
	assert_int_equal(s->n_sessions, 2);
	cli_client_free(cl);
}

static void a_wrong_seed_fails_at_once(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, OTHER);
	int64_t before = clock_unix_msec();
	struct err e;

	assert_int_equal(ask(cl, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	assert_non_null(strstr(e.msg, "the log-in of me@home was refused: "));
	assert_non_null(strstr(e.msg, "this machine's clock? It says 20"));
	assert_int_equal(s->n_asked, 1);
	assert_int_equal(clock_unix_msec(), before);
	cli_client_free(cl);
}

/* A check proves the seed, whatever is kept. */
static void a_check_asks_anew(void **state)
{
	struct site *s = *state;
	struct cli_client *right = client(s, SEED), *wrong = client(s, OTHER);
	struct err e;

	assert_int_equal(ask(right, &e), 0);
	clock_fake_advance(60 * 1000);
	assert_int_equal(cli_login_check(wrong, &e), -1);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	assert_string_equal(s->notes, "");
	assert_int_equal(cli_login_check(right, &e), 0);
	assert_int_equal(s->n_sessions, 2);
	cli_client_free(right);
	cli_client_free(wrong);
}

static void a_session_near_its_end_is_not_used(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	struct err e;

	assert_int_equal(ask(cl, &e), 0);
	cli_client_free(cl);
	clock_fake_advance((s->ttl_sec - 5) * 1000);
	cl = client(s, SEED);
	assert_int_equal(ask(cl, &e), 0);
	assert_int_equal(s->n_sessions, 2);
	cli_client_free(cl);
}

static void forgetting(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	char *token;
	struct err e;

	assert_null(cli_login_kept(cl));
	assert_int_equal(ask(cl, &e), 0);
	token = cli_login_kept(cl);
	assert_string_equal(token, "session-1");
	free(token);
	assert_int_equal(cli_login_forget(cl, &e), 0);
	assert_null(cli_login_kept(cl));
	cli_client_free(cl);
}

/* Where nothing can be kept, commands still work. */
static void no_place_for_sessions(void **state)
{
	struct site *s = *state;
	struct cli_client *cl;
	struct err e;

	str_set(&s->dir, xstrdup("/dev/null/x"));
	cl = client(s, SEED);
	assert_int_equal(ask(cl, &e), 0);
	assert_non_null(strstr(s->notes, "the session cannot be kept"));
	cli_client_free(cl);
}

static void garbage_in_the_file(void **state)
{
	struct site *s = *state;
	struct cli_client *cl = client(s, SEED);
	char *name = cli_session_name(cli_client_conf(cl));
	char *path = xasprintf("%s/%s.json", s->dir, name);
	struct err e;

	assert_int_equal(ask(cl, &e), 0);
	cli_client_free(cl);
	clock_fake_advance(60 * 1000);
	test_write_file(path, "{\"token\": 7, \"expires\": [], \"step\": \"x\"}");
	cl = client(s, SEED);
	assert_int_equal(ask(cl, &e), 0);
	assert_int_equal(s->n_sessions, 2);
	cli_client_free(cl);
	free(path);
	free(name);
}

struct racer {
	struct site *s;
	int result;
};

static void *race(void *aux)
{
	struct racer *r = aux;
	struct cli_client *cl = client(r->s, SEED);
	struct err e;

	r->result = ask(cl, &e);
	cli_client_free(cl);
	return NULL;
}

static void parallel_commands_share_a_login(void **state)
{
	struct racer racers[4];
	pthread_t threads[4];
	struct site *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		racers[i] = (struct racer){ .s = s, .result = -1 };
		pthread_create(&threads[i], NULL, race, &racers[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(racers); i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(racers[i].result, 0);
	}
	assert_int_equal(s->n_asked, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_session_is_kept),
		TEST(a_used_password_is_waited_out),
		TEST(used_elsewhere),
		TEST(a_wrong_seed_fails_at_once),
		TEST(a_check_asks_anew),
		TEST(a_session_near_its_end_is_not_used),
		TEST(forgetting),
		TEST(no_place_for_sessions),
		TEST(garbage_in_the_file),
		TEST(parallel_commands_share_a_login),
	};

	mem_init();
	crypt_init();
	log_init("test_cli_login", LOG_ERROR);
	clock_fake_start(START);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
