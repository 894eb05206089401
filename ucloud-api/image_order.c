/*
 * Orders for images: made of uploaded files, or registered; looked at, changed. Deleting them
 * is in image_delete.c.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/image_input.h"
#include "ucloud-api/orders_impl.h"

enum { STORES_NAMED = 10 };

#define AT(member) offsetof(struct image, member)

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
	int64_t now;
	struct idem idem;
	char uuid[UUID_STR_SIZE];
	struct image_input input;
	struct image image; /* of the last run */
};

static void image_order_done(struct image_order *c)
{
	idem_done(&c->idem);
	image_input_done(&c->input);
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

void put_image(const struct orders *o, struct draft *d, const struct image *im)
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

/* What an order refers to: entries and their keys. */
struct found {
	char *name_key, *public_key, *user_key, *store_key, *file_key;
	struct user user;
	struct image_store store;
	struct file file;
};

static void found_done(struct found *f)
{
	free(f->name_key);
	free(f->public_key);
	free(f->user_key);
	free(f->store_key);
	free(f->file_key);
	user_done(&f->user);
	image_store_done(&f->store);
	file_done(&f->file);
}

static int look_names(
	struct image_order *c, struct draft *d, struct found *f, struct err *e)
{
	const char *name = c->input.name;
	int r;

	f->name_key = key_image_name(c->who->realm, c->who->name, name);
	f->public_key = c->input.is_public ? key_image_public(name) : NULL;
	r = look_name(d, f->name_key, c->uuid, "an", name, e);
	return r == 0 ? look_name(d, f->public_key, c->uuid, "a public", name, e) : r;
}

static int look_store(
	struct image_order *c, struct draft *d, struct found *f, struct err *e)
{
	int r = find_store(d, c->input.store, &f->store, &f->store_key, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "store",
			"there is no image store \"%s\"%s", c->input.store,
			c->who->is_admin ? ": register it first" : "");
	return r;
}

static int look_file(
	struct image_order *c, struct draft *d, struct found *f, struct err *e)
{
	/* The asker's own, also when an admin asks. */
	const struct who who = { c->who->name, c->who->realm, false };
	const struct file_ref ref = { .name = c->input.file };
	int r;

	if (str_is_empty(c->input.file))
		return 0;
	r = find_file(c->o, d, &who, &ref, &f->file, &f->file_key, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "file",
			"you have no file \"%.160s\" (a new one is found as soon as its "
			"content has been read)",
			c->input.file);
	return r;
}

static int look(struct image_order *c, struct draft *d, struct found *f, struct err *e)
{
	int r = look_names(c, d, f, e);

	if (r == 0)
		r = look_store(c, d, f, e);
	if (r == 0)
		r = find_user(d, c->who->realm, c->who->name, c->now, &f->user,
			&f->user_key, e);
	return r == 0 ? look_file(c, d, f, e) : r;
}

static void build(struct image_order *c, const struct found *f)
{
	struct image *im = &c->image;

	image_done(im);
	image_input_build(&c->input, im);
	im->uuid = xstrdup(c->uuid);
	im->owner = xstrdup(c->who->name);
	im->owner_realm = xstrdup(c->who->realm);
	im->created = c->now;
	if (!im->is_made)
		return;
	im->file_uuid = xstrdup(f->file.uuid);
	im->filename = xstrdup(f->file.filename);
	im->sha512 = xstrdup(f->file.sha512);
}

static void put_index(struct draft *d, const char *key, const char *uuid)
{
	if (!key)
		return;
	draft_same(d, key);
	draft_put(d, key, uuid);
}

/* Also rewrites the store's entry: see orders_store_delete(). */
static int write_all(
	struct image_order *c, struct draft *d, const struct found *f, struct err *e)
{
	CLEANUP_STR char *store = image_store_format(&f->store);
	CLEANUP_STR char *request_key = key_request_image(c->o->keys, c->uuid);
	CLEANUP_STR char *request =
		request_new(REQ_CREATE_IMAGE, c->uuid, NULL, c->now, 0);

	if (put_user(d, &f->user, e) < 0)
		return -1;
	put_image(c->o, d, &c->image);
	draft_same(d, f->store_key);
	draft_put(d, f->store_key, store);
	put_index(d, f->name_key, c->uuid);
	put_index(d, f->public_key, c->uuid);
	if (c->image.is_made) {
		draft_same(d, f->file_key);
		draft_put(d, request_key, request);
	}
	idem_write(&c->idem, d, c->uuid);
	return 0;
}

static int image_create_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(found_done) struct found f = { 0 };
	struct image_order *c = aux;
	int r;

	r = image_look_done(c, d, e);
	if (r == 0)
		r = look(c, d, &f, e);
	if (r != 0)
		return r;
	build(c, &f);
	if (user_take(&f.user, user_quota(c->o, &f.user), &IMAGE_AMOUNTS, e) < 0)
		return -1;
	return write_all(c, d, &f, e);
}

/* The only store there is, when the order names none. */
static int choose_store(struct orders *o, struct image_input *in, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	CLEANUP(buf_done) struct buf names = { 0 };

	if (!str_is_empty(in->store))
		return 0;
	if (kv_range_page(o->kv, KEY_IMAGE_STORE, NULL, STORES_NAMED, 0, &list, e) != 0)
		return -1;
	for (size_t i = 0; i < list.len; i++)
		buf_addf(&names, "%s%s", i > 0 ? ", " : "",
			list.v[i].key + strlen(KEY_IMAGE_STORE));
	if (list.len == 1) {
		str_set(&in->store, buf_take(&names));
		return 0;
	}
	if (list.len == 0)
		return err_set_field(e, ERR_NOT_FOUND, "store",
			"there is no image store yet: an admin has to register one");
	return err_set_field(e, ERR_INVALID, "store",
		"say in which image store it is to be: %s%s", buf_str(&names),
		list.has_more ? ", ..." : "");
}

int orders_image_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct image *out, struct err *e)
{
	struct image_order c = { .o = o, .who = who, .now = now };

	if (image_input_parse(body, who, o->conf.users_may_publish, &c.input, e) < 0 ||
		choose_store(o, &c.input, e) < 0 ||
		idem_init(o, who, "image", idempotency_key, body, now, &c.idem, e) < 0) {
		image_order_done(&c);
		return -1;
	}
	uuid_new(c.uuid);
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

int find_own_image(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct image *out, struct err *e)
{
	int r = find_image(o, d, who, ref, out, NULL, e);

	if (r != 0)
		return r;
	if (who->is_admin ||
		(str_eq(out->owner, who->name) && str_eq(out->owner_realm, who->realm)))
		return 0;
	return err_set(e, ERR_DENIED, "the public image \"%s\" is not yours to change",
		out->name);
}

static int image_patch_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *public_key = NULL;
	struct image_order *c = aux;
	bool was_public;
	int r;

	r = find_own_image(c->o, d, c->who, c->ref, &c->image, e);
	if (r != 0)
		return r;
	was_public = c->image.is_public;
	if (jtab_patch(&image_patch_jtab, c->body, &c->image, e) < 0)
		return -1;
	public_key = key_image_public(c->image.name);
	if (c->image.is_public && !was_public && !c->who->is_admin &&
		!c->o->conf.users_may_publish)
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
