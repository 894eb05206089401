#include "common/base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_has_line(const char *text, const char *line)
{
	CLEANUP_STR char *want = xasprintf("\n%s\n", line);
	CLEANUP_STR char *in = xasprintf("\n%s", text);

	if (!strstr(in, want))
		fail_msg("no line '%s' in:\n%s", line, text);
}

static char *text_now(void)
{
	struct buf b = { 0 };

	metrics_format(&b);
	return buf_take(&b);
}

static void counter_is_zero_when_registered(void **state)
{
	static struct metric m = { METRIC_COUNTER, "test_zero_total", "Nothing yet." };
	(void)state;

	metric_register(&m);
	metric_register(&m);
	CLEANUP_STR char *text = text_now();
	assert_has_line(text, "# HELP test_zero_total Nothing yet.");
	assert_has_line(text, "# TYPE test_zero_total counter");
	assert_has_line(text, "test_zero_total 0");
	metric_add(&m, NULL, 2);
	metric_add(&m, NULL, 0.5);
	CLEANUP_STR char *later = text_now();
	assert_has_line(later, "test_zero_total 2.5");
}

static void labels_and_help_are_escaped(void **state)
{
	static struct metric m = { METRIC_GAUGE, "test_escaped", "A\\B\nC \"q\"",
		.label = "who" };
	(void)state;

	metric_set(&m, "a\\b\"c\nd", -3);
	CLEANUP_STR char *text = text_now();
	assert_has_line(text, "# HELP test_escaped A\\\\B\\nC \"q\"");
	assert_has_line(text, "test_escaped{who=\"a\\\\b\\\"c\\nd\"} -3");
	assert_true(metric_value(&m, "a\\b\"c\nd") == -3);
}

static void histogram_is_cumulative(void **state)
{
	static struct metric m = { METRIC_HISTOGRAM, "test_seconds", "Took.",
		.label = "op" };
	(void)state;

	metric_observe(&m, "get", 0.001);
	metric_observe(&m, "get", 0.3);
	metric_observe(&m, "get", 100);
	CLEANUP_STR char *text = text_now();
	assert_has_line(text, "test_seconds_bucket{op=\"get\",le=\"0.001\"} 1");
	assert_has_line(text, "test_seconds_bucket{op=\"get\",le=\"0.2\"} 1");
	assert_has_line(text, "test_seconds_bucket{op=\"get\",le=\"0.5\"} 2");
	assert_has_line(text, "test_seconds_bucket{op=\"get\",le=\"60\"} 2");
	assert_has_line(text, "test_seconds_bucket{op=\"get\",le=\"+Inf\"} 3");
	assert_has_line(text, "test_seconds_sum{op=\"get\"} 100.301");
	assert_has_line(text, "test_seconds_count{op=\"get\"} 3");
	assert_true(metric_value(&m, "get") == 3);
	assert_true(metric_value(&m, "put") == 0);
}

static void too_many_label_values_share_one(void **state)
{
	static struct metric m = { METRIC_COUNTER, "test_many_total", "x", .label = "l" };
	(void)state;

	for (int i = 0; i < 100; i++) {
		char value[16];

		snprintf(value, sizeof(value), "v%d", i);
		metric_add(&m, value, 1);
	}
	assert_true(metric_value(&m, "v63") == 1);
	assert_true(metric_value(&m, "v64") == 0);
	assert_true(metric_value(&m, "other") == 36);
	metric_add(&m, "v3", 1);
	assert_true(metric_value(&m, "v3") == 2);
}

static double read_seven(void *aux)
{
	return *(double *)aux;
}

static void gauge_may_be_computed(void **state)
{
	static double seven = 7.25;
	static struct metric m = { METRIC_GAUGE, "test_computed", "x", .read = read_seven,
		.aux = &seven };
	(void)state;

	metric_register(&m);
	CLEANUP_STR char *text = text_now();
	assert_has_line(text, "test_computed 7.25");
	assert_true(strstr(text, "test_computed") < strstr(text, "test_escaped"));
}

static void *count_thread(void *aux)
{
	for (int i = 0; i < 1000; i++) {
		metric_add(aux, i % 2 ? "odd" : "even", 1);
		if (i % 250 == 0)
			free(text_now());
	}
	return NULL;
}

static void threads_lose_no_count(void **state)
{
	static struct metric m = { METRIC_COUNTER, "test_threads_total", "x",
		.label = "l" };
	pthread_t t[4];
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_thread, &m), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	assert_true(metric_value(&m, "odd") == 2000);
	assert_true(metric_value(&m, "even") == 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counter_is_zero_when_registered),
		cmocka_unit_test(labels_and_help_are_escaped),
		cmocka_unit_test(histogram_is_cumulative),
		cmocka_unit_test(too_many_label_values_share_one),
		cmocka_unit_test(gauge_may_be_computed),
		cmocka_unit_test(threads_lose_no_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
