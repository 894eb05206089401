#include "common/model/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define U "123e4567-e89b-42d3-a456-426614174000"

#define NEEDED                                                                           \
	"\"uuid\":\"" U "\",\"name\":\"lan\",\"owner\":\"nico\",\"owner_realm\":\"R\","  \
	"\"ipam\":\"auto\",\"status\":\"ACTIVE\""

static void full_round_trip(void **state)
{
	static const char text[] =
		"{" NEEDED ",\"vni\":42,\"prefix\":\"2001:db8:1:2::/64\","
		"\"dns\":[\"2001:db8::53\"],\"mtu\":1430,"
		"\"created\":\"2001-09-09T01:46:40Z\",\"reason\":\"x\",\"later\":1}";
	struct network n = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(network_parse(text, strlen(text), &n, &e), 0);
	CLEANUP_STR char *again = network_format(&n);
	assert_string_equal(again, text);
	assert_int_equal(n.ipam, IPAM_AUTO);
	assert_int_equal(n.status, NET_ACTIVE);
	network_done(&n);
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "{}", "{" NEEDED ",\"vni\":16777216}",
		"{" NEEDED ",\"prefix\":\"2001:db8::\"}",
		"{" NEEDED ",\"prefix\":\"2001:db8::/48\"}",
		"{" NEEDED ",\"prefix\":\"2001:db8::1/64\"}",
		"{" NEEDED ",\"prefix\":\"192.0.2.0/64\"}",
		"{" NEEDED ",\"prefix\":\"2001:db8::/64x\"}",
		"{" NEEDED ",\"dns\":[\"192.0.2.1\"]}", NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct network n = { .vni = 77 };
		struct err e = { 0 };

		if (network_parse(*b, strlen(*b), &n, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(n.vni, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(bad_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
