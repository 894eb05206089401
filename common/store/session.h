/*
 * A key that lives as long as we do: bound to a lease that is kept alive (every TTL/3) from
 * a thread of its own, which nothing else can block. Two uses:
 *
 * SESSION_ALIVE  a heartbeat: the key is put, and put again whenever it was lost. A key left
 *                by another instance is only replaced when its value names the same machine
 *                (same "machine" member); else we wait for it to go, saying so.
 * SESSION_LOCK   leadership: the key is created when absent; while another has it, we watch
 *                it and try when it goes. The key's create revision is the fence that every
 *                write of the leader compares (kv_txn_if_lock()).
 *
 *	IDLE --granted--> WAITING --key is ours--> HELD --lease lost--> IDLE
 *
 * The lease counts as lost when TTL seconds have passed since the *sending* of the last
 * keepalive that was answered, whatever etcd thinks; then on_lost() comes before anything
 * else. Callbacks run on the session's thread and must not block.
 */
#ifndef UCLOUD_SESSION_H
#define UCLOUD_SESSION_H

#include "common/store/kv.h"

struct session;

enum session_kind { SESSION_ALIVE, SESSION_LOCK };

struct session_conf {
	enum session_kind kind;
	const char *key;
	/* JSON. SESSION_ALIVE: has a "machine" member; SESSION_LOCK: NULL, then it says who
	 * has it, and since when. */
	const char *value;
	int64_t ttl_sec; /* 0: 10 */
	void (*on_held)(void *aux);
	void (*on_lost)(void *aux);
	void *aux;
};

struct session *session_new(struct kv *kv, const struct session_conf *conf);
void session_start(struct session *s);
/* One step without waiting (the simulation); false when nothing was to do. */
bool session_step(struct session *s);
/* The key's create revision while HELD, else 0. Any thread. */
int64_t session_create_rev(struct session *s);
/* The lease while HELD, for further keys that go with it; else 0. Any thread. */
int64_t session_lease(struct session *s);
const char *session_key(const struct session *s);
/* is_release: revokes the lease, so that the key goes at once. */
void session_free(struct session *s, bool is_release);

#endif
