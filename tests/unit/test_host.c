#include "common/model/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define FULL                                                                             \
	"{\"hostname\":\"h1.example.org\",\"labels\":{\"rack\":\"r1\"},"                 \
	"\"cpu_overcommit\":400,\"ram_overcommit\":100,\"disk_overcommit\":150,"         \
	"\"reserved_ram_mib\":2048,\"draining\":true,\"status\":\"DEAD\","               \
	"\"status_since\":\"2001-09-09T01:46:40Z\",\"cpus\":16,\"ram_mib\":65536,"       \
	"\"stores\":[{\"name\":\"local\",\"total_gib\":1000,\"free_gib\":10},"           \
	"{\"name\":\"ceph\",\"total_gib\":-1,\"free_gib\":-1}],"                         \
	"\"accel\":\"kvm\",\"version\":\"0.1.0\",\"created\":\"2001-09-09T01:46:40Z\","  \
	"\"later\":1}"

static void full_round_trip(void **state)
{
	struct host h = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(host_parse(FULL, strlen(FULL), &h, &e), 0);
	CLEANUP_STR char *text = host_format(&h);
	assert_string_equal(text, FULL);
	assert_true(h.is_draining);
	assert_int_equal(h.status, HOST_DEAD);
	assert_int_equal(host_find_store(&h, "ceph")->free_gib, -1);
	assert_null(host_find_store(&h, "none"));
	host_done(&h);
	host_done(&h);
}

static void what_is_missing_has_defaults(void **state)
{
	static const char text[] = "{\"hostname\":\"h1\"}";
	struct host h = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(host_parse(text, strlen(text), &h, &e), 0);
	assert_int_equal(h.cpu_overcommit, 100);
	assert_int_equal(h.ram_overcommit, 100);
	assert_int_equal(h.disk_overcommit, 100);
	assert_int_equal(h.status, HOST_REGISTERED);
	assert_null(host_find_store(&h, "local"));
	host_done(&h);
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "{}", "{\"hostname\":\"\"}",
		"{\"hostname\":\"a/b\"}", "{\"hostname\":\"h1\",\"cpu_overcommit\":-1}",
		"{\"hostname\":\"h1\",\"ram_overcommit\":10001}",
		"{\"hostname\":\"h1\",\"labels\":{\"a\":2}}",
		"{\"hostname\":\"h1\",\"status\":\"SICK\"}",
		"{\"hostname\":\"h1\",\"cpus\":-1}",
		"{\"hostname\":\"h1\",\"stores\":[{\"total_gib\":1}]}",
		"{\"hostname\":\"h1\",\"stores\":[{\"name\":\"a\",\"free_gib\":-2}]}",
		NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct host h = { .cpus = 77 };
		struct err e = { 0 };

		if (host_parse(*b, strlen(*b), &h, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(h.cpus, 77);
	}
}

static void item_must_fit_its_key(void **state)
{
	CLEANUP(json_decref_ptr) json_t *json = json_pack("{s:s}", "hostname", "h1");
	struct err e = { 0 };
	struct host *h = host_parse_item("h1", json, &e);
	(void)state;

	assert_non_null(h);
	assert_int_equal(h->cpu_overcommit, 100);
	host_free_item(h);
	assert_null(host_parse_item("h2", json, &e));
	assert_string_equal(e.msg, "the value is of host \"h1\", its key of \"h2\"");
}

static void heartbeat(void **state)
{
	CLEANUP_STR char *text = alive_new("h1", "0123abcd", "run-1", 1000000000);
	(void)state;

	assert_string_equal(text,
		"{\"host\":\"h1\",\"machine\":\"0123abcd\",\"instance\":\"run-1\","
		"\"since\":\"2001-09-09T01:46:40Z\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(what_is_missing_has_defaults),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(item_must_fit_its_key),
		cmocka_unit_test(heartbeat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
