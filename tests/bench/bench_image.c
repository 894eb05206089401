/*
 * How fast an upload becomes an image: MiB of its content a second, and that over
 * `qemu-img convert` of the same file into the same store in the same run (with the sync that
 * makes it last). One line per figure. BENCH_SCALE=short: a small file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/disk/disk.h"
#include "tests/lib/test_ceph.h"
#include "tests/lib/test_util.h"
#include "ucloud-image/import.h"

#define MIB	   (INT64_C(1) << 20)
#define NOBODY	   65534
#define REALM	   "users"
#define LIMIT_MSEC 600000

static struct bench {
	char *base, *upload, *store_dir;
	int64_t mib;
	int rounds;
	unsigned n_threads;
} b;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench_image: %s: %s\n", what, why);
	exit(1);
}

static void shell(const char *script)
{
	CLEANUP_STR char *out = NULL;
	const char *argv[] = { "sh", "-ec", script, NULL };

	if (test_run(argv, LIMIT_MSEC, &out) != 0)
		die(script, out ? out : "");
}

/* A quarter noise, a quarter that can be compressed, a quarter zeros that were written, and a
 * quarter never written. */
static void make_content(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t *block = xcalloc(1, (size_t)MIB), x = 88172645463325252u;

	if (fd < 0 || ftruncate(fd, b.mib * MIB) < 0)
		die(path, "cannot be made");
	for (int64_t i = 0; i < b.mib; i++) {
		int64_t kind = i / 4 % 4;

		if (kind == 3)
			continue;
		for (size_t k = 0; k < (size_t)MIB / 8; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			block[k] = kind == 2 ? 0 : kind == 1 ? x & 0xff : x;
		}
		if (pwrite(fd, block, (size_t)MIB, i * MIB) != MIB)
			die(path, "cannot be written");
	}
	free(block);
	if (fsync(fd) < 0)
		die(path, "cannot be written");
	close(fd);
}

/* ---------------------------------------------------------------- the two ways */

struct cost {
	double sec, cpu_sec;
};

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

/* Of us and of all children that have ended. */
static struct cost now(void)
{
	struct cost c = { .sec = (double)clock_mono_usec() / 1e6 };
	static const int whose[] = { RUSAGE_SELF, RUSAGE_CHILDREN };

	for (size_t i = 0; i < ARRAY_LEN(whose); i++) {
		struct rusage r;

		if (getrusage(whose[i], &r) == 0)
			c.cpu_sec += seconds(r.ru_utime) + seconds(r.ru_stime);
	}
	return c;
}

static struct cost since(struct cost from)
{
	struct cost c = now();

	return (struct cost){ c.sec - from.sec, c.cpu_sec - from.cpu_sec };
}

static void take_best(struct cost *best, struct cost c)
{
	best->sec = c.sec < best->sec ? c.sec : best->sec;
	best->cpu_sec = c.cpu_sec < best->cpu_sec ? c.cpu_sec : best->cpu_sec;
}

static struct cost import_cost(struct disk_store *store)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	char uuid[UUID_STR_SIZE], owner[] = "alice", realm[] = REALM, name[] = "disk";
	CLEANUP_STR char *identity = NULL;
	const struct import_conf conf = { .base_dir = b.base,
		.default_realm = REALM,
		.reader = { .uid = geteuid() == 0 ? NOBODY : 0,
			.gid = geteuid() == 0 ? NOBODY : 0,
			.limit_mem = UINT64_C(1) << 30,
			.limit_sec = 600 },
		.n_threads = b.n_threads };
	struct file f = { .owner = owner, .owner_realm = realm, .filename = name };
	const struct import im = { .conf = &conf,
		.store = store,
		.store_name = "bench",
		.image_uuid = uuid,
		.file = &f };
	struct err e = { 0 };
	struct cost cost;
	struct stat st;

	if (stat(b.upload, &st) < 0)
		die(b.upload, "is gone");
	f.identity = identity = file_identity(&st);
	uuid_new(uuid);
	cost = now();
	if (import_run(&im, &made, &e) < 0)
		die("import", e.msg);
	cost = since(cost);
	if (image_remove(store, uuid, &e) < 0)
		die("remove", e.msg);
	return cost;
}

static struct cost script_cost(const char *script, const char *undo)
{
	struct cost cost = now();

	shell(script);
	cost = since(cost);
	shell(undo);
	return cost;
}

/* The best of some rounds of each, in turns. */
static void compare(
	const char *what, struct disk_store *store, const char *script, const char *undo)
{
	struct cost ours = { 1e9, 1e9 }, theirs = ours;

	for (int i = 0; i < b.rounds; i++) {
		take_best(&theirs, script_cost(script, undo));
		take_best(&ours, import_cost(store));
	}
	printf("import of %s: %.0f MiB/s, %.2f x qemu-img convert (%.0f MiB/s); CPU %.2f "
	       "s, "
	       "%.2f s\n",
		what, (double)b.mib / ours.sec, theirs.sec / ours.sec,
		(double)b.mib / theirs.sec, ours.cpu_sec, theirs.cpu_sec);
	fflush(stdout);
}

static void compare_formats(const char *where, struct disk_store *store,
	const char *target, const char *sync, const char *undo)
{
	static const struct {
		const char *name, *format, *options;
	} kinds[] = {
		{ "raw", "raw", "-O raw" },
		{ "qcow2", "qcow2", "-O qcow2" },
		{ "compressed qcow2", "qcow2", "-c -O qcow2" },
	};
	CLEANUP_STR char *content = test_path("content");

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		CLEANUP_STR char *make = xasprintf("qemu-img convert -f raw %s %s %s",
			kinds[i].options, content, b.upload);
		CLEANUP_STR char *convert =
			xasprintf("qemu-img convert -f %s -O raw %s %s%s",
				kinds[i].format, b.upload, target, sync);
		CLEANUP_STR char *what = xasprintf("%s into %s", kinds[i].name, where);

		shell(make);
		compare(what, store, convert, undo);
	}
}

/* ---------------------------------------------------------------- the stores */

static struct disk_store *open_store(const struct image_store *conf)
{
	struct disk_store *store = NULL;
	struct err e = { 0 };

	if (disk_store_open(conf, &store, &e) < 0)
		die("store", e.msg);
	return store;
}

static void bench_directory(void)
{
	char name[] = "bench";
	const struct image_store conf = {
		.name = name, .type = STORE_FILESYSTEM, .path = b.store_dir
	};
	struct disk_store *store = open_store(&conf);
	CLEANUP_STR char *target = xasprintf("%s/converted", b.store_dir);
	CLEANUP_STR char *sync = xasprintf(" && sync %s", target);
	CLEANUP_STR char *undo = xasprintf("rm %s", target);

	compare_formats("a directory", store, target, sync, undo);
	disk_store_close(store);
}

static void bench_ceph(void)
{
	struct test_ceph *ceph = test_ceph_start(NULL);
	CLEANUP(image_store_done)
	struct image_store conf = { .name = xstrdup("bench"),
		.type = STORE_CEPH,
		.ceph_conf = xstrdup(test_ceph_path(ceph)),
		.ceph_user = xstrdup("admin") };
	CLEANUP_STR char *target =
		xasprintf("rbd:images/converted:conf=%s:id=admin", test_ceph_path(ceph));
	CLEANUP_STR char *undo =
		xasprintf("rbd -c %s rm -p images converted > /dev/null 2>&1",
			test_ceph_path(ceph));
	struct disk_store *store;

	image_store_set_defaults(&conf);
	store = open_store(&conf);
	compare_formats("Ceph", store, target, "", undo);
	disk_store_close(store);
	test_ceph_free(ceph);
}

int main(void)
{
	const char *scale = getenv("BENCH_SCALE"), *threads = getenv("BENCH_THREADS");
	bool is_short = scale && strcmp(scale, "short") == 0;
	CLEANUP_STR char *content = test_path("content");
	CLEANUP_STR char *alice = test_path("up/alice");

	test_need_command("qemu-nbd");
	b.base = test_path("up");
	b.upload = test_path("up/alice/disk");
	b.store_dir = test_path("store");
	b.mib = is_short ? 64 : 1024;
	b.rounds = is_short ? 2 : 6;
	b.n_threads = threads ? (unsigned)threads[0] - '0' : 4;
	test_mkdir(b.base);
	test_mkdir(alice);
	test_mkdir(b.store_dir);
	make_content(content);
	bench_directory();
	if (getenv("BENCH_NO_CEPH"))
		;
	else if (test_ceph_lacks())
		printf("import into Ceph: not measured: %s\n", test_ceph_lacks());
	else
		bench_ceph();
	free(b.base);
	free(b.upload);
	free(b.store_dir);
	return 0;
}
