#include "ucloud-cli/table.h"

#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "common/base/parse.h"

/* The code point of the character of len bytes at s. */
static uint32_t code_of(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c;

	if (len == 1)
		return p[0];
	c = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++)
		c = c << 6 | (p[i] & 0x3fu);
	return c;
}

/* Controls, and what changes the direction of the text around it (UAX #9), and separators of
 * lines. */
static bool is_bad(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e ||
	       c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void cli_text_clean(const char *s, size_t size, struct buf *out)
{
	for (size_t i = 0; i < size;) {
		size_t n = utf8_char_len(s + i, size - i);
		uint32_t c = n ? code_of(s + i, n) : 0;

		if (n == 0)
			buf_addf(out, "\\x%02x", (unsigned char)s[i]);
		else if (is_bad(c))
			buf_addf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
		else
			buf_add(out, s + i, n);
		i += n ? n : 1;
	}
}

char *cli_text_cleaned(const char *s)
{
	struct buf b = { 0 };

	cli_text_clean(s, strlen(s), &b);
	return buf_take(&b);
}

/* Bytes of the escape sequence at s (ECMA-48): CSI up to its final byte, strings (OSC, DCS)
 * up to their end, else two bytes. */
static size_t escape_len(const char *s, size_t size)
{
	size_t i = 2;

	if (size < 2)
		return size;
	if (s[1] == '[') {
		while (i < size && s[i] >= 0x20 && s[i] < 0x40)
			i++;
		return i < size ? i + 1 : size;
	}
	if (!strchr("]PX^_", s[1]))
		return s[1] >= 0x20 ? 2 : 1;
	while (i < size && s[i] != '\a' && s[i] != '\x1b' && s[i] != '\n')
		i++;
	if (i + 1 < size && s[i] == '\x1b' && s[i + 1] == '\\')
		return i + 2;
	return i < size && s[i] == '\a' ? i + 1 : i;
}

void cli_text_strip(const char *s, size_t size, struct buf *out)
{
	for (size_t i = 0; i < size;) {
		size_t n = utf8_char_len(s + i, size - i);
		uint32_t c = n ? code_of(s + i, n) : 0;

		if (c == 0x1b) {
			i += escape_len(s + i, size - i);
			continue;
		}
		if (n > 0 && (c == '\n' || c == '\t' || !is_bad(c)))
			buf_add(out, s + i, n);
		i += n ? n : 1;
	}
}

size_t cli_text_width(const char *s)
{
	size_t size = strlen(s), width = 0;

	for (size_t i = 0; i < size;) {
		size_t n = utf8_char_len(s + i, size - i);
		int w = n > 1 ? wcwidth((wchar_t)code_of(s + i, n)) : 1;

		width += w < 0 ? 1 : (size_t)w;
		i += n ? n : 1;
	}
	return width;
}

void cli_text_wrap(const char *s, size_t width, const char *indent, struct buf *out)
{
	size_t at = 0, room = width > strlen(indent) ? width - strlen(indent) : 1;

	while (*s) {
		size_t len = strcspn(s, " ");
		CLEANUP_STR char *word = xstrndup(s, len);
		size_t w = cli_text_width(word);

		if (at > 0 && at + 1 + w > room) {
			buf_add_char(out, '\n');
			at = 0;
		}
		buf_add_str(out, at > 0 ? " " : indent);
		buf_add_str(out, word);
		at += w + (at > 0);
		s += len;
		s += strspn(s, " ");
	}
	if (at > 0)
		buf_add_char(out, '\n');
}

/* ---------------------------------------------------------------- tables */

void cli_table_add(struct cli_table *t, const struct cli_cell *cells)
{
	t->cells =
		xreallocarray(t->cells, (t->n_rows + 1) * t->n_cols, sizeof(*t->cells));
	memcpy(t->cells + t->n_rows * t->n_cols, cells, t->n_cols * sizeof(*cells));
	t->n_rows++;
}

/* 0: the column is empty. */
static size_t col_width(const struct cli_table *t, size_t col)
{
	size_t max = 0;
	bool is_empty = true;

	for (size_t r = 0; r < t->n_rows; r++) {
		size_t w = cli_text_width(t->cells[r * t->n_cols + col].text);

		if (w > 0 && r > 0)
			is_empty = false;
		if (w > max)
			max = w;
	}
	return is_empty && t->n_rows > 1 ? 0 : max;
}

static void add_cell(const struct cli_cell *cell, size_t width, bool is_last,
	bool has_color, struct buf *out)
{
	static const char *const on[] = { "", "\x1b[32m", "\x1b[31m", "\x1b[33m" };
	bool is_colored = has_color && cell->color != CLI_PLAIN;

	buf_add_str(out, is_colored ? on[cell->color] : "");
	buf_add_str(out, cell->text);
	buf_add_str(out, is_colored ? "\x1b[0m" : "");
	if (is_last)
		return;
	for (size_t w = cli_text_width(cell->text); w < width + 2; w++)
		buf_add_char(out, ' ');
}

void cli_table_format(const struct cli_table *t, bool has_color, struct buf *out)
{
	size_t *widths = xcalloc(t->n_cols + 1, sizeof(*widths)), last = 0;

	for (size_t c = 0; c < t->n_cols; c++) {
		widths[c] = col_width(t, c);
		if (widths[c] > 0)
			last = c;
	}
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t c = 0; c <= last; c++)
			if (widths[c] > 0)
				add_cell(&t->cells[r * t->n_cols + c], widths[c],
					c == last, has_color, out);
		buf_add_char(out, '\n');
	}
	free(widths);
}

void cli_table_done(struct cli_table *t)
{
	for (size_t i = 0; i < t->n_rows * t->n_cols; i++)
		free(t->cells[i].text);
	free(t->cells);
	*t = (struct cli_table){ .n_cols = t->n_cols };
}
