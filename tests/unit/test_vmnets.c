#include "ucloud-host/vmnets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/kv_fake.h"
#include "tests/lib/test_util.h"

#define NET  "3d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a13"
#define NET2 "4d7f1c3e-6a52-4f0e-9d6c-1f4f1c9d7a14"

struct world {
	struct fake_etcd *etcd;
	struct host_env env;
	struct vm vm;
	char why[192];
};

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	CLEANUP_STR char *class = NULL, *net = NULL;

	w->etcd = fake_etcd_new();
	w->env.kv = kv_fake_open(w->etcd);
	keys_set_defaults(&w->env.keys);
	w->env.sysfs = test_path("sys");
	class = xasprintf("%s/class", w->env.sysfs);
	net = xasprintf("%s/net", class);
	test_mkdir(w->env.sysfs);
	test_mkdir(class);
	test_mkdir(net);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	test_remove(w->env.sysfs);
	free(w->env.sysfs);
	vm_done(&w->vm);
	keys_done(&w->env.keys);
	kv_close(w->env.kv);
	fake_etcd_free(w->etcd);
	free(w);
	return 0;
}

static struct vm_nic *add_nic(struct world *w, const char *network)
{
	struct vm_nic *nic = jtab_list_add(&vm_nic_jtab, &w->vm.networks);

	nic->network = xstrdup(network);
	nic->mac = xstrdup("52:54:00:00:00:01");
	return nic;
}

static void put_net(struct world *w, const char *uuid, const char *rest)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	CLEANUP_STR char *key = key_network(&w->env.keys, uuid);
	CLEANUP_STR char *value =
		xasprintf("{\"uuid\":\"%s\",\"name\":\"lan\",\"owner\":\"joe\","
			  "\"owner_realm\":\"users\",\"ipam\":\"auto\",%s}",
			uuid, rest);
	struct err e = { 0 };

	kv_txn_put(t, key, value);
	assert_int_equal(kv_txn_commit(w->env.kv, t, NULL, &e), 0);
}

static void put_bridge(struct world *w, const char *name, const char *alias)
{
	CLEANUP_STR char *dir = xasprintf("%s/class/net/%s", w->env.sysfs, name);
	CLEANUP_STR char *path = xasprintf("%s/ifalias", dir);

	test_mkdir(dir);
	test_write_file(path, alias);
}

static void check(struct world *w, const char *want)
{
	CLEANUP(vmnets_done) struct vmnets n = { 0 };
	struct err e = { 0 };
	int rc;

	w->why[0] = '\0';
	rc = vmnets_read(&w->env, &w->vm, &n, w->why, sizeof(w->why), &e);
	if (rc < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(w->why, want);
	assert_int_equal(rc, *want == '\0' ? 0 : 1);
	assert_int_equal(n.len, 0 + (rc == 0 ? w->vm.networks.len : 0));
}

#define NOT_HERE "network lan is not ready on this host: is ucloud-network running there?"
#define ACTIVE	 "\"status\":\"ACTIVE\",\"vni\":5,\"mtu\":1430"

static void test_none(void **state)
{
	check(*state, "");
}

static void test_life(void **state)
{
	struct world *w = *state;

	add_nic(w, NET);
	check(w, "the network " NET " does not exist");
	put_net(w, NET, "\"status\":\"REQUESTED_NEW\"");
	check(w, "network lan is not made yet: it is REQUESTED_NEW");
	put_net(w, NET, "\"status\":\"ERROR\",\"reason\":\"no prefix is left\"");
	check(w, "network lan is in ERROR: no prefix is left");
	put_net(w, NET, ACTIVE);
	check(w, NOT_HERE);
	put_bridge(w, "ucb5", "\n"); /* made, not ready */
	check(w, NOT_HERE);
	put_bridge(w, "ucb5", NET2 "\n"); /* of a network that had the number before */
	check(w, NOT_HERE);
	put_bridge(w, "ucb5", NET "x\n");
	check(w, NOT_HERE);
	put_bridge(w, "ucb5", NET "\n");
	check(w, "");
}

/* All of them, and in their order. */
static void test_two(void **state)
{
	struct world *w = *state;
	CLEANUP(vmnets_done) struct vmnets n = { 0 };
	struct err e = { 0 };

	add_nic(w, NET2);
	add_nic(w, NET);
	put_net(w, NET, ACTIVE);
	put_net(w, NET2, "\"status\":\"ACTIVE\",\"vni\":6");
	put_bridge(w, "ucb6", NET2 "\n");
	check(w, NOT_HERE);
	put_bridge(w, "ucb5", NET "\n");
	check(w, "");
	assert_int_equal(vmnets_read(&w->env, &w->vm, &n, w->why, sizeof(w->why), &e), 0);
	assert_int_equal(n.v[0].net.vni, 6);
	assert_int_equal(n.v[1].net.vni, 5);
	assert_string_equal(n.v[1].nic->network, NET);
}

/* What the others are is not asked. */
static void test_one(void **state)
{
	struct world *w = *state;
	struct vmnet net = { 0 };
	struct vm_nic *nic;
	struct err e = { 0 };

	add_nic(w, NET2);
	nic = add_nic(w, NET);
	put_net(w, NET, ACTIVE);
	assert_int_equal(
		vmnets_read_one(&w->env, nic, &net, w->why, sizeof(w->why), &e), 1);
	assert_string_equal(w->why, NOT_HERE);
	assert_null(net.nic);
	put_bridge(w, "ucb5", NET "\n");
	assert_int_equal(
		vmnets_read_one(&w->env, nic, &net, w->why, sizeof(w->why), &e), 0);
	assert_ptr_equal(net.nic, nic);
	assert_int_equal(net.net.vni, 5);
	network_done(&net.net);
}

/* Who is leaving is waited for no longer, and not attached. */
static void test_leaving(void **state)
{
	struct world *w = *state;
	CLEANUP(vmnets_done) struct vmnets n = { 0 };
	struct err e = { 0 };

	add_nic(w, NET)->is_leaving = true;
	assert_int_equal(vmnets_read(&w->env, &w->vm, &n, w->why, sizeof(w->why), &e), 0);
	assert_int_equal(n.len, 0);
}

/* An entry that cannot be read is not one that is not there, and is waited for. */
static void test_bad(void **state)
{
	struct world *w = *state;
	CLEANUP(vmnets_done) struct vmnets n = { 0 };
	struct err e = { 0 };

	add_nic(w, NET);
	put_net(w, NET, "\"status\":\"WHAT\"");
	assert_int_equal(vmnets_read(&w->env, &w->vm, &n, w->why, sizeof(w->why), &e), 1);
	assert_non_null(strstr(w->why, "the network " NET " cannot be read: "));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_life),
		TEST(test_two),
		TEST(test_one),
		TEST(test_leaving),
		TEST(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
