#include "ucloud-api/otp_client.h"

#include <jansson.h>
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/http.h"
#include "common/base/jtab.h"

enum { LIMIT_MSEC = 4000, CONNECT_MSEC = 2000, BODY_MAX = 64 * 1024, IDLE_MAX = 8 };

const char *const otp_dialect_names[] = { "new", "old", NULL };

struct otp_client {
	struct otp_conf conf;
	pthread_mutex_t lock;
	struct http *idle[IDLE_MAX]; /* connections that nobody uses now */
	size_t n_idle;
};

int otp_client_new(const struct otp_conf *conf, struct otp_client **out, struct err *e)
{
	struct otp_client *c;

	if (totp_seed_check(conf->auth_seed, e) < 0)
		return err_wrap(e, "auth_seed");
	c = xcalloc(1, sizeof(*c));
	c->conf = *conf;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

void otp_client_free(struct otp_client *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_idle; i++)
		http_free(c->idle[i]);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct http *http_get(struct otp_client *c)
{
	struct http_conf conf = { .ca_file = c->conf.ca_file,
		.connect_msec = CONNECT_MSEC,
		.limit_msec = LIMIT_MSEC,
		.max_body = BODY_MAX };
	struct http *h = NULL;

	pthread_mutex_lock(&c->lock);
	if (c->n_idle > 0)
		h = c->idle[--c->n_idle];
	pthread_mutex_unlock(&c->lock);
	return h ? h : http_new(&conf);
}

static void http_put(struct otp_client *c, struct http *h)
{
	pthread_mutex_lock(&c->lock);
	if (c->n_idle < IDLE_MAX)
		c->idle[c->n_idle++] = MOVE(h);
	pthread_mutex_unlock(&c->lock);
	http_free(h);
}

char *otp_question(const struct otp_conf *conf, const char *auth_token, const char *name,
	const char *realm, const char *token)
{
	bool is_old = conf->dialect == OTP_OLD;
	CLEANUP(json_decref_ptr)
	json_t *q = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}",
		is_old ? "name" : "auth_name", conf->auth_name,
		is_old ? "realm" : "auth_realm", conf->auth_realm,
		is_old ? "token" : "auth_token", auth_token,
		is_old ? "verifyname" : "name", name, is_old ? "verifyrealm" : "realm",
		realm, is_old ? "verifytoken" : "token", token);

	return json_dumps(q, JSON_COMPACT);
}

/* The string `name` of the answer, when it is one; borrowed from json. */
static const char *string_of(const json_t *json, const char *name)
{
	const char *text = json_string_value(json_object_get(json, name));

	return text ? text : "";
}

/* What is neither yes nor no, with the service's own words when it has some. */
static int answer_failed(int status, const json_t *json, struct err *e)
{
	const char *detail = string_of(json, "detail");

	if (status == 200)
		return err_set(e, ERR_UNAVAILABLE,
			"the OTP service answered 200 without {\"status\":\"OK\"}");
	return err_set(e, ERR_UNAVAILABLE,
		"the OTP service answered with status %d%s%.200s", status,
		*detail ? ": " : "", detail);
}

int otp_answer(int status, const char *body, size_t size, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	struct err why = { 0 };
	bool is_json = json_parse(body, size, &json, &why) == 0;

	/* ucloud-otp says when it is us whom it does not know: no fault of the user's. */
	if (status == 403 && is_json && strcmp(string_of(json, "reason"), "asker") == 0)
		return err_set(e, ERR_UNAVAILABLE,
			"the OTP service refuses this API: are its auth_name, auth_realm "
			"and auth_seed right?");
	if (status == 403)
		return 1;
	if (status == 200 && !is_json)
		return err_set(
			e, ERR_UNAVAILABLE, "the OTP service did not answer in JSON");
	if (status == 200 && strcmp(string_of(json, "status"), "OK") == 0)
		return 0;
	return answer_failed(status, json, e);
}

static int ask(struct otp_client *c, const char *question, struct err *e)
{
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	struct http_req req = { .method = "POST",
		.url = c->conf.url,
		.body = question,
		.body_size = strlen(question) };
	struct http *h = http_get(c);
	int r = http_call(h, &req, &resp, e);

	http_put(c, h);
	if (r < 0) {
		e->kind = ERR_UNAVAILABLE;
		return err_wrap(e, "the OTP service does not answer");
	}
	return otp_answer(resp.status, buf_str(&resp.body), resp.body.size, e);
}

int otp_client_verify(
	void *aux, const char *name, const char *realm, const char *token, struct err *e)
{
	struct otp_client *c = aux;
	CLEANUP_STR char *question = NULL;
	char auth_token[TOTP_STR_SIZE];
	int r;

	if (totp_make(c->conf.auth_seed, clock_unix_sec(), auth_token, e) < 0)
		return -1;
	question = otp_question(&c->conf, auth_token, name, realm, token);
	r = ask(c, question, e);
	secret_wipe(question);
	return r;
}
