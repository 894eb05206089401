/*
 * A directory as image store when something goes wrong: somebody else holds a lock, a process
 * is killed at any moment, the file system is full.
 */
#include "tests/lib/disk_kind_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/test_util.h"

/* Another process holds the lock of a VM's directory until it ends: the call waits for it. */
static void lock_is_waited_for(void **state)
{
	struct disk_lab *lab = *state;
	CLEANUP_STR char *dir = xasprintf("%s/vms/" VM1, lab->dir);
	int64_t start = test_now_msec();
	int ready[2];
	char c;
	pid_t pid;

	test_mkdir(dir);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open(dir, O_RDONLY | O_DIRECTORY);

		if (fd < 0 || flock(fd, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(100000);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	disk_lab_must_ensure(lab, VM1, 0, 1, NULL);
	assert_true(test_now_msec() - start >= 100);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(test_wait(pid, RUN_MSEC), 0);
}

/* ---------------------------------------------------------------- killed */

static void child_fails(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e->msg);
	_exit(1);
}

/* Does one thing until it is killed; the first error ends it. */
struct work {
	int (*turn)(struct disk_lab *lab, const struct image *im, struct err *e);
	const struct image *im;
};

static void work(struct disk_lab *lab, const struct work *w, int started)
{
	struct err e = { 0 };

	if (write(started, "x", 1) != 1)
		_exit(1);
	for (;;)
		if (w->turn(lab, w->im, &e) != 0)
			child_fails("before it was killed", &e);
}

/* Kills it so long after it began. */
static void kill_at(struct disk_lab *lab, const struct work *w, int64_t nsec)
{
	const struct timespec moment = { .tv_nsec = (long)nsec };
	int started[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(started), 0);
	pid = fork();
	if (pid == 0)
		work(lab, w, started[1]);
	assert_int_equal(read(started[0], &c, 1), 1);
	nanosleep(&moment, NULL);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(test_wait(pid, RUN_MSEC), 128 + SIGKILL);
	close(started[0]);
	close(started[1]);
}

static int make_and_remove(struct disk_lab *lab, const struct image *im, struct err *e)
{
	int rc = disk_lab_ensure(lab, VM1, 0, 2, im, e);

	return rc == 0 ? disk_remove_all(lab->store, VM1, e) : rc;
}

/* Whatever a killed process leaves, the next one makes or removes the disk. */
static void killed_while_disks_are_made(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_kind_file_good(lab);
	const struct work w = { make_and_remove, &im };
	CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, 0);

	for (int turn = 0; turn < 20; turn++) {
		kill_at(lab, &w, turn * 1700 * 1000);
		if (turn % 2 == 0) {
			disk_lab_must_ensure(lab, VM1, 0, 2, &im);
			disk_lab_run("qemu-img check -q -f qcow2 %s", disk);
			assert_int_equal(disk_lab_size(lab, VM1, 0), 2 * GIB);
		}
		disk_lab_must_remove(lab, VM1);
		disk_lab_list_is(lab, "");
	}
}

/* All changes of a disk; what is in it in the end is what was in it at first. */
static int change(struct disk_lab *lab, const struct image *im, struct err *e)
{
	struct disk_store *s = lab->store;
	(void)im;

	if (disk_snapshot_make(s, VM1, 0, "a", e) != 0 ||
		disk_grow(s, VM1, 0, 3, e) != 0 ||
		disk_snapshot_make(s, VM1, 0, "b", e) != 0 ||
		disk_snapshot_restore(s, VM1, 0, "a", e) != 0 ||
		disk_snapshot_remove(s, VM1, 0, "a", e) != 0 ||
		disk_snapshot_remove(s, VM1, 0, "b", e) != 0)
		return -1;
	return disk_flatten(s, VM1, 0, e);
}

struct check {
	const char *disk;
	int status; /* of qemu-img check; 1: it cannot be opened */
};

static bool is_checked(void *aux)
{
	struct check *c = aux;
	const char *const argv[] = { "qemu-img", "check", "-q", "-f", "qcow2", c->disk,
		NULL };

	c->status = test_run(argv, RUN_MSEC, NULL);
	return c->status != 1;
}

/* Room that nothing uses may be left (status 3 of qemu-img check); nothing is damaged, and
 * everything can be done again. */
static void killed_while_disks_change(void **state)
{
	struct disk_lab *lab = *state;
	struct image im = disk_lab_image(lab, lab->store, IMAGE, GIB, 0x5a);
	const struct work w = { change, NULL };
	CLEANUP_STR char *disk = disk_kind_file_disk(lab, VM1, 0);
	struct check c = { .disk = disk };

	for (int turn = 0; turn < 12; turn++) {
		struct err e = { 0 };

		disk_lab_must_ensure(lab, VM1, 0, 2, &im);
		kill_at(lab, &w, (turn * 23 + 1) % 190 * 1000 * 1000);
		/* A qemu-img that ends with its parent may do so a little later. */
		assert_true(wait_until(is_checked, &c, RUN_MSEC));
		if (c.status != 0 && c.status != 3)
			fail_msg("turn %d: status %d", turn, c.status);
		disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
		disk_lab_io(lab, VM1, 0, "read -P 0 1M 1M");
		if (change(lab, NULL, &e) != 0)
			fail_msg("%s", e.msg);
		disk_lab_io(lab, VM1, 0, "read -P 0x5a 0 1M");
		disk_lab_must_remove(lab, VM1);
	}
}

static int write_image(struct disk_lab *lab, const struct image *im, struct err *e)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = NULL;
	char block[65536];
	int rc = image_sink_open(lab->store, IMAGE, MIB, &k, e);
	(void)im;

	memset(block, 'x', sizeof(block));
	for (int64_t at = 0; rc == 0 && at < MIB; at += (int64_t)sizeof(block))
		rc = image_sink_write(k, at, block, sizeof(block), e);
	if (rc == 0)
		rc = image_sink_commit(k, &made, e);
	image_sink_close(k);
	return rc == 0 ? image_remove(lab->store, IMAGE, e) : rc;
}

/* An image that is found is complete; what is not is gone with the next try. */
static void killed_while_images_are_written(void **state)
{
	struct disk_lab *lab = *state;
	const struct work w = { write_image, NULL };
	CLEANUP_STR char *file = disk_kind_file_image(lab, IMAGE ".raw");
	struct err e = { 0 };

	for (int turn = 0; turn < 30; turn++) {
		CLEANUP(image_made_done) struct image_made made = { 0 };
		CLEANUP(strv_done) struct strv uuids = { 0 };
		int rc;

		kill_at(lab, &w, turn * 700 * 1000);
		rc = image_find(lab->store, IMAGE, &made, &e);
		assert_true(rc == 0 || rc == 1);
		if (rc == 0) {
			assert_true(made.size_bytes >= MIB);
			disk_lab_run(
				"qemu-io -r -f raw -c read\t-P\t0x78\t0\t1M %s", file);
			assert_int_equal(image_remove(lab->store, IMAGE, &e), 0);
		}
		if (turn % 2 == 0)
			assert_int_equal(write_image(lab, NULL, &e), 0);
		else
			assert_int_equal(image_remove(lab->store, IMAGE, &e), 0);
		assert_int_equal(image_list(lab->store, &uuids, &e), 0);
		assert_int_equal(uuids.len, 0);
	}
}

/* ---------------------------------------------------------------- a full file system */

/* In a mount name space of our own, where lab->dir is a file system of this size. */
static void enter_small(struct disk_lab *lab, const char *options)
{
	if (unshare(CLONE_NEWNS) != 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("none", lab->dir, "tmpfs", 0, options) != 0)
		_exit(errno == EPERM || errno == EACCES ? 77 : 1);
	disk_lab_open(lab);
}

static void refuse_full(struct disk_lab *lab, int64_t size_gib)
{
	CLEANUP_STR char *vms = NULL;
	struct err e;

	if (disk_lab_ensure(lab, VM1, 0, size_gib, NULL, &e) == 0)
		child_fails("full", &(struct err){ .msg = "the disk was made" });
	if (e.kind != ERR_NO_SPACE || !strstr(e.msg, "store \"local\" is full"))
		child_fails("full", &e);
	vms = disk_lab_list(lab);
	if (vms[0] != '\0')
		child_fails("full", &(struct err){ .msg = "something was left behind" });
}

/* A copy and an image of which most does not fit. */
static void full_of_images(struct disk_lab *lab)
{
	struct image im = disk_lab_image(lab, lab->other, IMAGE, 8 * MIB, 1);
	struct disk_spec spec = {
		.vm_uuid = VM1, .size_gib = 1, .image = &im, .image_store = lab->other
	};
	CLEANUP_STR char *vms = NULL;
	struct image_sink *k = NULL;
	char *block = xcalloc(1, 4 * MIB);
	struct err e = { 0 };
	int rc;

	im.size_bytes = 0; /* nobody knows beforehand */
	if (disk_ensure(lab->store, &spec, &e) == 0 || e.kind != ERR_NO_SPACE)
		child_fails("copy", &e);
	vms = disk_lab_list(lab);
	if (vms[0] != '\0')
		child_fails("copy", &(struct err){ .msg = "something was left behind" });
	rc = image_sink_open(lab->store, IMAGE, 8 * MIB, &k, &e);
	if (rc != 0 || image_sink_write(k, 0, block, 4 * MIB, &e) == 0 ||
		e.kind != ERR_NO_SPACE)
		child_fails("image", &e);
	image_sink_close(k);
	free(block);
}

static void full_child(struct disk_lab *lab)
{
	CLEANUP_STR char *filler = xasprintf("%s/filler", lab->dir);
	struct err e;

	/* Room to begin with, but not for the tables of so large a disk. */
	enter_small(lab, "size=1200k");
	refuse_full(lab, 65536);
	test_write_file(filler, "");
	if (truncate(filler, 0) != 0)
		_exit(1);
	int fd = open(filler, O_WRONLY);
	if (fd < 0 || posix_fallocate(fd, 0, 1000 * 1024) != 0)
		_exit(1);
	close(fd);
	refuse_full(lab, 1);
	if (unlink(filler) != 0)
		_exit(1);
	if (disk_lab_ensure(lab, VM1, 0, 1, NULL, &e) != 0)
		child_fails("after room was made", &e);
	disk_lab_must_remove(lab, VM1);
	full_of_images(lab);
	_exit(0);
}

static void full_file_system(void **state)
{
	struct disk_lab *lab = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		full_child(lab);
	status = test_wait(pid, RUN_MSEC);
	if (status == 77) {
		print_message("skipped: no rights to mount a small file system\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* ---------------------------------------------------------------- */

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_CASE(lock_is_waited_for),
		DISK_CASE(killed_while_disks_are_made),
		DISK_CASE(killed_while_disks_change),
		DISK_CASE(killed_while_images_are_written),
		DISK_CASE(full_file_system),
	};

	test_need_command("qemu-img");
	test_need_command("qemu-io");
	disk_cases_set(&disk_kind_file);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
