/*
 * Cache and session over a real etcd, through what may happen to it: a crash, a compaction
 * while we were away, a restored backup, and a server that hangs.
 */
#include "common/store/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/crypt.h"
#include "common/base/log.h"
#include "common/store/session.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC     30000
#define TTL_MSEC      3000
#define LONG_TTL_MSEC 60000

static struct test_etcd *etcd;

static int64_t put(struct kv *kv, const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev;

	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	if (kv_txn_commit(kv, t, &rev, &e) != 0)
		fail_msg("%s: %s", key, e.msg);
	return rev;
}

struct want {
	struct cache *c;
	const char *text; /* "a=1 b=2" */
};

static bool is_as_wanted(void *aux)
{
	struct want *w = aux;
	struct cache_items items;
	struct buf b = { 0 };
	bool is;

	cache_items_get(w->c, &items);
	for (size_t i = 0; i < items.len; i++)
		buf_addf(
			&b, "%s%s=%s", i ? " " : "", items.v[i]->name, items.v[i]->value);
	is = strcmp(buf_str(&b), w->text) == 0;
	buf_done(&b);
	cache_items_done(&items);
	return is;
}

static void assert_becomes(struct cache *c, const char *text)
{
	struct want w = { c, text };

	if (!wait_until(is_as_wanted, &w, LONG_MSEC))
		fail_msg("it never became %s", text);
}

static void test_cache(void **state)
{
	struct kv *kv = test_etcd_open(etcd), *writer = test_etcd_open(etcd);
	struct cache *c = cache_new(kv, "/c/", NULL, NULL, NULL);

	(void)state;
	put(writer, "/c/a", "1");
	cache_start(c);
	assert_true(cache_wait_synced(c, LONG_MSEC));
	assert_becomes(c, "a=1");
	put(writer, "/c/b", "1");
	assert_becomes(c, "a=1 b=1");
	test_etcd_kill(etcd, 0);
	assert_becomes(c, "a=1 b=1"); /* keeps what it knows */
	test_etcd_restart(etcd, 0);
	test_etcd_wait(etcd);
	put(writer, "/c/a", NULL);
	test_etcd_compact(etcd, put(writer, "/c/b", "2"));
	assert_becomes(c, "b=2");
	test_etcd_save(etcd);
	put(writer, "/c/b", "3");
	put(writer, "/c/d", "1");
	assert_becomes(c, "b=3 d=1");
	test_etcd_restore(etcd);
	test_etcd_wait(etcd);
	put(writer, "/c/e", "1");
	assert_becomes(c, "b=2 e=1");
	cache_free(c);
	kv_close(kv);
	kv_close(writer);
}

struct who {
	atomic_bool is_held;
	_Atomic int64_t held_msec, lost_msec;
};

static void on_held(void *aux)
{
	struct who *w = aux;

	atomic_store(&w->held_msec, test_now_msec());
	atomic_store(&w->is_held, true);
}

static void on_lost(void *aux)
{
	struct who *w = aux;

	atomic_store(&w->lost_msec, test_now_msec());
	atomic_store(&w->is_held, false);
}

static bool is_held(void *aux)
{
	return atomic_load(&((struct who *)aux)->is_held);
}

static bool is_lost(void *aux)
{
	return !is_held(aux);
}

static struct session *start(struct kv *kv, struct who *w, int64_t ttl_msec)
{
	struct session_conf conf = { .kind = SESSION_LOCK,
		.key = "/lock",
		.value = "{}",
		.ttl_sec = ttl_msec / 1000,
		.on_held = on_held,
		.on_lost = on_lost,
		.aux = w };
	struct session *s = session_new(kv, &conf);

	session_start(s);
	return s;
}

/* The server hangs, and every call with it: the loss is known in time. */
static void test_frozen(void **state)
{
	struct kv *kv = test_etcd_open(etcd);
	struct who w = { .is_held = false };
	struct session *s = start(kv, &w, TTL_MSEC);
	int64_t frozen_msec;

	(void)state;
	assert_true(wait_until(is_held, &w, LONG_MSEC));
	assert_true(session_create_rev(s) > 0);
	test_etcd_freeze(etcd, 0);
	frozen_msec = test_now_msec();
	assert_true(wait_until(is_lost, &w, LONG_MSEC));
	assert_int_equal(session_create_rev(s), 0);
	/* At most TTL after the last keepalive, which is TTL/3 old, or older when the machine
	 * is slow. */
	assert_in_range(atomic_load(&w.lost_msec) - frozen_msec, 1, TTL_MSEC + 2000);
	test_etcd_thaw(etcd, 0);
	assert_true(wait_until(is_held, &w, LONG_MSEC));
	session_free(s, true);
	kv_close(kv);
}

static void test_takeover(void **state)
{
	struct kv *kv_a = test_etcd_open(etcd), *kv_b = test_etcd_open(etcd);
	struct who a = { .is_held = false }, b = { .is_held = false };
	struct session *sa = start(kv_a, &a, TTL_MSEC), *sb;
	int64_t gone_msec, fence;

	(void)state;
	assert_true(wait_until(is_held, &a, LONG_MSEC));
	fence = session_create_rev(sa);
	sb = start(kv_b, &b, LONG_TTL_MSEC);
	session_free(sa, false); /* as when it dies */
	gone_msec = test_now_msec();
	assert_true(wait_until(is_held, &b, LONG_MSEC));
	/* Its lease has ended: etcd notices that up to 0.5 s late. */
	assert_true(atomic_load(&b.held_msec) - gone_msec < LONG_MSEC / 2);
	assert_true(session_create_rev(sb) > fence);
	atomic_store(&a.is_held, false);
	sa = start(kv_a, &a, TTL_MSEC);
	gone_msec = test_now_msec();
	session_free(sb, true); /* released: at once */
	assert_true(wait_until(is_held, &a, LONG_MSEC));
	assert_true(test_now_msec() - gone_msec < LONG_TTL_MSEC / 2);
	session_free(sa, true);
	kv_close(kv_a);
	kv_close(kv_b);
}

static int stop_etcd(void **state)
{
	(void)state;
	test_etcd_free(etcd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_takeover),
	};

	mem_init();
	crypt_init();
	etcd = test_etcd_start(NULL);
	return cmocka_run_group_tests(tests, NULL, stop_etcd);
}
