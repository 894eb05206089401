#include "common/model/user.h"

#include <assert.h>

#include "common/model/entry.h"
#include "common/model/names.h"

/* Of any amount: sums and differences of a few stay inside int64_t. */
#define AMOUNT_MAX 1000000000000000

#define AMOUNT(member) offsetof(struct amounts, member)

static const struct jtab_field amounts_fields[] = {
	{ "vms", JT_INT, AMOUNT(vms), JT_ALWAYS, .max = AMOUNT_MAX, .help = "VMs" },
	{ "cpu", JT_INT, AMOUNT(cpu), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "virtual CPUs" },
	{ "ram_mib", JT_INT, AMOUNT(ram_mib), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "RAM in MiB" },
	{ "disk_gib", JT_INT, AMOUNT(disk_gib), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "space of disks in GiB" },
	{ "snapshots", JT_INT, AMOUNT(snapshots), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "snapshots of VMs" },
	{ "images", JT_INT, AMOUNT(images), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "images" },
	{ "networks", JT_INT, AMOUNT(networks), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "networks" },
	{ "file_gib", JT_INT, AMOUNT(file_gib), JT_ALWAYS, .max = AMOUNT_MAX,
		.help = "space of uploaded files in GiB" },
	{ 0 },
};
const struct jtab amounts_jtab = { "amounts", sizeof(struct amounts), amounts_fields };

#define KEY(member) offsetof(struct ssh_key, member)

static const struct jtab_field ssh_key_fields[] = {
	{ "name", JT_STR, KEY(name), JT_NEED, .min = 1, .check = name_check,
		.help = "unique among the user's keys" },
	{ "key", JT_STR, KEY(key), JT_NEED, .min = 1, .check = ssh_key_check,
		.help = "an OpenSSH public key, like \"ssh-ed25519 AAAA... comment\"" },
	{ 0 },
};
const struct jtab ssh_key_jtab = { "ssh_key", sizeof(struct ssh_key), ssh_key_fields,
	.rest_off = KEY(rest), .has_rest = true };

#define AT(member) offsetof(struct user, member)

static const struct jtab_field user_fields[] = {
	{ "name", JT_STR, AT(name), JT_NEED, .min = 1, .check = user_name_check,
		.help = "user name" },
	{ "realm", JT_STR, AT(realm), JT_NEED, .min = 1, .check = realm_check,
		.help = "realm that the user belongs to" },
	{ "ssh_keys", JT_LIST, AT(ssh_keys), JT_ALWAYS, .max = 64, .sub = &ssh_key_jtab,
		.help = "SSH public keys that new VMs get" },
	{ "quota", JT_OBJ, AT(quota), 0, .sub = &amounts_jtab,
		.help = "how much may be used, when has_own_quota is true" },
	{ "has_own_quota", JT_BOOL, AT(has_own_quota), JT_ALWAYS,
		.help = "was the quota set by an admin? Else the API's default applies" },
	{ "use", JT_OBJ, AT(use), JT_ALWAYS, .sub = &amounts_jtab,
		.help = "how much is used by the VMs and images that exist" },
	{ "created", JT_TIME, AT(created), 0, .help = "when the user came first" },
	{ 0 },
};
const struct jtab user_jtab = { "user", sizeof(struct user), user_fields,
	.rest_off = AT(rest), .has_rest = true };

static const struct entry_class user_class = { &user_jtab, AT(name), true, NULL };

int user_parse(const char *json, size_t size, struct user *out, struct err *e)
{
	return entry_parse(&user_class, json, size, out, e);
}

char *user_format(const struct user *u)
{
	return jtab_format_text(&user_jtab, u);
}

void user_copy(const struct user *from, struct user *to)
{
	jtab_copy(&user_jtab, from, to);
}

void user_done(struct user *u)
{
	jtab_done(&user_jtab, u);
}

/* name is "<realm>/<name>". */
void *user_parse_item(const char *name, json_t *json, struct err *e)
{
	struct user *u = entry_parse_item(&user_class, name, json, e);
	CLEANUP_STR char *want = NULL;

	if (!u)
		return NULL;
	want = xasprintf("%s/%s", u->realm, u->name);
	if (str_eq(name, want))
		return u;
	err_set(e, ERR_INVALID, "the value is of user \"%s\", its key of \"%.140s\"",
		want, name);
	user_free_item(u);
	return NULL;
}

void user_free_item(void *u)
{
	entry_free_item(&user_class, u);
}

struct amounts vm_amounts(const struct vm *vm)
{
	return (struct amounts){
		.vms = 1,
		.cpu = vm->specs.cpu,
		.ram_mib = vm->specs.ram_mib,
		.disk_gib = vm_disk_gib(vm),
		.snapshots = (int64_t)vm->snapshots.len,
	};
}

/* The members in the order in which they are named to people. */
static const struct {
	size_t off;
	const char *what;
} amount_names[] = {
	{ AMOUNT(vms), "VMs" },
	{ AMOUNT(cpu), "CPUs" },
	{ AMOUNT(ram_mib), "MiB of RAM" },
	{ AMOUNT(disk_gib), "GiB of disk" },
	{ AMOUNT(snapshots), "snapshots" },
	{ AMOUNT(images), "images" },
	{ AMOUNT(networks), "networks" },
};

static int64_t *amount_at(struct amounts *a, size_t i)
{
	return (int64_t *)((char *)a + amount_names[i].off);
}

static int64_t amount_of(const struct amounts *a, size_t i)
{
	return *(const int64_t *)((const char *)a + amount_names[i].off);
}

int user_take(struct user *u, const struct amounts *quota, const struct amounts *a,
	struct err *e)
{
	CLEANUP(buf_done) struct buf lacks = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(amount_names); i++) {
		int64_t asked = amount_of(a, i), limit = amount_of(quota, i);
		int64_t left = limit - amount_of(&u->use, i);

		assert(asked >= 0 && asked <= AMOUNT_MAX);
		if (asked == 0 || asked <= left)
			continue;
		buf_addf(&lacks, "%s%jd %s asked for, %jd of %jd left",
			lacks.size > 0 ? "; " : "", (intmax_t)asked, amount_names[i].what,
			(intmax_t)(left > 0 ? left : 0), (intmax_t)limit);
	}
	if (lacks.size > 0)
		return err_set(e, ERR_QUOTA, "the quota of %s@%s is used up: %s", u->name,
			u->realm, buf_str(&lacks));
	for (size_t i = 0; i < ARRAY_LEN(amount_names); i++)
		*amount_at(&u->use, i) += amount_of(a, i);
	return 0;
}

bool user_give_back(struct user *u, const struct amounts *a)
{
	bool is_enough = true;

	for (size_t i = 0; i < ARRAY_LEN(amount_names); i++) {
		int64_t *use = amount_at(&u->use, i);

		is_enough = is_enough && *use >= amount_of(a, i);
		*use = *use >= amount_of(a, i) ? *use - amount_of(a, i) : 0;
	}
	return is_enough;
}
