#include "common/base/parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/base/buf.h"

/* How much of a bad value an error quotes. */
#define QUOTE	  "\"%.60s%s\""
#define QUOTED(s) (s), (strlen(s) > 60 ? "..." : "")

int parse_int64(const char *s, int64_t min, int64_t max, int64_t *out, struct err *e)
{
	const char *digits = s + (*s == '-' || *s == '+');
	size_t len = strspn(digits, "0123456789");
	long long n;

	if (len == 0 || digits[len] != '\0')
		return err_set(e, ERR_INVALID,
			QUOTE " is not a whole number; give one from %jd to %jd",
			QUOTED(s), (intmax_t)min, (intmax_t)max);
	errno = 0;
	n = strtoll(s, NULL, 10);
	if (errno == ERANGE || n < min || n > max)
		return err_set(e, ERR_INVALID,
			QUOTE " is out of range; give a number from %jd to %jd",
			QUOTED(s), (intmax_t)min, (intmax_t)max);
	*out = n;
	return 0;
}

int parse_bool(const char *s, bool *out, struct err *e)
{
	static const char *const words[][2] = { { "no", "yes" }, { "false", "true" },
		{ "off", "on" }, { "0", "1" } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		for (int value = 0; value < 2; value++) {
			if (strcasecmp(s, words[i][value]) == 0) {
				*out = value;
				return 0;
			}
		}
	}
	return err_set(e, ERR_INVALID, QUOTE " is neither yes nor no", QUOTED(s));
}

/* A whole number and what follows it. The number is not negative. */
static int split_number(const char *s, int64_t *n, const char **unit)
{
	char digits[24];
	size_t len = strspn(s, "0123456789");
	struct err ignored = { 0 }; /* the callers' own message says more */

	if (len == 0 || len >= sizeof(digits))
		return -1;
	memcpy(digits, s, len);
	digits[len] = '\0';
	*unit = s + len;
	return parse_int64(digits, 0, INT64_MAX, n, &ignored);
}

/* Bytes in "G", "GB" or "GiB"; 0 when it is no unit. */
static int64_t size_unit(const char *unit, int64_t bare)
{
	static const char letters[] = "BKMGTP";
	const char *at;

	if (*unit == '\0')
		return bare;
	at = strchr(letters, toupper((unsigned char)*unit));
	if (!at)
		return 0;
	unit++;
	if (at != letters && *unit != '\0' && strcasecmp(unit, "B") != 0 &&
		strcasecmp(unit, "iB") != 0)
		return 0;
	if (at == letters && *unit != '\0')
		return 0;
	return INT64_C(1) << (10 * (at - letters));
}

int parse_size(const char *s, int64_t unit_bytes, int64_t *bytes, struct err *e)
{
	const char *unit;
	int64_t n = 0, each, total;

	if (split_number(s, &n, &unit) != 0 || (each = size_unit(unit, unit_bytes)) == 0)
		return err_set(e, ERR_INVALID,
			QUOTE " is not a size; give a whole number and a unit, like "
			      "512MiB, 20GiB or 1TiB",
			QUOTED(s));
	if (__builtin_mul_overflow(n, each, &total))
		return err_set(e, ERR_INVALID, QUOTE " is too large a size", QUOTED(s));
	*bytes = total;
	return 0;
}

static int64_t duration_unit(const char *unit)
{
	if (*unit == '\0' || strcmp(unit, "s") == 0)
		return 1;
	if (strcmp(unit, "m") == 0)
		return 60;
	if (strcmp(unit, "h") == 0)
		return 60 * 60;
	if (strcmp(unit, "d") == 0)
		return 24 * 60 * 60;
	return 0;
}

int parse_duration(const char *s, int64_t *sec, struct err *e)
{
	const char *unit;
	int64_t n = 0, each, total;

	if (split_number(s, &n, &unit) != 0 || (each = duration_unit(unit)) == 0)
		return err_set(e, ERR_INVALID,
			QUOTE " is not a duration; give a whole number and a unit, like "
			      "90s, 10m, 2h or 1d",
			QUOTED(s));
	if (__builtin_mul_overflow(n, each, &total))
		return err_set(
			e, ERR_INVALID, QUOTE " is too long a duration", QUOTED(s));
	*sec = total;
	return 0;
}

/* The years that four digits can say. */
#define TIME_MIN INT64_C(-62167219200)
#define TIME_MAX INT64_C(253402300799)

void time_format(int64_t unix_sec, char out[TIME_STR_SIZE])
{
	struct tm tm = { 0 };
	time_t t = unix_sec < TIME_MIN	 ? TIME_MIN
		   : unix_sec > TIME_MAX ? TIME_MAX
					 : unix_sec;

	gmtime_r(&t, &tm);
	snprintf(out, TIME_STR_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
		(unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		(unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
		(unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

static int two_digits(const char *s)
{
	return (s[0] - '0') * 10 + (s[1] - '0');
}

int time_parse(const char *s, int64_t *unix_sec, struct err *e)
{
	static const char shape[] = "0000-00-00T00:00:00Z";
	char again[TIME_STR_SIZE];
	struct tm tm = { 0 };
	int64_t t;
	size_t i;

	for (i = 0; shape[i] != '\0'; i++) {
		bool fits =
			shape[i] == '0' ? s[i] >= '0' && s[i] <= '9' : s[i] == shape[i];

		if (!fits)
			break;
	}
	if (shape[i] != '\0' || s[i] != '\0')
		goto bad;
	tm.tm_year = two_digits(s) * 100 + two_digits(s + 2) - 1900;
	tm.tm_mon = two_digits(s + 5) - 1;
	tm.tm_mday = two_digits(s + 8);
	tm.tm_hour = two_digits(s + 11);
	tm.tm_min = two_digits(s + 14);
	tm.tm_sec = two_digits(s + 17);
	t = timegm(&tm);
	/* timegm() turns 30 February into a day in March: refuse what changed. */
	time_format(t, again);
	if (strcmp(again, s) != 0)
		goto bad;
	*unix_sec = t;
	return 0;
bad:
	return err_set(e, ERR_INVALID,
		QUOTE " is not a time; give UTC like 2026-11-23T04:00:00Z", QUOTED(s));
}

/* An IPv6 address, perhaps with an interface: fe80::1%eth0. */
static bool is_ipv6(const char *s)
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr ignored;
	size_t len = strcspn(s, "%");

	if (len >= sizeof(address))
		return false;
	memcpy(address, s, len);
	address[len] = '\0';
	if (inet_pton(AF_INET6, address, &ignored) != 1)
		return false;
	if (s[len] == '\0')
		return true;
	s += len + 1;
	len = strlen(s);
	return len > 0 && len < IF_NAMESIZE && str_is_text(s, len, false) &&
	       strcspn(s, " /%[]") == len;
}

static bool is_host_name(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-._", s[i]))
			return false;
	return isalnum((unsigned char)s[0]);
}

int parse_host_port(
	const char *s, uint16_t default_port, char **host, uint16_t *port, struct err *e)
{
	CLEANUP_STR char *name = NULL;
	bool in_brackets = s[0] == '[';
	const char *begin = s + in_brackets;
	const char *end = begin + strcspn(begin, in_brackets ? "]" : ":");
	const char *rest = in_brackets && *end != '\0' ? end + 1 : end;
	int64_t n = default_port;

	if (in_brackets && *end == '\0')
		return err_set(
			e, ERR_INVALID, QUOTE " lacks the closing bracket", QUOTED(s));
	if (!in_brackets && *end != '\0' && strchr(end + 1, ':'))
		return err_set(e, ERR_INVALID,
			QUOTE ": an IPv6 address is written in brackets, like "
			      "[2001:db8::1] or [2001:db8::1]:8080",
			QUOTED(s));
	name = xstrndup(begin, (size_t)(end - begin));
	if (in_brackets ? !is_ipv6(name) : !is_host_name(name))
		return err_set(e, ERR_INVALID, QUOTE " is not %s", QUOTED(s),
			in_brackets ? "an IPv6 address in brackets with an optional :port"
				    : "a host name or address with an optional :port");
	if (*rest != '\0' && *rest != ':')
		return err_set(e, ERR_INVALID,
			QUOTE ": only :port may follow the bracket", QUOTED(s));
	if (*rest == ':' && parse_int64(rest + 1, 0, UINT16_MAX, &n, e) != 0)
		return err_wrap(e, "the port in " QUOTE, QUOTED(s));
	*host = MOVE(name);
	*port = (uint16_t)n;
	return 0;
}

bool host_is_loopback(const char *host)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (inet_pton(AF_INET6, host, &a6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&a6) ||
		       (IN6_IS_ADDR_V4MAPPED(&a6) && a6.s6_addr[12] == 127);
	if (inet_pton(AF_INET, host, &a4) == 1)
		return ntohl(a4.s_addr) >> 24 == 127;
	return strcasecmp(host, "localhost") == 0 || str_has_suffix(host, ".localhost");
}

/* Well-formed sequences, RFC 3629 section 4: the second byte's range excludes overlong forms,
 * surrogates and what is above U+10FFFF. */
size_t utf8_char_len(const char *s, size_t size)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned char low = 0x80, high = 0xbf;
	size_t len;

	if (size == 0)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (u[0] == 0xe0)
		low = 0xa0;
	else if (u[0] == 0xed)
		high = 0x9f;
	else if (u[0] == 0xf0)
		low = 0x90;
	else if (u[0] == 0xf4)
		high = 0x8f;
	if (size < len || u[1] < low || u[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* C0, DEL and C1: the last in their two-byte form. */
static bool is_control(const char *s, size_t len)
{
	unsigned char first = (unsigned char)s[0];

	if (len == 1)
		return first < 0x20 || first == 0x7f;
	return len == 2 && first == 0xc2 && (unsigned char)s[1] < 0xa0;
}

bool str_is_text(const char *s, size_t size, bool multi_line)
{
	for (size_t i = 0; i < size;) {
		size_t len = utf8_char_len(s + i, size - i);

		if (len == 0)
			return false;
		if (is_control(s + i, len) &&
			!(multi_line && (s[i] == '\n' || s[i] == '\t')))
			return false;
		i += len;
	}
	return true;
}
