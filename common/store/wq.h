/*
 * Work queue of keys (client-go's, in small). A key is IDLE (not known), QUEUED, RUNNING or
 * DIRTY (running, and to be run again). It is never given to two workers at once; a change
 * that comes while it runs makes it run once more. Failures back off per key: 0.2 s, doubled
 * up to 60 s, with jitter.
 *
 *	          add                take               end(DONE)
 *	IDLE ------------> QUEUED ------------> RUNNING -----------> IDLE
 *	                     ^                   |  ^
 *	                     | end(any)      add |  | (stays until end)
 *	                     +------- DIRTY <----+--+
 *	end(AGAIN): QUEUED after after_msec; end(RETRY): QUEUED after the back-off.
 *
 * Any thread.
 */
#ifndef UCLOUD_WQ_H
#define UCLOUD_WQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wq;

enum wq_result {
	WQ_DONE,  /* as it should be; forget the failures */
	WQ_RETRY, /* failed: again after the back-off, or after_msec if that is longer */
	WQ_AGAIN  /* no failure: look again after after_msec (0: at once) */
};

struct wq *wq_new(void);
void wq_free(struct wq *q);
void wq_add(struct wq *q, const char *key);
/* At the latest after_msec from now: an earlier appointment stays, and a run that begins
 * meanwhile (because of a change) is what the appointment was for. */
void wq_add_after(struct wq *q, const char *key, int64_t after_msec);
/* The next ready key (the caller's copy), waiting at most wait_msec; NULL: none, or closed. */
char *wq_take(struct wq *q, int64_t wait_msec);
/* Ends a key that was taken. */
void wq_end(struct wq *q, const char *key, enum wq_result result, int64_t after_msec);
/* Takers get NULL from now on. */
void wq_close(struct wq *q);
/* Milliseconds until a key is ready: 0 now, -1 never. */
int64_t wq_next_msec(struct wq *q);
size_t wq_len(struct wq *q);			       /* queued, waiting and running */
unsigned wq_n_failures(struct wq *q, const char *key); /* in a row */

#endif
