/* What ucloud-filescan's tree makes of what is seen: no file system, no clock. */
#include "ucloud-filescan/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SETTLE 5000
#define SHA                                                                              \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"               \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static struct world {
	struct tree *t;
	struct strv realms;
	struct tree_time now;
	unsigned n_changes, n_skips, n_unwatched;
	char changed[UUID_STR_SIZE];
	char skipped[256];
	enum skip_why why;
} w;

static void on_change(void *aux, const char *uuid)
{
	struct world *to = aux;

	to->n_changes++;
	snprintf(to->changed, sizeof(to->changed), "%s", uuid);
}

static void on_skip(void *aux, const char *path, enum skip_why why, int errnum)
{
	struct world *to = aux;
	(void)errnum;

	to->n_skips++;
	to->why = why;
	snprintf(to->skipped, sizeof(to->skipped), "%s", path);
}

static void on_unwatch(void *aux, int wd)
{
	struct world *to = aux;
	(void)wd;

	to->n_unwatched++;
}

static int new_world(void **state)
{
	struct tree_conf conf = { &w.realms, SETTLE, 10, 3, 1000000, on_change, on_skip,
		on_unwatch, &w };
	(void)state;

	w = (struct world){ .now = { 100000, 1000000 } };
	strv_add(&w.realms, "R");
	strv_add(&w.realms, "S");
	w.t = tree_new(&conf);
	return 0;
}

static int end_world(void **state)
{
	(void)state;
	tree_free(w.t);
	strv_done(&w.realms);
	return 0;
}

static void pass_msec(int64_t msec)
{
	w.now.msec += msec;
	w.now.unix_sec += msec / 1000;
}

/* The directory, which was seen. */
static struct fs_dir *dir_of(struct fs_dir *dir, const char *name)
{
	struct fs_dir *d;

	HASH_FIND_STR(dir->dirs, name, d);
	return d;
}

static void see(struct fs_dir *dir, struct seen s)
{
	tree_see(w.t, dir, &s, w.now);
}

static struct fs_dir *see_dir(struct fs_dir *dir, char *name, uint64_t ino)
{
	see(dir, (struct seen){ .name = name, .kind = SEEN_DIR, .ino = ino });
	return dir_of(dir, name);
}

/* A file that was written to just now, or (is_old) long ago. */
static void see_file(struct fs_dir *dir, char *name, char *identity, bool is_old)
{
	see(dir, (struct seen){ .name = name,
			 .size_bytes = 7,
			 .mtime = w.now.unix_sec - (is_old ? 1000 : 0),
			 .identity = identity });
}

static struct fs_dir *bob(void)
{
	return see_dir(tree_root(w.t), "bob", 11);
}

static void uuid_of(const char *name, char out[UUID_STR_SIZE])
{
	file_uuid("R", "bob", name, out);
}

static enum tree_has has(const char *name)
{
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];

	uuid_of(name, uuid);
	return tree_get(w.t, uuid, &f);
}

static bool take(struct hash_job *job)
{
	return tree_take_ready(w.t, false, job);
}

static void hash_all(void)
{
	for (;;) {
		CLEANUP(hash_job_done) struct hash_job job = { 0 };

		if (!take(&job))
			return;
		tree_hashed(w.t, &job, SHA, w.now);
	}
}

static bool is_sure(const char *owner, const char *realm, const char *name)
{
	struct file f = { .owner = (char *)(uintptr_t)owner,
		.owner_realm = (char *)(uintptr_t)realm,
		.filename = (char *)(uintptr_t)name };

	return tree_is_sure(w.t, &f);
}

/* ---------------------------------------------------------------- tests */

static void from_found_to_hashed(void **state)
{
	CLEANUP(file_done) struct file f = { 0 };
	struct hash_job job = { 0 };
	char uuid[UUID_STR_SIZE];
	(void)state;

	see_file(bob(), "a", "1", true);
	assert_int_equal(has("a"), TREE_BUSY);
	assert_true(take(&job));
	assert_string_equal(job.path, "bob/a");
	assert_string_equal(job.identity, "1");
	assert_int_equal(job.size_bytes, 7);
	assert_int_equal(has("a"), TREE_BUSY);
	assert_int_equal(w.n_changes, 0);
	tree_hashed(w.t, &job, SHA, w.now);
	hash_job_done(&job);

	uuid_of("a", uuid);
	assert_int_equal(w.n_changes, 1);
	assert_string_equal(w.changed, uuid);
	assert_int_equal(tree_get(w.t, uuid, &f), TREE_HASHED);
	assert_string_equal(f.uuid, uuid);
	assert_string_equal(f.owner, "bob");
	assert_string_equal(f.owner_realm, "R");
	assert_string_equal(f.filename, "a");
	assert_string_equal(f.sha512, SHA);
	assert_string_equal(f.identity, "1");
	assert_int_equal(f.size_bytes, 7);
	assert_int_equal(f.mtime, w.now.unix_sec - 1000);
	assert_int_equal(f.scanned, w.now.unix_sec);
	/* Seen again, it is the same. */
	see_file(bob(), "a", "1", true);
	assert_int_equal(w.n_changes, 1);
	assert_int_equal(has("a"), TREE_HASHED);
}

static void being_written(void **state)
{
	CLEANUP_STR char *name = NULL;
	struct fs_dir *dir = NULL;
	struct hash_job job = { 0 };
	(void)state;

	see_file(bob(), "a", "1", false);
	assert_false(take(&job));
	assert_int_equal(tree_due_msec(w.t), w.now.msec + SETTLE);
	/* It grows: the time begins anew. */
	pass_msec(SETTLE - 1);
	see_file(bob(), "a", "2", false);
	pass_msec(SETTLE - 1);
	assert_false(tree_take_due(w.t, w.now.msec, &dir, &name));
	pass_msec(1);
	assert_true(tree_take_due(w.t, w.now.msec, &dir, &name));
	assert_string_equal(name, "a");
	/* Nothing told us, but it has grown once more. */
	see_file(bob(), "a", "3", false);
	assert_false(take(&job));
	pass_msec(SETTLE);
	str_set(&name, NULL);
	assert_true(tree_take_due(w.t, w.now.msec, &dir, &name));
	assert_false(tree_take_due(w.t, w.now.msec, &dir, &name));
	see_file(bob(), "a", "3", false);
	assert_true(take(&job));
	hash_job_done(&job);
}

static void closed_is_ready(void **state)
{
	struct seen s = { .name = "a", .mtime = w.now.unix_sec, .identity = "1" };
	struct hash_job job = { 0 };
	(void)state;

	see(bob(), s);
	assert_false(take(&job));
	s.is_closed = true;
	see(bob(), s);
	assert_true(take(&job));
	hash_job_done(&job);
	/* A time in the future is no reason to wait less. */
	s = (struct seen){ .name = "b", .mtime = w.now.unix_sec + 99, .identity = "2" };
	see(bob(), s);
	assert_false(take(&job));
}

static void changed_while_hashed(void **state)
{
	struct hash_job first = { 0 }, second = { 0 };
	(void)state;

	see_file(bob(), "a", "1", true);
	assert_true(take(&first));
	see_file(bob(), "a", "2", true);
	assert_true(take(&second));
	/* The first hash is of something that is no more. */
	tree_hashed(w.t, &first, SHA, w.now);
	assert_int_equal(has("a"), TREE_BUSY);
	/* The reader found it changed, which nobody had told yet. */
	tree_hash_changed(w.t, &second, w.now);
	assert_int_equal(has("a"), TREE_BUSY);
	hash_job_done(&first);
	assert_false(take(&first));
	assert_int_equal(tree_due_msec(w.t), w.now.msec + SETTLE);
	hash_job_done(&second);
}

static void changed_after_it_was_hashed(void **state)
{
	(void)state;
	see_file(bob(), "a", "1", true);
	hash_all();
	see_file(bob(), "a", "2", false);
	assert_int_equal(has("a"), TREE_BUSY);
	/* Back to what it was: known. */
	see_file(bob(), "a", "1", false);
	assert_int_equal(has("a"), TREE_HASHED);
}

static void renamed(void **state)
{
	struct hash_job job = { 0 };
	(void)state;

	see_file(bob(), "a", "1", true);
	hash_all();
	w.n_changes = 0;
	tree_gone(w.t, bob(), "a", w.now);
	assert_int_equal(has("a"), TREE_ABSENT);
	see_file(bob(), "b", "1", false);
	assert_int_equal(has("b"), TREE_HASHED);
	assert_int_equal(w.n_changes, 2);
	/* In a pass, the new name may be seen before the old one is missed. */
	see_file(bob(), "c", "1", false);
	assert_int_equal(has("c"), TREE_HASHED);
	/* Another user's file is another file. */
	see_file(see_dir(tree_root(w.t), "eve", 12), "c", "1", true);
	assert_true(take(&job));
	assert_string_equal(job.path, "eve/c");
	hash_job_done(&job);
}

static void known_from_entries(void **state)
{
	struct file entry = { .owner = "bob",
		.owner_realm = "R",
		.filename = "old name",
		.sha512 = SHA,
		.identity = "1",
		.scanned = 5 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	(void)state;

	tree_add_known(w.t, &entry, w.now);
	see_file(bob(), "new", "1", false);
	uuid_of("new", uuid);
	assert_int_equal(tree_get(w.t, uuid, &f), TREE_HASHED);
	assert_int_equal(f.scanned, 5);
	/* What a file has is never forgotten; what none has is. */
	tree_purge_known(w.t, INT64_MAX);
	see_file(bob(), "more", "1", false);
	assert_int_equal(has("more"), TREE_HASHED);
	tree_gone(w.t, bob(), "new", w.now);
	tree_gone(w.t, bob(), "more", w.now);
	tree_purge_known(w.t, w.now.msec + 1);
	see_file(bob(), "new", "1", true);
	assert_int_equal(has("new"), TREE_BUSY);
}

static void no_hash_no_knowledge(void **state)
{
	struct file entry = { .owner = "bob",
		.owner_realm = "R",
		.filename = "a",
		.sha512 = "",
		.identity = "1" };
	(void)state;

	tree_add_known(w.t, &entry, w.now);
	see_file(bob(), "a", "1", true);
	assert_int_equal(has("a"), TREE_BUSY);
}

static void listing_finds_what_is_gone(void **state)
{
	struct fs_dir *dir = bob();
	(void)state;

	see_file(dir, "a", "1", true);
	see_file(dir, "b", "2", true);
	see_file(see_dir(dir, "d", 20), "c", "3", true);
	hash_all();
	tree_list_begin(w.t, dir);
	see_file(dir, "b", "2", true);
	tree_list_end(w.t, dir, w.now);
	assert_int_equal(has("a"), TREE_ABSENT);
	assert_int_equal(has("b"), TREE_HASHED);
	assert_int_equal(has("d/c"), TREE_ABSENT);
	assert_null(dir_of(dir, "d"));
}

static void directory_of_that_name_is_another(void **state)
{
	struct fs_dir *d = see_dir(bob(), "d", 20);
	(void)state;

	see_file(d, "c", "3", true);
	tree_set_watch(w.t, d, 5);
	assert_ptr_equal(tree_find_watch(w.t, 5), d);
	assert_ptr_equal(see_dir(bob(), "d", 20), d);
	assert_int_equal(has("d/c"), TREE_BUSY);
	d = see_dir(bob(), "d", 21);
	assert_int_equal(has("d/c"), TREE_ABSENT);
	assert_int_equal(w.n_unwatched, 1);
	assert_null(tree_find_watch(w.t, 5));
	/* A file in its place. */
	see_file(bob(), "d", "9", true);
	assert_null(dir_of(bob(), "d"));
	assert_int_equal(has("d"), TREE_BUSY);
	see_dir(bob(), "d", 22);
	assert_int_equal(has("d"), TREE_ABSENT);
}

/* A directory that was moved is watched under its old name until that is missed. */
static void watch_moves(void **state)
{
	struct fs_dir *a = see_dir(bob(), "a", 20), *b = see_dir(bob(), "b", 20);
	(void)state;

	tree_set_watch(w.t, a, 5);
	tree_set_watch(w.t, b, 5);
	assert_ptr_equal(tree_find_watch(w.t, 5), b);
	assert_int_equal(a->wd, -1);
	tree_gone(w.t, bob(), "a", w.now);
	assert_int_equal(w.n_unwatched, 0);
	assert_ptr_equal(tree_find_watch(w.t, 5), b);
	tree_forget_watches(w.t);
	assert_int_equal(b->wd, -1);
	assert_null(tree_find_watch(w.t, 5));
}

static void queue_of_directories(void **state)
{
	struct fs_dir *dir = bob();
	(void)state;

	assert_ptr_equal(tree_take_queued(w.t), dir);
	assert_null(tree_take_queued(w.t));
	/* Not listed yet: whenever it is seen. */
	bob();
	assert_ptr_equal(tree_take_queued(w.t), dir);
	tree_set_unread(w.t, dir, 0);
	bob();
	assert_false(tree_has_queued(w.t));
	tree_set_full_pass(w.t, true);
	bob();
	bob();
	assert_ptr_equal(tree_take_queued(w.t), dir);
	assert_null(tree_take_queued(w.t));
	tree_set_watch(w.t, dir, 5);
	tree_queue_unwatched(w.t);
	assert_ptr_equal(tree_take_queued(w.t), tree_root(w.t));
	assert_null(tree_take_queued(w.t));
	/* One that goes leaves the queue. */
	tree_queue(w.t, dir);
	tree_gone(w.t, tree_root(w.t), "bob", w.now);
	assert_null(tree_take_queued(w.t));
}

/* ---------------------------------------------------------------- skipping */

static const struct {
	struct seen seen;
	enum skip_why why;
} skipped[] = {
	{ { .name = "l", .kind = SEEN_LINK }, SKIP_LINK },
	{ { .name = "p", .kind = SEEN_SPECIAL }, SKIP_SPECIAL },
	{ { .name = "m", .kind = SEEN_OTHER_FS }, SKIP_OTHER_FS },
	{ { .name = "\xff", .identity = "1" }, SKIP_NAME },
	{ { .name = "a\nb", .identity = "1" }, SKIP_NAME },
	{ { .name = "\xc3", .kind = SEEN_DIR }, SKIP_NAME },
	{ { .name = "big", .identity = "1", .size_bytes = 1000001 }, SKIP_LARGE },
};

static void skipped_once_each(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(skipped); i++) {
		struct fs_dir *dir = bob();
		unsigned n = w.n_skips;

		for (int again = 0; again < 3; again++) {
			tree_list_begin(w.t, dir);
			see(dir, skipped[i].seen);
			tree_list_end(w.t, dir, w.now);
		}
		assert_int_equal(w.n_skips, n + 1);
		assert_int_equal(w.why, skipped[i].why);
		assert_true(str_has_prefix(w.skipped, "bob/"));
		assert_int_equal(has(skipped[i].seen.name), TREE_ABSENT);
	}
	assert_int_equal(w.n_changes, 0);
}

static void own_names_are_silent(void **state)
{
	(void)state;
	see_file(bob(), FILE_OWN_PREFIX "upload-1", "1", true);
	see_dir(tree_root(w.t), FILE_OWN_PREFIX "x", 9);
	see_file(tree_root(w.t), FILE_OWN_PREFIX "filescan", "2", true);
	assert_int_equal(has(FILE_OWN_PREFIX "upload-1"), TREE_ABSENT);
	assert_int_equal(w.n_skips, 0);
}

static void directories_of_nobody(void **state)
{
	static char *const names[] = { "bob@T", "bob@R", "-", "a b", "bob@", "@S" };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		for (int again = 0; again < 2; again++) {
			tree_list_begin(w.t, tree_root(w.t));
			assert_null(see_dir(tree_root(w.t), names[i], 9));
			assert_int_equal(w.n_skips, i + 1);
			assert_int_equal(w.why, SKIP_NOBODY);
		}
	see_file(tree_root(w.t), "stray", "1", true);
	assert_int_equal(w.why, SKIP_NOBODY);
	assert_non_null(see_dir(tree_root(w.t), "bob@S", 9));
}

static void too_deep(void **state)
{
	struct fs_dir *two = see_dir(bob(), "two", 2), *three = see_dir(two, "three", 3);
	(void)state;

	assert_null(see_dir(three, "four", 4));
	assert_int_equal(w.why, SKIP_DEEP);
	assert_string_equal(w.skipped, "bob/two/three/four");
	see_file(three, "a", "1", true);
	assert_int_equal(has("two/three/a"), TREE_BUSY);
}

/* 1024 bytes below the user's directory, with its "/". */
static void long_path(void **state)
{
	struct tree_conf conf = { &w.realms, SETTLE, 10, 9, 1000000, on_change, on_skip,
		on_unwatch, &w };
	char name[256] = "", last[8] = "1234";
	struct fs_dir *dir;
	(void)state;

	tree_free(w.t);
	w.t = tree_new(&conf);
	memset(name, 'x', sizeof(name) - 1);
	dir = bob();
	for (int i = 0; i < 4; i++)
		dir = see_dir(dir, name, 30 + (uint64_t)i);
	/* 4 * 256 are 1024 already. */
	assert_int_equal(w.n_skips, 0);
	see_file(dir, last, "1", true);
	assert_int_equal(w.n_skips, 1);
	assert_int_equal(w.why, SKIP_LONG);
	name[251] = '\0';
	dir = see_dir(dir->parent, name, 40);
	see_file(dir, last, "1", true);
	see_file(dir, "12345", "2", true);
	assert_int_equal(w.n_skips, 2);
	last[3] = '\0';
	see_file(dir, last, "3", true);
	assert_int_equal(w.n_skips, 2);
}

static void too_many(void **state)
{
	static char *const names[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
		"10", "11" };
	struct fs_dir *dir = bob();
	(void)state;

	tree_set_unread(w.t, tree_root(w.t), 0);
	tree_set_unread(w.t, dir, 0);
	for (int again = 0; again < 2; again++) {
		tree_list_begin(w.t, dir);
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			see_file(dir, names[i], names[i], true);
		tree_list_end(w.t, dir, w.now);
	}
	assert_int_equal(w.n_skips, 1);
	assert_int_equal(w.why, SKIP_MANY);
	assert_int_equal(has("9"), TREE_BUSY);
	assert_int_equal(has("10"), TREE_ABSENT);
	/* It is not known to be gone. */
	assert_false(is_sure("bob", "R", "10"));
	tree_gone(w.t, dir, "0", w.now);
	tree_list_begin(w.t, dir);
	see_file(dir, "10", "10", true);
	tree_list_end(w.t, dir, w.now);
	assert_int_equal(has("10"), TREE_BUSY);
	assert_true(is_sure("bob", "R", "11"));
}

static void unreadable_file(void **state)
{
	struct hash_job job = { 0 };
	(void)state;

	see_file(bob(), "a", "1", true);
	for (int again = 0; again < 2; again++) {
		assert_true(take(&job));
		tree_hash_failed(w.t, &job, 13);
		hash_job_done(&job);
		assert_int_equal(has("a"), TREE_ABSENT);
		assert_int_equal(w.n_skips, 1);
		assert_int_equal(w.why, SKIP_UNREADABLE);
		assert_false(take(&job));
		see_file(bob(), "a", "1", true); /* the next pass tries again */
	}
	hash_all();
	assert_int_equal(has("a"), TREE_HASHED);
}

/* ---------------------------------------------------------------- absence */

static void absence_is_sure_where_all_was_listed(void **state)
{
	struct fs_dir *dir;
	(void)state;

	assert_false(is_sure("bob", "R", "a"));
	tree_set_unread(w.t, tree_root(w.t), 0);
	assert_true(is_sure("bob", "R", "a"));
	assert_true(is_sure("bob", "S", "a"));
	assert_false(is_sure("bob", "T", "a")); /* a realm that is not ours */
	dir = bob();
	assert_false(is_sure("bob", "R", "a"));
	assert_true(is_sure("bob", "S", "a"));
	tree_set_unread(w.t, dir, 0);
	assert_true(is_sure("bob", "R", "d/a"));
	dir = see_dir(dir, "d", 20);
	tree_set_unread(w.t, dir, 13);
	assert_int_equal(w.why, SKIP_UNREADABLE);
	assert_string_equal(w.skipped, "bob/d");
	tree_set_unread(w.t, dir, 13);
	assert_int_equal(w.n_skips, 1);
	assert_false(is_sure("bob", "R", "d/a"));
	assert_false(is_sure("bob", "R", "d/e/a"));
	assert_true(is_sure("bob", "R", "e/a"));
}

static void small_ones_are_not_held_up(void **state)
{
	struct seen large = { .name = "l", .identity = "1", .size_bytes = 999999 };
	struct tree_conf conf = { &w.realms, SETTLE, 10, 3, INT64_MAX, on_change, on_skip,
		on_unwatch, &w };
	struct hash_job job = { 0 };
	struct tree_counts c;
	(void)state;

	tree_free(w.t);
	w.t = tree_new(&conf);
	large.size_bytes = TREE_LARGE_BYTES + 1;
	see(bob(), large);
	assert_false(tree_take_ready(w.t, true, &job));
	pass_msec(1);
	see_file(bob(), "s", "2", true);
	tree_count(w.t, &c);
	assert_int_equal(c.n_files[FS_READY], 2);
	assert_int_equal(c.waiting_bytes, TREE_LARGE_BYTES + 8);
	assert_true(tree_take_ready(w.t, true, &job));
	assert_string_equal(job.path, "bob/s");
	tree_hash_put_back(w.t, &job);
	hash_job_done(&job);
	/* Else the oldest comes first. */
	assert_true(take(&job));
	assert_string_equal(job.path, "bob/l");
	/* It has become small meanwhile. */
	see_file(bob(), "l", "3", true);
	tree_hashed(w.t, &job, SHA, w.now);
	hash_job_done(&job);
	hash_all();
	tree_count(w.t, &c);
	assert_int_equal(c.waiting_bytes, 0);
	assert_int_equal(c.n_files[FS_HASHED], 2);
}

static void all_are_told(void **state)
{
	(void)state;
	see_file(bob(), "a", "1", true);
	see_file(bob(), "b", "2", false);
	tree_tell_all(w.t);
	assert_int_equal(w.n_changes, 2);
	tree_gone(w.t, tree_root(w.t), "bob", w.now);
	assert_int_equal(w.n_changes, 4);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_world, end_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(from_found_to_hashed),
		TEST(being_written),
		TEST(closed_is_ready),
		TEST(changed_while_hashed),
		TEST(changed_after_it_was_hashed),
		TEST(renamed),
		TEST(known_from_entries),
		TEST(no_hash_no_knowledge),
		TEST(listing_finds_what_is_gone),
		TEST(directory_of_that_name_is_another),
		TEST(watch_moves),
		TEST(queue_of_directories),
		TEST(skipped_once_each),
		TEST(own_names_are_silent),
		TEST(directories_of_nobody),
		TEST(too_deep),
		TEST(long_path),
		TEST(too_many),
		TEST(unreadable_file),
		TEST(absence_is_sure_where_all_was_listed),
		TEST(small_ones_are_not_held_up),
		TEST(all_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
