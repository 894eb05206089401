#include "common/model/vm.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/parse.h"
#include "common/model/entry.h"
#include "common/model/names.h"

#define LOG_TEXT_MAX 500
#define LABELS_MAX   32

const char *const vm_status_names[] = {
	[VM_REQUESTED_NEW] = "REQUESTED_NEW",
	[VM_SCHEDULED] = "SCHEDULED",
	[VM_RUNNING] = "RUNNING",
	[VM_REQUESTED_SHUTDOWN] = "REQUESTED_SHUTDOWN",
	[VM_STOPPED] = "STOPPED",
	[VM_REQUESTED_START] = "REQUESTED_START",
	[VM_REQUESTED_MIGRATE] = "REQUESTED_MIGRATE",
	[VM_REQUESTED_DELETE] = "REQUESTED_DELETE",
	[VM_KILLED] = "KILLED",
	[VM_ERROR] = "ERROR",
	[VM_N_STATUS] = NULL,
};

const char *const vm_want_names[] = {
	[VM_WANT_RUNNING] = "running",
	[VM_WANT_STOPPED] = "stopped",
	NULL,
};

#define DISK(member) offsetof(struct vm_disk, member)

#define DISK_ORDER                                                                       \
	{ "size_gib", JT_INT, DISK(size_gib), JT_NEED, .min = 1, .max = 65536,           \
		.help = "size in GiB" },                                                 \
	{                                                                                \
		"class", JT_STR, DISK(class), 0,                                         \
			.max = 63, .check = name_check,                                  \
			.help = "kind of storage, like \"ssd\"; missing: any"            \
	}

static const struct jtab_field vm_disk_fields[] = {
	{ "index", JT_INT, DISK(index), JT_ALWAYS, .max = VM_DISKS_MAX - 1,
		.help = "names it as long as it is there; the boot disk's is 0" },
	DISK_ORDER,
	{ "leaving", JT_BOOL, DISK(is_leaving), 0,
		.help = "is being detached and removed" },
	{ "flatten", JT_BOOL, DISK(is_flatten), 0,
		.help = "is being made independent of its image" },
	{ 0 },
};
const struct jtab vm_disk_jtab = { "disk", sizeof(struct vm_disk), vm_disk_fields,
	.rest_off = DISK(rest), .has_rest = true };

static const struct jtab_field vm_disk_input_fields[] = { DISK_ORDER, { 0 } };
const struct jtab vm_disk_input_jtab = { "disk_order", sizeof(struct vm_disk),
	vm_disk_input_fields };

const char *const vm_snapshot_state_names[] = {
	[SNAPSHOT_CREATING] = "creating",
	[SNAPSHOT_READY] = "ready",
	[SNAPSHOT_RESTORING] = "restoring",
	[SNAPSHOT_DELETING] = "deleting",
	NULL,
};

#define SNAPSHOT(member) offsetof(struct vm_snapshot, member)

static const struct jtab_field vm_snapshot_fields[] = {
	{ "name", JT_STR, SNAPSHOT(name), JT_NEED, .min = 1, .check = name_check,
		.help = "unique among the VM's snapshots" },
	{ "description", JT_STR, SNAPSHOT(description), JT_TEXT, .max = 1024,
		.help = "for people" },
	{ "state", JT_ENUM, SNAPSHOT(state), JT_NEED | JT_ALWAYS,
		.names = vm_snapshot_state_names,
		.help = "ready, or what is being done" },
	{ "created", JT_TIME, SNAPSHOT(created), 0, .help = "when it was ordered" },
	{ "quiesced", JT_BOOL, SNAPSHOT(is_quiesced), 0,
		.help = "the guest agent had frozen the file systems; else it is as "
			"after a "
			"power failure" },
	{ 0 },
};
const struct jtab vm_snapshot_jtab = { "snapshot", sizeof(struct vm_snapshot),
	vm_snapshot_fields, .rest_off = SNAPSHOT(rest), .has_rest = true };

#define SPECS(member) offsetof(struct vm_specs, member)

static const struct jtab_field vm_specs_fields[] = {
	{ "cpu", JT_INT, SPECS(cpu), JT_NEED, .min = 1, .max = 256,
		.help = "number of virtual CPUs" },
	{ "ram_mib", JT_INT, SPECS(ram_mib), JT_NEED, .min = 16, .max = 16777216,
		.help = "RAM in MiB" },
	{ "disks", JT_LIST, SPECS(disks), JT_ALWAYS, .max = VM_DISKS_MAX,
		.sub = &vm_disk_jtab,
		.help = "disks; the one of index 0 is booted from" },
	{ 0 },
};
const struct jtab vm_specs_jtab = { "specs", sizeof(struct vm_specs), vm_specs_fields };

#define NIC(member) offsetof(struct vm_nic, member)

static const struct jtab_field vm_nic_fields[] = {
	{ "network", JT_STR, NIC(network), JT_NEED, .min = 1, .check = uuid_check,
		.help = "uuid of the network" },
	{ "mac", JT_STR, NIC(mac), 0, .check = mac_check,
		.help = "MAC of the interface" },
	{ "address", JT_STR, NIC(address), 0, .check = ipv6_check,
		.help = "IPv6 address; missing: not known" },
	{ "rate_mbit", JT_INT, NIC(rate_mbit), 0, .max = 1000000,
		.help = "how much it may send, and get, in Mbit/s; missing: any" },
	{ "leaving", JT_BOOL, NIC(is_leaving), 0, .help = "is being detached" },
	{ 0 },
};
const struct jtab vm_nic_jtab = { "network", sizeof(struct vm_nic), vm_nic_fields,
	.rest_off = NIC(rest), .has_rest = true };

#define LOG(member) offsetof(struct vm_log_line, member)

static const struct jtab_field vm_log_fields[] = {
	{ "time", JT_TIME, LOG(time), 0, .help = "when" },
	{ "text", JT_STR, LOG(text), JT_ALWAYS, .max = 2048, .help = "what happened" },
	{ 0 },
};
const struct jtab vm_log_jtab = { "log", sizeof(struct vm_log_line), vm_log_fields,
	.rest_off = LOG(rest), .has_rest = true };

#define AFFINITY(member) offsetof(struct vm_affinity, member)

static const struct jtab_field vm_affinity_fields[] = {
	{ "host_labels", JT_JSON, AFFINITY(host_labels), 0,
		.help = "labels that the host must carry" },
	{ "near", JT_JSON, AFFINITY(near), 0,
		.help = "only on a host with another VM of the owner that carries these "
			"labels" },
	{ "apart", JT_JSON, AFFINITY(apart), 0,
		.help = "never on a host with another VM of the owner that carries these "
			"labels" },
	{ 0 },
};
const struct jtab vm_affinity_jtab = { "affinity", sizeof(struct vm_affinity),
	vm_affinity_fields };

#define AT(member) offsetof(struct vm, member)

/* The newest of log lines, disks and so on are limited where they are made; what another
 * version of ucloud stored may be more, within reason. */
static const struct jtab_field vm_fields[] = {
	{ "uuid", JT_STR, AT(uuid), JT_NEED, .min = 1, .check = uuid_check,
		.help = "never changes" },
	{ "name", JT_STR, AT(name), JT_NEED, .min = 1, .check = name_check,
		.help = "unique among the owner's VMs" },
	{ "owner", JT_STR, AT(owner), JT_NEED, .min = 1, .check = user_name_check,
		.help = "name of the user it belongs to" },
	{ "owner_realm", JT_STR, AT(owner_realm), JT_NEED, .min = 1, .check = realm_check,
		.help = "realm of the user it belongs to" },
	{ "specs", JT_OBJ, AT(specs), JT_NEED, .sub = &vm_specs_jtab,
		.help = "CPUs, RAM and disks" },
	{ "labels", JT_JSON, AT(labels), 0, .help = "an object of strings" },
	{ "affinity", JT_OBJ, AT(affinity), 0, .sub = &vm_affinity_jtab,
		.help = "where it may be placed" },
	{ "image_uuid", JT_STR, AT(image_uuid), JT_ALWAYS, .check = uuid_check,
		.help = "the image that its first disk was made from; \"\": none" },
	{ "store", JT_STR, AT(store), JT_ALWAYS, .check = name_check,
		.help = "the image store that holds its disks" },
	{ "image_store", JT_STR, AT(image_store), 0, .check = name_check,
		.help = "the image store of its image, when it is another one" },
	{ "snapshots", JT_LIST, AT(snapshots), 0, .max = 2 * VM_SNAPSHOTS_MAX,
		.sub = &vm_snapshot_jtab, .help = "of its disks, oldest first" },
	{ "networks", JT_LIST, AT(networks), JT_ALWAYS, .max = VM_NICS_MAX,
		.sub = &vm_nic_jtab, .help = "its interfaces" },
	{ "ingress", JT_STRV, AT(ingress), 0, .max = 64, .check = ingress_check,
		.help = "what may begin a connection to it: \"tcp/22\", \"udp/53\", "
			"\"icmpv6\"" },
	{ "closed", JT_BOOL, AT(is_closed), 0,
		.help = "only what ingress names is let in; else all is" },
	{ "ssh_keys", JT_STRV, AT(ssh_keys), JT_ALWAYS, .max = 64, .check = ssh_key_check,
		.help = "SSH public keys that may log in" },
	{ "user_data", JT_STR, AT(user_data), JT_TEXT, .max = 65536,
		.help = "for cloud-init in the guest" },
	{ "want", JT_ENUM, AT(want), JT_NEED | JT_ALWAYS, .names = vm_want_names,
		.help = "what its owner ordered" },
	{ "status", JT_ENUM, AT(status), JT_NEED | JT_ALWAYS, .names = vm_status_names,
		.help = "what it is doing" },
	{ "hostname", JT_STR, AT(hostname), JT_ALWAYS, .check = hostname_check,
		.help = "the host it is placed on; \"\": none" },
	{ "disk_host", JT_STR, AT(disk_host), JT_ALWAYS, .check = hostname_check,
		.help = "the host that holds its disks; \"\": any host of the store can "
			"reach them" },
	{ "was_placed", JT_BOOL, AT(was_placed), 0,
		.help = "was it given a host once? Then there may be disks of it" },
	{ "in_migration", JT_BOOL, AT(in_migration), 0, .help = "moves to another host" },
	{ "changing", JT_BOOL, AT(is_changing), 0,
		.help = "its disks or snapshots are being changed" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was ordered" },
	{ "boot", JT_INT, AT(boot), 0, .max = INT64_MAX,
		.help = "how many boots were ordered" },
	{ "n_crashes", JT_INT, AT(n_crashes), 0, .max = INT32_MAX,
		.help = "how often it crashed in a row" },
	{ "last_crash", JT_TIME, AT(last_crash), 0, .help = "when it crashed last" },
	{ "last_start", JT_TIME, AT(last_start), 0, .help = "when it became RUNNING" },
	{ "why", JT_STR, AT(why), 0, .max = 4096,
		.help = "why it was placed there, or why it still waits" },
	{ "log", JT_LIST, AT(log), JT_ALWAYS, .max = 10 * VM_LOG_MAX, .sub = &vm_log_jtab,
		.help = "what happened to it, newest last" },
	{ 0 },
};
const struct jtab vm_jtab = { "vm", sizeof(struct vm), vm_fields, .rest_off = AT(rest),
	.has_rest = true };

int labels_check(json_t *labels, struct err *e)
{
	const char *name;
	json_t *value;

	if (!labels)
		return 0;
	if (!json_is_object(labels))
		return err_set(e, ERR_INVALID,
			"labels are an object of strings, like {\"app\": \"db\"}");
	if (json_object_size(labels) > LABELS_MAX)
		return err_set(e, ERR_INVALID, "at most %d labels, not %zu", LABELS_MAX,
			json_object_size(labels));
	json_object_foreach (labels, name, value) {
		if (label_name_check(name, e) != 0)
			return -1;
		if (!json_is_string(value) ||
			strlen(json_string_value(value)) != json_string_length(value))
			return err_set(e, ERR_INVALID,
				"the value of label \"%.63s\" must be a string", name);
		if (label_value_check(json_string_value(value), e) != 0)
			return -1;
	}
	return 0;
}

bool labels_match(json_t *have, json_t *need)
{
	const char *name;
	json_t *value;

	json_object_foreach (need, name, value) {
		json_t *other = json_object_get(have, name);

		if (!other || !json_equal(other, value))
			return false;
	}
	return true;
}

int labels_check_at(json_t *labels, const char *field, struct err *e)
{
	if (labels_check(labels, e) == 0)
		return 0;
	if (e)
		snprintf(e->field, sizeof(e->field), "%s", field);
	return -1;
}

int vm_affinity_check(const struct vm_affinity *a, struct err *e)
{
	if (labels_check_at(a->host_labels, "affinity.host_labels", e) != 0 ||
		labels_check_at(a->near, "affinity.near", e) != 0)
		return -1;
	return labels_check_at(a->apart, "affinity.apart", e);
}

/* Indices grow, and begin with 0: two disks never share one. Entries of version 0.1.0 have
 * none: there the place in the list was the index. */
static int disks_check(const struct vm *vm, struct err *e)
{
	struct vm_disk *disk = vm->specs.disks.v;
	bool has_index = false;

	for (size_t i = 0; i < vm->specs.disks.len; i++)
		has_index = has_index || disk[i].index != 0;
	for (size_t i = 0; i < vm->specs.disks.len && !has_index; i++)
		disk[i].index = (int64_t)i;
	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (i == 0 ? disk[i].index != 0 : disk[i].index <= disk[i - 1].index)
			return err_set_field(e, ERR_INVALID, "specs.disks",
				"the indices of disks begin with 0 and grow; disk %zu of "
				"the list has %jd",
				i, (intmax_t)disk[i].index);
	return 0;
}

static int vm_check(void *entry, struct err *e)
{
	struct vm *vm = entry;

	if (disks_check(vm, e) != 0)
		return -1;
	if (labels_check_at(vm->labels, "labels", e) != 0)
		return -1;
	return vm_affinity_check(&vm->affinity, e);
}

static const struct entry_class vm_class = { &vm_jtab, AT(uuid), false, vm_check };

int vm_parse(const char *json, size_t size, struct vm *out, struct err *e)
{
	return entry_parse(&vm_class, json, size, out, e);
}

char *vm_format(const struct vm *vm)
{
	return jtab_format_text(&vm_jtab, vm);
}

void vm_copy(const struct vm *from, struct vm *to)
{
	jtab_copy(&vm_jtab, from, to);
}

void vm_done(struct vm *vm)
{
	jtab_done(&vm_jtab, vm);
}

void *vm_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&vm_class, name, json, e);
}

void vm_free_item(void *vm)
{
	entry_free_item(&vm_class, vm);
}

/* How much of s is whole characters within max bytes. */
static size_t cut_len(const char *s, size_t max)
{
	size_t size = strlen(s), len = 0;

	while (len < size) {
		size_t n = utf8_char_len(s + len, size - len);

		if (n == 0 || len + n > max)
			break;
		len += n;
	}
	return len;
}

/* Takes the element at p out of its list; NULL is fine. */
static void list_drop(const struct jtab *sub, struct jtab_list *l, void *p)
{
	char *end = (char *)l->v + l->len * sub->size, *at = p;

	if (!p)
		return;
	jtab_done(sub, p);
	memmove(at, at + sub->size, (size_t)(end - at) - sub->size);
	l->len--;
}

void vm_log(struct vm *vm, int64_t now, const char *fmt, ...)
{
	struct vm_log_line *line;
	struct err text; /* for its message: one line of valid UTF-8 of any bytes */
	char any[sizeof(text.msg)];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(any, sizeof(any), fmt, ap) < 0)
		any[0] = '\0';
	va_end(ap);
	err_set(&text, ERR_NONE, "%s", any);
	text.msg[cut_len(text.msg, LOG_TEXT_MAX)] = '\0';

	if (vm->log.len > 0) {
		line = jtab_list_at(&vm_log_jtab, &vm->log, vm->log.len - 1);
		if (str_eq(line->text, text.msg))
			return;
	}
	line = jtab_list_add(&vm_log_jtab, &vm->log);
	line->time = now;
	line->text = xstrdup(text.msg);
	while (vm->log.len > VM_LOG_MAX)
		list_drop(&vm_log_jtab, &vm->log, vm->log.v);
}

/*
 * Which moves are legal, one row for each status a VM can come from.
 *
 * To itself only where the same order may come again. Never SCHEDULED or RUNNING to
 * SCHEDULED: that would place a VM a second time; it becomes KILLED first. A VM in ERROR
 * does not become KILLED, from which it would come back by itself. REQUESTED_DELETE ends in
 * the removal of the entry, or in ERROR.
 */
#define TO(status) [VM_##status] = true
static const bool moves[VM_N_STATUS][VM_N_STATUS] = {
	[VM_REQUESTED_NEW] = { TO(SCHEDULED), TO(STOPPED), TO(REQUESTED_DELETE),
		TO(ERROR) },
	[VM_SCHEDULED] = { TO(RUNNING), TO(REQUESTED_SHUTDOWN), TO(STOPPED), TO(KILLED),
		TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_RUNNING] = { TO(REQUESTED_SHUTDOWN), TO(REQUESTED_MIGRATE), TO(STOPPED),
		TO(KILLED), TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_REQUESTED_SHUTDOWN] = { TO(REQUESTED_SHUTDOWN), TO(STOPPED), TO(KILLED),
		TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_STOPPED] = { TO(STOPPED), TO(REQUESTED_START), TO(REQUESTED_DELETE),
		TO(ERROR) },
	[VM_REQUESTED_START] = { TO(SCHEDULED), TO(STOPPED), TO(REQUESTED_DELETE),
		TO(ERROR) },
	[VM_REQUESTED_MIGRATE] = { TO(RUNNING), TO(REQUESTED_SHUTDOWN), TO(STOPPED),
		TO(KILLED), TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_REQUESTED_DELETE] = { TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_KILLED] = { TO(KILLED), TO(SCHEDULED), TO(RUNNING), TO(REQUESTED_SHUTDOWN),
		TO(STOPPED), TO(REQUESTED_START), TO(REQUESTED_DELETE), TO(ERROR) },
	[VM_ERROR] = { TO(ERROR), TO(SCHEDULED), TO(RUNNING), TO(REQUESTED_START),
		TO(REQUESTED_SHUTDOWN), TO(STOPPED), TO(REQUESTED_DELETE) },
};
#undef TO

bool vm_may_move(enum vm_status from, enum vm_status to)
{
	return (unsigned)from < VM_N_STATUS && (unsigned)to < VM_N_STATUS &&
	       moves[from][to];
}

void vm_move(struct vm *vm, enum vm_status to)
{
	assert(vm_may_move((enum vm_status)vm->status, to));
	vm->status = (int)to;
}

bool vm_has_host(const struct vm *vm)
{
	return !str_is_empty(vm->hostname);
}

void vm_release_host(struct vm *vm)
{
	str_set(&vm->hostname, xstrdup(""));
}

struct vm_disk *vm_find_disk(const struct vm *vm, int64_t index)
{
	struct vm_disk *disk = vm->specs.disks.v;

	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (disk[i].index == index)
			return &disk[i];
	return NULL;
}

struct vm_snapshot *vm_find_snapshot(const struct vm *vm, const char *name)
{
	struct vm_snapshot *snapshot = vm->snapshots.v;

	for (size_t i = 0; i < vm->snapshots.len; i++)
		if (str_eq(snapshot[i].name, name))
			return &snapshot[i];
	return NULL;
}

struct vm_disk *vm_add_disk(struct vm *vm)
{
	struct jtab_list *disks = &vm->specs.disks;
	struct vm_disk *disk;
	size_t at = 0;

	if (disks->len >= VM_DISKS_MAX)
		return NULL;
	jtab_list_add(&vm_disk_jtab, disks);
	disk = disks->v;
	while (at < disks->len - 1 && disk[at].index == (int64_t)at)
		at++;
	memmove(&disk[at + 1], &disk[at], (disks->len - 1 - at) * sizeof(*disk));
	disk[at] = (struct vm_disk){ .index = (int64_t)at };
	return &disk[at];
}

void vm_drop_disk(struct vm *vm, int64_t index)
{
	list_drop(&vm_disk_jtab, &vm->specs.disks, vm_find_disk(vm, index));
}

void vm_drop_snapshot(struct vm *vm, const char *name)
{
	list_drop(&vm_snapshot_jtab, &vm->snapshots, vm_find_snapshot(vm, name));
}

struct vm_nic *vm_find_nic(const struct vm *vm, const char *mac)
{
	struct vm_nic *nic = vm->networks.v;

	for (size_t i = 0; i < vm->networks.len; i++)
		if (str_eq(nic[i].mac, mac))
			return &nic[i];
	return NULL;
}

void vm_drop_nic(struct vm *vm, const char *mac)
{
	list_drop(&vm_nic_jtab, &vm->networks, vm_find_nic(vm, mac));
}

char *vm_port_format(const struct vm *vm, size_t i)
{
	const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);
	CLEANUP(json_decref_ptr)
	json_t *value = json_pack("{s:s, s:I, s:s}", "vm", vm->uuid, "index",
		(json_int_t)i, "address", nic->address ? nic->address : "");

	return json_dumps(value, JSON_COMPACT);
}

bool vm_has_changes(const struct vm *vm)
{
	const struct vm_disk *disk = vm->specs.disks.v;
	const struct vm_nic *nic = vm->networks.v;
	const struct vm_snapshot *snapshot = vm->snapshots.v;

	for (size_t i = 0; i < vm->specs.disks.len; i++)
		if (disk[i].is_leaving || disk[i].is_flatten)
			return true;
	for (size_t i = 0; i < vm->networks.len; i++)
		if (nic[i].is_leaving)
			return true;
	for (size_t i = 0; i < vm->snapshots.len; i++)
		if (snapshot[i].state != SNAPSHOT_READY)
			return true;
	return vm->is_changing;
}

bool vm_was_placed(const struct vm *vm)
{
	return vm->was_placed || vm_has_host(vm) || !str_is_empty(vm->disk_host) ||
	       vm->last_start || vm->n_crashes;
}

int64_t vm_disk_gib(const struct vm *vm)
{
	int64_t sum = 0;

	for (size_t i = 0; i < vm->specs.disks.len; i++) {
		const struct vm_disk *disk =
			jtab_list_at(&vm_disk_jtab, &vm->specs.disks, i);

		sum += disk->size_gib;
	}
	return sum;
}

bool vm_uses_host(const struct vm *vm)
{
	switch ((enum vm_status)vm->status) {
	case VM_REQUESTED_NEW:
	case VM_REQUESTED_START:
	case VM_STOPPED:
		return false;
	default:
		return vm_has_host(vm);
	}
}
