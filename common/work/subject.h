/*
 * An entry and the request for it, as the leader that carries it out reads them, and what all
 * transactions about such a pair have in common: each compares the leader's lock and what it was
 * decided on. What is done to images or networks, and when, is said by their programs.
 *
 * Pure but for subject_read(). Any thread, one at a time.
 */
#ifndef UCLOUD_SUBJECT_H
#define UCLOUD_SUBJECT_H

#include "common/model/request.h"
#include "common/model/user.h"
#include "common/store/cache.h"

struct subject {
	const struct cache_class *class; /* of the entry */
	const char *lock_key;
	int64_t fence;
	char *uuid, *key, *req_key;
	void *entry; /* NULL: absent, or it cannot be read */
	bool has_req;
	bool is_unreadable;   /* one of them is there and cannot be read */
	int64_t rev, req_rev; /* 0: absent */
	struct request req;   /* when has_req */
};

/* Takes key and req_key; class and lock_key are borrowed. fence: the lock's create revision. */
void subject_init(struct subject *s, const struct cache_class *class,
	const char *lock_key, int64_t fence, const char *uuid, char *key, char *req_key);
void subject_done(struct subject *s);
/* Reads both, at one revision. When it fails, what was read before stays. */
int subject_read(struct subject *s, struct kv *kv, struct err *e) MUST_USE;

/* All are the caller's. Compares the lock and the entry. */
struct kv_txn *subject_txn(const struct subject *s);
/* ... and the request. */
struct kv_txn *subject_req_txn(const struct subject *s);
/* As subject_req_txn(), and the request goes: it has had its effect. */
struct kv_txn *subject_end_txn(const struct subject *s);
/* Counts a failed attempt, whatever the entry says meanwhile; *not_before: when to try
 * again. */
struct kv_txn *subject_failed_txn(
	struct subject *s, int64_t now, const struct err *why, int64_t *not_before);
void subject_put_req(const struct subject *s, struct kv_txn *t);

/* name: as read, perhaps absent. One that was given to another subject meanwhile stays. */
void subject_del_name(
	const struct subject *s, const struct kv_pair *name, struct kv_txn *t);

/* The user whose entry is at key, and was read as pair (absent: compared as such), uses that
 * much less. *is_use_odd: had less in use. */
int subject_give_back(struct kv_txn *t, const char *key, const struct kv_pair *pair,
	const struct amounts *amounts, bool *is_use_odd, struct err *e) MUST_USE;

#endif
