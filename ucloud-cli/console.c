/* vm console-log */
#include "ucloud-cli/console.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-cli/cli.h"

#define HEAD_LEN    64
#define FOLLOW_MSEC 2000

/* The log grows at its end and is cut at its beginning: so what was seen must be found at the
 * beginning of what is there now, less what was cut off. The longest such piece counts. */
size_t cli_console_new_at(
	const char *old, size_t old_size, const char *new, size_t new_size)
{
	size_t head = new_size < HEAD_LEN ? new_size : HEAD_LEN;

	for (size_t cut = 0; head > 0 && cut < old_size; cut++) {
		size_t left = old_size - cut, n;
		const char *at = memchr(old + cut, new[0], left);

		if (!at)
			break;
		cut = (size_t)(at - old);
		left = old_size - cut;
		n = left < head ? left : head;
		if (memcmp(at, new, n) == 0 && left <= new_size &&
			memcmp(at, new, left) == 0)
			return left;
	}
	return 0;
}

struct console {
	struct cli *c;
	const struct cli_args *a;
	char *path;
};

static int read_log(struct console *con, struct buf *out, struct err *e)
{
	CLEANUP(cli_answer_done) struct cli_answer an = { 0 };
	struct cli_call call = { .method = "GET", .path = con->path };
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
	CLEANUP(buf_done) struct buf text = { 0 };

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
		struct buf now = { 0 };
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
	struct console con = { .c = c, .a = a, .path = path };
	CLEANUP(buf_done) struct buf seen = { 0 };

	if (cli_need_client(c, a, e) < 0 || read_log(&con, &seen, e) < 0)
		return -1;
	print_text(c, buf_str(&seen), seen.size);
	if (!cli_args_has(a, "follow") || c->is_json)
		return 0;
	return follow(&con, &seen, e);
}
