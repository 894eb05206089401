/*
 * A VM as libvirt's domain XML, and what of it is read back: whose domain it is. Pure.
 * https://libvirt.org/formatdomain.html is the reference; tests/golden/domxml/ has examples.
 */
#ifndef UCLOUD_DOMXML_H
#define UCLOUD_DOMXML_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/disk/disk.h"
#include "common/model/vm.h"
#include "ucloud-host/vmnets.h"

/* Our domains are named this and the VM's uuid. */
#define DOMXML_NAME_PREFIX "ucloud-"

struct domxml {
	const struct vm *vm;
	const char *host;		 /* goes into the metadata, with vm->boot */
	const char *driver;		 /* virt_driver(): "qemu", "test" */
	const char *accel;		 /* "kvm" or "tcg" */
	const struct disk_source *disks; /* in the order of vm->specs.disks */
	size_t n_disks;
	const struct vmnet *nics;
	size_t n_nics;
	const char *cd;		 /* file with the boot configuration; NULL: none */
	const char *disk_cache;	 /* of QEMU: "none", "writeback", ... */
	const char *console_log; /* file that gets the serial console; NULL: none */
};

/* The caller's. */
char *domxml_format(const struct domxml *d);
/* One <disk> alone, to be attached to a domain that runs. The caller's. */
char *domxml_disk_format(const struct disk_source *disk, const char *disk_cache);

/* What is read back of a domain's disks: "vdb" is index 1. */
struct domxml_disks {
	bool has[26];
	char alias[26][64]; /* libvirt's name of the device; "" none */
};
/* From a whole <domain>. ERR_INVALID when it is not XML. */
int domxml_read_disks(const char *xml, struct domxml_disks *out, struct err *e) MUST_USE;

/* One <interface> alone, likewise. The caller's. */
char *domxml_nic_format(const struct vmnet *nic);
/* The MACs of a domain's interfaces, from a whole <domain>; *macs is the caller's, and
 * emptied first. ERR_INVALID when it is not XML. */
int domxml_read_nics(const char *xml, struct strv *macs, struct err *e) MUST_USE;

struct domxml_id {
	char uuid[UUID_STR_SIZE];
	char name[128];
	bool has_metadata; /* ours */
	char host[256];
	int64_t boot;
};

/* Reads who a domain is: a whole <domain>, or our metadata element alone, as
 * virDomainGetMetadata() gives it: without its name space (then uuid and name are ""). ERR_INVALID when it is not XML. */
int domxml_read_id(const char *xml, struct domxml_id *out, struct err *e) MUST_USE;

#endif
