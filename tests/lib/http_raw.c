#include "tests/lib/http_raw.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/lib/test_util.h"

#define LIMIT_MSEC 30000

int raw_dial(unsigned port)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
		.sin6_port = htons((uint16_t)port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail_msg("connect: %s", strerror(errno));
	return fd;
}

bool raw_put_bytes(int fd, const char *p, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		size -= (size_t)n;
	}
	return true;
}

void raw_put(int fd, const char *text)
{
	(void)raw_put_bytes(fd, text, strlen(text));
}

bool raw_get_until(int fd, struct buf *b, const char *want)
{
	int64_t limit = test_now_msec() + LIMIT_MSEC;
	char chunk[4096];

	while (!want || !strstr(buf_str(b), want)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = limit - test_now_msec();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			fail_msg("waited too long for '%s' in '%s'", want ? want : "EOF",
				buf_str(b));
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n <= 0)
			return !want;
		buf_add(b, chunk, (size_t)n);
	}
	return true;
}

void assert_starts(const char *text, const char *start)
{
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("'%s' does not start with '%s'", text, start);
}

void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in '%s'", part, text);
}
