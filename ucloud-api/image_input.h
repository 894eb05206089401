/*
 * The order for a new image as users write it (the body of POST /v1/images): of an uploaded
 * file, or (admins) of what is in a store already. Pure.
 */
#ifndef UCLOUD_IMAGE_INPUT_H
#define UCLOUD_IMAGE_INPUT_H

#include "common/base/jtab.h"
#include "common/model/image.h"
#include "ucloud-api/who.h"

struct image_input {
	char *name, *description;
	char *store; /* "" the only one there is */
	char *file;  /* name or uuid of the asker's upload; "" it is registered */
	char *path;  /* of what is registered */
	int format;
	int64_t virtual_bytes;
	bool is_public;
};

extern const struct jtab image_input_jtab;

/* may_publish: users may make images public, not only admins. */
int image_input_parse(json_t *body, const struct who *who, bool may_publish,
	struct image_input *out, struct err *e) MUST_USE;
void image_input_done(struct image_input *in);
/* What the order says of the entry; the rest is left alone. */
void image_input_build(const struct image_input *in, struct image *out);

#endif
