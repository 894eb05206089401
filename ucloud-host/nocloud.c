#include "ucloud-host/nocloud.h"

#include <stdio.h>

#define CLOUD_CONFIG "#cloud-config\n"

/* Takes json. */
static char *format(const char *head, json_t *json)
{
	char *text = json_dumps(json, JSON_INDENT(2));
	char *all;

	if (text == NULL)
		abort();
	all = xasprintf("%s%s\n", head, text);
	free(text);
	json_decref(json);
	return all;
}

static json_t *list_of(const struct strv *sv)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sv->len; i++)
		json_array_append_new(list, json_string(sv->v[i]));
	return list;
}

/* Instances are told apart by their id: what is done at the first boot only is done again
 * when it changes. */
static char *make_meta_data(const struct vm *vm)
{
	json_t *meta = json_object();

	json_object_set_new(meta, "instance-id", json_string(vm->uuid));
	json_object_set_new(meta, "local-hostname", json_string(vm->name));
	if (vm->ssh_keys.len > 0)
		json_object_set_new(meta, "public-keys", list_of(&vm->ssh_keys));
	return format("", meta);
}

static char *make_user_data(const struct vm *vm)
{
	json_t *config;

	if (!str_is_empty(vm->user_data))
		return xstrdup(vm->user_data);
	config = json_object();
	if (vm->ssh_keys.len > 0)
		json_object_set_new(
			config, "ssh_authorized_keys", list_of(&vm->ssh_keys));
	return format(CLOUD_CONFIG, config);
}

/* ------------------------------------------------------------------ network-config */

/* Routers do not announce themselves there: everything is said. */
static void add_static(json_t *eth, const struct vmnet *n)
{
	CLEANUP_STR char *router = network_router_address(n->net.prefix);
	CLEANUP_STR char *address = NULL;

	if (str_is_empty(n->nic->address) || router == NULL)
		return;
	address = xasprintf("%s/64", n->nic->address);
	json_object_set_new(eth, "addresses", json_pack("[s]", address));
	/* Not a route to ::/0: of that some versions of cloud-init make one to ::/64. */
	json_object_set_new(eth, "gateway6", json_string(router));
	if (n->net.dns.len > 0)
		json_object_set_new(eth, "nameservers",
			json_pack("{s:o}", "addresses", list_of(&n->net.dns)));
}

/* Some renderers of cloud-init look for its name only: it is given the one that it has here. */
static json_t *ethernet(const struct vmnet *n, const char *name)
{
	json_t *eth = json_object();

	json_object_set_new(eth, "match", json_pack("{s:s}", "macaddress", n->nic->mac));
	json_object_set_new(eth, "set-name", json_string(name));
	json_object_set_new(eth, "dhcp4", json_false());
	json_object_set_new(eth, "dhcp6", json_false());
	/* Of a network without addresses of ours its users decide themselves. */
	if (n->net.ipam != IPAM_NONE)
		json_object_set_new(
			eth, "accept-ra", json_boolean(n->net.ipam == IPAM_AUTO));
	if (n->net.mtu > 0)
		json_object_set_new(eth, "mtu", json_integer(n->net.mtu));
	if (n->net.ipam == IPAM_MANUAL)
		add_static(eth, n);
	return eth;
}

static char *make_network_config(const struct vmnets *nets)
{
	json_t *config = json_object();
	json_t *ethernets = json_object();

	for (size_t i = 0; nets != NULL && i < nets->len; i++) {
		char name[32];

		snprintf(name, sizeof(name), "eth%zu", i);
		json_object_set_new(ethernets, name, ethernet(&nets->v[i], name));
	}
	json_object_set_new(config, "version", json_integer(2));
	json_object_set_new(config, "ethernets", ethernets);
	return format("", config);
}

void nocloud_format(const struct vm *vm, const struct vmnets *nets, struct nocloud *out)
{
	*out = (struct nocloud){
		.meta_data = make_meta_data(vm),
		.user_data = make_user_data(vm),
		.network_config = make_network_config(nets),
	};
}

void nocloud_done(struct nocloud *n)
{
	free(n->meta_data);
	free(n->user_data);
	free(n->network_config);
	*n = (struct nocloud){ 0 };
}
