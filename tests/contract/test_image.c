/*
 * ucloud-image with a real etcd, a real qemu-nbd and a directory as image store: from the
 * API's transactions to what is in etcd and in the store in the end.
 */
#include "ucloud-image/imaged.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/disk/disk.h"
#include "common/disk/images.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "tests/lib/test_etcd.h"
#include "tests/lib/test_util.h"

#define NOBODY	   65534
#define LIMIT_MSEC 60000
/* ThreadSanitizer needs room of its own between fork and exec, where the limit holds. */
#ifdef __SANITIZE_THREAD__
#define LIMIT_MEM 0
#else
#define LIMIT_MEM (UINT64_C(1) << 30)
#endif
#define REALM "users"
#define STORE "here"

static struct world {
	struct test_etcd *etcd;
	struct kv *kv;
	struct imaged_conf conf;
	struct imaged *imaged;
	struct disk_store *store; /* the test's own */
	char *base, *alice, *store_path, *program;
} w;

/* ---------------------------------------------------------------- what the API writes */

static void commit(struct kv_txn *t)
{
	struct err e = { 0 };

	if (kv_txn_commit(w.kv, t, NULL, &e) != 0)
		fail_msg("a transaction of the test: %s", e.msg);
	kv_txn_free(t);
}

static void put(const char *key, char *value)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_put(t, key, value);
	commit(t);
	free(value);
}

static void put_store(void)
{
	CLEANUP_STR char *key = key_image_store(STORE);
	CLEANUP(image_store_done)
	struct image_store s = { .name = xstrdup(STORE),
		.type = STORE_FILESYSTEM,
		.path = xstrdup(w.store_path) };
	struct err e = { 0 };

	image_store_set_defaults(&s);
	put(key, image_store_format(&s));
	if (disk_store_open(&s, &w.store, &e) < 0)
		fail_msg("%s", e.msg);
}

static void put_user(int64_t n_images)
{
	CLEANUP_STR char *key = key_user(REALM, "alice");
	CLEANUP(user_done)
	struct user u = {
		.name = xstrdup("alice"), .realm = xstrdup(REALM), .use.images = n_images
	};

	put(key, user_format(&u));
}

static int64_t user_images(void)
{
	CLEANUP_STR char *key = key_user(REALM, "alice");
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(user_done) struct user u = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(user_parse(pair.value, pair.value_size, &u, &e), 0);
	return u.use.images;
}

/* An upload of so many MiB of noise, and its entry. The uuid goes to out. */
static void upload(const char *name, unsigned mib, char out[UUID_STR_SIZE])
{
	CLEANUP_STR char *path = xasprintf("%s/%s", w.alice, name);
	CLEANUP_STR char *script = xasprintf(
		"head -c %uM /dev/urandom > '%s'; chmod 600 '%s'", mib, path, path);
	CLEANUP(file_done) struct file f = { 0 };
	CLEANUP_STR char *key = NULL;
	struct stat st;

	assert_int_equal(test_run((const char *const[]){ "sh", "-ec", script, NULL },
				 LIMIT_MSEC, NULL),
		0);
	assert_int_equal(stat(path, &st), 0);
	file_uuid(REALM, "alice", name, out);
	f = (struct file){ .uuid = xstrdup(out),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(REALM),
		.filename = xstrdup(name),
		.size_bytes = st.st_size,
		.sha512 = xstrdup("12ab"),
		.mtime = st.st_mtime,
		.scanned = st.st_mtime,
		.identity = file_identity(&st) };
	key = key_file(&w.conf.keys, out);
	put(key, file_format(&f));
}

static void put_image(struct kv_txn *t, const struct image *im)
{
	CLEANUP_STR char *key = key_image(&w.conf.keys, im->uuid);
	CLEANUP_STR char *text = image_format_text(im);

	kv_txn_put(t, key, text);
}

static void put_request(struct kv_txn *t, enum request_type type, const char *uuid)
{
	CLEANUP_STR char *key = key_request_image(&w.conf.keys, uuid);
	CLEANUP_STR char *text =
		request_new(type, uuid, NULL, clock_unix_sec(), clock_unix_sec() + 3600);

	kv_txn_put(t, key, text);
}

static struct image new_image(const char *uuid, const char *name, const char *file_uuid)
{
	return (struct image){ .uuid = xstrdup(uuid),
		.name = xstrdup(name),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(REALM),
		.store = xstrdup(STORE),
		.file_uuid = xstrdup(file_uuid),
		.filename = xstrdup("disk.img"),
		.status = IMAGE_TO_BE_CREATED,
		.is_public = true,
		.created = clock_unix_sec() };
}

static void order_create(
	const char *name, const char *file_uuid, char uuid[UUID_STR_SIZE])
{
	CLEANUP_STR char *name_key = key_image_name(REALM, "alice", name);
	CLEANUP_STR char *public_key = key_image_public(name);
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	uuid_new(uuid);
	im = new_image(uuid, name, file_uuid);
	put_image(t, &im);
	kv_txn_put(t, name_key, uuid);
	kv_txn_put(t, public_key, uuid);
	put_request(t, REQ_CREATE_IMAGE, uuid);
	commit(t);
	put_user(user_images() + 1);
}

/* False: there is no entry. */
static bool read_image(const char *uuid, struct image *out)
{
	CLEANUP_STR char *key = key_image(&w.conf.keys, uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	if (!pair.key)
		return false;
	if (image_parse(pair.value, pair.value_size, out, &e) < 0)
		fail_msg("%s", e.msg);
	return true;
}

/* Whatever is done with it meanwhile: until it has worked. */
static void order_delete(const char *uuid)
{
	CLEANUP_STR char *key = key_image(&w.conf.keys, uuid);

	for (;;) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
		CLEANUP(image_done) struct image im = { 0 };
		struct err e = { 0 };

		assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
		assert_int_equal(image_parse(pair.value, pair.value_size, &im, &e), 0);
		im.status = IMAGE_TO_BE_DELETED;
		kv_txn_if_rev(t, key, pair.mod_rev);
		put_image(t, &im);
		put_request(t, REQ_DELETE_IMAGE, uuid);
		if (kv_txn_commit(w.kv, t, NULL, &e) == 0)
			return;
	}
}

/* ---------------------------------------------------------------- what is waited for */

struct wish {
	const char *uuid;
	int status; /* -1: no entry */
};

static bool is_there(const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
	return pair.key != NULL;
}

static bool has_request(const char *uuid)
{
	CLEANUP_STR char *key = key_request_image(&w.conf.keys, uuid);

	return is_there(key);
}

static bool is_granted(void *aux)
{
	const struct wish *wish = aux;
	CLEANUP(image_done) struct image im = { 0 };
	bool has_entry = read_image(wish->uuid, &im);

	return wish->status < 0 ? !has_entry : has_entry && im.status == wish->status;
}

static void reaches(const char *uuid, int status)
{
	struct wish wish = { uuid, status };
	CLEANUP(image_done) struct image im = { 0 };

	if (!wait_until(is_granted, &wish, LIMIT_MSEC) && read_image(uuid, &im))
		fail_msg("it is %s: %s", image_status_names[im.status],
			im.reason ? im.reason : "");
	assert_true(is_granted(&wish));
}

static bool is_request_gone(void *aux)
{
	return !has_request(aux);
}

static bool store_has(const char *uuid)
{
	CLEANUP(strv_done) struct strv all = { 0 };
	struct err e = { 0 };

	if (image_list(w.store, &all, &e) < 0)
		fail_msg("%s", e.msg);
	return strv_has(&all, uuid);
}

static bool is_out_of_store(void *aux)
{
	return !store_has(aux);
}

static void same_content(const char *upload_name, const char *uuid)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *file = xasprintf("%s/%s", w.alice, upload_name);
	CLEANUP_STR char *data = NULL;

	assert_true(read_image(uuid, &im));
	data = xasprintf("%s/images/%s", w.store_path, im.path);
	assert_int_equal(test_run((const char *const[]){ "cmp", file, data, NULL },
				 LIMIT_MSEC, NULL),
		0);
}

/* ---------------------------------------------------------------- the daemon */

static void start_imaged(void)
{
	w.imaged = imaged_new(w.kv, &w.conf);
	imaged_start(w.imaged);
}

static void stop_imaged(void)
{
	assert_true(imaged_free(w.imaged));
	w.imaged = NULL;
}

static int start_world(void **state)
{
	struct err e = { 0 };

	(void)state;
	w.base = test_path("up");
	w.alice = test_path("up/alice");
	w.store_path = test_path("store");
	test_mkdir(w.base);
	test_mkdir(w.alice);
	test_mkdir(w.store_path);
	w.etcd = test_etcd_start(NULL);
	w.kv = test_etcd_open(w.etcd);
	w.conf = (struct imaged_conf){
		.import = { .base_dir = w.base,
			.default_realm = REALM,
			.reader = { .limit_mem = LIMIT_MEM, .limit_sec = 60 },
			.n_threads = 4 },
		.n_jobs = 1,
		.lease_ttl_sec = 2,
		.resync_sec = 1,
		.orphan_keep_sec = 1,
	};
	keys_set_defaults(&w.conf.keys);
	if (keys_check(&w.conf.keys, &e) < 0)
		fail_msg("%s", e.msg);
	if (geteuid() == 0)
		w.conf.import.reader.uid = w.conf.import.reader.gid = NOBODY;
	put_store();
	put_user(0);
	start_imaged();
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	stop_imaged();
	disk_store_close(w.store);
	kv_close(w.kv);
	keys_done(&w.conf.keys);
	test_etcd_free(w.etcd);
	free(w.base);
	free(w.alice);
	free(w.store_path);
	free(w.program);
	return 0;
}

/* ---------------------------------------------------------------- the tests */

static void nothing_is_left(const char *uuid, const char *name)
{
	CLEANUP_STR char *name_key = key_image_name(REALM, "alice", name);
	CLEANUP_STR char *public_key = key_image_public(name);

	assert_false(has_request(uuid));
	assert_false(is_there(name_key));
	assert_false(is_there(public_key));
	assert_false(store_has(uuid));
}

static void made_and_deleted(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];

	(void)state;
	upload("disk.img", 40, file);
	order_create("debian", file, uuid);
	reaches(uuid, IMAGE_CREATED);
	assert_false(has_request(uuid));
	assert_true(read_image(uuid, &im));
	assert_true(im.is_made);
	assert_int_equal(im.progress, 100);
	assert_int_equal(im.format, IMAGE_RAW);
	assert_int_equal(im.virtual_bytes, 40 << 20);
	assert_true(im.size_bytes >= 40 << 20);
	assert_string_equal(im.sha512, "12ab");
	assert_true(str_is_empty(im.reason));
	same_content("disk.img", uuid);
	order_delete(uuid);
	reaches(uuid, -1);
	nothing_is_left(uuid, "debian");
	assert_int_equal(user_images(), 0);
}

static void what_cannot_be_says_why(void **state)
{
	CLEANUP(image_done) struct image im = { 0 };
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP_STR char *path = xasprintf("%s/bad.img", w.alice);

	(void)state;
	upload("bad.img", 1, file);
	assert_int_equal(truncate(path, 12345), 0);
	order_create("bad", file, uuid);
	reaches(uuid, IMAGE_ERROR);
	assert_true(read_image(uuid, &im));
	assert_non_null(strstr(im.reason, "changed since it was scanned"));
	assert_false(has_request(uuid));
	assert_false(store_has(uuid));
	order_delete(uuid);
	reaches(uuid, -1);
	nothing_is_left(uuid, "bad");
	/* A file that is gone. */
	order_create("gone", "11111111-1111-4111-8111-111111111111", uuid);
	reaches(uuid, IMAGE_ERROR);
	order_delete(uuid);
	reaches(uuid, -1);
}

static void put_vm(const char *uuid, const char *image_uuid)
{
	CLEANUP_STR char *key = key_vm(&w.conf.keys, uuid);
	CLEANUP(vm_done)
	struct vm vm = { .uuid = xstrdup(uuid),
		.name = xstrdup("v"),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(REALM),
		.image_uuid = xstrdup(image_uuid),
		.store = xstrdup(STORE),
		.specs = { .cpu = 1, .ram_mib = 64 } };

	put(key, vm_format(&vm));
}

static void what_is_in_use_stays(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE], vm[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t;

	(void)state;
	upload("disk.img", 1, file);
	order_create("used", file, uuid);
	reaches(uuid, IMAGE_CREATED);
	uuid_new(vm);
	put_vm(vm, uuid);
	order_delete(uuid);
	assert_true(wait_until(is_request_gone, uuid, LIMIT_MSEC));
	assert_true(read_image(uuid, &im));
	assert_int_equal(im.status, IMAGE_CREATED);
	assert_non_null(strstr(im.reason, "1 VM is made of it"));
	same_content("disk.img", uuid);
	CLEANUP_STR char *key = key_vm(&w.conf.keys, vm);
	t = kv_txn_new();
	kv_txn_del(t, key);
	commit(t);
	order_delete(uuid);
	reaches(uuid, -1);
	nothing_is_left(uuid, "used");
	assert_int_equal(user_images(), 0);
}

/* Whatever comes first, in the end there is none. */
static void deleted_while_it_is_made(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];

	(void)state;
	upload("disk.img", 200, file);
	for (int i = 0; i < 4; i++) {
		order_create("brief", file, uuid);
		usleep(i * 30000);
		order_delete(uuid);
		reaches(uuid, -1);
		nothing_is_left(uuid, "brief");
	}
	assert_int_equal(user_images(), 0);
}

static void several_take_turns(void **state)
{
	char file[UUID_STR_SIZE], uuid[5][UUID_STR_SIZE];

	(void)state;
	upload("disk.img", 4, file);
	for (int i = 0; i < 5; i++) {
		CLEANUP_STR char *name = xasprintf("turn-%d", i);

		order_create(name, file, uuid[i]);
	}
	for (int i = 0; i < 5; i++)
		reaches(uuid[i], IMAGE_CREATED);
	for (int i = 0; i < 5; i++)
		order_delete(uuid[i]);
	for (int i = 0; i < 5; i++)
		reaches(uuid[i], -1);
}

/* Begun and complete in the store, as a daemon leaves it that dies before it can say so. */
static void put_into_store(const char *uuid, const char *content)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = NULL;
	char block[512] = "";
	struct err e = { 0 };

	snprintf(block, sizeof(block), "%s", content);
	if (image_sink_open(w.store, uuid, 512, &k, &e) < 0 ||
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
	stop_imaged();
	upload("disk.img", 1, file);
	uuid_new(uuid);
	im = new_image(uuid, "adopted", file);
	im.is_made = true;
	im.sha512 = xstrdup("34cd");
	put_image(t, &im);
	put_request(t, REQ_CREATE_IMAGE, uuid);
	commit(t);
	put_into_store(uuid, "made before");
	start_imaged();
	reaches(uuid, IMAGE_CREATED);
	image_done(&im);
	assert_true(read_image(uuid, &im));
	assert_int_equal(im.virtual_bytes, 512);
	assert_string_equal(im.sha512, "34cd");
	order_delete(uuid);
	reaches(uuid, -1);
}

/* One that nobody had begun to make: what is there is something else. */
static void what_nobody_knows_is_made_anew(void **state)
{
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	stop_imaged();
	upload("disk.img", 1, file);
	uuid_new(uuid);
	im = new_image(uuid, "anew", file);
	put_image(t, &im);
	put_request(t, REQ_CREATE_IMAGE, uuid);
	commit(t);
	put_into_store(uuid, "what is this");
	start_imaged();
	reaches(uuid, IMAGE_CREATED);
	same_content("disk.img", uuid);
	order_delete(uuid);
	reaches(uuid, -1);
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
	im = new_image(failed, "failed", "");
	im.status = IMAGE_ERROR;
	put_image(t, &im);
	gone = new_image(missing, "missing", "");
	gone.status = IMAGE_CREATED;
	gone.is_made = true;
	gone.path = xstrdup("gone.raw");
	put_image(t, &gone);
	commit(t);
	put_into_store(orphan, "orphan");
	put_into_store(failed, "failed");
	assert_true(wait_until(is_out_of_store, failed, LIMIT_MSEC));
	assert_true(wait_until(is_out_of_store, orphan, LIMIT_MSEC));
	/* It is told of, not touched. */
	image_done(&gone);
	assert_true(read_image(missing, &gone));
	assert_int_equal(gone.status, IMAGE_CREATED);
	order_delete(failed);
	order_delete(missing);
	reaches(failed, -1);
	reaches(missing, -1);
}

static void requests_of_nothing_are_dropped(void **state)
{
	char uuid[UUID_STR_SIZE];
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	(void)state;
	uuid_new(uuid);
	put_request(t, REQ_CREATE_IMAGE, uuid);
	commit(t);
	assert_true(wait_until(is_request_gone, uuid, LIMIT_MSEC));
	/* And an entry that waits for ever is told so. */
	t = kv_txn_new();
	im = new_image(uuid, "alone", "");
	put_image(t, &im);
	commit(t);
	reaches(uuid, IMAGE_ERROR);
	order_delete(uuid);
	reaches(uuid, -1);
}

/* A store that is away: counted, tried again, and made when it is back. */
static void a_store_that_is_away(void **state)
{
	CLEANUP_STR char *aside = xasprintf("%s.away", w.store_path);
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(request_done) struct request req = { 0 };
	CLEANUP_STR char *key = NULL;
	struct err e = { 0 };

	(void)state;
	upload("disk.img", 1, file);
	assert_int_equal(rename(w.store_path, aside), 0);
	order_create("patient", file, uuid);
	key = key_request_image(&w.conf.keys, uuid);
	for (int64_t end = test_now_msec() + LIMIT_MSEC; req.attempts == 0;) {
		assert_true(test_now_msec() < end);
		kv_pair_done(&pair);
		assert_int_equal(kv_get(w.kv, key, &pair, NULL, &e), 0);
		assert_int_equal(request_parse(pair.value, pair.value_size, &req, &e), 0);
	}
	assert_non_null(strstr(req.last_error, STORE));
	assert_int_equal(rename(aside, w.store_path), 0);
	reaches(uuid, IMAGE_CREATED);
	same_content("disk.img", uuid);
	order_delete(uuid);
	reaches(uuid, -1);
}

/* ---------------------------------------------------------------- killed */

/* Starts the real program, with something more in its environment. */
static pid_t spawn(const char *env)
{
	CLEANUP_STR char *log = test_path("imaged.log");
	const char *argv[] = { "env", env, w.program, "--etcd_url",
		test_etcd_url(w.etcd, 0), "--base_dir", w.base, "--realm_allowed", REALM,
		"--config", "/dev/null", "--metrics_listen", "", "--convert_user",
		"nobody", "--lease_ttl", "2s", "--resync", "1s", "--orphan_keep", "1s",
		NULL };

	return test_spawn(argv, log);
}

static void end_it(pid_t pid, int sig)
{
	kill(pid, sig);
	test_wait(pid, LIMIT_MSEC);
}

/* One order, from an empty store to an empty store: what is ordered, and how it ends. */
struct life {
	char file[UUID_STR_SIZE], uuid[UUID_STR_SIZE];
};

static void order_one(struct life *l, bool is_delete)
{
	if (is_delete)
		order_delete(l->uuid);
	else
		order_create("killed", l->file, l->uuid);
}

static void check_one(struct life *l, bool is_delete)
{
	reaches(l->uuid, is_delete ? -1 : IMAGE_CREATED);
	if (is_delete)
		nothing_is_left(l->uuid, "killed");
	else
		same_content("disk.img", l->uuid);
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
	stop_imaged();
	upload("disk.img", 64, l.file);
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
	assert_int_equal(user_images(), 0);
	start_imaged();
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
	w.program = xasprintf("%s/ucloud-image/ucloud-image", self);
	return cmocka_run_group_tests(tests, start_world, stop_world);
}
