/*
 * JSON tables: one table per struct says how it looks as a JSON object (RFC 8259), and
 * serves for reading (stored values leniently, users' input strictly), writing, freeing,
 * and describing (OpenAPI schemas are made from the same tables).
 *
 *	static const struct jtab_field disk_fields[] = {
 *		{ "size_gib", JT_INT, offsetof(struct vm_disk, size_gib), JT_NEED, .min = 1,
 *			.max = 65536, .help = "size in GiB" },
 *		{ "class", JT_STR, offsetof(struct vm_disk, class), 0, .max = 32 },
 *		{ 0 },
 *	};
 *	const struct jtab vm_disk_jtab = { "disk", sizeof(struct vm_disk), disk_fields };
 *
 * Kinds and the C type at `off`:
 *	JT_STR     char *           max: bytes; check: optional check
 *	JT_INT     int64_t          min..max
 *	JT_BOOL    bool
 *	JT_TIME    int64_t          unix seconds; RFC 3339 in JSON; 0 is left out
 *	JT_ENUM    int (an enum)    names: NULL-terminated, indexed by value
 *	JT_STRV    struct strv      array of strings; max elements in max
 *	JT_OBJ     the sub struct, embedded
 *	JT_LIST    struct jtab_list array of sub structs; max elements in max
 *	JT_JSON    json_t *         anything, kept as it is (labels are checked by the model)
 *
 * A member that is missing or null leaves the zero value, unless JT_NEED. What a struct
 * does not know is kept in its `rest` (json_t *, at rest_off when has_rest) and written
 * again, so that two versions of a daemon can run side by side. What a JT_OBJ without a rest
 * of its own does not know is kept in the rest around it, under the object's name; elements
 * of a JT_LIST need their own. Members of the C struct that its table does not name are never
 * touched.
 *
 * All functions are pure; any thread may call them.
 */
#ifndef UCLOUD_JTAB_H
#define UCLOUD_JTAB_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum jtab_kind {
	JT_END,
	JT_STR,
	JT_INT,
	JT_BOOL,
	JT_TIME,
	JT_ENUM,
	JT_STRV,
	JT_OBJ,
	JT_LIST,
	JT_JSON
};

enum {
	JT_NEED = 1 << 0,   /* must be there; from users a string must not be empty */
	JT_SECRET = 1 << 1, /* jtab_format_public() leaves it out */
	JT_TEXT = 1 << 2,   /* newlines and tabs are fine in this string */
	JT_ALWAYS = 1 << 3  /* written even when zero, "" or empty */
};

struct jtab;

/* The elements of a JT_LIST: an array of sub structs, each sub->size bytes. */
struct jtab_list {
	void *v;
	size_t len;
};

typedef int jtab_check_fn(const char *value, struct err *e);

struct jtab_field {
	const char *name;
	enum jtab_kind kind;
	size_t off;
	unsigned flags;
	int64_t min, max; /* both 0: no limit of its own; max below min: no upper one */
	const struct jtab *sub;
	const char *const *names;
	jtab_check_fn *check; /* JT_STR (when not empty) and each of JT_STRV */
	const char *help;     /* for the OpenAPI document */
};

struct jtab {
	const char *name; /* "vm": appears in errors */
	size_t size;
	const struct jtab_field *fields; /* ends with a zeroed one */
	size_t rest_off;
	bool has_rest;
};

enum jtab_mode {
	JTAB_STORED, /* unknown members are kept */
	JTAB_INPUT   /* unknown members are an error that names them */
};

/* Fills *out (zeroed or valid before; it is done() first). The error's field is the path
 * of the member at fault: "specs.disks[1].size_gib". */
int jtab_parse(const struct jtab *t, json_t *json, enum jtab_mode mode, void *out,
	struct err *e) MUST_USE;
/* From text; also refuses trailing garbage, duplicate members, and nesting deeper than 16. */
int jtab_parse_text(const struct jtab *t, const char *text, size_t size,
	enum jtab_mode mode, void *out, struct err *e) MUST_USE;
/* Applies only the members present in json to *io; for PATCH. Unknown ones are refused. A
 * null resets to the zero value. Objects are patched member by member; arrays and JT_JSON
 * are replaced as a whole. */
int jtab_patch(const struct jtab *t, json_t *json, void *io, struct err *e) MUST_USE;

/*
 * A new object; members in the table's order, then the unknown ones. Written are members
 * with a value, enums, and those with JT_NEED or JT_ALWAYS (a time of 0 is null then, unless
 * needed); an object has a value when one of its members has. What
 * is written can be read: strings are cut to their limit, and characters that may not be in
 * them become "?".
 */
json_t *jtab_format(const struct jtab *t, const void *in);
/* Without JT_SECRET fields and unknown members. */
json_t *jtab_format_public(const struct jtab *t, const void *in);
/* Compact text, the caller's. */
char *jtab_format_text(const struct jtab *t, const void *in);
/* JSON Schema (the subset of OpenAPI 3.0) of the table: JTAB_INPUT for what may be sent,
 * JTAB_STORED for what jtab_format_public() answers. */
json_t *jtab_schema(const struct jtab *t, enum jtab_mode mode);

/* `to` is zeroed or valid before; it is done() first. Nothing is shared. */
void jtab_copy(const struct jtab *t, const void *from, void *to);
/* Frees and zeroes; twice is fine. */
void jtab_done(const struct jtab *t, void *p);
/* Appends a zeroed element and returns it. */
void *jtab_list_add(const struct jtab *sub, struct jtab_list *l);
void *jtab_list_at(const struct jtab *sub, const struct jtab_list *l, size_t i);

/* Index of name in a NULL-terminated table, -1 when it is not there. */
int names_find(const char *const *names, const char *name);

/* JSON text (an object or an array) to a tree, with the limits of jtab_parse_text(). */
int json_parse(const char *text, size_t size, json_t **out, struct err *e) MUST_USE;
/* For CLEANUP on "json_t *". */
void json_decref_ptr(json_t **j);

#endif
