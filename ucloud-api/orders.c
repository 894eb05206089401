#include "ucloud-api/orders.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

/* Of a stored value; the client of etcd refuses more than KV_VALUE_MAX. */
#define VALUE_MAX (KV_VALUE_MAX - 4096)

struct orders *orders_new(
	struct kv *kv, const struct keys *keys, const struct orders_conf *conf)
{
	struct orders *o = xcalloc(1, sizeof(*o));

	o->kv = kv;
	o->keys = keys;
	o->conf = *conf;
	for (size_t i = 0; i < CREATE_LANES; i++)
		o->creates[i] = group_new(kv);
	pthread_mutex_init(&o->lock, NULL);
	return o;
}

void orders_free(struct orders *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < CREATE_LANES; i++)
		group_free(o->creates[i]);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

const struct orders_conf *orders_conf_of(const struct orders *o)
{
	return &o->conf;
}

int need_admin(const struct who *who, struct err *e)
{
	if (who->is_admin)
		return 0;
	return err_set(e, ERR_DENIED, "only admins may do this");
}

const struct amounts *user_quota(const struct orders *o, const struct user *u)
{
	return u->has_own_quota ? &u->quota : &o->conf.quota;
}

int ref_split(
	const char *ref, char **name, char **realm, const char **rest, struct err *e)
{
	const char *colon = strchr(ref, ':'), *at = strchr(ref, '@');

	if (!colon) {
		*rest = ref;
		return 0;
	}
	if (!at || at > colon)
		return err_set(e, ERR_INVALID,
			"\"%.80s\" is no reference: use a uuid, a name, or "
			"owner@realm:name",
			ref);
	str_set(name, xstrndup(ref, (size_t)(at - ref)));
	str_set(realm, xstrndup(at + 1, (size_t)(colon - at - 1)));
	*rest = colon + 1;
	if (user_name_check(*name, e) < 0 || realm_check(*realm, e) < 0)
		return -1;
	return 0;
}

/* Whose name space does ref mean? Others' are for admins. */
static int ref_owner(const struct who *who, const char *ref, char **name, char **realm,
	const char **rest, struct err *e)
{
	if (ref_split(ref, name, realm, rest, e) < 0)
		return -1;
	if (!*name) {
		*name = xstrdup(who->name);
		*realm = xstrdup(who->realm);
	}
	if (!who->is_admin && (!str_eq(*name, who->name) || !str_eq(*realm, who->realm)))
		return err_set(e, ERR_NOT_FOUND, "there is no \"%.160s\"", ref);
	return 0;
}

static int no_such(const char *what, const char *ref, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "you have no %s \"%.160s\"", what, ref);
}

static int unreadable(const char *what, const char *ref, struct err *e)
{
	CLEANUP_STR char *why = xstrdup(e->msg);

	return err_set(e, ERR_INTERNAL,
		"the stored entry of %s \"%.100s\" cannot be read: %.300s", what, ref,
		why);
}

/* Things that have owners, and names that are unique for their owner. */
struct kind {
	const char *noun;
	char *(*key)(const struct keys *k, const char *uuid);
	char *(*name_key)(const char *realm, const char *owner, const char *name);
	char *(*public_key)(const char *name); /* NULL: all are their owner's alone */
};
static const struct kind vm_kind = { "VM", key_vm, key_vm_name, NULL };
static const struct kind image_kind = { "image", key_image, key_image_name,
	key_image_public };
static const struct kind network_kind = { "network", key_network, key_network_name,
	NULL };

/* What a name index says. Without an owner in ref: an own one, else a public one. */
static int see_index(const struct kind *k, struct draft *d, const char *ref,
	const char *own_key, const char *name, struct seen *index)
{
	CLEANUP_STR char *public_key = NULL;

	if (!draft_see(d, own_key, index))
		return DRAFT_MORE;
	if (index->value || !k->public_key || name != ref)
		return 0;
	public_key = k->public_key(name);
	return draft_see(d, public_key, index) ? 0 : DRAFT_MORE;
}

/* A uuid in an index that is none is an error of the store's content. */
static int entry_key(const struct orders *o, const struct kind *k, struct draft *d,
	const struct who *who, const char *ref, char **key, struct err *e)
{
	CLEANUP_STR char *owner = NULL;
	CLEANUP_STR char *realm = NULL;
	CLEANUP_STR char *own_key = NULL;
	const char *name = NULL;
	struct seen index;
	int r;

	if (ref_owner(who, ref, &owner, &realm, &name, e) < 0)
		return -1;
	if (uuid_check(name, NULL) == 0) {
		*key = k->key(o->keys, name);
		return 0;
	}
	if (name_check(name, e) < 0)
		return -1;
	own_key = k->name_key(realm, owner, name);
	r = see_index(k, d, ref, own_key, name, &index);
	if (r != 0)
		return r;
	if (!index.value)
		return no_such(k->noun, ref, e);
	if (uuid_check(index.value, e) < 0)
		return unreadable(k->noun, ref, e);
	*key = k->key(o->keys, index.value);
	return 0;
}

/* The entry that ref means: it is there, whose ever it is. */
static int see_entry(const struct orders *o, const struct kind *k, struct draft *d,
	const struct who *who, const char *ref, char **key, struct seen *seen,
	struct err *e)
{
	int r = entry_key(o, k, d, who, ref, key, e);

	if (r != 0)
		return r;
	if (!draft_see(d, *key, seen))
		return DRAFT_MORE;
	return seen->value ? 0 : no_such(k->noun, ref, e);
}

static bool is_owner(const struct who *who, const char *owner, const char *realm)
{
	return str_eq(owner, who->name) && str_eq(realm, who->realm);
}

int find_vm(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct vm *out, char **key, struct err *e)
{
	CLEANUP_STR char *vm_key = NULL;
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct seen seen;
	int r = see_entry(o, &vm_kind, d, who, ref, &vm_key, &seen, e);

	if (r != 0)
		return r;
	if (vm_parse(seen.value, seen.size, &vm, e) < 0)
		return who->is_admin ? unreadable("VM", ref, e) : no_such("VM", ref, e);
	if (!who->is_admin && !is_owner(who, vm.owner, vm.owner_realm))
		return no_such("VM", ref, e);
	vm_done(out);
	*out = vm;
	vm = (struct vm){ 0 };
	if (key)
		*key = MOVE(vm_key);
	return 0;
}

/* Orders of one group look at the same entries: each is parsed once. */
static bool copy_parsed(struct draft *d, const char *key, const struct jtab *t, void *out)
{
	const void *parsed = draft_parsed(d, key, t);

	if (parsed)
		jtab_copy(t, parsed, out);
	return parsed != NULL;
}

int find_image(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct image *out, char **key, struct err *e)
{
	CLEANUP_STR char *image_key = NULL;
	CLEANUP(image_done) struct image image = { 0 };
	struct seen seen;
	int r = see_entry(o, &image_kind, d, who, ref, &image_key, &seen, e);

	if (r != 0)
		return r;
	if (!copy_parsed(d, image_key, &image_jtab, &image)) {
		if (image_parse(seen.value, seen.size, &image, e) < 0)
			return unreadable("image", ref, e);
		draft_keep_parsed(d, image_key, &image_jtab, &image);
	}
	if (!who->is_admin && !image.is_public &&
		!is_owner(who, image.owner, image.owner_realm))
		return no_such("image", ref, e);
	image_done(out);
	*out = image;
	image = (struct image){ 0 };
	if (key)
		*key = MOVE(image_key);
	return 0;
}

int find_network(const struct orders *o, struct draft *d, const struct who *who,
	const char *ref, struct network *out, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	CLEANUP(network_done) struct network network = { 0 };
	struct seen seen;
	int r = see_entry(o, &network_kind, d, who, ref, &key, &seen, e);

	if (r != 0)
		return r;
	if (network_parse(seen.value, seen.size, &network, e) < 0)
		return who->is_admin ? unreadable("network", ref, e)
				     : no_such("network", ref, e);
	if (!who->is_admin && !is_owner(who, network.owner, network.owner_realm))
		return no_such("network", ref, e);
	network_done(out);
	*out = network;
	network = (struct network){ 0 };
	return 0;
}

int find_host(const struct orders *o, struct draft *d, const char *name, struct host *out,
	char **key, struct err *e)
{
	CLEANUP_STR char *host_key = NULL;
	struct seen seen;

	if (hostname_check(name, e) < 0)
		return -1;
	host_key = key_host(o->keys, name);
	if (!draft_see(d, host_key, &seen))
		return DRAFT_MORE;
	if (!seen.value)
		return err_set(e, ERR_NOT_FOUND, "there is no host \"%s\"", name);
	if (host_parse(seen.value, seen.size, out, e) < 0)
		return unreadable("host", name, e);
	if (key)
		*key = MOVE(host_key);
	return 0;
}

int find_store(struct draft *d, const char *name, struct image_store *out, char **key,
	struct err *e)
{
	CLEANUP_STR char *store_key = NULL;
	struct seen seen;

	if (name_check(name, e) < 0)
		return -1;
	store_key = key_image_store(name);
	if (!draft_see(d, store_key, &seen))
		return DRAFT_MORE;
	if (!seen.value)
		return err_set(e, ERR_NOT_FOUND, "there is no image store \"%s\"", name);
	if (!copy_parsed(d, store_key, &image_store_jtab, out)) {
		if (image_store_parse(seen.value, seen.size, out, e) < 0)
			return unreadable("image store", name, e);
		draft_keep_parsed(d, store_key, &image_store_jtab, out);
	}
	if (key)
		*key = MOVE(store_key);
	return 0;
}

int find_user(struct draft *d, const char *realm, const char *name, int64_t now,
	struct user *out, char **key, struct err *e)
{
	CLEANUP_STR char *user_key = NULL;
	struct seen seen;

	if (user_name_check(name, e) < 0 || realm_check(realm, e) < 0)
		return -1;
	user_key = key_user(realm, name);
	if (!draft_see(d, user_key, &seen))
		return DRAFT_MORE;
	if (seen.value && !copy_parsed(d, user_key, &user_jtab, out)) {
		if (user_parse(seen.value, seen.size, out, e) < 0)
			return unreadable("user", name, e);
		draft_keep_parsed(d, user_key, &user_jtab, out);
	}
	if (!seen.value) {
		user_done(out);
		out->name = xstrdup(name);
		out->realm = xstrdup(realm);
		out->created = now;
	}
	if (key)
		*key = MOVE(user_key);
	return 0;
}

int find_request(struct draft *d, const char *key, struct request *out, struct err *e)
{
	struct seen seen;

	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	if (!seen.value)
		return DRAFT_AS_IT_IS;
	if (request_parse(seen.value, seen.size, out, e) < 0)
		return unreadable("request", key, e);
	return 0;
}

/* Looking who uses something takes less, or it is left to who carries the order out. */
#define UNCHECKED_SEC 30

int look_deletion(struct draft *d, const char *key, enum request_type type, struct err *e)
{
	CLEANUP(request_done) struct request r = { 0 };
	int found = find_request(d, key, &r, e);

	if (found == DRAFT_AS_IT_IS) /* none is open */
		return 0;
	if (found == 0 && r.type == (int)type && !r.is_unchecked)
		return DRAFT_AS_IT_IS;
	return found;
}

void put_deletion(struct draft *d, const char *key, enum request_type type, char *uuid,
	int64_t now, bool is_unchecked)
{
	const struct request r = { .type = type,
		.uuid = uuid,
		.created = now,
		.not_before = is_unchecked ? now + UNCHECKED_SEC : 0,
		.is_unchecked = is_unchecked };
	CLEANUP_STR char *text = request_format(&r);

	draft_same(d, key);
	draft_put(d, key, text);
}

/* Takes text. */
static char *size_check(const char *what, char *text, struct err *e)
{
	size_t size = strlen(text);

	if (size <= VALUE_MAX)
		return text;
	free(text);
	err_set(e, ERR_TOO_LARGE,
		"%s would be %zu bytes, at most %d are possible: use fewer or shorter "
		"SSH keys and less user_data",
		what, size, VALUE_MAX);
	return NULL;
}

char *vm_text(const struct vm *vm, struct err *e)
{
	return size_check("the entry of the VM", vm_format(vm), e);
}

char *user_text(const struct user *u, struct err *e)
{
	return size_check("the entry of the user", user_format(u), e);
}

int put_vm(const struct orders *o, struct draft *d, const struct vm *vm, struct err *e)
{
	CLEANUP_STR char *key = key_vm(o->keys, vm->uuid);
	CLEANUP_STR char *text = vm_text(vm, e);

	if (!text)
		return -1;
	draft_same(d, key);
	draft_put(d, key, text);
	return 0;
}

int put_user(struct draft *d, const struct user *u, struct err *e)
{
	CLEANUP_STR char *key = key_user(u->realm, u->name);
	CLEANUP_STR char *text = user_text(u, e);

	if (!text)
		return -1;
	draft_same(d, key);
	draft_put(d, key, text);
	return 0;
}
