#include "common/model/host.h"

#include "common/model/entry.h"
#include "common/model/names.h"
#include "common/model/vm.h"

const char *const host_status_names[] = {
	[HOST_REGISTERED] = "REGISTERED",
	[HOST_ALIVE] = "ALIVE",
	[HOST_DEAD] = "DEAD",
	NULL,
};

#define STORE(member) offsetof(struct host_store, member)

static const struct jtab_field host_store_fields[] = {
	{ "name", JT_STR, STORE(name), JT_NEED, .min = 1, .check = name_check,
		.help = "of the image store" },
	{ "total_gib", JT_INT, STORE(total_gib), JT_ALWAYS, .min = -1, .max = INT64_MAX,
		.help = "size of the store in GiB; -1: unknown" },
	{ "free_gib", JT_INT, STORE(free_gib), JT_ALWAYS, .min = -1, .max = INT64_MAX,
		.help = "free space in GiB; -1: unknown" },
	{ 0 },
};
const struct jtab host_store_jtab = { "store", sizeof(struct host_store),
	host_store_fields, .rest_off = STORE(rest), .has_rest = true };

#define AT(member) offsetof(struct host, member)

/* Percent. The product with any inventory stays far from the end of int64_t. */
#define OVERCOMMIT .min = 1, .max = 10000

static const struct jtab_field host_fields[] = {
	{ "hostname", JT_STR, AT(hostname), JT_NEED, .min = 1, .check = hostname_check,
		.help = "its name, unique" },
	{ "labels", JT_JSON, AT(labels), 0, .help = "an object of strings" },
	{ "cpu_overcommit", JT_INT, AT(cpu_overcommit), 0, OVERCOMMIT,
		.help = "percent of its CPUs that VMs may be given; 100 when missing" },
	{ "ram_overcommit", JT_INT, AT(ram_overcommit), 0, OVERCOMMIT,
		.help = "percent of its RAM that VMs may be given; 100 when missing" },
	{ "disk_overcommit", JT_INT, AT(disk_overcommit), 0, OVERCOMMIT,
		.help = "percent of its stores that VMs may be given; 100 when missing" },
	{ "reserved_ram_mib", JT_INT, AT(reserved_ram_mib), 0, .max = 1 << 30,
		.help = "RAM in MiB that is kept for the host itself" },
	{ "draining", JT_BOOL, AT(is_draining), JT_ALWAYS,
		.help = "no VM is placed there any more" },
	{ "status", JT_ENUM, AT(status), JT_ALWAYS, .names = host_status_names,
		.help = "is it alive?" },
	{ "status_since", JT_TIME, AT(status_since), 0,
		.help = "when the status changed" },
	{ "cpus", JT_INT, AT(cpus), JT_ALWAYS, .max = 1 << 20,
		.help = "CPUs; 0 until the host reported" },
	{ "ram_mib", JT_INT, AT(ram_mib), JT_ALWAYS, .max = 1LL << 40,
		.help = "RAM in MiB; 0 until the host reported" },
	{ "stores", JT_LIST, AT(stores), JT_ALWAYS, .max = 256, .sub = &host_store_jtab,
		.help = "the image stores that it reaches" },
	{ "accel", JT_STR, AT(accel), 0, .max = 32,
		.help = "how it runs VMs: \"kvm\" or \"tcg\"" },
	{ "version", JT_STR, AT(version), 0, .max = 128, .help = "of ucloud-host on it" },
	{ "created", JT_TIME, AT(created), 0, .help = "when it was registered" },
	{ 0 },
};
const struct jtab host_jtab = { "host", sizeof(struct host), host_fields,
	.rest_off = AT(rest), .has_rest = true };

static int host_check(void *entry, struct err *e)
{
	struct host *h = entry;

	h->cpu_overcommit = h->cpu_overcommit ? h->cpu_overcommit : 100;
	h->ram_overcommit = h->ram_overcommit ? h->ram_overcommit : 100;
	h->disk_overcommit = h->disk_overcommit ? h->disk_overcommit : 100;
	return labels_check_at(h->labels, "labels", e);
}

static const struct entry_class host_class = { &host_jtab, AT(hostname), false,
	host_check };

int host_parse(const char *json, size_t size, struct host *out, struct err *e)
{
	return entry_parse(&host_class, json, size, out, e);
}

char *host_format(const struct host *h)
{
	return jtab_format_text(&host_jtab, h);
}

void host_done(struct host *h)
{
	jtab_done(&host_jtab, h);
}

void *host_parse_item(const char *name, json_t *json, struct err *e)
{
	return entry_parse_item(&host_class, name, json, e);
}

void host_free_item(void *h)
{
	entry_free_item(&host_class, h);
}

const struct host_store *host_find_store(const struct host *h, const char *name)
{
	for (size_t i = 0; i < h->stores.len; i++) {
		const struct host_store *s =
			jtab_list_at(&host_store_jtab, &h->stores, i);

		if (str_eq(s->name, name))
			return s;
	}
	return NULL;
}

/* What a heartbeat is made of: only written here, read by people. */
struct alive {
	char *host, *machine, *instance;
	int64_t since;
};

#define ALIVE(member) offsetof(struct alive, member)

static const struct jtab_field alive_fields[] = {
	{ "host", JT_STR, ALIVE(host), JT_ALWAYS, .help = "its name" },
	{ "machine", JT_STR, ALIVE(machine), JT_ALWAYS, .help = "its machine-id" },
	{ "instance", JT_STR, ALIVE(instance), JT_ALWAYS, .help = "uuid of this run" },
	{ "since", JT_TIME, ALIVE(since), JT_ALWAYS, .help = "when this run began" },
	{ 0 },
};
static const struct jtab alive_jtab = { "alive", sizeof(struct alive), alive_fields };

char *alive_new(const char *host, const char *machine, const char *instance, int64_t now)
{
	struct alive a = { xstrdup(host), xstrdup(machine), xstrdup(instance), now };
	char *text = jtab_format_text(&alive_jtab, &a);

	jtab_done(&alive_jtab, &a);
	return text;
}
