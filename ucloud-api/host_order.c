/*
 * Orders for hosts: admins only.
 */
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

#define AT(member)   offsetof(struct host, member)
#define DELETE_TRIES 5
#define PERCENT	     .min = 1, .max = 10000

#define SETTINGS                                                                         \
	{ "labels", JT_JSON, AT(labels), .help = "object of strings" },                  \
		{ "cpu_overcommit", JT_INT, AT(cpu_overcommit), 0, PERCENT,              \
			.help = "percent of its CPUs that VMs may be given (default "    \
				"100)" },                                                \
		{ "ram_overcommit", JT_INT, AT(ram_overcommit), 0, PERCENT,              \
			.help = "percent of its RAM that VMs may be given (default "     \
				"100)" },                                                \
		{ "disk_overcommit", JT_INT, AT(disk_overcommit), 0, PERCENT,            \
			.help = "percent of its stores that VMs may be given (default "  \
				"100)" },                                                \
	{                                                                                \
		"reserved_ram_mib", JT_INT, AT(reserved_ram_mib), 0,                     \
			.max = 1 << 30, .help = "RAM in MiB kept for the host itself"    \
	}

static const struct jtab_field input_fields[] = {
	{ "hostname", JT_STR, AT(hostname), JT_NEED, .check = hostname_check,
		.help = "as ucloud-host on it calls itself" },
	SETTINGS,
	{ "draining", JT_BOOL, AT(is_draining), .help = "no VM is placed there yet" },
	{ 0 },
};
const struct jtab host_input_jtab = { "host_order", sizeof(struct host), input_fields };

static const struct jtab_field patch_fields[] = { SETTINGS, { 0 } };
const struct jtab host_patch_jtab = { "host_change", sizeof(struct host), patch_fields };

struct host_order {
	struct orders *o;
	const char *name;
	json_t *body;
	bool is_draining;
	int64_t rev;	 /* of a delete: of the entry when its VMs were counted */
	bool is_changed; /* since then */
	struct idem idem;
	struct host input; /* of a create */
	struct host host;  /* of the last run */
};

static void host_order_done(struct host_order *c)
{
	idem_done(&c->idem);
	host_done(&c->input);
	host_done(&c->host);
}

static void set_defaults(struct host *h)
{
	h->cpu_overcommit = h->cpu_overcommit ? h->cpu_overcommit : 100;
	h->ram_overcommit = h->ram_overcommit ? h->ram_overcommit : 100;
	h->disk_overcommit = h->disk_overcommit ? h->disk_overcommit : 100;
}

static void put_host(const struct orders *o, struct draft *d, const struct host *h)
{
	CLEANUP_STR char *key = key_host(o->keys, h->hostname);
	CLEANUP_STR char *text = host_format(h);

	draft_same(d, key);
	draft_put(d, key, text);
}

/* Runs fn and hands out the host. */
static int run(struct host_order *c, order_fn *fn, struct host *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0 && out) {
		host_done(out);
		*out = c->host;
		c->host = (struct host){ 0 };
	}
	host_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

/* ---------------------------------------------------------------- create */

static int create_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;
	CLEANUP_STR char *key = NULL;
	struct host_order *c = aux;
	struct seen seen;
	int r;

	r = idem_look(&c->idem, d, &subject, e);
	if (r == DRAFT_AS_IT_IS) {
		r = find_host(c->o, d, subject, &c->host, NULL, e);
		return r == 0 ? DRAFT_AS_IT_IS : r;
	}
	if (r != 0)
		return r;
	key = key_host(c->o->keys, c->input.hostname);
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	jtab_copy(&host_jtab, &c->input, &c->host);
	if (seen.value && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (seen.value)
		return err_set_field(e, ERR_EXISTS, "hostname",
			"the host \"%s\" is registered already", c->input.hostname);
	put_host(c->o, d, &c->host);
	idem_write(&c->idem, d, c->host.hostname);
	return 0;
}

int orders_host_create(struct orders *o, const struct who *who, json_t *body,
	const char *idempotency_key, int64_t now, struct host *out, struct err *e)
{
	struct host_order c = { .o = o };

	if (need_admin(who, e) < 0)
		return -1;
	if (jtab_parse(&host_input_jtab, body, JTAB_INPUT, &c.input, e) < 0 ||
		labels_check_at(c.input.labels, "labels", e) < 0 ||
		idem_init(o, who, "host", idempotency_key, body, now, &c.idem, e) < 0) {
		host_order_done(&c);
		return -1;
	}
	set_defaults(&c.input);
	c.input.created = c.input.status_since = now;
	return run(&c, create_fn, out, e);
}

/* ---------------------------------------------------------------- show, change, drain */

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	struct host_order *c = aux;
	int r = find_host(c->o, d, c->name, &c->host, NULL, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_host_get(struct orders *o, const struct who *who, const char *name,
	struct host *out, struct err *e)
{
	struct host_order c = { .o = o, .name = name };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, get_fn, out, e) < 0 ? -1 : 0;
}

static int patch_fn(void *aux, struct draft *d, struct err *e)
{
	struct host_order *c = aux;
	int r = find_host(c->o, d, c->name, &c->host, NULL, e);

	if (r != 0)
		return r;
	if (jtab_patch(&host_patch_jtab, c->body, &c->host, e) < 0 ||
		labels_check_at(c->host.labels, "labels", e) < 0)
		return -1;
	set_defaults(&c->host);
	put_host(c->o, d, &c->host);
	return 0;
}

int orders_host_patch(struct orders *o, const struct who *who, const char *name,
	json_t *body, struct host *out, struct err *e)
{
	struct host_order c = { .o = o, .name = name, .body = body };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, patch_fn, out, e);
}

static int drain_fn(void *aux, struct draft *d, struct err *e)
{
	struct host_order *c = aux;
	int r = find_host(c->o, d, c->name, &c->host, NULL, e);

	if (r != 0)
		return r;
	if (c->host.is_draining == c->is_draining)
		return DRAFT_AS_IT_IS;
	c->host.is_draining = c->is_draining;
	put_host(c->o, d, &c->host);
	return 0;
}

int orders_host_drain(struct orders *o, const struct who *who, const char *name,
	bool is_draining, struct host *out, struct err *e)
{
	struct host_order c = { .o = o, .name = name, .is_draining = is_draining };

	if (need_admin(who, e) < 0)
		return -1;
	return run(&c, drain_fn, out, e);
}

/* ---------------------------------------------------------------- delete */

static bool is_there(void *aux, const struct vm *vm)
{
	const char *host = aux;

	return str_eq(vm->hostname, host) || str_eq(vm->disk_host, host);
}

static int empty_check(struct orders *o, const char *name, struct err *e)
{
	CLEANUP_STR char *host = xstrdup(name);
	CLEANUP_STR char *needle = xasprintf("\"%s\"", name);
	int64_t n = 0;

	if (count_vms(o, needle, is_there, host, &n, e) < 0)
		return -1;
	if (n == 0)
		return 0;
	return err_set(e, ERR_CONFLICT,
		"the host \"%s\" is not empty: %lld VM%s placed there or %s disks there. "
		"Drain it, and stop or delete them first",
		name, (long long)n, n == 1 ? " is" : "s are",
		n == 1 ? "has its" : "have their");
}

static int delete_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP_STR char *key = NULL;
	struct host_order *c = aux;
	struct seen seen;
	int r = find_host(c->o, d, c->name, &c->host, &key, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d))
		return DRAFT_AS_IT_IS;
	if (r != 0)
		return r;
	if (!draft_see(d, key, &seen))
		return DRAFT_MORE;
	c->is_changed = seen.rev != c->rev;
	if (c->is_changed)
		return err_set(e, ERR_CONFLICT,
			"the host \"%s\" was changed while it was being deleted: try "
			"again",
			c->name);
	draft_same(d, key);
	draft_del(d, key);
	return 0;
}

/* The revision of an entry that drains. */
static int draining_rev(struct orders *o, const char *name, int64_t *rev, struct err *e)
{
	CLEANUP_STR char *key = key_host(o->keys, name);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(host_done) struct host host = { 0 };

	if (kv_get(o->kv, key, &pair, NULL, e) < 0)
		return -1;
	if (!pair.key)
		return err_set(e, ERR_NOT_FOUND, "there is no host \"%s\"", name);
	if (host_parse(pair.value, pair.value_size, &host, e) < 0)
		return -1;
	if (!host.is_draining)
		return err_set(e, ERR_CONFLICT,
			"the host \"%s\" was undrained while it was being deleted: try "
			"again",
			name);
	*rev = pair.mod_rev;
	return 0;
}

/* Of one that drains. Its inventory and its status may change meanwhile: then all is counted
 * again. */
static int count_and_delete(struct orders *o, const char *name, struct err *e)
{
	bool is_changed = true;
	int r = -1;

	for (int i = 0; i < DELETE_TRIES && is_changed; i++) {
		struct host_order c = { .o = o, .name = name };

		if (draining_rev(o, name, &c.rev, e) < 0 || empty_check(o, name, e) < 0)
			return -1;
		r = run(&c, delete_fn, NULL, e);
		is_changed = r < 0 && c.is_changed;
	}
	return r < 0 ? -1 : 0;
}

/*
 * A placement compares the host's entry but does not write it. So the host drains first: what
 * was placed before that is counted afterwards, what is decided later sees that it drains. The
 * entry that is deleted is the one that was there when the VMs were counted: else somebody
 * could have undrained it meanwhile, and drained it again.
 */
int orders_host_delete(
	struct orders *o, const struct who *who, const char *name, struct err *e)
{
	CLEANUP(host_done) struct host host = { 0 };
	struct err ignored;
	int drained;

	if (orders_host_get(o, who, name, &host, e) < 0 || empty_check(o, name, e) < 0)
		return -1;
	drained = orders_host_drain(o, who, name, true, &host, e);
	if (drained < 0)
		return -1;
	if (count_and_delete(o, name, e) == 0)
		return 0;
	if (drained != 0 || e->kind == ERR_NOT_FOUND)
		return -1;
	/* Refused: it is as it was. Else it may be gone, or cannot be reached now. */
	if (e->kind != ERR_CONFLICT ||
		orders_host_drain(o, who, name, false, &host, &ignored) < 0)
		return err_wrap(e, "the host drains now, and");
	return -1;
}
