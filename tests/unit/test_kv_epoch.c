#include "common/store/kv_epoch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/log.h"

static int n_logged;

static void see_log(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)line;
	n_logged += level == LOG_ERROR;
}

static struct kv_wire_head head(const char *cluster_id, int64_t rev)
{
	struct kv_wire_head h = { .rev = rev };

	snprintf(h.cluster_id, sizeof(h.cluster_id), "%s", cluster_id);
	return h;
}

static void see(struct kv_epoch *ep, struct kv_epoch_mark before, const char *cluster_id,
	int64_t rev)
{
	struct kv_wire_head h = head(cluster_id, rev);

	kv_epoch_see(ep, &before, &h);
}

static void test_revision_goes_back(void **state)
{
	struct kv_epoch *ep = kv_epoch_new();
	struct kv_epoch_mark early, late;

	(void)state;
	n_logged = 0;
	assert_false(kv_epoch_is_void(ep, "/a/"));
	early = kv_epoch_mark(ep);
	see(ep, early, "1", 100);
	see(ep, early, "1", 90); /* sent before 100 was seen: overtaken, not gone back */
	assert_int_equal(kv_epoch_mark(ep).epoch, 0);
	assert_int_equal(kv_epoch_mark(ep).rev, 100);
	late = kv_epoch_mark(ep);
	see(ep, late, "1", 100);
	see(ep, late, "1", 40);
	assert_int_equal(kv_epoch_mark(ep).epoch, 1);
	assert_int_equal(kv_epoch_mark(ep).rev, 40);
	assert_int_equal(n_logged, 1);
	/* Answers to what was sent before that say nothing any more. */
	see(ep, late, "1", 41);
	see(ep, late, "1", 500);
	assert_int_equal(kv_epoch_mark(ep).epoch, 1);
	assert_int_equal(kv_epoch_mark(ep).rev, 40);
	assert_true(kv_epoch_is_void(ep, "/a/"));
	assert_false(kv_epoch_is_void(ep, "/a/")); /* it was said */
	assert_false(kv_epoch_is_void(ep, "/b/")); /* was never watched before */
	assert_int_equal(n_logged, 1);
	kv_epoch_free(ep);
}

static void test_other_cluster(void **state)
{
	struct kv_epoch *ep = kv_epoch_new();
	struct kv_epoch_mark mark = kv_epoch_mark(ep);
	struct kv_wire_head behind = head("1", 3), other = head("2", 500),
			    none = head("", 60);

	(void)state;
	n_logged = 0;
	see(ep, mark, "1", 50);
	mark = kv_epoch_mark(ep);
	kv_epoch_see_id(ep, &mark, &behind); /* a member may lag behind */
	kv_epoch_see_id(ep, &mark, &none);
	assert_int_equal(kv_epoch_mark(ep).epoch, 0);
	kv_epoch_see_id(ep, &mark, &other);
	assert_int_equal(kv_epoch_mark(ep).epoch, 1);
	assert_int_equal(n_logged, 1);
	kv_epoch_free(ep);
}

/* More prefixes than are remembered: what was forgotten is void, too. */
static void test_many_prefixes(void **state)
{
	struct kv_epoch *ep = kv_epoch_new();
	struct kv_epoch_mark mark = kv_epoch_mark(ep);
	char prefix[16];

	(void)state;
	see(ep, mark, "1", 50);
	assert_false(kv_epoch_is_void(ep, "/vm/"));
	for (int i = 0; i < 1000; i++) {
		snprintf(prefix, sizeof(prefix), "/%d/", i);
		assert_false(kv_epoch_is_void(ep, prefix));
	}
	mark = kv_epoch_mark(ep);
	see(ep, mark, "2", 50);
	assert_true(kv_epoch_is_void(ep, "/999/"));
	assert_true(kv_epoch_is_void(ep, "/900/"));
	assert_true(kv_epoch_is_void(ep, "/vm/"));
	assert_false(kv_epoch_is_void(ep, "/vm/"));
	/* It is not known that this one never was there; it is now. */
	assert_true(kv_epoch_is_void(ep, "/new/"));
	assert_false(kv_epoch_is_void(ep, "/new/"));
	kv_epoch_free(ep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_revision_goes_back),
		cmocka_unit_test(test_other_cluster),
		cmocka_unit_test(test_many_prefixes),
	};

	log_set_sink(see_log, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
