#include "common/base/crash.h"

/* In a build without crash points this file is empty on purpose. */
#ifdef UCLOUD_CRASH

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/parse.h"

/* Points passed so far, by all threads. */
static _Atomic int64_t n_passed;

/* One write(2), so that lines of several threads and processes do not mix. A test rig that
 * cannot write its file must not go on as if it had: it ends here. */
static void write_line(const char *path, int how, const char *line)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);

	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line) ||
		close(fd) != 0) {
		fprintf(stderr, "crash points: cannot write %s: %s\n", path,
			strerror(errno));
		abort();
	}
}

/* 0 when there is none. */
static int64_t crash_at(void)
{
	const char *text = getenv("UCLOUD_CRASH_AT");
	struct err e = { 0 };
	int64_t at = 0;

	if (text && parse_int64(text, 1, INT64_MAX, &at, &e) != 0) {
		fprintf(stderr, "UCLOUD_CRASH_AT: %s\n", e.msg);
		abort();
	}
	return at;
}

void crash_point(const char *name)
{
	int64_t ordinal = atomic_fetch_add(&n_passed, 1) + 1;
	const char *count_file = getenv("UCLOUD_CRASH_COUNT_FILE");
	const char *name_file = getenv("UCLOUD_CRASH_FILE");
	const char *signal = getenv("UCLOUD_CRASH_SIGNAL");
	char line[256];

	if (count_file) {
		snprintf(line, sizeof(line), "%jd %s\n", (intmax_t)ordinal, name);
		write_line(count_file, O_APPEND, line);
	}
	if (ordinal != crash_at())
		return;
	if (name_file) {
		snprintf(line, sizeof(line), "%s\n", name);
		write_line(name_file, O_TRUNC, line);
	}
	if (signal && strcmp(signal, "STOP") == 0) {
		kill(getpid(), SIGSTOP);
		return;
	}
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

#endif
