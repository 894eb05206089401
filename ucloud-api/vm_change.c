/*
 * Orders for the disks and snapshots of a VM that exists. Each changes the entry to what is
 * wanted, and has whoever can reach the disks carry it out (ChangeVM); a VM that never had a
 * host has none yet, and is changed at once.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/parse.h"
#include "ucloud-api/vm_order.h"

struct change;
/* Changes c->base.vm, and says in c->what how the log is to call that. 0; DRAFT_AS_IT_IS; < 0
 * refused. is_doubtful: an earlier run may have been carried out. */
typedef int edit_fn(struct change *c, bool is_doubtful, struct err *e);

struct change {
	struct vm_order base;
	edit_fn *edit;
	const char *done; /* "snapshotted": for refusals */
	bool needs_stopped;
	bool needs_disks;	 /* nothing for a VM that never had a host */
	struct vm_disk disk;	 /* as ordered */
	struct vm_snapshot snap; /* likewise */
	bool is_flatten;
	int64_t index;	/* of the disk; < 0: not chosen yet */
	char what[128]; /* "growing disk 1 to 20 GiB" */
	struct idem idem;
	bool is_refused; /* by us, in the last run */
};

static void change_done(struct change *c)
{
	jtab_done(&vm_disk_jtab, &c->disk);
	jtab_done(&vm_snapshot_jtab, &c->snap);
	idem_done(&c->idem);
}

static void PRINTF_LIKE(2, 3) say(struct change *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->what, sizeof(c->what), fmt, ap);
	va_end(ap);
}

/* ---------------------------------------------------------------- the order */

/* May it be changed now? */
static int check_state(const struct change *c, struct slots *s, struct err *e)
{
	const struct vm *vm = &c->base.vm;
	const struct slot *open = slots_open(s);

	if (open)
		return vm_order_is_busy(vm, c->done, open, e);
	if (vm->status != VM_STOPPED && c->needs_stopped)
		return vm_order_not_while(vm, c->done, "stop it first", e);
	if (vm->status != VM_STOPPED && vm->status != VM_RUNNING)
		return vm_order_not_while(
			vm, c->done, "only one that is RUNNING or STOPPED can", e);
	if (c->needs_disks && !vm_was_placed(vm))
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" cannot be %s: it has no disks before it is "
			"started for the first time",
			vm->name, c->done);
	return 0;
}

/* Disks that do not exist yet need nobody to remove them. */
static void apply_now(struct vm *vm)
{
	for (size_t i = vm->specs.disks.len; i-- > 0;) {
		const struct vm_disk *d =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		if (d->is_leaving)
			vm_drop_disk(vm, d->index);
	}
}

static int write_change(struct change *c, struct draft *d, struct slots *s,
	const struct vm *before, struct err *e)
{
	CLEANUP(user_done) struct user user = { 0 };
	const struct slot *to = s->host.key	   ? &s->host
				: s->disk_host.key ? &s->disk_host
						   : &s->scheduler;
	struct vm *vm = &c->base.vm;
	bool is_now = !vm_was_placed(before);
	int r;

	if (is_now)
		apply_now(vm);
	vm->is_changing = !is_now;
	r = vm_order_use(&c->base, d, before, &user, e);
	if (r != 0)
		return r;
	if (vm_order_save(&c->base, d, c->what,
		    to == &s->host	  ? vm->hostname
		    : to == &s->disk_host ? vm->disk_host
					  : NULL,
		    e) < 0 ||
		(user.name && put_user(d, &user, e) < 0))
		return -1;
	if (!is_now)
		vm_order_at(&c->base, d, s, to, REQ_CHANGE_VM);
	else
		slot_same(d, &s->scheduler);
	idem_write(&c->idem, d, vm->uuid);
	return 0;
}

/* Was it carried out already, for the same Idempotency-Key? */
static int look_idem(struct change *c, struct draft *d, struct err *e)
{
	CLEANUP_STR char *subject = NULL;

	return idem_look(&c->idem, d, &subject, e);
}

static int look_and_edit(struct change *c, struct draft *d, struct err *e)
{
	CLEANUP(slots_done) struct slots s = { 0 };
	CLEANUP(vm_done) struct vm before = { 0 };
	int r = vm_order_look(&c->base, d, &s, e);

	if (r != 0)
		return r;
	r = look_idem(c, d, e);
	if (r != 0)
		return r;
	vm_copy(&c->base.vm, &before);
	if (before.status == VM_REQUESTED_DELETE)
		return vm_order_not_while(&before, c->done, "it is being removed", e);
	r = c->edit(c, draft_is_doubtful(d), e);
	if (r != 0)
		return r;
	if (check_state(c, &s, e) < 0)
		return -1;
	return write_change(c, d, &s, &before, e);
}

static int change_fn(void *aux, struct draft *d, struct err *e)
{
	struct change *c = aux;
	int r = look_and_edit(c, d, e);

	c->is_refused = r < 0;
	return r;
}

/* Ends c. */
static int run(struct change *c, struct vm *out, struct err *e)
{
	int r = order_run(c->base.o->kv, change_fn, c, false, e);

	if (r >= 0) {
		vm_done(out);
		*out = c->base.vm;
		c->base.vm = (struct vm){ 0 };
	}
	vm_done(&c->base.vm);
	change_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

/* A create. The key is for this VM alone: the body that counts names it. Ends c. */
static int run_create(struct change *c, const char *what, const char *idempotency_key,
	json_t *body, struct vm *out, struct err *e)
{
	CLEANUP(json_decref_ptr)
	json_t *whole = body ? json_copy(body) : json_object();
	struct orders *o = c->base.o;
	int r = -1;

	json_object_set_new(whole, "vm", json_string(c->base.ref));
	for (int i = 0; i < 2; i++) {
		idem_done(&c->idem);
		if (idem_init(o, c->base.who, what, idempotency_key, whole, c->base.now,
			    &c->idem, e) < 0)
			break;
		r = order_run(o->kv, change_fn, c, false, e);
		if (r >= 0 || c->is_refused || !idem_failed(o, &c->idem, e))
			break;
	}
	if (r >= 0) {
		vm_done(out);
		*out = c->base.vm;
		c->base.vm = (struct vm){ 0 };
	}
	vm_done(&c->base.vm);
	change_done(c);
	return r == DRAFT_AS_IT_IS ? ORDER_AS_IT_IS : r;
}

static struct change change_of(struct orders *o, const struct who *who, const char *ref,
	int64_t now, edit_fn *edit, const char *done)
{
	return (struct change){
		.base = { .o = o, .who = who, .ref = ref, .now = now },
		.edit = edit,
		.done = done,
		.index = -1,
	};
}

/* ---------------------------------------------------------------- disks */

static int size_check(const struct change *c, int64_t size_gib, struct err *e)
{
	int64_t max = c->base.o->conf.limits.max_disk_gib;

	if (size_gib <= max)
		return 0;
	return err_set_field(e, ERR_INVALID, "size_gib",
		"size_gib: at most %lld GiB are possible here, not %lld", (long long)max,
		(long long)size_gib);
}

/* One with leaving taken for gone; ERR_NOT_FOUND. */
static int find_disk(struct change *c, struct vm_disk **out, struct err *e)
{
	*out = vm_find_disk(&c->base.vm, c->index);
	if (*out)
		return 0;
	return err_set(e, ERR_NOT_FOUND, "the VM \"%s\" has no disk %lld",
		c->base.vm.name, (long long)c->index);
}

static int leaving(const struct change *c, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "disk %lld of the VM \"%s\" is being removed",
		(long long)c->index, c->base.vm.name);
}

static int attach_edit(struct change *c, bool is_doubtful, struct err *e)
{
	struct vm *vm = &c->base.vm;
	const struct vm_disk *old = c->index < 0 ? NULL : vm_find_disk(vm, c->index);
	struct vm_disk *disk;

	if (is_doubtful && old && old->size_gib == c->disk.size_gib &&
		str_eq(old->class, c->disk.class))
		return DRAFT_AS_IT_IS;
	disk = vm_add_disk(vm);
	if (!disk)
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" has %d disks already: more are not possible",
			vm->name, VM_DISKS_MAX);
	c->index = disk->index;
	disk->size_gib = c->disk.size_gib;
	disk->class = xstrdup(c->disk.class);
	say(c, "disk %lld of %lld GiB", (long long)disk->index,
		(long long)disk->size_gib);
	return 0;
}

int orders_disk_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e)
{
	struct change c = change_of(o, who, ref, now, attach_edit, "given another disk");

	if (jtab_parse(&vm_disk_input_jtab, body, JTAB_INPUT, &c.disk, e) < 0 ||
		size_check(&c, c.disk.size_gib, e) < 0) {
		change_done(&c);
		return -1;
	}
	return run_create(&c, "disk", idempotency_key, body, out, e);
}

struct disk_patch {
	int64_t size_gib;
	bool is_flatten;
};

static const struct jtab_field disk_patch_fields[] = {
	{ "size_gib", JT_INT, offsetof(struct disk_patch, size_gib), .min = 1,
		.max = 65536, .help = "its new size in GiB; it never shrinks" },
	{ "flatten", JT_BOOL, offsetof(struct disk_patch, is_flatten),
		.help = "make it independent of its image (admins)" },
	{ 0 },
};
const struct jtab disk_patch_jtab = { "disk_change", sizeof(struct disk_patch),
	disk_patch_fields };

static int patch_edit(struct change *c, bool is_doubtful, struct err *e)
{
	struct vm_disk *disk;
	int64_t size_gib = c->disk.size_gib;
	bool is_flatten;

	(void)is_doubtful;
	if (find_disk(c, &disk, e) < 0)
		return -1;
	if (disk->is_leaving)
		return leaving(c, e);
	if (size_gib && size_gib < disk->size_gib)
		return err_set_field(e, ERR_INVALID, "size_gib",
			"disk %lld has %lld GiB: disks grow, they never shrink",
			(long long)c->index, (long long)disk->size_gib);
	is_flatten = c->is_flatten && !disk->is_flatten;
	if ((!size_gib || size_gib == disk->size_gib) && !is_flatten)
		return DRAFT_AS_IT_IS;
	if (is_flatten)
		say(c, "flattening disk %lld", (long long)c->index);
	if (size_gib > disk->size_gib) {
		say(c, "growing disk %lld from %lld to %lld GiB", (long long)c->index,
			(long long)disk->size_gib, (long long)size_gib);
		disk->size_gib = size_gib;
	}
	disk->is_flatten |= is_flatten;
	c->needs_disks = is_flatten;
	return 0;
}

int orders_disk_patch(struct orders *o, const struct who *who, const char *ref,
	int64_t index, json_t *body, int64_t now, struct vm *out, struct err *e)
{
	struct change c = change_of(o, who, ref, now, patch_edit, "changed");
	struct disk_patch p = { 0 };

	if (jtab_parse(&disk_patch_jtab, body, JTAB_INPUT, &p, e) < 0 ||
		size_check(&c, p.size_gib, e) < 0 ||
		(p.is_flatten && need_admin(who, e) < 0))
		return -1;
	if (!p.size_gib && !p.is_flatten)
		return err_set_field(e, ERR_INVALID, "size_gib",
			"nothing is to be changed: give size_gib");
	c.index = index;
	c.disk.size_gib = p.size_gib;
	c.is_flatten = p.is_flatten;
	return run(&c, out, e);
}

static int detach_edit(struct change *c, bool is_doubtful, struct err *e)
{
	struct vm_disk *disk;

	if (find_disk(c, &disk, e) < 0)
		return is_doubtful && c->what[0] ? DRAFT_AS_IT_IS : -1;
	if (disk->is_leaving)
		return DRAFT_AS_IT_IS;
	if (c->index == 0)
		return err_set(e, ERR_CONFLICT,
			"disk 0 is what the VM \"%s\" boots from: it stays as long as "
			"the VM",
			c->base.vm.name);
	disk->is_leaving = true;
	disk->is_flatten = false;
	say(c, "removal of disk %lld with its %lld GiB", (long long)c->index,
		(long long)disk->size_gib);
	return 0;
}

int orders_disk_detach(struct orders *o, const struct who *who, const char *ref,
	int64_t index, int64_t now, struct vm *out, struct err *e)
{
	struct change c = change_of(o, who, ref, now, detach_edit, "parted from a disk");

	c.index = index;
	return run(&c, out, e);
}

/* ---------------------------------------------------------------- snapshots */

static const struct jtab_field snapshot_fields[] = {
	{ "name", JT_STR, offsetof(struct vm_snapshot, name), .check = name_check,
		.help = "1-63 of a-z, 0-9 and -; unique among the VM's snapshots "
			"(default: the date and time)" },
	{ "description", JT_STR, offsetof(struct vm_snapshot, description), JT_TEXT,
		.max = 1024, .help = "for people" },
	{ 0 },
};
const struct jtab snapshot_input_jtab = { "snapshot_order", sizeof(struct vm_snapshot),
	snapshot_fields };

/* "2026-11-23t08-15-00z" */
static char *name_of_time(int64_t now)
{
	char text[TIME_STR_SIZE];

	time_format(now, text);
	for (char *p = text; *p; p++) {
		if (*p == ':' || *p == '.' || *p == '+')
			*p = '-';
		else if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p | 0x20);
	}
	return xstrdup(text);
}

static int create_edit(struct change *c, bool is_doubtful, struct err *e)
{
	struct vm *vm = &c->base.vm;
	const struct vm_snapshot *old = vm_find_snapshot(vm, c->snap.name);
	struct vm_snapshot *s;

	if (old && is_doubtful && old->created == c->base.now &&
		old->state != SNAPSHOT_DELETING)
		return DRAFT_AS_IT_IS;
	if (old)
		return err_set_field(e, ERR_EXISTS, "name",
			"the VM \"%s\" has a snapshot named \"%s\" already: choose "
			"another name",
			vm->name, c->snap.name);
	if (vm->snapshots.len >= VM_SNAPSHOTS_MAX)
		return err_set(e, ERR_CONFLICT,
			"the VM \"%s\" has %d snapshots already: delete one first",
			vm->name, VM_SNAPSHOTS_MAX);
	s = jtab_list_add(&vm_snapshot_jtab, &vm->snapshots);
	jtab_copy(&vm_snapshot_jtab, &c->snap, s);
	s->state = SNAPSHOT_CREATING;
	s->created = c->base.now;
	say(c, "snapshot \"%s\"", c->snap.name);
	return 0;
}

int orders_snapshot_create(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e)
{
	struct change c = change_of(o, who, ref, now, create_edit, "snapshotted");

	c.needs_disks = true;
	if (body && jtab_parse(&snapshot_input_jtab, body, JTAB_INPUT, &c.snap, e) < 0) {
		change_done(&c);
		return -1;
	}
	if (str_is_empty(c.snap.name))
		str_set(&c.snap.name, name_of_time(now));
	return run_create(&c, "snapshot", idempotency_key, body, out, e);
}

/* 0, or DRAFT_AS_IT_IS when it is in that state. */
static int set_state(struct change *c, enum vm_snapshot_state state, struct err *e)
{
	struct vm_snapshot *s = vm_find_snapshot(&c->base.vm, c->snap.name);

	if (!s)
		return err_set(e, ERR_NOT_FOUND,
			"the VM \"%s\" has no snapshot named \"%s\"", c->base.vm.name,
			c->snap.name);
	if (s->state == (int)state)
		return DRAFT_AS_IT_IS;
	if (s->state != SNAPSHOT_READY)
		return err_set(e, ERR_CONFLICT,
			"the snapshot \"%s\" is not ready: its state is %s", s->name,
			vm_snapshot_state_names[s->state]);
	s->state = (int)state;
	return 0;
}

static int restore_edit(struct change *c, bool is_doubtful, struct err *e)
{
	(void)is_doubtful;
	say(c, "restoring of snapshot \"%s\"", c->snap.name);
	return set_state(c, SNAPSHOT_RESTORING, e);
}

static int delete_edit(struct change *c, bool is_doubtful, struct err *e)
{
	int r = set_state(c, SNAPSHOT_DELETING, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && is_doubtful && c->what[0])
		return DRAFT_AS_IT_IS;
	if (r == 0)
		say(c, "deletion of snapshot \"%s\"", c->snap.name);
	return r;
}

static int run_on_snapshot(
	struct change *c, const char *name, struct vm *out, struct err *e)
{
	if (name_check(name, e) < 0)
		return -1;
	c->snap.name = xstrdup(name);
	return run(c, out, e);
}

int orders_snapshot_restore(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e)
{
	struct change c =
		change_of(o, who, ref, now, restore_edit, "restored from a snapshot");

	c.needs_stopped = true;
	return run_on_snapshot(&c, name, out, e);
}

int orders_snapshot_delete(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e)
{
	struct change c =
		change_of(o, who, ref, now, delete_edit, "parted from a snapshot");

	return run_on_snapshot(&c, name, out, e);
}
