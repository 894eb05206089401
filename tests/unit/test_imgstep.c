/* What ucloud-image does, decided: tables. */
#include "ucloud-image/imgstep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "ucloud-image/copy.h"

#define NOW  1000
#define NONE (-1)

static const struct {
	int status, request; /* NONE: no entry, no request */
	int64_t not_before, deadline, attempts;
	bool is_unreadable;
	enum imgact act;
	const char *why;
} steps[] = {
	{ NONE, NONE, .act = IMGACT_NOTHING, .why = "" },
	{ NONE, REQ_CREATE_IMAGE, .act = IMGACT_DROP, .why = "gone" },
	{ NONE, REQ_DELETE_IMAGE, .act = IMGACT_DROP, .why = "gone" },
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .act = IMGACT_MAKE, .why = "" },
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .not_before = NOW + 3,
		.act = IMGACT_WAIT, .why = "" },
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .not_before = NOW, .deadline = NOW + 1,
		.attempts = 4, .act = IMGACT_MAKE, .why = "" },
	/* Late, but nobody has tried yet. */
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .deadline = NOW, .act = IMGACT_MAKE,
		.why = "" },
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .deadline = NOW, .attempts = 1,
		.act = IMGACT_GIVE_UP, .why = "not made in time: the store was away" },
	{ IMAGE_TO_BE_CREATED, NONE, .act = IMGACT_GIVE_UP, .why = "request is gone" },
	{ IMAGE_TO_BE_CREATED, REQ_DELETE_IMAGE, .act = IMGACT_DROP,
		.why = "not to be deleted" },
	{ IMAGE_CREATED, NONE, .act = IMGACT_NOTHING, .why = "" },
	{ IMAGE_CREATED, REQ_CREATE_IMAGE, .act = IMGACT_DROP, .why = "not to be made" },
	{ IMAGE_CREATED, REQ_DELETE_IMAGE, .act = IMGACT_DROP,
		.why = "not to be deleted" },
	{ IMAGE_ERROR, REQ_CREATE_IMAGE, .act = IMGACT_DROP, .why = "not to be made" },
	{ IMAGE_TO_BE_DELETED, NONE, .act = IMGACT_NOTHING, .why = "" },
	{ IMAGE_TO_BE_DELETED, REQ_CREATE_IMAGE, .act = IMGACT_NOTHING,
		.why = "about to delete" },
	{ IMAGE_TO_BE_DELETED, REQ_DELETE_IMAGE, .act = IMGACT_DELETE, .why = "" },
	{ IMAGE_TO_BE_DELETED, REQ_DELETE_IMAGE, .not_before = NOW + 1,
		.act = IMGACT_WAIT, .why = "" },
	/* A deletion is never given up. */
	{ IMAGE_TO_BE_DELETED, REQ_DELETE_IMAGE, .deadline = 1, .attempts = 9,
		.act = IMGACT_DELETE, .why = "" },
	{ IMAGE_TO_BE_CREATED, REQ_START_VM, .act = IMGACT_NOTHING,
		.why = "none of an image" },
	{ IMAGE_TO_BE_CREATED, REQ_CREATE_IMAGE, .is_unreadable = true,
		.act = IMGACT_NOTHING, .why = "cannot be read" },
	{ NONE, NONE, .is_unreadable = true, .act = IMGACT_NOTHING,
		.why = "cannot be read" },
};

static void what_is_done(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		char error[] = "the store was away";
		struct image im = { .status = steps[i].status };
		struct request req = { .type = steps[i].request,
			.not_before = steps[i].not_before,
			.deadline = steps[i].deadline,
			.attempts = steps[i].attempts,
			.last_error = error };
		struct imglook l = { .im = steps[i].status == NONE ? NULL : &im,
			.req = steps[i].request == NONE ? NULL : &req,
			.is_unreadable = steps[i].is_unreadable,
			.now_sec = NOW };
		struct imgstep s = imgstep_decide(&l);

		if (s.act != steps[i].act || !strstr(s.why, steps[i].why))
			fail_msg("line %zu: %s (%s)", i, imgact_names[s.act], s.why);
		if (s.act == IMGACT_WAIT)
			assert_int_equal(
				s.after_msec, (steps[i].not_before - NOW) * 1000);
	}
}

static void what_is_in_the_store(void **state)
{
	char sha[] = "abcd";
	struct image begun = { .is_made = true, .sha512 = sha };
	struct image ordered = { .sha512 = sha }, empty = { .is_made = true };
	(void)state;

	assert_int_equal(imgstep_make(false, &begun), IMGMAKE_IMPORT);
	assert_int_equal(imgstep_make(false, &empty), IMGMAKE_IMPORT);
	assert_int_equal(imgstep_make(true, &begun), IMGMAKE_ADOPT);
	assert_int_equal(imgstep_make(true, &ordered), IMGMAKE_REMOVE);
	assert_int_equal(imgstep_make(true, &empty), IMGMAKE_REMOVE);
}

static void what_passes(void **state)
{
	struct request create = { .type = REQ_CREATE_IMAGE };
	struct request late = { .type = REQ_CREATE_IMAGE, .deadline = NOW };
	struct request delete = { .type = REQ_DELETE_IMAGE, .deadline = 1 };
	struct imglook l = { .now_sec = NOW };
	struct err file = { .kind = ERR_INVALID }, etcd = { .kind = ERR_UNAVAILABLE };
	(void)state;

	l.req = &create;
	assert_int_equal(imgstep_failed(&l, &file), IMGFAIL_GIVE_UP);
	assert_int_equal(imgstep_failed(&l, &etcd), IMGFAIL_RECORD);
	l.req = &late;
	assert_int_equal(imgstep_failed(&l, &etcd), IMGFAIL_GIVE_UP);
	l.req = &delete;
	assert_int_equal(imgstep_failed(&l, &file), IMGFAIL_RECORD);
	assert_int_equal(imgstep_failed(&l, &etcd), IMGFAIL_RECORD);
}

static void where_it_goes_back_to(void **state)
{
	char path[] = "x.raw", none[] = "";
	struct image made = { .path = path }, never = { .path = none }, unset = { 0 };
	(void)state;

	assert_int_equal(imgstep_undeleted(&made), IMAGE_CREATED);
	assert_int_equal(imgstep_undeleted(&never), IMAGE_ERROR);
	assert_int_equal(imgstep_undeleted(&unset), IMAGE_ERROR);
}

static void what_is_swept(void **state)
{
	char here[] = "s", elsewhere[] = "t", path[] = "x.raw";
	struct image im = { .store = here, .status = IMAGE_ERROR };
	(void)state;

	assert_int_equal(imgstep_sweep(NULL, false, "s"), IMGSWEEP_ORPHAN);
	assert_int_equal(imgstep_sweep(NULL, true, "s"), IMGSWEEP_KEEP);
	assert_int_equal(imgstep_sweep(&im, false, "s"), IMGSWEEP_REMOVE);
	im.path = path; /* it was made once: nobody knows how it came to be in ERROR */
	assert_int_equal(imgstep_sweep(&im, false, "s"), IMGSWEEP_KEEP);
	im.path = NULL;
	for (int status = 0; status <= IMAGE_TO_BE_DELETED; status++) {
		im.status = status;
		if (status != IMAGE_ERROR)
			assert_int_equal(imgstep_sweep(&im, false, "s"), IMGSWEEP_KEEP);
	}
	im.status = IMAGE_ERROR;
	im.store = elsewhere;
	assert_int_equal(imgstep_sweep(&im, false, "s"), IMGSWEEP_KEEP);
}

#define K ((size_t)1024)

static void check_runs(const char *p, size_t size, const size_t *want)
{
	size_t at = 0, len = 0, i = 0;

	for (; copy_next_run(p, size, &at, &len); at += len, i += 2) {
		assert_int_equal(at, want[i]);
		assert_int_equal(len, want[i + 1]);
	}
	assert_int_equal(want[i + 1], 0);
}

static void zeros_are_left_out(void **state)
{
	char *p = xcalloc(1, 512 * K);
	(void)state;

	check_runs(p, 512 * K, (size_t[]){ 0, 0 });
	check_runs(p, 100, (size_t[]){ 0, 0 });
	check_runs(p, 1, (size_t[]){ 0, 0 });
	p[0] = 1;
	check_runs(p, 512 * K, (size_t[]){ 0, 64 * K, 0, 0 });
	check_runs(p, 1, (size_t[]){ 0, 1, 0, 0 });
	p[130 * K] = 1;
	p[192 * K] = 1;
	p[512 * K - 1] = 1;
	check_runs(p, 512 * K,
		(size_t[]){ 0, 64 * K, 128 * K, 128 * K, 448 * K, 64 * K, 0, 0 });
	/* The last part is no whole one. */
	p[512 * K - 1] = 0;
	p[511 * K] = 1;
	check_runs(p, 511 * K + 512,
		(size_t[]){ 0, 64 * K, 128 * K, 128 * K, 448 * K, 63 * K + 512, 0, 0 });
	memset(p, 1, 512 * K);
	check_runs(p, 512 * K, (size_t[]){ 0, 512 * K, 0, 0 });
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_done),
		cmocka_unit_test(what_is_in_the_store),
		cmocka_unit_test(what_passes),
		cmocka_unit_test(where_it_goes_back_to),
		cmocka_unit_test(what_is_swept),
		cmocka_unit_test(zeros_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
