/*
 * The open request for an image.
 */
#include "common/base/buf.h"
#include "ucloud-api/orders_impl.h"

int find_image_request(const struct orders *o, struct draft *d, const struct who *who,
	const char *uuid, struct image *image, struct request *out, char **key,
	struct err *e)
{
	CLEANUP_STR char *request_key = key_request_image(o->keys, uuid);
	int r = find_own_image(o, d, who, uuid, image, e);

	if (r == 0)
		r = find_request(d, request_key, out, e);
	if (r == DRAFT_AS_IT_IS ||
		(r < 0 && (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED)))
		return err_set(e, ERR_NOT_FOUND, "no request is open for %s", uuid);
	if (r == 0 && key)
		*key = MOVE(request_key);
	return r;
}
