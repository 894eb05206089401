#include "common/model/names.h"
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

static void names_follow_from_ids(void **state)
{
	char name[NETWORK_NAME_SIZE];

	(void)state;
	network_bridge_name(16777215, name);
	assert_string_equal(name, "ucb16777215");
	network_vxlan_name(1, name);
	assert_string_equal(name, "ucv1");
	network_tap_name("42:00:0a:1b:2c:3d", name);
	assert_string_equal(name, "uct42000a1b2c3d");
}

static void groups_and_routers(void **state)
{
	CLEANUP_STR char *low = network_group(0x64), *high = network_group(0x12abcd);
	CLEANUP_STR char *router = network_router_address("2001:db8:1:2::/64");

	(void)state;
	assert_string_equal(low, "ff15::75c1:64");
	assert_string_equal(high, "ff15::12:75c1:abcd");
	assert_string_equal(router, "2001:db8:1:2::1");
	assert_null(network_router_address(""));
	assert_null(network_router_address(NULL));
}

static void allocations(void **state)
{
	CLEANUP(allocation_done) struct allocation a = { 0 };
	const char *text =
		"{\"network\":\"\",\"free_at\":\"2001-09-09T01:46:40Z\",\"x\":1}";
	struct err e;

	(void)state;
	assert_int_equal(allocation_parse(text, strlen(text), &a, &e), 0);
	assert_int_equal(a.free_at, 1000000000);
	CLEANUP_STR char *again = allocation_format(&a);
	assert_string_equal(again, text);
}

static void what_is_let_in(void **state)
{
	static const char *const good[] = { "tcp/1", "udp/65535", "icmpv6" };
	static const char *const bad[] = { "", "tcp", "tcp/", "tcp/0", "tcp/65536",
		"tcp/22 ", "icmp", "sctp/1", "tcp/-1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(ingress_check(good[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(ingress_check(bad[i], NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(names_follow_from_ids),
		cmocka_unit_test(groups_and_routers),
		cmocka_unit_test(allocations),
		cmocka_unit_test(what_is_let_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
