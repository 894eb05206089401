#include "common/disk/qemu_img.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "tests/lib/test_util.h"

#define MIB	 (INT64_C(1) << 20)
#define RUN_MSEC 30000

#define DISK  "/s/vms/u/.0.qcow2.tmp"
#define IMAGE "/s/images/debian.qcow2"

/* What qemu-img 7.2 says, and what we make of it: never with a path in it. */
static const struct {
	int status;
	const char *text;
	enum err_kind kind;
	const char *msg;
} cases[] = {
	{ 1,
		"qemu-img: " DISK
		": Could not write refcount table: No space left on device\n",
		ERR_NO_SPACE,
		"qemu-img: Could not write refcount table: No space left on device" },
	{ 1, "qemu-img: " DISK ": Could not create '" DISK "': Disk quota exceeded\n",
		ERR_NO_SPACE,
		"qemu-img: Could not create 'the disk': Disk quota exceeded" },
	{ 1,
		"qemu-img: " DISK
		": Active L1 table offset invalid\nCould not open backing image.\n",
		ERR_INVALID, "qemu-img: Active L1 table offset invalid" },
	{ 1,
		"qemu-img: " DISK ": Could not open '" IMAGE "': Permission denied\n"
		"Could not open backing image.\n",
		ERR_INVALID, "qemu-img: Could not open 'the image': Permission denied" },
	{ 1,
		"qemu-img: " DISK ": Failed to get shared \"write\" lock\n"
		"Is another process using the image [" IMAGE "]?\n"
		"Could not open backing image.\n",
		ERR_UNAVAILABLE, "qemu-img: Failed to get shared \"write\" lock" },
	{ 1, "qemu-img: " DISK ": Could not create '" DISK "': Permission denied\n",
		ERR_IO, "qemu-img: Could not create 'the disk': Permission denied" },
	{ 1,
		"qemu-img: Could not open '" IMAGE "': Could not open '" IMAGE "': "
		"No such file or directory\n",
		ERR_NOT_FOUND,
		"qemu-img: Could not open 'the image': Could not open 'the image': No "
		"such file or directory" },
	{ 1, "qemu-img: Could not open '" IMAGE "': Image is not in qcow2 format\n",
		ERR_INVALID,
		"qemu-img: Could not open 'the image': Image is not in qcow2 format" },
	{ 1,
		"qemu-img: Could not open '" IMAGE "': error connecting: Connection "
		"timed out\n",
		ERR_UNAVAILABLE,
		"qemu-img: Could not open 'the image': error connecting: Connection "
		"timed out" },
	{ 1, "qemu-img: error while writing at byte 0: No space left on device\n",
		ERR_NO_SPACE,
		"qemu-img: error while writing at byte 0: No space left on device" },
	{ 1, "", ERR_IO, "qemu-img: no reason given" },
	{ 137, "", ERR_IO, "qemu-img was ended by signal 9" },
};

static void reasons(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err e = { 0 };

		assert_int_equal(
			qemu_img_error(cases[i].status, cases[i].text, DISK, IMAGE, &e),
			-1);
		assert_string_equal(e.msg, cases[i].msg);
		assert_int_equal(e.kind, cases[i].kind);
	}
}

static void progress_in_pieces(void **state)
{
	static const char text[] = "    (0.00/100%)\r    (7.50/100%)\r    (42.99/100%)\r"
				   "    (100.00/100%)\r    \n(x/100%)(1234/100%)";
	static const int seen[] = { 7, 42, 100 };
	(void)state;

	for (size_t step = 1; step <= 5; step++) {
		struct qemu_img_progress p = { 0 };
		size_t n = 0;

		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t size = sizeof(text) - 1 - at;

			if (!qemu_img_progress_add(
				    &p, text + at, size < step ? size : step))
				continue;
			assert_true(n < ARRAY_LEN(seen));
			assert_int_equal(p.percent, seen[n++]);
		}
		assert_int_equal(n, ARRAY_LEN(seen));
	}
}

static void info_is_read(void **state)
{
	static const char text[] =
		"{\"virtual-size\": 512, \"backing-filename\": \"x\", \"snapshots\": ["
		"{\"id\": \"7\", \"name\": \"one\"}, {\"id\": \"8\", \"name\": \"7\"}]}";
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(qemu_img_info_parse(text, sizeof(text) - 1, &info, &e), 0);
	assert_int_equal(info.virtual_bytes, 512);
	assert_true(info.has_backing);
	assert_int_equal(info.n_snapshots, 2);
	assert_string_equal(info.snapshots[1].id, "8");
	assert_string_equal(info.snapshots[1].name, "7");
	qemu_img_info_done(&info);
	assert_int_equal(qemu_img_info_parse("{}", 2, &info, &e), -1);
	assert_int_equal(qemu_img_info_parse("[", 1, &info, &e), -1);
	assert_int_equal(info.n_snapshots, 0);
}

static void commas_are_doubled(void **state)
{
	CLEANUP_STR char *escaped = qemu_img_escape("/a,b,,c");
	(void)state;

	assert_string_equal(escaped, "/a,,b,,,,c");
}

/* ------------------------------------------------------------ the program itself */

static void must(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
}

/* A qcow2 disk, on a raw one or on nothing. */
static void create(const char *path, const char *size, const char *backing)
{
	const char *const plain[] = { "qemu-img", "create", "-q", "-f", "qcow2", path,
		size, NULL };
	const char *const overlay[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-b",
		backing, "-F", "raw", path, size, NULL };
	CLEANUP_STR char *out = NULL;

	if (test_run(backing ? overlay : plain, RUN_MSEC, &out) != 0)
		fail_msg("%s", out);
}

static void qemu_io(const char *path, const char *format, const char *command)
{
	const char *const argv[] = { "qemu-io", "-f", format, "-c", command, path, NULL };
	CLEANUP_STR char *out = NULL;

	if (test_run(argv, RUN_MSEC, &out) != 0 || strstr(out, "verification failed"))
		fail_msg("%s: %s", command, out);
}

/* Disks below a directory whose name is not easy to pass on. */
static char *lab(const char *name)
{
	CLEANUP_STR char *dir = test_path("a,b c");

	test_mkdir(dir);
	return xasprintf("%s/%s", dir, name);
}

static void count_progress(void *aux, int percent)
{
	int *last = aux;

	assert_true(percent > *last && percent <= 100);
	*last = percent;
}

static void converts_and_flattens(void **state)
{
	CLEANUP_STR char *image = lab("i.qcow2"), *copy = lab("c.raw");
	CLEANUP_STR char *overlay = lab("o.qcow2");
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	int last = 0;
	struct qemu_img_convert c = { .source = image,
		.source_format = "qcow2",
		.target = copy,
		.target_format = "raw",
		.limit_msec = RUN_MSEC,
		.limit_file = 16 * MIB,
		.on_progress = count_progress,
		.aux = &last };
	struct err e = { 0 };
	(void)state;

	create(image, "16M", NULL);
	qemu_io(image, "qcow2", "write -P 7 1M 9M");
	must(qemu_img_convert(&c, &e), &e);
	assert_int_equal(last, 100);
	qemu_io(copy, "raw", "read -P 7 1M 9M");
	c.source = copy;
	c.source_format = "raw";
	c.target = overlay;
	c.target_format = "qcow2";
	c.limit_file = MIB;
	last = 0;
	assert_int_equal(qemu_img_convert(&c, &e), -1);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	assert_null(strstr(e.msg, "a,b"));
	create(overlay, "32M", copy);
	must(qemu_img_info(overlay, &info, &e), &e);
	assert_true(info.has_backing);
	must(qemu_img_flatten(overlay, RUN_MSEC, &e), &e);
	qemu_img_info_done(&info);
	must(qemu_img_info(overlay, &info, &e), &e);
	assert_false(info.has_backing);
	assert_int_equal(info.virtual_bytes, 32 * MIB);
	qemu_io(overlay, "qcow2", "read -P 7 1M 9M");
	/* Into what is there. */
	c.target = image;
	c.is_target_there = true;
	c.limit_file = 0;
	last = 0;
	must(qemu_img_convert(&c, &e), &e);
	c.source = "/nonexistent";
	assert_int_equal(qemu_img_convert(&c, &e), -1);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
}

static void snapshots_and_sizes(void **state)
{
	CLEANUP_STR char *disk = lab("s.qcow2");
	CLEANUP(qemu_img_info_done) struct qemu_img_info info = { 0 };
	struct err e = { 0 };
	(void)state;

	create(disk, "16M", NULL);
	qemu_io(disk, "qcow2", "write -P 1 0 1M");
	must(qemu_img_snapshot(disk, QEMU_IMG_SNAPSHOT_MAKE, "one", &e), &e);
	qemu_io(disk, "qcow2", "write -P 2 0 1M");
	must(qemu_img_resize(disk, 32 * MIB, &e), &e);
	must(qemu_img_info(disk, &info, &e), &e);
	assert_int_equal(info.virtual_bytes, 32 * MIB);
	assert_int_equal(info.n_snapshots, 1);
	assert_string_equal(info.snapshots[0].name, "one");
	must(qemu_img_snapshot(disk, QEMU_IMG_SNAPSHOT_APPLY, info.snapshots[0].id, &e),
		&e);
	qemu_io(disk, "qcow2", "read -P 1 0 1M");
	must(qemu_img_snapshot(disk, QEMU_IMG_SNAPSHOT_REMOVE, "one", &e), &e);
	qemu_img_info_done(&info);
	must(qemu_img_info(disk, &info, &e), &e);
	assert_int_equal(info.virtual_bytes, 16 * MIB);
	assert_int_equal(info.n_snapshots, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons),
		cmocka_unit_test(progress_in_pieces),
		cmocka_unit_test(info_is_read),
		cmocka_unit_test(commas_are_doubled),
		cmocka_unit_test(converts_and_flattens),
		cmocka_unit_test(snapshots_and_sizes),
	};

	test_need_command("qemu-img");
	test_need_command("qemu-io");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
