#include "ucloud-image/content.h"

#include <errno.h>
#include <libnbd.h>
#include <string.h>
#include <unistd.h>

/* Extents that are taken of one answer. */
#define N_EXTENTS 1024

struct content {
	int fd;			/* the file; -1: a reader */
	struct nbd_handle *nbd; /* NULL: a file */
	bool has_status;
	/* What the reader last said of a part of the disk, of which some may be used up. */
	int64_t known_from;
	uint32_t known[2 * N_EXTENTS]; /* length, flags */
	size_t n_known, at;
};

/* ---------------------------------------------------------------- a reader */

/* Of the reader: its own reason, when it has one, is a better one (import.c). */
static int refuse(struct err *e, int64_t offset)
{
	int errnum = nbd_get_errno();

	return err_set(e, ERR_INVALID, "its content cannot be read at byte %lld: %s",
		(long long)offset, errnum ? strerror(errnum) : nbd_get_error());
}

static int connect_reader(struct content *c, int fd, int64_t size, struct err *e)
{
	int64_t has;

	if (nbd_add_meta_context(c->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
		nbd_connect_socket(c->nbd, fd) < 0)
		return err_set(e, ERR_INVALID, "its reader does not answer: %s",
			nbd_get_error());
	has = nbd_get_size(c->nbd);
	if (has != size)
		return err_set(e, ERR_INVALID,
			"its header says that it is a disk of %lld bytes, but it has "
			"%lld",
			(long long)size, (long long)has);
	c->has_status = nbd_can_meta_context(c->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	return 0;
}

int content_open_reader(int fd, int64_t size, struct content **out, struct err *e)
{
	struct content *c = xcalloc(1, sizeof(*c));

	c->fd = -1;
	c->nbd = nbd_create();
	if (!c->nbd) {
		close(fd);
		free(c);
		return err_set(e, ERR_INTERNAL, "libnbd: %s", nbd_get_error());
	}
	if (connect_reader(c, fd, size, e) < 0) {
		content_close(c);
		return -1;
	}
	*out = c;
	return 0;
}

static int on_extents(void *aux, const char *context, uint64_t offset, uint32_t *entries,
	size_t n, int *error)
{
	struct content *c = aux;

	(void)offset;
	(void)error;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	c->n_known = n / 2 < N_EXTENTS ? n / 2 : N_EXTENTS;
	memcpy(c->known, entries, 2 * c->n_known * sizeof(entries[0]));
	return 0;
}

static int ask_reader(struct content *c, int64_t offset, int64_t max_len, struct err *e)
{
	nbd_extent_callback callback;

	memset(&callback, 0, sizeof(callback));
	callback.callback = on_extents;
	callback.user_data = c;
	c->known_from = offset;
	c->n_known = c->at = 0;
	if (c->has_status && nbd_block_status(c->nbd, (uint64_t)max_len, (uint64_t)offset,
				     callback, 0) < 0)
		return refuse(e, offset);
	return 0;
}

static bool is_zero_at(const struct content *c, size_t i)
{
	return (c->known[2 * i + 1] & LIBNBD_STATE_ZERO) != 0;
}

/* Neighbours that are alike are one: clusters that are compressed come one by one. */
static int reader_extent(struct content *c, int64_t offset, int64_t max_len, int64_t *len,
	bool *is_zero, struct err *e)
{
	int64_t n = 0;

	if ((c->at == c->n_known || c->known_from != offset) &&
		ask_reader(c, offset, max_len, e) < 0)
		return -1;
	*is_zero = c->at < c->n_known && is_zero_at(c, c->at);
	for (; c->at < c->n_known && is_zero_at(c, c->at) == *is_zero; c->at++)
		n += c->known[2 * c->at];
	c->known_from += n;
	/* Nobody knows. */
	if (n == 0)
		*is_zero = false;
	*len = n > 0 && n < max_len ? n : max_len;
	return 0;
}

/* ---------------------------------------------------------------- a file */

static int file_read(
	struct content *c, int64_t offset, char *p, size_t size, struct err *e)
{
	while (size > 0) {
		ssize_t n = pread(c->fd, p, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "the file cannot be read");
		if (n == 0)
			return err_set(e, ERR_CONFLICT,
				"the file became shorter while it was read: try again");
		p += n;
		offset += n;
		size -= (size_t)n;
	}
	return 0;
}

/* The file's offset, which others use as well, means nothing to any of them. */
static int file_extent(
	struct content *c, int64_t offset, int64_t max_len, int64_t *len, bool *is_zero)
{
	off_t data = lseek(c->fd, offset, SEEK_DATA), end;

	*len = max_len;
	*is_zero = data < 0 && errno == ENXIO; /* nothing but a hole up to the end */
	if (data < 0)
		return 0;
	*is_zero = data > offset;
	end = *is_zero ? data : lseek(c->fd, offset, SEEK_HOLE);
	if (end > offset && end - offset < max_len)
		*len = end - offset;
	return 0;
}

/* ---------------------------------------------------------------- either */

struct content *content_open_file(int fd)
{
	struct content *c = xcalloc(1, sizeof(*c));

	c->fd = fd;
	return c;
}

void content_close(struct content *c)
{
	if (!c)
		return;
	nbd_close(c->nbd);
	free(c);
}

int content_read(struct content *c, int64_t offset, void *p, size_t size, struct err *e)
{
	if (!c->nbd)
		return file_read(c, offset, p, size, e);
	return nbd_pread(c->nbd, p, size, (uint64_t)offset, 0) < 0 ? refuse(e, offset)
								   : 0;
}

int content_extent(struct content *c, int64_t offset, int64_t max_len, int64_t *len,
	bool *is_zero, struct err *e)
{
	return c->nbd ? reader_extent(c, offset, max_len, len, is_zero, e)
		      : file_extent(c, offset, max_len, len, is_zero);
}
