/*
 * Session tokens: 32 random bytes that a client sends as `Authorization: Bearer`. The store
 * knows only their SHA-256 (`/v1/session/<sha256>`), on a lease that ends with the session.
 *
 * What was read is remembered for a minute at most, and forgotten at once when the key goes:
 * one watch per process tells. While that watch is down, nothing remembered counts. Any
 * thread.
 */
#ifndef UCLOUD_SESSIONS_H
#define UCLOUD_SESSIONS_H

#include "common/base/crypt.h"
#include "common/store/kv.h"

struct sessions;

struct session_user {
	char *name, *realm;
	int64_t expires; /* Unix time; 0 never */
};
void session_user_done(struct session_user *u);

struct sessions *sessions_new(struct kv *kv, int64_t ttl_sec);
void sessions_start(struct sessions *s); /* the watch's thread */
void sessions_free(struct sessions *s);

int sessions_create(struct sessions *s, const char *name, const char *realm, int64_t now,
	char token[TOKEN_STR_SIZE], int64_t *expires, struct err *e) MUST_USE;
/* 0 with *out (the caller's), 1 no such session, < 0 the store does not answer. */
int sessions_find(struct sessions *s, const char *token, int64_t now,
	struct session_user *out, struct err *e) MUST_USE;
/* One that does not exist is fine. */
int sessions_delete(struct sessions *s, const char *token, struct err *e) MUST_USE;
/* All of a user, wherever they were opened. */
int sessions_delete_all(
	struct sessions *s, const char *name, const char *realm, struct err *e) MUST_USE;

/* The key in the store: what names a session without giving it away. The caller's. */
char *sessions_key(const char *token);
/* fn is told when a session ends, by its key; NULL: any may have ended. On the watch's
 * thread. fn NULL: nobody is told; no call comes after sessions_free(). */
typedef void sessions_end_fn(void *aux, const char *key);
void sessions_set_end(struct sessions *s, sessions_end_fn *fn, void *aux);

#endif
