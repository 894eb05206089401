/*
 * Ceph as image store while something dies: calls that were cut off, clients that are killed,
 * a cluster that stops.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/ceph_world.h"
#include "tests/lib/test_util.h"

/* ---------------------------------------------------------------- cut off */

#define UNFINISHED VM1 ".tmp-0123456789ab"

/* What is under way is no disk, and goes with the VM. */
static void half_made_disks(void **state)
{
	struct disk_lab *lab = *state;

	free(test_ceph_run(cw_ceph, "rbd create -s 1G " CW_VM_POOL "/" UNFINISHED));
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	disk_lab_list_is(lab, VM1);
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_must_remove(lab, VM1);
	disk_lab_list_is(lab, "");
	cw_pool_is_empty(CW_VM_POOL);
}

static void copy_object(struct disk_lab *lab, const char *from, const char *to)
{
	CLEANUP_STR char *file = xasprintf("%s/object", lab->dir);

	free(test_ceph_run(cw_ceph, "rados -p " CW_VM_POOL " get %s %s", from, file));
	free(test_ceph_run(cw_ceph, "rados -p " CW_VM_POOL " put %s %s", to, file));
}

/* The new name leads to it already; the directory knows the old one. */
static void rename_cut_off_early(void **state)
{
	struct disk_lab *lab = *state;

	free(test_ceph_run(cw_ceph, "rbd create -s 2G " CW_VM_POOL "/" UNFINISHED));
	copy_object(lab, "rbd_id." UNFINISHED, "rbd_id." VM1);
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
	disk_lab_io(lab, VM1, 0, "write -P 1 0 64k");
	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	disk_lab_io(lab, VM1, 0, "read -P 1 0 64k");
	disk_lab_list_is(lab, VM1);
	disk_lab_must_remove(lab, VM1);
	assert_int_equal(disk_lab_size(lab, VM1, 0), -1);
	cw_pool_is_empty(CW_VM_POOL);
}

/* The directory knows the new name; the old one leads to it still. */
static void rename_cut_off_late(void **state)
{
	struct disk_lab *lab = *state;

	disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
	free(test_ceph_run(cw_ceph,
		"rbd image-meta set " CW_VM_POOL "/" VM1 " ucloud.made_as " UNFINISHED));
	copy_object(lab, "rbd_id." VM1, "rbd_id." UNFINISHED);
	disk_lab_list_is(lab, VM1);
	disk_lab_must_remove(lab, VM1);
	cw_pool_is_empty(CW_VM_POOL);
}

/* The header is gone, its name is not. */
static void removal_cut_off(void **state)
{
	struct disk_lab *lab = *state;

	for (int turn = 0; turn < 2; turn++) {
		disk_lab_must_ensure(lab, VM1, 0, 2, NULL);
		CLEANUP_STR char *out =
			test_ceph_run(cw_ceph, "rados -p " CW_VM_POOL " ls");
		CLEANUP(strv_done) struct strv lines = { 0 };

		strv_split(&lines, out, '\n');
		for (size_t i = 0; i < lines.len; i++)
			if (str_has_prefix(lines.v[i], "rbd_header."))
				free(test_ceph_run(cw_ceph,
					"rados -p " CW_VM_POOL " rm %s", lines.v[i]));
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

	cw_conf(&conf, path);
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
		cw_ceph, "ceph tell osd.0 config set osd_client_watch_timeout %d", sec));
}

/* Whatever a killed process leaves, the next one makes the disk, and removes it all. */
static void killed_at_any_moment(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	CLEANUP(strv_done) struct strv images = { 0 };
	struct err e = { 0 };

	free(test_ceph_run(
		cw_ceph, "ceph tell osd.0 config set osd_client_watch_timeout 2"));
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
		cw_ceph, "ceph tell osd.0 config set osd_client_watch_timeout 30"));
	cw_must(image_remove(lab->store, IMAGE, &e), &e);
	cw_must(image_list(lab->store, &images, &e), &e);
	assert_int_equal(images.len, 0);
	cw_pool_is_empty(CW_POOL);
	cw_pool_is_empty(CW_VM_POOL);
}

/* Its name is not there any more when the next try begins, and it does not stay. */
static void killed_image_is_taken_over(void **state)
{
	struct disk_lab *lab = *state;
	struct cw_held *h = xcalloc(1, sizeof(*h));
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = NULL;
	struct err e = { 0 };

	free(test_ceph_run(
		cw_ceph, "rbd create -s 1G " CW_POOL "/" IMAGE ".tmp-0123456789ab"));
	h->conn = ceph_conn_new(&lab->conf);
	cw_must(ceph_io_take(h->conn, &h->io, &e), &e);
	cw_must(disk_rbd_open_rw(
			&h->io, h->io.images, IMAGE ".tmp-0123456789ab", &h->im, &e),
		&e);
	cw_must(image_sink_open(lab->store, IMAGE, GIB, &k, &e), &e);
	cw_must_fail(disk_rbd_rename(
			     &h->io, h->io.images, IMAGE ".tmp-0123456789ab", IMAGE, &e),
		&e, ERR_NOT_FOUND, "");
	cw_release(lab, h);
	cw_must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	cw_pool_is(CW_POOL, IMAGE " ");
}

/* ---------------------------------------------------------------- stopped */

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

	cw_open_as(lab, test_ceph_path_with(cw_ceph, CW_SHORT_LIMITS), CW_USER);
	disk_lab_must_ensure(lab, VM1, 0, 2, &im);
	test_ceph_freeze(cw_ceph);
	start = test_now_msec();
	rc_stat = disk_stat(lab->store, VM1, 0, &size, &e_stat);
	rc_source = disk_source_get(lab->store, &spec, &src, &e_source);
	rc_ensure = disk_lab_ensure(lab, VM2, 0, 2, &im, &e);
	start = test_now_msec() - start;
	test_ceph_thaw(cw_ceph);
	cw_must_fail(rc_stat, &e_stat, ERR_UNAVAILABLE, "did not answer in time");
	cw_must_fail(rc_source, &e_source, ERR_UNAVAILABLE, "did not answer in time");
	cw_must_fail(rc_ensure, &e, ERR_UNAVAILABLE, "did not answer in time");
	assert_true(start < CW_SHORT_MSEC);
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

	cw_open_as(lab, test_ceph_path_with(cw_ceph, CW_SHORT_LIMITS), CW_USER);
	forget_the_dead_after(5);
	assert_int_equal(pthread_create(&b.thread, NULL, make_and_remove, &b), 0);
	for (int turn = 0; turn < 4 && is_back && !is_hung; turn++) {
		const struct timespec moment = { .tv_nsec = turn * 23 * 1000 * 1000 };

		nanosleep(&moment, NULL);
		b.n_bad = 0;
		test_ceph_freeze(cw_ceph);
		is_hung = !wait_until(has_failed, &b, RUN_MSEC);
		test_ceph_thaw(cw_ceph);
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
	assert_true(b.longest_msec < CW_SHORT_MSEC);
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

	test_ceph_freeze(cw_ceph);
	start = test_now_msec();
	cw_open_as(lab, test_ceph_path_with(cw_ceph, CW_SHORT_LIMITS), CW_USER);
	rc = disk_list(lab->store, &vms, &e);
	took = test_now_msec() - start;
	test_ceph_thaw(cw_ceph);
	cw_must_fail(rc, &e, ERR_UNAVAILABLE, "does not answer");
	assert_true(took < CW_SHORT_MSEC);
	disk_lab_list_is(lab, "");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		DISK_CASE(half_made_disks),
		DISK_CASE(rename_cut_off_early),
		DISK_CASE(rename_cut_off_late),
		DISK_CASE(removal_cut_off),
		DISK_CASE(killed_at_any_moment),
		DISK_CASE(killed_image_is_taken_over),
		DISK_CASE(stopped_cluster),
		DISK_CASE(stopped_in_the_middle),
		DISK_CASE(not_there_at_first),
	};

	if (argc == 4 && str_eq(argv[1], CHURN))
		return churn(argv[2], argv[3]);
	test_need_command("qemu-io");
	cw_ceph = test_ceph_start(NULL);
	disk_cases_set(&cw_kind);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
