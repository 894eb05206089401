#include "common/model/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define U "123e4567-e89b-42d3-a456-426614174000"

static void new_one_is_stable_text(void **state)
{
	CLEANUP_STR char *text =
		request_new(REQ_START_VM, U, "h1", 1000000000, 1000000600);
	(void)state;

	assert_string_equal(text,
		"{\"type\":\"StartVM\",\"uuid\":\"" U "\",\"hostname\":\"h1\","
		"\"created\":\"2001-09-09T01:46:40Z\",\"deadline\":\"2001-09-09T01:56:"
		"40Z\","
		"\"attempts\":0}");
}

static void new_one_without_host(void **state)
{
	CLEANUP_STR char *text = request_new(REQ_SCHEDULE_VM, U, NULL, 1000000000, 0);
	struct request r = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(request_parse(text, strlen(text), &r, &e), 0);
	assert_int_equal(r.type, REQ_SCHEDULE_VM);
	assert_string_equal(r.hostname, "");
	assert_int_equal(r.created, 1000000000);
	assert_int_equal(r.deadline, 0);
	request_done(&r);
}

static void every_type_survives(void **state)
{
	(void)state;
	for (int type = 0; type < REQ_N_TYPES; type++) {
		CLEANUP_STR char *text = request_new(type, U, NULL, 1, 0);
		struct request r = { 0 };
		struct err e = { 0 };

		assert_int_equal(request_parse(text, strlen(text), &r, &e), 0);
		assert_int_equal(r.type, type);
		request_done(&r);
	}
	assert_null(request_type_names[REQ_N_TYPES]);
}

static void unknown_members_are_kept(void **state)
{
	static const char text[] =
		"{\"type\":\"StopVM\",\"uuid\":\"" U "\",\"force\":true,\"later\":[1]}";
	struct request r = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(request_parse(text, strlen(text), &r, &e), 0);
	assert_true(r.is_force);
	CLEANUP_STR char *again = request_format(&r);
	assert_non_null(strstr(again, "\"later\":[1]"));
	request_done(&r);
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "", "null", "[]", "{}",
		"{\"type\":\"StartVM\"}", "{\"uuid\":\"" U "\"}",
		"{\"type\":\"Dance\",\"uuid\":\"" U "\"}",
		"{\"type\":\"StartVM\",\"uuid\":\"\"}",
		"{\"type\":\"StartVM\",\"uuid\":\"x\"}",
		"{\"type\":\"StartVM\",\"uuid\":\"" U "\",\"hostname\":\"a/b\"}",
		"{\"type\":\"StartVM\",\"uuid\":\"" U "\",\"attempts\":-1}",
		"{\"type\":\"StartVM\",\"uuid\":\"" U "\",\"created\":17}", NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct request r = { .attempts = 77 };
		struct err e = { 0 };

		if (request_parse(*b, strlen(*b), &r, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(r.attempts, 77);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void item_must_fit_its_key(void **state)
{
	CLEANUP_STR char *text = request_new(REQ_START_VM, U, "h1", 1, 0);
	CLEANUP(json_decref_ptr) json_t *json = json_loads(text, 0, NULL);
	struct err e = { 0 };
	struct request *r;
	(void)state;

	r = request_parse_item("h1/" U, json, &e);
	assert_non_null(r);
	assert_string_equal(r->uuid, U);
	request_free_item(r);
	r = request_parse_item(U, json, &e);
	assert_non_null(r);
	request_free_item(r);
	assert_null(request_parse_item("123e4567-e89b-42d3-a456-426614174001", json, &e));
	assert_non_null(strstr(e.msg, "174001"));
	request_free_item(NULL);
}

static void failures_back_off(void **state)
{
	static const int64_t waits[] = { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
	struct request r = { 0 };
	struct err e = { 0 };
	(void)state;

	err_set(&e, ERR_NO_SPACE, "the store is full");
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		request_failed(&r, 1000, &e);
		assert_int_equal(r.attempts, i + 1);
		assert_int_equal(r.not_before, 1000 + waits[i]);
	}
	assert_string_equal(r.last_error, "the store is full");
	r.attempts = INT32_MAX;
	request_failed(&r, 1000, &e);
	assert_int_equal(r.attempts, INT32_MAX);
	assert_int_equal(r.not_before, 1060);
	request_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_one_is_stable_text),
		cmocka_unit_test(new_one_without_host),
		cmocka_unit_test(every_type_survives),
		cmocka_unit_test(unknown_members_are_kept),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(item_must_fit_its_key),
		cmocka_unit_test(failures_back_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
