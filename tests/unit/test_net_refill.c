#include "ucloud-network/refill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT                                                                             \
	"add table bridge ucloud\n"                                                      \
	"delete table bridge ucloud\n"                                                   \
	"table bridge ucloud {\n"                                                        \
	"\tcounter mac { packets 3 bytes 180 }\n"                                        \
	"\tset taps {\n"                                                                 \
	"\t\ttype ifname\n"                                                              \
	"\t\telements = {\n"                                                             \
	"\t\t\t\"uct1\"\n"                                                               \
	"\t\t}\n"                                                                        \
	"\t}\n"                                                                          \
	"\tmap ports {\n"                                                                \
	"\t\ttype ifname . ether_addr : verdict\n"                                       \
	"\t}\n"                                                                          \
	"\tchain from {\n"                                                               \
	"\t\tiifname @taps counter name mac drop\n"                                      \
	"\t}\n"                                                                          \
	"}\n"                                                                            \
	"add table ip6 ucloud\n"                                                         \
	"delete table ip6 ucloud\n"                                                      \
	"table ip6 ucloud {\n"                                                           \
	"\tset closed {\n"                                                               \
	"\t\ttype ether_addr\n"                                                          \
	"\t}\n"                                                                          \
	"}\n"

/* As nft lists it: in another order, with other elements. */
#define LISTING(more)                                                                    \
	"table bridge ucloud {\n"                                                        \
	"\tmap ports {\n"                                                                \
	"\t\ttype ifname . ether_addr : verdict\n"                                       \
	"\t}\n\n"                                                                        \
	"\tset taps {\n"                                                                 \
	"\t\ttype ifname\n"                                                              \
	"\t\telements = { \"uct2\" }\n"                                                  \
	"\t}\n\n"                                                                        \
	"\tcounter mac {\n"                                                              \
	"\t\tpackets 0 bytes 0\n"                                                        \
	"\t}\n" more "\n\tchain from {\n"                                                \
	"\t}\n"                                                                          \
	"}\n"
#define IP6 "table ip6 ucloud {\n\tset closed {\n\t\ttype ether_addr\n\t}\n}\n"

static void only_what_is_the_same_is_filled_again(void **state)
{
	(void)state;
	assert_true(refill_fits(LISTING("") IP6, TEXT));
	assert_false(refill_fits(LISTING("\tchain hand {\n\t}\n") IP6, TEXT));
	assert_false(refill_fits(LISTING("\tset taps2 {\n\t}\n") IP6, TEXT));
	assert_false(refill_fits(LISTING(""), TEXT));
	assert_false(refill_fits("table bridge ucloud {\n}\n" IP6, TEXT));
	assert_false(refill_fits(IP6, TEXT));
	assert_false(refill_fits("", TEXT));
	assert_false(refill_fits(NULL, TEXT));
}

static void nothing_is_deleted(void **state)
{
	CLEANUP(buf_done) struct buf out = { 0 };
	(void)state;

	refill_text(TEXT, &out);
	assert_string_equal(buf_str(&out), "flush table bridge ucloud\n"
					   "flush set bridge ucloud taps\n"
					   "flush map bridge ucloud ports\n"
					   "table bridge ucloud {\n"
					   "counter mac { packets 3 bytes 180 }\n"
					   "set taps {\n"
					   "type ifname\n"
					   "elements = {\n"
					   "\"uct1\"\n"
					   "}\n"
					   "}\n"
					   "map ports {\n"
					   "type ifname . ether_addr : verdict\n"
					   "}\n"
					   "chain from {\n"
					   "iifname @taps counter name mac drop\n"
					   "}\n"
					   "}\n"
					   "flush table ip6 ucloud\n"
					   "flush set ip6 ucloud closed\n"
					   "table ip6 ucloud {\n"
					   "set closed {\n"
					   "type ether_addr\n"
					   "}\n"
					   "}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_the_same_is_filled_again),
		cmocka_unit_test(nothing_is_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
