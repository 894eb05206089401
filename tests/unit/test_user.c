#include "common/model/user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define KEY                                                                              \
	"ssh-ed25519 "                                                                   \
	"AAAAC3NzaC1lZDI1NTE5AAAAIGUJm2Ci8y7tiGF0nkYQQNSJqMmF4p5xq1m8f4pT3mRk me"

#define FULL                                                                             \
	"{\"name\":\"nico\",\"realm\":\"R\","                                            \
	"\"ssh_keys\":[{\"name\":\"home\",\"key\":\"" KEY "\"}],"                        \
	"\"quota\":{\"vms\":10,\"cpu\":20,\"ram_mib\":40960,\"disk_gib\":500,"           \
	"\"snapshots\":5,\"images\":6,\"networks\":8,\"file_gib\":7},"                   \
	"\"has_own_quota\":true,"                                                        \
	"\"use\":{\"vms\":2,\"cpu\":4,\"ram_mib\":4096,\"disk_gib\":40,"                 \
	"\"snapshots\":1,\"images\":1,\"networks\":0,\"file_gib\":0},"                   \
	"\"created\":\"2001-09-09T01:46:40Z\",\"later\":1}"

static struct user parsed(const char *text)
{
	struct user u = { 0 };
	struct err e = { 0 };

	if (user_parse(text, strlen(text), &u, &e) != 0)
		fail_msg("%s: %s", e.msg, text);
	return u;
}

static void full_round_trip(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL), copy = { 0 };
	(void)state;

	user_copy(&u, &copy);
	user_done(&u);
	CLEANUP_STR char *text = user_format(&copy);
	assert_string_equal(text, FULL);
	user_done(&copy);
}

static void bad_ones(void **state)
{
	static const char *const bad[] = { "{}", "{\"name\":\"a\"}", "{\"realm\":\"a\"}",
		"{\"name\":\"\",\"realm\":\"a\"}", "{\"name\":\"a/b\",\"realm\":\"a\"}",
		"{\"name\":\"a\",\"realm\":\"R\",\"use\":{\"cpu\":-1}}",
		"{\"name\":\"a\",\"realm\":\"R\",\"use\":{\"cpu\":9223372036854775807}}",
		"{\"name\":\"a\",\"realm\":\"R\",\"ssh_keys\":[{\"name\":\"a\"}]}",
		"{\"name\":\"a\",\"realm\":\"R\",\"ssh_keys\":[{\"name\":\"a\",\"key\":"
		"\"b\"}]}",
		NULL };
	(void)state;

	for (const char *const *b = bad; *b; b++) {
		struct user u = { .created = 77 };
		struct err e = { 0 };

		if (user_parse(*b, strlen(*b), &u, &e) == 0)
			fail_msg("accepted: %s", *b);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_int_equal(u.created, 77);
	}
}

static void item_must_fit_its_key(void **state)
{
	CLEANUP(json_decref_ptr)
	json_t *json = json_pack("{s:s,s:s}", "name", "nico", "realm", "R");
	static const char *const wrong[] = { "R/nic", "S/nico", "nico", "R/x/nico",
		"RR/nico", "", "/nico", NULL };
	struct err e = { 0 };
	struct user *u = user_parse_item("R/nico", json, &e);
	(void)state;

	assert_non_null(u);
	user_free_item(u);
	for (const char *const *w = wrong; *w; w++) {
		e = (struct err){ 0 };
		if (user_parse_item(*w, json, &e))
			fail_msg("accepted below %s", *w);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void what_a_vm_needs(void **state)
{
	struct vm_disk disks[] = { { .size_gib = 20 }, { .size_gib = 100 } };
	struct vm vm = { .specs = { .cpu = 2, .ram_mib = 4096, .disks = { disks, 2 } } };
	struct amounts a = vm_amounts(&vm);
	(void)state;

	assert_int_equal(a.vms, 1);
	assert_int_equal(a.cpu, 2);
	assert_int_equal(a.ram_mib, 4096);
	assert_int_equal(a.disk_gib, 120);
}

static void take_and_give_back(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL);
	struct amounts a = { 1, 2, 1024, 10 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(user_take(&u, &u.quota, &a, &e), 0);
	assert_int_equal(u.use.vms, 3);
	assert_int_equal(u.use.cpu, 6);
	assert_int_equal(u.use.ram_mib, 5120);
	assert_int_equal(u.use.disk_gib, 50);
	assert_true(user_give_back(&u, &a));
	assert_int_equal(u.use.vms, 2);
	assert_int_equal(u.use.disk_gib, 40);
}

static void take_to_the_last_one(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL);
	struct amounts all = { 8, 16, 36864, 460 }, one = { .cpu = 1 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(user_take(&u, &u.quota, &all, &e), 0);
	assert_int_equal(user_take(&u, &u.quota, &one, &e), -1);
	assert_int_equal(e.kind, ERR_QUOTA);
	assert_string_equal(
		e.msg, "the quota of nico@R is used up: 1 CPUs asked for, 0 of 20 left");
}

static void refusal_names_all_that_lacks(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL);
	struct amounts a = { 1, 17, 1024, 461 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(user_take(&u, &u.quota, &a, &e), -1);
	assert_string_equal(e.msg,
		"the quota of nico@R is used up: 17 CPUs asked for, 16 of 20 "
		"left; 461 GiB of disk asked for, 460 of 500 left");
	assert_int_equal(u.use.vms, 2);
	assert_int_equal(u.use.cpu, 4);
}

/* An admin made the quota smaller than what is used: what needs none of it still goes. */
static void quota_below_use(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL);
	struct amounts small = { 1, 100, 1 << 20, 1000 };
	struct amounts cpus = { .cpu = 1 }, vm = { .vms = 1 };
	struct err e = { 0 };
	(void)state;

	assert_int_equal(user_take(&u, &small, &cpus, &e), 0);
	assert_int_equal(user_take(&u, &small, &vm, &e), -1);
	assert_non_null(strstr(e.msg, "1 VMs asked for, 0 of 1 left"));
}

static void never_below_zero(void **state)
{
	CLEANUP(user_done) struct user u = parsed(FULL);
	struct amounts a = { 1, 5, 0, 0 };
	(void)state;

	assert_false(user_give_back(&u, &a));
	assert_int_equal(u.use.vms, 1);
	assert_int_equal(u.use.cpu, 0);
	assert_int_equal(u.use.ram_mib, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_round_trip),
		cmocka_unit_test(bad_ones),
		cmocka_unit_test(item_must_fit_its_key),
		cmocka_unit_test(what_a_vm_needs),
		cmocka_unit_test(take_and_give_back),
		cmocka_unit_test(take_to_the_last_one),
		cmocka_unit_test(refusal_names_all_that_lacks),
		cmocka_unit_test(quota_below_use),
		cmocka_unit_test(never_below_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
