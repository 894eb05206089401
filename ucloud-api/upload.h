/*
 * Uploads (PUT /v1/files/{name...}) of a process that shares the directory of users' files
 * (option base_dir): from a request whose body comes in pieces (httpd.h) to a file
 * (updir.h). Any thread.
 */
#ifndef UCLOUD_UPLOAD_H
#define UCLOUD_UPLOAD_H

#include "common/base/httpd.h"
#include "common/base/jtab.h"
#include "ucloud-api/upload_input.h"
#include "ucloud-api/who.h"

struct uploads;

/* So many one user may have at the same time, per process. */
#define UPLOADS_PER_USER 8
/* Of all users together. */
#define UPLOADS_MAX 64

/* Also begins to remove uploads that nobody goes on with. */
int uploads_open(const char *base_dir, const char *default_realm, struct uploads **out,
	struct err *e) MUST_USE;
/* No request is under way any more. NULL is fine. */
void uploads_close(struct uploads *u);

struct upload_order {
	const struct who *who;
	const char *filename;
	const struct upload_input *input;
	int64_t quota_bytes;
};

enum { UPLOAD_HAS = 1, UPLOAD_MISFIT };

/* Everything that can be known before the body is. 0: req is taken, and answered in the end.
 * UPLOAD_HAS: that was the question: *offset bytes are there. UPLOAD_MISFIT: the body does
 * not begin where the part ends, at *offset. */
int uploads_take(struct uploads *u, struct httpd_req *req,
	const struct upload_order *order, int64_t *offset, struct err *e) MUST_USE;
int uploads_remove(struct uploads *u, const struct who *owner, const char *filename,
	struct err *e) MUST_USE;

/* {"filename", "offset"} of an upload that is not complete. */
json_t *upload_offset_json(const char *filename, int64_t offset);
extern const struct jtab upload_jtab; /* what is answered */

#endif
