/*
 * A draft of one transaction: what was seen in the store, what must still be so, and what is
 * to be written.
 *
 * An order (orders.h) is a pure function over a draft. It looks at keys with draft_see();
 * one that is not known yet is noted, and the function gives back DRAFT_MORE: whoever runs it
 * reads those keys (draft_read()) and runs it again from its beginning. So a decision never
 * does I/O, many orders can share one draft and thus one transaction (group.h), and what is
 * remembered from the last transaction needs no reading.
 *
 * An order looks first, then compares and writes: one that is refused has left nothing
 * behind.
 * Writing a key twice keeps the last value; looking at a key shows what was written to it.
 *
 * One thread at a time.
 */
#ifndef UCLOUD_DRAFT_H
#define UCLOUD_DRAFT_H

#include "common/base/jtab.h"
#include "common/store/kv.h"

struct draft;

/* What an order's function gives back beside 0 (drafted) and < 0 (refused). */
enum {
	DRAFT_MORE = 1, /* keys are to be read first */
	DRAFT_AS_IT_IS	/* it is already so: nothing to write */
};

struct seen {
	const char *value; /* NULL: the key is absent; borrowed until the draft changes */
	size_t size;
	int64_t rev;   /* mod_revision in the store, 0 absent */
	int64_t lease; /* of the value in the store */
};

struct draft *draft_new(void);
void draft_free(struct draft *d);
void draft_free_ptr(struct draft **d);

/*
 * What was made of the value that draft_see() shows, so that not every order of a group has to
 * parse the same entry: kept until the value is another one. NULL: nothing, or of another
 * kind; borrowed until the draft changes.
 */
const void *draft_parsed(struct draft *d, const char *key, const struct jtab *t);
/* Copies obj, which t describes. */
void draft_keep_parsed(
	struct draft *d, const char *key, const struct jtab *t, const void *obj);

/* False: not known yet, and noted as wanted. */
bool draft_see(struct draft *d, const char *key, struct seen *out);
/* For a key that is likely absent: taken as such unread while the draft is hopeful. The
 * caller must compare (draft_same()) when it relies on that. */
bool draft_see_new(struct draft *d, const char *key, struct seen *out);
/* A hopeful draft takes new keys as absent; after a conflict it is careful and reads them. */
void draft_set_careful(struct draft *d, bool is_careful);
/* After an outcome that is not known: orders then take their own effect as success. */
void draft_set_doubtful(struct draft *d);
bool draft_is_doubtful(const struct draft *d);

/* The transaction compares the key's mod_revision with what was seen (absent: 0). */
void draft_same(struct draft *d, const char *key);
void draft_put(struct draft *d, const char *key, const char *value);
void draft_put_lease(struct draft *d, const char *key, const char *value, int64_t lease);
void draft_del(struct draft *d, const char *key);

size_t draft_n_compares(const struct draft *d);
size_t draft_n_ops(const struct draft *d);
/* Of the values to be written. */
size_t draft_size(const struct draft *d);
bool draft_has_wants(const struct draft *d);

/* Reads what is wanted, linearizably. */
int draft_read(struct draft *d, struct kv *kv, struct err *e) MUST_USE;
/* As kv_txn_commit(). After 0 the draft knows what it wrote. */
int draft_commit(struct draft *d, struct kv *kv, int64_t *rev, struct err *e) MUST_USE;

/* Takes back comparisons, writes and wants; what was seen stays known. */
void draft_clear(struct draft *d);
/* Forgets everything that was seen, too. */
void draft_forget(struct draft *d);
/* After a commit: forgets what no other order will look at (what was only written, or seen
 * as new), and everything when more than max_keys or max_size bytes are known. */
void draft_trim(struct draft *d, size_t max_keys, size_t max_size);

#endif
