/*
 * Orders for the snapshots of a VM that exists.
 */
#include "common/base/buf.h"
#include "common/base/parse.h"
#include "ucloud-api/vm_change.h"

struct snapshot_order {
	struct vm_change c;	 /* first: it is what vm_change_run() hands on */
	struct vm_snapshot snap; /* as ordered */
};

static struct snapshot_order order_of(struct orders *o, const struct who *who,
	const char *ref, int64_t now, vm_change_edit_fn *edit, const char *done)
{
	return (struct snapshot_order){
		.c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
			.edit = edit,
			.done = done },
	};
}

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

static int create_edit(void *aux, struct draft *d, struct err *e)
{
	struct snapshot_order *c = aux;
	struct vm *vm = &c->c.base.vm;
	const struct vm_snapshot *old = vm_find_snapshot(vm, c->snap.name);
	struct vm_snapshot *s;

	if (old && draft_is_doubtful(d) && old->created == c->c.base.now &&
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
	s->created = c->c.base.now;
	vm_change_say(&c->c, "snapshot \"%s\"", c->snap.name);
	return 0;
}

int orders_snapshot_create(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e)
{
	struct snapshot_order c = order_of(o, who, ref, now, create_edit, "snapshotted");
	int r;

	c.c.needs_disks = true;
	if (body && jtab_parse(&snapshot_input_jtab, body, JTAB_INPUT, &c.snap, e) < 0) {
		jtab_done(&vm_snapshot_jtab, &c.snap);
		return -1;
	}
	if (str_is_empty(c.snap.name))
		str_set(&c.snap.name, name_of_time(now));
	r = vm_change_run_create(&c.c, "snapshot", idempotency_key, body, out, e);
	jtab_done(&vm_snapshot_jtab, &c.snap);
	return r;
}

/* 0, or DRAFT_AS_IT_IS when it is in that state. */
static int set_state(
	struct snapshot_order *c, enum vm_snapshot_state state, struct err *e)
{
	struct vm_snapshot *s = vm_find_snapshot(&c->c.base.vm, c->snap.name);

	if (!s)
		return err_set(e, ERR_NOT_FOUND,
			"the VM \"%s\" has no snapshot named \"%s\"", c->c.base.vm.name,
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

static int restore_edit(void *aux, struct draft *d, struct err *e)
{
	struct snapshot_order *c = aux;
	(void)d;
	vm_change_say(&c->c, "restoring of snapshot \"%s\"", c->snap.name);
	return set_state(c, SNAPSHOT_RESTORING, e);
}

static int delete_edit(void *aux, struct draft *d, struct err *e)
{
	struct snapshot_order *c = aux;
	int r = set_state(c, SNAPSHOT_DELETING, e);

	if (r < 0 && e->kind == ERR_NOT_FOUND && draft_is_doubtful(d) && c->c.what[0])
		return DRAFT_AS_IT_IS;
	if (r == 0)
		vm_change_say(&c->c, "deletion of snapshot \"%s\"", c->snap.name);
	return r;
}

static int run_on_snapshot(
	struct snapshot_order *c, const char *name, struct vm *out, struct err *e)
{
	int r;

	if (name_check(name, e) < 0)
		return -1;
	c->snap.name = xstrdup(name);
	r = vm_change_run(&c->c, out, e);
	jtab_done(&vm_snapshot_jtab, &c->snap);
	return r;
}

int orders_snapshot_restore(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e)
{
	struct snapshot_order c =
		order_of(o, who, ref, now, restore_edit, "restored from a snapshot");

	c.c.needs_stopped = true;
	return run_on_snapshot(&c, name, out, e);
}

int orders_snapshot_delete(struct orders *o, const struct who *who, const char *ref,
	const char *name, int64_t now, struct vm *out, struct err *e)
{
	struct snapshot_order c =
		order_of(o, who, ref, now, delete_edit, "parted from a snapshot");

	return run_on_snapshot(&c, name, out, e);
}
