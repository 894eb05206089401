#include "tests/lib/disk_cases_impl.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/test_util.h"

static const struct disk_kind *store_kind;

void disk_cases_set(const struct disk_kind *k)
{
	store_kind = k;
}

const struct disk_kind *disk_cases_kind(void)
{
	return store_kind;
}

/* ------------------------------------------------------------------ helpers */

static struct disk_store *open_store(const struct image_store *conf)
{
	struct disk_store *s = NULL;
	struct err e = { 0 };

	if (disk_store_open(conf, &s, &e) != 0)
		fail_msg("open: %s", e.msg);
	return s;
}

void disk_lab_open(struct disk_lab *lab)
{
	disk_store_close(lab->store);
	lab->store = NULL;
	lab->store = open_store(&lab->conf);
}

int disk_lab_set_up(void **state)
{
	static unsigned n;
	struct disk_lab *lab = xcalloc(1, sizeof(*lab));

	lab->dir = test_path("lab%u", n++);
	test_mkdir(lab->dir);
	store_kind->make(lab);
	*state = lab;
	disk_lab_open(lab);
	lab->other = open_store(&lab->other_conf);
	return 0;
}

int disk_lab_tear_down(void **state)
{
	struct disk_lab *lab = *state;

	disk_store_close(lab->store);
	disk_store_close(lab->other);
	if (store_kind->remove)
		store_kind->remove(lab);
	test_remove(lab->dir);
	image_store_done(&lab->conf);
	image_store_done(&lab->other_conf);
	strv_done(&lab->strings);
	free(lab->dir);
	free(lab);
	return 0;
}

void disk_lab_run(const char *fmt, ...)
{
	CLEANUP(strv_done) struct strv words = { 0 };
	CLEANUP_STR char *out = NULL;
	char line[2048];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	strv_split(&words, line, ' ');
	for (size_t i = 0; i < words.len; i++)
		for (char *c = words.v[i]; *c; c++)
			*c = *c == '\t' ? ' ' : *c;
	strv_add_take(&words, NULL);
	status = test_run((const char *const *)words.v, RUN_MSEC, &out);
	if (status != 0)
		fail_msg("%s: status %d: %s", line, status, out ? out : "");
}

struct image disk_lab_entry(char *path, enum image_format format, int64_t virtual_bytes)
{
	static char name[] = "debian", uuid[] = IMAGE, store[] = "local";

	return (struct image){ .uuid = uuid,
		.name = name,
		.store = store,
		.path = path,
		.format = (int)format,
		.virtual_bytes = virtual_bytes };
}

void disk_lab_must(int rc, const struct err *e)
{
	if (rc != 0)
		fail_msg("%s", e->msg);
}

struct image_sink *disk_lab_begin(
	struct disk_store *s, const char *uuid, int64_t virtual_bytes)
{
	struct image_sink *k = NULL;
	struct err e = { 0 };

	disk_lab_must(image_sink_open(s, uuid, virtual_bytes, &k, &e), &e);
	return k;
}

void disk_lab_fill(struct image_sink *k, int64_t offset, size_t size, unsigned char byte)
{
	unsigned char *p = xmalloc(size);
	struct err e = { 0 };
	int rc;

	memset(p, byte, size);
	rc = image_sink_write(k, offset, p, size, &e);
	free(p);
	disk_lab_must(rc, &e);
}

char *disk_lab_keep(struct disk_lab *lab, const char *s)
{
	strv_add(&lab->strings, s);
	return lab->strings.v[lab->strings.len - 1];
}

struct image disk_lab_image(struct disk_lab *lab, struct disk_store *s, const char *uuid,
	int64_t virtual_bytes, unsigned char byte)
{
	CLEANUP(image_made_done) struct image_made made = { 0 };
	struct image_sink *k = disk_lab_begin(s, uuid, virtual_bytes);
	struct image im = disk_lab_entry(NULL, IMAGE_RAW, virtual_bytes);
	struct err e = { 0 };

	disk_lab_fill(k, 0, MIB, byte);
	disk_lab_fill(k, virtual_bytes - 65536, 65536, byte);
	disk_lab_must(image_sink_commit(k, &made, &e), &e);
	image_sink_close(k);
	assert_int_equal(made.virtual_bytes, virtual_bytes);
	im.uuid = disk_lab_keep(lab, uuid);
	im.path = disk_lab_keep(lab, made.path);
	im.format = made.format;
	im.size_bytes = made.size_bytes;
	im.is_made = true;
	return im;
}

int disk_lab_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im, struct err *e)
{
	struct disk_spec spec = { vm, index, size_gib, im };
	int rc;

	memset(e, 0, sizeof(*e));
	rc = disk_ensure(lab->store, &spec, e);
	/* Users see it: no path of ours may be in it. */
	if (rc != 0) {
		assert_true(e->msg[0] != '\0');
		assert_null(strstr(e->msg, lab->dir));
	}
	return rc;
}

void disk_lab_must_ensure(struct disk_lab *lab, const char *vm, unsigned index,
	int64_t size_gib, const struct image *im)
{
	struct err e;

	if (disk_lab_ensure(lab, vm, index, size_gib, im, &e) != 0)
		fail_msg("ensure: %s", e.msg);
}

/* It must fail so, and leave nothing behind. */
void disk_lab_must_refuse(struct disk_lab *lab, const struct image *im,
	enum err_kind kind, const char *words)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e;

	if (disk_lab_ensure(lab, VM1, 0, 2, im, &e) == 0)
		fail_msg("accepted, but should say: %s", words);
	if (!strstr(e.msg, words))
		fail_msg("\"%s\" does not say: %s", e.msg, words);
	assert_int_equal(e.kind, kind);
	assert_int_equal(disk_list(lab->store, &vms, &e), 0);
	assert_int_equal(vms.len, 0);
}

/* In bytes; -1 when it does not exist. */
int64_t disk_lab_size(struct disk_lab *lab, const char *vm, unsigned index)
{
	struct err e = { 0 };
	int64_t size = -2;
	int rc = disk_stat(lab->store, vm, index, &size, &e);

	if (rc < 0)
		fail_msg("stat: %s", e.msg);
	return rc == 1 ? -1 : size;
}

char *disk_lab_list(struct disk_lab *lab)
{
	CLEANUP(strv_done) struct strv vms = { 0 };
	struct err e = { 0 };

	if (disk_list(lab->store, &vms, &e) != 0)
		fail_msg("list: %s", e.msg);
	return strv_join(&vms, " ");
}

void disk_lab_list_is(struct disk_lab *lab, const char *want)
{
	CLEANUP_STR char *is = disk_lab_list(lab);

	assert_string_equal(is, want);
}

void disk_lab_must_remove(struct disk_lab *lab, const char *vm)
{
	struct err e = { 0 };

	if (disk_remove_all(lab->store, vm, &e) != 0)
		fail_msg("remove: %s", e.msg);
}

void disk_lab_io(
	struct disk_lab *lab, const char *vm, unsigned index, const char *command)
{
	struct disk_spec spec = { vm, index, 1 };
	struct disk_source src = { 0 };
	CLEANUP_STR char *url = NULL, *out = NULL;
	struct err e = { 0 };
	int status;

	if (!store_kind->url)
		return;
	disk_lab_must(disk_source_get(lab->store, &spec, &src, &e), &e);
	url = store_kind->url(lab, &src);
	const char *const argv[] = { "qemu-io", "-f", src.format, "-c", command, url,
		NULL };
	status = test_run(argv, RUN_MSEC, &out);
	disk_source_done(&src);
	if (status != 0 || strstr(out, "verification failed"))
		fail_msg("%s: status %d: %s", command, status, out);
}

/* ---------------------------------------------------------------- */

const struct CMUnitTest disk_cases[] = {
	DISK_CASE(disk_case_disks_come_and_go),
	DISK_CASE(disk_case_ensure_is_idempotent),
	DISK_CASE(disk_case_disks_outlive_the_daemon),
	DISK_CASE(disk_case_smaller_disk_is_left_alone),
	DISK_CASE(disk_case_image_larger_than_the_disk),
	DISK_CASE(disk_case_what_is_no_disk_is_refused),
	DISK_CASE(disk_case_largest_disk),
	DISK_CASE(disk_case_domain_reaches_the_disk),
	DISK_CASE(disk_case_space),
	DISK_CASE(disk_case_same_disk_at_once),
	DISK_CASE(disk_case_made_and_removed_at_once),
	DISK_CASE(disk_case_one_disk_is_removed),
	DISK_CASE(disk_case_disks_grow),
	DISK_CASE(disk_case_flattened_disks_need_no_image),
	DISK_CASE(disk_case_snapshots_come_and_go),
	DISK_CASE(disk_case_snapshots_keep_the_size),
	DISK_CASE(disk_case_snapshots_that_are_not_there),
	DISK_CASE(disk_case_disks_in_use),
	DISK_CASE(disk_case_images_come_and_go),
	DISK_CASE(disk_case_images_that_are_given_up),
	DISK_CASE(disk_case_images_that_are_begun_anew),
	DISK_CASE(disk_case_images_that_cannot_be),
	DISK_CASE(disk_case_images_are_written_by_many),
	DISK_CASE(disk_case_images_with_disks_on_them_stay),
	DISK_CASE(disk_case_images_of_another_store_are_copied),
};
const size_t disk_cases_len = ARRAY_LEN(disk_cases);
