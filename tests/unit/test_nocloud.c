#include "ucloud-host/nocloud.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"
#include "ucloud-host/cidata.h"

#define UUID   "0b5f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a10"
#define UUID2  "1c6f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a11"
#define GOLDEN "tests/golden/nocloud/"
#define KEY    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkDbF0 j\xc3\xb6rg@\"laptop\": #1"

static void make_vm(struct vm *vm)
{
	vm->uuid = xstrdup(UUID);
	vm->name = xstrdup("web");
}

static void add_nic(struct vm *vm, struct vmnets *nets, struct network net,
	const char *mac, const char *address)
{
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &vm->networks);

	nic->mac = xstrdup(mac);
	nic->address = xstrdup(address);
	nets->v[nets->len++].net = net;
	/* The list may have moved. */
	for (size_t i = 0; i < nets->len; i++)
		nets->v[i].nic = jtab_list_at(&vm_nic_jtab, &vm->networks, i);
}

static void check_file(const char *name, const char *file, const char *text)
{
	CLEANUP_STR char *path = xasprintf(GOLDEN "%s.%s", name, file);
	CLEANUP_STR char *want = NULL;

	if (getenv("UPDATE") != NULL)
		test_write_file(path, text);
	want = test_read_file(path);
	assert_non_null(want);
	assert_string_equal(text, want);
}

static void check_case(const char *name, const struct vm *vm, const struct vmnets *nets)
{
	CLEANUP(nocloud_done) struct nocloud n = { 0 };

	nocloud_format(vm, nets, &n);
	check_file(name, "meta-data", n.meta_data);
	check_file(name, "user-data", n.user_data);
	check_file(name, "network-config", n.network_config);
}

static void test_bare(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	(void)state;
	make_vm(&vm);
	check_case("bare", &vm, NULL);
}

/* Without user data keys are in both; what is no ASCII stays as it is. */
static void test_keys(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	(void)state;
	make_vm(&vm);
	strv_add(&vm.ssh_keys, KEY);
	strv_add(&vm.ssh_keys, "ssh-rsa AAAAB3NzaC1yc2E= two");
	check_case("keys", &vm, NULL);
}

/* User data is not touched, whatever it is. */
static void test_user_data(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };

	(void)state;
	make_vm(&vm);
	strv_add(&vm.ssh_keys, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJkDbF0 one");
	vm.user_data = xstrdup("#!/bin/sh\nprintf '%s\\t' \"hello\"");
	check_case("user-data", &vm, NULL);
}

static void test_networks(void **state)
{
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct vmnets nets = { 0 };
	struct network automatic = { .ipam = IPAM_AUTO, .vni = 1, .mtu = 1430 };
	struct network manual = { .ipam = IPAM_MANUAL, .vni = 2, .mtu = 1430 };
	struct network none = { .ipam = IPAM_NONE, .vni = 3 };

	(void)state;
	make_vm(&vm);
	automatic.prefix = xstrdup("2001:db8:1::/64");
	strv_add(&automatic.dns, "2001:db8::53");
	manual.prefix = xstrdup("2001:db8:2::/64");
	strv_add(&manual.dns, "2001:db8::53");
	add_nic(&vm, &nets, automatic, "52:54:00:00:00:01", "2001:db8:1::5054:ff:fe00:1");
	add_nic(&vm, &nets, manual, "52:54:00:00:00:02", "2001:db8:2::2");
	add_nic(&vm, &nets, none, "52:54:00:00:00:03", "");
	/* Its address is not known: the guest's owner gives it one. */
	manual.prefix = xstrdup("2001:db8:2::/64");
	manual.dns = (struct strv){ 0 };
	add_nic(&vm, &nets, manual, "52:54:00:00:00:04", "");
	check_case("networks", &vm, &nets);
	vmnets_done(&nets);
}

/* ------------------------------------------------------------------ the CD */

static void open_env(struct host_env *env)
{
	env->state_dir = test_path("state");
	test_mkdir(env->state_dir);
}

static void close_env(struct host_env *env)
{
	test_remove(env->state_dir);
	free(env->state_dir);
}

static char *ensure(const struct host_env *env, const struct vm *vm)
{
	struct err e = { 0 };
	char *path = NULL;

	if (cidata_ensure(env, vm, NULL, &path, &e) < 0)
		fail_msg("%s", e.msg);
	return path;
}

static void test_image(void **state)
{
	struct nocloud n = { .meta_data = xstrdup("meta"),
		.user_data = xcalloc(1, 100001),
		.network_config = xstrdup("net") };
	CLEANUP(buf_done) struct buf one = { 0 }, two = { 0 };
	struct err e = { 0 };

	(void)state;
	memset(n.user_data, 'x', 100000);
	assert_int_equal(cidata_format(&n, &one, &e), 0);
	assert_int_equal(cidata_format(&n, &two, &e), 0);
	/* ECMA-119 8.4: the primary volume descriptor is sector 16, its name at 40. */
	assert_true(one.size > 17 * 2048 + 100000);
	assert_true(one.size < 100000 + 200 * 1024);
	assert_int_equal(one.size % 2048, 0);
	assert_memory_equal(one.s + 16 * 2048, "\001CD001", 6);
	assert_memory_equal(one.s + 16 * 2048 + 40, "CIDATA  ", 8);
	assert_int_equal(one.size, two.size);
	assert_memory_equal(one.s, two.s, one.size);
	nocloud_done(&n);
}

static void test_ensure(void **state)
{
	struct host_env env = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	CLEANUP_STR char *path = NULL, *same = NULL, *again = NULL;
	CLEANUP(strv_done) struct strv uuids = { 0 };
	struct stat before, after;
	struct err e = { 0 };

	(void)state;
	open_env(&env);
	make_vm(&vm);
	assert_int_equal(cidata_list(&env, &uuids, &e), 0);
	assert_int_equal(uuids.len, 0);
	path = ensure(&env, &vm);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	same = ensure(&env, &vm);
	assert_string_equal(path, same);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* not written again */
	vm.user_data = xstrdup("#!/bin/sh\n");
	again = ensure(&env, &vm);
	assert_string_equal(path, again);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(before.st_ino, after.st_ino);
	assert_int_equal(cidata_list(&env, &uuids, &e), 0);
	assert_int_equal(uuids.len, 1);
	assert_string_equal(uuids.v[0], UUID);
	assert_int_equal(cidata_remove(&env, UUID, &e), 0);
	assert_int_equal(cidata_remove(&env, UUID, &e), 0);
	assert_int_equal(access(path, F_OK), -1);
	close_env(&env);
}

/* What a writer that died has left goes, what is being written does not. */
static void test_leftovers(void **state)
{
	struct host_env env = { 0 };
	CLEANUP(strv_done) struct strv uuids = { 0 };
	CLEANUP_STR char *dir = NULL, *old = NULL, *new = NULL;
	struct timespec long_ago[2] = { { .tv_sec = 1000000 }, { .tv_sec = 1000000 } };
	struct err e = { 0 };

	(void)state;
	open_env(&env);
	dir = xasprintf("%s/nocloud", env.state_dir);
	old = xasprintf("%s/" UUID ".iso.abcdef", dir);
	new = xasprintf("%s/" UUID2 ".iso.abcdef", dir);
	test_mkdir(dir);
	test_write_file(old, "x");
	test_write_file(new, "x");
	assert_int_equal(utimensat(-1, old, long_ago, 0), 0);
	assert_int_equal(cidata_list(&env, &uuids, &e), 0);
	assert_int_equal(uuids.len, 0);
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(access(new, F_OK), 0);
	close_env(&env);
}

/* No state_dir: no CD. */
static void test_nowhere(void **state)
{
	struct host_env env = { 0 };
	CLEANUP(vm_done) struct vm vm = { 0 };
	struct err e = { 0 };

	(void)state;
	make_vm(&vm);
	assert_null(ensure(&env, &vm));
	assert_int_equal(cidata_remove(&env, UUID, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bare),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_user_data),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_image),
		cmocka_unit_test(test_ensure),
		cmocka_unit_test(test_leftovers),
		cmocka_unit_test(test_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
