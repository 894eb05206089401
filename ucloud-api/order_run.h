/*
 * Runs one order: lets its function draft a transaction, reads what it wants to see, commits,
 * and begins again with newer values when it conflicts. Any thread.
 */
#ifndef UCLOUD_ORDER_RUN_H
#define UCLOUD_ORDER_RUN_H

#include "ucloud-api/draft.h"

/*
 * Drafts the transaction of one order: 0, DRAFT_MORE, DRAFT_AS_IT_IS, or < 0 refused. Pure but
 * for what it leaves in aux, and that is always of its last run. It may run any number of
 * times. When the draft is doubtful (an outcome was not known), the order may have happened
 * already: what it then finds done is DRAFT_AS_IT_IS.
 */
typedef int order_fn(void *aux, struct draft *d, struct err *e);

/* 0 done; DRAFT_AS_IT_IS; < 0 refused, or the store does not answer. is_doubtful: an earlier
 * try of the same order has an unknown outcome. */
int order_run(
	struct kv *kv, order_fn *fn, void *aux, bool is_doubtful, struct err *e) MUST_USE;

/* fn, then what it wants is read, until it wants no more: its 0, DRAFT_AS_IT_IS or < 0. */
int order_look(
	struct kv *kv, struct draft *d, order_fn *fn, void *aux, struct err *e) MUST_USE;
/* ERR_UNAVAILABLE: nobody knows whether it was carried out. */
int order_in_doubt(struct err *e);

#endif
