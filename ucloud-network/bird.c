#include "ucloud-network/bird.h"

#include <ctype.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void add_route(struct buf *out, char *prefix)
{
	buf_addf(out, "\troute %s unreachable;\n", prefix);
	free(prefix);
}

static void add_others(const struct alloc_pools *pools, const uint64_t *prefixes,
	size_t n, struct buf *out)
{
	uint64_t *sorted = xcalloc(n + 1, sizeof(*sorted));

	if (n > 0)
		memcpy(sorted, prefixes, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare);
	for (size_t i = 0; i < n; i++)
		if (!alloc_pools_has(pools, sorted[i]) &&
			(i == 0 || sorted[i] != sorted[i - 1]))
			add_route(out, alloc_prefix_format(sorted[i]));
	free(sorted);
}

void bird_text(const struct alloc_pools *pools, const uint64_t *prefixes, size_t n,
	struct buf *out)
{
	buf_add_str(out,
		"# Written by ucloud-network, which writes it again whenever the "
		"routes change.\n"
		"protocol static ucloud_networks {\n\tipv6;\n");
	for (size_t i = 0; i < pools->len; i++)
		add_route(out, alloc_pool_format(&pools->v[i]));
	add_others(pools, prefixes, n, out);
	buf_add_str(out, "}\n");
}

/* ---------------------------------------------------------------- its answers */

/* "0001 BIRD 2.0.12 ready." ends an answer; "0002-..." and " ..." are parts of one. */
static int code_of(const char *line)
{
	int code = 0;

	for (size_t i = 0; i < 4; i++) {
		if (!isdigit((unsigned char)line[i]))
			return -1;
		code = 10 * code + line[i] - '0';
	}
	return line[4] == ' ' ? code : -1;
}

static int judge(int code, const char *line, size_t len, struct err *e)
{
	/* 0003: reconfigured; 0004: in progress; 0018: once the last one is finished */
	if (code < 8000)
		return 0;
	return err_set(e, ERR_INVALID, "bird refuses its configuration: %.*s",
		(int)(len > 400 ? 400 : len), line + 5);
}

int bird_reply(const char *text, bool *is_greeted, struct err *e)
{
	size_t len;

	*is_greeted = false;
	for (const char *line = text; strchr(line, '\n'); line += len + 1) {
		int code = code_of(line);

		len = strcspn(line, "\n");
		if (code < 0)
			continue;
		if (*is_greeted)
			return judge(code, line, len - 5, e);
		if (code != 1)
			return err_set(e, ERR_UNAVAILABLE,
				"what listens there is no bird: it says \"%.*s\"",
				(int)(len > 100 ? 100 : len), line);
		*is_greeted = true;
	}
	return 1;
}
