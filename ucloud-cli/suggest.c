/* "Did you mean": the nearest command or option by edit distance. */
#include "ucloud-cli/cmdtab.h"

#include <string.h>

#define WORD_MAX 40

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be put in, taken out, changed, or swapped with their neighbour
 * (optimal string alignment). Words are cut at WORD_MAX. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	size_t na = strnlen(a, WORD_MAX), nb = strnlen(b, WORD_MAX);

	for (size_t i = 0; i <= na; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= nb; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++)
		for (size_t j = 1; j <= nb; j++) {
			unsigned cost = a[i - 1] != b[j - 1];

			d[i][j] = least(
				d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
				a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	return d[na][nb];
}

/* Near enough to be a slip of the fingers. */
static bool is_near(unsigned d, const char *word)
{
	return d <= 1 || d <= strlen(word) / 3;
}

static char *cmd_name(const struct cli_cmd *c)
{
	return c->verb ? xasprintf("%s %s", c->noun, c->verb) : xstrdup(c->noun);
}

/* "list" and "list vm": the words in the wrong order, or the noun left out. */
static char *suggest_by_verb(const char *first, const char *second)
{
	const struct cli_cmd *c = second ? cli_cmd_find(second, first) : NULL;

	if (c)
		return cmd_name(c);
	for (c = cli_cmds; !second && c->noun; c++)
		if (c->verb && str_eq(c->verb, first))
			return cmd_name(c);
	return NULL;
}

char *cli_suggest_cmd(const char *noun, const char *verb)
{
	const struct cli_cmd *best = NULL;
	unsigned best_d = 0;
	char *by_verb = suggest_by_verb(noun, verb);

	if (by_verb)
		return by_verb;
	for (const struct cli_cmd *c = cli_cmds; c->noun; c++) {
		unsigned dn = distance(c->noun, noun), dv = 0;

		if (verb && c->verb)
			dv = distance(c->verb, verb);
		if (!is_near(dn, noun) || (verb && (!c->verb || !is_near(dv, verb))))
			continue;
		if (!best || dn + dv < best_d) {
			best = c;
			best_d = dn + dv;
		}
	}
	return best ? cmd_name(best) : NULL;
}

static void look_at(const struct cli_opt *o, const char *name,
	const struct cli_opt **best, unsigned *best_d)
{
	unsigned d = distance(o->name, name);

	if (!is_near(d, name) || (*best && d >= *best_d))
		return;
	*best = o;
	*best_d = d;
}

char *cli_suggest_opt(const struct cli_cmd *cmd, const char *name)
{
	const struct cli_opt *o, *best = NULL;
	unsigned best_d = 0;

	for (size_t i = 0; cmd && (o = cli_cmd_opt(cmd, i)) != NULL; i++)
		look_at(o, name, &best, &best_d);
	for (o = cli_global_opts; o->name; o++)
		look_at(o, name, &best, &best_d);
	return best ? xasprintf("--%s", best->name) : NULL;
}
