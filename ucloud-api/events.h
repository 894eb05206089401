/*
 * What happens, as it happens: one watch over VMs, images and hosts per process. It wakes the
 * requests that wait (waits.h) and feeds `GET /v1/events`.
 *
 * A stream is server-sent events (WHATWG HTML, section 9.2):
 *
 *	event: reset            from here on everything is told: list now
 *	event: vm               data: {"change": "put"|"delete", "uuid": ..., "vm": {...}}
 *	event: image, host      likewise, with "image" and its uuid, "host" and its hostname
 *
 * with the store's revision as id. A user gets what is theirs, and public images.
 */
#ifndef UCLOUD_EVENTS_H
#define UCLOUD_EVENTS_H

#include "common/base/httpd.h"
#include "common/model/keys.h"
#include "common/store/kv.h"
#include "ucloud-api/waits.h"
#include "ucloud-api/who.h"

struct events;

struct events *events_new(struct kv *kv, const struct keys *keys, struct waits *waits);
void events_start(struct events *ev); /* the watches' threads */
void events_stop(struct events *ev);  /* no wait is woken afterwards */
void events_free(struct events *ev);  /* ends the streams */

/* Answers req with a stream; it ends at `expires` (Unix time, 0 never) at the latest. */
void events_add(
	struct events *ev, struct httpd_req *req, const struct who *who, int64_t expires);

#endif
