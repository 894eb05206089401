#include "ucloud-api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-api/openapi.h"
#include "ucloud-api/waits.h"

#define GOLDEN "tests/golden/openapi/openapi.json"

static void find(const char *method, const char *path, enum route_found want,
	const char *pattern, const char *param)
{
	CLEANUP(route_match_done) struct route_match m = { 0 };
	enum route_found got = route_find(api_routes, method, path, &m);

	if (got != want)
		fail_msg("%s %s: %d", method, path, (int)got);
	if (pattern)
		assert_string_equal(m.route->path, pattern);
	if (param)
		assert_string_equal(m.params[0], param);
}

static void test_find(void **state)
{
	(void)state;
	find("GET", "/v1/vms", ROUTE_FOUND, "/v1/vms", NULL);
	find("POST", "/v1/vms", ROUTE_FOUND, "/v1/vms", NULL);
	find("GET", "/v1/vms/a", ROUTE_FOUND, "/v1/vms/{vm}", "a");
	find("POST", "/v1/vms/start/start", ROUTE_FOUND, "/v1/vms/{vm}/start", "start");
	find("GET", "/v1/users/a@b", ROUTE_FOUND, "/v1/users/{user}", "a@b");
	find("PUT", "/v1/files/a", ROUTE_FOUND, "/v1/files/{name...}", "a");
	find("GET", "/v1/files/a/b.c", ROUTE_FOUND, "/v1/files/{name...}", "a/b.c");
	find("GET", "/v1/files/../x/", ROUTE_FOUND, "/v1/files/{name...}", "../x/");
	find("GET", "/v1/files", ROUTE_FOUND, "/v1/files", NULL);
	find("GET", "/v1/files/", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1/vms/", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1/vms/a/", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1/vms//start", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "//v1/vms", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1/vmsx", ROUTE_NO_PATH, NULL, NULL);
	find("GET", "/v1/vm", ROUTE_NO_PATH, NULL, NULL);
}

static void test_allow(void **state)
{
	CLEANUP(route_match_done) struct route_match m = { 0 };

	(void)state;
	assert_int_equal(route_find(api_routes, "PUT", "/v1/vms/a", &m), ROUTE_NO_METHOD);
	assert_string_equal(m.allow, "GET, PATCH, DELETE");
}

static void test_streamed(void **state)
{
	(void)state;
	assert_true(route_is_streamed(NULL, "PUT", "/v1/files/a/b"));
	assert_false(route_is_streamed(NULL, "POST", "/v1/files/a/b"));
	assert_false(route_is_streamed(NULL, "PUT", "/v1/files"));
	assert_false(route_is_streamed(NULL, "PUT", "/v1/vms/a"));
}

/* Rules that every row keeps. */
static void test_table(void **state)
{
	(void)state;
	for (const struct route *r = api_routes; r->path; r++) {
		assert_non_null(r->fn);
		assert_non_null(r->summary);
		assert_true(r->status >= 200 && r->status < 300);
		assert_int_equal(
			r->body_kind != ROUTE_NO_BODY && r->body_kind != ROUTE_BYTES,
			r->in != NULL);
		assert_true(!r->is_create || strcmp(r->method, "POST") == 0);
		assert_true(r->status != 204 || !r->out);
	}
}

/* Every "$ref" must point at something. */
static void check_refs(json_t *doc, json_t *j)
{
	const char *name;
	json_t *item;
	size_t i;

	json_array_foreach (j, i, item)
		check_refs(doc, item);
	json_object_foreach (j, name, item) {
		if (strcmp(name, "$ref") == 0) {
			char section[32], what[64];
			json_t *parts = json_object_get(doc, "components");

			assert_int_equal(
				sscanf(json_string_value(item),
					"#/components/%31[^/]/%63s", section, what),
				2);
			if (!json_object_get(json_object_get(parts, section), what))
				fail_msg("%s leads nowhere", json_string_value(item));
		}
		check_refs(doc, item);
	}
}

static void test_document(void **state)
{
	CLEANUP(json_decref_ptr) json_t *doc = openapi_document(api_routes, "0");
	CLEANUP_STR char *golden = test_read_file(GOLDEN);
	char *text;

	(void)state;
	assert_non_null(doc);
	check_refs(doc, doc);
	text = json_dumps(doc, JSON_INDENT(1) | JSON_SORT_KEYS);
	if (getenv("UPDATE"))
		test_write_file(GOLDEN, text);
	else if (!golden || strcmp(text, golden) != 0)
		fail_msg(GOLDEN " differs: UPDATE=1 rewrites it, review the change");
	free(text);
}

static void test_wait_judge(void **state)
{
	struct vm vm = { .status = VM_SCHEDULED };
	struct err e;
	int want;

	(void)state;
	assert_int_equal(wait_parse("RUNNING", &want, &e), 0);
	assert_int_equal(want, VM_RUNNING);
	assert_int_equal(wait_parse("DELETED", &want, &e), 0);
	assert_int_equal(want, WAIT_DELETED);
	assert_int_equal(wait_parse("running", &want, &e), -1);
	assert_int_equal(wait_judge(VM_RUNNING, &vm), WAIT_ON);
	assert_int_equal(wait_judge(WAIT_DELETED, &vm), WAIT_ON);
	assert_int_equal(wait_judge(VM_RUNNING, NULL), WAIT_GONE);
	vm.status = VM_RUNNING;
	assert_int_equal(wait_judge(VM_RUNNING, &vm), WAIT_REACHED);
	vm.status = VM_ERROR;
	assert_int_equal(wait_judge(VM_RUNNING, &vm), WAIT_REACHED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_streamed),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_wait_judge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
