/*
 * The connection to libvirt: made on a thread of its own and made again whenever it breaks
 * (with back-off), so that nobody waits for a libvirtd that does not answer. Keepalives end
 * every call of a libvirtd that has stopped, within about 12 s. Any thread.
 *
 * libvirt's event loop exists once per process; the first connection starts it.
 */
#ifndef UCLOUD_VIRT_CONN_H
#define UCLOUD_VIRT_CONN_H

#include <libvirt/libvirt.h>

#include "ucloud-host/virt.h"

struct virt_conn;

struct virt_conn *virt_conn_open(const char *uri, virt_event_fn *fn, void *aux);
void virt_conn_close(struct virt_conn *c);
void virt_conn_set_event(struct virt_conn *c, virt_event_fn *fn, void *aux);

/* A counted connection, for virt_conn_put(); NULL with ERR_UNAVAILABLE when there is none
 * within a few seconds (at once, when the last attempt has failed). */
virConnectPtr virt_conn_get(struct virt_conn *c, struct err *e);
void virt_conn_put(virConnectPtr *conn);

/* libvirt's last error on this thread as ours: "<what>: <its message>"; notices when it was
 * the connection that broke. Returns -1. */
int virt_conn_failed(
	struct virt_conn *c, virConnectPtr conn, struct err *e, const char *what);
/* "qemu", "test", of a connection that one has. */
void virt_conn_driver(struct virt_conn *c, char *out, size_t size);
/* A domain's QEMU was last ended by a signal from the host, not by its guest. */
bool virt_conn_was_signal(struct virt_conn *c, const char *uuid);

#endif
