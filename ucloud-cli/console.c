/* vm console-log */
#include "ucloud-cli/console.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/cli.h"

#define TAIL_MAX    512
#define FOLLOW_MSEC 2000

/* The log grows at its end and is cut at its beginning: so the end of what was seen is
 * looked for. A guest that repeats itself can hide a repetition of more than TAIL_MAX bytes
 * that began between two looks. */
size_t cli_console_new_at(
	const char *old, size_t old_size, const char *new, size_t new_size)
{
	size_t tail = old_size < TAIL_MAX ? old_size : TAIL_MAX;
	const char *at;

	if (new_size >= old_size && memcmp(old, new, old_size) == 0)
		return old_size;
	if (tail == 0)
		return 0;
	at = memmem(new, new_size, old + old_size - tail, tail);
	return at ? (size_t)(at - new) + tail : 0;
}

struct console {
	struct cli *c;
	const struct cli_args *a;
	char *path;
};

static int read_log(struct console *con, struct buf *out, struct err *e)
{
	CLEANUP(cli_answer_done)
	struct cli_answer an = {0};
	struct cli_call call = {.method = "GET", .path = con->path};
	json_t *text;

	if (cli_call(con->c->client, &call, &an, e) < 0)
		return -1;
	text = json_object_get(an.json, "text");
	if (con->c->is_json && an.json) {
		cli_print_json(an.json);
		return 0;
	}
	if (json_is_string(text))
		buf_add(out, json_string_value(text), json_string_length(text));
	else if (!an.json)
		buf_add(out, an.text, an.size);
	return 0;
}

/* Raw for files and programs; on a terminal the guest may only write text. */
static void print_text(const struct cli *c, const char *s, size_t size)
{
	CLEANUP(buf_done)
	struct buf text = {0};

	if (c->is_out_tty) {
		cli_text_strip(s, size, &text);
		fwrite(buf_str(&text), 1, text.size, stdout);
	} else {
		fwrite(s, 1, size, stdout);
	}
	fflush(stdout);
}

static int follow(struct console *con, struct buf *seen, struct err *e)
{
	const struct cli_world *w = cli_client_world(con->c->client);

	while (!ferror(stdout)) {
		struct buf now = {0};
		size_t at;

		w->sleep_msec(w->aux, FOLLOW_MSEC);
		if (read_log(con, &now, e) < 0) {
			buf_done(&now);
			if (err_is_passing(e->kind))
				continue;
			return -1;
		}
		at = cli_console_new_at(
			buf_str(seen), seen->size, buf_str(&now), now.size);
		print_text(con->c, buf_str(&now) + at, now.size - at);
		buf_done(seen);
		*seen = now;
	}
	return 0;
}

int cli_vm_console_log(struct cli *c, const struct cli_args *a, struct err *e)
{
	CLEANUP_STR char *path = cli_arg_path(a, "/v1/vms", "/console-log");
	struct console con = {.c = c, .a = a, .path = path};
	CLEANUP(buf_done)
	struct buf seen = {0};

	if (cli_need_client(c, a, e) < 0 || read_log(&con, &seen, e) < 0)
		return -1;
	print_text(c, buf_str(&seen), seen.size);
	if (!cli_args_has(a, "follow") || c->is_json)
		return 0;
	return follow(&con, &seen, e);
}
