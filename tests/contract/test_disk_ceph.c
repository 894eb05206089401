/*
 * A real Ceph as image store: what every kind of store does, and what only Ceph can get wrong:
 * a cluster that is away, a key that is not taken, a full pool, renames that were cut off.
 * The same once more, in short, on BlueStore and with keys.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/disk/disk_rbd.h"
#include "tests/lib/disk_cases.h"
#include "tests/lib/test_ceph.h"
#include "tests/lib/test_util.h"

#define POOL	"images"
#define VM_POOL "uservms"
/* Seconds that a test gives a cluster that is away. */
#define SHORT_LIMITS                                                                     \
	"client mount timeout = 2\nrados mon op timeout = 2\nrados osd op timeout = 2\n"
/* What a few calls may take then. */
#define SHORT_MSEC 30000

static struct test_ceph *ceph;
static char pool[] = POOL, vm_pool[] = VM_POOL;
static const char *user = "libvirt";

static void must(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
}

/* ---------------------------------------------------------------- the kind */

static void ceph_conf(struct image_store *out, const char *path)
{
	out->name = xstrdup("local");
	out->type = STORE_CEPH;
	out->pool = xstrdup(POOL);
	out->vm_pool = xstrdup(VM_POOL);
	out->ceph_conf = xstrdup(path);
	out->ceph_user = xstrdup(user);
}

static void make(struct disk_lab *lab)
{
	CLEANUP_STR char *images = xasprintf("%s/images", lab->dir);

	test_mkdir(images);
	ceph_conf(&lab->conf, test_ceph_path(ceph));
	lab->other_conf.name = xstrdup("other");
	lab->other_conf.type = STORE_FILESYSTEM;
	lab->other_conf.path = xstrdup(lab->dir);
}

static void remove_everything(struct disk_lab *lab)
{
	CLEANUP(strv_done) struct strv vms = { 0 }, images = { 0 };
	struct disk_store *s = NULL;
	struct err e = { 0 };

	must(disk_store_open(&lab->conf, &s, &e), &e);
	must(disk_list(s, &vms, &e), &e);
	for (size_t i = 0; i < vms.len; i++)
		must(disk_remove_all(s, vms.v[i], &e), &e);
	must(image_list(s, &images, &e), &e);
	for (size_t i = 0; i < images.len; i++)
		must(image_remove(s, images.v[i], &e), &e);
	disk_store_close(s);
}

static char *url(struct disk_lab *lab, const struct disk_source *src)
{
	assert_int_equal(src->kind, DISK_SOURCE_RBD);
	return xasprintf("rbd:%s:id=%s:conf=%s", src->path, user, lab->conf.ceph_conf);
}

struct held {
	struct ceph_conn *conn;
	struct ceph_io io;
	struct disk_rbd_image im;
};

/* As QEMU does: it writes, and so has the image's lock. */
static void *hold(struct disk_lab *lab, const char *vm_uuid, unsigned index)
{
	struct held *h = xcalloc(1, sizeof(*h));
	char name[CEPH_NAME_SIZE];
	struct err e = { 0 };

	ceph_name_disk(name, vm_uuid, index);
	h->conn = ceph_conn_new(&lab->conf);
	must(ceph_io_take(h->conn, &h->io, &e), &e);
	must(disk_rbd_open_rw(&h->io, h->io.vms, name, &h->im, &e), &e);
	assert_int_equal(h->io.lib->rbd_write(h->im.image, 0, 1, "x"), 1);
	return h;
}

static void release(struct disk_lab *lab, void *held)
{
	struct held *h = held;

	(void)lab;
	disk_rbd_image_done(&h->im);
	ceph_io_give(&h->io);
	ceph_conn_free(h->conn);
	free(h);
}

static const struct disk_kind kind = {
	.make = make,
	.remove = remove_everything,
	.url = url,
	.hold = hold,
	.release = release,
	/* librbd looks at each of its objects when it is removed: of 64 TiB for half a minute. */
	.largest_gib = 4096,
	.has_users = true,
};

/* ---------------------------------------------------------------- helpers */

/* Opens the store anew with this ceph.conf and user. */
static void open_as(struct disk_lab *lab, const char *path, const char *name)
{
	str_set(&lab->conf.ceph_conf, xstrdup(path));
	str_set(&lab->conf.ceph_user, xstrdup(name));
	disk_lab_open(lab);
}

static void must_fail(int rc, const struct err *e, enum err_kind want, const char *words)
{
	assert_int_equal(rc, -1);
	if (e->kind != want || !strstr(e->msg, words))
		fail_msg("kind %s, \"%s\", which does not say: %s",
			err_kind_name(e->kind), e->msg, words);
}

/* The names in a pool, as rbd(8) lists them. */
static void pool_is(const char *name, const char *want)
{
	CLEANUP_STR char *out = test_ceph_run(ceph, "rbd ls %s", name);

	for (char *c = out; *c; c++)
		*c = *c == '\n' ? ' ' : *c;
	assert_string_equal(out, want);
}

/* What RBD itself keeps in a pool. */
static const char *const kept[] = { "rbd_info", "rbd_directory", "rbd_children",
	"rbd_trash" };

/* The first object in a pool that is of an image, the caller's; NULL: there is none. */
static char *find_object(const char *name)
{
	CLEANUP_STR char *out = test_ceph_run(ceph, "rados -p %s ls", name);
	CLEANUP(strv_done) struct strv lines = { 0 };

	strv_split(&lines, out, '\n');
	for (size_t i = 0; i < lines.len; i++) {
		bool is_kept = false;

		for (size_t k = 0; k < ARRAY_LEN(kept); k++)
			is_kept = is_kept || str_eq(lines.v[i], kept[k]);
		if (!is_kept)
			return xstrdup(lines.v[i]);
	}
	return NULL;
}

static bool has_no_objects(void *aux)
{
	CLEANUP_STR char *left = find_object(aux);

	return !left;
}

/* The cluster takes its time to remove objects that were in snapshots. */
static void pool_has_no_objects(char *name)
{
	if (!wait_until(has_no_objects, name, RUN_MSEC)) {
		CLEANUP_STR char *left = find_object(name);

		fail_msg("%s: %s is left", name, left ? left : "something");
	}
}

/* ---------------------------------------------------------------- tests */

static void nothing_is_left(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	disk_lab_must_ensure(lab, VM1, 1, 2, NULL);
	must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 8M");
	pool_is(VM_POOL, VM1 " " VM1 ".1 ");
	pool_is(POOL, IMAGE " ");
	disk_lab_must_remove(lab, VM1);
	must(image_remove(lab->store, IMAGE, &e), &e);
	pool_has_no_objects(vm_pool);
	pool_has_no_objects(pool);
}

static void features_are_as_chosen(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	CLEANUP_STR char *disk = test_ceph_run(ceph, "rbd info " VM_POOL "/" VM1);
	CLEANUP_STR char *image =
		test_ceph_run(ceph, "rbd info " POOL "/" IMAGE "@ucloud");
	assert_non_null(strstr(disk, "features: layering, exclusive-lock, object-map, "
				     "fast-diff, deep-flatten"));
	assert_non_null(strstr(disk, "parent: " POOL "/" IMAGE "@ucloud"));
	assert_non_null(strstr(image, "protected: True"));
	CLEANUP_STR char *unprotect =
		test_ceph_run(ceph, "!rbd snap unprotect " POOL "/" IMAGE "@ucloud");
	if (!strstr(unprotect, "resource busy"))
		fail_msg("%s", unprotect);
}

static void image_missing(void **state)
{
	static char path[] = "nothing", bare[] = IMAGE;
	struct disk_lab *lab = *state;
	struct image im = disk_lab_entry(path, IMAGE_RAW, GIB);
	unsigned n = 7;
	struct err e = { 0 };

	disk_lab_must_refuse(lab, &im, ERR_NOT_FOUND,
		"the data of image \"debian\" is missing in store \"local\"");
	must(image_n_users(lab->store, &im, &n, &e), &e);
	assert_int_equal(n, 0);
	im.path = bare;
	free(test_ceph_run(ceph, "rbd create -s 1G " POOL "/" IMAGE));
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "has no protected snapshot \"ucloud\"");
	free(test_ceph_run(
		ceph, "rbd snap create " POOL "/" IMAGE "@ucloud --no-progress"));
	disk_lab_must_refuse(
		lab, &im, ERR_INVALID, "has no protected snapshot \"ucloud\"");
	free(test_ceph_run(ceph, "rbd snap protect " POOL "/" IMAGE "@ucloud"));
	disk_lab_must_ensure(lab, VM1, 0, 1, &im);
}

static void open_disks_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };
	void *held;

	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	held = hold(lab, VM1, 0);
	must_fail(disk_remove(lab->store, VM1, 0, &e), &e, ERR_UNAVAILABLE, "is open");
	must_fail(disk_remove_all(lab->store, VM1, &e), &e, ERR_UNAVAILABLE, "is open");
	release(lab, held);
	must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_must_remove(lab, VM1);
}

static void foreign_images_stay(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };

	free(test_ceph_run(ceph, "rbd create -s 1G " VM_POOL "/" VM1 ".saved"));
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	disk_lab_list_is(lab, VM1);
	must_fail(disk_remove_all(lab->store, VM1, &e), &e, ERR_CONFLICT, VM1 ".saved");
	pool_is(VM_POOL, VM1 ".saved ");
	free(test_ceph_run(ceph, "rbd rm --no-progress " VM_POOL "/" VM1 ".saved"));
	disk_lab_must_remove(lab, VM1);
}

/* ---------------------------------------------------------------- cut off */

#define UNFINISHED VM1 ".tmp-0123456789ab"

/* What is under way is no disk, and goes with the VM. */
static void half_made_disks(void **state)
{
	struct disk_lab *lab = *state;

	free(test_ceph_run(ceph, "rbd create -s 1G " VM_POOL "/" UNFINISHED));
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	disk_lab_list_is(lab, VM1);
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
	pool_has_no_objects(vm_pool);
}

static void copy_object(struct disk_lab *lab, const char *from, const char *to)
{
	CLEANUP_STR char *file = xasprintf("%s/object", lab->dir);

	free(test_ceph_run(ceph, "rados -p " VM_POOL " get %s %s", from, file));
	free(test_ceph_run(ceph, "rados -p " VM_POOL " put %s %s", to, file));
}

/* The new name leads to it already; the directory knows the old one. */
static void rename_cut_off_early(void **state)
{
	struct disk_lab *lab = *state;

	free(test_ceph_run(ceph, "rbd create -s 2G " VM_POOL "/" UNFINISHED));
	copy_object(lab, "rbd_id." UNFINISHED, "rbd_id." VM1);
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_list_is(lab, VM1);
	disk_lab_must_remove(lab, VM1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	pool_has_no_objects(vm_pool);
}

/* The directory knows the new name; the old one leads to it still. */
static void rename_cut_off_late(void **state)
{
	struct disk_lab *lab = *state;

	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	free(test_ceph_run(ceph,
		"rbd image-meta set " VM_POOL "/" VM1 " ucloud.made_as " UNFINISHED));
	copy_object(lab, "rbd_id." VM1, "rbd_id." UNFINISHED);
	disk_lab_list_is(lab, VM1);
	disk_lab_must_remove(lab, VM1);
	pool_has_no_objects(vm_pool);
}

/* The header is gone, its name is not. */
static void removal_cut_off(void **state)
{
	struct disk_lab *lab = *state;

	for (int turn = 0; turn < 2; turn++) {
		disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
		CLEANUP_STR char *out = test_ceph_run(ceph, "rados -p " VM_POOL " ls");
		CLEANUP(strv_done) struct strv lines = { 0 };

		strv_split(&lines, out, '\n');
		for (size_t i = 0; i < lines.len; i++)
			if (str_has_prefix(lines.v[i], "rbd_header."))
				free(test_ceph_run(
					ceph, "rados -p " VM_POOL " rm %s", lines.v[i]));
		assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
		if (turn == 0)
			disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
		disk_lab_must_remove(lab, VM1);
	}
	disk_lab_list_is(lab, "");
}

/* ---------------------------------------------------------------- killed */

#define CHURN	"churn"
#define IMAGE2	"433e4567-e89b-42d3-a456-426614174000"
#define N_KILLS 10

/* Another process: makes and removes a disk and an image until it is killed. */
static int churn(const char *path, const char *image)
{
	struct image_store conf = { 0 };
	struct disk_store *s = NULL;
	char *bytes = xcalloc(1, MIB);
	struct err e = { 0 };

	ceph_conf(&conf, path);
	CLEANUP_STR char *copy = xstrdup(image);
	struct image im = disk_lab_entry(copy, IMAGE_RAW, GIB);
	struct disk_spec spec = { VM1, 0, 2, &im };
	int rc = disk_store_open(&conf, &s, &e);

	printf("begins\n");
	fflush(stdout);
	memset(bytes, 1, MIB);
	while (rc == 0) {
		CLEANUP(image_made_done) struct image_made made = { 0 };
		struct image_sink *k = NULL;

		if (disk_ensure(s, &spec, &e) != 0 ||
			image_sink_open(s, IMAGE2, GIB, &k, &e) != 0 ||
			image_sink_write(k, 0, bytes, MIB, &e) != 0 ||
			image_sink_commit(k, &made, &e) != 0)
			rc = -1;
		image_sink_close(k);
		if (rc == 0 && (disk_remove_all(s, VM1, &e) != 0 ||
				       image_remove(s, IMAGE2, &e) != 0))
			rc = -1;
	}
	fprintf(stderr, "%s\n", e.msg);
	return 1;
}

static bool has_begun(void *aux)
{
	CLEANUP_STR char *text = test_read_file(aux);

	return text && strstr(text, "begins");
}

static void kill_one(struct disk_lab *lab, const char *image, int turn)
{
	CLEANUP_STR char *log = xasprintf("%s/log%d", lab->dir, turn);
	const char *const argv[] = { "/proc/self/exe", CHURN, lab->conf.ceph_conf, image,
		NULL };
	const struct timespec moment = { .tv_nsec = (100 + turn * 41) * 1000 * 1000 };
	pid_t pid = test_spawn(argv, log);
	int status;

	if (!wait_until(has_begun, log, RUN_MSEC))
		fail_msg("it does not begin");
	nanosleep(&moment, NULL);
	kill(pid, SIGKILL);
	status = test_wait(pid, RUN_MSEC);
	if (status != 128 + SIGKILL) {
		CLEANUP_STR char *text = test_read_file(log);

		fail_msg("status %d: %s", status, text);
	}
}

static bool can_be_removed(void *aux)
{
	struct disk_lab *lab = aux;
	struct err e = { 0 };

	if (disk_remove_all(lab->store, VM1, &e) == 0 &&
		image_remove(lab->store, IMAGE2, &e) == 0)
		return true;
	/* What the dead one had open, for a while. */
	if (e.kind != ERR_UNAVAILABLE)
		fail_msg("%s", e.msg);
	return false;
}

/* How long an image counts as open when the client that opened it says nothing more. */
static void forget_the_dead_after(int sec)
{
	free(test_ceph_run(
		ceph, "ceph tell osd.0 config set osd_client_watch_timeout %d", sec));
}

/* Whatever a killed process leaves, the next one makes the disk, and removes it all. */
static void killed_at_any_moment(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	CLEANUP(strv_done) struct strv images = { 0 };
	struct err e = { 0 };

	free(test_ceph_run(
		ceph, "ceph tell osd.0 config set osd_client_watch_timeout 2"));
	for (int turn = 0; turn < N_KILLS; turn++) {
		kill_one(lab, im.path, turn);
		disk_lab_must_ensure(lab, VM1, 0, 2, &im);
		assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
		disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 64k");
		if (!wait_until(can_be_removed, lab, RUN_MSEC))
			fail_msg("what was open stays open");
		disk_lab_list_is(lab, "");
	}
	free(test_ceph_run(
		ceph, "ceph tell osd.0 config set osd_client_watch_timeout 30"));
	must(image_remove(lab->store, IMAGE, &e), &e);
	must(image_list(lab->store, &images, &e), &e);
	assert_int_equal(images.len, 0);
	pool_has_no_objects(pool);
	pool_has_no_objects(vm_pool);
}

/* Its name is not there any more when the next try begins, and it does not stay. */
static void killed_image_is_taken_over(void **state)
{
	struct disk_lab *lab = *state;
	struct held *h = xcalloc(1, sizeof(*h));
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = NULL;
	struct err e = { 0 };

	free(test_ceph_run(ceph, "rbd create -s 1G " POOL "/" IMAGE ".tmp-0123456789ab"));
	h->conn = ceph_conn_new(&lab->conf);
	must(ceph_io_take(h->conn, &h->io, &e), &e);
	must(disk_rbd_open_rw(
		     &h->io, h->io.images, IMAGE ".tmp-0123456789ab", &h->im, &e),
		&e);
	must(image_sink_open(lab->store, IMAGE, GIB, &k, &e), &e);
	must_fail(disk_rbd_rename(
			  &h->io, h->io.images, IMAGE ".tmp-0123456789ab", IMAGE, &e),
		&e, ERR_NOT_FOUND, "");
	release(lab, h);
	must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	pool_is(POOL, IMAGE " ");
}

/* deep-flatten: what a snapshot shares with the image is copied for it, too. */
static void snapshots_outlive_the_image(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	must(disk_flatten(lab->store, VM1, 0, &e), &e);
	must(image_remove(lab->store, IMAGE, &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
	disk_lab_io(lab, VM1, 0, "read -P 0x5a 1073676288 65536");
}

/* ---------------------------------------------------------------- a bad day */

static void stopped_cluster(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	int64_t start, size;
	struct disk_source src = { 0 };
	struct disk_spec spec = { VM1, 0, 2, &im };
	struct err e = { 0 };
	int rc_ensure, rc_stat, rc_source;
	struct err e_stat = { 0 }, e_source = { 0 };

	open_as(lab, test_ceph_path_with(ceph, SHORT_LIMITS), user);
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	test_ceph_freeze(ceph);
	start = test_now_msec();
	rc_stat = disk_stat(lab->store, VM1, 0, &size, &e_stat);
	rc_source = disk_source_get(lab->store, &spec, &src, &e_source);
	rc_ensure = disk_lab_ensure(lab, VM2, 0, 2, &im, &e);
	start = test_now_msec() - start;
	test_ceph_thaw(ceph);
	must_fail(rc_stat, &e_stat, ERR_UNAVAILABLE, "did not answer in time");
	must_fail(rc_source, &e_source, ERR_UNAVAILABLE, "did not answer in time");
	must_fail(rc_ensure, &e, ERR_UNAVAILABLE, "did not answer in time");
	assert_true(start < SHORT_MSEC);
	/* The same connection works again. */
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_must_ensure(lab, VM2, 0, 2, &im);
}

struct busy {
	struct disk_lab *lab;
	const struct image *image;
	pthread_t thread;
	atomic_bool is_done;
	atomic_uint n_good, n_bad;
	atomic_int longest_msec;
	struct err e; /* the newest; to be read when the thread has ended */
};

static void *make_and_remove(void *aux)
{
	struct busy *b = aux;
	struct disk_spec spec = { VM1, 0, 2, b->image };

	while (!b->is_done) {
		int64_t start = test_now_msec(), took;
		struct err e = { 0 };
		int rc = disk_ensure(b->lab->store, &spec, &e);

		if (rc == 0)
			rc = disk_snapshot_make(b->lab->store, VM1, 0, "a", &e);
		if (rc == 0)
			rc = disk_remove_all(b->lab->store, VM1, &e);
		took = test_now_msec() - start;
		if (took > b->longest_msec)
			b->longest_msec = (int)took;
		if (rc != 0)
			b->e = e;
		if (rc == 0)
			b->n_good++;
		else
			b->n_bad++;
	}
	return NULL;
}

static bool has_failed(void *aux)
{
	return ((struct busy *)aux)->n_bad > 0;
}

static bool works_again(void *aux)
{
	return ((struct busy *)aux)->n_good > 0;
}

static bool is_removed(void *aux)
{
	struct err e = { 0 };

	return disk_remove_all(((struct disk_lab *)aux)->store, VM1, &e) == 0;
}

/* Whatever is under way fails in time, and works afterwards. */
static void stopped_in_the_middle(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct busy b = { .lab = lab, .image = &im };
	bool is_hung = false, is_back = true;

	open_as(lab, test_ceph_path_with(ceph, SHORT_LIMITS), user);
	forget_the_dead_after(5);
	assert_int_equal(pthread_create(&b.thread, NULL, make_and_remove, &b), 0);
	for (int turn = 0; turn < 4 && is_back && !is_hung; turn++) {
		const struct timespec moment = { .tv_nsec = turn * 23 * 1000 * 1000 };

		nanosleep(&moment, NULL);
		b.n_bad = 0;
		test_ceph_freeze(ceph);
		is_hung = !wait_until(has_failed, &b, RUN_MSEC);
		test_ceph_thaw(ceph);
		b.n_good = 0;
		is_back = wait_until(works_again, &b, RUN_MSEC);
	}
	b.is_done = true;
	pthread_join(b.thread, NULL);
	forget_the_dead_after(30);
	print_message("the longest took %d ms\n", b.longest_msec);
	assert_false(is_hung);
	if (!is_back)
		fail_msg("it does not work again: %s", b.e.msg);
	assert_true(b.longest_msec < SHORT_MSEC);
	/* What could not be removed then. */
	assert_true(wait_until(is_removed, lab, RUN_MSEC));
	disk_lab_list_is(lab, "");
}

static void not_there_at_first(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP(strv_done) struct strv vms = { 0 };
	int64_t start, took;
	struct err e = { 0 };
	int rc;

	test_ceph_freeze(ceph);
	start = test_now_msec();
	open_as(lab, test_ceph_path_with(ceph, SHORT_LIMITS), user);
	rc = disk_list(lab->store, &vms, &e);
	took = test_now_msec() - start;
	test_ceph_thaw(ceph);
	must_fail(rc, &e, ERR_UNAVAILABLE, "does not answer");
	assert_true(took < SHORT_MSEC);
	disk_lab_list_is(lab, "");
}

static void set_full(bool is_full)
{
	free(test_ceph_run(
		ceph, "ceph osd set-nearfull-ratio %s", is_full ? "0.00001" : "0.85"));
	free(test_ceph_run(ceph, "ceph osd set-backfillfull-ratio %s",
		is_full ? "0.00002" : "0.90"));
	free(test_ceph_run(
		ceph, "ceph osd set-full-ratio %s", is_full ? "0.00003" : "0.95"));
}

/* Has the cluster noticed? */
static bool is_full(void *aux)
{
	CLEANUP_STR char *out = test_ceph_run(ceph, "ceph health detail");
	const bool *wanted = aux;

	return (strstr(out, "POOL_FULL") != NULL) == *wanted;
}

static void make_full(bool wanted)
{
	set_full(wanted);
	if (!wait_until(is_full, &wanted, RUN_MSEC))
		fail_msg("the cluster does not notice that it is%s full",
			wanted ? "" : " not");
}

static void full_pool(void **state)
{
	static const char uuid[] = "433e4567-e89b-42d3-a456-426614174000";
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	char *p = xcalloc(1, MIB);
	struct image_sink *k = NULL;
	struct err e = { 0 };

	disk_lab_must_ensure(lab, VM2, 0, 2, &im);
	must(image_sink_open(lab->store, uuid, GIB, &k, &e), &e);
	make_full(true);
	must_fail(disk_lab_ensure(lab, VM1, 0, 2, &im, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full: there is no room for disk 0 of 2 GiB");
	must_fail(disk_lab_ensure(lab, VM1, 0, 2, NULL, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full");
	must_fail(image_sink_write(k, 0, p, MIB, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full: there is no room for the image");
	image_sink_close(k);
	must_fail(image_sink_open(lab->store, uuid, GIB, &k, &e), &e, ERR_NO_SPACE,
		"store \"local\" is full");
	/* What is in the way can be removed. */
	disk_lab_must_remove(lab, VM2);
	make_full(false);
	pool_is(VM_POOL, "");
	pool_is(POOL, IMAGE " ");
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	free(p);
}

static void no_such_pool(void **state)
{
	struct disk_lab *lab = *state;
	struct err e = { 0 };
	int64_t size;

	str_set(&lab->conf.vm_pool, xstrdup("nothing"));
	disk_lab_open(lab);
	must_fail(disk_stat(lab->store, VM1, 0, &size, &e), &e, ERR_UNAVAILABLE,
		"the Ceph cluster has no pool \"nothing\"");
	str_set(&lab->conf.vm_pool, xstrdup(VM_POOL));
	str_set(&lab->conf.ceph_conf, xstrdup("/nonexistent/ceph.conf"));
	disk_lab_open(lab);
	must_fail(disk_stat(lab->store, VM1, 0, &size, &e), &e, ERR_UNAVAILABLE,
		"/nonexistent/ceph.conf: No such file or directory");
	str_set(&lab->conf.ceph_conf, xstrdup(test_ceph_path(ceph)));
	disk_lab_open(lab);
}

static void space_is_unknown(void **state)
{
	struct disk_lab *lab = *state;
	int64_t total = 0, available = 0;
	struct err e = { 0 };

	must(disk_space(lab->store, &total, &available, &e), &e);
	assert_int_equal(total, -1);
	assert_int_equal(available, -1);
}

/* ---------------------------------------------------------------- keys */

static void source_has_the_key(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_spec spec = { VM1, 1, 1 };
	CLEANUP(disk_source_done) struct disk_source src = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };

	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	uuid_of_name("local", uuid);
	assert_string_equal(src.path, VM_POOL "/" VM1 ".1");
	assert_string_equal(src.format, "raw");
	assert_int_equal(src.mons.len, 1);
	assert_int_equal(strncmp(src.mons.v[0], "[::1]:", 6), 0);
	assert_string_equal(src.user, "libvirt");
	assert_string_equal(src.secret_uuid, uuid);
	CLEANUP_STR char *key = test_ceph_run(ceph, "ceph auth get-key client.libvirt");
	assert_string_equal(src.secret, key);
}

static void source_without_a_key(void **state)
{
	struct disk_lab *lab = *state;
	struct disk_spec spec = { VM1, 0, 1 };
	CLEANUP(disk_source_done) struct disk_source src = { 0 };
	struct err e = { 0 };

	must(disk_source_get(lab->store, &spec, &src, &e), &e);
	assert_null(src.user);
	assert_null(src.secret_uuid);
	assert_null(src.secret);
}

static void refused(struct disk_lab *lab, const char *words)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	int64_t start = test_now_msec();
	struct err e = { 0 };

	must_fail(disk_list(lab->store, &vms, &e), &e, ERR_UNAVAILABLE, words);
	assert_true(test_now_msec() - start < SHORT_MSEC);
}

static void wrong_key(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *file = xasprintf("%s/keyring", lab->dir);
	CLEANUP_STR char *lines = xasprintf("keyring = %s\n" SHORT_LIMITS, file);
	const char *path = test_ceph_path_with(ceph, lines);
	CLEANUP_STR char *right = NULL, *text = NULL;

	/* Another one's. */
	right = test_ceph_run(ceph, "ceph auth get-key client.libvirt");
	CLEANUP_STR char *other = test_ceph_run(ceph, "ceph auth get-key client.admin");
	text = xasprintf("[client.libvirt]\nkey = %s\n", other);
	test_write_file(file, text);
	open_as(lab, path, "libvirt");
	refused(lab, "does not take the key of user client.libvirt");
	open_as(lab, path, "nobody");
	refused(lab, "no key of user client.nobody");
	/* Somebody puts the right one there: no restart is needed. */
	open_as(lab, path, "libvirt");
	refused(lab, "does not take the key");
	str_set(&text, xasprintf("[client.libvirt]\nkey = %s\n", right));
	test_write_file(file, text);
	disk_lab_list_is(lab, "");
}

/* A host needs to read images only. */
static void user_of_a_host(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	struct image_sink *k = NULL;
	struct err e = { 0 };

	open_as(lab, test_ceph_path(ceph), "vmhost");
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	must(disk_snapshot_make(lab->store, VM1, 0, "a", &e), &e);
	must(disk_grow(lab->store, VM1, 0, 3, &e), &e);
	must(disk_snapshot_restore(lab->store, VM1, 0, "a", &e), &e);
	must(disk_flatten(lab->store, VM1, 0, &e), &e);
	disk_lab_must_ensure(lab, VM1, 1, 2, &im);
	disk_lab_must_remove(lab, VM1);
	must_fail(image_sink_open(lab->store, VM2, GIB, &k, &e), &e, ERR_UNAVAILABLE,
		"does not let user client.vmhost do that");
	must_fail(image_remove(lab->store, IMAGE, &e), &e, ERR_UNAVAILABLE,
		"does not let user client.vmhost do that");
	open_as(lab, test_ceph_path(ceph), user);
}

static bool knows_space(void *aux)
{
	struct disk_lab *lab = aux;
	int64_t total = -1, available = -1;
	struct err e = { 0 };

	must(disk_space(lab->store, &total, &available, &e), &e);
	return total > 0 && available > 0 && available <= total && total <= 8;
}

static void space_is_known(void **state)
{
	if (!wait_until(knows_space, *state, RUN_MSEC))
		fail_msg("the space is not known");
}

/* ---------------------------------------------------------------- */

int main(int argc, char **argv)
{
	const struct CMUnitTest only_ceph[] = {
		DISK_CASE(nothing_is_left),
		DISK_CASE(features_are_as_chosen),
		DISK_CASE(image_missing),
		DISK_CASE(open_disks_stay),
		DISK_CASE(foreign_images_stay),
		DISK_CASE(half_made_disks),
		DISK_CASE(rename_cut_off_early),
		DISK_CASE(rename_cut_off_late),
		DISK_CASE(removal_cut_off),
		DISK_CASE(killed_at_any_moment),
		DISK_CASE(killed_image_is_taken_over),
		DISK_CASE(snapshots_outlive_the_image),
		DISK_CASE(stopped_cluster),
		DISK_CASE(stopped_in_the_middle),
		DISK_CASE(not_there_at_first),
		DISK_CASE(no_such_pool),
		DISK_CASE(space_is_unknown),
		DISK_CASE(source_without_a_key),
	};
	const struct CMUnitTest with_keys[] = {
		/* First: nothing was ever removed from its pools. */
		DISK_CASE(full_pool),
		DISK_CASE(nothing_is_left),
		DISK_CASE(source_has_the_key),
		DISK_CASE(wrong_key),
		DISK_CASE(user_of_a_host),
		DISK_CASE(space_is_known),
	};
	const struct test_ceph_conf real = { true, true, true };
	int failed;

	if (argc == 4 && str_eq(argv[1], CHURN))
		return churn(argv[2], argv[3]);
	test_need_command("qemu-io");
	ceph = test_ceph_start(NULL);
	disk_cases_set(&kind);
	failed = _cmocka_run_group_tests(
		"Ceph, as every store", disk_cases, disk_cases_len, NULL, NULL);
	failed += cmocka_run_group_tests_name("Ceph", only_ceph, NULL, NULL);
	test_ceph_free(ceph);
	ceph = test_ceph_start(&real);
	failed +=
		cmocka_run_group_tests_name("BlueStore and keys", with_keys, NULL, NULL);
	return failed != 0;
}
