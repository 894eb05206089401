#include "common/base/jtab.h"

#include <assert.h>
#include <string.h>

#include "common/base/jtab_impl.h"
#include "common/base/parse.h"

static json_t *format_obj(const struct jtab *t, const void *in, bool is_public);

/* A string that reading accepts again. It may come from a program's output or a library's
 * message, and one bad byte must not make the whole entry unreadable. */
static json_t *format_str(const struct jtab_field *f, const char *s)
{
	bool multi_line = f->flags & JT_TEXT;
	size_t size = s ? strlen(s) : 0;
	size_t limit = f->kind == JT_STR && jtab_has_max(f) ? (size_t)f->max : SIZE_MAX;
	struct buf clean = { 0 };
	json_t *json;

	if (size <= limit && str_is_text(s, size, multi_line))
		return json_stringn(s ? s : "", size);
	for (size_t i = 0; i < size;) {
		size_t len = utf8_char_len(s + i, size - i);
		bool is_fine = len > 0 && str_is_text(s + i, len, multi_line);

		if (clean.size + (is_fine ? len : 1) > limit)
			break;
		buf_add(&clean, is_fine ? s + i : "?", is_fine ? len : 1);
		i += len ? len : 1;
	}
	json = json_stringn(buf_str(&clean), clean.size);
	buf_done(&clean);
	return json;
}

static json_t *format_time(const struct jtab_field *f, int64_t t)
{
	char text[TIME_STR_SIZE];

	if (t == 0 && !(f->flags & JT_NEED))
		return json_null();
	time_format(t, text);
	return json_string(text);
}

static json_t *format_enum(const struct jtab_field *f, int value)
{
	for (int i = 0; i <= value; i++)
		assert(f->names[i]);
	assert(value >= 0);
	return json_string(f->names[value]);
}

static json_t *format_strv(const struct jtab_field *f, const struct strv *sv)
{
	json_t *array = json_array();

	for (size_t i = 0; i < sv->len; i++)
		json_array_append_new(array, format_str(f, sv->v[i]));
	return array;
}

static json_t *format_list(
	const struct jtab *sub, const struct jtab_list *l, bool is_public)
{
	json_t *array = json_array();

	for (size_t i = 0; i < l->len; i++)
		json_array_append_new(
			array, format_obj(sub, jtab_list_at(sub, l, i), is_public));
	return array;
}

static bool is_zero(const struct jtab *t, const void *in);

static bool member_is_zero(const struct jtab_field *f, const void *in)
{
	const void *p = jtab_member_const(f, in);

	switch (f->kind) {
	case JT_STR:
		return str_is_empty(*(char *const *)p);
	case JT_INT:
	case JT_TIME:
		return *(const int64_t *)p == 0;
	case JT_BOOL:
		return !*(const bool *)p;
	case JT_ENUM:
		return *(const int *)p == 0;
	case JT_STRV:
		return ((const struct strv *)p)->len == 0;
	case JT_LIST:
		return ((const struct jtab_list *)p)->len == 0;
	case JT_JSON:
		return !*(json_t *const *)p;
	case JT_OBJ:
		return is_zero(f->sub, p);
	case JT_END:
		break;
	}
	return true;
}

/* Nothing in it that a zeroed struct does not say as well? */
static bool is_zero(const struct jtab *t, const void *in)
{
	if (t->has_rest && jtab_rest_const(t, in))
		return false;
	for (const struct jtab_field *f = t->fields; f->name; f++)
		if (!member_is_zero(f, in))
			return false;
	return true;
}

static bool is_written(const struct jtab_field *f, const void *in, bool is_public)
{
	if (is_public && (f->flags & JT_SECRET))
		return false;
	return (f->flags & (JT_NEED | JT_ALWAYS)) || f->kind == JT_ENUM ||
	       !member_is_zero(f, in);
}

static json_t *format_member(const struct jtab_field *f, const void *in, bool is_public)
{
	const void *p = jtab_member_const(f, in);
	json_t *json;

	switch (f->kind) {
	case JT_STR:
		return format_str(f, *(char *const *)p);
	case JT_INT:
		return json_integer(*(const int64_t *)p);
	case JT_BOOL:
		return json_boolean(*(const bool *)p);
	case JT_TIME:
		return format_time(f, *(const int64_t *)p);
	case JT_ENUM:
		return format_enum(f, *(const int *)p);
	case JT_STRV:
		return format_strv(f, p);
	case JT_LIST:
		return format_list(f->sub, p, is_public);
	case JT_JSON:
		json = json_deep_copy(*(json_t *const *)p);
		return json ? json : json_null();
	case JT_OBJ:
		return format_obj(f->sub, p, is_public);
	case JT_END:
		break;
	}
	assert(!"a kind that can be written");
	return json_null();
}

static json_t *format_obj(const struct jtab *t, const void *in, bool is_public)
{
	json_t *obj = json_object();

	for (const struct jtab_field *f = t->fields; f->name; f++)
		if (is_written(f, in, is_public))
			json_object_set_new(
				obj, f->name, format_member(f, in, is_public));
	if (t->has_rest && !is_public && jtab_rest_const(t, in)) {
		json_t *rest = json_deep_copy(jtab_rest_const(t, in));

		json_object_update_recursive(obj, rest);
		json_decref(rest);
	}
	return obj;
}

json_t *jtab_format(const struct jtab *t, const void *in)
{
	return format_obj(t, in, false);
}

json_t *jtab_format_public(const struct jtab *t, const void *in)
{
	return format_obj(t, in, true);
}

char *jtab_format_text(const struct jtab *t, const void *in)
{
	json_t *obj = jtab_format(t, in);
	char *text = json_dumps(obj, JSON_COMPACT);

	assert(text);
	json_decref(obj);
	return text;
}

static void set_limits(
	json_t *schema, const struct jtab_field *f, const char *min, const char *max)
{
	if (jtab_has_min(f) && (f->min != 0 || f->kind == JT_INT))
		json_object_set_new(schema, min, json_integer(f->min));
	if (jtab_has_max(f))
		json_object_set_new(schema, max, json_integer(f->max));
}

static json_t *schema_of(const char *type)
{
	json_t *schema = json_object();

	json_object_set_new(schema, "type", json_string(type));
	return schema;
}

static json_t *schema_str(const struct jtab_field *f, enum jtab_mode mode)
{
	json_t *schema = schema_of("string");

	set_limits(schema, f, "minLength", "maxLength");
	if (mode == JTAB_INPUT && (f->flags & JT_NEED) && f->min <= 0)
		json_object_set_new(schema, "minLength", json_integer(1));
	return schema;
}

static json_t *schema_enum(const struct jtab_field *f)
{
	json_t *schema = schema_of("string");
	json_t *values = json_array();

	for (size_t i = 0; f->names[i]; i++)
		json_array_append_new(values, json_string(f->names[i]));
	json_object_set_new(schema, "enum", values);
	return schema;
}

static json_t *schema_time(const struct jtab_field *f)
{
	json_t *schema = schema_of("string");

	json_object_set_new(schema, "format", json_string("date-time"));
	if ((f->flags & (JT_NEED | JT_ALWAYS)) == JT_ALWAYS)
		json_object_set_new(schema, "nullable", json_true());
	return schema;
}

/* takes items. */
static json_t *schema_array(const struct jtab_field *f, json_t *items)
{
	json_t *schema = schema_of("array");

	json_object_set_new(schema, "items", items);
	set_limits(schema, f, "minItems", "maxItems");
	return schema;
}

static json_t *schema_kind(const struct jtab_field *f, enum jtab_mode mode)
{
	json_t *schema;

	switch (f->kind) {
	case JT_STR:
		return schema_str(f, mode);
	case JT_INT:
		schema = schema_of("integer");
		json_object_set_new(schema, "format", json_string("int64"));
		set_limits(schema, f, "minimum", "maximum");
		return schema;
	case JT_BOOL:
		return schema_of("boolean");
	case JT_TIME:
		return schema_time(f);
	case JT_ENUM:
		return schema_enum(f);
	case JT_STRV:
		return schema_array(f, schema_of("string"));
	case JT_OBJ:
		return jtab_schema(f->sub, mode);
	case JT_LIST:
		return schema_array(f, jtab_schema(f->sub, mode));
	case JT_JSON:
	case JT_END:
		break;
	}
	return json_object(); /* no "type": anything */
}

/* Is the member in every valid object: sent, or answered? */
static bool is_required(const struct jtab_field *f, enum jtab_mode mode)
{
	if (mode == JTAB_INPUT)
		return f->flags & JT_NEED;
	return (f->flags & (JT_NEED | JT_ALWAYS)) || f->kind == JT_ENUM;
}

json_t *jtab_schema(const struct jtab *t, enum jtab_mode mode)
{
	json_t *schema = schema_of("object");
	json_t *properties = json_object();
	json_t *required = json_array();

	for (const struct jtab_field *f = t->fields; f->name; f++) {
		json_t *member;

		if (mode == JTAB_STORED && (f->flags & JT_SECRET))
			continue;
		member = schema_kind(f, mode);
		if (f->help)
			json_object_set_new(member, "description", json_string(f->help));
		json_object_set_new(properties, f->name, member);
		if (is_required(f, mode))
			json_array_append_new(required, json_string(f->name));
	}
	json_object_set_new(schema, "properties", properties);
	if (json_array_size(required) > 0) /* OpenAPI 3.0 wants no empty one */
		json_object_set(schema, "required", required);
	json_decref(required);
	if (mode == JTAB_INPUT)
		json_object_set_new(schema, "additionalProperties", json_false());
	return schema;
}
