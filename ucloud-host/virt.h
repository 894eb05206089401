/*
 * What ucloud-host needs of a hypervisor. virt_libvirt.c does it with libvirt;
 * virt_fake.c in memory, for the simulation. Both pass tests/contract. The link decides.
 *
 * Domains of ours carry a metadata element (namespace VIRT_XMLNS) with the host's name and
 * the boot number; their uuid is the VM's, their name "ucloud-<uuid>". All others are
 * foreign: virt_list() leaves them out and nothing here touches them. Any thread may call;
 * every call has a time limit.
 */
#ifndef UCLOUD_VIRT_H
#define UCLOUD_VIRT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/model/names.h"

#define VIRT_XMLNS "https://ucloud.example/xmlns/libvirt/domain/1.0"

struct virt;

enum virt_state { VIRT_ABSENT, VIRT_OFF, VIRT_RUNNING, VIRT_PAUSED, VIRT_DYING };
/* Why a domain is OFF, as far as libvirt knows. */
enum virt_off {
	VIRT_OFF_UNKNOWN,
	VIRT_OFF_GUEST,
	VIRT_OFF_DESTROYED,
	VIRT_OFF_CRASHED,
	VIRT_OFF_FAILED
};

struct virt_dom {
	char uuid[UUID_STR_SIZE];
	enum virt_state state;
	enum virt_off off;
	int64_t boot;	 /* from the metadata; 0 none */
	char host[256];	 /* from the metadata; "" none */
	bool is_foreign; /* has our VM's uuid, but not our metadata */
};

struct virt_list {
	struct virt_dom *v;
	size_t len;
};

struct virt_node {
	int64_t cpus, ram_mib;
};

/* Called from libvirt's event thread: look at this domain; NULL: look at all (reconnected).
 * Must only enqueue. */
typedef void virt_event_fn(void *aux, const char *uuid);

/* fn may be NULL. Does not need libvirt to be there: it is connected to with the first call, and again
 * whenever the connection breaks. */
int virt_open(const char *uri, virt_event_fn *fn, void *aux, struct virt **out,
	struct err *e) MUST_USE;
/* Whom to tell instead; fn NULL: nobody. No call of the old one comes afterwards. */
void virt_set_event(struct virt *v, virt_event_fn *fn, void *aux);
void virt_close(struct virt *v);

/* state is VIRT_ABSENT when there is no such domain. */
int virt_get(
	struct virt *v, const char *uuid, struct virt_dom *out, struct err *e) MUST_USE;
int virt_list(struct virt *v, struct virt_list *out, struct err *e) MUST_USE;
void virt_list_done(struct virt_list *l);

/* Each is fine when it is done already. */
int virt_define(
	struct virt *v, const char *xml, struct err *e) MUST_USE; /* or redefine */
int virt_start(struct virt *v, const char *uuid, struct err *e) MUST_USE;
int virt_shutdown(
	struct virt *v, const char *uuid, struct err *e) MUST_USE; /* asks (ACPI) */
int virt_resume(struct virt *v, const char *uuid, struct err *e) MUST_USE;
int virt_destroy(
	struct virt *v, const char *uuid, struct err *e) MUST_USE; /* pulls the plug */
int virt_undefine(struct virt *v, const char *uuid, struct err *e) MUST_USE;

/* Freezes what runs on a domain's processors, until virt_resume(). */
int virt_pause(struct virt *v, const char *uuid, struct err *e) MUST_USE;
/* The guest's agent writes out and freezes its file systems, until virt_thaw().
 * ERR_UNSUPPORTED: no agent answers. */
int virt_freeze(struct virt *v, const char *uuid, struct err *e) MUST_USE;
/* Fine when nothing is frozen, or no agent answers. */
int virt_thaw(struct virt *v, const char *uuid, struct err *e) MUST_USE;

/*
 * Disks of a domain that runs (or is paused), by index: vda is 0. What is attached or
 * detached is so in the definition, too. ERR_NOT_FOUND: the domain has no such disk;
 * ERR_CONFLICT: it is off; ERR_UNSUPPORTED: the hypervisor cannot.
 */
#define VIRT_DISKS_MAX 26
struct virt_disks {
	bool is_attached[VIRT_DISKS_MAX];
	int64_t size_bytes[VIRT_DISKS_MAX]; /* as the guest sees it; 0 unknown */
};
/* None of a domain that is off or absent. */
int virt_disks(
	struct virt *v, const char *uuid, struct virt_disks *out, struct err *e) MUST_USE;
/* xml: domxml_disk_format()'s. Fine when it is attached. */
int virt_disk_attach(struct virt *v, const char *uuid, unsigned index, const char *xml,
	struct err *e) MUST_USE;
/* Asks the guest to let go of it: virt_disks() tells when it has. Fine when it is not
 * attached. */
int virt_disk_detach(
	struct virt *v, const char *uuid, unsigned index, struct err *e) MUST_USE;
int virt_disk_resize(struct virt *v, const char *uuid, unsigned index, int64_t size_bytes,
	struct err *e) MUST_USE;
/* Snapshots inside the qcow2 files of disks that QEMU has open: of all of them (bit n: disk
 * n) at one moment, or of none. None of them must have one of that name. */
int virt_snapshot_make(struct virt *v, const char *uuid, uint32_t disks, const char *name,
	struct err *e) MUST_USE;
int virt_snapshot_remove(struct virt *v, const char *uuid, unsigned index,
	const char *name, struct err *e) MUST_USE;

/*
 * Interfaces of a domain that runs (or is paused), by MAC. What is attached or detached is so
 * in the definition, too; errors as for disks.
 */
/* *macs is the caller's, and emptied first: none of a domain that is off or absent. */
int virt_nics(
	struct virt *v, const char *uuid, struct strv *macs, struct err *e) MUST_USE;
/* xml: domxml_nic_format()'s. Fine when it is attached. */
int virt_nic_attach(struct virt *v, const char *uuid, const char *mac, const char *xml,
	struct err *e) MUST_USE;
/* Asks the guest to let go of it: virt_nics() tells when it has. Fine when it is not
 * attached. */
int virt_nic_detach(
	struct virt *v, const char *uuid, const char *mac, struct err *e) MUST_USE;

/* Defines a secret of type ceph with that value (base64), before a domain that names it;
 * fine when it is there. */
int virt_secret_ensure(struct virt *v, const char *secret_uuid, const char *value,
	struct err *e) MUST_USE;

int virt_node(struct virt *v, struct virt_node *out, struct err *e) MUST_USE;
/* "qemu", "test", ...: what the URI leads to. */
int virt_driver(struct virt *v, char *out, size_t size, struct err *e) MUST_USE;

#endif
