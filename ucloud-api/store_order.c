/*
 * Orders for image stores: admins only.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

#define AT(member) offsetof(struct image_store, member)

static const struct jtab_field input_fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .check = name_check },
	{ "type", JT_ENUM, AT(type), JT_NEED, .names = store_type_names,
		.help = "filesystem: a directory; ceph: a pool" },
	{ "path", JT_STR, AT(path), .max = 512,
		.help = "filesystem: the directory, the same on all hosts that have it" },
	{ "pool", JT_STR, AT(pool), .max = 128,
		.help = "ceph: pool of images (default images)" },
	{ "vm_pool", JT_STR, AT(vm_pool), .max = 128,
		.help = "ceph: pool of disks (default uservms)" },
	{ "ceph_conf", JT_STR, AT(ceph_conf), .max = 512,
		.help = "ceph: configuration file on the hosts" },
	{ "ceph_user", JT_STR, AT(ceph_user), .max = 128 },
	{ "max_image_gib", JT_INT, AT(max_image_gib), 0, .min = 1, .max = 65536,
		.help = "largest virtual size of an image (default 2048)" },
	{ 0 },
};
const struct jtab image_store_input_jtab = { "image_store_order",
	sizeof(struct image_store), input_fields };

struct store_order {
	struct orders *o;
	const char *name;
	struct idem idem;
	struct image_store input;
	struct image_store store; /* of the last run */
};

static void store_order_done(struct store_order *c)
{
	idem_done(&c->idem);
	image_store_done(&c->input);
	image_store_done(&c->store);
}

static int run(
	struct store_order *c, order_fn *fn, struct image_store *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		image_store_done(out);
		*out = c->store;
		c->store = (struct image_store){ 0 };
	}
	store_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

static int create_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;
	CLEANUP_STR char *key = NULL;
	CLEANUP_STR char *text = NULL;
	struct store_order *c = aux;
	struct seen seen;
	int r;

	r = idem_look(&c->idem, d, &subject, e);
	if (r == DRAFT_AS_IT_IS) {
		r = find_store(d, subject, &c->store, NULL, e);
		return r == 0 ? DRAFT_AS_IT_IS : r;
	}
	if (r != 0)
		return r;
	key = key_image_store(c->input.name);
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	jtab_copy(&image_store_jtab, &c->input, &c->store);
	if (seen.value && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (seen.value)
		return err_set_field(e, ERR_EXISTS, "name",
			"there is an image store \"%s\" already", c->input.name);
	text = image_store_format(&c->store);
	draft_same(d, key);
	draft_put(d, key, text);
	idem_write(&c->idem, d, c->store.name);
	return 0;
}

int orders_store_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct image_store *out, struct err *e)
{
	struct store_order c = { .o = o };

	if (need_admin(who, e) < 0)
		return -1;
	if (jtab_parse(&image_store_input_jtab, body, JTAB_INPUT, &c.input, e) < 0)
		goto failed;
	image_store_set_defaults(&c.input);
	if (image_store_check(&c.input, e) < 0 ||
		idem_init(o, who, "store", idempotency_key, body, now, &c.idem, e) < 0)
		goto failed;
	c.input.created = now;
	return run(&c, create_fn, out, e);
failed:
	store_order_done(&c);
	return -1;
}

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	struct store_order *c = aux;
	int r = find_store(d, c->name, &c->store, NULL, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_store_get(struct orders *o, const struct who *who, const char *name,
	struct image_store *out, struct err *e)
{
	struct store_order c = { .o = o, .name = name };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, get_fn, out, e) < 0 ? -1 : 0;
}

/* How many images are in the store? One that cannot be read may be. */
static int count_images(struct orders *o, const char *store, int64_t *n, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list list = { 0 };
	int r = kv_range(o->kv, o->keys->image, 0, &list, e);

	if (r != 0)
		return r < 0 ? -1 : err_set(e, ERR_UNAVAILABLE, "try again");
	*n = 0;
	for (size_t i = 0; i < list.len; i++) {
		CLEANUP(image_done) struct image im = { 0 };
		bool is_bad =
			image_parse(list.v[i].value, list.v[i].value_size, &im, NULL) < 0;

		*n += is_bad || str_eq(im.store, store);
	}
	return 0;
}

static bool is_in_store(void *aux, const struct vm *vm)
{
	return str_eq(vm->store, aux) || str_eq(vm->image_store, aux);
}

/* VMs of images that are elsewhere may have their disks here. */
static int check_vms(struct orders *o, const char *store, struct err *e)
{
	CLEANUP_STR char *name = xstrdup(store);
	int64_t n = 0;

	if (count_vms(o, store, is_in_store, name, &n, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	return err_set(e, ERR_CONFLICT,
		"the image store \"%s\" has the disks of %lld VM%s: delete %s first",
		store, (long long)n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
}

struct store_delete {
	const char *name;
	int64_t rev; /* of the entry when the images were counted */
};

static int delete_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct store_delete *c = aux;
	struct seen seen;

	key = key_image_store(c->name);
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	if (!seen.value && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (seen.rev != c->rev)
		return err_set(e, ERR_CONFLICT,
			"the image store \"%s\" was changed meanwhile: try again",
			c->name);
	draft_same(d, key);
	draft_del(d, key);
	return 0;
}

/* Whoever registers an image rewrites its store's entry (image_write()): the comparison with
 * the entry as it was before the images were counted finds those that came since. */
int orders_store_delete(
	struct orders *o, const struct who *who, const char *name, struct err *e)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP_STR char *key = NULL;
	struct store_delete c = { .name = name };
	int64_t n = 0;

	if (need_admin(who, e) < 0 || name_check(name, e) < 0)
		return -1;
	key = key_image_store(name);
	if (kv_get(o->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return err_set(e, ERR_NOT_FOUND, "there is no image store \"%s\"", name);
	c.rev = pair.mod_rev;
	if (count_images(o, name, &n, e) < 0)
		return -1;
	if (n > 0)
		return err_set(e, ERR_CONFLICT,
			"the image store \"%s\" is in use by %lld image%s: delete %s "
			"first",
			name, (long long)n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
	if (check_vms(o, name, e) < 0)
		return -1;
	return order_run(o->kv, delete_fn, &c, false, e) < 0 ? -1 : 0;
}
