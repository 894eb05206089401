/* What RBD images of ours are called. */
#include "common/disk/ceph_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/model/vm.h"

#define UUID "123e4567-e89b-42d3-a456-426614174000"

static void disks(void **state)
{
	char name[CEPH_NAME_SIZE], unfinished[CEPH_NAME_SIZE];
	struct ceph_name n;
	(void)state;

	for (unsigned i = 0; i < VM_DISKS_MAX; i++) {
		ceph_name_disk(name, UUID, i);
		assert_true(ceph_name_parse(name, &n));
		assert_string_equal(n.uuid, UUID);
		assert_int_equal(n.index, i);
		assert_false(n.is_unfinished);
		assert_string_equal(n.finished, name);
		ceph_name_unfinished(unfinished, name);
		assert_true(ceph_name_parse(unfinished, &n));
		assert_string_equal(n.uuid, UUID);
		assert_int_equal(n.index, i);
		assert_true(n.is_unfinished);
		assert_string_equal(n.finished, name);
	}
	ceph_name_disk(name, UUID, 0);
	assert_string_equal(name, UUID);
	ceph_name_disk(name, UUID, 3);
	assert_string_equal(name, UUID ".3");
	ceph_name_unfinished(name, UUID);
	ceph_name_unfinished(unfinished, UUID);
	assert_string_not_equal(name, unfinished);
}

static void what_is_not_ours(void **state)
{
	static const char *const names[] = {
		"",
		"debian",
		"123e4567-e89b-42d3-a456-42661417400",
		"123E4567-e89b-42d3-a456-426614174000",
		UUID ".",
		UUID ".0",
		UUID ".01",
		UUID ".8",
		UUID ".99999999999999999999",
		UUID ".1x",
		UUID ".saved",
		UUID "0",
		UUID "-1",
		UUID ".tmp-",
		UUID ".tmp-0123456789a",
		UUID ".tmp-0123456789abc",
		UUID ".tmp-0123456789AB",
		UUID ".1.tmp-0123456789a/",
		UUID ".tmp-0123456789ab.1",
	};
	struct ceph_name n;
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (ceph_name_parse(names[i], &n))
			fail_msg("\"%s\" was taken for one of ours", names[i]);
}

static void urls(void **state)
{
	CLEANUP_STR char *plain =
		ceph_name_url("images", UUID, "ucloud", "libvirt", "/etc/ceph/ceph.conf");
	CLEANUP_STR char *odd = ceph_name_url("a", "b", NULL, "x:y", "/a=b/c@d\\e");
	(void)state;

	assert_ptr_equal(plain, strstr(plain, "rbd:images/" UUID
					      "@ucloud:id=libvirt:conf=\\/etc\\/ceph\\/"
					      "ceph.conf:client_mount_timeout="));
	assert_non_null(strstr(plain, ":rados_mon_op_timeout="));
	assert_non_null(strstr(plain, ":rados_osd_op_timeout="));
	assert_ptr_equal(odd,
		strstr(odd, "rbd:a/b:id=x\\:y:conf=\\/a\\=b\\/c\\@d\\\\e:client_mount"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks),
		cmocka_unit_test(what_is_not_ours),
		cmocka_unit_test(urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
