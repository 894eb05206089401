#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <cmocka.h>

static void real_time(void **state)
{
	int64_t a = clock_mono_usec(), unix_now = clock_unix_sec();
	int64_t b = clock_mono_usec();
	struct timespec boot;

	(void)state;
	assert_true(a > 0 && a <= b);
	assert_true(clock_mono_msec() >= b / 1000);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	assert_true(clock_mono_msec() / 1000 - boot.tv_sec <= 60);
	assert_true(unix_now > 1600000000);
	assert_true(clock_unix_msec() / 1000 >= unix_now);
	assert_true(unix_now - (int64_t)time(NULL) <= 1);
}

/* For the rest of this process. */
static void fake_time(void **state)
{
	(void)state;
	clock_fake_start(1795406400999);
	assert_int_equal(clock_unix_msec(), 1795406400999);
	assert_int_equal(clock_unix_sec(), 1795406400);
	assert_int_equal(clock_mono_msec(), 1795406400999);
	assert_int_equal(clock_mono_usec(), 1795406400999000);
	clock_fake_advance(1);
	assert_int_equal(clock_unix_sec(), 1795406401);
	assert_int_equal(clock_mono_msec(), 1795406401000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_time),
		cmocka_unit_test(fake_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
