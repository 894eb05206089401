/*
 * Looks at one image and takes a step: makes it, gives up, removes it. Not more than n_jobs
 * are made at a time; what waits for its turn is told to look_at() when it comes. Any thread,
 * never twice at once for the same image.
 */
#ifndef UCLOUD_IMAGE_IMGREC_H
#define UCLOUD_IMAGE_IMGREC_H

#include "common/store/wq.h"
#include "ucloud-image/imgenv.h"

struct imgrec;

struct imgrec *imgrec_new(
	struct imgenv *env, void (*look_at)(void *aux, const char *uuid), void *aux);
void imgrec_free(struct imgrec *r);
/* A ctl_reconcile_fn; aux is the struct imgrec, key the image's uuid. */
enum wq_result imgrec_reconcile(
	void *aux, const char *uuid, int64_t *after_msec, struct err *e);

#endif
