/*
 * Deleting images.
 *
 * A create of a VM compares the image's entry but does not write it. So an image that VMs may
 * use becomes TO_BE_DELETED first: what was ordered before that is counted afterwards, what is
 * ordered later is refused. The entry that goes is the one that was there when they were counted:
 * else somebody could have opened the image meanwhile, and closed it again. Then one that was
 * registered goes at once; of one that was made ucloud-image removes what is in the store, and
 * then the entry. It counts the VMs itself, too: so when this process dies in between, it does
 * all of the rest, because the first step orders DeleteImage "unchecked", for some time later.
 */
#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "ucloud-api/orders_impl.h"

struct image_delete {
	struct orders *o;
	const struct who *who;
	const char *ref;
	int64_t now;
	int64_t rev; /* of the entry when its VMs were counted; 0: not needed */
	enum image_status status; /* to set */
	struct image image;	  /* of the last run */
};

static int run(struct image_delete *c, order_fn *fn, struct image *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0) {
		image_done(out);
		*out = c->image;
		c->image = (struct image){ 0 };
	}
	image_done(&c->image);
	return r;
}

static int find(struct image_delete *c, struct draft *d, struct err *e)
{
	return find_own_image(c->o, d, c->who, c->ref, &c->image, e);
}

/* TO_BE_DELETED, or CREATED again. */
static int set_status_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct image_delete *c = aux;
	int r = find(c, d, e);

	if (r != 0)
		return r;
	if (c->image.status == (int)c->status)
		return DRAFT_AS_IT_IS;
	key = key_request_image(c->o->keys, c->image.uuid);
	r = c->image.is_made ? look_deletion(d, key, REQ_DELETE_IMAGE, e) : 0;
	if (r != 0)
		return r;
	c->image.status = (int)c->status;
	put_image(c->o, d, &c->image);
	if (!c->image.is_made)
		return 0;
	if (c->status == IMAGE_TO_BE_DELETED) {
		put_deletion(d, key, REQ_DELETE_IMAGE, c->image.uuid, c->now, true);
	} else {
		draft_same(d, key);
		draft_del(d, key);
	}
	return 0;
}

static int set_status(struct orders *o, const struct who *who, const char *uuid,
	enum image_status status, int64_t now, struct image *out, struct err *e)
{
	struct image_delete c = {
		.o = o, .who = who, .ref = uuid, .now = now, .status = status
	};

	return run(&c, set_status_fn, out, e);
}

static int changed_meanwhile(const struct image *im, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"the image \"%s\" was changed while it was being deleted: try again",
		im->name);
}

/* 0, DRAFT_MORE, or < 0: it is another entry than the one whose VMs were counted. */
static int same_check(const struct image_delete *c, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = key_image(c->o->keys, c->image.uuid);
	struct seen seen;

	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	return !c->rev || seen.rev == c->rev ? 0 : changed_meanwhile(&c->image, e);
}

/* ---------------------------------------------------------------- registered ones */

static int give_back(struct image_delete *c, struct draft *d, struct user *u,
	bool *is_used, struct err *e)
{
	const struct image *im = &c->image;
	int r = find_user(d, im->owner_realm, im->owner, c->now, u, NULL, e);

	*is_used = r == 0 && u->use.images > 0;
	if (*is_used)
		user_give_back(u, &IMAGE_AMOUNTS);
	else if (r == 0)
		log_debug("an image was never counted image=%s owner=%s", im->uuid,
			im->owner);
	return r;
}

static int forget_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *key = NULL;
	CLEANUP_STR char *name_key = NULL;
	CLEANUP_STR char *public_key = NULL;
	struct image_delete *c = aux;
	bool is_used = false;
	int r = find(c, d, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (r == 0)
		r = same_check(c, d, e);
	if (r == 0)
		r = give_back(c, d, &user, &is_used, e);
	if (r != 0)
		return r;
	if (c->image.status != IMAGE_TO_BE_DELETED)
		return changed_meanwhile(&c->image, e);
	if (is_used && put_user(d, &user, e) < 0)
		return -1;
	key = key_image(c->o->keys, c->image.uuid);
	name_key = key_image_name(c->image.owner_realm, c->image.owner, c->image.name);
	draft_same(d, key);
	draft_del(d, key);
	draft_del(d, name_key);
	if (c->image.is_public) {
		public_key = key_image_public(c->image.name);
		draft_del(d, public_key);
	}
	return 0;
}

/* ---------------------------------------------------------------- made ones */

static int order_fn_of_made(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct image_delete *c = aux;
	int r = find(c, d, e);

	if (r != 0)
		return r;
	key = key_request_image(c->o->keys, c->image.uuid);
	r = look_deletion(d, key, REQ_DELETE_IMAGE, e);
	if (r != 0)
		return r;
	/* Made meanwhile: VMs may have been ordered. */
	if (c->image.status == IMAGE_CREATED)
		return changed_meanwhile(&c->image, e);
	r = same_check(c, d, e);
	if (r != 0)
		return r;
	c->image.status = IMAGE_TO_BE_DELETED;
	put_image(c->o, d, &c->image);
	put_deletion(d, key, REQ_DELETE_IMAGE, c->image.uuid, c->now, false);
	return 0;
}

/* ---------------------------------------------------------------- all */

static bool uses_image(void *aux, const struct vm *vm)
{
	return str_eq(vm->image_uuid, aux);
}

static int unused_check(struct orders *o, const struct image *im, struct err *e)
{
	int64_t n = 0;

	if (count_vms(o, im->uuid, uses_image, im->uuid, &n, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	return err_set(e, ERR_CONFLICT,
		"the image \"%s\" is in use by %lld VM%s: delete %s first", im->name,
		(long long)n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
}

/* The revision of an entry that says TO_BE_DELETED. */
static int closed_rev(
	struct orders *o, const struct image *im, int64_t *rev, struct err *e)
{
	CLEANUP_STR char *key = key_image(o->keys, im->uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(image_done) struct image now = { 0 };

	if (kv_get(o->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key || image_parse(pair.value, pair.value_size, &now, e) < 0 ||
		now.status != IMAGE_TO_BE_DELETED)
		return changed_meanwhile(im, e);
	*rev = pair.mod_rev;
	return 0;
}

/* No VM may use it from here on; those that do are counted. *rev: of its entry then. */
static int close_image(struct orders *o, const struct who *who, int64_t now,
	struct image *im, int64_t *rev, struct err *e)
{
	CLEANUP_STR char *uuid = xstrdup(im->uuid);
	struct err in_use = { 0 };

	if (set_status(o, who, uuid, IMAGE_TO_BE_DELETED, now, im, e) < 0 ||
		closed_rev(o, im, rev, e) < 0)
		return -1;
	if (unused_check(o, im, &in_use) == 0)
		return 0;
	if (set_status(o, who, uuid, IMAGE_CREATED, now, im, e) < 0)
		return err_wrap(e, "%s; the image stays TO_BE_DELETED for now, because",
			in_use.msg);
	*e = in_use;
	return -1;
}

int orders_image_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct image *out, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *uuid = NULL;
	struct image_delete c = { .o = o, .who = who, .now = now };
	int r;

	if (orders_image_get(o, who, ref, &im, e) < 0)
		return -1;
	uuid = xstrdup(im.uuid);
	c.ref = uuid;
	/* TO_BE_DELETED: an earlier call was cut short, perhaps before the VMs were counted.
	 * In other states no VM can use it. */
	if (im.status == IMAGE_CREATED || im.status == IMAGE_TO_BE_DELETED) {
		CLEANUP(image_done) struct image closed = { 0 };

		jtab_copy(&image_jtab, &im, &closed);
		if (close_image(o, who, now, &closed, &c.rev, e) < 0)
			return -1;
	}
	r = run(&c, im.is_made ? order_fn_of_made : forget_fn, out, e);
	if (r < 0)
		return -1;
	return im.is_made ? ORDER_IMAGE_GOES : 0;
}
