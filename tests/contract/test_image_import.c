/*
 * From an uploaded file to an image in a directory, with a real qemu-nbd: every format, equal
 * byte for byte, and a set of hostile files, none of which may get through.
 */
#include "ucloud-image/import.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/sandbox.h"
#include "common/disk/disk_impl.h"
#include "tests/lib/test_util.h"

#define MIB	   (INT64_C(1) << 20)
#define GIB	   (INT64_C(1) << 30)
#define NOBODY	   65534
#define LIMIT_MSEC 60000
/* ThreadSanitizer needs room of its own between fork and exec, where the limit holds. */
#ifdef __SANITIZE_THREAD__
#define LIMIT_MEM 0
#else
#define LIMIT_MEM (UINT64_C(1) << 30)
#endif
#define REALM "users"

static struct world {
	char *base, *alice, *store_path;
	struct image_store conf;
	struct disk_store *store;
	struct import_conf import;
	int64_t max_gib;
	char content[512]; /* path of a raw file with a bit of everything */
} w;

static void run(const char *const *argv)
{
	CLEANUP_STR char *out = NULL;

	if (test_run(argv, LIMIT_MSEC, &out) != 0)
		fail_msg("%s %s: %s", argv[0], argv[1], out);
}

#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })
#define SH(...)                                                                          \
	do {                                                                             \
		CLEANUP_STR char *sh_ = xasprintf(__VA_ARGS__);                          \
		RUN("bash", "-ec", sh_);                                                 \
	} while (0)

/* Beginning, a hole, something in the middle, zeros, and something at the very end. */
static void make_content(const char *path)
{
	char *mib = xmalloc((size_t)MIB);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	for (int64_t i = 0; i < MIB; i++)
		mib[i] = (char)(i * 2654435761 >> 11);
	assert_int_equal(ftruncate(fd, 70 * MIB + 512), 0);
	assert_int_equal(pwrite(fd, mib, MIB, 0), MIB);
	assert_int_equal(pwrite(fd, mib, MIB, 33 * MIB + 4096), MIB);
	assert_int_equal(pwrite(fd, mib, 512, 70 * MIB), 512);
	memset(mib, 0, (size_t)MIB);
	assert_int_equal(pwrite(fd, mib, MIB, 50 * MIB), MIB);
	close(fd);
	free(mib);
}

static int start_world(void **state)
{
	struct err e = { 0 };

	(void)state;
	w.base = test_path("up");
	w.alice = test_path("up/alice");
	w.store_path = test_path("store");
	w.max_gib = 2048;
	test_mkdir(w.base);
	test_mkdir(w.alice);
	test_mkdir(w.store_path);
	snprintf(w.content, sizeof(w.content), "%s/content", test_dir());
	make_content(w.content);
	w.conf = (struct image_store){ .name = xstrdup("here"),
		.type = STORE_FILESYSTEM,
		.path = xstrdup(w.store_path) };
	if (disk_store_open(&w.conf, &w.store, &e) < 0)
		fail_msg("%s", e.msg);
	w.import = (struct import_conf){
		.base_dir = w.base,
		.default_realm = REALM,
		.reader = { .limit_mem = LIMIT_MEM, .limit_sec = 60 },
		.n_threads = 4,
	};
	if (geteuid() == 0)
		w.import.reader.uid = w.import.reader.gid = NOBODY;
	return 0;
}

static int stop_world(void **state)
{
	(void)state;
	disk_store_close(w.store);
	image_store_done(&w.conf);
	free(w.base);
	free(w.alice);
	free(w.store_path);
	return 0;
}

/* ---------------------------------------------------------------- importing */

static char *upload_path(const char *name)
{
	return xasprintf("%s/%s", w.alice, name);
}

/* What ucloud-filescan would say of it. */
static void scan(const char *name, struct file *f)
{
	CLEANUP_STR char *path = upload_path(name);
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	*f = (struct file){ .uuid = xcalloc(1, UUID_STR_SIZE),
		.owner = xstrdup("alice"),
		.owner_realm = xstrdup(REALM),
		.filename = xstrdup(name),
		.size_bytes = st.st_size,
		.sha512 = xstrdup("12ab"),
		.identity = file_identity(&st) };
	file_uuid(REALM, "alice", name, f->uuid);
}

static struct import import_of(const struct file *f, const char *uuid)
{
	return (struct import){ .conf = &w.import,
		.store = w.store,
		.store_name = "here",
		.max_image_gib = w.max_gib,
		.image_uuid = uuid,
		.file = f };
}

static void store_is_empty(void)
{
	CLEANUP(strv_done) struct strv left = { 0 };
	struct err e = { 0 };

	if (image_list(w.store, &left, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(left.len, 0);
}

/* What a test that failed has left. */
static int clear_store(void **state)
{
	CLEANUP(strv_done) struct strv left = { 0 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(image_list(w.store, &left, &e), 0);
	for (size_t i = 0; i < left.len; i++)
		assert_int_equal(image_remove(w.store, left.v[i], &e), 0);
	return 0;
}

/* Imports it and compares what is in the store with a raw file. */
static void import_and_compare(const char *name, const char *content)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	struct import im;
	struct stat st;

	uuid_new(uuid);
	scan(name, &f);
	im = import_of(&f, uuid);
	if (import_run(&im, &made, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	assert_int_equal(stat(content, &st), 0);
	assert_int_equal(made.virtual_bytes, st.st_size);
	assert_int_equal(made.format, IMAGE_RAW);
	assert_true(made.size_bytes <= 4 * MIB);
	CLEANUP_STR char *path = xasprintf("%s/images/%s", w.store_path, made.path);
	RUN("cmp", content, path);
	if (image_remove(w.store, uuid, &e) < 0)
		fail_msg("%s", e.msg);
	store_is_empty();
}

static void every_format(void **state)
{
	static const struct {
		const char *name, *options;
	} formats[] = {
		{ "raw", "-O raw" },
		{ "qcow2", "-O qcow2" },
		{ "qcow2 old", "-O qcow2 -o compat=0.10" },
		{ "qcow2 compressed", "-c -O qcow2" },
		{ "qcow2 zstd", "-c -O qcow2 -o compression_type=zstd" },
		{ "qcow2 small clusters", "-O qcow2 -o cluster_size=512" },
		{ "qcow2 subclusters", "-O qcow2 -o extended_l2=on" },
		{ "vmdk", "-O vmdk" },
		{ "vdi", "-O vdi" },
		{ "vhdx", "-O vhdx" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		CLEANUP_STR char *path = upload_path("disk.img");

		SH("qemu-img convert -f raw %s '%s' '%s' && chmod 600 '%s'",
			formats[i].options, w.content, path, path);
		print_message("%s\n", formats[i].name);
		import_and_compare("disk.img", w.content);
	}
}

/* ---------------------------------------------------------------- hostile ones */

/* How one is made, in a shell: $f is the upload, $c a proper raw file, $t a directory beside
 * them. patch OFFSET HEX writes bytes. */
#define PATCH                                                                            \
	"patch() { printf \"$(echo $2 | sed 's/../\\\\x&/g')\" | "                       \
	"dd of=\"$f\" bs=1 seek=$(($1)) conv=notrunc status=none; }; "
#define Q "qemu-img create -q -f qcow2 "

static const struct {
	const char *name, *script, *why;
} hostile[] = {
	{ "backing file", Q "-F raw -b /etc/shadow -u \"$f\" 1M",
		"names a backing file" },
	{ "backing JSON",
		Q
		"-u -F raw -b 'json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}' "
		"\"$f\" 1M",
		"names a backing file" },
	{ "data file", Q "-o data_file=\"$t/data\",data_file_raw=on \"$f\" 1M",
		"data in another file" },
	/* The name alone, without the feature's bit. */
	{ "data file, hidden",
		Q "-o data_file=\"$t/data\" \"$f\" 1M; patch 72 0000000000000000",
		"data" },
	{ "absurd size", Q "\"$f\" 1M; patch 24 7fffffffffffffff", "virtual size" },
	{ "size above the limit", Q "\"$f\" 1M; patch 24 0000100000000000",
		"too small for its size" },
	{ "cluster table behind the end", Q "\"$f\" 1G; patch 40 00000000f0000000",
		"behind the end" },
	{ "cluster table of 4 GiB", Q "\"$f\" 1G; patch 36 ffffffff", "table" },
	{ "truncated", Q "\"$f\" 1G; truncate -s 100 \"$f\"", "behind the end" },
	{ "truncated tables",
		"qemu-img convert -O qcow2 \"$c\" \"$f\"; truncate -s 300000 "
		"\"$f\"",
		"behind the end" },
	{ "snapshot bomb", Q "\"$f\" 1M; patch 60 ffffffff", "snapshots" },
	{ "snapshots nowhere",
		Q "\"$f\" 1M; patch 60 00000001; patch 64 7fffffffffff0000",
		"snapshots" },
	{ "encrypted",
		"qemu-img create -q --object secret,id=s,data=x -f qcow2 -o "
		"encrypt.format=aes,encrypt.key-secret=s \"$f\" 1M",
		"encrypted" },
	{ "corrupt", Q "\"$f\" 1M; patch 72 0000000000000002", "corrupt" },
	{ "unknown feature", Q "\"$f\" 1M; patch 72 0000000000010000", "unknown here" },
	{ "empty", ": > \"$f\"", "empty" },
	{ "no whole sectors", "head -c 1000 \"$c\" > \"$f\"", "512" },
	{ "vmdk with an extent elsewhere",
		"printf '# Disk DescriptorFile\\nversion=1\\nCID=fffffffe\\n"
		"parentCID=ffffffff\\ncreateType=\"monolithicFlat\"\\n"
		"RW 8 FLAT \"/etc/shadow\" 0\\n' > \"$f\"; truncate -s 512 \"$f\"",
		"only describes" },
	{ "vmdk, sparse, with an extent elsewhere",
		"qemu-img convert -O vmdk \"$c\" \"$f\"; sed -i 's#SPARSE \".*\"#FLAT "
		"\"/etc/shadow\" 0#' \"$f\"",
		"in another file" },
	{ "vmdk with a parent",
		"qemu-img convert -O vmdk \"$c\" \"$t/p.vmdk\"; qemu-img create -q -f "
		"vmdk "
		"-F vmdk -b \"$t/p.vmdk\" \"$f\"",
		"backing file" },
	{ "vmdk in pieces",
		"cd $t; qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat "
		"x.vmdk "
		"1M; cp x.vmdk \"$f\"; truncate -s 1024 \"$f\"",
		"only describes" },
	{ "vmdk of another type",
		"qemu-img convert -O vmdk -o subformat=streamOptimized \"$c\" \"$f\"",
		"streamOptimized" },
	{ "vhdx, truncated",
		"qemu-img convert -O vhdx \"$c\" \"$f\"; truncate -s 300000 "
		"\"$f\"",
		"behind the end" },
	{ "vdi of absurd size",
		"qemu-img create -q -f vdi \"$f\" 1M; patch 368 ffffffffffffff7f",
		"size is impossible" },
	{ "sparse and too large", "truncate -s 3T \"$f\"", "at most 2048 GiB" },
	{ "a FIFO", "mkfifo \"$f\"", "regular file" },
};

static void none_gets_through(void **state)
{
	CLEANUP_STR char *path = upload_path("bad.img");
	CLEANUP_STR char *aside = test_path("aside");
	int n_bad = 0;

	(void)state;
	test_mkdir(aside);
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
		CLEANUP(image_made_done) struct image_made made = { 0 };
		CLEANUP(file_done) struct file f = { 0 };
		char uuid[UUID_STR_SIZE];
		struct err e = { 0 };
		struct import im;

		unlink(path);
		SH("exec 2>&1; f='%s' c='%s' t='%s'; " PATCH "%s", path, w.content, aside,
			hostile[i].script);
		uuid_new(uuid);
		scan("bad.img", &f);
		im = import_of(&f, uuid);
		if (import_run(&im, &made, &e) == 0) {
			print_message("%s: ACCEPTED\n", hostile[i].name);
			n_bad++;
			clear_store(NULL);
		} else {
			print_message("%s: %s\n", hostile[i].name, e.msg);
			n_bad += !strstr(e.msg, hostile[i].why) ||
				 err_is_passing(e.kind) ||
				 strstr(e.msg, test_dir()) != NULL;
		}
		store_is_empty();
	}
	assert_int_equal(n_bad, 0);
}

/* A symbolic link, and one in the way. */
static void links_are_not_followed(void **state)
{
	CLEANUP_STR char *path = upload_path("disk.img");
	CLEANUP_STR char *sub = upload_path("sub");
	CLEANUP_STR char *below = upload_path("sub/disk.img");
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 }, g = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	struct import im;

	(void)state;
	uuid_new(uuid);
	unlink(path);
	test_mkdir(sub);
	SH("cp '%s' '%s'; cp '%s' '%s'", w.content, path, w.content, below);
	scan("disk.img", &f);
	scan("sub/disk.img", &g);
	SH("mv '%s' '%s.2'; ln -s disk.img.2 '%s'; mv '%s' '%s.2'; ln -s sub.2 '%s'",
		path, path, path, sub, sub, sub);
	im = import_of(&f, uuid);
	assert_true(import_run(&im, &made, &e) < 0);
	assert_non_null(strstr(e.msg, "symbolic link"));
	im = import_of(&g, uuid);
	assert_true(import_run(&im, &made, &e) < 0);
	assert_non_null(strstr(e.msg, "symbolic link"));
	SH("rm -r '%s' '%s'.2 '%s'.2 '%s'", path, path, sub, sub);
	assert_true(import_run(&im, &made, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_is_empty();
}

/* ---------------------------------------------------------------- changes meanwhile */

static struct disk_ops hooked_ops;
static const struct disk_ops *true_ops;
static const char *hook_path;

/* Imports while sink_open is another function: at that moment the file was opened and looked
 * at, and nothing of it was read yet. */
static int import_hooked(const char *name, struct err *e,
	int (*sink_open)(struct disk_store *s, const char *image_uuid,
		int64_t virtual_bytes, struct image_sink **out, struct err *e))
{
	CLEANUP_STR char *path = upload_path(name);
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	struct import im;
	int rc;

	uuid_new(uuid);
	scan(name, &f);
	im = import_of(&f, uuid);
	true_ops = w.store->ops;
	hooked_ops = *true_ops;
	hooked_ops.sink_open = sink_open;
	hook_path = path;
	w.store->ops = &hooked_ops;
	rc = import_run(&im, &made, e);
	w.store->ops = true_ops;
	return rc;
}

/* Its mtime is as before: only the ctime tells. */
static int write_then_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e)
{
	SH("touch -r '%s' '%s/stamp'; printf x | dd of='%s' bs=1 seek=5000 conv=notrunc "
	   "status=none; touch -r '%s/stamp' '%s'",
		hook_path, test_dir(), hook_path, test_dir(), hook_path);
	return true_ops->sink_open(s, image_uuid, virtual_bytes, out, e);
}

static void a_change_meanwhile_is_seen(void **state)
{
	CLEANUP_STR char *path = upload_path("disk.img");
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	struct import im;

	(void)state;
	SH("cp '%s' '%s'", w.content, path);
	assert_true(import_hooked("disk.img", &e, write_then_open) < 0);
	assert_non_null(strstr(e.msg, "changed while it was read"));
	store_is_empty();
	/* And one that was changed before: its mtime tells. */
	uuid_new(uuid);
	scan("disk.img", &f);
	im = import_of(&f, uuid);
	SH("printf y >> '%s'", path);
	assert_true(import_run(&im, &made, &e) < 0);
	assert_non_null(strstr(e.msg, "changed since it was scanned"));
	store_is_empty();
}

/* The same file, but now its data is in another one, which everybody may read. */
static int lead_astray_then_open(struct disk_store *s, const char *image_uuid,
	int64_t virtual_bytes, struct image_sink **out, struct err *e)
{
	SH("d='%s/elsewhere'; mkdir -p $d; chmod 755 '%s' $d; qemu-img create -q -f "
	   "qcow2 "
	   "-o data_file=$d/data,data_file_raw=on $d/q 1M; chmod 644 $d/data; "
	   "cat $d/q > '%s'",
		test_dir(), test_dir(), hook_path);
	return true_ops->sink_open(s, image_uuid, virtual_bytes, out, e);
}

/* Who changes the file after it was looked at meets the reader's sandbox. */
static void the_reader_has_one_file(void **state)
{
	CLEANUP_STR char *path = upload_path("disk.img");
	struct err e = { 0 };

	(void)state;
	SH("qemu-img create -q -f qcow2 '%s' 1M", path);
	assert_true(import_hooked("disk.img", &e, lead_astray_then_open) < 0);
	print_message("%s\n", e.msg);
	if (sandbox_landlock_abi() > 0)
		assert_non_null(strstr(e.msg, "elsewhere/data': Permission denied"));
	store_is_empty();
}

/* ---------------------------------------------------------------- limits */

static void a_sparse_tebibyte(void **state)
{
	CLEANUP_STR char *path = upload_path("sparse.img");
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	struct err e = { 0 };
	struct import im;
	int64_t began = test_now_msec();

	(void)state;
	uuid_new(uuid);
	SH("truncate -s 1T '%s'; printf x | dd of='%s' bs=1 seek=700G conv=notrunc "
	   "status=none",
		path, path);
	scan("sparse.img", &f);
	im = import_of(&f, uuid);
	if (import_run(&im, &made, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(made.virtual_bytes, 1024 * GIB);
	assert_true(made.size_bytes < MIB);
	assert_true(test_now_msec() - began < 30000);
	if (image_remove(w.store, uuid, &e) < 0)
		fail_msg("%s", e.msg);
	/* Not for a store that takes less. */
	im.max_image_gib = 1023;
	assert_true(import_run(&im, &made, &e) < 0);
	assert_int_equal(e.kind, ERR_TOO_LARGE);
	unlink(path);
}

static int refuse_at_once(void *aux, int percent, struct err *e)
{
	(void)percent;
	++*(int *)aux;
	return err_set(e, ERR_UNAVAILABLE, "enough");
}

/* ---------------------------------------------------------------- another reader */

/* This program, in the reader's place: under this name. */
static const char *own_path;

static char *reader_named(const char *name)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	print_message("what sanitizers need does not fit into the reader's sandbox\n");
	skip();
#endif
	char *path = test_path("%s", name);

	RUN("cp", own_path, path);
	return path;
}

/* What a reader does that was taken over: each thing that it tries, and its errno. */
static int be_nosy(void)
{
	char text[64] = "";
	int errs[5];

	errs[0] = open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
	errs[1] = open("/tmp/nosy", O_WRONLY | O_CREAT, 0600) < 0 ? errno : 0;
	errs[2] = socket(AF_INET6, SOCK_STREAM, 0) < 0 ? errno : 0;
	errs[3] = socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
	errs[4] = fork();
	if (errs[4] == 0)
		_exit(0);
	errs[4] = errs[4] < 0 ? errno : 0;
	snprintf(text, sizeof(text), "nosy: %d %d %d %d %d\n", errs[0], errs[1], errs[2],
		errs[3], errs[4]);
	return write(2, text, strlen(text)) > 0 ? 1 : 2;
}

static int import_with(const char *program, struct err *e, int *n_ticks)
{
	CLEANUP_STR char *path = upload_path("disk.img");
	CLEANUP(image_made_done) struct image_made made = { 0 };
	CLEANUP(file_done) struct file f = { 0 };
	char uuid[UUID_STR_SIZE];
	struct import im;
	int rc;

	uuid_new(uuid);
	SH("qemu-img convert -f raw -O qcow2 '%s' '%s'", w.content, path);
	scan("disk.img", &f);
	im = import_of(&f, uuid);
	im.tick = refuse_at_once;
	im.aux = n_ticks;
	w.import.reader.program = program;
	rc = import_run(&im, &made, e);
	w.import.reader.program = NULL;
	store_is_empty();
	return rc;
}

static void a_reader_that_hangs(void **state)
{
	CLEANUP_STR char *hang = reader_named("hang");
	struct err e = { 0 };
	int n_ticks = 0;

	(void)state;
	assert_true(import_with(hang, &e, &n_ticks) < 0);
	assert_int_equal(n_ticks, 1);
	assert_string_equal(e.msg, "enough");
}

static void a_reader_that_is_not_there(void **state)
{
	struct err e = { 0 };
	int n_ticks = 0;

	(void)state;
	assert_true(import_with("qemu-nbd-of-nobody", &e, &n_ticks) < 0);
	/* An admin installs it, and it goes on. */
	assert_true(err_is_passing(e.kind));
}

static void a_reader_that_was_taken_over(void **state)
{
	CLEANUP_STR char *nosy = reader_named("nosy");
	CLEANUP_STR char *want =
		xasprintf("nosy: %d %d %d %d %d", EACCES, EACCES, EPERM, EPERM, EPERM);
	struct err e = { 0 };
	int n_ticks = 0;

	(void)state;
	if (sandbox_landlock_abi() == 0)
		skip(); /* this kernel has no Landlock */
	assert_true(import_with(nosy, &e, &n_ticks) < 0);
	if (!strstr(e.msg, want))
		fail_msg("%s, not %s", e.msg, want);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(every_format, clear_store),
		cmocka_unit_test_setup(none_gets_through, clear_store),
		cmocka_unit_test_setup(links_are_not_followed, clear_store),
		cmocka_unit_test_setup(a_change_meanwhile_is_seen, clear_store),
		cmocka_unit_test_setup(the_reader_has_one_file, clear_store),
		cmocka_unit_test_setup(a_sparse_tebibyte, clear_store),
		cmocka_unit_test_setup(a_reader_that_is_not_there, clear_store),
		cmocka_unit_test_setup(a_reader_that_hangs, clear_store),
		cmocka_unit_test_setup(a_reader_that_was_taken_over, clear_store),
	};

	(void)argc;
	if (strstr(argv[0], "/nosy"))
		return be_nosy();
	if (strstr(argv[0], "/hang"))
		return pause();
	own_path = argv[0];
	test_need_command("qemu-nbd");
	test_need_command("qemu-img");
	return cmocka_run_group_tests(tests, start_world, stop_world);
}
