#include "common/base/jtab.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/jtab_impl.h"
#include "common/base/parse.h"

#define DEPTH_MAX 16
/* How much of a list of names an error shows, in bytes. */
#define NAMES_MAX 400

/* Where we are in the value, for errors: a chain on the stack, the root's `up` is NULL. */
struct place {
	const struct place *up;
	const char *name; /* NULL: element `index` of the place above */
	size_t index;
};

/* What reading one value needs beside its field. */
struct reading {
	enum jtab_mode mode;
	bool is_patch;
	const char *root; /* the outermost table's name */
	struct err *e;
};

static void place_format(const struct place *at, struct buf *b)
{
	if (!at || !at->up)
		return;
	place_format(at->up, b);
	if (at->name)
		buf_addf(b, "%s%.200s", b->size ? "." : "", at->name);
	else
		buf_addf(b, "[%zu]", at->index);
}

/* An error at a place: the place is the error's field and begins its sentence. */
static int PRINTF_LIKE(3, 4)
	refuse(const struct reading *r, const struct place *at, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	struct buf path = { 0 };
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	place_format(at, &path);
	err_set_field(r->e, ERR_INVALID, buf_str(&path), "%s: %s",
		path.size ? path.s : r->root, text);
	buf_done(&path);
	return -1;
}

/* The same for an error that a check of ours made: kind and sentence are kept. */
static int refuse_as(
	const struct reading *r, const struct place *at, const struct err *why)
{
	refuse(r, at, "%s", why->msg);
	if (r->e)
		r->e->kind = why->kind;
	return -1;
}

static const char *type_name(const json_t *j)
{
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a number";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		break;
	}
	return "null";
}

static int refuse_type(const struct reading *r, const struct place *at, const json_t *j,
	const char *wanted)
{
	return refuse(r, at, "must be %s, not %s", wanted, type_name(j));
}

/* Is n within the field's limits? `what` is counted, like " bytes". */
static int check_range(const struct reading *r, const struct place *at,
	const struct jtab_field *f, int64_t n, const char *what)
{
	if (!jtab_has_min(f) || (n >= f->min && (!jtab_has_max(f) || n <= f->max)))
		return 0;
	if (jtab_has_max(f))
		return refuse(r, at,
			"%jd%s is out of range; from %jd to %jd are possible",
			(intmax_t)n, what, (intmax_t)f->min, (intmax_t)f->max);
	return refuse(r, at, "%jd%s is too little; at least %jd is needed", (intmax_t)n,
		what, (intmax_t)f->min);
}

/* A string's characters; *s is borrowed from j. */
static int read_text(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, const char **s)
{
	bool multi_line = f->flags & JT_TEXT;

	if (!json_is_string(j))
		return refuse_type(r, at, j, "a string");
	if (!str_is_text(json_string_value(j), json_string_length(j), multi_line))
		return refuse(r, at,
			"holds control characters, which are not possible here%s",
			multi_line ? " but for newline and tab" : "");
	*s = json_string_value(j);
	return 0;
}

static int run_check(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const char *s)
{
	struct err why = { 0 };

	if (f->check && f->check(s, &why) != 0)
		return refuse_as(r, at, &why);
	return 0;
}

static int read_str(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, char **out)
{
	const char *s = "";
	bool must_not_be_empty = (f->flags & JT_NEED) && r->mode == JTAB_INPUT;

	if (read_text(r, at, f, j, &s) != 0)
		return -1;
	if (*s == '\0' && must_not_be_empty)
		return refuse(r, at, "must not be empty");
	if (check_range(r, at, f, (int64_t)strlen(s), " bytes") != 0)
		return -1;
	if (*s != '\0' && run_check(r, at, f, s) != 0)
		return -1;
	*out = xstrdup(s);
	return 0;
}

static int read_int(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, int64_t *out)
{
	if (!json_is_integer(j))
		return refuse_type(r, at, j, "a whole number");
	if (check_range(r, at, f, json_integer_value(j), "") != 0)
		return -1;
	*out = json_integer_value(j);
	return 0;
}

static int read_bool(
	const struct reading *r, const struct place *at, const json_t *j, bool *out)
{
	if (!json_is_boolean(j))
		return refuse_type(r, at, j, "true or false");
	*out = json_boolean_value(j);
	return 0;
}

static int read_time(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, int64_t *out)
{
	struct err why = { 0 };
	const char *s = "";

	if (read_text(r, at, f, j, &s) != 0)
		return -1;
	if (time_parse(s, out, &why) != 0)
		return refuse_as(r, at, &why);
	return 0;
}

/* Adds to a list of names in an error, "..." when it is full. False: stop adding. */
static bool add_name(struct buf *b, const char *name)
{
	bool fits = b->size + strlen(name) + 2 < NAMES_MAX;

	buf_addf(b, "%s%s", b->size ? ", " : "", fits ? name : "...");
	return fits;
}

static int read_enum(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, int *out)
{
	CLEANUP(buf_done) struct buf known = { 0 };
	const char *s = "";
	int value;

	if (read_text(r, at, f, j, &s) != 0)
		return -1;
	value = names_find(f->names, s);
	if (value >= 0) {
		*out = value;
		return 0;
	}
	for (size_t i = 0; f->names[i] && add_name(&known, f->names[i]); i++)
		;
	return refuse(r, at, "\"%.60s\" is not one of %s", s, buf_str(&known));
}

static int read_strv(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, struct strv *out)
{
	const char *s = "";

	if (!json_is_array(j))
		return refuse_type(r, at, j, "an array of strings");
	if (check_range(r, at, f, (int64_t)json_array_size(j), " elements") != 0)
		return -1;
	for (size_t i = 0; i < json_array_size(j); i++) {
		struct place here = { at, NULL, i };

		if (read_text(r, &here, f, json_array_get(j, i), &s) != 0 ||
			run_check(r, &here, f, s) != 0)
			return -1; /* the half that is read goes with the struct */
		strv_add(out, s);
	}
	return 0;
}

static int read_obj(const struct reading *r, const struct place *at, const struct jtab *t,
	json_t *j, void *out);

/* Elements are new objects also in a patch: what they need must be there. */
static int read_list(const struct reading *r, const struct place *at,
	const struct jtab_field *f, const json_t *j, struct jtab_list *out)
{
	struct reading whole = *r;

	whole.is_patch = false;
	if (!json_is_array(j))
		return refuse_type(r, at, j, "an array of objects");
	if (check_range(r, at, f, (int64_t)json_array_size(j), " elements") != 0)
		return -1;
	for (size_t i = 0; i < json_array_size(j); i++) {
		struct place here = { at, NULL, i };
		void *element = jtab_list_add(f->sub, out);

		if (read_obj(&whole, &here, f->sub, json_array_get(j, i), element) != 0)
			return -1;
	}
	return 0;
}

/* The member is zeroed, but for JT_OBJ in a patch. */
static int read_value(const struct reading *r, const struct place *at,
	const struct jtab_field *f, json_t *j, void *out)
{
	switch (f->kind) {
	case JT_STR:
		return read_str(r, at, f, j, out);
	case JT_INT:
		return read_int(r, at, f, j, out);
	case JT_BOOL:
		return read_bool(r, at, j, out);
	case JT_TIME:
		return read_time(r, at, f, j, out);
	case JT_ENUM:
		return read_enum(r, at, f, j, out);
	case JT_STRV:
		return read_strv(r, at, f, j, out);
	case JT_OBJ:
		return read_obj(r, at, f->sub, j, out);
	case JT_LIST:
		return read_list(r, at, f, j, out);
	case JT_JSON:
		*(json_t **)out = json_deep_copy(j);
		return 0;
	case JT_END:
		break;
	}
	return refuse(r, at, "its table is broken");
}

static int read_member(const struct reading *r, const struct place *up,
	const struct jtab_field *f, json_t *obj, void *out)
{
	json_t *value = json_object_get(obj, f->name);
	struct place at = { up, f->name, 0 };
	bool is_there = value && !json_is_null(value);

	if (!value && r->is_patch)
		return 0;
	if (!is_there && (f->flags & JT_NEED))
		return refuse(r, &at, "is missing and must be given");
	if (r->is_patch && !(is_there && f->kind == JT_OBJ))
		jtab_member_done(f, out);
	return is_there ? read_value(r, &at, f, value, jtab_member(f, out)) : 0;
}

/* NULL: the table does not have it. */
static const struct jtab_field *find_field(const struct jtab *t, const char *name)
{
	for (const struct jtab_field *f = t->fields; f->name; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static int refuse_unknown(const struct reading *r, const struct place *at,
	const struct jtab *t, const char *name)
{
	CLEANUP(buf_done) struct buf known = { 0 };
	struct place here = { at, name, 0 };

	for (const struct jtab_field *f = t->fields; f->name && add_name(&known, f->name);
		f++)
		;
	return refuse(r, &here, "there is no such member; there are %s", buf_str(&known));
}

/* What the table and those of its objects do not have; a new object, NULL when there is
 * nothing. */
static json_t *unknown_of(const struct jtab *t, json_t *j)
{
	json_t *unknown = NULL, *value, *part;
	const char *name;

	json_object_foreach (j, name, value) {
		const struct jtab_field *f = find_field(t, name);

		if (!f)
			part = json_deep_copy(value);
		else if (f->kind == JT_OBJ && !f->sub->has_rest)
			part = unknown_of(f->sub, value);
		else
			continue;
		if (part && !unknown)
			unknown = json_object();
		if (part)
			json_object_set_new(unknown, name, part);
	}
	return unknown;
}

/* Members that the table does not have: refused, or kept in `rest`. */
static int read_rest(const struct reading *r, const struct place *at,
	const struct jtab *t, json_t *j, void *out)
{
	const char *name;
	json_t *value;

	if (r->mode == JTAB_STORED) {
		if (t->has_rest)
			*jtab_rest(t, out) = unknown_of(t, j);
		return 0;
	}
	json_object_foreach (j, name, value)
		if (!find_field(t, name))
			return refuse_unknown(r, at, t, name);
	return 0;
}

static int read_obj(const struct reading *r, const struct place *at, const struct jtab *t,
	json_t *j, void *out)
{
	if (!json_is_object(j))
		return j ? refuse_type(r, at, j, "an object")
			 : refuse(r, at, "must be an object");
	if (read_rest(r, at, t, j, out) != 0)
		return -1;
	for (const struct jtab_field *f = t->fields; f->name; f++)
		if (read_member(r, at, f, j, out) != 0)
			return -1;
	return 0;
}

/* Reads into a struct of its own, so that *out changes only when all is well. */
static int read_into(const struct reading *r, const struct jtab *t, json_t *j, void *out)
{
	struct place root = { NULL, "", 0 };
	void *made = xcalloc(1, t->size);
	int rc;

	if (r->is_patch)
		jtab_copy(t, out, made);
	rc = read_obj(r, &root, t, j, made);
	if (rc == 0) {
		jtab_done(t, out);
		jtab_move(t, made, out);
	}
	jtab_done(t, made);
	free(made);
	return rc;
}

int jtab_parse(
	const struct jtab *t, json_t *json, enum jtab_mode mode, void *out, struct err *e)
{
	struct reading r = { mode, false, t->name, e };

	return read_into(&r, t, json, out);
}

int jtab_patch(const struct jtab *t, json_t *json, void *io, struct err *e)
{
	struct reading r = { JTAB_INPUT, true, t->name, e };

	return read_into(&r, t, json, io);
}

int jtab_parse_text(const struct jtab *t, const char *text, size_t size,
	enum jtab_mode mode, void *out, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;

	if (json_parse(text, size, &json, e) != 0)
		return err_wrap(e, "%s", t->name);
	return jtab_parse(t, json, mode, out, e);
}

/* How deep the text nests, whether or not it is valid: jansson's parser recurses, and so does
 * all that walks its trees. */
static int text_depth(const char *text, size_t size)
{
	int depth = 0, deepest = 0;
	bool in_string = false;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			deepest = ++depth > deepest ? depth : deepest;
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
	}
	return deepest;
}

int json_parse(const char *text, size_t size, json_t **out, struct err *e)
{
	json_error_t why;
	json_t *json;

	if (text_depth(text, size) > DEPTH_MAX)
		return err_set(e, ERR_INVALID,
			"the JSON nests too deep; at most %d levels are possible",
			DEPTH_MAX);
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return err_set(e, ERR_INVALID,
			"this is not valid JSON: line %d, column %d: %s", why.line,
			why.column, why.text);
	*out = json;
	return 0;
}
