/* An entry and its request, and the transactions on both, against an etcd in memory. */
#include "common/work/subject.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/model/keys.h"
#include "common/model/network.h"
#include "common/store/kv_fake.h"

#define UUID  "11111111-1111-4111-8111-111111111111"
#define OTHER "22222222-2222-4222-8222-222222222222"
#define LOCK  "/test/lock"
#define NAME  "/test/name"
#define USER  "/test/user"

static struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct subject s;
	int64_t fence;
} w;

static const struct cache_class network_class = { network_parse_item, network_free_item,
	false };

/* NULL value: deletes. */
static int64_t put(const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev = 0;

	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w.kv, t, &rev, &e), 0);
	return rev;
}

static struct kv_pair get(const char *key)
{
	struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	return pair;
}

static void put_entry(const char *uuid)
{
	CLEANUP_STR char *text = xasprintf(
		"{\"uuid\":\"%s\",\"name\":\"lan\",\"owner\":\"joe\",\"owner_realm\":"
		"\"users\",\"ipam\":\"none\",\"status\":\"ACTIVE\"}",
		uuid);

	put(w.s.key, text);
}

static void put_req(int64_t now)
{
	CLEANUP_STR char *text = request_new(REQ_DELETE_NETWORK, UUID, NULL, now, 0);

	put(w.s.req_key, text);
}

static void look(void)
{
	struct err e = { 0 };

	assert_int_equal(subject_read(&w.s, w.kv, &e), 0);
}

/* Takes t. */
static int commit(struct kv_txn *t)
{
	struct err e = { 0 };
	int rc;

	rc = kv_txn_commit(w.kv, t, NULL, &e);
	kv_txn_free(t);
	return rc;
}

static int setup(void **state)
{
	(void)state;
	w.etcd = fake_etcd_new();
	w.kv = kv_fake_open(w.etcd);
	keys_set_defaults(&w.keys);
	w.fence = put(LOCK, "{}");
	subject_init(&w.s, &network_class, LOCK, w.fence, UUID,
		key_network(&w.keys, UUID), key_request_network(&w.keys, UUID));
	put_entry(UUID);
	put_req(5);
	look();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	subject_done(&w.s);
	keys_done(&w.keys);
	kv_close(w.kv);
	fake_etcd_free(w.etcd);
	return 0;
}

/* ---------------------------------------------------------------- cases */

static void what_is_read(void **state)
{
	struct kv_fault fault = { .is_cut = true };
	struct err e = { 0 };

	(void)state;
	assert_non_null(w.s.entry);
	assert_true(w.s.has_req && !w.s.is_unreadable && w.s.rev && w.s.req_rev);
	kv_fake_set_fault(w.kv, &fault);
	assert_int_equal(subject_read(&w.s, w.kv, &e), -1);
	assert_non_null(w.s.entry); /* as it was */
	kv_fake_set_fault(w.kv, NULL);
	put_entry(OTHER); /* says that it is another one */
	look();
	assert_true(w.s.is_unreadable && w.s.rev && !w.s.entry);
	put(w.s.key, NULL);
	look();
	assert_true(!w.s.is_unreadable && !w.s.rev && !w.s.entry && w.s.has_req);
	put(w.s.req_key, "{");
	look();
	assert_true(w.s.is_unreadable && !w.s.has_req && w.s.req_rev);
}

static struct kv_txn *make(int kind)
{
	const struct err why = { .kind = ERR_UNAVAILABLE, .msg = "away" };
	struct kv_txn *t;
	int64_t not_before;

	switch (kind) {
	case 0:
		t = subject_txn(&w.s);
		break;
	case 1:
		t = subject_req_txn(&w.s);
		break;
	case 2:
		return subject_end_txn(&w.s);
	default:
		return subject_failed_txn(&w.s, 100, &why, &not_before);
	}
	kv_txn_put(t, "/test/done", "");
	return t;
}

/* The lock by all, the entry but when an attempt failed, the request but by the first. */
static void what_is_compared(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		w.s.fence++;
		assert_int_equal(commit(make(i)), KV_CONFLICT);
		w.s.fence--;
		put_entry(UUID);
		if (i < 3)
			assert_int_equal(commit(make(i)), KV_CONFLICT);
		look();
		put_req(6 + i);
		assert_int_equal(commit(make(i)), i == 0 ? 0 : KV_CONFLICT);
		look();
	}
	assert_int_equal(commit(make(3)), 0);
	look();
	assert_int_equal(w.s.req.attempts, 1);
	assert_string_equal(w.s.req.last_error, "away");
	assert_int_equal(commit(make(1)), 0);
	assert_int_equal(commit(make(2)), 0);
	look();
	assert_true(w.s.entry && !w.s.req_rev);
	assert_int_equal(commit(make(2)), 0); /* there is none: fine */
}

static void del_name(void)
{
	CLEANUP(kv_pair_done) struct kv_pair name = get(NAME);
	struct kv_txn *t = subject_txn(&w.s);

	subject_del_name(&w.s, &name, t);
	kv_txn_put(t, "/test/done", "");
	assert_int_equal(commit(t), 0);
}

static void only_its_own_name_goes(void **state)
{
	(void)state;
	del_name();
	put(NAME, OTHER);
	del_name();
	struct kv_pair name = get(NAME);
	assert_non_null(name.key);
	kv_pair_done(&name);
	put(NAME, UUID);
	del_name();
	name = get(NAME);
	assert_null(name.key);
}

/* < 0: the user's entry cannot be read. */
static int give_back(bool *is_odd, bool is_raced)
{
	CLEANUP(kv_pair_done) struct kv_pair user = get(USER);
	struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	if (subject_give_back(t, USER, &user, &NETWORK_AMOUNTS, is_odd, &e) < 0) {
		assert_non_null(strstr(e.msg, USER));
		kv_txn_free(t);
		return -1;
	}
	kv_txn_put(t, "/test/done", "");
	if (is_raced)
		put(USER, "{\"name\":\"joe\",\"realm\":\"users\"}");
	return commit(t);
}

static void a_use_is_given_back(void **state)
{
	bool is_odd = true;
	struct kv_pair user;

	(void)state;
	assert_int_equal(give_back(&is_odd, false), 0); /* nobody's */
	assert_false(is_odd);
	assert_int_equal(give_back(&is_odd, true), KV_CONFLICT);
	put(USER, "{\"name\":\"joe\",\"realm\":\"users\",\"use\":{\"networks\":3},\"x\":"
		  "1}");
	assert_int_equal(give_back(&is_odd, false), 0);
	assert_false(is_odd);
	user = get(USER);
	assert_non_null(strstr(user.value, "\"networks\":2"));
	assert_non_null(strstr(user.value, "\"x\":1"));
	kv_pair_done(&user);
	assert_int_equal(give_back(&is_odd, true), KV_CONFLICT);
	assert_int_equal(give_back(&is_odd, false), 0);
	assert_true(is_odd);
	put(USER, "[");
	assert_int_equal(give_back(&is_odd, false), -1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { CASE(what_is_read), CASE(what_is_compared),
		CASE(only_its_own_name_goes), CASE(a_use_is_given_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
