/*
 * What happens, as it happens: a watch over VMs, images, hosts and files per process. It wakes the
 * requests that wait (waits.h) and feeds `GET /v1/events`.
 *
 * A stream is server-sent events (WHATWG HTML, section 9.2):
 *
 *	event: reset            from here on everything is told: list now
 *	event: vm               data: {"change": "put"|"delete", "uuid": ..., "vm": {...}}
 *	event: image, host      likewise, with "image" and its uuid, "host" and its hostname
 *	event: file             likewise
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

/* So many one user may have, per process. */
#define STREAMS_PER_USER 32

/* Answers req with a stream, unless it is refused (< 0: who has too many already). It ends with the
 * session (sessions_key(); NULL none), and at `expires` (Unix time) at the latest. */
int events_add(struct events *ev, struct httpd_req *req, const struct who *who,
	const char *session, int64_t expires, struct err *e) MUST_USE;
/* A sessions_end_fn: that session's streams end. NULL: those of all sessions; their clients come
 * again, if they still may. */
void events_end_session(void *ev, const char *session);

#endif
