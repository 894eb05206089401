/*
 * The bad days of a real etcd: killed, frozen, restored from a backup, without a leader,
 * full; certificates and passwords.
 */
#include "common/store/kv_etcd.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "tests/lib/test_certs.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define LONG_MSEC  30000
#define N_WRITERS  6
#define N_RESTARTS 3

#define assert_done(call)                                                                \
	do {                                                                             \
		int result_ = (call);                                                    \
		if (result_ != 0)                                                        \
			fail_msg("%s: %d %s", #call, result_, e.msg);                    \
	} while (0)

#define assert_says(text)                                                                \
	do {                                                                             \
		if (!strstr(e.msg, text))                                                \
			fail_msg("\"%s\" is not in: %s", text, e.msg);                   \
	} while (0)

/* A client with a time limit of one second, so that tests do not take long. */
static struct kv *open_quick(const struct test_etcd *t)
{
	struct etcd_conf conf = *test_etcd_client(t);
	struct err e = { 0 };
	struct kv *kv = NULL;

	conf.limit_sec = 1;
	assert_done(kv_etcd_open(&conf, &kv, &e));
	return kv;
}

static int try_put(
	struct kv *kv, const char *key, const char *value, int64_t *rev, struct err *e)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();

	kv_txn_put(t, key, value);
	return kv_txn_commit(kv, t, rev, e);
}

static int64_t put(struct kv *kv, const char *key, const char *value)
{
	struct err e = { 0 };
	int64_t rev = 0;

	assert_done(try_put(kv, key, value, &rev, &e));
	return rev;
}

static char *get(struct kv *kv, const char *key)
{
	struct kv_pair p = { 0 };
	struct err e = { 0 };

	assert_done(kv_get(kv, key, &p, NULL, &e));
	free(p.key);
	return p.value;
}

static struct kv_watch *watch(struct kv *kv, int64_t from_rev)
{
	struct kv_watch_req req = { .prefix = "/", .from_rev = from_rev };
	struct kv_watch *w = NULL;
	struct err e = { 0 };

	assert_done(kv_watch_open(kv, &req, &w, &e));
	return w;
}

/* The first answer that is not KV_IDLE or mere progress. */
static int next(struct kv_watch *w, struct kv_events *out, struct err *e)
{
	int64_t end = test_now_msec() + LONG_MSEC;
	int r;

	do {
		kv_events_done(out);
		r = kv_watch_next(w, 1000, out, e);
	} while ((r == KV_IDLE || (r == 0 && out->len == 0)) && test_now_msec() < end);
	return r;
}

static void assert_next_key(struct kv_watch *w, const char *key)
{
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct err e = { 0 };

	assert_done(next(w, &ev, &e));
	assert_string_equal(ev.v[0].pair.key, key);
}

struct log_seen {
	const char *want;
	int n; /* atomic */
};

static void see_log(void *aux, enum log_level level, const char *line)
{
	struct log_seen *seen = aux;

	(void)level;
	if (strstr(line, seen->want))
		__atomic_add_fetch(&seen->n, 1, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- killed, frozen */

static void test_watch_survives_kill(void **state)
{
	struct test_etcd *t = test_etcd_start(NULL);
	struct kv *kv = test_etcd_open(t);
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(kv, 0), *none = NULL;
	struct kv_watch_req req = { .prefix = "/" };
	struct err e = { 0 };
	int64_t rev = put(kv, "/a", "1");

	(void)state;
	assert_next_key(w, "/a");
	test_etcd_kill(t, 0);
	assert_true(next(w, &ev, &e) < 0);
	assert_says(test_etcd_url(t, 0));
	assert_true(kv_watch_next(w, 0, &ev, &e) < 0); /* stays broken */
	assert_true(kv_watch_open(kv, &req, &none, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says(test_etcd_url(t, 0));
	kv_watch_close(w);
	test_etcd_restart(t, 0);
	test_etcd_wait(t);
	put(kv, "/b", "2");
	put(kv, "/c", "3");
	w = watch(kv, rev + 1);
	assert_next_key(w, "/b");
	kv_watch_close(w);
	kv_close(kv);
	test_etcd_free(t);
}

static void test_frozen(void **state)
{
	struct test_etcd *t = test_etcd_start(NULL);
	struct kv *kv = open_quick(t);
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(kv, 0);
	int64_t begin, rev = put(kv, "/a", "1"), count;
	CLEANUP_STR char *value = NULL;
	struct err e = { 0 };

	(void)state;
	assert_next_key(w, "/a");
	test_etcd_freeze(t, 0);
	begin = test_now_msec();
	assert_true(kv_count(kv, "/", &count, &e) < 0);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_says(test_etcd_url(t, 0));
	assert_int_equal(try_put(kv, "/b", "2", NULL, &e), KV_UNKNOWN);
	assert_true(test_now_msec() - begin < LONG_MSEC);
	/* TCP is fine; only asking shows that nobody is at home. */
	assert_true(next(w, &ev, &e) < 0);
	kv_watch_close(w);
	test_etcd_thaw(t, 0);
	test_etcd_wait(t);
	value = get(kv, "/b"); /* unknown: either is right, but it must be seen */
	put(kv, "/c", "3");
	w = watch(kv, rev + 1);
	assert_next_key(w, value ? "/b" : "/c");
	kv_watch_close(w);
	kv_close(kv);
	test_etcd_free(t);
}

/* Nobody else's call has failed: the watch finds out by itself. */
static void test_frozen_and_silent(void **state)
{
	struct test_etcd *t = test_etcd_start(NULL);
	struct kv *kv = open_quick(t);
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(kv, 0);
	struct err e = { 0 };

	(void)state;
	test_etcd_freeze(t, 0);
	assert_true(next(w, &ev, &e) < 0);
	assert_says("no answer in time");
	kv_watch_close(w);
	kv_close(kv);
	test_etcd_free(t);
}

/* Writers that create keys of their own while etcd is killed again and again. Such a write
 * can never conflict, unless it was sent twice. */
struct writer {
	pthread_t thread;
	struct kv *kv;
	int number;
	bool must_stop; /* atomic */
	int n_done, n_unknown, n_failed;
};

static const char *write_one(struct writer *w, int i)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = xasprintf("/w/%d/%06d", w->number, i);
	struct err e = { 0 };

	kv_txn_if_rev(t, key, 0);
	kv_txn_put(t, key, "x");
	switch (kv_txn_commit(w->kv, t, NULL, &e)) {
	case 0:
		w->n_done++;
		return NULL;
	case KV_UNKNOWN:
		w->n_unknown++;
		return NULL;
	case KV_CONFLICT:
		return "a transaction was sent twice";
	default:
		w->n_failed++;
		return err_is_passing(e.kind) ? NULL : "failed for good";
	}
}

static void *write_on(void *aux)
{
	struct writer *w = aux;
	const char *why = NULL;

	for (int i = 0; !why && !__atomic_load_n(&w->must_stop, __ATOMIC_RELAXED); i++)
		why = write_one(w, i);
	return (void *)(uintptr_t)why;
}

struct progress {
	struct kv *kv;
	int64_t more_than;
};

static bool has_more(void *aux)
{
	struct progress *p = aux;
	struct err e = { 0 };
	int64_t count;

	return kv_count(p->kv, "/w/", &count, &e) == 0 && count > p->more_than;
}

static void test_kills_in_the_middle(void **state)
{
	struct test_etcd *t = test_etcd_start(NULL);
	struct kv *kv = test_etcd_open(t);
	struct writer writers[N_WRITERS] = { 0 };
	struct progress progress = { .kv = kv };
	int n_done = 0, n_unknown = 0, n_failed = 0;
	struct err e = { 0 };
	int64_t count = 0;

	(void)state;
	for (int i = 0; i < N_WRITERS; i++) {
		writers[i] = (struct writer){ .kv = kv, .number = i };
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_on, &writers[i]),
			0);
	}
	for (int i = 0; i < N_RESTARTS; i++) {
		progress.more_than += 200;
		assert_true(wait_until(has_more, &progress, LONG_MSEC));
		test_etcd_kill(t, 0);
		test_etcd_restart(t, 0);
		test_etcd_wait(t);
		assert_done(kv_count(kv, "/w/", &progress.more_than, &e));
	}
	for (int i = 0; i < N_WRITERS; i++)
		__atomic_store_n(&writers[i].must_stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < N_WRITERS; i++) {
		void *why;

		pthread_join(writers[i].thread, &why);
		if (why)
			fail_msg("%s", (char *)why);
		n_done += writers[i].n_done;
		n_unknown += writers[i].n_unknown;
		n_failed += writers[i].n_failed;
	}
	assert_done(kv_count(kv, "/w/", &count, &e));
	printf("%d done, %d unknown, %d failed, %" PRId64 " there\n", n_done, n_unknown,
		n_failed, count);
	assert_true(count >= n_done && count <= n_done + n_unknown);
	assert_true(n_unknown > 0); /* else this has not tested much */
	kv_close(kv);
	test_etcd_free(t);
}

/* ---------------------------------------------------------------- restored */

static void test_restored(void **state)
{
	struct log_seen seen = { .want = "another store than before, or an older one" };
	struct test_etcd *t = test_etcd_start(NULL);
	struct kv *kv = test_etcd_open(t), *fresh;
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w;
	struct err e = { 0 };
	int64_t rev = 0, count;

	(void)state;
	put(kv, "/a", "1");
	test_etcd_save(t);
	for (int i = 0; i < 5; i++)
		rev = put(kv, "/b", "2");
	w = watch(kv, rev + 1);
	log_set_sink(see_log, &seen);
	test_etcd_restore(t);
	assert_true(next(w, &ev, &e) < 0);
	kv_watch_close(w);
	/* Somebody else's call is the first to notice, and writes bring the old revision
	 * back before the watch is opened again. */
	assert_done(kv_count(kv, "/", &count, &e));
	for (int i = 0; i < 10; i++)
		assert_true(put(kv, "/c", "3") > 0);
	w = watch(kv, rev + 1);
	assert_int_equal(next(w, &ev, &e), KV_COMPACTED);
	kv_watch_close(w);
	log_set_sink(NULL, NULL);
	assert_int_equal(seen.n, 1);
	/* Once said, all is well again. */
	w = watch(kv, rev + 1);
	assert_next_key(w, "/c");
	kv_watch_close(w);
	/* A client that knows nothing but a revision that this store never had. */
	fresh = test_etcd_open(t);
	w = watch(fresh, rev + 1000);
	assert_int_equal(next(w, &ev, &e), KV_COMPACTED);
	kv_watch_close(w);
	kv_close(fresh);
	kv_close(kv);
	test_etcd_free(t);
}

/* ---------------------------------------------------------------- several endpoints */

static bool is_leaderless(void *aux)
{
	struct err e = { 0 };
	int64_t count;

	return kv_count(aux, "/", &count, &e) < 0 && strstr(e.msg, "no leader");
}

static void test_fail_over(void **state)
{
	struct test_etcd *t = test_etcd_start(&(struct test_etcd_conf){ .n_members = 3 });
	struct kv *kv = test_etcd_open(t);
	CLEANUP(kv_events_done) struct kv_events ev = { 0 };
	struct kv_watch *w = watch(kv, 0);
	struct err e = { 0 };
	int64_t rev, begin, count;
	int r;

	(void)state;
	rev = put(kv, "/a", "1");
	assert_next_key(w, "/a");
	test_etcd_kill(t, 0); /* the one in use */
	assert_done(kv_count(kv, "/", &count, &e));
	r = try_put(kv, "/b", "2", NULL, &e);
	assert_true(r == 0 || r == KV_UNKNOWN); /* it may have been the leader */
	assert_true(next(w, &ev, &e) < 0);
	kv_watch_close(w);
	w = watch(kv, rev + 1);
	put(kv, "/b", "3");
	assert_next_key(w, "/b");
	/* Two of three are gone: the last one knows no leader, and says so. */
	test_etcd_kill(t, 1);
	begin = test_now_msec();
	assert_true(kv_count(kv, "/", &count, &e) < 0);
	assert_true(e.kind == ERR_UNAVAILABLE || e.kind == ERR_TIMEOUT);
	assert_says(test_etcd_url(t, 0));
	assert_says(test_etcd_url(t, 1));
	assert_says(test_etcd_url(t, 2));
	assert_true(test_now_msec() - begin < LONG_MSEC);
	assert_true(wait_until(is_leaderless, kv, LONG_MSEC));
	assert_int_equal(try_put(kv, "/c", "4", NULL, &e), -1); /* not merely unknown */
	assert_says("no leader");
	while ((r = next(w, &ev, &e)) == 0)
		;
	assert_true(r < 0);
	kv_watch_close(w);
	test_etcd_restart(t, 1);
	test_etcd_wait(t);
	put(kv, "/c", "4");
	kv_close(kv);
	test_etcd_free(t);
}

static void test_first_is_dead(void **state)
{
	struct test_etcd *t = test_etcd_start(NULL);
	CLEANUP_STR char *dead = xasprintf("[::1]:%u", test_free_port());
	struct etcd_conf conf = { .limit_sec = 2 };
	struct err e = { 0 };
	struct kv *kv = NULL;
	struct kv_watch *w;

	(void)state;
	strv_add(&conf.url, dead);
	strv_add(&conf.url, test_etcd_url(t, 0));
	assert_done(kv_etcd_open(&conf, &kv, &e));
	put(kv, "/a", "1"); /* sent to the second: the first cannot have done it */
	kv_close(kv);
	assert_done(kv_etcd_open(&conf, &kv, &e));
	w = watch(kv, 1);
	assert_next_key(w, "/a");
	kv_watch_close(w);
	kv_close(kv);
	strv_done(&conf.url);
	test_etcd_free(t);
}

/* ---------------------------------------------------------------- full */

/* etcd may apply the write that crosses the quota and answer it with an error all the same. */
static void test_full(void **state)
{
	const char *const args[] = { "--quota-backend-bytes", "2097152", NULL };
	struct test_etcd *t = test_etcd_start(&(struct test_etcd_conf){ .args = args });
	struct kv *kv = test_etcd_open(t);
	CLEANUP_STR char *big = xmalloc(KV_VALUE_MAX + 1);
	struct err e = { 0 };
	int64_t count;
	int r = 0;

	(void)state;
	memset(big, 'x', KV_VALUE_MAX);
	big[KV_VALUE_MAX] = '\0';
	for (int i = 0; i < 50 && r == 0; i++)
		r = try_put(kv, "/big", big, NULL, &e);
	assert_int_equal(r, KV_UNKNOWN);
	assert_int_equal(e.kind, ERR_NO_SPACE);
	assert_done(kv_count(kv, "/", &count, &e));
	assert_int_equal(count, 1);
	kv_close(kv);
	test_etcd_free(t);
}

/* ---------------------------------------------------------------- TLS, passwords */

static void test_tls(void **state)
{
	struct test_etcd *t = test_etcd_start(&(struct test_etcd_conf){ .is_tls = true });
	struct etcd_conf conf = *test_etcd_client(t);
	struct kv *kv = test_etcd_open(t);
	struct kv_watch *w = watch(kv, 0);
	CLEANUP_STR char *plain = NULL;
	struct err e = { 0 };

	(void)state;
	put(kv, "/a", "1");
	assert_next_key(w, "/a");
	kv_watch_close(w);
	kv_close(kv);

	conf.ca_file = NULL;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says("TLS");
	assert_says("certificate");

	conf = *test_etcd_client(t);
	conf.cert_file = conf.key_file = NULL;
	for (int i = 0; i < 10; i++) { /* which of its two ends we see is a race */
		assert_true(kv_etcd_check(&conf, &e) < 0);
		assert_int_equal(e.kind, ERR_UNAVAILABLE);
		assert_says("etcd_cert");
	}

	conf = *test_etcd_client(t);
	conf.url = (struct strv){ 0 };
	plain = xasprintf("http%s", test_etcd_url(t, 0) + strlen("https"));
	strv_add(&conf.url, plain);
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says("HTTPS");
	strv_done(&conf.url);
	test_etcd_free(t);
}

static void test_tls_and_auth(void **state)
{
	struct test_etcd *t = test_etcd_start(
		&(struct test_etcd_conf){ .is_tls = true, .is_auth = true });
	struct etcd_conf conf = *test_etcd_client(t);
	struct test_cert named = { 0 };
	struct kv *kv = test_etcd_open(t);
	struct err e = { 0 };

	(void)state;
	put(kv, "/a", "1");
	kv_close(kv);
	test_cert_make("named", "/O=ucloud/CN=root", &named);
	conf.cert_file = named.cert_file;
	conf.key_file = named.key_file;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_says("common name");
	test_cert_done(&named);
	test_etcd_free(t);
}

static void test_auth_refused(void **state)
{
	struct test_etcd *t =
		test_etcd_start(&(struct test_etcd_conf){ .is_auth = true });
	struct etcd_conf conf = *test_etcd_client(t);
	struct kv_watch_req req = { .prefix = "/" };
	char wrong[] = "wrong", nobody[] = "nobody";
	struct kv_watch *w = NULL;
	struct kv *kv = NULL;
	struct err e = { 0 };

	(void)state;
	conf.password = wrong;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	assert_says("logging in to etcd as root");
	conf.user = nobody;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	conf.user = conf.password = NULL;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	assert_says("etcd_user");
	assert_done(kv_etcd_open(&conf, &kv, &e));
	assert_true(kv_watch_open(kv, &req, &w, &e) < 0);
	assert_says("etcd_user");
	assert_int_equal(e.kind, ERR_UNAUTHENTICATED);
	kv_close(kv);
	test_etcd_free(t);
}

struct reader {
	pthread_t thread;
	struct kv *kv;
};

static void *read_once(void *aux)
{
	struct reader *r = aux;
	struct err e = { 0 };
	int64_t count;

	return kv_count(r->kv, "/", &count, &e) == 0 ? NULL : xstrdup(e.msg);
}

/* Tokens are in etcd's memory: after a restart ours is worth nothing. */
static void test_token_renewed(void **state)
{
	struct test_etcd *t =
		test_etcd_start(&(struct test_etcd_conf){ .is_auth = true });
	struct kv *kv = test_etcd_open(t);
	struct reader readers[N_WRITERS];
	struct err e = { 0 };
	struct kv_watch *w;
	int64_t lease = 0, ttl = 0;

	(void)state;
	put(kv, "/a", "1");
	assert_done(kv_lease_grant(kv, 60, &lease, &e));
	for (int i = 0; i < 4; i++) {
		test_etcd_kill(t, 0);
		test_etcd_restart(t, 0);
		test_etcd_wait(t);
		if (i == 0) {
			put(kv, "/a", "2");
		} else if (i == 1) {
			w = watch(kv, 0);
			put(kv, "/b", "1");
			assert_next_key(w, "/b");
			kv_watch_close(w);
		} else if (i == 2) {
			assert_done(kv_lease_keepalive(kv, lease, &ttl, &e));
			assert_true(ttl > 0);
		} else {
			for (int k = 0; k < N_WRITERS; k++) {
				readers[k].kv = kv;
				pthread_create(
					&readers[k].thread, NULL, read_once, &readers[k]);
			}
			for (int k = 0; k < N_WRITERS; k++) {
				void *why;

				pthread_join(readers[k].thread, &why);
				if (why)
					fail_msg("%s", (char *)why);
			}
		}
	}
	kv_close(kv);
	test_etcd_free(t);
}

/* Changing users makes every token "old". */
static void test_auth_changes(void **state)
{
	struct test_etcd *t =
		test_etcd_start(&(struct test_etcd_conf){ .is_auth = true });
	struct kv *kv = test_etcd_open(t);

	(void)state;
	put(kv, "/a", "1");
	test_etcd_ctl(t, (const char *const[]){ "role", "add", "some", NULL }, NULL);
	put(kv, "/a", "2");
	test_etcd_ctl(t, (const char *const[]){ "auth", "disable", NULL }, NULL);
	put(kv, "/a", "3");
	kv_close(kv);
	kv = test_etcd_open(t); /* user and password are set, but etcd wants none */
	put(kv, "/a", "4");
	kv_close(kv);
	test_etcd_free(t);
}

/* ---------------------------------------------------------------- setup's check */

static void test_check(void **state)
{
	struct etcd_conf conf = { 0 };
	CLEANUP_STR char *refused = xasprintf("[::1]:%u", test_free_port());
	struct err e = { 0 };

	(void)state;
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(e.field, "etcd_url");
	strv_add(&conf.url, refused);
	assert_true(kv_etcd_check(&conf, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_says(refused);
	strv_done(&conf.url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_survives_kill),
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_frozen_and_silent),
		cmocka_unit_test(test_kills_in_the_middle),
		cmocka_unit_test(test_restored),
		cmocka_unit_test(test_fail_over),
		cmocka_unit_test(test_first_is_dead),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_and_auth),
		cmocka_unit_test(test_auth_refused),
		cmocka_unit_test(test_token_renewed),
		cmocka_unit_test(test_auth_changes),
		cmocka_unit_test(test_check),
	};

	test_need_command("etcd");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
