#include "common/base/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SEC 1000

static const struct throttle_conf conf = {
	.n_free = 3, .max_wait_msec = 10 * SEC, .forget_msec = 100 * SEC, .max_keys = 4
};

static void test_waits_double(void **state)
{
	struct throttle *t = throttle_new(&conf);
	int64_t now = 5, wants[] = { 1, 2, 4, 8, 10, 10 };

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(throttle_take(t, "a", now), 0);
	for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++) {
		assert_int_equal(throttle_take(t, "a", now), 0);
		assert_int_equal(throttle_take(t, "a", now), wants[i] * SEC);
		assert_int_equal(throttle_take(t, "a", now + 1), wants[i] * SEC - 1);
		now += wants[i] * SEC;
	}
	assert_int_equal(throttle_take(t, "b", now), 0);
	throttle_free(t);
}

static void test_forgets(void **state)
{
	struct throttle *t = throttle_new(&conf);
	int64_t now = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(throttle_take(t, "a", now), 0);
	assert_true(throttle_take(t, "a", now) > 0);
	now += conf.forget_msec;
	for (int i = 0; i < 3; i++)
		assert_int_equal(throttle_take(t, "a", now), 0);
	assert_true(throttle_take(t, "a", now) > 0);
	throttle_forget(t, "a");
	assert_int_equal(throttle_len(t), 0);
	assert_int_equal(throttle_take(t, "a", now), 0);
	throttle_free(t);
}

/* Who succeeds each time is never slowed; one success among failures is not enough. */
static void test_give_back(void **state)
{
	struct throttle *t = throttle_new(&conf);

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(throttle_take(t, "a", 0), 0);
		throttle_give_back(t, "a");
	}
	assert_int_equal(throttle_len(t), 0);
	assert_int_equal(throttle_take(t, "a", 0), 0);
	assert_int_equal(throttle_take(t, "a", 0), 0);
	assert_int_equal(throttle_take(t, "a", 0), 0);
	throttle_give_back(t, "a");
	assert_int_equal(throttle_take(t, "a", 0), 0);
	assert_true(throttle_take(t, "a", 0) > 0);
	throttle_give_back(t, "nobody");
	throttle_free(t);
}

static void test_bounded(void **state)
{
	struct throttle *t = throttle_new(&conf);
	char key[16];

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(throttle_take(t, key, i), 0);
		assert_true(throttle_len(t) <= conf.max_keys);
	}
	/* Those touched last stay. */
	for (int i = 0; i < 2; i++)
		assert_int_equal(throttle_take(t, "k99", 100), 0);
	assert_true(throttle_take(t, "k99", 100) > 0);
	throttle_free(t);
}

static void test_address(void **state)
{
	char out[THROTTLE_ADDRESS_SIZE];

	(void)state;
	throttle_address("2001:db8:1:2:3:4:5:6", out);
	assert_string_equal(out, "2001:db8:1:2::/64");
	throttle_address("fe80::1%eth0", out);
	assert_string_equal(out, "fe80::/64");
	throttle_address("nonsense", out);
	assert_string_equal(out, "nonsense");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_double),
		cmocka_unit_test(test_forgets),
		cmocka_unit_test(test_give_back),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
