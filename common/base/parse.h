/*
 * Text to numbers and back, strictly: the whole string, in range, or an error that says
 * what would be right. Pure; any thread.
 */
#ifndef UCLOUD_PARSE_H
#define UCLOUD_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* Decimal, optional sign, nothing before or after. */
int parse_int64(
	const char *s, int64_t min, int64_t max, int64_t *out, struct err *e) MUST_USE;
/* "yes|true|on|1", "no|false|off|0". */
int parse_bool(const char *s, bool *out, struct err *e) MUST_USE;
/* "20GiB", "20G", "20GB", "512MiB", "1TiB" to bytes (always powers of 1024); a bare number
 * counts in unit_bytes. */
int parse_size(const char *s, int64_t unit_bytes, int64_t *bytes, struct err *e) MUST_USE;
/* "90s", "10m", "2h", "1d" or bare seconds. */
int parse_duration(const char *s, int64_t *sec, struct err *e) MUST_USE;

/* RFC 3339 in UTC with whole seconds: "2026-11-23T04:00:00Z". Times before year 0 and after
 * year 9999 are shown as the first and last second of those. */
#define TIME_STR_SIZE 24
void time_format(int64_t unix_sec, char out[TIME_STR_SIZE]);
int time_parse(const char *s, int64_t *unix_sec, struct err *e) MUST_USE;

/* A host part and a port: "[2001:db8::1]:8080", "[::]", "[fe80::1%eth0]:80", "name:80". The
 * port is default_port when missing, and may be 0 (the kernel chooses). host comes without
 * brackets and is the caller's. */
int parse_host_port(const char *s, uint16_t default_port, char **host, uint16_t *port,
	struct err *e) MUST_USE;

/* Does only this machine answer to it: "::1", "localhost", a name below that? Without
 * brackets. */
bool host_is_loopback(const char *host);

/* Bytes of the UTF-8 character (RFC 3629) at s, 0 when there is no well-formed one in the
 * size bytes there are. */
size_t utf8_char_len(const char *s, size_t size);
/* Valid UTF-8 without control characters (newline and tab when multi_line)? */
bool str_is_text(const char *s, size_t size, bool multi_line);

#endif
