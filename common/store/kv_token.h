/*
 * The token that etcd gave us for user and password. It is fetched when it is first needed
 * and again when it was refused; one thread at a time logs in (which costs etcd about 100 ms
 * of processor time), the others wait for its result. Any thread.
 */
#ifndef UCLOUD_KV_TOKEN_H
#define UCLOUD_KV_TOKEN_H

#include <stdint.h>

#include "common/base/err.h"

struct kv_token;

/* Logs in, until end_msec (clock_mono_msec()) at most. *token is then ours; "" when etcd
 * wants none. */
typedef int kv_token_fn(void *aux, int64_t end_msec, char **token, struct err *e);

struct kv_token *kv_token_new(kv_token_fn *fn, void *aux);
void kv_token_free(struct kv_token *t); /* NULL is fine */

/* *token is the caller's; *serial names it for kv_token_renew(). */
int kv_token_get(struct kv_token *t, int64_t end_msec, char **token, unsigned *serial,
	struct err *e) MUST_USE;
/* The token of this serial was refused. */
int kv_token_renew(
	struct kv_token *t, int64_t end_msec, unsigned serial, struct err *e) MUST_USE;

#endif
