/*
 * Uploads: users' files over HTTP into a real directory, with a real etcd. What they are
 * afterwards is test_files.c.
 */
#include "ucloud-api/api.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/files_world.h"
#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000
#define MIB	   (1024 * 1024)

/* ---------------------------------------------------------------- the protocol */

static int64_t part_size(const char *name)
{
	CLEANUP_STR char *path = fw_part_path("alice", "users", name);
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);
	struct stat st;

	return stat(full, &st) == 0 ? st.st_size : -1;
}

static void test_upload(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = fw_digest("hello", 5);
	CLEANUP_STR char *hex = fw_hex("hello", 5);
	CLEANUP_STR char *text = NULL;
	struct stat st;

	(void)state;
	fw_put(&a, fw.alice, "a.img", digest, "hello", 5);
	expect(&a, 201);
	assert_string_equal(a.location, "/v1/files/a.img");
	assert_string_equal(answer_member(&a, "filename"), "a.img");
	assert_string_equal(answer_member(&a, "sha512"), hex);
	assert_int_equal(answer_number(&a, "size_bytes"), 5);
	text = fw_content("alice/a.img");
	assert_string_equal(text, "hello");
	assert_false(fw_has_part("a.img"));
	/* Others of the group (ucloud-filescan) may read it; nobody else. */
	str_set(&text, xasprintf("%s/alice", fw.base));
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02770);
	str_set(&text, xasprintf("%s/alice/a.img", fw.base));
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);

	/* Again: it is replaced. Without a digest, too. */
	fw_put(&a, fw.alice, "a.img", NULL, "hello again", 11);
	expect(&a, 201);
	assert_string_equal(answer_member(&a, "sha512"), "");
	str_set(&text, fw_content("alice/a.img"));
	assert_string_equal(text, "hello again");

	fw_put(&a, fw.alice, "dir/with%20blank/x", NULL, "", 0);
	expect(&a, 201);
	assert_string_equal(a.location, "/v1/files/dir/with%20blank/x");
	assert_true(fw_exists("alice/dir/with blank/x"));
	fw_put(&a, fw.bob, "b", NULL, "bob's", 5);
	expect(&a, 201);
	str_set(&text, fw_content("bob@others/b"));
	assert_string_equal(text, "bob's");
}

static void test_large_and_chunked(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *bytes = xmalloc(9 * MIB);
	CLEANUP_STR char *digest = NULL;
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *head = NULL;
	int fd = fw_dial();

	(void)state;
	for (size_t i = 0; i < 9 * MIB; i++)
		bytes[i] = (char)(i * 31 >> 7);
	digest = fw_digest(bytes, 9 * MIB);
	fw_put(&a, fw.alice, "large", digest, bytes, 9 * MIB);
	expect(&a, 201);
	assert_int_equal(answer_number(&a, "size_bytes"), 9 * MIB);

	head = xasprintf(
		"Transfer-Encoding: chunked\r\nConnection: close\r\n%s\r\n", digest);
	fw_send_head(fd, "chunked", fw.alice, head);
	for (size_t i = 0; i < 9; i++) {
		fw_send(fd, "100000\r\n", 8);
		fw_send(fd, bytes + i * MIB, MIB);
		fw_send(fd, "\r\n", 2);
	}
	fw_send(fd, "0\r\n\r\n", 5);
	text = fw_receive(fd, NULL);
	assert_non_null(strstr(text, "HTTP/1.1 201 "));
	close(fd);
}

static void test_refused_before_the_body(void **state)
{
	static const struct {
		const char *name, *headers, *want;
		bool is_anonymous;
	} cases[] = {
		{ "x", "Content-Length: 9999999\r\n", "HTTP/1.1 401 ", true },
		{ "x", "Content-Length: 2000000000\r\n", "quota", false },
		{ "x", "Content-Range: bytes 5-6/7\r\nContent-Length: 2\r\n",
			"\"offset\":0", false },
		{ "x", "Content-Range: bytes 5-\r\nContent-Length: 2\r\n",
			"HTTP/1.1 400 ", false },
		{ "x", "Repr-Digest: sha-512=x\r\nContent-Length: 2\r\n", "HTTP/1.1 400 ",
			false },
		{ "a/../../b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "%2e%2e/b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "a%2f..%2fb", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "/b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ "a//b", "Content-Length: 2\r\n", "HTTP/1.1 400 ", false },
		{ ".ucloud-upload/x", "Content-Length: 2\r\n", "ucloud's own", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEANUP_STR char *text = NULL;
		CLEANUP_STR char *headers =
			xasprintf("%sExpect: 100-continue\r\n", cases[i].headers);
		int fd = fw_dial();

		fw_send_head(fd, cases[i].name,
			cases[i].is_anonymous ? "Bearer x" : fw.alice, headers);
		text = fw_receive(fd, NULL);
		if (strncmp(text, "HTTP/1.1 4", 10) != 0 || !strstr(text, cases[i].want))
			fail_msg("case %zu: %s", i, text);
		close(fd);
	}
	assert_false(fw_exists("b"));
	assert_false(fw_exists("alice/b"));
}

static void test_length_is_needed(void **state)
{
	CLEANUP_STR char *text = NULL;
	int fd = fw_dial();

	(void)state;
	fw_send_head(fd, "x", fw.alice, "Connection: close\r\n");
	text = fw_receive(fd, NULL);
	assert_non_null(strstr(text, "HTTP/1.1 411 "));
	close(fd);
}

static bool has_six(void *aux)
{
	(void)aux;
	return part_size("cut") == 6;
}

static bool is_unlocked(void *aux)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	fw_put(&a, fw.alice, aux, "Content-Range: bytes */10", "", 0);
	return a.status != 409;
}

static void test_resume(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = fw_digest("0123456789", 10);
	CLEANUP_STR char *head = xasprintf("%s\r\nContent-Length: 10\r\n", digest);
	CLEANUP_STR char *text = NULL;
	char cut[] = "cut";
	int fd = fw_dial();

	(void)state;
	fw_put(&a, fw.alice, cut, "Content-Range: bytes */10", "", 0);
	expect(&a, 200);
	assert_int_equal(answer_number(&a, "offset"), 0);
	fw_send_head(fd, cut, fw.alice, head);
	fw_send(fd, "012345", 6);
	assert_true(wait_until(has_six, NULL, LIMIT_MSEC));
	/* Two at once. */
	fw_put(&a, fw.alice, cut, NULL, "x", 1);
	expect(&a, 409);
	assert_non_null(strstr(answer_member(&a, "detail"), "just now"));
	close(fd);
	assert_true(wait_until(is_unlocked, cut, LIMIT_MSEC));
	fw_put(&a, fw.alice, cut, "Content-Range: bytes */10", "", 0);
	expect(&a, 200);
	assert_int_equal(answer_number(&a, "offset"), 6);
	fw_put(&a, fw.alice, cut, "Content-Range: bytes 5-9/10", "56789", 5);
	expect(&a, 409);
	assert_int_equal(answer_number(&a, "offset"), 6);
	fw_put(&a, fw.alice, cut, "Content-Range: bytes 6-7/10", "67", 2);
	expect(&a, 202);
	assert_int_equal(answer_number(&a, "offset"), 8);
	assert_false(fw_exists("alice/cut"));
	str_set(&head, xasprintf("%s\r\nContent-Range: bytes 8-9/10", digest));
	fd = fw_dial();
	str_set(&text,
		xasprintf("%s\r\nContent-Length: 2\r\nConnection: close\r\n", head));
	fw_send_head(fd, cut, fw.alice, text);
	fw_send(fd, "89", 2);
	str_set(&text, fw_receive(fd, NULL));
	assert_non_null(strstr(text, "HTTP/1.1 201 "));
	close(fd);
	str_set(&text, fw_content("alice/cut"));
	assert_string_equal(text, "0123456789");
	assert_false(fw_has_part(cut));
}

/* All of it was there when the server or the client died: asking makes it a file. */
static void test_resume_complete(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *path = fw_part_path("alice", "users", "done");
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);
	CLEANUP_STR char *text = NULL;

	(void)state;
	test_write_file(full, "complete");
	fw_put(&a, fw.alice, "done", "Content-Range: bytes */8", "", 0);
	expect(&a, 201);
	text = fw_content("alice/done");
	assert_string_equal(text, "complete");
	/* More than the file would be: of another one. */
	test_write_file(full, "complete");
	fw_put(&a, fw.alice, "done", "Content-Range: bytes */5", "", 0);
	expect(&a, 200);
	assert_int_equal(answer_number(&a, "offset"), 0);
	fw_put(&a, fw.alice, "done", NULL, "short", 5);
	expect(&a, 201);
	str_set(&text, fw_content("alice/done"));
	assert_string_equal(text, "short");
}

static void test_wrong_digest(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *digest = fw_digest("right", 5);
	CLEANUP_STR char *path = fw_part_path("alice", "users", "w");
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);

	(void)state;
	fw_put(&a, fw.alice, "w", digest, "wrong", 5);
	expect(&a, 400);
	assert_string_equal(answer_member(&a, "field"), "Repr-Digest");
	assert_false(fw_exists("alice/w"));
	assert_false(fw_has_part("w"));
	/* The same for what was there before. */
	test_write_file(full, "wrong");
	str_set(&digest, xasprintf("%s\r\nContent-Range: bytes */5", digest));
	{
		CLEANUP_STR char *text = NULL;
		CLEANUP_STR char *head = xasprintf(
			"%s\r\nContent-Length: 0\r\nConnection: close\r\n", digest);
		int fd = fw_dial();

		fw_send_head(fd, "w", fw.alice, head);
		text = fw_receive(fd, NULL);
		assert_non_null(strstr(text, "HTTP/1.1 400 "));
		close(fd);
	}
	assert_false(fw_exists("alice/w"));
	assert_false(fw_has_part("w"));
}

/* ---------------------------------------------------------------- no room */

static void test_quota(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *dir = xasprintf("%s/carol", fw.base);
	CLEANUP_STR char *big = xasprintf("%s/carol/big", fw.base);
	CLEANUP_STR char *carol = fw_log_in("carol@users");
	static char bytes[2 * MIB];
	CLEANUP_STR char *text = NULL, *left = NULL;
	int fd;

	(void)state;
	/* By other ways than ours; it counts as soon as it is there. */
	test_mkdir(dir);
	fd = open(big, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1024 * MIB - MIB), 0);
	close(fd);
	fw_put(&a, carol, "more", NULL, bytes, 2 * MIB);
	expect(&a, 403);
	assert_string_equal(answer_member(&a, "kind"), "quota");
	fw_put(&a, carol, "fits", NULL, bytes, MIB);
	expect(&a, 201);
	fw_put(&a, carol, "more", NULL, bytes, 1);
	expect(&a, 403);
	left = fw_part_path("carol", "users", "more");
	assert_false(fw_exists(left)); /* nothing has come */
	/* What is replaced does not count twice. */
	fw_put(&a, carol, "big", NULL, bytes, 2 * MIB);
	expect(&a, 201);
	fw_put(&a, carol, "more", NULL, bytes, 2 * MIB);
	expect(&a, 201);

	/* Of unknown length: as far as it goes. */
	test_remove(big);
	fd = open(big, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 1024 * MIB - 4 * MIB), 0);
	close(fd);
	fd = fw_dial();
	fw_send_head(fd, "chunked", carol,
		"Transfer-Encoding: chunked\r\nConnection: close\r\n");
	fw_send(fd, "200000\r\n", 8);
	fw_send(fd, bytes, 2 * MIB);
	fw_send(fd, "\r\n0\r\n\r\n", 7);
	text = fw_receive(fd, NULL);
	assert_true(*text == '\0' || strstr(text, "HTTP/1.1 403 "));
	close(fd);
	assert_false(fw_exists("carol/chunked"));
}

/* A file system of 4 MiB for one user; only root can make one. */
static bool has_small_disk;

static void make_small_disk(void)
{
	CLEANUP_STR char *dir = test_path("files/grace");

	test_mkdir(fw.base);
	test_mkdir(dir);
	has_small_disk = unshare(CLONE_NEWNS) == 0 &&
			 mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			 mount("none", dir, "tmpfs", 0, "size=4m,mode=0770") == 0;
}

static void test_disk_full(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *grace = NULL;
	CLEANUP_STR char *text = NULL;
	static char bytes[6 * MIB];
	int fd;

	(void)state;
	if (!has_small_disk)
		skip();
	grace = fw_log_in("grace@users");
	fd = fw_dial();
	fw_send_head(
		fd, "full", grace, "Content-Length: 6291456\r\nExpect: 100-continue\r\n");
	text = fw_receive(fd, "are free");
	assert_non_null(strstr(text, "HTTP/1.1 507 "));
	close(fd);
	fw_put(&a, grace, "fits", NULL, bytes, MIB);
	expect(&a, 201);
	/* Of unknown length: the disk fills up in the middle. What came is kept. */
	fd = fw_dial();
	fw_send_head(fd, "chunked", grace,
		"Transfer-Encoding: chunked\r\nConnection: close\r\n");
	fw_send(fd, "380000\r\n", 8);
	fw_send(fd, bytes, 0x380000);
	fw_send(fd, "\r\n0\r\n\r\n", 7);
	str_set(&text, fw_receive(fd, "kept for a week"));
	assert_non_null(strstr(text, "HTTP/1.1 507 "));
	close(fd);
	assert_false(fw_exists("grace/chunked"));
	fw_call(&a, "DELETE", "/v1/files/chunked", grace, NULL);
	expect(&a, 204);
	fw_put(&a, grace, "fits-too", NULL, bytes, 2 * MIB);
	expect(&a, 201);
}

static void test_too_many_at_once(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *erin = fw_log_in("erin@users");
	int fds[UPLOADS_PER_USER];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		CLEANUP_STR char *name = xasprintf("n%zu", i);

		CLEANUP_STR char *text = NULL;

		fds[i] = fw_dial();
		fw_send_head(fds[i], name, erin,
			"Content-Length: 5\r\nExpect: 100-continue\r\n");
		text = fw_receive(fds[i], "100 Continue");
	}
	fw_put(&a, erin, "more", NULL, "x", 1);
	expect(&a, 429);
	fw_put(&a, fw.alice, "others", NULL, "x", 1);
	expect(&a, 201);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

/* ---------------------------------------------------------------- the directory */

static void test_in_the_way(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *link = xasprintf("%s/alice/link", fw.base);
	CLEANUP_STR char *file_link = xasprintf("%s/alice/filelink", fw.base);
	CLEANUP_STR char *user_link = xasprintf("%s/dave", fw.base);
	CLEANUP_STR char *outside = test_path("outside");
	CLEANUP_STR char *victim = test_path("outside/victim");
	CLEANUP_STR char *text = NULL;
	CLEANUP_STR char *dave = fw_log_in("dave@users");
	CLEANUP_STR char *too_long = NULL;
	struct buf name = { 0 };

	(void)state;
	test_mkdir(outside);
	test_write_file(victim, "untouched");
	assert_int_equal(symlink(outside, link), 0);
	assert_int_equal(symlink(victim, file_link), 0);
	assert_int_equal(symlink(outside, user_link), 0);
	fw_put(&a, fw.alice, "link/x", NULL, "evil", 4);
	expect(&a, 409);
	fw_put(&a, fw.alice, "link", NULL, "evil", 4);
	expect(&a, 409);
	fw_put(&a, fw.alice, "filelink", NULL, "evil", 4);
	expect(&a, 409);
	fw_put(&a, dave, "victim", NULL, "evil", 4);
	assert_true(a.status >= 400);
	fw_call(&a, "DELETE", "/v1/files/link/victim", fw.alice, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", "/v1/files/filelink", fw.alice, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", "/v1/files/../outside/victim", fw.alice, NULL);
	assert_true(a.status == 400 || a.status == 404);
	text = test_read_file(victim);
	assert_string_equal(text, "untouched");
	str_set(&text, test_path("outside/x"));
	assert_int_equal(access(text, F_OK), -1);

	/* A file where a directory would be needed, and the other way round. */
	fw_put(&a, fw.alice, "plain", NULL, "x", 1);
	expect(&a, 201);
	fw_put(&a, fw.alice, "plain/below", NULL, "x", 1);
	expect(&a, 409);
	fw_put(&a, fw.alice, "tree/leaf", NULL, "x", 1);
	expect(&a, 201);
	fw_put(&a, fw.alice, "tree", NULL, "x", 1);
	expect(&a, 409);
	for (int i = 0; i < 300; i++)
		buf_add_char(&name, 'n');
	too_long = buf_take(&name);
	fw_put(&a, fw.alice, too_long, NULL, "x", 1);
	expect(&a, 400);
	/* A part that is a link. */
	str_set(&text, fw_part_path("alice", "users", "linked"));
	str_set(&text, xasprintf("%s/%s", fw.base, text));
	assert_int_equal(symlink(victim, text), 0);
	fw_put(&a, fw.alice, "linked", NULL, "evil", 4);
	expect(&a, 409);
	str_set(&text, test_read_file(victim));
	assert_string_equal(text, "untouched");
}

static void test_not_mounted(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };

	(void)state;
	fw_set_marker(false);
	fw_put(&a, fw.alice, "nowhere", NULL, "x", 1);
	expect(&a, 503);
	assert_non_null(strstr(answer_member(&a, "detail"), "mounted"));
	fw_call(&a, "DELETE", "/v1/files/a.img", fw.alice, NULL);
	expect(&a, 503);
	fw_set_marker(true);
	assert_false(fw_exists("alice/nowhere"));
	fw_put(&a, fw.alice, "nowhere", NULL, "x", 1);
	expect(&a, 201);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload),
		cmocka_unit_test(test_large_and_chunked),
		cmocka_unit_test(test_refused_before_the_body),
		cmocka_unit_test(test_length_is_needed),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_resume_complete),
		cmocka_unit_test(test_wrong_digest),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_in_the_way),
		cmocka_unit_test(test_not_mounted),
		cmocka_unit_test(test_too_many_at_once),
	};

	fw_prepare();
	make_small_disk(); /* before there are threads */
	return cmocka_run_group_tests(tests, fw_start, fw_stop);
}
