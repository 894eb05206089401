#include "common/store/kv_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/crypt.h"
#include "common/base/daemon.h"
#include "common/base/http.h"
#include "common/base/log.h"
#include "common/base/parse.h"
#include "common/store/kv_token.h"
#include "common/store/kv_wire.h"

#define LIMIT_SEC 5
/* How long an endpoint that failed is only tried after the others. */
#define AVOID_MSEC 5000
/* A long outage is said again. */
#define SAY_AGAIN_MSEC (5 * 60 * 1000)
/* Between two rounds while etcd elects a leader. */
#define ROUND_MSEC    100
#define MAX_ENDPOINTS 32 /* bits of a uint32_t */
#define MAX_ROUNDS    100

struct endpoint {
	char *url;
	/* Atomic. */
	int64_t worked_msec, failed_msec;
};

struct kv_conn {
	struct etcd_conf conf;
	struct kv_curl *curl;
	struct endpoint *ends;
	size_t n_ends;
	size_t in_use; /* atomic */
	/* Atomic; 0: some endpoint answers. Else since when none does, and when that was said. */
	int64_t down_msec, said_msec;
	struct kv_token *token;
};

static int call_until(struct kv_conn *c, const struct kv_call *call, bool want_token,
	int64_t end_msec, struct buf *answer, struct err *e);
static kv_token_fn log_in;

/* ---------------------------------------------------------------- configuration */

static void conf_copy(const struct etcd_conf *from, struct etcd_conf *to)
{
	*to = (struct etcd_conf){ .limit_sec = from->limit_sec,
		.is_quiet = from->is_quiet };
	to->ca_file = str_is_empty(from->ca_file) ? NULL : xstrdup(from->ca_file);
	to->cert_file = str_is_empty(from->cert_file) ? NULL : xstrdup(from->cert_file);
	to->key_file = str_is_empty(from->key_file) ? NULL : xstrdup(from->key_file);
	to->user = str_is_empty(from->user) ? NULL : xstrdup(from->user);
	to->password = xstrdup(from->password);
	if (to->limit_sec <= 0)
		to->limit_sec = LIMIT_SEC;
}

static void conf_free(struct etcd_conf *conf)
{
	strv_done(&conf->url);
	free(conf->ca_file);
	free(conf->cert_file);
	free(conf->key_file);
	free(conf->user);
	secret_wipe(conf->password);
	free(conf->password);
}

/* A complete URL without a path, or an error that says what it should look like. */
static int url_check(const char *given, char **out, struct err *e)
{
	CLEANUP_STR char *url = url_complete(given, "http", 2379);
	CURLU *u = curl_url();
	char *host = NULL;
	bool is_good =
		u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		(str_has_prefix(url, "http://") || str_has_prefix(url, "https://")) &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;

	curl_free(host);
	curl_url_cleanup(u);
	if (!is_good)
		return err_set_field(e, ERR_INVALID, "etcd_url",
			"etcd_url \"%s\" is no address of etcd: write http://HOST:2379, "
			"https://HOST:2379 or [2001:db8::1]",
			given);
	while (str_has_suffix(url, "/"))
		url[strlen(url) - 1] = '\0';
	*out = MOVE(url);
	return 0;
}

static int file_check(const char *name, const char *path, struct err *e)
{
	FILE *f = path ? fopen(path, "re") : NULL;

	if (path && !f) {
		(void)err_errno(e, errno, "%s %s", name, path);
		return err_set_field(e, ERR_INVALID, name, "cannot read %s", e->msg);
	}
	if (f)
		fclose(f);
	return 0;
}

static int conf_valid(const struct etcd_conf *conf, struct err *e)
{
	if (conf->url.len == 0)
		return err_set_field(e, ERR_INVALID, "etcd_url",
			"etcd_url is missing: the address of an etcd, for example [::1]");
	if (conf->url.len > MAX_ENDPOINTS)
		return err_set_field(e, ERR_INVALID, "etcd_url",
			"etcd_url is given %zu times, at most %d are allowed",
			conf->url.len, MAX_ENDPOINTS);
	if (!str_is_empty(conf->cert_file) != !str_is_empty(conf->key_file))
		return err_set_field(e, ERR_INVALID, "etcd_cert",
			"etcd_cert and etcd_key go together: give both or none");
	if (!str_is_empty(conf->user) != !str_is_empty(conf->password))
		return err_set_field(e, ERR_INVALID, "etcd_user",
			"etcd_user and etcd_password go together: give both or none");
	if (conf->user &&
		(!str_is_text(conf->user, strlen(conf->user), false) ||
			!str_is_text(conf->password, strlen(conf->password), false)))
		return err_set_field(e, ERR_INVALID, "etcd_user",
			"etcd_user and etcd_password must be UTF-8 without control "
			"characters");
	if (file_check("etcd_ca", conf->ca_file, e) < 0 ||
		file_check("etcd_cert", conf->cert_file, e) < 0 ||
		file_check("etcd_key", conf->key_file, e) < 0)
		return -1;
	return 0;
}

int kv_conn_open(const struct etcd_conf *conf, struct kv_conn **out, struct err *e)
{
	struct etcd_conf copy;
	struct kv_conn *c;

	conf_copy(conf, &copy);
	c = xcalloc(1, sizeof(*c));
	c->conf = copy;
	strv_copy(&c->conf.url, &conf->url);
	c->token = kv_token_new(log_in, c);
	c->curl = kv_curl_new(&c->conf);
	if (conf_valid(&c->conf, e) < 0)
		goto fail;
	c->ends = xcalloc(conf->url.len, sizeof(*c->ends));
	for (size_t i = 0; i < conf->url.len; i++, c->n_ends++)
		if (url_check(conf->url.v[i], &c->ends[i].url, e) < 0)
			goto fail;
	*out = c;
	return 0;
fail:
	kv_conn_close(c);
	return -1;
}

void kv_conn_close(struct kv_conn *c)
{
	if (!c)
		return;
	kv_curl_free(c->curl);
	for (size_t i = 0; i < c->n_ends; i++)
		free(c->ends[i].url);
	free(c->ends);
	conf_free(&c->conf);
	kv_token_free(c->token);
	free(c);
}

/* ---------------------------------------------------------------- endpoints */

int64_t kv_conn_limit_msec(const struct kv_conn *c)
{
	int64_t msec = c->conf.limit_sec * 1000;

	return daemon_is_stopping() && msec > KV_CURL_HURRY_MSEC ? KV_CURL_HURRY_MSEC
								 : msec;
}

struct kv_curl *kv_conn_curl(struct kv_conn *c)
{
	return c->curl;
}

size_t kv_conn_n_endpoints(const struct kv_conn *c)
{
	return c->n_ends;
}

const char *kv_conn_url(const struct kv_conn *c, size_t endpoint)
{
	return c->ends[endpoint].url;
}

int64_t kv_conn_worked_msec(struct kv_conn *c, size_t endpoint)
{
	return __atomic_load_n(&c->ends[endpoint].worked_msec, __ATOMIC_RELAXED);
}

int64_t kv_conn_failed_msec(struct kv_conn *c, size_t endpoint)
{
	return __atomic_load_n(&c->ends[endpoint].failed_msec, __ATOMIC_RELAXED);
}

static bool is_bad(struct kv_conn *c, size_t i)
{
	int64_t failed = kv_conn_failed_msec(c, i);

	return failed > 0 && kv_conn_worked_msec(c, i) <= failed &&
	       clock_mono_msec() - failed < AVOID_MSEC;
}

size_t kv_conn_pick(struct kv_conn *c, uint32_t *tried)
{
	size_t first = __atomic_load_n(&c->in_use, __ATOMIC_RELAXED);
	size_t best = c->n_ends;

	for (size_t i = 0; i < c->n_ends; i++) {
		size_t end = (first + i) % c->n_ends;

		if (*tried & 1u << end)
			continue;
		if (best == c->n_ends || !is_bad(c, end))
			best = end;
		if (!is_bad(c, best))
			break;
	}
	assert(best < c->n_ends);
	*tried |= 1u << best;
	return best;
}

void kv_conn_worked(struct kv_conn *c, size_t endpoint)
{
	size_t before = __atomic_load_n(&c->in_use, __ATOMIC_RELAXED);

	__atomic_store_n(
		&c->ends[endpoint].worked_msec, clock_mono_msec(), __ATOMIC_RELAXED);
	if (before != endpoint && is_bad(c, before) &&
		__atomic_compare_exchange_n(&c->in_use, &before, endpoint, false,
			__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		log_warn("etcd endpoint changed from=%s to=%s", c->ends[before].url,
			c->ends[endpoint].url);
}

void kv_conn_failed(struct kv_conn *c, size_t endpoint, const struct err *e)
{
	__atomic_store_n(
		&c->ends[endpoint].failed_msec, clock_mono_msec(), __ATOMIC_RELAXED);
	log_debug("etcd endpoint failed: %s url=%s", e->msg, c->ends[endpoint].url);
}

/* Sets *msec from what it was to now, when nobody else was faster. */
static bool set_now(int64_t *msec, int64_t was, int64_t now)
{
	return __atomic_compare_exchange_n(
		msec, &was, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void kv_conn_none_answers(struct kv_conn *c, struct err *e)
{
	int64_t now = clock_mono_msec();
	int64_t said = __atomic_load_n(&c->said_msec, __ATOMIC_RELAXED);
	bool is_new;

	if (c->conf.is_quiet)
		return;
	is_new = set_now(&c->down_msec, 0, now);
	if (is_new || now - said >= SAY_AGAIN_MSEC)
		if (set_now(&c->said_msec, said, now))
			log_warn("%s; trying until one does", e->msg);
	e->is_logged = true;
}

static void one_answers(struct kv_conn *c)
{
	int64_t down = __atomic_exchange_n(&c->down_msec, 0, __ATOMIC_RELAXED);

	if (down)
		log_info("etcd answers again down_sec=%lld",
			(long long)(clock_mono_msec() - down) / 1000);
}

/* ---------------------------------------------------------------- logging in */

static int log_in(void *aux, int64_t end_msec, char **token, struct err *e)
{
	struct kv_conn *c = aux;
	CLEANUP(buf_done) struct buf body = { 0 };
	CLEANUP(buf_done) struct buf answer = { 0 };
	struct kv_call call = { .path = KV_WIRE_LOGIN, .body = &body };
	int r;

	kv_wire_format_login(c->conf.user, c->conf.password, &body);
	r = call_until(c, &call, false, end_msec, &answer, e);
	secret_wipe(body.s);
	if (r < 0 && e->kind == ERR_CONFLICT) { /* authentication is not enabled */
		*token = xstrdup("");
		return 0;
	}
	if (r == 0)
		r = kv_wire_parse_login(buf_str(&answer), answer.size, token, e);
	if (r == 0)
		return 0;
	return err_wrap(e, "logging in to etcd as %s", c->conf.user);
}

int kv_conn_token(struct kv_conn *c, int64_t end_msec, char **token, unsigned *serial,
	struct err *e)
{
	if (!c->conf.user)
		return 0;
	return kv_token_get(c->token, end_msec, token, serial, e);
}

int kv_conn_renew(struct kv_conn *c, int64_t end_msec, unsigned serial, struct err *e)
{
	if (!c->conf.user)
		return err_set(e, ERR_UNAUTHENTICATED,
			"etcd wants a user and a password: set etcd_user and "
			"etcd_password");
	return kv_token_renew(c->token, end_msec, serial, e);
}

/* ---------------------------------------------------------------- calls */

/* What trying one endpoint came to; results >= 0 and TRY_ERR are final. */
enum { TRY_ERR = -1, TRY_NEXT = -2, TRY_LATER = -3, TRY_LOGIN = -4 };

struct attempt {
	struct kv_conn *c;
	const struct kv_call *call;
	bool want_token;
	int64_t end_msec;
	struct buf *answer;
	unsigned serial; /* of the token that was used */
};

static int judge(struct attempt *a, size_t end, int status, struct err *e)
{
	enum kv_verdict v = kv_wire_judge(status, buf_str(a->answer), a->answer->size, e);

	if (v == KV_VERDICT_LOST || v == KV_VERDICT_ELSEWHERE)
		kv_conn_failed(a->c, end, e);
	else
		kv_conn_worked(a->c, end);
	switch (v) {
	case KV_VERDICT_OK:
		return 0;
	case KV_VERDICT_COMPACTED:
		return KV_COMPACTED;
	case KV_VERDICT_REFUSED:
		return TRY_ERR;
	case KV_VERDICT_LOGIN:
		return TRY_LOGIN;
	case KV_VERDICT_ELSEWHERE:
		return TRY_LATER;
	case KV_VERDICT_UNSURE:
		return a->call->is_write ? KV_UNKNOWN : TRY_ERR;
	case KV_VERDICT_LOST: /* somebody is there: it may be an election */
		break;
	}
	return a->call->is_write ? KV_UNKNOWN : TRY_LATER;
}

static int post_once(struct attempt *a, size_t end, int64_t limit_msec, struct err *e)
{
	CLEANUP_STR char *url = xasprintf("%s%s", a->c->ends[end].url, a->call->path);
	CLEANUP_STR char *token = NULL;
	struct kv_post post = { .url = url,
		.body = buf_str(a->call->body),
		.size = a->call->body->size,
		.is_once = a->call->is_write,
		.limit_msec = limit_msec };
	int status;

	if (a->want_token && kv_conn_token(a->c, a->end_msec, &token, &a->serial, e) < 0)
		return TRY_ERR;
	post.token = token;
	switch (kv_curl_post(a->c->curl, &post, &status, a->answer, e)) {
	case KV_FATE_ANSWERED:
		return judge(a, end, status, e);
	case KV_FATE_UNSENT:
		kv_conn_failed(a->c, end, e);
		return TRY_NEXT;
	case KV_FATE_LOST:
		break;
	}
	if (e->kind == ERR_TOO_LARGE)
		return a->call->is_write ? KV_UNKNOWN : TRY_ERR;
	kv_conn_failed(a->c, end, e);
	return a->call->is_write ? KV_UNKNOWN : TRY_NEXT;
}

static int try_endpoint(struct attempt *a, size_t end, int64_t limit_msec, struct err *e)
{
	int r = post_once(a, end, limit_msec, e);

	if (r != TRY_LOGIN)
		return r;
	if (!a->want_token)
		return TRY_ERR;
	if (kv_conn_renew(a->c, a->end_msec, a->serial, e) < 0)
		return TRY_ERR;
	r = post_once(a, end, limit_msec, e);
	return r == TRY_LOGIN ? TRY_ERR : r;
}

/* The time for one endpoint: all that is left for a write, which has one chance; a fair
 * share for a read, so that one frozen endpoint does not use it up. */
static int64_t share_of(const struct attempt *a, size_t n_left)
{
	int64_t left = a->end_msec - clock_mono_msec();

	if (!a->call->is_write)
		left /= (int64_t)n_left;
	return left > 1 ? left : 1;
}

/* For one more endpoint. */
static bool has_time(const struct attempt *a)
{
	return clock_mono_msec() < a->end_msec && !daemon_is_stopping();
}

/* Tries each endpoint once. All failed: TRY_LATER when one will work soon, else TRY_NEXT,
 * with e naming each endpoint. */
static int try_all(struct attempt *a, struct err *e)
{
	CLEANUP(buf_done) struct buf why = { 0 };
	size_t n = a->c->n_ends;
	uint32_t tried = 0;
	int result = TRY_NEXT;

	for (size_t k = 0; k < n && (k == 0 || has_time(a)); k++) {
		size_t end = kv_conn_pick(a->c, &tried);
		struct err one = { 0 };
		int r;

		r = try_endpoint(a, end, share_of(a, n - k), &one);
		if (r != TRY_NEXT && r != TRY_LATER) {
			*e = one;
			if (r != 0 && r != KV_COMPACTED)
				(void)err_wrap(e, "%s", a->c->ends[end].url);
			return r;
		}
		if (r == TRY_LATER)
			result = TRY_LATER;
		buf_addf(&why, "%s%s: %s", k > 0 ? "; " : "", a->c->ends[end].url,
			one.msg);
		e->kind = one.kind;
	}
	(void)err_set(e, e->kind == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE,
		"no etcd answers: %s", buf_str(&why));
	return result;
}

static int call_until(struct kv_conn *c, const struct kv_call *call, bool want_token,
	int64_t end_msec, struct buf *answer, struct err *e)
{
	struct attempt a = { c, call, want_token, end_msec, answer, 0 };
	struct err one = { 0 };
	int r = TRY_LATER;

	for (int i = 0; i < MAX_ROUNDS; i++) {
		one = (struct err){ 0 };
		r = try_all(&a, &one);
		if (r != TRY_LATER || clock_mono_msec() + ROUND_MSEC >= end_msec)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = ROUND_MSEC * 1000000 }, NULL);
	}
	if (r == TRY_NEXT || r == TRY_LATER)
		kv_conn_none_answers(c, &one);
	else if (r != KV_UNKNOWN && !one.is_logged)
		one_answers(c);
	if (r != 0)
		*e = one;
	return r < 0 ? -1 : r;
}

int kv_conn_call(
	struct kv_conn *c, const struct kv_call *call, struct buf *answer, struct err *e)
{
	int64_t end_msec = clock_mono_msec() + kv_conn_limit_msec(c);

	return call_until(c, call, true, end_msec, answer, e);
}
