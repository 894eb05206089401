#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ucloud-otp/proto.h"

static int verify(const char *body, struct otp_question *q, struct err *e)
{
	return otp_verify_parse(body, strlen(body), q, e);
}

static void check_parsed(const struct otp_question *q)
{
	assert_string_equal(q->asker.name, "api");
	assert_string_equal(q->asker.realm, "ungleich-auth");
	assert_string_equal(q->asker.token, "111111");
	assert_string_equal(q->subject.name, "bob");
	assert_string_equal(q->subject.realm, "customers");
	assert_string_equal(q->subject.token, "222222");
}

static void new_dialect(void **state)
{
	(void)state;
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e;
	assert_int_equal(verify("{\"auth_name\":\"api\",\"auth_realm\":\"ungleich-auth\","
				"\"auth_token\":\"111111\",\"name\":\"bob\","
				"\"realm\":\"customers\",\"token\":\"222222\"}",
				 &q, &e),
		0);
	check_parsed(&q);
}

static void old_dialect(void **state)
{
	(void)state;
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e;
	assert_int_equal(
		verify("{\"name\":\"api\",\"realm\":\"ungleich-auth\","
		       "\"token\":\"111111\",\"verifyname\":\"bob\","
		       "\"verifyrealm\":\"customers\",\"verifytoken\":\"222222\"}",
			&q, &e),
		0);
	check_parsed(&q);
}

static void bad_bodies(void **state)
{
	(void)state;
	static const struct {
		const char *body, *field;
	} cases[] = {
		{ "", "" },
		{ "[]", "" },
		{ "{}", "auth_name" },
		{ "{\"auth_name\":\"a\",\"auth_realm\":\"b\",\"auth_token\":\"1\","
		  "\"name\":\"c/d\",\"realm\":\"e\",\"token\":\"2\"}",
			"name" },
		{ "{\"auth_name\":\"a\",\"auth_realm\":\"b\",\"auth_token\":\"1\","
		  "\"name\":\"c\",\"realm\":\"e\",\"token\":2}",
			"token" },
		{ "{\"auth_name\":\"a\",\"auth_realm\":\"b\",\"auth_token\":\"1\","
		  "\"name\":\"c\",\"realm\":\"e\",\"token\":\"2\",\"more\":1}",
			"more" },
		{ "{\"name\":\"a\",\"realm\":\"b\",\"token\":\"1\",\"verifyname\":\"c\"}",
			"verifyrealm" },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP(otp_question_done) struct otp_question q = { 0 };
		struct err e = { 0 };
		assert_true(verify(cases[i].body, &q, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_string_equal(e.field, cases[i].field);
	}
}

static void managing(void **state)
{
	(void)state;
	static const char body[] =
		"{\"auth_name\":\"root\",\"auth_realm\":\"ungleich-admin\","
		"\"auth_token\":\"1\"}";
	CLEANUP(otp_question_done) struct otp_question q = { 0 };
	struct err e;
	assert_int_equal(otp_manage_parse(body, strlen(body), false, &q, &e), 0);
	assert_string_equal(q.asker.name, "root");
	assert_null(q.subject.name);
	assert_true(otp_manage_parse(body, strlen(body), true, &q, &e) < 0);
	assert_string_equal(e.field, "name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_dialect),
		cmocka_unit_test(old_dialect),
		cmocka_unit_test(bad_bodies),
		cmocka_unit_test(managing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
