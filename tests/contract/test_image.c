/*
 * ucloud-image with a real etcd, a real qemu-nbd and a directory as image store: from the
 * API's transactions to what is in etcd and in the store in the end.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/disk/images.h"
#include "tests/lib/image_world.h"
#include "tests/lib/test_util.h"

static char *program;

static int start(void **state)
{
	(void)state;
	iw.store_conf.type = STORE_FILESYSTEM;
	iw.store_conf.path = test_path("store");
	test_mkdir(iw.store_conf.path);
	iw_start();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	iw_stop();
	free(program);
	return 0;
}

/* ---------------------------------------------------------------- the tests */

static void made_and_deleted(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];

	(void)state;
	iw_upload("disk.img", 40, file);
	iw_order_create("debian", file, uuid);
	iw_reaches(uuid, IMAGE_CREATED);
	assert_false(iw_has_request(uuid));
	assert_true(iw_read_image(uuid, &im));
	assert_true(im.is_made);
	assert_int_equal(im.progress, 100);
	assert_int_equal(im.format, IMAGE_RAW);
	assert_int_equal(im.virtual_bytes, 40 << 20);
	assert_true(im.size_bytes >= 40 << 20);
	assert_string_equal(im.sha512, "12ab");
	assert_true(str_is_empty(im.reason));
	iw_same_content("disk.img", uuid);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
	iw_nothing_is_left(uuid, "debian");
	assert_int_equal(iw_user_images(), 0);
}

static void what_cannot_be_says_why(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP_STR char *path = xasprintf("%s/bad.img", iw.alice);

	(void)state;
	iw_upload("bad.img", 1, file);
	assert_int_equal(truncate(path, 12345), 0);
	iw_order_create("bad", file, uuid);
	iw_reaches(uuid, IMAGE_ERROR);
	assert_true(iw_read_image(uuid, &im));
	assert_non_null(strstr(im.reason, "changed since it was scanned"));
	assert_false(iw_has_request(uuid));
	assert_false(iw_store_has(uuid));
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
	iw_nothing_is_left(uuid, "bad");
	/* A file that is gone. */
	iw_order_create("gone", "11111111-1111-4111-8111-111111111111", uuid);
	iw_reaches(uuid, IMAGE_ERROR);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
}

static void what_is_in_use_stays(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE], vm[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t;

	(void)state;
	iw_upload("disk.img", 1, file);
	iw_order_create("used", file, uuid);
	iw_reaches(uuid, IMAGE_CREATED);
	uuid_new(vm);
	iw_put_vm(vm, uuid);
	iw_order_delete(uuid);
	assert_true(wait_until(iw_is_request_gone, uuid, IW_LIMIT_MSEC));
	assert_true(iw_read_image(uuid, &im));
	assert_int_equal(im.status, IMAGE_CREATED);
	assert_non_null(strstr(im.reason, "1 VM is made of it"));
	iw_same_content("disk.img", uuid);
	CLEANUP_STR char *key = key_vm(&iw.conf.keys, vm);
	t = kv_txn_new();
	kv_txn_del(t, key);
	iw_commit(t);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
	iw_nothing_is_left(uuid, "used");
	assert_int_equal(iw_user_images(), 0);
}

/* Whatever comes first, in the end there is none. */
static void deleted_while_it_is_made(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];

	(void)state;
	iw_upload("disk.img", 200, file);
	for (int i = 0; i < 4; i++) {
		iw_order_create("brief", file, uuid);
		usleep(i * 30000);
		iw_order_delete(uuid);
		iw_reaches(uuid, -1);
		iw_nothing_is_left(uuid, "brief");
	}
	assert_int_equal(iw_user_images(), 0);
}

static void several_take_turns(void **state)
{
	char file[UUID_STR_SIZE], uuid[5][UUID_STR_SIZE];

	(void)state;
	iw_upload("disk.img", 4, file);
	for (int i = 0; i < 5; i++) {
		CLEANUP_STR char *name = xasprintf("turn-%d", i);

		iw_order_create(name, file, uuid[i]);
	}
	for (int i = 0; i < 5; i++)
		iw_reaches(uuid[i], IMAGE_CREATED);
	for (int i = 0; i < 5; i++)
		iw_order_delete(uuid[i]);
	for (int i = 0; i < 5; i++)
		iw_reaches(uuid[i], -1);
}

/* Begun and complete in the store, as a daemon leaves it that dies before it can say so. */
static void put_into_store(const char *uuid, const char *content)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = NULL;
	char block[512] = "";
	struct err e = { 0 };

	snprintf(block, sizeof(block), "%s", content);
	if (image_sink_open(iw.store, uuid, 512, &k, &e) < 0 ||
		image_sink_write(k, 0, block, sizeof(block), &e) < 0 ||
		image_sink_commit(k, &made, &e) < 0)
		fail_msg("%s", e.msg);
	image_sink_close(k);
}

static void what_is_complete_is_adopted(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	iw_stop_daemon();
	iw_upload("disk.img", 1, file);
	uuid_new(uuid);
	im = iw_new_image(uuid, "adopted", file);
	im.is_made = true;
	im.sha512 = xstrdup("34cd");
	iw_put_image(t, &im);
	iw_put_request(t, REQ_CREATE_IMAGE, uuid);
	iw_commit(t);
	put_into_store(uuid, "made before");
	iw_start_daemon();
	iw_reaches(uuid, IMAGE_CREATED);
	image_done(&im);
	assert_true(iw_read_image(uuid, &im));
	assert_int_equal(im.virtual_bytes, 512);
	assert_string_equal(im.sha512, "34cd");
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
}

/* One that nobody had begun to make: what is there is something else. */
static void what_nobody_knows_is_made_anew(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	iw_stop_daemon();
	iw_upload("disk.img", 1, file);
	uuid_new(uuid);
	im = iw_new_image(uuid, "anew", file);
	iw_put_image(t, &im);
	iw_put_request(t, REQ_CREATE_IMAGE, uuid);
	iw_commit(t);
	put_into_store(uuid, "what is this");
	iw_start_daemon();
	iw_reaches(uuid, IMAGE_CREATED);
	iw_same_content("disk.img", uuid);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
}

static void what_has_no_entry_is_swept(void **state)
{
	char orphan[UUID_STR_SIZE], failed[UUID_STR_SIZE], missing[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 }, gone = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	uuid_new(orphan);
	uuid_new(failed);
	uuid_new(missing);
	im = iw_new_image(failed, "failed", "");
	im.status = IMAGE_ERROR;
	iw_put_image(t, &im);
	gone = iw_new_image(missing, "missing", "");
	gone.status = IMAGE_CREATED;
	gone.is_made = true;
	gone.path = xstrdup("gone.raw");
	iw_put_image(t, &gone);
	iw_commit(t);
	put_into_store(orphan, "orphan");
	put_into_store(failed, "failed");
	assert_true(wait_until(iw_is_out_of_store, failed, IW_LIMIT_MSEC));
	assert_true(wait_until(iw_is_out_of_store, orphan, IW_LIMIT_MSEC));
	/* It is told of, not touched. */
	image_done(&gone);
	assert_true(iw_read_image(missing, &gone));
	assert_int_equal(gone.status, IMAGE_CREATED);
	iw_order_delete(failed);
	iw_order_delete(missing);
	iw_reaches(failed, -1);
	iw_reaches(missing, -1);
}

static void requests_of_nothing_are_dropped(void **state)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	uuid_new(uuid);
	iw_put_request(t, REQ_CREATE_IMAGE, uuid);
	iw_commit(t);
	assert_true(wait_until(iw_is_request_gone, uuid, IW_LIMIT_MSEC));
	/* And an entry that waits for ever is told so. */
	t = kv_txn_new();
	im = iw_new_image(uuid, "alone", "");
	iw_put_image(t, &im);
	iw_commit(t);
	iw_reaches(uuid, IMAGE_ERROR);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
}

/* A store that is away: counted, tried again, and made when it is back. */
static void a_store_that_is_away(void **state)
{
	CLEANUP_STR char *aside = xasprintf("%s.away", iw.store_conf.path);
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(request_done) struct request req = { 0 };
	CLEANUP_STR char *key = NULL;
	struct err e = { 0 };

	(void)state;
	iw_upload("disk.img", 1, file);
	assert_int_equal(rename(iw.store_conf.path, aside), 0);
	iw_order_create("patient", file, uuid);
	key = key_request_image(&iw.conf.keys, uuid);
	for (int64_t end = test_now_msec() + IW_LIMIT_MSEC; req.attempts == 0;) {
		assert_true(test_now_msec() < end);
		kv_pair_done(&pair);
		assert_int_equal(kv_get(iw.kv, key, &pair, NULL, &e), 0);
		assert_int_equal(request_parse(pair.value, pair.value_size, &req, &e), 0);
	}
	assert_non_null(strstr(req.last_error, IW_STORE));
	assert_int_equal(rename(aside, iw.store_conf.path), 0);
	iw_reaches(uuid, IMAGE_CREATED);
	iw_same_content("disk.img", uuid);
	iw_order_delete(uuid);
	iw_reaches(uuid, -1);
}

/* ---------------------------------------------------------------- killed */

/* Starts the real program, with something more in its environment. */
static pid_t spawn(const char *env)
{
	CLEANUP_STR char *log = test_path("imaged.log");
	const char *argv[] = { "env", env, program, "--etcd_url",
		test_etcd_url(iw.etcd, 0), "--base_dir", iw.base, "--realm_allowed",
		IW_REALM, "--config", "/dev/null", "--metrics_listen", "",
		"--convert_user", "nobody", "--lease_ttl", "2s", "--resync", "1s",
		"--orphan_keep", "1s", NULL };

	return test_spawn(argv, log);
}

static void end_it(pid_t pid, int sig)
{
	kill(pid, sig);
	test_wait(pid, IW_LIMIT_MSEC);
}

/* One order, from an empty store to an empty store: what is ordered, and how it ends. */
struct life {
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
};

static void order_one(struct life *l, bool is_delete)
{
	if (is_delete)
		iw_order_delete(l->uuid);
	else
		iw_order_create("killed", l->file, l->uuid);
}

static void check_one(struct life *l, bool is_delete)
{
	iw_reaches(l->uuid, is_delete ? -1 : IMAGE_CREATED);
	if (is_delete)
		iw_nothing_is_left(l->uuid, "killed");
	else
		iw_same_content("disk.img", l->uuid);
}

/* How many crash points are passed meanwhile; 0 without such a build (crash.h). */
static int count_points(struct life *l, bool is_delete)
{
	CLEANUP_STR char *path = test_path("points");
	CLEANUP_STR char *env = xasprintf("UCLOUD_CRASH_COUNT_FILE=%s", path);
	CLEANUP_STR char *text = NULL;
	pid_t pid;
	int n = 0;

	unlink(path);
	pid = spawn(env);
	order_one(l, is_delete);
	check_one(l, is_delete);
	end_it(pid, SIGTERM);
	text = test_read_file(path);
	for (const char *p = text; p && (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

/* It dies at this crash point, or, without such, after some time; the next one goes on. */
static void die_at(struct life *l, bool is_delete, int point, int after_msec)
{
	CLEANUP_STR char *env = xasprintf("UCLOUD_CRASH_AT=%d", point);
	pid_t pid = spawn(env);

	order_one(l, is_delete);
	if (point == 0 || test_wait(pid, 10000) < 0) {
		if (point == 0)
			usleep((useconds_t)after_msec * 1000);
		end_it(pid, SIGKILL);
	}
	pid = spawn("A=");
	check_one(l, is_delete);
	end_it(pid, SIGTERM);
}

/* The order that was given to one which died is carried out by the next, once. */
static void killed_at_any_moment(void **state)
{
	struct life l = { 0 };
	int n[2];

	(void)state;
	iw_stop_daemon();
	iw_upload("disk.img", 64, l.file);
	n[false] = count_points(&l, false);
	n[true] = count_points(&l, true);
	for (int i = 1; i <= 6 && n[false] == 0; i++) {
		die_at(&l, false, 0, i * 60);
		die_at(&l, true, 0, i * 60);
	}
	/* Each point of making one, then each of deleting one. */
	for (int i = 1; i <= n[false]; i++) {
		die_at(&l, false, i, 0);
		print_message("making: point %d of %d\n", i, n[false]);
		count_points(&l, true);
	}
	for (int i = 1; i <= n[true]; i++) {
		count_points(&l, false);
		die_at(&l, true, i, 0);
		print_message("deleting: point %d of %d\n", i, n[true]);
	}
	assert_int_equal(iw_user_images(), 0);
	iw_start_daemon();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_and_deleted),
		cmocka_unit_test(what_cannot_be_says_why),
		cmocka_unit_test(what_is_in_use_stays),
		cmocka_unit_test(deleted_while_it_is_made),
		cmocka_unit_test(several_take_turns),
		cmocka_unit_test(what_is_complete_is_adopted),
		cmocka_unit_test(what_nobody_knows_is_made_anew),
		cmocka_unit_test(what_has_no_entry_is_swept),
		cmocka_unit_test(requests_of_nothing_are_dropped),
		cmocka_unit_test(a_store_that_is_away),
		cmocka_unit_test(killed_at_any_moment),
	};
	CLEANUP_STR char *self = realpath(argv[0], NULL);

	/* A pattern of names: only these. */
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	test_need_command("qemu-nbd");
	/* build/<flavour>/tests/contract/test_image */
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	program = xasprintf("%s/ucloud-image/ucloud-image", self);
	return cmocka_run_group_tests(tests, start, stop);
}
