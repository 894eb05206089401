#include "ucloud-network/refill.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

static const char *const kinds[] = { "set", "map", "chain", "counter", "limit" };

static int word_len(const char *s)
{
	return (int)strcspn(s, " ");
}

/* The name, and what follows, of "set taps {", or of what else a table has; NULL: nothing
 * begins in this line. *kind is "set". */
static const char *begins(const char *line, const char **kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t len = strlen(kinds[i]);
		const char *name = line + len + 1;

		if (strncmp(line, kinds[i], len) != 0 || line[len] != ' ' ||
			!str_has_prefix(name + word_len(name), " {"))
			continue;
		*kind = kinds[i];
		return name;
	}
	return NULL;
}

/* "bridge ucloud {" of "table bridge ucloud {"; NULL: this line is none of these. */
static const char *table_of(const char *line)
{
	size_t len = strlen(line);
	bool is_one = str_has_prefix(line, "table ") && len > strlen("table  {") &&
		      str_eq(line + len - 2, " {");

	return is_one ? line + strlen("table ") : NULL;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "bridge set taps", ..., sorted. */
static char *skeleton(const char *text)
{
	CLEANUP(strv_done) struct strv lines = { 0 }, found = { 0 };
	const char *table = "";

	strv_split(&lines, text, '\n');
	for (size_t i = 0; i < lines.len; i++) {
		const char *line = lines.v[i], *kind = "table";
		const char *name = begins(line, &kind);

		if (table_of(line))
			table = table_of(line);
		if (name || table_of(line))
			strv_add_take(&found,
				xasprintf("%.*s %s %.*s", word_len(table), table, kind,
					name ? word_len(name) : 0, name ? name : ""));
	}
	if (found.len > 0)
		qsort(found.v, found.len, sizeof(*found.v), compare);
	return strv_join(&found, "\n");
}

bool refill_fits(const char *listing, const char *text)
{
	CLEANUP_STR char *there = listing ? skeleton(listing) : NULL;
	CLEANUP_STR char *wanted = skeleton(text);

	return str_eq(there, wanted);
}

/* In front of a table: what is in it goes, and it stays. */
static void add_flushes(const struct strv *lines, size_t at, struct buf *out)
{
	const char *table = table_of(lines->v[at]);
	int len = (int)strlen(table) - (int)strlen(" {");

	buf_addf(out, "flush table %.*s\n", len, table);
	for (size_t i = at + 1; i < lines->len && !table_of(lines->v[i]); i++) {
		const char *kind = "", *name = begins(lines->v[i], &kind);

		if (name && (str_eq(kind, "set") || str_eq(kind, "map")))
			buf_addf(out, "flush %s %.*s %.*s\n", kind, len, table,
				word_len(name), name);
	}
}

void refill_text(const char *text, struct buf *out)
{
	CLEANUP(strv_done) struct strv lines = { 0 };

	strv_split(&lines, text, '\n');
	for (size_t i = 0; i < lines.len; i++) {
		if (str_has_prefix(lines.v[i], "add table ") ||
			str_has_prefix(lines.v[i], "delete table "))
			continue;
		if (table_of(lines.v[i]))
			add_flushes(&lines, i, out);
		buf_addf(out, "%s\n", lines.v[i]);
	}
}
