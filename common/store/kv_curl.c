#include "common/store/kv_curl.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/daemon.h"
#include "common/base/http.h"
#include "common/store/cond.h"

#define CONNECT_MSEC 2000
/* A dead peer is noticed within about ten seconds, also while nothing is said. */
#define KEEP_IDLE_SEC	  5
#define KEEP_INTERVAL_SEC 3
#define USER_TIMEOUT_MSEC 10000

struct kv_curl {
	const struct etcd_conf *conf;
	pthread_mutex_t lock;
	pthread_cond_t cond; /* n_busy went down */
	CURL *idle[KV_CURL_MAX_IDLE];
	size_t n_idle, n_busy;
};

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct kv_curl *kv_curl_new(const struct etcd_conf *conf)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct kv_curl *p = xcalloc(1, sizeof(*p));

	pthread_once(&once, curl_start);
	p->conf = conf;
	pthread_mutex_init(&p->lock, NULL);
	cond_init(&p->cond);
	return p;
}

void kv_curl_free(struct kv_curl *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_idle; i++)
		curl_easy_cleanup(p->idle[i]);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---------------------------------------------------------------- handles */

static int set_sockopts(void *aux, curl_socket_t fd, curlsocktype purpose)
{
	unsigned msec = USER_TIMEOUT_MSEC;

	(void)aux;
	/* What was sent and not acknowledged in time ends the connection. */
	if (purpose == CURLSOCKTYPE_IPCXN)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof(msec));
	return CURL_SOCKOPT_OK;
}

static void set_tls(CURL *easy, const struct etcd_conf *conf)
{
	if (conf->ca_file) { /* this authority and no other */
		curl_easy_setopt(easy, CURLOPT_CAINFO, conf->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (conf->cert_file)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, conf->cert_file);
	if (conf->key_file)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, conf->key_file);
}

CURL *kv_curl_easy_new(struct kv_curl *p)
{
	CURL *easy = curl_easy_init();

	if (!easy)
		abort(); /* out of memory, as everywhere */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEP_IDLE_SEC);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEP_INTERVAL_SEC);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, set_sockopts);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MSEC);
	set_tls(easy, p->conf);
	return easy;
}

/* NULL when the time is up. */
static CURL *take_handle(struct kv_curl *p, int64_t limit_msec)
{
	struct timespec end = cond_deadline(limit_msec);
	CURL *easy = NULL;

	pthread_mutex_lock(&p->lock);
	while (p->n_busy >= KV_CURL_MAX && cond_wait_until(&p->cond, &p->lock, &end))
		;
	if (p->n_busy >= KV_CURL_MAX) {
		pthread_mutex_unlock(&p->lock);
		return NULL;
	}
	p->n_busy++;
	if (p->n_idle > 0)
		easy = p->idle[--p->n_idle];
	pthread_mutex_unlock(&p->lock);
	return easy ? easy : kv_curl_easy_new(p);
}

static void put_handle(struct kv_curl *p, CURL *easy)
{
	pthread_mutex_lock(&p->lock);
	p->n_busy--;
	if (p->n_idle < KV_CURL_MAX_IDLE)
		p->idle[p->n_idle++] = MOVE(easy);
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	curl_easy_cleanup(easy);
}

/* ---------------------------------------------------------------- one POST */

static struct curl_slist *add_header(struct curl_slist *h, const char *line)
{
	struct curl_slist *more = curl_slist_append(h, line);

	if (!more)
		abort(); /* out of memory */
	return more;
}

struct curl_slist *kv_curl_headers_new(const char *token)
{
	struct curl_slist *h = NULL;

	h = add_header(h, "Content-Type: application/json");
	h = add_header(h, "Expect:");
	/* A member that knows no leader says so at once, and ends its watches. */
	h = add_header(h, "Grpc-Metadata-Hasleader: true");
	if (!str_is_empty(token)) {
		CLEANUP_STR char *line = xasprintf("Authorization: %s", token);

		h = add_header(h, line);
	}
	return h;
}

void kv_curl_headers_free_ptr(struct curl_slist **h)
{
	curl_slist_free_all(*h);
	*h = NULL;
}

struct body {
	const char *p;
	size_t left;
	size_t n_given; /* how many bytes curl has asked for */
};

static size_t give_body(char *to, size_t size, size_t n, void *aux)
{
	struct body *b = aux;
	size_t max = size * n;

	if (max > b->left)
		max = b->left;
	memcpy(to, b->p, max);
	b->p += max;
	b->left -= max;
	b->n_given += max;
	return max;
}

struct answer {
	struct buf *buf;
	bool is_too_large;
};

static size_t take_answer(char *p, size_t size, size_t n, void *aux)
{
	struct answer *a = aux;

	if (a->buf->size + size * n > KV_CURL_MAX_SIZE) {
		a->is_too_large = true;
		return 0;
	}
	buf_add(a->buf, p, size * n);
	return size * n;
}

/*
 * When a kept-alive connection ends without a byte of an answer, libcurl sends the request
 * again on a new one. The server may have acted on the first, so that would be the same
 * transaction twice. It cannot do so with a body out of a callback that cannot be rewound
 * (CURLE_SEND_FAIL_REWIND). And a server that got no byte of the body has done nothing.
 */
static void set_body(CURL *easy, const struct kv_post *post, struct body *body)
{
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->size);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post->is_once ? NULL : post->body);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, post->is_once ? give_body : NULL);
	curl_easy_setopt(easy, CURLOPT_READDATA, post->is_once ? body : NULL);
}

int kv_curl_set_err(struct err *e, CURLcode code, const char *error_text)
{
	char text[CURL_ERROR_SIZE];

	snprintf(text, sizeof(text), "%s",
		error_text[0] ? error_text : curl_easy_strerror(code));
	http_drop_times(text);
	switch (code) {
	case CURLE_ABORTED_BY_CALLBACK:
		return err_set(e, ERR_TIMEOUT, "no answer, and no time to wait for it");
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(e, ERR_TIMEOUT, "no answer in time (%s)", text);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
		return err_set(e, ERR_UNAVAILABLE, "TLS: %s", text);
	case CURLE_GOT_NOTHING:
		return err_set(e, ERR_UNAVAILABLE,
			"the connection was closed without an answer (is it HTTPS that "
			"is spoken there?)");
	default:
		return err_set(e, ERR_UNAVAILABLE, "%s", text);
	}
}

/* With TLS 1.3 a server that misses our certificate says so after the handshake, or just
 * hangs up, whichever reaches us first. */
static void set_failed(struct kv_curl *p, const struct kv_post *post, CURLcode code,
	const char *text, struct err *e)
{
	(void)kv_curl_set_err(e, code, text);
	if (p->conf->cert_file || !str_has_prefix(post->url, "https://"))
		return;
	if (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR ||
		code == CURLE_GOT_NOTHING || code == CURLE_SSL_CONNECT_ERROR)
		(void)err_set(e, e->kind,
			"TLS: %s (does it ask for a client certificate? Then set "
			"etcd_cert and etcd_key)",
			text[0] ? text : curl_easy_strerror(code));
}

/* libcurl asks at least once a second. */
static int on_progress(void *aux, curl_off_t dl_total, curl_off_t dl_now,
	curl_off_t ul_total, curl_off_t ul_now)
{
	int64_t *since_msec = aux, now = clock_mono_msec();

	(void)dl_total, (void)dl_now, (void)ul_total, (void)ul_now;
	if (!daemon_is_stopping())
		return 0;
	if (*since_msec == 0)
		*since_msec = now;
	return now - *since_msec >= KV_CURL_HURRY_MSEC;
}

static enum kv_fate perform(struct kv_curl *p, CURL *easy, const struct kv_post *post,
	int *status, struct buf *answer, struct err *e)
{
	CLEANUP(kv_curl_headers_free_ptr)
	struct curl_slist *headers = kv_curl_headers_new(post->token);
	struct body body = { .p = post->body, .left = post->size };
	struct answer to = { .buf = answer };
	char text[CURL_ERROR_SIZE] = "";
	CURLcode code;
	long http_status = 0;
	int64_t stopping_msec = 0;

	buf_clear(answer);
	set_body(easy, post, &body);
	curl_easy_setopt(easy, CURLOPT_URL, post->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &to);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)post->limit_msec);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &stopping_msec);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	code = curl_easy_perform(easy);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http_status);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
	if (code == CURLE_OK) {
		*status = (int)http_status;
		return KV_FATE_ANSWERED;
	}
	if (to.is_too_large)
		(void)err_set(e, ERR_TOO_LARGE, "etcd answers with more than %d MiB",
			KV_CURL_MAX_SIZE / 1024 / 1024);
	else
		set_failed(p, post, code, text, e);
	return post->is_once && body.n_given == 0 ? KV_FATE_UNSENT : KV_FATE_LOST;
}

enum kv_fate kv_curl_post(struct kv_curl *p, const struct kv_post *post, int *status,
	struct buf *answer, struct err *e)
{
	CURL *easy = take_handle(p, post->limit_msec);
	enum kv_fate fate;

	if (!easy) {
		(void)err_set(e, ERR_TIMEOUT, "%d calls of etcd are already under way",
			KV_CURL_MAX);
		return KV_FATE_UNSENT;
	}
	fate = perform(p, easy, post, status, answer, e);
	put_handle(p, easy);
	return fate;
}
