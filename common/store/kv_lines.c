#include "common/store/kv_wire.h"

#include <string.h>

/* Taken lines are dropped when they are the larger part, so that each byte is moved about
 * once. */
static void drop_taken(struct kv_lines *l)
{
	if (l->begin == 0 || l->begin < l->buf.size / 2)
		return;
	buf_drop(&l->buf, l->begin);
	l->scanned -= l->begin;
	l->begin = 0;
}

static const char *find_newline(struct kv_lines *l)
{
	const char *nl;

	if (l->scanned < l->begin)
		l->scanned = l->begin;
	if (l->scanned >= l->buf.size)
		return NULL;
	nl = memchr(l->buf.s + l->scanned, '\n', l->buf.size - l->scanned);
	l->scanned = nl ? (size_t)(nl - l->buf.s) : l->buf.size;
	return nl;
}

int kv_lines_add(struct kv_lines *l, const void *p, size_t size, struct err *e)
{
	drop_taken(l);
	buf_add(&l->buf, p, size);
	if (!find_newline(l) && l->buf.size - l->begin > l->max_size)
		return err_set(e, ERR_TOO_LARGE,
			"etcd sends a line of more than %zu bytes", l->max_size);
	return 0;
}

const char *kv_lines_next(struct kv_lines *l, size_t *size)
{
	const char *line, *nl = find_newline(l);

	if (!nl)
		return NULL;
	line = l->buf.s + l->begin;
	*size = (size_t)(nl - line);
	l->begin = l->scanned = (size_t)(nl - l->buf.s) + 1;
	return line;
}

void kv_lines_done(struct kv_lines *l)
{
	buf_done(&l->buf);
	l->begin = l->scanned = 0;
}
