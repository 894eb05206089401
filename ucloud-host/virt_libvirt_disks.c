/* Disks of running domains, their snapshots, the guest's agent, secrets: through libvirt. */
#include "ucloud-host/virt_libvirt.h"

#include <jansson.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/crash.h"
#include "common/base/jtab.h"
#include "ucloud-host/domxml.h"

#define SECRET_MAX 512

_Static_assert(VIRT_DISKS_MAX == ARRAY_LEN(((struct domxml_disks *)0)->has),
	"as many disks as domxml.h reads");

static const char *dev_name(unsigned index, char out[8])
{
	snprintf(out, 8, "vd%c", (char)('a' + index));
	return out;
}

int virt_is_off(const char *uuid, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "the libvirt domain %s is off", uuid);
}

int virt_find_on(struct virt *v, const char *uuid, struct dom *d, struct err *e)
{
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, d, &now, e) < 0)
		return -1;
	return now.state == VIRT_RUNNING || now.state == VIRT_PAUSED ? 0 : 1;
}

static int read_disks(
	struct dom *d, unsigned flags, struct domxml_disks *out, struct err *e)
{
	CLEANUP_STR char *xml = virDomainGetXMLDesc(d->dom, flags);

	if (xml == NULL)
		return virt_dom_failed(d, e, "describe the domain");
	return domxml_read_disks(xml, out, e);
}

/* What it has while it runs; ERR_CONFLICT when it is off. */
static int find_disks(struct virt *v, const char *uuid, struct dom *d,
	struct domxml_disks *out, struct err *e)
{
	int rc = virt_find_on(v, uuid, d, e);

	if (rc != 0)
		return rc < 0 ? -1 : virt_is_off(uuid, e);
	return read_disks(d, 0, out, e);
}

static int no_disk(const char *uuid, unsigned index, struct err *e)
{
	return err_set(
		e, ERR_NOT_FOUND, "the libvirt domain %s has no disk %u", uuid, index);
}

int virt_disks(struct virt *v, const char *uuid, struct virt_disks *out, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_disks got = { 0 };
	struct domxml_disks has;
	virDomainBlockInfo block;
	char dev[8];
	int rc = virt_find_on(v, uuid, &d, e);

	if (rc < 0 || (rc == 0 && read_disks(&d, 0, &has, e) < 0))
		return -1;
	for (unsigned i = 0; rc == 0 && i < VIRT_DISKS_MAX; i++) {
		got.is_attached[i] = has.has[i];
		if (has.has[i] &&
			virDomainGetBlockInfo(d.dom, dev_name(i, dev), &block, 0) == 0)
			got.size_bytes[i] = (int64_t)block.capacity;
	}
	virResetLastError();
	*out = got;
	return 0;
}

/* ------------------------------------------------------------------ attach and detach */

int virt_change_device(struct dom *d, const char *xml, bool is_attach, unsigned flags,
	const char *what, struct err *e)
{
	int rc = is_attach ? virDomainAttachDeviceFlags(d->dom, xml, flags)
			   : virDomainDetachDeviceFlags(d->dom, xml, flags);

	return rc < 0 ? virt_dom_failed(d, e, what) : 0;
}

static int attach(struct dom *d, const char *xml, unsigned flags, struct err *e)
{
	return virt_change_device(d, xml, true, flags, "attach the disk", e);
}

static int detach(struct dom *d, const char *xml, unsigned flags, struct err *e)
{
	return virt_change_device(d, xml, false, flags, "detach the disk", e);
}

int virt_disk_attach(
	struct virt *v, const char *uuid, unsigned index, const char *xml, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct domxml_disks live, config;
	unsigned flags;

	if (find_disks(v, uuid, &d, &live, e) < 0 ||
		read_disks(&d, VIR_DOMAIN_XML_INACTIVE, &config, e) < 0)
		return -1;
	/* In one of the two it may be already. */
	flags = (live.has[index] ? 0 : VIR_DOMAIN_AFFECT_LIVE) |
		(config.has[index] ? 0 : VIR_DOMAIN_AFFECT_CONFIG);
	if (flags == 0)
		return 0;
	CRASH_POINT("virt.attach.before");
	if (attach(&d, xml, flags, e) < 0)
		return -1;
	CRASH_POINT("virt.attach.after");
	return 0;
}

/* What identifies the disk is enough. */
static char *detach_xml(unsigned index)
{
	char dev[8];

	return xasprintf("<disk type='file' device='disk'><target dev='%s' bus='virtio'/>"
			 "</disk>",
		dev_name(index, dev));
}

int virt_disk_detach(struct virt *v, const char *uuid, unsigned index, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	CLEANUP_STR char *xml = detach_xml(index);
	struct domxml_disks live, config;

	if (find_disks(v, uuid, &d, &live, e) < 0 ||
		read_disks(&d, VIR_DOMAIN_XML_INACTIVE, &config, e) < 0)
		return -1;
	CRASH_POINT("virt.detach.before");
	if (config.has[index] && detach(&d, xml, VIR_DOMAIN_AFFECT_CONFIG, e) < 0)
		return -1;
	if (live.has[index] && detach(&d, xml, VIR_DOMAIN_AFFECT_LIVE, e) < 0)
		return -1;
	CRASH_POINT("virt.detach.after");
	return 0;
}

int virt_disk_resize(struct virt *v, const char *uuid, unsigned index, int64_t size_bytes,
	struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct domxml_disks has;
	char dev[8];

	if (find_disks(v, uuid, &d, &has, e) < 0)
		return -1;
	if (!has.has[index])
		return no_disk(uuid, index, e);
	CRASH_POINT("virt.resize.before");
	if (virDomainBlockResize(d.dom, dev_name(index, dev),
		    (unsigned long long)size_bytes, VIR_DOMAIN_BLOCK_RESIZE_BYTES) < 0)
		return virt_dom_failed(&d, e, "grow the disk");
	CRASH_POINT("virt.resize.after");
	return 0;
}

/* ------------------------------------------------------------------ the guest's agent */

static bool is_agent_missing(void)
{
	return virt_last_is(VIR_ERR_AGENT_UNRESPONSIVE) ||
	       virt_last_is(VIR_ERR_AGENT_UNSYNCED) ||
	       virt_last_is(VIR_ERR_ARGUMENT_UNSUPPORTED) ||
	       virt_last_is(VIR_ERR_CONFIG_UNSUPPORTED) ||
	       virt_last_is(VIR_ERR_NO_SUPPORT);
}

static int no_agent(struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "no agent answers in the guest");
}

int virt_freeze(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	int rc = virt_find_on(v, uuid, &d, e);

	if (rc != 0)
		return rc < 0 ? -1 : virt_is_off(uuid, e);
	CRASH_POINT("virt.freeze.before");
	if (virDomainFSFreeze(d.dom, NULL, 0, 0) < 0)
		return is_agent_missing()
			       ? no_agent(e)
			       : virt_dom_failed(&d, e, "freeze the file systems");
	CRASH_POINT("virt.freeze.after");
	return 0;
}

int virt_thaw(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	int rc = virt_find_on(v, uuid, &d, e);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (virDomainFSThaw(d.dom, NULL, 0, 0) < 0 && !is_agent_missing())
		return virt_dom_failed(&d, e, "thaw the file systems");
	virResetLastError();
	return 0;
}

/* ------------------------------------------------------------------ snapshots */

/* A command of QEMU's monitor (takes command); *reply may be NULL. */
static int monitor(
	struct dom *d, json_t *command, json_t **reply, const char *what, struct err *e)
{
	char *text = json_dumps(command, JSON_COMPACT), *answer = NULL;
	json_t *json = NULL, *error;
	int rc = virDomainQemuMonitorCommand(d->dom, text, &answer, 0);

	json_decref(command);
	free(text);
	if (rc < 0)
		return virt_dom_failed(d, e, what);
	rc = json_parse(answer, strlen(answer), &json, e);
	free(answer);
	if (rc < 0)
		return err_wrap(e, "QEMU's answer");
	error = json_object_get(json, "error");
	if (error != NULL) {
		const char *desc = json_string_value(json_object_get(error, "desc"));

		err_set(e, ERR_IO, "QEMU cannot %s: %s", what,
			desc != NULL ? desc : "no reason given");
		rc = -1;
	}
	if (rc == 0 && reply != NULL)
		*reply = json_incref(json);
	json_decref(json);
	return rc;
}

/* Is it the block device of the disk that libvirt calls that? */
static bool is_of(const json_t *block, const char *alias)
{
	const char *qdev = json_string_value(json_object_get(block, "qdev"));
	CLEANUP_STR char *part = xasprintf("/%s/", alias);

	return qdev != NULL && *alias != '\0' &&
	       (strstr(qdev, part) != NULL || strcmp(qdev, alias) == 0);
}

static const json_t *find_block(const json_t *blocks, const char *alias)
{
	size_t i;
	json_t *block;

	json_array_foreach (blocks, i, block)
		if (is_of(block, alias))
			return block;
	return NULL;
}

/* The name of the disk's topmost node; *has: a snapshot of that name is in it. The
 * caller's; NULL with the error. */
static char *node_of(const json_t *blocks, const struct domxml_disks *has, unsigned index,
	const char *snapshot, bool *has_it, struct err *e)
{
	const json_t *inserted =
		json_object_get(find_block(blocks, has->alias[index]), "inserted");
	const char *node = json_string_value(json_object_get(inserted, "node-name"));
	json_t *list = json_object_get(json_object_get(inserted, "image"), "snapshots");
	json_t *entry;
	size_t i;

	*has_it = false;
	if (node == NULL) {
		err_set(e, ERR_NOT_FOUND, "QEMU has no disk %u open", index);
		return NULL;
	}
	json_array_foreach (list, i, entry)
		*has_it |= str_eq(
			json_string_value(json_object_get(entry, "name")), snapshot);
	return xstrdup(node);
}

static int query_blocks(struct dom *d, json_t **out, struct err *e)
{
	json_t *reply;

	if (monitor(d, json_pack("{s:s}", "execute", "query-block"), &reply,
		    "list its disks", e) < 0)
		return -1;
	*out = json_incref(json_object_get(reply, "return"));
	json_decref(reply);
	return 0;
}

/* The actions of one transaction: a snapshot of each disk. */
static int add_actions(const struct domxml_disks *has, const json_t *blocks,
	uint32_t disks, const char *name, json_t *actions, struct err *e)
{
	for (unsigned i = 0; i < VIRT_DISKS_MAX; i++) {
		CLEANUP_STR char *node = NULL;
		bool has_it;

		if (!(disks & (1U << i)))
			continue;
		node = node_of(blocks, has, i, name, &has_it, e);
		if (node == NULL)
			return -1;
		json_array_append_new(
			actions, json_pack("{s:s, s:{s:s, s:s}}", "type",
					 "blockdev-snapshot-internal-sync", "data",
					 "device", node, "name", name));
	}
	return 0;
}

int virt_snapshot_make(
	struct virt *v, const char *uuid, uint32_t disks, const char *name, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	CLEANUP(json_decref_ptr) json_t *blocks = NULL;
	CLEANUP(json_decref_ptr) json_t *actions = json_array();
	struct domxml_disks has;

	if (find_disks(v, uuid, &d, &has, e) < 0 || query_blocks(&d, &blocks, e) < 0 ||
		add_actions(&has, blocks, disks, name, actions, e) < 0)
		return -1;
	CRASH_POINT("virt.snapshot.before");
	if (monitor(&d,
		    json_pack("{s:s, s:{s:O}}", "execute", "transaction", "arguments",
			    "actions", actions),
		    NULL, "make the snapshot", e) < 0)
		return -1;
	CRASH_POINT("virt.snapshot.after");
	return 0;
}

int virt_snapshot_remove(
	struct virt *v, const char *uuid, unsigned index, const char *name, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	CLEANUP(json_decref_ptr) json_t *blocks = NULL;
	CLEANUP_STR char *node = NULL;
	struct domxml_disks has;
	bool has_it;

	if (find_disks(v, uuid, &d, &has, e) < 0 || query_blocks(&d, &blocks, e) < 0)
		return -1;
	node = node_of(blocks, &has, index, name, &has_it, e);
	if (node == NULL)
		return -1;
	if (!has_it)
		return 0;
	CRASH_POINT("virt.unsnapshot.before");
	if (monitor(&d,
		    json_pack("{s:s, s:{s:s, s:s}}", "execute",
			    "blockdev-snapshot-delete-internal-sync", "arguments",
			    "device", node, "name", name),
		    NULL, "remove the snapshot", e) < 0)
		return -1;
	CRASH_POINT("virt.unsnapshot.after");
	return 0;
}

/* ------------------------------------------------------------------ secrets */

static int set_secret(struct virt *v, virConnectPtr conn, virSecretPtr secret,
	const char *value, struct err *e)
{
	unsigned char raw[SECRET_MAX];
	size_t size = 0;
	int rc;

	if (sodium_base642bin(raw, sizeof(raw), value, strlen(value), " \r\n", &size,
		    NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
		return err_set(e, ERR_INVALID,
			"the key of the image store is not in base64, or too long");
	rc = virSecretSetValue(secret, raw, size, 0);
	explicit_bzero(raw, sizeof(raw));
	return rc < 0 ? virt_conn_failed(v->conn, conn, e, "keep the key of the store")
		      : 0;
}

int virt_secret_ensure(
	struct virt *v, const char *secret_uuid, const char *value, struct err *e)
{
	CLEANUP(virt_conn_put)
	virConnectPtr conn = virt_conn_get(v->conn, e);
	CLEANUP_STR char *xml = NULL;
	virSecretPtr secret;
	int rc;

	if (conn == NULL || uuid_check(secret_uuid, e) < 0)
		return -1;
	xml = xasprintf("<secret ephemeral='no' private='yes'><uuid>%s</uuid>"
			"<description>ucloud: image store</description>"
			"<usage type='ceph'><name>ucloud %s</name></usage></secret>",
		secret_uuid, secret_uuid);
	CRASH_POINT("virt.secret.before");
	secret = virSecretDefineXML(conn, xml, 0);
	if (secret == NULL)
		return virt_conn_failed(v->conn, conn, e, "keep a secret");
	rc = set_secret(v, conn, secret, value, e);
	virSecretFree(secret);
	CRASH_POINT("virt.secret.after");
	return rc;
}
