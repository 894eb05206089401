/*
 * Users' files once they are uploaded (test_files_upload.c): listed, waited for, made images
 * of, deleted, with a real etcd; what ucloud-filescan and ucloud-image would write is written
 * by the test.
 */
#include "ucloud-api/api.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "tests/lib/files_world.h"
#include "tests/lib/test_util.h"
#include "ucloud-api/updir.h"

#define LIMIT_MSEC 30000
#define MIB	   (1024 * 1024)

/* ---------------------------------------------------------------- where they are */

static void test_redirect(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *want = xasprintf(
		"http://[::1]:%u/v1/files/dir/a%%20b", (unsigned)api_port(fw.api, 0));

	(void)state;
	fw_call_api(fw.away, &a, "PUT", "/v1/files/dir/a%20b", fw.alice, NULL, "x", 1);
	expect(&a, 307);
	assert_string_equal(a.location, want);
	fw_call_api(
		fw.away, &a, "DELETE", "/v1/files/dir/a%20b", fw.alice, NULL, NULL, 0);
	expect(&a, 307);
	assert_string_equal(a.location, want);
	fw_call_api(fw.away, &a, "PUT", "/v1/files/x", "Bearer x", NULL, "x", 1);
	expect(&a, 401);
	fw_call_api(fw.away, &a, "PUT", "/v1/files/a%2f..%2fx", fw.alice, NULL, "x", 1);
	expect(&a, 400);
	fw_call_api(fw.away, &a, "GET", "/v1/files", fw.alice, NULL, NULL, 0);
	expect(&a, 200);
}

static void test_nowhere(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	struct api_conf conf = { 0 };
	struct api *api;

	(void)state;
	fw_configure(&conf);
	fw_open_api(&conf, &api);
	fw_call_api(api, &a, "PUT", "/v1/files/x", fw.alice, NULL, "x", 1);
	expect(&a, 501);
	assert_non_null(strstr(answer_member(&a, "detail"), "upload_url"));
	fw_call_api(api, &a, "DELETE", "/v1/files/x", fw.alice, NULL, NULL, 0);
	expect(&a, 501);
	api_close(api);
	conf_done(&api_conf_table, &conf);
}

static void test_delete(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *path = NULL;
	char uuid[UUID_STR_SIZE];

	(void)state;
	fw_put(&a, fw.alice, "d/e/f", NULL, "x", 1);
	expect(&a, 201);
	fw_call(&a, "DELETE", "/v1/files/d/e/f", fw.bob, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", "/v1/files/d", fw.alice, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", "/v1/files/d/e/f", fw.alice, NULL);
	expect(&a, 204);
	assert_false(fw_exists("alice/d"));
	fw_call(&a, "DELETE", "/v1/files/d/e/f", fw.alice, NULL);
	expect(&a, 404);
	/* An upload that broke off. */
	path = fw_part_path("alice", "users", "half");
	str_set(&path, xasprintf("%s/%s", fw.base, path));
	test_write_file(path, "ha");
	fw_call(&a, "DELETE", "/v1/files/half", fw.alice, NULL);
	expect(&a, 204);
	assert_false(fw_has_part("half"));
	/* By uuid, and by admins. */
	fw_put(&a, fw.alice, "g", NULL, "x", 1);
	expect(&a, 201);
	fw_publish("alice", "users", "g", 1, "00");
	file_uuid("users", "alice", "g", uuid);
	str_set(&path, xasprintf("/v1/files/%s", uuid));
	fw_call(&a, "DELETE", path, fw.bob, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", path, fw.alice, NULL);
	expect(&a, 204);
	assert_false(fw_exists("alice/g"));
	fw_put(&a, fw.alice, "g", NULL, "x", 1);
	fw_call(&a, "DELETE", "/v1/files/g?owner=alice@users", fw.bob, NULL);
	expect(&a, 404);
	fw_call(&a, "DELETE", "/v1/files/g?owner=alice@users", fw.admin, NULL);
	expect(&a, 204);
}

/* ---------------------------------------------------------------- list, show, wait */

static void test_list_and_show(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *frank = fw_log_in("frank@users");
	char uuid[UUID_STR_SIZE];
	CLEANUP_STR char *path = NULL;

	(void)state;
	fw_publish("frank", "users", "b.img", 7, "0b");
	fw_publish("frank", "users", "a/b", 5, "0a");
	fw_publish("frank", "users", "c", 9, "0c");
	fw_call(&a, "GET", "/v1/files?limit=2", frank, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 2);
	assert_string_equal(answer_member(&a, "next"), "b.img");
	assert_null(json_object_get(
		json_array_get(json_object_get(a.json, "files"), 0), "identity"));
	fw_call(&a, "GET", "/v1/files?after=b.img", frank, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 1);
	fw_call(&a, "GET", "/v1/files?owner=frank@users", fw.alice, NULL);
	expect(&a, 403);
	fw_call(&a, "GET", "/v1/files?owner=frank@users", fw.admin, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "files")), 3);
	fw_call(&a, "GET", "/v1/files/a/b", frank, NULL);
	expect(&a, 200);
	assert_int_equal(answer_number(&a, "size_bytes"), 5);
	fw_call(&a, "GET", "/v1/files/a/b", fw.alice, NULL);
	expect(&a, 404);
	fw_call(&a, "GET", "/v1/files/a/b?owner=frank@users", fw.alice, NULL);
	expect(&a, 404);
	fw_call(&a, "GET", "/v1/files/a/b?owner=frank@users", fw.admin, NULL);
	expect(&a, 200);
	file_uuid("users", "frank", "c", uuid);
	path = xasprintf("/v1/files/%s", uuid);
	fw_call(&a, "GET", path, frank, NULL);
	expect(&a, 200);
	assert_string_equal(answer_member(&a, "filename"), "c");
	fw_call(&a, "GET", path, fw.alice, NULL);
	expect(&a, 404);
}

struct waiting {
	pthread_t thread;
	char *path;
	struct answer a;
};

static void *wait_main(void *aux)
{
	struct waiting *wa = aux;

	fw_call(&wa->a, "GET", wa->path, fw.alice, NULL);
	return NULL;
}

static void wait_begin(struct waiting *wa)
{
	pthread_create(&wa->thread, NULL, wait_main, wa);
}

static void wait_end(struct waiting *wa, int status)
{
	pthread_join(wa->thread, NULL);
	expect(&wa->a, status);
}

static void test_events(void **state)
{
	CLEANUP_STR char *head = xasprintf("GET /v1/events HTTP/1.1\r\nHost: x\r\n"
					   "Authorization: %s\r\n\r\n",
		fw.alice);
	CLEANUP_STR char *text = NULL;
	int fd = fw_dial();

	(void)state;
	fw_send(fd, head, strlen(head));
	text = fw_receive(fd, "event: reset");
	fw_publish("bob", "others", "not-for-alice", 1, "00");
	fw_publish("alice", "users", "for-alice", 1, "00");
	str_set(&text, fw_receive(fd, "for-alice"));
	assert_non_null(strstr(text, "event: file\n"));
	assert_null(strstr(text, "not-for-alice"));
	close(fd);
}

static void test_wait_for_the_scan(void **state)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *old = fw_hex("old", 3);
	CLEANUP_STR char *new = fw_hex("new", 3);
	struct waiting wa = { .path = xasprintf(
				      "/v1/files/scan?wait=%s&timeout=20", new) };
	CLEANUP_STR char *late = xasprintf("/v1/files/scan?wait=%s&timeout=0", new);

	(void)state;
	fw_call(&a, "GET", "/v1/files/scan?wait=RUNNING", fw.alice, NULL);
	expect(&a, 400);
	fw_call(&a, "GET", late, fw.alice, NULL);
	expect(&a, 504);
	fw_publish("alice", "users", "scan", 3, old);
	fw_call(&a, "GET", late, fw.alice, NULL);
	expect(&a, 504);
	wait_begin(&wa);
	fw_publish("alice", "users", "scan", 3, new);
	wait_end(&wa, 200);
	assert_string_equal(answer_member(&wa.a, "sha512"), new);
	/* By uuid; others wait for nothing that is not theirs. */
	file_uuid("users", "alice", "scan", uuid);
	str_set(&late, xasprintf("/v1/files/%s?wait=%s&timeout=0", uuid, new));
	fw_call(&a, "GET", late, fw.alice, NULL);
	expect(&a, 200);
	fw_call(&a, "GET", late, fw.bob, NULL);
	expect(&a, 404);
	str_set(&late,
		xasprintf("/v1/files/scan?owner=alice@users&wait=%s&timeout=0", new));
	fw_call(&a, "GET", late, fw.admin, NULL);
	expect(&a, 200);
	fw_call(&a, "GET", late, fw.bob, NULL);
	expect(&a, 404);
	answer_done(&wa.a);
	free(wa.path);
}

static void set_image(const char *uuid, enum image_status status, int64_t progress)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_image(&fw.conf.keys, uuid);
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *text = NULL;
	struct err e;

	assert_int_equal(kv_get(fw.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(image_parse(pair.value, pair.value_size, &im, &e), 0);
	im.status = (int)status;
	im.progress = progress;
	if (status == IMAGE_ERROR)
		str_set(&im.reason, xstrdup("it names a backing file"));
	text = image_format_text(&im);
	kv_txn_put(t, key, text);
	assert_int_equal(kv_txn_commit(fw.kv, t, NULL, &e), 0);
}

static void test_images(void **state)
{
	CLEANUP(answer_done) struct answer a = { 0 };
	CLEANUP_STR char *uuid = NULL;
	struct waiting wa = { .path = xstrdup("/v1/images/deb?wait=CREATED&timeout=20") };

	(void)state;
	fw_call(&a, "POST", "/v1/image_stores", fw.admin,
		"{\"name\":\"local\",\"type\":\"filesystem\",\"path\":\"/srv/ucloud\"}");
	expect(&a, 201);
	fw_publish("alice", "users", "deb.qcow2", 3, "0d");
	fw_call(&a, "POST", "/v1/images", fw.alice,
		"{\"name\":\"deb\",\"file\":\"deb.qcow2\"}");
	expect(&a, 202);
	uuid = xstrdup(answer_member(&a, "uuid"));
	assert_string_equal(answer_member(&a, "status"), "TO_BE_CREATED");
	fw_call(&a, "GET", "/v1/requests", fw.alice, NULL);
	expect(&a, 200);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 1);
	fw_call(&a, "GET", "/v1/requests", fw.bob, NULL);
	assert_int_equal(json_array_size(json_object_get(a.json, "requests")), 0);
	set_image(uuid, IMAGE_TO_BE_CREATED, 12);
	fw_call(&a, "GET", "/v1/images/deb?wait=CREATED&timeout=0", fw.alice, NULL);
	expect(&a, 504);
	assert_non_null(strstr(answer_member(&a, "detail"), "12 %"));
	fw_call(&a, "GET", "/v1/images/deb?wait=x", fw.alice, NULL);
	expect(&a, 400);
	wait_begin(&wa);
	set_image(uuid, IMAGE_CREATED, 0);
	wait_end(&wa, 200);
	assert_string_equal(answer_member(&wa.a, "status"), "CREATED");
	set_image(uuid, IMAGE_ERROR, 0);
	fw_call(&a, "GET", "/v1/images/deb?wait=CREATED&timeout=20", fw.alice, NULL);
	expect(&a, 200);
	assert_string_equal(answer_member(&a, "reason"), "it names a backing file");
	fw_call(&a, "DELETE", "/v1/images/deb", fw.alice, NULL);
	expect(&a, 202);
	assert_string_equal(answer_member(&a, "status"), "TO_BE_DELETED");
	answer_done(&wa.a);
	free(wa.path);
}

/* ---------------------------------------------------------------- ucloud-cli */

/* build/plain/tests/contract/test_files -> build/plain/ucloud-cli/ucloud-cli */
static char *cli_program(void)
{
	char self[4096] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	return xasprintf("%s/ucloud-cli/ucloud-cli", self);
}

/* As alice, of the API that sends uploads elsewhere. */
static int cli(char **out, const char *line)
{
	CLEANUP_STR char *program = cli_program();
	CLEANUP_STR char *conf = test_path("cli.conf");
	CLEANUP_STR char *cache = test_path("cache");
	CLEANUP_STR char *text =
		xasprintf("[ucloud-cli]\napi = http://[::1]:%u\nname = alice\n"
			  "realm = users\nseed = " TEST_API_SEED "\n",
			(unsigned)api_port(fw.away, 0));
	CLEANUP_STR char *command =
		xasprintf("XDG_CACHE_HOME=%s exec %s --config %s %s 2>&1", cache, program,
			conf, line);
	const char *argv[] = { "sh", "-c", command, NULL };

	test_write_file(conf, text);
	assert_int_equal(chmod(conf, 0600), 0);
	test_mkdir(cache);
	return test_run(argv, LIMIT_MSEC, out);
}

static void cli_says_at(int line_no, const char *line, int status, const char *want)
{
	CLEANUP_STR char *out = NULL;
	int got = cli(&out, line);

	if (got != status || !strstr(out, want))
		fail_msg("line %d: %s: %d: %s", line_no, line, got, out);
}
#define cli_says(...) cli_says_at(__LINE__, __VA_ARGS__)

static void test_cli(void **state)
{
	CLEANUP_STR char *program = cli_program();
	CLEANUP_STR char *local = test_path("disk.img");
	CLEANUP_STR char *upload = xasprintf("file upload %s --name cli/disk.img", local);
	CLEANUP_STR char *line = xasprintf("%s --no-wait", upload);
	CLEANUP_STR char *bytes = xmalloc(3 * MIB + 1);
	CLEANUP_STR char *hex = NULL;
	CLEANUP_STR char *part = fw_part_path("alice", "users", "cli/disk.img");
	CLEANUP_STR char *text = NULL;

	(void)state;
	if (access(program, X_OK) < 0)
		fail_msg("%s is not built", program);
	memset(bytes, 'b', 3 * MIB);
	bytes[3 * MIB] = '\0';
	test_write_file(local, bytes);
	hex = fw_hex(bytes, 3 * MIB);
	cli_says("file upload /nonexistent", 1, "No such file");
	cli_says("file upload /", 1, "/ is no file");
	cli_says(line, 0, "file cli/disk.img is uploaded (3.0 MiB");
	text = fw_content("alice/cli/disk.img");
	assert_string_equal(text, bytes);
	/* It was found meanwhile. */
	fw_publish("alice", "users", "cli/disk.img", 3 * MIB, hex);
	cli_says(upload, 0, "is there already");
	cli_says("file list", 0, "cli/disk.img");
	cli_says("file show cli/disk.img", 0, hex);
	cli_says("file list --json", 0, "\"size_bytes\": 3145728");
	/* One that broke off goes on. */
	cli_says("file delete cli/disk.img", 0, "file cli/disk.img is deleted");
	assert_false(fw_exists("alice/cli/disk.img"));
	fw_publish("alice", "users", "cli/disk.img", 1, "00");
	bytes[1000] = '\0';
	str_set(&part, xasprintf("%s/%s", fw.base, part));
	test_write_file(part, bytes);
	bytes[1000] = 'b';
	cli_says(line, 0, "goes on where it broke off");
	str_set(&text, fw_content("alice/cli/disk.img"));
	assert_string_equal(text, bytes);
	/* What was there before is not of this file: begun again. */
	test_write_file(part, "nonsense");
	cli_says(line, 1, "SHA-512 differs");
	cli_says(line, 0, "is uploaded");
	str_set(&line, xasprintf("%s --timeout 1", upload));
	cli_says(line, 4, "is not listed yet");
	cli_says("file delete nothing", 1, "there is no file");
	cli_says("image create --name x --file none", 1, "you have no file");
	cli_says("image create --name x --file cli/disk.img --store local --wait "
		 "--timeout 1",
		4, "is still TO_BE_CREATED");
	cli_says("image delete x", 0, "TO_BE_DELETED");
	cli_says("user show", 0, "files: at most 1 GiB");
}

/* ---------------------------------------------------------------- old parts */

static void test_sweep(void **state)
{
	CLEANUP_STR char *path = fw_part_path("alice", "users", "ancient");
	CLEANUP_STR char *full = xasprintf("%s/%s", fw.base, path);
	const int64_t now = clock_unix_sec(), long_ago = now - UPDIR_PART_AGE_SEC - 60;
	const struct timeval times[2] = { { long_ago, 0 }, { long_ago, 0 } };
	struct updir *d;
	unsigned n;
	struct err e;
	int fd;

	(void)state;
	test_write_file(full, "x");
	assert_int_equal(updir_open(fw.base, "users", &d, &e), 0);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(utimes(full, times), 0);
	/* Not while somebody has it. */
	fd = open(full, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 0);
	close(fd);
	assert_int_equal(updir_sweep(d, now - UPDIR_PART_AGE_SEC, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_false(fw_has_part("ancient"));
	updir_close(d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_redirect),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_list_and_show),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_wait_for_the_scan),
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_cli),
		cmocka_unit_test(test_sweep),
	};

	fw_prepare();
	return cmocka_run_group_tests(tests, fw_start, fw_stop);
}
