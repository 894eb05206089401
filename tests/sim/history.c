/*
 * Follows the store: every transaction is seen alone, in order, with the one who wrote it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "tests/sim/sim.h"

bool sim_wrong(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	s->is_wrong = true;
	if (s->n_errors++ > 0)
		return false; /* what follows may follow from it */
	fprintf(stderr,
		"seed %llu, move %u, revision %lld: ", (unsigned long long)s->seed,
		s->n_moves, (long long)s->rev);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

/* ---------------------------------------------------------------- who */

/* Who failed to make the next revision must not have the one that a lease makes. */
void history_writer(struct sim *s, const struct node *n)
{
	size_t rev = (size_t)fake_etcd_rev(s->etcd) + 1;
	if (rev >= s->n_writers) {
		size_t len = 2 * rev + 1024;
		s->writers = xreallocarray(s->writers, len, 1);
		memset(s->writers + s->n_writers, 0, len - s->n_writers);
		s->n_writers = len;
	}
	s->writers[rev] = n ? (uint8_t)(1 + (n - s->nodes)) : 0;
}

static uint8_t writer_at(const struct sim *s, int64_t rev)
{
	return (size_t)rev < s->n_writers ? s->writers[rev] : 0;
}

unsigned history_n_written(struct sim *s, const struct node *n, int64_t since_rev)
{
	unsigned len = 0;
	for (int64_t rev = since_rev + 1; rev <= fake_etcd_rev(s->etcd); rev++)
		len += writer_at(s, rev) == 1 + (n - s->nodes);
	return len;
}

/* ---------------------------------------------------------------- what */

struct entry *history_find(struct sim *s, const char *key)
{
	struct entry *e;
	HASH_FIND_STR(s->entries, key, e);
	return e && e->value ? e : NULL;
}

struct entry *history_entry(struct sim *s, const char *key)
{
	struct entry *e;
	HASH_FIND_STR(s->entries, key, e);
	if (e)
		return e;
	e = xcalloc(1, sizeof(*e));
	e->key = xstrdup(key);
	HASH_ADD_KEYPTR(hh, s->entries, e->key, strlen(e->key), e);
	return e;
}

struct sim_vm *sim_find_vm(struct sim *s, const char *uuid)
{
	struct sim_vm *v;
	HASH_FIND_STR(s->by_uuid, uuid, v);
	return v;
}

/* One that exists, or sometimes one that does not any more. */
struct sim_vm *sim_any_vm(struct sim *s)
{
	struct sim_vm *v = NULL;
	for (int i = 0; s->n_vms && i < 8 && !(v && v->exists); i++)
		v = s->vms[sim_random(s, s->n_vms)];
	return v;
}

struct sim_net *sim_find_net(struct sim *s, const char *uuid)
{
	struct sim_net *n;
	HASH_FIND(hh, s->net_by_uuid, uuid, strlen(uuid), n);
	return n;
}

struct sim_net *sim_any_net(struct sim *s)
{
	struct sim_net *n = NULL;
	for (int i = 0; s->n_nets && i < 8 && !(n && n->exists); i++)
		n = s->nets[sim_random(s, s->n_nets)];
	return n;
}

static struct sim_vm *new_vm(struct sim *s, const char *uuid)
{
	struct sim_vm *v = xcalloc(1, sizeof(*v));
	snprintf(v->uuid, sizeof(v->uuid), "%s", uuid);
	HASH_ADD_STR(s->by_uuid, uuid, v);
	s->vms[s->n_vms++] = v;
	return v;
}

/* ---------------------------------------------------------------- one change */

static const char *last_part(const char *key)
{
	const char *slash = strrchr(key, '/');
	return slash ? slash + 1 : key;
}

static void touch(struct sim_vm *v)
{
	if (v)
		v->is_touched = true;
}

static void expect_new(struct sim_vm *v)
{
	for (unsigned i = 0; i < SIM_USERS; i++)
		if (str_eq(v->vm.owner, sim_user(i)))
			v->user = i;
	v->expect = v->vm.want == VM_WANT_RUNNING ? SIM_RUNNING : SIM_STOPPED;
}

static bool change_vm(
	struct sim *s, const struct txn *t, const char *key, const char *value)
{
	CLEANUP(vm_done) struct vm after = { 0 };
	struct sim_vm *v = sim_find_vm(s, last_part(key));
	struct err e;
	bool ok;

	if (value && vm_parse(value, strlen(value), &after, &e))
		return sim_wrong(s, "%s: %s", key, e.msg);
	if (!v && !value)
		return sim_wrong(s, "%s goes and never was", key);
	if (!v && s->n_vms == SIM_VMS)
		return sim_wrong(s, "too many VMs for this program");
	if (!v)
		v = new_vm(s, last_part(key));
	touch(v);
	if (v->exists || !value)
		ok = rule_vm(s, t, v, &v->vm, value ? &after : NULL);
	else
		ok = rule_vm(s, t, v, &(struct vm){ 0 }, &after);
	bool is_new = value && !v->exists;
	v->exists = value;
	if (!value)
		return ok;
	vm_done(&v->vm);
	v->vm = after;
	after = (struct vm){ 0 };
	if (is_new)
		expect_new(v);
	return ok;
}

static bool change_request(
	struct sim *s, const struct txn *t, const struct kv_event *ev, const char *before)
{
	CLEANUP(request_done) struct request r = { 0 };
	struct request_key k;
	struct err e;
	const struct kv_pair *p = &ev->pair;
	if (request_key_parse(&s->keys, p->key, &k, &e))
		return sim_wrong(s, "%s: %s", p->key, e.msg);
	if (str_eq(k.kind, "network"))
		return change_network_request(s, ev, k.subject);
	struct sim_vm *v = sim_find_vm(s, k.subject);
	if (!v)
		return sim_wrong(s, "%s is for a VM that never was", p->key);
	touch(v);
	v->n_requests += (ev->is_delete ? 0 : 1) - (before ? 1 : 0);
	if (ev->is_delete)
		return rule_request_done(s, t, v);
	if (request_parse(p->value, p->value_size, &r, &e))
		return sim_wrong(s, "%s: %s", p->key, e.msg);
	if (!str_eq(r.uuid, k.subject))
		return sim_wrong(s, "%s is for %s", p->key, r.uuid);
	v->request_type = r.type;
	str_set(&v->request_key, xstrdup(p->key));
	return true;
}

static bool change_placement(struct sim *s, const char *key, bool is_new, bool is_delete)
{
	struct sim_vm *v = sim_find_vm(s, last_part(key));
	if (!v)
		return sim_wrong(s, "%s is for a VM that never was", key);
	touch(v);
	v->n_placements += (is_new ? 1 : 0) - (is_delete ? 1 : 0);
	v->is_placed_now = is_new;
	return true;
}

static bool change_name(
	struct sim *s, const char *key, const char *before, const char *after)
{
	touch(before ? sim_find_vm(s, before) : NULL);
	struct sim_vm *v = after ? sim_find_vm(s, after) : NULL;
	touch(v);
	return !after || v || sim_wrong(s, "%s is of %s, which never was", key, after);
}

static bool change_host(
	struct sim *s, const struct txn *t, const char *key, const char *value)
{
	CLEANUP(host_done) struct host before = { 0 };
	struct err e;
	int i = sim_host_index(last_part(key));
	if (i < 0)
		return sim_wrong(s, "%s is none of ours", key);
	struct sim_host *h = &s->hosts[i];
	bool was_registered = h->is_registered;
	before = h->host;
	h->host = (struct host){ 0 };
	h->is_registered = value;
	if (value && host_parse(value, strlen(value), &h->host, &e))
		return sim_wrong(s, "%s: %s", key, e.msg);
	return rule_host(s, t, i, &before, was_registered);
}

static bool change_alive(struct sim *s, const char *key, bool is_delete)
{
	int i = sim_host_index(last_part(key));
	if (i < 0)
		return sim_wrong(s, "%s is none of ours", key);
	s->hosts[i].is_alive = !is_delete;
	if (is_delete)
		s->hosts[i].gone_at = s->now;
	else
		s->hosts[i].came_at = s->now;
	if (!is_delete)
		s->hosts[i].was_meddled = false;
	return true;
}

static bool change_lock(struct sim *s, const struct txn *t, const struct kv_event *ev)
{
	bool is_new = !ev->is_delete && ev->pair.create_rev == ev->pair.mod_rev;
	if (!ev->is_delete && !is_new)
		return true;
	enum sim_lock lock =
		str_eq(last_part(ev->pair.key), "network") ? LOCK_NETWORK : LOCK_SCHED;
	s->leaders[lock] = (struct sim_leader){ -1, 0 };
	if (is_new && t->writer)
		s->leaders[lock] = (struct sim_leader){ (int)(t->writer - s->nodes),
			t->writer->life };
	return true;
}

static unsigned n_future(const char *text)
{
	unsigned n = 0;
	while ((text = strstr(text, "x_future"))) {
		text++;
		n++;
	}
	return n;
}

static bool change(
	struct sim *s, const struct txn *t, const struct kv_event *ev, const char *before)
{
	const char *key = ev->pair.key, *after = ev->is_delete ? NULL : ev->pair.value;
	enum sim_kind kind = rules_kind(s, key);
	if (!rule_writer(s, t, kind, key, ev->is_delete))
		return false;
	switch (kind) {
	case KIND_VM:
		return change_vm(s, t, key, after);
	case KIND_NAME:
		return change_name(s, key, before, after);
	case KIND_PLACEMENT:
		return change_placement(s, key, after && !before, !after && before);
	case KIND_REQUEST:
		return change_request(s, t, ev, before);
	case KIND_HOST:
		return change_host(s, t, key, after);
	case KIND_ALIVE:
		return change_alive(s, key, !after);
	case KIND_LOCK:
		return change_lock(s, t, ev);
	case KIND_IMAGE:
		return after || rule_image_gone(s, last_part(key));
	case KIND_NETWORK:
		return change_network(s, t, key, after);
	case KIND_NETWORK_NAME:
		return change_network_name(s, key, before, after);
	case KIND_VNI:
	case KIND_PREFIX:
		return change_alloc(s, t, kind, key, after);
	case KIND_PORT:
		return change_port(s, t, key, before, after);
	case KIND_USER:
	case KIND_OTHER:
		break;
	}
	return true;
}

/* ---------------------------------------------------------------- one transaction */

static void digest(struct sim *s, const char *text)
{
	for (; text && *text; text++)
		s->digest = (s->digest ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
}

/* What we meddle with is garbage for as long, and counts as what stood there before. */
static bool is_garbage(struct sim *s, const struct txn *t, const struct entry *e)
{
	if (!e->intact && !e->is_foreign)
		return false;
	if (t->writer)
		sim_wrong(s, "%s wrote over garbage at %s", t->writer->name, e->key);
	return true;
}

static void apply(struct sim *s, const struct txn *t, const struct kv_event *ev)
{
	struct entry *e = history_entry(s, ev->pair.key);
	CLEANUP_STR char *before = MOVE(e->value);
	digest(s, e->key);
	if (rules_kind(s, e->key) != KIND_LOCK)
		digest(s, ev->pair.value);
	e->value = ev->is_delete ? NULL : xstrdup(ev->pair.value);
	e->mod_rev = ev->pair.mod_rev;
	e->lease = ev->pair.lease;
	if (before && e->value && n_future(e->value) < n_future(before))
		sim_wrong(s, "%s lost a member that is not known yet", e->key);
	if (!is_garbage(s, t, e))
		change(s, t, ev, before);
}

static void check_touched(struct sim *s)
{
	for (unsigned i = 0; i < s->n_vms; i++) {
		struct sim_vm *v = s->vms[i];
		if (!v->is_touched)
			continue;
		rule_keys(s, v);
		if (v->is_placed_now)
			rule_room(s, v);
		v->is_touched = v->is_placed_now = false;
	}
	rule_nets(s);
	rule_use(s);
}

/* VMs and networks first: the other keys are theirs. */
static bool is_first(const struct sim *s, const char *key)
{
	enum sim_kind kind = rules_kind(s, key);
	return kind == KIND_VM || kind == KIND_NETWORK;
}

static void follow_txn(struct sim *s, const struct kv_event *ev, size_t n)
{
	uint8_t writer = writer_at(s, ev->pair.mod_rev);
	struct txn t = { ev->pair.mod_rev, writer ? &s->nodes[writer - 1] : NULL };
	s->rev = t.rev;
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < n; i++)
			if (is_first(s, ev[i].pair.key) == (pass == 0))
				apply(s, &t, &ev[i]);
	check_touched(s);
}

void history_follow(struct sim *s)
{
	struct err e;
	for (;;) {
		CLEANUP(kv_events_done) struct kv_events list = { 0 };
		int r = kv_watch_next(s->watch, 0, &list, &e);
		if (r == KV_IDLE)
			return;
		if (r) {
			sim_wrong(s, "the history was lost");
			return;
		}
		for (size_t i = 0, n; i < list.len; i += n) {
			for (n = 1; i + n < list.len &&
				    list.v[i + n].pair.mod_rev == list.v[i].pair.mod_rev;
				n++)
				;
			follow_txn(s, &list.v[i], n);
		}
	}
}

void history_open(struct sim *s)
{
	struct kv_watch_req req = { .prefix = "/", .from_rev = 1 };
	struct err e;
	for (int i = 0; i < LOCK_N; i++)
		s->leaders[i].node = -1;
	s->digest = UINT64_C(0xcbf29ce484222325);
	if (kv_watch_open(s->god, &req, &s->watch, &e)) {
		fprintf(stderr, "watch: %s\n", e.msg);
		abort();
	}
}

static void entry_free(struct sim *s, struct entry *e)
{
	HASH_DEL(s->entries, e);
	free(e->key);
	free(e->value);
	free(e->intact);
	free(e);
}

void history_close(struct sim *s)
{
	struct entry *e, *next;
	kv_watch_close(s->watch);
	HASH_ITER (hh, s->entries, e, next)
		entry_free(s, e);
	HASH_CLEAR(hh, s->by_uuid);
	for (unsigned i = 0; i < s->n_vms; i++) {
		vm_done(&s->vms[i]->vm);
		free(s->vms[i]->request_key);
		free(s->vms[i]);
	}
	nets_close(s);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		host_done(&s->hosts[i].host);
	free(s->writers);
}

void history_dump(struct sim *s)
{
	CLEANUP(kv_list_done) struct kv_list all = { 0 };
	struct err e;
	if (kv_range(s->god, "", 0, &all, &e))
		fprintf(stderr, "%s\n", e.msg);
	for (size_t i = 0; i < all.len; i++)
		fprintf(stderr, "%s = %s\n", all.v[i].key, all.v[i].value);
}
