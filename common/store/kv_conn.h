/*
 * Calls of an etcd cluster: which endpoint to use, when to try the next one, logging in,
 * and what a failure means. Between kv_etcd*.c and kv_curl.h. Any thread.
 *
 * One endpoint is used while it is healthy. One that fails is avoided for a while; the next
 * one that works is then used. Reads are tried on every endpoint within the time limit; a
 * write is sent again only when it surely was not applied, else the result is KV_UNKNOWN.
 */
#ifndef UCLOUD_KV_CONN_H
#define UCLOUD_KV_CONN_H

#include "common/store/kv_curl.h"

struct kv_conn;

/* Checks conf, which is copied. */
int kv_conn_open(
	const struct etcd_conf *conf, struct kv_conn **out, struct err *e) MUST_USE;
void kv_conn_close(struct kv_conn *c); /* NULL is fine */

struct kv_call {
	const char *path;
	const struct buf *body;
	bool is_write; /* may have an effect that must not happen twice */
};

/* 0 with *answer (whose contents the caller must still parse), KV_UNKNOWN (only for writes; e
 * says what happened), KV_COMPACTED, < 0. */
int kv_conn_call(struct kv_conn *c, const struct kv_call *call, struct buf *answer,
	struct err *e) MUST_USE;

/*
 * For watches, which hold a stream to one endpoint.
 */
int64_t kv_conn_limit_msec(const struct kv_conn *c);
struct kv_curl *kv_conn_curl(struct kv_conn *c);
size_t kv_conn_n_endpoints(const struct kv_conn *c);
/* The best one to try of those not in the set `tried`, which it joins: the one in use comes
 * first, those known to be bad come last. */
size_t kv_conn_pick(struct kv_conn *c, uint32_t *tried);
const char *kv_conn_url(const struct kv_conn *c, size_t endpoint);
/* It failed (e says how): is avoided for a while. */
void kv_conn_failed(struct kv_conn *c, size_t endpoint, const struct err *e);
void kv_conn_worked(struct kv_conn *c, size_t endpoint);
/* No endpoint answers, and e says why: logs that, once until one does (and again every 5
 * minutes), and marks e as logged. */
void kv_conn_none_answers(struct kv_conn *c, struct err *e);
/* When it last answered anybody, and when it last failed; clock_mono_msec(), 0 never. */
int64_t kv_conn_worked_msec(struct kv_conn *c, size_t endpoint);
int64_t kv_conn_failed_msec(struct kv_conn *c, size_t endpoint);
/* The caller's; untouched when none is needed. *serial names it for kv_conn_renew(). Logs in
 * first when that was not done yet. */
int kv_conn_token(struct kv_conn *c, int64_t end_msec, char **token, unsigned *serial,
	struct err *e) MUST_USE;
/* The token of this serial was refused: gets a new one, once for all who ask. */
int kv_conn_renew(
	struct kv_conn *c, int64_t end_msec, unsigned serial, struct err *e) MUST_USE;

#endif
