#include "common/disk/images.h"

#include <assert.h>
#include <string.h>

#include "common/disk/disk_impl.h"
#include "common/model/names.h"

void image_made_done(struct image_made *m)
{
	free(m->path);
	memset(m, 0, sizeof(*m));
}

static int refuse(struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED,
		"stores of this type cannot hold images that "
		"are made of uploaded files");
}

/* It becomes a name in the store. */
static int check_uuid(const char *image_uuid, struct err *e)
{
	return uuid_check(image_uuid, e) == 0 ? 0 : err_wrap(e, "the uuid of an image");
}

int image_sink_open(struct disk_store *s, const char *image_uuid, int64_t virtual_bytes,
	struct image_sink **out, struct err *e)
{
	if (check_uuid(image_uuid, e) != 0)
		return -1;
	if (virtual_bytes <= 0 || virtual_bytes % 512 != 0)
		return err_set(e, ERR_INVALID,
			"a disk of %jd bytes is not possible: it is a whole number of "
			"sectors of 512 bytes",
			(intmax_t)virtual_bytes);
	return s->ops->sink_open ? s->ops->sink_open(s, image_uuid, virtual_bytes, out, e)
				 : refuse(e);
}

int image_sink_write(
	struct image_sink *k, int64_t offset, const void *p, size_t size, struct err *e)
{
	assert(offset >= 0);
	return size == 0 ? 0 : k->ops->write(k, offset, p, size, e);
}

int image_sink_commit(struct image_sink *k, struct image_made *out, struct err *e)
{
	return k->ops->commit(k, out, e);
}

void image_sink_close(struct image_sink *k)
{
	if (k)
		k->ops->close(k);
}

int image_find(struct disk_store *s, const char *image_uuid, struct image_made *out,
	struct err *e)
{
	if (check_uuid(image_uuid, e) != 0)
		return -1;
	return s->ops->image_find ? s->ops->image_find(s, image_uuid, out, e) : refuse(e);
}

int image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e)
{
	return s->ops->image_n_users ? s->ops->image_n_users(s, im, n, e) : refuse(e);
}

int image_remove(struct disk_store *s, const char *image_uuid, struct err *e)
{
	if (check_uuid(image_uuid, e) != 0)
		return -1;
	return s->ops->image_remove ? s->ops->image_remove(s, image_uuid, e) : refuse(e);
}

int image_list(struct disk_store *s, struct strv *image_uuids, struct err *e)
{
	return s->ops->image_list ? s->ops->image_list(s, image_uuids, e) : refuse(e);
}
