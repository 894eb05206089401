#include "ucloud-api/openapi.h"

#include <stdio.h>
#include <string.h>

#include "ucloud-api/list.h"

static json_t *ref(const char *section, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "#/components/%s/%s", section, name);
	return json_pack("{s:s}", "$ref", path);
}

/* ---------------------------------------------------------------- schemas */

/* A table's schema under its name, once; a reference to it. */
static json_t *schema_ref(json_t *schemas, const struct jtab *t, enum jtab_mode mode)
{
	if (!json_object_get(schemas, t->name))
		json_object_set_new(schemas, t->name, jtab_schema(t, mode));
	return ref("schemas", t->name);
}

/* The schema of a table without some members, as "<name>_summary". */
static json_t *summary_ref(json_t *schemas, const struct jtab *t, const char *leaves)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_summary", t->name);
	if (!json_object_get(schemas, name)) {
		json_t *schema = jtab_schema(t, JTAB_STORED);

		json_leave_out(json_object_get(schema, "properties"), leaves);
		json_object_set_new(schemas, name, schema);
	}
	return ref("schemas", name);
}

/* The schema of a table with members of another one, as "<name>_details". */
static json_t *details_ref(json_t *schemas, const struct jtab *t, const struct jtab *more)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_details", t->name);
	if (!json_object_get(schemas, name)) {
		json_t *schema = jtab_schema(t, JTAB_STORED);
		json_t *other = jtab_schema(more, JTAB_STORED);

		json_object_update(json_object_get(schema, "properties"),
			json_object_get(other, "properties"));
		json_object_set_new(schemas, name, schema);
		json_decref(other);
	}
	return ref("schemas", name);
}

static json_t *out_schema(json_t *schemas, const struct route *r)
{
	json_t *item;

	if (!r->out)
		return json_pack("{s:s}", "type", r->out_type ? "string" : "object");
	if (r->out_more)
		return details_ref(schemas, r->out, r->out_more);
	item = r->out_leaves ? summary_ref(schemas, r->out, r->out_leaves)
			     : schema_ref(schemas, r->out, JTAB_STORED);
	if (!r->out_list)
		return item;
	return json_pack("{s:s, s:[s], s:{s:{s:s, s:o}, s:{s:s, s:s}}}", "type", "object",
		"required", r->out_list, "properties", r->out_list, "type", "array",
		"items", item, "next", "type", "string", "description",
		"`after` of the next page; missing on the last one");
}

/* ---------------------------------------------------------------- one operation */

static json_t *parameter(
	const char *name, const char *where, const char *help, bool is_needed)
{
	json_t *p = json_pack("{s:s, s:s, s:{s:s}}", "name", name, "in", where, "schema",
		"type", "string");

	if (help)
		json_object_set_new(p, "description", json_string(help));
	if (is_needed)
		json_object_set_new(p, "required", json_true());
	return p;
}

static void add_path_parameters(json_t *to, const char *path)
{
	const char *open;

	while ((open = strchr(path, '{'))) {
		char name[32];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(open + 1, ".}"),
			open + 1);
		json_array_append_new(to, parameter(name, "path", NULL, true));
		path = open + 1;
	}
}

static void add_upload_headers(json_t *to)
{
	json_array_append_new(to,
		parameter("Content-Range", "header",
			"bytes FIRST-LAST/TOTAL: the body is this part of the file, and "
			"goes on where the upload stands (409 with `offset` when it does "
			"not); bytes */TOTAL with an empty body asks where that is",
			false));
	json_array_append_new(to,
		parameter("Repr-Digest", "header",
			"sha-512=:BASE64: of the whole file (RFC 9530), which is checked "
			"before the file is there",
			false));
}

static json_t *parameters(const struct route *r)
{
	json_t *list = json_array();

	add_path_parameters(list, r->path);
	for (const struct route_query *q = r->query; q && q->name; q++)
		json_array_append_new(list, parameter(q->name, "query", q->help, false));
	if (r->body_kind == ROUTE_BYTES)
		add_upload_headers(list);
	if (r->is_create)
		json_array_append_new(
			list, parameter("Idempotency-Key", "header",
				      "1-128 printable characters: the same key and body "
				      "within a day are carried out once",
				      false));
	return list;
}

static json_t *answer(json_t *schemas, const struct route *r, const char *text)
{
	json_t *response = json_pack("{s:s}", "description", text);

	if (r->status != 204)
		json_object_set_new(response, "content",
			json_pack("{s:{s:o}}",
				r->out_type ? r->out_type : "application/json", "schema",
				out_schema(schemas, r)));
	return response;
}

static void add_upload_answers(json_t *all, json_t *schemas, const struct route *r)
{
	json_object_set_new(all, "200", answer(schemas, r, "What was asked: `offset`"));
	json_object_set_new(
		all, "202", answer(schemas, r, "More is to come, from `offset` on"));
	json_object_set_new(all, "307",
		json_pack("{s:s}", "description",
			"Send it to the upload machine, where `Location` says"));
}

static json_t *responses(json_t *schemas, const struct route *r)
{
	json_t *all = json_object();
	char status[8];

	snprintf(status, sizeof(status), "%d", r->status);
	json_object_set_new(all, status,
		answer(schemas, r,
			r->status == 202   ? "Accepted: work follows"
			: r->status == 201 ? "Made"
			: r->status == 204 ? "Done"
					   : "The answer"));
	if (r->body_kind == ROUTE_BYTES)
		add_upload_answers(all, schemas, r);
	if (r->status == 202 || r->is_create)
		json_object_set_new(all, "200", answer(schemas, r, "It is already so"));
	json_object_set_new(all, "default", ref("responses", "problem"));
	return all;
}

static json_t *operation_id(const struct route *r)
{
	char id[96];
	size_t len;

	snprintf(id, sizeof(id), "%s%s", r->method, r->path);
	for (len = 0; id[len]; len++) {
		if (strchr("/{}-.", id[len]))
			id[len] = '_';
	}
	return json_string(id);
}

static json_t *operation(json_t *schemas, const struct route *r)
{
	json_t *op = json_object();

	json_object_set_new(op, "operationId", operation_id(r));
	json_object_set_new(op, "summary", json_string(r->summary));
	if (r->help || r->access == ROUTE_ADMIN)
		json_object_set_new(op, "description",
			json_sprintf("%s%s%s", r->help ? r->help : "",
				r->help && r->access == ROUTE_ADMIN ? " " : "",
				r->access == ROUTE_ADMIN ? "Admins only." : ""));
	if (r->access == ROUTE_OPEN)
		json_object_set_new(op, "security", json_array());
	json_object_set_new(op, "parameters", parameters(r));
	if (r->in)
		json_object_set_new(op, "requestBody",
			json_pack("{s:b, s:{s:{s:o}}}", "required",
				r->body_kind == ROUTE_BODY, "content", "application/json",
				"schema", schema_ref(schemas, r->in, JTAB_INPUT)));
	if (r->body_kind == ROUTE_BYTES)
		json_object_set_new(op, "requestBody",
			json_pack("{s:b, s:{s:{s:{s:s, s:s}}}}", "required", 1, "content",
				"application/octet-stream", "schema", "type", "string",
				"format", "binary"));
	json_object_set_new(op, "responses", responses(schemas, r));
	return op;
}

/* ---------------------------------------------------------------- the document */

/* OpenAPI has no parameters that take the rest of a path: without the "...". */
static char *path_template(const char *path)
{
	const char *dots = strstr(path, "...}");

	return dots ? xasprintf("%.*s}", (int)(dots - path), path) : xstrdup(path);
}

static json_t *paths(json_t *schemas, const struct route *routes)
{
	json_t *all = json_object();

	for (const struct route *r = routes; r->path; r++) {
		CLEANUP_STR char *template = path_template(r->path);
		json_t *path = json_object_get(all, template);
		char method[8];
		size_t i;

		if (!path) {
			path = json_object();
			json_object_set_new(all, template, path);
		}
		for (i = 0; i < sizeof(method) - 1 && r->method[i]; i++)
			method[i] = (char)(r->method[i] | 0x20);
		method[i] = '\0';
		json_object_set_new(path, method, operation(schemas, r));
	}
	return all;
}

static json_t *problem_schema(void)
{
	return json_pack("{s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}, s:{s:s, s:s}, s:{s:s, "
			 "s:s}, s:{s:s, s:s}}}",
		"type", "object", "properties", "type", "type", "string", "title", "type",
		"string", "status", "type", "integer", "detail", "type", "string",
		"description", "a sentence: what was wrong, and what would be right",
		"kind", "type", "string", "description",
		"for programs: not_found, quota, ...", "field", "type", "string",
		"description", "the member at fault");
}

static json_t *components(json_t *schemas)
{
	json_t *problem = json_pack("{s:s, s:{s:{s:o}}}", "description",
		"Refused or failed (RFC 9457)", "content", "application/problem+json",
		"schema", ref("schemas", "problem"));

	json_object_set_new(schemas, "problem", problem_schema());
	return json_pack("{s:o, s:{s:o}, s:{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s}}}",
		"schemas", schemas, "responses", "problem", problem, "securitySchemes",
		"basic", "type", "http", "scheme", "basic", "description",
		"name@realm and a one-time password", "session", "type", "http", "scheme",
		"bearer", "description", "the token of POST /v1/session");
}

json_t *openapi_document(const struct route *routes, const char *version)
{
	json_t *schemas = json_object(), *all_paths = paths(schemas, routes);

	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}, {s:[]}], s:o, s:o}",
		"openapi", "3.0.3", "info", "title", "ucloud", "version", version,
		"description", "Virtual machines with public IPv6 addresses.", "security",
		"session", "basic", "paths", all_paths, "components",
		components(schemas));
}
