/*
 * Text for people: columns that line up, and nothing that could play tricks on a terminal.
 * Widths are those of a terminal (wcwidth; LC_CTYPE must be a UTF-8 locale for characters
 * beyond ASCII). Pure.
 */
#ifndef UCLOUD_CLI_TABLE_H
#define UCLOUD_CLI_TABLE_H

#include "common/base/buf.h"

/* Appends s with control characters, invalid UTF-8 and characters that turn the direction
 * of writing shown as \x1b and \u202e. */
void cli_text_clean(const char *s, size_t size, struct buf *out);
/* The same as a string, the caller's. */
char *cli_text_cleaned(const char *s);
/* Appends only newlines, tabs and characters that print; for the output of a guest. Escape
 * sequences (ECMA-48) are left out whole. */
void cli_text_strip(const char *s, size_t size, struct buf *out);
/* Columns that s takes on a terminal. */
size_t cli_text_width(const char *s);
/* Appends s in lines of at most width columns, broken at blanks, each behind indent. */
void cli_text_wrap(const char *s, size_t width, const char *indent, struct buf *out);

enum cli_color { CLI_PLAIN, CLI_GREEN, CLI_RED, CLI_YELLOW };

struct cli_cell {
	char *text;
	enum cli_color color;
};

struct cli_table {
	size_t n_cols;
	struct cli_cell *cells; /* row by row; the first is the header */
	size_t n_rows;
};

/* cells is an array of n_cols; takes their texts. */
void cli_table_add(struct cli_table *t, const struct cli_cell *cells);
/* A column that is empty in all rows is left out. */
void cli_table_format(const struct cli_table *t, bool has_color, struct buf *out);
void cli_table_done(struct cli_table *t);

#endif
