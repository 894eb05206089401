#include "ucloud-image/imgstep.h"

#include <stdio.h>

#include "common/base/buf.h"

const char *const imgact_names[] = { "nothing", "wait", "drop", "make", "give_up",
	"delete", NULL };

static struct imgstep step(enum imgact act, const char *why)
{
	struct imgstep s = { .act = act };

	snprintf(s.why, sizeof(s.why), "%s", why);
	return s;
}

static bool is_late(const struct imglook *l)
{
	return l->req && l->req->deadline != 0 && l->now_sec >= l->req->deadline;
}

static struct imgstep give_up_late(const struct request *req)
{
	struct imgstep s = { .act = IMGACT_GIVE_UP };

	snprintf(s.why, sizeof(s.why), "it was not made in time%s%s",
		str_is_empty(req->last_error) ? "" : ": ",
		str_is_empty(req->last_error) ? "" : req->last_error);
	return s;
}

static struct imgstep decide_create(const struct imglook *l)
{
	if (l->im->status == IMAGE_TO_BE_DELETED)
		return step(IMGACT_NOTHING, "somebody is about to delete it");
	if (l->im->status != IMAGE_TO_BE_CREATED)
		return step(IMGACT_DROP, "the image is not to be made");
	/* At least once it is tried, however long nobody was there to. */
	if (is_late(l) && l->req->attempts > 0)
		return give_up_late(l->req);
	return step(IMGACT_MAKE, "");
}

static struct imgstep decide_no_request(const struct image *im)
{
	if (im && im->status == IMAGE_TO_BE_CREATED)
		return step(IMGACT_GIVE_UP, "its request is gone: delete it, and create "
					    "it again");
	return step(IMGACT_NOTHING, "");
}

struct imgstep imgstep_decide(const struct imglook *l)
{
	if (l->is_unreadable)
		return step(IMGACT_NOTHING, "its entry or its request cannot be read");
	if (!l->req)
		return decide_no_request(l->im);
	if (!l->im)
		return step(IMGACT_DROP, "the image is gone");
	if (l->req->type != REQ_CREATE_IMAGE && l->req->type != REQ_DELETE_IMAGE)
		return step(IMGACT_NOTHING, "its request is none of an image");
	if (l->req->not_before > l->now_sec) {
		struct imgstep s = step(IMGACT_WAIT, "");

		s.after_msec = (l->req->not_before - l->now_sec) * 1000;
		return s;
	}
	if (l->req->type == REQ_CREATE_IMAGE)
		return decide_create(l);
	return l->im->status == IMAGE_TO_BE_DELETED
		       ? step(IMGACT_DELETE, "")
		       : step(IMGACT_DROP, "the image is not to be deleted");
}

enum imgmake imgstep_make(bool is_in_store, const struct image *im)
{
	if (!is_in_store)
		return IMGMAKE_IMPORT;
	return im->is_made && !str_is_empty(im->sha512) ? IMGMAKE_ADOPT : IMGMAKE_REMOVE;
}

enum imgfail imgstep_failed(const struct imglook *l, const struct err *e)
{
	/* What is to be deleted is tried for ever: nothing may stay behind. */
	if (l->req && l->req->type == REQ_DELETE_IMAGE)
		return IMGFAIL_RECORD;
	return err_is_passing(e->kind) && !is_late(l) ? IMGFAIL_RECORD : IMGFAIL_GIVE_UP;
}

enum image_status imgstep_undeleted(const struct image *im)
{
	return str_is_empty(im->path) ? IMAGE_ERROR : IMAGE_CREATED;
}

enum imgsweep imgstep_sweep(const struct image *im, bool is_unreadable, const char *store)
{
	if (is_unreadable)
		return IMGSWEEP_KEEP;
	if (!im)
		return IMGSWEEP_ORPHAN;
	/* An entry cannot move: somebody has a store in two places, or two of one name. */
	if (!str_eq(im->store, store))
		return IMGSWEEP_KEEP;
	return im->status == IMAGE_ERROR && str_is_empty(im->path) ? IMGSWEEP_REMOVE
								   : IMGSWEEP_KEEP;
}
