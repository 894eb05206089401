#include "common/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/parse.h"

/* A line is at most PIPE_BUF bytes, so that lines of several processes on one pipe do not
 * mix. Longer ones are cut. */
#define LINE_SIZE   4096
#define REPEAT_MSEC (INT64_C(5) * 60 * 1000)

/* Numerical severities of RFC 5424, section 6.2.1. */
static const struct {
	const char *word, *shown;
	int priority;
} levels[] = {
	[LOG_ERROR] = { "error", "ERROR", 3 },
	[LOG_WARN] = { "warn", "WARN", 4 },
	[LOG_INFO] = { "info", "INFO", 6 },
	[LOG_DEBUG] = { "debug", "DEBUG", 7 },
};

/* Set before there are threads. */
static const char *program;
static enum log_level highest = LOG_INFO;
static bool to_journal;

/* The lock also keeps lines of several threads apart for the sink. */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink_fn *sink;
static void *sink_aux;

/* systemd.exec(5): $JOURNAL_STREAM is "device:inode" of the stream it connected. A child that
 * has another stderr inherits the variable too, hence the comparison. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) != 0)
		return false;
	snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev,
		(uintmax_t)st.st_ino);
	return strcmp(stream, ours) == 0;
}

void log_init(const char *name, enum log_level level)
{
	program = name;
	highest = level;
	to_journal = stderr_is_journal();
}

int log_level_parse(const char *s, enum log_level *out, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (strcmp(s, levels[i].word) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID,
		"\"%.40s\" is not a log level; give error, warn, info or debug", s);
}

/* Appends text to line (size bytes, at of them used) with everything that does not print as
 * \xNN; returns the new length. Stops before it would be full. */
static size_t add_escaped(char *line, size_t size, size_t at, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t len = utf8_char_len(text, left);
		bool prints = len > 0 && str_is_text(text, len, false);

		len = len ? len : 1;
		if (at + 4 * len >= size)
			break;
		for (size_t i = 0; i < len; i++) {
			if (prints)
				line[at++] = text[i];
			else
				at += (size_t)snprintf(line + at, size - at, "\\x%02x",
					(unsigned char)text[i]);
		}
		text += len;
		left -= len;
	}
	line[at] = '\0';
	return at;
}

static size_t add_head(char *line, size_t size, enum log_level level)
{
	char when[TIME_STR_SIZE];
	int64_t msec = clock_unix_msec();
	int n;

	if (to_journal) {
		n = snprintf(line, size, "<%d>", levels[level].priority);
	} else {
		time_format(msec / 1000, when);
		n = snprintf(line, size, "%.19s.%03dZ %s %s%s", when, (int)(msec % 1000),
			levels[level].shown, program ? program : "", program ? ": " : "");
	}
	return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

static void write_all(const char *line, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDERR_FILENO, line, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* a log that cannot be written cannot be complained about */
		line += n;
		size -= (size_t)n;
	}
}

static bool give_to_sink(enum log_level level, const char *line)
{
	bool has_sink;

	pthread_mutex_lock(&sink_lock);
	has_sink = sink;
	if (has_sink)
		sink(sink_aux, level, line);
	pthread_mutex_unlock(&sink_lock);
	return has_sink;
}

static void log_text(enum log_level level, const char *text)
{
	char plain[LINE_SIZE], line[LINE_SIZE];
	int saved_errno = errno;
	size_t size, text_size;

	if (level > highest)
		return;
	text_size = add_escaped(plain, sizeof(plain) - 128, 0, text);
	if (!give_to_sink(level, plain)) {
		size = add_head(line, 128, level);
		memcpy(line + size, plain, text_size);
		size += text_size;
		line[size++] = '\n';
		write_all(line, size);
	}
	errno = saved_errno;
}

static void PRINTF_LIKE(2, 0) log_va(enum log_level level, const char *fmt, va_list ap)
{
	char text[LINE_SIZE];

	if (level > highest)
		return;
	if (vsnprintf(text, sizeof(text), fmt, ap) >= 0)
		log_text(level, text);
}

#define LOG_AT(level)                                                                    \
	do {                                                                             \
		va_list ap;                                                              \
		va_start(ap, fmt);                                                       \
		log_va(level, fmt, ap);                                                  \
		va_end(ap);                                                              \
	} while (0)

void log_error(const char *fmt, ...)
{
	LOG_AT(LOG_ERROR);
}

void log_warn(const char *fmt, ...)
{
	LOG_AT(LOG_WARN);
}

void log_info(const char *fmt, ...)
{
	LOG_AT(LOG_INFO);
}

void log_debug(const char *fmt, ...)
{
	LOG_AT(LOG_DEBUG);
}

static void log_counted(enum log_level level, const char *text, unsigned n)
{
	char line[LINE_SIZE];

	if (n > 0)
		snprintf(line, sizeof(line), "%s repeated=%u", text, n);
	log_text(level, n > 0 ? line : text);
}

void log_repeat(struct log_repeat *r, enum log_level level, const char *fmt, ...)
{
	char text[sizeof(r->last)];
	int64_t now = clock_mono_msec();
	va_list ap;
	bool is_same;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	is_same = r->last[0] != '\0' && strcmp(text, r->last) == 0;
	if (is_same && now - r->last_msec < REPEAT_MSEC) {
		r->n_held++;
		return;
	}
	if (!is_same && r->n_held > 0)
		log_counted(level, r->last, r->n_held);
	log_counted(level, text, is_same ? r->n_held + 1 : 0);
	memcpy(r->last, text, sizeof(text));
	r->last_msec = now;
	r->n_held = 0;
}

void log_repeat_end(struct log_repeat *r, const char *fmt, ...)
{
	char text[LINE_SIZE / 2];
	va_list ap;

	if (r->last[0] == '\0')
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	log_counted(LOG_INFO, text, r->n_held);
	*r = (struct log_repeat){ 0 };
}

void log_set_sink(log_sink_fn *fn, void *aux)
{
	pthread_mutex_lock(&sink_lock);
	sink = fn;
	sink_aux = aux;
	pthread_mutex_unlock(&sink_lock);
}
