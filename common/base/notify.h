/*
 * Readiness: a datagram to $NOTIFY_SOCKET, as sd_notify(3) describes. Nothing happens where
 * there is no such variable. Any thread.
 */
#ifndef UCLOUD_NOTIFY_H
#define UCLOUD_NOTIFY_H

#include "common/base/err.h"

/* text: lines "READY=1", "STATUS=...", ... */
int notify_send(const char *text, struct err *e) MUST_USE;

#endif
