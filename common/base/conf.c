#include "common/base/conf.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/parse.h"

#define SECRET_MAX (64 * 1024)

/* inih as Debian builds it has its limits in variables; where they are constants of the
 * library instead, its line buffer may be smaller. The reader below notices. */
extern int ini_max_line __attribute__((weak));

/* ---------------------------------------------------------------- the table */

/* All options, one after the other: the parts flattened. */
struct conf_iter {
	const struct conf_part *part;
	const struct conf_opt *opt;
	size_t n; /* 1 for the first */
};

static bool conf_next(const struct conf_table *t, struct conf_iter *it)
{
	if (!it->part) {
		it->part = t->parts;
		it->opt = it->part->opts;
	} else {
		it->opt++;
	}
	while (it->part->opts && it->opt->kind == CONF_END) {
		it->part++;
		it->opt = it->part->opts;
	}
	it->n++;
	return it->part->opts != NULL;
}

static void *conf_at(const struct conf_iter *it, const void *conf)
{
	return (char *)(uintptr_t)conf + it->part->base + it->opt->off;
}

static bool conf_find(const struct conf_table *t, const char *name, struct conf_iter *it)
{
	*it = (struct conf_iter){ 0 };
	while (conf_next(t, it))
		if (strcmp(it->opt->name, name) == 0)
			return true;
	return false;
}

static size_t conf_count(const struct conf_table *t)
{
	struct conf_iter it = { 0 };

	while (conf_next(t, &it))
		;
	return it.n; /* one more than there are: n counts from 1 */
}

/* -------------------------------------------------------------- one value */

static char *names_list(const char *const *names)
{
	struct buf b = { 0 };

	for (size_t i = 0; names[i]; i++)
		buf_addf(&b, "%s%s", i ? ", " : "", names[i]);
	return buf_take(&b);
}

static int set_enum(const struct conf_opt *o, int *at, const char *value, struct err *e)
{
	for (int i = 0; o->names[i]; i++)
		if (strcmp(o->names[i], value) == 0) {
			*at = i;
			return 0;
		}
	CLEANUP_STR char *list = names_list(o->names);
	return err_set(e, ERR_INVALID, "must be one of %s", list);
}

static int check_range(const struct conf_opt *o, int64_t n, struct err *e)
{
	if ((o->min || o->max) && (n < o->min || n > o->max))
		return err_set(e, ERR_INVALID, "must be %lld to %lld%s",
			(long long)o->min, (long long)o->max,
			o->kind == CONF_DURATION ? " seconds" : "");
	return 0;
}

static int set_number(
	const struct conf_opt *o, int64_t *at, const char *value, struct err *e)
{
	bool has_range = o->min || o->max;
	int64_t n = 0;
	int rc;

	if (o->kind == CONF_DURATION)
		rc = parse_duration(value, &n, e);
	else
		rc = parse_int64(value, has_range ? o->min : INT64_MIN,
			has_range ? o->max : INT64_MAX, &n, e);
	if (rc < 0 || check_range(o, n, e) < 0)
		return -1;
	*at = n;
	return 0;
}

/* An empty value of a list is no element. */
static int set_value(const struct conf_opt *o, void *at, const char *value, struct err *e)
{
	bool is_text = o->kind == CONF_STR || o->kind == CONF_STRV;

	if (o->check && !(is_text && !*value) && o->check(value, e) < 0)
		return -1;
	switch (o->kind) {
	case CONF_STR:
		str_set(at, xstrdup(value));
		return 0;
	case CONF_STRV:
		if (*value)
			strv_add(at, value);
		return 0;
	case CONF_INT:
	case CONF_DURATION:
		return set_number(o, at, value, e);
	case CONF_BOOL:
		return parse_bool(value, at, e);
	case CONF_ENUM:
		return set_enum(o, at, value, e);
	case CONF_END:
		break;
	}
	assert(!"a kind that the table cannot have");
	return -1;
}

static void name_field(struct err *e, const struct conf_opt *o)
{
	snprintf(e->field, sizeof(e->field), "%s", o->name);
}

/* One source of values: a file or a command line. The first value of a list in a source
 * replaces what earlier sources said. */
struct conf_source {
	const struct conf_table *t;
	void *conf;
	unsigned *line; /* by option: where it was given, 0 not yet */
};

static void source_init(struct conf_source *s, const struct conf_table *t, void *conf)
{
	s->t = t;
	s->conf = conf;
	s->line = xcalloc(conf_count(t) + 1, sizeof(*s->line));
}

static void source_done(struct conf_source *s)
{
	free(s->line);
}

static int source_set(struct conf_source *s, const struct conf_iter *it, unsigned line,
	const char *value, struct err *e)
{
	void *at = conf_at(it, s->conf);

	if (it->opt->kind == CONF_STRV && !s->line[it->n])
		strv_done(at);
	if (set_value(it->opt, at, value, e) < 0) {
		name_field(e, it->opt);
		return -1;
	}
	s->line[it->n] = line;
	return 0;
}

void conf_set_defaults(const struct conf_table *t, void *conf)
{
	struct conf_iter it = { 0 };
	struct err e;

	while (conf_next(t, &it))
		if (it.opt->def &&
			set_value(it.opt, conf_at(&it, conf), it.opt->def, &e) < 0)
			assert(!"a default that does not parse");
}

/* ---------------------------------------------------------------- the file */

struct ini_text {
	struct conf_source src;
	const char *path;
	const char *at, *end; /* what is left of the text */
	unsigned line;	      /* of the newest line given to inih */
	bool is_failed;
	struct err *e;
};

static int line_fail(struct ini_text *r, const char *what)
{
	r->is_failed = true;
	return err_set(r->e, ERR_INVALID, "%s:%u: %s", r->path, r->line, what);
}

/* For inih, like fgets(). Blanks at the beginning are cut, so that inih never takes a line
 * for the continuation of the one before. Ends the text after a failure. */
static char *read_line(char *out, int out_size, void *stream)
{
	struct ini_text *r = stream;
	const char *nl;
	size_t len;

	if (r->is_failed || r->at == r->end)
		return NULL;
	r->line++;
	nl = memchr(r->at, '\n', (size_t)(r->end - r->at));
	len = (size_t)((nl ? nl : r->end) - r->at);
	if (memchr(r->at, '\0', len)) {
		line_fail(r, "there is a NUL byte in this line");
		return NULL;
	}
	const char *from = r->at;
	r->at = nl ? nl + 1 : r->end;
	while (len > 0 && (*from == ' ' || *from == '\t')) {
		from++;
		len--;
	}
	if (len > CONF_LINE_MAX || len + 1 > (size_t)out_size - 2) {
		line_fail(r, "this line is too long");
		return NULL;
	}
	memcpy(out, from, len);
	out[len] = '\n';
	out[len + 1] = '\0';
	return out;
}

static int take_value(struct ini_text *r, const char *name, const char *value)
{
	struct conf_iter it;
	unsigned *given;

	if (!conf_find(r->src.t, name, &it) || (it.opt->flags & CONF_CLI_ONLY)) {
		CLEANUP_STR char *what = xasprintf("there is no option \"%s\"", name);

		return line_fail(r, what);
	}
	given = &r->src.line[it.n];
	if (*given && it.opt->kind != CONF_STRV) {
		CLEANUP_STR char *what =
			xasprintf("option %s was already given in line %u", name, *given);

		return line_fail(r, what);
	}
	if (source_set(&r->src, &it, r->line, value, r->e) < 0) {
		r->is_failed = true;
		return err_wrap(r->e, "%s:%u: %s", r->path, r->line, name);
	}
	return 0;
}

/* For inih: 0 is failure. */
static int on_value(void *aux, const char *section, const char *name, const char *value)
{
	struct ini_text *r = aux;

	if (r->is_failed)
		return 0;
	if (strcmp(section, r->src.t->section) != 0) {
		CLEANUP_STR char *what =
			xasprintf("options must stand below [%s]", r->src.t->section);

		line_fail(r, what);
		return 0;
	}
	return take_value(r, name, value) == 0;
}

int conf_read_text(const struct conf_table *t, const char *path, const char *text,
	size_t size, void *conf, struct err *e)
{
	struct ini_text r = { .path = path, .at = text, .end = text + size, .e = e };
	int rc;

	if (&ini_max_line)
		ini_max_line = CONF_LINE_MAX + 8;
	source_init(&r.src, t, conf);
	rc = ini_parse_stream(read_line, &r, on_value, &r);
	source_done(&r.src);
	/* rc is the first bad line; ours stops the reading, so an earlier one is syntax. */
	if (rc > 0 && (!r.is_failed || (unsigned)rc < r.line))
		return err_set(e, ERR_INVALID,
			"%s:%d: must be \"name = value\" or \"[%s]\"", path, rc,
			t->section);
	if (rc < 0)
		return err_set(e, ERR_INTERNAL, "%s: inih failed (%d)", path, rc);
	return r.is_failed ? -1 : 0;
}

int conf_read_file(
	const struct conf_table *t, const char *path, void *conf, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };

	if (file_read(path, CONF_FILE_MAX, &text, e) < 0)
		return -1;
	return conf_read_text(t, path, buf_str(&text), text.size, conf, e);
}

/* -------------------------------------------------------- the command line */

/* Every option twice: with underscores and with dashes. val is the option's number. */
static struct option *getopt_table(const struct conf_table *t, struct strv *names)
{
	struct option *table = xcalloc(2 * conf_count(t) + 1, sizeof(*table));
	struct conf_iter it = { 0 };
	size_t n = 0;

	while (conf_next(t, &it)) {
		char *dashed = xstrdup(it.opt->name);

		for (char *p = dashed; *p; p++)
			if (*p == '_')
				*p = '-';
		strv_add_take(names, dashed);
		for (int i = 0; i < 2; i++)
			table[n++] = (struct option){
				.name = i ? dashed : it.opt->name,
				.has_arg = it.opt->kind == CONF_BOOL ? optional_argument
								     : required_argument,
				.val = 256 + (int)it.n,
			};
	}
	return table;
}

static int read_secret(const char *from, struct buf *out, struct err *e)
{
	const char *path = strcmp(from, "-") == 0 ? "/dev/stdin" : from + 1;

	if (file_read(path, SECRET_MAX, out, e) < 0)
		return -1;
	while (out->size > 0 &&
		(out->s[out->size - 1] == '\n' || out->s[out->size - 1] == '\r'))
		out->s[--out->size] = '\0';
	if (out->size != strlen(buf_str(out)))
		return err_set(e, ERR_INVALID, "%s: there is a NUL byte in it", path);
	return 0;
}

static int take_arg(struct conf_source *s, int n, const char *value, struct err *e)
{
	CLEANUP(buf_done) struct buf secret = { 0 };
	struct conf_iter it = { 0 };

	while (conf_next(s->t, &it) && it.n != (size_t)n)
		;
	if (!value)
		value = "yes"; /* only CONF_BOOL may stand alone */
	if ((it.opt->flags & CONF_SECRET) &&
		(value[0] == '@' || strcmp(value, "-") == 0)) {
		if (read_secret(value, &secret, e) < 0) {
			name_field(e, it.opt);
			return err_wrap(e, "--%s", it.opt->name);
		}
		value = buf_str(&secret);
	}
	if (source_set(s, &it, 1, value, e) < 0)
		return err_wrap(e, "--%s", it.opt->name);
	return 0;
}

/* Is word (as typed) exactly this option, and no abbreviation of it? getopt_long() takes
 * those; they would change their meaning with every new option. */
static bool is_whole_name(const char *word, const char *name)
{
	size_t len = strcspn(word + 2, "=");

	return len == strlen(name);
}

static int bad_arg(const char *word, int code, struct err *e)
{
	int len = (int)strcspn(word, "=");

	if (code == ':')
		return err_set(e, ERR_INVALID, "%s needs a value", word);
	return err_set(e, ERR_INVALID, "there is no option %.*s (see --help)", len, word);
}

static int read_args(struct conf_source *s, const struct option *table, int argc,
	char **argv, struct strv *rest, struct err *e)
{
	int code, at, index = 0;

	optind = 0; /* GNU: begin anew */
	opterr = 0;
	/* "-": words come in order as code 1; ":": a missing value is ':', not '?'. */
	while (at = optind > 0 ? optind : 1,
		(code = getopt_long(argc, argv, "-:", table, &index)) != -1) {
		if (code == 1 && rest)
			strv_add(rest, optarg);
		else if (code == 1)
			return err_set(e, ERR_INVALID, "unexpected word \"%s\"", optarg);
		else if (code < 256 || !is_whole_name(argv[at], table[index].name))
			return bad_arg(argv[at], code, e);
		else if (take_arg(s, code - 256, optarg, e) < 0)
			return -1;
	}
	for (; optind < argc; optind++) { /* behind "--" */
		if (!rest)
			return err_set(
				e, ERR_INVALID, "unexpected word \"%s\"", argv[optind]);
		strv_add(rest, argv[optind]);
	}
	return 0;
}

int conf_read_argv(const struct conf_table *t, int argc, char **argv, void *conf,
	struct strv *rest, struct err *e)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	struct conf_source s;
	struct option *table;
	int rc;

	if (argc < 1)
		return 0;
	table = getopt_table(t, &names);
	source_init(&s, t, conf);
	rc = read_args(&s, table, argc, argv, rest, e);
	source_done(&s);
	free(table);
	return rc;
}

const char *conf_peek_argv(
	const struct conf_table *t, int argc, char **argv, const char *name)
{
	CLEANUP(strv_done) struct strv names = { 0 };
	struct option *table = getopt_table(t, &names);
	const char *found = NULL;
	struct conf_iter it;
	int code;

	optind = 0;
	opterr = 0;
	while (conf_find(t, name, &it) && argc > 0 &&
		(code = getopt_long(argc, argv, "-:", table, NULL)) != -1)
		if (code == 256 + (int)it.n)
			found = optarg ? optarg : "yes";
	free(table);
	return found;
}

/* ------------------------------------------------------------- the whole */

static bool is_given(const struct conf_opt *o, const void *at)
{
	switch (o->kind) {
	case CONF_STR:
		return !str_is_empty(*(char *const *)at);
	case CONF_STRV:
		return ((const struct strv *)at)->len > 0;
	case CONF_INT:
	case CONF_DURATION:
		return *(const int64_t *)at != 0;
	default:
		return true;
	}
}

int conf_check(const struct conf_table *t, const void *conf, struct err *e)
{
	struct conf_iter it = { 0 };

	while (conf_next(t, &it))
		if ((it.opt->flags & CONF_NEED) && !is_given(it.opt, conf_at(&it, conf)))
			return err_set_field(e, ERR_INVALID, it.opt->name,
				"option %s is needed: --%s %s (%s)", it.opt->name,
				it.opt->name, it.opt->meta ? it.opt->meta : "VALUE",
				it.opt->help ? it.opt->help : "no default");
	return 0;
}

void conf_done(const struct conf_table *t, void *conf)
{
	struct conf_iter it = { 0 };

	while (conf_next(t, &it)) {
		if (it.opt->kind == CONF_STR) {
			char **at = conf_at(&it, conf);

			if (*at && (it.opt->flags & CONF_SECRET))
				explicit_bzero(*at, strlen(*at));
			str_set(at, NULL);
		} else if (it.opt->kind == CONF_STRV) {
			strv_done(conf_at(&it, conf));
		}
	}
}

/* ------------------------------------------------------------- writing it */

/* Would inih give this value back? */
static int check_writable(const struct conf_opt *o, const char *v, struct err *e)
{
	size_t len = strlen(v);
	const char *why = NULL;

	if (strpbrk(v, "\n\r\f\v"))
		why = "a line break";
	else if (len && (strchr(" \t", v[0]) || strchr(" \t", v[len - 1])))
		why = "a blank at its beginning or end";
	else if (v[0] == ';' || strstr(v, " ;") || strstr(v, "\t;"))
		why = "a ; after a blank, which begins a comment";
	else if (strlen(o->name) + 3 + len > CONF_LINE_MAX)
		why = "too many bytes";
	if (!why)
		return 0;
	return err_set_field(e, ERR_INVALID, o->name,
		"option %s: a configuration file cannot hold this value: it has %s",
		o->name, why);
}

static void format_values(const struct conf_opt *o, const void *at, struct strv *out)
{
	switch (o->kind) {
	case CONF_STR:
		strv_add(out, *(char *const *)at ? *(char *const *)at : "");
		break;
	case CONF_STRV:
		strv_copy(out, at);
		break;
	case CONF_INT:
		strv_add_take(out, xasprintf("%lld", (long long)*(const int64_t *)at));
		break;
	case CONF_BOOL:
		strv_add(out, *(const bool *)at ? "yes" : "no");
		break;
	case CONF_DURATION:
		strv_add_take(out, xasprintf("%llds", (long long)*(const int64_t *)at));
		break;
	case CONF_ENUM:
		strv_add(out, o->names[*(const int *)at]);
		break;
	case CONF_END:
		break;
	}
	if (out->len == 0)
		strv_add(out, "");
}

/* What the option is when nothing is said about it, in the form of format_values(). */
static void default_values(
	const struct conf_table *t, const struct conf_iter *it, struct strv *out)
{
	void *fresh = xcalloc(1, t->size);

	conf_set_defaults(t, fresh);
	format_values(it->opt, conf_at(it, fresh), out);
	conf_done(t, fresh);
	free(fresh);
}

static bool strv_same(const struct strv *a, const struct strv *b)
{
	if (a->len != b->len)
		return false;
	for (size_t i = 0; i < a->len; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

static int format_opt(const struct conf_table *t, const struct conf_iter *it,
	const void *conf, struct buf *out, struct err *e)
{
	CLEANUP(strv_done) struct strv values = { 0 };
	CLEANUP(strv_done) struct strv defaults = { 0 };
	bool is_default;

	format_values(it->opt, conf_at(it, conf), &values);
	default_values(t, it, &defaults);
	is_default = strv_same(&values, &defaults);
	buf_addf(out, "\n# %s\n", it->opt->help ? it->opt->help : it->opt->name);
	for (size_t i = 0; i < values.len; i++) {
		if (!is_default && check_writable(it->opt, values.v[i], e) < 0)
			return -1;
		buf_addf(out, "%s%s =%s%s\n", is_default ? "#" : "", it->opt->name,
			*values.v[i] ? " " : "", values.v[i]);
	}
	return 0;
}

int conf_format(
	const struct conf_table *t, const void *conf, struct buf *out, struct err *e)
{
	struct conf_iter it = { 0 };

	buf_addf(out, "[%s]\n", t->section);
	while (conf_next(t, &it))
		if (!(it.opt->flags & CONF_CLI_ONLY) &&
			format_opt(t, &it, conf, out, e) < 0)
			return -1;
	return 0;
}

int conf_write_file(const struct conf_table *t, const char *path, const void *conf,
	bool overwrite, struct err *e)
{
	CLEANUP(buf_done) struct buf out = { 0 };

	if (conf_format(t, conf, &out, e) < 0)
		return -1;
	return file_write(
		path, out.s, out.size, 0600, overwrite ? FILE_KEEP_OLD : FILE_NEW, e);
}

/* ----------------------------------------------------------------- --help */

#define HELP_COL 30

static void help_one(const struct conf_opt *o, struct buf *out)
{
	CLEANUP_STR char *names = o->names ? names_list(o->names) : NULL;
	CLEANUP_STR char *left =
		xasprintf("  --%s%s%s", o->name, o->kind == CONF_BOOL ? "" : " ",
			o->kind == CONF_BOOL ? "" : (o->meta ? o->meta : "VALUE"));

	if (strlen(left) < HELP_COL)
		buf_addf(out, "%-*s", HELP_COL, left);
	else
		buf_addf(out, "%s\n%*s", left, HELP_COL, "");
	buf_add_str(out, o->help ? o->help : "");
	if (names)
		buf_addf(out, " (%s)", names);
	if (o->kind == CONF_STRV)
		buf_add_str(out, " (repeatable)");
	if (o->flags & CONF_NEED)
		buf_add_str(out, " (needed)");
	if (o->flags & CONF_SECRET)
		buf_add_str(out, " (@FILE or - reads it from there)");
	if (o->def && *o->def)
		buf_addf(out, " (default %s)", o->def);
	buf_add_char(out, '\n');
}

void conf_help(const struct conf_table *t, struct buf *out)
{
	struct conf_iter it = { 0 };

	while (conf_next(t, &it))
		help_one(it.opt, out);
}
