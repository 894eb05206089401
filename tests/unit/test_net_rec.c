/* The leading router and its orders, without threads, against an etcd in memory; this file
 * plays the API. */
#include "ucloud-network/netlead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/model/network.h"
#include "common/model/request.h"
#include "common/model/user.h"
#include "common/store/kv_fake.h"
#include "ucloud-network/nettxn.h"

#define MTU 1430

static struct world {
	struct fake_etcd *etcd;
	struct kv *admin, *kv, *kv2;
	struct keys keys;
	struct alloc_pools pools, pools2;
	struct netlead *lead, *second;
} w;

/* ---------------------------------------------------------------- etcd by hand */

/* Takes both; NULL value: deletes. */
static void put(char *key, char *value)
{
	CLEANUP(kv_txn_free_ptr) struct kv_txn *t = kv_txn_new();
	struct err e = { 0 };

	if (value)
		kv_txn_put(t, key, value);
	else
		kv_txn_del(t, key);
	assert_int_equal(kv_txn_commit(w.admin, t, NULL, &e), 0);
	free(key);
	free(value);
}

/* Takes key. The caller's; NULL: there is none. */
static char *value_of(char *key)
{
	CLEANUP(kv_pair_done) struct kv_pair pair = { 0 };
	struct err e = { 0 };

	assert_int_equal(kv_get(w.admin, key, &pair, NULL, &e), 0);
	free(key);
	return pair.key ? xstrdup(pair.value) : NULL;
}

static bool is_there(char *key)
{
	CLEANUP_STR char *value = value_of(key);

	return value != NULL;
}

static int64_t count(const char *prefix)
{
	struct err e = { 0 };
	int64_t n = -1;

	assert_int_equal(kv_count(w.admin, prefix, &n, &e), 0);
	return n;
}

/* ---------------------------------------------------------------- the API */

/* A network's uuid, by number; one static text. */
static const char *uuid(int i)
{
	static char text[64];

	snprintf(text, sizeof(text), "%08x-1111-4111-8111-111111111111", i);
	return text;
}

static void set_use(int networks)
{
	put(key_user("users", "joe"),
		xasprintf("{\"name\":\"joe\",\"realm\":\"users\",\"use\":{\"vms\":2,"
			  "\"networks\":%d}}",
			networks));
}

static int64_t use(void)
{
	CLEANUP_STR char *text = value_of(key_user("users", "joe"));
	CLEANUP(user_done) struct user u = { 0 };
	struct err e = { 0 };

	assert_int_equal(user_parse(text, strlen(text), &u, &e), 0);
	assert_int_equal(u.use.vms, 2);
	return u.use.networks;
}

static void put_request(int i, enum request_type type)
{
	put(key_request_network(&w.keys, uuid(i)),
		request_new(type, uuid(i), NULL, clock_unix_sec(), 0));
}

static void order(int i, const char *ipam)
{
	CLEANUP_STR char *name = xasprintf("n%d", i);

	put(key_network(&w.keys, uuid(i)),
		xasprintf("{\"uuid\":\"%s\",\"name\":\"%s\",\"owner\":\"joe\","
			  "\"owner_realm\":\"users\",\"ipam\":\"%s\","
			  "\"status\":\"REQUESTED_NEW\",\"later\":7}",
			uuid(i), name, ipam));
	put(key_network_name("users", "joe", name), xstrdup(uuid(i)));
	put_request(i, REQ_CREATE_NETWORK);
}

/* The caller's to network_done(). */
static struct network get(int i)
{
	CLEANUP_STR char *text = value_of(key_network(&w.keys, uuid(i)));
	struct network n = { 0 };
	struct err e = { 0 };

	assert_non_null(text);
	assert_non_null(strstr(text, "\"later\":7"));
	if (network_parse(text, strlen(text), &n, &e) < 0)
		fail_msg("%s", e.msg);
	return n;
}

static void order_delete(int i)
{
	struct network n = get(i);

	n.status = NET_REQUESTED_DELETE;
	put(key_network(&w.keys, uuid(i)), network_format(&n));
	put_request(i, REQ_DELETE_NETWORK);
	network_done(&n);
}

/* prefix NULL: none. */
static void assert_active(int i, int64_t vni, const char *prefix)
{
	CLEANUP_STR char *who = value_of(key_vni(vni));
	struct network n = get(i);

	assert_int_equal(n.status, NET_ACTIVE);
	assert_int_equal(n.vni, vni);
	assert_int_equal(n.mtu, MTU);
	assert_non_null(strstr(who, uuid(i)));
	assert_false(is_there(key_request_network(&w.keys, uuid(i))));
	if (prefix) {
		CLEANUP_STR char *has = value_of(key_prefix(prefix));

		assert_string_equal(n.prefix, prefix);
		assert_non_null(has);
		assert_non_null(strstr(has, uuid(i)));
	} else {
		assert_true(str_is_empty(n.prefix));
	}
	network_done(&n);
}

static void assert_error(int i, const char *part)
{
	CLEANUP_STR char *request = value_of(key_request_network(&w.keys, uuid(i)));
	struct network n = get(i);

	assert_int_equal(n.status, NET_ERROR);
	if (!strstr(n.reason, part))
		fail_msg("\"%s\" is not in \"%s\"", part, n.reason);
	assert_non_null(request);
	assert_non_null(strstr(request, part));
	network_done(&n);
}

/* ---------------------------------------------------------------- the world */

static int64_t mtu(void *aux)
{
	(void)aux;
	return MTU;
}

static struct netlead *open_lead(struct kv *kv, struct alloc_pools *pools,
	const char *texts, int64_t vni_max, int64_t quarantine)
{
	CLEANUP(strv_done) struct strv each = { 0 };
	struct netlead_conf c = { .keys = &w.keys, .mtu = mtu };
	struct err e = { 0 };

	strv_split(&each, texts, ' ');
	alloc_pools_done(pools);
	if (alloc_pools_parse(&each, pools, &e) < 0)
		fail_msg("%s", e.msg);
	c.rec = (struct netrec_conf){ 100, vni_max, *pools, quarantine };
	return netlead_new(kv, &c);
}

static void close_lead(struct netlead **l)
{
	if (*l)
		assert_true(netlead_stop(*l));
	netlead_free(*l);
	*l = NULL;
}

static void step(struct netlead *l)
{
	for (int i = 0; l && i < 1000 && netlead_step(l); i++)
		;
}

/* So many seconds. */
static void run(int64_t sec)
{
	for (int64_t i = 0; i < sec * 4; i++) {
		step(w.lead);
		step(w.second);
		clock_fake_advance(250);
	}
	step(w.lead);
}

static void start(const char *pools, int64_t vni_max, int64_t quarantine)
{
	close_lead(&w.lead);
	w.lead = open_lead(w.kv, &w.pools, pools, vni_max, quarantine);
	run(15);
	assert_true(netlead_is_leader(w.lead));
}

static int setup(void **state)
{
	struct err e = { 0 };

	(void)state;
	w.etcd = fake_etcd_new();
	w.admin = kv_fake_open(w.etcd);
	w.kv = kv_fake_open(w.etcd);
	w.kv2 = kv_fake_open(w.etcd);
	keys_set_defaults(&w.keys);
	assert_int_equal(keys_check(&w.keys, &e), 0);
	set_use(3);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_lead(&w.lead);
	close_lead(&w.second);
	alloc_pools_done(&w.pools);
	alloc_pools_done(&w.pools2);
	keys_done(&w.keys);
	kv_close(w.kv);
	kv_close(w.kv2);
	kv_close(w.admin);
	fake_etcd_free(w.etcd);
	memset(&w, 0, sizeof(w));
	return 0;
}

/* ---------------------------------------------------------------- making */

static void each_kind(void **state)
{
	(void)state;
	start("2001:db8::/48", 65535, 3600);
	order(1, "auto");
	run(1);
	assert_active(1, 100, "2001:db8::/64");
	order(2, "none");
	run(1);
	assert_active(2, 101, NULL);
	order(3, "manual");
	run(1);
	assert_active(3, 102, "2001:db8:0:1::/64");
	assert_int_equal(count(KEY_PREFIX), 2);
	assert_int_equal(count("/v1/request/network/"), 0);
}

/* What was ordered before anybody led; many at once; what is taken is passed over, whatever
 * its value is. */
static void many_at_once(void **state)
{
	(void)state;
	put(key_vni(100), xstrdup("{\"network\":\"?"));
	put(key_prefix("2001:db8:0:2::/64"), xstrdup("[]"));
	for (int i = 1; i <= 300; i++)
		order(i, i % 3 ? "auto" : "none");
	start("2001:db8::/48", 65535, 3600);
	run(5);
	assert_int_equal(count(KEY_VNI), 301);
	assert_int_equal(count(KEY_PREFIX), 201);
	assert_int_equal(count("/v1/request/network/"), 0);
	assert_true(is_there(key_vni(400)));
	assert_true(is_there(key_prefix("2001:db8:0:c8::/64")));
}

static void what_means_nothing(void **state)
{
	CLEANUP_STR char *requests = NULL;

	(void)state;
	start("2001:db8::/48", 65535, 3600);
	put_request(1, REQ_CREATE_NETWORK); /* without a network */
	order(2, "auto");
	run(1);
	put_request(2, REQ_DELETE_NETWORK); /* not to be deleted */
	order(3, "auto");
	put(key_network(&w.keys, uuid(3)), xstrdup("[7]"));
	order(4, "auto");
	put(key_request_network(&w.keys, uuid(4)), xstrdup("{"));
	requests = key_requests_network(&w.keys);
	put(xasprintf("%snobody", requests),
		xstrdup("{\"type\":\"CreateNetwork\",\"uuid\":\"nobody\"}"));
	run(5);
	assert_false(is_there(key_request_network(&w.keys, uuid(1))));
	assert_active(2, 100, "2001:db8::/64");
	assert_true(is_there(key_request_network(&w.keys, uuid(3))));
	assert_true(is_there(key_request_network(&w.keys, uuid(4))));
	assert_int_equal(count(KEY_VNI), 1);
}

/* ---------------------------------------------------------------- no room */

static void no_pool(void **state)
{
	int64_t rev;

	(void)state;
	start("", 65535, 3600);
	order(1, "auto");
	order(2, "none");
	run(1);
	assert_error(1, "there is no prefix to take a /64 from");
	assert_active(2, 100, NULL);
	/* Said once. */
	rev = fake_etcd_rev(w.etcd);
	run(200);
	assert_true(fake_etcd_rev(w.etcd) == rev);
	/* With a pool it heals. */
	start("fd00:1::/48", 65535, 3600);
	run(1);
	assert_active(1, 101, "fd00:1::/64");
}

static void room_after_a_while(void **state)
{
	(void)state;
	start("2001:db8:0:2::/63", 65535, 60);
	for (int i = 1; i <= 3; i++) {
		order(i, "auto");
		run(1);
	}
	assert_error(3, "all /64s of 2001:db8:0:2::/63 are in use: delete");
	order_delete(2);
	run(5);
	assert_false(is_there(key_network(&w.keys, uuid(2))));
	/* There is none before it has rested. */
	run(40);
	assert_error(3, "2001:db8:0:2::/63");
	assert_true(is_there(key_prefix("2001:db8:0:3::/64")));
	run(80);
	assert_active(3, 101, "2001:db8:0:3::/64");
}

static void no_vxlan_id(void **state)
{
	(void)state;
	start("2001:db8::/48", 101, 0);
	for (int i = 1; i <= 3; i++) {
		order(i, "none");
		run(1);
	}
	assert_error(3, "all VXLAN ids from 100 to 101 are in use: delete");
	order_delete(1);
	run(2);
	assert_active(3, 100, NULL);
}

/* One that has no room can be deleted, too. */
static void without_anything(void **state)
{
	(void)state;
	start("", 65535, 3600);
	order(1, "auto");
	run(1);
	assert_error(1, "no prefix");
	order_delete(1);
	run(1);
	assert_false(is_there(key_network(&w.keys, uuid(1))));
	assert_int_equal(use(), 2);
	assert_int_equal(count(KEY_VNI), 0);
}

/* ---------------------------------------------------------------- deleting */

static void all_that_tells_of_it_goes(void **state)
{
	CLEANUP_STR char *vni = NULL;

	(void)state;
	start("2001:db8::/48", 65535, 3600);
	order(1, "auto");
	run(1);
	order_delete(1);
	run(1);
	assert_false(is_there(key_network(&w.keys, uuid(1))));
	assert_false(is_there(key_network_name("users", "joe", "n1")));
	assert_false(is_there(key_request_network(&w.keys, uuid(1))));
	assert_int_equal(use(), 2);
	vni = value_of(key_vni(100));
	assert_non_null(strstr(vni, "\"network\":\"\""));
	assert_non_null(strstr(vni, "free_at"));
	/* They rest: the next one gets others, the one after that these. */
	order(2, "auto");
	run(3590);
	assert_active(2, 101, "2001:db8:0:1::/64");
	assert_int_equal(count(KEY_VNI), 2);
	run(20);
	assert_int_equal(count(KEY_VNI), 1);
	assert_int_equal(count(KEY_PREFIX), 1);
	order(3, "auto");
	run(1);
	assert_active(3, 100, "2001:db8::/64");
}

static void not_while_it_is_used(void **state)
{
	CLEANUP_STR char *request = NULL;

	(void)state;
	start("2001:db8::/48", 65535, 0);
	order(1, "auto");
	run(1);
	put(key_port(uuid(1), "02:00:00:00:00:01"), xstrdup("{}"));
	order_delete(1);
	run(5);
	request = value_of(key_request_network(&w.keys, uuid(1)));
	assert_non_null(request);
	assert_non_null(strstr(request, "1 interfaces of VMs are in it"));
	put(key_port(uuid(1), "02:00:00:00:00:01"), NULL);
	run(70);
	assert_false(is_there(key_network(&w.keys, uuid(1))));
	assert_int_equal(count(KEY_VNI), 0);
	assert_int_equal(count(KEY_PREFIX), 0);
}

/* The API died before it had looked. */
static void order_unchecked(int i)
{
	const struct request r = { .type = REQ_DELETE_NETWORK,
		.uuid = xstrdup(uuid(i)),
		.not_before = clock_unix_sec() + 15,
		.is_unchecked = true };

	order_delete(i);
	put(key_request_network(&w.keys, uuid(i)), request_format(&r));
	free(r.uuid);
}

static void looked_at_here(void **state)
{
	struct network n;

	(void)state;
	start("2001:db8::/48", 65535, 0);
	order(1, "auto");
	order(2, "auto");
	run(1);
	put(key_port(uuid(1), "02:00:00:00:00:01"), xstrdup("{}"));
	order_unchecked(1);
	order_unchecked(2);
	run(10);
	assert_true(is_there(key_network(&w.keys, uuid(2))));
	run(10);
	assert_false(is_there(key_network(&w.keys, uuid(2))));
	n = get(1);
	assert_int_equal(n.status, NET_ACTIVE);
	assert_non_null(strstr(n.reason, "1 interfaces of VMs are in it"));
	network_done(&n);
	assert_false(is_there(key_request_network(&w.keys, uuid(1))));
}

/* What belongs to another one by now stays: the name, the id. */
static void others_things_stay(void **state)
{
	(void)state;
	start("2001:db8::/48", 65535, 0);
	order(1, "auto");
	run(1);
	put(key_network_name("users", "joe", "n1"), xstrdup(uuid(9)));
	put(key_vni(100), xasprintf("{\"network\":\"%s\"}", uuid(9)));
	order_delete(1);
	run(2);
	assert_false(is_there(key_network(&w.keys, uuid(1))));
	assert_true(is_there(key_network_name("users", "joe", "n1")));
	assert_true(is_there(key_vni(100)));
	assert_int_equal(count(KEY_PREFIX), 0);
}

/* An entry that somebody removed by hand takes its id and prefix along, later. */
static void entries_removed_by_hand(void **state)
{
	(void)state;
	start("2001:db8::/48", 65535, 60);
	for (int i = 1; i <= 150; i++)
		order(i, "auto");
	run(5);
	assert_int_equal(count(KEY_VNI), 150);
	put(key_network(&w.keys, uuid(7)), NULL);
	put(key_network(&w.keys, uuid(140)), NULL);
	put(key_network(&w.keys, uuid(8)), xstrdup("{"));
	run(1300); /* it is found at the next look at everything, and rests */
	assert_int_equal(count(KEY_VNI), 148);
	assert_int_equal(count(KEY_PREFIX), 148);
	assert_false(is_there(key_vni(106)));
	assert_true(is_there(key_vni(107)));
	/* Where no network is seen at all, nothing is concluded. */
	for (int i = 1; i <= 150; i++)
		put(key_network(&w.keys, uuid(i)), NULL);
	run(1300);
	assert_int_equal(count(KEY_VNI), 148);
}

/* What a newer version has written of one stays while it rests. */
static void what_rests_keeps_its_members(void **state)
{
	CLEANUP_STR char *text = NULL;

	(void)state;
	start("2001:db8::/48", 65535, 3600);
	order(1, "auto");
	put(key_vni(3000), xasprintf("{\"network\":\"%s\",\"later\":7}", uuid(9)));
	run(1300);
	text = value_of(key_vni(3000));
	assert_non_null(text);
	assert_non_null(strstr(text, "free_at"));
	assert_non_null(strstr(text, "\"later\":7"));
}

/* A user's entry that cannot be read is not overwritten, and the reason is said. */
static void user_unreadable(void **state)
{
	CLEANUP_STR char *request = NULL;

	(void)state;
	start("2001:db8::/48", 65535, 0);
	order(1, "none");
	run(1);
	put(key_user("users", "joe"), xstrdup("{"));
	order_delete(1);
	run(3);
	request = value_of(key_request_network(&w.keys, uuid(1)));
	assert_non_null(strstr(request, "/v1/user/users/joe"));
	set_use(0);
	run(70);
	assert_false(is_there(key_network(&w.keys, uuid(1))));
	assert_int_equal(use(), 0);
}

/* ---------------------------------------------------------------- who leads, what is lost */

/* Between reading and writing another one began to lead. */
static void an_old_leader_writes_nothing(void **state)
{
	CLEANUP_STR char *lock = key_lock("network");
	CLEANUP(netread_done) struct netread r = { 0 };
	const struct err why = { .kind = ERR_IO, .msg = "x" };
	const struct alloc got = { 100, 0 };
	struct kv_txn *all[4];
	struct err e = { 0 };
	int64_t ignored;

	(void)state;
	put(xstrdup(lock), xstrdup("{}"));
	order(1, "none");
	netread_init(&r, &w.keys, lock, 1, uuid(1)); /* not its revision */
	assert_int_equal(netread_read(&r, w.kv, &e), 0);
	all[0] = subject_end_txn(&r.s);
	all[1] = subject_failed_txn(&r.s, 1, &why, &ignored);
	all[2] = nettxn_no_room(&r, 1, "y");
	all[3] = nettxn_made(&r, &got, MTU);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		assert_int_equal(kv_txn_commit(w.kv, all[i], NULL, &e), KV_CONFLICT);
		kv_txn_free(all[i]);
	}
	assert_int_equal(count(KEY_VNI), 0);
}

static void two_routers(void **state)
{
	(void)state;
	start("2001:db8::/48", 65535, 3600);
	w.second = open_lead(w.kv2, &w.pools2, "2001:db8::/48", 65535, 3600);
	run(5);
	assert_false(netlead_is_leader(w.second));
	order(1, "auto");
	run(1);
	assert_active(1, 100, "2001:db8::/64");
	close_lead(&w.lead);
	order(2, "auto");
	run(15);
	assert_true(netlead_is_leader(w.second));
	assert_active(2, 101, "2001:db8:0:1::/64");
}

static void assert_counts(int vnis, int prefixes, int resting)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	CLEANUP_STR char *vni = xasprintf("allocated{kind=\"vni\"} %d\n", vnis);
	CLEANUP_STR char *prefix = xasprintf("allocated{kind=\"prefix\"} %d\n", prefixes);
	CLEANUP_STR char *rest = xasprintf("network_resting %d\n", resting);

	metrics_format(&text);
	assert_non_null(strstr(buf_str(&text), vni));
	assert_non_null(strstr(buf_str(&text), prefix));
	assert_non_null(strstr(buf_str(&text), rest));
}

/* Also by a leader that makes nothing itself. */
static void what_is_given_is_counted(void **state)
{
	(void)state;
	start("2001:db8::/48", 65535, 3600);
	assert_counts(0, 0, 0);
	order(1, "auto");
	order(2, "none");
	run(1);
	assert_counts(2, 1, 0);
	order_delete(1);
	run(2);
	assert_counts(2, 1, 2);
	start("2001:db8::/48", 65535, 3600);
	assert_counts(2, 1, 2);
	run(3700);
	assert_counts(1, 0, 0);
}

static int n_writes;

/* In turn: happens and is not told; does not happen and nobody knows; fails; is fine. */
static int on_write(void *aux)
{
	static const int how[] = { 2, 3, 1, 0 };

	(void)aux;
	return how[n_writes++ % 4];
}

static void lost_answers(void **state)
{
	const struct kv_fault fault = { .on_write = on_write };

	(void)state;
	start("2001:db8::/48", 65535, 0);
	kv_fake_set_fault(w.kv, &fault);
	for (int i = 1; i <= 20; i++)
		order(i, "auto");
	run(120);
	kv_fake_set_fault(w.kv, NULL);
	run(120);
	assert_int_equal(count(KEY_VNI), 20);
	assert_int_equal(count(KEY_PREFIX), 20);
	set_use(20);
	kv_fake_set_fault(w.kv, &fault);
	for (int i = 1; i <= 20; i++)
		order_delete(i);
	run(120);
	kv_fake_set_fault(w.kv, NULL);
	run(120);
	assert_int_equal(count(KEY_VNI), 0);
	assert_int_equal(count(KEY_PREFIX), 0);
	assert_int_equal(use(), 0);
	assert_int_equal(count("/v1/network"), 0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { CASE(each_kind), CASE(many_at_once),
		CASE(what_means_nothing), CASE(no_pool), CASE(room_after_a_while),
		CASE(no_vxlan_id), CASE(without_anything),
		CASE(all_that_tells_of_it_goes), CASE(not_while_it_is_used),
		CASE(looked_at_here), CASE(others_things_stay),
		CASE(entries_removed_by_hand), CASE(what_rests_keeps_its_members),
		CASE(user_unreadable), CASE(an_old_leader_writes_nothing),
		CASE(two_routers), CASE(what_is_given_is_counted), CASE(lost_answers) };

	clock_fake_start(INT64_C(1764000000000));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
