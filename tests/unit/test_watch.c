#include "common/store/watch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC 20000

/* A sink that writes down what it is told: "[a=1 b=2 ]@3 +c=1 -a ". */
struct story {
	pthread_mutex_t lock;
	struct buf text;
	int n_lists, n_pages, n_keys;
	int64_t last_rev;
	bool is_brief; /* counts only */
};

static void tell(struct story *s, const char *fmt, const char *key, const char *value)
{
	pthread_mutex_lock(&s->lock);
	s->n_keys += key != NULL;
	if (!s->is_brief)
		buf_addf(&s->text, "%s%s%s%s ", fmt, key ? key : "", value ? "=" : "",
			value ? value : "");
	pthread_mutex_unlock(&s->lock);
}

static void list_begin(void *aux)
{
	((struct story *)aux)->n_lists++;
	tell(aux, "[", NULL, NULL);
}

static void list_page(void *aux, const struct kv_list *page)
{
	((struct story *)aux)->n_pages++;
	for (size_t i = 0; i < page->len; i++)
		tell(aux, "", page->v[i].key, page->v[i].value);
}

static void list_end(void *aux, int64_t rev)
{
	char text[32];

	snprintf(text, sizeof(text), "]@%d", (int)rev);
	tell(aux, text, NULL, NULL);
	((struct story *)aux)->last_rev = rev;
}

static void change(void *aux, const struct kv_events *ev)
{
	for (size_t i = 0; i < ev->len; i++) {
		const struct kv_event *one = &ev->v[i];

		tell(aux, one->is_delete ? "-" : "+", one->pair.key, one->pair.value);
		if (one->prev.key)
			tell(aux, "was ", one->prev.key, one->prev.value);
	}
	((struct story *)aux)->last_rev = ev->rev;
}

static const struct watch_sink sink = {
	.list_begin = list_begin,
	.list_page = list_page,
	.list_end = list_end,
	.change = change,
};

static struct {
	int n_warn, n_info;
} logged;

static void log_sink(void *aux, enum log_level level, const char *line)
{
	(void)aux;
	(void)line;
	logged.n_warn += level == LOG_WARN;
	logged.n_info += level == LOG_INFO;
}

struct fixture {
	struct fake_etcd *f;
	struct kv *kv, *writer;
	struct story story;
};

static int setup(void **state)
{
	struct fixture *x = xcalloc(1, sizeof(*x));

	x->f = fake_etcd_new();
	x->kv = kv_fake_open(x->f);
	x->writer = kv_fake_open(x->f);
	pthread_mutex_init(&x->story.lock, NULL);
	log_set_sink(log_sink, NULL);
	memset(&logged, 0, sizeof(logged));
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	log_set_sink(NULL, NULL);
	kv_close(x->kv);
	kv_close(x->writer);
	fake_etcd_free(x->f);
	buf_done(&x->story.text);
	pthread_mutex_destroy(&x->story.lock);
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

static struct watch *open_watch(struct fixture *x, const struct watch_conf *conf)
{
	return watch_new(x->kv, conf, &sink, &x->story);
}

static void assert_story(struct fixture *x, const char *want)
{
	assert_string_equal(buf_str(&x->story.text), want);
	buf_clear(&x->story.text);
}

static void set_cut(struct fixture *x, bool is_cut)
{
	struct kv_fault fault = { .is_cut = is_cut };

	kv_fake_set_fault(x->kv, &fault);
}

static void test_list_and_follow(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/", .want_prev = true };
	struct watch *w = open_watch(x, &conf);

	put(x, "p/a", "1");
	put(x, "q", "1");
	assert_false(watch_is_synced(w));
	assert_true(watch_step(w));
	assert_true(watch_is_synced(w));
	assert_story(x, "[ p/a=1 ]@3 ");
	assert_false(watch_step(w));
	put(x, "p/b", "1");
	put(x, "p/a", NULL);
	put(x, "q", NULL);
	assert_true(watch_step(w));
	assert_false(watch_step(w));
	assert_story(x, "+p/b=1 -p/a was p/a=1 ");
	watch_free(w);
	watch_free(NULL);
}

static void test_single_key(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "a", .is_single_key = true };
	struct watch *w;

	put(x, "a", "1");
	put(x, "ab", "1");
	w = open_watch(x, &conf);
	assert_true(watch_step(w));
	assert_story(x, "[ a=1 ]@3 ");
	put(x, "ab", "2");
	put(x, "a", NULL);
	assert_true(watch_step(w));
	assert_story(x, "-a ");
	watch_free(w);
	w = open_watch(x, &conf);
	assert_true(watch_step(w));
	assert_story(x, "[ ]@5 ");
	watch_free(w);
}

static void test_tail(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "", .is_tail = true };
	struct watch *w = open_watch(x, &conf);

	put(x, "a", "1");
	assert_true(watch_step(w));
	assert_story(x, "[ ]@2 ");
	put(x, "a", "2");
	assert_true(watch_step(w));
	assert_story(x, "+a=2 ");
	put(x, "a", "3");
	fake_etcd_compact(x->f); /* a gap */
	put(x, "a", "4");
	assert_true(watch_step(w));
	assert_story(x, "[ ]@5 ");
	watch_free(w);
}

/* ------------------------------------------------------------------- with a fake clock */

static void test_broken_and_back(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	struct watch *w = open_watch(x, &conf);
	int64_t waited_msec = 0;

	set_cut(x, true);
	for (; waited_msec < 20000; waited_msec += 50) {
		assert_false(watch_step(w));
		clock_fake_advance(50);
	}
	assert_int_equal(logged.n_warn, 1); /* said once */
	/* Not asked more often than the back-off says: 7 times until 5 s, then at most one
	 * in 2.5 s. */
	assert_in_range(x->story.n_lists, 5, 7 + 20000 / 2500);
	buf_clear(&x->story.text);
	set_cut(x, false);
	put(x, "p/a", "1");
	assert_int_equal(logged.n_info, 0);
	clock_fake_advance(5000);
	assert_true(watch_step(w));
	assert_int_equal(logged.n_info, 1);
	assert_story(x, "[ p/a=1 ]@2 ");
	clock_fake_advance(10000);
	set_cut(x, true);
	put(x, "p/a", "2");
	assert_false(watch_step(w));
	assert_false(watch_is_synced(w));
	set_cut(x, false);
	put(x, "p/a", "3");
	clock_fake_advance(200); /* it was up for long: the first failure in a row */
	assert_true(watch_step(w));
	assert_true(watch_is_synced(w));
	assert_true(watch_step(w));
	assert_story(x, "+p/a=2 +p/a=3 "); /* nothing lost, nothing listed again */
	/* A stream may end: it was opened again at once. */
	assert_int_equal(logged.n_warn, 1);
	assert_int_equal(logged.n_info, 1);
	watch_free(w);
}

/* A stream that opens and breaks at once is asked for less and less often. */
static void test_flapping(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	struct watch *w = open_watch(x, &conf);
	int n_up = 0;

	for (int64_t msec = 0; msec < 60000; msec += 50) {
		watch_step(w);
		n_up += watch_is_synced(w);
		set_cut(x, true);
		watch_step(w);
		set_cut(x, false);
		clock_fake_advance(50);
	}
	assert_in_range(n_up, 60000 / 5000 / 2, 7 + 60000 / 2500);
	watch_free(w);
}

static void test_compacted(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	struct watch *w = open_watch(x, &conf);

	assert_true(watch_step(w));
	assert_story(x, "[ ]@1 ");
	put(x, "p/a", "1");
	put(x, "p/a", NULL);
	put(x, "p/b", "1");
	fake_etcd_compact(x->f);
	assert_true(watch_step(w));
	assert_story(x, "[ p/b=1 ]@4 "); /* what is gone is for the sink to sweep */
	put(x, "p/b", "2");
	fake_etcd_compact(x->f); /* so soon again: not for ever at once */
	assert_false(watch_step(w));
	assert_int_equal(logged.n_warn, 1);
	clock_fake_advance(200);
	assert_true(watch_step(w));
	assert_story(x, "[ p/b=2 ]@5 ");
	assert_true(watch_is_synced(w));
	watch_free(w);
}

struct compactor {
	struct fixture *x;
	int at_read;
	int n_reads;
};

static int compact_in_the_middle(void *aux)
{
	struct compactor *c = aux;

	if (++c->n_reads == c->at_read) {
		put(c->x, "p/0000", NULL);
		fake_etcd_compact(c->x->f);
	}
	return 0;
}

static void test_pages(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	struct watch *w = open_watch(x, &conf);
	struct compactor c = { .x = x, .at_read = 2 };
	struct kv_fault fault = { .on_read = compact_in_the_middle, .aux = &c };

	for (int i = 0; i < 2500; i++) {
		char key[16];

		snprintf(key, sizeof(key), "p/%04d", i);
		put(x, key, "v");
	}
	x->story.is_brief = true;
	kv_fake_set_fault(x->kv, &fault);
	assert_false(watch_step(w)); /* the second page's revision is gone */
	assert_false(watch_is_synced(w));
	assert_int_equal(x->story.n_lists, 1);
	assert_int_equal(x->story.n_pages, 1);
	x->story.n_keys = 0;
	clock_fake_advance(200);
	assert_true(watch_step(w));
	assert_int_equal(x->story.n_lists, 2);
	assert_int_equal(x->story.n_pages, 4);
	assert_int_equal(x->story.n_keys, 2499);
	assert_int_equal(x->story.last_rev, fake_etcd_rev(x->f));
	watch_free(w);
}

/* ------------------------------------------------------------------------ with threads */

static bool has_seen_all(void *aux)
{
	struct fixture *x = aux;
	bool has;

	pthread_mutex_lock(&x->story.lock);
	has = x->story.n_keys >= 100;
	pthread_mutex_unlock(&x->story.lock);
	return has;
}

static void test_thread(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	struct watch *w = open_watch(x, &conf);
	int64_t start = test_now_msec();

	x->story.is_brief = true;
	watch_start(w);
	for (int i = 0; i < 100; i++) {
		put(x, "p/a", "1");
		if (i == 50)
			set_cut(x, true);
		if (i == 60)
			set_cut(x, false);
	}
	/* It may have listed late: then fewer changes are told, so write until it saw 100. */
	while (!wait_until(has_seen_all, x, 50) && test_now_msec() < start + LONG_MSEC)
		for (int i = 0; i < 100; i++)
			put(x, "p/a", "2");
	assert_true(has_seen_all(x));
	watch_free(w); /* while it waits for an hour */
	assert_true(test_now_msec() < start + LONG_MSEC);
}

static void test_stop_while_cut(void **state)
{
	struct fixture *x = *state;
	struct watch_conf conf = { .prefix = "p/" };
	int64_t start = test_now_msec();

	set_cut(x, true);
	for (int i = 0; i < 20; i++) {
		struct watch *w = open_watch(x, &conf);

		watch_start(w);
		if (i % 2)
			sched_yield();
		watch_free(w);
	}
	assert_true(test_now_msec() < start + LONG_MSEC);
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
		TEST(test_list_and_follow),
		TEST(test_single_key),
		TEST(test_tail),
		TEST(test_thread),
		TEST(test_stop_while_cut),
	};
	const struct CMUnitTest fake[] = {
		TEST(test_broken_and_back),
		TEST(test_flapping),
		TEST(test_compacted),
		TEST(test_pages),
	};
	int n_failed = cmocka_run_group_tests(real, NULL, NULL);

	return n_failed + cmocka_run_group_tests(fake, start_fake_clock, NULL);
}
