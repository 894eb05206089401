#include "ucloud-scheduler/brief.h"

#include <string.h>

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char *labels_text(json_t *labels)
{
	CLEANUP(strv_done) struct strv lines = { 0 };
	struct buf out = { 0 };
	const char *name;
	json_t *value;

	json_object_foreach (labels, name, value) {
		if (json_is_string(value))
			strv_add_take(&lines,
				xasprintf("%s=%s", name, json_string_value(value)));
	}
	if (lines.len)
		qsort(lines.v, lines.len, sizeof(lines.v[0]), compare_lines);
	for (size_t i = 0; i < lines.len; i++) {
		buf_add_str(&out, lines.v[i]);
		buf_add_char(&out, '\n');
	}
	return buf_take(&out);
}

bool vm_waits_for_host(const struct vm *vm)
{
	return !vm_has_host(vm) &&
	       (vm->status == VM_REQUESTED_NEW || vm->status == VM_REQUESTED_START ||
		       vm->status == VM_KILLED);
}

bool brief_is_waiting(const struct vm_brief *b)
{
	return !*b->hostname &&
	       (b->status == VM_REQUESTED_NEW || b->status == VM_REQUESTED_START ||
		       b->status == VM_KILLED);
}

/* It can only run where its disks are: nobody else shall take its place there while it waits
 * to be started again. */
static bool vm_keeps_room(const struct vm *vm)
{
	return vm->status == VM_KILLED && vm->want == VM_WANT_RUNNING &&
	       !vm_has_host(vm) && !str_is_empty(vm->disk_host);
}

/* The strings of a brief, one after the other, and where each is to be pointed to. */
struct packer {
	struct buf text;
	size_t off[16];
	const char **to[16];
	size_t n;
};

static void pack(struct packer *p, const char **to, const char *s)
{
	p->off[p->n] = p->text.size;
	p->to[p->n++] = to;
	buf_add(&p->text, s ? s : "", s ? strlen(s) + 1 : 1);
}

static void pack_labels(struct packer *p, const char **to, json_t *labels)
{
	CLEANUP_STR char *s = labels_text(labels);

	pack(p, to, s);
}

static void pack_strings(
	struct packer *p, struct vm_brief *b, const struct vm *vm, const char *value)
{
	CLEANUP_STR char *owner = xasprintf("%s/%s",
		vm->owner_realm ? vm->owner_realm : "", vm->owner ? vm->owner : "");
	bool waits = vm_waits_for_host(vm);

	pack(p, &b->owner, owner);
	pack(p, &b->hostname, vm->hostname);
	pack(p, &b->disk_host, vm->disk_host);
	pack(p, &b->store, vm->store);
	/* Once it has run, its disk is made. */
	pack(p, &b->image_store, vm->last_start ? "" : vm->image_store);
	pack_labels(p, &b->labels, vm->labels);
	pack_labels(p, &b->host_labels, vm->affinity.host_labels);
	pack_labels(p, &b->near, vm->affinity.near);
	pack_labels(p, &b->apart, vm->affinity.apart);
	pack(p, &b->why, waits ? vm->why : "");
	pack(p, &b->value, waits ? value : "");
}

struct vm_brief *brief_new(const struct vm *vm, const char *value)
{
	struct vm_brief head = {
		.cpu = vm->specs.cpu,
		.ram_mib = vm->specs.ram_mib,
		.disk_gib = vm_disk_gib(vm),
		.status = vm->status,
		.want = vm->want,
		.uses_host = vm_uses_host(vm),
		.keeps_room = vm_keeps_room(vm),
		.was_placed = vm_was_placed(vm),
	};
	struct packer p = { 0 };

	pack_strings(&p, &head, vm, value);
	struct vm_brief *b = xmalloc(sizeof(*b) + p.text.size);
	memcpy(b->text, p.text.s, p.text.size);
	for (size_t i = 0; i < p.n; i++)
		*p.to[i] = b->text + p.off[i];
	memcpy(b, &head, sizeof(head));
	buf_done(&p.text);
	return b;
}

void brief_free(struct vm_brief *b)
{
	free(b);
}

void *brief_parse_item(const char *name, json_t *json, struct err *e)
{
	struct vm *vm = vm_parse_item(name, json, e);

	if (!vm)
		return NULL;
	char *value = vm_waits_for_host(vm) ? json_dumps(json, JSON_COMPACT) : NULL;
	struct vm_brief *b = brief_new(vm, value);
	free(value);
	vm_free_item(vm);
	return b;
}

void brief_free_item(void *b)
{
	brief_free(b);
}
