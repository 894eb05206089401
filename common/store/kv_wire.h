/*
 * The wire format of etcd's JSON gateway: requests are built here, in one place, and
 * answers and errors are understood here. Pure; any thread.
 *
 * What the gateway is like (etcd 3.4 to 3.6): 64-bit numbers are strings; zero values are
 * left out, so absent means zero; keys and values are base64. An unknown member of a
 * request is ignored silently: a misspelt "compare" would make a write unconditional.
 * Foreign keys with NUL bytes are left out of all answers.
 */
#ifndef UCLOUD_KV_WIRE_H
#define UCLOUD_KV_WIRE_H

#include "common/base/buf.h"
#include "common/store/kv_impl.h"

#define KV_WIRE_RANGE	  "/v3/kv/range"
#define KV_WIRE_TXN	  "/v3/kv/txn"
#define KV_WIRE_GRANT	  "/v3/lease/grant"
#define KV_WIRE_KEEPALIVE "/v3/lease/keepalive"
#define KV_WIRE_REVOKE	  "/v3/lease/revoke"
#define KV_WIRE_WATCH	  "/v3/watch"
#define KV_WIRE_LOGIN	  "/v3/auth/authenticate"

/* Each appends one JSON object. */
void kv_wire_format_range(const struct kv_range_req *req, struct buf *out);
void kv_wire_format_txn(const struct kv_txn *t, struct buf *out);
void kv_wire_format_grant(int64_t ttl_sec, struct buf *out);
void kv_wire_format_lease(int64_t lease, struct buf *out); /* keepalive, revoke */
void kv_wire_format_watch(const struct kv_watch_req *req, struct buf *out);
void kv_wire_format_login(const char *user, const char *password, struct buf *out);
/* A read that costs next to nothing and needs no leader. */
void kv_wire_format_probe(struct buf *out);

/* The head of an answer: which store, and its revision when it answered. */
struct kv_wire_head {
	char cluster_id[24]; /* decimal, 64 bits without sign; "" when absent */
	int64_t rev;
};

/* Each: 0, or < 0 (ERR_UNAVAILABLE: this is not etcd's answer). */
int kv_wire_parse_range(const char *s, size_t size, struct kv_wire_head *head,
	struct kv_list *out, int64_t *count, struct err *e) MUST_USE;
/* t is the transaction that was sent. */
int kv_wire_parse_txn(const char *s, size_t size, const struct kv_txn *t,
	struct kv_wire_head *head, struct kv_txn_result *out, struct err *e) MUST_USE;
int kv_wire_parse_grant(
	const char *s, size_t size, int64_t *lease, struct err *e) MUST_USE;
/* *ttl_sec 0: the lease is lost. */
int kv_wire_parse_keepalive(
	const char *s, size_t size, int64_t *ttl_sec, struct err *e) MUST_USE;
int kv_wire_parse_login(const char *s, size_t size, char **token, struct err *e) MUST_USE;

/* One line of a watch. */
struct kv_wire_watch {
	struct kv_wire_head head;
	bool is_created, is_canceled;
	int64_t compact_rev; /* with is_canceled: not 0 when compaction was the reason */
	char *reason;	     /* with is_canceled: may be NULL */
	/* rev: that of the last event, or of the head when there is none. */
	struct kv_events events;
};

int kv_wire_parse_watch(
	const char *s, size_t size, struct kv_wire_watch *out, struct err *e) MUST_USE;
void kv_wire_watch_done(struct kv_wire_watch *w);

/*
 * What an answer means for the one who asked. For a transaction the difference between
 * REFUSED and ELSEWHERE (surely not applied) and UNSURE and LOST (perhaps applied) decides
 * whether it may be sent again.
 */
enum kv_verdict {
	KV_VERDICT_OK,	      /* read the answer */
	KV_VERDICT_COMPACTED, /* the revision asked for is gone */
	KV_VERDICT_REFUSED,   /* not applied; any endpoint would say the same */
	KV_VERDICT_LOGIN,     /* not applied; needs a new token */
	KV_VERDICT_ELSEWHERE, /* not applied; another endpoint may do it */
	KV_VERDICT_UNSURE,    /* perhaps applied; the endpoint works */
	KV_VERDICT_LOST	      /* perhaps applied; the endpoint does not work */
};

/* http_status and body of an answer; e is filled unless the verdict is OK. */
enum kv_verdict kv_wire_judge(
	int http_status, const char *body, size_t size, struct err *e);

/*
 * Splits a stream into lines. Valid when zeroed but for max_size, the longest line that is
 * accepted.
 */
struct kv_lines {
	struct buf buf;
	size_t begin;	/* of the first line that was not taken yet */
	size_t scanned; /* up to here there is no newline behind begin */
	size_t max_size;
};

/* < 0: the line under way is longer than max_size (ERR_TOO_LARGE). */
int kv_lines_add(struct kv_lines *l, const void *p, size_t size, struct err *e) MUST_USE;
/* The next complete line without its newline, borrowed until the next call of any of these;
 * NULL: none yet. */
const char *kv_lines_next(struct kv_lines *l, size_t *size);
void kv_lines_done(struct kv_lines *l);

#endif
