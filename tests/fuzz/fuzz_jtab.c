/*
 * JSON tables over hostile text, with a table that has every kind. What was read is written
 * and read again: both texts are the same. A refused patch changes nothing.
 */
#include <assert.h>
#include <string.h>

#include "common/base/jtab.h"
#include "common/base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct part {
	char *a;
	int64_t n;
	json_t *rest;
};

/* What is not known in it is kept around it. */
struct plain {
	int64_t n;
};

struct whole {
	char *s, *t, *secret;
	int64_t n, time;
	bool b;
	int e;
	struct strv v;
	struct part o;
	struct plain p;
	struct jtab_list l;
	json_t *j;
	json_t *rest;
};

static const char *const names[] = { "x", "y", NULL };

static const struct jtab_field part_fields[] = {
	{ "a", JT_STR, offsetof(struct part, a), JT_NEED, .max = 8 },
	{ "n", JT_INT, offsetof(struct part, n), 0, .min = 1, .max = 100 },
	{ 0 },
};
static const struct jtab part_jtab = { "part", sizeof(struct part), part_fields,
	offsetof(struct part, rest), true };

static const struct jtab_field plain_fields[] = {
	{ "n", JT_INT, offsetof(struct plain, n), 0 }, { 0 }
};
static const struct jtab plain_jtab = { "plain", sizeof(struct plain), plain_fields };

static const struct jtab_field whole_fields[] = {
	{ "s", JT_STR, offsetof(struct whole, s), 0, .max = 16 },
	{ "t", JT_STR, offsetof(struct whole, t), JT_TEXT | JT_ALWAYS },
	{ "secret", JT_STR, offsetof(struct whole, secret), JT_SECRET },
	{ "n", JT_INT, offsetof(struct whole, n), 0 },
	{ "time", JT_TIME, offsetof(struct whole, time), JT_ALWAYS },
	{ "b", JT_BOOL, offsetof(struct whole, b), 0 },
	{ "e", JT_ENUM, offsetof(struct whole, e), 0, .names = names },
	{ "v", JT_STRV, offsetof(struct whole, v), 0, .max = 4 },
	{ "o", JT_OBJ, offsetof(struct whole, o), 0, .sub = &part_jtab },
	{ "p", JT_OBJ, offsetof(struct whole, p), 0, .sub = &plain_jtab },
	{ "l", JT_LIST, offsetof(struct whole, l), 0, .max = 4, .sub = &part_jtab },
	{ "j", JT_JSON, offsetof(struct whole, j), 0 },
	{ 0 },
};
static const struct jtab whole_jtab = { "whole", sizeof(struct whole), whole_fields,
	offsetof(struct whole, rest), true };

static void whole_done(struct whole *w)
{
	jtab_done(&whole_jtab, w);
}

static void try_patch(struct whole *w, const char *text, size_t size)
{
	CLEANUP(json_decref_ptr) json_t *json = NULL;
	CLEANUP_STR char *before = NULL, *after = NULL;
	struct err e = { 0 };

	if (json_parse(text, size, &json, &e) != 0)
		return;
	before = jtab_format_text(&whole_jtab, w);
	if (jtab_patch(&whole_jtab, json, w, &e) == 0)
		return;
	after = jtab_format_text(&whole_jtab, w);
	assert(strcmp(before, after) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(whole_done) struct whole w = { 0 }, again = { 0 }, input = { 0 };
	CLEANUP_STR char *first = NULL, *second = NULL;
	const char *text = (const char *)data;
	struct err e = { 0 };

	if (jtab_parse_text(&whole_jtab, text, size, JTAB_INPUT, &input, &e) != 0)
		assert(e.kind == ERR_INVALID && str_is_text(e.msg, strlen(e.msg), false));
	try_patch(&input, text, size);
	if (jtab_parse_text(&whole_jtab, text, size, JTAB_STORED, &w, &e) != 0)
		return 0;
	first = jtab_format_text(&whole_jtab, &w);
	if (jtab_parse_text(&whole_jtab, first, strlen(first), JTAB_STORED, &again, &e) !=
		0)
		abort();
	second = jtab_format_text(&whole_jtab, &again);
	assert(strcmp(first, second) == 0);
	try_patch(&w, text, size);
	return 0;
}
