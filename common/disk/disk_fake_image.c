#include "common/disk/disk_fake_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fake_sink {
	struct image_sink base;
	char *store;
	char uuid[UUID_STR_SIZE];
	unsigned try;
};

static struct fake_image *find(const struct fake_content *c, const char *uuid)
{
	for (size_t i = 0; i < c->n_images; i++)
		if (str_eq(c->images[i].uuid, uuid))
			return &c->images[i];
	return NULL;
}

bool disk_fake_has_image(const struct fake_content *c, const char *image_uuid)
{
	const struct fake_image *im = find(c, image_uuid);

	return im && im->is_complete;
}

static void forget(struct fake_content *c, struct fake_image *im)
{
	if (im->fd >= 0)
		close(im->fd);
	c->n_images--;
	memmove(im, im + 1, (size_t)(&c->images[c->n_images] - im) * sizeof(*im));
}

void disk_fake_images_done(struct fake_content *c)
{
	while (c->n_images > 0)
		forget(c, &c->images[c->n_images - 1]);
	free(c->images);
}

static struct fake_image *add(
	struct fake_content *c, const char *uuid, int64_t virtual_bytes)
{
	size_t at = 0;
	struct fake_image *im;

	while (at < c->n_images && strcmp(c->images[at].uuid, uuid) < 0)
		at++;
	c->images = xreallocarray(c->images, c->n_images + 1, sizeof(c->images[0]));
	im = &c->images[at];
	memmove(im + 1, im, (c->n_images - at) * sizeof(*im));
	c->n_images++;
	*im = (struct fake_image){
		.virtual_bytes = virtual_bytes, .fd = -1, .try = ++c->n_tries
	};
	snprintf(im->uuid, sizeof(im->uuid), "%s", uuid);
	return im;
}

/* ---------------------------------------------------------------- the sink */

/* Locks the world; *im is what the sink still writes, NULL when another try took over. */
static struct fake_content *sink_lock(const struct fake_sink *k, struct fake_image **im)
{
	struct fake_content *c = disk_fake_lock_name(k->store);

	*im = find(c, k->uuid);
	if (*im && ((*im)->try != k->try || (*im)->is_complete))
		*im = NULL;
	return c;
}

static int refuse_stolen(const struct fake_sink *k, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"store \"%s\": image %s was begun anew, or removed, while it was written",
		k->store, k->uuid);
}

static int write_image(
	struct fake_image *im, int64_t offset, const void *p, size_t size, struct err *e)
{
	if (im->fd < 0)
		im->fd = memfd_create("image", MFD_CLOEXEC);
	if (im->fd < 0 || pwrite(im->fd, p, size, (off_t)offset) != (ssize_t)size)
		return err_errno(e, errno, "an image in memory");
	im->written += (int64_t)size;
	return 0;
}

static int sink_write(struct image_sink *base, int64_t offset, const void *p, size_t size,
	struct err *e)
{
	struct fake_sink *k = (struct fake_sink *)base;
	struct fake_image *im;
	struct fake_content *c = sink_lock(k, &im);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0 && !im)
		rc = refuse_stolen(k, e);
	else if (rc == 0 && c->is_full)
		rc = err_set(e, ERR_NO_SPACE,
			"store \"%s\" is full: there is no room for the image", c->name);
	else if (rc == 0 && (offset > im->virtual_bytes ||
				    (int64_t)size > im->virtual_bytes - offset))
		rc = err_set(e, ERR_INVALID,
			"the image has %jd bytes; %zu at %jd do not fit into it",
			(intmax_t)im->virtual_bytes, size, (intmax_t)offset);
	else if (rc == 0)
		rc = write_image(im, offset, p, size, e);
	disk_fake_unlock();
	return rc;
}

static void made_of(const struct fake_image *im, struct image_made *out)
{
	image_made_done(out);
	out->path = xasprintf("%s.raw", im->uuid);
	out->format = IMAGE_RAW;
	out->virtual_bytes = im->virtual_bytes;
	out->size_bytes = im->written;
}

static int sink_commit(struct image_sink *base, struct image_made *out, struct err *e)
{
	struct fake_sink *k = (struct fake_sink *)base;
	struct fake_image *im;
	struct fake_content *c = sink_lock(k, &im);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0 && !im) {
		rc = refuse_stolen(k, e);
	} else if (rc == 0) {
		im->is_complete = true;
		rc = disk_fake_fail_then(c, e);
	}
	if (rc == 0 && im)
		made_of(im, out);
	disk_fake_unlock();
	return rc;
}

static void sink_close(struct image_sink *base)
{
	struct fake_sink *k = (struct fake_sink *)base;
	struct fake_image *im;
	struct fake_content *c = sink_lock(k, &im);

	if (im)
		forget(c, im);
	disk_fake_unlock();
	free(k->store);
	free(k);
}

static const struct image_sink_ops sink_ops = {
	.write = sink_write, .commit = sink_commit, .close = sink_close
};

static int begin(struct fake_content *c, struct fake_store *f, struct fake_sink *k,
	int64_t virtual_bytes, struct err *e)
{
	struct fake_image *there = find(c, k->uuid);

	if (disk_fake_fail_now(c, e) != 0)
		return -1;
	if (virtual_bytes > f->max_image_bytes)
		return err_set(e, ERR_TOO_LARGE,
			"the image has %jd bytes; store \"%s\" takes images of at most "
			"%jd bytes",
			(intmax_t)virtual_bytes, c->name, (intmax_t)f->max_image_bytes);
	if (there && there->is_complete)
		return err_set(e, ERR_EXISTS,
			"store \"%s\": image %s is complete already", c->name, k->uuid);
	if (there)
		forget(c, there);
	k->try = add(c, k->uuid, virtual_bytes)->try;
	return 0;
}

int disk_fake_sink_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e)
{
	struct fake_store *f = (struct fake_store *)s;
	struct fake_sink *k = xcalloc(1, sizeof(*k));
	int rc;

	k->base.ops = &sink_ops;
	k->store = xstrdup(f->name);
	snprintf(k->uuid, sizeof(k->uuid), "%s", image_uuid);
	rc = begin(disk_fake_lock(s), f, k, virtual_bytes, e);
	disk_fake_unlock();
	if (rc != 0) {
		free(k->store);
		free(k);
		return rc;
	}
	*out = &k->base;
	return 0;
}

/* ---------------------------------------------------------------- what is there */

int disk_fake_image_find(struct disk_store *s, const char *image_uuid,
	struct image_made *out, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	const struct fake_image *im = find(c, image_uuid);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0 && !(im && im->is_complete))
		rc = 1;
	if (rc == 0)
		made_of(im, out);
	disk_fake_unlock();
	return rc;
}

static unsigned count_users(const struct fake_content *c, const char *image_uuid)
{
	unsigned n = 0;

	for (size_t i = 0; i < c->n_disks; i++)
		n += str_eq(c->disks[i].image_uuid, image_uuid);
	return n;
}

int disk_fake_image_n_users(
	struct disk_store *s, const struct image *im, unsigned *n, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	int rc = disk_fake_fail_now(c, e);

	if (rc == 0)
		*n = disk_is_live_ok(s) ? count_users(c, im->uuid) : 0;
	disk_fake_unlock();
	return rc;
}

static int remove_image(struct disk_store *s, struct fake_content *c,
	const char *image_uuid, struct err *e)
{
	struct fake_image *im = find(c, image_uuid);
	unsigned n = disk_is_live_ok(s) ? count_users(c, image_uuid) : 0;

	if (disk_fake_fail_now(c, e) != 0)
		return -1;
	if (n > 0)
		return err_set(e, ERR_CONFLICT,
			"%u disk%s made of the image lie%s on it in store \"%s\"", n,
			n == 1 ? "" : "s", n == 1 ? "s" : "", c->name);
	if (im)
		forget(c, im);
	return disk_fake_fail_then(c, e);
}

int disk_fake_image_remove(struct disk_store *s, const char *image_uuid, struct err *e)
{
	int rc = remove_image(s, disk_fake_lock(s), image_uuid, e);

	disk_fake_unlock();
	return rc;
}

int disk_fake_image_list(struct disk_store *s, struct strv *image_uuids, struct err *e)
{
	struct fake_content *c = disk_fake_lock(s);
	int rc = disk_fake_fail_now(c, e);

	for (size_t i = 0; rc == 0 && i < c->n_images; i++)
		strv_add(image_uuids, c->images[i].uuid);
	disk_fake_unlock();
	return rc;
}

int disk_fake_image_source(struct disk_store *s, const struct image *im, char **url,
	char **format, struct err *e)
{
	(void)e;
	*url = xasprintf("/fake/%s/images/%s", ((struct fake_store *)s)->name, im->path);
	*format = xstrdup(image_format_names[im->format]);
	return 0;
}

bool disk_fake_image_read(const char *store, const char *image_uuid, int64_t offset,
	unsigned char sector[512])
{
	const struct fake_image *im = find(disk_fake_lock_name(store), image_uuid);

	memset(sector, 0, 512);
	/* What lies behind the last byte written is zeros. */
	if (im && im->fd >= 0 && pread(im->fd, sector, 512, (off_t)offset) < 0)
		im = NULL;
	disk_fake_unlock();
	return im != NULL;
}
