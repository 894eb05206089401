#include "common/model/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define KEY "AAAAC3NzaC1lZDI1NTE5AAAAIGUJm2Ci8y7tiGF0nkYQQNSJqMmF4p5xq1m8f4pT3mRk"

typedef int check_fn(const char *, struct err *);

static void accept(check_fn *check, const char *const *values)
{
	for (; *values; values++) {
		struct err e = { 0 };

		if (check(*values, &e) != 0)
			fail_msg("\"%s\" was refused: %s", *values, e.msg);
	}
}

static void refuse(check_fn *check, const char *const *values)
{
	for (; *values; values++) {
		struct err e = { 0 };

		if (check(*values, &e) == 0)
			fail_msg("\"%s\" was accepted", *values);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_true(strlen(e.msg) > 20);
		assert_int_equal(check(*values, NULL), -1);
	}
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void names(void **state)
{
	(void)state;
	accept(name_check, LIST("a", "0", "web-1", "a--b", X60 "xxx"));
	refuse(name_check, LIST("", "-", "-a", "a-", "A", "a.b", "a_b", "a b", "a/b",
				   "\xc3\xa9", X60 "xxxx", "a\n", "\x7f"));
}

static void hostnames(void **state)
{
	CLEANUP_STR char *longest = NULL, *too_long = NULL;
	(void)state;

	longest =
		xasprintf("%s.%s.%s.%s.%s", X60 "x", X60 "x", X60 "x", X60 "x", "xxxxx");
	too_long = xasprintf("%sx", longest);
	assert_int_equal(strlen(longest), 253);
	accept(hostname_check, LIST("h1", "h1.example.org", "1.2", longest));
	refuse(hostname_check, LIST("", ".", "a.", ".a", "a..b", "a.-b", "H1", "a/b",
				       "a b", too_long, X60 "xxxx.org"));
}

static void users_and_realms(void **state)
{
	(void)state;
	accept(user_name_check, LIST("a", "Nico", "n.s_c-1", "0", "a-", X60 "xxxx"));
	refuse(user_name_check,
		LIST("", ".", "-a", "_a", "a/b", "a@b", "a b", "\xc3\xa9", X60 "xxxxx"));
	accept(realm_check, LIST("ungleich-admin", "R"));
	refuse(realm_check, LIST("", "a/b", "..", "a:b"));
}

static void uuids(void **state)
{
	(void)state;
	accept(uuid_check, LIST("123e4567-e89b-42d3-a456-426614174000",
				   "00000000-0000-0000-0000-000000000000"));
	refuse(uuid_check, LIST("", "123E4567-e89b-42d3-a456-426614174000",
				   "123e4567-e89b-42d3-a456-42661417400",
				   "123e4567-e89b-42d3-a456-4266141740000",
				   "123e4567e89b-42d3-a456-426614174000-",
				   "123e4567-e89b-42d3-a456-42661417400g",
				   "{23e4567-e89b-42d3-a456-426614174000}"));
}

static void labels(void **state)
{
	(void)state;
	accept(label_name_check, LIST("a", "A.b_c-D", X60 "xxx"));
	refuse(label_name_check, LIST("", "-a", "a.", "a b", "a=b", X60 "xxxx"));
	accept(label_value_check, LIST("", "r1", "DE.zh"));
	refuse(label_value_check, LIST("_a", "a/b", X60 "xxxx"));
}

static void ssh_keys(void **state)
{
	(void)state;
	accept(ssh_key_check, LIST("ssh-ed25519 " KEY, "ssh-ed25519 " KEY " me@home",
				      "ssh-ed25519 " KEY " J\xc3\xbcrg's key"));
	refuse(ssh_key_check,
		LIST("", "ssh-ed25519", "ssh-ed25519 ", KEY, "ssh-rsa " KEY,
			"ssh-ed25519  " KEY, " ssh-ed25519 " KEY, "ssh-ed25519 AAAA",
			"ssh-ed25519 !" KEY, "ssh-dss " KEY, "ssh-ed25519 " KEY "\n",
			"ssh-ed25519\t" KEY, "command=\"rm\" ssh-ed25519 " KEY,
			"ssh-ed25519 " KEY " a\xff"
			"b"));
}

static void ssh_key_is_bounded(void **state)
{
	struct err e = { 0 };
	struct buf b = { 0 };
	(void)state;

	buf_add_str(&b, "ssh-ed25519 " KEY " ");
	while (b.size < 8192)
		buf_add_char(&b, 'c');
	assert_int_equal(ssh_key_check(b.s, &e), 0);
	buf_add_char(&b, 'c');
	assert_int_equal(ssh_key_check(b.s, &e), -1);
	assert_non_null(strstr(e.msg, "8192"));
	buf_done(&b);
}

/* Nobody's private key may end in a log or an answer. */
static void private_key_is_not_quoted(void **state)
{
	struct err e = { 0 };
	(void)state;

	assert_int_equal(
		ssh_key_check("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", &e), -1);
	assert_null(strstr(e.msg, "c2VjcmV0"));
	assert_non_null(strstr(e.msg, ".pub"));
}

static void paths(void **state)
{
	CLEANUP_STR char *longest = xmalloc(1026);
	(void)state;

	memset(longest, 'x', 1025);
	longest[1025] = '\0';
	refuse(rel_path_check,
		LIST("", "/", "/etc/shadow", ".", "..", "a/..", "../a", "a/../b", "a//b",
			"a/", "./a", "a\nb", "a\xff", longest));
	longest[1024] = '\0';
	accept(rel_path_check, LIST("a", "debian/12.qcow2", "...", "a/..b", ".a",
				       "\xc3\xa9/b c", "json:{}", longest));
}

static void macs_and_addresses(void **state)
{
	(void)state;
	accept(mac_check, LIST("42:00:0a:1b:2c:3d"));
	refuse(mac_check,
		LIST("", "42:00:0a:1b:2c", "42:00:0A:1b:2c:3d", "43:00:0a:1b:2c:3d",
			"42-00-0a-1b-2c-3d", "42:00:0a:1b:2c:3d:", "ff:ff:ff:ff:ff:ff"));
	accept(ipv6_check, LIST("::", "2001:db8::1", "::ffff:192.0.2.1"));
	refuse(ipv6_check,
		LIST("", "192.0.2.1", "2001:db8::1/64", "fe80::1%eth0", "[::1]"));
}

/* The whole sentence once for each: they are shown to users as they are. */
static void sentences(void **state)
{
	struct err e = { 0 };
	(void)state;

	assert_int_equal(name_check("Web 1", &e), -1);
	assert_string_equal(e.msg, "\"Web 1\" is not a valid name: use 1 to 63 of a-z, "
				   "0-9 and \"-\", with a letter or digit at both ends");
	assert_int_equal(hostname_check("a..b", &e), -1);
	assert_string_equal(e.msg,
		"\"a..b\" is not a valid host name: use parts of 1 to 63 of a-z, "
		"0-9 and \"-\", each with a letter or digit at both ends, joined "
		"by \".\", at most 253 in all");
	assert_int_equal(realm_check("a/b", &e), -1);
	assert_string_equal(e.msg,
		"\"a/b\" is not a valid realm: use 1 to 64 of A-Z, a-z, 0-9, "
		"\".\", \"_\" and \"-\", beginning with a letter or digit");
	assert_int_equal(uuid_check("x\n", &e), -1);
	assert_string_equal(e.msg,
		"\"x \" is not a uuid: use lower case hexadecimal digits like "
		"\"123e4567-e89b-42d3-a456-426614174000\"");
	assert_int_equal(name_check(X60 X60, &e), -1);
	assert_non_null(strstr(e.msg, "\"" X60 X10 "...\" is not"));
}

static void new_uuids_differ(void **state)
{
	char a[UUID_STR_SIZE], b[UUID_STR_SIZE];
	(void)state;

	uuid_new(a);
	uuid_new(b);
	assert_int_equal(uuid_check(a, NULL), 0);
	assert_int_equal(a[14], '4');
	assert_string_not_equal(a, b);
}

/* Stored and compared: it may never change from one version to the next. */
static void uuid_of_a_name_is_stable(void **state)
{
	char a[UUID_STR_SIZE], b[UUID_STR_SIZE];
	(void)state;

	uuid_of_name("host1", a);
	uuid_of_name("host2", b);
	assert_int_equal(uuid_check(a, NULL), 0);
	assert_string_equal(a, "66f83bb5-2dd1-575a-bbdb-3ab5e7372377");
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(hostnames),
		cmocka_unit_test(users_and_realms),
		cmocka_unit_test(uuids),
		cmocka_unit_test(labels),
		cmocka_unit_test(ssh_keys),
		cmocka_unit_test(ssh_key_is_bounded),
		cmocka_unit_test(private_key_is_not_quoted),
		cmocka_unit_test(paths),
		cmocka_unit_test(macs_and_addresses),
		cmocka_unit_test(sentences),
		cmocka_unit_test(new_uuids_differ),
		cmocka_unit_test(uuid_of_a_name_is_stable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
