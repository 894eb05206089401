#include "ucloud-host/vmnets.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"

#define ALIAS_MAX 256 /* IFALIASZ */

void vmnets_done(struct vmnets *n)
{
	for (size_t i = 0; i < n->len; i++)
		network_done(&n->v[i].net);
	n->len = 0;
}

/* Those that its domain gets. */
static int list_nics(const struct vm *vm, struct vmnets *out, struct err *e)
{
	if (vm->networks.len > VM_NICS_MAX)
		return err_set(e, ERR_TOO_LARGE, "a VM can have %d interfaces, not %zu",
			VM_NICS_MAX, vm->networks.len);
	for (size_t i = 0; i < vm->networks.len; i++) {
		const struct vm_nic *nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);

		if (!nic->is_leaving)
			out->v[out->len++].nic = nic;
	}
	return 0;
}

static int read_entries(const struct host_env *env, const struct vmnets *n,
	struct kv_list *out, struct err *e)
{
	CLEANUP(strv_done) struct strv keys = { 0 };

	for (size_t i = 0; i < n->len; i++) {
		if (uuid_check(n->v[i].nic->network, e) < 0)
			return err_wrap(e, "network");
		strv_add_take(&keys, key_network(&env->keys, n->v[i].nic->network));
	}
	return kv_get_many(env->kv, (const char *const *)keys.v, keys.len, out, e);
}

/* An interface that is not there has none. */
static bool is_bridge_ready(const struct host_env *env, const struct network *net)
{
	const char *sysfs = env->sysfs != NULL ? env->sysfs : "/sys";
	char bridge[NETWORK_NAME_SIZE];
	CLEANUP_STR char *path = NULL;
	CLEANUP(buf_done) struct buf alias = { 0 };
	struct err ignored = { 0 };

	network_bridge_name(net->vni, bridge);
	path = xasprintf("%s/class/net/%s/ifalias", sysfs, bridge);
	if (file_read(path, ALIAS_MAX, &alias, &ignored) < 0)
		return false;
	return str_has_prefix(buf_str(&alias), net->uuid) &&
	       strcspn(buf_str(&alias), "\n") == strlen(net->uuid);
}

/* 0 ready, 1 not. An entry that cannot be read may be mended: nothing is given up for it. */
static int check_net(const struct host_env *env, const struct kv_pair *entry,
	struct vmnet *n, char *why, size_t why_size)
{
	struct err e = { 0 };

	if (entry->key == NULL) {
		snprintf(why, why_size, "the network %s does not exist", n->nic->network);
		return 1;
	}
	if (network_parse(entry->value, entry->value_size, &n->net, &e) < 0) {
		snprintf(why, why_size, "the network %s cannot be read: %s",
			n->nic->network, e.msg);
		return 1;
	}
	if (n->net.status == NET_ERROR)
		snprintf(why, why_size, "network %s is in ERROR: %s", n->net.name,
			n->net.reason != NULL ? n->net.reason : "");
	else if (n->net.status != NET_ACTIVE || n->net.vni == 0)
		snprintf(why, why_size, "network %s is not made yet: it is %s",
			n->net.name, network_status_names[n->net.status]);
	else if (!is_bridge_ready(env, &n->net))
		snprintf(why, why_size,
			"network %s is not ready on this host: is ucloud-network running "
			"there?",
			n->net.name);
	else
		return 0;
	return 1;
}

/* Fills in their networks; unless it returns 0, *n is empty again. */
static int check_nets(const struct host_env *env, struct vmnets *n, char *why,
	size_t why_size, struct err *e)
{
	CLEANUP(kv_list_done) struct kv_list entries = { 0 };
	int rc = 0;

	if (n->len > 0 && read_entries(env, n, &entries, e) < 0)
		return -1;
	assert(entries.len == n->len);
	for (size_t i = 0; i < entries.len && rc == 0; i++)
		rc = check_net(env, &entries.v[i], &n->v[i], why, why_size);
	if (rc != 0)
		vmnets_done(n);
	return rc;
}

int vmnets_read(const struct host_env *env, const struct vm *vm, struct vmnets *out,
	char *why, size_t why_size, struct err *e)
{
	struct vmnets n = { 0 };
	int rc;

	if (list_nics(vm, &n, e) < 0)
		return -1;
	rc = check_nets(env, &n, why, why_size, e);
	if (rc == 0)
		*out = n;
	return rc;
}

int vmnets_read_one(const struct host_env *env, const struct vm_nic *nic,
	struct vmnet *out, char *why, size_t why_size, struct err *e)
{
	struct vmnets n = { .v = { { .nic = nic } }, .len = 1 };
	int rc = check_nets(env, &n, why, why_size, e);

	if (rc == 0)
		*out = n.v[0];
	return rc;
}
