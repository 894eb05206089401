#include "common/base/sha512.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ABC                                                                              \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"               \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

/* FIPS 180-4's example, in one piece and in several. */
static void abc(void **state)
{
	struct sha512 whole, parts;
	char hex[SHA512_HEX_SIZE];
	(void)state;

	sha512_start(&whole);
	sha512_add(&whole, "abc", 3);
	sha512_hex(&whole, hex);
	assert_string_equal(hex, ABC);

	sha512_start(&parts);
	sha512_add(&parts, "a", 1);
	sha512_add(&parts, "", 0);
	whole = parts; /* a copy goes on from there */
	sha512_add(&whole, "bc", 2);
	sha512_hex(&whole, hex);
	assert_string_equal(hex, ABC);
	sha512_hex(&parts, hex);
	assert_string_not_equal(hex, ABC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(abc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
