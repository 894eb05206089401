/*
 * The splitter of a watch's stream: however the bytes are cut, the lines are those of the
 * whole, and a line beyond the limit is refused. The first byte chooses the cuts.
 */
#include <assert.h>
#include <string.h>

#include "common/store/kv_wire.h"

#define MAX_LINE 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The lines, each with its newline, up to the first that is too long. */
static void split(const char *s, size_t size, size_t step, struct buf *out)
{
	struct kv_lines l = { .max_size = MAX_LINE };
	struct err e = { 0 };
	const char *line;
	size_t line_size;

	for (size_t at = 0; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;

		if (kv_lines_add(&l, s + at, n, &e) < 0) {
			assert(e.kind == ERR_TOO_LARGE);
			break;
		}
		while ((line = kv_lines_next(&l, &line_size))) {
			assert(!memchr(line, '\n', line_size));
			assert(line_size <= MAX_LINE + step);
			buf_add(out, line, line_size);
			buf_add_char(out, '\n');
		}
	}
	kv_lines_done(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(buf_done) struct buf a = { 0 };
	CLEANUP(buf_done) struct buf b = { 0 };
	size_t step = size > 0 ? data[0] % 16u + 1 : 1;
	size_t least;

	split((const char *)data, size, 1, &a);
	split((const char *)data, size, step, &b);
	least = a.size < b.size ? a.size : b.size;
	assert(least <= size);
	assert(least == 0 || memcmp(a.s, b.s, least) == 0);
	assert(a.size == 0 || memcmp(a.s, data, a.size) == 0);
	return 0;
}
