/*
 * Orders for users' entries: quota and SSH keys.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

enum { SSH_KEYS_MAX = 64 };

static const struct jtab_field quota_fields[] = {
	{ "quota", JT_OBJ, offsetof(struct user, quota), .sub = &amounts_jtab,
		.help = "how much all VMs together may have; null: the default again" },
	{ 0 },
};
const struct jtab quota_input_jtab = { "quota_change", sizeof(struct user),
	quota_fields };

struct user_order {
	struct orders *o;
	const char *name, *realm;
	int64_t now;
	json_t *body;
	struct ssh_key key;
	struct user user; /* of the last run */
};

static void user_order_done(struct user_order *c)
{
	jtab_done(&ssh_key_jtab, &c->key);
	user_done(&c->user);
}

static int find(struct user_order *c, struct draft *d, struct err *e)
{
	return find_user(d, c->realm, c->name, c->now, &c->user, NULL, e);
}

/* Runs fn and hands out the user with the quota that counts. */
static int run(struct user_order *c, order_fn *fn, struct user *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		user_done(out);
		*out = c->user;
		out->quota = *user_quota(c->o, out);
		c->user = (struct user){ 0 };
	}
	user_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	int r = find(aux, d, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_user_get(struct orders *o, const struct who *who, const char *name,
	const char *realm, struct user *out, struct err *e)
{
	struct user_order c = { .o = o, .name = name, .realm = realm };

	if (!str_eq(who->name, name) || !str_eq(who->realm, realm)) {
		if (need_admin(who, e) < 0)
			return -1;
	}
	return run(&c, get_fn, out, e) < 0 ? -1 : 0;
}

static int quota_fn(void *aux, struct draft *d, struct err *e)
{
	struct user_order *c = aux;
	int r = find(c, d, e);

	if (r != 0)
		return r;
	c->user.quota = *user_quota(c->o, &c->user);
	if (jtab_patch(&quota_input_jtab, c->body, &c->user, e) < 0)
		return -1;
	c->user.has_own_quota = !json_is_null(json_object_get(c->body, "quota"));
	return put_user(d, &c->user, e);
}

int orders_user_set_quota(struct orders *o, const struct who *who, const char *name,
	const char *realm, json_t *body, int64_t now, struct user *out, struct err *e)
{
	struct user_order c = {
		.o = o, .name = name, .realm = realm, .body = body, .now = now
	};

	if (need_admin(who, e) < 0)
		return -1;
	if (!json_object_get(body, "quota"))
		return err_set_field(e, ERR_INVALID, "quota",
			"give {\"quota\": {...}}, or null for the default");
	return run(&c, quota_fn, out, e);
}

static size_t key_index(const struct user *u, const char *name)
{
	size_t i;

	for (i = 0; i < u->ssh_keys.len; i++) {
		const struct ssh_key *k = jtab_list_at(&ssh_key_jtab, &u->ssh_keys, i);

		if (str_eq(k->name, name))
			break;
	}
	return i;
}

static int key_add_fn(void *aux, struct draft *d, struct err *e)
{
	struct user_order *c = aux;
	const struct ssh_key *k;
	size_t i;
	int r = find(c, d, e);

	if (r != 0)
		return r;
	i = key_index(&c->user, c->key.name);
	if (i < c->user.ssh_keys.len) {
		k = jtab_list_at(&ssh_key_jtab, &c->user.ssh_keys, i);
		if (str_eq(k->key, c->key.key))
			return DRAFT_AS_IT_IS;
		return err_set_field(e, ERR_EXISTS, "name",
			"you have another SSH key named \"%s\": choose another name",
			c->key.name);
	}
	if (c->user.ssh_keys.len >= SSH_KEYS_MAX)
		return err_set(e, ERR_QUOTA,
			"you have %d SSH keys already: remove one first", SSH_KEYS_MAX);
	jtab_copy(
		&ssh_key_jtab, &c->key, jtab_list_add(&ssh_key_jtab, &c->user.ssh_keys));
	return put_user(d, &c->user, e);
}

int orders_ssh_key_add(struct orders *o, const struct who *who, json_t *body, int64_t now,
	struct ssh_key *out, struct err *e)
{
	struct user_order c = {
		.o = o, .name = who->name, .realm = who->realm, .now = now
	};
	struct ssh_key key = { 0 };
	int r;

	if (jtab_parse(&ssh_key_jtab, body, JTAB_INPUT, &c.key, e) < 0) {
		user_order_done(&c);
		return -1;
	}
	jtab_copy(&ssh_key_jtab, &c.key, &key);
	r = run(&c, key_add_fn, NULL, e);
	if (r < 0) {
		jtab_done(&ssh_key_jtab, &key);
		return -1;
	}
	jtab_done(&ssh_key_jtab, out);
	*out = key;
	return r;
}

static int key_del_fn(void *aux, struct draft *d, struct err *e)
{
	struct user_order *c = aux;
	struct ssh_key *keys;
	size_t i;
	int r = find(c, d, e);

	if (r != 0)
		return r;
	i = key_index(&c->user, c->key.name);
	if (i == c->user.ssh_keys.len)
		return draft_is_doubtful(d)
			       ? DRAFT_AS_IT_IS
			       : err_set(e, ERR_NOT_FOUND,
					 "you have no SSH key named \"%s\"", c->key.name);
	keys = c->user.ssh_keys.v;
	jtab_done(&ssh_key_jtab, &keys[i]);
	c->user.ssh_keys.len--;
	memmove(&keys[i], &keys[i + 1], (c->user.ssh_keys.len - i) * sizeof(*keys));
	return put_user(d, &c->user, e);
}

int orders_ssh_key_del(
	struct orders *o, const struct who *who, const char *name, struct err *e)
{
	struct user_order c = { .o = o, .name = who->name, .realm = who->realm };

	if (name_check(name, e) < 0)
		return -1;
	c.key.name = xstrdup(name);
	return run(&c, key_del_fn, NULL, e) < 0 ? -1 : 0;
}
