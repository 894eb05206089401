#include "ucloud-network/birdctl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/crash.h"
#include "ucloud-network/bird.h"

#define ANSWER_MAX 65536
#define COMMAND	   "configure\n"

static int connect_to(const char *path, int *out, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(
			e, ERR_INVALID, "bird_socket %s: the path is too long", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "a socket for bird");
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		err_errno(e, errno, "bird_socket %s", path);
		close(fd);
		return -1;
	}
	*out = fd;
	return 0;
}

/* Adds what there is to read, waiting until deadline. */
static int read_more(int fd, int64_t deadline, struct buf *text, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = deadline - clock_mono_msec();
	char chunk[4096];
	ssize_t n;

	if (left <= 0 || poll(&p, 1, (int)left) == 0)
		return err_set(e, ERR_TIMEOUT, "bird does not answer in time");
	n = read(fd, chunk, sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_errno(e, errno, "reading from bird");
	if (n == 0 || text->size > ANSWER_MAX)
		return err_set(e, ERR_UNAVAILABLE, "bird hung up before it answered");
	buf_add(text, chunk, (size_t)n);
	return 0;
}

static int ask(int fd, struct err *e)
{
	ssize_t n;
	int errnum;

	CRASH_POINT("bird.configure.before");
	n = send(fd, COMMAND, strlen(COMMAND), MSG_NOSIGNAL);
	errnum = errno;
	CRASH_POINT("bird.configure.after");
	return n < 0 ? err_errno(e, errnum, "asking bird") : 0;
}

static int talk(int fd, int64_t deadline, struct err *e)
{
	CLEANUP(buf_done) struct buf text = { 0 };
	bool is_greeted = false, is_asked = false;
	int rc;

	while ((rc = bird_reply(buf_str(&text), &is_greeted, e)) > 0) {
		if (is_greeted && !is_asked) {
			is_asked = true;
			if (ask(fd, e) < 0)
				return -1;
		}
		if (read_more(fd, deadline, &text, e) < 0)
			return -1;
	}
	return rc;
}

int birdctl_configure(const char *socket_path, int64_t limit_msec, struct err *e)
{
	int fd = -1, rc;

	if (connect_to(socket_path, &fd, e) < 0)
		return -1;
	rc = talk(fd, clock_mono_msec() + limit_msec, e);
	close(fd);
	return rc;
}
