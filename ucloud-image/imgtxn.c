#include "ucloud-image/imgtxn.h"

#include "common/base/buf.h"

/* ---------------------------------------------------------------- reading */

static const struct cache_class image_class = { image_parse_item, image_free_item,
	false };

void imgread_init(struct imgread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid)
{
	r->im = NULL;
	subject_init(&r->s, &image_class, lock_key, fence, uuid, key_image(keys, uuid),
		key_request_image(keys, uuid));
}

void imgread_done(struct imgread *r)
{
	subject_done(&r->s);
	r->im = NULL;
}

int imgread_read(struct imgread *r, struct kv *kv, struct err *e)
{
	if (subject_read(&r->s, kv, e) < 0)
		return -1;
	r->im = r->s.entry;
	return 0;
}

/* ---------------------------------------------------------------- writing */

static void put_image(const struct imgread *r, struct kv_txn *t)
{
	CLEANUP_STR char *text = image_format_text(r->im);

	kv_txn_put(t, r->s.key, text);
}

struct kv_txn *imgtxn_begin(struct imgread *r, const struct file *f)
{
	struct kv_txn *t = subject_txn(&r->s);

	r->im->progress = 0;
	r->im->is_made = true;
	str_set(&r->im->sha512, xstrdup(f->sha512));
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_progress(struct imgread *r, int percent)
{
	struct kv_txn *t = subject_txn(&r->s);

	r->im->progress = percent;
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_made(struct imgread *r, const struct image_made *made)
{
	struct kv_txn *t = subject_end_txn(&r->s);
	struct image *im = r->im;

	im->status = IMAGE_CREATED;
	im->is_made = true;
	im->progress = 100;
	im->format = made->format;
	im->virtual_bytes = made->virtual_bytes;
	im->size_bytes = made->size_bytes;
	str_set(&im->path, xstrdup(made->path));
	str_set(&im->reason, NULL);
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_error(struct imgread *r, const char *why)
{
	struct kv_txn *t = subject_end_txn(&r->s);

	r->im->status = IMAGE_ERROR;
	str_set(&r->im->reason, xstrdup(why));
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_undeleted(struct imgread *r, int status, const char *why)
{
	struct kv_txn *t = subject_end_txn(&r->s);

	r->im->status = status;
	str_set(&r->im->reason, xstrdup(why));
	put_image(r, t);
	return t;
}

/* ---------------------------------------------------------------- deleting */

enum { AT_NAME, AT_PUBLIC, AT_USER };

void imgtxn_deleted_keys(const struct imgread *r, struct strv *keys)
{
	const struct image *im = r->im;

	strv_add_take(keys, key_image_name(im->owner_realm, im->owner, im->name));
	strv_add_take(keys, key_image_public(im->name));
	strv_add_take(keys, key_user(im->owner_realm, im->owner));
}

struct kv_txn *imgtxn_deleted(const struct imgread *r, const struct kv_list *rest,
	bool *is_use_odd, struct err *e)
{
	CLEANUP_STR char *user_key = key_user(r->im->owner_realm, r->im->owner);
	struct kv_txn *t = subject_end_txn(&r->s);

	kv_txn_del(t, r->s.key);
	subject_del_name(&r->s, &rest->v[AT_NAME], t);
	subject_del_name(&r->s, &rest->v[AT_PUBLIC], t);
	if (subject_give_back(
		    t, user_key, &rest->v[AT_USER], &IMAGE_AMOUNTS, is_use_odd, e) == 0)
		return t;
	kv_txn_free(t);
	return NULL;
}
