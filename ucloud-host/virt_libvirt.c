#include "ucloud-host/virt_libvirt.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/crash.h"
#include "ucloud-host/domxml.h"

void virt_dom_done(struct dom *d)
{
	if (d->dom != NULL)
		virDomainFree(d->dom);
	virt_conn_put(&d->conn);
}

int virt_dom_failed(struct dom *d, struct err *e, const char *what)
{
	return virt_conn_failed(d->v->conn, d->conn, e, what);
}

bool virt_last_is(int code)
{
	virErrorPtr error = virGetLastError();

	return error != NULL && error->code == code;
}

int virt_open(
	const char *uri, virt_event_fn *fn, void *aux, struct virt **out, struct err *e)
{
	struct virt *v;

	if (str_is_empty(uri))
		return err_set_field(e, ERR_INVALID, "libvirt_uri",
			"libvirt_uri must not be empty; qemu:///system is usual");
	v = xcalloc(1, sizeof(*v));
	v->conn = virt_conn_open(uri, fn, aux);
	*out = v;
	return 0;
}

void virt_set_event(struct virt *v, virt_event_fn *fn, void *aux)
{
	virt_conn_set_event(v->conn, fn, aux);
}

void virt_close(struct virt *v)
{
	if (v == NULL)
		return;
	virt_conn_close(v->conn);
	free(v);
}

/* ------------------------------------------------------------------ looking */

static enum virt_state state_of(int state)
{
	switch (state) {
	case VIR_DOMAIN_SHUTOFF:
		return VIRT_OFF;
	case VIR_DOMAIN_SHUTDOWN:
		return VIRT_DYING;
	case VIR_DOMAIN_PAUSED:
	case VIR_DOMAIN_CRASHED:
		return VIRT_PAUSED;
	default:
		return VIRT_RUNNING;
	}
}

static enum virt_off off_of(int reason)
{
	switch (reason) {
	case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
		return VIRT_OFF_GUEST;
	case VIR_DOMAIN_SHUTOFF_DESTROYED:
		return VIRT_OFF_DESTROYED;
	case VIR_DOMAIN_SHUTOFF_CRASHED:
	case VIR_DOMAIN_SHUTOFF_DAEMON:
		return VIRT_OFF_CRASHED;
	case VIR_DOMAIN_SHUTOFF_FAILED:
		return VIRT_OFF_FAILED;
	default:
		return VIRT_OFF_UNKNOWN;
	}
}

/* 1: it went away meanwhile. */
static int read_state(struct dom *d, struct virt_dom *out, struct err *e)
{
	int state, reason;

	if (virDomainGetState(d->dom, &state, &reason, 0) < 0)
		return virt_last_is(VIR_ERR_NO_DOMAIN)
			       ? 1
			       : virt_dom_failed(d, e, "tell a domain's state");
	out->state = state_of(state);
	out->off = out->state == VIRT_OFF ? off_of(reason) : VIRT_OFF_UNKNOWN;
	if (out->off == VIRT_OFF_GUEST && virt_conn_was_signal(d->v->conn, out->uuid))
		out->off = VIRT_OFF_CRASHED;
	return 0;
}

/* 1: it went away meanwhile. */
static int read_owner(struct dom *d, struct virt_dom *out, struct err *e)
{
	CLEANUP_STR char *xml = NULL;
	struct domxml_id id = { 0 };

	xml = virDomainGetMetadata(d->dom, VIR_DOMAIN_METADATA_ELEMENT, VIRT_XMLNS,
		VIR_DOMAIN_AFFECT_CURRENT);
	if (xml == NULL && virt_last_is(VIR_ERR_NO_DOMAIN))
		return 1;
	if (xml == NULL && !virt_last_is(VIR_ERR_NO_DOMAIN_METADATA))
		return virt_dom_failed(d, e, "read a domain's metadata");
	if (xml != NULL && domxml_read_id(xml, &id, e) < 0)
		return -1;
	out->is_foreign = !id.has_metadata ||
			  !str_has_prefix(virDomainGetName(d->dom), DOMXML_NAME_PREFIX);
	out->boot = id.boot;
	snprintf(out->host, sizeof(out->host), "%s", id.host);
	return 0;
}

/* 1: it went away meanwhile. */
static int read_dom(struct dom *d, struct virt_dom *out, struct err *e)
{
	struct virt_dom got = { 0 };
	int rc;

	if (virDomainGetUUIDString(d->dom, got.uuid) < 0)
		return virt_dom_failed(d, e, "tell a domain's uuid");
	rc = read_state(d, &got, e);
	if (rc == 0)
		rc = read_owner(d, &got, e);
	if (rc == 0)
		*out = got;
	return rc;
}

/* Connects, and looks the domain up; d->dom is NULL when there is none. */
static int dom_find(struct virt *v, const char *uuid, struct dom *d, struct err *e)
{
	d->v = v;
	d->conn = virt_conn_get(v->conn, e);
	if (d->conn == NULL)
		return -1;
	d->dom = virDomainLookupByUUIDString(d->conn, uuid);
	if (d->dom == NULL && !virt_last_is(VIR_ERR_NO_DOMAIN))
		return virt_dom_failed(d, e, "look a domain up");
	return 0;
}

/* There is none of this uuid; does another one have its name? */
static int find_namesake(struct dom *d, const char *uuid, struct err *e)
{
	CLEANUP_STR char *name = xasprintf(DOMXML_NAME_PREFIX "%s", uuid);

	d->dom = virDomainLookupByName(d->conn, name);
	if (d->dom == NULL && !virt_last_is(VIR_ERR_NO_DOMAIN))
		return virt_dom_failed(d, e, "look a domain up");
	return 0;
}

int virt_get(struct virt *v, const char *uuid, struct virt_dom *out, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom got = { 0 };
	bool is_namesake = false;
	int rc = 1;

	if (dom_find(v, uuid, &d, e) < 0)
		return -1;
	if (d.dom == NULL) {
		if (find_namesake(&d, uuid, e) < 0)
			return -1;
		is_namesake = true;
	}
	if (d.dom != NULL)
		rc = read_dom(&d, &got, e);
	if (rc < 0)
		return -1;
	got.is_foreign |= is_namesake && rc == 0;
	snprintf(got.uuid, sizeof(got.uuid), "%s", uuid);
	*out = got;
	return 0;
}

static void free_doms(virDomainPtr *doms, int n)
{
	for (int i = 0; i < n; i++)
		virDomainFree(doms[i]);
	free(doms);
}

/* Adds the domain when it is ours. */
static int list_add(struct virt_list *l, struct virt *v, virConnectPtr conn,
	virDomainPtr p, struct err *e)
{
	struct dom d = { .v = v, .conn = conn, .dom = p };
	struct virt_dom got = { 0 };
	const char *name = virDomainGetName(p);
	int rc;

	if (name == NULL || !str_has_prefix(name, DOMXML_NAME_PREFIX))
		return 0;
	rc = read_dom(&d, &got, e);
	if (rc < 0)
		return -1;
	if (rc == 0 && !got.is_foreign) {
		l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
		l->v[l->len++] = got;
	}
	return 0;
}

int virt_list(struct virt *v, struct virt_list *out, struct err *e)
{
	CLEANUP(virt_conn_put)
	virConnectPtr conn = virt_conn_get(v->conn, e);
	struct virt_list list = { 0 };
	virDomainPtr *doms = NULL;
	int n, rc = 0;

	if (conn == NULL)
		return -1;
	n = virConnectListAllDomains(conn, &doms, 0);
	if (n < 0)
		return virt_conn_failed(v->conn, conn, e, "list its domains");
	for (int i = 0; rc == 0 && i < n; i++)
		rc = list_add(&list, v, conn, doms[i], e);
	free_doms(doms, n);
	if (rc < 0)
		virt_list_done(&list);
	else
		*out = list;
	return rc;
}

void virt_list_done(struct virt_list *l)
{
	free(l->v);
	*l = (struct virt_list){ 0 };
}

/* ------------------------------------------------------------------ acting */

int virt_find_ours(struct virt *v, const char *uuid, struct dom *d, struct virt_dom *now,
	struct err *e)
{
	struct virt_dom got = { 0 };
	int rc;

	if (dom_find(v, uuid, d, e) < 0)
		return -1;
	rc = d->dom == NULL ? 1 : read_dom(d, &got, e);
	if (rc < 0)
		return -1;
	if (got.is_foreign)
		return err_set(e, ERR_CONFLICT,
			"the libvirt domain with uuid %s is not ucloud's", uuid);
	*now = got;
	return 0;
}

int virt_define(struct virt *v, const char *xml, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct domxml_id id;
	struct virt_dom now = { 0 };
	virDomainPtr made;

	if (domxml_read_id(xml, &id, e) < 0 ||
		virt_find_ours(v, id.uuid, &d, &now, e) < 0)
		return -1;
	CRASH_POINT("virt.define.before");
	made = virDomainDefineXMLFlags(d.conn, xml, 0);
	if (made == NULL)
		return virt_dom_failed(&d, e, "define the domain");
	CRASH_POINT("virt.define.after");
	virDomainFree(made);
	return 0;
}

static bool is_on(const struct virt_dom *d)
{
	return d->state != VIRT_ABSENT && d->state != VIRT_OFF;
}

/* A call failed: 0 when it was refused because it had been done already. */
static int act_failed(
	struct dom *d, const char *uuid, bool want_on, struct err *e, const char *what)
{
	bool is_refused = virt_last_is(VIR_ERR_OPERATION_INVALID) ||
			  virt_last_is(VIR_ERR_NO_DOMAIN);
	int rc = virt_dom_failed(d, e, what);
	struct virt_dom now = { 0 };
	struct err ignored = { 0 };

	if (is_refused && virt_get(d->v, uuid, &now, &ignored) == 0 &&
		is_on(&now) == want_on)
		return 0;
	return rc;
}

int virt_start(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (d.dom == NULL)
		return err_set(e, ERR_UNAVAILABLE,
			"there is no libvirt domain %s to start", uuid);
	if (is_on(&now))
		return 0;
	CRASH_POINT("virt.start.before");
	if (virDomainCreate(d.dom) < 0)
		return act_failed(&d, uuid, true, e, "start the domain");
	CRASH_POINT("virt.start.after");
	return 0;
}

int virt_shutdown(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (!is_on(&now))
		return 0;
	CRASH_POINT("virt.shutdown.before");
	if (virDomainShutdown(d.dom) < 0)
		return act_failed(&d, uuid, false, e, "ask the guest to power off");
	CRASH_POINT("virt.shutdown.after");
	return 0;
}

int virt_resume(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (now.state != VIRT_PAUSED)
		return 0;
	CRASH_POINT("virt.resume.before");
	if (virDomainResume(d.dom) < 0 && !virt_last_is(VIR_ERR_OPERATION_INVALID))
		return virt_dom_failed(&d, e, "resume the domain");
	CRASH_POINT("virt.resume.after");
	return 0;
}

int virt_pause(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (now.state == VIRT_PAUSED)
		return 0;
	if (now.state != VIRT_RUNNING)
		return err_set(e, ERR_CONFLICT, "the libvirt domain %s is off", uuid);
	CRASH_POINT("virt.pause.before");
	if (virDomainSuspend(d.dom) < 0)
		return virt_dom_failed(&d, e, "pause the domain");
	CRASH_POINT("virt.pause.after");
	return 0;
}

int virt_destroy(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (!is_on(&now))
		return 0;
	CRASH_POINT("virt.destroy.before");
	if (virDomainDestroy(d.dom) < 0)
		return act_failed(&d, uuid, false, e, "stop the domain");
	CRASH_POINT("virt.destroy.after");
	return 0;
}

/* Drivers differ in the flags they know. */
static int undefine(virDomainPtr dom)
{
	const unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
			       VIR_DOMAIN_UNDEFINE_NVRAM |
			       VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
			       VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;

	if (virDomainUndefineFlags(dom, flags) == 0)
		return 0;
	if (virt_last_is(VIR_ERR_INVALID_ARG) || virt_last_is(VIR_ERR_NO_SUPPORT))
		return virDomainUndefine(dom);
	return -1;
}

int virt_undefine(struct virt *v, const char *uuid, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	struct virt_dom now = { 0 };

	if (virt_find_ours(v, uuid, &d, &now, e) < 0)
		return -1;
	if (d.dom == NULL)
		return 0;
	/* It would go on without a definition. */
	if (is_on(&now))
		return err_set(
			e, ERR_UNAVAILABLE, "the libvirt domain %s is not off", uuid);
	CRASH_POINT("virt.undefine.before");
	if (undefine(d.dom) < 0 && !virt_last_is(VIR_ERR_NO_DOMAIN))
		return virt_dom_failed(&d, e, "undefine the domain");
	CRASH_POINT("virt.undefine.after");
	return 0;
}

/* ------------------------------------------------------------------ the machine */

/* MemTotal, when the driver can tell: virNodeInfo counts what was there when libvirtd
 * started, and in whole banks. In KiB; 0: unknown. */
static unsigned long long read_memory(virConnectPtr conn)
{
	virNodeMemoryStats stats[16];
	int n = 0;

	if (virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &n, 0) <
			0 ||
		n > (int)ARRAY_LEN(stats) ||
		virNodeGetMemoryStats(
			conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &n, 0) < 0) {
		virResetLastError();
		return 0;
	}
	for (int i = 0; i < n; i++)
		if (strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL) == 0)
			return stats[i].value;
	return 0;
}

int virt_node(struct virt *v, struct virt_node *out, struct err *e)
{
	CLEANUP(virt_conn_put)
	virConnectPtr conn = virt_conn_get(v->conn, e);
	unsigned long long memory;
	virNodeInfo node;

	if (conn == NULL)
		return -1;
	if (virNodeGetInfo(conn, &node) < 0)
		return virt_conn_failed(v->conn, conn, e, "describe this machine");
	memory = read_memory(conn);
	if (memory == 0)
		memory = node.memory;
	*out = (struct virt_node){ .cpus = node.cpus,
		.ram_mib = (int64_t)(memory / 1024) };
	return 0;
}

int virt_driver(struct virt *v, char *out, size_t size, struct err *e)
{
	CLEANUP(virt_conn_put)
	virConnectPtr conn = virt_conn_get(v->conn, e);

	if (conn == NULL)
		return -1;
	virt_conn_driver(v->conn, out, size);
	return 0;
}
