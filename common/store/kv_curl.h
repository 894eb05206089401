/*
 * HTTP POSTs for kv_conn.h: a pool of curl handles, each with a kept-alive connection. At
 * most KV_CURL_MAX calls are under way at once, more wait; few handles are kept when idle.
 * Any thread.
 */
#ifndef UCLOUD_KV_CURL_H
#define UCLOUD_KV_CURL_H

#include <curl/curl.h>

#include "common/base/buf.h"
#include "common/store/kv_etcd.h"

#define KV_CURL_MAX	 64
#define KV_CURL_MAX_IDLE 8
/* While the daemon is stopping (daemon.h) a call takes no longer: what hangs would hold up
 * its end. */
#define KV_CURL_HURRY_MSEC 1000
/* Of one answer, and of one line of a watch. */
#define KV_CURL_MAX_SIZE (64 * 1024 * 1024)

struct kv_curl;

/* conf is borrowed for as long as the pool lives. */
struct kv_curl *kv_curl_new(const struct etcd_conf *conf);
void kv_curl_free(struct kv_curl *p); /* NULL is fine */

/* How far a POST came. */
enum kv_fate {
	KV_FATE_ANSWERED,
	KV_FATE_UNSENT, /* the server cannot have acted on it */
	KV_FATE_LOST	/* it may have */
};

struct kv_post {
	const char *url;
	const char *token; /* NULL none */
	const char *body;
	size_t size;
	bool is_once; /* under no circumstances to be sent twice */
	int64_t limit_msec;
};

/* Status and answer are set when it was ANSWERED, else e is. answer is cleared first. */
enum kv_fate kv_curl_post(struct kv_curl *p, const struct kv_post *post, int *status,
	struct buf *answer, struct err *e);

/* For streams: a handle of one's own with all common settings, no time limit but for
 * connecting, and its request headers; both the caller's. */
CURL *kv_curl_easy_new(struct kv_curl *p);
struct curl_slist *kv_curl_headers_new(const char *token);
void kv_curl_headers_free_ptr(struct curl_slist **h);
/* The error of a finished transfer as a sentence; error_text is CURLOPT_ERRORBUFFER's. */
int kv_curl_set_err(struct err *e, CURLcode code, const char *error_text);

#endif
