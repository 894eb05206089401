/*
 * Orders for the disks of a VM that exists.
 */
#include "common/base/buf.h"
#include "ucloud-api/vm_change.h"

struct disk_order {
	struct vm_change c;  /* first: it is what vm_change_run() hands on */
	struct vm_disk disk; /* as ordered */
	bool is_flatten;
	int64_t index; /* of the disk; < 0: not chosen yet */
};

static struct disk_order order_of(struct orders *o, const struct who *who,
	const char *ref, int64_t now, vm_change_edit_fn *edit, const char *done)
{
	return (struct disk_order){
		.c = { .base = { .o = o, .who = who, .ref = ref, .now = now },
			.edit = edit,
			.done = done },
		.index = -1,
	};
}

static int run(struct disk_order *c, struct vm *out, struct err *e)
{
	int r = vm_change_run(&c->c, out, e);

	jtab_done(&vm_disk_jtab, &c->disk);
	return r;
}

static int size_check(const struct disk_order *c, int64_t size_gib, struct err *e)
{
	int64_t max = c->c.base.o->conf.limits.max_disk_gib;

	if (size_gib <= max)
		return 0;
	return err_set_field(e, ERR_INVALID, "size_gib",
		"size_gib: at most %lld GiB are possible here, not %lld", (long long)max,
		(long long)size_gib);
}

/* One with leaving taken for gone; ERR_NOT_FOUND. */
static int find_disk(struct disk_order *c, struct vm_disk **out, struct err *e)
{
	*out = vm_find_disk(&c->c.base.vm, c->index);
	if (*out)
		return 0;
	return err_set(e, ERR_NOT_FOUND, "the VM \"%s\" has no disk %lld",
		c->c.base.vm.name, (long long)c->index);
}

static int leaving(const struct disk_order *c, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "disk %lld of the VM \"%s\" is being removed",
		(long long)c->index, c->c.base.vm.name);
}

static int attach_edit(void *aux, struct draft *d, struct err *e)
{
	struct disk_order *c = aux;
	struct vm *vm = &c->c.base.vm;
	const struct vm_disk *old = c->index < 0 ? NULL : vm_find_disk(vm, c->index);
	struct vm_disk *disk;

	if (draft_is_doubtful(d) && old && old->size_gib == c->disk.size_gib &&
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
	vm_change_say(&c->c, "disk %lld of %lld GiB", (long long)disk->index,
		(long long)disk->size_gib);
	return 0;
}

int orders_disk_attach(struct orders *o, const struct who *who, const char *ref,
	json_t *body, const char *idempotency_key, int64_t now, struct vm *out,
	struct err *e)
{
	struct disk_order c =
		order_of(o, who, ref, now, attach_edit, "given another disk");
	int r;

	if (jtab_parse(&vm_disk_input_jtab, body, JTAB_INPUT, &c.disk, e) < 0 ||
		size_check(&c, c.disk.size_gib, e) < 0) {
		jtab_done(&vm_disk_jtab, &c.disk);
		return -1;
	}
	r = vm_change_run_create(&c.c, "disk", idempotency_key, body, out, e);
	jtab_done(&vm_disk_jtab, &c.disk);
	return r;
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

static int patch_edit(void *aux, struct draft *d, struct err *e)
{
	struct disk_order *c = aux;
	struct vm_disk *disk;
	int64_t size_gib = c->disk.size_gib;
	bool is_flatten;

	(void)d;
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
		vm_change_say(&c->c, "flattening disk %lld", (long long)c->index);
	if (size_gib > disk->size_gib) {
		vm_change_say(&c->c, "growing disk %lld from %lld to %lld GiB",
			(long long)c->index, (long long)disk->size_gib,
			(long long)size_gib);
		disk->size_gib = size_gib;
	}
	disk->is_flatten |= is_flatten;
	c->c.needs_disks = is_flatten;
	return 0;
}

int orders_disk_patch(struct orders *o, const struct who *who, const char *ref,
	int64_t index, json_t *body, int64_t now, struct vm *out, struct err *e)
{
	struct disk_order c = order_of(o, who, ref, now, patch_edit, "changed");
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

static int detach_edit(void *aux, struct draft *d, struct err *e)
{
	struct disk_order *c = aux;
	struct vm_disk *disk;

	if (find_disk(c, &disk, e) < 0)
		return draft_is_doubtful(d) && c->c.what[0] ? DRAFT_AS_IT_IS : -1;
	if (disk->is_leaving)
		return DRAFT_AS_IT_IS;
	if (c->index == 0)
		return err_set(e, ERR_CONFLICT,
			"disk 0 is what the VM \"%s\" boots from: it stays as long as "
			"the VM",
			c->c.base.vm.name);
	disk->is_leaving = true;
	disk->is_flatten = false;
	vm_change_say(&c->c, "removal of disk %lld with its %lld GiB",
		(long long)c->index, (long long)disk->size_gib);
	return 0;
}

int orders_disk_detach(struct orders *o, const struct who *who, const char *ref,
	int64_t index, int64_t now, struct vm *out, struct err *e)
{
	struct disk_order c =
		order_of(o, who, ref, now, detach_edit, "parted from a disk");

	c.index = index;
	return run(&c, out, e);
}
