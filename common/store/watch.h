/*
 * A watched prefix: lists it, follows it, and lists it again whenever it must (first start,
 * compaction, restored store). Tells a sink everything in order; what is gone between two
 * lists is for the sink to sweep (cache.h does). Reconnects for ever, with back-off, saying
 * so once in the log.
 *
 * watch_start() runs it on a thread of its own. The simulation calls watch_step() instead.
 * The sink's functions are called from that one thread.
 */
#ifndef UCLOUD_WATCH_H
#define UCLOUD_WATCH_H

#include "common/store/kv.h"

struct watch;

struct watch_sink {
	/* A complete list is coming: pages, then the end with its revision. */
	void (*list_begin)(void *aux);
	void (*list_page)(void *aux, const struct kv_list *page);
	void (*list_end)(void *aux, int64_t rev);
	/* Changes since; ev->len may be 0 (progress only). */
	void (*change)(void *aux, const struct kv_events *ev);
};

struct watch_conf {
	const char *prefix;
	bool is_single_key;
	bool want_prev;
	/* No list: from "now" on. The sink's list_begin and list_end are called all the same
	 * (with no pages) at the start and after each gap. */
	bool is_tail;
};

struct watch *watch_new(struct kv *kv, const struct watch_conf *conf,
	const struct watch_sink *sink, void *aux);
void watch_start(struct watch *w);
/* One step without waiting: a list, or the events that are there. True when it did
 * something. */
bool watch_step(struct watch *w);
/* Has the first list been delivered, and is the stream up? */
bool watch_is_synced(struct watch *w);
/* Tells the thread to stop, and does not wait for it. */
void watch_stop_soon(struct watch *w);
/* Stops the thread; no sink call comes afterwards. A call of the store that is under way is
 * waited for (it has a time limit). Twice is fine. */
void watch_stop(struct watch *w);
/* Stops and frees. */
void watch_free(struct watch *w);

#endif
