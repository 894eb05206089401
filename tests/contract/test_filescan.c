/*
 * The program ucloud-filescan on a real directory and a real etcd: what users do to their
 * files, and what may happen to the program meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/http.h"
#include "common/base/parse.h"
#include "common/base/sha512.h"
#include "common/model/file.h"
#include "common/model/keys.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 60000
#define MANY	   10000
#define MARKER	   ".ucloud-filescan"

static struct world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct keys keys;
	struct http *http;
	char *program, *conf, *base, *log;
	uint16_t port;
	pid_t pid;
} w;

/* ---------------------------------------------------------------- the program */

static char *program_path(void)
{
	char self[4096] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-filescan/ucloud-filescan", self);
}

/* before: a command that starts it, "" none. */
static pid_t spawn(uint16_t port, const char *before)
{
	CLEANUP_STR char *line = xasprintf("exec %s '%s' --config '%s' --settle 2s "
					   "--lease_ttl 3s --rescan_unwatched 1s "
					   "--metrics_listen '[::1]:%u'",
		before, w.program, w.conf, port);
	const char *const argv[] = { "sh", "-c", line, NULL };

	return test_spawn(argv, w.log);
}

/* The body, the caller's; NULL when nobody answers. */
static char *ask(uint16_t port, const char *path, int *status)
{
	CLEANUP(http_resp_done) struct http_resp resp = { 0 };
	CLEANUP_STR char *url = xasprintf("http://[::1]:%u%s", port, path);
	struct http_req req = { .method = "GET", .url = url };
	struct err e;

	if (http_call(w.http, &req, &resp, &e) < 0)
		return NULL;
	*status = resp.status;
	return xstrndup(buf_str(&resp.body), resp.body.size);
}

static bool health_has(void *text)
{
	int status = 0;
	CLEANUP_STR char *body = ask(w.port, "/healthz", &status);

	return body && strstr(body, text);
}

static int64_t metric(const char *name)
{
	int status = 0;
	CLEANUP_STR char *body = ask(w.port, "/metrics", &status);
	CLEANUP_STR char *line = xasprintf("\n%s ", name);
	const char *at = body ? strstr(body, line) : NULL;
	int64_t value = -1;
	struct err e;

	if (!at)
		return -1;
	at += strlen(line);
	CLEANUP_STR char *number = xstrndup(at, strcspn(at, "\n"));
	assert_int_equal(parse_int64(number, 0, INT64_MAX, &value, &e), 0);
	return value;
}

static void start(void)
{
	w.port = test_free_port();
	w.pid = spawn(w.port, "");
}

static void start_and_wait(void)
{
	start();
	assert_true(wait_until(health_has, (void *)(uintptr_t) "ok files=", LIMIT_MSEC));
}

static void stop(int sig)
{
	kill(w.pid, sig);
	assert_int_equal(test_wait(w.pid, LIMIT_MSEC), sig == SIGKILL ? 128 + 9 : 0);
}

static size_t n_lines(const char *text)
{
	CLEANUP_STR char *log = test_read_file(w.log);
	size_t n = 0;

	for (const char *at = log; at && (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ---------------------------------------------------------------- files */

static char *in_base(const char *name)
{
	return xasprintf("%s/%s", w.base, name);
}

static void make_dir(const char *name)
{
	CLEANUP_STR char *path = in_base(name);

	test_mkdir(path);
}

static void write_file(const char *name, const char *text)
{
	CLEANUP_STR char *path = in_base(name);

	test_write_file(path, text);
}

static void move(const char *from, const char *to)
{
	CLEANUP_STR char *a = in_base(from), *b = in_base(to);

	assert_int_equal(rename(a, b), 0);
}

static void remove_all(const char *name)
{
	CLEANUP_STR char *path = in_base(name);

	test_remove(path);
}

static int open_new(const char *name)
{
	CLEANUP_STR char *path = in_base(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* ---------------------------------------------------------------- entries */

/* Of "user@realm/name": 0, 1 absent, < 0. The index is there exactly when the entry is. */
static int entry(const char *which, struct file *out)
{
	CLEANUP_STR char *user = xstrdup(which);
	CLEANUP(kv_list_done) struct kv_list l = { 0 };
	char *realm = strchr(user, '@'), *name = strchr(user, '/');
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	*realm++ = '\0';
	*name++ = '\0';
	file_uuid(realm, user, name, uuid);
	CLEANUP_STR char *key = key_file(&w.keys, uuid);
	CLEANUP_STR char *index = key_file_name(realm, user, name);
	const char *const keys[] = { key, index };
	if (kv_get_many(w.kv, keys, 2, &l, &e) != 0)
		return -1;
	assert_int_equal(l.v[0].key != NULL, l.v[1].key != NULL);
	if (!l.v[0].key)
		return 1;
	assert_string_equal(l.v[1].value, uuid);
	if (file_parse(l.v[0].value, l.v[0].value_size, out, &e) != 0)
		fail_msg("%s", e.msg);
	return 0;
}

struct wanted {
	const char *which, *text;
};

static bool is_as_wanted(void *aux)
{
	struct wanted *want = aux;
	CLEANUP(file_done) struct file f = { 0 };
	char hex[SHA512_HEX_SIZE];
	struct sha512 h;
	int rc = entry(want->which, &f);

	if (rc != 0 || !want->text)
		return rc == 1 && !want->text;
	sha512_start(&h);
	sha512_add(&h, want->text, strlen(want->text));
	sha512_hex(&h, hex);
	return str_eq(f.sha512, hex) && f.size_bytes == (int64_t)strlen(want->text);
}

/* text NULL: no entry. Says how long it took. */
static void wait_for(const char *which, const char *text)
{
	struct wanted want = { which, text };
	int64_t began = test_now_msec();

	if (!wait_until(is_as_wanted, &want, LIMIT_MSEC))
		fail_msg("%s is not %s", which, text ? "published" : "gone");
	print_message("%s: %s after %jd ms\n", which, text ? "published" : "gone",
		(intmax_t)(test_now_msec() - began));
}

static bool is_published(const char *which)
{
	CLEANUP(file_done) struct file f = { 0 };

	return entry(which, &f) == 0;
}

static int64_t n_entries(const char *user)
{
	CLEANUP_STR char *prefix = key_file_names("R", user);
	int64_t n = -1, n_all = -1;
	struct err e;

	if (kv_count(w.kv, prefix, &n, &e) != 0 ||
		kv_count(w.kv, w.keys.file, &n_all, &e) != 0 || n_all < n)
		return -1;
	return n;
}

struct count {
	const char *user;
	int64_t n;
};

static bool is_count(void *aux)
{
	struct count *c = aux;

	return n_entries(c->user) == c->n;
}

static void wait_count(const char *user, int64_t n)
{
	struct count c = { user, n };
	int64_t began = test_now_msec();

	if (!wait_until(is_count, &c, LIMIT_MSEC))
		fail_msg("%s: %jd entries, not %jd", user, (intmax_t)n_entries(user),
			(intmax_t)n);
	print_message("%s: %jd entries after %jd ms\n", user, (intmax_t)n,
		(intmax_t)(test_now_msec() - began));
}

/* ---------------------------------------------------------------- tests */

static void what_users_do(void **state)
{
	(void)state;
	make_dir("ann");
	write_file("ann/a", "one");
	wait_for("ann@R/a", "one");
	write_file("ann/a", "two, longer");
	wait_for("ann@R/a", "two, longer");
	int64_t n_read = metric("ucloud_filescan_hashed_bytes_total");
	move("ann/a", "ann/b c");
	wait_for("ann@R/b c", "two, longer");
	wait_for("ann@R/a", NULL);
	make_dir("ann/deep");
	make_dir("ann/deep/er");
	move("ann/b c", "ann/deep/er/d");
	wait_for("ann@R/deep/er/d", "two, longer");
	wait_for("ann@R/b c", NULL);
	move("ann/deep", "ann/other");
	wait_for("ann@R/other/er/d", "two, longer");
	wait_for("ann@R/deep/er/d", NULL);
	/* None of these names made it read the file again. */
	assert_int_equal(metric("ucloud_filescan_hashed_bytes_total"), n_read);
	write_file("ann/other/er/d", "2");
	wait_for("ann@R/other/er/d", "2");
	remove_all("ann/other");
	wait_for("ann@R/other/er/d", NULL);
	write_file("ann/empty", "");
	wait_for("ann@R/empty", "");
}

static void other_realms(void **state)
{
	(void)state;
	make_dir("ann@S");
	make_dir("ann@nowhere");
	write_file("ann@nowhere/a", "x");
	write_file("ann@S/a", "of another ann");
	wait_for("ann@S/a", "of another ann");
	assert_false(is_published("ann@nowhere/a"));
	assert_int_equal(n_lines("path=\"ann@nowhere\""), 1);
	remove_all("ann@nowhere");
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static bool time_is_over(void *until)
{
	return test_now_msec() >= *(int64_t *)until;
}

static void wait_msec(int64_t msec)
{
	int64_t until = test_now_msec() + msec;

	wait_until(time_is_over, &until, msec + 1000);
}

static void being_written(void **state)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	int fd;
	(void)state;

	make_dir("cy");
	write_file("cy/first", "x"); /* the directory is watched */
	wait_for("cy@R/first", "x");
	fd = open_new("cy/a");
	/* Longer than the 2 s after which a file that does not change is published. */
	for (int i = 0; i < 16; i++) {
		put(fd, "piece\n");
		buf_add_str(&text, "piece\n");
		assert_false(is_published("cy@R/a"));
		wait_msec(200);
	}
	close(fd);
	wait_for("cy@R/a", buf_str(&text));
	/* Never closed. */
	fd = open_new("cy/b");
	put(fd, "half");
	wait_for("cy@R/b", "half");
	put(fd, " and half");
	wait_for("cy@R/b", "half and half");
	close(fd);
}

static void what_is_not_published(void **state)
{
	CLEANUP_STR char *link = NULL, *out = NULL, *fifo = NULL;
	(void)state;

	make_dir("dan");
	link = in_base("dan/link");
	out = in_base("dan/out");
	fifo = in_base("dan/fifo");
	assert_int_equal(symlink("/etc/passwd", link), 0);
	assert_int_equal(symlink("/etc", out), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	write_file("dan/\xff\xfe", "x");
	write_file("dan/new\nline", "x");
	write_file("dan/.ucloud-upload-1", "x");
	make_dir("dan/.ucloud-dir");
	write_file("dan/.ucloud-dir/a", "x");
	write_file("dan/.hidden", "but not ours");
	wait_for("dan@R/.hidden", "but not ours");
	write_file("dan/last", "x");
	wait_for("dan@R/last", "x");
	wait_count("dan", 2);
	assert_int_equal(n_lines("path=\"dan/\\xff\\xfe\""), 1);
	assert_int_equal(n_lines("path=\"dan/link\""), 1);
	assert_int_equal(n_lines("path=\"dan/out\""), 1);
	assert_int_equal(n_lines("path=\"dan/fifo\""), 1);
	assert_int_equal(n_lines("path=\"dan/.ucloud"), 0);
	/* A complete upload. */
	move("dan/.ucloud-upload-1", "dan/upload");
	wait_for("dan@R/upload", "x");
}

static void make_many(const char *dir, int n)
{
	make_dir(dir);
	for (int i = 0; i < n; i++) {
		CLEANUP_STR char *name = xasprintf("%s/%d", dir, i);
		CLEANUP_STR char *path = in_base(name);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		put(fd, name);
		close(fd);
	}
}

static void ten_thousand(void **state)
{
	(void)state;
	make_dir("eve");
	make_many("eve/many", MANY);
	wait_count("eve", MANY);
	wait_for("eve@R/many/7", "eve/many/7");
	int64_t n_read = metric("ucloud_filescan_hashed_bytes_total");
	move("eve/many", "eve/renamed");
	wait_for("eve@R/renamed/7", "eve/many/7");
	wait_for("eve@R/many/7", NULL);
	wait_count("eve", MANY);
	assert_int_equal(metric("ucloud_filescan_hashed_bytes_total"), n_read);
	remove_all("eve/renamed");
	wait_count("eve", 0);
}

/* What happens while it is dead, of which nobody tells. */
static void restart(void **state)
{
	(void)state;
	make_dir("fay");
	write_file("fay/same", "the same");
	write_file("fay/old name", "renamed");
	write_file("fay/gone", "goes");
	write_file("fay/changed", "before");
	wait_count("fay", 4);
	wait_for("fay@R/changed", "before");
	stop(SIGKILL);
	move("fay/old name", "fay/new name");
	remove_all("fay/gone");
	write_file("fay/changed", "after it");
	write_file("fay/new", "1234567890");
	start();
	wait_for("fay@R/new name", "renamed");
	wait_for("fay@R/old name", NULL);
	wait_for("fay@R/gone", NULL);
	wait_for("fay@R/changed", "after it");
	wait_for("fay@R/new", "1234567890");
	wait_count("fay", 4);
	assert_int_equal(metric("ucloud_filescan_hashed_bytes_total"), 18);
}

static void more_than_the_kernel_keeps(void **state)
{
	CLEANUP_STR char *text = test_read_file("/proc/sys/fs/inotify/max_queued_events");
	int64_t max = 0;
	struct err e;
	int n;
	(void)state;

	assert_non_null(text);
	text[strcspn(text, "\n")] = '\0';
	assert_int_equal(parse_int64(text, 0, INT64_MAX, &max, &e), 0);
	if (max > 3 * MANY) {
		print_message("the queue is too long to fill it: %jd\n", (intmax_t)max);
		return;
	}
	make_dir("gil");
	make_dir("gil/d");
	write_file("gil/d/first", "x");
	wait_for("gil@R/d/first", "x");
	kill(w.pid, SIGSTOP);
	/* Each is created, written to and closed. */
	n = (int)(max / 3) + 100;
	make_many("gil/d", n);
	kill(w.pid, SIGCONT);
	wait_count("gil", n + 1);
	assert_true(n_lines("fs.inotify.max_queued_events") >= 1);
	remove_all("gil/d");
	wait_count("gil", 0);
}

static void without_watches(void **state)
{
	const char *const try[] = { "unshare", "-U", "-r", "sh", "-c",
		"echo 2 >/proc/sys/user/max_inotify_watches", NULL };
	(void)state;

	if (test_run(try, LIMIT_MSEC, NULL) != 0) {
		print_message("there are no user namespaces here\n");
		return;
	}
	stop(SIGTERM);
	w.port = test_free_port();
	w.pid = spawn(w.port,
		"unshare -U -r sh -c 'echo 2 >/proc/sys/user/max_inotify_watches; "
		"exec \"$@\"' sh");
	make_dir("hal");
	make_dir("hal/d");
	write_file("hal/d/a", "seen late");
	wait_for("hal@R/d/a", "seen late");
	write_file("hal/d/a", "and again");
	wait_for("hal@R/d/a", "and again");
	remove_all("hal/d");
	wait_for("hal@R/d/a", NULL);
	assert_true(n_lines("fs.inotify.max_user_watches") >= 1);
	stop(SIGTERM);
	start_and_wait();
}

/* An empty directory where base_dir's file system should be. */
static void not_mounted(void **state)
{
	CLEANUP_STR char *away = test_path("away"), *marker = in_base(MARKER);
	int64_t n_all = 0, n = 0;
	struct err e;
	(void)state;

	make_dir("ida");
	write_file("ida/a", "stays");
	wait_for("ida@R/a", "stays");
	assert_int_equal(kv_count(w.kv, w.keys.file, &n_all, &e), 0);
	assert_int_equal(rename(w.base, away), 0);
	test_mkdir(w.base);
	assert_true(wait_until(health_has,
		(void *)(uintptr_t) "is its file system mounted?", LIMIT_MSEC));
	assert_int_equal(n_lines("ERROR"), 1);
	/* Started like that. */
	stop(SIGTERM);
	start();
	assert_true(wait_until(health_has,
		(void *)(uintptr_t) "is its file system mounted?", LIMIT_MSEC));
	wait_msec(2500);
	assert_int_equal(kv_count(w.kv, w.keys.file, &n, &e), 0);
	assert_int_equal(n, n_all);
	/* It comes, with what changed elsewhere. */
	assert_int_equal(rmdir(w.base), 0);
	test_mkdir(away);
	CLEANUP_STR char *file = xasprintf("%s/ida/b", away);
	test_write_file(file, "new there");
	assert_int_equal(rename(away, w.base), 0);
	wait_for("ida@R/b", "new there");
	assert_int_equal(kv_count(w.kv, w.keys.file, &n, &e), 0);
	assert_int_equal(n, n_all + 1);
	/* And away again while it runs: what is gone is not believed. */
	assert_int_equal(unlink(marker), 0);
	remove_all("ida/a");
	assert_true(wait_until(health_has,
		(void *)(uintptr_t) "is its file system mounted?", LIMIT_MSEC));
	wait_msec(1500);
	assert_true(is_published("ida@R/a"));
	write_file(MARKER, "");
	wait_for("ida@R/a", NULL);
}

static void etcd_goes_and_comes(void **state)
{
	(void)state;
	make_dir("jo");
	write_file("jo/first", "x");
	wait_for("jo@R/first", "x");
	test_etcd_kill(w.etcd, 0);
	write_file("jo/a", "meanwhile");
	remove_all("jo/first");
	wait_msec(4000); /* the lease is lost */
	write_file("jo/b", "later");
	test_etcd_restart(w.etcd, 0);
	test_etcd_wait(w.etcd);
	wait_for("jo@R/a", "meanwhile");
	wait_for("jo@R/b", "later");
	wait_for("jo@R/first", NULL);
}

static void two_of_them(void **state)
{
	uint16_t port = test_free_port(), first = w.port;
	pid_t second = spawn(port, "");
	(void)state;

	make_dir("kim");
	w.port = port;
	assert_true(wait_until(
		health_has, (void *)(uintptr_t) "another process", LIMIT_MSEC));
	w.port = first;
	write_file("kim/a", "by the first");
	wait_for("kim@R/a", "by the first");
	stop(SIGKILL);
	w.pid = second;
	w.port = port;
	write_file("kim/b", "by the second");
	wait_for("kim@R/b", "by the second");
	assert_int_equal(metric("ucloud_filescan_hashed_bytes_total"), 13);
}

static void commit(struct kv_txn *t)
{
	struct err e = { 0 };

	if (kv_txn_commit(w.kv, t, NULL, &e) != 0)
		fail_msg("%s", e.msg);
	kv_txn_free(t);
}

/* Somebody, or a restored backup, changes what is published. */
static void etcd_is_brought_in_line(void **state)
{
	struct file f = { 0 };
	struct kv_txn *t = kv_txn_new();
	char uuid[UUID_STR_SIZE];
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e;
	(void)state;

	make_dir("lea");
	write_file("lea/a", "here");
	wait_for("lea@R/a", "here");
	file_uuid("R", "lea", "a", uuid);
	CLEANUP_STR char *here = key_file(&w.keys, uuid);
	file_uuid("R", "lea", "never", uuid);
	CLEANUP_STR char *never = key_file(&w.keys, uuid);
	f = (struct file){ .uuid = uuid,
		.owner = (char *)(uintptr_t) "lea",
		.owner_realm = (char *)(uintptr_t) "R",
		.filename = (char *)(uintptr_t) "never",
		.sha512 = (char *)(uintptr_t) "" };
	CLEANUP_STR char *text = file_format(&f),
			 *index = key_file_name("R", "lea", "never");
	kv_txn_put(t, never, text);
	kv_txn_put(t, index, uuid);
	kv_txn_del(t, here);
	commit(t);
	wait_for("lea@R/never", NULL);
	wait_for("lea@R/a", "here");
	/* What cannot be understood is left alone. */
	t = kv_txn_new();
	kv_txn_put(t, never, "{");
	commit(t);
	write_file("lea/never", "x");
	write_file("lea/b", "x");
	wait_for("lea@R/b", "x");
	assert_int_equal(kv_get(w.kv, never, &pair, NULL, &e), 0);
	assert_string_equal(pair.value, "{");
}

/* ---------------------------------------------------------------- the world */

static int start_world(void **state)
{
	char *out = NULL;
	(void)state;

	w.etcd = test_etcd_start(NULL);
	w.kv = test_etcd_open(w.etcd);
	w.http = http_new(&(struct http_conf){ 0 });
	keys_set_defaults(&w.keys);
	w.program = program_path();
	w.conf = test_path("ucloud-filescan.conf");
	w.base = test_path("base");
	w.log = test_path("log");
	const char *const argv[] = { w.program, "setup", "--path", test_dir(),
		"--etcd_url", test_etcd_url(w.etcd, 0), "--base_dir", w.base,
		"--realm_allowed", "R", "--realm_allowed", "S", NULL };
	if (test_run(argv, LIMIT_MSEC, &out) != 0)
		fail_msg("%s", out);
	free(out);
	start_and_wait();
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	stop(SIGTERM);
	/* One for each time that base_dir was away. */
	CLEANUP_STR char *log = test_read_file(w.log);
	if (getenv("SHOW_LOG"))
		fputs(log, stderr);
	http_free(w.http);
	kv_close(w.kv);
	keys_done(&w.keys);
	free(w.program);
	free(w.conf);
	free(w.base);
	free(w.log);
	test_etcd_free(w.etcd);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_users_do),
		cmocka_unit_test(other_realms),
		cmocka_unit_test(being_written),
		cmocka_unit_test(what_is_not_published),
		cmocka_unit_test(ten_thousand),
		cmocka_unit_test(restart),
		cmocka_unit_test(more_than_the_kernel_keeps),
		cmocka_unit_test(without_watches),
		cmocka_unit_test(etcd_goes_and_comes),
		cmocka_unit_test(two_of_them),
		cmocka_unit_test(etcd_is_brought_in_line),
		cmocka_unit_test(not_mounted),
	};

	return cmocka_run_group_tests(tests, start_world, stop_world);
}
