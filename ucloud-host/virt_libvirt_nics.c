/* Interfaces of running domains, through libvirt. */
#include "ucloud-host/virt_libvirt.h"

#include "common/base/crash.h"
#include "ucloud-host/domxml.h"

static int read_nics(struct dom *d, unsigned flags, struct strv *macs, struct err *e)
{
	CLEANUP_STR char *xml = virDomainGetXMLDesc(d->dom, flags);

	if (xml == NULL)
		return virt_dom_failed(d, e, "describe the domain");
	return domxml_read_nics(xml, macs, e);
}

int virt_nics(struct virt *v, const char *uuid, struct strv *macs, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	int rc = virt_find_on(v, uuid, &d, e);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return read_nics(&d, 0, macs, e);
	strv_done(macs);
	return 0;
}

/* In which of what runs and the definition the interface is; ERR_CONFLICT when it is off. */
static int find_nic(struct virt *v, const char *uuid, const char *mac, struct dom *d,
	unsigned *flags, struct err *e)
{
	CLEANUP(strv_done) struct strv live = { 0 };
	CLEANUP(strv_done) struct strv config = { 0 };
	int rc = virt_find_on(v, uuid, d, e);

	if (rc != 0)
		return rc < 0 ? -1 : virt_is_off(uuid, e);
	if (read_nics(d, 0, &live, e) < 0 ||
		read_nics(d, VIR_DOMAIN_XML_INACTIVE, &config, e) < 0)
		return -1;
	*flags = (strv_has(&live, mac) ? VIR_DOMAIN_AFFECT_LIVE : 0) |
		 (strv_has(&config, mac) ? VIR_DOMAIN_AFFECT_CONFIG : 0);
	return 0;
}

int virt_nic_attach(
	struct virt *v, const char *uuid, const char *mac, const char *xml, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	unsigned flags = 0;

	if (find_nic(v, uuid, mac, &d, &flags, e) < 0)
		return -1;
	flags ^= VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;
	if (flags == 0)
		return 0;
	CRASH_POINT("virt.nic-attach.before");
	if (virt_change_device(&d, xml, true, flags, "attach the interface", e) < 0)
		return -1;
	CRASH_POINT("virt.nic-attach.after");
	return 0;
}

static int detach(struct dom *d, const char *xml, unsigned flag, struct err *e)
{
	return virt_change_device(d, xml, false, flag, "detach the interface", e);
}

int virt_nic_detach(struct virt *v, const char *uuid, const char *mac, struct err *e)
{
	CLEANUP(virt_dom_done) struct dom d = { 0 };
	/* What identifies it is enough. */
	CLEANUP_STR char *xml = xasprintf("<interface type='ethernet'><mac address='%s'/>"
					  "</interface>",
		mac);
	unsigned flags = 0;

	if (find_nic(v, uuid, mac, &d, &flags, e) < 0)
		return -1;
	CRASH_POINT("virt.nic-detach.before");
	if ((flags & VIR_DOMAIN_AFFECT_CONFIG) &&
		detach(&d, xml, VIR_DOMAIN_AFFECT_CONFIG, e) < 0)
		return -1;
	if ((flags & VIR_DOMAIN_AFFECT_LIVE) &&
		detach(&d, xml, VIR_DOMAIN_AFFECT_LIVE, e) < 0)
		return -1;
	CRASH_POINT("virt.nic-detach.after");
	return 0;
}
