#include "common/store/kv_fake.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/clock.h"

#define LONG_MSEC 20000

struct fixture {
	struct fake_etcd *f;
	struct kv *kv, *other;
};

static int setup(void **state)
{
	struct fixture *x = xcalloc(1, sizeof(*x));

	x->f = fake_etcd_new();
	x->kv = kv_fake_open(x->f);
	x->other = kv_fake_open(x->f);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	kv_close(x->kv);
	kv_close(x->other);
	fake_etcd_free(x->f);
	free(x);
	return 0;
}

static int64_t put_lease(struct kv *kv, const char *key, const char *value, int64_t lease)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev;

	kv_txn_put_lease(t, key, value, lease);
	assert_int_equal(kv_txn_commit(kv, t, &rev, &e), 0);
	return rev;
}

static int64_t put(struct kv *kv, const char *key, const char *value)
{
	return put_lease(kv, key, value, 0);
}

static int64_t del(struct kv *kv, const char *key)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev;

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(kv, t, &rev, &e), 0);
	return rev;
}

static struct kv_pair get(struct kv *kv, const char *key)
{
	struct kv_pair p;
	struct err e = { 0 };

	assert_int_equal(kv_get(kv, key, &p, NULL, &e), 0);
	return p;
}

static bool exists(struct kv *kv, const char *key)
{
	struct kv_pair p = get(kv, key);
	bool is_there = p.key;

	kv_pair_done(&p);
	return is_there;
}

static struct kv_watch *watch_open(struct kv *kv, const char *prefix, int64_t from_rev)
{
	struct kv_watch_req req = {
		.prefix = prefix, .from_rev = from_rev, .want_prev = true
	};
	struct kv_watch *w;
	struct err e = { 0 };

	assert_int_equal(kv_watch_open(kv, &req, &w, &e), 0);
	return w;
}

/* "+key=value@rev -key@rev", the caller's; "idle", "compacted", "broken". */
static char *next(struct kv_watch *w, int64_t wait_msec)
{
	struct kv_events ev = { 0 };
	struct buf b = { 0 };
	struct err e = { 0 };
	int rc = kv_watch_next(w, wait_msec, &ev, &e);

	for (size_t i = 0; rc == 0 && i < ev.len; i++) {
		const struct kv_pair *p = &ev.v[i].pair;

		if (ev.v[i].is_delete)
			assert_null(p->value);
		buf_addf(&b, "%s%c%s", i ? " " : "", ev.v[i].is_delete ? '-' : '+',
			p->key);
		buf_addf(&b, "%s%s@%d", p->value ? "=" : "", p->value ? p->value : "",
			(int)p->mod_rev);
		if (ev.v[i].prev.key)
			buf_addf(&b, "(was %s)", ev.v[i].prev.value);
	}
	if (rc == 0)
		assert_int_equal(ev.rev, ev.v[ev.len - 1].pair.mod_rev);
	if (rc)
		buf_add_str(&b, rc == KV_IDLE	     ? "idle"
				: rc == KV_COMPACTED ? "compacted"
						     : "broken");
	kv_events_done(&ev);
	return buf_take(&b);
}

static void assert_next(struct kv_watch *w, const char *want)
{
	char *got = next(w, 0);

	assert_string_equal(got, want);
	free(got);
}

static void test_revisions(void **state)
{
	struct fixture *x = *state;
	struct kv_pair p;

	assert_int_equal(fake_etcd_rev(x->f), 1);
	assert_int_equal(put(x->kv, "a", "1"), 2);
	assert_int_equal(put(x->kv, "a", "2"), 3);
	p = get(x->other, "a");
	assert_string_equal(p.value, "2");
	assert_int_equal(p.value_size, 1);
	assert_int_equal(p.create_rev, 2);
	assert_int_equal(p.mod_rev, 3);
	kv_pair_done(&p);
	assert_int_equal(del(x->kv, "b"), 3); /* absent: no revision */
	assert_int_equal(del(x->kv, "a"), 4);
	assert_false(exists(x->kv, "a"));
	assert_int_equal(del(x->kv, "a"), 4);
	put(x->kv, "a", "3");
	p = get(x->kv, "a");
	assert_int_equal(p.create_rev, 5); /* a new life */
	kv_pair_done(&p);
}

static int commit(struct kv *kv, struct kv_txn *t, int64_t *rev)
{
	struct err e = { 0 };
	int rc = kv_txn_commit(kv, t, rev, &e);

	kv_txn_free(t);
	return rc;
}

static struct kv_txn *txn_writing(void)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_put(t, "n", "new");
	kv_txn_del(t, "gone");
	return t;
}

static void test_comparisons(void **state)
{
	struct fixture *x = *state;
	struct kv_txn *t;
	int64_t rev = 0;

	put(x->kv, "a", "1"); /* 2 */
	put(x->kv, "a", "2"); /* 3 */
	t = txn_writing();
	kv_txn_if_rev(t, "a", 2);
	assert_int_equal(commit(x->kv, t, &rev), KV_CONFLICT);
	assert_int_equal(rev, 3);
	t = txn_writing();
	kv_txn_if_rev(t, "a", 0);
	assert_int_equal(commit(x->kv, t, NULL), KV_CONFLICT);
	t = txn_writing();
	kv_txn_if_rev(t, "b", 3);
	assert_int_equal(commit(x->kv, t, NULL), KV_CONFLICT);
	t = txn_writing();
	kv_txn_if_lock(t, "a", 3);
	assert_int_equal(commit(x->kv, t, NULL), KV_CONFLICT);
	t = txn_writing();
	kv_txn_if_present(t, "b");
	assert_int_equal(commit(x->kv, t, NULL), KV_CONFLICT);
	assert_false(exists(x->kv, "n"));
	t = txn_writing();
	kv_txn_if_rev(t, "a", 3);
	kv_txn_if_lock(t, "a", 2);
	kv_txn_if_present(t, "a");
	kv_txn_if_rev(t, "b", 0);
	assert_int_equal(commit(x->kv, t, &rev), 0);
	assert_int_equal(rev, 4);
	assert_true(exists(x->kv, "n"));
	t = kv_txn_new();
	kv_txn_if_rev(t, "a", 3);
	assert_int_equal(commit(x->kv, t, &rev), 0);
	assert_int_equal(rev, 4); /* wrote nothing */
}

static void test_ranges(void **state)
{
	struct fixture *x = *state;
	const char *want[] = { "p/", "p/a", "p/a!", "p/aa", "p/b", "p/\xc3\xa4" };
	const char *many[] = { "p/b", "none", "q" };
	struct kv_list l;
	struct err e = { 0 };
	int64_t count, rev;

	put(x->kv, "q", "");
	put(x->kv, "o", "");
	for (int i = ARRAY_LEN(want) - 1; i >= 0; i--)
		rev = put(x->kv, want[i], "v");
	assert_int_equal(kv_range(x->kv, "p/", 0, &l, &e), 0);
	assert_int_equal(l.len, ARRAY_LEN(want));
	for (size_t i = 0; i < l.len; i++)
		assert_string_equal(l.v[i].key, want[i]);
	assert_int_equal(l.rev, rev);
	assert_false(l.has_more);
	kv_list_done(&l);
	assert_int_equal(kv_range_page(x->kv, "p/", "p/a", 2, 0, &l, &e), 0);
	assert_int_equal(l.len, 2);
	assert_string_equal(l.v[0].key, "p/a!");
	assert_string_equal(l.v[1].key, "p/aa");
	assert_true(l.has_more);
	kv_list_done(&l);
	assert_int_equal(kv_range_page(x->kv, "p/", "p/aa", 2, 0, &l, &e), 0);
	assert_false(l.has_more);
	kv_list_done(&l);
	assert_int_equal(kv_count(x->kv, "p/", &count, &e), 0);
	assert_int_equal(count, ARRAY_LEN(want));
	assert_int_equal(kv_get_many(x->kv, many, 3, &l, &e), 0);
	assert_string_equal(l.v[0].key, "p/b");
	assert_null(l.v[1].key);
	assert_string_equal(l.v[2].value, "");
	assert_int_equal(l.rev, rev);
	kv_list_done(&l);
}

static void test_the_past_until_compaction(void **state)
{
	struct fixture *x = *state;
	struct kv_list l;
	struct err e = { 0 };

	put(x->kv, "a", "1"); /* 2 */
	put(x->kv, "b", "1"); /* 3 */
	put(x->kv, "a", "2"); /* 4 */
	del(x->kv, "b");      /* 5 */
	assert_int_equal(kv_range(x->kv, "", 3, &l, &e), 0);
	assert_int_equal(l.len, 2);
	assert_string_equal(l.v[0].value, "1");
	assert_int_equal(l.rev, 3);
	kv_list_done(&l);
	fake_etcd_compact(x->f);
	assert_int_equal(kv_range(x->kv, "", 4, &l, &e), KV_COMPACTED);
	assert_int_equal(kv_range(x->kv, "", 5, &l, &e), 0);
	assert_int_equal(l.len, 1);
	assert_string_equal(l.v[0].value, "2");
	assert_int_equal(l.v[0].create_rev, 2);
	kv_list_done(&l);
	assert_true(kv_range(x->kv, "", 6, &l, &e) < 0);
	for (int i = 0; i < 100; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i * 37 % 100);
		put(x->kv, key, "");
		if (i % 3 == 0)
			fake_etcd_compact(x->f);
	}
	assert_int_equal(kv_range(x->kv, "", 0, &l, &e), 0);
	assert_int_equal(l.len, 101);
	kv_list_done(&l);
}

static void test_watch(void **state)
{
	struct fixture *x = *state;
	struct kv_txn *t = kv_txn_new();
	struct kv_watch *w, *late;

	put(x->kv, "p/a", "1"); /* 2 */
	w = watch_open(x->kv, "p/", 2);
	put(x->kv, "q", "1"); /* 3 */
	kv_txn_del(t, "p/a");
	kv_txn_put(t, "q", "2");
	kv_txn_put(t, "p/b", "1");
	commit(x->other, t, NULL); /* 4 */
	put(x->kv, "p/b", "2");	   /* 5 */
	assert_next(w, "+p/a=1@2 -p/a@4(was 1) +p/b=1@4 +p/b=2@5(was 1)");
	assert_next(w, "idle");
	put(x->kv, "q", "3"); /* 6 */
	assert_next(w, "idle");
	late = watch_open(x->kv, "p/", 6);
	assert_next(late, "idle");
	put(x->kv, "p/b", "3"); /* 7 */
	fake_etcd_compact(x->f);
	put(x->kv, "p/b", "4"); /* 8 */
	assert_next(w, "compacted");
	assert_next(w, "compacted");
	assert_next(late, "compacted");
	kv_watch_close(w);
	kv_watch_close(late);
	w = watch_open(x->kv, "p/", 7);
	assert_next(w, "compacted");
	kv_watch_close(w);
	w = watch_open(x->kv, "p/", 8);
	assert_next(w, "+p/b=4@8(was 3)");
	fake_etcd_compact(x->f); /* it has seen everything */
	put(x->kv, "p/b", "5");
	assert_next(w, "+p/b=5@9(was 4)");
	kv_watch_close(w);
}

static void test_watch_one_key_and_the_future(void **state)
{
	struct fixture *x = *state;
	struct kv_watch_req req = { .prefix = "a", .is_single_key = true, .from_rev = 4 };
	struct kv_watch *w;
	struct err e = { 0 };

	assert_int_equal(kv_watch_open(x->kv, &req, &w, &e), 0);
	put(x->kv, "a", "1");  /* 2 */
	put(x->kv, "ab", "1"); /* 3 */
	assert_next(w, "idle");
	put(x->kv, "ab", "2"); /* 4 */
	put(x->kv, "a", "2");  /* 5 */
	assert_next(w, "+a=2@5");
	kv_watch_close(w);
}

/* ---------------------------------------------------------------------------- faults */

struct faults {
	int read, write;
	size_t n_show;
	int n_asked;
	struct kv *other; /* a write comes in between */
};

static int on_read(void *aux)
{
	return ((struct faults *)aux)->read;
}

static int on_write(void *aux)
{
	struct faults *f = aux;

	f->n_asked++;
	if (f->other)
		put(f->other, "between", "");
	return f->write;
}

static size_t on_watch(void *aux, size_t n_pending)
{
	struct faults *f = aux;

	assert_true(n_pending > 0);
	return f->n_show;
}

static void test_faults(void **state)
{
	struct fixture *x = *state;
	struct faults faults = { .n_show = 0 };
	struct kv_fault fault = { .on_read = on_read,
		.on_write = on_write,
		.on_watch = on_watch,
		.aux = &faults };
	struct kv_watch *w = watch_open(x->kv, "n", 2);
	struct kv_pair p;
	struct err e = { 0 };
	int64_t rev = 77, lease = 77, ttl = 77;

	kv_fake_set_fault(x->kv, &fault);
	faults.write = 1;
	assert_int_equal(commit(x->kv, txn_writing(), &rev), -1);
	assert_int_equal(kv_lease_grant(x->kv, 10, &lease, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	faults.write = 3;
	assert_int_equal(commit(x->kv, txn_writing(), &rev), KV_UNKNOWN);
	assert_false(exists(x->other, "n"));
	faults.write = 2;
	assert_int_equal(commit(x->kv, txn_writing(), &rev), KV_UNKNOWN);
	assert_true(exists(x->other, "n"));
	assert_int_equal(kv_lease_grant(x->kv, 10, &lease, &e), -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_int_equal(kv_lease_keepalive(x->kv, 0x1000, &ttl, &e), -1);
	assert_int_equal(rev, 77);
	assert_int_equal(lease, 77);
	assert_int_equal(ttl, 77);
	assert_int_equal(faults.n_asked, 6);
	faults.write = 0;
	faults.other = x->other;
	assert_int_equal(commit(x->kv, txn_writing(), &rev), 0);
	assert_true(exists(x->kv, "between"));
	faults.read = 1;
	assert_int_equal(kv_get(x->kv, "n", &p, NULL, &e), -1);
	assert_true(exists(x->other, "n"));
	assert_next(w, "idle"); /* two wait */
	faults.n_show = 1;
	assert_next(w, "+n=new@2");
	assert_next(w, "+n=new@4(was new)");
	kv_fake_set_fault(x->kv, NULL);
	assert_true(exists(x->kv, "n"));
	fault = (struct kv_fault){ .is_cut = true };
	kv_fake_set_fault(x->kv, &fault);
	assert_int_equal(kv_get(x->kv, "n", &p, NULL, &e), -1);
	assert_int_equal(commit(x->kv, txn_writing(), &rev), -1);
	kv_fake_set_fault(x->kv, NULL);
	assert_next(w, "broken"); /* for good */
	kv_watch_close(w);
}

/* A transaction is never shown in parts. */
static void test_partial_watch(void **state)
{
	struct fixture *x = *state;
	struct faults faults = { .n_show = 2 };
	struct kv_fault fault = { .on_watch = on_watch, .aux = &faults };
	struct kv_watch *w = watch_open(x->kv, "", 2);
	struct kv_txn *t = kv_txn_new();

	kv_fake_set_fault(x->kv, &fault);
	put(x->kv, "a", "");
	kv_txn_put(t, "b", "");
	kv_txn_put(t, "c", "");
	commit(x->kv, t, NULL);
	put(x->kv, "d", "");
	assert_next(w, "+a=@2 +b=@3 +c=@3");
	assert_next(w, "+d=@4");
	kv_watch_close(w);
}

/* ---------------------------------------------------------------------- with threads */

static void *put_later(void *aux)
{
	struct fixture *x = aux;

	for (int i = 0; i < 200; i++)
		put(x->other, "a", "1");
	return NULL;
}

static void test_waiting(void **state)
{
	struct fixture *x = *state;
	struct kv_watch *w = watch_open(x->kv, "a", 2);
	int64_t seen = 1, limit = clock_mono_msec() + LONG_MSEC;
	pthread_t thread;

	pthread_create(&thread, NULL, put_later, x);
	while (seen < 201 && clock_mono_msec() < limit) {
		struct kv_events ev = { 0 };
		struct err e = { 0 };

		if (kv_watch_next(w, LONG_MSEC, &ev, &e) == 0) {
			assert_int_equal(ev.v[0].pair.mod_rev, seen + 1);
			seen = ev.rev;
		}
		kv_events_done(&ev);
	}
	pthread_join(thread, NULL);
	assert_int_equal(seen, 201);
	free(next(w, 5)); /* the time is up */
	kv_watch_close(w);
}

static void *wait_for_wake(void *aux)
{
	return next(aux, LONG_MSEC);
}

static void test_wake(void **state)
{
	struct fixture *x = *state;
	struct kv_watch *w = watch_open(x->kv, "a", 2);
	int64_t start = clock_mono_msec();
	struct kv_fault cut = { .is_cut = true };
	pthread_t thread;
	void *got;

	pthread_create(&thread, NULL, wait_for_wake, w);
	kv_watch_wake(w); /* before it waits or while: the same */
	pthread_join(thread, &got);
	assert_string_equal(got, "idle");
	free(got);
	pthread_create(&thread, NULL, wait_for_wake, w);
	kv_fake_set_fault(x->kv, &cut);
	pthread_join(thread, &got);
	assert_string_equal(got, "broken");
	free(got);
	kv_watch_close(w);
	assert_true(clock_mono_msec() - start < LONG_MSEC / 2);
}

/* Nobody calls while a lease ends: the watcher notices by itself. */
static void test_waiting_for_the_end_of_a_lease(void **state)
{
	struct fixture *x = *state;
	struct kv_watch *w;
	struct err e = { 0 };
	int64_t lease, start = clock_mono_msec();
	char *got;

	assert_int_equal(kv_lease_grant(x->kv, 1, &lease, &e), 0);
	put_lease(x->kv, "a", "1", lease);
	w = watch_open(x->other, "a", 3);
	got = next(w, LONG_MSEC);
	assert_string_equal(got, "-a@3(was 1)");
	free(got);
	assert_in_range(clock_mono_msec() - start, 1000, LONG_MSEC / 2);
	kv_watch_close(w);
}

/* ------------------------------------------------------------------- with a fake clock */

static void test_leases(void **state)
{
	struct fixture *x = *state;
	struct kv_watch *w;
	struct kv_pair p;
	struct err e = { 0 };
	int64_t lease, other, ttl = 0;
	struct kv_txn *t;

	assert_int_equal(kv_lease_grant(x->kv, 10, &lease, &e), 0);
	assert_int_equal(kv_lease_grant(x->kv, 20, &other, &e), 0);
	assert_true(lease != other && lease > 0);
	put_lease(x->kv, "a", "", lease); /* 2 */
	put_lease(x->kv, "b", "", lease); /* 3 */
	put_lease(x->kv, "c", "", lease); /* 4 */
	put_lease(x->kv, "c", "", other); /* 5: moves to the other lease */
	put_lease(x->kv, "d", "", lease); /* 6 */
	put(x->kv, "d", "");		  /* 7: bound no longer */
	p = get(x->kv, "c");
	assert_int_equal(p.lease, other);
	kv_pair_done(&p);
	w = watch_open(x->kv, "", 8);
	clock_fake_advance(9999);
	assert_int_equal(kv_lease_keepalive(x->kv, lease, &ttl, &e), 0);
	assert_int_equal(ttl, 10);
	clock_fake_advance(9999);
	assert_true(exists(x->kv, "a"));
	clock_fake_advance(1);
	fake_etcd_tick(x->f);
	assert_next(w, "-a@8(was ) -b@8(was )"); /* in one revision */
	assert_true(exists(x->kv, "d"));
	assert_true(exists(x->kv, "c"));
	assert_int_equal(kv_lease_keepalive(x->kv, lease, &ttl, &e), 0);
	assert_int_equal(ttl, 0);
	t = kv_txn_new();
	kv_txn_put(t, "x", "");
	kv_txn_put_lease(t, "y", "", lease);
	assert_int_equal(commit(x->kv, t, NULL), -1);
	assert_false(exists(x->kv, "x"));
	assert_int_equal(kv_lease_revoke(x->kv, other, &e), 0);
	assert_next(w, "-c@9(was )");
	assert_int_equal(kv_lease_revoke(x->kv, other, &e), 0); /* already gone */
	assert_int_equal(fake_etcd_rev(x->f), 9);
	kv_watch_close(w);
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
		TEST(test_revisions),
		TEST(test_comparisons),
		TEST(test_ranges),
		TEST(test_the_past_until_compaction),
		TEST(test_watch),
		TEST(test_watch_one_key_and_the_future),
		TEST(test_faults),
		TEST(test_partial_watch),
		TEST(test_waiting),
		TEST(test_wake),
		TEST(test_waiting_for_the_end_of_a_lease),
	};
	const struct CMUnitTest fake[] = {
		TEST(test_leases),
	};
	int n_failed = cmocka_run_group_tests(real, NULL, NULL);

	return n_failed + cmocka_run_group_tests(fake, start_fake_clock, NULL);
}
