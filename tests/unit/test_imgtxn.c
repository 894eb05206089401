/* The transactions of ucloud-image, against an etcd in memory. */
#include "ucloud-image/imgtxn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"

#define UUID  "11111111-1111-4111-8111-111111111111"
#define OTHER "22222222-2222-4222-8222-222222222222"
#define LOCK  "/test/lock"

static struct world {
	struct fake_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct imgread r;
	int64_t fence;
} w;

static int64_t put(const char *key, const char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };
	int64_t rev = 0;

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w.kv, t, &rev, &e), 0);
	return rev;
}

static void del(const char *key)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w.kv, t, NULL, &e), 0);
}

/* The caller's; NULL: there is none. */
static char *value_of(const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	return pair.key ? xstrdup(pair.value) : NULL;
}

static bool is_there(const char *key)
{
	CLEANUP_STR char *value = value_of(key);

	return value != NULL;
}

static void put_image(const char *uuid, enum image_status status)
{
	CLEANUP_STR char *key = key_image(&w.keys, uuid);
	CLEANUP(image_done)
	struct image im = { .uuid = xstrdup(uuid),
		.name = xstrdup("debian"),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup("users"),
		.store = xstrdup("s"),
		.is_public = true,
		.status = status };
	CLEANUP_STR char *known = image_format_text(&im);
	CLEANUP_STR char *text =
		xasprintf("%.*s,\"from the future\":7}", (int)strlen(known) - 1, known);

	put(key, text);
}

static void put_user(int n_images)
{
	CLEANUP_STR char *key = key_user("users", "alice");
	CLEANUP_STR char *text = xasprintf("{\"name\":\"alice\",\"realm\":\"users\","
					   "\"use\":{\"images\":%d,\"vms\":3}}",
		n_images);

	put(key, text);
}

static void read_again(void)
{
	struct err e = { 0 };

	if (imgread_read(&w.r, w.kv, &e) < 0)
		fail_msg("%s", e.msg);
}

static int setup(void **state)
{
	struct err e = { 0 };
	CLEANUP_STR char *req_key = NULL;
	CLEANUP_STR char *req = request_new(REQ_CREATE_IMAGE, UUID, NULL, 5, 0);

	(void)state;
	w.etcd = fake_etcd_new();
	w.kv = kv_fake_open(w.etcd);
	keys_set_defaults(&w.keys);
	assert_int_equal(keys_check(&w.keys, &e), 0);
	w.fence = put(LOCK, "{}");
	put_image(UUID, IMAGE_TO_BE_CREATED);
	req_key = key_request_image(&w.keys, UUID);
	put(req_key, req);
	imgread_init(&w.r, &w.keys, LOCK, w.fence, UUID);
	read_again();
	assert_true(w.r.im && w.r.s.has_req && !w.r.s.is_unreadable);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	imgread_done(&w.r);
	keys_done(&w.keys);
	kv_close(w.kv);
	fake_etcd_free(w.etcd);
	return 0;
}

/* Takes t; as kv_txn_commit(). */
static int commit(struct kv_txn *t)
{
	struct err e = { 0 };
	int rc;

	assert_non_null(t);
	rc = kv_txn_commit(w.kv, t, NULL, &e);
	kv_txn_free(t);
	return rc;
}

static struct kv_txn *make(int which)
{
	char sha[] = "ab", path[] = "x.raw";
	struct file f = { .sha512 = sha };
	struct image_made made = { .path = path, .format = IMAGE_RAW };
	struct err why = { .kind = ERR_UNAVAILABLE, .msg = "away" };
	int64_t not_before;

	switch (which) {
	case 0:
		return imgtxn_begin(&w.r, &f);
	case 1:
		return imgtxn_progress(&w.r, 50);
	case 2:
		return imgtxn_made(&w.r, &made);
	case 3:
		return imgtxn_error(&w.r, "no");
	case 4:
		return subject_failed_txn(&w.r.s, 100, &why, &not_before);
	case 5:
		return subject_end_txn(&w.r.s);
	case 6:
		return imgtxn_undeleted(&w.r, IMAGE_CREATED, "used");
	default:
		return NULL;
	}
}

#define N_KINDS 7

/* Who does not lead any more writes nothing, nor who has read something else. */
static void each_compares(void **state)
{
	CLEANUP_STR char *req = request_new(REQ_DELETE_IMAGE, UUID, NULL, 6, 0);

	(void)state;
	for (int i = 0; i < N_KINDS; i++) {
		read_again();
		w.r.s.fence = w.fence + 1;
		assert_int_equal(commit(make(i)), KV_CONFLICT);
		w.r.s.fence = w.fence;
		read_again();
		if (i == 4) {
			put(w.r.s.req_key, req); /* looks at nothing else */
			assert_int_equal(commit(make(i)), KV_CONFLICT);
			continue;
		}
		put_image(UUID, IMAGE_TO_BE_DELETED);
		assert_int_equal(commit(make(i)), KV_CONFLICT);
	}
	/* Those that end the order compare it. */
	for (int i = 2; i < N_KINDS; i++) {
		read_again();
		put(w.r.s.req_key, req);
		assert_int_equal(commit(make(i)), KV_CONFLICT);
	}
}

static void begun_and_made(void **state)
{
	CLEANUP_STR char *text = NULL;

	(void)state;
	assert_int_equal(commit(make(0)), 0);
	read_again();
	assert_string_equal(w.r.im->sha512, "ab");
	assert_true(w.r.im->is_made);
	assert_true(w.r.s.has_req);
	assert_int_equal(commit(make(1)), 0);
	read_again();
	assert_int_equal(w.r.im->progress, 50);
	assert_int_equal(commit(make(2)), 0);
	read_again();
	assert_int_equal(w.r.im->status, IMAGE_CREATED);
	assert_string_equal(w.r.im->path, "x.raw");
	assert_string_equal(w.r.im->sha512, "ab");
	assert_int_equal(w.r.s.req_rev, 0);
	text = value_of(w.r.s.key);
	assert_non_null(strstr(text, "from the future"));
}

static void failures(void **state)
{
	(void)state;
	assert_int_equal(commit(make(4)), 0);
	read_again();
	assert_int_equal(w.r.s.req.attempts, 1);
	assert_string_equal(w.r.s.req.last_error, "away");
	assert_true(w.r.s.req.not_before > 100);
	assert_int_equal(w.r.im->status, IMAGE_TO_BE_CREATED);
	assert_int_equal(commit(make(3)), 0);
	read_again();
	assert_int_equal(w.r.im->status, IMAGE_ERROR);
	assert_string_equal(w.r.im->reason, "no");
	assert_false(w.r.s.has_req);
}

static struct kv_txn *deleted(bool *is_odd)
{
	CLEANUP(strv_done) struct strv keys = { 0 };
	CLEANUP(kv_list_done) struct kv_list rest = { 0 };
	struct err e = { 0 };

	imgtxn_deleted_keys(&w.r, &keys);
	assert_int_equal(
		kv_get_many(w.kv, (const char *const *)keys.v, keys.len, &rest, &e), 0);
	return imgtxn_deleted(&w.r, &rest, is_odd, &e);
}

static void all_that_tells_of_it_goes(void **state)
{
	CLEANUP_STR char *name = key_image_name("users", "alice", "debian");
	CLEANUP_STR char *public = key_image_public("debian");
	CLEANUP_STR char *user = key_user("users", "alice");
	CLEANUP_STR char *text = NULL;
	bool is_odd = true;

	(void)state;
	put(name, UUID);
	put(public, OTHER); /* another one's by now */
	put_user(2);
	assert_int_equal(commit(deleted(&is_odd)), 0);
	assert_false(is_odd);
	read_again();
	assert_int_equal(w.r.s.rev, 0);
	assert_int_equal(w.r.s.req_rev, 0);
	assert_false(is_there(name));
	assert_true(is_there(public));
	text = value_of(user);
	assert_non_null(strstr(text, "\"images\":1"));
}

static void a_use_is_given_back_once(void **state)
{
	CLEANUP_STR char *user = key_user("users", "alice");
	struct kv_txn *t;
	bool is_odd = false;

	(void)state;
	put_user(1);
	t = deleted(&is_odd);
	put_user(5); /* somebody else changed it */
	assert_int_equal(commit(t), KV_CONFLICT);
	put_user(0);
	assert_int_equal(commit(deleted(&is_odd)), 0);
	assert_true(is_odd);
	/* Without an entry of the user. */
	put_image(UUID, IMAGE_TO_BE_DELETED);
	read_again();
	del(user);
	assert_int_equal(commit(deleted(&is_odd)), 0);
	/* One that cannot be read is left alone. */
	put_image(UUID, IMAGE_TO_BE_DELETED);
	read_again();
	put(user, "{");
	assert_null(deleted(&is_odd));
}

static void what_cannot_be_read(void **state)
{
	(void)state;
	put_image(OTHER, IMAGE_CREATED);
	put(w.r.s.key, "[]");
	read_again();
	assert_true(w.r.s.is_unreadable);
	assert_false(w.r.im);
	put_image(UUID, IMAGE_TO_BE_DELETED);
	put(w.r.s.req_key, "?");
	read_again();
	assert_true(w.r.s.is_unreadable);
	del(w.r.s.req_key);
	read_again();
	assert_false(w.r.s.is_unreadable);
	assert_false(w.r.s.has_req);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_compares, setup, teardown),
		cmocka_unit_test_setup_teardown(begun_and_made, setup, teardown),
		cmocka_unit_test_setup_teardown(failures, setup, teardown),
		cmocka_unit_test_setup_teardown(
			all_that_tells_of_it_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_use_is_given_back_once, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
