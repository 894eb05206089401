#include "ucloud-filescan/known.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void found_by_owner_and_identity(void **state)
{
	struct knowns ks = { 0 };
	struct known *k = known_add(&ks, "bob@R", "1:2:3", "00ff", 7, 100);
	(void)state;

	assert_string_equal(k->sha512, "00ff");
	assert_int_equal(k->scanned, 7);
	assert_ptr_equal(known_find(&ks, "bob@R", "1:2:3"), k);
	assert_null(known_find(&ks, "bob@R", "1:2:4"));
	assert_null(known_find(&ks, "bob@S", "1:2:3"));
	/* Read again: the same one has another hash. */
	assert_ptr_equal(known_add(&ks, "bob@R", "1:2:3", "ff00", 8, 200), k);
	assert_string_equal(k->sha512, "ff00");
	assert_int_equal(k->scanned, 8);
	knowns_done(&ks);
	assert_null(known_find(&ks, "bob@R", "1:2:3"));
}

static void forgotten_when_nobody_has_it(void **state)
{
	struct knowns ks = { 0 };
	struct known *k = known_get(known_add(&ks, "bob@R", "1", "00ff", 7, 100));
	(void)state;

	known_get(k); /* two names of one file */
	known_put(k, 200);
	known_purge(&ks, 1000);
	assert_ptr_equal(known_find(&ks, "bob@R", "1"), k);
	known_put(k, 300);
	known_purge(&ks, 300);
	assert_ptr_equal(known_find(&ks, "bob@R", "1"), k);
	/* It comes back under another name in time. */
	known_get(k);
	known_purge(&ks, 1000);
	known_put(k, 400);
	known_purge(&ks, 401);
	assert_null(known_find(&ks, "bob@R", "1"));
	/* One that nobody ever had. */
	known_add(&ks, "bob@R", "2", "00ff", 7, 500);
	known_purge(&ks, 500);
	assert_non_null(known_find(&ks, "bob@R", "2"));
	known_purge(&ks, 501);
	assert_null(known_find(&ks, "bob@R", "2"));
	known_put(NULL, 0);
	knowns_done(&ks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_by_owner_and_identity),
		cmocka_unit_test(forgotten_when_nobody_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
