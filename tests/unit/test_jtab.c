#include "common/base/jtab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum color { RED, GREEN };
static const char *const color_names[] = { "red", "green", NULL };

struct part {
	char *name;
	int64_t size_gib;
	json_t *rest;
};

struct box {
	int64_t height;
	struct jtab_list parts;
	json_t *rest;
};

struct thing {
	char *name, *note, *secret;
	void *foreign; /* not in the table: never touched */
	int64_t count;
	bool is_open;
	int64_t created, ended;
	int color;
	struct strv tags;
	struct box box;
	json_t *labels;
	json_t *rest;
};

static int lower_check(const char *s, struct err *e)
{
	for (; *s; s++)
		if (*s < 'a' || *s > 'z')
			return err_set(e, ERR_CONFLICT, "only a to z are possible");
	return 0;
}

static const struct jtab_field part_fields[] = {
	{ "name", JT_STR, offsetof(struct part, name), JT_NEED, .max = 8 },
	{ "size_gib", JT_INT, offsetof(struct part, size_gib), 0, .min = 1, .max = 100 },
	{ 0 },
};
static const struct jtab part_jtab = { "part", sizeof(struct part), part_fields,
	offsetof(struct part, rest), true };

static const struct jtab_field box_fields[] = {
	{ "height", JT_INT, offsetof(struct box, height), 0, .min = 1 },
	{ "parts", JT_LIST, offsetof(struct box, parts), 0, .max = 3, .sub = &part_jtab },
	{ 0 },
};
static const struct jtab box_jtab = { "box", sizeof(struct box), box_fields,
	offsetof(struct box, rest), true };

static const struct jtab_field thing_fields[] = {
	{ "name", JT_STR, offsetof(struct thing, name), JT_NEED, .max = 10,
		.check = lower_check, .help = "what it is called" },
	{ "note", JT_STR, offsetof(struct thing, note), JT_TEXT | JT_ALWAYS, .max = 12 },
	{ "secret", JT_STR, offsetof(struct thing, secret), JT_SECRET },
	{ "count", JT_INT, offsetof(struct thing, count), 0 },
	{ "open", JT_BOOL, offsetof(struct thing, is_open), 0 },
	{ "created", JT_TIME, offsetof(struct thing, created), 0 },
	{ "ended", JT_TIME, offsetof(struct thing, ended), JT_ALWAYS },
	{ "color", JT_ENUM, offsetof(struct thing, color), 0, .names = color_names },
	{ "tags", JT_STRV, offsetof(struct thing, tags), 0, .max = 2,
		.check = lower_check },
	{ "box", JT_OBJ, offsetof(struct thing, box), 0, .sub = &box_jtab },
	{ "labels", JT_JSON, offsetof(struct thing, labels), 0 },
	{ 0 },
};
static const struct jtab thing_jtab = { "thing", sizeof(struct thing), thing_fields,
	offsetof(struct thing, rest), true };

#define FULL                                                                             \
	"{\"name\":\"abc\",\"note\":\"a\\n\\tb\",\"secret\":\"s\",\"count\":-7,"         \
	"\"open\":true,\"created\":\"2026-11-23T04:00:00Z\",\"ended\":null,"             \
	"\"color\":\"green\",\"tags\":[\"x\",\"y\"],\"box\":{\"height\":3,\"parts\":"    \
	"[{\"name\":\"p\",\"size_gib\":5,\"new\":[1]},{\"name\":\"q\"}],\"lid\":true},"  \
	"\"labels\":{\"a\":\"b\"},\"later\":{\"deep\":1.5}}"

static int read_stored(const char *text, struct thing *out, struct err *e)
{
	return jtab_parse_text(&thing_jtab, text, strlen(text), JTAB_STORED, out, e);
}

static int read_input(const char *text, struct thing *out, struct err *e)
{
	return jtab_parse_text(&thing_jtab, text, strlen(text), JTAB_INPUT, out, e);
}

static void thing_done(struct thing *t)
{
	jtab_done(&thing_jtab, t);
}

static void assert_text(const struct thing *t, const char *want)
{
	CLEANUP_STR char *text = jtab_format_text(&thing_jtab, t);

	assert_string_equal(text, want);
}

static void reads_every_kind(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 };
	struct err e = { 0 };
	const struct part *p;

	(void)state;
	assert_int_equal(read_stored(FULL, &t, &e), 0);
	assert_string_equal(t.name, "abc");
	assert_string_equal(t.note, "a\n\tb");
	assert_int_equal(t.count, -7);
	assert_true(t.is_open);
	assert_int_equal(t.created, 1795406400);
	assert_int_equal(t.ended, 0);
	assert_int_equal(t.color, GREEN);
	assert_int_equal(t.tags.len, 2);
	assert_string_equal(t.tags.v[1], "y");
	assert_int_equal(t.box.height, 3);
	assert_int_equal(t.box.parts.len, 2);
	p = jtab_list_at(&part_jtab, &t.box.parts, 0);
	assert_string_equal(p->name, "p");
	assert_int_equal(p->size_gib, 5);
	assert_string_equal(json_string_value(json_object_get(t.labels, "a")), "b");
}

static void keeps_what_it_does_not_know_at_every_level(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_stored(FULL, &t, &e), 0);
	assert_text(&t, FULL);
	/* A second read into the same struct frees the first. */
	assert_int_equal(read_stored(FULL, &t, &e), 0);
	assert_text(&t, FULL);
}

/* An object without a rest of its own: the one around it keeps what it does not know. */
static void the_rest_keeps_what_its_objects_do_not_know(void **state)
{
	struct plain {
		struct {
			struct {
				int64_t a;
			} inner;
		} outer;
		json_t *rest;
	};
	static const struct jtab_field inner_fields[] = { { "a", JT_INT, 0, 0 }, { 0 } };
	static const struct jtab inner = { "inner", sizeof(int64_t), inner_fields };
	static const struct jtab_field outer_fields[] = {
		{ "inner", JT_OBJ, 0, 0, .sub = &inner }, { 0 }
	};
	static const struct jtab outer = { "outer", sizeof(int64_t), outer_fields };
	static const struct jtab_field fields[] = {
		{ "outer", JT_OBJ, offsetof(struct plain, outer), 0, .sub = &outer },
		{ 0 }
	};
	static const struct jtab plain = { "plain", sizeof(struct plain), fields,
		offsetof(struct plain, rest), true };
	static const char *const texts[] = {
		"{\"outer\":{\"inner\":{\"a\":1,\"x\":2},\"y\":{\"z\":[3]}},\"v\":4}",
		"{\"outer\":{\"inner\":{\"x\":2}}}",
		"{\"outer\":{\"inner\":{\"a\":1}}}",
		"{}",
	};
	struct plain p = { 0 }, copy = { 0 };
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		assert_int_equal(jtab_parse_text(&plain, texts[i], strlen(texts[i]),
					 JTAB_STORED, &p, &e),
			0);
		jtab_copy(&plain, &p, &copy);
		p.outer.inner.a *= 7;
		CLEANUP_STR char *text = jtab_format_text(&plain, &copy);
		assert_string_equal(text, texts[i]);
		assert_int_equal(jtab_parse_text(&plain, texts[i], strlen(texts[i]),
					 JTAB_INPUT, &copy, &e) == 0,
			i >= 2);
	}
	assert_null(p.rest);
	assert_int_equal(
		jtab_parse_text(&plain, texts[0], strlen(texts[0]), JTAB_STORED, &p, &e),
		0);
	p.outer.inner.a = 5;
	CLEANUP_STR char *changed = jtab_format_text(&plain, &p);
	assert_string_equal(changed,
		"{\"outer\":{\"inner\":{\"a\":5,\"x\":2},\"y\":{\"z\":[3]}},\"v\":4}");
	jtab_done(&plain, &p);
	jtab_done(&plain, &copy);
}

static void writes_only_what_is_worth_it(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_input("{\"name\":\"a\",\"count\":null}", &t, &e), 0);
	assert_null(t.note);
	assert_text(
		&t, "{\"name\":\"a\",\"note\":\"\",\"ended\":null,\"color\":\"red\"}");
}

struct crate {
	struct part part;
};
static const struct jtab_field crate_fields[] = {
	{ "part", JT_OBJ, offsetof(struct crate, part), 0, .sub = &part_jtab },
	{ 0 },
};
static const struct jtab crate_jtab = { "crate", sizeof(struct crate), crate_fields };

/* Or nobody could send back what they were told. */
static void leaves_out_an_object_that_says_nothing(void **state)
{
	struct crate c = { 0 };
	CLEANUP_STR char *empty = jtab_format_text(&crate_jtab, &c);
	CLEANUP_STR char *full = NULL;

	(void)state;
	assert_string_equal(empty, "{}");
	c.part.size_gib = 1;
	full = jtab_format_text(&crate_jtab, &c);
	assert_string_equal(full, "{\"part\":{\"name\":\"\",\"size_gib\":1}}");
}

static void hides_secrets_and_unknown_members(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 };
	CLEANUP(json_decref_ptr) json_t *shown = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_stored(FULL, &t, &e), 0);
	shown = jtab_format_public(&thing_jtab, &t);
	assert_null(json_object_get(shown, "secret"));
	assert_null(json_object_get(shown, "later"));
	assert_null(json_object_get(json_object_get(shown, "box"), "lid"));
	assert_non_null(json_object_get(shown, "labels"));
}

struct bad {
	const char *json, *field, *msg;
};

static const struct bad bad_inputs[] = {
	{ "[]", "", "thing: must be an object, not an array" },
	{ "{}", "name", "name: is missing and must be given" },
	{ "{\"name\":null}", "name", "name: is missing and must be given" },
	{ "{\"name\":\"\"}", "name", "name: must not be empty" },
	{ "{\"name\":5}", "name", "name: must be a string, not a number" },
	{ "{\"name\":\"a\\u0007\"}", "name",
		"name: holds control characters, which are not possible here" },
	{ "{\"name\":\"a\\n\"}", "name",
		"name: holds control characters, which are not possible here" },
	{ "{\"name\":\"abcdefghijk\"}", "name",
		"name: 11 bytes is out of range; from 0 to 10 are possible" },
	{ "{\"name\":\"A\"}", "name", "name: only a to z are possible" },
	{ "{\"name\":\"a\",\"note\":\"\\u001b\"}", "note",
		"note: holds control characters, which are not possible here but for "
		"newline and tab" },
	{ "{\"name\":\"a\",\"count\":1.0}", "count",
		"count: must be a whole number, not a number with a fraction or "
		"exponent" },
	{ "{\"name\":\"a\",\"count\":\"1\"}", "count",
		"count: must be a whole number, not a string" },
	{ "{\"name\":\"a\",\"open\":1}", "open",
		"open: must be true or false, not a number" },
	{ "{\"name\":\"a\",\"created\":\"now\"}", "created",
		"created: \"now\" is not a time; give UTC like 2026-11-23T04:00:00Z" },
	{ "{\"name\":\"a\",\"created\":7}", "created",
		"created: must be a string, not a number" },
	{ "{\"name\":\"a\",\"color\":\"blue\"}", "color",
		"color: \"blue\" is not one of red, green" },
	{ "{\"name\":\"a\",\"tags\":\"x\"}", "tags",
		"tags: must be an array of strings, not a string" },
	{ "{\"name\":\"a\",\"tags\":[\"x\",\"y\",\"z\"]}", "tags",
		"tags: 3 elements is out of range; from 0 to 2 are possible" },
	{ "{\"name\":\"a\",\"tags\":[\"x\",\"Y\"]}", "tags[1]",
		"tags[1]: only a to z are possible" },
	{ "{\"name\":\"a\",\"tags\":[\"x\",null]}", "tags[1]",
		"tags[1]: must be a string, not null" },
	{ "{\"name\":\"a\",\"box\":[]}", "box", "box: must be an object, not an array" },
	{ "{\"name\":\"a\",\"box\":{\"height\":0}}", "box.height",
		"box.height: 0 is too little; at least 1 is needed" },
	{ "{\"name\":\"a\",\"box\":{\"parts\":{}}}", "box.parts",
		"box.parts: must be an array of objects, not an object" },
	{ "{\"name\":\"a\",\"box\":{\"parts\":[{\"name\":\"p\"},{}]}}",
		"box.parts[1].name", "box.parts[1].name: is missing and must be given" },
	{ "{\"name\":\"a\",\"box\":{\"parts\":[{\"name\":\"p\",\"size_gib\":101}]}}",
		"box.parts[0].size_gib",
		"box.parts[0].size_gib: 101 is out of range; from 1 to 100 are "
		"possible" },
	{ "{\"name\":\"a\",\"box\":{\"parts\":[{\"name\":\"p\",\"sise\":1}]}}",
		"box.parts[0].sise",
		"box.parts[0].sise: there is no such member; there are name, size_gib" },
	{ "{\"name\":\"a\",\"name\":\"b\"}", "",
		"thing: this is not valid JSON: line 1, column 18: duplicate object key "
		"near '\"name\"'" },
	{ "{\"name\":\"a\"} x", "",
		"thing: this is not valid JSON: line 1, column 14: end of file expected "
		"near 'x'" },
	{ "{\"count\":99999999999999999999}", "",
		"thing: this is not valid JSON: line 1, column 29: too big integer near "
		"'99999999999999999999'" },
};

static void refuses_bad_input_and_says_where(void **state)
{
	struct thing t = { 0 };

	(void)state;
	assert_int_equal(read_stored(FULL, &t, &(struct err){ 0 }), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad_inputs); i++) {
		const struct bad *b = &bad_inputs[i];
		struct err e = { 0 };

		assert_int_equal(read_input(b->json, &t, &e), -1);
		assert_string_equal(e.msg, b->msg);
		assert_string_equal(e.field, b->field);
		assert_text(&t, FULL);
	}
	thing_done(&t);
}

static void keeps_the_kind_of_a_check(void **state)
{
	struct thing t = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_input("{\"name\":\"A\"}", &t, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(read_input("{\"name\":\"A\"}", &t, NULL), -1);
}

static void bounds_the_list_of_known_members(void **state)
{
	char names[60][12];
	struct jtab_field fields[61] = { 0 };
	struct jtab t = { "wide", sizeof(int64_t), fields, 0, false };
	CLEANUP(json_decref_ptr) json_t *json = json_pack("{s:i}", "nope", 1);
	int64_t out = 0;
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < 60; i++) {
		snprintf(names[i], sizeof(names[i]), "member_%02zu", i);
		fields[i] = (struct jtab_field){ names[i], JT_INT, 0 };
	}
	assert_int_equal(jtab_parse(&t, json, JTAB_INPUT, &out, &e), -1);
	assert_true(strlen(e.msg) < 500);
	assert_true(str_has_suffix(e.msg, ", ..."));
}

static void bounds_nesting(void **state)
{
	struct buf b = { 0 };
	json_t *json = NULL;
	struct err e = { 0 };

	(void)state;
	for (int i = 0; i < 16; i++)
		buf_add_char(&b, '[');
	buf_add_str(&b, "\"[[[\\\"[\"");
	for (int i = 0; i < 16; i++)
		buf_add_char(&b, ']');
	assert_int_equal(json_parse(b.s, b.size, &json, &e), 0);
	json_decref_ptr(&json);
	assert_null(json);
	buf_drop(&b, 1);
	buf_add_char(&b, ']');
	assert_int_equal(json_parse(b.s, b.size, &json, &e), -1);
	buf_clear(&b);
	for (int i = 0; i < 17; i++)
		buf_add_char(&b, '[');
	assert_int_equal(json_parse(b.s, b.size, &json, &e), -1);
	assert_string_equal(
		e.msg, "the JSON nests too deep; at most 16 levels are possible");
	assert_null(json);
	assert_int_equal(json_parse("", 0, &json, &e), -1);
	assert_int_equal(json_parse("\"a\"", 3, &json, &e), -1);
	buf_done(&b);
}

static int patch(struct thing *t, const char *text, struct err *e)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;

	assert_int_equal(json_parse(text, strlen(text), &json, e), 0);
	return jtab_patch(&thing_jtab, json, t, e);
}

static void patches_only_what_is_present(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_stored(FULL, &t, &e), 0);
	assert_int_equal(patch(&t, "{}", &e), 0);
	assert_text(&t, FULL);
	assert_int_equal(
		patch(&t,
			"{\"count\":8,\"open\":null,\"created\":null,\"color\":null,"
			"\"tags\":[\"z\"],\"box\":{\"height\":4},\"labels\":{},"
			"\"secret\":null,\"note\":\"n\"}",
			&e),
		0);
	assert_text(&t,
		"{\"name\":\"abc\",\"note\":\"n\",\"count\":8,\"ended\":null,"
		"\"color\":\"red\",\"tags\":[\"z\"],\"box\":{\"height\":4,\"parts\":"
		"[{\"name\":\"p\",\"size_gib\":5,\"new\":[1]},{\"name\":\"q\"}],\"lid\":"
		"true},"
		"\"labels\":{},\"later\":{\"deep\":1.5}}");
	assert_int_equal(
		patch(&t, "{\"box\":{\"parts\":[{\"name\":\"r\"}]},\"tags\":null}", &e),
		0);
	assert_int_equal(t.tags.len, 0);
	assert_int_equal(t.box.height, 4);
	assert_int_equal(t.box.parts.len, 1);
	assert_int_equal(patch(&t, "{\"box\":null}", &e), 0);
	assert_int_equal(t.box.parts.len, 0);
	assert_int_equal(t.box.height, 0);
}

static void a_refused_patch_changes_nothing(void **state)
{
	static const char *const bad[] = {
		"{\"count\":1,\"nope\":1}",
		"{\"count\":1,\"name\":null}",
		"{\"count\":1,\"name\":\"\"}",
		"{\"count\":1,\"tags\":[\"k\",\"K\"]}",
		"{\"count\":1,\"box\":{\"height\":9,\"parts\":[{\"size_gib\":1}]}}",
		"{\"count\":1,\"labels\":null,\"box\":{\"lid\":false}}",
		"[]",
	};
	CLEANUP(thing_done) struct thing t = { 0 };

	(void)state;
	t.foreign = &t;
	assert_int_equal(read_stored(FULL, &t, &(struct err){ 0 }), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = { 0 };

		assert_int_equal(patch(&t, bad[i], &e), -1);
		assert_string_not_equal(e.msg, "");
		assert_text(&t, FULL);
	}
	assert_ptr_equal(t.foreign, &t);
}

static void copies_share_nothing(void **state)
{
	struct thing a = { 0 }, b = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(read_stored(FULL, &a, &e), 0);
	assert_int_equal(read_stored("{\"name\":\"old\",\"x\":1}", &b, &e), 0);
	b.foreign = &b;
	jtab_copy(&thing_jtab, &a, &b);
	jtab_copy(&thing_jtab, &b, &b);
	json_object_clear(a.labels);
	json_object_clear(a.rest);
	thing_done(&a);
	assert_text(&b, FULL);
	assert_ptr_equal(b.foreign, &b);
	thing_done(&b);
	thing_done(&b);
	assert_null(b.name);
	assert_null(b.rest);
	assert_ptr_equal(b.foreign, &b);
}

static void what_is_written_can_be_read(void **state)
{
	CLEANUP(thing_done) struct thing t = { 0 }, again = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e = { 0 };

	(void)state;
	t.name = xstrdup("abc");
	t.note = xstrdup("0\x01\n\xff"
			 "45678901\xc3\xa9"); /* the limit cuts a character */
	t.secret = xstrdup("a\xed\xa0\x80"
			   "b\n");
	strv_add(&t.tags, "x");
	text = jtab_format_text(&thing_jtab, &t);
	assert_int_equal(read_stored(text, &again, &e), 0);
	assert_string_equal(again.note, "0?\n?45678901");
	assert_string_equal(again.secret, "a???b?");
}

static void lists_grow(void **state)
{
	struct jtab_list l = { 0 };

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct part *p = jtab_list_add(&part_jtab, &l);

		assert_null(p->name);
		assert_int_equal(p->size_gib, 0);
		p->size_gib = i;
	}
	for (size_t i = 0; i < l.len; i++)
		assert_int_equal(
			((struct part *)jtab_list_at(&part_jtab, &l, i))->size_gib, i);
	free(l.v);
}

static void finds_names(void **state)
{
	(void)state;
	assert_int_equal(names_find(color_names, "green"), GREEN);
	assert_int_equal(names_find(color_names, "greenish"), -1);
	assert_int_equal(names_find(color_names, NULL), -1);
}

static void assert_schema(enum jtab_mode mode, const char *want)
{
	CLEANUP(json_decref_ptr) json_t *schema = jtab_schema(&thing_jtab, mode);
	char *text = json_dumps(schema, JSON_COMPACT);

	assert_string_equal(text, want);
	free(text);
}

#define INT64_SCHEMA "{\"type\":\"integer\",\"format\":\"int64\""

static void describes_input(void **state)
{
	(void)state;
	assert_schema(JTAB_INPUT,
		"{\"type\":\"object\",\"properties\":{"
		"\"name\":{\"type\":\"string\",\"maxLength\":10,\"minLength\":1,"
		"\"description\":\"what it is called\"},"
		"\"note\":{\"type\":\"string\",\"maxLength\":12},"
		"\"secret\":{\"type\":\"string\"},"
		"\"count\":" INT64_SCHEMA "},"
		"\"open\":{\"type\":\"boolean\"},"
		"\"created\":{\"type\":\"string\",\"format\":\"date-time\"},"
		"\"ended\":{\"type\":\"string\",\"format\":\"date-time\",\"nullable\":"
		"true},"
		"\"color\":{\"type\":\"string\",\"enum\":[\"red\",\"green\"]},"
		"\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
		"\"maxItems\":2},"
		"\"box\":{\"type\":\"object\",\"properties\":{"
		"\"height\":" INT64_SCHEMA ",\"minimum\":1},"
		"\"parts\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
		"\"properties\":{"
		"\"name\":{\"type\":\"string\",\"maxLength\":8,\"minLength\":1},"
		"\"size_gib\":" INT64_SCHEMA ",\"minimum\":1,\"maximum\":100}},"
		"\"required\":[\"name\"],\"additionalProperties\":false},\"maxItems\":3}}"
		","
		"\"additionalProperties\":false},"
		"\"labels\":{}},"
		"\"required\":[\"name\"],\"additionalProperties\":false}");
}

static void describes_answers(void **state)
{
	CLEANUP(json_decref_ptr) json_t *schema = jtab_schema(&thing_jtab, JTAB_STORED);
	CLEANUP(json_decref_ptr)
	json_t *want = json_pack("[s,s,s,s]", "name", "note", "ended", "color");

	(void)state;
	assert_null(json_object_get(json_object_get(schema, "properties"), "secret"));
	assert_null(json_object_get(schema, "additionalProperties"));
	assert_true(json_equal(json_object_get(schema, "required"), want));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_kind),
		cmocka_unit_test(keeps_what_it_does_not_know_at_every_level),
		cmocka_unit_test(the_rest_keeps_what_its_objects_do_not_know),
		cmocka_unit_test(writes_only_what_is_worth_it),
		cmocka_unit_test(leaves_out_an_object_that_says_nothing),
		cmocka_unit_test(hides_secrets_and_unknown_members),
		cmocka_unit_test(refuses_bad_input_and_says_where),
		cmocka_unit_test(keeps_the_kind_of_a_check),
		cmocka_unit_test(bounds_the_list_of_known_members),
		cmocka_unit_test(bounds_nesting),
		cmocka_unit_test(patches_only_what_is_present),
		cmocka_unit_test(a_refused_patch_changes_nothing),
		cmocka_unit_test(copies_share_nothing),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(lists_grow),
		cmocka_unit_test(finds_names),
		cmocka_unit_test(describes_input),
		cmocka_unit_test(describes_answers),
	};

	mem_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
