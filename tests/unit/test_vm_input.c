#include "ucloud-api/vm_input.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UUID "01234567-89ab-4cde-8123-456789abcdef"

static const struct vm_limits limits = {
	.max_cpu = 8, .max_ram_mib = 8192, .max_disk_gib = 100
};
static const struct who alice = { "alice", "users", false };

static void parse(const char *text, struct vm_input *in)
{
	CLEANUP(json_decref_ptr) json_t *json = json_loads(text, 0, NULL);
	struct err e;

	assert_non_null(json);
	if (vm_input_parse(json, &limits, in, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
}

static void refuse(const char *text, const char *field)
{
	CLEANUP(json_decref_ptr) json_t *json = json_loads(text, 0, NULL);
	struct vm_input in = { 0 };
	struct err e;

	assert_non_null(json);
	if (vm_input_parse(json, &limits, &in, &e) == 0)
		fail_msg("accepted %s", text);
	if (strcmp(e.field, field) != 0)
		fail_msg("%s: field \"%s\": %s", text, e.field, e.msg);
}

static void test_parse(void **state)
{
	CLEANUP(vm_input_done) struct vm_input in = { 0 };

	(void)state;
	parse("{\"name\":\"a\",\"image\":\"b\",\"ssh_keys\":[]}", &in);
	assert_true(in.has_ssh_keys);
	vm_input_done(&in);
	parse("{\"name\":\"a\",\"image\":\"b\"}", &in);
	assert_false(in.has_ssh_keys);
	refuse("{\"name\":\"-a\",\"image\":\"b\"}", "name");
	refuse("{\"name\":\"" UUID "\",\"image\":\"b\"}", "name");
	refuse("{\"name\":\"a\"}", "image");
	refuse("{\"name\":\"a\",\"image\":\"B!\"}", "image");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"ram_mib\":8193}", "ram_mib");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"ram_mib\":1}", "ram_mib");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"disk_gib\":1,\"disks\":[{\"size_gib\":"
	       "1}]}",
		"disk_gib");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"disks\":[{\"size_gib\":1},{\"size_"
	       "gib\":101}"
	       "]}",
		"disks[1].size_gib");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"disks\":[{\"size_gib\":1,\"x\":1}]}",
		"disks[0].x");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"networks\":[{\"network\":\"N\"}]}",
		"networks[0].network");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"want\":\"maybe\"}", "want");
	refuse("{\"name\":\"a\",\"image\":\"b\",\"ssh_keys\":[\"not a key\"]}",
		"ssh_keys[0]");
}

static void build(const char *text, const struct vm_parts *parts, struct vm *vm)
{
	CLEANUP(vm_input_done) struct vm_input in = { 0 };
	struct err e;

	parse(text, &in);
	if (vm_input_build(&in, parts, &limits, 1, vm, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
}

static int64_t boot_gib(const struct vm *vm)
{
	return ((const struct vm_disk *)vm->specs.disks.v)->size_gib;
}

static void test_build(void **state)
{
	char name[] = "b", uuid[] = UUID, store[] = "s", prefix[] = "2001:db8:1:2::/64";
	struct image image = { .name = name, .uuid = uuid, .store = store };
	struct user user = { 0 };
	struct network net = { .uuid = uuid, .ipam = IPAM_AUTO, .prefix = prefix };
	struct vm_parts parts = { .who = &alice,
		.uuid = UUID,
		.image = &image,
		.user = &user,
		.networks = &net };
	CLEANUP(vm_done) struct vm vm = { 0 };
	const struct vm_nic *nic;

	(void)state;
	build("{\"name\":\"a\",\"image\":\"b\"}", &parts, &vm);
	assert_int_equal(boot_gib(&vm), 10);
	assert_int_equal(vm.specs.ram_mib, 1024);
	vm_done(&vm);
	image.virtual_bytes = (3LL << 30) + 1;
	build("{\"name\":\"a\",\"image\":\"b\",\"networks\":[{\"network\":\"" UUID
	      "\"}]}",
		&parts, &vm);
	assert_int_equal(boot_gib(&vm), 4);
	nic = vm.networks.v;
	assert_int_equal(strlen(nic->mac), 17);
	assert_true(str_has_prefix(nic->mac, "02:"));
	assert_true(str_has_prefix(nic->address, "2001:db8:1:2:0:") ||
		    str_has_prefix(nic->address, "2001:db8:1:2:"));
	vm_done(&vm);
	build("{\"name\":\"a\",\"image\":\"b\",\"disks\":[{\"size_gib\":5,\"class\":"
	      "\"ssd\"},"
	      "{\"size_gib\":7}]}",
		&parts, &vm);
	assert_int_equal(vm_disk_gib(&vm), 12);
}

static void test_addresses(void **state)
{
	CLEANUP_STR char *address =
		eui64_address("2001:db8:1:2::/64", "02:00:00:00:00:01");
	CLEANUP_STR char *other = eui64_address("2001:db8::/64", "52:54:00:12:34:56");
	char a[MAC_STR_SIZE], b[MAC_STR_SIZE];

	(void)state;
	assert_string_equal(address, "2001:db8:1:2:0:ff:fe00:1");
	assert_string_equal(other, "2001:db8::5054:ff:fe12:3456");
	assert_null(eui64_address("2001:db8::/48", "52:54:00:12:34:56"));
	assert_null(eui64_address("x/64", "52:54:00:12:34:56"));
	assert_null(eui64_address("2001:db8::/64", "52:54"));
	vm_mac(UUID, 0, a);
	vm_mac(UUID, 0, b);
	assert_string_equal(a, b);
	vm_mac(UUID, 1, b);
	assert_string_not_equal(a, b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
