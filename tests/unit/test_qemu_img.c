#include "common/disk/qemu_img.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
