/*
 * POST /v1/vms: the order that many clients may send at once (group.h).
 */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/store/backoff.h"
#include "ucloud-api/network_order.h"

struct vm_create {
	struct orders *o;
	const struct who *who;
	struct vm_input in;
	struct idem idem;
	char uuid[UUID_STR_SIZE];
	int64_t now;
	struct vm vm;	 /* of the last run */
	bool is_refused; /* by us, in the last run: the store has nothing to do with it */
};

static void vm_create_done(struct vm_create *c)
{
	vm_input_done(&c->in);
	idem_done(&c->idem);
	vm_done(&c->vm);
}

/* What an order refers to: entries and their keys. */
struct found {
	char *name_key, *user_key, *own_image_key, *image_key, *store_key;
	char *own_store_key; /* of its disks, when that is another one; else NULL */
	char *network_keys[VM_NICS_MAX];
	struct user user;
	struct image image;
	struct image_store store;
	struct network networks[VM_NICS_MAX];
};

static void found_done(struct found *f)
{
	free(f->name_key);
	free(f->user_key);
	free(f->own_image_key);
	free(f->image_key);
	free(f->store_key);
	free(f->own_store_key);
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		free(f->network_keys[i]);
		network_done(&f->networks[i]);
	}
	user_done(&f->user);
	image_done(&f->image);
	image_store_done(&f->store);
}

/* The VM that this order made before; *subject is its uuid. */
static int find_made(
	struct vm_create *c, struct draft *d, const char *uuid, struct err *e)
{
	int r = find_vm(c->o, d, c->who, uuid, &c->vm, NULL, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND,
			"this order was carried out before, and its VM %s was deleted "
			"since",
			uuid);
	return r == 0 ? DRAFT_AS_IT_IS : r;
}

/* Was it carried out already (Idempotency-Key, or an answer that was lost)? Is the name
 * free? */
static int look_new(struct vm_create *c, struct draft *d, struct found *f, struct err *e)
{
	CLEANUP_STR char *subject = NULL;
	struct seen name;
	bool is_name_known;
	int r;

	f->name_key = key_vm_name(c->who->realm, c->who->name, c->in.name);
	is_name_known = draft_see_new(d, f->name_key, &name);
	r = idem_look(&c->idem, d, &subject, e);
	if (r == DRAFT_AS_IT_IS)
		return find_made(c, d, subject, e);
	if (r != 0)
		return r;
	if (!is_name_known)
		return DRAFT_MORE;
	if (!name.value)
		return 0;
	if (draft_is_doubtful(d) && str_eq(name.value, c->uuid))
		return find_made(c, d, c->uuid, e);
	return err_set_field(e, ERR_EXISTS, "name",
		"you have a VM named \"%s\" already: choose another name", c->in.name);
}

static int image_usable_check(const struct image *im, struct err *e)
{
	switch (im->status) {
	case IMAGE_CREATED:
		return 0;
	case IMAGE_TO_BE_CREATED:
		return err_set_field(e, ERR_CONFLICT, "image",
			"the image \"%s\" is still being made (%lld %%)", im->name,
			(long long)im->progress);
	case IMAGE_ERROR:
		return err_set_field(e, ERR_CONFLICT, "image",
			"the image \"%s\" could not be made: %.300s", im->name,
			im->reason ? im->reason : "");
	default:
		return err_set_field(e, ERR_CONFLICT, "image",
			"the image \"%s\" cannot be used: its status is %s", im->name,
			image_status_names[im->status]);
	}
}

static int look_image(
	struct vm_create *c, struct draft *d, struct found *f, struct err *e)
{
	int r = find_image(c->o, d, c->who, c->in.image, &f->image, &f->image_key, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "image",
			"there is no image \"%s\" of yours, and no public one",
			c->in.image);
	if (r != 0)
		return r;
	if (uuid_check(c->in.image, NULL) < 0)
		f->own_image_key =
			key_image_name(c->who->realm, c->who->name, c->in.image);
	if (image_usable_check(&f->image, e) < 0)
		return -1;
	r = find_store(d, f->image.store, &f->store, &f->store_key, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_CONFLICT, "image",
			"the image \"%s\" cannot be used: its store \"%s\" is not "
			"registered",
			f->image.name, f->image.store);
	return r;
}

/* Another store than the image's, for its disks. */
static int look_own_store(
	struct vm_create *c, struct draft *d, struct found *f, struct err *e)
{
	CLEANUP(image_store_done) struct image_store store = { 0 };
	int r;

	if (str_is_empty(c->in.store) || str_eq(c->in.store, f->image.store))
		return 0;
	r = find_store(d, c->in.store, &store, &f->own_store_key, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND)
		return err_set_field(e, ERR_NOT_FOUND, "store",
			"there is no image store \"%s\"", c->in.store);
	return r;
}

static int look_network(
	struct vm_create *c, struct draft *d, struct found *f, size_t i, struct err *e)
{
	const struct nic_input *nic = (const struct nic_input *)c->in.networks.v + i;
	struct network *net = &f->networks[i];
	/* The asker's own, also when an admin asks. */
	int r = look_usable_network(
		c->o, d, c->who->name, c->who->realm, nic->network, net, e);

	if (r == 0)
		f->network_keys[i] = key_network(c->o->keys, net->uuid);
	return r;
}

/* Everything that the order refers to. All that is missing is asked for in one go. */
static int look(struct vm_create *c, struct draft *d, struct found *f, struct err *e)
{
	bool has_more = false;
	int r;

	r = look_new(c, d, f, e);
	if (r < 0 || r == DRAFT_AS_IT_IS)
		return r;
	has_more |= r == DRAFT_MORE;
	r = find_user(d, c->who->realm, c->who->name, c->now, &f->user, &f->user_key, e);
	if (r < 0)
		return -1;
	has_more |= r == DRAFT_MORE;
	r = look_image(c, d, f, e);
	if (r == 0)
		r = look_own_store(c, d, f, e);
	if (r < 0)
		return has_more ? DRAFT_MORE : -1;
	has_more |= r == DRAFT_MORE;
	for (size_t i = 0; i < c->in.networks.len; i++) {
		r = look_network(c, d, f, i, e);
		if (r < 0)
			return has_more ? DRAFT_MORE : -1;
		has_more |= r == DRAFT_MORE;
	}
	return has_more ? DRAFT_MORE : 0;
}

static int build(struct vm_create *c, struct found *f, struct err *e)
{
	struct vm_parts parts = {
		.who = c->who,
		.uuid = c->uuid,
		.image = &f->image,
		.user = &f->user,
		.networks = f->networks,
	};
	struct amounts a;

	vm_done(&c->vm);
	if (vm_input_build(&c->in, &parts, &c->o->conf.limits, c->now, &c->vm, e) < 0)
		return -1;
	a = vm_amounts(&c->vm);
	return user_take(&f->user, user_quota(c->o, &f->user), &a, e);
}

static void compare(struct vm_create *c, struct draft *d, struct found *f)
{
	draft_same(d, f->name_key);
	draft_same(d, f->user_key);
	draft_same(d, f->image_key);
	draft_same(d, f->store_key);
	if (f->own_store_key)
		draft_same(d, f->own_store_key);
	/* A public image is meant only while there is no own one of that name. */
	if (f->own_image_key)
		draft_same(d, f->own_image_key);
	for (size_t i = 0; i < c->in.networks.len; i++)
		draft_same(d, f->network_keys[i]);
}

static void write_ports(struct vm_create *c, struct draft *d)
{
	for (size_t i = 0; i < c->vm.networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &c->vm.networks, i);
		CLEANUP_STR char *key = key_port(nic->network, nic->mac);

		draft_same(d, key);
		put_port(d, &c->vm, i);
	}
}

static int write_all(struct vm_create *c, struct draft *d, struct found *f, struct err *e)
{
	CLEANUP_STR char *request_key = key_request_scheduler(c->o->keys, c->uuid);
	CLEANUP_STR char *request =
		request_new(REQ_SCHEDULE_VM, c->uuid, NULL, c->now, 0);
	CLEANUP_STR char *vm_key = key_vm(c->o->keys, c->uuid);
	CLEANUP_STR char *vm = vm_text(&c->vm, e);
	CLEANUP_STR char *user = vm ? user_text(&f->user, e) : NULL;

	if (!vm || !user)
		return -1;
	compare(c, d, f);
	draft_put(d, vm_key, vm);
	draft_put(d, f->user_key, user);
	draft_keep_parsed(d, f->user_key, &user_jtab, &f->user);
	draft_put(d, f->name_key, c->uuid);
	if (c->vm.want == VM_WANT_RUNNING)
		draft_put(d, request_key, request);
	write_ports(c, d);
	idem_write(&c->idem, d, c->uuid);
	return 0;
}

static int draft_all(struct vm_create *c, struct draft *d, struct err *e)
{
	CLEANUP(found_done) struct found f = { 0 };
	int r;

	r = look(c, d, &f, e);
	if (r != 0)
		return r;
	if (build(c, &f, e) < 0)
		return -1;
	return write_all(c, d, &f, e);
}

static int vm_create_fn(void *aux, struct draft *d, struct err *e)
{
	struct vm_create *c = aux;
	int r = draft_all(c, d, e);

	c->is_refused = r < 0;
	return r;
}

/* At most what write_all() adds; the user's entry is the largest that one can be. */
static struct group_room room_of(const struct vm_create *c)
{
	size_t n = c->in.networks.len, size = 8192;

	for (size_t i = 0; i < c->in.ssh_keys.len; i++)
		size += strlen(c->in.ssh_keys.v[i]);
	if (c->in.user_data)
		size += 2 * strlen(c->in.user_data);
	return (struct group_room){
		.n_ops = 5 + n,
		.n_compares = 7 + 2 * n,
		.size = size,
	};
}

static struct group *lane_of(const struct orders *o, const struct who *who)
{
	CLEANUP_STR char *key = key_user(who->realm, who->name);

	return o->creates[backoff_hash(key) % CREATE_LANES];
}

int orders_vm_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct vm *out, struct err *e)
{
	CLEANUP(vm_create_done) struct vm_create c = { .o = o, .who = who, .now = now };
	struct group_room room;
	int r;

	if (vm_input_parse(body, &o->conf.limits, &c.in, e) < 0)
		return -1;
	uuid_new(c.uuid);
	room = room_of(&c);
	for (int i = 0; i < 2; i++) {
		idem_done(&c.idem);
		if (idem_init(o, who, "vm", idempotency_key, body, now, &c.idem, e) < 0)
			return -1;
		r = group_run(lane_of(o, who), vm_create_fn, &c, &room, e);
		if (r >= 0 || c.is_refused || !idem_failed(o, &c.idem, e))
			break;
	}
	if (r < 0)
		return -1;
	vm_done(out);
	*out = c.vm;
	c.vm = (struct vm){ 0 };
	return str_eq(out->uuid, c.uuid) ? 0 : ORDER_AS_IT_IS;
}
