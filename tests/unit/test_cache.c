#include "common/store/cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC 20000

/* What is stored: {"n": 1}. */
struct thing {
	int64_t n;
};

static atomic_int n_things;

static void *thing_parse(const char *name, json_t *json, struct err *e)
{
	struct thing *t;

	if (!json_is_integer(json_object_get(json, "n"))) {
		(void)err_set(e, ERR_INVALID, "%s has no number", name);
		return NULL;
	}
	t = xcalloc(1, sizeof(*t));
	t->n = json_integer_value(json_object_get(json, "n"));
	atomic_fetch_add(&n_things, 1);
	return t;
}

static void thing_free(void *obj)
{
	atomic_fetch_sub(&n_things, 1);
	free(obj);
}

static const struct cache_class thing_class = { .parse = thing_parse,
	.free = thing_free };

struct fixture {
	struct fake_etcd *f;
	struct kv *kv, *writer;
	struct cache *c;
	struct buf story; /* "+a=1 a=1>2 -a" */
	char *last_warning;
	int n_warn;
	atomic_int n_changes;
};

static void log_sink(void *aux, enum log_level level, const char *line)
{
	struct fixture *x = aux;

	if (level != LOG_WARN)
		return;
	x->n_warn++;
	str_set(&x->last_warning, xstrdup(line));
}

static void add_item(struct buf *b, const struct cache_item *it)
{
	if (it->obj)
		buf_addf(b, "%d", (int)((struct thing *)it->obj)->n);
	else
		buf_add_str(b, "?");
}

static void on_change(
	void *aux, const struct cache_item *before, const struct cache_item *after)
{
	struct fixture *x = aux;
	const struct cache_item *now =
		cache_get(x->c, after ? after->name : before->name);

	/* No lock is held, and the change is to be seen. */
	assert_ptr_equal(now, after);
	cache_item_put(now);
	buf_addf(&x->story, "%s%s",
		before && after ? ""
		: after		? "+"
				: "-",
		after ? after->name : before->name);
	if (before) {
		buf_add_str(&x->story, "=");
		add_item(&x->story, before);
	}
	if (after) {
		buf_add_str(&x->story, before ? ">" : "=");
		add_item(&x->story, after);
	}
	buf_add_char(&x->story, ' ');
	atomic_fetch_add(&x->n_changes, 1);
}

static int setup(void **state)
{
	struct fixture *x = xcalloc(1, sizeof(*x));

	x->f = fake_etcd_new();
	x->kv = kv_fake_open(x->f);
	x->writer = kv_fake_open(x->f);
	x->c = cache_new(x->kv, "/t/", &thing_class, on_change, x);
	log_set_sink(log_sink, x);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	log_set_sink(NULL, NULL);
	cache_free(x->c);
	assert_int_equal(atomic_load(&n_things), 0);
	kv_close(x->kv);
	kv_close(x->writer);
	fake_etcd_free(x->f);
	buf_done(&x->story);
	free(x->last_warning);
	free(x);
	return 0;
}

/* value NULL deletes. */
static void put(struct fixture *x, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(x->writer, t, NULL, &e), 0);
}

static void assert_story(struct fixture *x, const char *want)
{
	assert_string_equal(buf_str(&x->story), want);
	buf_clear(&x->story);
}

static void step(struct fixture *x)
{
	while (cache_step(x->c))
		;
}

static void test_mirror(void **state)
{
	struct fixture *x = *state;
	const struct cache_item *it, *old;
	struct cache_items items;

	put(x, "/t/b", "{\"n\": 1}");
	put(x, "/t/a", "{\"n\": 2}");
	put(x, "/u", "{\"n\": 2}");
	assert_false(cache_is_synced(x->c));
	assert_null(cache_get(x->c, "a"));
	step(x);
	assert_true(cache_is_synced(x->c));
	assert_story(x, "+a=2 +b=1 ");
	old = cache_get(x->c, "b");
	assert_string_equal(old->key, "/t/b");
	assert_string_equal(old->name, "b");
	assert_int_equal(old->mod_rev, 2);
	assert_null(old->value);
	put(x, "/t/b", "{\"n\": 5}");
	put(x, "/t/0", "{\"n\": 0}");
	put(x, "/t/a", NULL);
	step(x);
	assert_story(x, "b=1>5 +0=0 -a=2 ");
	assert_int_equal(((struct thing *)old->obj)->n, 1); /* a reader's stays */
	it = cache_get(x->c, "b");
	assert_int_equal(it->create_rev, 2);
	assert_int_equal(it->mod_rev, 5);
	cache_item_put(it);
	assert_int_equal(cache_len(x->c), 2);
	cache_items_get(x->c, &items);
	assert_int_equal(items.len, 2);
	assert_string_equal(items.v[0]->name, "b"); /* in the order they came */
	assert_string_equal(items.v[1]->name, "0");
	cache_items_done(&items);
	cache_items_done(&items);
	cache_item_put_ptr(&old);
	assert_null(old);
	cache_item_put(NULL);
}

static void test_invalid_is_there(void **state)
{
	struct fixture *x = *state;
	const struct cache_item *it;

	put(x, "/t/a", "{\"n\": ");
	put(x, "/t/b", "{\"n\": 1}");
	step(x);
	assert_story(x, "+a=? +b=1 ");
	assert_int_equal(x->n_warn, 1);
	assert_non_null(strstr(x->last_warning, "/t/a"));
	put(x, "/t/b", "{\"m\": 1}");
	step(x);
	assert_story(x, "b=1>? ");
	assert_int_equal(x->n_warn, 2);
	assert_non_null(strstr(x->last_warning, "b has no number"));
	it = cache_get(x->c, "b");
	assert_non_null(it);
	assert_null(it->obj);
	cache_item_put(it);
	assert_int_equal(cache_len(x->c), 2);
	fake_etcd_compact(x->f);
	step(x);
	assert_int_equal(x->n_warn, 2); /* not again */
	put(x, "/t/b", NULL);
	put(x, "/t/a", "{\"n\": 3}");
	step(x);
	assert_story(x, "-b=? a=?>3 ");
}

static void test_sweep_after_compaction(void **state)
{
	struct fixture *x = *state;

	put(x, "/t/a", "{\"n\": 1}");
	put(x, "/t/b", "{\"n\": 1}");
	put(x, "/t/c", "{\"n\": 1}");
	put(x, "/t/d", "{\"n\": 1}");
	step(x);
	buf_clear(&x->story);
	put(x, "/t/a", NULL);
	put(x, "/t/b", "{\"n\": 2}");
	put(x, "/t/c", NULL);
	put(x, "/t/c", "{\"n\": 1}"); /* another life */
	put(x, "/t/e", "{\"n\": 1}");
	fake_etcd_compact(x->f);
	step(x);
	assert_story(x, "b=1>2 c=1>1 +e=1 -a=1 ");
	assert_int_equal(cache_len(x->c), 4);
}

/* A restored store gives revisions out a second time. */
static void test_restored_store(void **state)
{
	struct fixture *x = *state;
	const struct cache_item *it;

	put(x, "/t/a", "{\"n\": 1}"); /* 2 */
	put(x, "/t/c", "{\"n\": 1}"); /* 3 */
	put(x, "/t/a", "{\"n\": 2}"); /* 4 */
	put(x, "/t/b", "{\"n\": 1}"); /* 5 */
	put(x, "/t/c", NULL);	      /* 6 */
	step(x);
	buf_clear(&x->story);
	fake_etcd_restore(x->f, 3);
	put(x, "/t/a", "{\"n\": 7}"); /* 4 again */
	step(x);
	assert_story(x, "a=2>7 +c=1 -b=1 ");
	it = cache_get(x->c, "a");
	assert_int_equal(it->mod_rev, 4);
	cache_item_put(it);
	put(x, "/t/a", "{\"n\": 8}"); /* 5 again */
	step(x);
	assert_story(x, "a=7>8 ");
}

struct breaker {
	struct fixture *x;
	int n_reads;
};

static int break_second_page(void *aux)
{
	return ++((struct breaker *)aux)->n_reads == 2;
}

/* Absence counts only in a complete list. */
static void test_half_a_list_removes_nothing(void **state)
{
	struct fixture *x = *state;
	struct breaker b = { .x = x };
	struct kv_fault fault = { .on_read = break_second_page, .aux = &b };

	for (int i = 0; i < 1500; i++) {
		char key[16];

		snprintf(key, sizeof(key), "/t/%04d", i);
		put(x, key, "{\"n\": 1}");
	}
	step(x);
	buf_clear(&x->story);
	put(x, "/t/1499", NULL);
	put(x, "/t/0001", NULL);
	fake_etcd_compact(x->f);
	kv_fake_set_fault(x->kv, &fault);
	step(x);
	assert_int_equal(b.n_reads, 2);
	assert_story(x, "");
	assert_int_equal(cache_len(x->c), 1500);
	clock_fake_advance(200);
	step(x);
	assert_story(x, "-0001=1 -1499=1 ");
	assert_int_equal(cache_len(x->c), 1498);
}

static void test_text_class(void **state)
{
	struct fixture *x = *state;
	struct cache *c = cache_new(x->kv, "/t/", NULL, NULL, NULL);
	const struct cache_item *it;

	put(x, "/t/a", "no json");
	while (cache_step(c))
		;
	it = cache_get(c, "a");
	assert_string_equal(it->value, "no json");
	assert_null(it->obj);
	cache_free(c); /* the item outlives it */
	assert_string_equal(it->key, "/t/a");
	cache_item_put(it);
	assert_int_equal(x->n_warn, 0);
}

/* ------------------------------------------------------------------------ with threads */

static atomic_bool is_over;

static void *read_all(void *aux)
{
	struct cache *c = aux;
	int64_t sum = 0;

	while (!atomic_load(&is_over)) {
		const struct cache_item *it = cache_get(c, "a");
		struct cache_items items;

		cache_items_get(c, &items);
		for (size_t i = 0; i < items.len; i++)
			sum += ((struct thing *)items.v[i]->obj)->n;
		cache_items_done(&items);
		cache_item_put(it);
		sched_yield();
	}
	return (void *)(uintptr_t)(sum >= 0);
}

static bool has_all(void *aux)
{
	const struct cache_item *it = cache_get(aux, "z");

	cache_item_put(it);
	return it;
}

static void test_threads(void **state)
{
	struct fixture *x = *state;
	struct cache *c = cache_new(x->kv, "/t/", &thing_class, NULL, NULL);
	pthread_t readers[2];

	atomic_store(&is_over, false);
	put(x, "/t/a", "{\"n\": 1}");
	assert_false(cache_wait_synced(c, 5));
	cache_start(c);
	cache_start(c);
	assert_true(cache_wait_synced(c, LONG_MSEC));
	for (int i = 0; i < 2; i++)
		pthread_create(&readers[i], NULL, read_all, c);
	for (int i = 0; i < 300; i++) {
		put(x, "/t/a", i % 3 ? "{\"n\": 2}" : NULL);
		put(x, "/t/b", i % 2 ? "{\"n\": 2}" : NULL);
	}
	put(x, "/t/z", "{\"n\": 2}");
	assert_true(wait_until(has_all, c, LONG_MSEC));
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(readers[i], NULL);
	cache_free(c);
	cache_free(NULL);
}

static int start_fake_clock(void **state)
{
	(void)state;
	clock_fake_start(1700000000000);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest real[] = {
		TEST(test_mirror),
		TEST(test_invalid_is_there),
		TEST(test_sweep_after_compaction),
		TEST(test_restored_store),
		TEST(test_text_class),
		TEST(test_threads),
	};
	const struct CMUnitTest fake[] = {
		TEST(test_half_a_list_removes_nothing),
	};
	int n_failed = cmocka_run_group_tests(real, NULL, NULL);

	return n_failed + cmocka_run_group_tests(fake, start_fake_clock, NULL);
}
