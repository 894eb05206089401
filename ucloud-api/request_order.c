/*
 * Orders for requests: look, try again, give up.
 */
#include "common/base/buf.h"
#include "ucloud-api/network_order.h"

struct request_order {
	struct orders *o;
	const struct who *who;
	const char *uuid; /* of the VM, the image or the network */
	int64_t now;
	/* Of the last run. */
	struct request request;
	enum { OF_VM, OF_IMAGE, OF_NETWORK } of;
	struct vm vm;
	struct image image;
	struct network network;
};

/* Where the request is open. */
struct place {
	struct slots slots; /* of a VM */
	struct slot *open;
	char *other_key; /* of an image or a network */
};

static void place_done(struct place *p)
{
	slots_done(&p->slots);
	free(p->other_key);
}

static const char *place_key(const struct place *p)
{
	return p->other_key ? p->other_key : p->open->key;
}

static void request_order_done(struct request_order *c)
{
	request_done(&c->request);
	vm_done(&c->vm);
	image_done(&c->image);
	network_done(&c->network);
}

static int no_request(const struct request_order *c, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "no request is open for %s", c->uuid);
}

static int find_of_vm(
	struct request_order *c, struct draft *d, struct place *p, struct err *e)
{
	int r = slots_look(c->o, d, &c->vm, &p->slots, e);

	if (r != 0)
		return r;
	p->open = slots_open(&p->slots);
	if (!p->open)
		return no_request(c, e);
	jtab_copy(&request_jtab, &p->open->request, &c->request);
	return 0;
}

/* The VM, image or network, and where its request is open. */
static int find_open(
	struct request_order *c, struct draft *d, struct place *p, struct err *e)
{
	int r;

	if (uuid_check(c->uuid, e) < 0)
		return -1;
	image_done(&c->image);
	c->of = OF_VM;
	r = find_vm(c->o, d, c->who, c->uuid, &c->vm, NULL, e);
	if (r == 0)
		return find_of_vm(c, d, p, e);
	if (r > 0 || e->kind != ERR_NOT_FOUND)
		return r;
	c->of = OF_IMAGE;
	r = find_image_request(
		c->o, d, c->who, c->uuid, &c->image, &c->request, &p->other_key, e);
	if (r >= 0 || e->kind != ERR_NOT_FOUND || c->image.uuid)
		return r;
	c->of = OF_NETWORK;
	return find_network_request(
		c->o, d, c->who, c->uuid, &c->network, &c->request, &p->other_key, e);
}

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(place_done) struct place p = { 0 };
	int r = find_open(aux, d, &p, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

static int retry_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(place_done) struct place p = { 0 };
	CLEANUP_STR char *text = NULL;
	struct request_order *c = aux;
	int r = find_open(c, d, &p, e);

	if (r != 0)
		return r;
	if (c->request.attempts == 0 && c->request.not_before == 0)
		return DRAFT_AS_IT_IS;
	c->request.attempts = c->request.not_before = 0;
	text = request_format(&c->request);
	draft_same(d, place_key(&p));
	draft_put(d, place_key(&p), text);
	return 0;
}

static int abort_other(struct request_order *c, struct draft *d, const struct place *p)
{
	char *reason = xasprintf("%s aborted by %s@%s",
		request_type_names[c->request.type], c->who->name, c->who->realm);

	draft_same(d, p->other_key);
	draft_del(d, p->other_key);
	if (c->of == OF_NETWORK) {
		c->network.status = NET_ERROR;
		str_set(&c->network.reason, reason);
		put_network(c->o, d, &c->network);
		return 0;
	}
	c->image.status = IMAGE_ERROR;
	c->image.progress = 0;
	str_set(&c->image.reason, reason);
	put_image(c->o, d, &c->image);
	return 0;
}

/* The outcome of an earlier try is not known: did it do it? */
static bool is_aborted(const struct request_order *c)
{
	switch (c->of) {
	case OF_VM:
		return c->vm.uuid && c->vm.status == VM_ERROR;
	case OF_IMAGE:
		return c->image.uuid && c->image.status == IMAGE_ERROR;
	default:
		return c->network.uuid && c->network.status == NET_ERROR;
	}
}

/* Its host has looked into the VM's disks already: it is the one that can undo what is not
 * done. It tries once more, and then does. */
static int abort_change(
	struct request_order *c, struct draft *d, const struct slot *open, struct err *e)
{
	CLEANUP_STR char *text = NULL;

	if (c->request.deadline && c->request.deadline <= c->now)
		return DRAFT_AS_IT_IS;
	c->request.deadline = c->now;
	c->request.attempts = c->request.not_before = 0;
	text = request_format(&c->request);
	vm_log(&c->vm, c->now, "%s aborted by %s@%s: what is not done is undone",
		request_type_names[c->request.type], c->who->name, c->who->realm);
	if (put_vm(c->o, d, &c->vm, e) < 0)
		return -1;
	slot_same(d, open);
	draft_put(d, open->key, text);
	return 0;
}

static int abort_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(place_done) struct place p = { 0 };
	struct request_order *c = aux;
	int r = find_open(c, d, &p, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d) && is_aborted(c))
		return DRAFT_AS_IT_IS;
	if (r != 0)
		return r;
	if (c->request.type == REQ_DELETE_VM || c->request.type == REQ_DELETE_IMAGE ||
		c->request.type == REQ_DELETE_NETWORK)
		return err_set(e, ERR_CONFLICT,
			"%s cannot be aborted: what it has removed would be missed",
			request_type_names[c->request.type]);
	if (c->of != OF_VM)
		return abort_other(c, d, &p);
	if (c->request.type == REQ_CHANGE_VM)
		return abort_change(c, d, p.open, e);
	vm_log(&c->vm, c->now, "%s aborted by %s@%s", request_type_names[c->request.type],
		c->who->name, c->who->realm);
	vm_move(&c->vm, VM_ERROR);
	slot_close(d, p.open);
	return put_vm(c->o, d, &c->vm, e);
}

static int run(struct request_order *c, order_fn *fn, struct request *out,
	struct vm *vm_out, struct image *image_out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		request_done(out);
		*out = c->request;
		c->request = (struct request){ 0 };
	}
	if (r >= 0 && vm_out && c->of == OF_VM) {
		vm_done(vm_out);
		*vm_out = c->vm;
		c->vm = (struct vm){ 0 };
	}
	if (r >= 0 && image_out && c->of == OF_IMAGE) {
		image_done(image_out);
		*image_out = c->image;
		c->image = (struct image){ 0 };
	}
	request_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

int orders_request_get(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e)
{
	/* The VM was read before the keys that it leads to: a request may have gone from the
	 * scheduler to a host in between, so that only the second look finds it. */
	for (int look = 0;; look++) {
		struct request_order c = { .o = o, .who = who, .uuid = uuid };

		if (run(&c, get_fn, out, NULL, NULL, e) >= 0)
			return 0;
		if (e->kind != ERR_NOT_FOUND || look > 0)
			return -1;
	}
}

int orders_request_retry(struct orders *o, const struct who *who, const char *uuid,
	struct request *out, struct err *e)
{
	struct request_order c = { .o = o, .who = who, .uuid = uuid };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, retry_fn, out, NULL, NULL, e);
}

int orders_request_abort(struct orders *o, const struct who *who, const char *uuid,
	int64_t now, struct vm *vm, struct image *image, struct err *e)
{
	struct request_order c = { .o = o, .who = who, .uuid = uuid, .now = now };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, abort_fn, NULL, vm, image, e);
}
