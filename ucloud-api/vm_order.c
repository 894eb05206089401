/*
 * Orders for a VM that exists: start, stop, reboot, delete, change. Each is one transaction of
 * docs/architecture.md's table. All but reboot may be repeated: what is already so stays.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "ucloud-api/vm_order.h"

static void vm_order_done(struct vm_order *c)
{
	vm_done(&c->vm);
}

/* Is its host, or the one that has its disks, DEAD? Only for telling. */
static int look_host(struct vm_order *c, struct draft *d)
{
	const char *name = vm_has_host(&c->vm) ? c->vm.hostname : c->vm.disk_host;
	CLEANUP(host_done) struct host host = { 0 };
	int r;

	c->is_host_dead = false;
	if (str_is_empty(name))
		return 0;
	r = find_host(c->o, d, name, &host, NULL, &(struct err){ 0 });
	c->is_host_dead = r == 0 && host.status == HOST_DEAD;
	return r == DRAFT_MORE ? DRAFT_MORE : 0;
}

int vm_order_look(struct vm_order *c, struct draft *d, struct slots *s, struct err *e)
{
	int r;

	r = find_vm(c->o, d, c->who, c->ref, &c->vm, NULL, e);
	if (r != 0)
		return r;
	c->was_found = true;
	r = slots_look(c->o, d, &c->vm, s, e);
	if (r < 0)
		return -1;
	return look_host(c, d) || r ? DRAFT_MORE : 0;
}

static bool is_open_for(const struct slot *s, enum request_type type)
{
	return s->is_open && s->request.type == (int)type;
}

int vm_order_not_while(
	const struct vm *vm, const char *what, const char *hint, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"the VM \"%s\" cannot be %s while its status is %s: %s", vm->name, what,
		vm_status_names[vm->status], hint);
}

int vm_order_is_busy(
	const struct vm *vm, const char *what, const struct slot *s, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"the VM \"%s\" cannot be %s now: it is busy with %s; wait until that is "
		"done "
		"(\"request show\" tells how far it is)",
		vm->name, what, request_type_names[s->request.type]);
}

void vm_order_at(struct vm_order *c, struct draft *d, const struct slots *s,
	const struct slot *to, enum request_type type)
{
	const struct slot *all[] = { &s->host, &s->disk_host, &s->scheduler };
	struct request r = {
		.type = (int)type, .is_force = c->is_force, .created = c->now
	};
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i] == to)
			slot_same(d, to);
		else
			slot_close(d, all[i]);
	}
	r.deadline = type == REQ_CHANGE_VM ? c->now + REQUEST_CHANGE_SEC : 0;
	r.uuid = c->vm.uuid;
	r.hostname = to == &s->host	   ? c->vm.hostname
		     : to == &s->disk_host ? c->vm.disk_host
					   : NULL;
	text = request_format(&r);
	draft_put(d, to->key, text);
	free(text);
}

int vm_order_save(struct vm_order *c, struct draft *d, const char *what, const char *by,
	struct err *e)
{
	const struct who *who = c->who;

	if (by && c->is_host_dead)
		vm_log(&c->vm, c->now,
			"%s ordered by %s@%s; nothing is heard of host %s: it is done "
			"when that is back",
			what, who->name, who->realm, by);
	else
		vm_log(&c->vm, c->now, "%s ordered by %s@%s", what, who->name,
			who->realm);
	return put_vm(c->o, d, &c->vm, e);
}

/* ---------------------------------------------------------------- start */

/* It needs a host first. */
static int start_by_scheduler(
	struct vm_order *c, struct draft *d, const struct slots *s, struct err *e)
{
	c->vm.want = VM_WANT_RUNNING;
	c->vm.n_crashes = 0;
	vm_move(&c->vm, VM_REQUESTED_START);
	if (vm_order_save(c, d, "start", NULL, e) < 0)
		return -1;
	vm_order_at(c, d, s, &s->scheduler, REQ_SCHEDULE_VM);
	return 0;
}

/* It has its host still. */
static int start_by_host(
	struct vm_order *c, struct draft *d, const struct slots *s, struct err *e)
{
	c->vm.want = VM_WANT_RUNNING;
	c->vm.n_crashes = 0;
	c->vm.boot++; /* a domain that went off before this order does not count */
	if (c->vm.status == VM_ERROR)
		vm_move(&c->vm, VM_SCHEDULED);
	if (vm_order_save(c, d, "start", c->vm.hostname, e) < 0)
		return -1;
	vm_order_at(c, d, s, &s->host, REQ_START_VM);
	return 0;
}

static int start_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct vm_order *c = aux;
	const struct slot *open;
	int r;

	r = vm_order_look(c, d, &s, e);
	if (r != 0)
		return r;
	open = slots_open(&s);
	switch ((enum vm_status)c->vm.status) {
	case VM_REQUESTED_SHUTDOWN:
		return vm_order_not_while(
			&c->vm, "started", "wait until it is STOPPED", e);
	case VM_REQUESTED_DELETE:
		return vm_order_not_while(&c->vm, "started", "it is being removed", e);
	case VM_STOPPED:
	case VM_ERROR:
		if (open)
			return vm_order_is_busy(&c->vm, "started", open, e);
		break;
	case VM_KILLED:
		if (open)
			return DRAFT_AS_IT_IS;
		break;
	default:
		return DRAFT_AS_IT_IS;
	}
	return vm_has_host(&c->vm) ? start_by_host(c, d, &s, e)
				   : start_by_scheduler(c, d, &s, e);
}

/* ---------------------------------------------------------------- stop */

static int stop_at_host(
	struct vm_order *c, struct draft *d, const struct slots *s, struct err *e)
{
	if (is_open_for(&s->host, REQ_DELETE_VM))
		return vm_order_is_busy(&c->vm, "stopped", &s->host, e);
	c->vm.want = VM_WANT_STOPPED;
	vm_move(&c->vm, VM_REQUESTED_SHUTDOWN);
	if (vm_order_save(c, d, c->is_force ? "forced stop" : "stop", c->vm.hostname, e) <
		0)
		return -1;
	vm_order_at(c, d, s, &s->host, REQ_STOP_VM);
	return 0;
}

/* It waits for a host: no longer. */
static int stop_waiting(
	struct vm_order *c, struct draft *d, struct slots *s, struct err *e)
{
	const struct slot *open = slots_open(s);

	if (open && open->request.type == REQ_DELETE_VM)
		return vm_order_is_busy(&c->vm, "stopped", open, e);
	c->vm.want = VM_WANT_STOPPED;
	vm_move(&c->vm, VM_STOPPED);
	if (vm_order_save(c, d, "stop", NULL, e) < 0)
		return -1;
	slot_close(d, &s->scheduler);
	slot_same(d, &s->disk_host);
	return 0;
}

static int stop_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct vm_order *c = aux;
	int r;

	r = vm_order_look(c, d, &s, e);
	if (r != 0)
		return r;
	switch ((enum vm_status)c->vm.status) {
	case VM_STOPPED:
		return DRAFT_AS_IT_IS;
	case VM_REQUESTED_DELETE:
		return vm_order_not_while(&c->vm, "stopped", "it is being removed", e);
	case VM_REQUESTED_MIGRATE:
		return vm_order_not_while(
			&c->vm, "stopped", "wait until it has moved", e);
	case VM_REQUESTED_SHUTDOWN:
		if (is_open_for(&s.host, REQ_STOP_VM) &&
			(s.host.request.is_force || !c->is_force))
			return DRAFT_AS_IT_IS;
		break;
	default:
		break;
	}
	return vm_has_host(&c->vm) ? stop_at_host(c, d, &s, e)
				   : stop_waiting(c, d, &s, e);
}

/* ---------------------------------------------------------------- reboot */

static int reboot_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct vm_order *c = aux;
	const struct slot *open;
	int r;

	r = vm_order_look(c, d, &s, e);
	if (r != 0)
		return r;
	if (draft_is_doubtful(d) && c->boot && c->vm.boot >= c->boot)
		return DRAFT_AS_IT_IS;
	if (c->vm.status != VM_RUNNING)
		return vm_order_not_while(
			&c->vm, "rebooted", "only a RUNNING one can", e);
	open = slots_open(&s);
	if (open)
		return vm_order_is_busy(&c->vm, "rebooted", open, e);
	c->boot = ++c->vm.boot;
	if (vm_order_save(c, d, c->is_force ? "forced reboot" : "reboot", c->vm.hostname,
		    e) < 0)
		return -1;
	vm_order_at(c, d, &s, &s.host, REQ_REBOOT_VM);
	return 0;
}

/* ---------------------------------------------------------------- delete */

static int delete_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	struct vm_order *c = aux;
	const struct slot *to;
	int r;

	r = vm_order_look(c, d, &s, e);
	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d) && c->was_found)
		return DRAFT_AS_IT_IS;
	if (r != 0)
		return r;
	to = s.host.key ? &s.host : s.disk_host.key ? &s.disk_host : &s.scheduler;
	if (c->vm.status == VM_REQUESTED_DELETE && is_open_for(to, REQ_DELETE_VM))
		return DRAFT_AS_IT_IS;
	c->vm.want = VM_WANT_STOPPED;
	vm_move(&c->vm, VM_REQUESTED_DELETE);
	if (vm_order_save(c, d, "deletion",
		    to == &s.host	 ? c->vm.hostname
		    : to == &s.disk_host ? c->vm.disk_host
					 : NULL,
		    e) < 0)
		return -1;
	vm_order_at(c, d, &s, to, REQ_DELETE_VM);
	return 0;
}

/* ---------------------------------------------------------------- change */

static const struct jtab_field patch_fields[] = {
	{ "name", JT_STR, offsetof(struct vm, name), .check = new_name_check,
		.help = "a new name" },
	{ "labels", JT_JSON, offsetof(struct vm, labels),
		.help = "all labels, replacing the old ones" },
	{ "affinity", JT_OBJ, offsetof(struct vm, affinity), .sub = &vm_affinity_jtab,
		.help = "counts from the next placement on" },
	{ "cpu", JT_INT, offsetof(struct vm, specs.cpu), .min = 1, .max = 256,
		.help = "only of a STOPPED VM" },
	{ "ram_mib", JT_INT, offsetof(struct vm, specs.ram_mib), .min = 16,
		.max = 16 << 20, .help = "only of a STOPPED VM" },
	{ 0 },
};
const struct jtab vm_patch_jtab = { "vm_change", sizeof(struct vm), patch_fields };

static int patch_check(const struct vm_order *c, const struct vm *vm,
	const struct vm *old, struct err *e)
{
	const struct vm_limits *limits = &c->o->conf.limits;
	bool is_resized = vm->specs.cpu != old->specs.cpu ||
			  vm->specs.ram_mib != old->specs.ram_mib;

	if (str_is_empty(vm->name))
		return err_set_field(e, ERR_INVALID, "name", "a VM has a name");
	if (labels_check_at(vm->labels, "labels", e) < 0 ||
		vm_affinity_check(&vm->affinity, e) < 0)
		return -1;
	if (!is_resized)
		return 0;
	if (vm->specs.cpu < 1 || vm->specs.cpu > limits->max_cpu)
		return err_set_field(e, ERR_INVALID, "cpu",
			"cpu: 1 to %lld are possible here", (long long)limits->max_cpu);
	if (vm->specs.ram_mib < 1 || vm->specs.ram_mib > limits->max_ram_mib)
		return err_set_field(e, ERR_INVALID, "ram_mib",
			"ram_mib: at most %lld MiB are possible here",
			(long long)limits->max_ram_mib);
	if (old->status != VM_STOPPED)
		return vm_order_not_while(old, "resized", "stop it first", e);
	return 0;
}

static int64_t above(int64_t a, int64_t b)
{
	return a > b ? a - b : 0;
}

/* What a has more than b. */
static struct amounts more_than(const struct amounts *a, const struct amounts *b)
{
	return (struct amounts){
		.cpu = above(a->cpu, b->cpu),
		.ram_mib = above(a->ram_mib, b->ram_mib),
		.disk_gib = above(a->disk_gib, b->disk_gib),
		.snapshots = above(a->snapshots, b->snapshots),
	};
}

int vm_order_use(struct vm_order *c, struct draft *d, const struct vm *before,
	struct user *user, struct err *e)
{
	struct amounts old = vm_amounts(before), new = vm_amounts(&c->vm);
	struct amounts more = more_than(&new, &old), less = more_than(&old, &new);
	int r;

	if (memcmp(&old, &new, sizeof(old)) == 0)
		return 0;
	r = find_user(d, before->owner_realm, before->owner, c->now, user, NULL, e);
	if (r != 0)
		return r;
	user_give_back(user, &less);
	return user_take(user, user_quota(c->o, user), &more, e);
}

static int patch_name(struct vm_order *c, struct draft *d, const struct vm *old,
	char **old_key, char **new_key, struct err *e)
{
	struct seen seen;

	if (str_eq(old->name, c->vm.name))
		return 0;
	*old_key = key_vm_name(old->owner_realm, old->owner, old->name);
	*new_key = key_vm_name(old->owner_realm, old->owner, c->vm.name);
	if (!draft_see(d, *new_key, &seen))
		return DRAFT_MORE;
	if (seen.value)
		return err_set_field(e, ERR_EXISTS, "name",
			"there is a VM named \"%s\" already: choose another name",
			c->vm.name);
	return 0;
}

static bool vm_is_same(const struct vm *a, const struct vm *b)
{
	CLEANUP_STR char *x = vm_format(a);
	CLEANUP_STR char *y = vm_format(b);

	return str_eq(x, y);
}

static int patch_write(struct vm_order *c, struct draft *d, const struct user *user,
	const char *old_name_key, const char *new_name_key, struct err *e)
{
	if (user->name && put_user(d, user, e) < 0)
		return -1;
	if (vm_order_save(c, d, "change", NULL, e) < 0)
		return -1;
	if (new_name_key) {
		draft_same(d, new_name_key);
		draft_put(d, new_name_key, c->vm.uuid);
		draft_del(d, old_name_key);
	}
	return 0;
}

static int patch_fn(void *aux, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	CLEANUP(vm_done) struct vm old = { 0 };
	CLEANUP(user_done) struct user user = { 0 };
	CLEANUP_STR char *old_key = NULL;
	CLEANUP_STR char *new_key = NULL;
	struct vm_order *c = aux;
	int r;

	r = vm_order_look(c, d, &s, e);
	if (r != 0)
		return r;
	vm_copy(&c->vm, &old);
	if (jtab_patch(&vm_patch_jtab, c->body, &c->vm, e) < 0 ||
		patch_check(c, &c->vm, &old, e) < 0)
		return -1;
	if (vm_is_same(&c->vm, &old))
		return DRAFT_AS_IT_IS;
	if (old.status == VM_REQUESTED_DELETE)
		return vm_order_not_while(&old, "changed", "it is being removed", e);
	r = patch_name(c, d, &old, &old_key, &new_key, e);
	if (r == 0)
		r = vm_order_use(c, d, &old, &user, e);
	return r ? r : patch_write(c, d, &user, old_key, new_key, e);
}

/* ---------------------------------------------------------------- all of them */

int vm_order_run(struct vm_order *c, order_fn *fn, struct vm *out, struct err *e)
{
	int r = order_run(c->o->kv, fn, c, false, e);

	if (r >= 0) {
		vm_done(out);
		*out = c->vm;
		c->vm = (struct vm){ 0 };
	}
	vm_order_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

static int get_fn(void *aux, struct draft *d, struct err *e)
{
	struct vm_order *c = aux;
	int r = find_vm(c->o, d, c->who, c->ref, &c->vm, NULL, e);

	return r == 0 ? DRAFT_AS_IT_IS : r;
}

int orders_vm_get(struct orders *o, const struct who *who, const char *ref,
	struct vm *out, struct err *e)
{
	struct vm_order c = { .o = o, .who = who, .ref = ref };

	return vm_order_run(&c, get_fn, out, e) < 0 ? -1 : 0;
}

int orders_vm_start(struct orders *o, const struct who *who, const char *ref, int64_t now,
	struct vm *out, struct err *e)
{
	struct vm_order c = { .o = o, .who = who, .ref = ref, .now = now };

	return vm_order_run(&c, start_fn, out, e);
}

int orders_vm_stop(struct orders *o, const struct who *who, const char *ref,
	bool is_force, int64_t now, struct vm *out, struct err *e)
{
	struct vm_order c = {
		.o = o, .who = who, .ref = ref, .now = now, .is_force = is_force
	};

	return vm_order_run(&c, stop_fn, out, e);
}

int orders_vm_reboot(struct orders *o, const struct who *who, const char *ref,
	bool is_force, int64_t now, struct vm *out, struct err *e)
{
	struct vm_order c = {
		.o = o, .who = who, .ref = ref, .now = now, .is_force = is_force
	};

	return vm_order_run(&c, reboot_fn, out, e);
}

int orders_vm_delete(struct orders *o, const struct who *who, const char *ref,
	int64_t now, struct vm *out, struct err *e)
{
	struct vm_order c = { .o = o, .who = who, .ref = ref, .now = now };

	return vm_order_run(&c, delete_fn, out, e);
}

int orders_vm_patch(struct orders *o, const struct who *who, const char *ref,
	json_t *body, int64_t now, struct vm *out, struct err *e)
{
	struct vm_order c = { .o = o, .who = who, .ref = ref, .now = now, .body = body };

	return vm_order_run(&c, patch_fn, out, e);
}
