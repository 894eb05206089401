#include "ucloud-cli/sse.h"

#include <string.h>

#define EVENT_MAX ((size_t)4 << 20) /* bytes of a line, and of an event's data */

static void take_field(struct cli_sse *s, const char *line)
{
	if (str_has_prefix(line, "event:")) {
		line += strlen("event:");
		buf_clear(&s->event);
		buf_add_str(&s->event, line + (*line == ' '));
	} else if (str_has_prefix(line, "data:")) {
		line += strlen("data:");
		if (s->data.size > EVENT_MAX)
			return;
		buf_add_str(&s->data, s->data.size > 0 ? "\n" : "");
		buf_add_str(&s->data, line + (*line == ' '));
	}
}

/* A line is complete; an empty one ends an event. */
static int take_line(struct cli_sse *s)
{
	int r = 0;

	if (s->line.size > 0 && s->line.s[s->line.size - 1] == '\r')
		s->line.s[--s->line.size] = '\0';
	if (s->is_too_long) {
		s->is_too_long = false;
	} else if (s->line.size > 0) {
		take_field(s, buf_str(&s->line));
	} else if (s->data.size > 0 || s->event.size > 0) {
		r = s->fn(s->aux, s->event.size ? buf_str(&s->event) : "message",
			buf_str(&s->data));
		buf_clear(&s->event);
		buf_clear(&s->data);
	}
	buf_clear(&s->line);
	return r;
}

int cli_sse_feed(void *aux, const char *p, size_t size)
{
	struct cli_sse *s = aux;

	while (size > 0) {
		const char *end = memchr(p, '\n', size);
		size_t n = end ? (size_t)(end - p) : size;

		if (s->line.size + n > EVENT_MAX)
			s->is_too_long = true;
		else
			buf_add(&s->line, p, n);
		if (!end)
			return 0;
		if (take_line(s) != 0)
			return 1;
		p += n + 1;
		size -= n + 1;
	}
	return 0;
}

void cli_sse_done(struct cli_sse *s)
{
	buf_done(&s->line);
	buf_done(&s->event);
	buf_done(&s->data);
}
