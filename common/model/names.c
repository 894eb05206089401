#include "common/model/names.h"

#include <arpa/inet.h>
#include <string.h>
#include <uuid/uuid.h>

#include "common/base/buf.h"
#include "common/base/crypt.h"
#include "common/base/parse.h"

#define LABEL_MAX    63
#define HOSTNAME_MAX 253
#define USER_MAX     64
#define SSH_KEY_MAX  8192
#define REL_PATH_MAX 1024

/* A value as it appears in an error: enough to recognize it. The error's own text makes
 * one line of valid UTF-8 of it. */
#define QUOTE	  "\"%.70s%s\""
#define QUOTED(s) (s), (strlen(s) > 70 ? "..." : "")

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define ALNUM  LOWER UPPER DIGITS

/* Is the byte (not the NUL) one of set? */
static bool is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

/* Does s have 1 to max bytes of `set`, the first and the last of `ends`? */
static bool is_made_of(
	const char *s, size_t len, size_t max, const char *set, const char *ends)
{
	if (len == 0 || len > max)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_one_of(s[i], set))
			return false;
	return is_one_of(s[0], ends) && is_one_of(s[len - 1], ends);
}

static bool is_rfc1123_label(const char *s, size_t len)
{
	return is_made_of(s, len, LABEL_MAX, LOWER DIGITS "-", LOWER DIGITS);
}

int name_check(const char *s, struct err *e)
{
	if (is_rfc1123_label(s, strlen(s)))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not a valid name: use 1 to 63 of a-z, 0-9 and \"-\", with a "
		      "letter or digit at both ends",
		QUOTED(s));
}

static bool is_hostname(const char *s)
{
	if (strlen(s) > HOSTNAME_MAX)
		return false;
	for (;;) {
		size_t len = strcspn(s, ".");

		if (!is_rfc1123_label(s, len))
			return false;
		if (s[len] == '\0')
			return true;
		s += len + 1;
	}
}

int hostname_check(const char *s, struct err *e)
{
	if (is_hostname(s))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not a valid host name: use parts of 1 to 63 of a-z, 0-9 and "
		      "\"-\", each with a letter or digit at both ends, joined by \".\", "
		      "at most 253 in all",
		QUOTED(s));
}

static int user_part_check(const char *s, const char *what, struct err *e)
{
	size_t len = strlen(s);

	if (is_made_of(s, len, USER_MAX, ALNUM "._-", ALNUM "._-") &&
		is_one_of(s[0], ALNUM))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not a valid %s: use 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\" "
		      "and \"-\", beginning with a letter or digit",
		QUOTED(s), what);
}

int user_name_check(const char *s, struct err *e)
{
	return user_part_check(s, "user name", e);
}

int realm_check(const char *s, struct err *e)
{
	return user_part_check(s, "realm", e);
}

static bool is_uuid(const char *s)
{
	if (strlen(s) != UUID_STR_SIZE - 1)
		return false;
	for (size_t i = 0; i < UUID_STR_SIZE - 1; i++) {
		bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_dash ? s[i] != '-' : !is_one_of(s[i], DIGITS "abcdef"))
			return false;
	}
	return true;
}

int uuid_check(const char *s, struct err *e)
{
	if (is_uuid(s))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not a uuid: use lower case hexadecimal digits like "
		      "\"123e4567-e89b-42d3-a456-426614174000\"",
		QUOTED(s));
}

static int label_part_check(const char *s, const char *what, struct err *e)
{
	if (is_made_of(s, strlen(s), LABEL_MAX, ALNUM "._-", ALNUM))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not a valid %s of a label: use 1 to 63 of A-Z, a-z, 0-9, "
		      "\".\", \"_\" and \"-\", with a letter or digit at both ends",
		QUOTED(s), what);
}

int label_name_check(const char *s, struct err *e)
{
	return label_part_check(s, "name", e);
}

int label_value_check(const char *s, struct err *e)
{
	return *s == '\0' ? 0 : label_part_check(s, "value", e);
}

static const char *const ssh_key_types[] = {
	"ssh-ed25519",
	"ssh-rsa",
	"ecdsa-sha2-nistp256",
	"ecdsa-sha2-nistp384",
	"ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com",
	"sk-ecdsa-sha2-nistp256@openssh.com",
	NULL,
};

static const char *ssh_key_type(const char *s, size_t len)
{
	for (const char *const *type = ssh_key_types; *type; type++)
		if (strlen(*type) == len && memcmp(*type, s, len) == 0)
			return *type;
	return NULL;
}

/* The blob begins with its own type, as a string with a length in front (RFC 4253 section
 * 6.6), and something follows. */
static bool is_blob_of(const char *blob, size_t size, const char *type)
{
	const unsigned char *u = (const unsigned char *)blob;
	size_t len = strlen(type);

	return size > 4 + len && u[0] == 0 && u[1] == 0 && u[2] == 0 && u[3] == len &&
	       memcmp(blob + 4, type, len) == 0;
}

/* The key itself is never quoted: somebody may have pasted the private one. */
int ssh_key_check(const char *s, struct err *e)
{
	CLEANUP_STR char *blob = NULL;
	size_t len = strlen(s), size = 0;
	const char *type, *key;

	if (strstr(s, "PRIVATE KEY"))
		return err_set(e, ERR_INVALID,
			"this is a private key, which nobody else must see: use the "
			"public one, the line in the file that ends in \".pub\"");
	if (len > SSH_KEY_MAX)
		return err_set(e, ERR_INVALID,
			"an SSH key has at most %d characters, not %zu", SSH_KEY_MAX,
			len);
	if (!str_is_text(s, len, false))
		return err_set(e, ERR_INVALID,
			"an SSH key is one line of text, without line breaks, tabs or "
			"other control characters");
	type = ssh_key_type(s, strcspn(s, " "));
	if (!type)
		return err_set(e, ERR_INVALID,
			"an SSH key begins with its type, \"ssh-ed25519\", \"ssh-rsa\", "
			"\"ecdsa-sha2-nistp256\" or the like, as in the file that ends "
			"in \".pub\"");
	key = s + strlen(type);
	key += *key == ' ';
	if (base64_parse(key, strcspn(key, " "), &blob, &size, NULL) != 0 ||
		!is_blob_of(blob, size, type))
		return err_set(e, ERR_INVALID,
			"the SSH key of type %s is damaged: copy the whole line of the "
			"file that ends in \".pub\"",
			type);
	return 0;
}

static bool is_rel_path(const char *s)
{
	size_t size = strlen(s);

	if (size == 0 || size > REL_PATH_MAX || !str_is_text(s, size, false))
		return false;
	for (;;) {
		size_t len = strcspn(s, "/");

		if (len == 0 || (len == 1 && s[0] == '.') ||
			(len == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		if (s[len] == '\0')
			return true;
		s += len + 1;
	}
}

int rel_path_check(const char *s, struct err *e)
{
	if (is_rel_path(s))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE
		" is not a valid path: use a relative one like \"debian/12.qcow2\", "
		"without empty, \".\" and \"..\" parts, at most 1024 bytes of UTF-8",
		QUOTED(s));
}

static bool is_mac(const char *s)
{
	if (strlen(s) != 17)
		return false;
	for (size_t i = 0; i < 17; i++)
		if (i % 3 == 2 ? s[i] != ':' : !is_one_of(s[i], DIGITS "abcdef"))
			return false;
	/* The lowest bit of the first byte: a group address. */
	return is_one_of(s[1], "02468ace");
}

int mac_check(const char *s, struct err *e)
{
	if (is_mac(s))
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not the MAC of an interface: use lower case hexadecimal "
		      "digits like \"42:00:0a:1b:2c:3d\", not a multicast address",
		QUOTED(s));
}

int ipv6_check(const char *s, struct err *e)
{
	struct in6_addr address;

	if (inet_pton(AF_INET6, s, &address) == 1)
		return 0;
	return err_set(e, ERR_INVALID,
		QUOTE " is not an IPv6 address: use one like \"2001:db8::1\"", QUOTED(s));
}

void uuid_new(char out[UUID_STR_SIZE])
{
	uuid_t u;

	uuid_generate_random(u);
	uuid_unparse_lower(u, out);
}

void uuid_of_name(const char *name, char out[UUID_STR_SIZE])
{
	/* Chosen once at random; another one would give every name another uuid. */
	static const uuid_t name_space = { 0x9d, 0x0e, 0x6c, 0x35, 0x71, 0xb8, 0x4f, 0x52,
		0xa4, 0x1b, 0x5c, 0x83, 0xe2, 0x60, 0x97, 0xfd };
	uuid_t u;

	uuid_generate_sha1(u, name_space, name, strlen(name));
	uuid_unparse_lower(u, out);
}

/* "<address>/64" whose last 64 bits are zero. */
static bool is_prefix64(const char *s)
{
	static const unsigned char zero[8];
	CLEANUP_STR char *address = xstrndup(s, strcspn(s, "/"));
	struct in6_addr in6;

	return strcmp(s + strlen(address), "/64") == 0 &&
	       inet_pton(AF_INET6, address, &in6) == 1 &&
	       memcmp(in6.s6_addr + 8, zero, sizeof(zero)) == 0;
}

int prefix64_check(const char *s, struct err *e)
{
	if (is_prefix64(s))
		return 0;
	return err_set(e, ERR_INVALID,
		"\"%.70s\" is not an IPv6 prefix of 64 bits: use one like "
		"\"2001:db8:1:2::/64\"",
		s);
}

int ingress_check(const char *s, struct err *e)
{
	int64_t port;

	if (str_eq(s, "icmpv6"))
		return 0;
	if ((str_has_prefix(s, "tcp/") || str_has_prefix(s, "udp/")) &&
		parse_int64(s + 4, 1, 65535, &port, NULL) == 0)
		return 0;
	return err_set(e, ERR_INVALID,
		"\"%.40s\" is not what packets can be let in by: use \"tcp/22\", "
		"\"udp/53\" "
		"or \"icmpv6\"",
		s);
}
