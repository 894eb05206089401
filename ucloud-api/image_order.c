/*
 * Orders for images.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

#define AT(member) offsetof(struct image, member)

static const struct jtab_field input_fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .check = new_name_check,
		.help = "unique among the owner's images, and among the public ones" },
	{ "store", JT_STR, AT(store), JT_NEED, .check = name_check,
		.help = "the image store it is in" },
	{ "path", JT_STR, AT(path), JT_NEED, .check = rel_path_check,
		.help = "filesystem: below images/ of the store; ceph: the RBD image" },
	{ "format", JT_ENUM, AT(format), JT_NEED, .names = image_format_names,
		.help = "stated, never guessed" },
	{ "public", JT_BOOL, AT(is_public), .help = "everybody may use it" },
	{ "description", JT_STR, AT(description), JT_TEXT, .max = 4096 },
	{ "virtual_bytes", JT_INT, AT(virtual_bytes), 0, .max = INT64_C(1) << 50,
		.help = "size of the disk inside, when known: smaller disks are then "
			"refused" },
	{ 0 },
};
const struct jtab image_input_jtab = { "image_order", sizeof(struct image),
	input_fields };

static const struct jtab_field patch_fields[] = {
	{ "public", JT_BOOL, AT(is_public), .help = "everybody may use it" },
	{ "description", JT_STR, AT(description), JT_TEXT, .max = 4096 },
	{ 0 },
};
const struct jtab image_patch_jtab = { "image_change", sizeof(struct image),
	patch_fields };

struct image_order {
	struct orders *o;
	const struct who *who;
	const char *ref;
	json_t *body;
	struct idem idem;
	char uuid[UUID_STR_SIZE];
	struct image input;
	enum image_status status; /* to set */
	struct image image;	  /* of the last run */
};

static void image_order_done(struct image_order *c)
{
	idem_done(&c->idem);
	image_done(&c->input);
	image_done(&c->image);
}

static int run(struct image_order *c, order_fn *fn, struct image *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		image_done(out);
		*out = c->image;
		c->image = (struct image){ 0 };
	}
	image_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

static void put_image(const struct orders *o, struct draft *d, const struct image *im)
{
	CLEANUP_STR char *key = key_image(o->keys, im->uuid);
	CLEANUP_STR char *text = image_format_text(im);

	draft_same(d, key);
	draft_put(d, key, text);
}

/* A name index that must be free; NULL key: none is needed. */
static int look_name(struct draft *d, const char *key, const char *uuid,
	const char *whose, const char *name, struct err *e)
{
	struct seen seen;

	if (!key)
		return 0;
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	if (!seen.value || str_eq(seen.value, uuid))
		return 0;
	return err_set_field(e, ERR_EXISTS, "name",
		"there is %s image named \"%s\" already: choose another name", whose,
		name);
}

static int image_look_done(struct image_order *c, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;
	struct seen seen;
	int r = idem_look(&c->idem, d, &subject, e);

	if (r == 0 && draft_is_doubtful(d)) {
		CLEANUP_STR char *key = key_image(c->o->keys, c->uuid);

		if (!draft_see(d, key, &seen))
			return DRAFT_MORE;
		if (seen.value) {
			str_set(&subject, xstrdup(c->uuid));
			r = DRAFT_AS_IT_IS;
		}
	}
	if (r != DRAFT_AS_IT_IS)
		return r;
	r = find_image(c->o, d, c->who, subject, &c->image, NULL, e);
	return r == 0 ? DRAFT_AS_IT_IS : r;
}

/* Also rewrites the store's entry: see orders_store_delete(). */
static void image_write(struct image_order *c, struct draft *d,
	const struct image_store *store, const char *store_key, const char *name_key,
	const char *public_key)
{
	CLEANUP_STR char *text = image_store_format(store);

	put_image(c->o, d, &c->image);
	draft_same(d, store_key);
	draft_put(d, store_key, text);
	draft_same(d, name_key);
	draft_put(d, name_key, c->image.uuid);
	if (public_key) {
		draft_same(d, public_key);
		draft_put(d, public_key, c->image.uuid);
	}
	idem_write(&c->idem, d, c->image.uuid);
}

static int image_create_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(image_store_done) struct image_store store = { 0 };
	CLEANUP_STR char *store_key = NULL;
	CLEANUP_STR char *name_key = NULL;
	CLEANUP_STR char *public_key = NULL;
	struct image_order *c = aux;
	const char *name = c->input.name;
	int r;

	r = image_look_done(c, d, e);
	if (r != 0)
		return r;
	jtab_copy(&image_jtab, &c->input, &c->image);
	name_key = key_image_name(c->who->realm, c->who->name, name);
	public_key = c->image.is_public ? key_image_public(name) : NULL;
	r = look_name(d, name_key, c->uuid, "an", name, e);
	if (r == 0)
		r = look_name(d, public_key, c->uuid, "a public", name, e);
	if (r == 0)
		r = find_store(d, c->image.store, &store, &store_key, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "store",
			"there is no image store \"%s\": register it first",
			c->image.store);
	if (r != 0)
		return r;
	image_write(c, d, &store, store_key, name_key, public_key);
	return 0;
}

int orders_image_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct image *out, struct err *e)
{
	struct image_order c = { .o = o, .who = who };

	if (need_admin(who, e) < 0)
		return -1;
	if (jtab_parse(&image_input_jtab, body, JTAB_INPUT, &c.input, e) < 0 ||
		idem_init(o, who, "image", idempotency_key, body, now, &c.idem, e) < 0) {
		image_order_done(&c);
		return -1;
	}
	uuid_new(c.uuid);
	c.input.uuid = xstrdup(c.uuid);
	c.input.owner = xstrdup(who->name);
	c.input.owner_realm = xstrdup(who->realm);
	c.input.status = IMAGE_CREATED;
	c.input.created = now;
	return run(&c, image_create_fn, out, e);
}

static int image_get_fn(void *aux, struct draft *d, struct err *e)
{
	struct image_order *c = aux;
	int r = find_image(c->o, d, c->who, c->ref, &c->image, NULL, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_image_get(struct orders *o, const struct who *who, const char *ref,
	struct image *out, struct err *e)
{
	struct image_order c = { .o = o, .who = who, .ref = ref };

	return run(&c, image_get_fn, out, e) < 0 ? -1 : 0;
}

/* One that the asker may change. */
static int find_own(struct image_order *c, struct draft *d, struct err *e)
{
	const struct image *im = &c->image;
	int r = find_image(c->o, d, c->who, c->ref, &c->image, NULL, e);

	if (r != 0)
		return r;
	if (c->who->is_admin || (str_eq(im->owner, c->who->name) &&
					str_eq(im->owner_realm, c->who->realm)))
		return 0;
	return err_set(e, ERR_DENIED, "the public image \"%s\" is not yours to change",
		im->name);
}

static int image_patch_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *public_key = NULL;
	struct image_order *c = aux;
	bool was_public;
	int r;

	r = find_own(c, d, e);
	if (r != 0)
		return r;
	was_public = c->image.is_public;
	if (jtab_patch(&image_patch_jtab, c->body, &c->image, e) < 0)
		return -1;
	public_key = key_image_public(c->image.name);
	if (c->image.is_public && !c->who->is_admin)
		return err_set_field(
			e, ERR_DENIED, "public", "only admins may make images public");
	if (c->image.is_public && !was_public)
		r = look_name(d, public_key, c->image.uuid, "a public", c->image.name, e);
	if (r != 0)
		return r;
	put_image(c->o, d, &c->image);
	if (c->image.is_public == was_public)
		return 0;
	if (c->image.is_public) {
		draft_same(d, public_key);
		draft_put(d, public_key, c->image.uuid);
	} else {
		draft_del(d, public_key);
	}
	return 0;
}

int orders_image_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, struct image *out, struct err *e)
{
	struct image_order c = { .o = o, .who = who, .ref = ref, .body = body };

	return run(&c, image_patch_fn, out, e);
}

/* ---------------------------------------------------------------- deleting an image */

static int image_status_fn(void *aux, struct draft *d, struct err *e)
{
	struct image_order *c = aux;
	int r = find_own(c, d, e);

	if (r != 0)
		return r;
	if (c->image.status == (int)c->status)
		return DRAFT_AS_IT_IS;
	if (c->image.status == IMAGE_TO_BE_CREATED)
		return err_set(e, ERR_CONFLICT,
			"the image \"%s\" is being made: wait until that has ended",
			c->image.name);
	c->image.status = (int)c->status;
	put_image(c->o, d, &c->image);
	return 0;
}

static int set_status(struct orders *o, const struct who *who, const char *ref,
	enum image_status status, struct image *out, struct err *e)
{
	struct image_order c = { .o = o, .who = who, .ref = ref, .status = status };

	return run(&c, image_status_fn, out, e);
}

static int image_delete_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	CLEANUP_STR char *name_key = NULL;
	CLEANUP_STR char *public_key = NULL;
	struct image_order *c = aux;
	int r;

	r = find_own(c, d, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (r != 0)
		return r;
	if (c->image.status != IMAGE_TO_BE_DELETED)
		return err_set(e, ERR_CONFLICT,
			"the image \"%s\" was changed while it was being deleted: try "
			"again",
			c->image.name);
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

/*
 * A create compares the image's entry but does not write it. So the image becomes
 * TO_BE_DELETED first: what was ordered before that is counted afterwards, what is ordered
 * later is refused.
 */
int orders_image_delete(
	struct orders *o, const struct who *who, const char *ref, struct err *e)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *uuid = NULL;
	struct image_order c = { .o = o, .who = who };
	enum image_status before;
	struct err ignored;

	if (orders_image_get(o, who, ref, &im, e) < 0)
		return -1;
	/* TO_BE_DELETED: an earlier call was cut short. */
	before = im.status == IMAGE_TO_BE_DELETED ? IMAGE_CREATED : im.status;
	if (set_status(o, who, ref, IMAGE_TO_BE_DELETED, &im, e) < 0)
		return -1;
	uuid = xstrdup(im.uuid);
	if (unused_check(o, &im, e) < 0) {
		if (set_status(o, who, uuid, before, &im, &ignored) < 0)
			return err_wrap(e, "the image stays TO_BE_DELETED, and");
		return -1;
	}
	c.ref = uuid;
	return run(&c, image_delete_fn, NULL, e) < 0 ? -1 : 0;
}
