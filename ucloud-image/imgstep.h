/*
 * What is to be done for an image: decided from its entry and its request alone. Pure.
 *
 *	TO_BE_CREATED --CreateImage--> CREATED | ERROR
 *	any --the API--> TO_BE_DELETED --DeleteImage--> (entry gone), or back: in use
 */
#ifndef UCLOUD_IMAGE_IMGSTEP_H
#define UCLOUD_IMAGE_IMGSTEP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/model/image.h"
#include "common/model/request.h"

enum imgact {
	IMGACT_NOTHING,
	IMGACT_WAIT,	/* the request's not_before: look again after after_msec */
	IMGACT_DROP,	/* the request means nothing (any more) */
	IMGACT_MAKE,	/* make it of its file, or find that it is made */
	IMGACT_GIVE_UP, /* ERROR: why */
	IMGACT_DELETE	/* remove its data and its entry */
};
extern const char *const imgact_names[];

struct imglook {
	const struct image *im;	   /* NULL: no entry */
	const struct request *req; /* NULL: none */
	bool is_unreadable;	   /* one of them is there, and does not parse */
	int64_t now_sec;
};

struct imgstep {
	enum imgact act;
	int64_t after_msec;
	char why[1024]; /* "" for nothing to say */
};

struct imgstep imgstep_decide(const struct imglook *l);

/*
 * The store has something complete of it, or not. Its entry says what it was begun to be made
 * of before that is read (imgtxn_begin()), and nothing gets complete that changed while it
 * was read: so what is complete is what the entry says.
 */
enum imgmake {
	IMGMAKE_IMPORT,
	IMGMAKE_ADOPT, /* an older one of us made it, and did not live to say so */
	IMGMAKE_REMOVE /* nobody knows what it is: away with it, then import */
};
enum imgmake imgstep_make(bool is_in_store, const struct image *im);

/* After a failure. */
enum imgfail {
	IMGFAIL_GIVE_UP, /* ERROR */
	IMGFAIL_RECORD	 /* an attempt; again later */
};
enum imgfail imgstep_failed(const struct imglook *l, const struct err *e);

/* After somebody turned out to use it: where does an image go back to that was to be deleted?
 * One that was never made has no users. */
enum image_status imgstep_undeleted(const struct image *im);

/* What the sweep does with an image that has something in the store. */
enum imgsweep {
	IMGSWEEP_KEEP,
	IMGSWEEP_REMOVE, /* its entry says that there is to be nothing */
	IMGSWEEP_ORPHAN	 /* it has no entry */
};
enum imgsweep imgstep_sweep(
	const struct image *im, bool is_unreadable, const char *store);

#endif
