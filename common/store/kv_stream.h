/*
 * One long POST to etcd whose answer comes line by line: the carrier of a watch. It notices
 * when its endpoint is gone: TCP keepalives find a dead machine; a small read on the side
 * finds a process that is frozen, asked only when nothing was heard from the endpoint for a
 * while, or when somebody else's call of it has failed.
 *
 * One thread uses a stream; kv_stream_wake() may come from any.
 */
#ifndef UCLOUD_KV_STREAM_H
#define UCLOUD_KV_STREAM_H

#include "common/store/kv_conn.h"
#include "common/store/kv_wire.h"

struct kv_stream;

/* Only begins to connect. token may be NULL. */
struct kv_stream *kv_stream_open(struct kv_conn *conn, size_t endpoint, const char *path,
	const char *token, const struct buf *body);
void kv_stream_close(struct kv_stream *s); /* NULL is fine */

/* Reads what has come; when that is nothing, waits until something does, at most wait_msec.
 * < 0: the stream has ended; the complete lines before that can still be taken. */
int kv_stream_wait(struct kv_stream *s, int64_t wait_msec, struct err *e) MUST_USE;
/* What kv_wire_judge() says of an answer that was no stream, else KV_VERDICT_OK. */
enum kv_verdict kv_stream_verdict(const struct kv_stream *s);
/* As kv_lines_next(). */
const char *kv_stream_line(struct kv_stream *s, size_t *size);
/* Ends a wait, now or the next one; true once for each time(s) it was called before. */
void kv_stream_wake(struct kv_stream *s);
bool kv_stream_was_woken(struct kv_stream *s);

#endif
