/* How ucloud-filescan looks at directories and reads files: a real directory, no threads but
 * where one says so. */
#include "ucloud-filescan/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-filescan/hashfile.h"
#include "ucloud-filescan/inot.h"

#define ABC                                                                              \
	"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"               \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static char *base;
static int base_fd = -1;
static struct base_id base_id;

static int make_world(void **state)
{
	CLEANUP_STR char *dir = NULL, *a = NULL, *link = NULL, *out = NULL, *fifo = NULL;
	struct err e = { 0 };
	(void)state;

	signal(SIGIO, SIG_IGN);
	base = test_path("base");
	if (base_setup(base, "no such group", &e) != 0 ||
		base_open(base, &base_fd, &base_id, &e) != 0)
		fail_msg("%s", e.msg);
	dir = test_path("base/bob");
	a = test_path("base/bob/a");
	link = test_path("base/bob/link");
	out = test_path("base/bob/out");
	fifo = test_path("base/bob/fifo");
	test_mkdir(dir);
	test_write_file(a, "abc");
	assert_int_equal(symlink("a", link), 0);
	assert_int_equal(symlink("/", out), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	return 0;
}

static int end_world(void **state)
{
	(void)state;
	walk_close(&base_fd);
	free(base);
	return 0;
}

static void marker(void **state)
{
	CLEANUP_STR char *path = test_path("base/" BASE_MARKER);
	struct base_id id;
	struct err e = { 0 };
	struct stat st;
	int fd = -1;
	(void)state;

	assert_int_equal(stat(base, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02771);
	assert_int_equal(unlink(path), 0);
	assert_true(base_open(base, &fd, &id, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, BASE_MARKER));
	assert_int_equal(fd, -1);
	/* Once more, of a directory that is there: only the marker is made. */
	assert_int_equal(chmod(base, 0755), 0);
	assert_int_equal(base_setup(base, "root", &e), 0);
	assert_int_equal(stat(base, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(base_open(base, &fd, &id, &e), 0);
	assert_int_equal(id.ino, base_id.ino);
	walk_close(&fd);
	assert_true(base_setup("/nonexistent/dir", "root", &e) < 0);
}

static const struct seen *find(const struct seen_list *l, const char *name)
{
	for (size_t i = 0; i < l->len; i++)
		if (str_eq(l->v[i].name, name))
			return &l->v[i];
	fail_msg("%s was not seen", name);
	return NULL;
}

static void listing(void **state)
{
	CLEANUP(seen_list_done) struct seen_list all = { 0 }, some = { 0 };
	CLEANUP(walk_close) int fd = walk_open(base_fd, "bob");
	struct walk_conf conf = { .dev = base_id.dev, .max = 4 };
	struct stat st;
	(void)state;

	assert_true(fd >= 0);
	assert_int_equal(walk_list(fd, &conf, &all), 0);
	assert_int_equal(all.len, 4);
	assert_false(all.is_cut);
	assert_int_equal(find(&all, "a")->kind, SEEN_FILE);
	assert_int_equal(find(&all, "a")->size_bytes, 3);
	assert_int_equal(find(&all, "link")->kind, SEEN_LINK);
	assert_int_equal(find(&all, "out")->kind, SEEN_LINK);
	assert_int_equal(find(&all, "fifo")->kind, SEEN_SPECIAL);
	assert_int_equal(fstatat(fd, "a", &st, 0), 0);
	CLEANUP_STR char *identity = file_identity(&st);
	assert_string_equal(find(&all, "a")->identity, identity);
	conf.max = 3;
	assert_int_equal(walk_list(fd, &conf, &some), 0);
	assert_int_equal(some.len, 3);
	assert_true(some.is_cut);
}

static bool is_closed(int dir)
{
	CLEANUP(seen_list_done) struct seen_list l = { 0 };
	struct walk_conf conf = { .dev = base_id.dev, .max = 99 };

	assert_int_equal(walk_list(dir, &conf, &l), 0);
	return find(&l, "a")->is_closed;
}

static void who_still_writes(void **state)
{
	CLEANUP(walk_close) int dir = walk_open(base_fd, "bob");
	CLEANUP_STR char *path = test_path("base/bob/a");
	int fd;
	(void)state;

	assert_true(is_closed(dir)); /* our own file: no privilege needed */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_false(is_closed(dir));
	close(fd);
	assert_true(is_closed(dir));
}

static void nothing_leads_out(void **state)
{
	static const struct {
		const char *path;
		int errnum;
	} rows[] = { { "bob/out", ELOOP }, { "bob/link", ELOOP }, { "..", EXDEV },
		{ "bob/../..", EXDEV }, { "bob/a", ENOTDIR }, { "bob/none", ENOENT },
		{ "/", EXDEV } };
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(walk_open(base_fd, rows[i].path), -1);
		assert_int_equal(errno, rows[i].errnum);
	}
}

/* ---------------------------------------------------------------- hashing */

static struct hash_result hash_as(const char *path, const char *identity, int64_t size)
{
	struct hash_job job = { .path = (char *)(uintptr_t)path,
		.identity = (char *)(uintptr_t)identity,
		.size_bytes = size };
	struct hash_result r = { 0 };
	atomic_bool is_stopping = false;

	hash_file(base_fd, &job, &is_stopping, &r);
	return r;
}

static char *identity_of(const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(base_fd, path, &st, 0), 0);
	return file_identity(&st);
}

static void hashes(void **state)
{
	CLEANUP_STR char *identity = identity_of("bob/a");
	struct hash_result r = hash_as("bob/a", identity, 3);
	(void)state;

	assert_int_equal(r.end, HASH_DONE);
	assert_string_equal(r.sha512, ABC);
	assert_int_equal(r.n_read, 3);
	assert_int_equal(hash_as("bob/a", "1:2:3", 3).end, HASH_CHANGED);
	assert_int_equal(hash_as("bob/none", identity, 3).end, HASH_CHANGED);
	r = hash_as("bob/link", identity, 3);
	assert_int_equal(r.end, HASH_FAILED);
	assert_int_equal(r.errnum, ELOOP);
	/* Never waits for somebody to write. */
	assert_int_equal(hash_as("bob/fifo", identity, 3).end, HASH_CHANGED);
}

static void hashes_a_large_one(void **state)
{
	CLEANUP_STR char *path = test_path("base/bob/large");
	struct hash_job job = { .path = (char *)(uintptr_t) "bob/large" };
	struct hash_result r = { 0 };
	atomic_bool is_stopping = true;
	(void)state;

	test_write_file(path, "");
	assert_int_equal(truncate(path, 40 * 1024 * 1024 + 5), 0);
	CLEANUP_STR char *identity = identity_of("bob/large");
	r = hash_as("bob/large", identity, 40 * 1024 * 1024 + 5);
	assert_int_equal(r.end, HASH_DONE);
	assert_int_equal(r.n_read, 40 * 1024 * 1024 + 5);
	assert_int_equal(strlen(r.sha512), 128);
	job.identity = identity;
	hash_file(base_fd, &job, &is_stopping, &r);
	assert_int_equal(r.end, HASH_GAVE_UP);
	assert_int_equal(unlink(path), 0);
}

/* ---------------------------------------------------------------- inotify */

struct heard {
	uint32_t mask;
	char name[256];
};

static void on_event(void *aux, int wd, uint32_t mask, const char *name)
{
	struct heard *h = aux;
	(void)wd;

	h->mask |= mask;
	if (name)
		strncpy(h->name, name, sizeof(h->name) - 1);
}

static void told_of_changes(void **state)
{
	CLEANUP(walk_close) int dir = walk_open(base_fd, "bob");
	CLEANUP_STR char *path = test_path("base/bob/new");
	struct inot *in = inot_open();
	struct heard h = { 0 };
	int wd;
	(void)state;

	assert_non_null(in);
	wd = inot_add(in, dir, 0);
	assert_true(wd >= 0);
	assert_int_equal(inot_add(in, dir, 0), wd);
	inot_read(in, on_event, &h);
	assert_int_equal(h.mask, 0);
	test_write_file(path, "x");
	inot_read(in, on_event, &h);
	assert_string_equal(h.name, "new");
	assert_true(h.mask & IN_CREATE && h.mask & IN_CLOSE_WRITE);
	inot_remove(in, wd);
	h = (struct heard){ 0 };
	assert_int_equal(unlink(path), 0);
	inot_read(in, on_event, &h);
	assert_int_equal(h.mask, IN_IGNORED);
	inot_close(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marker),
		cmocka_unit_test(listing),
		cmocka_unit_test(who_still_writes),
		cmocka_unit_test(nothing_leads_out),
		cmocka_unit_test(hashes),
		cmocka_unit_test(hashes_a_large_one),
		cmocka_unit_test(told_of_changes),
	};

	return cmocka_run_group_tests(tests, make_world, end_world);
}
