#include "ucloud-otp/otpd.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/httpd.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/throttle.h"
#include "common/model/keys.h"

#include "ucloud-otp/proto.h"

#define DEFAULT_PORT 8441

/* Six digits, three of them right at a time: who asks wrongly again and again is answered
 * once in two seconds. An API has many questions under way at once, which count as wrong until
 * they are answered: hence so many free ones. */
static const struct throttle_conf asker_conf = { .n_free = 256,
	.max_wait_msec = 2000,
	.forget_msec = 15 * 60 * 1000,
	.max_keys = 16384 };

struct otpd {
	const struct otp_conf *conf;
	pthread_mutex_t lock; /* of askers */
	struct throttle *askers;
	struct kv *kv;
	struct accounts accounts;
	struct httpd *httpd;
};

static struct metric checks = { METRIC_COUNTER, "ucloud_otp_checks_total",
	"Tokens that were asked about, by answer.", .label = "answer" };

/* By account and network, so that nobody elsewhere keeps an API from asking. */
static char *asker_key(const struct otp_login *asker, const char *peer)
{
	char address[THROTTLE_ADDRESS_SIZE];

	throttle_address(peer, address);
	return xasprintf("%s@%s %s", asker->name, asker->realm, address);
}

static int asker_begin(struct otpd *o, const char *key, struct err *e)
{
	int64_t wait_msec;

	pthread_mutex_lock(&o->lock);
	wait_msec = throttle_take(o->askers, key, clock_mono_msec());
	pthread_mutex_unlock(&o->lock);
	if (wait_msec == 0)
		return 0;
	return err_set(e, ERR_TOO_MANY,
		"the asking service's own tokens were wrong too often: try again in %lld "
		"ms",
		(long long)wait_msec);
}

static void asker_end(struct otpd *o, const char *key, bool is_right)
{
	pthread_mutex_lock(&o->lock);
	if (is_right)
		throttle_forget(o->askers, key);
	else
		throttle_give_back(o->askers, key);
	pthread_mutex_unlock(&o->lock);
}

/* The asker's own token serves for its whole 30 s; who is wrong learns no detail. */
static int check_asker(struct otpd *o, const struct otp_login *asker, const char *peer,
	const struct strv *realms, struct err *e)
{
	CLEANUP_STR char *key = asker_key(asker, peer);
	enum account_answer answer = ACCOUNT_UNKNOWN;
	if (asker_begin(o, key, e))
		return -1;
	if (strv_has(realms, asker->realm) &&
		account_verify(&o->accounts, asker->realm, asker->name, asker->token,
			clock_unix_sec(), false, &answer, e)) {
		asker_end(o, key, false);
		return -1;
	}
	if (answer == ACCOUNT_OK) {
		asker_end(o, key, true);
		return 0;
	}
	log_warn("asker refused name=%s realm=%s reason=%s", asker->name, asker->realm,
		strv_has(realms, asker->realm) ? account_answer_names[answer]
					       : "realm may not do this");
	return err_set(e, ERR_DENIED,
		"the asking service's own name, realm and token were not accepted for "
		"this");
}

/* An asker that is refused is told so in the protocol's words; all else as a problem. */
static void answer_refusal(struct httpd_req *req, const struct err *e)
{
	if (e->kind != ERR_DENIED) {
		httpd_answer_err(req, e);
		return;
	}
	httpd_answer_json(req, 403,
		json_pack("{s:s, s:s, s:s}", "status", "FAIL", "reason", "asker",
			"detail", e->msg));
}

static void verify(struct otpd *o, struct httpd_req *req)
{
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e = { 0 };
	size_t size;
	const char *body = httpd_body(req, &size);
	enum account_answer answer;
	if (otp_verify_parse(body, size, &q, &e) ||
		check_asker(o, &q.asker, httpd_peer(req), &o->conf->realm_verify, &e) ||
		account_verify(&o->accounts, q.subject.realm, q.subject.name,
			q.subject.token, clock_unix_sec(), true, &answer, &e)) {
		metric_add(&checks, err_kind_name(e.kind), 1);
		answer_refusal(req, &e);
		return;
	}
	metric_add(&checks, account_answer_names[answer], 1);
	log_info("asked name=%s realm=%s asker=%s answer=%s", q.subject.name,
		q.subject.realm, q.asker.name, account_answer_names[answer]);
	if (answer == ACCOUNT_OK)
		httpd_answer_json(req, 200, json_pack("{s:s}", "status", "OK"));
	else
		httpd_answer_json(req, 403,
			json_pack("{s:s, s:s}", "status", "FAIL", "reason",
				account_answer_names[answer]));
}

static void add_to_list(void *aux, const struct account *a, bool is_valid)
{
	json_t *list = aux;
	if (is_valid)
		json_array_append_new(list,
			json_pack("{s:s, s:s}", "name", a->name, "realm", a->realm));
}

static json_t *manage_add(struct otpd *o, const struct otp_login *who, struct err *e)
{
	char *seed = NULL;
	if (account_add(&o->accounts, who->realm, who->name, NULL, clock_unix_sec(),
		    &seed, e))
		return NULL;
	CLEANUP_STR char *uri = account_uri(who->realm, who->name, seed);
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s}", "name", who->name, "realm",
		who->realm, "seed", seed, "uri", uri);
	secret_wipe(seed);
	free(seed);
	return answer;
}

static json_t *manage_delete(struct otpd *o, const struct otp_login *who, struct err *e)
{
	struct err why = { 0 };
	if (account_delete(&o->accounts, who->realm, who->name, e))
		return NULL;
	if (account_end_sessions(&o->accounts, who->realm, who->name, &why))
		log_warn("the sessions of a deleted user go on: %s name=%s realm=%s",
			why.msg, who->name, who->realm);
	return json_pack("{s:s}", "status", "OK");
}

static json_t *manage_list(struct otpd *o, const struct otp_login *who, struct err *e)
{
	json_t *list = json_array();
	const char *realm = str_is_empty(who->realm) ? NULL : who->realm;
	if (account_each(&o->accounts, realm, add_to_list, list, e)) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:o}", "users", list);
}

static const struct {
	const char *path;
	bool need_subject;
	json_t *(*run)(struct otpd *o, const struct otp_login *who, struct err *e);
} manage_verbs[] = {
	{ "/user/add", true, manage_add },
	{ "/user/delete", true, manage_delete },
	{ "/user/list", false, manage_list },
};

static void manage(struct otpd *o, struct httpd_req *req, size_t verb)
{
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e = { 0 };
	size_t size;
	const char *body = httpd_body(req, &size);
	json_t *answer = NULL;
	if (!otp_manage_parse(body, size, manage_verbs[verb].need_subject, &q, &e) &&
		!check_asker(o, &q.asker, httpd_peer(req), &o->conf->realm_manage, &e))
		answer = manage_verbs[verb].run(o, &q.subject, &e);
	if (!answer) {
		answer_refusal(req, &e);
		return;
	}
	log_info("managed what=%s name=%s realm=%s by=%s", manage_verbs[verb].path,
		q.subject.name ? q.subject.name : "",
		q.subject.realm ? q.subject.realm : "", q.asker.name);
	httpd_answer_json(req, 200, answer);
}

/* Does the path end in `end`, a last slash aside? */
static bool path_ends(const char *path, const char *end)
{
	size_t len = strlen(path);
	if (len > 1 && path[len - 1] == '/')
		len--;
	size_t end_len = strlen(end);
	return len >= end_len && !strncmp(path + len - end_len, end, end_len);
}

static enum httpd_result handle(void *aux, struct httpd_req *req)
{
	struct otpd *o = aux;
	const char *path = httpd_path(req);
	struct err e;
	if (!str_eq(httpd_method(req), "POST")) {
		httpd_add_header(req, "Allow", "POST");
		httpd_answer(req, 405, "text/plain", "POST only\n", 10);
		return HTTPD_ANSWERED;
	}
	if (path_ends(path, "/verify")) {
		verify(o, req);
		return HTTPD_ANSWERED;
	}
	for (size_t i = 0; i < ARRAY_LEN(manage_verbs); i++)
		if (path_ends(path, manage_verbs[i].path)) {
			manage(o, req, i);
			return HTTPD_ANSWERED;
		}
	err_set(&e, ERR_NOT_FOUND,
		"%s is not served here; tokens are verified at /verify/", path);
	httpd_answer_err(req, &e);
	return HTTPD_ANSWERED;
}

int otpd_open(const struct otp_conf *conf, struct otpd **out, struct err *e)
{
	struct err why = { 0 };
	struct otpd *o = xcalloc(1, sizeof(*o));
	o->conf = conf;
	pthread_mutex_init(&o->lock, NULL);
	o->askers = throttle_new(&asker_conf);
	metric_register(&checks);
	const char *exposed = httpd_exposed(&conf->listen);
	if (exposed && str_is_empty(conf->tls_cert))
		log_warn(
			"ucloud-otp listens on %s without TLS: tokens can be read on the "
			"way; set tls_cert and tls_key, or listen on [::1]",
			exposed);
	struct httpd_conf hc = { .listen = &conf->listen,
		.default_port = DEFAULT_PORT,
		.cert_file = conf->tls_cert,
		.key_file = conf->tls_key };
	if (seal_key_read(conf->key_file, false, o->accounts.key, e) ||
		kv_etcd_open(&conf->etcd, &o->kv, e)) {
		otpd_close(o);
		return -1;
	}
	o->accounts.kv = o->kv;
	if (httpd_open(&hc, handle, o, &o->httpd, e)) {
		otpd_close(o);
		return -1;
	}
	/* That no etcd answers is said now, not at the first question. */
	if (otpd_health(o, &why) && !why.is_logged)
		log_warn("%s", why.msg);
	*out = o;
	return 0;
}

void otpd_close(struct otpd *o)
{
	if (!o)
		return;
	if (o->httpd)
		httpd_close(o->httpd);
	if (o->kv)
		kv_close(o->kv);
	throttle_free(o->askers);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

int otpd_health(struct otpd *o, struct err *e)
{
	int64_t n;
	return kv_count(o->kv, KEY_OTP, &n, e);
}

uint16_t otpd_port(const struct otpd *o)
{
	return httpd_port(o->httpd, 0);
}
