/*
 * The VMs that wait for a host: one struct pend for each ScheduleVM request, in the order in
 * which they were asked for. Pure; one thread.
 */
#ifndef UCLOUD_SCHEDULER_PEND_H
#define UCLOUD_SCHEDULER_PEND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model/names.h"
#include "common/model/request.h"
#include "common/base/hash.h"

struct order;

struct pend {
	UT_hash_handle hh;
	char uuid[UUID_STR_SIZE];
	int64_t request_rev;
	int64_t created, not_before, deadline; /* unix seconds; deadline 0 none */
	const struct order *sent; /* under way (not ours: compared only); NULL none */
	bool is_done;		  /* its effect is stored; the request will vanish */
	bool is_gone;		  /* removed; leaves the list with the next sorting */

	/* What the last look found. It need not be repeated before something has changed. */
	bool is_news;
	bool is_near; /* depends on where others are */
	uint64_t seen_gen, seen_places;
	int64_t min_vm_rev;  /* an older VM entry is one that we have changed since */
	int64_t retry_msec;  /* monotonic: not before */
	int64_t due_msec;    /* monotonic: look at the latest, 0 none */
	int64_t behind_msec; /* monotonic: its VM was first missed, 0 never */
	unsigned n_failures; /* in a row */
	int64_t why_msec;    /* monotonic: its reasons were written, 0 never */
	unsigned n_whys;     /* one after the other, without much calm between */
	uint32_t why_mask;   /* the kinds of reasons that its entry tells, 0 unknown */
	uint32_t new_mask;   /* other ones, that were seen since new_msec */
	int64_t new_msec;
};

struct pends {
	struct pend *by_uuid; /* uthash */
	struct pend **v;      /* in order; those that are gone are skipped */
	size_t len, cap, n_gone;
	bool is_sorted;
};

void pends_done(struct pends *ps);
/* A request that is there, new or changed. wait_sec: how long a VM may wait, when the request
 * does not say, 0 for ever. */
void pends_put(struct pends *ps, const char *uuid, const struct request *r, int64_t rev,
	int64_t wait_sec);
void pends_del(struct pends *ps, const char *uuid);
struct pend *pends_find(const struct pends *ps, const char *uuid);
size_t pends_len(const struct pends *ps);
/* By `created`, then uuid; frees those that are gone. */
void pends_sort(struct pends *ps);

/* After a failure or conflict: 50 ms doubled up to 5 s. */
void pend_failed(struct pend *p, int64_t mono_msec);

#endif
