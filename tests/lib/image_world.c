#include "tests/lib/image_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/disk/disk.h"
#include "common/disk/images.h"
#include "common/model/user.h"
#include "common/model/vm.h"
#include "tests/lib/test_util.h"

#define NOBODY 65534
/* ThreadSanitizer needs room of its own between fork and exec, where the limit holds. */
#ifdef __SANITIZE_THREAD__
#define LIMIT_MEM 0
#else
#define LIMIT_MEM (UINT64_C(1) << 30)
#endif

struct image_world iw;

/* ---------------------------------------------------------------- what the API writes */

void iw_commit(struct kv_txn *t)
{
	struct err e = { 0 };

	if (kv_txn_commit(iw.kv, t, NULL, &e) != 0)
		fail_msg("a transaction of the test: %s", e.msg);
	kv_txn_free(t);
}

static void put(const char *key, char *value)
{
	struct kv_txn *t = kv_txn_new();

	kv_txn_put(t, key, value);
	iw_commit(t);
	free(value);
}

static void put_store(void)
{
	CLEANUP_STR char *key = key_image_store(IW_STORE);
	struct err e = { 0 };

	iw.store_conf.name = xstrdup(IW_STORE);
	image_store_set_defaults(&iw.store_conf);
	put(key, image_store_format(&iw.store_conf));
	if (disk_store_open(&iw.store_conf, &iw.store, &e) < 0)
		fail_msg("%s", e.msg);
}

void iw_put_user(int64_t n_images)
{
	CLEANUP_STR char *key = key_user(IW_REALM, "alice");
	CLEANUP(user_done)
	struct user u = { .name = xstrdup("alice"),
		.realm = xstrdup(IW_REALM),
		.use.images = n_images };

	put(key, user_format(&u));
}

int64_t iw_user_images(void)
{
	CLEANUP_STR char *key = key_user(IW_REALM, "alice");
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	CLEANUP(user_done) struct user u = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(iw.kv, key, &pair, NULL, &e), 0);
	assert_int_equal(user_parse(pair.value, pair.value_size, &u, &e), 0);
	return u.use.images;
}

/* An upload of so many MiB of noise, and its entry. The uuid goes to out. */
void iw_upload(const char *name, unsigned mib, char out[UUID_STR_SIZE])
{
	CLEANUP_STR char *path = xasprintf("%s/%s", iw.alice, name);
	CLEANUP_STR char *script = xasprintf(
		"head -c %uM /dev/urandom > '%s'; chmod 600 '%s'", mib, path, path);
	CLEANUP(file_done) struct file f = { 0 };
	CLEANUP_STR char *key = NULL;
	struct stat st;

	assert_int_equal(test_run((const char *const[]){ "sh", "-ec", script, NULL },
				 IW_LIMIT_MSEC, NULL),
		0);
	assert_int_equal(stat(path, &st), 0);
	file_uuid(IW_REALM, "alice", name, out);
	f = (struct file){ .uuid = xstrdup(out),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(IW_REALM),
		.filename = xstrdup(name),
		.size_bytes = st.st_size,
		.sha512 = xstrdup("12ab"),
		.mtime = st.st_mtime,
		.scanned = st.st_mtime,
		.identity = file_identity(&st) };
	key = key_file(&iw.conf.keys, out);
	put(key, file_format(&f));
}

void iw_put_image(struct kv_txn *t, const struct image *im)
{
	CLEANUP_STR char *key = key_image(&iw.conf.keys, im->uuid);
	CLEANUP_STR char *text = image_format_text(im);

	kv_txn_put(t, key, text);
}

void iw_put_request(struct kv_txn *t, enum request_type type, const char *uuid)
{
	CLEANUP_STR char *key = key_request_image(&iw.conf.keys, uuid);
	CLEANUP_STR char *text =
		request_new(type, uuid, NULL, clock_unix_sec(), clock_unix_sec() + 3600);

	kv_txn_put(t, key, text);
}

struct image iw_new_image(const char *uuid, const char *name, const char *file_uuid)
{
	return (struct image){ .uuid = xstrdup(uuid),
		.name = xstrdup(name),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(IW_REALM),
		.store = xstrdup(IW_STORE),
		.file_uuid = xstrdup(file_uuid),
		.filename = xstrdup("disk.img"),
		.status = IMAGE_TO_BE_CREATED,
		.is_public = true,
		.created = clock_unix_sec() };
}

void iw_order_create(const char *name, const char *file_uuid, char uuid[UUID_STR_SIZE])
{
	CLEANUP_STR char *name_key = key_image_name(IW_REALM, "alice", name);
	CLEANUP_STR char *public_key = key_image_public(name);
	CLEANUP(image_done) struct image im = { 0 };
	struct kv_txn *t = kv_txn_new();

	uuid_new(uuid);
	im = iw_new_image(uuid, name, file_uuid);
	iw_put_image(t, &im);
	kv_txn_put(t, name_key, uuid);
	kv_txn_put(t, public_key, uuid);
	iw_put_request(t, REQ_CREATE_IMAGE, uuid);
	iw_commit(t);
	iw_put_user(iw_user_images() + 1);
}

/* False: there is no entry. */
bool iw_read_image(const char *uuid, struct image *out)
{
	CLEANUP_STR char *key = key_image(&iw.conf.keys, uuid);
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(iw.kv, key, &pair, NULL, &e), 0);
	if (!pair.key)
		return false;
	if (image_parse(pair.value, pair.value_size, out, &e) < 0)
		fail_msg("%s", e.msg);
	return true;
}

/* Whatever is done with it meanwhile: until it has worked. */
void iw_order_delete(const char *uuid)
{
	CLEANUP_STR char *key = key_image(&iw.conf.keys, uuid);

	for (;;) {
		CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
		CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
		CLEANUP(image_done) struct image im = { 0 };
		struct err e = { 0 };

		assert_int_equal(kv_get(iw.kv, key, &pair, NULL, &e), 0);
		assert_int_equal(image_parse(pair.value, pair.value_size, &im, &e), 0);
		im.status = IMAGE_TO_BE_DELETED;
		kv_txn_if_rev(t, key, pair.mod_rev);
		iw_put_image(t, &im);
		iw_put_request(t, REQ_DELETE_IMAGE, uuid);
		if (kv_txn_commit(iw.kv, t, NULL, &e) == 0)
			return;
	}
}

/* ---------------------------------------------------------------- what is waited for */

struct wish {
	const char *uuid;
	int status; /* -1: no entry */
};

bool iw_is_there(const char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(iw.kv, key, &pair, NULL, &e), 0);
	return pair.key != NULL;
}

bool iw_has_request(const char *uuid)
{
	CLEANUP_STR char *key = key_request_image(&iw.conf.keys, uuid);

	return iw_is_there(key);
}

static bool is_granted(void *aux)
{
	const struct wish *wish = aux;
	CLEANUP(image_done) struct image im = { 0 };
	bool has_entry = iw_read_image(wish->uuid, &im);

	return wish->status < 0 ? !has_entry : has_entry && im.status == wish->status;
}

void iw_reaches(const char *uuid, int status)
{
	struct wish wish = { uuid, status };
	CLEANUP(image_done) struct image im = { 0 };

	if (!wait_until(is_granted, &wish, IW_LIMIT_MSEC) && iw_read_image(uuid, &im))
		fail_msg("it is %s: %s", image_status_names[im.status],
			im.reason ? im.reason : "");
	assert_true(is_granted(&wish));
}

bool iw_is_request_gone(void *aux)
{
	return !iw_has_request(aux);
}

bool iw_store_has(const char *uuid)
{
	CLEANUP(strv_done) struct strv all = { 0 };
	struct err e = { 0 };

	if (image_list(iw.store, &all, &e) < 0)
		fail_msg("%s", e.msg);
	return strv_has(&all, uuid);
}

bool iw_is_out_of_store(void *aux)
{
	return !iw_store_has(aux);
}

void iw_same_content(const char *upload_name, const char *uuid)
{
	CLEANUP(image_done) struct image im = { 0 };
	CLEANUP_STR char *file = xasprintf("%s/%s", iw.alice, upload_name);
	CLEANUP_STR char *data = NULL;

	assert_true(iw_read_image(uuid, &im));
	data = xasprintf("%s/images/%s", iw.store_conf.path, im.path);
	assert_int_equal(test_run((const char *const[]){ "cmp", file, data, NULL },
				 IW_LIMIT_MSEC, NULL),
		0);
}

void iw_nothing_is_left(const char *uuid, const char *name)
{
	CLEANUP_STR char *name_key = key_image_name(IW_REALM, "alice", name);
	CLEANUP_STR char *public_key = key_image_public(name);

	assert_false(iw_has_request(uuid));
	assert_false(iw_is_there(name_key));
	assert_false(iw_is_there(public_key));
	assert_false(iw_store_has(uuid));
}

void iw_put_vm(const char *uuid, const char *image_uuid)
{
	CLEANUP_STR char *key = key_vm(&iw.conf.keys, uuid);
	CLEANUP(vm_done)
	struct vm vm = { .uuid = xstrdup(uuid),
		.name = xstrdup("v"),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(IW_REALM),
		.image_uuid = xstrdup(image_uuid),
		.store = xstrdup(IW_STORE),
		.specs = { .cpu = 1, .ram_mib = 64 } };

	put(key, vm_format(&vm));
}

/* ---------------------------------------------------------------- the daemon */

void iw_start_daemon(void)
{
	iw.imaged = imaged_new(iw.kv, &iw.conf);
	imaged_start(iw.imaged);
}

void iw_stop_daemon(void)
{
	assert_true(imaged_free(iw.imaged));
	iw.imaged = NULL;
}

void iw_start(void)
{
	struct err e = { 0 };

	iw.base = test_path("up");
	iw.alice = test_path("up/alice");
	test_mkdir(iw.base);
	test_mkdir(iw.alice);
	iw.etcd = test_etcd_start(NULL);
	iw.kv = test_etcd_open(iw.etcd);
	iw.conf = (struct imaged_conf){
		.import = { .base_dir = iw.base,
			.default_realm = IW_REALM,
			.reader = { .limit_mem = LIMIT_MEM, .limit_sec = 60 },
			.n_threads = 4 },
		.n_jobs = 1,
		.lease_ttl_sec = 2,
		.resync_sec = 1,
		.orphan_keep_sec = 1,
	};
	keys_set_defaults(&iw.conf.keys);
	if (keys_check(&iw.conf.keys, &e) < 0)
		fail_msg("%s", e.msg);
	if (geteuid() == 0)
		iw.conf.import.reader.uid = iw.conf.import.reader.gid = NOBODY;
	put_store();
	iw_put_user(0);
	iw_start_daemon();
}

void iw_stop(void)
{
	iw_stop_daemon();
	disk_store_close(iw.store);
	image_store_done(&iw.store_conf);
	kv_close(iw.kv);
	keys_done(&iw.conf.keys);
	test_etcd_free(iw.etcd);
	free(iw.base);
	free(iw.alice);
}
