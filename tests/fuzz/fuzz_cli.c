/*
 * What the client makes of bytes from a server: text for a terminal is harmless whatever it
 * was, events are the same in one piece and in many, and a console's new part is a part.
 * And of its own arguments, one a line.
 */
#include <assert.h>
#include <string.h>

#include "common/base/parse.h"
#include "ucloud-cli/args.h"
#include "ucloud-cli/console.h"
#include "ucloud-cli/sse.h"
#include "ucloud-cli/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const char *s, size_t size)
{
	CLEANUP(buf_done) struct buf clean = { 0 }, stripped = { 0 };

	cli_text_clean(s, size, &clean);
	assert(str_is_text(buf_str(&clean), clean.size, false));
	cli_text_strip(s, size, &stripped);
	assert(str_is_text(buf_str(&stripped), stripped.size, true));
	assert(stripped.size <= size);
	cli_text_width(buf_str(&clean));
	buf_done(&stripped);
}

static int on_event(void *aux, const char *event, const char *data)
{
	buf_addf(aux, "<%s|%s>", event, data);
	return 0;
}

static void feed(const char *s, size_t size, size_t step, struct buf *out)
{
	struct cli_sse sse = { .fn = on_event, .aux = out };

	for (size_t i = 0; i < size; i += step)
		cli_sse_feed(&sse, s + i, step < size - i ? step : size - i);
	cli_sse_done(&sse);
}

static void try_events(const char *s, size_t size)
{
	struct buf whole = { 0 }, pieces = { 0 };

	feed(s, size, size ? size : 1, &whole);
	feed(s, size, 1 + size % 7, &pieces);
	assert(str_eq(buf_str(&whole), buf_str(&pieces)));
	buf_done(&whole);
	buf_done(&pieces);
}

static void try_console(const char *s, size_t size)
{
	size_t cut = size ? (unsigned char)s[0] % size : 0, at;

	/* What was there before, less its first bytes, and more behind. */
	at = cli_console_new_at(s, size - cut, s, size);
	assert(at <= size);
	at = cli_console_new_at(s, size - cut / 2, s + cut / 2, size - cut / 2);
	assert(at <= size - cut / 2);
}

static void try_values(const char *s)
{
	CLEANUP_STR char *class = NULL, *name = NULL, *value = NULL;
	struct err e;
	int64_t n = -1;

	if (cli_disk_parse(s, &n, &class, &e) == 0)
		assert(n >= 0);
	if (cli_size_parse(s, 1024, "KiB", &n, &e) == 0)
		assert(n >= 0);
	if (cli_label_parse(s, &name, &value, &e) == 0)
		assert(name && value);
}

static void try_args(const char *s, size_t size)
{
	CLEANUP_STR char *text = xstrndup(s, size);
	CLEANUP(cli_args_done) struct cli_args args = { 0 };
	const char *argv[32] = { "ucloud-cli" };
	struct err e = { 0 };
	int argc = 1;

	for (char *at = text; at && argc < (int)ARRAY_LEN(argv) - 1; argc++) {
		argv[argc] = at;
		at = strchr(at, '\n');
		if (at)
			*at++ = '\0';
		try_values(argv[argc]);
	}
	if (cli_args_parse(argc, argv, &args, &e) < 0)
		assert(e.kind == ERR_INVALID && str_is_text(e.msg, strlen(e.msg), false));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data;

	try_text(s, size);
	try_events(s, size);
	try_console(s, size);
	try_args(s, size);
	return 0;
}
