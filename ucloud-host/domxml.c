#include "ucloud-host/domxml.h"

#include <libxml/parser.h>
#include <libxml/xmlwriter.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/parse.h"
#include "ucloud-host/virt.h"

/* Larger than any domain that we write; others' are not read beyond it. */
#define XML_MAX (1024 * 1024)
/* QEMU's default for translated code is a quarter of the guest's RAM or 1 GiB. */
#define TCG_CACHE_MIB "32"
/* PCI Express devices beside disks and interfaces: the agent's channel, rng, balloon, the
 * CD's controller. */
#define PORTS_OTHERS 4

/* libxml2 would do it at its first use, with a race between threads. */
static void init_library(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, xmlInitParser);
}

/* The writer fails only for lack of memory, which ends the process anyway. */
static void must(int rc)
{
	if (rc < 0)
		abort();
}

static const xmlChar *x(const char *s)
{
	return (const xmlChar *)s;
}

static void open_elem(xmlTextWriterPtr w, const char *name)
{
	must(xmlTextWriterStartElement(w, x(name)));
}

static void close_elem(xmlTextWriterPtr w)
{
	must(xmlTextWriterEndElement(w));
}

static void attr(xmlTextWriterPtr w, const char *name, const char *value)
{
	must(xmlTextWriterWriteAttribute(w, x(name), x(value)));
}

static void PRINTF_LIKE(3, 4)
	attrf(xmlTextWriterPtr w, const char *name, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	attr(w, name, text);
}

static void text_elem(xmlTextWriterPtr w, const char *name, const char *text)
{
	must(xmlTextWriterWriteElement(w, x(name), x(text)));
}

/* <name a="v"/>, with up to two attributes. */
static void leaf(xmlTextWriterPtr w, const char *name, const char *a1, const char *v1,
	const char *a2, const char *v2)
{
	open_elem(w, name);
	if (a1 != NULL)
		attr(w, a1, v1);
	if (a2 != NULL)
		attr(w, a2, v2);
	close_elem(w);
}

static bool is_driver(const struct domxml *d, const char *driver)
{
	return strcmp(d->driver, driver) == 0;
}

static bool is_kvm(const struct domxml *d)
{
	return strcmp(d->accel, "kvm") == 0;
}

static void write_metadata(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "metadata");
	must(xmlTextWriterStartElementNS(w, x("ucloud"), x("vm"), x(VIRT_XMLNS)));
	attr(w, "host", d->host);
	attrf(w, "boot", "%lld", (long long)d->vm->boot);
	close_elem(w);
	close_elem(w);
}

static void write_size(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "memory");
	attr(w, "unit", "MiB");
	must(xmlTextWriterWriteFormatString(w, "%lld", (long long)d->vm->specs.ram_mib));
	close_elem(w);
	open_elem(w, "vcpu");
	must(xmlTextWriterWriteFormatString(w, "%lld", (long long)d->vm->specs.cpu));
	close_elem(w);
}

static void write_machine(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "os");
	open_elem(w, "type");
	if (is_driver(d, "qemu")) {
		attr(w, "arch", "x86_64");
		attr(w, "machine", "q35");
	}
	must(xmlTextWriterWriteString(w, x("hvm")));
	close_elem(w);
	leaf(w, "boot", "dev", "hd", NULL, NULL);
	close_elem(w);

	open_elem(w, "features");
	leaf(w, "acpi", NULL, NULL, NULL, NULL);
	leaf(w, "apic", NULL, NULL, NULL, NULL);
	if (is_driver(d, "qemu") && !is_kvm(d)) {
		open_elem(w, "tcg");
		open_elem(w, "tb-cache");
		attr(w, "unit", "MiB");
		must(xmlTextWriterWriteString(w, x(TCG_CACHE_MIB)));
		close_elem(w);
		close_elem(w);
	}
	close_elem(w);

	if (is_driver(d, "qemu"))
		leaf(w, "cpu", "mode", is_kvm(d) ? "host-passthrough" : "maximum", NULL,
			NULL);
	leaf(w, "clock", "offset", "utc", NULL, NULL);
	text_elem(w, "on_poweroff", "destroy");
	text_elem(w, "on_reboot", "restart");
	text_elem(w, "on_crash", "destroy");
}

static void write_file_source(xmlTextWriterPtr w, const struct disk_source *s)
{
	leaf(w, "source", "file", s->path, NULL, NULL);
	/* Said in full, so that QEMU never looks into a file to find out. */
	open_elem(w, "backingStore");
	if (s->backing_path != NULL) {
		attr(w, "type", "file");
		leaf(w, "format", "type", s->backing_format, NULL, NULL);
		leaf(w, "source", "file", s->backing_path, NULL, NULL);
		leaf(w, "backingStore", NULL, NULL, NULL, NULL);
	}
	close_elem(w);
}

static void write_rbd_host(xmlTextWriterPtr w, const char *mon)
{
	CLEANUP_STR char *host = NULL;
	uint16_t port = 0;
	struct err e = { 0 };

	if (parse_host_port(mon, 3300, &host, &port, &e) < 0)
		host = xstrdup(mon);
	open_elem(w, "host");
	attr(w, "name", host);
	if (port != 0)
		attrf(w, "port", "%u", (unsigned)port);
	close_elem(w);
}

static void write_rbd_source(xmlTextWriterPtr w, const struct disk_source *s)
{
	open_elem(w, "source");
	attr(w, "protocol", "rbd");
	attr(w, "name", s->path);
	for (size_t i = 0; i < s->mons.len; i++)
		write_rbd_host(w, s->mons.v[i]);
	if (s->user != NULL && s->secret_uuid != NULL) {
		open_elem(w, "auth");
		attr(w, "username", s->user);
		leaf(w, "secret", "type", "ceph", "uuid", s->secret_uuid);
		close_elem(w);
	}
	close_elem(w);
}

static void write_disk(
	xmlTextWriterPtr w, const struct disk_source *s, const char *disk_cache)
{
	open_elem(w, "disk");
	attr(w, "type", s->kind == DISK_SOURCE_RBD ? "network" : "file");
	attr(w, "device", "disk");
	open_elem(w, "driver");
	attr(w, "name", "qemu");
	attr(w, "type", s->format);
	attr(w, "cache", disk_cache);
	attr(w, "discard", "unmap");
	close_elem(w);
	if (s->kind == DISK_SOURCE_RBD)
		write_rbd_source(w, s);
	else
		write_file_source(w, s);
	open_elem(w, "target");
	attrf(w, "dev", "vd%c", (char)('a' + s->index));
	attr(w, "bus", "virtio");
	close_elem(w);
	close_elem(w);
}

/* On virtio's SCSI: kernels made for clouds know no SATA. As a CD it takes no letter from the
 * disks. */
static void write_cd(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "disk");
	attr(w, "type", "file");
	attr(w, "device", "cdrom");
	leaf(w, "driver", "name", "qemu", "type", "raw");
	leaf(w, "source", "file", d->cd, NULL, NULL);
	leaf(w, "backingStore", NULL, NULL, NULL, NULL);
	leaf(w, "target", "dev", "sda", "bus", "scsi");
	leaf(w, "readonly", NULL, NULL, NULL, NULL);
	close_elem(w);
	leaf(w, "controller", "type", "scsi", "model", "virtio-scsi");
}

static void write_nic(xmlTextWriterPtr w, const struct vmnet *n)
{
	char bridge[NETWORK_NAME_SIZE], tap[NETWORK_NAME_SIZE];

	network_bridge_name(n->net.vni, bridge);
	network_tap_name(n->nic->mac, tap);
	open_elem(w, "interface");
	attr(w, "type", "bridge");
	leaf(w, "mac", "address", n->nic->mac, NULL, NULL);
	leaf(w, "source", "bridge", bridge, NULL, NULL);
	leaf(w, "target", "dev", tap, NULL, NULL);
	leaf(w, "model", "type", "virtio", NULL, NULL);
	/* Nobody boots from it. */
	leaf(w, "rom", "enabled", "no", NULL, NULL);
	if (n->net.mtu > 0) {
		open_elem(w, "mtu");
		attrf(w, "size", "%lld", (long long)n->net.mtu);
		close_elem(w);
	}
	close_elem(w);
}

static void write_console(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "serial");
	attr(w, "type", "pty");
	if (d->console_log != NULL)
		leaf(w, "log", "file", d->console_log, "append", "on");
	leaf(w, "target", "port", "0", NULL, NULL);
	close_elem(w);
	open_elem(w, "console");
	attr(w, "type", "pty");
	leaf(w, "target", "type", "serial", "port", "0");
	close_elem(w);
}

/* A port for each device, also for all disks and interfaces that may be attached later: a machine
 * of this type has no other place for them. */
static void write_ports(xmlTextWriterPtr w)
{
	size_t n = VM_DISKS_MAX + VM_NICS_MAX + PORTS_OTHERS;

	/* The first controller that is named gets the index of the root: it is the root. */
	leaf(w, "controller", "type", "pci", "model", "pcie-root");
	for (size_t i = 0; i < n; i++)
		leaf(w, "controller", "type", "pci", "model", "pcie-root-port");
}

/* Where an agent in the guest is talked to, if there is one. */
static void write_agent(xmlTextWriterPtr w)
{
	open_elem(w, "channel");
	attr(w, "type", "unix");
	leaf(w, "target", "type", "virtio", "name", "org.qemu.guest_agent.0");
	close_elem(w);
}

static void write_devices(xmlTextWriterPtr w, const struct domxml *d)
{
	open_elem(w, "devices");
	for (size_t i = 0; i < d->n_disks; i++)
		write_disk(w, &d->disks[i], d->disk_cache);
	if (d->cd != NULL && is_driver(d, "qemu"))
		write_cd(w, d);
	for (size_t i = 0; i < d->n_nics; i++)
		write_nic(w, &d->nics[i]);
	leaf(w, "controller", "type", "usb", "model", "none");
	if (is_driver(d, "qemu"))
		write_ports(w);
	write_console(w, d);
	if (is_driver(d, "qemu"))
		write_agent(w);
	open_elem(w, "rng");
	attr(w, "model", "virtio");
	open_elem(w, "backend");
	attr(w, "model", "random");
	must(xmlTextWriterWriteString(w, x("/dev/urandom")));
	close_elem(w);
	close_elem(w);
	leaf(w, "memballoon", "model", "virtio", NULL, NULL);
	close_elem(w);
}

static const char *domain_type(const struct domxml *d)
{
	if (!is_driver(d, "qemu"))
		return d->driver;
	return is_kvm(d) ? "kvm" : "qemu";
}

static xmlTextWriterPtr open_writer(xmlBufferPtr *out)
{
	xmlTextWriterPtr w;

	init_library();
	*out = xmlBufferCreate();
	w = *out == NULL ? NULL : xmlNewTextWriterMemory(*out, 0);
	if (w == NULL)
		abort();
	must(xmlTextWriterSetIndent(w, 1));
	return w;
}

static char *close_writer(xmlTextWriterPtr w, xmlBufferPtr out)
{
	char *text;

	must(xmlTextWriterEndDocument(w));
	xmlFreeTextWriter(w);
	text = xstrdup((const char *)xmlBufferContent(out));
	xmlBufferFree(out);
	return text;
}

char *domxml_disk_format(const struct disk_source *disk, const char *disk_cache)
{
	xmlBufferPtr out;
	xmlTextWriterPtr w = open_writer(&out);

	write_disk(w, disk, disk_cache);
	return close_writer(w, out);
}

char *domxml_nic_format(const struct vmnet *nic)
{
	xmlBufferPtr out;
	xmlTextWriterPtr w = open_writer(&out);

	write_nic(w, nic);
	return close_writer(w, out);
}

char *domxml_format(const struct domxml *d)
{
	CLEANUP_STR char *name = xasprintf(DOMXML_NAME_PREFIX "%s", d->vm->uuid);
	xmlBufferPtr out;
	xmlTextWriterPtr w = open_writer(&out);

	open_elem(w, "domain");
	attr(w, "type", domain_type(d));
	text_elem(w, "name", name);
	text_elem(w, "uuid", d->vm->uuid);
	write_metadata(w, d);
	write_size(w, d);
	write_machine(w, d);
	write_devices(w, d);
	close_elem(w);
	return close_writer(w, out);
}

/* ------------------------------------------------------------------ reading */

static void free_doc(xmlDocPtr *doc)
{
	if (*doc != NULL)
		xmlFreeDoc(*doc);
}

static bool is_elem(const xmlNode *n, const char *name)
{
	return n->type == XML_ELEMENT_NODE && xmlStrcmp(n->name, x(name)) == 0;
}

/* Text that does not fit is left out whole: half a name would be another one. */
static void copy_text(char *out, size_t size, xmlChar *text)
{
	if (text != NULL && strlen((const char *)text) < size)
		snprintf(out, size, "%s", (const char *)text);
	xmlFree(text);
}

static bool is_in_our_ns(const xmlNode *n)
{
	return n->ns != NULL && xmlStrcmp(n->ns->href, x(VIRT_XMLNS)) == 0;
}

static void read_metadata(xmlNode *n, struct domxml_id *out)
{
	char boot[32] = "";
	struct err ignored = { 0 };

	if (!is_elem(n, "vm"))
		return;
	copy_text(out->host, sizeof(out->host), xmlGetProp(n, x("host")));
	copy_text(boot, sizeof(boot), xmlGetProp(n, x("boot")));
	out->has_metadata = parse_int64(boot, 0, INT64_MAX, &out->boot, &ignored) == 0;
}

static void read_domain(xmlNode *domain, struct domxml_id *out)
{
	for (xmlNode *n = domain->children; n != NULL; n = n->next) {
		if (is_elem(n, "uuid"))
			copy_text(out->uuid, sizeof(out->uuid), xmlNodeGetContent(n));
		else if (is_elem(n, "name"))
			copy_text(out->name, sizeof(out->name), xmlNodeGetContent(n));
		else if (is_elem(n, "metadata"))
			for (xmlNode *m = n->children; m != NULL; m = m->next)
				if (is_in_our_ns(m))
					read_metadata(m, out);
	}
}

/* The root element; NULL when it is no XML. */
static xmlNode *read_doc(const char *xml, xmlDocPtr *doc)
{
	size_t size = strnlen(xml, XML_MAX);

	init_library();
	if (size < XML_MAX)
		*doc = xmlReadMemory(xml, (int)size, NULL, NULL,
			XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	return *doc == NULL ? NULL : xmlDocGetRootElement(*doc);
}

int domxml_read_id(const char *xml, struct domxml_id *out, struct err *e)
{
	CLEANUP(free_doc)
	xmlDocPtr doc = NULL;
	xmlNode *root = read_doc(xml, &doc);
	struct domxml_id id = { 0 };

	if (root == NULL)
		return err_set(e, ERR_INVALID, "what libvirt says of a domain is no XML");
	if (is_elem(root, "domain"))
		read_domain(root, &id);
	else if (root->ns == NULL || is_in_our_ns(root))
		read_metadata(root, &id);
	*out = id;
	return 0;
}

static void read_disk(xmlNode *disk, struct domxml_disks *out)
{
	char dev[8] = "", alias[sizeof(out->alias[0])] = "";

	for (xmlNode *n = disk->children; n != NULL; n = n->next) {
		if (is_elem(n, "target"))
			copy_text(dev, sizeof(dev), xmlGetProp(n, x("dev")));
		else if (is_elem(n, "alias"))
			copy_text(alias, sizeof(alias), xmlGetProp(n, x("name")));
	}
	if (strncmp(dev, "vd", 2) != 0 || dev[2] < 'a' || dev[2] > 'z' || dev[3] != '\0')
		return;
	out->has[dev[2] - 'a'] = true;
	memcpy(out->alias[dev[2] - 'a'], alias, sizeof(alias));
}

static void read_devices(xmlNode *devices, struct domxml_disks *out)
{
	for (xmlNode *n = devices->children; n != NULL; n = n->next)
		if (is_elem(n, "disk"))
			read_disk(n, out);
}

int domxml_read_disks(const char *xml, struct domxml_disks *out, struct err *e)
{
	CLEANUP(free_doc)
	xmlDocPtr doc = NULL;
	xmlNode *root = read_doc(xml, &doc);
	struct domxml_disks got = { 0 };

	if (root == NULL)
		return err_set(e, ERR_INVALID, "what libvirt says of a domain is no XML");
	for (xmlNode *n = root->children; n != NULL; n = n->next)
		if (is_elem(n, "devices"))
			read_devices(n, &got);
	*out = got;
	return 0;
}

static void read_nic(xmlNode *nic, struct strv *macs)
{
	char mac[MAC_STR_SIZE] = "";

	for (xmlNode *n = nic->children; n != NULL; n = n->next)
		if (is_elem(n, "mac"))
			copy_text(mac, sizeof(mac), xmlGetProp(n, x("address")));
	if (mac[0] != '\0')
		strv_add(macs, mac);
}

int domxml_read_nics(const char *xml, struct strv *macs, struct err *e)
{
	CLEANUP(free_doc)
	xmlDocPtr doc = NULL;
	xmlNode *root = read_doc(xml, &doc);

	if (root == NULL)
		return err_set(e, ERR_INVALID, "what libvirt says of a domain is no XML");
	strv_done(macs);
	for (xmlNode *n = root->children; n != NULL; n = n->next)
		for (xmlNode *dev = n->children; dev != NULL; dev = dev->next)
			if (is_elem(n, "devices") && is_elem(dev, "interface"))
				read_nic(dev, macs);
	return 0;
}
