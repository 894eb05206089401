#include "ucloud-api/network_use.h"

#include <assert.h>
#include <string.h>

#include "common/base/log.h"
#include "common/model/names.h"
#include "common/model/vm.h"

#define AT(member) offsetof(struct network_user, member)

static const struct jtab_field user_fields[] = {
	{ "uuid", JT_STR, AT(uuid), JT_ALWAYS, .help = "of the VM" },
	{ "name", JT_STR, AT(name), JT_ALWAYS, .help = "of the VM" },
	{ "index", JT_INT, AT(index), JT_ALWAYS, .help = "of its interface" },
	{ "mac", JT_STR, AT(mac), JT_ALWAYS },
	{ "address", JT_STR, AT(address), 0, .help = "missing: not known" },
	{ 0 },
};
const struct jtab network_user_jtab = { "network_user", sizeof(struct network_user),
	user_fields };

#undef AT
#define AT(member) offsetof(struct network_place, member)

static const struct jtab_field place_fields[] = {
	{ "hostname", JT_STR, AT(hostname), JT_ALWAYS },
	{ "roles", JT_STRV, AT(roles), JT_ALWAYS,
		.help = "what it is there for: \"host\", \"router\"" },
	{ "since", JT_TIME, AT(since), 0 },
	{ "problem", JT_STR, AT(problem), 0,
		.help = "why it is not as it should be; missing: it is" },
	{ 0 },
};
static const struct jtab network_place_jtab = { "network_place",
	sizeof(struct network_place), place_fields };

#undef AT
#define AT(member) offsetof(struct network_use, member)

static const struct jtab_field use_fields[] = {
	{ "group", JT_STR, AT(group), 0,
		.help = "multicast group that its frames are sent to between hosts" },
	{ "router", JT_STR, AT(router), 0, .help = "its router's address in it" },
	{ "vms", JT_LIST, AT(vms), JT_ALWAYS, .sub = &network_user_jtab,
		.help = "interfaces of VMs in it, at most 100" },
	{ "more_vms", JT_BOOL, AT(has_more_vms), 0, .help = "there are more of them" },
	{ "hosts", JT_LIST, AT(hosts), JT_ALWAYS, .sub = &network_place_jtab,
		.help = "where it is up, at most 1000" },
	{ "more_hosts", JT_BOOL, AT(has_more_hosts), 0, .help = "there are more" },
	{ 0 },
};
const struct jtab network_use_jtab = { "network_use", sizeof(struct network_use),
	use_fields };

void network_use_done(struct network_use *u)
{
	jtab_done(&network_use_jtab, u);
}

/* ---------------------------------------------------------------- VMs */

static void add_user(const struct kv_pair *p, size_t prefix_len, struct jtab_list *list)
{
	struct network_user *u = jtab_list_add(&network_user_jtab, list);
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	const char *vm = "", *address = "";
	json_int_t index = 0;
	struct err e;

	if (json_parse(p->value, p->value_size, &json, &e) < 0 ||
		json_unpack(json, "{s:s, s?I, s?s}", "vm", &vm, "index", &index,
			"address", &address) < 0)
		log_debug("a port cannot be read key=%s", p->key);
	*u = (struct network_user){ .uuid = xstrdup(vm),
		.name = xstrdup(""),
		.index = (int64_t)index,
		.mac = xstrdup(p->key + prefix_len),
		.address = xstrdup(address) };
}

static struct network_user *user_at(const struct jtab_list *list, size_t i)
{
	return jtab_list_at(&network_user_jtab, list, i);
}

static bool is_of_vm(const struct jtab_list *list, size_t i)
{
	return uuid_check(user_at(list, i)->uuid, NULL) == 0;
}

/* Their VMs' names. */
static int add_names(
	struct kv *kv, const struct keys *keys, struct jtab_list *list, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list got = { 0 };
	CLEANUP(strv_done) struct strv vm_keys = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < list->len; i++)
		if (is_of_vm(list, i))
			strv_add_take(&vm_keys, key_vm(keys, user_at(list, i)->uuid));
	if (vm_keys.len > 0 &&
		kv_get_many(kv, (const char *const *)vm_keys.v, vm_keys.len, &got, e) < 0)
		return -1;
	for (size_t i = 0; i < list->len; i++) {
		CLEANUP(vm_done) struct vm vm = { 0 };
		const struct kv_pair *p;

		if (!is_of_vm(list, i))
			continue;
		p = n < got.len ? &got.v[n++] : NULL;
		if (p && p->key && vm_parse(p->value, p->value_size, &vm, NULL) == 0)
			str_set(&user_at(list, i)->name, xstrdup(vm.name));
	}
	return 0;
}

int network_use_read_vms(struct kv *kv, const struct keys *keys, const char *uuid,
	size_t max, struct network_use *out, struct err *e)
{
	CLEANUP_STR char *prefix = key_ports(uuid);
	CLEANUP(kv_list_done) struct kv_list page = { 0 };

	assert(max <= NETWORK_USERS_MAX && NETWORK_USERS_MAX <= KV_TXN_MAX_OPS);
	if (kv_range_page(kv, prefix, NULL, max, 0, &page, e) != 0)
		return -1;
	for (size_t i = 0; i < page.len; i++)
		add_user(&page.v[i], strlen(prefix), &out->vms);
	out->has_more_vms = page.has_more;
	return add_names(kv, keys, &out->vms, e);
}

/* ---------------------------------------------------------------- hosts */

static void add_place(const struct kv_pair *p, size_t prefix_len, struct jtab_list *list)
{
	struct network_place *place = jtab_list_add(&network_place_jtab, list);
	struct network_host host = { 0 };
	struct err e;

	place->hostname = xstrdup(p->key + prefix_len);
	if (jtab_parse_text(&network_host_jtab, p->value, p->value_size, JTAB_STORED,
		    &host, &e) < 0) {
		log_debug("where a network is cannot be read: %s key=%s", e.msg, p->key);
		return;
	}
	strv_copy(&place->roles, &host.roles);
	place->since = host.since;
	place->problem = xstrdup(host.problem);
	jtab_done(&network_host_jtab, &host);
}

static int read_places(
	struct kv *kv, const char *uuid, struct network_use *out, struct err *e)
{
	CLEANUP_STR char *prefix = key_network_hosts(uuid);
	CLEANUP(kv_list_done) struct kv_list page = { 0 };

	if (kv_range_page(kv, prefix, NULL, NETWORK_HOSTS_MAX, 0, &page, e) != 0)
		return -1;
	for (size_t i = 0; i < page.len; i++)
		add_place(&page.v[i], strlen(prefix), &out->hosts);
	out->has_more_hosts = page.has_more;
	return 0;
}

int network_use_read(struct kv *kv, const struct keys *keys, const struct network *n,
	struct network_use *out, struct err *e)
{
	if (n->vni > 0)
		out->group = network_group(n->vni);
	out->router = network_router_address(n->prefix);
	if (network_use_read_vms(kv, keys, n->uuid, NETWORK_USERS_MAX, out, e) == 0 &&
		read_places(kv, n->uuid, out, e) == 0)
		return 0;
	network_use_done(out);
	return -1;
}

int network_use_json(struct kv *kv, const struct keys *keys, const struct network *n,
	json_t **out, struct err *e)
{
	CLEANUP(network_use_done) struct network_use use = { 0 };
	CLEANUP(json_decref_ptr) json_t *more = NULL;

	if (network_use_read(kv, keys, n, &use, e) < 0)
		return -1;
	more = jtab_format_public(&network_use_jtab, &use);
	*out = jtab_format_public(&network_jtab, n);
	json_object_update(*out, more);
	return 0;
}
