#include "ucloud-image/imgtxn.h"

#include <string.h>

#include "common/base/buf.h"

/* ---------------------------------------------------------------- reading */

void imgread_init(struct imgread *r, const struct keys *keys, const char *lock_key,
	int64_t fence, const char *uuid)
{
	*r = (struct imgread){ .keys = keys, .lock_key = lock_key, .fence = fence };
	r->uuid = xstrdup(uuid);
	r->im_key = key_image(keys, uuid);
	r->req_key = key_request_image(keys, uuid);
}

static void forget(struct imgread *r)
{
	image_done(&r->im);
	request_done(&r->req);
	r->has_im = r->has_req = r->is_unreadable = false;
	r->im_rev = r->req_rev = 0;
}

void imgread_done(struct imgread *r)
{
	forget(r);
	free(r->uuid);
	free(r->im_key);
	free(r->req_key);
	memset(r, 0, sizeof(*r));
}

static void parse(struct imgread *r, const struct kv_pair *im, const struct kv_pair *req)
{
	r->im_rev = im->key ? im->mod_rev : 0;
	r->req_rev = req->key ? req->mod_rev : 0;
	r->has_im = im->key &&
		    image_parse(im->value, im->value_size, &r->im, NULL) == 0 &&
		    str_eq(r->im.uuid, r->uuid);
	r->has_req = req->key &&
		     request_parse(req->value, req->value_size, &r->req, NULL) == 0;
	r->is_unreadable = (im->key && !r->has_im) || (req->key && !r->has_req);
}

int imgread_read(struct imgread *r, struct kv *kv, struct err *e)
{
	const char *keys[] = { r->im_key, r->req_key };
	CLEANUP(kv_list_done) struct kv_list got = { 0 };

	if (kv_get_many(kv, keys, ARRAY_LEN(keys), &got, e) < 0)
		return -1;
	forget(r);
	parse(r, &got.v[0], &got.v[1]);
	return 0;
}

/* ---------------------------------------------------------------- writing */

static struct kv_txn *new_txn(const struct imgread *r)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_if_lock(t, r->lock_key, r->fence);
	kv_txn_if_rev(t, r->im_key, r->im_rev);
	return t;
}

/* As new_txn(), and the request has had its effect. */
static struct kv_txn *end_txn(const struct imgread *r)
{
	struct kv_txn *t = new_txn(r);

	kv_txn_if_rev(t, r->req_key, r->req_rev);
	if (r->req_rev)
		kv_txn_del(t, r->req_key);
	return t;
}

static void put_image(const struct imgread *r, struct kv_txn *t)
{
	CLEANUP_STR char *text = image_format_text(&r->im);

	kv_txn_put(t, r->im_key, text);
}

struct kv_txn *imgtxn_begin(struct imgread *r, const struct file *f)
{
	struct kv_txn *t = new_txn(r);

	r->im.progress = 0;
	r->im.is_made = true;
	str_set(&r->im.sha512, xstrdup(f->sha512));
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_progress(struct imgread *r, int percent)
{
	struct kv_txn *t = new_txn(r);

	r->im.progress = percent;
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_made(struct imgread *r, const struct image_made *made)
{
	struct kv_txn *t = end_txn(r);
	struct image *im = &r->im;

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
	struct kv_txn *t = end_txn(r);

	r->im.status = IMAGE_ERROR;
	str_set(&r->im.reason, xstrdup(why));
	put_image(r, t);
	return t;
}

struct kv_txn *imgtxn_failed(
	struct imgread *r, int64_t now, const struct err *why, int64_t *not_before)
{
	struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *text = NULL;

	request_failed(&r->req, now, why);
	text = request_format(&r->req);
	kv_txn_if_lock(t, r->lock_key, r->fence);
	kv_txn_if_rev(t, r->req_key, r->req_rev);
	kv_txn_put(t, r->req_key, text);
	*not_before = r->req.not_before;
	return t;
}

struct kv_txn *imgtxn_drop(struct imgread *r)
{
	return end_txn(r);
}

struct kv_txn *imgtxn_undeleted(struct imgread *r, int status, const char *why)
{
	struct kv_txn *t = end_txn(r);

	r->im.status = status;
	str_set(&r->im.reason, xstrdup(why));
	put_image(r, t);
	return t;
}

/* ---------------------------------------------------------------- deleting */

enum { AT_NAME, AT_PUBLIC, AT_USER };

void imgtxn_deleted_keys(const struct imgread *r, struct strv *keys)
{
	const struct image *im = &r->im;

	strv_add_take(keys, key_image_name(im->owner_realm, im->owner, im->name));
	strv_add_take(keys, key_image_public(im->name));
	strv_add_take(keys, key_user(im->owner_realm, im->owner));
}

/* A name that was given to another image meanwhile stays. */
static void del_name(
	const struct imgread *r, const struct kv_pair *name, struct kv_txn *t)
{
	if (!name->key || !str_eq(name->value, r->uuid))
		return;
	kv_txn_if_rev(t, name->key, name->mod_rev);
	kv_txn_del(t, name->key);
}

static int put_user(
	const struct kv_pair *pair, struct kv_txn *t, bool *is_use_odd, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *text = NULL;

	if (!pair->key)
		return 0;
	if (user_parse(pair->value, pair->value_size, &user, e) < 0)
		return err_wrap(e, "%s", pair->key);
	*is_use_odd = !user_give_back(&user, &IMAGE_AMOUNTS);
	text = user_format(&user);
	kv_txn_if_rev(t, pair->key, pair->mod_rev);
	kv_txn_put(t, pair->key, text);
	return 0;
}

struct kv_txn *imgtxn_deleted(const struct imgread *r, const struct kv_list *rest,
	bool *is_use_odd, struct err *e)
{
	struct kv_txn *t = end_txn(r);

	*is_use_odd = false;
	kv_txn_del(t, r->im_key);
	del_name(r, &rest->v[AT_NAME], t);
	del_name(r, &rest->v[AT_PUBLIC], t);
	if (put_user(&rest->v[AT_USER], t, is_use_odd, e) == 0)
		return t;
	kv_txn_free(t);
	return NULL;
}
