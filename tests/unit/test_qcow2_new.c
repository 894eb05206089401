#include "common/disk/qcow2_new.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/disk/image_header.h"

#define GIB   (INT64_C(1) << 30)
#define IMAGE "/srv/ucloud/images/debian.qcow2"

static void must_make(
	int64_t size, const char *backing, const char *format, struct qcow2_new *q)
{
	struct err e;

	if (qcow2_new_make(size, backing, format, q, &e) != 0)
		fail_msg("%s", e.msg);
}

static uint64_t be(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* What "qemu-img create -f qcow2 -b /img -F raw x 10G" of QEMU 7.2 writes, but for its names
 * of features, which nobody needs. */
static void bytes_are_qemus(void **state)
{
	static const unsigned char want[] = "QFI\xfb\0\0\0\3"
					    "\0\0\0\0\0\0\0\x88\0\0\0\4" /* /img */
					    "\0\0\0\x10\0\0\0\2\x80\0\0\0"
					    "\0\0\0\0\0\0\0\x14" /* 20 entries at */
					    "\0\0\0\0\0\3\0\0"
					    "\0\0\0\0\0\1\0\0\0\0\0\1"
					    "\0\0\0\0\0\0\0\0\0\0\0\0"
					    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
					    "\0\0\0\0\0\0\0\0"
					    "\0\0\0\4\0\0\0\x70\0\0\0\0\0\0\0\0"
					    "\xe2\x79\x2a\xca\0\0\0\3raw\0\0\0\0\0"
					    "\0\0\0\0\0\0\0\0/img";
	CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };

	(void)state;
	must_make(10 * GIB, "/img", "raw", &q);
	assert_int_equal(q.header_size, sizeof(want) - 1);
	assert_memory_equal(q.header, want, sizeof(want) - 1);
	assert_memory_equal(q.table, "\0\0\0\0\0\2\0\0", 8);
	assert_int_equal(q.counts_size, 8);
	assert_memory_equal(q.counts, "\0\1\0\1\0\1\0\1", 8);
	assert_int_equal(q.file_size, 4 * QCOW2_CLUSTER);
}

/* The reader that hostile images have to pass finds what was ordered, whatever that is. */
static void reads_back(void **state)
{
	static const int64_t sizes[] = { 512, 1 << 20, GIB / 2, GIB / 2 + 512, GIB,
		10 * GIB, 4096 * GIB, 4096 * GIB + 512, 65536 * GIB, QCOW2_SIZE_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes) * 2; i++) {
		CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };
		bool has_backing = i % 2;
		int64_t size = sizes[i / 2];
		struct image_header h;
		struct err e;

		must_make(size, has_backing ? IMAGE : NULL, "qcow2", &q);
		if (image_header_parse(q.header, q.header_size, q.file_size, &h, &e) != 0)
			fail_msg("%s", e.msg);
		assert_int_equal(h.kind, IMAGE_KIND_QCOW2);
		assert_int_equal(h.virtual_bytes, size);
		assert_int_equal(h.has_backing_file, has_backing);
		assert_false(h.has_data_file || h.is_encrypted || h.is_corrupt);
	}
}

/* Each cluster of the file is counted once, and the table ends in the last one. */
static void every_cluster_is_counted(void **state)
{
	(void)state;
	for (int64_t gib = 1; gib <= 65536; gib += gib < 300 ? 1 : 1237) {
		CLEANUP(qcow2_new_done) struct qcow2_new q = { 0 };
		int64_t l1_end;

		must_make(gib * GIB, NULL, NULL, &q);
		assert_int_equal(q.file_size, q.counts_size / 2 * QCOW2_CLUSTER);
		for (size_t i = 0; i < q.counts_size; i += 2)
			assert_int_equal(be(q.counts + i, 2), 1);
		assert_int_equal(be(q.header + 36, 4), gib * 2);
		l1_end = (int64_t)(be(q.header + 40, 8) + be(q.header + 36, 4) * 8);
		assert_true(l1_end <= q.file_size);
		assert_true(l1_end > q.file_size - QCOW2_CLUSTER);
	}
}

static void name_of_the_backing_file(void **state)
{
	char name[QCOW2_BACKING_MAX + 2];
	struct qcow2_new q = { 0 };
	struct err e = { 0 };

	(void)state;
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[QCOW2_BACKING_MAX] = '\0';
	must_make(GIB, name, "qcow2", &q);
	assert_int_equal(be(q.header + 16, 4), QCOW2_BACKING_MAX);
	assert_memory_equal(q.header + be(q.header + 8, 8), name, QCOW2_BACKING_MAX);
	assert_int_equal(be(q.header + 8, 8) + QCOW2_BACKING_MAX, q.header_size);
	name[QCOW2_BACKING_MAX] = 'x';
	name[QCOW2_BACKING_MAX + 1] = '\0';
	assert_int_equal(qcow2_new_make(GIB, name, "qcow2", &q, &e), -1);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(q.counts); /* untouched */
	qcow2_new_done(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_qemus),
		cmocka_unit_test(reads_back),
		cmocka_unit_test(every_cluster_is_counted),
		cmocka_unit_test(name_of_the_backing_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
