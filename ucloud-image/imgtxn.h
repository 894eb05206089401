/*
 * The transactions of docs/architecture.md that ucloud-image writes. Each compares the
 * leader's lock, and the entries that it was decided on. Pure: entries in, transaction out.
 */
#ifndef UCLOUD_IMAGE_IMGTXN_H
#define UCLOUD_IMAGE_IMGTXN_H

#include "common/disk/images.h"
#include "common/model/file.h"
#include "common/model/keys.h"
#include "common/work/subject.h"

/* An image and its request as they were read. Valid when zeroed. */
struct imgread {
	struct subject s;
	struct image *im; /* the subject's entry; NULL: absent, or it cannot be read */
};

void imgread_init(struct imgread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid);
void imgread_done(struct imgread *r);
/* Reads both, at one revision. */
int imgread_read(struct imgread *r, struct kv *kv, struct err *e) MUST_USE;

/* All are the caller's. Those that change the entry change *r->im as well. */

/* Of the file that is going to be read, before the first of it is. */
struct kv_txn *imgtxn_begin(struct imgread *r, const struct file *f);
struct kv_txn *imgtxn_progress(struct imgread *r, int percent);
struct kv_txn *imgtxn_made(struct imgread *r, const struct image_made *made);
struct kv_txn *imgtxn_error(struct imgread *r, const char *why);
/* It is in use: where imgstep_undeleted() says, with the reason. */
struct kv_txn *imgtxn_undeleted(struct imgread *r, int status, const char *why);

/* Everything that tells of it. rest: what kv_get_many() gave for imgtxn_deleted_keys().
 * *is_use_odd: the user had less in use. NULL: the user's entry cannot be read. */
void imgtxn_deleted_keys(const struct imgread *r, struct strv *keys);
struct kv_txn *imgtxn_deleted(const struct imgread *r, const struct kv_list *rest,
	bool *is_use_odd, struct err *e);

#endif
