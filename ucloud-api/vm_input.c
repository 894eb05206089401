#include "ucloud-api/vm_input.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/base/crypt.h"
#include "common/model/names.h"

#define GIB ((int64_t)1 << 30)

enum { DEFAULT_CPU = 1, DEFAULT_RAM_MIB = 1024, DEFAULT_DISK_GIB = 10 };
enum { CPU_MAX = 256, RAM_MIB_MAX = 16 << 20, DISK_GIB_MAX = 65536, SSH_KEYS_MAX = 64 };

int new_name_check(const char *name, struct err *e)
{
	struct err not_uuid;

	if (name_check(name, e) < 0)
		return -1;
	if (uuid_check(name, &not_uuid) == 0)
		return err_set(e, ERR_INVALID,
			"a name may not look like a uuid: \"%s\" would be ambiguous",
			name);
	return 0;
}

static int key_ref_check(const char *s, struct err *e)
{
	return strchr(s, ' ') ? ssh_key_check(s, e) : name_check(s, e);
}

static const struct jtab_field nic_fields[] = {
	{ "network", JT_STR, offsetof(struct nic_input, network), JT_NEED,
		.check = name_check, .help = "uuid or name of a network of the owner's" },
	{ "rate_mbit", JT_INT, offsetof(struct nic_input, rate_mbit), .min = 1,
		.max = 1000000,
		.help = "how much it may send, and get, in Mbit/s (default: any)" },
	{ 0 },
};
const struct jtab nic_input_jtab = { "nic_order", sizeof(struct nic_input), nic_fields };

static const struct jtab_field fields[] = {
	{ "name", JT_STR, offsetof(struct vm_input, name), JT_NEED,
		.check = new_name_check,
		.help = "1-63 of a-z, 0-9 and -; unique among the owner's VMs" },
	{ "cpu", JT_INT, offsetof(struct vm_input, cpu), .min = 1, .max = CPU_MAX,
		.help = "virtual CPUs (default 1)" },
	{ "ram_mib", JT_INT, offsetof(struct vm_input, ram_mib), .min = 16,
		.max = RAM_MIB_MAX, .help = "memory in MiB (default 1024)" },
	{ "disk_gib", JT_INT, offsetof(struct vm_input, disk_gib), .min = 1,
		.max = DISK_GIB_MAX,
		.help = "size of the boot disk in GiB (default: the image's size, or "
			"10)" },
	{ "disks", JT_LIST, offsetof(struct vm_input, disks), .max = VM_DISKS_MAX,
		.sub = &vm_disk_input_jtab,
		.help = "instead of disk_gib: all disks, the boot disk first" },
	{ "image", JT_STR, offsetof(struct vm_input, image), JT_NEED, .check = name_check,
		.help = "uuid or name of an image: the owner's own, else a public one" },
	{ "store", JT_STR, offsetof(struct vm_input, store), .check = name_check,
		.help = "the image store that is to hold its disks (default: the "
			"image's); the image is copied there" },
	{ "labels", JT_JSON, offsetof(struct vm_input, labels),
		.help = "object of strings" },
	{ "affinity", JT_OBJ, offsetof(struct vm_input, affinity),
		.sub = &vm_affinity_jtab, .help = "where it may be placed" },
	{ "networks", JT_LIST, offsetof(struct vm_input, networks), .max = VM_NICS_MAX,
		.sub = &nic_input_jtab, .help = "one interface for each" },
	{ "ingress", JT_STRV, offsetof(struct vm_input, ingress), .max = 64,
		.check = ingress_check,
		.help = "only this may begin a connection to it: \"tcp/22\", "
			"\"udp/53\", \"icmpv6\" (default: anything)" },
	{ "ssh_keys", JT_STRV, offsetof(struct vm_input, ssh_keys), .max = SSH_KEYS_MAX,
		.check = key_ref_check,
		.help = "names of stored keys, or whole public keys (default: all stored "
			"keys)" },
	{ "user_data", JT_STR, offsetof(struct vm_input, user_data), JT_TEXT,
		.max = VM_USER_DATA_MAX, .help = "text for cloud-init, at most 64 KiB" },
	{ "want", JT_ENUM, offsetof(struct vm_input, want), .names = vm_want_names,
		.help = "running (default) or stopped: not started yet" },
	{ 0 },
};

const struct jtab vm_input_jtab = { "vm_order", sizeof(struct vm_input), fields };

void vm_input_done(struct vm_input *in)
{
	jtab_done(&vm_input_jtab, in);
}

static int limit_check(
	const char *field, const char *unit, int64_t value, int64_t max, struct err *e)
{
	if (value <= max)
		return 0;
	return err_set_field(e, ERR_INVALID, field,
		"%s: at most %lld%s are possible here, not %lld", field, (long long)max,
		unit, (long long)value);
}

static int limits_check(
	const struct vm_input *in, const struct vm_limits *limits, struct err *e)
{
	if (limit_check("cpu", "", in->cpu, limits->max_cpu, e) < 0 ||
		limit_check("ram_mib", " MiB", in->ram_mib, limits->max_ram_mib, e) < 0 ||
		limit_check("disk_gib", " GiB", in->disk_gib, limits->max_disk_gib, e) <
			0)
		return -1;
	for (size_t i = 0; i < in->disks.len; i++) {
		const struct vm_disk *disk = jtab_list_at(&vm_disk_jtab, &in->disks, i);
		char field[64];

		snprintf(field, sizeof(field), "disks[%zu].size_gib", i);
		if (limit_check(field, " GiB", disk->size_gib, limits->max_disk_gib, e) <
			0)
			return -1;
	}
	return 0;
}

static int input_check(
	const struct vm_input *in, const struct vm_limits *limits, struct err *e)
{
	if (in->disk_gib && in->disks.len > 0)
		return err_set_field(e, ERR_INVALID, "disk_gib",
			"give either disk_gib or disks, not both");
	if (labels_check_at(in->labels, "labels", e) < 0 ||
		vm_affinity_check(&in->affinity, e) < 0)
		return -1;
	return limits_check(in, limits, e);
}

int vm_input_parse(
	json_t *body, const struct vm_limits *limits, struct vm_input *out, struct err *e)
{
	struct vm_input in = { 0 };

	if (jtab_parse(&vm_input_jtab, body, JTAB_INPUT, &in, e) < 0 ||
		input_check(&in, limits, e) < 0) {
		vm_input_done(&in);
		return -1;
	}
	in.has_ssh_keys = json_is_array(json_object_get(body, "ssh_keys"));
	in.has_ingress = json_is_array(json_object_get(body, "ingress"));
	*out = in;
	return 0;
}

void vm_mac(const char *vm_uuid, size_t i, char out[MAC_STR_SIZE])
{
	char name[UUID_STR_SIZE + 24], hex[SHA256_HEX_SIZE];

	snprintf(name, sizeof(name), "%s/%zu", vm_uuid, i);
	sha256_hex(name, strlen(name), hex);
	snprintf(out, MAC_STR_SIZE, "02:%.2s:%.2s:%.2s:%.2s:%.2s", hex, hex + 2, hex + 4,
		hex + 6, hex + 8);
}

char *eui64_address(const char *prefix, const char *mac)
{
	CLEANUP_STR char *net = NULL;
	const char *slash = strchr(prefix, '/');
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	unsigned m[6];

	if (!slash || strcmp(slash, "/64") != 0)
		return NULL;
	net = xstrndup(prefix, (size_t)(slash - prefix));
	if (inet_pton(AF_INET6, net, &a) != 1 ||
		sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4],
			&m[5]) != 6)
		return NULL;
	a.s6_addr[8] = (uint8_t)(m[0] ^ 2);
	a.s6_addr[9] = (uint8_t)m[1];
	a.s6_addr[10] = (uint8_t)m[2];
	a.s6_addr[11] = 0xff;
	a.s6_addr[12] = 0xfe;
	a.s6_addr[13] = (uint8_t)m[3];
	a.s6_addr[14] = (uint8_t)m[4];
	a.s6_addr[15] = (uint8_t)m[5];
	inet_ntop(AF_INET6, &a, text, sizeof(text));
	return xstrdup(text);
}

/* How many GiB the image needs; 0 when its size is not known. */
static int64_t image_gib(const struct image *image)
{
	return (image->virtual_bytes + GIB - 1) / GIB;
}

static int build_disks(const struct vm_input *in, const struct image *image,
	const struct vm_limits *limits, struct jtab_list *out, struct err *e)
{
	int64_t need = image_gib(image);
	struct vm_disk *boot;

	for (size_t i = 0; i < in->disks.len; i++) {
		struct vm_disk *disk = jtab_list_add(&vm_disk_jtab, out);

		jtab_copy(
			&vm_disk_jtab, jtab_list_at(&vm_disk_jtab, &in->disks, i), disk);
		disk->index = (int64_t)i;
	}
	if (out->len == 0) {
		boot = jtab_list_add(&vm_disk_jtab, out);
		boot->size_gib = in->disk_gib;
	}
	boot = jtab_list_at(&vm_disk_jtab, out, 0);
	if (boot->size_gib == 0)
		boot->size_gib = need ? need : DEFAULT_DISK_GIB;
	if (boot->size_gib < need)
		return err_set_field(e, ERR_INVALID, in->disks.len ? "disks" : "disk_gib",
			"the boot disk must be at least %lld GiB for the image \"%s\", "
			"not %lld",
			(long long)need, image->name, (long long)boot->size_gib);
	return limit_check("disk_gib", " GiB", boot->size_gib, limits->max_disk_gib, e);
}

static const char *stored_key(const struct user *user, const char *name)
{
	for (size_t i = 0; i < user->ssh_keys.len; i++) {
		const struct ssh_key *k = jtab_list_at(&ssh_key_jtab, &user->ssh_keys, i);

		if (str_eq(k->name, name))
			return k->key;
	}
	return NULL;
}

static int build_keys(const struct vm_input *in, const struct user *user,
	struct strv *out, struct err *e)
{
	for (size_t i = 0; !in->has_ssh_keys && i < user->ssh_keys.len; i++) {
		const struct ssh_key *k = jtab_list_at(&ssh_key_jtab, &user->ssh_keys, i);

		strv_add(out, k->key);
	}
	for (size_t i = 0; i < in->ssh_keys.len; i++) {
		const char *ref = in->ssh_keys.v[i];
		const char *key = strchr(ref, ' ') ? ref : stored_key(user, ref);

		if (!key)
			return err_set_field(e, ERR_NOT_FOUND, "ssh_keys",
				"you have no SSH key named \"%s\"", ref);
		if (!strv_has(out, key))
			strv_add(out, key);
	}
	return 0;
}

void vm_nic_add(
	struct vm *vm, const struct network *net, const char *mac, int64_t rate_mbit)
{
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm->networks);

	nic->network = xstrdup(net->uuid);
	nic->mac = xstrdup(mac);
	nic->rate_mbit = rate_mbit;
	nic->address = net->ipam == IPAM_AUTO && net->prefix
			       ? eui64_address(net->prefix, mac)
			       : NULL;
	if (!nic->address)
		nic->address = xstrdup("");
}

static void build_nics(
	const struct vm_input *in, const struct vm_parts *parts, struct vm *vm)
{
	char mac[MAC_STR_SIZE];

	for (size_t i = 0; i < in->networks.len; i++) {
		const struct nic_input *want =
			jtab_list_at(&nic_input_jtab, &in->networks, i);

		vm_mac(parts->uuid, i, mac);
		vm_nic_add(vm, &parts->networks[i], mac, want->rate_mbit);
	}
}

static void build_plain(const struct vm_input *in, const struct vm_parts *parts,
	int64_t now, struct vm *vm)
{
	vm->uuid = xstrdup(parts->uuid);
	vm->name = xstrdup(in->name);
	vm->owner = xstrdup(parts->who->name);
	vm->owner_realm = xstrdup(parts->who->realm);
	vm->specs.cpu = in->cpu ? in->cpu : DEFAULT_CPU;
	vm->specs.ram_mib = in->ram_mib ? in->ram_mib : DEFAULT_RAM_MIB;
	vm->labels = json_deep_copy(in->labels);
	vm->affinity.host_labels = json_deep_copy(in->affinity.host_labels);
	vm->affinity.near = json_deep_copy(in->affinity.near);
	vm->affinity.apart = json_deep_copy(in->affinity.apart);
	vm->image_uuid = xstrdup(parts->image->uuid);
	vm->store = xstrdup(str_is_empty(in->store) ? parts->image->store : in->store);
	vm->image_store = xstrdup(
		str_eq(vm->store, parts->image->store) ? "" : parts->image->store);
	strv_copy(&vm->ingress, &in->ingress);
	vm->is_closed = in->has_ingress;
	vm->user_data = xstrdup(in->user_data);
	vm->want = in->want;
	vm->status = in->want == VM_WANT_RUNNING ? VM_REQUESTED_NEW : VM_STOPPED;
	vm->hostname = xstrdup("");
	vm->disk_host = xstrdup("");
	vm->created = now;
}

int vm_input_build(const struct vm_input *in, const struct vm_parts *parts,
	const struct vm_limits *limits, int64_t now, struct vm *out, struct err *e)
{
	struct vm vm = { 0 };

	build_plain(in, parts, now, &vm);
	build_nics(in, parts, &vm);
	if (build_disks(in, parts->image, limits, &vm.specs.disks, e) < 0 ||
		build_keys(in, parts->user, &vm.ssh_keys, e) < 0) {
		vm_done(&vm);
		return -1;
	}
	vm_log(&vm, now, "ordered by %s@%s", parts->who->name, parts->who->realm);
	*out = vm;
	return 0;
}
