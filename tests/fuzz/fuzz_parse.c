/*
 * Text to numbers: what is accepted has a second form that means the same, and no byte is
 * read behind the end.
 */
#include <assert.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_time(const char *s)
{
	char again[TIME_STR_SIZE];
	struct err e = { 0 };
	int64_t sec;

	if (time_parse(s, &sec, &e) == 0) {
		time_format(sec, again);
		assert(strcmp(s, again) == 0);
	}
}

static void try_host_port(const char *s)
{
	CLEANUP_STR char *host = NULL, *both = NULL, *host_again = NULL;
	uint16_t port = 0, port_again = 0;
	struct err e = { 0 };

	if (parse_host_port(s, 80, &host, &port, &e) != 0) {
		assert(!host && str_is_text(e.msg, strlen(e.msg), false));
		return;
	}
	both = xasprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	assert(parse_host_port(both, 1, &host_again, &port_again, &e) == 0);
	assert(strcmp(host, host_again) == 0 && port == port_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = xstrndup((const char *)data, size);
	char *exact = xmalloc(size); /* no NUL behind it */
	struct err e = { 0 };
	int64_t n = 0;
	bool b;

	if (size > 0)
		memcpy(exact, data, size);
	if (str_is_text(exact, size, true))
		assert(strlen(s) == size);
	if (parse_int64(s, -1000, INT64_MAX, &n, &e) == 0)
		assert(n >= -1000);
	if (parse_size(s, 1024, &n, &e) == 0)
		assert(n >= 0);
	if (parse_duration(s, &n, &e) == 0)
		assert(n >= 0);
	if (parse_bool(s, &b, &e) != 0)
		assert(str_is_text(e.msg, strlen(e.msg), false));
	try_time(s);
	try_host_port(s);
	free(exact);
	free(s);
	return 0;
}
