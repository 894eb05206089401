/*
 * What the files of the libvirt implementation share. Nobody else includes this.
 */
#ifndef UCLOUD_VIRT_LIBVIRT_H
#define UCLOUD_VIRT_LIBVIRT_H

#include <libvirt/libvirt.h>

#include "ucloud-host/virt_conn.h"

struct virt {
	struct virt_conn *conn;
};

/* A domain and the connection it is of; zeroed: none. */
struct dom {
	struct virt *v;
	virConnectPtr conn;
	virDomainPtr dom;
};

void virt_dom_done(struct dom *d);
/* As virt_conn_failed(). */
int virt_dom_failed(struct dom *d, struct err *e, const char *what);
/* Is that libvirt's last error on this thread? */
bool virt_last_is(int code);
/* Looks a domain up and refuses what is not ours; d->dom is NULL when there is none. *now
 * says what is there. */
int virt_find_ours(struct virt *v, const char *uuid, struct dom *d, struct virt_dom *now,
	struct err *e) MUST_USE;

/* As virt_find_ours(); 1: it is off, or absent. */
int virt_find_on(struct virt *v, const char *uuid, struct dom *d, struct err *e) MUST_USE;
int virt_is_off(const char *uuid, struct err *e);
/* A device into a domain that runs, or out of it; flags: into (out of) which of what runs and
 * the definition. what: "attach the disk". */
int virt_change_device(struct dom *d, const char *xml, bool is_attach, unsigned flags,
	const char *what, struct err *e) MUST_USE;

#endif
