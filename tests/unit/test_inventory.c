#include "ucloud-host/inventory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct host make(int64_t total_gib, int64_t free_gib)
{
	struct host h = { .cpus = 8, .ram_mib = 16384 };
	struct host_store *s = jtab_list_add(&host_store_jtab, &h.stores);

	h.accel = xstrdup("kvm");
	h.version = xstrdup("0.1.0");
	s->name = xstrdup("local");
	s->total_gib = total_gib;
	s->free_gib = free_gib;
	return h;
}

static bool is_news(struct host a, struct host b)
{
	bool news = inventory_is_news(&a, &b);

	host_done(&a);
	host_done(&b);
	return news;
}

static void test_space(void **state)
{
	(void)state;
	assert_false(is_news(make(1000, 500), make(1000, 500)));
	assert_false(is_news(make(1000, 500), make(1000, 490)));
	assert_true(is_news(make(1000, 500), make(1000, 489)));
	assert_true(is_news(make(1000, 489), make(1000, 500)));
	assert_true(is_news(make(1000, 500), make(1001, 500)));
	assert_true(is_news(make(50, 20), make(50, 19)));
	assert_true(is_news(make(1000, -1), make(1000, 0)));
	assert_false(is_news(make(-1, -1), make(-1, -1)));
}

static void test_others(void **state)
{
	struct host a = make(10, 5), b = make(10, 5);
	struct host_store *s;

	(void)state;
	b.cpus = 9;
	assert_true(inventory_is_news(&a, &b));
	b.cpus = 8;
	b.ram_mib++;
	assert_true(inventory_is_news(&a, &b));
	b.ram_mib--;
	str_set(&b.accel, xstrdup("tcg"));
	assert_true(inventory_is_news(&a, &b));
	str_set(&b.accel, xstrdup("kvm"));
	str_set(&b.version, xstrdup("0.2.0"));
	assert_true(inventory_is_news(&a, &b));
	str_set(&b.version, xstrdup("0.1.0"));
	assert_false(inventory_is_news(&a, &b));
	/* Another store instead. */
	s = jtab_list_at(&host_store_jtab, &b.stores, 0);
	str_set(&s->name, xstrdup("other"));
	assert_true(inventory_is_news(&a, &b));
	host_done(&a);
	host_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
