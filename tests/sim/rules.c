/*
 * What a transaction may do, and what must be so after each.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

/* ---------------------------------------------------------------- who may write what */

#define BIT(kind) (1U << (kind))
#define BY_API	  BIT(NODE_API)
#define BY_HOST	  BIT(NODE_HOST)
#define BY_SCHED  BIT(NODE_SCHED)
#define BY_ROUTER BIT(NODE_ROUTER)
#define BY_ALL	  (BY_API | BY_HOST | BY_SCHED)

static const unsigned writers[] = {
	[KIND_VM] = BY_ALL,
	[KIND_NAME] = BY_ALL,
	[KIND_PLACEMENT] = BY_HOST | BY_SCHED,
	[KIND_REQUEST] = BY_ALL | BY_ROUTER,
	[KIND_USER] = BY_ALL | BY_ROUTER,
	[KIND_HOST] = BY_ALL,
	[KIND_ALIVE] = BY_HOST,
	[KIND_LOCK] = BY_SCHED | BY_ROUTER,
	[KIND_IMAGE] = BY_API,
	[KIND_NETWORK] = BY_API | BY_ROUTER,
	[KIND_NETWORK_NAME] = BY_API | BY_ROUTER,
	[KIND_VNI] = BY_ROUTER,
	[KIND_PREFIX] = BY_ROUTER,
	[KIND_PORT] = BY_ALL,
	[KIND_OTHER] = BY_ALL,
};

enum sim_kind rules_kind(const struct sim *s, const char *key)
{
	const struct {
		const char *prefix;
		enum sim_kind kind;
	} kinds[] = { { s->keys.vm, KIND_VM }, { KEY_VM_NAME, KIND_NAME },
		{ KEY_PLACEMENT, KIND_PLACEMENT }, { s->keys.request, KIND_REQUEST },
		{ KEY_USER, KIND_USER }, { s->keys.host, KIND_HOST },
		{ KEY_ALIVE, KIND_ALIVE }, { KEY_LOCK, KIND_LOCK },
		{ s->keys.image, KIND_IMAGE }, { s->keys.network, KIND_NETWORK },
		{ KEY_NETWORK_NAME, KIND_NETWORK_NAME }, { KEY_VNI, KIND_VNI },
		{ KEY_PREFIX, KIND_PREFIX }, { KEY_PORT, KIND_PORT } };
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (str_has_prefix(key, kinds[i].prefix))
			return kinds[i].kind;
	return KIND_OTHER;
}

bool rules_leads(const struct sim *s, enum sim_lock lock, const struct node *n)
{
	const struct sim_leader *l = &s->leaders[lock];
	return l->node == n - s->nodes && l->life == n->life;
}

static bool is_of_host(const struct node *n, const char *prefix, const char *key)
{
	CLEANUP_STR char *own = xasprintf("%sh%u", prefix, n->i);
	return str_has_prefix(key, own);
}

/* A host's own keys; which VMs are its own is rule_vm()'s. */
static bool rule_host_key(struct sim *s, const struct node *n, enum sim_kind kind,
	const char *key, bool is_delete)
{
	CLEANUP_STR char *requests = xasprintf("%shost/", s->keys.request);
	bool is_right = true;
	if (kind == KIND_PLACEMENT)
		is_right = is_delete && is_of_host(n, KEY_PLACEMENT, key);
	else if (kind == KIND_ALIVE)
		is_right = is_of_host(n, KEY_ALIVE, key);
	else if (kind == KIND_HOST)
		is_right = is_of_host(n, s->keys.host, key);
	else if (kind == KIND_REQUEST && str_has_prefix(key, requests))
		is_right = is_of_host(n, requests, key);
	return is_right || sim_wrong(s, "%s wrote %s", n->name, key);
}

/* A leader writes its own lock, and everything else only while it leads. */
static bool rule_leader_key(
	struct sim *s, const struct node *n, enum sim_kind kind, const char *key)
{
	enum sim_lock lock = n->kind == NODE_ROUTER ? LOCK_NETWORK : LOCK_SCHED;
	CLEANUP_STR char *own = key_lock(lock == LOCK_NETWORK ? "network" : "scheduler");
	CLEANUP_STR char *requests = key_requests_network(&s->keys);
	bool is_network = str_has_prefix(key, requests);
	if ((kind == KIND_LOCK && strcmp(key, own) != 0) ||
		(kind == KIND_REQUEST && is_network != (lock == LOCK_NETWORK)))
		return sim_wrong(s, "%s wrote %s", n->name, key);
	return kind == KIND_LOCK || rules_leads(s, lock, n) ||
	       sim_wrong(s, "%s wrote %s and does not lead", n->name, key);
}

bool rule_writer(struct sim *s, const struct txn *t, enum sim_kind kind, const char *key,
	bool is_delete)
{
	const struct node *n = t->writer;
	if (!n)
		return true;
	if (!(writers[kind] & BIT(n->kind)))
		return sim_wrong(s, "%s wrote %s", n->name, key);
	if (n->kind == NODE_SCHED || n->kind == NODE_ROUTER)
		return rule_leader_key(s, n, kind, key);
	return n->kind != NODE_HOST || rule_host_key(s, n, kind, key, is_delete);
}

/* Nothing that others write, too, is overwritten unseen. (A VM's name, ports and placement
 * change together with its entry.) */
bool rule_compared(struct node *n, const char *key, bool is_compared)
{
	struct sim *s = n->sim;
	enum sim_kind kind = rules_kind(s, key);
	bool is_shared = kind == KIND_VM || kind == KIND_REQUEST || kind == KIND_USER ||
			 kind == KIND_HOST || kind == KIND_IMAGE ||
			 kind == KIND_NETWORK || kind == KIND_VNI || kind == KIND_PREFIX;
	return !is_shared || is_compared || !history_find(s, key) ||
	       sim_wrong(s, "%s changed %s and did not compare it", n->name, key);
}

/* ---------------------------------------------------------------- a VM's entry */

static bool rule_same(struct sim *s, const struct vm *b, const struct vm *a)
{
	bool is_same = str_eq(b->uuid, a->uuid) && str_eq(b->owner, a->owner) &&
		       str_eq(b->owner_realm, a->owner_realm) &&
		       str_eq(b->image_uuid, a->image_uuid) &&
		       str_eq(b->store, a->store) && b->created == a->created;
	return is_same || sim_wrong(s, "%s: what never changes was changed", a->uuid);
}

static bool rule_born(struct sim *s, const struct txn *t, const struct vm *a)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *key = key_image(&s->keys, a->image_uuid);
	struct entry *e = history_find(s, key);
	if (t->writer && t->writer->kind != NODE_API)
		return sim_wrong(s, "%s was made by %s", a->uuid, t->writer->name);
	if (!e || image_parse(e->value, strlen(e->value), &im, NULL) ||
		im.status != IMAGE_CREATED)
		return sim_wrong(
			s, "%s was made of an image that cannot be used", a->uuid);
	return true;
}

static bool rule_gone(struct sim *s, struct sim_vm *v)
{
	if (v->vm.status != VM_REQUESTED_DELETE)
		return sim_wrong(s, "%s is gone, and was %s", v->uuid,
			vm_status_names[v->vm.status]);
	return v->may_be_gone ||
	       sim_wrong(s, "%s is gone, and nobody had it deleted", v->uuid);
}

static bool rule_given_host(
	struct sim *s, const struct txn *t, const struct vm *b, const struct vm *a)
{
	int i = sim_host_index(a->hostname);
	const struct sim_host *h = i < 0 ? NULL : &s->hosts[i];
	if (a->status != VM_SCHEDULED || (t->writer && t->writer->kind != NODE_SCHED))
		return sim_wrong(s, "%s was given %s as %s", a->uuid, a->hostname,
			vm_status_names[a->status]);
	if (!h || !h->is_registered || h->host.status != HOST_ALIVE ||
		h->host.is_draining)
		return sim_wrong(s, "%s was placed on %s, which is %s", a->uuid,
			a->hostname,
			!h || !h->is_registered ? "not registered"
			: h->host.is_draining	? "draining"
						: host_status_names[h->host.status]);
	return str_is_empty(b->disk_host) || str_eq(b->disk_host, a->hostname) ||
	       sim_wrong(s, "%s was placed on %s, its disks are on %s", a->uuid,
		       a->hostname, b->disk_host);
}

/* Its domain goes before that is written. */
static bool rule_left_host(
	struct sim *s, const struct txn *t, const struct vm *b, const struct vm *a)
{
	struct virt_dom dom;
	int i = sim_host_index(b->hostname);
	if (t->writer && (t->writer->kind != NODE_HOST || (int)t->writer->i != i))
		return sim_wrong(
			s, "%s took %s from %s", t->writer->name, a->uuid, b->hostname);
	if (i >= 0 && fake_hyper_get(s->hypers[i], a->uuid, &dom))
		return sim_wrong(
			s, "%s left %s, its domain did not", a->uuid, b->hostname);
	return true;
}

static bool rule_hostname(
	struct sim *s, const struct txn *t, const struct vm *b, const struct vm *a)
{
	if (!vm_has_host(b))
		return !vm_has_host(a) || rule_given_host(s, t, b, a);
	if (!vm_has_host(a))
		return rule_left_host(s, t, b, a);
	return str_eq(a->hostname, b->hostname) ||
	       sim_wrong(s, "%s went from %s to %s", a->uuid, b->hostname, a->hostname);
}

static bool rule_boot(
	struct sim *s, const struct txn *t, const struct vm *b, const struct vm *a)
{
	if (a->boot == b->boot)
		return true;
	bool is_right = b->status == VM_RUNNING || b->status == VM_KILLED ||
			b->status == VM_ERROR;
	if (a->boot != b->boot + 1 || !is_right ||
		(t->writer && t->writer->kind != NODE_API))
		return sim_wrong(s, "%s: boot %lld became %lld", a->uuid,
			(long long)b->boot, (long long)a->boot);
	return true;
}

/* A VM that keeps its host is KILLED by that host, or when the host is dead. */
static bool rule_killed(struct sim *s, const struct txn *t, const struct vm *a)
{
	int i = sim_host_index(a->hostname);
	if (!t->writer || t->writer->kind != NODE_SCHED || i < 0)
		return true;
	return (s->hosts[i].host.status == HOST_DEAD && !s->hosts[i].is_alive) ||
	       sim_wrong(s, "%s was killed, but its host %s lives", a->uuid, a->hostname);
}

/* What makes a start right: each is good for one. */
static void count_starts(struct sim_vm *v, const struct vm *b, const struct vm *a)
{
	bool is_move = a->status != b->status;
	v->n_may_start += is_move && a->status == VM_SCHEDULED;
	v->n_may_start += is_move && a->status == VM_KILLED && vm_has_host(a);
	v->n_may_start += a->boot != b->boot;
	if (a->boot != b->boot && b->status == VM_RUNNING)
		v->min_boot = a->boot;
}

static bool is_of(const struct node *n, const struct vm *vm)
{
	CLEANUP_STR char *host = xasprintf("h%u", n->i);
	if (vm_has_host(vm))
		return str_eq(vm->hostname, host);
	return str_is_empty(vm->disk_host) || str_eq(vm->disk_host, host);
}

bool rule_vm(struct sim *s, const struct txn *t, struct sim_vm *v, const struct vm *b,
	const struct vm *a)
{
	if (b->uuid && t->writer && t->writer->kind == NODE_HOST && !is_of(t->writer, b))
		return sim_wrong(s, "%s wrote the entry of %s, which is not its",
			t->writer->name, v->uuid);
	if (!a)
		return rule_gone(s, v);
	if (!b->uuid) /* once only, unless a delete came between */
		return (!v->vm.uuid || v->may_be_gone ||
			       sim_wrong(s, "%s was made twice", v->uuid)) &&
		       rule_born(s, t, a) && rule_changed(s, t, v, b, a);
	count_starts(v, b, a);
	v->had_disk_host = !str_is_empty(b->disk_host);
	if (a->status != b->status && !vm_may_move(b->status, a->status))
		return sim_wrong(s, "%s went from %s to %s", v->uuid,
			vm_status_names[b->status], vm_status_names[a->status]);
	return rule_same(s, b, a) && rule_nics(s, t, b, a) &&
	       rule_changed(s, t, v, b, a) && rule_hostname(s, t, b, a) &&
	       rule_boot(s, t, b, a) &&
	       (a->status == b->status || a->status != VM_KILLED || rule_killed(s, t, a));
}

/* "Rebooted" means: the domain is the one of that boot. */
bool rule_request_done(struct sim *s, const struct txn *t, struct sim_vm *v)
{
	struct virt_dom dom;
	int i = sim_host_index(v->vm.hostname);
	if (!v->exists || v->request_type != REQ_REBOOT_VM || !t->writer || i < 0 ||
		t->writer->kind != NODE_HOST || v->vm.status != VM_RUNNING)
		return true;
	if (!fake_hyper_get(s->hypers[i], v->uuid, &dom) || dom.boot >= v->vm.boot)
		return true;
	return sim_wrong(s, "%s was rebooted, but boot %lld still runs", v->uuid,
		(long long)dom.boot);
}

/* ---------------------------------------------------------------- hosts and images */

static bool rule_host_dead(struct sim *s, const struct sim_host *h)
{
	if (h->is_alive)
		return sim_wrong(s, "%s is DEAD with a heartbeat", h->host.hostname);
	/* Who has to list again, or is behind, does not see that it was there meanwhile. To list
	 * again is for those whose last event is older than a compaction: perhaps long after
	 * it, when they were cut off. */
	return s->chances[CHANCE_SLOW] ||
	       s->compacted_at + 4 * SIM_GRACE_SEC * 1000 >= h->came_at ||
	       s->now - h->gone_at >= SIM_GRACE_SEC * 1000 ||
	       sim_wrong(s, "%s is DEAD after %lld ms", h->host.hostname,
		       (long long)(s->now - h->gone_at));
}

bool rule_host(struct sim *s, const struct txn *t, int host, const struct host *before,
	bool was_registered)
{
	struct sim_host *h = &s->hosts[host];
	CLEANUP_STR char *name = xasprintf("h%d", host);
	if (t->writer && t->writer->kind == NODE_HOST &&
		(!was_registered || !h->is_registered))
		return sim_wrong(s, "%s made or removed its own entry", name);
	for (unsigned i = 0; !h->is_registered && i < s->n_vms; i++) {
		const struct sim_vm *v = s->vms[i];
		if (v->exists &&
			(str_eq(v->vm.hostname, name) || str_eq(v->vm.disk_host, name)))
			return sim_wrong(s, "%s is deleted and has %s", name, v->uuid);
	}
	if (!h->is_registered || !was_registered || h->host.status == before->status)
		return true;
	if (t->writer && t->writer->kind != NODE_SCHED)
		return sim_wrong(s, "%s made %s %s", t->writer->name, name,
			host_status_names[h->host.status]);
	if (h->host.status == HOST_DEAD)
		return rule_host_dead(s, h);
	return h->is_alive || sim_wrong(s, "%s is ALIVE without a heartbeat", name);
}

bool rule_image_gone(struct sim *s, const char *uuid)
{
	for (unsigned i = 0; i < s->n_vms; i++)
		if (s->vms[i]->exists && str_eq(s->vms[i]->vm.image_uuid, uuid))
			return sim_wrong(s, "the image %s is deleted, %s uses it", uuid,
				s->vms[i]->uuid);
	return true;
}

/* ---------------------------------------------------------------- keys that go together */

static bool rule_no_keys(struct sim *s, const struct sim_vm *v)
{
	CLEANUP_STR char *name = key_vm_name(v->vm.owner_realm, v->vm.owner, v->vm.name);
	struct entry *e = history_find(s, name);
	if (v->n_requests || v->n_placements || v->n_ports)
		return sim_wrong(s, "%s is gone, its %s is not", v->uuid,
			v->n_requests	  ? "request"
			: v->n_placements ? "placement"
					  : "port");
	return !e || !str_eq(e->value, v->uuid) ||
	       sim_wrong(s, "%s is gone, its name is not", v->uuid);
}

static bool rule_placed(struct sim *s, const struct sim_vm *v)
{
	if (v->n_placements != vm_has_host(&v->vm))
		return sim_wrong(s, "%s is on '%s' with %u placements", v->uuid,
			v->vm.hostname ? v->vm.hostname : "", v->n_placements);
	if (!vm_has_host(&v->vm))
		return true;
	CLEANUP_STR char *key = key_placement(v->vm.hostname, v->uuid);
	if (!history_find(s, key))
		return sim_wrong(
			s, "%s is on %s, its placement is not", v->uuid, v->vm.hostname);
	return str_eq(v->vm.store, sim_store(1)) ||
	       str_eq(v->vm.disk_host, v->vm.hostname) ||
	       sim_wrong(s, "%s is on %s, its disks are on '%s'", v->uuid, v->vm.hostname,
		       v->vm.disk_host ? v->vm.disk_host : "");
}

static bool is_at(const struct sim *s, const struct sim_vm *v)
{
	struct request_key k;
	if (request_key_parse(&s->keys, v->request_key, &k, NULL))
		return false;
	if (!k.host[0])
		return !vm_has_host(&v->vm);
	return str_eq(v->vm.hostname, k.host) ||
	       (!vm_has_host(&v->vm) &&
		       (v->request_type == REQ_DELETE_VM ||
			       v->request_type == REQ_CHANGE_VM) &&
		       (str_is_empty(v->vm.disk_host) ||
			       str_eq(v->vm.disk_host, k.host)));
}

static bool has_request(const struct sim_vm *v, enum request_type type)
{
	return v->n_requests && v->request_type == (int)type;
}

/* What each state needs to go on. */
static bool rule_state(struct sim *s, const struct sim_vm *v)
{
	bool has_host = vm_has_host(&v->vm), is_right = true;
	switch ((enum vm_status)v->vm.status) {
	case VM_REQUESTED_NEW:
	case VM_REQUESTED_START:
		is_right = !has_host && has_request(v, REQ_SCHEDULE_VM);
		break;
	case VM_SCHEDULED:
		is_right = has_host && has_request(v, REQ_START_VM);
		break;
	case VM_RUNNING:
		is_right = has_host && (!v->n_requests || has_request(v, REQ_REBOOT_VM) ||
					       has_request(v, REQ_CHANGE_VM));
		break;
	case VM_REQUESTED_SHUTDOWN:
		is_right = has_host && (!v->n_requests || has_request(v, REQ_STOP_VM));
		break;
	case VM_STOPPED:
		is_right = !has_host && (!v->n_requests || has_request(v, REQ_CHANGE_VM));
		break;
	case VM_KILLED:
		is_right = has_host || has_request(v, REQ_SCHEDULE_VM);
		break;
	case VM_REQUESTED_DELETE:
		is_right = has_request(v, REQ_DELETE_VM);
		break;
	case VM_ERROR:
		is_right = !v->n_requests;
		break;
	default:
		is_right = false;
	}
	return is_right ||
	       sim_wrong(s, "%s is %s on '%s' with %s", v->uuid,
		       vm_status_names[v->vm.status], has_host ? v->vm.hostname : "",
		       v->n_requests ? request_type_names[v->request_type]
				     : "no request");
}

bool rule_keys(struct sim *s, struct sim_vm *v)
{
	if (!v->exists)
		return rule_no_keys(s, v);
	CLEANUP_STR char *name = key_vm_name(v->vm.owner_realm, v->vm.owner, v->vm.name);
	struct entry *e = history_find(s, name);
	if (!e || !str_eq(e->value, v->uuid))
		return sim_wrong(s, "%s does not have its name", v->uuid);
	if (v->n_requests > 1)
		return sim_wrong(s, "%s has %u requests", v->uuid, v->n_requests);
	if (v->n_requests && !is_at(s, v))
		return sim_wrong(s, "%s is on '%s', its request is %s", v->uuid,
			v->vm.hostname ? v->vm.hostname : "", v->request_key);
	return rule_placed(s, v) && rule_ports(s, v) && rule_state(s, v);
}

/* ---------------------------------------------------------------- sums */

static int64_t percent_of(int64_t n, int64_t percent)
{
	return n * percent / 100;
}

static bool is_apart_from(const struct vm *a, const struct vm *b)
{
	return json_object_size(a->affinity.apart) &&
	       labels_match(b->labels, a->affinity.apart);
}

static bool rule_apart(struct sim *s, const struct vm *a, const struct vm *b)
{
	if (s->has_label_changes || a == b || !str_eq(a->owner, b->owner))
		return true;
	return (!is_apart_from(a, b) && !is_apart_from(b, a)) ||
	       sim_wrong(s, "%s is placed together with %s", a->uuid, b->uuid);
}

/* A VM whose QEMU died keeps its place: its disks are nowhere else. */
bool rules_uses(const struct vm *vm, const char *host)
{
	if (vm_has_host(vm) || vm->status != VM_KILLED || vm->want != VM_WANT_RUNNING)
		return str_eq(vm->hostname, host);
	return str_eq(vm->disk_host, host);
}

/* v has just been placed: there was room, and nobody that it must not meet. A VM whose entry
 * could not be read for a while may have been overlooked. */
bool rule_room(struct sim *s, struct sim_vm *v)
{
	int i = sim_host_index(v->vm.hostname);
	int64_t cpu = 0, ram_mib = 0, disk_gib = 0;
	if (i < 0)
		return true;
	const struct host *h = &s->hosts[i].host;
	const struct host_store *st = host_find_store(h, v->vm.store);
	for (unsigned k = 0; k < s->n_vms; k++) {
		const struct sim_vm *o = s->vms[k];
		if (!o->exists || o->was_garbled)
			continue;
		if (str_eq(o->vm.disk_host, h->hostname) &&
			str_eq(o->vm.store, v->vm.store))
			disk_gib += vm_disk_gib(&o->vm);
		if (!rules_uses(&o->vm, h->hostname))
			continue;
		cpu += o->vm.specs.cpu;
		ram_mib += o->vm.specs.ram_mib;
		if (vm_has_host(&o->vm) && !rule_apart(s, &v->vm, &o->vm))
			return false;
	}
	if (cpu > percent_of(h->cpus, h->cpu_overcommit) ||
		ram_mib > percent_of(h->ram_mib - h->reserved_ram_mib, h->ram_overcommit))
		return sim_wrong(s, "%s has VMs of %lld CPUs, %lld MiB", h->hostname,
			(long long)cpu, (long long)ram_mib);
	if (!st)
		return sim_wrong(s, "%s is on %s, which does not reach %s", v->uuid,
			h->hostname, v->vm.store);
	/* Disks grow where they are, whoever has decided meanwhile to place another VM there. */
	if (s->has_grown || v->had_disk_host || st->total_gib < 0 ||
		!str_eq(v->vm.store, sim_store(0)))
		return true;
	return disk_gib <= percent_of(st->total_gib, h->disk_overcommit) ||
	       sim_wrong(s, "%s has disks of %lld GiB", h->hostname, (long long)disk_gib);
}

static struct amounts sum_of(const struct sim *s, unsigned user)
{
	struct amounts sum = { 0 };
	for (unsigned i = 0; i < s->n_vms; i++) {
		if (!s->vms[i]->exists || s->vms[i]->user != user)
			continue;
		struct amounts a = vm_amounts(&s->vms[i]->vm);
		sum.vms += a.vms;
		sum.cpu += a.cpu;
		sum.ram_mib += a.ram_mib;
		sum.disk_gib += a.disk_gib;
		sum.snapshots += a.snapshots;
	}
	for (unsigned i = 0; i < s->n_nets; i++)
		sum.networks += s->nets[i]->exists && s->nets[i]->user == user;
	return sum;
}

bool rule_use(struct sim *s)
{
	for (unsigned i = 0; i < SIM_USERS; i++) {
		CLEANUP(user_done) struct user u = { 0 };
		CLEANUP_STR char *key = key_user(SIM_REALM, sim_user(i));
		struct entry *e = history_find(s, key);
		const char *text = e && e->intact ? e->intact : e ? e->value : NULL;
		struct amounts sum = sum_of(s, i);
		if (text && user_parse(text, strlen(text), &u, NULL))
			return sim_wrong(s, "%s cannot be read", key);
		if (memcmp(&sum, &u.use, sizeof(sum)) != 0)
			return sim_wrong(s,
				"%s: use says %lld VMs, %lld MiB, %lld GiB, %lld "
				"networks; "
				"it is %lld, %lld, %lld, %lld",
				key, (long long)u.use.vms, (long long)u.use.ram_mib,
				(long long)u.use.disk_gib, (long long)u.use.networks,
				(long long)sum.vms, (long long)sum.ram_mib,
				(long long)sum.disk_gib, (long long)sum.networks);
	}
	return true;
}
