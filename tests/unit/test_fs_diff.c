/* What ucloud-filescan writes about one file. */
#include "ucloud-filescan/diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"

static struct file a_file(void)
{
	struct file f = { 0 };
	char uuid[UUID_STR_SIZE];

	file_uuid("R", "bob", "d/a", uuid);
	f.uuid = xstrdup(uuid);
	f.owner = xstrdup("bob");
	f.owner_realm = xstrdup("R");
	f.filename = xstrdup("d/a");
	f.sha512 = xstrdup("00ff");
	f.identity = xstrdup("1:2:3");
	f.size_bytes = 2;
	f.mtime = 3;
	f.scanned = 4;
	return f;
}

static void decisions(void **state)
{
	CLEANUP(file_done) struct file f = a_file(), other = a_file();
	struct diff_entry none = { 0 }, invalid = { true, NULL }, same = { true, &f },
			  changed = { true, &other };
	(void)state;

	str_set(&other.identity, xstrdup("1:2:4"));
	assert_int_equal(diff_decide(&none, TREE_HASHED, &f, false), DIFF_PUT);
	assert_int_equal(diff_decide(&same, TREE_HASHED, &f, false), DIFF_NONE);
	assert_int_equal(diff_decide(&changed, TREE_HASHED, &f, false), DIFF_PUT);
	/* Nothing is said of a file of which nothing is known yet. */
	assert_int_equal(diff_decide(&none, TREE_BUSY, NULL, true), DIFF_NONE);
	assert_int_equal(diff_decide(&same, TREE_BUSY, NULL, true), DIFF_NONE);
	assert_int_equal(diff_decide(&none, TREE_ABSENT, NULL, true), DIFF_NONE);
	assert_int_equal(diff_decide(&same, TREE_ABSENT, NULL, true), DIFF_DEL);
	assert_int_equal(diff_decide(&same, TREE_ABSENT, NULL, false), DIFF_NONE);
	/* Damaged entries are left alone. */
	assert_int_equal(diff_decide(&invalid, TREE_HASHED, &f, true), DIFF_NONE);
	assert_int_equal(diff_decide(&invalid, TREE_ABSENT, NULL, true), DIFF_NONE);
}

/* When it was read is no reason to write; every other member is. */
static void what_counts(void **state)
{
	CLEANUP(file_done) struct file f = a_file();
	(void)state;

	for (int i = 0; i < 8; i++) {
		CLEANUP(file_done) struct file old = a_file();
		struct diff_entry entry = { true, &old };
		char **const texts[] = { &old.owner, &old.owner_realm, &old.filename,
			&old.sha512, &old.identity };

		if (i < 5)
			str_set(texts[i], xstrdup("x"));
		old.size_bytes += i == 5;
		old.mtime += i == 6;
		old.scanned += i == 7;
		assert_int_equal(diff_decide(&entry, TREE_HASHED, &f, false),
			i == 7 ? DIFF_NONE : DIFF_PUT);
	}
}

static char *get(struct kv *kv, const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair p = { 0 };
	struct err e;

	assert_int_equal(kv_get(kv, key, &p, NULL, &e), 0);
	return MOVE(p.value);
}

static void commit(struct kv *kv, struct kv_txn *t)
{
	struct err e = { 0 };

	if (kv_txn_commit(kv, t, NULL, &e) != 0)
		fail_msg("%s", e.msg);
	kv_txn_free(t);
}

static void put_and_delete(void **state)
{
	CLEANUP(file_done) struct file f = a_file(), old = a_file(), read = { 0 };
	struct fake_etcd *etcd = fake_etcd_new();
	struct kv *kv = kv_fake_open(etcd);
	struct kv_txn *t = kv_txn_new();
	struct keys keys = { 0 };
	struct err e = { 0 };
	(void)state;

	keys_set_defaults(&keys);
	CLEANUP_STR char *key = key_file(&keys, f.uuid);
	CLEANUP_STR char *name = key_file_name("R", "bob", "d/a");
	old.rest = json_pack("{s:i}", "later", 1);
	diff_put(t, &keys, &f, &old);
	assert_int_equal(kv_txn_n_ops(t), DIFF_OPS_MAX);
	commit(kv, t);
	CLEANUP_STR char *text = get(kv, key), *uuid = get(kv, name);
	assert_string_equal(uuid, f.uuid);
	assert_int_equal(file_parse(text, strlen(text), &read, &e), 0);
	assert_string_equal(read.filename, "d/a");
	assert_int_equal(json_integer_value(json_object_get(read.rest, "later")), 1);

	t = kv_txn_new();
	diff_del(t, &keys, f.uuid, &f);
	assert_int_equal(kv_txn_n_ops(t), DIFF_OPS_MAX);
	commit(kv, t);
	assert_null(get(kv, key));
	assert_null(get(kv, name));

	/* Somebody has tampered with an entry: another file's index stays. */
	t = kv_txn_new();
	str_set(&f.filename, xstrdup("other"));
	diff_del(t, &keys, f.uuid, &f);
	assert_int_equal(kv_txn_n_ops(t), 1);
	kv_txn_free(t);
	keys_done(&keys);
	kv_close(kv);
	fake_etcd_free(etcd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions),
		cmocka_unit_test(what_counts),
		cmocka_unit_test(put_and_delete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
