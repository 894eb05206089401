/* What Ceph writes and we read. */
#include "common/disk/ceph_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void key_is(const char *text, const char *entity, const char *want)
{
	CLEANUP_STR char *key = ceph_keyring_find(text, entity);

	if (!want)
		assert_null(key);
	else
		assert_string_equal(key, want);
}

static void keyrings(void **state)
{
	static const char text[] = "# a comment\n"
				   "[client.admin]\n"
				   "\tkey = AAA==\n"
				   "\tcaps mon = \"allow *\"\n"
				   "[client.libvirt]\r\n"
				   "\tcaps mon = \"profile rbd\"\r\n"
				   "  key=BBB== \r\n"
				   "[client.quoted]\nkey = \"CCC\"";
	(void)state;

	key_is(text, "client.admin", "AAA==");
	key_is(text, "client.libvirt", "BBB==");
	key_is(text, "client.quoted", "CCC");
	key_is(text, "client.lib", NULL);
	key_is(text, "admin", NULL);
	key_is("", "client.admin", NULL);
	key_is("key = A\n", "client.admin", NULL);
	key_is("[client.admin]\n", "client.admin", NULL);
	key_is("[client.admin]\nkey =\n", "client.admin", NULL);
	key_is("[client.admin]\nkeys = A\n", "client.admin", NULL);
	key_is("[client.admin]\nkey A\n", "client.admin", NULL);
	key_is("[client.admin]\nkey = \"\n[x]\nkey = B\n", "client.admin", "\"");
}

static void mons_are(const char *json, const char *want)
{
	CLEANUP(strv_done) struct strv mons = { 0 };
	CLEANUP_STR char *is = NULL;
	struct err e = { 0 };
	int rc = ceph_mons_parse(json, strlen(json), &mons, &e);

	if (!want) {
		assert_int_equal(rc, -1);
		assert_int_equal(e.kind, ERR_UNAVAILABLE);
		assert_non_null(strstr(e.msg, "\"mon dump\""));
		assert_int_equal(mons.len, 0);
		return;
	}
	assert_int_equal(rc, 0);
	is = strv_join(&mons, " ");
	assert_string_equal(is, want);
}

static void monitors(void **state)
{
	(void)state;
	mons_are("{\"mons\":[{\"public_addrs\":{\"addrvec\":["
		 "{\"type\":\"v1\",\"addr\":\"[2001:db8::1]:6789\",\"nonce\":0},"
		 "{\"type\":\"v2\",\"addr\":\"[2001:db8::1]:3300\",\"nonce\":0}]}},"
		 "{\"public_addrs\":{\"addrvec\":["
		 "{\"type\":\"v1\",\"addr\":\"[2001:db8::2]:6789\",\"nonce\":0}]}},"
		 "{\"public_addrs\":{\"addrvec\":[]}}]}",
		"[2001:db8::1]:3300 [2001:db8::2]:6789");
	mons_are("{\"mons\":[]}", NULL);
	mons_are("{\"mons\":7}", NULL);
	mons_are("[]", NULL);
	mons_are("", NULL);
	mons_are("{\"mons\":[1,{\"public_addrs\":[]}]}", NULL);
}

#define STATS(total, pool_stats)                                                         \
	"{\"stats\":{\"total_bytes\":" total "},\"pools\":[{\"name\":\"images\","        \
	"\"stats\":{\"stored\":1,\"max_avail\":2}},{\"name\":\"uservms\",\"stats\":"     \
	"{" pool_stats "}}]}"

static void space_is(const char *json, int64_t total, int64_t available)
{
	int64_t is_total = -2, is_available = -2;
	struct err e = { 0 };

	assert_int_equal(ceph_df_parse(json, strlen(json), "uservms", &is_total,
				 &is_available, &e),
		0);
	assert_int_equal(is_total, total);
	assert_int_equal(is_available, available);
}

static void space(void **state)
{
	int64_t total = -2, available = -2;
	struct err e = { 0 };
	(void)state;

	space_is(STATS("1000", "\"stored\":100,\"max_avail\":300"), 400, 300);
	/* A quota of the pool counts when it is less. */
	space_is(STATS("1000", "\"stored\":100,\"max_avail\":300,\"quota_bytes\":150"),
		150, 50);
	space_is(STATS("1000", "\"stored\":100,\"max_avail\":300,\"quota_bytes\":999"),
		400, 300);
	space_is(STATS("1000", "\"stored\":100,\"max_avail\":300,\"quota_bytes\":50"),
		100, 0);
	space_is(STATS("1000", "\"stored\":100,\"max_avail\":0"), 100, 0);
	/* Nobody counts: zeros. */
	space_is(STATS("0", "\"stored\":0,\"max_avail\":0"), -1, -1);
	space_is("{\"stats\":{\"total_bytes\":5},\"pools\":[]}", -1, -1);
	space_is("{}", -1, -1);
	assert_int_equal(ceph_df_parse("[]", 2, "uservms", &total, &available, &e), -1);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_int_equal(ceph_df_parse("", 0, "uservms", &total, &available, &e), -1);
	assert_int_equal(total, -2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keyrings),
		cmocka_unit_test(monitors),
		cmocka_unit_test(space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
