/*
 * The log: one line on stderr per fact, "sentence key=value key=value".
 *
 * Under systemd ($JOURNAL_STREAM) lines carry a priority prefix "<6>"; elsewhere a UTC time
 * and the level. Control characters in a line are escaped, so nobody can forge a second
 * line. Any thread may log; one line is one write(2). Secrets never reach a log.
 *
 * ERROR: somebody must act. WARN: odd but handled. INFO: a state changed. DEBUG: the rest.
 */
#ifndef UCLOUD_LOG_H
#define UCLOUD_LOG_H

#include <stdint.h>

#include "common/base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* name is borrowed for ever (a literal). */
void log_init(const char *name, enum log_level level);
int log_level_parse(const char *s, enum log_level *out, struct err *e) MUST_USE;

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * The same failure again and again: logs when the text differs from the last one or
 * 5 minutes have passed, then with " repeated=N". Zeroed is ready to use; one per place
 * (and per thread). log_repeat_end() logs that it is over, when something was logged.
 */
struct log_repeat {
	char last[256];
	int64_t last_msec;
	unsigned n_held;
};
void log_repeat(struct log_repeat *r, enum log_level level, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
void log_repeat_end(struct log_repeat *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Tests see each line instead of stderr; NULL restores. */
typedef void log_sink_fn(void *aux, enum log_level level, const char *line);
void log_set_sink(log_sink_fn *fn, void *aux);

#endif
